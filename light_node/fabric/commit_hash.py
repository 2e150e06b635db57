"""The commit hash: what a peer's flags and state updates of a block hash to.

``docs/fabric-protocol.md`` section 2.8. No signature covers the validity flags; but peers are
deterministic, so honest peers of different organisations hold the same commit hash, and whoever
has the full blocks can recompute it:

``commit_hash(N) = SHA-256(varint(len(filter)) ‖ filter ‖ updates ‖ commit_hash(N−1))``
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from light_node.fabric.block import BlockError, varint
from light_node.fabric.pb import commit_pb2, common_pb2, kvrwset_pb2, peer_pb2, rwset_pb2
from light_node.i18n import Text


class NeedsStateError(BlockError):
    """The block changes key metadata alone; its updates list values only the state holds."""


@dataclass(frozen=True, slots=True)
class StateWrite:
    """The final write of one key in a block. ``collection`` is empty for public state.

    For private data ``key`` and ``value`` are the hashes; a delete has ``is_delete`` and no value.
    """

    namespace: str
    collection: str
    key: bytes
    value: bytes
    block_number: int
    transaction: int

    @property
    def is_delete(self) -> bool:
        """An empty value is a delete (section 1.7)."""
        return not self.value


def commit_hash(transactions_filter: bytes, updates: bytes, previous: bytes = b"") -> bytes:
    """Return a block's commit hash; ``previous`` is empty at block 1 (block 0 has none)."""
    length = varint(len(transactions_filter))
    return hashlib.sha256(length + transactions_filter + updates + previous).digest()


def encode_updates(writes: Iterable[StateWrite]) -> bytes:
    """Return the serialized ``Updates``: one final write per key, in the order Fabric lists them.

    Namespaces ascending by bytes, the empty namespace skipped; in each the public keys, then the
    collections; namespace and collection are named on their first entry only.
    """
    ordered = sorted(
        (w for w in writes if w.namespace),
        key=lambda w: (w.namespace.encode(), w.collection.encode(), w.key),
    )
    message = commit_pb2.Updates()
    namespace, collection = "", ""
    for write in ordered:
        if write.namespace != namespace:
            collection = ""
        message.kvwrites.add(
            namespace=write.namespace if write.namespace != namespace else "",
            collection=write.collection if write.collection != collection else "",
            key=write.key,
            isDelete=write.is_delete,
            value=write.value,
            version_bytes=_version(write.block_number, write.transaction),
        )
        namespace, collection = write.namespace, write.collection
    return message.SerializeToString()


def block_updates(number: int, envelopes: Sequence[bytes], transactions_filter: bytes) -> bytes:
    """Return the ``Updates`` of a full block given its flags, from the write sets in it.

    Raises ``NeedsStateError`` when key metadata alone was written, ``BlockError`` when a valid
    transaction cannot be read or the flags do not match the transactions in number.
    """
    if len(transactions_filter) != len(envelopes):
        raise BlockError(
            Text(
                "block {number} has {transactions} transactions but {flags} flags",
                number=number,
                transactions=len(envelopes),
                flags=len(transactions_filter),
            )
        )
    final: dict[tuple[str, str, bytes], StateWrite] = {}
    for index, (raw, flag) in enumerate(zip(envelopes, transactions_filter, strict=True)):
        if flag == peer_pb2.VALID:
            for write in _transaction_writes(number, index, raw):
                final[write.namespace, write.collection, write.key] = write
    return encode_updates(final.values())


def _transaction_writes(number: int, index: int, raw: bytes) -> list[StateWrite]:
    try:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(raw).payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        if header.type != common_pb2.ENDORSER_TRANSACTION:
            return []  # a configuration lives in the empty namespace, which is skipped
        writes: list[StateWrite] = []
        for action in peer_pb2.Transaction.FromString(payload.data).actions:
            body = peer_pb2.ChaincodeActionPayload.FromString(action.payload).action
            response = peer_pb2.ProposalResponsePayload.FromString(body.proposal_response_payload)
            results = peer_pb2.ChaincodeAction.FromString(response.extension).results
            for space in rwset_pb2.TxReadWriteSet.FromString(results).ns_rwset:
                writes += _namespace_writes(number, index, space)
        return writes
    except DecodeError as error:
        raise BlockError(
            Text(
                "block {number}, transaction {index} cannot be read: {error}",
                number=number,
                index=index,
                error=error,
            )
        ) from error


def _namespace_writes(
    number: int, index: int, space: rwset_pb2.NsReadWriteSet
) -> Iterable[StateWrite]:
    public = kvrwset_pb2.KVRWSet.FromString(space.rwset)
    written = {write.key for write in public.writes}
    _refuse_metadata_only(number, (m.key for m in public.metadata_writes), written)
    for write in public.writes:
        value = b"" if write.is_delete else write.value
        yield StateWrite(space.namespace, "", write.key.encode(), value, number, index)
    for collection in space.collection_hashed_rwset:
        hashed = kvrwset_pb2.HashedRWSet.FromString(collection.hashed_rwset)
        hashes = {write.key_hash for write in hashed.hashed_writes}
        _refuse_metadata_only(number, (m.key_hash for m in hashed.metadata_writes), hashes)
        for entry in hashed.hashed_writes:
            value = b"" if entry.is_delete or entry.is_purge else entry.value_hash
            name = collection.collection_name
            yield StateWrite(space.namespace, name, entry.key_hash, value, number, index)


def _refuse_metadata_only(
    number: int, keys: Iterable[str | bytes], written: set[str] | set[bytes]
) -> None:
    if any(key not in written for key in keys):
        raise NeedsStateError(
            Text(
                "block {number} changes metadata of a key without writing its value", number=number
            )
        )


def _version(block_number: int, transaction: int) -> bytes:
    return _counted(block_number) + _counted(transaction)


def _counted(value: int) -> bytes:
    width = (value.bit_length() + 7) // 8
    return bytes((width,)) + value.to_bytes(width, "big")
