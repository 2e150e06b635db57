"""DL/T 698.45: GET replies of State Grid meters (docs/meter-protocols.md section 5). Reading only.

``68 | length 2 | control | address | client | HCS 2 | APDU | FCS 2 | 16``; the frame low byte
first, the APDU big-endian. Both check sums are CRC-16/X-25.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from wallet_app.i18n import tr
from wallet_app.meter import crc
from wallet_app.meter.events import Event, Frame, Problem, Proof, StreamParser, Value

PROTOCOL = "dlt698"
MAX_FRAME, MAX_APDU = 2048, 8192
ADDRESS, METER_NUMBER, CLOCK = 0x40010200, 0x40020200, 0x40000200
IMPORT, EXPORT, VOLTAGE, CURRENT = 0x00100200, 0x00200200, 0x20000200, 0x20010200
POWER, POWER_FACTOR, FREQUENCY = 0x20040200, 0x200A0200, 0x200F0200
_PRESENT = (VOLTAGE, CURRENT, POWER, POWER_FACTOR, FREQUENCY)
READABLE = frozenset((ADDRESS, METER_NUMBER, CLOCK, IMPORT, EXPORT, *_PRESENT))
"""The only objects :func:`get_request` asks for."""

_WAKE_UP = b"\xfe\xfe\xfe\xfe"
_MAX_DEPTH = 6
# GET replies: one object, a list, or a part of a list that is too long for one APDU.
_GET_REPLIES = (b"\x85\x01", b"\x85\x02", b"\x85\x05")
_DAR = {
    1: "hardware fault",
    2: "temporarily not available",
    3: "refused",
    4: "no such object",
    5: "object class does not match",
    6: "object does not exist",
    7: "type does not match",
    8: "out of range",
    255: "other error",
}
# Fixed sizes of the data types in bytes; None: a length or count follows.
_SIZES: Mapping[int, int] = {
    0x00: 0,
    0x03: 1,
    0x05: 4,
    0x06: 4,
    0x0F: 1,
    0x10: 2,
    0x11: 1,
    0x12: 2,
    0x14: 8,
    0x15: 8,
    0x16: 1,
    0x17: 4,
    0x18: 8,
    0x19: 10,
    0x1A: 5,
    0x1B: 3,
    0x1C: 7,
    0x50: 2,
    0x51: 4,
    0x53: 4,
    0x54: 3,
    0x59: 2,
}
_SIGNED, _UNSIGNED = (0x05, 0x0F, 0x10, 0x14), (0x06, 0x11, 0x12, 0x15)


@dataclass(frozen=True, slots=True)
class Object:
    """How the values of one object are scaled and named.

    ``names`` are the common names by index from 1; the last is repeated with the tariff number
    where it has a place for it.
    """

    places: int
    unit: str
    names: tuple[str, ...]
    shift: int = 0

    def name(self, index: int) -> str:
        """Return the common name of the value with this index from 1, "" if it has none."""
        if index <= len(self.names) and "{}" not in self.names[index - 1]:
            return self.names[index - 1]
        last = self.names[-1]
        return last.format(index - 1) if "{}" in last and index <= 64 else ""


def _phases(key: str) -> tuple[str, ...]:
    return tuple(key.format(n) for n in (1, 2, 3))


# (object identifier, attribute) → how to read it
_OBJECTS: Mapping[tuple[int, int], Object] = {
    (0x0010, 2): Object(2, "kWh", ("import_kwh", "import_t{}_kwh")),
    (0x0020, 2): Object(2, "kWh", ("export_kwh", "export_t{}_kwh")),
    (0x0010, 4): Object(4, "kWh", ("import_kwh", "import_t{}_kwh")),
    (0x0020, 4): Object(4, "kWh", ("export_kwh", "export_t{}_kwh")),
    (0x2000, 2): Object(1, "V", _phases("voltage_l{}_v")),
    (0x2001, 2): Object(3, "A", _phases("current_l{}_a")),
    (0x2004, 2): Object(1, "W", ("power_w", *_phases("power_l{}_w"))),
    (0x200A, 2): Object(3, "", ("power_factor", *_phases("power_factor_l{}"))),
    (0x200F, 2): Object(2, "Hz", ("frequency_hz",)),
}


class _DataError(Exception):
    """The APDU is not as the standard says."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as sent, without scale."""

    value: int


