"""Blocks as bytes: header hash, data hash, metadata entries and the commit hash.

Pure functions after ``docs/fabric-protocol.md`` sections 2.1 to 2.3 and 2.8. Nothing here decides
whether a block is to be believed; that is ``light_node.chain``. The devnet builds its blocks with
the second half of this module, so that both sides hash and sign the same bytes.

Header DER: ``SEQUENCE { INTEGER number, OCTET STRING previous_hash, OCTET STRING data_hash }``.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from light_node.fabric.pb import common_pb2
from light_node.i18n import SaidError, Text

MAX_BLOCK_BYTES = 100 * 1024 * 1024
"""The largest gRPC message a Fabric server sends (section 7.2)."""
MAX_SIGNATURES = 1024
"""More block signatures than any ordering service has consenters."""
MAX_UINT64 = 2**64 - 1
HASH_BYTES = 32

SIGNATURES, LAST_CONFIG, TRANSACTIONS_FILTER, ORDERER, COMMIT_HASH = range(5)
METADATA_ENTRIES = 5


class BlockError(SaidError, ValueError):
    """The bytes are not a block as Fabric writes them; the message says which part is wrong."""


class Block(NamedTuple):
    """A parsed ``common.Block``. ``envelopes`` is None for a header sent without data."""

    number: int
    previous_hash: bytes
    data_hash: bytes
    envelopes: tuple[bytes, ...] | None
    metadata: tuple[bytes, ...]
    hash: bytes

    @property
    def der(self) -> bytes:
        """The DER of the header, which is hashed and signed."""
        return header_der(self.number, self.previous_hash, self.data_hash)


class BlockSignature(NamedTuple):
    """One ``common.MetadataSignature``: classic when ``signature_header`` is set, else BFT."""

    signature: bytes
    signature_header: bytes = b""
    identifier_header: bytes = b""


class SignatureEntry(NamedTuple):
    """Metadata entry 0: the signed ``value``, the last-config index in it, the signatures.

    ``last_config`` is None where the value holds none (ledgers written before Fabric 1.4.1).
    """

    value: bytes
    last_config: int | None
    signatures: tuple[BlockSignature, ...]


# -- hashing ------------------------------------------------------------------------------------


def header_der(number: int, previous_hash: bytes, data_hash: bytes) -> bytes:
    """Return the DER of a header (section 2.1); ``BlockError`` if a field has an impossible size.

    ``previous_hash`` is empty in block 0 and 32 bytes otherwise; ``number`` is a uint64.
    """
    if not 0 <= number <= MAX_UINT64:
        raise BlockError(
            Text("block number {number} is not a 64-bit unsigned integer", number=number)
        )
    if len(data_hash) != HASH_BYTES or len(previous_hash) not in (0, HASH_BYTES):
        raise BlockError(
            Text(
                "block {number} has a {count}-byte previous hash and a {data}-byte data hash; "
                "SHA-256 has 32 bytes",
                number=number,
                count=len(previous_hash),
                data=len(data_hash),
            )
        )
    # One bit more than the number needs keeps DER's two's complement positive.
    width = number.bit_length() // 8 + 1
    # All lengths are below 128, so each is a single byte.
    start = bytes((0x30, width + len(previous_hash) + 38, 0x02, width))
    middle = b"\x04\x20" if previous_hash else b"\x04\x00"
    return start + number.to_bytes(width, "big") + middle + previous_hash + b"\x04\x20" + data_hash


def block_hash(number: int, previous_hash: bytes, data_hash: bytes) -> bytes:
    """Return SHA-256 of the header's DER: the next block's ``previous_hash`` (section 2.1)."""
    return hashlib.sha256(header_der(number, previous_hash, data_hash)).digest()


def data_hash(envelopes: Iterable[bytes]) -> bytes:
    """Return SHA-256 of the plain concatenation of the serialized envelopes (section 2.2)."""
    digest = hashlib.sha256()
    for envelope in envelopes:
        digest.update(envelope)
    return digest.digest()


# -- parsing ------------------------------------------------------------------------------------


def parse_block(raw: bytes) -> Block:
    """Parse a serialized ``common.Block`` with or without data; ``BlockError`` if it is not one."""
    if not raw:
        raise BlockError(Text("the block is empty (0 bytes)"))
    if len(raw) > MAX_BLOCK_BYTES:
        raise BlockError(
            Text(
                "the block has {count} bytes; the limit is {most}",
                count=len(raw),
                most=MAX_BLOCK_BYTES,
            )
        )
    try:
        message = common_pb2.Block.FromString(raw)
    except DecodeError as error:
        raise BlockError(
            Text("not a serialized block (truncated or altered): {error}", error=error)
        ) from error
    if not message.HasField("header"):
        raise BlockError(Text("the block has no header"))
    header = message.header
    number, previous, data = header.number, header.previous_hash, header.data_hash
    if (not number) != (not previous):
        raise BlockError(
            Text("block {number} must have a previous hash", number=number)
            if number
            else Text("block 0 must have no previous hash")
        )
    return Block(
        number,
        previous,
        data,
        tuple(message.data.data) if message.HasField("data") else None,
        tuple(message.metadata.metadata),
        block_hash(number, previous, data),
    )


def check_well_formed(envelopes: Sequence[bytes]) -> None:
    """Check that the data delimits itself: section 2.2; ``BlockError`` naming the entry if not.

    The data hash runs over a concatenation without delimiters. Only because every entry is a
    canonical envelope can the same bytes not be cut into other transactions.
    """
    if not envelopes:
        raise BlockError(Text("the block's data holds no transaction"))
    if is_config(envelopes):
        return
    for index, raw in enumerate(envelopes):
        try:
            envelope = common_pb2.Envelope.FromString(raw)
        except DecodeError as error:
            raise BlockError(
                Text("transaction {index} is not an envelope: {error}", index=index, error=error)
            ) from error
        if not envelope.payload or not envelope.signature:
            raise BlockError(
                Text("transaction {index} has no payload or no signature", index=index)
            )
        # A fresh message: re-serializing the parsed one would carry unknown fields along.
        canonical = common_pb2.Envelope(payload=envelope.payload, signature=envelope.signature)
        if canonical.SerializeToString() != raw:
            raise BlockError(
                Text("transaction {index} is not in canonical form (extra bytes)", index=index)
            )


def channel_header(envelope: bytes) -> common_pb2.ChannelHeader:
    """Return the channel header of a serialized envelope; ``BlockError`` if it has none."""
    return _payload_and_header(envelope)[1]


def is_config(envelopes: Sequence[bytes]) -> bool:
    """Say whether the data is exactly one envelope of type CONFIG (section 2.5)."""
    if len(envelopes) != 1:
        return False
    try:
        kind = channel_header(envelopes[0]).type
    except BlockError:
        return False
    return kind == common_pb2.CONFIG


def config_envelope(block: Block) -> tuple[str, common_pb2.ConfigEnvelope]:
    """Return the channel id and configuration of a config block; ``BlockError`` otherwise."""
    if block.envelopes is None:
        raise BlockError(Text("block {number} came without its data", number=block.number))
    if not is_config(block.envelopes):
        raise BlockError(Text("block {number} holds no channel configuration", number=block.number))
    payload, header = _payload_and_header(block.envelopes[0])
    try:
        return header.channel_id, common_pb2.ConfigEnvelope.FromString(payload.data)
    except DecodeError as error:
        raise BlockError(
            Text(
                "block {number}'s configuration cannot be read: {error}",
                number=block.number,
                error=error,
            )
        ) from error


def signature_entry(block: Block) -> SignatureEntry:
    """Return metadata entry 0, parsed (section 2.3); ``BlockError`` if absent or malformed."""
    if not block.metadata:
        raise BlockError(Text("block {number} has no metadata", number=block.number))
    try:
        metadata = common_pb2.Metadata.FromString(block.metadata[SIGNATURES])
        value = common_pb2.OrdererBlockMetadata.FromString(metadata.value)
    except DecodeError as error:
        raise BlockError(
            Text("block {number}'s signatures entry is malformed", number=block.number)
        ) from error
    if len(metadata.signatures) > MAX_SIGNATURES:
        raise BlockError(
            Text(
                "block {number} carries {count} signatures",
                number=block.number,
                count=len(metadata.signatures),
            )
        )
    return SignatureEntry(
        metadata.value,
        value.last_config.index if value.HasField("last_config") else None,
        tuple(
            BlockSignature(s.signature, s.signature_header, s.identifier_header)
            for s in metadata.signatures
        ),
    )


def block_signatures(block: Block) -> tuple[bytes, Sequence[common_pb2.MetadataSignature]]:
    """Return the signed value and the signatures of metadata entry 0 (2.3); ``BlockError``.

    Less work than :func:`signature_entry`: nothing is said of what the value holds.
    """
    if not block.metadata:
        raise BlockError(Text("block {number} has no metadata", number=block.number))
    try:
        metadata = common_pb2.Metadata.FromString(block.metadata[SIGNATURES])
    except DecodeError as error:
        raise BlockError(
            Text("block {number}'s signatures entry is malformed", number=block.number)
        ) from error
    if len(metadata.signatures) > MAX_SIGNATURES:
        raise BlockError(
            Text(
                "block {number} carries {count} signatures",
                number=block.number,
                count=len(metadata.signatures),
            )
        )
    return metadata.value, metadata.signatures


def last_config_index(block: Block) -> int | None:
    """Return the last-config index in metadata entry 0, None if it states none; ``BlockError``.

    The same as :func:`signature_entry` gives, without looking at the signatures.
    """
    if not block.metadata:
        raise BlockError(Text("block {number} has no metadata", number=block.number))
    try:
        value = common_pb2.Metadata.FromString(block.metadata[SIGNATURES]).value
        message = common_pb2.OrdererBlockMetadata.FromString(value)
    except DecodeError as error:
        raise BlockError(
            Text("block {number}'s signatures entry is malformed", number=block.number)
        ) from error
    return message.last_config.index if message.HasField("last_config") else None


def transactions_filter(block: Block) -> bytes:
    """Return metadata entry 2: one validation code per transaction, empty on an orderer's copy.

    No signature covers it (section 2.8).
    """
    return block.metadata[TRANSACTIONS_FILTER] if len(block.metadata) > TRANSACTIONS_FILTER else b""


def stated_commit_hash(block: Block) -> bytes:
    """Return the commit hash a peer put in metadata entry 4, empty where there is none."""
    if len(block.metadata) <= COMMIT_HASH:
        return b""
    try:
        value = common_pb2.Metadata.FromString(block.metadata[COMMIT_HASH]).value
    except DecodeError as error:
        raise BlockError(
            Text("block {number}'s commit hash entry is malformed", number=block.number)
        ) from error
    if len(value) not in (0, HASH_BYTES):
        raise BlockError(
            Text(
                "block {number} has a {count}-byte commit hash",
                number=block.number,
                count=len(value),
            )
        )
    return value


# -- building -----------------------------------------------------------------------------------


def signed_value(last_config: int, consenter_metadata: bytes = b"") -> bytes:
    """Return the ``OrdererBlockMetadata`` that goes into entry 0 and is signed (section 2.3)."""
    message = common_pb2.OrdererBlockMetadata(
        last_config=common_pb2.LastConfig(index=last_config), consenter_metadata=consenter_metadata
    )
    return message.SerializeToString()


def signature_header(creator: bytes, nonce: bytes) -> bytes:
    """Return a ``common.SignatureHeader``; for classic block signatures the nonce has 24 bytes."""
    return common_pb2.SignatureHeader(creator=creator, nonce=nonce).SerializeToString()


def identifier_header(identifier: int, nonce: bytes) -> bytes:
    """Return a ``common.IdentifierHeader`` naming a BFT consenter by its id."""
    return common_pb2.IdentifierHeader(identifier=identifier, nonce=nonce).SerializeToString()


def signed_bytes(value: bytes, header: bytes, der: bytes) -> bytes:
    """Return what an orderer signs: value, then signature or identifier header, then header DER.

    ``header`` is the ``signature_header`` of the classic form or the ``identifier_header`` of the
    BFT form (section 2.3).
    """
    return value + header + der


def encode_signature_entry(value: bytes, signatures: Iterable[BlockSignature]) -> bytes:
    """Return metadata entry 0 for a signed ``value``."""
    message = common_pb2.Metadata(value=value)
    for s in signatures:
        message.signatures.add(
            signature=s.signature,
            signature_header=s.signature_header,
            identifier_header=s.identifier_header,
        )
    return message.SerializeToString()


def encode_last_config_entry(index: int) -> bytes:
    """Return metadata entry 1, the deprecated unsigned copy (empty for index 0)."""
    value = common_pb2.LastConfig(index=index).SerializeToString()
    return common_pb2.Metadata(value=value).SerializeToString()


def encode_commit_hash_entry(commit_hash: bytes) -> bytes:
    """Return metadata entry 4 for a commit hash."""
    return common_pb2.Metadata(value=commit_hash).SerializeToString()


def encode_block(
    number: int,
    previous_hash: bytes,
    envelopes: Sequence[bytes] | None,
    metadata: Sequence[bytes],
    *,
    header_data_hash: bytes | None = None,
) -> bytes:
    """Return a serialized ``common.Block``.

    The data hash is computed from ``envelopes``; for a header without data (``envelopes`` None)
    give ``header_data_hash``. ``metadata`` has 5 entries in the order of ``BlockMetadataIndex``.
    """
    if header_data_hash is None:
        header_data_hash = data_hash(envelopes or ())
    header_der(number, previous_hash, header_data_hash)  # refuses sizes no reader accepts
    message = common_pb2.Block(
        header=common_pb2.BlockHeader(
            number=number, previous_hash=previous_hash, data_hash=header_data_hash
        ),
        metadata=common_pb2.BlockMetadata(metadata=metadata),
    )
    if envelopes is not None:
        message.data.CopyFrom(common_pb2.BlockData(data=envelopes))
    return message.SerializeToString()


def without_data(raw: bytes) -> bytes:
    """Return the block as HEADER_WITH_SIG sends it: data dropped, config blocks unchanged."""
    message = common_pb2.Block.FromString(raw)
    if not is_config(message.data.data):
        message.ClearField("data")
    return message.SerializeToString()


def varint(value: int) -> bytes:
    """Return ``value`` (not negative) as protobuf's base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _payload_and_header(envelope: bytes) -> tuple[common_pb2.Payload, common_pb2.ChannelHeader]:
    try:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    except DecodeError as error:
        raise BlockError(
            Text("an envelope's header cannot be read: {error}", error=error)
        ) from error
    return payload, header
