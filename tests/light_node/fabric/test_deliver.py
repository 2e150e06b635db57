"""Block streams: raw bytes, both content types, statuses, cancellation; and the TLS connection."""

import gc
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.clock import SystemClock
from light_node.fabric import deliver
from light_node.fabric.connection import connect
from light_node.fabric.crypto import CryptoError, public_key_of, verify
from light_node.fabric.deliver import BlockStream, DeliverClient, split_response
from light_node.fabric.errors import (
    AccessDenied,
    BlockNotFound,
    DeliverError,
    FabricError,
    MalformedMessage,
    TimedOut,
    TimeRefused,
    Unavailable,
)
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, orderer_pb2, peer_pb2

BLOCKS = Path(__file__).parents[2] / "data" / "fabric" / "bft" / "full"


def raw_block(number: int) -> bytes:
    return (BLOCKS / f"{number:04}.block").read_bytes()


def framed(block: bytes) -> bytes:
    """A DeliverResponse around bytes that stay as they are."""
    length, prefix = len(block), bytearray(b"\x12")
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(prefix) + bytes([length]) + block


def status(code: int) -> bytes:
    return peer_pb2.DeliverResponse(status=code).SerializeToString()  # type: ignore[arg-type]


class OneStreamEach(DeliverClient):
    """Opens a channel of its own for every stream, as for catching up."""

    def __init__(self, peer: Any, root_pem: bytes, identity: SigningIdentity) -> None:
        self._peer, self._root_pem, self._own = peer, root_pem, identity

    def _seek(self, *arguments: Any) -> BlockStream:
        channel = connect(self._peer.address, self._root_pem, for_one_stream=True)
        client = DeliverClient(channel, self._own, "market", SystemClock(), one_stream=True)
        return client._seek(*arguments)


@pytest.fixture(params=["shared channel", "a channel each"])
def client(
    request: pytest.FixtureRequest, channel: grpc.Channel, consortium: Any, peer: Any
) -> DeliverClient:
    if request.param == "shared channel":
        return DeliverClient(channel, consortium.client, "market", SystemClock())
    return OneStreamEach(peer, peer.tls.root_pem, consortium.client)


def test_blocks_are_the_bytes_sent(client: DeliverClient, peer: Any) -> None:
    # No protobuf writer gives these bytes: whoever parses and writes again is found out.
    odd = raw_block(6)[5:] + raw_block(6)[:5] + b"\xaa\x06\x01x"
    peer.deliver_answers = [framed(raw_block(5)), framed(odd), status(200)]
    with client.blocks(5, 6) as stream:
        assert list(stream) == [raw_block(5), odd]


def test_the_request_is_signed_and_complete(
    client: DeliverClient, peer: Any, consortium: Any
) -> None:
    peer.deliver_answers = [status(200)]
    assert list(client.blocks(5, 9, headers_only=True, wait=False)) == []
    ((kind, seek),) = peer.seeks
    assert kind == "peer"
    assert seek.start.specified.number == 5
    assert seek.stop.specified.number == 9
    assert seek.content_type == orderer_pb2.SeekInfo.HEADER_WITH_SIG
    assert seek.behavior == orderer_pb2.SeekInfo.FAIL_IF_NOT_READY
    (envelope,) = peer.proposals
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    assert (header.type, header.channel_id) == (common_pb2.DELIVER_SEEK_INFO, "market")
    assert header.HasField("timestamp")
    key = public_key_of(consortium.client.certificate)
    assert verify(key, envelope.signature, envelope.payload)


def test_orderers_and_open_ends(channel: grpc.Channel, consortium: Any, peer: Any) -> None:
    client = DeliverClient(channel, consortium.client, "market", SystemClock(), "orderer")
    peer.deliver_answers = [framed(raw_block(7))]
    peer.hold_deliver = True
    for start in ("oldest", "newest", 0):
        with client.blocks(start) as stream:  # type: ignore[arg-type]
            assert next(stream) == raw_block(7)
    kinds = {kind for kind, _ in peer.seeks}
    assert kinds == {"orderer"}
    assert [s.start.WhichOneof("Type") for _, s in peer.seeks] == ["oldest", "newest", "specified"]
    assert peer.seeks[0][1].stop.specified.number == deliver.FOREVER
    assert peer.seeks[0][1].content_type == orderer_pb2.SeekInfo.BLOCK


def test_newest_and_one_block(client: DeliverClient, peer: Any) -> None:
    peer.deliver_answers = [framed(raw_block(8)), status(200)]
    assert client.newest() == raw_block(8)
    assert client.block(8) == raw_block(8)
    assert peer.seeks[0][1].start == peer.seeks[0][1].stop
    assert peer.seeks[0][1].start.WhichOneof("Type") == "newest"
    peer.deliver_answers = [status(200)]
    with pytest.raises(MalformedMessage):
        client.newest()
    with pytest.raises(MalformedMessage):
        client.block(8)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (404, BlockNotFound),
        (403, AccessDenied),
        (503, Unavailable),
        (400, TimeRefused),
        (500, DeliverError),
        (0, DeliverError),
    ],
)
def test_statuses(client: DeliverClient, peer: Any, code: int, kind: type[FabricError]) -> None:

    peer.deliver_answers = [framed(raw_block(5)), status(code)]
    stream = client.blocks(5, 9)
    assert next(stream) == raw_block(5)
    with pytest.raises(kind) as caught:
        next(stream)
    assert type(caught.value) is kind
    assert list(stream) == []


def test_a_bad_range_is_refused(client: DeliverClient) -> None:
    for start, stop in ((-1, 3), (5, 4), (2**64, None)):
        with pytest.raises(ValueError, match="no blocks"):
            client.blocks(start, stop)


