"""A gRPC server on asyncio over :mod:`light_node.chaincode.http2`: streams of messages, no more.

Handlers are told of each message as it comes, on the event loop, and answer through their
:class:`Call` at any time; there is no task and no thread per call. Compression is not offered.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import quote

from light_node.chaincode.http2 import Connection, ConnectionFault, Opened, Received
from light_node.chaincode.tls import TlsSession
from light_node.fabric.connection import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

OK, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED = 0, 3, 5, 8
UNIMPLEMENTED, UNAVAILABLE = 12, 14

INTRODUCTION_S = 20.0
KEEPALIVE_S, KEEPALIVE_TIMEOUT_S = 120.0, 20.0
_MOST_UNSENT = MAX_MESSAGE_BYTES + 16 * 1024 * 1024
_PREFIX = 5  # whether compressed, and the length
_MOST_STATUS_TEXT = 500
_RESPONSE = ((b":status", b"200"), (b"content-type", b"application/grpc"))


class Rpc(Protocol):
    """A handler's side of one call."""

    def message(self, data: bytes) -> None:
        """Take one message."""
        ...

    def ended(self) -> None:
        """Take note that the client sends no more; the call goes on until it is finished."""
        ...

    def lost(self) -> None:
        """Take note that the client is gone; nothing can be sent any more."""
        ...


class Call:
    """The server's side of one call. Use it on the event loop."""

    def __init__(self, link: "_Link", stream: int, peer: str) -> None:
        self.peer = peer
        self._link, self._stream = link, stream
        self._responded = False
        self.over = False

    @property
    def waiting(self) -> int:
        """How many messages the client has not made room for."""
        return self._link.connection.waiting(self._stream)

    def send(self, message: bytes) -> None:
        """Send one message; dropped if the call is over."""
        if self.over:
            return
        connection = self._link.connection
        if not self._responded:
            self._responded = True
            connection.respond(self._stream, _RESPONSE)
        connection.send(self._stream, len(message).to_bytes(_PREFIX, "big") + message)
        self._link.flush()

    def finish(self, code: int = OK, text: str = "") -> None:
        """End the call with a status of gRPC's; what still waits is dropped unless it is OK."""
        if self.over:
            return
        self.over = True
        trailers = [(b"grpc-status", b"%d" % code)]
        if text:
            said = quote(text[:_MOST_STATUS_TEXT], safe=" !#$&'()*+,/:;=?@[]~\"<>^`{|}")
            trailers.append((b"grpc-message", said.encode()))
        start = () if self._responded else _RESPONSE
        self._link.connection.finish(self._stream, (*start, *trailers), at_once=code != OK)
        self._link.forget(self._stream)
        self._link.flush()


Method = Callable[[Call], Rpc]
"""Begins the handling of a call."""


class RpcServer:
    """Listens, and serves methods by their paths, like ``/grpc.health.v1.Health/Check``."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self.methods = {path.encode(): method for path, method in methods.items()}
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen; return the port. ``OSError`` if that is impossible."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Link(self.methods, self._links, tls), host, port
        )
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def stop(self, seconds: float) -> None:
        """Take no more connections, end all calls, close; cut what does not close in time."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.end()
        until = asyncio.get_running_loop().time() + seconds
        while self._links and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        for link in list(self._links):
            link.cut("it does not close")


class _Incoming:
    """One call's bytes on their way to be messages."""

    def __init__(self, call: Call, rpc: Rpc) -> None:
        self.call, self._rpc = call, rpc
        self._buffer = bytearray()

    def receive(self, data: bytes, ended: bool) -> None:
        """Pass on whole messages."""
        buffer, at = self._buffer, 0
        buffer += data
        while not self.call.over and len(buffer) >= at + _PREFIX:
            length = int.from_bytes(buffer[at + 1 : at + _PREFIX], "big")
            if buffer[at]:
                self._refuse(UNIMPLEMENTED, "messages must not be compressed")
            elif length > MAX_MESSAGE_BYTES:
                self._refuse(RESOURCE_EXHAUSTED, f"a message is larger than {MAX_MESSAGE_BYTES}")
            elif len(buffer) < at + _PREFIX + length:
                break
            else:
                begin, at = at + _PREFIX, at + _PREFIX + length
                self._rpc.message(bytes(buffer[begin:at]))
        del buffer[:at]
        if ended and not self.call.over:
            if buffer:
                self._refuse(INVALID_ARGUMENT, "the last message is cut off")
            else:
                self._rpc.ended()

    def lost(self) -> None:
        """Tell the handler that the client is gone."""
        self.call.over = True
        self._rpc.lost()

    def _refuse(self, code: int, text: str) -> None:
        self.call.finish(code, text)
        self._rpc.lost()


