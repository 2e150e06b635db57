"""The gateway service: answers, refusals and their texts' classes (docs/fabric-protocol.md 4)."""

from contextlib import closing
from typing import Any

import grpc
import pytest

from light_node.fabric.errors import (
    ContractRefused,
    EndorsersDisagree,
    EvaluateError,
    FabricError,
    TimedOut,
    Unavailable,
    UntrustedResponse,
)
from light_node.fabric.gateway import Gateway
from light_node.fabric.methods import COMMIT_STATUS, ENDORSE, EVALUATE, SUBMIT
from light_node.fabric.pb import gateway_pb2, peer_pb2
from light_node.fabric.proposal import Proposal
from tests.conformance.calls import (
    Failure,
    both_fail,
    endorse_request,
    evaluate_request,
    failure_of,
    propose,
)
from tests.conformance.networks import Network

CODE = grpc.StatusCode


def prepared(peer: grpc.Channel, proposal: Proposal, organizations: list[str]) -> Any:
    request = endorse_request(proposal, organizations)
    return ENDORSE.callable(peer)(request).prepared_transaction


# -- what works --------------------------------------------------------------------------------


def test_a_transaction_and_what_it_left(gateway: Gateway) -> None:
    result = gateway.submit_transaction("kv", "put", "gw-a", "1")
    assert result.payload == b"1"
    assert gateway.evaluate("kv", "get", "gw-a") == b"1"
    status = gateway.commit_status(result.transaction_id)
    assert (status.valid, status.block_number) == (True, result.block_number)
    assert gateway.height() > result.block_number


def test_keys_values_and_ranges(gateway: Gateway) -> None:
    for key in ("gw-r1", "gw-r2", "gw-r3"):
        gateway.submit_transaction("kv", "put", key, key.upper())
    gateway.submit_transaction("kv", "del", "gw-r2")
    assert gateway.evaluate("kv", "range", "gw-r1", "gw-r3") == b'{"gw-r1": "GW-R1"}'
    with pytest.raises(ContractRefused) as caught:
        gateway.evaluate("kv", "get", "gw-r2")
    assert (caught.value.status, caught.value.code) == (404, "NOT_FOUND")


def test_the_definition_and_the_configuration(gateway: Gateway) -> None:
    for name in ("kv", "market"):
        assert (gateway.definition(name).name, gateway.definition(name).sequence) == (name, 1)
    with pytest.raises(FabricError):
        gateway.definition("none")


@pytest.mark.parametrize("msp_id", ["Org1MSP", "Org2MSP", "Org3MSP"])
def test_reads_from_a_named_organisation(gateway: Gateway, msp_id: str) -> None:
    assert gateway.evaluate("kv", "get", "conformance", organizations=[msp_id]) == b"1"


# -- refusals by the chaincode -----------------------------------------------------------------


def test_chaincode_refusals(network: Network, peer: grpc.Channel, gateway: Gateway) -> None:
    proposal = propose(network, gateway.identity, "fail", "409", "ROUND_CLOSED: too late")
    evaluate, endorse = both_fail(peer, proposal)
    said = "chaincode response 409, ROUND_CLOSED: too late"
    assert evaluate.code is CODE.UNKNOWN
    assert evaluate.text == f"evaluate call to endorser returned error: {said}"
    assert evaluate.said == [said]
    assert endorse.code is CODE.ABORTED
    assert endorse.text == "failed to endorse transaction, see attached details for more info"
    assert endorse.said == [said]
    for failure in (evaluate, endorse):
        (detail,) = failure.details
        assert detail.msp_id == "Org1MSP"
        assert detail.address == network.clients.profile.organization("Org1MSP").peers[0].address
    for call in (gateway.evaluate, gateway.submit_transaction):
        with pytest.raises(ContractRefused) as caught:
            call("kv", "fail", "409", "ROUND_CLOSED: too late")
        assert (caught.value.status, caught.value.code) == (409, "ROUND_CLOSED")
        assert caught.value.foreign == "too late"


@pytest.mark.parametrize("status", ["200", "399", "400", "499", "500", "999"])
def test_which_statuses_refuse(
    network: Network, peer: grpc.Channel, gateway: Gateway, status: str
) -> None:
    if int(status) < 400:
        assert gateway.evaluate("kv", "fail", status, "fine") == b""
        assert gateway.endorse("kv", "fail", status, "fine").result == b""
        return
    for call in (gateway.evaluate, gateway.endorse):
        with pytest.raises(ContractRefused) as caught:
            call("kv", "fail", status, "no")
        assert caught.value.status == int(status)


