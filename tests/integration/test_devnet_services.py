"""The devnet over its sockets: block streams, refusals with Fabric's statuses, CA over HTTPS."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from light_node import jsonio
from light_node.chain.node import LightNode
from light_node.clock import SystemClock
from light_node.devnet.certificates import Credential, issue_identity
from light_node.devnet.store import Store
from light_node.devnet.testing import DevnetProcess
from light_node.fabric import crypto
from light_node.fabric.block import parse_block
from light_node.fabric.ca import Attribute, certificate_request
from light_node.fabric.deliver import DeliverClient, seek_envelope
from light_node.fabric.errors import (
    AccessDenied,
    BlockNotFound,
    CaAuthenticationFailed,
    ClockSkewed,
    CommitConflict,
    ContractRefused,
    EndorseError,
    FabricError,
    node_details,
)
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import (
    BROADCAST,
    COMMIT_STATUS,
    ENDORSE,
    EVALUATE,
    ORDERER_DELIVER,
    PEER_DELIVER,
    PEER_DELIVER_FILTERED,
    SUBMIT,
)
from light_node.fabric.pb import common_pb2, gateway_pb2, orderer_pb2, peer_pb2
from light_node.fabric.proposal import Proposal, build_proposal

CLOCK = SystemClock()


class OffsetClock:
    """A wall clock that is wrong by ``offset``."""

    def __init__(self, offset: timedelta) -> None:
        self._offset = offset

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def monotonic(self) -> float:
        return CLOCK.monotonic()


@pytest.fixture(scope="module")
def peer(devnet: DevnetProcess) -> Iterator[grpc.Channel]:
    with devnet.connect() as channel:
        yield channel


@pytest.fixture(scope="module")
def orderer(devnet: DevnetProcess) -> Iterator[grpc.Channel]:
    with devnet.connect_orderer(1) as channel:
        yield channel


@pytest.fixture(scope="module")
def gateway(devnet: DevnetProcess, peer: grpc.Channel) -> Iterator[Any]:
    client = devnet.gateway(peer, devnet.user())
    client.submit_transaction("kv", "put", "services", "1")
    yield client
    client.close()


def issue(
    devnet: DevnetProcess, unit: str = "client", *, not_after: datetime | None = None
) -> SigningIdentity:
    """An identity straight from Org1's root, which a client never could have."""
    store = Store.open(devnet.directory)
    ca = Credential.load(*store.credentials()["peer0.org1/ca"])
    store.close()
    key = crypto.generate_key()
    after = not_after or CLOCK.now() + timedelta(days=1)
    certificate = issue_identity(ca, key.public_key(), "test", [unit], after)
    return SigningIdentity.from_key("Org1MSP", crypto.certificate_pem(certificate), key)


def propose(identity: SigningIdentity, *args: str, channel: str = "market") -> Proposal:
    return build_proposal(
        identity,
        channel,
        "kv",
        [a.encode() for a in args],
        now=CLOCK.now(),
        nonce=os.urandom(24),
    )


# -- block streams -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["peer", "orderer"])
@pytest.mark.parametrize("headers_only", [False, True])
def test_both_content_types_from_peers_and_orderers(
    devnet: DevnetProcess,
    gateway: Any,
    request: pytest.FixtureRequest,
    kind: Any,
    headers_only: bool,
) -> None:
    client = DeliverClient(
        request.getfixturevalue(kind), devnet.user("reader"), "market", CLOCK, kind=kind
    )
    with client.blocks(0, 1, headers_only=headers_only) as stream:
        genesis, first = (parse_block(raw) for raw in stream)
    assert genesis.envelopes is not None
    assert (first.envelopes is None) == headers_only
    assert first.previous_hash == genesis.hash
    assert len(first.metadata) == 5
    assert (first.metadata[2] == b"") == (kind == "orderer")


def test_a_stream_waits_for_the_next_block(devnet: DevnetProcess, peer: Any, gateway: Any) -> None:
    client = DeliverClient(peer, devnet.user("reader"), "market", CLOCK)
    height = gateway.height()
    with client.blocks(height, timeout=20) as stream:
        thread = threading.Timer(0.1, gateway.submit_transaction, ("kv", "put", "awaited", "1"))
        thread.start()
        assert parse_block(next(stream)).number == height
        thread.join()


