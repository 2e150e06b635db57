"""Endorsing: check a proposal, run the chaincode on this peer's state, sign the outcome.

``docs/fabric-protocol.md`` 1.6, 3.6, 4.2, 4.3. Two kinds of refusal are told apart, because the
gateway reports them differently (4.7): the authentication filters (age, expiry) and the proposal's
own validation.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from light_node.contract.chaincodes import Chaincode
from light_node.contract.stub import Invocation, Response
from light_node.devnet.access import WRITERS, AccessControl, AccessError
from light_node.devnet.simulation import Simulator, StateKeyError
from light_node.devnet.system_chaincodes import VERSION, SystemChaincodes
from light_node.devnet.views import PeerView
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.msp import Identity, MspError
from light_node.fabric.pb import common_pb2, peer_pb2
from light_node.fabric.proposal import OpenedProposal, open_proposal, to_datetime
from light_node.fabric.transaction import response_payload

log = logging.getLogger(__name__)


class ProposalRefused(Exception):
    """The proposal is not looked at further; ``by_filter`` tells authentication filters apart."""

    def __init__(self, text: str, *, by_filter: bool = False) -> None:
        super().__init__(text)
        self.by_filter = by_filter


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation gave: the chaincode's response and the payload to be endorsed.

    ``payload`` is empty when the peer itself failed before the chaincode could answer.
    """

    response: peer_pb2.Response
    payload: bytes

    @property
    def ok(self) -> bool:
        """Whether the outcome may be endorsed."""
        return 200 <= self.response.status < 400