def test_endorsers_that_disagree(network: Network, peer: grpc.Channel, gateway: Gateway) -> None:
    request = endorse_request(propose(network, gateway.identity, "dice", "gw-dice"))
    failure = failure_of(ENDORSE.callable(peer), request)
    assert failure.code is CODE.ABORTED
    assert failure.text == (
        "failed to collect enough transaction endorsements, see attached details for more info"
    )
    assert "ProposalResponsePayloads do not match" in failure.said
    with pytest.raises(EndorsersDisagree):
        gateway.endorse("kv", "dice", "gw-dice")
    assert len(gateway.evaluate("kv", "dice", "gw-dice")) == 8


# -- chaincodes and channels that are not there ------------------------------------------------


def test_unknown_chaincode(network: Network, peer: grpc.Channel, gateway: Gateway) -> None:
    nowhere = propose(network, gateway.identity, "f", chaincode="none")
    evaluate, endorse = both_fail(peer, nowhere)
    assert evaluate.code is endorse.code is CODE.FAILED_PRECONDITION
    assert evaluate.text == (
        f"no peers available to evaluate chaincode none in channel {network.channel}"
    )
    assert endorse.text.startswith(
        "no combination of peers can be derived which satisfy the endorsement policy: "
        f"No metadata was found for chaincode none in channel {network.channel}"
    )
    assert evaluate.said == endorse.said == []
    with pytest.raises(FabricError):
        gateway.endorse("none", "f")


def test_unknown_channel(network: Network, peer: grpc.Channel, gateway: Gateway) -> None:
    elsewhere = propose(network, gateway.identity, "get", "a", channel="elsewhere")
    evaluate, endorse = both_fail(peer, elsewhere)
    assert evaluate.code is CODE.UNAVAILABLE
    assert "elsewhere" in evaluate.text
    assert endorse.code is CODE.FAILED_PRECONDITION
    assert endorse.text.startswith(
        "no combination of peers can be derived which satisfy the endorsement policy: "
    )


