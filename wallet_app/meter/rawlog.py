"""What went over a serial line lately, in turns: who spoke, when, and which bytes.

Pieces come as the operating system hands them out; here they are put together to what one side
said before it paused or the other side spoke. Bounded, and safe to use from several threads.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from light_node.clock import Clock
from wallet_app.meter.capture import Piece

PAUSE_S = 0.3
"""A longer pause ends a turn."""

_MOST_TURN_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said without a pause: from ``at`` to ``until`` (monotonic, s).

    ``request`` is what was sent to the meter before a received turn: replies of Modbus meters say
    nothing without it.
    """

    number: int
    time: datetime
    at: float
    until: float
    sent: bool
    data: bytes
    request: bytes = b""


class RawLog:
    """Collects the newest ``most_turns`` turns, ``most_bytes`` at most; a session's tap.

    ``on_turn`` is called with every turn that is over, on the thread that calls the log.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        most_turns: int = 500,
        most_bytes: int = 1_000_000,
        on_turn: Callable[[Turn], None] | None = None,
    ) -> None:
        self._clock, self._on_turn = clock, on_turn
        self._most_turns, self._most_bytes = most_turns, most_bytes
        self._turns: deque[Turn] = deque()
        self._size = self._dropped = self._number = 0
        self._request = b""
        self._open = False
        self._lock = threading.Lock()

    def __call__(self, sent: bool, data: bytes) -> None:
        """Take one piece that went over the line."""
        self.add(self._clock.now(), self._clock.monotonic(), sent, data)

    def flush(self) -> None:
        """Say that the present turn is over."""
        with self._lock:
            over = self._turns[-1] if self._open and self._turns else None
            self._open = False
        if over is not None and self._on_turn is not None:
            self._on_turn(over)

    def turns(self) -> tuple[Turn, ...]:
        """Return the turns kept, oldest first."""
        with self._lock:
            return tuple(self._turns)

    @property
    def dropped(self) -> int:
        """Return how many older turns were let go to stay within the bounds."""
        with self._lock:
            return self._dropped

    def add(self, time: datetime, at: float, sent: bool, data: bytes) -> None:
        """Take one piece that went over the line at ``time`` and ``at`` (monotonic, s)."""
        if not data:
            return
        with self._lock:
            last = self._turns[-1] if self._open and self._turns else None
            goes_on = (
                last is not None
                and last.sent == sent
                and at - last.until <= PAUSE_S
                and len(last.data) + len(data) <= _MOST_TURN_BYTES
            )
            if goes_on:
                assert last is not None
                whole = last.data + data
                self._turns[-1] = Turn(
                    last.number, last.time, last.at, at, sent, whole, last.request
                )
            else:
                if sent:
                    self._request = data
                self._number += 1
                request = b"" if sent else self._request
                self._turns.append(Turn(self._number, time, at, at, sent, data, request))
                self._open = True
            self._size += len(data)
            while len(self._turns) > self._most_turns or self._size > self._most_bytes:
                self._size -= len(self._turns.popleft().data)
                self._dropped += 1
        if not goes_on and last is not None and self._on_turn is not None:
            self._on_turn(last)


def turns_of(pieces: Iterable[Piece], clock: Clock) -> tuple[Turn, ...]:
    """Return the turns of a capture; times are the capture's."""
    log = RawLog(clock, most_turns=5000, most_bytes=16_000_000)
    first: datetime | None = None
    for piece in pieces:
        first = first or piece.at
        log.add(piece.at, (piece.at - first) / timedelta(seconds=1), piece.sent, piece.data)
    return log.turns()
