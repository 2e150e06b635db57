"""DLMS/COSEM push lists from a customer port, over HDLC (docs/meter-protocols.md section 9).

``0F invoke·4 date-time data``; the data are OBIS codes with values in one of several layouts, or,
from Kaifa, values by their place. Encrypted lists need the key the grid operator hands out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TypeAlias

from wallet_app.meter import ciphering, obis
from wallet_app.meter.events import Event, Frame, Problem, Proof, StreamParser, Value
from wallet_app.meter.hdlc import Assembler, HdlcFrame, Wait, next_frame

PROTOCOL = "dlms"

_MAX_DEPTH = 8
_SIGNED = {0x0F: 1, 0x10: 2, 0x05: 4, 0x14: 8}
_UNSIGNED = {0x11: 1, 0x12: 2, 0x06: 4, 0x15: 8, 0x16: 1}
_FIXED = {0x00: 0, 0x03: 1, 0x0D: 1, 0x17: 4, 0x18: 8, 0x19: 12, 0x1A: 5, 0x1B: 4}
_UNITS = {27: "W", 28: "VA", 29: "var", 30: "Wh", 32: "varh", 33: "A", 35: "V", 44: "Hz"}
_METER_NUMBERS = ("0-0:96.1.0", "0-0:96.1.1", "1-1:0.0.5", "0-0:42.0.0", "1-0:0.0.0")
_PLACES_OF_ONE = ("1.7.0",)
_PLACES_HEAD = ("", "meter_id", "", "1.7.0", "2.7.0", "", "")
_PLACES_TAIL = ("clock", "1.8.0", "2.8.0", "", "")
_KAIFA = {
    1: _PLACES_OF_ONE,
    9: (*_PLACES_HEAD, "31.7.0", "32.7.0"),
    13: (*_PLACES_HEAD, "31.7.0", "51.7.0", "71.7.0", "32.7.0", "52.7.0", "72.7.0"),
}
_KAIFA |= {14: _KAIFA[9] + _PLACES_TAIL, 18: _KAIFA[13] + _PLACES_TAIL}
# Powers of ten to kWh, W, A and V where a list has no scalers.
_KAIFA_SHIFT = {"energy": -3, "power": 0, "current": -3, "voltage": -1}
_KAMSTRUP_SHIFT = {"energy": -2, "power": 0, "current": -2, "voltage": 0}
_PLAIN_SHIFT = {"energy": -3, "power": 0}

Item: TypeAlias = "int | bytes | str | list[Item] | None"


class _DlmsError(Exception):
    """The APDU cannot be used; ``kind`` is the problem's."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(slots=True)
class _Push:
    """What one list says."""

    values: list[Value] = field(default_factory=list)
    found: dict[str, Decimal | None] = field(default_factory=dict)
    strings: dict[str, str] = field(default_factory=dict)
    clock: str = ""

    def texts(self) -> dict[str, str]:
        number = next((self.strings[c] for c in _METER_NUMBERS if self.strings.get(c)), "")
        texts = {"meter_id": number} if number else {}
        return texts | ({"clock": self.clock} if self.clock else {})


