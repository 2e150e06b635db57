"""Following a channel through nodes of several organisations at once.

Every source has a thread that reads its block stream. Whoever brings the next block first has it
verified and stored; what the others show for the same number is compared with it. So the tip is
both fetched and cross-checked with the latency of the network, and a source that withholds blocks
is told from a quiet channel by the others. Far behind, one source feeds batches (signatures on
configuration blocks and on the last of each batch, hash links for the rest:
:func:`~light_node.chain.received.verify_received`) while the others wait.

Sources of at least two organisations are a required argument: optional security is left off. A
source that is down is tried again for ever; one that shows something that does not verify is
quarantined and what it showed is kept; two histories that are *both* signed stop everything.

The parts: :mod:`~light_node.chain.follower` reads each source, :mod:`~light_node.chain.intake`
verifies and compares, :mod:`~light_node.chain.conflicts` looks into contradictions, and
:mod:`~light_node.chain.shared` is the state they share.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from light_node.chain import quarantine
from light_node.chain.agreement import Agreement
from light_node.chain.conflicts import Conflicts
from light_node.chain.follower import Follower
from light_node.chain.intake import Intake
from light_node.chain.recorder import Recorder
from light_node.chain.shared import Listener, Shared
from light_node.chain.sources import Source, check_organizations
from light_node.chain.status import PeerState, SyncStatus
from light_node.chain.store import HeaderStore
from light_node.chain.trust import TrustRoot
from light_node.clock import Clock
from light_node.fabric.identity import SigningIdentity

__all__ = ["ChainSync", "Listener"]


class ChainSync:
    """Keeps a header store at the tip of its channel; see the module's text.

    ``sources`` must belong to two organisations at least (``TooFewOrganizations``). ``directory``
    is where conflicts are kept. Nothing runs before :meth:`start`. Thread-safe.
    """

    def __init__(
        self,
        root: TrustRoot,
        store: HeaderStore,
        sources: Sequence[Source],
        clock: Clock,
        directory: Path,
        *,
        reporter: SigningIdentity | None = None,
    ) -> None:
        """``reporter`` signs evidence of forks; ``StoreError`` if the quarantine is unreadable."""
        check_organizations(sources)
        recorder = Recorder(directory, root, store, clock, reporter)
        self._shared = shared = Shared(root, store, recorder, clock, sources)
        quarantine.tidy(directory)
        cases = quarantine.load(directory)
        for tracker in shared.trackers:
            case = cases.get(tracker.organization)
            if case is not None:
                shared.exclude(tracker, case.text)
        self._conflicts = Conflicts(shared)
        self._follower = Follower(shared, Intake(shared, self._conflicts), self._conflicts)

    def start(self) -> None:
        """Start following; returns at once."""
        if self._shared.threads:
            raise RuntimeError("the light node is running already")
        with self._shared.changed:
            for number, tracker in enumerate(self._shared.trackers):
                if tracker.quarantined:
                    continue
                name = f"light-node-{number}-{tracker.organization}"
                self._shared.spawn(name, self._follower.run, tracker)

    def stop(self, timeout: float = 10.0) -> None:
        """End all streams and wait for the threads, at most ``timeout`` seconds each.

        A fork stops everything, but nodes are still being asked for its evidence: that is waited
        for first, ``timeout`` seconds at most.
        """
        self._shared.end_streams()
        if threading.current_thread() not in self._shared.threads:
            self._shared.wait_for_evidence(timeout)
        for tracker in self._shared.trackers:
            tracker.source.close()
        for thread in self._shared.threads:
            if thread is not threading.current_thread():
                thread.join(timeout)
        with self._shared.changed:
            self._shared.changed.notify_all()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the status after every change, from worker threads.

        It must return quickly and must not raise. Returns what ends the subscription.
        """
        with self._shared.changed:
            self._shared.listeners.append(listener)

        def unsubscribe() -> None:
            with self._shared.changed:
                if listener in self._shared.listeners:
                    self._shared.listeners.remove(listener)

        return unsubscribe

    def status(self) -> SyncStatus:
        """Return what is known now."""
        with self._shared.changed:
            return self._shared.status()

    def wait_height(self, height: int, timeout: float, *, agreed: bool = False) -> bool:
        """Wait until ``height`` blocks are verified, or agreed on by two organisations.

        False after ``timeout`` seconds, or when the light node has stopped.
        """

        def reached() -> bool:
            now = (
                self._shared.agreement.agreed_height if agreed else self._shared.store.state.height
            )
            return (now or 0) >= height

        with self._shared.changed:
            self._shared.changed.wait_for(
                lambda: reached() or self._shared.stopping.is_set(), timeout
            )
            return reached()

    def wait(self, condition: Callable[[SyncStatus], bool], timeout: float) -> bool:
        """Wait until ``condition`` holds for the status; False after ``timeout`` seconds."""
        with self._shared.changed:
            return self._shared.changed.wait_for(lambda: condition(self._shared.status()), timeout)

    @property
    def agreement(self) -> Agreement:
        """What organisations showed for recent blocks."""
        return self._shared.agreement

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources that are not in quarantine, in the order given."""
        return self._shared.active_sources()

    @property
    def reachable_sources(self) -> tuple[Source, ...]:
        """The sources worth asking now: those that did not fail at their last attempt."""
        with self._shared.changed:
            return tuple(
                t.source
                for t in self._shared.trackers
                if t.state is not PeerState.UNREACHABLE and not t.quarantined
            )

    def look_into_flags(self, number: int) -> None:
        """Start to find out who lies where peers differ on flags, of block ``number``, too.

        Returns at once.
        """
        self._conflicts.look_into_flags(number)
