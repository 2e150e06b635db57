"""What every meter parser speaks: frames, problems, and readings (docs/meter-protocols.md 2).

A parser takes bytes and returns events; it has no port, no clock and no thread. It never raises
on input, holds a bounded buffer, gives the same events for any split of the same bytes, and after
a frame that fails its check goes on one byte behind the false start, so that a good frame inside
or behind rubbish is found.

Values are ``Decimal`` from the wire to the database. A value that is not there is absent, never 0.
Power is positive when taken from the grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Protocol

_SLICE = 4096


class Proof(StrEnum):
    """What stands behind a frame's bytes: a CRC, a simple check sum, or nothing at all."""

    CRC = "crc"
    BCC = "bcc"
    NONE = "none"


class Origin(StrEnum):
    """Where a reading came from; signed with it and never changed afterwards."""

    METER = "meter"
    SIMULATED = "simulated"
    REPLAYED = "replayed"  # from a capture file; never recorded as a wallet's own


@dataclass(frozen=True, slots=True)
class Value:
    """One value as the meter named it: its code (OBIS, data identifier, …), number and unit."""

    code: str
    value: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame or telegram whose check was good (or which has none: see ``proof``).

    ``normalized`` holds the values that may be used, under the common names (``import_kwh``,
    ``power_w``, ``voltage_l1_v`` …); ``texts`` the common names that are no numbers (``meter_id``,
    ``clock`` …); ``values`` everything decoded under the meter's own codes; ``at`` is the offset
    of the first byte in everything fed to the parser since its start.
    """

    protocol: str
    kind: str
    at: int
    raw: bytes
    proof: Proof
    meter_id: str = ""
    values: tuple[Value, ...] = ()
    normalized: Mapping[str, Decimal] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str | int] = field(default_factory=dict)

    def to_json(self) -> dict[str, str]:
        """Return the normalized reading as plain strings (decimal numbers without exponent)."""
        return {**self.texts, **{key: plain(value) for key, value in self.normalized.items()}}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the input that gave no value: ``kind`` from a closed list, where, which bytes.

    Kinds: ``checksum``, ``incomplete``, ``framing``, ``length``, ``value``, ``error_reply``,
    ``exception``, ``other_meter``, ``other_identifier``, ``encrypted``, ``replay``, ``fragment``.
    """

    kind: str
    at: int
    raw: bytes = b""
    text: str = ""


Event = Frame | Problem


@dataclass(frozen=True, slots=True)
class Reading:
    """What the meter said at one instant of this machine's clocks.

    ``raw`` are the exact frames behind it, one after the other. ``after_gap`` says why no reading
    came for a while before this one ("" when there was no gap); ``problems`` what was odd.
    """

    host_time: datetime
    monotonic: float
    meter_id: str
    protocol: str
    values: Mapping[str, Decimal]
    proof: Proof
    raw: bytes
    origin: Origin = Origin.METER
    meter_clock: str = ""
    after_gap: str = ""
    problems: tuple[str, ...] = ()

    @property
    def import_kwh(self) -> Decimal | None:
        """Return the total register of energy taken from the grid."""
        return self.values.get("import_kwh")

    @property
    def export_kwh(self) -> Decimal | None:
        """Return the total register of energy fed into the grid."""
        return self.values.get("export_kwh")

    @property
    def power_w(self) -> Decimal | None:
        """Return the net active power, positive when taken from the grid."""
        return self.values.get("power_w")

    @property
    def frequency_hz(self) -> Decimal | None:
        """Return the grid frequency."""
        return self.values.get("frequency_hz")

    def voltage_v(self, phase: int = 1) -> Decimal | None:
        """Return the voltage of phase 1, 2 or 3."""
        return self.values.get(f"voltage_l{phase}_v")

    def current_a(self, phase: int = 1) -> Decimal | None:
        """Return the current of phase 1, 2 or 3."""
        return self.values.get(f"current_l{phase}_a")


class Parser(Protocol):
    """What a line needs of a parser."""

    @property
    def pending(self) -> int:
        """Return how many undecided bytes are held."""
        ...

    def feed(self, data: bytes) -> list[Event]:
        """Take ``data`` and return what it completes, in order."""
        ...

    def finish(self) -> list[Event]:
        """Say that nothing more follows what is pending."""
        ...

    def reset(self) -> None:
        """Forget what is pending."""
        ...


class StreamParser(ABC):
    """Bytes in, events out; subclasses say only where the next frame is (:meth:`_step`)."""

    protocol: ClassVar[str]

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._offset = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take ``data`` and return what it completes, in order."""
        events: list[Event] = []
        for start in range(0, len(data), _SLICE):
            self._buffer += data[start : start + _SLICE]
            self._drain(events, final=False)
        return events

    def finish(self) -> list[Event]:
        """Say that nothing more follows what is pending (end of file, or a long silence).

        What was waiting for more bytes is judged as it stands; the search goes on behind each
        false start, so a good frame that a damaged length had swallowed still comes out.
        """
        events: list[Event] = []
        self._drain(events, final=True)
        return events

    def reset(self) -> None:
        """Forget what is pending; offsets go on counting."""
        self._offset += len(self._buffer)
        self._buffer.clear()

    @property
    def pending(self) -> int:
        """Return how many undecided bytes are held."""
        return len(self._buffer)

    @abstractmethod
    def _step(self, start: int, events: list[Event], final: bool) -> int | None:
        """Look at the buffer from ``start``: append events, return the next position to look at.

        None means that more input is needed; never returned when ``final``. The position returned
        is greater than ``start``. ``self._offset + index`` is the offset for events.
        """

    def _drain(self, events: list[Event], *, final: bool) -> None:
        position = 0
        while position < len(self._buffer):
            following = self._step(position, events, final)
            if following is None:
                break
            position = following
        del self._buffer[:position]
        self._offset += position


def plain(value: Decimal) -> str:
    """Return ``value`` in plain notation without trailing zeros (``0.60`` → ``0.6``)."""
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