class DlmsParser(StreamParser):
    """Finds HDLC frames in a stream of bytes and decodes the push lists they carry.

    Events: ``Frame`` of kind ``data``, ``control`` (UA, SNRM …) or ``other``; ``Problem``
    ``checksum``, ``framing``, ``incomplete``, ``value``, ``encrypted`` or ``replay``. ``key`` and
    ``auth_key`` are 16 bytes each or empty.
    """

    protocol = PROTOCOL

    def __init__(self, key: bytes = b"", auth_key: bytes = b"") -> None:
        super().__init__()
        self._cipher = ciphering.Deciphering(key, auth_key)
        self._assembler = Assembler()

    def reset(self) -> None:
        """Forget what is pending, and parts of a list that is not whole."""
        super().reset()
        self._assembler.reset()

    def _step(self, start: int, events: list[Event], final: bool) -> int | None:
        found = next_frame(self._buffer, start, self._offset, final=final)
        if isinstance(found, Wait):
            return found.position if found.position > start else None
        position, what = found
        if isinstance(what, Problem):
            events.append(what)
        elif what is not None:
            self._take(what, events)
        return position

    def _take(self, frame: HdlcFrame, events: list[Event]) -> None:
        apdu = self._assembler.add(frame) if frame.information else b""
        if apdu is None:
            return
        raw, at = (self._assembler.raw, self._assembler.at) if apdu else (frame.raw, frame.at)
        details: dict[str, str | int] = {"control": f"{frame.control:02X}"}
        if not apdu:
            events.append(Frame(PROTOCOL, "control", at, raw, Proof.CRC, details=details))
            return
        try:
            push = _push(self._decrypted(apdu))
        except _DlmsError as error:
            events.append(Problem(error.kind, at, raw, str(error)))
            return
        if push is None:
            details["apdu"] = f"{apdu[0]:02X}"
            events.append(Frame(PROTOCOL, "other", at, raw, Proof.CRC, details=details))
            return
        texts = push.texts()
        events.append(
            Frame(
                PROTOCOL,
                "data",
                at,
                raw,
                Proof.CRC,
                texts.get("meter_id", ""),
                tuple(push.values),
                obis.normalize(push.found),
                texts,
                details,
            )
        )

    def _decrypted(self, apdu: bytes) -> bytes:
        """Return the plain APDU of one that may be ciphered."""
        if apdu[:2] != ciphering.START:
            return apdu
        cursor = _Cursor(apdu, 2)
        title = cursor.take(8)
        body = cursor.take(cursor.length())
        try:
            return self._cipher.plain(title, body, b"\x0f")
        except ciphering.CipherError as error:
            raise _DlmsError(error.kind, str(error)) from error


def _push(apdu: bytes) -> _Push | None:
    """Return what a data notification says; None if the APDU is something else."""
    if apdu[:1] != b"\x0f":
        return None
    cursor = _Cursor(apdu, 5)
    when = cursor.take(1)[0]
    if when == 0x09:
        when = cursor.take(1)[0]
    if when not in (0x00, 0x0C):
        raise _DlmsError("value", "a date and time of an unknown form")
    push = _Push(clock=clock(cursor.take(when)))
    item = cursor.item()
    if not cursor.done():
        raise _DlmsError("value", "the list goes on behind its end")
    entries = list(_entries(item))
    if not entries and isinstance(item, list):
        _by_place(item, push)
    shifts = _shifts(item, entries)
    for code, value, scale in entries:
        _put(code, value, scale, shifts, push)
    return push


def _shifts(item: Item, entries: Sequence[tuple[str, Item, Sequence[Item]]]) -> dict[str, int]:
    """Return the powers of ten for values without a scaler, by the maker of the list."""
    first = item[0] if isinstance(item, list) and item else None
    if isinstance(first, str) and first.startswith("Kamstrup"):
        # Meters behind current transformers (type 685…) count mA.
        types = [v for code, v, _ in entries if code == "1-1:96.1.1" and isinstance(v, str)]
        behind = any(kind.startswith("685") for kind in types)
        return {**_KAMSTRUP_SHIFT, "current": -3 if behind else -2}
    if any(value in ("KFM_001", b"KFM_001") for _, value, _ in entries):
        return dict(_KAIFA_SHIFT)
    return dict(_PLAIN_SHIFT)


