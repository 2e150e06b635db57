"""Typed data of DLMS (A-XDR) and of DL/T 698.45, value by value."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from wallet_app.i18n import tr
from wallet_app.meter import axdr
from wallet_app.meter.explain_fields import Pieces
from wallet_app.meter.names import obis_name

_MOST_ITEMS, _MAX_DEPTH = 2000, 12
_DLMS_UNITS = {27: "W", 28: "VA", 29: "var", 30: "Wh", 32: "varh", 33: "A", 35: "V", 44: "Hz"}


@dataclass(frozen=True, slots=True)
class Types:
    """The types of one of the two standards: tag → (name, bytes)."""

    fixed: Mapping[int, tuple[str, int]]
    signed: frozenset[int]
    unsigned: frozenset[int]
    text: frozenset[int]
    obis: bool  # octets of six bytes that end in FF are a code


_COMMON = {
    0x00: ("null", 0),
    0x03: ("bool", 1),
    0x05: ("int32", 4),
    0x06: ("uint32", 4),
    0x0F: ("int8", 1),
    0x10: ("int16", 2),
    0x11: ("uint8", 1),
    0x12: ("uint16", 2),
    0x14: ("int64", 8),
    0x15: ("uint64", 8),
    0x16: ("enum", 1),
    0x17: ("float32", 4),
    0x18: ("float64", 8),
}
_SIGNED, _UNSIGNED = frozenset((0x05, 0x0F, 0x10, 0x14)), frozenset((0x06, 0x11, 0x12, 0x15, 0x16))
DLMS = Types(
    _COMMON | {0x0D: ("bcd", 1), 0x19: ("date-time", 12), 0x1A: ("date", 5), 0x1B: ("time", 4)},
    _SIGNED,
    _UNSIGNED,
    frozenset((0x0A, 0x0C)),
    obis=True,
)
DLT698 = Types(
    _COMMON
    | {
        0x19: ("date_time", 10),
        0x1A: ("date", 5),
        0x1B: ("time", 3),
        0x1C: ("date_time_s", 7),
        0x50: ("OI", 2),
        0x51: ("OAD", 4),
        0x53: ("OMD", 4),
        0x54: ("TI", 3),
        0x59: ("Scaler_Unit", 2),
    },
    _SIGNED,
    _UNSIGNED,
    frozenset((0x0A, 0x0C)),
    obis=False,
)


def explain_data(
    out: Pieces, types: Types, shown: Callable[[int], str] = str, *, depth: int = 0
) -> None:
    """Add a field for every value of the data item that comes next; ``shown`` writes a number."""
    _Walk(out, types, shown).item(depth, 0)


class _Walk:
    """One walk over one item; bounded whatever the bytes say."""

    def __init__(self, out: Pieces, types: Types, shown: Callable[[int], str]) -> None:
        self._out, self._types, self._shown = out, types, shown
        self._items = 0

    def item(self, depth: int, level: int) -> bool:
        """Add the next item; False when the walk has to end here."""
        out, types = self._out, self._types
        self._items += 1
        if not out.left or self._items > _MOST_ITEMS or level > _MAX_DEPTH:
            return False
        tag = out.peek()[0]
        if tag in (0x01, 0x02):
            return self._list(tag, depth, level)
        if tag in (0x04, 0x09) or tag in types.text:
            return self._octets(tag, depth)
        if tag not in types.fixed:
            out.rest(0, tr("Unknown type {tag}", tag=f"{tag:02X}"), depth=depth)
            return False
        name, size = types.fixed[tag]
        part = out.peek(1 + size)[1:]
        text = self._value(tag, part)
        if types.obis and tag == 0x16:
            text = f"{text} {_DLMS_UNITS.get(part[0], '') if part else ''}".strip()
        elif types.obis and tag == 0x0F and out.peek(3)[2:] == b"\x16":
            text = f"×10^{text}"  # a scaler: its unit follows
        out.add(1 + size, name, text, depth=depth)
        return len(part) == size

    def _list(self, tag: int, depth: int, level: int) -> bool:
        out = self._out
        heads, count = _length(out.peek(4)[1:])
        name = tr("structure") if tag == 2 else tr("array")
        out.add(1 + heads, name, tr("{number} elements", number=count), depth=depth)
        return all(self.item(depth + 1, level + 1) for _ in range(min(count, _MOST_ITEMS)))

    def _octets(self, tag: int, depth: int) -> bool:
        out = self._out
        heads, size = _length(out.peek(4)[1:])
        size = (size + 7) // 8 if tag == 0x04 else size
        part = out.peek(1 + heads + size)[1 + heads :]
        name = tr("text") if tag in self._types.text else tr("octets")
        if tag == 0x04:
            name = tr("bits")
        out.add(1 + heads + size, name, self._octets_text(part), depth=depth)
        return len(part) == size

    def _octets_text(self, part: bytes) -> str:
        if self._types.obis and len(part) == 6 and part[5] == 0xFF:
            code = f"{part[0]}-{part[1]}:{part[2]}.{part[3]}.{part[4]}"
            return f"{code} {obis_name(code)}".strip()
        if self._types.obis and len(part) == 12 and axdr.clock(part):
            return axdr.clock(part)
        if part and re.fullmatch(rb"[\x20-\x7e]+", part):
            return part.decode("ascii")
        return part.hex(" ").upper()

    def _value(self, tag: int, part: bytes) -> str:
        if tag in self._types.signed:
            return self._shown(int.from_bytes(part, "big", signed=True))
        if tag in self._types.unsigned:
            if len(part) > 1 and part.count(0xFF) == len(part):
                return tr("no value")
            return self._shown(int.from_bytes(part, "big"))
        if tag == 0x03:
            return tr("yes") if any(part) else tr("no")
        if tag == 0x1C and len(part) == 7:
            return _moment(part)
        if tag == 0x19 and self._types.obis:
            return axdr.clock(part)
        return part.hex(" ").upper()


def _length(head: bytes) -> tuple[int, int]:
    """Return how many bytes a length takes, and the length; what cannot be counts as one byte."""
    if not head:
        return 1, 0
    if head[0] in (0x81, 0x82):
        count = head[0] & 0x0F
        return 1 + count, int.from_bytes(head[1 : 1 + count], "big")
    return 1, head[0] & 0x7F


def _moment(part: bytes) -> str:
    try:
        at = datetime(int.from_bytes(part[:2], "big"), *part[2:7])  # noqa: DTZ001 (no zone sent)
    except ValueError:
        return tr("an impossible date")
    return at.isoformat(" ")