def test_newest_is_one_block(devnet: DevnetProcess, peer: Any, gateway: Any) -> None:
    client = DeliverClient(peer, devnet.user("reader"), "market", CLOCK)
    assert parse_block(client.newest()).number == gateway.height() - 1


def test_block_that_is_not_there(devnet: DevnetProcess, peer: Any) -> None:
    client = DeliverClient(peer, devnet.user("reader"), "market", CLOCK)
    with pytest.raises(BlockNotFound):
        client.block(1_000_000)
    with pytest.raises(BlockNotFound), client.blocks(2**64 - 1) as stream:
        next(stream)
    other = DeliverClient(peer, devnet.user("reader"), "elsewhere", CLOCK)
    with pytest.raises(BlockNotFound):
        other.block(0)


def test_several_seeks_on_one_stream(devnet: DevnetProcess, peer: Any) -> None:
    genesis = orderer_pb2.SeekPosition(specified=orderer_pb2.SeekSpecified(number=0))
    seek = orderer_pb2.SeekInfo(start=genesis, stop=genesis)
    envelope = seek_envelope(devnet.user("reader"), "market", seek, CLOCK)
    answers = list(PEER_DELIVER.callable(peer)(iter([envelope, envelope])))
    kinds = [answer.WhichOneof("Type") for answer in answers]
    assert kinds == ["block", "status", "block", "status"]
    assert answers[1].status == answers[3].status == common_pb2.SUCCESS


def status_of(
    devnet: DevnetProcess, channel: Any, method: Any, change: Callable[..., None], **options: Any
) -> int:
    """The status that answers a seek of block 0 after ``change`` (seek) was applied."""
    genesis = orderer_pb2.SeekPosition(specified=orderer_pb2.SeekSpecified(number=0))
    seek = orderer_pb2.SeekInfo(start=genesis, stop=genesis)
    change(seek)
    identity = options.pop("identity", None) or devnet.user("reader")
    envelope = seek_envelope(identity, "market", seek, options.pop("clock", CLOCK))
    options.pop("tamper", lambda e: None)(envelope)
    answers = list(method.callable(channel)(iter([envelope]), timeout=10))
    (answer,) = [a for a in answers if a.WhichOneof("Type") == "status"]
    status: int = answer.status
    return status


def nothing(_: Any) -> None:
    pass


def clear_stop(seek: orderer_pb2.SeekInfo) -> None:
    seek.ClearField("stop")


def stop_before_start(seek: orderer_pb2.SeekInfo) -> None:
    seek.start.newest.SetInParent()
    seek.stop.specified.number = 0


@pytest.mark.parametrize("method", [PEER_DELIVER, PEER_DELIVER_FILTERED, ORDERER_DELIVER])
def test_refused_seeks(
    devnet: DevnetProcess, peer: Any, orderer: Any, gateway: Any, method: Any
) -> None:
    channel = orderer if method is ORDERER_DELIVER else peer

    def ask(change: Callable[..., None] = nothing, **options: Any) -> int:
        return status_of(devnet, channel, method, change, **options)

    assert ask() == common_pb2.SUCCESS
    assert ask(clear_stop) == common_pb2.BAD_REQUEST
    assert ask(stop_before_start) == common_pb2.BAD_REQUEST
    for minutes in (-16, 16):
        skewed = OffsetClock(timedelta(minutes=minutes))
        assert ask(clock=skewed) == common_pb2.BAD_REQUEST
    expired = issue(devnet, not_after=CLOCK.now() - timedelta(seconds=1))
    assert ask(identity=expired) == common_pb2.FORBIDDEN
    unknown = SigningIdentity("Org9MSP", expired.certificate_pem, expired.signer)
    assert ask(identity=unknown) == common_pb2.FORBIDDEN

    def high_s(envelope: common_pb2.Envelope) -> None:
        r, s = crypto.decode_dss_signature(envelope.signature)
        order = crypto.curve_order(crypto.ec.SECP256R1())
        envelope.signature = crypto.encode_dss_signature(r, order - s)

    assert ask(tamper=high_s) == common_pb2.FORBIDDEN


