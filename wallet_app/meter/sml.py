"""SML over the optical head of German meters (docs/meter-protocols.md section 8).

``1B×4 01×4 | payload | 1B×4 1A pad CRC CRC``; inside, type-length-value messages, of which the
GetList response (0701) has the values.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeAlias

from wallet_app.meter import crc, obis
from wallet_app.meter.events import Event, Frame, Problem, Proof, StreamParser, Value

PROTOCOL = "sml"
MAX_FILE = 8192

_ESCAPE = b"\x1b\x1b\x1b\x1b"
_START = _ESCAPE + b"\x01\x01\x01\x01"
_GET_LIST_RESPONSE = 0x0701
_UNITS = {30: "Wh", 27: "W", 35: "V", 33: "A", 44: "Hz", 28: "VA", 29: "var", 8: "°"}
_FEEDING_IN = 0x20  # in the status word of 1.8.0: energy flows into the grid
_SERVER_IDS = ("1-0:96.1.0*255", "1-0:0.0.9*255")
_MAX_DEPTH, _MOST_SCALE = 8, 20
# DZG meters send positive power as short signed integers: DVS74 with these serials, and others. The
# status word says which way power flows: bit 11 in all, bits 12 to 14 in each phase.
_DZG_BACK = {"16.7.0": 1 << 11, "36.7.0": 1 << 12, "56.7.0": 1 << 13, "76.7.0": 1 << 14}
_DZG_FAULTY = (range(42_000_000, 49_000_000), range(55_000_000, 59_000_000))


class _Integer(int):
    """An integer that remembers how many bytes it had and whether it was signed."""

    size: int
    signed: bool


Item: TypeAlias = "_Integer | bytes | bool | list[Item] | None"


class _SmlError(Exception):
    """The payload is not as SML says."""


class SmlParser(StreamParser):
    """Finds SML files in a stream of bytes.

    Events: ``Frame`` of kind ``data``; ``Problem`` ``checksum``, ``incomplete`` or ``value``.
    """

    protocol = PROTOCOL

    def __init__(self) -> None:
        super().__init__()
        self._searched = 0

    def _step(self, start: int, events: list[Event], final: bool) -> int | None:
        buffer = self._buffer
        begin = buffer.find(_START, start)
        if begin < 0:
            if final:
                return len(buffer)
            keep = max(start, len(buffer) - len(_START) + 1)
            return keep if keep > start else None
        if begin > start:
            return begin
        end = self._end(begin)
        if end is None and len(buffer) - begin < MAX_FILE and not final:
            return None
        self._searched = 0
        if end is None or end < 0:
            raw = bytes(buffer[begin : begin - end if end else begin + MAX_FILE])
            events.append(Problem("incomplete", self._offset + begin, raw))
            return begin + 1
        raw = bytes(buffer[begin:end])
        sent = int.from_bytes(raw[-2:], "little")
        # Holley DTZ541 computes CRC-16/KERMIT and sends it high byte first.
        swapped = int.from_bytes(raw[-2:], "big")
        if crc.x25(raw[:-2]) != sent and crc.kermit(raw[:-2]) not in (sent, swapped):
            events.append(Problem("checksum", self._offset + begin, raw))
            return begin + 1
        _decode(raw, self._offset + begin, events)
        return end

    def reset(self) -> None:
        """Forget what is pending; offsets go on counting."""
        super().reset()
        self._searched = 0

    def _end(self, begin: int) -> int | None:
        """Return where the file ends; None if that is not here yet, −length if it was cut off."""
        buffer = self._buffer
        limit = min(len(buffer), begin + MAX_FILE)
        position = begin + max(self._searched, len(_START))
        while (found := buffer.find(_ESCAPE, position, limit)) >= 0:
            position = found
            if position + 8 > limit:
                break
            following = buffer[position + 4 : position + 8]
            if following == _ESCAPE:
                position += 8
            elif following == b"\x01\x01\x01\x01":
                return -(position - begin)  # the end was lost, and the next file has begun
            elif (position - begin) % 4:
                position += 1  # padding puts the end at a multiple of four: this is payload
            elif following[0] == 0x1A:
                return position + 8
            else:
                return -(position - begin)
        if found < 0:
            position = max(limit - 3, position)
        self._searched = position - begin
        return None


def _decode(raw: bytes, at: int, events: list[Event]) -> None:
    payload = raw[8:-8].replace(_ESCAPE + _ESCAPE, _ESCAPE)
    pad = raw[-3]
    if pad > 3:
        events.append(Problem("value", at, raw, "more padding than there can be"))
        return
    cursor = _Cursor(payload[: len(payload) - pad])
    values: list[Value] = []
    found: dict[str, Decimal | None] = {}
    server = b""
    try:
        while not cursor.done():
            body = _body(cursor.item())
            if body is None:
                continue
            server = body[1] if isinstance(body[1], bytes) else server
            entries = body[4] if isinstance(body[4], list) else []
            status = _status(entries)
            for entry in entries:
                server = _put(entry, server, status, values, found)
    except _SmlError as error:
        events.append(Problem("value", at, raw, str(error)))
    texts = {"server_id_hex": server.hex()} if server else {}
    events.append(
        Frame(
            PROTOCOL,
            "data",
            at,
            raw,
            Proof.CRC,
            server.hex(),
            tuple(values),
            obis.normalize(found),
            texts,
        )
    )


def _body(message: Item) -> Sequence[Item] | None:
    """Return the seven elements of a GetList response; None for any other message."""
    if not isinstance(message, list) or len(message) < 4:
        return None
    choice = message[3]
    if not isinstance(choice, list) or len(choice) != 2 or choice[0] != _GET_LIST_RESPONSE:
        return None
    body = choice[1]
    return body if isinstance(body, list) and len(body) == 7 else None


def _status(entries: Sequence[Item]) -> _Integer | None:
    """Return the status word of 1.8.0; None if there is none."""
    for entry in entries:
        if isinstance(entry, list) and len(entry) == 7 and entry[0] == b"\x01\x00\x01\x08\x00\xff":
            return entry[1] if isinstance(entry[1], _Integer) else None
    return None


def _put(
    entry: Item,
    server: bytes,
    status: _Integer | None,
    values: list[Value],
    found: dict[str, Decimal | None],
) -> bytes:
    """Take one entry of the value list; return the server id, which it may hold."""
    if not isinstance(entry, list) or len(entry) != 7:
        return server
    name, _, _, unit, scaler, value, _ = entry
    if not isinstance(name, bytes) or len(name) != 6:
        return server
    code = f"{name[0]}-{name[1]}:{name[2]}.{name[3]}.{name[4]}*{name[5]}"
    if code in _SERVER_IDS and isinstance(value, bytes) and value:
        return server or value
    if not isinstance(value, _Integer) or isinstance(scaler, bytes | list):
        return server
    if abs(int(scaler or 0)) > _MOST_SCALE:
        return server
    number = int(value)
    short = f"{name[2]}.{name[3]}.{name[4]}"
    if number < 0 and value.size <= 3 and _wrongly_signed(server, short, status):
        number %= 1 << (8 * value.size)
    shown = _UNITS.get(int(unit), "") if isinstance(unit, _Integer) else ""
    scaled = Decimal(number).scaleb(int(scaler or 0))
    if shown:
        values.append(Value(code, scaled, shown))
    if short == "1.7.1":
        short = "1.7.0"  # old Hager meters
    if name[:2] == b"\x01\x00" and name[5] == 0xFF and obis.quantity(short):
        found.setdefault(short, obis.scaled(short, scaled, shown))
    if code == "1-0:15.7.0*255" and shown == "W" and status is not None:
        # EMH ED300L sends the size of the power; its direction stands in the status word.
        found.setdefault("1.7.0", -scaled if status & _FEEDING_IN else scaled)
    return server


def _wrongly_signed(server: bytes, short: str, status: _Integer | None) -> bool:
    """Say whether a power below zero is one of DZG's that flows the other way."""
    if b"DZG" not in server or len(server) < 4 or short not in _DZG_BACK:
        return False
    serial = int.from_bytes(server[-4:], "big")
    if short == "16.7.0" and any(serial in faulty for faulty in _DZG_FAULTY):
        return True
    return status is not None and not status & _DZG_BACK[short]


