"""World state over a peer's stream: a :class:`~light_node.contract.stub.LedgerState`.

docs/fabric-protocol.md 1.11. One request is outstanding at a time; reads are asked for once and
remembered (the simulation sees one height only, and the peer records a key's first read), writes
are kept until :meth:`StreamState.flush`: the last one of a key is what the peer would record
anyway, and a refusal sends none at all.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import peer_pb2, queryresult_pb2
from light_node.i18n import Text

Parsed = TypeVar("Parsed", bound=Message)

Kind = peer_pb2.ChaincodeMessage.Type
Ask = Callable[[Kind, Message], bytes]
"""Send a request of a ChaincodeMessage type and return the payload of its RESPONSE."""

_M = peer_pb2.ChaincodeMessage
_W = peer_pb2.WriteRecord
_FIRST_SIMPLE_KEY = "\x01"
# A batch is one message; far below gRPC's limit, so that others' calls need not wait behind it.
_MAX_BATCH_BYTES = 4 * 1024 * 1024


class StateKeyError(ValueError):
    """A key that Fabric refuses: empty, or no valid text."""


@dataclass(frozen=True, slots=True)
class Batching:
    """What the peer's READY message offered: most keys in one message, 0 if it knows no batches.

    Peers before 3.1 offer nothing (docs/fabric-protocol.md 6.8).
    """

    writes: int = 0
    reads: int = 0

    @classmethod
    def offered(cls, ready: bytes) -> "Batching":
        """Read the payload of READY; one that is not understood offers nothing."""
        try:
            given = peer_pb2.ChaincodeAdditionalParams.FromString(ready)
        except DecodeError:
            return cls()
        return cls(
            writes=given.max_size_write_batch if given.use_write_batch else 0,
            reads=given.max_size_get_multiple_keys if given.use_get_multiple_keys else 0,
        )


class StreamState:
    """The state one transaction sees. ``ask`` raises what keeps a state call from its answer."""

    def __init__(self, ask: Ask, batching: Batching) -> None:
        self._ask = ask
        self._batching = batching
        self._read: dict[str, bytes | None] = {}
        self._writes: dict[str, bytes | None] = {}

    def get(self, key: str) -> bytes | None:
        """Return the committed value of ``key``, None if there is none."""
        if key not in self._read:
            payload = self._ask(_M.GET_STATE, peer_pb2.GetState(key=_checked(key)))
            self._read[key] = payload or None
        return self._read[key]

    def prefetch(self, keys: Sequence[str]) -> None:
        """Read ``keys`` in as few calls as the peer allows; nothing if it takes one at a time."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._read]
        most = self._batching.reads
        if most > 1 and len(missing) > 1:
            for start in range(0, len(missing), most):
                self._read_batch(missing[start : start + most])

    def put(self, key: str, value: bytes) -> None:
        """Write ``value``; an empty value is a delete, as everywhere on Fabric."""
        self._writes[_checked(key)] = bytes(value) or None

    def delete(self, key: str) -> None:
        """Delete ``key``."""
        self._writes[_checked(key)] = None

    def range(self, start: str, end: str) -> "RangeIterator":
        """Iterate (key, value) from ``start`` (inclusive) to ``end`` (exclusive) in key order.

        The peer reads ahead, and what it read is what it protects at commit: up to a hundred keys
        beyond the last one taken here.
        """
        return RangeIterator(self._ask, start or _FIRST_SIMPLE_KEY, end)

    def flush(self) -> None:
        """Send the writes, in as few messages as the peer allows."""
        writes, self._writes = self._writes, {}
        if self._batching.writes > 1 and len(writes) > 1:
            for batch in _batches(writes, self._batching.writes):
                self._ask(_M.WRITE_BATCH_STATE, batch)
            return
        for key, value in writes.items():
            if value is None:
                self._ask(_M.DEL_STATE, peer_pb2.DelState(key=key))
            else:
                self._ask(_M.PUT_STATE, peer_pb2.PutState(key=key, value=value))

    def _read_batch(self, keys: Sequence[str]) -> None:
        request = peer_pb2.GetStateMultiple(keys=[_checked(key) for key in keys])
        values = _parse(
            peer_pb2.GetStateMultipleResult, self._ask(_M.GET_STATE_MULTIPLE, request)
        ).values
        if len(values) != len(keys):
            raise MalformedMessage(
                Text(
                    "{count} keys were asked for, {answered} answered",
                    count=len(keys),
                    answered=len(values),
                )
            )
        self._read.update((key, value or None) for key, value in zip(keys, values, strict=True))


class RangeIterator(Iterator[tuple[str, bytes]]):
    """A range query on the peer, fetched batch by batch as it is iterated."""

    def __init__(self, ask: Ask, start: str, end: str) -> None:
        self._ask = ask
        self._request: tuple[Kind, Message] | None = (
            _M.GET_STATE_BY_RANGE,
            peer_pb2.GetStateByRange(startKey=_text(start), endKey=_text(end)),
        )
        self._id = ""
        self._entries: deque[peer_pb2.QueryResultBytes] = deque()

    def __next__(self) -> tuple[str, bytes]:
        while not self._entries:
            if self._request is None:
                raise StopIteration
            self._fetch(*self._request)
        found = _parse(queryresult_pb2.KV, self._entries.popleft().resultBytes)
        return found.key, found.value

    def close(self) -> None:
        """Let the peer drop the query before the transaction ends; further entries are lost."""
        open_id, self._id, self._request = self._id, "", None
        self._entries.clear()
        if open_id:
            self._ask(_M.QUERY_STATE_CLOSE, peer_pb2.QueryStateClose(id=open_id))

    def _fetch(self, kind: Kind, request: Message) -> None:
        self._request = None
        answer = _parse(peer_pb2.QueryResponse, self._ask(kind, request))
        self._entries.extend(answer.results)
        # When there is no more, the peer has dropped the query itself.
        self._id = answer.id if answer.has_more else ""
        if self._id:
            self._request = (_M.QUERY_STATE_NEXT, peer_pb2.QueryStateNext(id=self._id))


def _batches(writes: Mapping[str, bytes | None], most: int) -> Iterator[peer_pb2.WriteBatchState]:
    batch, size = peer_pb2.WriteBatchState(), 0
    for key, value in writes.items():
        length = len(key) + len(value or b"")
        if batch.rec and (len(batch.rec) >= most or size + length > _MAX_BATCH_BYTES):
            yield batch
            batch, size = peer_pb2.WriteBatchState(), 0
        kind = _W.DEL_STATE if value is None else _W.PUT_STATE
        batch.rec.add(key=key, value=value or b"", type=kind)
        size += length
    if batch.rec:
        yield batch


def _checked(key: str) -> str:
    if not key:
        raise StateKeyError("a key must not be empty")
    return _text(key)


def _text(key: str) -> str:
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise StateKeyError("a key must be valid UTF-8 text") from error
    return key


def _parse(kind: type[Parsed], payload: bytes) -> Parsed:
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise MalformedMessage(
            Text("the peer's answer is no {name}", name=kind.DESCRIPTOR.name)
        ) from error