def _entries(item: Item) -> Iterator[tuple[str, Item, Sequence[Item]]]:
    """Yield (code, value, [scaler, unit] or []) for every OBIS code in any of the layouts."""
    if not isinstance(item, list):
        return
    index = 0
    while index < len(item):
        part = item[index]
        if isinstance(part, list):
            yield from _entries(part)
        elif _is_code(part) and index + 1 < len(item):
            assert isinstance(part, bytes)
            skip = 1
            # {class, OBIS, attribute, value}: the attribute stands between.
            if index == 1 and len(item) == 4 and isinstance(item[0], int):
                skip = 2
            value = item[index + skip]
            index += skip
            scale = item[index + 1] if index + 1 < len(item) else None
            if _is_scale(scale):
                assert isinstance(scale, list)
                yield _code(part), value, scale
                index += 1
            else:
                yield _code(part), value, []
        index += 1


def _is_code(item: Item) -> bool:
    return isinstance(item, bytes) and len(item) == 6 and item[5] == 0xFF


def _is_scale(item: Item) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(isinstance(i, int) for i in item)


def _code(name: bytes) -> str:
    return f"{name[0]}-{name[1]}:{name[2]}.{name[3]}.{name[4]}"


def _put(
    code: str, value: Item, scale: Sequence[Item], shifts: dict[str, int], push: _Push
) -> None:
    channel, _, short = code.partition(":")
    if isinstance(value, str | bytes):
        if code == "0-0:1.0.0" and isinstance(value, bytes):
            push.clock = clock(value) or push.clock
        else:
            push.strings.setdefault(code, _printable(value))
        return
    if not isinstance(value, int):
        return
    kind = obis.quantity(short)
    number: Decimal | None = None
    if scale:
        scaler, unit = scale
        shown = _UNITS.get(unit, "") if isinstance(unit, int) else ""
        scaled = Decimal(value).scaleb(scaler if isinstance(scaler, int) else 0)
        if shown:
            push.values.append(Value(f"{code}*255", scaled, shown))
        number = obis.scaled(short, scaled, shown)
    elif kind in shifts:
        number = Decimal(value).scaleb(shifts[kind])
    if kind and channel in ("1-0", "1-1"):
        push.found.setdefault(short, number)


def _by_place(items: list[Item], push: _Push) -> None:
    """Read Kaifa's lists, which have no codes."""
    for code, item in zip(_KAIFA.get(len(items), ()), items, strict=False):
        if code == "meter_id" and isinstance(item, str | bytes):
            push.strings["0-0:96.1.0"] = _printable(item)
        elif code == "clock" and isinstance(item, bytes):
            push.clock = clock(item) or push.clock
        elif isinstance(item, int) and (kind := obis.quantity(code)):
            push.found[code] = Decimal(item).scaleb(_KAIFA_SHIFT[kind])


def _printable(value: str | bytes) -> str:
    """Return a string as text, octets as text if they are printable, else as hex."""
    if isinstance(value, bytes):
        if not (value and all(0x20 < byte < 0x7F for byte in value)):
            return value.hex()
        value = value.decode("ascii")
    return "".join(character if character.isprintable() else "?" for character in value)


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


class _Cursor:
    """Reads A-XDR; ``_DlmsError`` for what cannot be."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position

    def done(self) -> bool:
        return self._position >= len(self._data)

    def take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise _DlmsError("value", "the list ends in the middle of a value")
        part = self._data[self._position : end]
        self._position = end
        return part

    def length(self) -> int:
        first = self.take(1)[0]
        if first < 0x80:
            return first
        if first not in (0x81, 0x82):
            raise _DlmsError("value", "a length that no list can have")
        return int.from_bytes(self.take(first & 0x0F), "big")

    def item(self, depth: int = 0) -> Item:
        """Return the next item; floats, dates and truth values as their octets."""
        tag = self.take(1)[0]
        if tag in (0x01, 0x02):
            if depth >= _MAX_DEPTH:
                raise _DlmsError("value", "a list nested too deeply")
            return [self.item(depth + 1) for _ in range(self.length())]
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
            raise _DlmsError("value", f"a value of the unknown type {tag:02X}")
        return self.take(_FIXED[tag]) or None
