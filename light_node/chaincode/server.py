"""The gRPC server peers dial: streams, TLS, health, and a stop that lets transactions end."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import Certificate
from google.protobuf.message import Message

from light_node.chaincode.health import Health
from light_node.chaincode.host import Host, Limits, Service
from light_node.chaincode.metrics import Metrics
from light_node.chaincode.session import Session
from light_node.clock import Clock
from light_node.fabric import methods
from light_node.fabric.connection import MAX_MESSAGE_BYTES
from light_node.fabric.crypto import CryptoError, PrivateKey, load_certificates, load_private_key
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import peer_pb2

log = logging.getLogger(__name__)

_STOP_SECONDS = 1.0
_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Two servers must not share a port silently.
    ("grpc.so_reuseport", 0),
    # A peer pings an idle stream every minute, which gRPC would punish by cutting it; and a peer
    # that vanished without a word is found out in turn.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 120_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
]


class ServerError(Exception):
    """The server cannot start; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's certificate and key (PEM); with ``client_roots`` peers must have one too."""

    certificate: bytes
    key: bytes
    client_roots: bytes | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return gRPC's form; ``ServerError`` if these cannot be used together.

        gRPC itself would listen, and fail at every connection without a word.
        """
        try:
            key = _public_key(load_private_key(self.key))
            if key != _public_key(load_certificates(self.certificate)[0]):
                raise ServerError(
                    "the certificate, key or client roots cannot be used: the key is another "
                    "certificate's"
                )
            if self.client_roots is not None:
                load_certificates(self.client_roots)
        except CryptoError as error:
            raise ServerError(
                f"the certificate, key or client roots cannot be used: {error}"
            ) from error
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.client_roots,
            require_client_auth=self.client_roots is not None,
        )


def _public_key(of: PrivateKey | Certificate) -> bytes:
    """Return the DER of the public key of a private key or certificate."""
    return of.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


class ChaincodeServer:
    """A server of ``/protos.Chaincode/Connect`` and of gRPC's health service.

    Lives on the running event loop: :meth:`start`, then :meth:`stop`.
    """

    def __init__(
        self,
        service: Service,
        metrics: Metrics,
        clock: Clock,
        *,
        limits: Limits | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.health = Health()
        self._host = Host(service, limits or Limits(), metrics)
        self._metrics = metrics
        self._clock = clock
        self._tls = tls
        self._server = grpc.aio.server(options=_OPTIONS)
        # Bytes in, so that a message that cannot be read is ours to answer.
        handler: grpc.RpcMethodHandler[bytes, Message] = grpc.stream_stream_rpc_method_handler(
            self._connect, response_serializer=peer_pb2.ChaincodeMessage.SerializeToString
        )
        path = methods.CHAINCODE_CONNECT
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(path.service, {path.name: handler}),
                *self.health.handlers(),
            )
        )

    async def start(self, address: str) -> int:
        """Listen on ``address`` (``host:port``, 0: a free port); return the port.

        ``ServerError`` if that is impossible.
        """
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._tls.credentials())
        except RuntimeError as error:
            raise ServerError(
                f"cannot listen on {address}: the port is taken, or it is not this machine's"
            ) from error
        await self._server.start()
        return port

    async def stop(self, drain_seconds: float) -> bool:
        """Take nothing new, let transactions end, close; tell whether all of them ended."""
        self._host.stopping = True
        self.health.stop()
        try:
            async with asyncio.timeout(drain_seconds):
                await self._host.drained()
            drained = True
        except TimeoutError:
            drained = False
        await self._server.stop(_STOP_SECONDS)
        self._host.close()
        return drained

    async def _connect(self, _: Any, context: "grpc.aio.ServicerContext[bytes, Message]") -> None:
        peer = context.peer()
        outbox = _Outbox(context)
        session = Session(self._host, outbox.put, self._clock, peer)
        writer = asyncio.create_task(outbox.drain())
        self._metrics.streams.inc()
        log.info("stream opened", extra={"peer": peer})
        reason, refusal = "cut", ""
        try:
            session.begin()
            while (data := await _read(context)) is not None:
                began = time.thread_time()
                with outbox.held():
                    session.receive(data)
                self._metrics.stepped(time.thread_time() - began)
                # Before the next is read: who sends without reading waits, and fills no memory.
                await outbox.flush()
            reason = "closed by the peer"
        except MalformedMessage as error:
            reason, refusal = "malformed", str(error)
        except asyncio.CancelledError:
            reason = "stopped" if self._host.stopping else "cut"
            raise
        finally:
            session.end()
            writer.cancel()
            self._metrics.streams.dec()
            self._metrics.stream_ended(reason)
            log.info("stream ended: %s", reason, extra={"peer": peer, "refusal": refusal})
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        if refusal:
            # Last, as it waits for the peer to read, which this one may never do.
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, refusal)


async def _read(context: Any) -> bytes | None:
    data = await context.read()
    return None if data is grpc.aio.EOF else data


class _Outbox:
    """Messages on their way to one peer, written one after the other.

    The answers to what is read are written by the reader: to wake :meth:`drain` for each takes
    longer than the writing. It writes what comes from threads and timers.
    """

    def __init__(self, context: "grpc.aio.ServicerContext[bytes, Message]") -> None:
        self._context = context
        self._waiting: deque[peer_pb2.ChaincodeMessage] = deque()
        self._filled = asyncio.Event()
        self._turn = asyncio.Lock()
        self._held = False

    def put(self, message: peer_pb2.ChaincodeMessage) -> None:
        """Send ``message`` after those before it."""
        self._waiting.append(message)
        if not self._held:
            self._filled.set()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Leave what is put inside to the :meth:`flush` that follows."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    async def flush(self) -> None:
        """Write what waits; a stream that is gone is noticed, and ended, by its reader."""
        async with self._turn:
            with contextlib.suppress(grpc.aio.BaseError):
                while self._waiting:
                    await self._context.write(self._waiting.popleft())

    async def drain(self) -> None:
        """Write what is put outside of :meth:`held`, until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            await self.flush()