def test_another_channel_than_the_proposals(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    proposal = propose(network, gateway.identity, "get", "conformance")
    answer = EVALUATE.callable(peer)(evaluate_request(proposal, channel="elsewhere"))
    assert answer.result.payload == b"1"


def test_requests_without_a_proposal(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    for method, request in (
        (EVALUATE, gateway_pb2.EvaluateRequest(channel_id=network.channel)),
        (ENDORSE, gateway_pb2.EndorseRequest(channel_id=network.channel)),
    ):
        failure = failure_of(method.callable(peer), request)
        assert failure.code is CODE.INVALID_ARGUMENT
        assert failure.said == []
    proposal = propose(network, gateway.identity, "get", "a")
    proposal.signed.proposal_bytes = b"\xff\xff"
    evaluate, endorse = both_fail(peer, proposal)
    assert evaluate.code is endorse.code is CODE.INVALID_ARGUMENT
    assert evaluate.text.startswith("failed to unpack transaction proposal: ")


# -- organisations named explicitly ------------------------------------------------------------


def test_organisations_without_a_peer(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    proposal = propose(network, gateway.identity, "put", "a", "1")
    failure = failure_of(ENDORSE.callable(peer), endorse_request(proposal, ["Org9MSP"]))
    assert failure.code is CODE.UNAVAILABLE
    assert "failed to find any endorsing peers for org(s): Org9MSP" in failure.text
    failure = failure_of(EVALUATE.callable(peer), evaluate_request(proposal, ["Org9MSP"]))
    assert failure.code is CODE.FAILED_PRECONDITION
    assert (
        failure.text == f"no peers available to evaluate chaincode kv in channel {network.channel}"
    )
    for call in (gateway.endorse, gateway.evaluate):
        with pytest.raises((Unavailable, EvaluateError)):
            call("kv", "put", "a", "1", organizations=["Org9MSP"])


def test_too_few_endorsements_fail_at_commit_only(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    proposal = propose(network, gateway.identity, "put", "gw-lonely", "1")
    envelope = prepared(peer, proposal, ["Org3MSP"])
    envelope.signature = gateway.identity.sign(envelope.payload)
    submission = gateway_pb2.SubmitRequest(
        transaction_id=proposal.transaction_id,
        channel_id=network.channel,
        prepared_transaction=envelope,
    )
    SUBMIT.callable(peer)(submission)
    status = gateway.commit_status(proposal.transaction_id, 20)
    assert status.code == peer_pb2.ENDORSEMENT_POLICY_FAILURE
    with pytest.raises(ContractRefused):
        gateway.evaluate("kv", "get", "gw-lonely")
    # The project's own client signs no such transaction.
    with pytest.raises(UntrustedResponse) as caught:
        gateway.endorse("kv", "put", "gw-lonely", "1", organizations=["Org1MSP"])
    assert caught.value.point == 6


# -- Submit and CommitStatus -------------------------------------------------------------------


def test_submissions_that_cannot_be(network: Network, peer: grpc.Channel) -> None:
    submit = SUBMIT.callable(peer)
    request = gateway_pb2.SubmitRequest(channel_id=network.channel)
    failure = failure_of(submit, request)
    assert failure.code is CODE.INVALID_ARGUMENT
    request.prepared_transaction.payload = b"x"
    failure = failure_of(submit, request)
    assert failure.code is CODE.INVALID_ARGUMENT
    assert failure.text == "prepared transaction must be signed"


def refused(network: Network, failure: Failure, status: str) -> None:
    """Hold that orderers answered with ``status``."""
    said = f"received unsuccessful response from orderer: status={status}, info="
    if not network.bft:
        assert failure.code is CODE.ABORTED
        assert failure.text.startswith(said)
        assert failure.said == []
        return
    assert failure.code is CODE.UNAVAILABLE
    assert failure.text == (
        "insufficient number of orderers could successfully process transaction "
        "to satisfy quorum requirement"
    )
    # Two of four suffice to know.
    assert len(failure.said) == 2
    assert all(text.startswith(said) for text in failure.said)


def test_orderers_refuse_what_they_cannot_read(network: Network, peer: grpc.Channel) -> None:
    request = gateway_pb2.SubmitRequest(channel_id=network.channel)
    request.prepared_transaction.payload = b"x"
    request.prepared_transaction.signature = b"x"
    failure = failure_of(SUBMIT.callable(peer), request)
    refused(network, failure, "BAD_REQUEST")


def test_a_submission_with_a_wrong_signature(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    proposal = propose(network, gateway.identity, "put", "gw-forged", "1")
    envelope = prepared(peer, proposal, [])
    envelope.signature = gateway.identity.sign(b"something else")
    request = gateway_pb2.SubmitRequest(
        transaction_id=proposal.transaction_id,
        channel_id=network.channel,
        prepared_transaction=envelope,
    )
    failure = failure_of(SUBMIT.callable(peer), request)
    refused(network, failure, "FORBIDDEN")


def test_submitting_to_a_channel_that_is_not_there(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    endorsed = gateway.endorse("kv", "put", "gw-elsewhere", "1")
    request = gateway_pb2.SubmitRequest(channel_id="elsewhere")
    request.prepared_transaction.ParseFromString(endorsed.envelope)
    failure = failure_of(SUBMIT.callable(peer), request)
    assert failure.code is CODE.FAILED_PRECONDITION
    assert "elsewhere" in failure.text


def commit_request(network: Network, gateway: Gateway, **fields: Any) -> Any:
    given = {
        "transaction_id": "0" * 64,
        "channel_id": network.channel,
        "identity": gateway.identity.serialized,
        **fields,
    }
    return gateway_pb2.CommitStatusRequest(**given).SerializeToString()


def test_commit_status_is_for_readers(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    ask = COMMIT_STATUS.callable(peer)
    request = commit_request(network, gateway)
    forged = gateway_pb2.SignedCommitStatusRequest(request=request, signature=b"x")
    failure = failure_of(ask, forged)
    assert failure.code is CODE.PERMISSION_DENIED
    assert failure.said == []
    with closing(network.clients.gateway(peer, network.clients.user("reader", "Org2MSP"))) as other:
        known = gateway.submit_transaction("kv", "put", "gw-other", "1")
        assert other.commit_status(known.transaction_id).valid


def test_commit_status_of_another_channel(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    request = commit_request(network, gateway, channel_id="elsewhere")
    signed = gateway_pb2.SignedCommitStatusRequest(
        request=request, signature=gateway.identity.sign(request)
    )
    failure = failure_of(COMMIT_STATUS.callable(peer), signed)
    assert failure.code is CODE.PERMISSION_DENIED


@pytest.mark.parametrize("field", ["transaction_id", "channel_id", "identity"])
def test_commit_status_of_nothing(
    network: Network, peer: grpc.Channel, gateway: Gateway, field: str
) -> None:
    request = commit_request(network, gateway, **{field: b"" if field == "identity" else ""})
    signed = gateway_pb2.SignedCommitStatusRequest(request=request, signature=b"x")
    failure = failure_of(COMMIT_STATUS.callable(peer), signed)
    # 2.5 asks who may read before it looks at what is asked.
    assert failure.code is (CODE.INVALID_ARGUMENT if network.since_3 else CODE.PERMISSION_DENIED)


def test_commit_status_that_cannot_be_read(peer: grpc.Channel) -> None:
    signed = gateway_pb2.SignedCommitStatusRequest(request=b"\xff\xff", signature=b"x")
    failure = failure_of(COMMIT_STATUS.callable(peer), signed)
    assert failure.code is CODE.INVALID_ARGUMENT


def test_an_unknown_transaction_is_waited_for(gateway: Gateway) -> None:
    with pytest.raises(TimedOut):
        gateway.commit_status("0" * 64, 0.5)
