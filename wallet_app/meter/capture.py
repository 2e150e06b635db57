"""Captures of a serial line: one text line per piece, with time, direction and bytes in hex.

    2026-06-21T10:00:00.123456+00:00 > 68…      sent to the meter
    2026-06-21T10:00:00.201532+00:00 < FE FE …  received from it

A capture is decoded and replayed by its received bytes; it can be read and cut with any editor.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from light_node.clock import Clock

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\S{8,30}) ([<>]) ([0-9A-Fa-f ]+)")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that went over the line at one time; ``sent`` to the meter or received from it."""

    at: datetime
    sent: bool
    data: bytes


class CaptureWriter:
    """Writes pieces to a text file as they come; call it from the session's tap.

    A full disk ends the capture, not the reading: ``failed`` then says why ("" = all is written).
    """

    def __init__(self, file: TextIO, clock: Clock) -> None:
        self._file, self._clock = file, clock
        self.failed = ""

    def __call__(self, sent: bool, data: bytes) -> None:
        """Write one piece and push it out, so that a kill loses nothing."""
        if self.failed:
            return
        at = self._clock.now().astimezone(UTC).isoformat()
        try:
            self._file.write(f"{at} {'>' if sent else '<'} {data.hex()}\n")
            self._file.flush()
        except OSError as error:
            self.failed = error.strerror or type(error).__name__


def pieces(text: str) -> Iterator[Piece]:
    """Yield the pieces of a capture; ``ValueError`` naming the first line that is none.

    Empty lines and lines that begin with ``#`` are allowed.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"line {number} is no line of a capture")
        try:
            at, data = datetime.fromisoformat(match[1]), bytes.fromhex(match[3])
        except ValueError as error:
            raise ValueError(f"line {number} is no line of a capture: {error}") from error
        yield Piece(at, match[2] == ">", data)


def received(text: str) -> bytes | None:
    """Return everything received in a capture; None if ``text`` is no capture."""
    try:
        return b"".join(piece.data for piece in pieces(text) if not piece.sent)
    except ValueError:
        return None
