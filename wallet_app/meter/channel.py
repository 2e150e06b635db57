"""An open line as dialogues use it: ask with retries, listen, change speed; everything counted."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from light_node.clock import Clock
from wallet_app.meter.events import Event, Frame, Parser
from wallet_app.meter.ports import READ_TIMEOUT_S, Line, Link

_READ_BYTES = 4096
_SILENCE_S = 0.5  # a pause after which half a frame is given up
_LONGEST_WAIT_S = 0.2  # a thread that waits for a byte looks this often whether it is to stop


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits in seconds of the host's clock; the defaults are docs/meter-protocols.md's."""

    reply_s: float = 1.0  # reaction of the meter, on top of the line time
    listen_s: float = 12.0  # a meter that pushes is heard within this
    retry_s: float = 0.5
    attempts: int = 3
    between_s: float = 0.02
    pace: float = 1.0  # of the line time; less than 1 only with simulated meters
    reopen_s: float = 2.0
    silent_polls: int = 3
    longest_reopen_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request: the bytes, which frame answers it, how long the answer is at most.

    ``key`` names what is asked; ``essential`` values make a poll fail when they stay out.
    """

    key: str
    request: bytes
    answers: Callable[[Frame], bool]
    reply_bytes: int = 64
    essential: bool = False


class Channel:
    """A line with a parser on it. Port failures come through as the line raises them.

    ``count`` is called with every event but echoes; ``tap`` with every piece that goes over the
    line (sent?, bytes); ``stop`` ends every wait early.
    """

    def __init__(
        self,
        line: Line,
        link: Link,
        parser: Parser,
        *,
        clock: Clock,
        stop: threading.Event,
        timing: Timing,
        count: Callable[[Event], None],
        tap: Callable[[bool, bytes], None] | None = None,
    ) -> None:
        self._line, self.link, self.parser = line, link, parser
        self.clock, self.stop, self.timing = clock, stop, timing
        self._count, self._tap = count, tap

    def ask(self, exchange: Exchange) -> Frame | None:
        """Send one request, up to the allowed attempts; return the frame that answers it."""
        for attempt in range(self.timing.attempts):
            if attempt and self.stop.wait(self.timing.retry_s):
                return None
            self.clear()
            self._write(exchange.request)
            line_s = (len(exchange.request) + exchange.reply_bytes) * self.link.byte_s
            seconds = line_s * self.timing.pace + self.timing.reply_s
            frame = self.listen(exchange.answers, seconds)
            if frame is not None or self.stop.is_set():
                return frame
        return None

    def listen(
        self,
        wanted: Callable[[Frame], bool],
        seconds: float,
        over: Callable[[], bool] | None = None,
    ) -> Frame | None:
        """Return the first wanted frame that comes within ``seconds``, else None.

        ``over`` is asked now and then, and ends the wait early. A frame in the middle of which the
        time ends is heard to its end, as long as its bytes keep coming.
        """
        heard = now = self.clock.monotonic()
        deadline = now + seconds
        while (now < deadline or self._in_a_frame(now, heard, deadline)) and not (
            self.stop.is_set() or (over and over())
        ):
            data = self._read(now, deadline if over is None else now)
            now = self.clock.monotonic()
            if data:
                heard = now
                frame = self._first(self.parser.feed(data), wanted)
            elif self.parser.pending and now - heard > _SILENCE_S:
                # A half frame: give it up. A good one may be hidden behind a damaged length.
                frame = self._first(self.parser.finish(), wanted)
            else:
                continue
            if frame is not None:
                return frame
        return self._first(self.parser.finish(), wanted)

    def _in_a_frame(self, now: float, heard: float, deadline: float) -> bool:
        recent = now - heard < READ_TIMEOUT_S and now - deadline < _SILENCE_S
        return recent and self.parser.pending > 0

    def clear(self) -> None:
        """Forget what came in before, so that a late reply is not taken for the next."""
        self._line.reset_input_buffer()
        self.parser.reset()

    def send(self, data: bytes) -> None:
        """Send ``data`` and wait until it has left the adapter."""
        self._write(data)
        self._line.flush()
        # USB adapters return from flush early.
        self.stop.wait(len(data) * self.link.byte_s)

    def change_speed(self, baud: int) -> None:
        """Go on with ``baud`` on the open port."""
        self.link = Link(baud, self.link.data_bits, self.link.parity, self.link.stop_bits)
        self._line.baudrate = baud

    def _write(self, data: bytes) -> None:
        if self._tap is not None:
            self._tap(True, data)
        self._line.write(data)

    def _read(self, now: float, until: float) -> bytes:
        """Return the next piece; b"" when none came, at the latest shortly after ``until``."""
        wait_s = max(READ_TIMEOUT_S, min(until - now, _LONGEST_WAIT_S))
        data = self._line.read(_READ_BYTES, wait_s)
        if data:
            if self._tap is not None:
                self._tap(False, data)
        elif self.clock.monotonic() - now < READ_TIMEOUT_S / 2:
            # Some systems return nothing at once, for ever, after an unplug: do not spin.
            self.stop.wait(READ_TIMEOUT_S)
        return data

    def _first(self, events: list[Event], wanted: Callable[[Frame], bool]) -> Frame | None:
        found: Frame | None = None
        for event in events:
            if not (isinstance(event, Frame) and event.kind == "request"):
                self._count(event)
            if found is None and isinstance(event, Frame) and wanted(event):
                found = event
        return found
