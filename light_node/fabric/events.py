"""Chaincode events as a stream that outlives connections (docs/fabric-protocol.md 4.5)."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event, Lock
from types import TracebackType
from typing import Any

import grpc

from light_node.fabric.errors import EventsError, FabricError, Unavailable, from_rpc_error
from light_node.fabric.pb import gateway_pb2
from light_node.fabric.transaction import ChaincodeEvent
from light_node.i18n import Text

_log = logging.getLogger(__name__)

_FIRST_BACK_OFF_S = 0.2
_LAST_BACK_OFF_S = 5.0


@dataclass(frozen=True, slots=True)
class ChaincodeEvents:
    """The events of one block's valid transactions. Unsigned: one peer's word."""

    block_number: int
    events: tuple[ChaincodeEvent, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where to go on: at ``start_block``, after transaction ``after_tx`` where that is not ""."""

    start_block: int | None
    after_tx: str = ""


class EventStream(Iterator[ChaincodeEvents]):
    """Events block by block, for ever, each block once; reconnects by itself.

    Iterate in one thread; :meth:`close` from any. ``checkpoint`` is where a new stream goes on
    after the block last returned: store it once that block has been dealt with. Within a block,
    ``Checkpoint(block, transaction_id)`` of the event last dealt with does the same.
    """

    def __init__(
        self,
        chaincode: str,
        checkpoint: Checkpoint,
        open_call: Callable[[Checkpoint], Any],
        on_lost: Callable[[FabricError], None] = lambda error: None,
    ) -> None:
        """``open_call`` starts the gRPC stream at a checkpoint; ``on_lost`` hears why it broke."""
        self._chaincode = chaincode
        self._open, self._on_lost = open_call, on_lost
        self._call: Any = None
        self._lock = Lock()
        self._closed = Event()
        self._received = False
        self._back_off = _FIRST_BACK_OFF_S
        self.checkpoint = checkpoint
        self.last_error: FabricError | None = None
        """Why the stream is reconnecting; None while it is well."""

    def __next__(self) -> ChaincodeEvents:
        """Return the next block's events; waits for them.

        Broken connections are mended without a word. ``AccessDenied`` or another ``FabricError``
        when the peer refuses for good. Ends only after :meth:`close`.
        """
        while not self._closed.is_set():
            call = self._connected()
            try:
                response = next(call)
            except StopIteration:
                self._lost(
                    call, Unavailable(Text("the peer ended the event stream"), stage="events")
                )
                continue
            except grpc.RpcError as error:
                self._lost(call, from_rpc_error(error, "events"))
                continue
            self._received, self._back_off, self.last_error = True, _FIRST_BACK_OFF_S, None
            block = self._accept(response)
            if block is not None:
                return block
        raise StopIteration

    @property
    def closed(self) -> bool:
        """Whether the stream has ended for good."""
        return self._closed.is_set()

    def close(self) -> None:
        """End the stream; a thread waiting in it sees the end at once."""
        with self._lock:
            self._closed.set()
            if self._call is not None:
                self._call.cancel()

    def reconnect(self) -> None:
        """Go on over a new call from where the stream is: another peer is asked from now on."""
        with self._lock:
            call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def __enter__(self) -> "EventStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _connected(self) -> Any:
        with self._lock:
            if self._call is None and not self._closed.is_set():
                try:
                    self._call = self._open(self.checkpoint)
                except ValueError as error:  # what grpc raises on a channel its owner has closed
                    self._closed.set()
                    raise Unavailable(Text("the connection was closed"), stage="events") from error
            return self._call if self._call is not None else iter(())

    def _lost(self, call: Any, error: FabricError) -> None:
        with self._lock:
            if self._closed.is_set() or call is not self._call:
                return  # ended, or by reconnect(): nothing is wrong
            self._call.cancel()
            self._call = None
        # A peer that served before and now objects may be behind after a restart: ask again.
        passing = isinstance(error, Unavailable) or (
            self._received and isinstance(error, EventsError)
        )
        if not passing:
            self.close()
            raise error
        self.last_error = error
        self._on_lost(error)
        _log.info("event stream of %s lost, reconnecting: %s", self._chaincode, error)
        self._closed.wait(self._back_off)
        self._back_off = min(self._back_off * 2, _LAST_BACK_OFF_S)

    def _accept(self, response: gateway_pb2.ChaincodeEventsResponse) -> ChaincodeEvents | None:
        start = self.checkpoint.start_block
        if start is not None and response.block_number < start:
            return None  # a block that was returned before; streams repeat after reconnects
        events = tuple(
            ChaincodeEvent(e.chaincode_id, e.tx_id, e.event_name, e.payload)
            for e in response.events
            if e.chaincode_id == self._chaincode
        )
        self.checkpoint = Checkpoint(response.block_number + 1)
        return ChaincodeEvents(response.block_number, events) if events else None
