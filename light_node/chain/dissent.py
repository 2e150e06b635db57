"""Peers that state other validity flags: who lies, as far as it can be proved.

``docs/fabric-protocol.md`` section 2.8. No signature covers flags and commit hash, but each commit
hash follows from the flags, the block's own writes and the commit hash before. So of two copies of
a block that state different flags, a copy whose commit hash does not follow from the one before
(on which all agreed) is a lie, whoever is in the majority. A peer that recomputes its commit hashes
to fit its flags cannot be caught by its own copy: then the majority of organisations decides, and
it is said that nothing is proved.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from light_node.chain import errors, verify
from light_node.chain.sources import Source
from light_node.fabric import block as blocks
from light_node.fabric.block import Block, BlockError
from light_node.fabric.commit_hash import NeedsStateError, block_updates, commit_hash
from light_node.fabric.errors import FabricError


@dataclass(frozen=True, slots=True)
class Copy:
    """A peer's full copy of a verified block, ``raw`` as it sent it."""

    source: Source
    block: Block
    raw: bytes


@dataclass(frozen=True, slots=True)
class Findings:
    """What looking into block ``number`` gave.

    ``liars`` are copies that refute themselves; ``unproved`` is why nothing could be said of the
    others, "" where their commit hashes were recomputed and are right.
    """

    number: int
    liars: tuple[Copy, ...]
    unproved: str = ""


def look_into(number: int, expected_hash: bytes, first: int, sources: Iterable[Source]) -> Findings:
    """Fetch the copies of a block from peers of several organisations and recompute.

    ``expected_hash`` is the verified hash of the block, ``first`` the trust root's number, of
    whose block no commit hash is known unless it is block 0.
    """
    copies: list[Copy] = []
    before: dict[str, bytes] = {}
    for source in sources:
        try:
            raw = source.block(number)
            block = verify.parse(raw)
            verify.verify_hash(block, expected_hash)
            if number > 1:
                earlier = verify.parse(source.block(number - 1, headers_only=True))
                verify.verify_hash(earlier, block.previous_hash)
                before[source.organization] = blocks.stated_commit_hash(earlier)
        except (FabricError, errors.VerificationError, BlockError):
            continue  # its follower reports what is wrong with this source
        copies.append(Copy(source, block, raw))
    return recompute(number, copies, before if number > 1 else {"": b""}, first)


def recompute(
    number: int, copies: Iterable[Copy], before: Mapping[str, bytes], first: int = 0
) -> Findings:
    """Hold each copy's commit hash against its own flags; pure.

    ``before`` has the commit hash of the block before by the organisation that stated it (for
    block 1: anything empty). Nothing is said unless they are all the same.
    """
    if number - 1 <= first and first > 0:
        return Findings(number, (), "the commit hash before it is not known here")
    if len(set(before.values())) != 1:
        return Findings(number, (), "the peers do not agree on the block before either")
    previous = next(iter(before.values()))
    liars: list[Copy] = []
    right, unproved = 0, ""
    for copy in copies:
        try:
            flags = blocks.transactions_filter(copy.block)
            stated = blocks.stated_commit_hash(copy.block)
            updates = block_updates(number, copy.block.envelopes or (), flags)
        except NeedsStateError:
            unproved = "its writes list values that only peers hold"
            continue
        except BlockError:  # flags or a hash that no peer writes
            liars.append(copy)
            continue
        if commit_hash(flags, updates, previous) == stated:
            right += 1
        else:
            liars.append(copy)
    if not right:
        # No one fits: rather our own recomputation lacks something than all peers lie.
        return Findings(number, (), unproved or "no copy's commit hash can be recomputed")
    return Findings(number, tuple(liars), unproved)
