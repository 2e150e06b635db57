"""What a source shows is compared with the verified headers, or verified and stored after them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from light_node.chain import errors, received, verify
from light_node.chain.conflicts import Conflicts, Elsewhere
from light_node.chain.disclosure import check_index
from light_node.chain.shared import Shared
from light_node.chain.tracker import Tracker
from light_node.chain.verify import TrustedState
from light_node.fabric.block import Block
from light_node.fabric.channel_config import ChannelConfig
from light_node.i18n import NOTHING, told


class NotStored(Exception):
    """The store refused; the problem is noted already."""


class Intake:
    """Takes in the blocks of all sources of a channel, one batch at a time."""

    def __init__(self, shared: Shared, conflicts: Conflicts) -> None:
        self._shared = shared
        self._store = shared.store
        self._conflicts = conflicts

    def take(self, tracker: Tracker, first: int, raws: Sequence[bytes]) -> None:
        """Take in what a stream brought for the numbers from ``first`` on.

        The part that is known here by now is compared, the rest verified and stored.
        ``Elsewhere`` for what is not in our history, ``VerificationError`` for what else is not to
        be believed, ``NotStored`` if the disk refuses.
        """
        shared = self._shared
        with shared.changed, _marking(tracker):
            if shared.stopping.is_set() or tracker.quarantined:
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
        shared.tell()
        if differs:
            self._conflicts.look_into_flags()

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
        shared, state = self._shared, self._store.state
        try:
            after, got = received.verify_received(state, raws)
        except errors.VerificationError as error:
            self._judge_contradiction(tracker, state, raws, error)
            raise
        try:
            self._store.append(got, after)
        except (errors.ChainError, OSError) as error:
            # Told before the lock is let go: another source may store the same a moment later.
            shared.problem = told(error)
            raise NotStored from error
        shared.recorder.remember(state.height, raws)
        shared.blocks_verified += len(raws)
        shared.signatures_verified += got.signatures
        shared.newest_at = shared.clock.now()
        shared.pace.note(shared.clock.monotonic(), after.height)
        shared.problem = NOTHING
        # Who shows a header stands for all before it, and commit hashes are chained likewise.
        return self._note(tracker, got.last.block)

    def _note(self, tracker: Tracker, block: Block) -> bool:
        """Record that a source agreed up to this block; return whether flags of it differ."""
        peer = tracker.source.kind == "peer"
        differs = self._shared.agreement.show(tracker.organization, block, peer=peer)
        self._shared.matched(tracker, block.number)
        return differs

    def _compare(self, tracker: Tracker, block: Block, raw: bytes) -> None:
        """Compare a copy with the verified header: its hash, and what its orderers signed.

        ``Elsewhere`` for another header; else the ``VerificationError``.
        """
        ours = self._store.hash(block.number)
        if ours is None:
            return
        config = self._store.config_before(block.number)
        try:
            if config is not None:
                state = TrustedState(config, block.number - 1, block.previous_hash)
                verified = verify.verify_block(state, block)
                self._shared.signatures_verified += len(verified.signers)
            verify.verify_hash(block, ours)
            check_index(self._store, block)
        except errors.VerificationError as error:
            self._shared.keep(tracker, block.number, ours, raw, error.text)
            if block.hash == ours:
                raise
            signed = config is not None and _is_attested(config, block)
            raise Elsewhere(block.number, (block, raw) if signed else None, error) from error

    def _judge_contradiction(
        self,
        tracker: Tracker,
        state: TrustedState,
        raws: Sequence[bytes],
        error: errors.VerificationError,
    ) -> None:
        """Keep what did not verify; ``Elsewhere`` if it does not follow our tip."""
        found = next((e for e in _readable(raws) if e[0].number == error.number), None)
        if found is None:
            return  # it cannot even be read
        block, raw = found
        self._shared.keep(tracker, block.number, None, raw, error.text)
        # A header that nobody signed is refused for that, before its link is looked at.
        leaves = block.number == state.height and block.previous_hash != state.hash
        if leaves and isinstance(error, errors.BrokenLink | errors.AttestationFailed):
            signed = _is_attested(state.config, block)
            raise Elsewhere(state.number, (block, raw) if signed else None, error) from error


@contextmanager
def _marking(tracker: Tracker) -> Iterator[None]:
    """Let nobody who asks in between take a source to agree that has yet to be looked into."""
    try:
        yield
    except (Elsewhere, errors.HiddenConfig):
        tracker.examined = True
        raise


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
