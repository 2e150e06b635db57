"""One connection of an HTTP/2 server (RFC 9113): frames, streams, flow control.

Sans-I/O: :meth:`Connection.receive` takes bytes and returns events, :meth:`Connection.take` returns
the bytes to send. What a client sends is bounded: header blocks, streams at once, and data by the
windows given to it. A client that breaks the protocol gets :class:`ConnectionFault`, after which
only the farewell is left to be sent.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from light_node.http2 import hpack
from light_node.http2.hpack import Header

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11

_S_TABLE, _S_STREAMS, _S_WINDOW, _S_FRAME, _S_HEADERS = 1, 3, 4, 5, 6

MAX_STREAMS = 100
STREAM_WINDOW = 1024 * 1024
CONNECTION_WINDOW = 4 * STREAM_WINDOW
MAX_BLOCK_BYTES = 16 * 1024
"""Most bytes of one header block, as compressed."""
_DEFAULT_WINDOW = 65_535
_FRAME_BYTES = 16_384  # largest frame taken; the default, which gRPC's clients send at most
_MOST_WINDOW = 2**31 - 1
_MOST_FRAME = 2**24 - 1
_HEAD = 9


class ConnectionFault(Exception):
    """The client broke the protocol; ``code`` is RFC 9113's, sent to it already."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Opened:
    """A request: its header list. ``ended`` if nothing follows."""

    stream: int
    headers: tuple[Header, ...]
    ended: bool


@dataclass(frozen=True, slots=True)
class Received:
    """Data of a request; ``ended`` if it is the last."""

    stream: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The client gave up a stream."""

    stream: int
    code: int


Event = Opened | Received | Reset


@dataclass(slots=True)
class _Stream:
    window: int
    """How much may be sent."""
    granted: int = STREAM_WINDOW
    """How much the client may send."""
    ended: bool = False
    waiting: deque[memoryview] = field(default_factory=deque)
    farewell: bytes | None = None
    """The trailers' frame, once nothing more is to be sent before it."""


