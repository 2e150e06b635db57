"""The ledger all peers of a devnet hold: validated blocks, state, and what is told about them.

One writer appends (on its own thread, with its own connection); everything else reads snapshots.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from light_node.devnet.access import ChannelRules
from light_node.devnet.blocks import BlockSigner, OrderedBlock
from light_node.devnet.config_update import CurrentConfig
from light_node.devnet.store import Store, StoredBlock
from light_node.devnet.validation import (
    VALID,
    TransactionResult,
    ValidatedBlock,
    describe_block,
    validate_block,
)
from light_node.fabric import block as wire
from light_node.fabric import commit_hash
from light_node.fabric.pb import common_pb2


@dataclass(frozen=True, slots=True)
class CommittedBlock:
    """A block that is on disk, with the verdict on each of its transactions."""

    stored: StoredBlock
    results: tuple[TransactionResult, ...]

    @property
    def number(self) -> int:
        """The block's number."""
        return self.stored.number


class LedgerWriter:
    """Appends blocks: orders, signs, validates and writes them. For one thread."""

    def __init__(self, store: Store, signer: BlockSigner, rules: ChannelRules) -> None:
        self._store = store
        self._signer = signer
        self._rules = rules

    def append_config(self, update: bytes) -> CommittedBlock:
        """Append the configuration block of a serialized CONFIG_UPDATE envelope.

        ``ConfigUpdateRefused`` if the configuration has changed since it was accepted so that it
        does not fit any more.
        """
        return self.append([self._signer.configure(self._rules.current, update)])

    def append(self, envelopes: Sequence[bytes]) -> CommittedBlock:
        """Append one block; ``sqlite3.Error`` if it cannot be written, then nothing has changed."""
        height = self._store.height()
        tip = self._store.block(height - 1)
        if tip is None:
            raise ValueError("the ledger has no genesis block")
        is_config = wire.is_config(envelopes)
        last_config = height if is_config else tip.last_config
        ordered = self._signer.order(height, tip.hash, envelopes, last_config)
        # One snapshot for all reads of the validation, which nobody else can write to anyway.
        with self._store.snapshot():
            validated = validate_block(
                height,
                ordered.envelopes,
                self._rules,
                self._store,
                lambda tx_id: self._store.transaction_entry(tx_id) is not None,
            )
        stored = _stored(ordered, validated, tip.commit_hash)
        index = [
            (result.transaction_id, position, result.code)
            for position, result in enumerate(validated.results)
            if result.transaction_id
        ]
        self._store.commit_block(stored, index, validated.updates)
        if is_config and validated.results[0].code == VALID:
            self._rules.apply(CurrentConfig.from_stored(stored))
        return CommittedBlock(stored, validated.results)


def write_genesis(store: Store, block: common_pb2.Block) -> None:
    """Write block 0, inside the caller's transaction."""
    envelopes = tuple(block.data.data)
    header = wire.channel_header(envelopes[0])
    stored = StoredBlock(
        number=0,
        hash=wire.block_hash(0, b"", block.header.data_hash),
        previous_hash=b"",
        data_hash=block.header.data_hash,
        data=block.data.SerializeToString(),
        last_config=0,
        signatures=block.metadata.metadata[wire.SIGNATURES],
        filter=block.metadata.metadata[wire.TRANSACTIONS_FILTER],
        commit_hash=b"",
    )
    store.insert_block(stored, [(header.tx_id, 0, 0)], {})


def envelopes_of(stored: StoredBlock) -> tuple[bytes, ...]:
    """Return the serialized envelopes of a block."""
    return tuple(common_pb2.BlockData.FromString(stored.data).data)


def describe(stored: StoredBlock) -> CommittedBlock:
    """Return a block read from the store with the verdicts recorded in it."""
    return CommittedBlock(stored, describe_block(envelopes_of(stored), stored.filter))


def _stored(ordered: OrderedBlock, validated: ValidatedBlock, previous: bytes) -> StoredBlock:
    writes = [
        commit_hash.StateWrite(namespace, "", key, value or b"", version.block, version.tx)
        for (namespace, key), (value, version) in validated.updates.items()
    ]
    updates = commit_hash.encode_updates(writes)
    return StoredBlock(
        number=ordered.number,
        hash=ordered.hash,
        previous_hash=ordered.previous_hash,
        data_hash=ordered.data_hash,
        data=common_pb2.BlockData(data=ordered.envelopes).SerializeToString(),
        last_config=ordered.last_config,
        signatures=ordered.signatures,
        filter=validated.filter,
        commit_hash=commit_hash.commit_hash(validated.filter, updates, previous),
    )
