"""The gateway service of one peer (``docs/fabric-protocol.md`` 4.2 to 4.5, 4.7)."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from light_node.devnet.access import READERS, AccessControl
from light_node.devnet.endorser import Endorser, Outcome, ProposalRefused
from light_node.devnet.layout import Node
from light_node.devnet.rpc import Detail, Limit, RpcFailure, stream, unary
from light_node.devnet.validation import VALID
from light_node.devnet.views import OrdererView, bft_submission, follow
from light_node.fabric import methods
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import common_pb2, gateway_pb2, peer_pb2
from light_node.fabric.policy import bft_quorum
from light_node.fabric.proposal import OpenedProposal, unpack_proposal
from light_node.fabric.transaction import ChaincodeEvent, Endorsement, prepared_payload

MAX_CONCURRENT = 500
_Code = grpc.StatusCode
_COLLECTING = (
    "failed to collect enough transaction endorsements, see attached details for more info"
)
_ENDORSING = "failed to endorse transaction, see attached details for more info"
_EVALUATING = "failed to evaluate transaction, see attached details for more info"
_REMOTE = "rpc error: code = Unknown desc = "
_MISMATCH = "ProposalResponsePayloads do not match"


class GatewayService:
    """The gateway of one organisation's peer.

    ``endorsers`` are all organisations' endorsers, this peer's own first; ``needed`` of them make
    a transaction the channel's endorsement policy accepts (MAJORITY).
    """

    def __init__(
        self,
        endorsers: Sequence[Endorser],
        orderers: Sequence[OrdererView],
        access: AccessControl,
        *,
        needed: int,
        bft: bool,
    ) -> None:
        self._endorsers = endorsers
        self._own = endorsers[0]
        self._orderers = orderers
        self._access = access
        self._needed = needed
        self._bft = bft

    def behaviours(self) -> Mapping[methods.Method, Callable[..., Any]]:
        """Return the gRPC behaviours of the service's methods."""
        limit = Limit("gateway.Gateway", MAX_CONCURRENT)
        return {
            methods.EVALUATE: unary(limit, self.evaluate),
            methods.ENDORSE: unary(limit, self.endorse),
            methods.SUBMIT: unary(limit, self.submit),
            methods.COMMIT_STATUS: unary(limit, self.commit_status),
            methods.CHAINCODE_EVENTS: stream(limit, self.chaincode_events),
        }

    # -- Evaluate ----------------------------------------------------------------------------

    async def evaluate(self, request: gateway_pb2.EvaluateRequest) -> gateway_pb2.EvaluateResponse:
        """Run a proposal on one peer and return the chaincode's answer."""
        proposal = _unpacked(
            request.proposed_transaction,
            "failed to unpack transaction proposal: ",
            missing="failed to unpack transaction proposal: a signed proposal is required",
        )
        if proposal.channel != self._access.channel:
            raise RpcFailure(_Code.UNAVAILABLE, _no_channel(proposal.channel))
        endorsers = self._of(request.target_organizations)
        if not endorsers or not self._own.knows(proposal.chaincode):
            raise RpcFailure(
                _Code.FAILED_PRECONDITION,
                f"no peers available to evaluate chaincode {proposal.chaincode[:100]} "
                f"in channel {proposal.channel[:250]}",
            )
        node, outcome = await self._evaluate_at_one(request.proposed_transaction, endorsers)
        if not outcome.ok:
            code = _Code.UNKNOWN if outcome.payload else _Code.ABORTED
            text = _chaincode_error(outcome.response, bool(outcome.payload))
            raise RpcFailure(
                code, f"evaluate call to endorser returned error: {text}", [Detail(node, text)]
            )
        return gateway_pb2.EvaluateResponse(result=outcome.response)

    async def _evaluate_at_one(
        self, signed: peer_pb2.SignedProposal, endorsers: Sequence[Endorser]
    ) -> tuple[Node, Outcome]:
        """Ask the first peer whose filters let the proposal pass; they answer before a chaincode.

        Filters differ where a peer's clock is wrong.
        """
        refusals: list[Detail] = []
        for endorser in endorsers:
            node = endorser.view.node
            try:
                return node, await endorser.evaluate(signed)
            except ProposalRefused as refusal:
                if not refusal.by_filter:
                    text = f"evaluate call to endorser returned error: {refusal}"
                    raise RpcFailure(
                        _Code.FAILED_PRECONDITION, text, [Detail(node, str(refusal))]
                    ) from refusal
                remote = "" if endorser is self._own else _REMOTE
                refusals.append(Detail(node, f"{remote}{refusal}"))
        raise RpcFailure(_Code.UNAVAILABLE, _EVALUATING, refusals)

    # -- Endorse -----------------------------------------------------------------------------

    async def endorse(self, request: gateway_pb2.EndorseRequest) -> gateway_pb2.EndorseResponse:
        """Gather endorsements and return the transaction, unsigned."""
        signed = request.proposed_transaction
        proposal = _unpacked(
            signed, "", missing="the proposed transaction must contain a signed proposal"
        )
        named = list(request.endorsing_organizations)
        serves = proposal.channel == self._access.channel and self._own.knows(proposal.chaincode)
        if named:
            endorsers = self._of(named) if serves else []
            missing = [n[:100] for n in named if n not in {e.view.node.msp_id for e in endorsers}]
            if missing:
                text = f"failed to find any endorsing peers for org(s): {', '.join(missing[:10])}"
                raise RpcFailure(_Code.UNAVAILABLE, text)
            payload, endorsements = await self._gather(signed, endorsers, len(endorsers))
        elif serves:
            payload, endorsements = await self._gather_from(signed)
        else:
            raise RpcFailure(
                _Code.FAILED_PRECONDITION,
                "no combination of peers can be derived which satisfy the endorsement policy: "
                f"No metadata was found for chaincode {proposal.chaincode[:100]} "
                f"in channel {proposal.channel[:250]}",
            )
        envelope = common_pb2.Envelope(
            payload=prepared_payload(
                proposal.channel_header,
                proposal.signature_header,
                proposal.payload,
                payload,
                endorsements,
            )
        )
        return gateway_pb2.EndorseResponse(prepared_transaction=envelope)

    async def _gather_from(
        self, signed: peer_pb2.SignedProposal
    ) -> tuple[bytes, list[Endorsement]]:
        """Endorse here first; only what succeeds is taken to the other organisations."""
        first = await _attempt(self._own, signed)
        if isinstance(first, Detail):
            raise RpcFailure(_Code.ABORTED, _ENDORSING, [first])
        if self._needed == 1:
            return first.payload, [_endorsement(first)]
        return await self._gather(signed, self._endorsers[1:], self._needed, first)

    async def _gather(
        self,
        signed: peer_pb2.SignedProposal,
        endorsers: Sequence[Endorser],
        needed: int,
        first: peer_pb2.ProposalResponse | None = None,
    ) -> tuple[bytes, list[Endorsement]]:
        """Collect ``needed`` endorsements that agree; who fails is named in the failure."""
        answers = [] if first is None else [first]
        failures: list[Detail] = []
        for endorser in endorsers:
            if len(answers) == needed:
                break
            answer = await _attempt(endorser, signed)
            if isinstance(answer, Detail):
                failures.append(answer)
            elif answers and answer.payload != answers[0].payload:
                failures.append(Detail(endorser.view.node, _MISMATCH))
            else:
                answers.append(answer)
        if len(answers) < needed:
            raise RpcFailure(_Code.ABORTED, _COLLECTING, failures)
        return answers[0].payload, [_endorsement(answer) for answer in answers]

    def _of(self, msp_ids: Sequence[str]) -> list[Endorser]:
        """Return the endorsers of the organisations named, this peer's first; of all if none is."""
        return [e for e in self._endorsers if not msp_ids or e.view.node.msp_id in msp_ids]

    # -- Submit and CommitStatus -------------------------------------------------------------

    async def submit(self, request: gateway_pb2.SubmitRequest) -> gateway_pb2.SubmitResponse:
        """Hand a signed transaction to the ordering service."""
        envelope = request.prepared_transaction
        if not request.HasField("prepared_transaction"):
            raise RpcFailure(_Code.INVALID_ARGUMENT, "a prepared transaction is required")
        if not envelope.signature:
            raise RpcFailure(_Code.INVALID_ARGUMENT, "prepared transaction must be signed")
        if request.channel_id != self._access.channel:
            raise RpcFailure(_Code.FAILED_PRECONDITION, _no_channel(request.channel_id))
        if self._bft:
            self._submit_to_all(envelope)
        else:
            self._submit_to_one(envelope)
        return gateway_pb2.SubmitResponse()

    def _submit_to_all(self, envelope: common_pb2.Envelope) -> None:
        answers = bft_submission(self._orderers, envelope)
        accepted = sum(answer.accepted for _, answer in answers)
        if accepted >= bft_quorum(len(self._orderers)):
            return
        details = [Detail(o.node, _refusal(a.status, a.info)) for o, a in answers if not a.accepted]
        # As many as it takes to know that the quorum is missed: nobody waits for the others.
        enough = len(self._orderers) - bft_quorum(len(self._orderers)) + 1
        raise RpcFailure(
            _Code.UNAVAILABLE,
            "insufficient number of orderers could successfully process transaction "
            "to satisfy quorum requirement",
            details[:enough],
        )

    def _submit_to_one(self, envelope: common_pb2.Envelope) -> None:
        for orderer in self._orderers:
            answer = orderer.broadcast(envelope)
            if answer.accepted:
                return
            if 400 <= answer.status < 500:
                raise RpcFailure(_Code.ABORTED, _refusal(answer.status, answer.info))
        raise RpcFailure(_Code.UNAVAILABLE, "no orderers could successfully process transaction")

    async def commit_status(
        self, signed: gateway_pb2.SignedCommitStatusRequest
    ) -> gateway_pb2.CommitStatusResponse:
        """Wait until a transaction is in a block of this peer and return its code."""
        request = _parsed(gateway_pb2.CommitStatusRequest, signed.request)
        for given, text in (
            (request.identity, "no identity provided"),
            (request.channel_id, "no channel ID provided"),
            (request.transaction_id, "transaction ID should not be empty"),
        ):
            if not given:
                raise RpcFailure(_Code.INVALID_ARGUMENT, text)
        self._check_reader(request.channel_id, request.identity, signed.request, signed.signature)
        entry = await self._own.view.wait_for_transaction(request.transaction_id)
        return gateway_pb2.CommitStatusResponse(
            result=peer_pb2.TxValidationCode.Name(entry.code), block_number=entry.block
        )

    # -- ChaincodeEvents ---------------------------------------------------------------------

    async def chaincode_events(
        self, signed: gateway_pb2.SignedChaincodeEventsRequest
    ) -> AsyncIterator[gateway_pb2.ChaincodeEventsResponse]:
        """Yield the events of a chaincode's valid transactions, a response per block, for ever."""
        request = _parsed(gateway_pb2.ChaincodeEventsRequest, signed.request)
        self._check_reader(request.channel_id, request.identity, signed.request, signed.signature)
        start, after = self._first_event_block(request), request.after_transaction_id
        async for block in follow(self._own.view, start):
            events = [r.event for r in block.results if r.code == VALID and r.event is not None]
            if after:
                # Passed only with an event of that transaction: without one, nothing ever follows.
                places = [i for i, event in enumerate(events) if event.transaction_id == after]
                if not places:
                    continue
                events, after = events[places[0] + 1 :], ""
            if wanted := [e for e in events if e.chaincode == request.chaincode_id]:
                yield _events(block.number, wanted)

    def _first_event_block(self, request: gateway_pb2.ChaincodeEventsRequest) -> int:
        kind = request.start_position.WhichOneof("Type")
        if kind in ("newest", "oldest"):
            raise RpcFailure(_Code.INVALID_ARGUMENT, f"invalid start position type: {kind}")
        if request.after_transaction_id:
            entry = self._own.view.transaction(request.after_transaction_id)
            if entry is not None:
                return entry.block
        if kind == "specified":
            return request.start_position.specified.number
        return self._own.view.height

    def _check_reader(
        self, channel: str, identity: bytes, message: bytes, signature: bytes
    ) -> None:
        if channel != self._access.channel:
            # Who may read is asked first, and of a channel that is not there nobody is a reader.
            text = f"failed evaluating policy: {_no_channel(channel)}"
            raise RpcFailure(_Code.PERMISSION_DENIED, text)
        if not self._access.is_signed_by(READERS, identity, message, signature):
            raise RpcFailure(
                _Code.PERMISSION_DENIED,
                "failed evaluating policy on signed data during check policy on channel "
                f"[{channel}] with policy [{READERS}]",
            )


