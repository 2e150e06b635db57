"""Every way to alter one field of a serialized message, found by walking its wire format.

:func:`alterations` goes through a message and through the messages that its ``bytes`` fields hold,
as deep as :data:`HELD` says, and gives the whole altered anew for each place and each way. Nothing
here knows what is signed or hashed; that is what the test asks.
"""

from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from light_node.fabric.pb import common_pb2, kvrwset_pb2, msp_pb2, peer_pb2, rwset_pb2

VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5
_UNKNOWN = 2047
_WIDTHS = {EIGHT: 8, FOUR: 4}
_NAMELESS = "unknown"

HELD: dict[str, Descriptor] = {
    "common.BlockData.data": common_pb2.Envelope.DESCRIPTOR,
    "common.Envelope.payload": common_pb2.Payload.DESCRIPTOR,
    "common.Header.channel_header": common_pb2.ChannelHeader.DESCRIPTOR,
    "common.Header.signature_header": common_pb2.SignatureHeader.DESCRIPTOR,
    "common.SignatureHeader.creator": msp_pb2.SerializedIdentity.DESCRIPTOR,
    "common.MetadataSignature.signature_header": common_pb2.SignatureHeader.DESCRIPTOR,
    "common.MetadataSignature.identifier_header": common_pb2.IdentifierHeader.DESCRIPTOR,
    "common.ConfigUpdateEnvelope.config_update": common_pb2.ConfigUpdate.DESCRIPTOR,
    "common.ConfigSignature.signature_header": common_pb2.SignatureHeader.DESCRIPTOR,
    "protos.TransactionAction.header": common_pb2.SignatureHeader.DESCRIPTOR,
    "protos.TransactionAction.payload": peer_pb2.ChaincodeActionPayload.DESCRIPTOR,
    "protos.ChaincodeActionPayload.chaincode_proposal_payload": (
        peer_pb2.ChaincodeProposalPayload.DESCRIPTOR
    ),
    "protos.ChaincodeProposalPayload.input": peer_pb2.ChaincodeInvocationSpec.DESCRIPTOR,
    "protos.ChaincodeEndorsedAction.proposal_response_payload": (
        peer_pb2.ProposalResponsePayload.DESCRIPTOR
    ),
    "protos.ProposalResponsePayload.extension": peer_pb2.ChaincodeAction.DESCRIPTOR,
    "protos.ChaincodeAction.results": rwset_pb2.TxReadWriteSet.DESCRIPTOR,
    "protos.ChaincodeAction.events": peer_pb2.ChaincodeEvent.DESCRIPTOR,
    "protos.Endorsement.endorser": msp_pb2.SerializedIdentity.DESCRIPTOR,
    "rwset.NsReadWriteSet.rwset": kvrwset_pb2.KVRWSet.DESCRIPTOR,
}
"""The message a ``bytes`` field holds, where it is always the same one."""

_METADATA = (
    common_pb2.OrdererBlockMetadata.DESCRIPTOR,
    common_pb2.LastConfig.DESCRIPTOR,
    None,
    None,
    None,
)
"""What ``common.Metadata.value`` holds, by metadata entry; entries 2 and 3 are no messages."""


class Field(NamedTuple):
    """One field as it lies in the bytes; ``value`` is a varint's bytes or the contents."""

    number: int
    kind: int
    value: bytes


class Alteration(NamedTuple):
    """``path`` names the field (indices of repeated ones left out), ``how`` what was done."""

    path: str
    how: str
    raw: bytes


