"""Making proof files over a light node: find the transaction, its block, and a witness."""

from datetime import datetime

from light_node.chain import errors
from light_node.chain.blocks import BlockTransaction, FullBlock, is_endorser_transaction
from light_node.chain.node import LightNode
from light_node.chain.proof import TransactionProof, witnesses
from light_node.fabric import block as wire
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.pb import common_pb2
from light_node.fabric.transaction import ParsedTransaction, parse_transaction
from light_node.i18n import Text

MAX_BLOCKS = 20_000
WITNESS_BLOCKS = 500


def prove(
    node: LightNode,
    transaction_id: str,
    now: datetime,
    *,
    block: int | None = None,
    max_blocks: int = MAX_BLOCKS,
    witness_blocks: int = WITNESS_BLOCKS,
) -> TransactionProof:
    """Return the proof of a transaction in a verified block.

    Without ``block`` it is looked for backwards from the newest, in ``max_blocks`` blocks; a
    witness of its validity, in ``witness_blocks`` after it. ``NotVerified`` if it is not found or
    was invalid, ``FabricError`` or ``VerificationError`` if blocks cannot be had.
    """
    full, entry = _find(node, transaction_id, block, max_blocks)
    if not is_endorser_transaction(entry):
        raise errors.NotVerified(Text("it is no chaincode transaction"))
    if not entry.is_valid:
        raise errors.NotVerified(
            Text("the transaction did not take effect (code {code})", code=entry.code)
        )
    transaction = parse_transaction(entry.envelope)
    return TransactionProof(
        channel=node.config.channel_id,
        transaction_id=transaction_id,
        configs=node.config_blocks(full.number),
        block=_signed_part(full),
        witness=_witness(node, full.number, entry.index, transaction, witness_blocks),
        made_at=now.isoformat(timespec="seconds"),
    )


def _find(
    node: LightNode, transaction_id: str, block: int | None, max_blocks: int
) -> tuple[FullBlock, BlockTransaction]:
    newest = node.status().verified_height - 1
    last = newest if block is None else block
    first = max(node.first_block + 1, last + 1 - max_blocks if block is None else last)
    for number in range(last, first - 1, -1):
        full = node.block(number)
        entry = full.find(transaction_id)
        if entry is not None:
            return full, entry
    if first > last:
        raise errors.NotVerified(Text("no block after the trust root is verified here yet"))
    wanted = ascii(transaction_id[:80])
    if block is not None:
        text = Text("no transaction {id} in block {number}", id=wanted, number=block)
    else:
        text = Text(
            "no transaction {id} in blocks {first} to {last}; give its block number",
            id=wanted,
            first=first,
            last=last,
        )
    raise errors.NotVerified(text)


def _witness(
    node: LightNode, number: int, index: int, transaction: ParsedTransaction, most: int
) -> bytes | None:
    """Return the first later envelope in which peers of two organisations read what was written.

    Judged under the configuration in force at ``number``, as by whoever checks the file.
    """
    newest = node.status().verified_height - 1
    config = node.config_before(number)
    for later in range(number, min(newest, number + most) + 1):
        for entry in node.block(later).transactions:
            if entry.is_valid and _is_witness(config, entry, transaction, (number, index)):
                return entry.envelope
    return None


def _is_witness(
    config: ChannelConfig,
    entry: BlockTransaction,
    transaction: ParsedTransaction,
    place: tuple[int, int],
) -> bool:
    return len(witnesses(config, entry.envelope, transaction, place)) > 1


def _signed_part(full: FullBlock) -> bytes:
    """Return the block without what no signature covers: flags and commit hash."""
    block = full.block
    message = common_pb2.Block(
        header=common_pb2.BlockHeader(
            number=block.number, previous_hash=block.previous_hash, data_hash=block.data_hash
        ),
        data=common_pb2.BlockData(data=block.envelopes or ()),
        metadata=common_pb2.BlockMetadata(
            metadata=[block.metadata[wire.SIGNATURES], *[b""] * (wire.METADATA_ENTRIES - 1)]
        ),
    )
    return message.SerializeToString()
