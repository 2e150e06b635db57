"""Endorsed transactions: read out of envelopes, checked before signing, and put together.

:func:`parse_transaction` reads what lies in a block. :func:`check_prepared` is the full client-side
check of docs/fabric-protocol.md 4.3: no key signs a transaction that is not, byte for byte, the
proposal that was made with endorsements that satisfy the chaincode's policy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from light_node.fabric.errors import MalformedMessage, UntrustedResponse
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, kvrwset_pb2, peer_pb2, rwset_pb2
from light_node.fabric.proposal import (
    Proposal,
    proposal_hash,
    public_payload,
    to_datetime,
    transaction_id,
)
from light_node.i18n import Text, told

M = TypeVar("M", bound=Message)

MAX_ENVELOPE_BYTES = 32 * 1024 * 1024
"""Larger than any sensible ``BatchSize.AbsoluteMaxBytes`` (Fabric's default is 10 MiB)."""
MAX_ENDORSEMENTS = 1024
MAX_NAMESPACES = 1024

READABLE_NAMESPACES = frozenset({"_lifecycle", "lscc"})
"""Peers read a chaincode's definition there on every call, so it shows in each read set."""


@dataclass(frozen=True, slots=True)
class Response:
    """What the chaincode returned (protos.Response)."""

    status: int
    message: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class ChaincodeEvent:
    """The event a transaction carries (protos.ChaincodeEvent)."""

    chaincode: str
    transaction_id: str
    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Endorsement:
    """One endorser (serialized identity) and its signature over ``response_payload ‖ endorser``."""

    endorser: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class CollectionRwset:
    """Hashed reads and writes of a private data collection."""

    name: str
    hashed: kvrwset_pb2.HashedRWSet
    pvt_rwset_hash: bytes


@dataclass(frozen=True, slots=True)
class NamespaceRwset:
    """Reads and writes in one chaincode's namespace, public and hashed."""

    namespace: str
    kv: kvrwset_pb2.KVRWSet
    collections: tuple[CollectionRwset, ...]

    @property
    def writes_anything(self) -> bool:
        """Whether committing this changes any value or key metadata."""
        return bool(
            self.kv.writes
            or self.kv.metadata_writes
            or any(c.hashed.hashed_writes or c.hashed.metadata_writes for c in self.collections)
        )

    @property
    def writes(self) -> dict[str, bytes | None]:
        """Final public writes, key → value; None is a delete (an empty value is one too, 1.7)."""
        return {
            write.key: write.value if write.value and not write.is_delete else None
            for write in self.kv.writes
        }


@dataclass(frozen=True, slots=True)
class Action:
    """The endorsed outcome: a decoded ProposalResponsePayload with its ChaincodeAction."""

    proposal_hash: bytes
    chaincode: str
    chaincode_version: str
    rwsets: tuple[NamespaceRwset, ...]
    response: Response
    event: ChaincodeEvent | None


@dataclass(frozen=True, slots=True)
class EnvelopeHeader:
    """What every envelope in a block says about itself; ``payload`` is what was signed."""

    type: int
    channel: str
    transaction_id: str
    creator: bytes
    nonce: bytes
    channel_header: bytes
    signature_header: bytes
    data: bytes
    payload: bytes
    signature: bytes

    @property
    def timestamp(self) -> datetime:
        """When the client says it proposed this (aware UTC); ``MalformedMessage`` if unreadable."""
        return to_datetime(
            _read(common_pb2.ChannelHeader, self.channel_header, Text("channel header"))
        )


@dataclass(frozen=True, slots=True)
class ParsedTransaction:
    """An endorser transaction. Nothing in it is verified by parsing alone."""

    header: EnvelopeHeader
    chaincode: str
    args: tuple[bytes, ...]
    action: Action
    endorsements: tuple[Endorsement, ...]
    action_header: bytes
    proposal_payload: bytes
    response_payload: bytes

    @property
    def transaction_id(self) -> str:
        """The id the channel header claims."""
        return self.header.transaction_id

    @property
    def channel(self) -> str:
        """The channel the transaction is for."""
        return self.header.channel

    @property
    def creator(self) -> bytes:
        """The serialized identity that proposed and signed it."""
        return self.header.creator

    @property
    def rwsets(self) -> tuple[NamespaceRwset, ...]:
        """Reads and writes by namespace."""
        return self.action.rwsets

    @property
    def response(self) -> Response:
        """What the chaincode returned."""
        return self.action.response

    @property
    def event(self) -> ChaincodeEvent | None:
        """The chaincode event, if any."""
        return self.action.event

    @property
    def id_is_consistent(self) -> bool:
        """Whether the id is the hash of nonce and creator (else BAD_PROPOSAL_TXID)."""
        return self.transaction_id == transaction_id(self.header.nonce, self.creator)

    @property
    def hash_is_consistent(self) -> bool:
        """Whether what was endorsed is this proposal (else INVALID_ENDORSER_TRANSACTION)."""
        return self.action.proposal_hash == proposal_hash(
            self.header.channel_header, self.action_header, self.proposal_payload
        )


@dataclass(frozen=True, slots=True)
class CheckedTransaction:
    """A prepared transaction that passed :func:`check_prepared`; ``payload`` is to be signed."""

    payload: bytes
    action: Action
    endorsements: tuple[Endorsement, ...]


class EndorsementPolicy(Protocol):
    """Decides whether endorsements suffice; see :mod:`light_node.fabric.endorsement`."""

    def check(self, response_payload: bytes, endorsements: Sequence[Endorsement]) -> None:
        """Return if every endorsement verifies and together they satisfy the policy.

        ``UntrustedResponse`` (point 6) otherwise.
        """
        ...


Expectation = Callable[[Action], None]
"""Looks at the decoded outcome and raises ``UntrustedResponse`` if it is not what was intended."""


# -- reading ------------------------------------------------------------------------------------


def parse_header(envelope: bytes, *, max_bytes: int = MAX_ENVELOPE_BYTES) -> EnvelopeHeader:
    """Read the headers of a serialized common.Envelope; ``MalformedMessage`` if it is none."""
    if len(envelope) > max_bytes:
        raise MalformedMessage(
            Text("the envelope is larger than {max_bytes} bytes", max_bytes=max_bytes)
        )
    outer = _read(common_pb2.Envelope, envelope, Text("envelope"))
    payload = _read(common_pb2.Payload, outer.payload, Text("payload"))
    channel = _read(common_pb2.ChannelHeader, payload.header.channel_header, Text("channel header"))
    signature = _read(
        common_pb2.SignatureHeader, payload.header.signature_header, Text("signature header")
    )
    return EnvelopeHeader(
        type=channel.type,
        channel=channel.channel_id,
        transaction_id=channel.tx_id,
        creator=signature.creator,
        nonce=signature.nonce,
        channel_header=payload.header.channel_header,
        signature_header=payload.header.signature_header,
        data=payload.data,
        payload=outer.payload,
        signature=outer.signature,
    )


def parse_transaction(envelope: bytes, *, max_bytes: int = MAX_ENVELOPE_BYTES) -> ParsedTransaction:
    """Read an endorser transaction out of a serialized common.Envelope.

    ``MalformedMessage`` if it is of another type, not exactly one action, or unreadable anywhere.
    """
    header = parse_header(envelope, max_bytes=max_bytes)
    if header.type != common_pb2.ENDORSER_TRANSACTION:
        raise MalformedMessage(
            Text("the envelope is of type {type}, not a transaction", type=header.type)
        )
    transaction = _read(peer_pb2.Transaction, header.data, Text("transaction"))
    if len(transaction.actions) != 1:
        raise MalformedMessage(
            Text("the transaction has {count} actions, not one", count=len(transaction.actions))
        )
    outer = transaction.actions[0]
    inner = _read(peer_pb2.ChaincodeActionPayload, outer.payload, Text("action"))
    chaincode, args = _parse_invocation(inner.chaincode_proposal_payload)
    return ParsedTransaction(
        header=header,
        chaincode=chaincode,
        args=args,
        action=parse_action(inner.action.proposal_response_payload),
        endorsements=_endorsements(inner.action),
        action_header=outer.header,
        proposal_payload=inner.chaincode_proposal_payload,
        response_payload=inner.action.proposal_response_payload,
    )


def parse_action(response_payload: bytes) -> Action:
    """Decode a serialized ProposalResponsePayload down to the read-write sets.

    ``MalformedMessage`` if any layer cannot be read or names a namespace twice.
    """
    outer = _read(peer_pb2.ProposalResponsePayload, response_payload, Text("proposal response"))
    action = _read(peer_pb2.ChaincodeAction, outer.extension, Text("chaincode action"))
    event = None
    if action.events:
        raw = _read(peer_pb2.ChaincodeEvent, action.events, Text("chaincode event"))
        event = ChaincodeEvent(raw.chaincode_id, raw.tx_id, raw.event_name, raw.payload)
    return Action(
        proposal_hash=outer.proposal_hash,
        chaincode=action.chaincode_id.name,
        chaincode_version=action.chaincode_id.version,
        rwsets=parse_rwset(action.results),
        response=Response(action.response.status, action.response.message, action.response.payload),
        event=event,
    )


def parse_rwset(results: bytes) -> tuple[NamespaceRwset, ...]:
    """Decode a serialized TxReadWriteSet; ``MalformedMessage`` if that is impossible."""
    outer = _read(rwset_pb2.TxReadWriteSet, results, Text("read-write set"))
    if outer.data_model != rwset_pb2.TxReadWriteSet.KV:
        raise MalformedMessage(Text("the read-write set is of an unknown data model"))
    names = [entry.namespace for entry in outer.ns_rwset]
    if len(names) > MAX_NAMESPACES or len(set(names)) != len(names):
        raise MalformedMessage(Text("the read-write set names too many namespaces or one twice"))
    return tuple(_parse_namespace(entry) for entry in outer.ns_rwset)


def _parse_namespace(entry: rwset_pb2.NsReadWriteSet) -> NamespaceRwset:
    return NamespaceRwset(
        namespace=entry.namespace,
        kv=_read(kvrwset_pb2.KVRWSet, entry.rwset, Text("read-write set")),
        collections=tuple(
            CollectionRwset(
                name=collection.collection_name,
                hashed=_read(
                    kvrwset_pb2.HashedRWSet, collection.hashed_rwset, Text("hashed read-write set")
                ),
                pvt_rwset_hash=collection.pvt_rwset_hash,
            )
            for collection in entry.collection_hashed_rwset
        ),
    )


def _parse_invocation(payload: bytes) -> tuple[str, tuple[bytes, ...]]:
    proposal = _read(peer_pb2.ChaincodeProposalPayload, payload, Text("proposal payload"))
    spec = _read(
        peer_pb2.ChaincodeInvocationSpec, proposal.input, Text("invocation")
    ).chaincode_spec
    return spec.chaincode_id.name, tuple(spec.input.args)


def _endorsements(action: peer_pb2.ChaincodeEndorsedAction) -> tuple[Endorsement, ...]:
    if len(action.endorsements) > MAX_ENDORSEMENTS:
        raise MalformedMessage(
            Text(
                "the transaction has more than {most} endorsements",
                most=MAX_ENDORSEMENTS,
            )
        )
    return tuple(Endorsement(e.endorser, e.signature) for e in action.endorsements)


def _read(kind: type[M], data: bytes, what: str) -> M:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise MalformedMessage(
            Text("the {what} is no protobuf message Fabric knows", what=what)
        ) from error


# -- checking what a gateway prepared -----------------------------------------------------------


def check_prepared(
    envelope: common_pb2.Envelope,
    proposal: Proposal,
    policy: EndorsementPolicy,
    *,
    expect: Expectation | None = None,
) -> CheckedTransaction:
    """Check an Endorse answer against the proposal sent, points 1 to 6 of section 4.3.

    ``expect`` replaces the default of point 5, :func:`writes_own_namespace_only`.
    ``UntrustedResponse`` names the first point that fails; unreadable parts count as point 1.
    """
    try:
        return _check_prepared(envelope, proposal, policy, expect)
    except UntrustedResponse as error:
        error.transaction_id = proposal.transaction_id
        raise
    except MalformedMessage as error:
        raise UntrustedResponse(1, told(error), transaction_id=proposal.transaction_id) from error


def _check_prepared(
    envelope: common_pb2.Envelope,
    proposal: Proposal,
    policy: EndorsementPolicy,
    expect: Expectation | None,
) -> CheckedTransaction:
    if len(envelope.payload) > MAX_ENVELOPE_BYTES:
        raise UntrustedResponse(1, Text("it is too large"))
    inner = _check_headers(envelope.payload, proposal)
    sent = public_payload(proposal.input)
    if inner.chaincode_proposal_payload != sent:
        raise UntrustedResponse(2, Text("it calls the chaincode with other arguments"))
    response_payload = inner.action.proposal_response_payload
    action = parse_action(response_payload)
    if action.proposal_hash != proposal.proposal_hash:
        raise UntrustedResponse(3, Text("the endorsements are for another proposal"))
    _check_action(action, proposal)
    endorsements = _endorsements(inner.action)
    rebuilt = prepared_payload(
        proposal.channel_header, proposal.signature_header, sent, response_payload, endorsements
    )
    # One comparison excludes every way of hiding something in a field nobody looks at.
    if rebuilt != envelope.payload:
        raise UntrustedResponse(1, Text("it holds more than the proposal and its endorsements"))
    if expect is None:
        writes_own_namespace_only(action)
    else:
        expect(action)
    policy.check(response_payload, endorsements)
    return CheckedTransaction(rebuilt, action, endorsements)


def _check_headers(payload: bytes, proposal: Proposal) -> peer_pb2.ChaincodeActionPayload:
    outer = _read(common_pb2.Payload, payload, Text("payload"))
    if outer.header.channel_header != proposal.channel_header:
        raise UntrustedResponse(1, Text("its channel header is not the one proposed"))
    if outer.header.signature_header != proposal.signature_header:
        raise UntrustedResponse(1, Text("its signature header is not the one proposed"))
    transaction = _read(peer_pb2.Transaction, outer.data, Text("transaction"))
    if len(transaction.actions) != 1:
        raise UntrustedResponse(
            1, Text("it has {count} actions instead of one", count=len(transaction.actions))
        )
    if transaction.actions[0].header != proposal.signature_header:
        raise UntrustedResponse(1, Text("its action's header is not the one proposed"))
    return _read(peer_pb2.ChaincodeActionPayload, transaction.actions[0].payload, Text("action"))


def _check_action(action: Action, proposal: Proposal) -> None:
    if action.chaincode != proposal.chaincode:
        raise UntrustedResponse(4, Text("another chaincode answered than the one called"))
    if not 200 <= action.response.status < 400:
        raise UntrustedResponse(
            4, Text("the chaincode's status is {status}", status=action.response.status)
        )
    event = action.event
    if event is not None and (
        event.chaincode != proposal.chaincode or event.transaction_id != proposal.transaction_id
    ):
        raise UntrustedResponse(4, Text("its event is of another chaincode or transaction"))


def writes_own_namespace_only(action: Action) -> None:
    """Refuse outcomes that touch other namespaces, apart from the lifecycle reads of every call.

    ``UntrustedResponse`` (point 5) if another namespace is written or read.
    """
    for rwset in action.rwsets:
        if rwset.namespace == action.chaincode:
            continue
        if rwset.writes_anything:
            raise UntrustedResponse(5, Text("it writes to another chaincode's state"))
        if rwset.namespace not in READABLE_NAMESPACES:
            raise UntrustedResponse(5, Text("it reads another chaincode's state"))


# -- putting together ---------------------------------------------------------------------------


def response_payload(
    proposal_hash: bytes,
    *,
    chaincode: str,
    version: str,
    results: bytes,
    response: peer_pb2.Response,
    event: peer_pb2.ChaincodeEvent | None = None,
) -> bytes:
    """Return the ProposalResponsePayload an endorser signs; ``results`` is a TxReadWriteSet."""
    action = peer_pb2.ChaincodeAction(
        results=results,
        events=event.SerializeToString() if event is not None else b"",
        response=response,
        chaincode_id=peer_pb2.ChaincodeID(name=chaincode, version=version),
    )
    return peer_pb2.ProposalResponsePayload(
        proposal_hash=proposal_hash, extension=action.SerializeToString()
    ).SerializeToString()


def endorse(endorser: SigningIdentity, response_payload: bytes) -> Endorsement:
    """Return ``endorser``'s endorsement of a ProposalResponsePayload (section 3.5)."""
    return Endorsement(endorser.serialized, endorser.sign(response_payload + endorser.serialized))


def prepared_payload(
    channel_header: bytes,
    signature_header: bytes,
    proposal_payload: bytes,
    response_payload: bytes,
    endorsements: Sequence[Endorsement],
) -> bytes:
    """Return the common.Payload of an endorsed transaction, ready to be signed (section 4.3)."""
    action = peer_pb2.ChaincodeActionPayload(
        chaincode_proposal_payload=proposal_payload,
        action=peer_pb2.ChaincodeEndorsedAction(
            proposal_response_payload=response_payload,
            endorsements=[
                peer_pb2.Endorsement(endorser=e.endorser, signature=e.signature)
                for e in endorsements
            ],
        ),
    )
    transaction = peer_pb2.Transaction(
        actions=[
            peer_pb2.TransactionAction(header=signature_header, payload=action.SerializeToString())
        ]
    )
    return common_pb2.Payload(
        header=common_pb2.Header(channel_header=channel_header, signature_header=signature_header),
        data=transaction.SerializeToString(),
    ).SerializeToString()


def sign_payload(identity: SigningIdentity, payload: bytes) -> common_pb2.Envelope:
    """Return the signed common.Envelope around a serialized Payload."""
    return common_pb2.Envelope(payload=payload, signature=identity.sign(payload))


def read_envelope(envelope: bytes) -> common_pb2.Envelope:
    """Read a serialized common.Envelope, as kept in an outbox; ``MalformedMessage`` if damaged."""
    outer = _read(common_pb2.Envelope, envelope, Text("envelope"))
    if not outer.payload or not outer.signature:
        raise MalformedMessage(Text("the stored envelope has no payload or no signature"))
    return outer
