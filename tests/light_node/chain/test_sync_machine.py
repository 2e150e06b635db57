"""Sync and store against a naive model, by a hypothesis state machine.

Three organisations append, lag, withhold, disconnect and lie while the light node follows, is
stopped, killed and started again. The model is a list: the honest chain, and how much of it each
source shows. Signed forks and flags are not among the lies: there, who is right is a matter of
majorities (test_fork_evidence, test_flags_dissent).
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from light_node.chain import evidence as reports
from light_node.chain import follower, fork_evidence, quarantine, verify
from light_node.chain.status import PeerState
from light_node.chain.store import HeaderStore
from light_node.chain.sync import ChainSync
from light_node.clock import SystemClock
from light_node.fabric.pb import common_pb2
from tests.light_node.chain.conftest import Channel, FakeSource

SOON = 20.0
LENGTH = 40
NAMES = ("Org1MSP", "Org2MSP", "Org3MSP")


@cache
def chain(bft: bool) -> Any:
    channel = Channel.make(bft=bft)
    while channel.height < LENGTH:
        if channel.height in (7, 8, 21):
            channel.add_config()
        channel.add()
    return channel


def altered(raws: Sequence[bytes], at: int) -> bytes:
    block = common_pb2.Block.FromString(raws[at])
    block.header.data_hash = bytes(b ^ 1 for b in block.header.data_hash)
    return block.SerializeToString()


def padded(raws: Sequence[bytes], at: int) -> bytes:
    size = follower.allowance.FLOOR_BYTES + 1
    lengths = [(size >> shift) & 0x7F | 0x80 for shift in (0, 7, 14)]
    return raws[at] + bytes([0x7A, *lengths, size >> 21]) + bytes(size)


LIES: dict[str, Callable[[Sequence[bytes], int], bytes]] = {
    "altered": altered,
    "truncated": lambda raws, at: raws[at][: len(raws[at]) // 2],
    "empty": lambda raws, at: b"",
    "replayed": lambda raws, at: raws[at - 1],
    "early": lambda raws, at: raws[min(at + 1, LENGTH - 1)],
    "oversized": padded,
}


class Following(RuleBasedStateMachine):
    """``shows`` is how many blocks of the honest chain each source has shown at most."""

    @initialize(bft=st.booleans())
    def begin(self, bft: bool) -> None:
        self.patch = pytest.MonkeyPatch()
        for name, value in (
            ("NEAR", 3), ("BATCH_BLOCKS", 4), ("FIRST_RETRY_S", 0.005), ("LAST_RETRY_S", 0.02),
            ("QUARANTINE_S", 0.02),
        ):  # fmt: skip
            self.patch.setattr(follower, name, value)
        self.patch.setattr("os.fsync", lambda descriptor: None)  # kills only: quicker
        self.base = Path(tempfile.mkdtemp())
        self.folder, self.kills = self.base / "0", 0
        self.channel = chain(bft)
        self.raws: list[bytes] = self.channel.raw
        self.hashes = [verify.parse(raw).hash for raw in self.raws]
        self.tip, self.verified = 1, 1
        self.shows = dict.fromkeys(NAMES, 1)
        self.up = dict.fromkeys(NAMES, True)
        self.lying: dict[str, bool] = dict.fromkeys(NAMES, False)
        self.liars: set[str] = set()
        self.open()

    def open(self) -> None:
        self.sources = {}
        for name in NAMES:
            self.sources[name] = FakeSource(name, self.raws[: self.shows[name]])
            self.sources[name].down = not self.up[name]
            self.lying[name] = False
        self.store = HeaderStore(self.folder, self.channel.root)
        clock = SystemClock()
        sources: list[Any] = list(self.sources.values())
        self.sync = ChainSync(self.channel.root, self.store, sources, clock, self.folder)
        self.sync.start()

    def close(self) -> None:
        self.sync.stop()
        self.store.close()

    # -- what happens to the network --------------------------------------------------------------

    @rule(count=st.integers(1, 12))
    def append(self, count: int) -> None:
        self.tip = min(LENGTH, self.tip + count)

    @rule(name=st.sampled_from(NAMES), lag=st.integers(0, 6))
    def show(self, name: str, lag: int) -> None:
        """A node gets blocks, perhaps not all: it lags or withholds. One that lied repents."""
        self.shows[name] = max(self.shows[name], self.tip - lag)
        self.lying[name] = False
        self.sources[name].serve(self.raws[: self.shows[name]])

    @rule(name=st.sampled_from(NAMES))
    def disconnect(self, name: str) -> None:
        self.up[name] = False
        self.sources[name].go_down()

    @rule(name=st.sampled_from(NAMES))
    def connect(self, name: str) -> None:
        self.up[name] = True
        self.sources[name].come_up()

    @rule(
        name=st.sampled_from(NAMES),
        lie=st.sampled_from(sorted(LIES)),
        back=st.integers(0, 5),
        more=st.booleans(),
    )
    def lie(self, name: str, lie: str, back: int, more: bool) -> None:
        """One node shows something else in place of a block; with ``more`` the rest behind it."""
        at = max(1, self.shows[name] - back)
        self.liars.add(name)
        self.lying[name] = True
        made = LIES[lie](self.raws, min(at, LENGTH - 1))
        rest = self.raws[at + 1 : self.shows[name]] if more else []
        self.sources[name].headers_only = False
        self.sources[name].serve([*self.raws[:at], made, *rest])

    # -- what happens to the light node -----------------------------------------------------------

    @rule()
    def settle(self) -> None:
        """All that honest sources show now gets verified, and agreed on where two show it."""
        honest = sorted(
            (self.shows[n] for n in NAMES if self.up[n] and not self.lying[n]), reverse=True
        )
        if honest:
            assert self.sync.wait_height(honest[0], SOON), self.sync.status()
        if len(honest) > 1:
            assert self.sync.wait_height(honest[1], SOON, agreed=True), self.sync.status()

    @rule()
    def restart(self) -> None:
        self.close()
        before = self.store.state.height
        self.open()
        assert self.store.state.height >= before

    @precondition(lambda self: self.kills < 5)
    @rule(torn=st.integers(0, 200))
    def kill(self, torn: int) -> None:
        """Go on with what the files hold at this instant, and the last bytes lost."""
        self.kills += 1
        killed, self.folder = self.folder, self.base / str(self.kills)
        self.folder.mkdir()
        # First the headers: in a running node configurations are there before them.
        shutil.copy(killed / "headers.bin", self.folder)
        for name in ("configs", reports.FOLDER):
            if (killed / name).exists():
                shutil.copytree(
                    killed / name, self.folder / name,
                    ignore=lambda folder, names: [n for n in names if n.endswith(".new")],
                )  # fmt: skip
        self.close()
        path = self.folder / "headers.bin"
        path.write_bytes(path.read_bytes()[: -torn or None])
        self.verified = max(1, self.verified - torn // 76 - 1)
        self.open()

    # -- what always holds ------------------------------------------------------------------------

    @invariant()
    def verified_is_a_prefix_of_the_honest_chain(self) -> None:
        state = self.store.state
        assert state.height <= self.tip
        assert state.hash == self.hashes[state.number]
        assert self.store.hash(state.number // 2) == self.hashes[state.number // 2]

    @invariant()
    def it_never_goes_back(self) -> None:
        height = self.store.state.height
        assert height >= self.verified
        self.verified = height

    @invariant()
    def what_is_agreed_is_verified(self) -> None:
        status = self.sync.status()
        assert (status.agreed_height or 0) <= status.verified_height
        assert (status.valid_height or 0) <= status.verified_height
        assert (status.fork, status.evidence, status.problem) == (None, None, "")
        assert status.running

    @invariant()
    def only_liars_are_accused(self) -> None:
        for peer in self.sync.status().peers:
            if peer.state is PeerState.DISAGREES or peer.agrees is False:
                assert peer.organization in self.liars, peer
        for path in (self.folder / reports.FOLDER).glob("*.json"):
            assert json.loads(path.read_bytes())["organization"] in self.liars, path
        assert quarantine.load(self.folder) == {}, "nothing of this is signed by orderers"
        assert not (self.folder / fork_evidence.FOLDER).exists()

    def teardown(self) -> None:
        if hasattr(self, "sync"):
            self.close()
            self.patch.undo()
            shutil.rmtree(self.base)


TestFollowing = Following.TestCase
TestFollowing.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
