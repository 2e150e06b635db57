"""The server peers dial: streams, TLS, health, and a stop that lets transactions end."""

import asyncio
import logging
import time

from light_node.chaincode import rpc
from light_node.chaincode.health import Health
from light_node.chaincode.host import Host, Limits, Service
from light_node.chaincode.metrics import Metrics
from light_node.chaincode.session import Session
from light_node.chaincode.tls import Tls as Tls
from light_node.chaincode.tls import TlsError
from light_node.clock import Clock
from light_node.fabric import methods
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import peer_pb2
from light_node.i18n import Text

log = logging.getLogger(__name__)

_STOP_SECONDS = 1.0
MAX_WAITING_MESSAGES = 20_000
"""Most messages kept for a peer that does not read: four for each transaction that may run."""


class ServerError(Exception):
    """The server cannot start; the message says what to change."""


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
        self._clock = clock
        self._tls = tls
        self._server = rpc.RpcServer(
            {methods.CHAINCODE_CONNECT.path: self._connect, **self.health.handlers()}
        )

    async def start(self, address: str) -> int:
        """Listen on ``address`` (``host:port``, 0: a free port); return the port.

        ``ServerError`` if that is impossible.
        """
        host, _, port = address.rpartition(":")
        try:
            context = None if self._tls is None else self._tls.context()
            return await self._server.start(host.strip("[]"), int(port), context)
        except TlsError as error:
            raise ServerError(str(error)) from error
        except OSError as error:
            raise ServerError(
                f"cannot listen on {address}: the port is taken, or it is not this machine's"
            ) from error

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

    def _connect(self, call: rpc.Call) -> rpc.Rpc:
        return _Stream(self._host, call, self._clock)


class _Stream:
    """One peer's stream, from its opening to its end: :class:`light_node.chaincode.rpc.Rpc`."""

    def __init__(self, host: Host, call: rpc.Call, clock: Clock) -> None:
        self._host, self._call = host, call
        self._session = Session(host, self._send, clock, call.peer)
        self._over = False
        host.metrics.streams.inc()
        log.info("stream opened", extra={"peer": call.peer})
        self._session.begin()

    def message(self, data: bytes) -> None:
        """Take a ChaincodeMessage; one that no peer may send ends the stream."""
        began = time.thread_time()
        try:
            self._session.receive(data)
            if self._call.waiting > MAX_WAITING_MESSAGES:
                raise MalformedMessage(Text("the peer sends without reading what it is answered"))
        except MalformedMessage as error:
            self._end("malformed", str(error))
            self._call.finish(rpc.INVALID_ARGUMENT, str(error))
        self._host.metrics.stepped(time.thread_time() - began)

    def ended(self) -> None:
        """End the stream with the peer."""
        self._end("closed by the peer")
        self._call.finish()

    def lost(self) -> None:
        """Abandon what runs."""
        self._end("stopped" if self._host.stopping else "cut")

    def _send(self, message: peer_pb2.ChaincodeMessage) -> None:
        self._call.send(message.SerializeToString())

    def _end(self, reason: str, refusal: str = "") -> None:
        if self._over:
            return
        self._over = True
        self._session.end()
        self._host.metrics.streams.dec()
        self._host.metrics.stream_ended(reason)
        log.info("stream ended: %s", reason, extra={"peer": self._call.peer, "refusal": refusal})
