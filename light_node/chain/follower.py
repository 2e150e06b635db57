"""Following one source after another: claim, catching up in turn, then its stream without end."""

import threading

from light_node.chain import allowance, errors, verify
from light_node.chain.conflicts import Conflicts, Elsewhere
from light_node.chain.intake import Intake, NotStored
from light_node.chain.shared import Shared
from light_node.chain.status import PeerState
from light_node.chain.tracker import Tracker, WrongClock
from light_node.fabric.block import Block
from light_node.fabric.errors import FabricError, TimeRefused, Unavailable
from light_node.i18n import Text, told

BATCH_BLOCKS = 1_000
BATCH_BYTES = 8 * 1024 * 1024
NEAR = 50
"""Up to so many blocks behind, a source is simply followed; beyond, one source feeds batches."""
FIRST_RETRY_S, LAST_RETRY_S = 0.25, 5.0
QUARANTINE_S = 60.0
STALLED_S = 20.0
"""A feeder that takes longer for ``NEAR`` blocks is broken off, so that another may feed."""


class Follower:
    """Reads the sources of a channel, each on a thread that calls :meth:`run`."""

    def __init__(self, shared: Shared, intake: Intake, conflicts: Conflicts) -> None:
        self._shared = shared
        self._store = shared.store
        self._intake = intake
        self._conflicts = conflicts
        self._feeding = threading.Lock()
        self._feeder: Tracker | None = None

    def run(self, tracker: Tracker) -> None:
        """Follow a source until everything stops or it is shut out."""
        shared, retry = self._shared, FIRST_RETRY_S
        while not (shared.stopping.is_set() or tracker.quarantined):
            before = tracker.matched
            try:
                self._follow(tracker)
                delay = retry
            except TimeRefused as error:
                shared.set_state(
                    tracker, PeerState.UNREACHABLE, error.text, wrong_clock=WrongClock(error.ahead)
                )
                delay = retry
            except FabricError as error:
                shared.set_state(tracker, PeerState.UNREACHABLE, error.text, error.foreign)
                delay = retry
            except (Elsewhere, errors.HiddenConfig) as found:
                if self._look_into(tracker, found):
                    return
                delay = QUARANTINE_S
            except errors.TooManyBytes as error:
                # In all rather than in one block: no lie is proved, the line may break often.
                state = PeerState.UNREACHABLE if error.number is None else PeerState.DISAGREES
                shared.set_state(tracker, state, error.text)
                delay = QUARANTINE_S
            except errors.VerificationError as error:
                shared.set_state(tracker, PeerState.DISAGREES, error.text)
                delay = QUARANTINE_S
            except NotStored:  # our own disk, not the source
                shared.tell()
                delay = LAST_RETRY_S
            except (errors.ChainError, OSError) as error:  # likewise
                shared.report(told(error))
                delay = LAST_RETRY_S
            retry = FIRST_RETRY_S if tracker.matched != before else min(2 * retry, LAST_RETRY_S)
            shared.stopping.wait(delay)

    def _look_into(self, tracker: Tracker, found: Elsewhere | errors.HiddenConfig) -> bool:
        """Find out what a source showed that does not fit; return whether it is done with."""
        tracker.examined = True
        try:
            if isinstance(found, Elsewhere):
                return self._conflicts.is_fork(tracker, found)
            return self._conflicts.is_config_hidden(tracker, found)
        finally:
            tracker.examined = False
            self._shared.tell()

    def _follow(self, tracker: Tracker) -> None:
        """Read one source until its stream breaks."""
        stopping = self._shared.stopping
        raw = tracker.source.newest()
        allowance.count(tracker, self._store, raw)
        newest = verify.parse(raw)
        self._check_claim(newest)
        self._shared.seen(tracker, newest.number + 1)
        while newest.number > self._store.state.number + NEAR and not stopping.is_set():
            self._feed_in_turn(tracker, newest.number)
        start = self._store.state.number + 1
        if newest.number < start:  # known here already: agreeing, behind, or on another history
            self._intake.take(tracker, newest.number, [raw])
            self._read(tracker, newest.number + 1, None)
        else:
            self._read(tracker, start, None, (newest.number, raw))
        if not stopping.is_set():
            raise Unavailable(Text("the node ended the stream of blocks"), stage="deliver")

    def _check_claim(self, newest: Block) -> None:
        """Check a tip ahead of ours as far as the configuration at hand goes.

        A made-up height would else be waited for. Beyond a configuration change the signatures
        cannot be checked yet; they are when the blocks arrive.
        """
        state = self._store.state
        if newest.number <= state.number or (
            verify.last_config(newest) != state.config.block_number
        ):
            return
        try:
            verify.verify_attestation(state.config, newest)
        except errors.AttestationFailed as error:  # or is it of a fork with other orderers?
            raise Elsewhere(state.number, None, error) from error

    def _feed_in_turn(self, tracker: Tracker, stop: int) -> None:
        """Feed batches up to block ``stop`` if no other source does; else wait a moment."""
        if not self._feeding.acquire(timeout=0.2):
            self._unblock_stalled_feeder()
            return
        try:
            start = self._store.state.number + 1
            if stop >= start:
                tracker.progress = self._shared.clock.monotonic()
                self._feeder = tracker
                self._read(tracker, start, stop)
                if self._store.state.number < stop and not self._shared.stopping.is_set():
                    raise Unavailable(
                        Text("the node ended the stream of blocks early"), stage="deliver"
                    )
        finally:
            self._feeder = None
            self._feeding.release()

    def _unblock_stalled_feeder(self) -> None:
        feeder = self._feeder
        if feeder is None or self._shared.clock.monotonic() - feeder.progress < STALLED_S:
            return
        stream = feeder.stream
        if stream is not None:
            stream.close()

    def _read(
        self, tracker: Tracker, start: int, stop: int | None, shown: tuple[int, bytes] | None = None
    ) -> None:
        """Read blocks ``start`` to ``stop``; in batches when there is a stop, else one by one.

        ``shown`` (number, bytes) is a later block that the source showed before. It is compared as
        soon as that is known here: in the stream the source may show another.
        """
        stream = tracker.source.headers(start, stop)
        tracker.stream = stream
        if self._shared.stopping.is_set() or tracker.quarantined:
            stream.close()
        expected, size, batch = start, 0, list[bytes]()
        try:
            for raw in stream:
                if batch and size + len(raw) > BATCH_BYTES:
                    # First, since a configuration in it may allow larger blocks.
                    self._intake.take(tracker, expected, batch)
                    expected, size, batch = expected + len(batch), 0, []
                allowance.count(tracker, self._store, raw)
                batch.append(raw)
                size += len(raw)
                if (expected + len(batch) - start) % NEAR == 0:
                    tracker.progress = self._shared.clock.monotonic()
                if stop is None or len(batch) >= BATCH_BLOCKS:
                    self._intake.take(tracker, expected, batch)
                    expected, size, batch = expected + len(batch), 0, []
                if shown is not None and expected > shown[0]:
                    self._intake.take(tracker, shown[0], [shown[1]])
                    shown = None
                if stop is not None and expected + len(batch) > stop:
                    break  # whatever else the node would send
            if batch:
                self._intake.take(tracker, expected, batch)
        finally:
            tracker.stream = None
            stream.close()
