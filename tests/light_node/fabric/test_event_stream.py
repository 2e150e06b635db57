"""Event streams: checkpoints, reconnection, repeated blocks, closing from another thread."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from light_node.clock import SystemClock
from light_node.fabric.errors import AccessDenied, EventsError, Unavailable
from light_node.fabric.gateway import Gateway
from light_node.fabric.pb import common_pb2, gateway_pb2, peer_pb2

CODE = grpc.StatusCode


def block(number: int, *names: str, chaincode: str = "market") -> Any:
    events = [
        peer_pb2.ChaincodeEvent(
            chaincode_id=chaincode, tx_id=f"{number}-{i}", event_name=name, payload=b"{}"
        )
        for i, name in enumerate(names)
    ]
    return gateway_pb2.ChaincodeEventsResponse(block_number=number, events=events)


@pytest.fixture
def gateway(channel: grpc.Channel, consortium: Any, peer: Any) -> Iterator[Gateway]:
    info = common_pb2.BlockchainInfo(height=5).SerializeToString()
    peer.evaluate_answers["qscc.GetChainInfo"] = peer_pb2.Response(status=200, payload=info)
    made = Gateway(channel, consortium.client, "market", SystemClock(), policy=consortium.majority)
    yield made
    made.close()


def starts(peer: Any) -> list[tuple[int | None, str]]:
    return [
        (
            r.start_position.specified.number if r.HasField("start_position") else None,
            r.after_transaction_id,
        )
        for r in peer.event_requests
    ]


def test_events_start_at_the_height_of_the_call(gateway: Gateway, peer: Any) -> None:
    peer.event_rounds = [[block(5, "SlotOpened", "RoundClosed")]]
    with gateway.events("market") as stream:
        found = next(stream)
    assert found.block_number == 5
    assert [e.name for e in found.events] == ["SlotOpened", "RoundClosed"]
    assert found.events[0].transaction_id == "5-0"
    assert starts(peer) == [(5, "")]
    assert peer.event_requests[0].chaincode_id == "market"


def test_a_checkpoint_is_passed_on(gateway: Gateway, peer: Any) -> None:
    peer.event_rounds = [[block(3, "A")], [block(9, "B")]]
    with gateway.events("market", 3, "aa") as stream:
        next(stream)
        assert stream.checkpoint.start_block == 4
    with gateway.events("market", after_tx="bb") as stream:
        next(stream)
    assert starts(peer) == [(3, "aa"), (None, "bb")]


def test_a_broken_stream_goes_on_after_the_last_block(
    gateway: Gateway, peer: Any, kit: Any
) -> None:
    lost = kit.Failure(CODE.UNAVAILABLE, "Socket closed")
    busy = kit.Failure(CODE.UNKNOWN, "too many requests for /gateway.Gateway")
    # The second connection repeats a block, as servers do; the third was ended by the server.
    peer.event_rounds = [[block(5, "A"), lost], [busy], [block(5, "A"), block(6, "B"), None], []]
    peer.event_rounds[3] = [block(8, "C")]
    with gateway.events("market") as stream:
        found = [next(stream) for _ in range(3)]
    assert [b.block_number for b in found] == [5, 6, 8]
    assert starts(peer) == [(5, ""), (6, ""), (6, ""), (7, "")]


def test_a_stream_lost_before_its_first_event_misses_nothing(
    gateway: Gateway, peer: Any, kit: Any
) -> None:
    peer.event_rounds = [[kit.Failure(CODE.UNAVAILABLE, "gone")], [block(5, "A")]]
    with gateway.events("market") as stream:
        assert next(stream).block_number == 5
        assert stream.last_error is None
    assert starts(peer) == [(5, ""), (5, "")]


def test_events_of_other_chaincodes_are_dropped(gateway: Gateway, peer: Any) -> None:
    peer.event_rounds = [[block(5, "X", chaincode="bank"), block(6, "A")]]
    with gateway.events("market") as stream:
        assert next(stream).block_number == 6


def test_refusals_for_good_are_raised(gateway: Gateway, peer: Any, kit: Any) -> None:
    peer.event_rounds = [[kit.Failure(CODE.PERMISSION_DENIED, "no")]]
    with pytest.raises(AccessDenied):
        next(gateway.events("market"))
    peer.event_rounds = [[kit.Failure(CODE.INVALID_ARGUMENT, "bad start")]]
    stream = gateway.events("market")
    with pytest.raises(EventsError):
        next(stream)
    assert list(stream) == []


def test_a_peer_that_served_before_may_be_behind(gateway: Gateway, peer: Any, kit: Any) -> None:
    behind = kit.Failure(CODE.FAILED_PRECONDITION, "ledger is behind")
    peer.event_rounds = [[block(5, "A"), None], [behind], [block(6, "B")]]
    with gateway.events("market") as stream:
        assert [next(stream).block_number for _ in range(2)] == [5, 6]


@pytest.mark.parametrize("closer", ["stream", "gateway"])
def test_closing_wakes_a_waiting_reader(gateway: Gateway, peer: Any, closer: str) -> None:
    peer.event_rounds = [[block(5, "A")]]
    stream = gateway.events("market")
    seen: list[int] = []
    first = threading.Event()

    def read() -> None:
        for found in stream:
            seen.append(found.block_number)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(30)
    (stream if closer == "stream" else gateway).close()
    reader.join(30)
    assert not reader.is_alive()
    assert seen == [5]
    assert stream.closed


def test_a_closed_channel_ends_the_stream(
    gateway: Gateway, channel: grpc.Channel, peer: Any
) -> None:
    stream = gateway.events("market", 5)
    channel.close()
    with pytest.raises(Unavailable, match="closed"):
        next(stream)
    assert list(stream) == []


def test_streams_of_a_closed_gateway_are_closed(gateway: Gateway) -> None:
    gateway.close()
    assert list(gateway.events("market", 5)) == []
