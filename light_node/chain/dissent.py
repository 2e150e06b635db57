"""Peers that state other validity flags: who lies, as far as it can be proved.

``docs/fabric-protocol.md`` section 2.8. No signature covers flags and commit hash, but each commit
hash follows from the flags, the block's own writes and the commit hash before. So of two copies of
a block that state different flags, a copy whose commit hash does not follow from the one that the
same peer states for the block before is a lie, whoever is in the majority. A peer that recomputes
its commit hashes to fit its flags cannot be caught by its own copies: then the majority of
organisations decides, and it is said that nothing is proved.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from light_node.chain import errors, verify
from light_node.chain.sources import Source
from light_node.fabric import block as blocks
from light_node.fabric.block import Block, BlockError
from light_node.fabric.commit_hash import NeedsStateError, block_updates, commit_hash
from light_node.fabric.errors import FabricError
from light_node.i18n import NOTHING, Text


@dataclass(frozen=True, slots=True)
class Copy:
    """A peer's full copy of a verified block, ``raw`` as it sent it.

    ``before`` is the commit hash it states for the block before, empty before block 1.
    """

    source: Source
    block: Block
    raw: bytes
    before: bytes


@dataclass(frozen=True, slots=True)
class Findings:
    """What looking into block ``number`` gave.

    ``liars`` are copies that refute themselves; ``unproved`` is why nothing could be said of the
    others, "" where their commit hashes were recomputed and are right. ``missing`` are the
    organisations that did not show theirs: it may be worth asking again.
    """

    number: int
    liars: tuple[Copy, ...]
    unproved: Text = NOTHING
    missing: tuple[str, ...] = ()


def look_into(number: int, expected_hash: bytes, sources: Iterable[Source]) -> Findings:
    """Fetch the copies of a block from peers of several organisations and recompute.

    ``expected_hash`` is the verified hash of the block.
    """
    copies: list[Copy] = []
    missing: list[str] = []
    for source in sources:
        before = b""
        try:
            raw = source.block(number)
            block = verify.parse(raw)
            verify.verify_hash(block, expected_hash)
            if number > 1:
                earlier = verify.parse(source.block(number - 1, headers_only=True))
                verify.verify_hash(earlier, block.previous_hash)
                before = blocks.stated_commit_hash(earlier)
        except (FabricError, errors.VerificationError, BlockError):
            missing.append(source.organization)  # its follower reports what is wrong with it
            continue
        copies.append(Copy(source, block, raw, before))
    return replace(recompute(number, copies), missing=tuple(missing))


def recompute(number: int, copies: Iterable[Copy]) -> Findings:
    """Hold each copy's commit hash against its own flags; pure.

    Nobody is accused where no copy fits: rather our recomputation lacks something.
    """
    liars: list[Copy] = []
    right, unproved = 0, NOTHING
    for copy in copies:
        try:
            flags = blocks.transactions_filter(copy.block)
            stated = blocks.stated_commit_hash(copy.block)
            updates = block_updates(number, copy.block.envelopes or (), flags)
        except NeedsStateError:
            unproved = Text("its writes list values that only peers hold")
            continue
        except BlockError:  # flags or a hash that no peer writes
            liars.append(copy)
            continue
        if commit_hash(flags, updates, copy.before) == stated:
            right += 1
        else:
            liars.append(copy)
    if not right:
        return Findings(number, (), unproved or Text("no copy's commit hash can be recomputed"))
    return Findings(number, tuple(liars), unproved)
