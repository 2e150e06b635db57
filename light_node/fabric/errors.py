"""What can go wrong with a Fabric network: a closed tree, in our words.

Messages are ours and say what to do. What the other side wrote is kept apart in ``foreign`` and
``details``: plain text, bounded, without control characters, to be shown on demand and labelled.
The mapping from gRPC follows docs/fabric-protocol.md 4.7.

FabricError
├── Unavailable            nobody answered; asking again is right
│   ├── TimedOut           the deadline passed
│   ├── Overloaded         too many calls at once
│   └── AlreadyOrdered     the ordering service has this very transaction
├── AccessDenied           identity unknown, invalid, without the right, or bad signature
├── ClockSkewed            this machine's clock and a node's differ too much
├── ContractRefused        the chaincode said no
├── EvaluateError, SubmitError, CommitStatusError, EventsError   that call failed otherwise
├── EndorseError           so did Endorse
│   └── EndorsersDisagree  organisations computed different results
├── CommitError            in a block, but not valid
│   └── CommitConflict     because something read had changed (MVCC, phantom)
├── OutcomeUnknown         submitted, not known whether committed: resume, do not start anew
├── UntrustedResponse      the endorsed transaction is not what was asked for
├── MalformedMessage       bytes that are no well-formed message
├── DeliverError           a deliver stream ended with a status
│   ├── BlockNotFound      the block or channel is not there (yet)
│   └── TimeRefused        the node's clock and this machine's differ too much
└── CaError                the CA said no (subclasses say why)
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from light_node.fabric import clocks
from light_node.fabric.pb import gateway_pb2, peer_pb2, rpc_pb2
from light_node.i18n import SaidError, Text, all_of, plain

MAX_FOREIGN_CHARACTERS = 2000
_MAX_DETAILS = 32
_MAX_STATUS_BYTES = 1024 * 1024

_CHAINCODE_RESPONSE = re.compile(r"chaincode response (\d{3}), (.*)\Z", re.DOTALL)
_REFUSAL = re.compile(r"([A-Z][A-Z0-9_]{1,63}): (.*)\Z", re.DOTALL)
_CONNECTION_TROUBLE = re.compile(
    r"connection refused|connection error|could not launch chaincode|no such host"
    r"|context deadline exceeded|i/o timeout|transport is closing"
)


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """What one node said (gateway.ErrorDetail), cleaned; foreign text."""

    address: str
    msp_id: str
    message: str


class FabricError(SaidError):
    """Base of all errors of this package.

    ``foreign`` is the remote side's own text, ``details`` what its nodes said, ``stage`` the call
    that failed (``"endorse"``), ``transaction_id`` the transaction it was about; all may be empty.
    """

    def __init__(
        self,
        text: Text,
        *,
        foreign: str = "",
        details: tuple[NodeDetail, ...] = (),
        stage: str = "",
        transaction_id: str = "",
    ) -> None:
        super().__init__(text)
        self.foreign = clean(foreign)
        self.details = details
        self.stage = stage
        self.transaction_id = transaction_id


class Unavailable(FabricError):
    """Nobody answered, or a part of the network is down: asking again later is right."""


class TimedOut(Unavailable):
    """The deadline passed before the answer came."""


class Overloaded(Unavailable):
    """The peer has too many calls under way: back off and repeat."""


class AlreadyOrdered(Unavailable):
    """The ordering service has the submitted transaction already: ask for its status (BFT)."""


class AccessDenied(FabricError):
    """The network does not accept this identity for this call."""


class ClockSkewed(FabricError):
    """Nodes refuse the request's time: their clock is more than 15 minutes off this machine's.

    ``ahead`` is how far theirs is ahead (negative: behind), None if they do not say;
    ``organizations`` are those that refused, as far as known.
    """

    def __init__(
        self,
        text: Text,
        *,
        ahead: timedelta | None = None,
        organizations: frozenset[str] = frozenset(),
        foreign: str = "",
        details: tuple[NodeDetail, ...] = (),
        stage: str = "",
        transaction_id: str = "",
    ) -> None:
        super().__init__(
            text, foreign=foreign, details=details, stage=stage, transaction_id=transaction_id
        )
        self.ahead = ahead
        self.organizations = organizations

    def of_peer(self, name: str, msp_id: str) -> "ClockSkewed":
        """Return the error with the peer that was asked named, unless it named others itself."""
        who = self.organizations or frozenset((msp_id,))
        named = (
            all_of(sorted(who))
            if self.organizations
            else Text("the peer {name} of {msp_id}", name=name, msp_id=msp_id)
        )
        return self._saying(_refused_by(named, self.ahead), who)

    def of_all(self) -> "ClockSkewed":
        """Return the error for a time that peers of every organisation refuse."""
        return self._saying(
            Text(
                "every organisation's clock is {apart}: set the clock of this machine",
                apart=clocks.apart(self.ahead),
            ),
            self.organizations,
        )

    def _saying(self, text: Text, organizations: frozenset[str]) -> "ClockSkewed":
        return ClockSkewed(
            text,
            ahead=self.ahead,
            organizations=organizations,
            foreign=self.foreign,
            details=self.details,
            stage=self.stage,
            transaction_id=self.transaction_id,
        )


def _refused_by(named: Text, ahead: timedelta | None) -> Text:
    return Text(
        "the clock of {named} is {apart}, so requests are refused: set the clock that is wrong",
        named=named,
        apart=clocks.apart(ahead),
    )


class ContractRefused(FabricError):
    """The chaincode answered with a status of 400 or more.

    ``status`` is that number, ``code`` the contract's own word (``ROUND_CLOSED``, "" if it gave
    none) and ``foreign`` its explanation.
    """

    def __init__(
        self, status: int, code: str, foreign: str, *, stage: str = "", transaction_id: str = ""
    ) -> None:
        text = Text("the contract refused: status {status}", status=status)
        if code:
            text = Text("the contract refused: status {status} ({code})", status=status, code=code)
        super().__init__(
            text,
            foreign=foreign,
            stage=stage,
            transaction_id=transaction_id,
        )
        self.status = status
        self.code = code


class EvaluateError(FabricError):
    """Evaluate failed for another reason than those with a class of their own."""


class EndorseError(FabricError):
    """Endorse failed for another reason than those with a class of their own."""


class EndorsersDisagree(EndorseError):
    """Peers of different organisations computed different results from the same proposal."""


class SubmitError(FabricError):
    """Submit failed. Whether the transaction commits is unknown until CommitStatus says so."""


class CommitStatusError(FabricError):
    """CommitStatus failed for another reason than those with a class of their own."""


class EventsError(FabricError):
    """The event stream failed for another reason than those with a class of their own."""


class CommitError(FabricError):
    """The transaction is in a block but not valid: nothing was changed by it.

    ``code`` is the protos.TxValidationCode, ``name`` its name, ``block_number`` the block.
    """

    def __init__(self, transaction_id: str, code: int, block_number: int) -> None:
        name = validation_code_name(code)
        super().__init__(
            Text("the network found the transaction invalid: {name}", name=name),
            stage="commit",
            transaction_id=transaction_id,
        )
        self.code = code
        self.name = name
        self.block_number = block_number


class CommitConflict(CommitError):
    """What the transaction had read was changed before it committed: endorse anew and retry."""


class OutcomeUnknown(FabricError):
    """The transaction was handed over, and its fate is not known yet.

    It may still commit. Keep ``transaction_id`` and ``envelope`` and call ``Gateway.resume``;
    building a new transaction instead could do the thing twice.
    """

    def __init__(self, transaction_id: str, envelope: bytes, cause: FabricError | None) -> None:
        super().__init__(
            Text("the network has not said whether the transaction was committed: ask again later"),
            foreign=cause.foreign if cause else "",
            details=cause.details if cause else (),
            stage="submit",
            transaction_id=transaction_id,
        )
        self.envelope = envelope


class UntrustedResponse(FabricError):
    """The peer answered with a transaction that is not the one asked for; it was not signed.

    ``point`` is the number of the check in docs/fabric-protocol.md 4.3 that failed.
    """

    def __init__(self, point: int, text: Text, *, transaction_id: str = "") -> None:
        super().__init__(
            Text("the endorsed transaction was not signed: {why}", why=text),
            stage="endorse",
            transaction_id=transaction_id,
        )
        self.point = point


class MalformedMessage(FabricError):
    """Bytes that are not the well-formed message they should be."""


class DeliverError(FabricError):
    """A deliver stream ended with ``status``, a common.Status number."""

    def __init__(self, text: Text, status: int, *, foreign: str = "") -> None:
        super().__init__(text, foreign=foreign, stage="deliver")
        self.status = status


class BlockNotFound(DeliverError):
    """The node has no such block (yet), or does not serve this channel."""


class TimeRefused(DeliverError):
    """The node refused the request, for its time as far as can be told.

    Our requests have nothing else that it could refuse with this status. ``ahead`` is how far its
    clock is ahead of this machine's, None if unknown.
    """

    def __init__(self, status: int, ahead: timedelta | None = None) -> None:
        super().__init__(_refused_by(Text("the node"), ahead), status)
        self.ahead = ahead


class CaError(FabricError):
    """The CA refused. ``code`` is Fabric CA's own number, ``http_status`` HTTP's (0: none)."""

    def __init__(
        self, text: Text, *, code: int = 0, http_status: int = 0, foreign: str = ""
    ) -> None:
        super().__init__(text, foreign=foreign, stage="ca")
        self.code = code
        self.http_status = http_status


class CaUnavailable(CaError):
    """The CA does not answer."""


class CaAuthenticationFailed(CaError):
    """Unknown id, wrong secret, used-up enrolments, or a revoked or expired certificate."""


class CaForbidden(CaError):
    """The caller may not do this at the CA."""


class CaNotFound(CaError):
    """There is no CA or identity of that name."""


class CaIdentityExists(CaError):
    """An identity of that name is registered already."""


class CaBadRequest(CaError):
    """The CA could not use the request."""


class CaAnswerInvalid(CaError):
    """What came back is no answer of a Fabric CA."""


_STAGE_ERRORS: dict[str, type[FabricError]] = {
    "evaluate": EvaluateError,
    "endorse": EndorseError,
    "submit": SubmitError,
    "commit status": CommitStatusError,
    "events": EventsError,
}

_STAGES: dict[str, Text] = {
    "evaluate": Text("evaluate"),
    "endorse": Text("endorse"),
    "submit": Text("submit"),
    "commit status": Text("commit status"),
    "events": Text("events"),
    "deliver": Text("deliver"),
}


def clean(text: str, limit: int = MAX_FOREIGN_CHARACTERS) -> str:
    """Return foreign text as one bounded line: no control or direction characters."""
    cut = text[: limit + 1]
    plain = "".join(c if c.isprintable() else " " for c in cut)
    return plain if len(cut) <= limit else plain[: limit - 1] + "…"


def validation_code_name(code: int) -> str:
    """Return the name of a protos.TxValidationCode, or its number if it is unknown."""
    try:
        return peer_pb2.TxValidationCode.Name(code)
    except ValueError:
        return str(code)


def commit_error(transaction_id: str, code: int, block_number: int) -> CommitError:
    """Return the error for a validation code that is not VALID."""
    conflict = code in (peer_pb2.MVCC_READ_CONFLICT, peer_pb2.PHANTOM_READ_CONFLICT)
    return (CommitConflict if conflict else CommitError)(transaction_id, code, block_number)


def node_details(error: grpc.RpcError) -> tuple[NodeDetail, ...]:
    """Return the gateway.ErrorDetail entries of ``grpc-status-details-bin``.

    Empty when the trailer is absent, too large or damaged: it only explains, it decides nothing.
    """
    for key, value in _ask(error, "trailing_metadata") or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        if len(value) > _MAX_STATUS_BYTES:
            return ()
        try:
            status = rpc_pb2.Status.FromString(value)
            found = [
                gateway_pb2.ErrorDetail.FromString(any_.value)
                for any_ in status.details[:_MAX_DETAILS]
                if any_.type_url.rpartition("/")[2] == "gateway.ErrorDetail"
            ]
        except DecodeError:
            return ()
        return tuple(
            NodeDetail(clean(d.address, 200), clean(d.msp_id, 200), clean(d.message)) for d in found
        )
    return ()


def from_rpc_error(
    error: grpc.RpcError, stage: str, transaction_id: str = "", *, time_is_up: bool = False
) -> FabricError:
    """Map a failed gateway call to the tree. ``stage`` is a key of the stage errors, like "submit".

    ``time_is_up`` says that the call ended with its deadline. The server knows the deadline too,
    and where its clock runs out first, it cancels the call: that is no broken connection.
    A refusal by the chaincode is recognised before anything else that the same text might mean.
    """
    code = _ask(error, "code") or grpc.StatusCode.UNKNOWN
    if time_is_up and code is grpc.StatusCode.CANCELLED:
        code = grpc.StatusCode.DEADLINE_EXCEEDED
    text = _ask(error, "details") or ""
    details = node_details(error)
    texts = [detail.message for detail in details] + [text]
    if code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.ABORTED):
        for line in texts:
            if match := _CHAINCODE_RESPONSE.search(line[:65536]):
                return contract_refused(
                    int(match[1]), match[2], stage=stage, transaction_id=transaction_id
                )
    chosen, words = _classify(code, texts, stage)
    if chosen is ClockSkewed:
        return ClockSkewed(
            words,
            ahead=clocks.ahead(texts),
            organizations=frozenset(d.msp_id for d in details if clocks.REFUSAL in d.message),
            foreign=text,
            details=details,
            stage=stage,
            transaction_id=transaction_id,
        )
    return chosen(words, foreign=text, details=details, stage=stage, transaction_id=transaction_id)


def contract_refused(
    status: int, message: str, *, stage: str = "", transaction_id: str = ""
) -> ContractRefused:
    """Return the error for a chaincode response; ``message`` is ``CODE: text`` or free text."""
    match = _REFUSAL.match(message)
    word, text = (match[1], match[2]) if match else ("", message)
    return ContractRefused(status, word, text, stage=stage, transaction_id=transaction_id)


def _ask(error: grpc.RpcError, name: str) -> Any:
    # A call that failed is an RpcError and a grpc.Call in one; a bare RpcError tells nothing.
    method = getattr(error, name, None)
    return method() if method is not None else None


def _classify(
    code: grpc.StatusCode, texts: list[str], stage: str
) -> tuple[type[FabricError], Text]:
    call = _STAGES.get(stage, plain(stage))

    def said(*parts: str) -> bool:
        return any(part in text for text in texts for part in parts)

    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimedOut, Text("{call}: no answer in time; try again", call=call)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED or said("too many requests"):
        return Overloaded, Text("{call}: the peer is busy; try again shortly", call=call)
    if said(clocks.REFUSAL):
        return ClockSkewed, _refused_by(Text("the peer"), clocks.ahead(texts))
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED) or said(
        "access denied", "identity expired", "creator org", "during check policy"
    ):
        return AccessDenied, Text(
            "{call}: the network does not accept this identity; check the organisation and the "
            "certificate's expiry, or enrol again",
            call=call,
        )
    if code is grpc.StatusCode.CANCELLED:
        return Unavailable, Text("{call}: the connection was closed", call=call)
    if stage == "submit" and said("already processed"):
        return AlreadyOrdered, Text(
            "the ordering service has this transaction already: ask for its status"
        )
    if code is grpc.StatusCode.UNAVAILABLE or (
        code is grpc.StatusCode.ABORTED and any(_CONNECTION_TROUBLE.search(t) for t in texts)
    ):
        return Unavailable, Text(
            "{call}: the network does not answer; try again when it is reachable", call=call
        )
    if stage == "endorse" and said("ProposalResponsePayloads do not match"):
        return EndorsersDisagree, Text("the organisations computed different results; try again")
    return _STAGE_ERRORS.get(stage, FabricError), Text(
        "{call} failed ({code})", call=call, code=code.name
    )