class _Link(asyncio.Protocol):
    """One connection."""

    _transport: asyncio.Transport

    def __init__(
        self, methods: Mapping[bytes, Method], links: "set[_Link]", tls: ssl.SSLContext | None
    ) -> None:
        self.connection = Connection()
        self._tls = None if tls is None else TlsSession(tls)
        self._methods, self._links = methods, links
        self._calls: dict[int, _Incoming] = {}
        self._receiving = self._alive = False
        self._peer = ""
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(INTRODUCTION_S, self._introduced)

    # -- what asyncio calls ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        name = transport.get_extra_info("peername")
        self._peer = f"{name[0]}:{name[1]}" if name else ""
        self._links.add(self)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self._links.discard(self)
        self._lose_all()

    def data_received(self, data: bytes) -> None:
        self._alive = self._receiving = True
        try:
            if self._tls is not None:
                data = self._tls.receive(data)
            for event in self.connection.receive(data):
                if isinstance(event, Received):
                    incoming = self._calls.get(event.stream)
                    if incoming is not None:
                        incoming.receive(event.data, event.ended)
                elif isinstance(event, Opened):
                    self._open(event)
                elif (lost := self._calls.pop(event.stream, None)) is not None:
                    lost.lost()
        except ConnectionFault as fault:
            self._receiving = False
            self.flush()
            self._leave(fault)
        except ssl.SSLError as error:
            self._tls_failed(error)
        finally:
            self._receiving = False
        self.flush()

    # -- what calls and the server need ------------------------------------------------------------

    def flush(self) -> None:
        """Send what is there, once for all that one reading brought about."""
        if self._receiving or self._transport.is_closing():
            return
        if self._tls is None:
            out = self.connection.take()
        else:
            try:
                if self._tls.agreed and (plain := self.connection.take()):
                    self._tls.send(plain)
            except ssl.SSLError as error:
                self._tls_failed(error)
                return
            out = self._tls.take()
        self._write(out)

    def forget(self, stream: int) -> None:
        """Pass on nothing more of a call."""
        self._calls.pop(stream, None)

    def end(self) -> None:
        """End all calls and close, once everything is sent."""
        for incoming in list(self._calls.values()):
            incoming.call.finish(UNAVAILABLE, "the server is stopping")
            incoming.lost()
        self.connection.goodbye()
        self.flush()
        self._transport.close()

    def cut(self, why: str) -> None:
        """Break the connection off."""
        log.info("connection cut: %s", why, extra={"peer": self._peer})
        self._transport.abort()

    def _write(self, out: bytes) -> None:
        if out:
            self._transport.write(out)
            if self._transport.get_write_buffer_size() > _MOST_UNSENT:
                self.cut("it does not read")

    def _tls_failed(self, error: ssl.SSLError) -> None:
        assert self._tls is not None
        self._write(self._tls.take())  # what TLS has to say of it
        self._leave(error)

    def _leave(self, why: Exception) -> None:
        log.info("connection ended: %s", why, extra={"peer": self._peer})
        self._lose_all()
        self._transport.close()

    def _open(self, request: Opened) -> None:
        headers = dict(request.headers)
        call = Call(self, request.stream, self._peer)
        method = self._methods.get(headers.get(b":path", b""))
        kind = headers.get(b"content-type", b"")
        if headers.get(b":method") != b"POST" or not kind.startswith(b"application/grpc"):
            self.connection.finish(request.stream, ((b":status", b"415"),))
        elif method is None:
            call.finish(UNIMPLEMENTED, "there is no such method")
        else:
            self._calls[request.stream] = incoming = _Incoming(call, method(call))
            if request.ended:
                incoming.receive(b"", True)

    def _lose_all(self) -> None:
        calls, self._calls = self._calls, {}
        for incoming in calls.values():
            incoming.lost()

    def _introduced(self) -> None:
        if self.connection.settled:
            self._timer = self._loop.call_later(KEEPALIVE_S, self._ask)
        else:
            self.cut("it says nothing")

    def _ask(self) -> None:
        # A peer that vanished without a word is found out by a ping that nothing follows.
        if self._alive:
            self._alive = False
            self._timer = self._loop.call_later(KEEPALIVE_S, self._ask)
        else:
            self.connection.ping()
            self.flush()
            self._timer = self._loop.call_later(KEEPALIVE_TIMEOUT_S, self._answered)

    def _answered(self) -> None:
        if self._alive:
            self._ask()
        else:
            self.cut("it does not answer")
