"""One transaction: from the peer's TRANSACTION message to COMPLETED or ERROR.

docs/fabric-protocol.md 1.11. The peer has checked the proposal's signature, its creator's
certificate and right to write; what is read here is taken from that very proposal.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache

from cryptography.x509 import Certificate
from google.protobuf.message import DecodeError, Message

from light_node.chaincode.exchange import CallFailed, Exchange, PeerRefused
from light_node.chaincode.state import Batching, Kind, StateKeyError, StreamState
from light_node.contract.chaincodes import Chaincode
from light_node.contract.stub import Invocation, LedgerState, Response
from light_node.fabric.connection import MAX_MESSAGE_BYTES
from light_node.fabric.crypto import CryptoError, load_certificate
from light_node.fabric.errors import MalformedMessage, clean
from light_node.fabric.pb import msp_pb2, peer_pb2
from light_node.fabric.proposal import origin_of
from light_node.i18n import Text

log = logging.getLogger(__name__)

_M = peer_pb2.ChaincodeMessage
MAX_ANSWER_BYTES = MAX_MESSAGE_BYTES - 64 * 1024
"""Largest payload of an answer: the message around it must fit what the peer receives."""
_CREATORS_REMEMBERED = 4096

OK, REFUSED, FAILED = "ok", "refused", "failed"


@dataclass(frozen=True, slots=True)
class Finished:
    """The last message of a transaction, and how it ended: ok, refused or failed.

    ``refused`` is the contract's own decision; ``failed`` is everything else and the peer reports
    it as the chaincode's error.
    """

    message: peer_pb2.ChaincodeMessage
    outcome: str


def function_of(message: peer_pb2.ChaincodeMessage) -> bytes:
    """Return the first argument, the function's name; empty if there is none to be read."""
    try:
        arguments = peer_pb2.ChaincodeInput.FromString(message.payload).args
    except DecodeError:
        return b""
    return arguments[0] if arguments else b""


def run(
    chaincode: Chaincode,
    message: peer_pb2.ChaincodeMessage,
    exchange: Exchange,
    batching: Batching,
) -> Finished:
    """Run ``chaincode`` for a TRANSACTION message; nothing it does raises out of here."""

    def ask(kind: Kind, request: Message) -> bytes:
        return _ask(exchange, message, kind, request)

    state = StreamState(ask, batching)
    try:
        invocation = invocation_of(message, state)
        response = chaincode(invocation)
        if response.ok:
            state.flush()
        return _completed(message, invocation, response)
    except (CallFailed, MalformedMessage, StateKeyError) as error:
        return failure(message, str(error))
    except Exception:  # a defect of the contract ends this transaction, not the server
        log.exception("the chaincode failed", extra={"tx": message.txid})
        return failure(message, "the chaincode failed; its server's log says why")


def failure(message: peer_pb2.ChaincodeMessage, text: str) -> Finished:
    """Return the ERROR that ends the transaction of ``message``."""
    return Finished(_reply(message, _M.ERROR, text.encode("utf-8", "replace")), FAILED)


def invocation_of(message: peer_pb2.ChaincodeMessage, state: LedgerState) -> Invocation:
    """Return what the contract is called with; ``MalformedMessage`` if it is not all there."""
    try:
        arguments = peer_pb2.ChaincodeInput.FromString(message.payload).args
    except DecodeError as error:
        raise MalformedMessage(Text("the transaction's payload is no ChaincodeInput")) from error
    if not message.HasField("proposal"):
        raise MalformedMessage(Text("the proposal is missing"))
    origin = origin_of(message.proposal)
    if origin.transaction_id != message.txid:
        raise MalformedMessage(Text("the proposal is another transaction's"))
    msp_id, certificate = _creator(origin.creator)
    return Invocation(
        state=state,
        args=list(arguments),
        creator=origin.creator,
        certificate=certificate,
        msp_id=msp_id,
        transaction_id=message.txid,
        timestamp=origin.timestamp,
        channel_id=message.channel_id,
    )


@lru_cache(_CREATORS_REMEMBERED)
def _creator(creator: bytes) -> tuple[str, Certificate]:
    # The same few wallets call over and over, and parsing a certificate costs more than a quote.
    try:
        identity = msp_pb2.SerializedIdentity.FromString(creator)
        return identity.mspid, load_certificate(identity.id_bytes)
    except (DecodeError, CryptoError) as error:
        raise MalformedMessage(
            Text("the proposal's creator cannot be read: {error}", error=error)
        ) from error


def _ask(
    exchange: Exchange, message: peer_pb2.ChaincodeMessage, kind: Kind, request: Message
) -> bytes:
    asked = _M(
        type=kind,
        payload=request.SerializeToString(),
        txid=message.txid,
        channel_id=message.channel_id,
    )
    answer = exchange.ask(asked)
    if answer.type == _M.ERROR:
        raise PeerRefused(clean(answer.payload.decode("utf-8", "replace")))
    return answer.payload


def _completed(
    message: peer_pb2.ChaincodeMessage, invocation: Invocation, response: Response
) -> Finished:
    payload = peer_pb2.Response(
        status=response.status, message=response.message, payload=response.payload
    ).SerializeToString()
    if len(payload) > MAX_ANSWER_BYTES:
        return failure(message, f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB")
    completed = _reply(message, _M.COMPLETED, payload)
    if invocation.event is not None and response.ok:
        name, data = invocation.event
        completed.chaincode_event.event_name = name
        completed.chaincode_event.payload = data
    return Finished(completed, OK if response.ok else REFUSED)


def _reply(
    message: peer_pb2.ChaincodeMessage,
    kind: Kind,
    data: bytes,
) -> peer_pb2.ChaincodeMessage:
    return _M(type=kind, payload=data, txid=message.txid, channel_id=message.channel_id)
