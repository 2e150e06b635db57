"""Following a channel through several organisations: agreement, faults, forks, kills.

Sources are in memory (see conftest); every wait is for a condition, never for a time.
"""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from light_node.chain import errors, follower, tracker
from light_node.chain.intake import Intake
from light_node.chain.progress import Progress
from light_node.chain.status import PeerState, SyncStatus
from light_node.chain.store import HeaderStore
from light_node.chain.sync import ChainSync
from light_node.clock import Clock, SystemClock
from light_node.fabric.errors import Unavailable
from light_node.fabric.pb import common_pb2

SOON = 20.0


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(follower, "LAST_RETRY_S", 0.05)


class Bench:
    """A light node over sources in memory."""

    def __init__(self, folder: Path, channel: Any, sources: list[Any], clock: Clock) -> None:
        self.folder, self.channel, self.sources = folder, channel, sources
        self.store = HeaderStore(folder, channel.root)
        self.sync = ChainSync(channel.root, self.store, sources, clock, folder)
        self.sync.start()

    def stop(self) -> None:
        self.sync.stop()
        self.store.close()

    def wait(self, condition: Callable[[SyncStatus], bool]) -> SyncStatus:
        assert self.sync.wait(condition, SOON), self.sync.status()
        return self.sync.status()

    def agreed(self, height: int) -> SyncStatus:
        return self.wait(lambda s: s.verified_height == s.agreed_height == height)

    @property
    def conflicts(self) -> list[dict[str, Any]]:
        folder = self.folder / "conflicts"
        return [json.loads(p.read_bytes()) for p in sorted(folder.glob("*.json"))]


Start = Callable[..., Bench]


@pytest.fixture
def start(tmp_path: Path, running: list[Any]) -> Start:
    def make(channel: Any, *sources: Any, folder: str = "store", clock: Any = None) -> Bench:
        bench = Bench(tmp_path / folder, channel, list(sources), clock or SystemClock())
        running.append(bench)
        return bench

    return make


def peer(status: SyncStatus, organization: str) -> Any:
    return next(p for p in status.peers if p.organization == organization)


