"""What explanations are made of: fields that tile the bytes, and where the frames are."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from wallet_app.i18n import tr
from wallet_app.meter.events import Frame, Parser, Problem


@dataclass(frozen=True, slots=True)
class Field:
    """One field: where it is, its name, what it says; ``depth`` counts what it lies in.

    ``good`` is True or False for check sums and other marks that can be right or wrong.
    """

    at: int
    length: int
    name: str
    text: str = ""
    depth: int = 0
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, end) that are to be explained as one frame."""

    start: int
    end: int


class Pieces:
    """Builds the fields of ``data`` from front to back; every byte goes into exactly one.

    Adding behind the end of the data adds what is there and says that the rest is missing.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.fields: list[Field] = []

    @property
    def left(self) -> int:
        """Return how many bytes have no field yet."""
        return len(self.data) - self.at

    def peek(self, length: int = 1) -> bytes:
        """Return the next bytes without giving them a field; fewer at the end."""
        return self.data[self.at : self.at + length]

    def add(
        self, length: int, name: str, text: str = "", *, depth: int = 0, good: bool | None = None
    ) -> bytes:
        """Give the next ``length`` bytes a field; return them (fewer where the data end)."""
        part = self.peek(length)
        if len(part) < length:
            text, good = tr("cut off"), False
        if part:
            self.fields.append(Field(self.at, len(part), name, text, depth, good))
            self.at += len(part)
        return part

    def number(self, length: int, name: str, order: str = "little", *, depth: int = 0) -> int:
        """Add a field that holds an unsigned number; return the number."""
        value = int.from_bytes(self.peek(length), "little" if order == "little" else "big")
        self.add(length, name, str(value), depth=depth)
        return value

    def mark(self, wanted: bytes, name: str, *, depth: int = 0) -> None:
        """Add a field that must be exactly ``wanted``."""
        found = self.peek(len(wanted))
        text = "" if found == wanted else tr("should be {hex}", hex=wanted.hex(" ").upper())
        self.add(len(wanted), name, text, depth=depth, good=found == wanted)

    def checksum(self, wanted: bytes, name: str, *, depth: int = 0) -> None:
        """Add a check sum that should be ``wanted``."""
        found = self.peek(len(wanted))
        text = tr("right") if found == wanted else ""
        if found != wanted:
            text = tr("wrong: should be {hex}", hex=wanted.hex(" ").upper())
        self.add(len(wanted), name, text, depth=depth, good=found == wanted)

    def rest(self, keep: int, name: str, text: str = "", *, depth: int = 0) -> bytes:
        """Give everything but the last ``keep`` bytes a field, if there is any."""
        length = self.left - keep
        return self.add(length, name, text, depth=depth) if length > 0 else b""

    def take(self, fields: Iterable[Field], shift: int, *, depth: int = 0) -> None:
        """Append ``fields`` of the bytes that begin at ``shift``."""
        for field in fields:
            self.fields.append(replace(field, at=field.at + shift, depth=field.depth + depth))
            self.at = field.at + shift + field.length


def parser_spans(parser: Parser, data: bytes) -> list[Span]:
    """Return where ``parser`` finds frames in ``data``, damaged ones where no good one lies."""
    events = parser.feed(data) + parser.finish()
    good = [Span(e.at, e.at + len(e.raw)) for e in events if isinstance(e, Frame)]
    damaged = [Span(e.at, e.at + len(e.raw)) for e in events if isinstance(e, Problem) and e.raw]
    return merged(good, damaged, len(data))


def merged(good: list[Span], damaged: list[Span], size: int) -> list[Span]:
    """Return spans that do not overlap, in order: the good ones, damaged ones in the gaps."""
    spans: list[Span] = []
    for span in sorted(good, key=lambda s: s.start):
        start = max(span.start, spans[-1].end if spans else 0)
        if start < min(span.end, size):
            spans.append(Span(start, min(span.end, size)))
    for span in sorted(damaged, key=lambda s: s.start):
        overlapping = [s for s in spans if s.start < span.end and span.start < s.end]
        start, end = span.start, min(span.end, size)
        for other in overlapping:
            if other.start <= start:
                start = max(start, other.end)
            else:
                end = min(end, other.start)
        if start == span.start and start < end:
            spans.append(Span(start, end))
    return sorted(spans, key=lambda s: s.start)
