"""What is done about contradictions between sources: look closer, keep evidence, shut out, stop.

Nodes are asked here that may not answer, so nothing of this holds the lock while it asks.
"""

from collections.abc import Mapping

from light_node.chain import branch, dissent, errors
from light_node.chain.branch import Branch, Unsigned
from light_node.chain.disclosure import disclosed, signed_otherwise
from light_node.chain.divergence import branch_of, first_divergence
from light_node.chain.shared import Shared
from light_node.chain.sources import Stream
from light_node.chain.status import PeerState
from light_node.chain.tracker import Tracker
from light_node.chain.witnesses import in_words
from light_node.fabric.block import Block, without_data
from light_node.fabric.errors import FabricError

_FRUITLESS = 3
"""So often one organisation is followed far to a signed block that its history does not reach."""
_MOST_EXAMINED = 64
_ATTEMPTS = 5
"""So often the same organisations are asked while one of them does not show its copy."""
RETRY_S = 0.5
"""The first time after twice this, then after twice as long every time."""
AGAIN_S = 60.0
"""After so long they are asked again about a later block, as long as they differ."""

Sides = frozenset[frozenset[str]]
"""Organisations by what they state of a block's flags."""


class Elsewhere(Exception):
    """A block that is not in our history: of a fork, of another channel, or made up.

    ``signed`` is the block if our configuration's orderers signed it. A fork may have brought
    others since, so that only its first blocks show what it is. ``number`` is the last block that
    may differ, ``error`` what is said if it is no fork.
    """

    def __init__(
        self, number: int, signed: tuple[Block, bytes] | None, error: errors.VerificationError
    ) -> None:
        super().__init__(error.text)
        self.number = number
        self.signed = signed
        self.error = error


