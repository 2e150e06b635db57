"""A chaincode server over real gRPC, and a peer that dials it as Fabric's do.

The peer keeps a ledger in memory with Fabric's semantics and refuses what Fabric's peer refuses:
a second state call while one is under way, batches it did not offer, calls of unknown transactions.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from light_node.chaincode.host import Limits, Service
from light_node.chaincode.metrics import Metrics
from light_node.chaincode.server import ChaincodeServer, ServerError, Tls
from light_node.clock import SystemClock
from light_node.contract.memory import MemoryLedger, ReadWriteSet, Simulation
from light_node.fabric import methods, proposal
from light_node.fabric.connection import MAX_MESSAGE_BYTES
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import peer_pb2, queryresult_pb2

M = peer_pb2.ChaincodeMessage
W = peer_pb2.WriteRecord
PACKAGE_ID = "market_1:" + "0" * 64
WAIT = 20.0
CHANNEL = "market"


class ServerThread:
    """A chaincode server on an event loop in a thread."""

    def __init__(
        self,
        service: Service,
        limits: Limits | None = None,
        tls: Tls | None = None,
        address: str = "127.0.0.1:0",
    ) -> None:
        self._service, self._limits, self._tls = service, limits, tls
        self.address = address
        self.metrics = Metrics()
        self._started: Future[int] = Future()
        self._drain = 1.0
        self.drained: bool | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "ServerThread":
        self._thread.start()
        self.address = f"127.0.0.1:{self._started.result(WAIT)}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(0.0)

    def begin_stop(self, drain_seconds: float) -> None:
        self._drain = drain_seconds
        self._loop.call_soon_threadsafe(self._stop.set)

    def stop(self, drain_seconds: float) -> None:
        if self._thread.is_alive():
            self.begin_stop(drain_seconds)
            self._thread.join(WAIT)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = ChaincodeServer(
            self._service, self.metrics, SystemClock(), limits=self._limits, tls=self._tls
        )
        try:
            self._started.set_result(await server.start(self.address))
        except ServerError as error:
            self._started.set_exception(error)
            return
        await self._stop.wait()
        self.drained = await server.stop(self._drain)


@dataclass
class Call:
    """One transaction as the peer sees it."""

    proposal: proposal.Proposal
    simulation: Simulation
    answer: "Future[peer_pb2.ChaincodeMessage]" = field(default_factory=Future)
    iterators: dict[str, Iterator[tuple[str, bytes]]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def response(self) -> peer_pb2.Response:
        message = self.answer.result(WAIT)
        assert message.type == M.COMPLETED, message.payload
        return peer_pb2.Response.FromString(message.payload)

    def error(self) -> str:
        message = self.answer.result(WAIT)
        assert message.type == M.ERROR, message
        return message.payload.decode()

    def rwset(self) -> ReadWriteSet:
        assert self.response().status == 200
        return self.simulation.finish()


class FakePeer:
    """A peer: dials, registers the chaincode, starts transactions, answers state calls.

    ``on_call(call, message)`` may return False to leave a state call without an answer.
    """

    page = 100

    def __init__(
        self,
        address: str,
        ledger: MemoryLedger,
        *,
        batches: bool = True,
        register: Callable[[], list[peer_pb2.ChaincodeMessage]] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                   ("grpc.max_send_message_length", -1)]  # fmt: skip
        self._channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )
        self.ledger = ledger
        self.batches = batches
        self._register = register or self._accept
        self.on_call: Callable[[Call, Any], bool] = lambda call, message: True
        self.calls: dict[tuple[str, str], Call] = {}
        self.registered = ""
        self.faults: list[str] = []
        self.ready = threading.Event()
        self._reading = threading.Event()
        self._reading.set()
        self.over = threading.Event()
        self.status: grpc.StatusCode | None = None
        self.received: queue.SimpleQueue[peer_pb2.ChaincodeMessage] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        connect = self._channel.stream_stream(
            methods.CHAINCODE_CONNECT.path, response_deserializer=M.FromString
        )
        self._stream: Any = connect(iter(self._outbox.get, None))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> "FakePeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._channel.close()

    def send(self, message: peer_pb2.ChaincodeMessage) -> None:
        self._outbox.put(message.SerializeToString())

    def send_bytes(self, data: bytes) -> None:
        self._outbox.put(data)

    @property
    def unsent(self) -> int:
        """How many messages the server's own reading has not made room for."""
        return self._outbox.qsize()

    def stop_reading(self) -> None:
        """Leave what comes from now on in the sockets' buffers."""
        self._reading.clear()

    def close(self) -> None:
        """End the stream politely."""
        self._outbox.put(None)
        assert self.over.wait(WAIT)

    def cut(self) -> None:
        """Break the stream off."""
        self._reading.set()
        self._stream.cancel()
        self._outbox.put(None)
        self._thread.join(WAIT)

    def begin(self, identity: SigningIdentity, function: str, *args: str | bytes) -> Call:
        assert self.ready.wait(WAIT), self.status
        made = proposal.build_proposal(
            identity,
            CHANNEL,
            "market",
            [a.encode() if isinstance(a, str) else a for a in (function, *args)],
            now=SystemClock().now(),
            nonce=os.urandom(proposal.NONCE_BYTES),
        )
        call = Call(made, self.ledger.simulate())
        self.calls[CHANNEL, made.transaction_id] = call
        self.send(self.transaction(made))
        return call

    def transaction(self, made: proposal.Proposal) -> peer_pb2.ChaincodeMessage:
        spec = peer_pb2.ChaincodeInvocationSpec.FromString(made.input).chaincode_spec
        return M(
            type=M.TRANSACTION,
            txid=made.transaction_id,
            channel_id=CHANNEL,
            payload=spec.input.SerializeToString(),
            proposal=made.signed,
        )

    def call(self, identity: SigningIdentity, function: str, *args: str) -> peer_pb2.Response:
        return self.begin(identity, function, *args).response()

    # -- the peer's side ---------------------------------------------------------------------

    def _read(self) -> None:
        try:
            for message in self._stream:
                self._take(message)
                self._reading.wait()
        except grpc.RpcError as error:
            self.status = error.code()
        self.over.set()
        for call in self.calls.values():
            if not call.answer.done():
                call.answer.set_exception(ConnectionError("the stream is over"))

    def _take(self, message: peer_pb2.ChaincodeMessage) -> None:
        self.received.put(message)
        if message.type == M.REGISTER:
            self.registered = peer_pb2.ChaincodeID.FromString(message.payload).name
            for answer in self._register():
                self.send(answer)
            self.ready.set()
            return
        if message.type == M.KEEPALIVE:
            return
        call = self.calls.get((message.channel_id, message.txid))
        if call is None:
            self.faults.append(f"message {message.type} of an unknown transaction")
        elif call.answer.done():
            self.faults.append(f"message {message.type} after the transaction's end")
        elif message.type in (M.COMPLETED, M.ERROR):
            call.answer.set_result(message)
        else:
            call.asked.append(message.type)
            if self.on_call(call, message):
                self.answer(message, self._state(call, message))

    def _accept(self) -> list[peer_pb2.ChaincodeMessage]:
        params = peer_pb2.ChaincodeAdditionalParams(
            use_write_batch=True,
            max_size_write_batch=1000,
            use_get_multiple_keys=True,
            max_size_get_multiple_keys=1000,
        )
        payload = params.SerializeToString() if self.batches else b""
        return [M(type=M.REGISTERED), M(type=M.READY, payload=payload)]

    def answer(
        self, message: peer_pb2.ChaincodeMessage, payload: bytes, kind: Any = M.RESPONSE
    ) -> None:
        self.send(M(type=kind, payload=payload, txid=message.txid, channel_id=message.channel_id))

    def _state(self, call: Call, message: peer_pb2.ChaincodeMessage) -> bytes:
        state, data = call.simulation, message.payload
        match message.type:
            case M.GET_STATE:
                return state.get(peer_pb2.GetState.FromString(data).key) or b""
            case M.GET_STATE_MULTIPLE if self.batches:
                keys = peer_pb2.GetStateMultiple.FromString(data).keys
                values = [state.get(key) or b"" for key in keys]
                return peer_pb2.GetStateMultipleResult(values=values).SerializeToString()
            case M.PUT_STATE:
                put = peer_pb2.PutState.FromString(data)
                state.put(put.key, put.value)
            case M.DEL_STATE:
                state.delete(peer_pb2.DelState.FromString(data).key)
            case M.WRITE_BATCH_STATE if self.batches:
                for record in peer_pb2.WriteBatchState.FromString(data).rec:
                    assert record.type in (W.PUT_STATE, W.DEL_STATE)
                    state.put(record.key, record.value)
            case M.GET_STATE_BY_RANGE:
                bounds = peer_pb2.GetStateByRange.FromString(data)
                name = f"q{len(call.iterators)}"
                call.iterators[name] = state.range(bounds.startKey, bounds.endKey)
                return self._page(call, name)
            case M.QUERY_STATE_NEXT:
                return self._page(call, peer_pb2.QueryStateNext.FromString(data).id)
            case M.QUERY_STATE_CLOSE:
                name = peer_pb2.QueryStateClose.FromString(data).id
                call.iterators.pop(name, None)
                return peer_pb2.QueryResponse(id=name).SerializeToString()
            case _:
                self.faults.append(f"message type {message.type} is not understood")
        return b""

    def _page(self, call: Call, name: str) -> bytes:
        answer = peer_pb2.QueryResponse(id=name)
        for key, value in call.iterators[name]:
            found = queryresult_pb2.KV(namespace="market", key=key, value=value)
            answer.results.add(resultBytes=found.SerializeToString())
            if len(answer.results) == self.page:
                answer.has_more = True
                break
        return answer.SerializeToString()


@pytest.fixture
def serve() -> Iterator[Callable[..., ServerThread]]:
    """How to start a server: ``serve(chaincode, limits=…, tls=…)``; stopped at the end."""
    running: list[ServerThread] = []

    def start(chaincode: str | Service = "market", **options: Any) -> ServerThread:
        service = Service.named(chaincode, PACKAGE_ID) if isinstance(chaincode, str) else chaincode
        server = ServerThread(service, **options).__enter__()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop(0.0)


@pytest.fixture
def dial() -> Iterator[Callable[..., FakePeer]]:
    """How to let a peer dial: ``dial(server, ledger, …)``; cut at the end, its faults shown."""
    peers: list[FakePeer] = []

    def connect(
        server: ServerThread, ledger: MemoryLedger | None = None, **options: Any
    ) -> FakePeer:
        peer = FakePeer(server.address, ledger or MemoryLedger(), **options)
        peers.append(peer)
        return peer

    yield connect
    for peer in peers:
        peer.__exit__()
    assert not [fault for peer in peers for fault in peer.faults]
