"""Block streams of peers and orderers, whole, header-only and filtered (2.9, 7.2)."""

import threading
import time
from datetime import timedelta
from itertools import pairwise
from typing import Any

import grpc
import pytest

from light_node.fabric.block import parse_block
from light_node.fabric.deliver import DeliverClient, seek_envelope
from light_node.fabric.errors import AccessDenied, BlockNotFound
from light_node.fabric.gateway import Gateway
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import ORDERER_DELIVER, PEER_DELIVER, PEER_DELIVER_FILTERED
from light_node.fabric.pb import common_pb2, peer_pb2
from tests.conformance.calls import deliver, high_s, seek_info, status_of
from tests.conformance.networks import CLOCK, Network, OffsetClock

STREAMS = [PEER_DELIVER, PEER_DELIVER_FILTERED, ORDERER_DELIVER]
stream = pytest.mark.parametrize("method", STREAMS, ids=["peer", "filtered", "orderer"])


@pytest.fixture
def source(method: Any, peer: grpc.Channel, orderer: grpc.Channel, gateway: Gateway) -> Any:
    """The channel that serves ``method``; some blocks are there."""
    return orderer if method is ORDERER_DELIVER else peer


def client_of(network: Network, channel: grpc.Channel, kind: Any = "peer") -> DeliverClient:
    return DeliverClient(channel, network.clients.user("reader"), network.channel, CLOCK, kind)


# -- content -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["peer", "orderer"])
@pytest.mark.parametrize("headers_only", [False, True])
def test_both_content_types(
    network: Network,
    gateway: Gateway,
    request: pytest.FixtureRequest,
    kind: Any,
    headers_only: bool,
) -> None:
    last = gateway.submit_transaction("kv", "put", f"deliver-{kind}", "1").block_number
    client = client_of(network, request.getfixturevalue(kind), kind)
    with client.blocks(0, last, headers_only=headers_only) as found:
        blocks = [parse_block(raw) for raw in found]
    assert [block.number for block in blocks] == list(range(last + 1))
    for before, after in pairwise(blocks):
        assert after.previous_hash == before.hash
    assert all(len(block.metadata) == 5 for block in blocks)
    # A server before 3.0 knows no header-only blocks and sends whole ones.
    bare = headers_only and network.since_3
    assert blocks[0].envelopes is not None  # a configuration block is always whole
    assert (blocks[-1].envelopes is None) == bare
    assert (blocks[-1].metadata[2] == b"") == (kind == "orderer")
    assert (blocks[-1].metadata[4] == b"") == (kind == "orderer")
    assert blocks[0].metadata[4] == b""


def test_peers_and_orderers_hold_the_same_blocks(
    network: Network, peer: grpc.Channel, orderer: grpc.Channel, gateway: Gateway
) -> None:
    last = gateway.submit_transaction("kv", "put", "deliver-same", "1").block_number
    one = parse_block(client_of(network, peer).block(last))
    other = parse_block(client_of(network, orderer, "orderer").block(last))
    assert one.hash == other.hash
    assert one.envelopes == other.envelopes


