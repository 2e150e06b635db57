"""The catalogue of lies, each told to a real light node over gRPC: who notices, and what it says.

One devnet for the file; each test switches lies on, and all are switched off after it.
"""

import json
import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from light_node import cli
from light_node.chain import (
    conflicts,
    errors,
    follower,
    fork_evidence,
    quarantine,
    sources,
    tracker,
    trust,
)
from light_node.chain.node import LightNode
from light_node.chain.sources import Source, from_profile
from light_node.chain.status import Level, PeerState, PeerStatus, SyncStatus
from light_node.clock import SystemClock
from light_node.devnet import lies
from light_node.devnet.errors import DevnetError
from light_node.devnet.lies import LIES
from light_node.devnet.masks import Instruction, LieError
from light_node.devnet.network import Options
from light_node.devnet.testing import DevnetProcess
from light_node.devnet.threaded import DevnetThread
from light_node.fabric import connection
from light_node.fabric.errors import TimedOut, Unavailable
from light_node.fabric.pb import common_pb2, orderer_pb2
from wallet_app.trading import node as wallet_node
from wallet_app.trading import proofs
from wallet_app.trading.node import LightNodeAdapter
from wallet_app.trading.view import Proof

SOON = 15.0
ORGANIZATIONS = ("Org1MSP", "Org2MSP", "Org3MSP")
LIAR = "Org2MSP"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetThread]:
    options = Options(base_port=0, batch_timeout_ms=2)
    with DevnetThread(tmp_path_factory.mktemp("liars"), options) as net:
        yield net


@pytest.fixture
def net(running: DevnetThread) -> Iterator[DevnetThread]:
    """The devnet with some blocks, honest before and after the test."""
    grow(running, max(0, 6 - running.height))
    yield running
    running.tell_the_truth()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is the same when it is shorter."""
    monkeypatch.setattr(follower, "FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(follower, "LAST_RETRY_S", 0.2)
    monkeypatch.setattr(tracker, "BEHIND_S", 0.2)
    monkeypatch.setattr(sources, "CALL_TIMEOUT_S", 1.0)
    monkeypatch.setattr(lies, "SLOW_S", 0.7)


def grow(net: DevnetThread, blocks: int = 1) -> int:
    """Make blocks of one transaction each, by way of Org1's gateway; return the height."""
    channel = net.connect()
    gateway = net.gateway(channel, net.user())
    try:
        for _ in range(blocks):
            gateway.submit_transaction("kv", "put", "key", str(net.height))
    finally:
        gateway.close()
        channel.close()
    return net.height


def configure(net: DevnetThread, milliseconds: int) -> int:
    """Make a configuration block; return the height."""
    before = net.height
    timeout = orderer_pb2.BatchTimeout(timeout=f"{milliseconds}ms").SerializeToString()
    answer = net.change_config({("Orderer", "BatchTimeout"): timeout})
    assert answer.status == common_pb2.SUCCESS, answer.info
    channel = net.connect()
    gateway = net.gateway(channel, net.user())
    gateway.submit_transaction("kv", "put", "key", "after")  # behind the configuration
    gateway.close()
    channel.close()
    assert net.height >= before + 2
    return net.height