async def _attempt(
    endorser: Endorser, signed: peer_pb2.SignedProposal
) -> peer_pb2.ProposalResponse | Detail:
    """Return a peer's endorsement, or what it says instead."""
    try:
        answer = await endorser.process(signed)
    except ProposalRefused as refusal:
        return Detail(endorser.view.node, str(refusal))
    if answer.HasField("endorsement"):
        return answer
    return Detail(endorser.view.node, _chaincode_error(answer.response, bool(answer.payload)))


def _endorsement(answer: peer_pb2.ProposalResponse) -> Endorsement:
    return Endorsement(answer.endorsement.endorser, answer.endorsement.signature)


def _events(number: int, events: Sequence[ChaincodeEvent]) -> gateway_pb2.ChaincodeEventsResponse:
    return gateway_pb2.ChaincodeEventsResponse(
        block_number=number,
        events=[
            peer_pb2.ChaincodeEvent(
                chaincode_id=event.chaincode,
                tx_id=event.transaction_id,
                event_name=event.name,
                payload=event.payload,
            )
            for event in events
        ],
    )


def _unpacked(signed: peer_pb2.SignedProposal, prefix: str, *, missing: str) -> OpenedProposal:
    if not signed.proposal_bytes:
        raise RpcFailure(_Code.INVALID_ARGUMENT, missing)
    try:
        return unpack_proposal(signed)
    except MalformedMessage as error:
        raise RpcFailure(_Code.INVALID_ARGUMENT, f"{prefix}{error}") from error


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RpcFailure(_Code.INVALID_ARGUMENT, f"invalid request: {error}") from error


def _chaincode_error(response: peer_pb2.Response, by_chaincode: bool) -> str:
    if by_chaincode:
        return f"chaincode response {response.status}, {response.message}"
    return response.message


def _refusal(status: int, info: str) -> str:
    name = common_pb2.Status.Name(status)
    return f"received unsuccessful response from orderer: status={name}, info={info}"


def _no_channel(channel: str) -> str:
    return f"channel '{channel[:250]}' does not exist"
