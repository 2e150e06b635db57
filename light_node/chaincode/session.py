"""One peer's stream: registration, then transactions, many of them interleaved.

No I/O but through ``send``: messages go in by :meth:`Session.receive`, all on one event loop. What
a peer may never send ends its stream (``MalformedMessage``); what merely finds nobody, such as an
answer to a transaction that is over, is counted and dropped.
"""

import enum
import logging
from asyncio import TimerHandle
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from light_node.chaincode import transaction
from light_node.chaincode.exchange import Abandoned, Exchange, Send
from light_node.chaincode.host import Host
from light_node.chaincode.state import Batching
from light_node.chaincode.transaction import Finished
from light_node.clock import Clock
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import peer_pb2
from light_node.i18n import Text

log = logging.getLogger(__name__)

_M = peer_pb2.ChaincodeMessage
_Key = tuple[str, str]


class Phase(enum.Enum):
    """How far the registration came."""

    REGISTERING = "registering"
    REGISTERED = "registered"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class _Running:
    exchange: Exchange
    label: str
    since: float
    timer: TimerHandle


class Session:
    """The chaincode's side of one stream. ``peer`` is its address, for the log."""

    def __init__(self, host: Host, send: Send, clock: Clock, peer: str = "") -> None:
        self._host = host
        self._send = send
        self._clock = clock
        self._peer = peer
        self._batching = Batching()
        self._running: dict[_Key, _Running] = {}
        self._ended = False
        self.phase = Phase.REGISTERING

    def begin(self) -> None:
        """Register under the package id; the chaincode speaks first."""
        name = peer_pb2.ChaincodeID(name=self._host.service.package_id)
        self._send(_M(type=_M.REGISTER, payload=name.SerializeToString()))

    def receive(self, data: bytes) -> None:
        """Take one serialized ChaincodeMessage; ``MalformedMessage`` ends the stream."""
        try:
            message = _M.FromString(data)
        except DecodeError as error:
            raise MalformedMessage(Text("not a ChaincodeMessage")) from error
        kind = message.type
        if kind == _M.KEEPALIVE:
            self._send(message)
        elif self.phase is not Phase.READY:
            self._register(message)
        elif kind in (_M.TRANSACTION, _M.INIT):
            self._begin(message)
        elif kind in (_M.RESPONSE, _M.ERROR):
            self._answer(message)
        else:
            raise MalformedMessage(
                Text("message type {kind} has no place on a ready stream", kind=kind)
            )

    def end(self) -> None:
        """Abandon what runs: the peer is gone, and nothing is sent any more."""
        self._ended = True
        for running in list(self._running.values()):
            running.exchange.deliver(Abandoned("the peer's stream ended"))

    def _register(self, message: peer_pb2.ChaincodeMessage) -> None:
        if message.type == _M.REGISTERED and self.phase is Phase.REGISTERING:
            self.phase = Phase.REGISTERED
        elif message.type == _M.READY and self.phase is Phase.REGISTERED:
            self._batching = Batching.offered(message.payload)
            self.phase = Phase.READY
            log.info(
                "peer ready",
                extra={
                    "peer": self._peer,
                    "write_batch": self._batching.writes,
                    "read_batch": self._batching.reads,
                },
            )
        else:
            raise MalformedMessage(
                Text(
                    "message type {type} has no place while {value}",
                    type=message.type,
                    value=self.phase.value,
                )
            )

    def _begin(self, message: peer_pb2.ChaincodeMessage) -> None:
        key = (message.channel_id, message.txid)
        if key in self._running:
            # An answer would be taken for the running one's; an honest peer never asks twice.
            self._host.metrics.dropped("duplicate transaction")
            return
        why = self._host.admit()
        if why:
            self._host.metrics.dropped("not admitted")
            self._send(transaction.failure(message, why).message)
            return
        function = transaction.function_of(message)
        exchange = self._host.exchange(function, self._request)
        self._running[key] = _Running(
            exchange,
            self._host.label(function),
            self._clock.monotonic(),
            self._host.later(self._host.limits.execute_seconds, lambda: _time_out(exchange)),
        )

        def body() -> None:
            chaincode, batching = self._host.service.run, self._batching
            finished = transaction.run(chaincode, message, exchange, batching)
            exchange.finish(lambda: self._finish(key, finished))

        exchange.start(body)

    def _answer(self, message: peer_pb2.ChaincodeMessage) -> None:
        running = self._running.get((message.channel_id, message.txid))
        if running is None or not running.exchange.deliver(message):
            self._host.metrics.dropped("answer nobody waits for")

    def _finish(self, key: _Key, finished: Finished) -> None:
        running = self._running.pop(key)
        running.timer.cancel()
        self._host.leave()
        seconds = self._clock.monotonic() - running.since
        self._host.metrics.finished(running.label, finished.outcome, seconds)
        self._send_while_open(finished.message)
        level = logging.WARNING if finished.outcome == transaction.FAILED else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(level, "transaction %s", finished.outcome, extra=self._facts(key, finished))

    def _facts(self, key: _Key, finished: Finished) -> dict[str, object]:
        facts: dict[str, object] = {"peer": self._peer, "channel": key[0], "tx": key[1]}
        if finished.outcome == transaction.FAILED:
            facts["error"] = finished.message.payload.decode("utf-8", "replace")[:500]
        return facts

    def _request(self, message: peer_pb2.ChaincodeMessage) -> None:
        self._host.metrics.state_call(_M.Type.Name(message.type))
        self._send_while_open(message)

    def _send_while_open(self, message: peer_pb2.ChaincodeMessage) -> None:
        if not self._ended:
            self._send(message)


def _time_out(exchange: Exchange) -> None:
    exchange.deliver(Abandoned("the transaction took too long"))