def test_a_stream_ends_when_the_certificate_expires(devnet: DevnetProcess, peer: Any) -> None:
    brief = issue(devnet, not_after=CLOCK.now() + timedelta(seconds=2))
    client = DeliverClient(peer, brief, "market", CLOCK)
    with pytest.raises(AccessDenied), client.blocks(0, timeout=20) as stream:
        for _ in stream:
            pass


def test_filtered_blocks_name_events_without_payload(
    devnet: DevnetProcess, peer: Any, gateway: Any
) -> None:
    result = gateway.submit_transaction("kv", "emit", "filtered", "payload", "Named")
    number = orderer_pb2.SeekPosition(
        specified=orderer_pb2.SeekSpecified(number=result.block_number)
    )
    seek = orderer_pb2.SeekInfo(start=number, stop=number)
    envelope = seek_envelope(devnet.user("reader"), "market", seek, CLOCK)
    answer = next(iter(PEER_DELIVER_FILTERED.callable(peer)(iter([envelope]))))
    block = answer.filtered_block
    assert (block.channel_id, block.number) == ("market", result.block_number)
    (found,) = [t for t in block.filtered_transactions if t.txid == result.transaction_id]
    assert found.tx_validation_code == peer_pb2.VALID
    event = found.transaction_actions.chaincode_actions[0].chaincode_event
    assert (event.event_name, event.payload) == ("Named", b"")


def test_a_light_node_verifies_and_finds_all_organisations_agreeing(
    devnet: DevnetProcess, gateway: Any, tmp_path: Path
) -> None:
    result = gateway.submit_transaction("kv", "put", "verified", "1")
    with LightNode(devnet.profile, tmp_path, devnet.user("reader"), CLOCK) as node:
        assert node.wait_height(result.block_number + 1, 20, agreed=True)
        found = node.transaction(result.block_number, result.transaction_id)
        assert found.is_valid
        assert found.problems == ()


# -- gateway: the table of 4.7 ---------------------------------------------------------------


def test_events_replay_and_resume(devnet: DevnetProcess, gateway: Any) -> None:
    height = gateway.height()
    first = gateway.submit_transaction("kv", "emit", "e", "1", "First")
    second = gateway.submit_transaction("kv", "emit", "e", "2", "Second")

    def next_event(**where: Any) -> tuple[str, str]:
        with gateway.events("kv", **where) as stream:
            for block in stream:
                for event in block.events:
                    return event.name, event.transaction_id
        raise AssertionError("the stream ended")

    assert next_event(start_block=height) == ("First", first.transaction_id)
    assert next_event(start_block=first.block_number, after_tx=first.transaction_id) == (
        "Second",
        second.transaction_id,
    )


def test_chaincode_refusals_have_a_code_and_text(gateway: Any) -> None:
    for call in (gateway.evaluate, gateway.submit_transaction):
        with pytest.raises(ContractRefused) as caught:
            call("kv", "fail", "409", "ROUND_CLOSED: too late")
        assert (caught.value.status, caught.value.code, caught.value.text) == (
            409,
            "ROUND_CLOSED",
            "too late",
        )


def test_conflicts_are_told_apart(gateway: Any) -> None:
    rivals = [gateway.endorse("kv", "add", "rival", "1") for _ in range(2)]
    gateway.submit(rivals[0])
    assert gateway.commit_status(rivals[0].transaction_id, 10).name == "VALID"
    gateway.submit(rivals[1])
    assert gateway.commit_status(rivals[1].transaction_id, 10).name == "MVCC_READ_CONFLICT"
    counting = gateway.endorse("kv", "count", "rival", "rivam", "total")
    gateway.submit_transaction("kv", "put", "rival2", "x")
    gateway.submit(counting)
    assert gateway.commit_status(counting.transaction_id, 10).name == "PHANTOM_READ_CONFLICT"
    with pytest.raises(CommitConflict):
        gateway.resume(rivals[1].transaction_id, rivals[1].envelope)


