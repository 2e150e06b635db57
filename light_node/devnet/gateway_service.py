"""The gateway service of one peer (``docs/fabric-protocol.md`` 4.2 to 4.5, 4.7)."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from light_node.devnet.access import READERS, AccessControl
from light_node.devnet.endorser import Endorser, ProposalRefused
from light_node.devnet.ledger import CommittedBlock
from light_node.devnet.rpc import Detail, Limit, RpcFailure, stream, unary
from light_node.devnet.validation import VALID
from light_node.devnet.views import OrdererView, bft_submission, follow
from light_node.fabric import methods
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import common_pb2, gateway_pb2, peer_pb2
from light_node.fabric.policy import bft_quorum
from light_node.fabric.proposal import OpenedProposal, open_proposal
from light_node.fabric.transaction import Endorsement, prepared_payload

MAX_CONCURRENT = 500
_Code = grpc.StatusCode
_COLLECTING = (
    "failed to collect enough transaction endorsements, see attached details for more info"
)
_ENDORSING = "failed to endorse transaction, see attached details for more info"
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
        proposal = _opened(request.proposed_transaction, request.channel_id)
        if not self._serves(proposal):
            raise RpcFailure(
                _Code.FAILED_PRECONDITION,
                f"no peers available to evaluate chaincode {proposal.chaincode[:100]} "
                f"in channel {proposal.channel[:250]}",
            )
        endorser = self._named(request.target_organizations)[0]
        node = endorser.view.node
        try:
            outcome = await endorser.evaluate(request.proposed_transaction)
        except ProposalRefused as refusal:
            detail = [Detail(node, str(refusal))]
            if refusal.by_filter:
                raise RpcFailure(
                    _Code.UNAVAILABLE,
                    "failed to evaluate transaction, see attached details for more info",
                    detail,
                ) from refusal
            text = f"evaluate call to endorser returned error: {refusal}"
            raise RpcFailure(_Code.FAILED_PRECONDITION, text, detail) from refusal
        if not outcome.ok:
            code = _Code.UNKNOWN if outcome.payload else _Code.ABORTED
            text = _chaincode_error(outcome.response, bool(outcome.payload))
            raise RpcFailure(
                code, f"evaluate call to endorser returned error: {text}", [Detail(node, text)]
            )
        return gateway_pb2.EvaluateResponse(result=outcome.response)

    # -- Endorse -----------------------------------------------------------------------------

    async def endorse(self, request: gateway_pb2.EndorseRequest) -> gateway_pb2.EndorseResponse:
        """Gather endorsements and return the transaction, unsigned."""
        proposal = _opened(request.proposed_transaction, request.channel_id)
        if not self._serves(proposal):
            raise RpcFailure(
                _Code.FAILED_PRECONDITION,
                "no combination of peers can be derived which satisfy the endorsement policy: "
                f"No metadata was found for chaincode {proposal.chaincode[:100]} "
                f"in channel {proposal.channel[:250]}",
            )
        named = list(request.endorsing_organizations)
        endorsers = self._named(named) if named else self._endorsers
        needed = len(endorsers) if named else self._needed
        payload, endorsements = await self._gather(request.proposed_transaction, endorsers, needed)
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

    async def _gather(
        self, signed: peer_pb2.SignedProposal, endorsers: Sequence[Endorser], needed: int
    ) -> tuple[bytes, list[Endorsement]]:
        payload = b""
        endorsements: list[Endorsement] = []
        failures: list[Detail] = []
        for endorser in endorsers:
            if len(endorsements) == needed:
                break
            node = endorser.view.node
            text = _ENDORSING if not endorsements else _COLLECTING
            try:
                answer = await endorser.process(signed)
            except ProposalRefused as refusal:
                # The proposal itself is at fault, so another peer would say the same.
                detail = Detail(node, str(refusal))
                raise RpcFailure(_Code.ABORTED, text, [detail]) from refusal
            if not answer.HasField("endorsement"):
                by_chaincode = bool(answer.payload)
                failures.append(Detail(node, _chaincode_error(answer.response, by_chaincode)))
                if by_chaincode:
                    raise RpcFailure(_Code.ABORTED, text, failures)
                continue
            if endorsements and answer.payload != payload:
                raise RpcFailure(_Code.ABORTED, _COLLECTING, [Detail(node, _MISMATCH)])
            payload = answer.payload
            endorsements.append(
                Endorsement(answer.endorsement.endorser, answer.endorsement.signature)
            )
        if len(endorsements) < needed:
            raise RpcFailure(_Code.ABORTED, _COLLECTING if endorsements else _ENDORSING, failures)
        return payload, endorsements

    def _serves(self, proposal: OpenedProposal) -> bool:
        return proposal.channel == self._access.channel and self._own.knows(proposal.chaincode)

    def _named(self, msp_ids: Sequence[str]) -> list[Endorser]:
        if not msp_ids:
            return list(self._endorsers)
        by_organization = {e.view.node.msp_id: e for e in self._endorsers}
        unknown = [name[:100] for name in msp_ids if name not in by_organization]
        if unknown:
            raise RpcFailure(
                _Code.UNAVAILABLE,
                f"failed to find any endorsing peers for org(s): {', '.join(unknown[:10])}",
            )
        return [by_organization[name] for name in dict.fromkeys(msp_ids)]

    # -- Submit and CommitStatus -------------------------------------------------------------

    async def submit(self, request: gateway_pb2.SubmitRequest) -> gateway_pb2.SubmitResponse:
        """Hand a signed transaction to the ordering service."""
        envelope = request.prepared_transaction
        if not envelope.payload:
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
        if all(400 <= answer.status < 500 for _, answer in answers):
            raise RpcFailure(_Code.ABORTED, details[0].message, details)
        raise RpcFailure(
            _Code.UNAVAILABLE,
            "insufficient number of orderers could successfully process transaction "
            "to satisfy quorum requirement",
            details,
        )

    def _submit_to_one(self, envelope: common_pb2.Envelope) -> None:
        details = []
        for orderer in self._orderers:
            answer = orderer.broadcast(envelope)
            if answer.accepted:
                return
            text = _refusal(answer.status, answer.info)
            details.append(Detail(orderer.node, text))
            if 400 <= answer.status < 500:
                raise RpcFailure(_Code.ABORTED, text, details)
        text = "no orderers could successfully process transaction"
        raise RpcFailure(_Code.UNAVAILABLE, text, details)

    async def commit_status(
        self, signed: gateway_pb2.SignedCommitStatusRequest
    ) -> gateway_pb2.CommitStatusResponse:
        """Wait until a transaction is in a block of this peer and return its code."""
        request = _parsed(gateway_pb2.CommitStatusRequest, signed.request)
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
            answer = _events(block, request.chaincode_id, after)
            after = ""
            if answer.events:
                yield answer

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
            raise RpcFailure(_Code.NOT_FOUND, _no_channel(channel))
        if not self._access.is_signed_by(READERS, identity, message, signature):
            raise RpcFailure(
                _Code.PERMISSION_DENIED,
                "failed evaluating policy on signed data during check policy on channel "
                f"[{channel}] with policy [{READERS}]",
            )


def _events(
    block: CommittedBlock, chaincode: str, after: str
) -> gateway_pb2.ChaincodeEventsResponse:
    results = block.results
    places = [i for i, result in enumerate(results) if after and result.transaction_id == after]
    if places:
        results = results[places[0] + 1 :]
    return gateway_pb2.ChaincodeEventsResponse(
        block_number=block.number,
        events=[
            peer_pb2.ChaincodeEvent(
                chaincode_id=event.chaincode,
                tx_id=event.transaction_id,
                event_name=event.name,
                payload=event.payload,
            )
            for event in (r.event for r in results if r.code == VALID)
            if event is not None and event.chaincode == chaincode
        ],
    )


def _opened(signed: peer_pb2.SignedProposal, channel: str) -> OpenedProposal:
    if not signed.proposal_bytes:
        text = "the proposed transaction must contain a signed proposal"
        raise RpcFailure(_Code.INVALID_ARGUMENT, text)
    try:
        proposal = open_proposal(signed)
    except MalformedMessage as error:
        text = f"failed to unpack transaction proposal: {error}"
        raise RpcFailure(_Code.INVALID_ARGUMENT, text) from error
    if channel != proposal.channel:
        raise RpcFailure(_Code.INVALID_ARGUMENT, "the proposal is for another channel")
    return proposal


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
