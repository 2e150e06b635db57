"""A-XDR, the encoding inside DLMS APDUs (docs/meter-protocols.md section 9; IEC 62056-6-2).

A tag, then the value: numbers big-endian, strings and lists with a length in front.
"""

from datetime import datetime, timedelta, timezone
from typing import TypeAlias

UNITS = {27: "W", 28: "VA", 29: "var", 30: "Wh", 32: "varh", 33: "A", 35: "V", 44: "Hz"}
"""Unit codes of scaler and unit (Blue Book, class 3) that are read here."""

_MAX_DEPTH = 8
_SIGNED = {0x0F: 1, 0x10: 2, 0x05: 4, 0x14: 8}
_UNSIGNED = {0x11: 1, 0x12: 2, 0x06: 4, 0x15: 8, 0x16: 1}
_FIXED = {0x00: 0, 0x03: 1, 0x0D: 1, 0x17: 4, 0x18: 8, 0x19: 12, 0x1A: 5, 0x1B: 4}
# Classes whose untagged descriptors are known (see Cursor.item).
_CLASSES = (1, 3, 4, 5, 7, 8, 40, 70, 71)

Item: TypeAlias = "int | bytes | str | list[Item] | None"


class DlmsError(Exception):
    """The APDU cannot be used; ``kind`` is the problem's."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def clock(octets: bytes) -> str:
    """Return a COSEM date-time (12 bytes) as ISO 8601; "" if it is none or not specified."""
    if len(octets) != 12:
        return ""
    year, deviation = int.from_bytes(octets[:2], "big"), octets[9:11]
    minutes = int.from_bytes(deviation, "big", signed=True)
    try:
        zone = None if deviation == b"\x80\x00" else timezone(timedelta(minutes=-minutes))
        at = datetime(year, octets[2], octets[3], octets[5], octets[6], octets[7], tzinfo=zone)
        return at.isoformat()
    except ValueError:
        return ""


def printable(value: str | bytes) -> str:
    """Return a string as text, octets as text if they are printable, else as hex."""
    if isinstance(value, bytes):
        bare = value.rstrip(b"\x00")  # numbers are filled up with them
        value = bare if len(bare) > 1 and bare.isalnum() else value
        if not (value and all(0x20 < byte < 0x7F for byte in value)):
            return value.hex()
        value = value.decode("ascii")
    shown = value.rstrip("\x00")
    return "".join(character if character.isprintable() else "?" for character in shown)


class Cursor:
    """Reads A-XDR; ``DlmsError`` for what cannot be."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data, self._position = data, position

    def done(self) -> bool:
        """Say whether everything is read."""
        return self._position >= len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        end = self._position + size
        if end > len(self._data):
            raise DlmsError("value", "the list ends in the middle of a value")
        part = self._data[self._position : end]
        self._position = end
        return part

    def length(self) -> int:
        """Return a length: one byte, or 81 or 82 and one or two."""
        first = self.take(1)[0]
        if first < 0x80:
            return first
        if first not in (0x81, 0x82):
            raise DlmsError("value", "a length that no list can have")
        return int.from_bytes(self.take(first & 0x0F), "big")

    def item(self, depth: int = 0) -> Item:
        """Return the next item; floats, dates and truth values as their octets.

        Sagemcom and Czech lists name what follows by class·2, OBIS·6, attribute·1 without tags:
        such a pair comes out as {class, OBIS, attribute, value}.
        """
        tag = self.take(1)[0]
        if tag in (0x01, 0x02):
            if depth >= _MAX_DEPTH:
                raise DlmsError("value", "a list nested too deeply")
            count = self.length()
            if tag == 0x02 and count == 2 and self._untagged():
                named = self.take(9)
                return [named[1], named[2:8], named[8], self.item(depth + 1)]
            return [self.item(depth + 1) for _ in range(count)]
        if tag in _SIGNED:
            return int.from_bytes(self.take(_SIGNED[tag]), "big", signed=True)
        if tag in _UNSIGNED:
            return int.from_bytes(self.take(_UNSIGNED[tag]), "big")
        if tag == 0x09:
            return self.take(self.length())
        if tag in (0x0A, 0x0C):
            return self.take(self.length()).decode("latin-1")
        if tag == 0x04:
            return self.take((self.length() + 7) // 8)
        if tag not in _FIXED:
            raise DlmsError("value", f"a value of the unknown type {tag:02X}")
        return self.take(_FIXED[tag]) or None

    def _untagged(self) -> bool:
        head = self._data[self._position : self._position + 9]
        return (
            len(head) == 9
            and head[0] == 0
            and head[1] in _CLASSES
            and head[2] <= 1
            and head[7] == 0xFF
            and 1 <= head[8] <= 4
        )