def varint(value: int, padded: bool = False) -> bytes:
    """Return a base-128 varint; ``padded`` adds a byte that changes nothing."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if padded:
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def split(raw: bytes) -> list[Field]:
    """Return the fields of a serialized message, in order; ``ValueError`` if it is none."""
    fields, at = [], 0
    while at < len(raw):
        tag, at = _number(raw, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            _, end = _number(raw, at)
        elif kind == LENGTH:
            length, at = _number(raw, at)
            end = at + length
        else:
            end = at + _WIDTHS[kind]
        if end > len(raw):
            raise ValueError("a field goes on behind the end")
        fields.append(Field(number, kind, raw[at:end]))
        at = end
    return fields


def join(fields: list[Field]) -> bytes:
    """Return the message of ``fields``: the reverse of :func:`split`."""
    return b"".join(map(_encoded, fields))


def _number(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw):
            raise ValueError("a number has no end")
        value |= (raw[at] & 0x7F) << shift
        shift += 7
        at += 1
        if raw[at - 1] < 0x80:
            return value, at


def _encoded(field: Field, *, padded_tag: bool = False, padded_length: bool = False) -> bytes:
    tag = varint(field.number << 3 | field.kind, padded_tag)
    length = varint(len(field.value), padded_length) if field.kind == LENGTH else b""
    return tag + length + field.value


def alterations(
    raw: bytes, kind: Descriptor, path: str = "", entry: int = 0
) -> Iterator[Alteration]:
    """Yield every alteration of a serialized ``kind``, its inner messages' included."""
    fields = split(raw)
    unknown = Field(_UNKNOWN, LENGTH, b"unknown")
    yield Alteration(path, "unknown field first", _encoded(unknown) + raw)
    yield Alteration(path, "unknown field last", raw + _encoded(unknown))
    present = {field.number for field in fields}
    for declared in kind.fields:
        if declared.number not in present and declared.message_type is None:
            yield Alteration(_below(path, declared), "added", raw + _encoded(_some(declared)))
    counts: dict[int, int] = {}
    for at, field in enumerate(fields):
        index = counts.get(field.number, 0)
        counts[field.number] = index + 1
        known = kind.fields_by_number.get(field.number)
        where = _below(path, known) if known else f"{path}.{_NAMELESS}"
        if kind.full_name == "common.BlockMetadata":
            where, entry = f"{path}[{index}]", index
        before, after = join(fields[:at]), join(fields[at + 1 :])
        for how, piece in _pieces(field):
            yield Alteration(where, how, before + piece + after)
        if at + 1 < len(fields) and fields[at + 1] != field:
            swapped = [*fields[:at], fields[at + 1], field, *fields[at + 2 :]]
            yield Alteration(where, "swapped with the next", join(swapped))
        inner = _inner(known, field, fields, entry) if known else None
        if inner is not None:
            for part in alterations(field.value, inner, where, entry):
                piece = _encoded(field._replace(value=part.raw))
                yield Alteration(part.path, part.how, before + piece + after)


def _pieces(field: Field) -> Iterator[tuple[str, bytes]]:
    """Yield what may stand in the place of ``field``."""
    good = _encoded(field)
    yield "dropped", b""
    yield "doubled", good + good
    yield "padded tag", _encoded(field, padded_tag=True)
    for how, value in _values(field):
        other = _encoded(field._replace(value=value))
        yield how, other
        if how == "changed":
            yield "changed copy first", other + good
            yield "changed copy last", good + other
    if field.kind == LENGTH:
        yield "padded length", _encoded(field, padded_length=True)


def _values(field: Field) -> Iterator[tuple[str, bytes]]:
    value = field.value
    if field.kind == VARINT:
        number, _ = _number(value, 0)
        yield "changed", varint(number + 1)
        yield "huge", varint(2**64 - 1)
        yield "padded number", varint(number, padded=True)
        if number:
            yield "zero", varint(0)
        return
    if value:
        yield "changed", value[:-1] + bytes([value[-1] ^ 1])
        yield "first bit changed", bytes([value[0] ^ 1]) + value[1:]
    if field.kind == LENGTH:
        yield "longer", value + b"\x00"
        if value:
            yield "shorter", value[:-1]
            yield "empty", b""


def _some(declared: FieldDescriptor) -> Field:
    text = (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING)
    if declared.type in text:
        return Field(declared.number, LENGTH, b"\x0a\x01x")
    return Field(declared.number, VARINT, b"\x01")


def _below(path: str, declared: FieldDescriptor) -> str:
    return f"{path}.{declared.name}" if path else str(declared.name)


def _inner(
    known: FieldDescriptor, field: Field, among: list[Field], entry: int
) -> Descriptor | None:
    """Return what message a field holds, None for a plain value."""
    if field.kind != LENGTH:
        return None
    if known.message_type is not None:
        return known.message_type
    name = f"{known.containing_type.full_name}.{known.name}"
    if name == "common.BlockMetadata.metadata":
        return common_pb2.Metadata.DESCRIPTOR if entry in (0, 1, 4) else None
    if name == "common.Metadata.value":
        return _METADATA[entry]
    if name == "common.Payload.data":
        header = common_pb2.Header.FromString(among[0].value)
        channel = common_pb2.ChannelHeader.FromString(header.channel_header)
        return {
            common_pb2.CONFIG: common_pb2.ConfigEnvelope.DESCRIPTOR,
            common_pb2.CONFIG_UPDATE: common_pb2.ConfigUpdateEnvelope.DESCRIPTOR,
            common_pb2.ENDORSER_TRANSACTION: peer_pb2.Transaction.DESCRIPTOR,
        }[channel.type]
    if name == "common.ConfigValue.value":
        return None  # which message depends on the key beside the group: taken as plain bytes
    return HELD.get(name)