def test_filtered_blocks_name_events_without_payload(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    result = gateway.submit_transaction("kv", "emit", "deliver-f", "payload", "Named")
    answers = deliver(network, peer, PEER_DELIVER_FILTERED, seek_info(result.block_number))
    assert [a.WhichOneof("Type") for a in answers] == ["filtered_block", "status"]
    block = answers[0].filtered_block
    assert (block.channel_id, block.number) == (network.channel, result.block_number)
    (found,) = [t for t in block.filtered_transactions if t.txid == result.transaction_id]
    assert found.tx_validation_code == peer_pb2.VALID
    assert found.type == common_pb2.ENDORSER_TRANSACTION
    event = found.transaction_actions.chaincode_actions[0].chaincode_event
    assert (event.event_name, event.payload) == ("Named", b"")
    assert (event.tx_id, event.chaincode_id) == (result.transaction_id, "kv")


def test_the_filtered_configuration_block(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    answers = deliver(network, peer, PEER_DELIVER_FILTERED, seek_info(0))
    block = answers[0].filtered_block
    (found,) = block.filtered_transactions
    assert (found.type, found.tx_validation_code) == (common_pb2.CONFIG, peer_pb2.VALID)
    assert block.number == 0


# -- positions ---------------------------------------------------------------------------------


def test_a_stream_waits_for_the_next_block(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    height = gateway.height()
    with client_of(network, peer).blocks(height, timeout=30) as blocks:
        thread = threading.Timer(0.1, gateway.submit_transaction, ("kv", "put", "awaited", "1"))
        thread.start()
        assert parse_block(next(blocks)).number == height
        thread.join()


def test_newest_is_one_block(network: Network, peer: grpc.Channel, gateway: Gateway) -> None:
    assert parse_block(client_of(network, peer).newest()).number == gateway.height() - 1


@stream
def test_positions(network: Network, source: Any, gateway: Gateway, method: Any) -> None:
    def numbers(*where: Any) -> list[int]:
        answers = deliver(network, source, method, seek_info(*where))
        assert status_of(answers) == common_pb2.SUCCESS
        blocks = [a for a in answers if a.WhichOneof("Type") != "status"]
        if method is PEER_DELIVER_FILTERED:
            return [a.filtered_block.number for a in blocks]
        return [a.block.header.number for a in blocks]

    assert numbers("oldest") == [0]
    assert numbers(0, 1) == [0, 1]
    assert numbers("oldest", "oldest") == [0]
    whole = numbers("oldest", "newest")
    assert whole == list(range(len(whole)))
    (newest,) = numbers("newest")
    assert newest >= whole[-1]


@stream
def test_blocks_that_are_not_there(
    network: Network, source: Any, gateway: Gateway, method: Any
) -> None:
    beyond = gateway.height() + 1_000
    assert status_of(deliver(network, source, method, seek_info(beyond))) == common_pb2.NOT_FOUND
    elsewhere = deliver(network, source, method, seek_info(0), channel_id="elsewhere")
    assert status_of(elsewhere) == common_pb2.NOT_FOUND
    impatient = seek_info(0, beyond)
    impatient.behavior = impatient.FAIL_IF_NOT_READY
    answers = deliver(network, source, method, impatient)
    assert status_of(answers) == common_pb2.NOT_FOUND
    assert len(answers) > 1


def test_the_client_says_so(network: Network, peer: grpc.Channel, gateway: Gateway) -> None:
    with pytest.raises(BlockNotFound):
        client_of(network, peer).block(10**9)
    with pytest.raises(BlockNotFound), client_of(network, peer).blocks(2**64 - 1) as blocks:
        next(blocks)
    other = DeliverClient(peer, network.clients.user("reader"), "elsewhere", CLOCK)
    with pytest.raises(BlockNotFound):
        other.block(0)


@stream
def test_several_seeks_on_one_stream(
    network: Network, source: Any, gateway: Gateway, method: Any
) -> None:
    reader = network.clients.user("reader")
    envelope = seek_envelope(reader, network.channel, seek_info(0), CLOCK)
    answers = list(method.callable(source)(iter([envelope, envelope]), timeout=30))
    kinds = ["status" if a.WhichOneof("Type") == "status" else "block" for a in answers]
    assert kinds == ["block", "status", "block", "status"]
    assert answers[1].status == answers[3].status == common_pb2.SUCCESS


# -- refusals ----------------------------------------------------------------------------------


@stream
def test_seeks_that_cannot_be(network: Network, source: Any, method: Any) -> None:
    def ask(seek: Any, **options: Any) -> int:
        return status_of(deliver(network, source, method, seek, **options))

    assert ask(seek_info(0)) == common_pb2.SUCCESS
    for field in ("start", "stop"):
        seek = seek_info(0)
        seek.ClearField(field)
        assert ask(seek) == common_pb2.BAD_REQUEST
    assert ask(seek_info("newest", 0)) == common_pb2.BAD_REQUEST
    for minutes in (-16, 16):
        skewed = OffsetClock(timedelta(minutes=minutes))
        assert ask(seek_info(0), clock=skewed) == common_pb2.BAD_REQUEST
    for minutes in (-14, 14):
        fair = OffsetClock(timedelta(minutes=minutes))
        assert ask(seek_info(0), clock=fair) == common_pb2.SUCCESS

    def garbled(envelope: common_pb2.Envelope) -> None:
        envelope.payload = b"\xff\xff"

    assert ask(seek_info(0), tamper=garbled) == common_pb2.BAD_REQUEST


@stream
def test_who_may_not_read(network: Network, source: Any, method: Any) -> None:
    def ask(**options: Any) -> int:
        return status_of(deliver(network, source, method, seek_info(0), **options))

    expired = network.issue(not_after=CLOCK.now() - timedelta(seconds=1))
    assert ask(identity=expired) == common_pb2.FORBIDDEN
    unknown = SigningIdentity("Org9MSP", expired.certificate_pem, expired.signer)
    assert ask(identity=unknown) == common_pb2.FORBIDDEN
    assert ask(identity=network.issue([])) == common_pb2.FORBIDDEN
    assert ask(identity=network.issue(["client", "admin"])) == common_pb2.FORBIDDEN

    def with_high_s(envelope: common_pb2.Envelope) -> None:
        envelope.signature = high_s(envelope.signature)

    def without(envelope: common_pb2.Envelope) -> None:
        envelope.signature = b""

    assert ask(tamper=with_high_s) == common_pb2.FORBIDDEN
    assert ask(tamper=without) == common_pb2.FORBIDDEN


@stream
def test_who_may_read(network: Network, source: Any, method: Any) -> None:
    for units in (["client"], ["peer"], ["admin"], ["client", "department1"]):
        for msp_id in ("Org1MSP", "Org2MSP"):
            identity = network.issue(units, msp_id)
            answers = deliver(network, source, method, seek_info(0), identity=identity)
            assert status_of(answers) == common_pb2.SUCCESS, (units, msp_id)


def test_a_stream_ends_at_the_first_block_after_the_certificate_has_expired(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    until = CLOCK.now() + timedelta(seconds=2)
    brief = network.issue(not_after=until)
    client = DeliverClient(peer, brief, network.channel, CLOCK)
    height = gateway.height()
    with client.blocks(height, timeout=30) as blocks:
        gateway.submit_transaction("kv", "put", "deliver-expiry", "1")
        assert parse_block(next(blocks)).number == height
        while CLOCK.now() < until + timedelta(seconds=1.1):  # certificates know whole seconds
            time.sleep(0.1)
        gateway.submit_transaction("kv", "put", "deliver-expiry", "2")
        with pytest.raises(AccessDenied):
            next(blocks)


# -- sizes -------------------------------------------------------------------------------------


def test_blocks_larger_than_what_grpc_receives_by_default(
    network: Network, peer: grpc.Channel, orderer: grpc.Channel, gateway: Gateway
) -> None:
    value = "x" * (3 * 1024 * 1024)  # argument, write and result: 9 MiB
    number = gateway.submit_transaction("kv", "put", "deliver-large", value).block_number
    for channel, kind in ((peer, "peer"), (orderer, "orderer")):
        raw = client_of(network, channel, kind).block(number)
        assert len(raw) > 2 * 4 * 1024 * 1024
    assert gateway.evaluate("kv", "get", "deliver-large") == value.encode()
    gateway.submit_transaction("kv", "del", "deliver-large")
