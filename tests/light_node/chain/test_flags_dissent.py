"""One peer that lies about validity is proved to, or outvoted, and does not stop the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from light_node.chain import dissent, quarantine, verify
from light_node.chain.dissent import Copy
from light_node.chain.status import PeerState, SyncStatus
from light_node.fabric import block as wire
from light_node.fabric.commit_hash import block_updates, commit_hash
from light_node.fabric.pb import common_pb2, peer_pb2

from .test_chain_sync import Bench, peer

VALID, REFUSED = bytes((peer_pb2.VALID,)), bytes((peer_pb2.MVCC_READ_CONFLICT,))
Blocks = Callable[[str, str], list[bytes]]
Start = Callable[..., Bench]


@pytest.fixture
def start(tmp_path: Path, running: list[Any]) -> Start:
    def make(channel: Any, *sources: Any) -> Bench:
        from light_node.clock import SystemClock

        bench = Bench(tmp_path / "store", channel, list(sources), SystemClock())
        running.append(bench)
        return bench

    return make


def transaction(channel: Any) -> bytes:
    """An envelope that writes nothing, as far as a commit hash is concerned."""
    header = common_pb2.ChannelHeader(type=common_pb2.ENDORSER_TRANSACTION, channel_id="testch")
    payload = common_pb2.Payload(
        header=common_pb2.Header(channel_header=header.SerializeToString()),
        data=peer_pb2.Transaction().SerializeToString(),
    )
    message = common_pb2.Envelope(payload=payload.SerializeToString(), signature=b"s")
    return message.SerializeToString()


def grow(channel: Any, count: int, *, flags: bytes = VALID, fitting: bool = True) -> Any:
    """Append blocks with right commit hashes, or (not ``fitting``) those of valid transactions."""
    for _ in range(count):
        envelopes = [transaction(channel)]
        previous = wire.stated_commit_hash(channel.parsed(channel.height - 1))
        stated = flags if fitting else VALID
        updates = block_updates(channel.height, envelopes, stated)
        digest = commit_hash(stated, updates, previous)
        channel.add(envelopes, flags=flags, commit_hash=digest)
    return channel


def lying(channel: Any, height: int, **how: Any) -> list[bytes]:
    """The same chain as ``channel`` with other flags from block ``height`` on."""
    made = channel.fork(height)
    grow(made, channel.height - height, **how)
    assert [made.parsed(n).hash for n in range(made.height)] == [
        channel.parsed(n).hash for n in range(channel.height)
    ]
    return made.raw


def three(make_source: Any, *raws: list[bytes]) -> list[Any]:
    return [make_source(f"Org{n}MSP", raw) for n, raw in enumerate(raws, start=1)]


def names(status: SyncStatus) -> list[str]:
    return [p.organization for p in status.peers if p.state is PeerState.DISAGREES]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_lie_that_refutes_itself_is_proved_and_shut_out(
    channel: Any, make_source: Any, start: Start, place: int
) -> None:
    grow(channel, 6)
    liar = lying(channel, 4, flags=REFUSED, fitting=False)
    raws = [channel.raw, channel.raw, channel.raw]
    raws[place] = liar
    name = f"Org{place + 1}MSP"
    bench = start(channel, *three(make_source, *raws))
    status = bench.wait(lambda s: names(s) == [name] and s.valid_height == channel.height)
    assert status.disputed_block is None
    assert status.dissents == ()
    assert status.fork is None
    assert "does not follow from its validity flags" in peer(status, name).error
    case = quarantine.load(bench.folder)[name]
    assert case.kind == "flags"
    assert case.number >= 4
    kept = next(c for c in bench.conflicts if c["organization"] == name)
    assert "validity flags" in kept["reason"]


def test_liars_in_the_majority_are_proved_as_well(
    channel: Any, make_source: Any, start: Start
) -> None:
    grow(channel, 4)
    liar = lying(channel, 4, flags=REFUSED, fitting=False)
    bench = start(channel, *three(make_source, liar, channel.raw, liar))
    status = bench.wait(lambda s: names(s) == ["Org1MSP", "Org3MSP"])
    assert status.disputed_block is None
    assert status.verified_height == channel.height
    assert sorted(quarantine.load(bench.folder)) == ["Org1MSP", "Org3MSP"]


def test_a_lie_that_fits_itself_is_outvoted_and_named(
    channel: Any, make_source: Any, start: Start
) -> None:
    grow(channel, 4)
    liar = lying(channel, 4, flags=REFUSED)
    sources = three(make_source, channel.raw, channel.raw, liar)
    bench = start(channel, *sources)
    status = bench.wait(lambda s: s.valid_height == channel.height and bool(s.dissents))
    found = status.dissents[0]
    assert (found.organization, found.others) == ("Org3MSP", ("Org1MSP", "Org2MSP"))
    assert status.disputed_block is None
    assert "Org3MSP states other validity" in status.problem
    assert quarantine.load(bench.folder) == {}, "nothing is proved"


def test_two_organisations_that_differ_decide_nothing(
    channel: Any, make_source: Any, start: Start
) -> None:
    grow(channel, 4)
    sources = three(make_source, channel.raw, lying(channel, 4, flags=REFUSED))
    bench = start(channel, *sources)
    status = bench.wait(lambda s: s.disputed_block == 4)
    assert (status.valid_height or 0) <= 4
    assert "no majority decides" in status.problem
    assert quarantine.load(bench.folder) == {}


def test_one_of_two_that_refutes_itself_is_shut_out(
    channel: Any, make_source: Any, start: Start
) -> None:
    grow(channel, 4)
    liar = lying(channel, 4, flags=REFUSED, fitting=False)
    bench = start(channel, *three(make_source, channel.raw, liar))
    status = bench.wait(lambda s: names(s) == ["Org2MSP"])
    assert status.disputed_block is None
    assert status.agreed_height == channel.height, "the headers are beyond doubt"


# -- the recomputation --------------------------------------------------------------------------


def copies(make_source: Any, *raws: bytes) -> list[Copy]:
    return [
        Copy(make_source(f"Org{n}MSP", []), verify.parse(raw), raw)
        for n, raw in enumerate(raws, start=1)
    ]


def changed(raw: bytes, entry: int, value: bytes) -> bytes:
    message = common_pb2.Block.FromString(raw)
    message.metadata.metadata[entry] = value
    return message.SerializeToString()


@pytest.mark.parametrize("kind", ["raft", "bft"])
@pytest.mark.parametrize("number", [1, 2, 5, 12])
def test_live_blocks(real_blocks: Blocks, make_source: Any, kind: str, number: int) -> None:
    raws = real_blocks(kind, "full")
    good = raws[number]
    flags = wire.transactions_filter(verify.parse(good))
    other = bytes(code ^ 11 for code in flags)
    lies = (
        changed(good, wire.TRANSACTIONS_FILTER, other),
        changed(good, wire.TRANSACTIONS_FILTER, flags + b"\0"),
        changed(good, wire.TRANSACTIONS_FILTER, b""),
        changed(good, wire.COMMIT_HASH, wire.encode_commit_hash_entry(b"\1" * 32)),
        changed(good, wire.COMMIT_HASH, wire.encode_commit_hash_entry(b"short")),
    )
    before = {"Org1MSP": wire.stated_commit_hash(verify.parse(raws[number - 1]))}
    for lie in lies:
        found = dissent.recompute(number, copies(make_source, good, lie), before)
        assert [copy.source.organization for copy in found.liars] == ["Org2MSP"]
        assert dissent.recompute(number, copies(make_source, lie), before).liars == ()


def test_nothing_is_said_without_the_commit_hash_before(
    real_blocks: Blocks, make_source: Any
) -> None:
    raws = real_blocks("bft", "full")
    lie = changed(raws[5], wire.TRANSACTIONS_FILTER, b"\x0b")
    pair = copies(make_source, raws[5], lie)
    assert dissent.recompute(5, pair, {"A": b"1", "B": b"2"}).unproved
    assert dissent.recompute(5, pair, {"A": b"1"}, first=4).liars == ()
