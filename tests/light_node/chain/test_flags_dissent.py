"""One peer that lies about validity is proved to, or outvoted, and does not stop the others."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from light_node.chain import conflicts, dissent, quarantine, verify
from light_node.chain.agreement import Agreement
from light_node.chain.dissent import Copy
from light_node.chain.status import PeerState, SyncStatus
from light_node.fabric import block as wire
from light_node.fabric.commit_hash import block_updates, commit_hash
from light_node.fabric.errors import Unavailable
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


def copies(make_source: Any, before: bytes, *raws: bytes) -> list[Copy]:
    return [
        Copy(make_source(f"Org{n}MSP", []), verify.parse(raw), raw, before)
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
    before = wire.stated_commit_hash(verify.parse(raws[number - 1]))
    for lie in lies:
        found = dissent.recompute(number, copies(make_source, before, good, lie))
        assert [copy.source.organization for copy in found.liars] == ["Org2MSP"]
        assert dissent.recompute(number, copies(make_source, before, lie)).liars == ()


def test_nobody_is_accused_where_no_copy_fits_the_one_before(
    real_blocks: Blocks, make_source: Any
) -> None:
    raws = real_blocks("bft", "full")
    lie = changed(raws[5], wire.TRANSACTIONS_FILTER, b"\x0b")
    found = dissent.recompute(5, copies(make_source, b"1" * 32, raws[5], lie))
    assert found.liars == ()
    assert found.unproved


# -- when it began long ago, or is not to be had at first -----------------------------------------


@pytest.mark.parametrize("kind", ["other flags", "other commit hashes"])
def test_a_lie_that_began_long_ago_is_proved_from_the_liars_own_copies(
    channel: Any, make_source: Any, start: Start, kind: str
) -> None:
    """Only the newest blocks are compared after a start, and all before differ already."""
    grow(channel, 60)
    if kind == "other flags":
        liar = lying(channel, 4, flags=REFUSED, fitting=False)
    else:
        stated = wire.encode_commit_hash_entry(b"\1" * 32)
        liar = channel.raw[:4] + [changed(raw, wire.COMMIT_HASH, stated) for raw in channel.raw[4:]]
    bench = start(channel, *three(make_source, channel.raw, channel.raw, liar))
    bench.wait(lambda s: names(s) == ["Org3MSP"] and s.valid_height == channel.height)
    assert quarantine.load(bench.folder)["Org3MSP"].kind == "flags"


def test_liars_in_the_majority_are_proved_when_the_honest_copy_is_had_at_last(
    channel: Any, make_source: Any, start: Start
) -> None:
    grow(channel, 4)
    liar = lying(channel, 4, flags=REFUSED, fitting=False)
    sources = three(make_source, liar, channel.raw, liar)
    honest = sources[1]
    served, asked = honest.block, threading.Event()

    def refuse(number: int, *, headers_only: bool = False) -> Any:
        asked.set()
        raise Unavailable("busy")

    honest.block = refuse
    bench = start(channel, *sources)
    assert asked.wait(20)
    honest.block = served
    for _ in range(2):  # at the latest with the second block the first examination is over
        grow(channel, 1)
        false = changed(channel.raw[-1], wire.TRANSACTIONS_FILTER, REFUSED)
        for source in sources:
            source.serve([*source.full, channel.raw[-1] if source is honest else false])
        bench.wait(lambda s: s.verified_height == channel.height)
    bench.wait(lambda s: names(s) == ["Org1MSP", "Org3MSP"])


def test_peers_that_never_show_their_copies_are_not_asked_for_ever(
    channel: Any, make_source: Any, start: Start
) -> None:
    grow(channel, 4)
    liar = lying(channel, 4, flags=REFUSED, fitting=False)
    sources = three(make_source, channel.raw, channel.raw, liar)
    asked = []

    def refuse(number: int, *, headers_only: bool = False) -> Any:
        asked.append(number)
        raise Unavailable("busy")

    sources[2].block = refuse
    bench = start(channel, *sources)
    for _ in range(12):
        grow(channel, 1)
        other = wire.encode_commit_hash_entry(bytes([channel.height]) * 32)
        for source, raw in zip(
            sources,
            [channel.raw[-1]] * 2 + [changed(channel.raw[-1], wire.COMMIT_HASH, other)],
            strict=True,
        ):
            source.serve([*source.full, raw])
        bench.wait(lambda s: s.valid_height == channel.height)
    status = bench.sync.status()
    assert [d.organization for d in status.dissents] == ["Org3MSP"]
    assert status.valid_height == channel.height
    bench.sync.stop()
    # As long as only one other had shown the block, which may be either; and of both.
    assert 1 <= len(asked) <= 3 * conflicts._ATTEMPTS


# -- what is left when a liar is shut out ---------------------------------------------------------


def state(agreement: Agreement, channel: Any, number: int, *organizations: str) -> None:
    for name in organizations:
        agreement.show(name, channel.parsed(number), peer=True)


@pytest.fixture
def two_stories(channel: Any) -> tuple[Any, Any]:
    """The same blocks with two stories of what took effect from block 4 on."""
    grow(channel, 9)
    other = channel.fork(4)
    return channel, grow(other, channel.height - 4, flags=REFUSED)


def test_what_a_liar_stated_is_taken_back_and_not_heard_again(two_stories: Any) -> None:
    """Its copies may still be on their way when it is shut out."""
    true, false = two_stories
    agreement = Agreement()
    state(agreement, true, 5, "Org1MSP")
    state(agreement, false, 5, "Org2MSP")
    assert agreement.disputed_block == 5
    agreement.forget("Org2MSP")
    assert agreement.disputed_block is None
    assert not agreement.show("Org2MSP", false.parsed(5), peer=True)
    assert agreement.shown(5).keys() == {"Org1MSP"}
    assert agreement.disputed_block is None
    state(agreement, true, 5, "Org3MSP")
    assert agreement.valid_height == 6


def test_agreement_and_dissent_that_rest_on_liars_fall_with_them(two_stories: Any) -> None:
    true, false = two_stories
    agreement = Agreement()
    for number in (4, 5):
        state(agreement, false, number, "Org2MSP", "Org3MSP")
        state(agreement, true, number, "Org1MSP")
    state(agreement, true, 3, "Org1MSP", "Org4MSP")
    assert [d.organization for d in agreement.dissents] == ["Org1MSP"]
    assert agreement.valid_height == 6
    agreement.forget("Org2MSP")
    assert agreement.dissents == ()
    assert (agreement.valid_height, agreement.disputed_block) == (4, 4)
    agreement.forget("Org3MSP")
    assert (agreement.valid_height, agreement.disputed_block) == (4, None)
    state(agreement, true, 5, "Org4MSP")
    assert agreement.valid_height == 6


def test_a_dispute_about_a_block_of_long_ago_does_not_stay_for_ever(
    two_stories: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stated of it is forgotten, so that nothing could decide it any more."""
    monkeypatch.setattr("light_node.chain.agreement.REMEMBERED_BLOCKS", 3)
    true, false = two_stories
    agreement = Agreement()
    state(agreement, true, 5, "Org1MSP")
    state(agreement, false, 5, "Org2MSP")
    agreement.forget("Org3MSP")
    for number in (6, 7, 8):
        assert agreement.disputed_block == 5
        state(agreement, true, number, "Org1MSP")
    assert agreement.disputed_block is None