def failed(call: Callable[..., Any], request: Any) -> tuple[grpc.StatusCode, str, list[str]]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    error: Any = caught.value
    return error.code(), error.details(), [d.message for d in node_details(error)]


def both_calls(
    peer: Any, proposal: Proposal, **fields: Any
) -> tuple[tuple[Any, str, list[str]], tuple[Any, str, list[str]]]:
    """How Evaluate and Endorse fail."""
    channel = fields.pop("channel", proposal.channel)
    common = {
        "transaction_id": proposal.transaction_id,
        "channel_id": channel,
        "proposed_transaction": proposal.signed,
    }
    return (
        failed(EVALUATE.callable(peer), gateway_pb2.EvaluateRequest(**common)),
        failed(ENDORSE.callable(peer), gateway_pb2.EndorseRequest(**common)),
    )


def test_unknown_identity(devnet: DevnetProcess, peer: Any) -> None:
    user = devnet.user()
    stranger = SigningIdentity("Org9MSP", user.certificate_pem, user.signer)
    evaluate, endorse = both_calls(peer, propose(stranger, "get", "a"))
    text = "access denied: channel [market] creator org unknown, creator is malformed"
    assert evaluate[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert text in evaluate[1]
    assert endorse[0] is grpc.StatusCode.ABORTED
    assert endorse[2] == [f"error validating proposal: {text}"]


def test_high_s_proposal(devnet: DevnetProcess, peer: Any) -> None:
    proposal = propose(devnet.user(), "get", "a")
    r, s = crypto.decode_dss_signature(proposal.signed.signature)
    order = crypto.curve_order(crypto.ec.SECP256R1())
    proposal.signed.signature = crypto.encode_dss_signature(r, order - s)
    evaluate, endorse = both_calls(peer, proposal)
    assert evaluate[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert endorse[0] is grpc.StatusCode.ABORTED
    assert "access denied: channel [market] creator org [Org1MSP]" in endorse[2][0]


def test_expired_identity(devnet: DevnetProcess, peer: Any) -> None:
    expired = issue(devnet, not_after=CLOCK.now() - timedelta(seconds=1))
    evaluate, endorse = both_calls(peer, propose(expired, "get", "a"))
    assert (evaluate[0], endorse[0]) == (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.ABORTED,
    )
    assert evaluate[2] == endorse[2] == ["proposal client identity expired"]


def test_wrong_clock(devnet: DevnetProcess, peer: Any) -> None:
    client = devnet.gateway(peer, devnet.user())
    client._clock = OffsetClock(timedelta(minutes=20))
    with pytest.raises(ClockSkewed):
        client.endorse("kv", "put", "a", "1")
    client.close()


def test_unknown_chaincode_and_channel(devnet: DevnetProcess, peer: Any) -> None:
    user = devnet.user()
    nowhere = build_proposal(user, "market", "none", [b"f"], now=CLOCK.now(), nonce=os.urandom(24))
    evaluate, endorse = both_calls(peer, nowhere)
    assert evaluate[:2] == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "no peers available to evaluate chaincode none in channel market",
    )
    assert endorse[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert "No metadata was found for chaincode none in channel market" in endorse[1]
    evaluate, _ = both_calls(peer, propose(user, "get", "a", channel="elsewhere"))
    assert "in channel elsewhere" in evaluate[1]


def test_named_organisations(devnet: DevnetProcess, gateway: Any) -> None:
    with pytest.raises(FabricError, match="network does not answer"):
        gateway.endorse("kv", "put", "a", "1", organizations=["Org9MSP"])
    with pytest.raises(EndorseError):
        gateway.endorse("kv", "dice", "a")


def test_one_named_organisation_is_not_enough_at_commit(devnet: DevnetProcess, peer: Any) -> None:
    user = devnet.user()
    proposal = propose(user, "put", "lonely", "1")
    endorsed = ENDORSE.callable(peer)(
        gateway_pb2.EndorseRequest(
            transaction_id=proposal.transaction_id,
            channel_id="market",
            proposed_transaction=proposal.signed,
            endorsing_organizations=["Org3MSP"],
        )
    ).prepared_transaction
    endorsed.signature = user.sign(endorsed.payload)
    submission = gateway_pb2.SubmitRequest(
        transaction_id=proposal.transaction_id, channel_id="market", prepared_transaction=endorsed
    )
    SUBMIT.callable(peer)(submission)
    client = devnet.gateway(peer, user)
    status = client.commit_status(proposal.transaction_id, 10)
    assert status.name == "ENDORSEMENT_POLICY_FAILURE"
    client.close()
    # Sent again after its commit, SmartBFT's request pool knows it.
    code, text, details = failed(SUBMIT.callable(peer), submission)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "quorum requirement" in text
    assert len(details) == 4
    assert all("request already processed" in detail for detail in details)


def test_unsigned_and_foreign_submissions(devnet: DevnetProcess, peer: Any) -> None:
    request = gateway_pb2.SubmitRequest(channel_id="market")
    request.prepared_transaction.payload = b"x"
    assert failed(SUBMIT.callable(peer), request)[:2] == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "prepared transaction must be signed",
    )
    request.prepared_transaction.signature = b"x"
    code, text, details = failed(SUBMIT.callable(peer), request)
    assert code is grpc.StatusCode.ABORTED
    assert "BAD_REQUEST" in text
    assert len(details) == 4


def test_commit_status_is_for_readers(devnet: DevnetProcess, peer: Any) -> None:
    request = gateway_pb2.CommitStatusRequest(
        transaction_id="0" * 64, channel_id="market", identity=devnet.user().serialized
    ).SerializeToString()
    signed = gateway_pb2.SignedCommitStatusRequest(request=request, signature=b"x")
    assert failed(COMMIT_STATUS.callable(peer), signed)[0] is grpc.StatusCode.PERMISSION_DENIED


def test_broadcast_straight_to_an_orderer(
    devnet: DevnetProcess, orderer: Any, gateway: Any
) -> None:
    endorsed = gateway.endorse("kv", "put", "direct", "1")
    envelope = common_pb2.Envelope.FromString(endorsed.envelope)
    call = BROADCAST.callable(orderer)
    (answer,) = list(call(iter([envelope])))
    assert answer.status == common_pb2.SUCCESS
    assert gateway.commit_status(endorsed.transaction_id, 10).valid
    envelope.signature = b"x"
    (answer,) = list(call(iter([envelope])))
    assert answer.status == common_pb2.FORBIDDEN


# -- CA ------------------------------------------------------------------------------------


def test_a_household_is_registered_enrolled_and_trades(devnet: DevnetProcess, peer: Any) -> None:
    registrar = next(r for r in devnet.profile.registrars if r.msp_id == "Org1MSP")
    with closing(devnet.ca()) as ca:
        key = crypto.generate_key()
        pem = ca.enroll(registrar.id, registrar.secret, certificate_request(key, registrar.id))
        admin = SigningIdentity.from_key("Org1MSP", pem, key)
        market = {"user_type": "household", "permissions": "trade"}
        attributes = [Attribute(f"market.{name}", value) for name, value in market.items()]
        secret = ca.register(admin, "hh-900", attributes=attributes)
        key = crypto.generate_key()
        pem = ca.enroll("hh-900", secret, certificate_request(key, "hh-900"))
        with pytest.raises(CaAuthenticationFailed):
            ca.enroll("hh-900", "wrong", certificate_request(key, "hh-900"))
    household = SigningIdentity.from_key("Org1MSP", pem, key)
    with closing(devnet.gateway(peer, household)) as client:
        wallet = {"wallet_address": "w", "capacity_w": 5000, "voltage_v": 230, "zone": "a"}
        text = jsonio.canonical_dumps({**wallet, "green": True})
        assert client.submit_transaction("market", "Admit", text).block_number > 0
        participants = client.evaluate("market", "ListParticipants").decode()
        assert "hh-900@Org1MSP" in participants


def test_a_client_that_says_nothing_blocks_nobody(devnet: DevnetProcess) -> None:
    organization = devnet.profile.organization("Org1MSP").ca
    assert organization is not None
    parts = urlsplit(organization.url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 0)), closing(devnet.ca()) as ca:
        assert ca.cainfo().name == "ca-org1"
