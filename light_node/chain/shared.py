"""What the threads that follow one channel share: its lock, its counters, and who is told."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from light_node.chain import errors, root_text
from light_node.chain.agreement import Agreement
from light_node.chain.progress import Pace
from light_node.chain.recorder import Recorder
from light_node.chain.sources import Source
from light_node.chain.status import PeerState, SyncStatus
from light_node.chain.store import HeaderStore
from light_node.chain.tracker import (
    Tracker,
    WrongClock,
    claimed_height,
    clock_fits,
    mark_behind,
    waiting_for,
)
from light_node.chain.trust import TrustRoot
from light_node.clock import Clock
from light_node.i18n import NOTHING, Text, all_of

Listener = Callable[[SyncStatus], None]
_FORKED = Text("the operators: two signed histories exist")


class Shared:
    """One followed channel. ``changed`` is the lock of everything here and of the trackers.

    ``threads`` are all that were started; ``evidence`` is the file kept of a fork, ``witnessed``
    who showed which version, in words.
    """

    def __init__(
        self,
        root: TrustRoot,
        store: HeaderStore,
        recorder: Recorder,
        clock: Clock,
        sources: Sequence[Source],
    ) -> None:
        self.root = root
        dated = root.anchor.obtained is not None and root.anchor.expires is not None
        self._root_text = root_text.encode(root.anchor) if dated else ""
        self.store = store
        self.recorder = recorder
        self.clock = clock
        self.trackers = [Tracker(source) for source in sources]
        self.agreement = Agreement()
        self.pace = Pace()
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []
        self.listeners: list[Listener] = []
        self.fork: errors.Fork | None = None
        self.evidence: str | None = None
        self.witnessed = NOTHING
        self.problem = NOTHING
        self.blocks_verified = 0
        self.signatures_verified = 0
        self.newest_at: datetime | None = None

    # -- threads --------------------------------------------------------------------------------

    def spawn(self, name: str, target: Callable[..., None], *arguments: object) -> None:
        """Start a thread and remember it until it has ended; with the lock held."""
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        thread.start()
        self.threads = [t for t in self.threads if t.is_alive()] + [thread]

    def end_streams(self) -> None:
        """Have every thread come to its end; returns at once."""
        self.stopping.set()
        for tracker in self.trackers:
            stream = tracker.stream
            if stream is not None:
                stream.close()
        with self.changed:
            self.changed.notify_all()

    def tell(self) -> None:
        """Wake who waits for a change, and call the listeners."""
        with self.changed:
            self.changed.notify_all()
            listeners = list(self.listeners)
            status = self.status() if listeners else None
        if status is not None:
            for listener in listeners:
                listener(status)

    # -- sources --------------------------------------------------------------------------------

    def active_sources(self) -> tuple[Source, ...]:
        """Return the sources that are not in quarantine, in the order given."""
        return tuple(tracker.source for tracker in self.trackers if not tracker.quarantined)

    def seen(self, tracker: Tracker, height: int) -> None:
        """Note the height a source claims."""
        with self.changed:
            tracker.connected(self.clock.now())
            tracker.height = height
        self.tell()

    def set_state(
        self,
        tracker: Tracker,
        state: PeerState,
        error: Text,
        foreign: str = "",
        *,
        wrong_clock: WrongClock | None = None,
    ) -> None:
        """Note what is wrong with a source, unless everything is ending or it is shut out."""
        if self.stopping.is_set():
            return
        with self.changed:
            if tracker.quarantined:
                return
            tracker.state, tracker.error, tracker.foreign = state, error, foreign
            tracker.wrong_clock = wrong_clock
        self.tell()

    def matched(self, tracker: Tracker, number: int) -> None:
        """Note that a source showed block ``number`` as it is known here; with the lock held."""
        if tracker.matched is None or number > tracker.matched:
            tracker.unverified = 0
        tracker.matched = max(tracker.matched or 0, number)
        tracker.height = max(tracker.height or 0, number + 1)
        tracker.connected(self.clock.now())
        mark_behind(self.trackers, self.store.state.number, self.clock.monotonic())

    def exclude(self, tracker: Tracker, reason: Text) -> None:
        """Follow a source no more, whose word on flags counts no more; with the lock held."""
        tracker.quarantined = True
        self.agreement.forget(tracker.organization)
        tracker.state, tracker.error = PeerState.DISAGREES, reason
        if tracker.stream is not None:
            tracker.stream.close()

    # -- problems -------------------------------------------------------------------------------

    def report(self, problem: Text) -> None:
        """Note a problem of this machine."""
        with self.changed:
            self.problem = problem
        self.tell()

    def keep(
        self, tracker: Tracker, number: int, ours: bytes | None, theirs: bytes, reason: Text
    ) -> None:
        """Keep what does not fit, as received; with the lock held."""
        problem = self.recorder.keep(tracker.source, number, ours, theirs, reason)
        self.problem = problem or self.problem

    def halt(self, fork: errors.Fork, tracker: Tracker | None) -> bool:
        """Stop following the channel; ``tracker`` showed what does not fit.

        False if it has stopped already: of several that show it, the first is the reason.
        """
        with self.changed:
            if tracker is not None:
                tracker.state, tracker.error = PeerState.DISAGREES, fork.text
            if self.fork is not None:
                return False
            self.fork = fork
        self.end_streams()
        self.tell()
        return True

    def wait_for_evidence(self, timeout: float) -> None:
        """Wait until the evidence of a fork that was seen is kept, or could not be."""
        with self.changed:
            self.changed.wait_for(lambda: self.fork is None or self.evidence is not None, timeout)

    # -- status ---------------------------------------------------------------------------------

    def status(self) -> SyncStatus:
        """Return what is known now; with the lock held."""
        verified, now = self.store.state.height, self.clock.monotonic()
        agreed = self.agreement.agreed_height
        fork, claimed = self.fork, claimed_height(self.trackers)
        return SyncStatus(
            channel=self.root.config.channel_id,
            trust_root=self.root.fingerprint,
            trust_root_expires=self.root.expires,
            trust_root_text=self._root_text,
            verified_height=verified,
            agreed_height=agreed,
            valid_height=self.agreement.valid_height,
            height=claimed,
            peers=tuple(t.status(now, clock_fits=clock_fits(self.trackers)) for t in self.trackers),
            waiting_for=_FORKED if fork else waiting_for(self.trackers, verified, agreed),
            problem=self._current_problem(),
            blocks_verified=self.blocks_verified,
            signatures_verified=self.signatures_verified,
            newest_at=self.newest_at,
            disputed_block=self.agreement.disputed_block,
            dissents=self.agreement.dissents,
            fork=fork,
            evidence=self.evidence,
            progress=self.pace.progress(now, self.store.first, verified, claimed),
            running=bool(self.threads) and not self.stopping.is_set(),
        )

    def _current_problem(self) -> Text:
        if self.fork is not None:
            fork, shown = self.fork.text, self.witnessed
            if not shown:
                return fork
            return Text("{fork}. {witnesses}", fork=fork, witnesses=shown).of(fork.kind)
        disputed, dissents = self.agreement.disputed_block, self.agreement.dissents
        if self.problem or (disputed is None and not dissents):
            return self.problem
        if disputed is not None:
            return Text(
                "{names} state different validity of transactions in block {number}, and no "
                "majority decides; nothing after it is settled until they agree",
                names=all_of(sorted(self.agreement.shown(disputed))),
                number=disputed,
            ).of("Dispute")
        return dissents[0].text