class Conflicts:
    """Looks into the contradictions of one channel."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._store = shared.store
        self._fruitless: dict[str, int] = {}
        self._examined: dict[Sides, tuple[int, float]] = {}

    # -- histories ------------------------------------------------------------------------------

    def is_fork(self, tracker: Tracker, claim: Elsewhere) -> bool:
        """Find where a source's history leaves ours; stop everything if it is signed from there on.

        That is the first block that differs, or a later one that rests on it. Else its source is
        in quarantine for what it showed, and a record of that is kept.
        """
        shared, found = self._shared, claim.signed
        try:
            if found is None or found[0].number > claim.number or not self._follows(found[0]):
                found = first_divergence(tracker.source, self._store, claim.number)
                if found is None:
                    raise claim.error
            block, raw = found
            theirs = self._branch(tracker, block, raw, claim)
            if isinstance(theirs, Unsigned):
                # What a stop cut short says nothing of the blocks behind: another time.
                if not (shared.stopping.is_set() or tracker.quarantined):
                    last = max(theirs.last, block.number)
                    shared.recorder.keep_record(raw, last, tracker.source)
                raise claim.error
        except (FabricError, errors.ChainError) as error:
            said = error if claim.signed else claim.error
            shared.set_state(tracker, PeerState.DISAGREES, said.text)
            return False
        ours = self._store.hash(block.number) or b""
        fork = errors.Fork(block.number, ours, block.hash, tracker.source.organization)
        with shared.changed:
            shared.keep(tracker, block.number, ours, raw, fork.text)
        if shared.halt(fork, tracker):
            self._collect_evidence(tracker, raw, theirs)
        return True

    def _branch(
        self, tracker: Tracker, block: Block, raw: bytes, claim: Elsewhere
    ) -> Branch | Unsigned:
        """Return what stands for ``block``, the first that is not ours of a source's history."""
        config = self._store.config_before(block.number)
        if config is not None and branch.is_signed(config, block, block.number):
            return Branch(without_data(raw))
        self._shared.set_state(tracker, PeerState.DISAGREES, claim.error.text)

        def reading(stream: Stream) -> None:
            tracker.stream = stream
            if self._shared.stopping.is_set() or tracker.quarantined:
                stream.close()

        signed_at = claim.signed[0].number if claim.signed is not None else None
        who = tracker.organization
        far = self._fruitless.get(who, 0) < _FRUITLESS
        most = branch.MAX_BLOCKS if far else branch.LOOKED_AT
        try:
            found = branch_of(
                tracker.source, self._store, block.number, signed_at, reading, most=most
            )
        finally:
            tracker.stream = None
        if isinstance(found, Unsigned) and found.last - block.number >= branch.LOOKED_AT:
            self._fruitless[who] = self._fruitless.get(who, 0) + 1
        return found

    def _follows(self, block: Block) -> bool:
        return block.previous_hash == self._store.hash(block.number - 1)

    def is_config_hidden(self, tracker: Tracker, error: errors.HiddenConfig) -> bool:
        """Find out who is wrong about the configuration in force, this node or the source.

        If the source has a configuration block that was passed off as an ordinary one here, what
        was verified since rests on the wrong configuration: it is dropped, and everything stops.
        Else its organisation is shut out where its false index is signed. Returns whether the
        source is done with.
        """
        shared, source, number = self._shared, tracker.source, error.number or 0
        try:
            hidden = disclosed(source, self._store, error.index)
            false = signed_otherwise(source, self._store, number) if hidden is None else None
        except (FabricError, errors.VerificationError) as failure:
            shared.set_state(tracker, PeerState.DISAGREES, failure.text)
            return False
        if hidden is not None:
            number = error.index
            change = errors.HiddenChange(number, self._store.hash(number) or b"")
            if shared.halt(change, None):
                found = Branch(without_data(hidden))
                self._collect_evidence(tracker, hidden, found, ours_is_false=True)
                with shared.changed:
                    self._store.drop_from(number)
            return True
        shared.set_state(tracker, PeerState.DISAGREES, error.text)
        if false is not None:
            self._collect_evidence(tracker, false, Branch(without_data(false)))
        return tracker.quarantined

    def _collect_evidence(
        self, tracker: Tracker, first: bytes, theirs: Branch, *, ours_is_false: bool = False
    ) -> None:
        shared = self._shared
        others = [t.source for t in shared.trackers if t is not tracker and not t.quarantined]
        found = shared.recorder.keep_fork(
            first, theirs, tracker.source, others, ours_is_false=ours_is_false
        )
        with shared.changed:
            shared.evidence = found.evidence
            shared.witnessed = in_words(found.testimony.witnesses)
            for other in shared.trackers:
                case = found.cases.get(other.organization)
                if case is not None:
                    shared.exclude(other, case.text)
        shared.tell()

    # -- flags that differ ----------------------------------------------------------------------

    def look_into_flags(self, also: int | None = None) -> None:
        """Start to find out who lies about the flags of blocks on which peers differ.

        Of the lowest, of the newest, and of block ``also`` if they differ there.

        On threads of their own, since peers are asked that may not answer. For the same
        organisations on the same sides at once until all have shown their copies (``_ATTEMPTS``),
        from then on every ``AGAIN_S`` seconds: who states another history of the state does so at
        every block from there, but it may be another's turn to lie.
        """
        shared, now = self._shared, self._shared.clock.monotonic()
        with shared.changed:
            if shared.stopping.is_set():
                return
            numbers = dict.fromkeys((*shared.agreement.differences, also))
            for number in (n for n in numbers if n is not None):
                sides = _sides(shared.agreement.shown(number))
                if len(sides) < 2:
                    continue  # nobody refutes whoever stands alone
                attempts, due = self._examined.pop(sides, (0, now))
                if attempts < _ATTEMPTS or now >= due:
                    name = f"light-node-flags-{number}"
                    shared.spawn(name, self._examine, number, sides, attempts + 1)
                    # While it is under way, and if it is complete.
                    attempts, due = _ATTEMPTS, now + AGAIN_S
                self._examined[sides] = (attempts, due)
            while len(self._examined) > _MOST_EXAMINED:
                del self._examined[next(iter(self._examined))]  # the one looked at longest ago

    def _examine(self, number: int, sides: Sides, attempt: int) -> None:
        expected = self._store.hash(number)
        who = frozenset[str]().union(*sides)
        peers = [
            source
            for source in self._shared.active_sources()
            if source.kind == "peer" and source.organization in who
        ]
        if expected is None:
            return
        findings = dissent.look_into(number, expected, peers)
        for liar in findings.liars:
            self._shut_out(liar)
        shared = self._shared
        shared.tell()
        if not findings.missing:
            return
        with shared.changed:
            self._examined[sides] = (attempt, self._examined.get(sides, (0, 0.0))[1])
        # On a quiet channel no later block gives occasion to ask again.
        if attempt < _ATTEMPTS and not shared.stopping.wait(RETRY_S * 2**attempt):
            self.look_into_flags(number)

    def _shut_out(self, liar: dissent.Copy) -> None:
        """Take back what a proven liar stated and follow it no more."""
        shared, organization = self._shared, liar.source.organization
        with shared.changed:
            case = shared.recorder.keep_flags(liar)
            for tracker in shared.trackers:
                if tracker.organization == organization:
                    shared.exclude(tracker, case.text)


def _sides(shown: Mapping[str, bytes]) -> Sides:
    return frozenset(
        frozenset(name for name, digest in shown.items() if digest == stated)
        for stated in shown.values()
    )
