"""Delivery slots: a UTC start and a length (docs/market-rules.md section 1).

A slot's id is an ISO 8601 interval such as ``2026-06-21T10:00Z/PT60M``: readable, free of time
zones, and ascending as text in the order of time for equal lengths (ledger range reads use that).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from light_node.market.errors import InvalidSlot

_MINUTE = 60
_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
_ID = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2})Z/PT([1-9][0-9]{0,3})M")


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A delivery slot: ``start`` in POSIX seconds UTC, ``length_s`` in seconds.

    Both are whole minutes; the length is 1 minute to 1 day, the start lies in 1970 to 9999.
    ``InvalidSlot`` otherwise.
    """

    start: int
    length_s: int

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("length", self.length_s)):
            if type(value) is not int or value % _MINUTE:
                raise InvalidSlot(f"a slot's {name} must be whole minutes, in seconds")
        if not _MINUTE <= self.length_s <= _DAY:
            raise InvalidSlot("a slot lasts from one minute to one day")
        if not 0 <= self.start <= _LATEST - self.length_s:
            raise InvalidSlot("a slot lies in the years 1970 to 9999")

    @property
    def id(self) -> str:
        """The canonical id, such as ``2026-06-21T10:00Z/PT60M``; :func:`parse` reads it back."""
        return f"{self.starts_at:%Y-%m-%dT%H:%MZ}/PT{self.length_s // _MINUTE}M"

    @property
    def end(self) -> int:
        """First second after the slot, POSIX UTC."""
        return self.start + self.length_s

    @property
    def starts_at(self) -> datetime:
        """The start as an aware UTC time."""
        return _EPOCH + timedelta(seconds=self.start)

    @property
    def ends_at(self) -> datetime:
        """The end as an aware UTC time."""
        return _EPOCH + timedelta(seconds=self.end)

    @property
    def next(self) -> "Slot":
        """The slot of the same length that starts when this one ends."""
        return Slot(self.end, self.length_s)

    def __str__(self) -> str:
        return self.id


def parse(slot_id: str) -> Slot:
    """Read a slot id; ``InvalidSlot`` unless it is exactly what :attr:`Slot.id` writes.

    Only the canonical form is accepted (``PT60M``, not ``PT1H``): one slot has one ledger key.
    """
    found = _ID.fullmatch(slot_id) if isinstance(slot_id, str) and len(slot_id) <= 32 else None
    if found is None:
        raise InvalidSlot("not a slot id; they look like 2026-06-21T10:00Z/PT60M")
    year, month, day, hour, minute, length = map(int, found.groups())
    try:
        start = datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError as error:
        raise InvalidSlot(f"the slot id {slot_id} names no time: {error}") from error
    return Slot((start - _EPOCH) // timedelta(seconds=1), length * _MINUTE)


def slot_at(posix: int, length_s: int) -> Slot:
    """Return the slot of length ``length_s`` that contains ``posix``, slots counted from 1970."""
    if type(length_s) is not int or length_s < _MINUTE:
        raise InvalidSlot("a slot lasts from one minute to one day")
    return Slot(posix - posix % length_s, length_s)