Item = Number | bytes | datetime | list["Item"] | None


class Dlt698Parser(StreamParser):
    """Finds DL/T 698.45 frames in a stream of bytes and decodes GET replies.

    Events: ``Frame`` of kind ``data``, ``error``, ``request``, ``link`` or ``other``; ``Problem``
    ``checksum``, ``framing``, ``incomplete``, ``value``, ``error_reply``, ``encrypted`` or
    ``fragment``. The fragments of a long reply are joined; each but the last is a ``Frame`` of
    kind ``fragment``.
    """

    protocol = PROTOCOL

    def __init__(self) -> None:
        super().__init__()
        self._fragments = _Fragments()

    def reset(self) -> None:
        """Forget what is pending, and the fragments of a reply that is not whole."""
        super().reset()
        self._fragments = _Fragments()

    def finish(self) -> list[Event]:
        """Say that nothing more follows; a reply of which fragments are missing is a problem."""
        events = super().finish()
        rest = self._fragments.give_up()
        if rest is not None:
            events.append(Problem("fragment", *rest, "the rest of the reply did not come"))
        return events

    def _step(self, start: int, events: list[Event], final: bool) -> int | None:
        buffer = self._buffer
        begin = buffer.find(0x68, start)
        if begin < 0:
            return len(buffer)
        held = len(buffer) - begin
        if held < 6:
            return begin + 1 if final else begin if begin > start else None
        length = (buffer[begin + 1] | buffer[begin + 2] << 8) & 0x3FFF
        head = 6 + (buffer[begin + 4] & 0x0F) + 1  # up to and with the client address
        if length + 2 > MAX_FRAME or length < head + 3:
            return begin + 1
        if held < head + 2:
            return begin + 1 if final else begin if begin > start else None
        # The header's own check sum tells a false start before the whole length has arrived.
        hcs = int.from_bytes(buffer[begin + head : begin + head + 2], "little")
        if crc.x25(buffer[begin + 1 : begin + head]) != hcs:
            if buffer[begin + 3] & 0x17 in (0x01, 0x03):  # a control byte that exists
                raw = bytes(buffer[begin : begin + head + 2])
                events.append(Problem("checksum", self._offset + begin, raw, "of the header"))
            return begin + 1
        if held < length + 2:
            if not final:
                return begin if begin > start else None
            events.append(Problem("incomplete", self._offset + begin, bytes(buffer[begin:])))
            return begin + 1
        raw = bytes(buffer[begin : begin + length + 2])
        if crc.x25(raw[1:-3]) != int.from_bytes(raw[-3:-1], "little"):
            events.append(Problem("checksum", self._offset + begin, raw))
            return begin + 1
        if raw[-1] != 0x16:
            events.append(Problem("framing", self._offset + begin, raw, "the end byte is not 16"))
            return begin + 1
        _decode(raw, head, self._offset + begin, self._fragments, events)
        return begin + length + 2


