"""Sync and store against a naive model, by a hypothesis state machine.

Three organisations append, lag, withhold, disconnect and lie while the light node follows, is
stopped, killed and started again. The model is a list: the honest chain, how much of it each source
shows, and who has been proved to lie. Forks leave it below what is verified here, so that the chain
must never change, whoever is in the majority. What is verified at an instant is a matter of timing:
no precondition may depend on it, nor on who was proved to lie.
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

from light_node.chain import conflicts, follower, fork_evidence, history_record, quarantine, verify
from light_node.chain import evidence as reports
from light_node.chain.status import PeerState, SyncStatus
from light_node.chain.store import HeaderStore
from light_node.chain.sync import ChainSync
from light_node.clock import SystemClock
from light_node.fabric import block as wire
from light_node.fabric.commit_hash import commit_hash
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2
from tests.light_node.chain.conftest import Channel, FakeSource
from tests.light_node.chain.test_flags_dissent import REFUSED, changed, grow
from tests.light_node.chain.test_fork_topologies import wait_until

SOON = 20.0
LENGTH = 40
CONFIGS = (7, 8, 21)
NAMES = ("Org1MSP", "Org2MSP", "Org3MSP")


@cache
def chain(bft: bool) -> Any:
    channel = Channel.make(bft=bft)
    while channel.height < LENGTH:
        if channel.height in CONFIGS:
            channel.add_config()
        else:
            grow(channel, 1)
    return channel


@cache
def reporter(bft: bool) -> SigningIdentity:
    made: SigningIdentity = chain(bft).peers[0].identity("household", "client")
    return made


def refused(raws: Sequence[bytes], at: int, *, fits: bool) -> bytes:
    """Block ``at`` with its transaction said to be refused, to which its commit hash ``fits``."""
    lie = changed(raws[at], wire.TRANSACTIONS_FILTER, REFUSED)
    if not fits:
        return lie
    before = wire.stated_commit_hash(wire.parse_block(raws[at - 1]))
    # Refused, it writes nothing; nor does it when it is valid.
    stated = wire.encode_commit_hash_entry(commit_hash(REFUSED, b"", before))
    return changed(lie, wire.COMMIT_HASH, stated)


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
    """``shows`` is how many blocks of the honest chain each source has shown at most.

    ``liars`` have shown something false, ``proved`` are those in quarantine for it (orderers among
    them), ``contested`` says that somebody states flags which nothing refutes.
    """

    @initialize(bft=st.booleans())
    def begin(self, bft: bool) -> None:
        self.patch = pytest.MonkeyPatch()
        for name, value in (
            ("NEAR", 3), ("BATCH_BLOCKS", 4), ("FIRST_RETRY_S", 0.005), ("LAST_RETRY_S", 0.02),
            ("QUARANTINE_S", 0.02),
        ):  # fmt: skip
            self.patch.setattr(follower, name, value)
        self.patch.setattr(conflicts, "AGAIN_S", 0.0)
        self.patch.setattr("os.fsync", lambda descriptor: None)  # kills only: quicker
        self.base = Path(tempfile.mkdtemp())
        self.folder, self.kills = self.base / "0", 0
        self.channel, self.reporter = chain(bft), reporter(bft)
        self.raws: list[bytes] = self.channel.raw
        self.hashes = [verify.parse(raw).hash for raw in self.raws]
        self.tip, self.verified = 1, 1
        self.shows = dict.fromkeys(NAMES, 1)
        self.up = dict.fromkeys(NAMES, True)
        self.lying: dict[str, bool] = dict.fromkeys(NAMES, False)
        self.liars: set[str] = set()
        self.proved: set[str] = set()
        self.contested = False
        self.open()

    def open(self) -> None:
        self.sources = {}
        for name in NAMES:
            self.sources[name] = FakeSource(name, self.raws[: self.shows[name]])
            self.sources[name].down = not self.up[name]
            self.lying[name] = False
        self.contested = False
        self.store = HeaderStore(self.folder, self.channel.root)
        clock = SystemClock()
        sources: list[Any] = list(self.sources.values())
        self.sync = ChainSync(
            self.channel.root, self.store, sources, clock, self.folder, reporter=self.reporter
        )
        self.sync.start()

    def close(self) -> None:
        self.sync.stop()
        self.store.close()

    def wait(self, condition: Callable[[SyncStatus], bool]) -> SyncStatus:
        assert self.sync.wait(condition, SOON), self.sync.status()
        return self.sync.status()

    def serve(self, name: str, raws: Sequence[bytes]) -> None:
        """Have a source break the line, and serve ``raws`` when it comes back.

        Not before the break is noticed: a stream asked for a moment ago would wait for blocks that
        are no more.
        """
        self.sources[name].go_down()
        peer = NAMES.index(name)
        self.wait(lambda s: s.peers[peer].state is PeerState.UNREACHABLE)
        self.sources[name].serve(raws)
        self.sources[name].come_up()
        self.up[name] = True

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

    @rule(
        name=st.sampled_from(NAMES),
        back=st.integers(1, 8),
        unsigned=st.integers(0, 2),
        signed=st.integers(0, 4),
    )
    def fork(self, name: str, back: int, unsigned: int, signed: int) -> None:
        """One node shows another history, its first blocks ``unsigned``, those behind it signed.

        Where one is signed, that stops everything and is proved; after a restart the liar tells the
        truth, and is in quarantine. Where none is, there is a record, and nobody is.
        """
        height = self.store.state.height
        if name in self.proved or height < 2 or not unsigned + signed:
            return
        at = max(1, height - back)
        other = self.channel.fork(at)
        for count in range(unsigned + signed):
            envelopes = [other.envelope(f"another story {other.height}")]
            other.add(envelopes, signers=() if count < unsigned else None)
        self.liars.add(name)
        self.lying[name] = True
        self.serve(name, other.raw)
        if not signed:
            path = self.folder / history_record.FOLDER / fork_evidence.file_name(at, name)
            assert wait_until(path.exists), self.sync.status()
            return
        status = self.wait(lambda s: s.evidence is not None)
        assert status.fork is not None
        assert (status.fork.number, status.fork.organization) == (at, name)
        assert not status.running
        self.proved.add(name)
        if status.evidence:
            path = self.folder / fork_evidence.FOLDER / status.evidence
            found = fork_evidence.check(fork_evidence.loads(path.read_bytes()), self.channel.root)
            assert found.number == at
            assert found.ours_hash == self.hashes[at]
            self.proved.update(found.both)
        self.close()
        self.open()

    @rule(name=st.sampled_from(NAMES), fits=st.booleans())
    def lie_in_flags(self, name: str, fits: bool) -> None:
        """One node says that the newest block's transaction was refused; the others show it, too.

        If its commit hash refutes that it is shut out at once. Else it is named, and no more.
        """
        others = [n for n in NAMES if n != name and n not in self.proved]
        if name in self.proved or not others or self.tip > LENGTH - 4:
            return
        self.tip += 1
        while self.tip - 1 in CONFIGS:
            self.tip += 1
        at = self.tip - 1
        for other in others:
            self.shows[other], self.lying[other] = self.tip, False
            self.serve(other, self.raws[: self.tip])
        self.liars.add(name)
        self.lying[name] = True
        self.serve(name, [*self.raws[:at], refused(self.raws, at, fits=fits)])
        if fits:
            self.contested = True
            self.wait(
                lambda s: (
                    s.disputed_block is not None
                    or any(d.organization in self.liars for d in s.dissents)
                )
            )
            return
        peer = NAMES.index(name)
        self.wait(lambda s: "validity flags" in s.peers[peer].error)
        assert wait_until(lambda: name in quarantine.load(self.folder))
        self.proved.add(name)

    # -- what happens to the light node -----------------------------------------------------------

    @rule()
    def settle(self) -> None:
        """All that honest sources show now gets verified, and agreed on where two show it."""
        honest = sorted(
            (
                self.shows[n]
                for n in NAMES
                if self.up[n] and not self.lying[n] and n not in self.proved
            ),
            reverse=True,
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

    @rule()
    def release(self) -> None:
        """A person lifts every quarantine; it holds from the next start on."""
        if not self.proved:
            return
        self.close()
        for name in self.proved:
            assert quarantine.release(self.folder, name)
        self.proved.clear()
        self.open()

    @precondition(lambda self: self.kills < 5)
    @rule(torn=st.integers(0, 200))
    def kill(self, torn: int) -> None:
        """Go on with what the files hold at this instant, and the last bytes lost."""
        self.kills += 1
        killed, self.folder = self.folder, self.base / str(self.kills)
        self.folder.mkdir()
        # First the headers: in a running node configurations are there before them.
        shutil.copy(killed / "headers.bin", self.folder)
        if (killed / quarantine.FILE_NAME).exists():
            shutil.copy(killed / quarantine.FILE_NAME, self.folder)
        folders = (reports.FOLDER, fork_evidence.FOLDER, history_record.FOLDER)
        for name in ("configs", *folders):
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
        assert (status.fork, status.evidence) == (None, None)
        assert not status.problem or self.contested
        assert status.running or self.proved.issuperset(NAMES), "nobody is left to follow"

    @invariant()
    def only_liars_are_accused(self) -> None:
        for peer in self.sync.status().peers:
            if peer.state is PeerState.DISAGREES or peer.agrees is False:
                assert peer.organization in self.liars, peer
            if peer.organization in self.proved:
                assert peer.agrees is False, peer
        for kind in (reports.FOLDER, fork_evidence.FOLDER, history_record.FOLDER):
            for path in (self.folder / kind).glob("*.json"):
                assert json.loads(path.read_bytes())["organization"] in self.liars, path
        assert set(quarantine.load(self.folder)) == self.proved

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