@dataclass
class Bench:
    """A light node following the devnet's peers, or those sources it is given."""

    net: DevnetThread
    folder: Path
    orderers: bool = False
    own: str = "Org1MSP"
    arrange: Callable[[list[Source]], list[Any]] = list
    node: LightNode = field(init=False)

    def __post_init__(self) -> None:
        profile, identity, clock = self.net.profile, self.net.user(msp_id=self.own), SystemClock()
        config = trust.from_profile(profile.trust_root).config
        chosen = from_profile(profile, config, identity, clock, orderers=self.orderers)
        self.node = LightNode(profile, self.folder, identity, clock, sources=self.arrange(chosen))
        self.node.start()

    def wait(self, condition: Callable[[SyncStatus], bool]) -> SyncStatus:
        # In short steps: that a source has fallen behind is a matter of time, not of an event.
        for _ in range(int(SOON / 0.1)):
            if self.node.wait(condition, 0.1):
                return self.node.status()
        raise AssertionError(self.node.status())

    def agreed(self, height: int) -> SyncStatus:
        return self.wait(lambda s: (s.agreed_height or 0) >= height)

    @property
    def conflicts(self) -> list[dict[str, Any]]:
        folder = self.folder / "conflicts"
        return [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


Follow = Callable[..., Bench]


@pytest.fixture
def follow(net: DevnetThread, tmp_path: Path) -> Iterator[Follow]:
    made: list[Bench] = []

    def start(**options: Any) -> Bench:
        options = {"net": net, **options}
        made.append(Bench(folder=tmp_path / f"node{len(made)}", **options))
        return made[-1]

    yield start
    for bench in made:
        bench.node.stop()


def all_lie(net: DevnetThread, liars: Sequence[str], lie: str, first: int | None = None) -> int:
    """Let several tell the same lie from the same block on, the next by default."""
    start = net.height if first is None else first
    for liar in liars:
        net.lie(liar, lie, start)
    return start


def peer(status: SyncStatus, organization: str) -> PeerStatus:
    return next(p for p in status.peers if p.organization == organization)


# -- what is refused: one lie, one reason -------------------------------------------------------

UNSIGNED = r"is not signed as the channel requires: 0 of 3 signatures are good"
REFUSED = [
    # lie, what is said of a source that tells it (the error's class in the comment)
    ("truncated", r"not a serialized block \(truncated or altered\)"),  # MalformedBlock
    ("endless", UNSIGNED),  # AttestationFailed
    ("oversized", r"bytes beside its data; the limit is"),  # MalformedBlock
    ("future", r"block \d+ came where block \d+ was due"),  # WrongNumber
    ("wrong-channel", r"block \d+ follows .*, but the verified block \d+ is"),  # BrokenLink
    ("forged-signature", UNSIGNED),  # AttestationFailed
    ("high-s", UNSIGNED),  # AttestationFailed
    ("unknown-signer", UNSIGNED),  # AttestationFailed
    ("expired-identity", r"is not signed as the channel requires: 3 of 3"),  # AttestationFailed
    ("replayed-header", r"block \d+ came where block \d+ was due"),  # WrongNumber
    ("hidden-config", r"configuration block \d+ came without its data"),  # ConfigDataMissing
    ("altered-data", r"data hashes to .*: it was altered"),  # DataHashMismatch
    ("dropped-transaction", UNSIGNED),  # AttestationFailed
    ("unsigned-history", r"not signed as the channel requires: 0 of 0"),  # AttestationFailed
]


def refused(text: str, *liars: str) -> Callable[[SyncStatus], bool]:
    def condition(status: SyncStatus) -> bool:
        found = [peer(status, liar) for liar in liars]
        return all(
            p.state is PeerState.DISAGREES and p.agrees is False and re.search(text, p.error)
            for p in found
        )

    return condition


@pytest.mark.parametrize(("lie", "said"), REFUSED, ids=[lie for lie, _ in REFUSED])
def test_a_lie_about_what_is_there_already(
    net: DevnetThread, follow: Follow, lie: str, said: str
) -> None:
    """Met while catching up: the liar is named with the reason, the honest two are followed."""
    if lie == "hidden-config":
        net.lie(LIAR, lie, net.height)
        configure(net, 3)
    else:
        net.lie(LIAR, lie, grow(net, 2) - 2)
    bench = follow()
    status = bench.wait(refused(said, LIAR))
    status = bench.agreed(net.height)
    assert status.verified_height == net.height
    assert (status.fork, status.disputed_block) == (None, None)
    status = bench.agreed(grow(net))
    assert [p.agrees for p in status.peers] == [True, False, True]
    assert {case["organization"] for case in bench.conflicts} <= {LIAR}


@pytest.mark.parametrize(("lie", "said"), REFUSED, ids=[lie for lie, _ in REFUSED])
def test_a_lie_that_begins_while_it_is_followed(
    net: DevnetThread, follow: Follow, lie: str, said: str
) -> None:
    bench = follow()
    bench.wait(lambda s: all(p.agrees for p in s.peers) and s.agreed_height == net.height)
    # "endless" needs a tip to run beyond, "future" a block that came later.
    net.lie(LIAR, lie)
    height = configure(net, 4) if lie == "hidden-config" else grow(net, 2)
    status = bench.wait(refused(said, LIAR))
    status = bench.agreed(height)
    assert (status.fork, status.disputed_block) == (None, None)
    assert bench.agreed(grow(net)).verified_height == net.height


@pytest.mark.parametrize("lie", ["forged-signature", "truncated", "replayed-header"])
def test_two_liars_of_three_cannot_make_up_anything(
    net: DevnetThread, follow: Follow, lie: str
) -> None:
    """The third is believed as far as signatures go; nobody is left to agree with it."""
    first = grow(net, 2) - 1
    for liar in ("Org1MSP", "Org3MSP"):
        net.lie(liar, lie, first)
    bench = follow(own=LIAR)
    said = dict(REFUSED)[lie]
    status = bench.wait(refused(said, "Org1MSP", "Org3MSP"))
    status = bench.wait(lambda s: s.verified_height == net.height)
    assert (status.agreed_height or 0) <= first
    assert "a second organisation to show block" in status.waiting_for


def test_what_a_liar_showed_is_kept(net: DevnetThread, follow: Follow) -> None:
    bench = follow()
    bench.wait(lambda s: all(p.agrees for p in s.peers))
    first = net.lie(LIAR, "forged-signature")
    grow(net)
    bench.wait(refused(UNSIGNED, LIAR))
    (case,) = bench.conflicts
    assert (case["organization"], case["number"]) == (LIAR, first)
    assert re.search(UNSIGNED, case["reason"])
    assert case["their_block"]


# -- withholding --------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", ["silent", "slow", "withheld-tip"])
def test_who_withholds_is_not_counted_as_agreeing(
    net: DevnetThread, follow: Follow, lie: str
) -> None:
    bench = follow()
    bench.wait(lambda s: all(p.agrees for p in s.peers) and s.agreed_height == net.height)
    net.lie(LIAR, lie)
    height = grow(net, 3)
    bench.agreed(height)
    status = bench.wait(lambda s: peer(s, LIAR).agrees is None)
    assert [peer(status, o).agrees for o in ("Org1MSP", "Org3MSP")] == [True, True]
    assert status.fork is None
    net.tell_the_truth()
    bench.wait(lambda s: peer(s, LIAR).agrees is True)


@pytest.mark.parametrize("lie", ["silent", "slow"])
def test_who_does_not_answer_at_first_keeps_nobody_waiting(
    net: DevnetThread, follow: Follow, lie: str
) -> None:
    net.lie(LIAR, lie, 1)
    bench = follow()
    status = bench.agreed(net.height)
    if lie == "silent":
        status = bench.wait(lambda s: peer(s, LIAR).state is PeerState.UNREACHABLE)
    assert peer(status, LIAR).agrees is None


def test_two_that_withhold_leave_one_that_is_verified_alone(
    net: DevnetThread, follow: Follow
) -> None:
    bench = follow()
    before = bench.wait(lambda s: s.agreed_height == net.height).agreed_height
    for liar in ("Org1MSP", "Org2MSP"):
        net.lie(liar, "withheld-tip")
    broadcast_only(net)
    status = bench.wait(lambda s: s.verified_height > (before or 0))
    assert status.agreed_height == before
    assert "a second organisation" in status.waiting_for


def broadcast_only(net: DevnetThread) -> None:
    """Make a block by way of Org3, since the others keep quiet about what is committed."""
    channel = net.connect("Org3MSP")
    gateway = net.gateway(channel, net.user(msp_id="Org3MSP"))
    gateway.submit_transaction("kv", "put", "key", "quiet")
    gateway.close()
    channel.close()


# -- far behind: one source feeds ---------------------------------------------------------------


class LateLiar:
    """A source that tells the truth about its newest block and lies when it feeds the rest."""

    def __init__(self, source: Source, begin: Callable[[], object]) -> None:
        self._source = source
        self._begin = begin
        self.feeds = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def newest(self) -> bytes:
        raw = self._source.newest()
        self._begin()
        return raw

    def headers(self, start: int, stop: int | None = None) -> Any:
        self.feeds.set()
        return self._source.headers(start, stop)


class Second:
    """An honest source that comes when another one is feeding."""

    def __init__(self, source: Source, first: LateLiar) -> None:
        self._source = source
        self._first = first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def newest(self) -> bytes:
        assert self._first.feeds.wait(SOON)
        return self._source.newest()


@pytest.mark.parametrize("lie", ["silent", "slow", *dict(REFUSED)])
def test_a_feeder_that_lies_holds_nobody_up(
    net: DevnetThread, follow: Follow, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    """Far behind, one source feeds all blocks; it is found out, or too slow, and replaced."""
    monkeypatch.setattr(follower, "NEAR", 3)
    monkeypatch.setattr(follower, "BATCH_BLOCKS", 5)
    monkeypatch.setattr(follower, "STALLED_S", 0.3)
    height = grow(net, max(0, 16 - net.height))
    first = height - 8
    if lie == "hidden-config":
        first, height = height, configure(net, 5)
        height = grow(net, 5)

    def arrange(found: list[Source]) -> list[Any]:
        late = LateLiar(found[1], lambda: net.lie(LIAR, lie, first))
        return [late, Second(found[0], late), Second(found[2], late)]

    bench = follow(arrange=arrange)
    status = bench.agreed(height)
    assert status.verified_height == height
    assert status.fork is None
    if lie in dict(REFUSED):  # and for the same reason as one by one: signatures are looked at then
        bench.wait(refused(dict(REFUSED)[lie], LIAR))


def test_a_message_over_the_transports_limit(
    net: DevnetThread, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_MESSAGE_BYTES", 1024 * 1024)
    net.lie(LIAR, "oversized", 1)
    bench = follow()
    status = bench.wait(lambda s: peer(s, LIAR).state is PeerState.UNREACHABLE)
    assert bench.agreed(net.height).verified_height == net.height
    assert peer(status, LIAR).agrees is None


# -- forks: keys of a quorum --------------------------------------------------------------------


@pytest.mark.parametrize("liars", [("Org2MSP",), ("Org2MSP", "Org3MSP")], ids=["one", "two"])
@pytest.mark.parametrize("lie", ["equivocating", "forked-history"])
@pytest.mark.parametrize("begun", [True, False], ids=["before", "while followed"])
def test_two_signed_histories_stop_everything(
    net: DevnetThread, follow: Follow, lie: str, liars: Sequence[str], begun: bool
) -> None:
    """Both are signed by the quorum: nobody can tell which of them is right."""
    if begun:
        # Who equivocates shows its tip: of older blocks nobody asks a second source.
        back = 1 if lie == "equivocating" else 3
        first = all_lie(net, liars, lie, grow(net, 3) - back)
        bench = follow()
    else:
        bench = follow()
        bench.wait(lambda s: all(p.agrees for p in s.peers))
        first = all_lie(net, liars, lie)
        grow(net)
    status = bench.wait(lambda s: s.fork is not None)
    assert status.fork is not None
    assert status.fork.number == first
    assert not status.running
    assert "two histories" in status.problem
    cases = [case for case in bench.conflicts if case["number"] == first]
    assert cases
    assert cases[0]["our_hash"] == status.fork.ours.hex()
    assert status.fork.ours != status.fork.theirs
    height = status.verified_height
    grow(net)
    assert not bench.node.wait_height(height + 5, 0.1), "nothing moves any more"


@pytest.mark.parametrize("begun", [True, False], ids=["before", "while followed"])
def test_a_signed_block_above_an_unsigned_start_proves_the_fork(
    net: DevnetThread,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    begun: bool,
) -> None:
    """The file says so on another machine, from the trust root alone."""
    monkeypatch.setattr(follower, "QUARANTINE_S", 0.2)
    if begun:
        first = net.lie(LIAR, "unsigned-start", grow(net, 3) - 3)
        bench = follow()
    else:
        bench = follow()
        bench.wait(lambda s: all(p.agrees for p in s.peers))
        first = net.lie(LIAR, "unsigned-start")
        grow(net)
        bench.wait(refused("0 of 0 signatures are good", LIAR))  # as yet nothing stands for it
        grow(net)
    status = bench.wait(lambda s: s.evidence is not None)
    assert status.fork is not None
    assert status.fork.number == first
    kept = bench.folder / "evidence" / (status.evidence or "")
    root = tmp_path / "root.block"
    root.write_bytes(trust.from_profile(net.profile.trust_root).config_block)
    assert cli.main(["evidence", "check", str(kept), "--trust", str(root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["number"] == first
    assert {told["ours_signed_at"], told["theirs_signed_at"]} == {first, first + 1}
    assert len(told["signed_both"]) >= 2
    assert set(quarantine.load(bench.folder)) == {LIAR, *told["signed_both"]}
    if told["shown_by"] == LIAR:
        assert told["only_showed"] == [LIAR]


def test_of_a_history_nobody_signed_a_record_is_kept(
    net: DevnetThread,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(follower, "QUARANTINE_S", 0.2)
    first = net.lie(LIAR, "unsigned-history", grow(net, 3) - 3)
    bench = follow()
    bench.wait(refused("0 of 0 signatures are good", LIAR))
    bench.agreed(net.height)
    bench.wait(lambda _: any((bench.folder / "records").glob("*.json")))
    (kept,) = (bench.folder / "records").glob("*.json")
    assert cli.main(["evidence", "check", str(kept), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["proved"], told["number"], told["shown_by"]) == (False, first, LIAR)
    assert told["reporter"].startswith("Org1MSP")
    assert quarantine.load(bench.folder) == {}


# -- colluding orderers that sign a false index ---------------------------------------------------


@pytest.mark.parametrize("followed", [False, True], ids=["at-once", "while-followed"])
def test_a_false_last_config_index_is_proved_to_be_one(
    net: DevnetThread, follow: Follow, followed: bool
) -> None:
    """Whoever came first, the liar or the honest: the signatures on both copies name who lied."""
    bench = follow() if followed else None
    if bench is not None:
        bench.agreed(net.height)
    net.lie(LIAR, "false-last-config", net.height)
    configure(net, 6)
    bench = bench or follow()
    status = bench.wait(lambda s: s.evidence is not None)
    assert quarantine.load(bench.folder)[LIAR].kind == "config"
    kept = fork_evidence.loads((bench.folder / "evidence" / (status.evidence or "")).read_bytes())
    proven = fork_evidence.check(kept, trust.from_profile(net.profile.trust_root))
    assert proven.same_header
    assert len(proven.double_signers) >= 1
    assert {w.organization for w in kept.witnesses or () if w.shows != "nothing"} == {
        *ORGANIZATIONS
    }
    if status.fork is not None:  # the liar came first: what it hid is dropped
        assert isinstance(status.fork, errors.HiddenChange)
        assert status.verified_height <= status.fork.number
    else:
        bench.agreed(grow(net))


# -- validity: what no signature covers ---------------------------------------------------------


@pytest.mark.parametrize("lie", ["altered-flags", "altered-commit-hash"])
@pytest.mark.parametrize("liars", [("Org2MSP",), ("Org2MSP", "Org3MSP")], ids=["one", "two"])
def test_flags_and_commit_hashes_that_differ_are_proved_to_be_lies(
    net: DevnetThread, follow: Follow, lie: str, liars: Sequence[str]
) -> None:
    bench = follow()
    bench.wait(lambda s: s.valid_height == net.height)
    first = all_lie(net, liars, lie)
    channel = net.connect()
    gateway = net.gateway(channel, net.user())
    result = gateway.submit_transaction("kv", "put", "key", "disputed")
    gateway.close()
    channel.close()
    # Two that lie alike are in the majority until their commit hashes are recomputed.
    status = bench.wait(
        lambda s: {p.organization for p in s.peers if p.state is PeerState.DISAGREES} == {*liars}
    )
    assert status.disputed_block is None
    assert all("validity flags" in p.error for p in status.peers if p.organization in liars)
    found = bench.node.transaction(first, result.transaction_id)
    honest = tuple(name for name in ORGANIZATIONS if name not in liars)
    assert found.organizations == honest
    assert found.level is (Level.AGREED if len(honest) > 1 else Level.VERIFIED)
    assert found.entry.is_valid
    assert sorted(quarantine.load(bench.folder)) == sorted(liars)
    if len(honest) > 1:
        grow(net)
        bench.wait(lambda s: s.valid_height == net.height)


class Shy:
    """A peer whose whole blocks cannot be had until ``open``."""

    def __init__(self, source: Source, open_: threading.Event) -> None:
        self._source = source
        self._open = open_

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def block(self, number: int, *, headers_only: bool = False) -> bytes:
        if not headers_only and not self._open.is_set():
            raise Unavailable("busy")
        return self._source.block(number, headers_only=headers_only)


def test_what_the_wallet_was_told_of_a_dispute_is_taken_back_when_the_liar_is_shut_out(
    net: DevnetThread, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who lies is not found out before the honest copy is had; then those left are believed."""
    monkeypatch.setattr(conflicts, "AGAIN_S", 0.2)
    monkeypatch.setattr(wallet_node, "_AGREEMENT_S", 0.2)
    monkeypatch.setattr(proofs, "_FIRST_LATER_S", 0.1)
    monkeypatch.setattr(proofs, "_LAST_LATER_S", 0.3)
    shown = threading.Event()
    bench = follow(arrange=lambda found: [Shy(found[0], shown), *found[1:]])
    bench.wait(lambda s: all(p.agrees for p in s.peers))
    monkeypatch.setattr(wallet_node, "LightNode", lambda *_: bench.node)
    adapter = LightNodeAdapter(net.profile, bench.folder, net.user(), SystemClock())
    net.lie(LIAR, "altered-flags")
    net.lie("Org3MSP", "withheld-tip")
    channel = net.connect()
    gateway = net.gateway(channel, net.user())
    result = gateway.submit_transaction("kv", "put", "key", "disputed")
    gateway.close()
    channel.close()
    told: queue.Queue[tuple[Proof, bool]] = queue.Queue()
    prover = proofs.Prover(adapter)
    prover.start()
    try:
        prover.put(
            proofs.Claim(
                result.block_number,
                result.transaction_id,
                lambda _: True,
                lambda *said: told.put(said),
            )
        )
        assert told.get(timeout=SOON) == (Proof.DISPUTED, True)
        shown.set()
        assert told.get(timeout=SOON) == (Proof.VERIFIED, False)
        assert bench.node.status().disputed_block is None
        assert list(quarantine.load(bench.folder)) == [LIAR]
        net.tell_the_truth()
        assert told.get(timeout=SOON) == (Proof.AGREED, False)
    finally:
        prover.stop()


@pytest.mark.parametrize("lie", ["altered-data", "truncated"])
def test_a_block_is_had_from_another_when_ones_own_peer_lies(
    net: DevnetThread, follow: Follow, lie: str
) -> None:
    bench = follow()
    bench.wait(lambda s: all(p.agrees for p in s.peers))
    channel = net.connect()
    gateway = net.gateway(channel, net.user())
    result = gateway.submit_transaction("kv", "put", "key", "mine")
    gateway.close()
    channel.close()
    bench.agreed(net.height)
    net.lie("Org1MSP", lie, 1)
    found = bench.node.transaction(result.block_number, result.transaction_id)
    assert found.transaction is not None
    assert found.transaction.args == (b"put", b"key", b"mine")


# -- orderers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "said"),
    [row for row in REFUSED if row[0] != "hidden-config"],
    ids=[lie for lie, _ in REFUSED if lie != "hidden-config"],
)
def test_orderers_lie_too(net: DevnetThread, follow: Follow, lie: str, said: str) -> None:
    net.lie("Orderer2MSP", lie, grow(net, 2) - 2)
    bench = follow(orderers=True)
    bench.wait(refused(said, "Orderer2MSP"))
    status = bench.agreed(net.height)
    assert status.fork is None
    assert sum(p.agrees is False for p in status.peers) == 1


def test_an_orderer_that_shows_another_history_stops_everything(
    net: DevnetThread, follow: Follow
) -> None:
    bench = follow(orderers=True)
    bench.wait(lambda s: all(p.agrees for p in s.peers))
    first = net.lie("Orderer3MSP", "forked-history")
    grow(net)
    status = bench.wait(lambda s: s.fork is not None)
    assert status.fork is not None
    assert status.fork.number == first


def test_one_orderer_that_drops_envelopes_does_no_harm_but_all_do(net: DevnetThread) -> None:
    net.lie("Orderer1MSP", "censoring", 1)
    height = grow(net)
    for orderer in net.profile.orderers:
        net.lie(orderer.msp_id, "censoring", 1)
    channel = net.connect()
    gateway = net.gateway(channel, net.user())
    endorsed = gateway.endorse("kv", "put", "key", "dropped")
    gateway.submit(endorsed)
    with pytest.raises(TimedOut):
        gateway.commit_status(endorsed.transaction_id, timeout=0.2)
    assert net.height == height
    net.tell_the_truth()
    gateway.submit(endorsed)
    status = gateway.commit_status(endorsed.transaction_id, timeout=SOON)
    assert status.block_number == height
    gateway.close()
    channel.close()


# -- Raft: one orderer signs --------------------------------------------------------------------


@pytest.fixture(scope="module")
def raft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetThread]:
    options = Options(base_port=0, batch_timeout_ms=2, raft=True)
    with DevnetThread(tmp_path_factory.mktemp("raft"), options) as net:
        grow(net, 6)
        yield net


@pytest.fixture(autouse=True)
def _honest_raft(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "raft" in request.fixturenames:
        request.getfixturevalue("raft").tell_the_truth()


@pytest.mark.parametrize("lie", ["forged-signature", "high-s", "unknown-signer"])
def test_signatures_under_raft(raft: DevnetThread, follow: Follow, lie: str) -> None:
    raft.lie(LIAR, lie, 4)
    bench = follow(net=raft)
    bench.wait(refused("is not signed as the channel requires: 0 of 1", LIAR))
    bench.agreed(raft.height)


def test_an_expired_orderer_is_no_reason_under_raft(raft: DevnetThread, follow: Follow) -> None:
    """Fabric checks chains at NotBefore, so that old blocks stay good; CRLs end a certificate."""
    raft.lie(LIAR, "expired-identity", 4)
    bench = follow(net=raft)
    bench.wait(lambda s: all(p.agrees for p in s.peers) and s.agreed_height == raft.height)


def test_one_orderer_suffices_for_a_fork_under_raft(raft: DevnetThread, follow: Follow) -> None:
    first = raft.lie(LIAR, "forked-history", 3)
    bench = follow(net=raft)
    status = bench.wait(lambda s: s.fork is not None)
    assert status.fork is not None
    assert status.fork.number == first


# -- switching ----------------------------------------------------------------------------------


def test_every_lie_of_the_catalogue_is_tested_here() -> None:
    tested = {lie for lie, _ in REFUSED}
    tested |= {"silent", "slow", "withheld-tip", "equivocating", "forked-history", "censoring"}
    tested |= {"unsigned-start"}
    tested |= {"altered-flags", "altered-commit-hash", "false-last-config"}
    tested |= {"clock-ahead", "clock-behind"}  # in test_wrong_clocks.py
    assert set(LIES) == tested | {"misprice", "skip-quote", "missettle"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Org1MSP", "ORG:NAME"),
        (":silent", "ORG:NAME"),
        ("Org1MSP:white", "there is no lie 'white'; there are silent, slow"),
        ("Org1MSP:silent=", "N is the first block"),
        ("Org1MSP:silent=0", "N is the first block"),
        ("Org1MSP:silent=x", "N is the first block"),
    ],
)
def test_orders_that_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(LieError, match=re.escape(reason)):
        Instruction.parse(text)


def test_orders_for_those_who_cannot(net: DevnetThread) -> None:
    with pytest.raises(LieError, match="there is no organisation Org9MSP; there are Org1MSP"):
        net.lie("Org9MSP", "silent")
    with pytest.raises(LieError, match="altered-flags is for peers"):
        net.lie("Orderer1MSP", "altered-flags")
    with pytest.raises(LieError, match="censoring is for orderers"):
        net.lie("Org1MSP", "censoring")
    assert Instruction.parse("Org2MSP:silent=12") == Instruction("Org2MSP", "silent", 12)
    assert Instruction.parse("Org2MSP:silent") == Instruction("Org2MSP", "silent", 1)


def test_lies_on_the_command_line(tmp_path: Path) -> None:
    with DevnetProcess(
        tmp_path / "net", "--lie", "Org2MSP:withheld-tip=1", "--lie", "Orderer3MSP:silent"
    ) as devnet:
        assert devnet.ready["lies"] == {"Org2MSP": "withheld-tip", "Orderer3MSP": "silent"}
    for order, reason in (
        ("Org2MSP:white", "there is no lie 'white'; there are silent"),
        ("Org9MSP:silent", "there is no organisation Org9MSP"),
    ):
        with pytest.raises(DevnetError, match=reason):
            DevnetProcess(tmp_path / "net", "--lie", order, base_port=None).start()