class _Cursor:
    """Reads type-length-value items; ``_SmlError`` for what cannot be."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def done(self) -> bool:
        return self._position >= len(self._data)

    def item(self, depth: int = 0) -> Item:
        """Return the next item: list, integer, octets, truth value, or None if absent."""
        data, position = self._data, self._position
        if position >= len(data):
            raise _SmlError("the file ends in the middle of an item")
        first = data[position]
        self._position = position + 1
        kind, length = first >> 4 & 7, first & 0x0F
        if first & 0x80:
            length = self._long(length)
        elif kind != 7 and length:  # 00 ends a message; everywhere else the head counts itself
            length -= 1
        if kind == 7:
            if depth >= _MAX_DEPTH:
                raise _SmlError("lists nested too deeply")
            if length > len(data) - self._position:
                raise _SmlError("a list longer than the file")
            return [self.item(depth + 1) for _ in range(length)]
        part = self._take(length)
        if kind == 0:
            return part or None
        if kind == 4:
            return any(part)
        if kind in (5, 6) and 1 <= length <= 8:
            result = _Integer(int.from_bytes(part, "big", signed=kind == 5))
            result.size, result.signed = length, kind == 5
            return result
        raise _SmlError(f"an item of the unknown type {kind}")

    def _long(self, length: int) -> int:
        """Return a length whose head goes on: elements of a list, bytes behind the head else."""
        data, begin = self._data, self._position - 1
        kind, following = data[begin] >> 4 & 7, 0x80
        while following & 0x80:
            following = self._take(1)[0]
            length = length << 4 | following & 0x0F
            if self._position - begin > 4:
                raise _SmlError("a length that no item can have")
        return length if kind == 7 else max(0, length - (self._position - begin))

    def _take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise _SmlError("the file ends in the middle of an item")
        part = self._data[self._position : end]
        self._position = end
        return part