class Connection:
    """The server's side of one connection."""

    def __init__(self) -> None:
        self._in = bytearray()
        self._out: list[bytes | memoryview] = []
        self._begun = self._settled = False
        self._decoder = hpack.Decoder()
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        self._block: tuple[int, bool, bytearray] | None = None
        self._window, self._granted = _DEFAULT_WINDOW, CONNECTION_WINDOW
        self._first_window, self._frame_bytes = _DEFAULT_WINDOW, _FRAME_BYTES
        settings = {_S_STREAMS: MAX_STREAMS, _S_WINDOW: STREAM_WINDOW}
        settings[_S_HEADERS] = hpack.MAX_LIST_BYTES
        payload = b"".join(
            number.to_bytes(2, "big") + value.to_bytes(4, "big")
            for number, value in settings.items()
        )
        self._frame(SETTINGS, 0, 0, payload)
        self._update(0, CONNECTION_WINDOW - _DEFAULT_WINDOW)

    # -- receiving -------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether the client has introduced itself."""
        return self._settled

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes of the client; ``ConnectionFault`` ends the connection."""
        buffer, events, at = self._in, list[Event](), 0
        buffer += data
        try:
            if not self._begun:
                if not PREFACE.startswith(buffer[: len(PREFACE)]):
                    raise ConnectionFault(PROTOCOL_ERROR, "this is not HTTP/2")
                if len(buffer) < len(PREFACE):
                    return events
                self._begun, at = True, len(PREFACE)
            while len(buffer) >= at + _HEAD:
                length = int.from_bytes(buffer[at : at + 3], "big")
                if length > _FRAME_BYTES:
                    raise ConnectionFault(FRAME_SIZE_ERROR, "a frame is too large")
                end = at + _HEAD + length
                if len(buffer) < end:
                    break
                stream = int.from_bytes(buffer[at + 5 : at + _HEAD], "big") & _MOST_WINDOW
                payload = bytes(buffer[at + _HEAD : end])
                event = self._accept(buffer[at + 3], buffer[at + 4], stream, payload)
                if event is not None:
                    events.append(event)
                at = end
        except ConnectionFault as fault:
            last = self._last.to_bytes(4, "big")
            self._frame(GOAWAY, 0, 0, last + fault.code.to_bytes(4, "big"))
            raise
        del buffer[:at]
        return events

    def _accept(self, kind: int, flags: int, stream: int, payload: bytes) -> Event | None:
        if self._block is not None and (kind != CONTINUATION or stream != self._block[0]):
            raise ConnectionFault(PROTOCOL_ERROR, "a header block is interrupted")
        if not self._settled and kind != SETTINGS:
            raise ConnectionFault(PROTOCOL_ERROR, "settings come first")
        if kind == DATA:
            return self._data(flags, stream, payload)
        if kind == WINDOW_UPDATE:
            self._widen(stream, payload)
        elif kind == HEADERS:
            return self._headers(flags, stream, payload)
        elif kind == CONTINUATION:
            if self._block is None:
                raise ConnectionFault(PROTOCOL_ERROR, "nothing is to be continued")
            return self._collect(flags, payload)
        elif kind == SETTINGS:
            self._settings(flags, stream, payload)
        elif kind == PING:
            if len(payload) != 8 or stream:
                raise ConnectionFault(FRAME_SIZE_ERROR, "a ping is malformed")
            if not flags & ACK:
                self._frame(PING, ACK, 0, payload)
        elif kind == RST_STREAM:
            return self._reset_by_client(stream, payload)
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(PROTOCOL_ERROR, "clients promise nothing")
        return None  # PRIORITY, GOAWAY and kinds to come mean nothing to a server like this

    def _data(self, flags: int, number: int, payload: bytes) -> Event | None:
        if not 0 < number <= self._last:
            raise ConnectionFault(PROTOCOL_ERROR, "data of a stream that was never opened")
        size = len(payload)
        self._granted -= size
        if self._granted < 0:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "more data than the window allows")
        if self._granted < CONNECTION_WINDOW // 2:
            self._update(0, CONNECTION_WINDOW - self._granted)
            self._granted = CONNECTION_WINDOW
        stream = self._streams.get(number)
        if stream is None:
            return None  # it was reset or answered before the client knew
        if stream.ended:
            raise ConnectionFault(STREAM_CLOSED, "data after the stream's end")
        stream.granted -= size
        if stream.granted < 0:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "more data than the window allows")
        stream.ended = bool(flags & END_STREAM)
        if stream.granted < STREAM_WINDOW // 2 and not stream.ended:
            self._update(number, STREAM_WINDOW - stream.granted)
            stream.granted = STREAM_WINDOW
        data = _unpadded(flags, payload)
        return Received(number, data, stream.ended) if data or stream.ended else None

    def _headers(self, flags: int, stream: int, payload: bytes) -> Event | None:
        if not stream % 2:
            raise ConnectionFault(PROTOCOL_ERROR, "a request needs a stream of odd number")
        block = _unpadded(flags, payload)
        if flags & WITH_PRIORITY:
            if len(block) < 5:
                raise ConnectionFault(FRAME_SIZE_ERROR, "a priority is cut off")
            block = block[5:]
        self._block = (stream, bool(flags & END_STREAM), bytearray())
        return self._collect(flags, block)

    def _collect(self, flags: int, part: bytes) -> Event | None:
        assert self._block is not None
        number, ended, block = self._block
        block += part
        if len(block) > MAX_BLOCK_BYTES:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block is too long")
        if not flags & END_HEADERS:
            if not part:  # or empty ones could go on for ever
                raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block goes on without an end")
            return None
        self._block = None
        try:
            headers = tuple(self._decoder.decode(bytes(block)))
        except hpack.HpackError as error:
            raise ConnectionFault(COMPRESSION_ERROR, str(error)) from error
        if number <= self._last:
            return self._trailers(number, ended)
        self._last = number
        if len(self._streams) >= MAX_STREAMS:
            self._frame(RST_STREAM, 0, number, REFUSED_STREAM.to_bytes(4, "big"))
            return None
        self._streams[number] = _Stream(self._first_window, ended=ended)
        return Opened(number, headers, ended)

    def _trailers(self, number: int, ended: bool) -> Event | None:
        stream = self._streams.get(number)
        if stream is None:
            return None
        if stream.ended or not ended:
            raise ConnectionFault(PROTOCOL_ERROR, "headers in the middle of a stream")
        stream.ended = True
        return Received(number, b"", True)

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream or len(payload) % 6 or (flags & ACK and payload):
            raise ConnectionFault(FRAME_SIZE_ERROR, "settings are malformed")
        if flags & ACK:
            return
        self._settled = True
        for at in range(0, len(payload), 6):
            number = int.from_bytes(payload[at : at + 2], "big")
            value = int.from_bytes(payload[at + 2 : at + 6], "big")
            if number == _S_WINDOW:
                if value > _MOST_WINDOW:
                    raise ConnectionFault(FLOW_CONTROL_ERROR, "a window is too large")
                change, self._first_window = value - self._first_window, value
                for open_stream in self._streams.values():
                    open_stream.window += change
            elif number == _S_FRAME:
                if not _FRAME_BYTES <= value <= _MOST_FRAME:
                    raise ConnectionFault(PROTOCOL_ERROR, "frames of that size do not exist")
                self._frame_bytes = value
        self._frame(SETTINGS, ACK, 0, b"")
        self._pump_all()

    def _widen(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "a window update is malformed")
        more = int.from_bytes(payload, "big") & _MOST_WINDOW
        stream = self._streams.get(number)
        if not number:
            self._window += more
            if not more or self._window > _MOST_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "a window cannot be widened like that")
            self._pump_all()
        elif number > self._last:
            raise ConnectionFault(PROTOCOL_ERROR, "a window of a stream that was never opened")
        elif stream is not None:
            stream.window += more
            if not more or stream.window > _MOST_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "a window cannot be widened like that")
            self._pump(number, stream)

    def _reset_by_client(self, number: int, payload: bytes) -> Event | None:
        if len(payload) != 4 or not 0 < number <= self._last:
            raise ConnectionFault(PROTOCOL_ERROR, "a reset is malformed")
        if self._streams.pop(number, None) is None:
            return None
        return Reset(number, int.from_bytes(payload, "big"))

    # -- sending ---------------------------------------------------------------------------------

    def take(self) -> bytes:
        """Return the bytes to send, once."""
        out, self._out = self._out, []
        return b"".join(out)

    def respond(self, stream: int, headers: Iterable[Header]) -> None:
        """Send the response's headers; before any data, once."""
        if stream in self._streams:
            self._frame(HEADERS, END_HEADERS, stream, hpack.encode(headers))

    def send(self, stream: int, data: bytes) -> None:
        """Send data as far as the client's windows allow, the rest later."""
        found = self._streams.get(stream)
        if found is None or found.farewell is not None or not data:
            return
        small = len(data) <= self._frame_bytes and len(data) <= min(found.window, self._window)
        if small and not found.waiting:
            self._spend(found, stream, data)
            return
        found.waiting.append(memoryview(data))
        self._pump(stream, found)

    def finish(self, stream: int, trailers: Iterable[Header], *, at_once: bool = False) -> None:
        """End the stream with trailers, after all data that still waits; ``at_once`` drops that."""
        found = self._streams.get(stream)
        if found is not None and found.farewell is None:
            found.farewell = hpack.encode(trailers)
            if at_once:
                found.waiting.clear()
            self._pump(stream, found)

    def reset(self, stream: int, code: int) -> None:
        """Give a stream up at once."""
        if self._streams.pop(stream, None) is not None:
            self._frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))

    def ping(self) -> None:
        """Ask for a sign of life; any bytes of the client are one."""
        self._frame(PING, 0, 0, bytes(8))

    def goodbye(self) -> None:
        """Tell the client that no new streams are taken."""
        self._frame(GOAWAY, 0, 0, self._last.to_bytes(4, "big") + NO_ERROR.to_bytes(4, "big"))

    def waiting(self, stream: int) -> int:
        """Return how many pieces of data wait for the client's windows."""
        found = self._streams.get(stream)
        return 0 if found is None else len(found.waiting)

    def _pump_all(self) -> None:
        for number, stream in list(self._streams.items()):
            self._pump(number, stream)

    def _pump(self, number: int, stream: _Stream) -> None:
        waiting = stream.waiting
        while waiting and (room := min(stream.window, self._window, self._frame_bytes)) > 0:
            data = waiting.popleft()
            if len(data) > room:
                waiting.appendleft(data[room:])
                data = data[:room]
            self._spend(stream, number, data)
        if stream.farewell is not None and not waiting:
            self._frame(HEADERS, END_HEADERS | END_STREAM, number, stream.farewell)
            del self._streams[number]
            if not stream.ended:  # nobody reads what the client has left to say
                self._frame(RST_STREAM, 0, number, NO_ERROR.to_bytes(4, "big"))

    def _spend(self, stream: _Stream, number: int, data: bytes | memoryview) -> None:
        stream.window -= len(data)
        self._window -= len(data)
        self._frame(DATA, 0, number, data)

    def _update(self, stream: int, more: int) -> None:
        self._frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes | memoryview) -> None:
        head = len(payload) << 16 | kind << 8 | flags
        self._out += ((head << 32 | stream).to_bytes(_HEAD, "big"), payload)


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "the padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]