def test_who_is_shut_out_for_a_fork_has_no_word_on_flags_either(
    channel: Any, make_source: Any, start: Start
) -> None:
    grow(channel, 4)
    sources = three(make_source, channel.raw, lying(channel, 4, flags=REFUSED))
    bench = start(channel, *sources)
    bench.wait(lambda s: s.disputed_block == 4)
    shared = bench.sync._shared
    with shared.changed:
        shared.exclude(shared.trackers[1], "it showed another signed history")
    status = bench.sync.status()
    assert (status.disputed_block, status.valid_height) == (None, None)


# -- one after the other ---------------------------------------------------------------------------


def refuted(channel: Any) -> list[bytes]:
    """The chain with false flags in its last block, which its commit hash refutes."""
    return [*channel.raw[:-1], changed(channel.raw[-1], wire.TRANSACTIONS_FILTER, REFUSED)]


def test_a_difference_nothing_decides_does_not_hide_what_another_states_later(
    channel: Any, make_source: Any, start: Start
) -> None:
    grow(channel, 4)
    sources = three(make_source, channel.raw, channel.raw, lying(channel, 4, flags=REFUSED))
    bench = start(channel, *sources)
    bench.wait(lambda s: [d.organization for d in s.dissents] == ["Org3MSP"])
    grow(channel, 1)
    raws = (channel.raw, refuted(channel), lying(channel, 4, flags=REFUSED))
    for source, shown in zip(sources, raws, strict=True):
        source.serve(shown)
    bench.wait(lambda s: names(s) == ["Org2MSP"])
    assert list(quarantine.load(bench.folder)) == ["Org2MSP"]


def test_the_same_two_are_looked_at_again_after_a_while(
    channel: Any, make_source: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stated what nothing refutes may be right when it is the other's turn to lie."""
    monkeypatch.setattr(conflicts, "AGAIN_S", 0.0)
    grow(channel, 4)
    sources = three(make_source, channel.raw, lying(channel, 4, flags=REFUSED))
    bench = start(channel, *sources)
    bench.wait(lambda s: s.disputed_block == 4)
    grow(channel, 1)
    for source, shown in zip(sources, (refuted(channel), channel.raw), strict=True):
        source.serve(shown)
    bench.wait(lambda s: names(s) == ["Org1MSP"])
    assert list(quarantine.load(bench.folder)) == ["Org1MSP"]


def test_a_copy_that_was_not_to_be_had_is_asked_for_again_on_a_quiet_channel(
    channel: Any, make_source: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conflicts, "RETRY_S", 0.005)
    grow(channel, 4)
    liar = lying(channel, 4, flags=REFUSED, fitting=False)
    honest, false = make_source("Org1MSP", channel.raw), make_source("Org2MSP", liar)
    served, refusals = honest.block, [Unavailable("busy")] * 3

    def block(number: int, *, headers_only: bool = False) -> Any:
        if not headers_only and refusals:
            raise refusals.pop()
        return served(number, headers_only=headers_only)

    honest.block = block
    bench = start(channel, honest, false)
    bench.wait(lambda s: names(s) == ["Org2MSP"])
    assert not refusals