class _Fragments:
    """Joins the fragments of one link layer APDU (control bit 5), which come in order.

    Each begins with two bytes, low first: bits 0–11 its number, bits 14–15 its place: 0 first,
    1 last, 2 an acknowledgement without data, 3 in between.
    """

    FIRST, LAST, ACKNOWLEDGEMENT, MIDDLE = range(4)

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._sender = ""
        self._next = 0
        self.raw, self.at = b"", 0

    def give_up(self) -> tuple[int, bytes] | None:
        """Forget a reply that is not whole; return where it began and its frames, if any."""
        if not self._parts:
            return None
        self._parts = []
        return self.at, self.raw

    def add(self, sender: str, user_data: bytes, at: int, raw: bytes) -> bytes | None:
        """Return the APDU that is whole now, None if more follows, b"" if one is missing."""
        field = int.from_bytes(user_data[:2], "little")
        number, place = field & 0x0FFF, field >> 14
        if len(user_data) < 2 or place == self.ACKNOWLEDGEMENT:
            return None
        again = self._parts and (number + 1) & 0x0FFF == self._next and sender == self._sender
        if again and user_data[2:] == self._parts[-1] and place != self.LAST:
            return None  # sent once more because the acknowledgement was lost
        if place == self.FIRST:
            self._parts, self._sender, self.raw, self.at = [], sender, b"", at
        elif not self._parts or number != self._next or sender != self._sender:
            self._parts = []
            return b""
        self._parts.append(user_data[2:])
        self._next = (number + 1) & 0x0FFF
        self.raw += raw
        if sum(map(len, self._parts)) > MAX_APDU:
            self._parts = []
            return b""
        if place != self.LAST:
            return None
        whole, self._parts = b"".join(self._parts), []
        return whole


def get_request(address: str, objects: Sequence[int], *, piid: int = 0) -> bytes:
    """Return a GET for objects of :data:`READABLE`; ``ValueError`` for any other.

    ``address`` "" is the wildcard: any single meter on the line.
    """
    if not objects or not set(objects) <= READABLE or len(objects) > 20:
        raise ValueError("only objects on the list of what may be read can be asked for")
    oads = b"".join(oad.to_bytes(4, "big") for oad in objects)
    if len(objects) == 1:
        apdu = bytes((0x05, 0x01, piid)) + oads + b"\x00"
    else:
        apdu = bytes((0x05, 0x02, piid, len(objects))) + oads + b"\x00"
    return _WAKE_UP + encode(address, 0x43, apdu)


def acknowledge_fragment(address: str, number: int) -> bytes:
    """Return the link layer's "fragment received", which makes the meter send the next one."""
    field = (number & 0x0FFF | _Fragments.ACKNOWLEDGEMENT << 14).to_bytes(2, "little")
    return _WAKE_UP + encode(address, 0x63, field)


def encode(address: str, control: int, apdu: bytes) -> bytes:
    """Return a frame without wake-up bytes; ``ValueError`` if the address is none."""
    if address:
        where = bytes((len(address_bytes(address)) - 1,)) + address_bytes(address)
    else:
        where = b"\x45" + b"\xaa" * 6
    length = 2 + 1 + len(where) + 1 + 2 + len(apdu) + 2
    body = length.to_bytes(2, "little") + bytes((control,)) + where + b"\x00"
    body += crc.x25(body).to_bytes(2, "little") + apdu
    return b"\x68" + body + crc.x25(body).to_bytes(2, "little") + b"\x16"


def address_bytes(address: str) -> bytes:
    """Return the six address bytes, lowest digits first; ``ValueError`` if it is no address."""
    if not 1 <= len(address) <= 12 or not set(address.upper()) <= set("0123456789ABCDEF"):
        raise ValueError(
            tr(
                "{address} is no meter address: up to 12 digits, as printed on it",
                address=repr(address),
            )
        )
    return bytes.fromhex(address.zfill(12))[::-1]


def wanted(request: bytes) -> tuple[str, frozenset[str]]:
    """Return the address ("" any) and object descriptors of a GET; ``ValueError`` if it is none."""
    parser = Dlt698Parser()
    frames = [e for e in parser.feed(request) + parser.finish() if isinstance(e, Frame)]
    if len(frames) != 1 or frames[0].kind != "request":
        raise ValueError("the request holds no DL/T 698.45 request frame with right sums")
    details = frames[0].details
    objects = frozenset(str(details.get("objects", "")).split())
    return "" if details["address_type"] else frames[0].meter_id, objects


def check_reply(
    frame: Frame, address: str, objects: frozenset[str] = frozenset()
) -> Problem | None:
    """Say what is wrong with a reply to a request for ``address`` and ``objects`` (empty: any)."""
    if address and frame.meter_id.zfill(12) != address.zfill(12):
        return Problem("other_meter", frame.at, frame.raw, f"from meter {frame.meter_id}")
    answered = frozenset(str(frame.details.get("objects", "")).split())
    if objects and not answered <= objects:
        return Problem("other_identifier", frame.at, frame.raw, " ".join(sorted(answered)))
    return None