def test_broken_streams(client: DeliverClient, peer: Any, kit: Any) -> None:
    for failure, kind in (
        (kit.Failure(grpc.StatusCode.UNAVAILABLE, "gone"), Unavailable),
        (kit.Failure(grpc.StatusCode.UNKNOWN, "too many requests"), Unavailable),
        (kit.Failure(grpc.StatusCode.INTERNAL, "broken"), DeliverError),
    ):
        peer.scripts["deliver"] = [failure]
        with pytest.raises(kind):
            next(client.blocks(0))
    peer.deliver_answers = [b""]
    stream = client.blocks(0)
    with pytest.raises(MalformedMessage):
        next(stream)
    assert list(stream) == []


def test_a_deadline(client: DeliverClient, peer: Any) -> None:
    peer.hold_deliver = True
    with pytest.raises(TimedOut):
        next(client.blocks(0, timeout=0.2))


def test_closing_wakes_a_waiting_reader(client: DeliverClient, peer: Any) -> None:
    peer.deliver_answers, peer.hold_deliver = [framed(raw_block(5))], True
    stream, seen, first = client.blocks(5), [], threading.Event()

    def read() -> None:
        for block in stream:
            seen.append(block)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(30)
    stream.close()
    reader.join(30)
    assert not reader.is_alive()
    assert seen == [raw_block(5)]


def test_closing_lets_the_call_go(client: DeliverClient, peer: Any) -> None:
    """What gRPC keeps for a call must not outlive it: a light node runs for months."""
    peer.deliver_answers, peer.hold_deliver = [framed(raw_block(5))] * 3, True

    def break_off() -> None:
        with client.blocks(5) as stream:
            assert next(stream) == raw_block(5)

    for _ in range(60):
        break_off()
    before = resident_kb()
    for _ in range(300):
        break_off()
    assert resident_kb() - before < 300 * 10  # an abandoned call takes some 20


def resident_kb() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def test_a_closed_channel(channel: grpc.Channel, consortium: Any) -> None:
    client = DeliverClient(channel, consortium.client, "market", SystemClock())
    channel.close()
    with pytest.raises(Unavailable, match="closed"):
        client.blocks(0)


# -- cutting the answer ---------------------------------------------------------------------------


def test_cutting_agrees_with_protobuf() -> None:
    block = common_pb2.Block.FromString(raw_block(5))
    assert split_response(framed(raw_block(5))) == (0, raw_block(5))
    written = orderer_pb2.DeliverResponse(block=block).SerializeToString()
    assert split_response(written) == (0, raw_block(5))
    assert split_response(status(503)) == (503, None)
    assert split_response(b"\x12\x00") == (0, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x08",
        b"\x08\x80",
        b"\x08\xc8\x01\x08\xc8\x01",  # two statuses
        b"\x12\x02a",  # cut off
        b"\x12\x01ab",  # longer than it says
        b"\x12\x01a\x12\x01b",  # two blocks, which protobuf would merge
        b"\x08\xc8\x01\x12\x01a",
        b"\x1a\x01a",  # a filtered block
        b"\x12" + b"\xff" * 12,
        b"\x0a\x01a",
    ],
)
def test_anything_but_one_field_is_refused(answer: bytes) -> None:
    with pytest.raises(MalformedMessage):
        split_response(answer)


@given(st.binary(max_size=40))
def test_garbage_raises_one_error_type(answer: bytes) -> None:
    try:
        found, block = split_response(answer)
    except MalformedMessage:
        return
    assert block is None or answer.endswith(block)
    assert found >= 0


# -- connections ----------------------------------------------------------------------------------


def test_large_messages_pass(client: DeliverClient, peer: Any) -> None:
    large = bytes(8 * 1024 * 1024)  # twice gRPC's default limit
    peer.deliver_answers = [framed(large), status(200)]
    assert list(client.blocks(0, 0)) == [large]


def test_a_server_under_another_root_is_refused(peer: Any, consortium: Any, kit: Any) -> None:
    channel = connect(peer.address, kit.make_tls().root_pem)
    try:
        with pytest.raises(Unavailable):
            DeliverClient(channel, consortium.client, "market", SystemClock()).newest()
    finally:
        channel.close()


@pytest.fixture
def named_peer(consortium: Any, kit: Any) -> Iterator[Any]:
    fake = kit.FakePeer(consortium, kit.make_tls(("peer0.org1.example",)))
    fake.deliver_answers = [framed(raw_block(5)), status(200)]
    yield fake
    fake.stop()


def test_the_name_in_the_certificate_counts(named_peer: Any, consortium: Any) -> None:
    root = named_peer.tls.root_pem
    wrong = connect(named_peer.address, root)
    right = connect(named_peer.address, root.decode(), override_name="peer0.org1.example")
    try:
        with pytest.raises(Unavailable):
            DeliverClient(wrong, consortium.client, "market", SystemClock()).newest()
        client = DeliverClient(right, consortium.client, "market", SystemClock())
        assert client.newest() == raw_block(5)
    finally:
        wrong.close()
        right.close()


def test_bad_addresses_and_roots_are_refused_at_once(tls: Any) -> None:
    for address in (
        "",
        "localhost",
        "localhost:",
        "localhost:0",
        "a:65536",
        "ipv4:1.2.3.4:5",
        "/x",
    ):
        with pytest.raises(ValueError, match="host:port"):
            connect(address, tls.root_pem)
    for pem in (b"", b"nonsense"):
        with pytest.raises(CryptoError):
            connect("localhost:7051", pem)
