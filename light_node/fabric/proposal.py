"""Transaction proposals, built by clients and opened by endorsers.

Source: docs/fabric-protocol.md 3.6 and 4.1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.message import DecodeError

from light_node.fabric.crypto import sha256
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, peer_pb2
from light_node.i18n import Text

NONCE_BYTES = 24
_TRANSACTION_ID = re.compile(r"[0-9a-f]{64}\Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A signed proposal, with the parts the later check of the answer compares (4.3)."""

    transaction_id: str
    proposal_bytes: bytes
    signed: peer_pb2.SignedProposal
    channel: str
    chaincode: str
    channel_header: bytes
    signature_header: bytes
    input: bytes
    """The serialized ChaincodeInvocationSpec."""
    proposal_hash: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """What a chaincode needs of the proposal that called it; ``creator`` is serialized."""

    transaction_id: str
    creator: bytes
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class OpenedProposal:
    """What an endorser reads out of a proposal. The signature is not verified yet.

    ``payload`` is the serialized ChaincodeProposalPayload without transient data, as it goes into
    the transaction and into ``proposal_hash``.
    """

    transaction_id: str
    channel: str
    chaincode: str
    args: tuple[bytes, ...]
    transient: dict[str, bytes]
    creator: bytes
    nonce: bytes
    timestamp: datetime
    channel_header: bytes
    signature_header: bytes
    payload: bytes
    proposal_hash: bytes
    proposal_bytes: bytes
    signature: bytes


def transaction_id(nonce: bytes, creator: bytes) -> str:
    """Return ``hex(SHA-256(nonce ‖ creator))``."""
    return sha256(nonce, creator).hex()


