"""The gRPC server against gRPC's own client, and against what is no client."""

import asyncio
import contextlib
import queue
import socket
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from light_node.chaincode import rpc
from light_node.fabric.connection import MAX_MESSAGE_BYTES
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import peer_pb2

M = peer_pb2.ChaincodeMessage
WAIT = 20.0
PREFACE, SETTINGS, PING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 4, 6
LARGE = 12 * 1024 * 1024


@pytest.fixture
def trader(new_trader: Callable[..., SigningIdentity]) -> SigningIdentity:
    return new_trader("Ada")


def call(server: Any, path: str, **options: Any) -> grpc.RpcError:
    """Return how a call fails; ``options`` are the channel's."""
    with grpc.insecure_channel(server.address, **options) as channel:
        one: Any = channel.unary_unary(path)
        with pytest.raises(grpc.RpcError) as error:
            one(b"\x0a\xff" * 2_000, timeout=WAIT)
    return error.value


def test_large_messages_pass_both_ways(serve: Any, dial: Any, trader: SigningIdentity) -> None:
    """Each is some hundred frames and waits for windows to be widened."""
    peer = dial(serve("kv"))
    assert peer.ready.wait(WAIT)
    peer.received.get(timeout=WAIT)
    payload = bytes(range(256)) * (LARGE // 256)
    for _ in range(3):
        peer.send(M(type=M.KEEPALIVE, payload=payload))
    for _ in range(3):
        assert peer.received.get(timeout=WAIT).payload == payload


def test_methods_there_are_not(serve: Any) -> None:
    error = call(serve("kv"), "/protos.Chaincode/Other")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert error.details() == "there is no such method"


def test_compressed_messages_are_refused(serve: Any) -> None:
    error = call(serve("kv"), "/grpc.health.v1.Health/Check", compression=grpc.Compression.Gzip)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_cannot_be_read_is_refused(serve: Any) -> None:
    error = call(serve("kv"), "/grpc.health.v1.Health/Check")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_status_text_may_hold_anything(
    serve: Any, dial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "100 % of 电表\n\t“ü” ~{}"

    def refuse(session: Any, data: bytes) -> None:
        raise MalformedMessage(said)

    monkeypatch.setattr("light_node.chaincode.session.Session.receive", refuse)
    peer = dial(serve("kv"))
    assert peer.over.wait(WAIT)
    assert peer._stream.details() == said


def read_to_the_end(connection: socket.socket) -> bytes:
    """Return what comes until the server closes or cuts the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(4096):
            found += part
    return found


def connected(server: Any) -> socket.socket:
    host, port = server.address.split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT)


def test_a_browser_gets_a_farewell(serve: Any) -> None:
    with connected(serve("kv")) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_to_the_end(connection).endswith(b"\x00\x00\x00\x01")  # GOAWAY, PROTOCOL_ERROR


def test_who_says_nothing_is_cut(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "INTRODUCTION_S", 0.05)
    with connected(serve("kv")) as connection:
        assert read_to_the_end(connection)[3] == SETTINGS


def test_who_vanishes_is_found_out_and_who_lives_is_not(
    serve: Any, dial: Any, trader: SigningIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "INTRODUCTION_S", 0.05)
    monkeypatch.setattr(rpc, "KEEPALIVE_S", 0.05)
    monkeypatch.setattr(rpc, "KEEPALIVE_TIMEOUT_S", 1.0)
    server = serve("kv")
    living = dial(server)
    assert living.call(trader, "put", "k", "v").payload == b"v"
    with connected(server) as connection:
        connection.sendall(PREFACE + bytes((0, 0, 0, SETTINGS, 0, 0, 0, 0, 0)))
        assert read_to_the_end(connection)[-17:-13] == bytes((0, 0, 8, PING))
    assert living.call(trader, "put", "k", "w").payload == b"w"


class Collected:
    """A handler that keeps what it is told."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def message(self, data: bytes) -> None:
        self.told.put(data)

    def ended(self) -> None:
        self.told.put("ended")

    def lost(self) -> None:
        self.told.put("lost")


class Sent:
    """A link without a connection."""

    def __init__(self) -> None:
        self.connection = self
        self.finished: list[Any] = []

    def finish(self, stream: int, headers: Any, *, at_once: bool) -> None:
        self.finished.append((dict(headers), at_once))

    def forget(self, stream: int) -> None: ...

    def flush(self) -> None: ...


def incoming() -> tuple[rpc._Incoming, Collected, Sent]:
    link, handler = Sent(), Collected()
    return rpc._Incoming(rpc.Call(link, 1, "x"), handler), handler, link  # type: ignore[arg-type]


def test_messages_are_put_together_however_they_come() -> None:
    data = b"".join(bytes((0, 0, 0, 0, len(text))) + text for text in (b"one", b"", b"three"))
    for size in range(1, len(data) + 1):
        into, handler, _ = incoming()
        for at in range(0, len(data), size):
            into.receive(data[at : at + size], at + size >= len(data))
        told = [handler.told.get_nowait() for _ in range(4)]
        assert told == [b"one", b"", b"three", "ended"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00\x00\x00\x00\x05abc", rpc.INVALID_ARGUMENT),
        (b"\x00\x00", rpc.INVALID_ARGUMENT),
        (b"\x01\x00\x00\x00\x01a", rpc.UNIMPLEMENTED),
        (b"\x00" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), rpc.RESOURCE_EXHAUSTED),
    ],
)
def test_what_is_no_message_ends_the_call(data: bytes, code: int) -> None:
    into, handler, link = incoming()
    into.receive(data, True)
    assert handler.told.get_nowait() == "lost"
    assert link.finished[0][0][b"grpc-status"] == b"%d" % code
    into.receive(b"\x00\x00\x00\x00\x01a", True)  # nothing is passed on any more
    assert handler.told.empty()


def test_a_client_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_MOST_UNSENT", 10)
    transport = type("Transport", (), {})()
    aborted: list[bool] = []
    transport.is_closing = lambda: False
    transport.write = lambda data: None
    transport.get_write_buffer_size = lambda: 11
    transport.abort = lambda: aborted.append(True)

    async def run() -> None:
        link = rpc._Link({}, set(), None)
        link._transport = transport
        link.flush()
        link._timer.cancel()

    asyncio.run(run())
    assert aborted == [True]
