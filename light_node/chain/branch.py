"""A history behind the block where two part: as far as it takes to know who stands for it.

In bulk, signatures are checked on few headers and hash links on the rest, so the first block of a
history need not be signed by anybody. But whoever signed a later header signed, by its hash links,
every block before it. A :class:`Branch` is that signed header with what ties it to the block
where the histories part: of each unsigned header between, its data hash; number and hash link
follow.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from light_node.chain import errors, verify
from light_node.fabric import block as blocks
from light_node.fabric.block import HASH_BYTES, Block, BlockError, block_hash
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.msp import Identity
from light_node.i18n import Text

MAX_BLOCKS = 200_000
"""A longer branch is not kept: its file would have more than 9 MB for one side."""
MAX_BYTES = 256 * 1024 * 1024
"""Of headers that one node is asked for where a signed one is known to come."""
LOOKED_AT = 1_000
"""Of so many headers the signatures are checked; behind them only of one known to be signed."""
MAX_BYTES_LOOKED_AT = 8 * 1024 * 1024
_MOST_SIGNATURES = 10_000


@dataclass(frozen=True, slots=True)
class Branch:
    """The first signed block of a history, serialized, and what comes before it.

    ``before`` has the 32-byte data hashes of the blocks from the one where the history parts up to
    the signed one, in order; it is empty where the first block itself is signed.
    """

    signed: bytes
    before: bytes = b""

    def first_number(self, block: Block) -> int:
        """Return the number of the first block, given the parsed signed one; may be negative."""
        return block.number - len(self.before) // HASH_BYTES


@dataclass(frozen=True, slots=True)
class Unsigned:
    """No signed block was found: ``last`` is the highest linked one that was looked at."""

    last: int


def first_hash(branch: Branch, parent: bytes) -> bytes:
    """Return the hash of the branch's first block, which follows the block of hash ``parent``.

    ``BrokenLink`` if the signed block does not rest on it, ``MalformedBlock`` for lengths that are
    none.
    """
    block = verify.parse(branch.signed)
    number = branch.first_number(block)
    if len(branch.before) % HASH_BYTES or len(parent) != HASH_BYTES or number < 1:
        raise errors.MalformedBlock(
            Text("a branch has hashes of 32 bytes, and starts after block 0")
        )
    tip, first = parent, b""
    for at in range(0, len(branch.before), HASH_BYTES):
        tip = block_hash(number, tip, branch.before[at : at + HASH_BYTES])
        number, first = number + 1, first or tip
    if block.previous_hash != tip:
        raise errors.BrokenLink(block.number, block.hash, block.previous_hash, tip)
    return first or block.hash


def signers(config: ChannelConfig, block: Block, first: int) -> list[Identity]:
    """Return who signed a block of a branch that starts with block ``first`` under ``config``.

    ``AttestationFailed`` unless the channel's rule is met; ``HiddenConfig`` if the block says that
    another configuration than ``config`` is in force, but for one of the branch's own: whoever
    signed it stands for the branch all the same.
    """
    verify.verify_data(block)
    found = verify.verify_attestation(config, block)
    index = verify.last_config(block)
    if index is None:
        raise errors.LastConfigMissing(
            Text(
                "block {number} does not say which configuration is in force", number=block.number
            ),
            number=block.number,
            hash=block.hash,
        )
    if index != config.block_number and not first <= index <= block.number:
        raise errors.HiddenConfig(block.number, block.hash, index, config.block_number)
    return found


def is_signed(config: ChannelConfig, block: Block, first: int) -> bool:
    """Say whether :func:`signers` would name any."""
    try:
        signers(config, block, first)
    except errors.VerificationError:
        return False
    return True


def climb(
    raws: Iterable[bytes],
    first: int,
    parent: bytes,
    config: ChannelConfig,
    *,
    signed_at: int | None = None,
) -> Branch | Unsigned:
    """Read blocks from number ``first`` on, which follow ``parent``, up to the first signed one.

    Ends at the first that is not linked to the one before. ``signed_at`` is the number of a block
    known to be signed, worth reading up to; without one ``LOOKED_AT`` are read. Holds 32 bytes a
    block, at most ``MAX_BLOCKS``.
    """
    number, tip, before = first, parent, bytearray()
    size, checked = 0, 0
    for raw in raws:
        try:
            block = verify.parse(raw)
        except errors.MalformedBlock:
            break
        size += len(raw)
        if block.number != number or block.previous_hash != tip:
            break
        looked_at = number - first < LOOKED_AT and checked < _MOST_SIGNATURES
        if looked_at or number == signed_at:
            checked += _signatures(block)
            if is_signed(config, block, first):
                return Branch(blocks.without_data(raw), bytes(before))
        before += block.data_hash
        number, tip = number + 1, block.hash
        if not _goes_on(number, first, size, signed_at):
            break
    return Unsigned(number - 1)


def _goes_on(number: int, first: int, size: int, signed_at: int | None) -> bool:
    if signed_at is not None and number <= signed_at:
        return signed_at - first < MAX_BLOCKS and size < MAX_BYTES
    return number - first < LOOKED_AT and size < MAX_BYTES_LOOKED_AT


def _signatures(block: Block) -> int:
    try:
        return len(blocks.block_signatures(block)[1])
    except BlockError:
        return 0
