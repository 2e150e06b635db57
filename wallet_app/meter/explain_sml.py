"""SML files, item by item (docs/meter-protocols.md section 8)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from wallet_app.i18n import tr
from wallet_app.meter import crc
from wallet_app.meter.events import plain
from wallet_app.meter.explain_fields import Field, Pieces
from wallet_app.meter.names import obis_name

_ESCAPE = b"\x1b\x1b\x1b\x1b"
_MOST_ITEMS, _MAX_DEPTH = 3000, 10
_UNITS = {30: "Wh", 27: "W", 35: "V", 33: "A", 44: "Hz", 28: "VA", 29: "var", 8: "°"}


def explain_sml(raw: bytes) -> list[Field]:
    """Return the fields of one SML file, damaged or not, from its escape sequence on."""
    out = Pieces(raw)
    out.mark(_ESCAPE, tr("Escape"))
    out.mark(b"\x01\x01\x01\x01", tr("Start"))
    whole = len(raw) >= 16 and raw[-8:-3] == _ESCAPE + b"\x1a"
    body = raw[8:-8] if whole else raw[8:]
    pad = raw[-3] if whole and raw[-3] <= 3 else 0
    plain, where = _unescaped(body)
    walk = _Walk(plain[: len(plain) - pad])
    while walk.out.left and walk.message():
        pass
    walk.out.rest(0, tr("Not explained"))
    for each in walk.out.fields:
        # Escape sequences inside are doubled on the wire: a field can be longer than it says.
        start, end = where[each.at], where[each.at + each.length]
        moved = Field(8 + start, end - start, each.name, each.text, each.depth, each.good)
        out.take([moved], 0)
    if not whole:
        out.rest(0, tr("Not explained"))
        return out.fields
    out.rest(8, tr("Padding"), tr("fills up to a multiple of four"))
    out.mark(_ESCAPE, tr("Escape"))
    out.mark(b"\x1a", tr("End"))
    out.number(1, tr("Padding bytes"))
    out.checksum(_right_sum(raw), tr("Check sum of the file"))
    return out.fields


def _right_sum(raw: bytes) -> bytes:
    sent, body = raw[-2:], raw[:-2]
    kermit = crc.kermit(body)
    accepted = (kermit.to_bytes(2, "little"), kermit.to_bytes(2, "big"))
    return sent if sent in accepted else crc.x25(body).to_bytes(2, "little")


def _unescaped(body: bytes) -> tuple[bytes, list[int]]:
    """Return the payload without doubled escapes, and where each of its bytes was."""
    plain, where, at = bytearray(), [], 0
    while at < len(body):
        if body[at : at + 8] == _ESCAPE + _ESCAPE:
            where += [at, at + 1, at + 2, at + 3]
            plain += _ESCAPE
            at += 8
        else:
            where.append(at)
            plain.append(body[at])
            at += 1
    return bytes(plain), [*where, len(body)]


@dataclass(slots=True)
class _Entry:
    """What the elements of the present entry of a value list said so far."""

    code: str = ""
    unit: str = ""
    scaler: int = 0


class _Walk:
    """Reads type-length-value items into fields; bounded whatever the bytes say."""

    def __init__(self, data: bytes) -> None:
        self.out = Pieces(data)
        self._items = 0
        self._choice = 0

    def message(self) -> bool:
        """Add one message; False when nothing further can be read."""
        if self.out.peek() == b"\x00":
            self.out.add(1, tr("End of the message"))
            return True
        names = (
            tr("Number of the transaction"),
            tr("Group"),
            tr("Abort on error"),
            tr("Message"),
            tr("Check sum of the message"),
            tr("End of the message"),
        )
        return self._item(tr("Message"), names, _Entry(), 0)

    def _item(self, name: str, inside: Sequence[str], entry: _Entry, depth: int) -> bool:
        out = self.out
        self._items += 1
        if not out.left or self._items > _MOST_ITEMS or depth > _MAX_DEPTH:
            return False
        heads, kind, length = _head(out.peek(4))
        if kind == 7:
            text = tr("{number} elements", number=length)
            out.add(heads, name or tr("List"), text, depth=depth)
            return self._elements(inside, length, depth)
        size = max(heads, length)
        part = out.peek(size)[heads:]
        if kind not in (0, 4, 5, 6):
            out.rest(0, tr("Unknown type {tag}", tag=str(kind)), depth=depth)
            return False
        text = self._text(kind, part, name, entry)
        out.add(size, name or tr("End of the message"), text, depth=depth)
        return True

    def _elements(self, inside: Sequence[str], length: int, depth: int) -> bool:
        entry = _Entry()
        entries = inside is _entries_names()
        for index in range(min(length, _MOST_ITEMS)):
            name = inside[index] if index < len(inside) else ""
            below: Sequence[str] = ()
            if entries:
                name, below = tr("Value"), _entry_names()
            elif name == tr("Message") and depth == 0:
                below = (tr("Kind of message"), tr("Contents"))
            elif name == tr("Contents"):
                below = _contents_names(self._choice)
            elif name == tr("Values"):
                below = _entries_names()
            if not self._item(name or tr("Element"), below, entry, depth + 1):
                return False
        return True

    def _text(self, kind: int, part: bytes, name: str, entry: _Entry) -> str:
        if kind == 0:
            return self._octets(part, name, entry)
        if kind == 4:
            return tr("yes") if any(part) else tr("no")
        number = int.from_bytes(part, "big", signed=kind == 5)
        if name == tr("Kind of message"):
            self._choice = number
            kinds = {0x0101: tr("open"), 0x0701: tr("list of values"), 0x0201: tr("close")}
            return kinds.get(number, f"{number:04X}")
        if name == tr("Unit"):
            entry.unit = _UNITS.get(number, "")
            return entry.unit or str(number)
        if name == tr("Scaler"):
            entry.scaler = number
            return f"×10^{number}"
        if name == tr("Number") and entry.code:
            scaler = entry.scaler if abs(entry.scaler) <= 20 else 0
            return f"{plain(Decimal(number).scaleb(scaler))} {entry.unit}".strip()
        return str(number)

    def _octets(self, part: bytes, name: str, entry: _Entry) -> str:
        if not part:
            return "" if name == tr("End of the message") else tr("absent")
        if name == tr("Code") and len(part) == 6:
            entry.code = f"{part[0]}-{part[1]}:{part[2]}.{part[3]}.{part[4]}"
            return f"{entry.code} {obis_name(entry.code)}".strip()
        if re.fullmatch(rb"[\x20-\x7e]+", part):
            return part.decode("ascii")
        return part.hex(" ").upper()


def _contents_names(choice: int) -> Sequence[str]:
    if choice != 0x0701:
        return ()
    return (
        tr("Client"),
        tr("Number of the meter"),
        tr("List"),
        tr("Time of the sensor"),
        tr("Values"),
        tr("Signature"),
        tr("Time of the gateway"),
    )


_ENTRIES: Sequence[str] = ("values",)


def _entries_names() -> Sequence[str]:
    return _ENTRIES


def _entry_names() -> Sequence[str]:
    return (
        tr("Code"),
        tr("Status"),
        tr("Time"),
        tr("Unit"),
        tr("Scaler"),
        tr("Number"),
        tr("Signature"),
    )


def _head(data: bytes) -> tuple[int, int, int]:
    """Return how many bytes the head takes, the type, and elements or bytes including the head."""
    first = data[0]
    kind, length, heads = first >> 4 & 7, first & 0x0F, 1
    while data[heads - 1] & 0x80 and heads < len(data):
        length, heads = length << 4 | data[heads] & 0x0F, heads + 1
    return heads, kind, length
