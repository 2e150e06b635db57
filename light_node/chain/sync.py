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
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from light_node.chain import dissent, errors, quarantine, received, verify
from light_node.chain.agreement import Agreement
from light_node.chain.disclosure import check_index, disclosed, signed_otherwise
from light_node.chain.divergence import first_divergence
from light_node.chain.recorder import Recorder
from light_node.chain.sources import Source, check_organizations
from light_node.chain.status import PeerState, SyncStatus
from light_node.chain.store import HeaderStore
from light_node.chain.tracker import Tracker, claimed_height, mark_behind, waiting_for
from light_node.chain.trust import TrustRoot
from light_node.chain.verify import TrustedState
from light_node.chain.witnesses import in_words
from light_node.clock import Clock
from light_node.fabric.block import Block
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.errors import FabricError, Unavailable
from light_node.fabric.identity import SigningIdentity

BATCH_BLOCKS = 1_000
BATCH_BYTES = 8 * 1024 * 1024
NEAR = 50
"""Up to so many blocks behind, a source is simply followed; beyond, one source feeds batches."""
FIRST_RETRY_S, LAST_RETRY_S = 0.25, 5.0
QUARANTINE_S = 60.0
STALLED_S = 20.0
_MOST_EXAMINED = 64
_FORKED = "the operators: two signed histories exist"
Listener = Callable[[SyncStatus], None]


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
        self._root = root
        self._store = store
        self._clock = clock
        self._recorder = Recorder(directory, root, store, clock, reporter)
        self._trackers = [Tracker(source) for source in sources]
        cases = quarantine.load(directory)
        for tracker in self._trackers:
            case = cases.get(tracker.source.organization)
            if case is not None:
                tracker.quarantined = True
                tracker.state, tracker.error = PeerState.DISAGREES, str(case)
        self._changed = threading.Condition()
        self._feeding = threading.Lock()
        self._feeder: Tracker | None = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listeners: list[Listener] = []
        self._agreement = Agreement()
        self._examined: set[frozenset[str]] = set()
        self._fork: errors.Fork | None = None
        self._problem = ""
        self._evidence: str | None = None
        self._witnessed = ""
        self._blocks_verified = 0
        self._signatures_verified = 0
        self._newest_at: datetime | None = None

    # -- for callers ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start following; returns at once."""
        if self._threads:
            raise RuntimeError("the light node is running already")
        for number, tracker in enumerate(self._trackers):
            if tracker.quarantined:
                continue
            name = f"light-node-{number}-{tracker.source.organization}"
            thread = threading.Thread(target=self._run, args=(tracker,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """End all streams and wait for the threads, at most ``timeout`` seconds each."""
        self._end_streams()
        for tracker in self._trackers:
            tracker.source.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout)
        with self._changed:
            self._changed.notify_all()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the status after every change, from worker threads.

        It must return quickly and must not raise. Returns what ends the subscription.
        """
        with self._changed:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._changed:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    def status(self) -> SyncStatus:
        """Return what is known now."""
        with self._changed:
            return self._status()

    def wait_height(self, height: int, timeout: float, *, agreed: bool = False) -> bool:
        """Wait until ``height`` blocks are verified, or agreed on by two organisations.

        False after ``timeout`` seconds, or when the light node has stopped.
        """

        def reached() -> bool:
            now = self._agreement.agreed_height if agreed else self._store.state.height
            return (now or 0) >= height

        with self._changed:
            self._changed.wait_for(lambda: reached() or self._stopping.is_set(), timeout)
            return reached()

    def wait(self, condition: Callable[[SyncStatus], bool], timeout: float) -> bool:
        """Wait until ``condition`` holds for the status; False after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self._status()), timeout)

    @property
    def agreement(self) -> Agreement:
        """What organisations showed for recent blocks."""
        return self._agreement

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources that are not in quarantine, in the order given."""
        return tuple(tracker.source for tracker in self._trackers if not tracker.quarantined)

    @property
    def reachable_sources(self) -> tuple[Source, ...]:
        """The sources worth asking now: those that did not fail at their last attempt."""
        with self._changed:
            return tuple(
                t.source
                for t in self._trackers
                if t.state is not PeerState.UNREACHABLE and not t.quarantined
            )

    # -- one source -----------------------------------------------------------------------------

    def _run(self, tracker: Tracker) -> None:
        retry = FIRST_RETRY_S
        while not (self._stopping.is_set() or tracker.quarantined):
            before = tracker.matched
            try:
                self._follow(tracker)
                delay = retry
            except FabricError as error:
                self._set(tracker, PeerState.UNREACHABLE, str(error), error.foreign)
                delay = retry
            except errors.HiddenConfig as error:
                if self._is_config_hidden(tracker, error):
                    return
                delay = QUARANTINE_S
            except errors.VerificationError as error:
                self._set(tracker, PeerState.DISAGREES, str(error))
                delay = QUARANTINE_S
            except _SignedElsewhere as claim:
                if self._is_fork(tracker, claim):
                    return
                delay = QUARANTINE_S
            except (errors.ChainError, OSError) as error:  # our own disk, not the source
                self._report(str(error))
                delay = LAST_RETRY_S
            retry = FIRST_RETRY_S if tracker.matched != before else min(2 * retry, LAST_RETRY_S)
            self._stopping.wait(delay)

    def _follow(self, tracker: Tracker) -> None:
        """Read one source until its stream breaks."""
        raw = tracker.source.newest()
        newest = verify.parse(raw)
        self._check_claim(newest)
        self._seen(tracker, newest.number + 1)
        while newest.number > self._store.state.number + NEAR and not self._stopping.is_set():
            self._feed_in_turn(tracker, newest.number)
        start = self._store.state.number + 1
        if newest.number < start:  # known here already: agreeing, behind, or on another history
            self._take(tracker, newest.number, [raw])
            start = newest.number + 1
        self._read(tracker, start, None)
        if not self._stopping.is_set():
            raise Unavailable("the node ended the stream of blocks", stage="deliver")

    def _check_claim(self, newest: Block) -> None:
        """Check a tip ahead of ours as far as the configuration at hand goes.

        A made-up height would else be waited for. Beyond a configuration change the signatures
        cannot be checked yet; they are when the blocks arrive.
        """
        state = self._store.state
        if newest.number > state.number and (
            verify.last_config(newest) == state.config.block_number
        ):
            verify.verify_attestation(state.config, newest)

    def _feed_in_turn(self, tracker: Tracker, stop: int) -> None:
        """Feed batches up to block ``stop`` if no other source does; else wait a moment."""
        if not self._feeding.acquire(timeout=0.2):
            self._unblock_stalled_feeder()
            return
        try:
            start = self._store.state.number + 1
            if stop >= start:
                tracker.progress = self._clock.monotonic()
                self._feeder = tracker
                self._read(tracker, start, stop)
                if self._store.state.number < stop and not self._stopping.is_set():
                    raise Unavailable("the node ended the stream of blocks early", stage="deliver")
        finally:
            self._feeder = None
            self._feeding.release()

    def _unblock_stalled_feeder(self) -> None:
        feeder = self._feeder
        if feeder is None or self._clock.monotonic() - feeder.progress < STALLED_S:
            return
        stream = feeder.stream
        if stream is not None:
            stream.close()

    def _read(self, tracker: Tracker, start: int, stop: int | None) -> None:
        """Read blocks ``start`` to ``stop``; in batches when there is a stop, else one by one."""
        stream = tracker.source.headers(start, stop)
        tracker.stream = stream
        if self._stopping.is_set() or tracker.quarantined:
            stream.close()
        expected, size, batch = start, 0, list[bytes]()
        try:
            for raw in stream:
                batch.append(raw)
                size += len(raw)
                tracker.progress = self._clock.monotonic()
                if stop is None or len(batch) >= BATCH_BLOCKS or size >= BATCH_BYTES:
                    self._take(tracker, expected, batch)
                    expected += len(batch)
                    size, batch = 0, []
            if batch:
                self._take(tracker, expected, batch)
        finally:
            tracker.stream = None
            stream.close()

    # -- what a source shows --------------------------------------------------------------------

    def _take(self, tracker: Tracker, first: int, raws: Sequence[bytes]) -> None:
        """Take in what a stream brought for the numbers from ``first`` on.

        The part that is known here by now is compared, the rest verified and stored.
        """
        with self._changed:
            if self._stopping.is_set() or tracker.quarantined:
                return
            known, differs = max(0, self._store.state.height - first), False
            for number, raw in enumerate(raws[:known], start=first):
                block = verify.parse(raw)
                if block.number != number:
                    raise errors.WrongNumber(block.number, block.hash, number)
                # Signatures of the last one only: a batch that overlaps has its tip among them.
                last = number == first + min(known, len(raws)) - 1
                differs = self._meet(tracker, block, raw, look=last) or differs
            if raws[known:]:
                differs = self._extend(tracker, raws[known:]) or differs
        self._tell()
        if differs:
            self.look_into_flags()

    def _meet(self, tracker: Tracker, block: Block, raw: bytes, *, look: bool = True) -> bool:
        """Compare a copy of a block that is known here; without ``look`` only its hash.

        Returns whether peers differ on its flags, as :meth:`_extend` and :meth:`_note` do.
        """
        # Below the trust root nothing is known, so nothing can be agreed with.
        if block.number < self._store.first:
            return False
        if look or self._store.hash(block.number) != block.hash:
            self._compare(tracker, block, raw)
        return self._note(tracker, block)

    def _extend(self, tracker: Tracker, raws: Sequence[bytes]) -> bool:
        """Verify and store what comes after the tip."""
        state = self._store.state
        try:
            after, got = received.verify_received(state, raws)
        except errors.VerificationError as error:
            self._judge_contradiction(tracker, state, raws, error)
            raise
        self._store.append(got, after)
        self._recorder.remember(state.height, raws)
        self._blocks_verified += len(raws)
        self._signatures_verified += got.signatures
        self._newest_at = self._clock.now()
        self._problem = ""
        # Who shows a header stands for all before it, and commit hashes are chained likewise.
        return self._note(tracker, got.last.block)

    def _compare(self, tracker: Tracker, block: Block, raw: bytes) -> None:
        """Compare a copy with the verified header: its hash, and what its orderers signed.

        ``_SignedElsewhere`` for another, signed header; else the ``VerificationError``.
        """
        ours = self._store.hash(block.number)
        if ours is None:
            return
        config = self._store.config_before(block.number)
        try:
            if config is not None:
                state = TrustedState(config, block.number - 1, block.previous_hash)
                verified = verify.verify_block(state, block)
                self._signatures_verified += len(verified.signers)
            verify.verify_hash(block, ours)
            check_index(self._store, block)
        except errors.VerificationError as error:
            self._keep(tracker, block.number, ours, raw, str(error))
            if block.hash != ours and config is not None and _is_attested(config, block):
                raise _SignedElsewhere(block.number, block, raw, error) from error
            raise

    def _judge_contradiction(
        self,
        tracker: Tracker,
        state: TrustedState,
        raws: Sequence[bytes],
        error: errors.VerificationError,
    ) -> None:
        """Keep what did not verify; ``_SignedElsewhere`` if it is signed, on another history."""
        found = next((e for e in _readable(raws) if e[0].number == error.number), None)
        if found is None:
            return  # it cannot even be read
        block, raw = found
        self._keep(tracker, block.number, None, raw, str(error))
        linked_elsewhere = isinstance(error, errors.BrokenLink) and block.number == state.height
        if linked_elsewhere and _is_attested(state.config, block):
            raise _SignedElsewhere(state.number, block, raw, error) from error

    def _is_fork(self, tracker: Tracker, claim: "_SignedElsewhere") -> bool:
        """Find where a signed block's history leaves ours; stop everything if it does.

        Else its source is in quarantine for what it showed. Called without the lock.
        """
        block, raw = claim.block, claim.raw
        try:
            if block.number > claim.number or block.previous_hash != self._store.hash(
                block.number - 1
            ):
                found = first_divergence(tracker.source, self._store, claim.number)
                if found is None:
                    raise claim.error
                block, raw = found
        except (FabricError, errors.VerificationError) as error:
            self._set(tracker, PeerState.DISAGREES, str(error))
            return False
        ours = self._store.hash(block.number) or b""
        fork = errors.Fork(block.number, ours, block.hash, tracker.source.organization)
        with self._changed:
            self._keep(tracker, block.number, ours, raw, str(fork))
        self._halt(fork, tracker)
        self._collect_evidence(tracker, block.number, raw)
        return True

    def _is_config_hidden(self, tracker: Tracker, error: errors.HiddenConfig) -> bool:
        """Find out who is wrong about the configuration in force, this node or the source.

        If the source has a configuration block that was passed off as an ordinary one here, what
        was verified since rests on the wrong configuration: it is dropped, and everything stops.
        Else its organisation is shut out where its false index is signed. Returns whether the
        source is done with. Called without the lock.
        """
        source, number = tracker.source, error.number or 0
        try:
            hidden = disclosed(source, self._store, error.index)
            false = signed_otherwise(source, self._store, number) if hidden is None else None
        except (FabricError, errors.VerificationError) as failure:
            self._set(tracker, PeerState.DISAGREES, str(failure))
            return False
        if hidden is not None:
            number = error.index
            self._halt(errors.HiddenChange(number, self._store.hash(number) or b""), None)
            self._collect_evidence(tracker, number, hidden, ours_is_false=True)
            with self._changed:
                self._store.drop_from(number)
            return True
        self._set(tracker, PeerState.DISAGREES, str(error))
        if false is not None:
            self._collect_evidence(tracker, number, false)
        return tracker.quarantined

    def _keep(
        self, tracker: Tracker, number: int, ours: bytes | None, theirs: bytes, reason: str
    ) -> None:
        problem = self._recorder.keep(tracker.source, number, ours, theirs, reason)
        self._problem = problem or self._problem

    def _note(self, tracker: Tracker, block: Block) -> bool:
        """Record that a source agreed up to this block; return whether flags of it differ."""
        differs = self._agreement.show(
            tracker.organization, block, peer=tracker.source.kind == "peer"
        )
        tracker.matched = max(tracker.matched or 0, block.number)
        tracker.height = max(tracker.height or 0, block.number + 1)
        tracker.connected(self._clock.now())
        mark_behind(self._trackers, self._store.state.number, self._clock.monotonic())
        return differs

    # -- flags that differ ----------------------------------------------------------------------

    def look_into_flags(self) -> None:
        """Start to find out who lies about the flags of the lowest block on which peers differ.

        On a thread of its own, since peers are asked that may not answer. Once for the same
        organisations: who states another history of the state does so at every block from there.
        """
        with self._changed:
            number = self._agreement.lowest_difference
            if number is None or self._stopping.is_set():
                return
            stated = frozenset(self._agreement.shown(number).items())
            who = frozenset(organization for organization, _ in stated)
            if who in self._examined or len(self._examined) >= _MOST_EXAMINED:
                return
            self._examined.add(who)
            name = f"light-node-flags-{number}"
            thread = threading.Thread(
                target=self._examine, args=(number, who), name=name, daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _examine(self, number: int, who: frozenset[str]) -> None:
        expected = self._store.hash(number)
        peers = [
            source
            for source in self.sources
            if source.kind == "peer" and source.organization in who
        ]
        if expected is None:
            return
        findings = dissent.look_into(number, expected, self._store.first, peers)
        for liar in findings.liars:
            self._shut_out(liar)
        self._tell()

    def _shut_out(self, liar: dissent.Copy) -> None:
        """Take back what a proven liar stated and follow it no more."""
        organization = liar.source.organization
        with self._changed:
            case = self._recorder.keep_flags(liar)
            self._agreement.forget(organization)
            for tracker in self._trackers:
                if tracker.organization == organization:
                    self._exclude(tracker, str(case))

    # -- state of sources -----------------------------------------------------------------------

    def _seen(self, tracker: Tracker, height: int) -> None:
        with self._changed:
            tracker.connected(self._clock.now())
            tracker.height = height
        self._tell()

    def _set(self, tracker: Tracker, state: PeerState, error: str, foreign: str = "") -> None:
        if self._stopping.is_set():
            return
        with self._changed:
            if tracker.quarantined:
                return
            tracker.state, tracker.error, tracker.foreign = state, error, foreign
        self._tell()

    def _report(self, problem: str) -> None:
        with self._changed:
            self._problem = problem
        self._tell()

    def _halt(self, fork: errors.Fork, tracker: Tracker | None) -> None:
        """Stop following the channel; ``tracker`` showed what does not fit."""
        with self._changed:
            self._fork = fork
            if tracker is not None:
                tracker.state, tracker.error = PeerState.DISAGREES, str(fork)
        self._end_streams()
        self._tell()

    def _collect_evidence(
        self, tracker: Tracker, number: int, theirs: bytes, *, ours_is_false: bool = False
    ) -> None:
        others = [t.source for t in self._trackers if t is not tracker and not t.quarantined]
        found = self._recorder.keep_fork(
            number, theirs, tracker.source, others, ours_is_false=ours_is_false
        )
        with self._changed:
            self._evidence = found.evidence
            self._witnessed = in_words(found.testimony.witnesses)
            for other in self._trackers:
                case = found.cases.get(other.organization)
                if case is not None:
                    self._exclude(other, str(case))
        self._tell()

    def _exclude(self, tracker: Tracker, reason: str) -> None:
        """Follow a source no more; with the lock held."""
        tracker.quarantined = True
        tracker.state, tracker.error = PeerState.DISAGREES, reason
        if tracker.stream is not None:
            tracker.stream.close()

    def _end_streams(self) -> None:
        self._stopping.set()
        for tracker in self._trackers:
            stream = tracker.stream
            if stream is not None:
                stream.close()
        with self._changed:
            self._changed.notify_all()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
            listeners = list(self._listeners)
            status = self._status() if listeners else None
        if status is not None:
            for listener in listeners:
                listener(status)

    # -- status ---------------------------------------------------------------------------------

    def _status(self) -> SyncStatus:
        verified, now = self._store.state.height, self._clock.monotonic()
        agreed = self._agreement.agreed_height
        fork = self._fork
        return SyncStatus(
            channel=self._root.config.channel_id,
            trust_root=self._root.fingerprint,
            trust_root_expires=self._root.expires,
            verified_height=verified,
            agreed_height=agreed,
            valid_height=self._agreement.valid_height,
            height=claimed_height(self._trackers),
            peers=tuple(tracker.status(now) for tracker in self._trackers),
            waiting_for=_FORKED if fork else waiting_for(self._trackers, verified, agreed),
            problem=self._current_problem(),
            blocks_verified=self._blocks_verified,
            signatures_verified=self._signatures_verified,
            newest_at=self._newest_at,
            disputed_block=self._agreement.disputed_block,
            dissents=self._agreement.dissents,
            fork=fork,
            evidence=self._evidence,
            running=bool(self._threads) and not self._stopping.is_set(),
        )

    def _current_problem(self) -> str:
        if self._fork is not None:
            return f"{self._fork}. {self._witnessed}" if self._witnessed else str(self._fork)
        disputed, dissents = self._agreement.disputed_block, self._agreement.dissents
        if self._problem or (disputed is None and not dissents):
            return self._problem
        if disputed is not None:
            who = " and ".join(sorted(self._agreement.shown(disputed)))
            return (
                f"{who} state different validity of transactions in block {disputed}, and no "
                "majority decides; nothing after it is settled until they agree"
            )
        return str(dissents[0])


class _SignedElsewhere(Exception):
    """A signed block that is not in our history: of a fork, or of another channel.

    ``number`` is the last block known to differ, ``error`` what is said if it is no fork.
    """

    def __init__(
        self, number: int, block: Block, raw: bytes, error: errors.VerificationError
    ) -> None:
        super().__init__(str(error))
        self.number = number
        self.block = block
        self.raw = raw
        self.error = error


def _readable(raws: Iterable[bytes]) -> Iterator[tuple[Block, bytes]]:
    """Yield those that can be read, parsed, with their bytes."""
    for raw in raws:
        try:
            yield verify.parse(raw), raw
        except errors.MalformedBlock:
            continue


def _is_attested(config: ChannelConfig, block: Block) -> bool:
    try:
        verify.verify_attestation(config, block)
    except errors.VerificationError:
        return False
    return True
