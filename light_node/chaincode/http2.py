"""One connection of an HTTP/2 server, by the library ``h2``: bytes in, events and bytes out.

What is added to it: data waits here for the client's windows, and is bounded by nobody but the
caller; what a client sends is bounded by header lists, streams at once, and the windows given to
it. A client that breaks the protocol gets :class:`ConnectionFault`, after which only the farewell
is left to be sent.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from h2 import events
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

Header = tuple[bytes, bytes]

MAX_STREAMS = 100
STREAM_WINDOW = 1024 * 1024
CONNECTION_WINDOW = 4 * STREAM_WINDOW
MAX_LIST_BYTES = 16 * 1024
"""Most bytes of all names and values of one header list, 32 added for each (RFC 9113, 6.5.2)."""
_DEFAULT_WINDOW = 65_535


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
    ended: bool
    """Whether the client sends no more."""
    waiting: deque[memoryview] = field(default_factory=deque)
    trailers: tuple[Header, ...] | None = None
    """Set once nothing more is to be sent before them."""


class Connection:
    """The server's side of one connection."""

    def __init__(self) -> None:
        # Our own headers are few and well-formed; those of clients are checked.
        self._h2 = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_LIST_BYTES,
            },
        )
        self._h2.decoder.max_header_list_size = MAX_LIST_BYTES
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - _DEFAULT_WINDOW)
        self._streams: dict[int, _Stream] = {}
        self._settled = False

    # -- receiving -------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether the client has introduced itself."""
        return self._settled

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes of the client; ``ConnectionFault`` ends the connection."""
        try:
            found = self._h2.receive_data(data)
        except ProtocolError as error:
            if self._h2.state_machine.state is not ConnectionState.CLOSED:
                # h2 itself does not tell who speaks another protocol.
                self._h2.close_connection(error.error_code)
            why = str(error) or type(error).__name__
            raise ConnectionFault(int(error.error_code), why) from error
        told = []
        for event in found:
            one = self._take(event)
            if one is not None:
                told.append(one)
        return told

    def _take(self, event: events.Event) -> Event | None:
        if isinstance(event, events.DataReceived):
            stream = self._streams.get(event.stream_id)
            if event.flow_controlled_length:
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if stream is None:
                return None  # it was reset or answered before the client knew
            stream.ended = event.stream_ended is not None
            return Received(event.stream_id, event.data, stream.ended)
        if isinstance(event, events.WindowUpdated):
            if event.stream_id:
                self._pump(event.stream_id)
            else:
                self._pump_all()
        elif isinstance(event, events.RemoteSettingsChanged):
            self._settled = True
            self._pump_all()
        elif isinstance(event, events.RequestReceived):
            ended = event.stream_ended is not None
            self._streams[event.stream_id] = _Stream(ended)
            return Opened(
                event.stream_id, tuple((bytes(n), bytes(v)) for n, v in event.headers), ended
            )
        elif isinstance(event, events.TrailersReceived):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.ended = True
                return Received(event.stream_id, b"", True)
        elif isinstance(event, events.StreamReset):
            if self._streams.pop(event.stream_id, None) is not None:
                return Reset(event.stream_id, int(event.error_code))
        elif isinstance(event, events.ConnectionTerminated):
            # After that h2 sends nothing; whoever says goodbye with calls open gives them up.
            raise ConnectionFault(int(event.error_code or 0), "the client said goodbye")
        return None

    # -- sending ---------------------------------------------------------------------------------

    def take(self) -> bytes:
        """Return the bytes to send, once."""
        return self._h2.data_to_send()

    def respond(self, stream: int, headers: Iterable[Header]) -> None:
        """Send the response's headers; before any data, once."""
        if stream in self._streams:
            self._sending(stream, lambda: self._h2.send_headers(stream, list(headers)))

    def send(self, stream: int, data: bytes) -> None:
        """Send data as far as the client's windows allow, the rest later."""
        found = self._streams.get(stream)
        if found is not None and found.trailers is None and data:
            found.waiting.append(memoryview(data))
            self._pump(stream)

    def finish(self, stream: int, trailers: Iterable[Header], *, at_once: bool = False) -> None:
        """End the stream with trailers, after all data that still waits; ``at_once`` drops that."""
        found = self._streams.get(stream)
        if found is not None and found.trailers is None:
            found.trailers = tuple(trailers)
            if at_once:
                found.waiting.clear()
            self._pump(stream)

    def ping(self) -> None:
        """Ask for a sign of life; any bytes of the client are one."""
        self._h2.ping(bytes(8))

    def goodbye(self) -> None:
        """Tell the client that the connection ends, after all that was sent; nothing more is."""
        self._h2.close_connection()
        self._streams.clear()

    def waiting(self, stream: int) -> int:
        """Return how many pieces of data wait for the client's windows."""
        found = self._streams.get(stream)
        return 0 if found is None else len(found.waiting)

    def _pump_all(self) -> None:
        for number in list(self._streams):
            self._pump(number)

    def _pump(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            self._sending(number, lambda: self._send_waiting(number, stream))

    def _sending(self, number: int, send: Callable[[], None]) -> None:
        try:
            send()
        except ProtocolError:
            # The client has closed it in what was received with this event; that is told next.
            self._streams[number].waiting.clear()

    def _send_waiting(self, number: int, stream: _Stream) -> None:
        waiting = stream.waiting
        while waiting:
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            data = waiting.popleft()
            if len(data) > room:
                waiting.appendleft(data[room:])
                data = data[:room]
            self._h2.send_data(number, data)
        if stream.trailers is not None:
            self._h2.send_headers(number, list(stream.trailers), end_stream=True)
            if not stream.ended:  # the client is to stop sending, too
                self._h2.reset_stream(number, ErrorCodes.NO_ERROR)
            del self._streams[number]