def _decode(raw: bytes, head: int, at: int, fragments: _Fragments, events: list[Event]) -> None:
    control, kind = raw[3], raw[4] >> 6
    # Bit 5 of the address flag: the first address byte is an extended logical address.
    first = 6 if raw[4] & 0x20 and head > 7 else 5
    address = raw[first : head - 1][::-1].hex().upper()
    apdu = raw[head + 2 : -3]
    if control & 0x08:
        apdu = bytes((byte - 0x33) & 0xFF for byte in apdu)
    details: dict[str, str | int] = {"control": f"{control:02X}", "address_type": kind}
    link = _Link(at, raw, address, details)
    if control & 0x20:
        whole = fragments.add(address, apdu, at, raw)
        if whole is None:
            details["fragment"] = int.from_bytes(apdu[:2], "little") & 0x0FFF
            events.append(link.frame("fragment" if control & 0x80 else "request"))
            return
        if not whole:
            events += (
                link.frame("other"),
                Problem(
                    "fragment", at, raw, "a part of a longer reply, whose first part is missing"
                ),
            )
            return
        link, apdu = replace(link, at=fragments.at, raw=fragments.raw), whole
    if control & 0x07 == 1:
        events.append(link.frame("link"))  # the meter's own login or heartbeat
    elif not control & 0x80:
        details["objects"] = " ".join(_asked(apdu))
        events.append(link.frame("request"))
    else:
        _decode_reply(apdu, link, events)


def _decode_reply(apdu: bytes, link: "_Link", events: list[Event]) -> None:
    if apdu[:2] == b"\x90\x01":
        events += (link.frame("other"), link.problem("encrypted", "the reply is encrypted"))
        return
    if apdu[:2] == b"\x90\x00":
        plain = _Cursor(apdu, 2)
        try:
            apdu = plain.take(plain.length())
        except _DataError:
            apdu = b""
    if apdu[:2] not in _GET_REPLIES:
        events.append(link.frame("other"))
        return
    reading = _Reading()
    try:
        reading.read(apdu)
    except _DataError as error:
        events.append(link.problem("value", str(error)))
    link.details["objects"] = " ".join(reading.objects)
    refusals = [link.problem("error_reply", text) for text in reading.refused]
    useful = reading.values or reading.texts or not (reading.refused or reading.damaged)
    events.append(link.frame("data", reading) if useful else link.frame("error"))
    events += refusals


@dataclass(frozen=True, slots=True)
class _Link:
    """Where an APDU came from."""

    at: int
    raw: bytes
    address: str
    details: dict[str, str | int]

    def frame(self, kind: str, reading: "_Reading | None" = None) -> Frame:
        values = tuple(reading.values) if reading else ()
        normalized = reading.normalized if reading else {}
        texts = {"meter_id": self.address, **reading.texts} if reading else {}
        raw, details = self.raw, self.details
        return Frame(
            PROTOCOL,
            kind,
            self.at,
            raw,
            Proof.CRC,
            self.address,
            values,
            normalized,
            texts,
            details,
        )

    def problem(self, kind: str, text: str) -> Problem:
        return Problem(kind, self.at, self.raw, text)