class Endorser:
    """One peer's endorser."""

    def __init__(
        self,
        view: PeerView,
        access: AccessControl,
        chaincodes: Mapping[str, Chaincode],
        system: SystemChaincodes,
    ) -> None:
        self.view = view
        self._access = access
        self._chaincodes = chaincodes
        self._system = system

    def knows(self, chaincode: str) -> bool:
        """Tell whether a chaincode of that name can be called here."""
        return chaincode in self._chaincodes or self._system.is_system(chaincode)

    async def process(self, signed: peer_pb2.SignedProposal) -> peer_pb2.ProposalResponse:
        """Endorse; a chaincode's refusal comes back unsigned. ``ProposalRefused`` if invalid."""
        proposal, identity = self.check(signed)
        outcome = self.simulate(proposal, identity)
        answer = peer_pb2.ProposalResponse(
            version=1, response=outcome.response, payload=outcome.payload
        )
        if outcome.ok:
            endorsement = self.view.endorse(outcome.payload)
            answer.endorsement.endorser = endorsement.endorser
            answer.endorsement.signature = endorsement.signature
        return answer

    async def evaluate(self, signed: peer_pb2.SignedProposal) -> Outcome:
        """Run a proposal for its answer only; ``ProposalRefused`` if it is invalid."""
        proposal, identity = self.check(signed)
        return self.simulate(proposal, identity)

    # -- checks ------------------------------------------------------------------------------

    def check(self, signed: peer_pb2.SignedProposal) -> tuple[OpenedProposal, Identity]:
        """Return the proposal and who made it; ``ProposalRefused`` in Fabric's words."""
        self._filter(signed)
        try:
            proposal = open_proposal(signed)
        except MalformedMessage as error:
            raise ProposalRefused(f"error validating proposal: {error}") from error
        if not proposal.channel:
            return proposal, self._local_member(proposal)
        if not proposal.signature:
            raise ProposalRefused("error validating proposal: empty signature bytes")
        if proposal.channel != self._access.channel:
            raise ProposalRefused(f"channel '{proposal.channel[:250]}' not found")
        try:
            identity = self._access.identity(
                proposal.creator, proposal.proposal_bytes, proposal.signature
            )
        except AccessError as error:
            raise ProposalRefused(f"error validating proposal: {error}") from error
        if self.view.transaction(proposal.transaction_id) is not None:
            raise ProposalRefused(f"duplicate transaction found [{proposal.transaction_id}]")
        # System chaincodes ask who may call them by themselves, see :meth:`simulate`.
        by_itself = self._system.is_system(proposal.chaincode)
        if not by_itself and not self._access.allows(WRITERS, identity):
            raise ProposalRefused(self._denied(WRITERS))
        return proposal, identity

    def _denied(self, policy: str) -> str:
        return (
            "Failed evaluating policy on signed data during check policy on channel "
            f"[{self._access.channel}] with policy [{policy}]: [{self._access.denial(policy)}]"
        )

    def _filter(self, signed: peer_pb2.SignedProposal) -> None:
        try:
            outer = peer_pb2.Proposal.FromString(signed.proposal_bytes)
            header = common_pb2.Header.FromString(outer.header)
            creator = common_pb2.SignatureHeader.FromString(header.signature_header).creator
            channel = common_pb2.ChannelHeader.FromString(header.channel_header)
            self._access.check_expiry(creator, "proposal")
            self._access.check_age(to_datetime(channel), self.view.skew)
        except DecodeError as error:
            raise ProposalRefused(f"failed parsing proposal: {error}", by_filter=True) from error
        except (AccessError, MalformedMessage) as error:
            raise ProposalRefused(str(error), by_filter=True) from error

    def _local_member(self, proposal: OpenedProposal) -> Identity:
        """Check a call without a channel: only ``GetChannels``, for members of this peer's MSP."""
        try:
            identity = self._access.config.msps.deserialize(proposal.creator)
        except MspError as error:
            raise ProposalRefused("error validating proposal: access denied") from error
        known = self._system.policy(proposal.chaincode, proposal.args) == ""
        if (
            not known
            or identity.msp_id != self.view.node.msp_id
            or not identity.verify(proposal.proposal_bytes, proposal.signature)
        ):
            raise ProposalRefused("error validating proposal: access denied")
        return identity

    # -- simulation --------------------------------------------------------------------------

    def simulate(self, proposal: OpenedProposal, identity: Identity) -> Outcome:
        """Run the chaincode on this peer's state; a crash becomes status 500 without payload."""
        if self._system.is_system(proposal.chaincode):
            policy = self._system.policy(proposal.chaincode, proposal.args)
            if policy and not self._access.allows(policy, identity):
                answer = self._system.deny(proposal.chaincode, proposal.args, self._denied(policy))
            else:
                answer = self._system.invoke(self.view, proposal.chaincode, proposal.args)
            return self._outcome(proposal, answer, b"", None)
        chaincode = self._chaincodes.get(proposal.chaincode)
        if chaincode is None:
            name = proposal.chaincode[:100]
            return _failure(
                f"make sure the chaincode {name} has been successfully defined on channel "
                f"{proposal.channel} and try again: chaincode {name} not found"
            )
        with self.view.state() as state:
            simulator = Simulator(state, proposal.chaincode)
            invocation = Invocation(
                state=simulator,
                args=proposal.args,
                creator=proposal.creator,
                certificate=identity.certificate.parsed,
                msp_id=identity.msp_id,
                transaction_id=proposal.transaction_id,
                timestamp=proposal.timestamp,
                channel_id=proposal.channel,
            )
            try:
                answer = self.view.run(chaincode, invocation)
            except StateKeyError as error:
                return _failure(f"chaincode {proposal.chaincode}: {error}")
            except Exception:  # a defect of the chaincode must not take the peer down
                log.exception("chaincode %s failed", proposal.chaincode)
                return _failure(
                    f"error in simulation: failed to execute transaction {proposal.transaction_id}"
                )
            finally:
                simulator.close()
        event = None
        if invocation.event is not None and answer.status < 400:
            name, payload = invocation.event
            event = peer_pb2.ChaincodeEvent(
                chaincode_id=proposal.chaincode,
                tx_id=proposal.transaction_id,
                event_name=name,
                payload=payload,
            )
        results = simulator.results() if answer.status < 400 else b""
        return self._outcome(proposal, answer, results, event)

    def _outcome(
        self,
        proposal: OpenedProposal,
        answer: Response,
        results: bytes,
        event: peer_pb2.ChaincodeEvent | None,
    ) -> Outcome:
        response = peer_pb2.Response(
            status=answer.status, message=answer.message, payload=answer.payload
        )
        payload = response_payload(
            proposal.proposal_hash,
            chaincode=proposal.chaincode,
            version=VERSION,
            results=results,
            response=response,
            event=event,
        )
        return Outcome(response, payload)


def _failure(text: str) -> Outcome:
    return Outcome(peer_pb2.Response(status=500, message=text), b"")