# -- good weather -------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [True, False], ids=["headers", "full blocks"])
@pytest.mark.parametrize("count", [3, 120], ids=["near", "far"])
def test_it_follows_what_is_there_and_what_comes(
    channel: Any, make_source: Any, start: Start, headers: bool, count: int
) -> None:
    channel.extend(count // 2)
    channel.add_config()
    channel.extend(count - count // 2)
    one, two = (make_source(o, channel.raw, headers=headers) for o in ("Org1MSP", "Org2MSP"))
    bench = start(channel, one, two)
    status = bench.agreed(channel.height)
    assert status.height == channel.height
    assert status.valid_height == channel.height
    assert status.blocks_verified == channel.height - 1
    assert status.signatures_verified >= 1
    assert status.waiting_for == status.problem == ""
    assert [p.agrees for p in status.peers] == [True, True]
    channel.extend(2)
    channel.add_config()
    channel.extend(1)
    one.serve(channel.raw)
    bench.wait(lambda s: s.verified_height == channel.height)
    assert bench.sync.status().agreed_height == channel.height - 4
    two.serve(channel.raw)
    bench.agreed(channel.height)
    assert bench.store.state.config.sequence == 2


def test_both_forms_give_the_same_result(channel: Any, make_source: Any, start: Start) -> None:
    """A 2.x server sends full blocks whatever is asked for (trap 2 of the protocol facts)."""
    channel.extend(70)
    old = make_source("Org1MSP", channel.raw, headers=False)
    new = make_source("Org2MSP", channel.raw, headers=True)
    start(channel, old, new).agreed(channel.height)


def test_far_behind_one_source_feeds_and_the_other_is_spared(
    bft_channel: Any, make_source: Any, start: Start
) -> None:
    bft_channel.extend(300)
    sources = [make_source(o, bft_channel.raw) for o in ("Org1MSP", "Org2MSP", "Org3MSP")]
    bench = start(bft_channel, *sources)
    bench.agreed(301)
    assert sorted(s.served for s in sources)[0] <= follower.NEAR
    assert max(s.served for s in sources) == 300
    assert bench.sync.status().signatures_verified < 300, "hash links stand for most"
    assert bench.sync.status().progress is None, "nothing is left to do"


def test_the_progress_of_a_long_catch_up(
    bft_channel: Any,
    make_source: Any,
    start: Start,
    still_clock: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batches of 50 blocks, a second each: told after every one of them."""
    monkeypatch.setattr(follower, "BATCH_BLOCKS", 50)
    bft_channel.extend(300)
    feeder = make_source("Org1MSP", bft_channel.raw)
    feeder.down = True
    silent = make_source("Org2MSP", bft_channel.raw, down=True)
    bench = start(bft_channel, feeder, silent, clock=still_clock)
    told: list[SyncStatus] = []

    def listen(status: SyncStatus) -> None:
        if not told or status.verified_height != told[-1].verified_height:
            told.append(status)
            still_clock.elapsed += 1

    bench.sync.subscribe(listen)
    feeder.come_up()
    bench.wait(lambda s: s.verified_height == 301)
    found = {s.verified_height: s.progress for s in told}
    assert found[151] == Progress(150 / 300, 50.0, 3.0)
    assert found[51] is not None
    assert found[51].seconds_left is None
    assert bench.sync.status().progress is None


def test_a_restart_goes_on_where_it_stopped(channel: Any, make_source: Any, start: Start) -> None:
    channel.extend(5)
    channel.add_config()
    channel.extend(5)
    sources = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
    first = start(channel, *sources)
    first.agreed(channel.height)
    first.stop()
    before = [s.served for s in sources]
    channel.extend(3)
    for source in sources:
        source.serve(channel.raw)
    bench = start(channel, *sources)
    status = bench.agreed(channel.height)
    assert status.blocks_verified == 3
    assert all(s.served - b <= 3 for s, b in zip(sources, before, strict=True))


def test_listeners_hear_of_every_step(bft_channel: Any, make_source: Any, start: Start) -> None:
    sources = [make_source(o, bft_channel.raw) for o in ("Org1MSP", "Org2MSP")]
    bench = start(bft_channel, *sources)
    bench.agreed(1)
    heard: list[SyncStatus] = []
    done = threading.Event()

    def listen(status: SyncStatus) -> None:
        heard.append(status)
        if status.agreed_height == 2:
            done.set()

    unsubscribe = bench.sync.subscribe(listen)
    bft_channel.extend(1)
    for source in sources:
        source.serve(bft_channel.raw)
    assert done.wait(SOON)
    unsubscribe()
    unsubscribe()
    assert {s.verified_height for s in heard} >= {2}
    count = len(heard)
    bft_channel.extend(1)
    for source in sources:
        source.serve(bft_channel.raw)
    bench.agreed(3)
    assert len(heard) == count


def test_waiting_for_a_height(bft_channel: Any, make_source: Any, start: Start) -> None:
    bft_channel.extend(4)
    one = make_source("Org1MSP", bft_channel.raw)
    two = make_source("Org2MSP", bft_channel.raw[:3])
    bench = start(bft_channel, one, two)
    assert bench.sync.wait_height(5, SOON)
    assert bench.sync.wait_height(3, SOON, agreed=True)
    assert not bench.sync.wait_height(5, 0.01, agreed=True)
    assert not bench.sync.wait_height(6, 0.01)


# -- organisations ------------------------------------------------------------------------------


def test_two_organisations_are_required(tmp_path: Path, bft_channel: Any, make_source: Any) -> None:
    with HeaderStore(tmp_path, bft_channel.root) as store:
        for organizations in ([], ["Org1MSP"], ["Org1MSP", "Org1MSP"]):
            sources = [make_source(o, bft_channel.raw) for o in organizations]
            with pytest.raises(errors.TooFewOrganizations):
                ChainSync(bft_channel.root, store, sources, SystemClock(), tmp_path)


def test_two_peers_of_one_organisation_do_not_agree_with_each_other(
    bft_channel: Any, make_source: Any, start: Start
) -> None:
    bft_channel.extend(3)
    sources = [make_source("Org1MSP", bft_channel.raw) for _ in range(2)]
    late = make_source("Org2MSP", bft_channel.raw, down=True)
    bench = start(bft_channel, *sources, late)
    status = bench.wait(
        lambda s: (
            s.verified_height == 4
            and peer(s, "Org2MSP").state is PeerState.UNREACHABLE
            and [p.agrees for p in s.peers[:2]] == [True, True]
        )
    )
    assert status.agreed_height is None
    assert "Org2MSP not reachable" in status.waiting_for
    late.come_up()
    bench.agreed(4)


# -- bad weather --------------------------------------------------------------------------------


def test_a_peer_that_is_down_at_start_and_comes_later_is_picked_up(
    channel: Any, make_source: Any, start: Start
) -> None:
    channel.extend(2)
    sources = [make_source(o, channel.raw, down=True) for o in ("Org1MSP", "Org2MSP")]
    bench = start(channel, *sources)
    status = bench.wait(lambda s: all(p.state is PeerState.UNREACHABLE for p in s.peers))
    assert status.waiting_for == "a node of Org1MSP or Org2MSP to answer"
    assert peer(status, "Org1MSP").foreign == "connection refused"
    assert [p.agrees for p in status.peers] == [None, None]
    for source in sources:
        source.come_up()
    status = bench.agreed(channel.height)
    assert peer(status, "Org1MSP").error == ""


def test_a_broken_stream_is_taken_up_again(channel: Any, make_source: Any, start: Start) -> None:
    channel.extend(2)
    sources = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
    bench = start(channel, *sources)
    bench.agreed(3)
    for source in sources:
        source.go_down()
    bench.wait(lambda s: all(p.state is PeerState.UNREACHABLE for p in s.peers))
    assert bench.sync.status().agreed_height == 3, "what was shown stays shown"
    channel.extend(2)
    for source in sources:
        source.serve(channel.raw)
        source.come_up()
    bench.agreed(5)


def test_one_organisation_alone_goes_on_verifying_but_not_agreeing(
    channel: Any, make_source: Any, start: Start
) -> None:
    one, two = (make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP"))
    bench = start(channel, one, two)
    bench.agreed(1)
    two.go_down()
    bench.wait(lambda s: peer(s, "Org2MSP").state is PeerState.UNREACHABLE)
    channel.extend(3)
    one.serve(channel.raw)
    status = bench.wait(lambda s: s.verified_height == 4)
    assert status.agreed_height == 1


def test_a_withheld_tip_is_told_from_a_quiet_channel(
    bft_channel: Any, make_source: Any, start: Start, still_clock: Any
) -> None:
    one, two = (make_source(o, bft_channel.raw) for o in ("Org1MSP", "Org2MSP"))
    bench = start(bft_channel, one, two, clock=still_clock)
    bench.agreed(1)
    still_clock.elapsed += 1000  # quiet: nobody has anything new
    assert [p.agrees for p in bench.sync.status().peers] == [True, True]
    bft_channel.extend(1)
    one.serve(bft_channel.raw)
    status = bench.wait(lambda s: s.verified_height == 2)
    assert peer(status, "Org2MSP").agrees is True, "a moment of delay is no disagreement"
    still_clock.elapsed += tracker.BEHIND_S + 0.1
    status = bench.sync.status()
    assert peer(status, "Org1MSP").agrees is True
    assert peer(status, "Org2MSP").agrees is None, "behind is unknown, not agreeing"
    assert "a second organisation to show block 1" in status.waiting_for
    two.serve(bft_channel.raw)
    status = bench.agreed(2)
    assert peer(status, "Org2MSP").agrees is True


class Dripping:
    """A source whose streams give a block only for every permit; ``given`` counts them."""

    def __init__(self, source: Any) -> None:
        self._source, self.permits, self.given = source, threading.Semaphore(0), 0
        self.organization, self.address, self.kind = source.organization, "drip:1", source.kind
        self.newest, self.block, self.close = source.newest, source.block, source.close

    def headers(self, start: int, stop: int | None = None) -> Any:
        stream, dripping, closed = self._source.headers(start, stop), self, threading.Event()

        class Drops:
            def __iter__(self) -> Any:
                return self

            def __next__(self) -> bytes:
                dripping.permits.acquire()
                if closed.is_set():
                    raise StopIteration
                dripping.given += 1
                raw: bytes = next(stream)
                return raw

            def close(self) -> None:
                closed.set()
                dripping.permits.release()
                stream.close()

        return Drops()


def test_a_feeder_that_drips_is_replaced(
    bft_channel: Any, make_source: Any, start: Start, still_clock: Any
) -> None:
    """Were every block progress, one every 19 s would hold up all others for days."""
    bft_channel.extend(120)
    slow = Dripping(make_source("Org1MSP", bft_channel.raw))
    one, two = (make_source(o, bft_channel.raw, down=True) for o in ("Org2MSP", "Org3MSP"))
    bench = start(bft_channel, slow, one, two, clock=still_clock)
    for _ in range(3):
        slow.permits.release()
    one.come_up()
    two.come_up()
    while bench.sync.status().verified_height < 121:
        still_clock.elapsed += 2
        slow.permits.release()
        bench.sync.wait_height(121, 0.05)
        assert slow.given < follower.NEAR
    bench.agreed(121)


def padded(raw: bytes, size: int) -> bytes:
    """A block with a field (15) of so many bytes, below 2²⁸, that no parser reads."""
    lengths = [(size >> shift) & 0x7F | 0x80 for shift in (0, 7, 14)]
    return raw + bytes([0x7A, *lengths, size >> 21]) + bytes(size)


def stuffed(raw: bytes, size: int) -> bytes:
    """A block with a transaction of so many bytes that its header does not know."""
    block = common_pb2.Block.FromString(raw)
    block.data.data.append(bytes(size))
    return block.SerializeToString()


@pytest.mark.parametrize("number", [60, 40], ids=["its tip", "while it feeds"])
def test_a_block_padded_beyond_what_the_channel_allows_is_refused(
    channel: Any, make_source: Any, start: Start, number: int
) -> None:
    channel.extend(60)
    one, two = (make_source(o, channel.raw, down=True) for o in ("Org1MSP", "Org2MSP"))
    raws = list(channel.raw)
    raws[number] = stuffed(raws[number], 9 << 20)
    bench = start(channel, make_source("Org3MSP", raws, headers=False), one, two)
    status = bench.wait(lambda s: peer(s, "Org3MSP").state is PeerState.DISAGREES)
    assert re.search(
        f"block {number} came with 9,.* bytes; the channel allows 8,", peer(status, "Org3MSP").error
    )
    assert status.verified_height == (1 if number == 60 else 40), "what came before it is kept"
    one.come_up()
    two.come_up()
    bench.agreed(channel.height)


def test_larger_blocks_are_taken_once_a_configuration_allows_them(
    channel: Any, make_source: Any, start: Start
) -> None:
    """Which may be in the very batch before them."""
    channel.extend(60)
    channel.absolute = 16 << 20
    channel.add_config()
    channel.add([channel.envelope("x" * (15 << 20))])
    channel.extend(2)
    sources = [make_source(o, channel.raw, headers=False) for o in ("Org1MSP", "Org2MSP")]
    start(channel, *sources).agreed(channel.height)


def test_bytes_without_a_block_that_verifies_are_bounded(
    channel: Any, make_source: Any, start: Start
) -> None:
    """Its tip, padded, on one connection after the other: right every time, and never enough."""
    channel.extend(3)
    honest = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
    most = (1 << 20) - 8192  # of what is beside the data
    padding = make_source("Org3MSP", [padded(raw, most) for raw in channel.raw], headers=False)
    asked: list[bytes] = []
    newest = padding.newest

    def counted() -> bytes:
        asked.append(newest())
        return asked[-1]

    def broken(start: int, stop: int | None = None) -> Any:
        raise Unavailable("the line broke")

    padding.newest, padding.headers = counted, broken
    padding.down = True
    bench = start(channel, *honest, padding)
    bench.agreed(channel.height)
    padding.come_up()
    status = bench.wait(lambda s: "without one more block" in peer(s, "Org3MSP").error)
    assert peer(status, "Org3MSP").state is PeerState.UNREACHABLE
    allowed = (24 << 20) // len(asked[-1])  # 8 MiB and two blocks of 8 MiB
    assert len(asked) == 1 + allowed + 1, "the one that agreed, and the first too many"
    assert bench.agreed(channel.height).problem == ""


def test_a_stalled_feeder_is_replaced(
    bft_channel: Any, make_source: Any, start: Start, still_clock: Any
) -> None:
    bft_channel.extend(100)
    stalled = make_source("Org1MSP", bft_channel.raw)
    stalled.stalled = True
    bench = start(bft_channel, stalled, make_source("Org2MSP", bft_channel.raw), clock=still_clock)
    # Whoever feeds first: if it is the stalled one, the other breaks it off when time has passed.
    while bench.sync.status().verified_height < 101:
        still_clock.elapsed += follower.STALLED_S + 1
        bench.sync.wait_height(101, 0.05)
    status = bench.wait(lambda s: s.verified_height == 101)
    assert peer(status, "Org2MSP").agrees


# -- lies ---------------------------------------------------------------------------------------


def flip_at(raw: bytes, at: int) -> bytes:
    out = bytearray(raw)
    out[at] ^= 1
    return bytes(out)


LIES: list[tuple[str, Callable[[Any], bytes]]] = [
    ("garbage", lambda c: b"garbage"),
    ("empty", lambda c: b""),
    ("truncated", lambda c: c.raw[3][:-1]),
    ("replayed", lambda c: c.raw[2]),
    ("future", lambda c: c.raw[4]),
    ("no signatures", lambda c: _resigned(c, ())),
    ("too few signatures", lambda c: _resigned(c, (0, 1))),
    ("equivocating without a quorum", lambda c: _other_history(c, (0, 1))),
    ("hidden configuration", lambda c: _resigned(c, None, index=2)),
]


def _resigned(channel: Any, signers: Any, index: int | None = None) -> bytes:
    other = channel.fork(3)
    return other.add(channel.parsed(3).envelopes, signers=signers, last_config=index)


def _other_history(channel: Any, signers: Any) -> bytes:
    other = channel.fork(3)
    return other.add([other.envelope("another story")], signers=signers)


@pytest.mark.parametrize(("what", "lie"), LIES, ids=[what for what, _ in LIES])
@pytest.mark.parametrize("liar_first", [True, False])
def test_a_lie_is_refused_and_the_honest_ones_go_on(
    bft_channel: Any,
    make_source: Any,
    start: Start,
    what: str,
    lie: Callable[[Any], bytes],
    liar_first: bool,
) -> None:
    """Block 3 is spoiled at one source; the other two bring the channel on."""
    channel = bft_channel.extend(4)
    liar = make_source("Org1MSP", channel.raw[:3])
    honest = [make_source(o, channel.raw[:3]) for o in ("Org2MSP", "Org3MSP")]
    bench = start(channel, liar, *honest)
    bench.wait(lambda s: s.agreed_height == 3 and all(p.agrees for p in s.peers))
    spoiled = [*channel.raw[:3], lie(channel), channel.raw[4]]
    for source in [liar, *honest] if liar_first else [*honest, liar]:
        source.serve(spoiled if source is liar else channel.raw)
    status = bench.wait(
        lambda s: s.agreed_height == 5 and peer(s, "Org1MSP").state is PeerState.DISAGREES
    )
    assert status.fork is None
    assert status.verified_height == 5
    assert peer(status, "Org1MSP").agrees is False
    assert peer(status, "Org1MSP").error
    assert [p.agrees for p in status.peers[1:]] == [True, True]
    assert bench.store.hash(3) == channel.parsed(3).hash


@pytest.mark.parametrize("number", [1000, 2**64 - 1])
def test_a_made_up_height_is_not_waited_for(
    bft_channel: Any, make_source: Any, start: Start, number: int
) -> None:
    from light_node.fabric import block as blocks

    channel = bft_channel.extend(2)
    entry = channel.sign(number, bytes(32), bytes(32), 0, (0, 1))
    future = blocks.encode_block(
        number, bytes(32), None, [entry, b"", b"", b"", b""], header_data_hash=bytes(32)
    )
    liar = make_source("Org1MSP", [*channel.raw, future])
    honest = [make_source(o, channel.raw) for o in ("Org2MSP", "Org3MSP")]
    bench = start(channel, liar, *honest)
    status = bench.wait(
        lambda s: s.agreed_height == 3 and peer(s, "Org1MSP").state is PeerState.DISAGREES
    )
    assert status.height == 3
    assert status.waiting_for == ""


def test_what_a_liar_showed_is_kept(bft_channel: Any, make_source: Any, start: Start) -> None:
    import base64

    channel = bft_channel.extend(4)
    bench = start(channel, *(make_source(o, channel.raw) for o in ("Org2MSP", "Org3MSP")))
    bench.agreed(5)
    bench.stop()
    forged = _other_history(channel, (0, 1))
    liar = make_source("Org1MSP", [*channel.raw[:3], forged])
    bench = start(channel, liar, make_source("Org2MSP", channel.raw))
    bench.wait(lambda s: peer(s, "Org1MSP").state is PeerState.DISAGREES)
    (case,) = bench.conflicts
    assert (case["number"], case["organization"], case["channel"]) == (3, "Org1MSP", "testch")
    assert case["our_hash"] == channel.parsed(3).hash.hex()
    assert base64.b64decode(case["their_block"]) == liar.blocks[3]
    assert case["trust_root"] == channel.root.hash.hex()
    assert case["seen_at"].endswith("+00:00")


# Fork topologies: where histories part, and which side the second source is on when it differs.
FORKS = [
    # height of ours, common height, height of theirs
    pytest.param(5, 4, 5, id="at the tip"),
    pytest.param(5, 2, 5, id="some blocks back"),
    pytest.param(5, 1, 5, id="right after the root"),
    pytest.param(5, 3, 4, id="theirs is shorter"),
    pytest.param(5, 4, 7, id="theirs is longer"),
    pytest.param(5, 2, 9, id="theirs parts early and is longer"),
]


@pytest.mark.parametrize(("ours", "common", "theirs"), FORKS)
def test_two_signed_histories_stop_everything(
    channel: Any, make_source: Any, start: Start, ours: int, common: int, theirs: int
) -> None:
    channel.extend(ours - 1)
    other = channel.fork(common)
    while other.height < theirs:
        other.add([other.envelope(f"another story {other.height}")])
    first = make_source("Org1MSP", channel.raw)
    second = make_source("Org2MSP", other.raw, down=True)
    bench = start(channel, first, second)
    bench.wait(lambda s: s.verified_height == ours)
    second.come_up()
    status = bench.wait(lambda s: s.fork is not None)
    assert status.fork is not None
    assert status.fork.organization == "Org2MSP"
    number = status.fork.number
    assert number == common, "the first block that differs"
    assert status.fork.ours == channel.parsed(number).hash
    assert status.fork.theirs == other.parsed(number).hash
    assert "two histories" in status.problem
    assert status.waiting_for == "the operators: two signed histories exist"
    assert peer(status, "Org2MSP").agrees is False
    assert status.verified_height == ours
    assert not status.running
    case = bench.conflicts[0]
    assert (case["organization"], case["number"]) == ("Org2MSP", common)
    channel.extend(1)
    first.serve(channel.raw)
    assert not bench.sync.wait_height(ours + 1, 0.05), "nothing moves any more"


@pytest.mark.parametrize("theirs", [3, 5, 7])
def test_signed_blocks_that_do_not_start_in_our_history_prove_no_fork(
    channel: Any, make_source: Any, start: Start, theirs: int
) -> None:
    """Such as another channel's of the same orderers: no header names its channel."""
    channel.extend(4)
    other = channel.fork(1)
    while other.height < 7:
        other.add([other.envelope(f"another channel {other.height}")])
    sources = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
    liar = make_source("Org3MSP", channel.raw[:2] + other.raw[2:theirs], down=True)
    bench = start(channel, *sources, liar)
    bench.agreed(5)
    liar.come_up()
    status = bench.wait(lambda s: peer(s, "Org3MSP").state is PeerState.DISAGREES)
    assert status.fork is None
    assert "block 2 follows" in peer(status, "Org3MSP").error
    assert {case["organization"] for case in bench.conflicts} == {"Org3MSP"}
    channel.extend(1)
    for source in sources:
        source.serve(channel.raw)
    bench.agreed(6)


def test_peers_that_disagree_on_flags_are_noticed(
    bft_channel: Any, make_source: Any, start: Start
) -> None:
    """Same header, same signatures: only the unsigned validity flags differ (trap 1)."""
    channel = bft_channel.extend(3)
    other = channel.fork(3)
    other.add(channel.parsed(3).envelopes, flags=b"\x0b")
    assert other.parsed(3).hash == channel.parsed(3).hash
    one, two = make_source("Org1MSP", channel.raw), make_source("Org2MSP", other.raw)
    bench = start(channel, one, two)
    status = bench.wait(lambda s: s.agreed_height == 4 and s.disputed_block is not None)
    assert status.disputed_block == 3
    assert (status.valid_height or 0) <= 3
    assert status.fork is None


def test_orderers_agree_on_headers_but_not_on_flags(
    bft_channel: Any, make_source: Any, start: Start
) -> None:
    channel = bft_channel.extend(2)
    orderers_copy = channel.fork(1)
    for number in (1, 2):
        orderers_copy.add(channel.parsed(number).envelopes, flags=b"", commit_hash=b"")
    peers = make_source("Org1MSP", channel.raw)
    orderer = make_source("Orderer1MSP", orderers_copy.raw, kind="orderer")
    status = start(channel, peers, orderer).agreed(3)
    assert status.valid_height is None
    assert status.disputed_block is None


def test_a_source_below_a_later_trust_root_agrees_with_nothing(
    bft_channel: Any, make_source: Any, tmp_path: Path
) -> None:
    from light_node.chain import trust

    channel = bft_channel.extend(2)
    channel.add_config()
    channel.extend(1)
    root = trust.load(channel.raw[3])
    stranger = channel.fork(1)
    stranger.add([stranger.envelope("x")])
    sources = [make_source("Org1MSP", channel.raw), make_source("Org2MSP", stranger.raw)]
    with HeaderStore(tmp_path, root) as store:
        follower = ChainSync(root, store, sources, SystemClock(), tmp_path)
        follower.start()
        assert follower.wait(lambda s: s.verified_height == 5 and s.peers[1].height == 2, SOON)
        assert follower.status().agreed_height is None
        assert follower.status().peers[1].agrees is None
        follower.stop()


def test_a_store_that_refuses_is_reported_and_recovers(
    bft_channel: Any, make_source: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from light_node.chain import store as stores

    write_all = stores._write_all

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    bench = start(bft_channel, *(make_source(o, bft_channel.raw) for o in ("Org1MSP", "Org2MSP")))
    bench.agreed(1)
    monkeypatch.setattr(stores, "_write_all", full)
    bft_channel.extend(2)
    for source in bench.sources:
        source.serve(bft_channel.raw)
    status = bench.wait(lambda s: bool(s.problem))
    assert "free some space" in status.problem
    assert status.verified_height == 1
    monkeypatch.setattr(stores, "_write_all", write_all)
    assert bench.agreed(3).problem == ""


def test_a_failure_to_store_that_is_over_is_not_reported_late(
    bft_channel: Any, make_source: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One source's thread fails to store a block; before it goes on, another's has stored it."""
    from light_node.chain import store as stores

    append, failed, stored = stores.HeaderStore.append, threading.Event(), threading.Event()

    def once(*arguments: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise errors.StoreError("the disk is full; free some space")
        append(*arguments)
        stored.set()

    def take(self: Intake, *arguments: Any) -> None:
        try:
            original(self, *arguments)
        except Exception:
            assert stored.wait(SOON)
            raise

    original = Intake.take
    one, two = (make_source(o, bft_channel.raw) for o in ("Org1MSP", "Org2MSP"))
    bench = start(bft_channel, one, two)
    bench.agreed(1)
    monkeypatch.setattr(stores.HeaderStore, "append", once)
    monkeypatch.setattr(Intake, "take", take)
    bft_channel.extend(1)
    one.serve(bft_channel.raw)
    assert failed.wait(SOON)
    two.serve(bft_channel.raw)
    assert bench.agreed(2).problem == ""


def test_stopping_is_prompt_and_can_be_repeated(
    bft_channel: Any, make_source: Any, start: Start
) -> None:
    bft_channel.extend(2)
    bench = start(bft_channel, *(make_source(o, bft_channel.raw) for o in ("Org1MSP", "Org2MSP")))
    bench.agreed(3)
    bench.stop()
    bench.stop()
    assert not bench.sync.status().running
    assert not any(t.name.startswith("light-node") and t.is_alive() for t in threading.enumerate())
    with pytest.raises(RuntimeError):
        bench.sync.start()