def is_transaction_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a transaction id: 64 lower-case hex digits."""
    return _TRANSACTION_ID.match(text) is not None


def proposal_hash(channel_header: bytes, signature_header: bytes, payload: bytes) -> bytes:
    """Return the hash every endorsement carries; ``payload`` is without transient data."""
    return sha256(channel_header, signature_header, payload)


def build_proposal(
    identity: SigningIdentity,
    channel: str,
    chaincode: str,
    args: Sequence[bytes],
    *,
    now: datetime,
    nonce: bytes,
    transient: Mapping[str, bytes] | None = None,
) -> Proposal:
    """Return a signed proposal that calls ``chaincode`` with ``args`` (the function name first).

    ``now`` is wall time, aware: peers refuse a proposal more than 15 minutes off their clock.
    ``nonce`` is :data:`NONCE_BYTES` random bytes, new for every proposal.
    """
    if not nonce:
        raise ValueError("a proposal needs a nonce")
    tx_id = transaction_id(nonce, identity.serialized)
    chaincode_id = peer_pb2.ChaincodeID(name=chaincode)
    header = common_pb2.ChannelHeader(
        type=common_pb2.ENDORSER_TRANSACTION,
        channel_id=channel,
        tx_id=tx_id,
        extension=peer_pb2.ChaincodeHeaderExtension(chaincode_id=chaincode_id).SerializeToString(),
    )
    # Integer arithmetic: FromDatetime is slower and drops nothing we could want to keep.
    seconds, rest = divmod(now - _EPOCH, timedelta(seconds=1))
    header.timestamp.seconds, header.timestamp.nanos = seconds, rest.microseconds * 1000
    channel_header = header.SerializeToString()
    signature_header = common_pb2.SignatureHeader(
        creator=identity.serialized, nonce=nonce
    ).SerializeToString()
    invocation = peer_pb2.ChaincodeInvocationSpec(
        chaincode_spec=peer_pb2.ChaincodeSpec(
            chaincode_id=chaincode_id, input=peer_pb2.ChaincodeInput(args=args)
        )
    ).SerializeToString()
    payload = public_payload(invocation)
    full = payload
    if transient:
        full = peer_pb2.ChaincodeProposalPayload(
            input=invocation, TransientMap=transient
        ).SerializeToString()
    proposal_bytes = peer_pb2.Proposal(
        header=common_pb2.Header(
            channel_header=channel_header, signature_header=signature_header
        ).SerializeToString(),
        payload=full,
    ).SerializeToString()
    return Proposal(
        transaction_id=tx_id,
        proposal_bytes=proposal_bytes,
        signed=peer_pb2.SignedProposal(
            proposal_bytes=proposal_bytes, signature=identity.sign(proposal_bytes)
        ),
        channel=channel,
        chaincode=chaincode,
        channel_header=channel_header,
        signature_header=signature_header,
        input=invocation,
        proposal_hash=proposal_hash(channel_header, signature_header, payload),
    )


def origin_of(signed: peer_pb2.SignedProposal) -> Origin:
    """Read who proposed what when, for a chaincode whose peer has judged the proposal already.

    ``MalformedMessage`` if the headers cannot be read.
    """
    try:
        header = common_pb2.Header.FromString(
            peer_pb2.Proposal.FromString(signed.proposal_bytes).header
        )
        channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
        creator = common_pb2.SignatureHeader.FromString(header.signature_header).creator
    except DecodeError as error:
        raise MalformedMessage(Text("the proposal is no protobuf message Fabric knows")) from error
    return Origin(channel_header.tx_id, creator, to_datetime(channel_header))


def open_proposal(signed: peer_pb2.SignedProposal) -> OpenedProposal:
    """Read a proposal as an endorser does; ``MalformedMessage`` if it is not well formed.

    Checked are the structure, type, epoch, the transaction id and that header and payload name
    the same chaincode. The identity, its signature over ``proposal_bytes``, the age and the
    channel are the caller's to check.
    """
    opened = unpack_proposal(signed)
    header = common_pb2.ChannelHeader.FromString(opened.channel_header)
    if header.type != common_pb2.ENDORSER_TRANSACTION:
        raise MalformedMessage(Text("invalid header type {type}", type=header.type))
    if header.epoch:
        raise MalformedMessage(Text("epoch is non-zero"))
    if not opened.nonce:
        raise MalformedMessage(Text("nonce is empty"))
    if not opened.creator:
        raise MalformedMessage(Text("creator is empty"))
    expected = transaction_id(opened.nonce, opened.creator)
    if opened.transaction_id != expected:
        raise MalformedMessage(
            Text(
                "incorrectly computed txid '{transaction_id}' -- expected '{expected}'",
                transaction_id=opened.transaction_id[:100],
                expected=expected,
            )
        )
    extension = peer_pb2.ChaincodeHeaderExtension.FromString(header.extension)
    if extension.chaincode_id.name != opened.chaincode:
        raise MalformedMessage(Text("the proposal's header and payload name different chaincodes"))
    return opened


def unpack_proposal(signed: peer_pb2.SignedProposal) -> OpenedProposal:
    """Read a proposal's parts as a gateway does, which leaves the judging to endorsers.

    ``MalformedMessage`` if a part cannot be read, or no channel header or chaincode is named.
    """
    try:
        proposal = peer_pb2.Proposal.FromString(signed.proposal_bytes)
        header = common_pb2.Header.FromString(proposal.header)
        channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
        signature_header = common_pb2.SignatureHeader.FromString(header.signature_header)
        peer_pb2.ChaincodeHeaderExtension.FromString(channel_header.extension)
        payload = peer_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
        spec = peer_pb2.ChaincodeInvocationSpec.FromString(payload.input).chaincode_spec
    except DecodeError as error:
        raise MalformedMessage(Text("the proposal is no protobuf message Fabric knows")) from error
    if not spec.chaincode_id.name:
        raise MalformedMessage(
            Text(
                "no chaincode name is provided, channel id [{channel_id}]",
                channel_id=channel_header.channel_id[:250],
            )
        )
    public = public_payload(payload.input)
    return OpenedProposal(
        transaction_id=channel_header.tx_id,
        channel=channel_header.channel_id,
        chaincode=spec.chaincode_id.name,
        args=tuple(spec.input.args),
        transient=dict(payload.TransientMap),
        creator=signature_header.creator,
        nonce=signature_header.nonce,
        timestamp=to_datetime(channel_header),
        channel_header=header.channel_header,
        signature_header=header.signature_header,
        payload=public,
        proposal_hash=proposal_hash(header.channel_header, header.signature_header, public),
        proposal_bytes=signed.proposal_bytes,
        signature=signed.signature,
    )


def public_payload(invocation: bytes) -> bytes:
    """Return the ChaincodeProposalPayload around a ChaincodeInvocationSpec, without transients."""
    return peer_pb2.ChaincodeProposalPayload(input=invocation).SerializeToString()


def to_datetime(header: common_pb2.ChannelHeader) -> datetime:
    """Return the header's timestamp, aware UTC; ``MalformedMessage`` if missing or out of range."""
    stamp = header.timestamp
    if not header.HasField("timestamp") or not 0 <= stamp.nanos < 1_000_000_000:
        raise MalformedMessage(Text("the channel header has no valid timestamp"))
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    except OverflowError as error:
        raise MalformedMessage(Text("the channel header's timestamp is out of range")) from error