class _Cursor:
    """Reads an APDU; ``_DataError`` behind its end."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data, self._position = data, position

    def take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise _DataError("the reply ends in the middle of a value")
        part = self._data[self._position : end]
        self._position = end
        return part

    def byte(self) -> int:
        return self.take(1)[0]

    def length(self) -> int:
        first = self.byte()
        if first < 0x80:
            return first
        if first not in (0x81, 0x82):
            raise _DataError("a length that no reply can have")
        return int.from_bytes(self.take(first & 0x0F), "big")

    def item(self, depth: int = 0) -> Item:
        """Return the next value; structures and arrays as lists."""
        tag = self.byte()
        if tag in (0x01, 0x02):
            if depth >= _MAX_DEPTH:
                raise _DataError("a value nested too deeply")
            return [self.item(depth + 1) for _ in range(self.length())]
        if tag in (0x09, 0x0A, 0x0C):
            return self.take(self.length())
        if tag == 0x04:
            return self.take((self.length() + 7) // 8)
        if tag not in _SIZES:
            raise _DataError(f"a value of the unknown type {tag:02X}")
        part = self.take(_SIZES[tag])
        if tag in _SIGNED:
            return Number(int.from_bytes(part, "big", signed=True))
        if tag in _UNSIGNED:
            missing = len(part) > 1 and part.count(0xFF) == len(part)
            return None if missing else Number(int.from_bytes(part, "big"))
        if tag == 0x1C:
            return _time(part)
        return None if tag == 0 else part


class _Reading:
    """What the items of one GET reply say, matched by their descriptors."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.normalized: dict[str, Decimal] = {}
        self.texts: dict[str, str] = {}
        self.objects: list[str] = []
        self.refused: list[str] = []
        self.damaged = False

    def read(self, apdu: bytes) -> None:
        cursor = _Cursor(apdu, 1)
        try:
            kind = cursor.byte()
            cursor.byte()  # priority and number of the invocation
            if kind == 5 and not self._next_part(cursor):
                return
            for _ in range(cursor.length() if kind != 1 else 1):
                self._read_item(cursor)
        except _DataError:
            self.damaged = True
            raise

    def _next_part(self, cursor: _Cursor) -> bool:
        """Read the head of a part of a long reply; say whether values of objects follow."""
        cursor.take(3)  # is it the last, and which one
        choice = cursor.byte()
        if choice == 0:
            reason = cursor.byte()
            self.refused.append(f"{_DAR.get(reason, 'error')} ({reason})")
        return choice == 1  # 2: records, which are history

    def _read_item(self, cursor: _Cursor) -> None:
        oad = cursor.take(4)
        code = oad.hex().upper()
        result = cursor.byte()
        if result == 0:
            reason = cursor.byte()
            self.refused.append(f"{code}: {_DAR.get(reason, 'error')} ({reason})")
        elif result == 1:
            self._put(oad, cursor.item())
        else:
            raise _DataError("a result that is neither data nor an error")
        self.objects.append(code)

    def _put(self, oad: bytes, item: Item) -> None:
        attribute, index = oad[2] & 0x1F, oad[3]
        if isinstance(item, datetime) and oad.startswith(b"\x40\x00"):
            self.texts["clock"] = item.isoformat()
        known = _OBJECTS.get((int.from_bytes(oad[:2], "big"), attribute))
        if known is None:
            return
        # Index 0 is the whole attribute: an array of values, or the only value there is.
        parts = item if isinstance(item, list) and index == 0 else [item]
        for number, part in enumerate(parts, max(index, 1)):
            if not isinstance(part, Number) or (part.value < 0 and known.unit == "kWh"):
                continue  # a register never counts below 0
            value = Decimal(part.value).scaleb(-known.places)
            shown = number if isinstance(item, list) else index
            code = oad[:3].hex().upper() + f"{shown & 0xFF:02X}"
            self.values.append(Value(code, value, known.unit))
            name = known.name(number)
            if name:
                self.normalized[name] = value


def _time(part: bytes) -> datetime | None:
    try:
        return datetime(int.from_bytes(part[:2], "big"), *part[2:7])  # noqa: DTZ001 (no zone sent)
    except ValueError:
        return None  # impossible dates occur behind right sums; the energies stay good


def _asked(apdu: bytes) -> list[str]:
    if apdu[:2] == b"\x05\x01" and len(apdu) >= 7:
        return [apdu[3:7].hex().upper()]
    if apdu[:2] == b"\x05\x02" and len(apdu) >= 4:
        parts = [apdu[4 + 4 * n : 8 + 4 * n] for n in range(min(apdu[3], 64))]
        return [part.hex().upper() for part in parts if len(part) == 4]
    return []
