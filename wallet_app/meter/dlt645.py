"""DL/T 645-2007: frames, values, and the few requests that may be sent (docs/meter-protocols.md 4).

``68 | address ×6 | 68 | control | length | data + 33h each | sum | 16``; everything low byte first.
The 1997 edition has the same frame with two-byte identifiers; it is recognised, and its energies
and present values are read.

Reading only, by construction: :func:`read_request` refuses identifiers that are not on its list,
and no function builds any other command.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from wallet_app.i18n import tr
from wallet_app.meter.events import Event, Frame, Problem, Proof, StreamParser, Value

PROTOCOL = "dlt645"
WILDCARD = "AAAAAAAAAAAA"
IMPORT_TOTAL, EXPORT_TOTAL = 0x00010000, 0x00020000
IMPORT_BLOCK, EXPORT_BLOCK = 0x0001FF00, 0x0002FF00
VOLTAGES, CURRENTS, POWERS, POWER_TOTAL = 0x0201FF00, 0x0202FF00, 0x0203FF00, 0x02030000
VOLTAGE_A, CURRENT_A, FREQUENCY = 0x02010100, 0x02020100, 0x02800002
DATE, TIME = 0x04000101, 0x04000102
_REGISTERS = (IMPORT_TOTAL, EXPORT_TOTAL, IMPORT_BLOCK, EXPORT_BLOCK)
_PRESENT = (VOLTAGES, CURRENTS, POWERS, POWER_TOTAL, VOLTAGE_A, CURRENT_A, FREQUENCY)
READABLE = frozenset((*_REGISTERS, *_PRESENT, DATE, TIME, 0x04000401, 0x04000402))
"""The only identifiers :func:`read_request` asks for."""

_MINUS_33 = bytes((i - 0x33) & 0xFF for i in range(256))
_PLUS_33 = bytes((i + 0x33) & 0xFF for i in range(256))
_WAKE_UP = b"\xfe\xfe\xfe\xfe"
_HEAD, _TAIL = 10, 2
_FROM_METER, _ERROR, _MORE = 0x80, 0x40, 0x20
_READ, _READ_MORE, _READ_ADDRESS = 0x11, 0x12, 0x13
_READ_1997, _READ_MORE_1997 = 0x01, 0x02
_BLOCK_END = 0xAA  # the 1997 edition ends blocks with it, and some later meters do
_ERROR_BITS = (
    "other error",
    "no such data",
    "not authorised",
    "baud rate cannot be changed",
    "too many seasons",
    "too many day slots",
    "too many tariffs",
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """How one value is written: ``size`` bytes of BCD, ``places`` decimals, top bit a sign or not.

    ``key`` is its common name or "" for values that have none; ``shift`` the power of ten from
    ``unit`` to the unit of the common name.
    """

    code: str
    size: int
    places: int
    signed: bool
    unit: str
    key: str = ""
    shift: int = 0


_ENERGY = {0x0001: "import", 0x0002: "export"}
_COMBINED = {0x0000: "kWh", 0x0003: "kvarh", 0x0004: "kvarh"}
_PHASE_ENERGY = {0x15: "import", 0x29: "import", 0x3D: "import"}
_PHASE_ENERGY |= {0x16: "export", 0x2A: "export", 0x3E: "export"}
# high word: size, decimals, signed, unit, common name with {} for the phase, shift, has a total
_INSTANT: Mapping[int, tuple[int, int, bool, str, str, int, bool]] = {
    0x0201: (2, 1, False, "V", "voltage{}_v", 0, False),
    0x0202: (3, 3, True, "A", "current{}_a", 0, False),
    0x0203: (3, 4, True, "kW", "power{}_w", 3, True),
    0x0204: (3, 4, True, "kvar", "", 0, True),
    0x0205: (3, 4, False, "kVA", "", 0, True),
    0x0206: (2, 3, True, "", "power_factor{}", 0, True),
}

# 1997 edition, the identifier's last digit the phase: size, decimals, unit, common name with {}
# for the phase, shift, first phase. Its powers have no sign.
_INSTANT_1997: Mapping[int, tuple[int, int, str, str, int, int]] = {
    0xB610: (2, 0, "V", "voltage{}_v", 0, 1),
    0xB620: (2, 2, "A", "current{}_a", 0, 1),
    0xB630: (3, 4, "kW", "power{}_w", 3, 0),
    0xB650: (2, 3, "", "power_factor{}", 0, 0),
}


class Dlt645Parser(StreamParser):
    """Finds DL/T 645 frames in a stream of bytes and decodes what a meter replied.

    Events: ``Frame`` with kind ``data``, ``address``, ``error``, ``request`` (an echo, or another
    master) or ``other``; ``details`` has ``control``, ``edition`` and ``di``. ``Problem`` with kind
    ``checksum``, ``framing`` (end byte), ``incomplete``, ``length``, ``value`` or ``error_reply``.
    """

    protocol = PROTOCOL

    def _step(self, start: int, events: list[Event], final: bool) -> int | None:
        buffer = self._buffer
        begin = buffer.find(0x68, start)
        if begin < 0:
            return len(buffer)
        held = len(buffer) - begin
        if held > 7 and buffer[begin + 7] != 0x68:
            return begin + 1
        length = _HEAD + _TAIL + (buffer[begin + 9] if held > 9 else 0)
        if held < length:
            if not final:
                return begin if begin > start else None
            if held > 9:
                self._problem(events, "incomplete", begin, bytes(buffer[begin:]))
            return begin + 1
        raw = bytes(buffer[begin : begin + length])
        if sum(raw[:-2]) & 0xFF != raw[-2]:
            self._problem(events, "checksum", begin, raw)
            return begin + 1
        if raw[-1] != 0x16:
            self._problem(events, "framing", begin, raw, "the end byte is not 16")
            return begin + 1
        _decode(raw, self._offset + begin, events)
        return begin + length

    def _problem(
        self, events: list[Event], kind: str, begin: int, raw: bytes, text: str = ""
    ) -> None:
        events.append(Problem(kind, self._offset + begin, raw, text))


def read_request(address: str, di: int) -> bytes:
    """Return the request for one identifier of :data:`READABLE`; ``ValueError`` for any other."""
    if di not in READABLE:
        raise ValueError(f"the identifier {di:08X} is not on the list of what may be read")
    return _WAKE_UP + encode(address, _READ, di.to_bytes(4, "little"))


def address_request() -> bytes:
    """Return the request that asks the only meter on the line for its address."""
    return _WAKE_UP + encode(WILDCARD, _READ_ADDRESS, b"")


def encode(address: str, control: int, data: bytes) -> bytes:
    """Return a frame without wake-up bytes; ``data`` is plain (33h is added here)."""
    body = bytearray(b"\x68" + address_bytes(address) + b"\x68")
    body += bytes((control, len(data))) + data.translate(_PLUS_33)
    return bytes(body) + bytes((sum(body) & 0xFF, 0x16))


def address_bytes(address: str) -> bytes:
    """Return the six address bytes, lowest digits first; ``ValueError`` if it is no address."""
    if not 1 <= len(address) <= 12 or not set(address) <= set("0123456789ABCDEFabcdef"):
        raise ValueError(
            tr(
                "{address} is no meter address: up to 12 digits, as printed on it",
                address=repr(address),
            )
        )
    return bytes.fromhex(address.zfill(12))[::-1]


def wanted(request: bytes) -> tuple[str, str]:
    """Return the (address, identifier) a request asks for, "" for any; ``ValueError`` if none."""
    parser = Dlt645Parser()
    frames = [e for e in parser.feed(request) + parser.finish() if isinstance(e, Frame)]
    if len(frames) != 1 or frames[0].kind != "request":
        raise ValueError("the request holds no DL/T 645 request frame with a right sum")
    address = frames[0].meter_id
    anyone = set(address) in ({"A"}, {"9"})
    return "" if anyone else address, str(frames[0].details.get("di", ""))


def check_reply(frame: Frame, address: str, di: str = "") -> Problem | None:
    """Say what is wrong with a reply to a request for ``address`` and ``di`` ("" = any)."""
    if address and frame.meter_id != address:
        return Problem("other_meter", frame.at, frame.raw, f"from meter {frame.meter_id}")
    if di and frame.kind == "data" and frame.details.get("di") != di:
        return Problem("other_identifier", frame.at, frame.raw, f"{frame.details.get('di')}")
    return None


def _decode(raw: bytes, at: int, events: list[Event]) -> None:
    address = raw[6:0:-1].hex().upper()
    control, data = raw[8], raw[10:-2].translate(_MINUS_33)
    function = control & 0x1F
    old = function in (_READ_1997, _READ_MORE_1997)
    details: dict[str, str | int] = {"control": f"{control:02X}", "edition": 1997 if old else 2007}
    if not control & _FROM_METER:
        size = 2 if old else 4
        if function in (_READ, _READ_MORE, _READ_1997, _READ_MORE_1997) and len(data) >= size:
            details["di"] = data[size - 1 :: -1].hex().upper()
        events.append(_frame("request", raw, at, address, details))
    elif control & _ERROR:
        text = _error_text(data)
        events.append(_frame("error", raw, at, address, details | {"error": text}))
        events.append(Problem("error_reply", at, raw, text))
    elif function == _READ_ADDRESS:
        _decode_address(raw, at, address, data, details, events)
    elif function in (_READ, _READ_1997):
        _decode_data(raw, at, address, data, details, events)
    else:
        events.append(_frame("other", raw, at, address, details))


def _decode_address(
    raw: bytes,
    at: int,
    sender: str,
    data: bytes,
    details: dict[str, str | int],
    events: list[Event],
) -> None:
    if len(data) != 6:
        events.append(Problem("length", at, raw, "an address reply has six bytes"))
        return
    address = data[::-1].hex().upper()
    # Both places name the meter; when they differ, neither is to be believed.
    if set(sender) != {"A"} and sender != address:
        events.append(Problem("value", at, raw, "the address differs from the frame's"))
        return
    events.append(_frame("address", raw, at, address, details))


def _decode_data(
    raw: bytes,
    at: int,
    address: str,
    data: bytes,
    details: dict[str, str | int],
    events: list[Event],
) -> None:
    size = 2 if details["edition"] == 1997 else 4
    if len(data) < size:
        events.append(Problem("length", at, raw, "the reply names no data identifier"))
        return
    di, payload = int.from_bytes(data[:size], "little"), data[size:]
    details["di"] = data[size - 1 :: -1].hex().upper()
    more = raw[8] & _MORE
    if more:
        details["more_follows"] = 1
    quantities, held = _layout(size, di, len(payload))
    if held + 1 == len(payload) and payload[-1] == _BLOCK_END and _is_block(di, size):
        payload = payload[:-1]
    if quantities and (held > len(payload) or (held < len(payload) and not more)):
        text = f"{len(payload)} bytes of data do not fit the identifier {details['di']}"
        events.append(Problem("length", at, raw, text))
        return
    values: list[Value] = []
    normalized: dict[str, Decimal] = {}
    position = 0
    for quantity in quantities:
        part = payload[position : position + quantity.size]
        position += quantity.size
        try:
            value = bcd(part, quantity.places, signed=quantity.signed)
        except ValueError as error:
            events.append(Problem("value", at, raw, f"{quantity.code}: {error}"))
            continue
        if value is not None:
            values.append(Value(quantity.code, value, quantity.unit))
            if quantity.key:
                normalized[quantity.key] = value.scaleb(quantity.shift) if quantity.shift else value
    if len(normalized) > 1 and not _tariffs_fit(normalized):
        # The sum passes two errors that cancel out; the total of a block does not.
        events.append(Problem("value", at, raw, "the total differs from the sum of tariffs"))
        normalized = {}
    frame = _frame("data", raw, at, address, details, tuple(values), normalized)
    events.append(frame)


def _tariffs_fit(normalized: Mapping[str, Decimal]) -> bool:
    for direction in ("import", "export"):
        total = normalized.get(f"{direction}_kwh")
        parts = [v for k, v in normalized.items() if k.startswith(f"{direction}_t")]
        # Each tariff is rounded; more than the total they can never be.
        if total is not None and sum(parts) - total > Decimal("0.02") * len(parts):
            return False
    return True


@lru_cache(256)
def _layout(size: int, di: int, length: int) -> tuple[Sequence[Quantity], int]:
    """Return what ``length`` bytes behind an identifier of ``size`` are made of, and how many."""
    find = _quantities_1997 if size == 2 else _quantities
    quantities = find(di, length)
    return quantities, sum(quantity.size for quantity in quantities)


def _is_block(di: int, size: int) -> bool:
    return di & 0x0F == 0x0F if size == 2 else di >> 8 & 0xFF == 0xFF


def bcd(part: bytes, places: int, *, signed: bool) -> Decimal | None:
    """Return packed BCD, low byte first, as a number; None if all FF; ``ValueError`` if not BCD."""
    if part.count(0xFF) == len(part):
        return None
    digits = part[::-1].hex()
    negative = signed and digits[0] >= "8"
    if negative:
        digits = f"{int(digits[0], 16) - 8}{digits[1:]}"
    if not digits.isdecimal():
        raise ValueError("a digit above 9")
    value = Decimal(f"{digits[:-places]}.{digits[-places:]}" if places else digits)
    return -value if negative and value else value


def _quantities(di: int, length: int) -> list[Quantity]:
    """Return what the payload of identifier ``di`` is made of; [] when it is not known."""
    high, item, last = di >> 16, di >> 8 & 0xFF, di & 0xFF
    if last and di != FREQUENCY and di != 0x02800007:
        return []  # history (a past settlement day) is never a current value
    if high in _ENERGY:
        tariffs = range(min(length // 4, 64)) if item == 0xFF else [item]
        return [_energy(high, tariff) for tariff in tariffs if tariff < 64]
    if high in _COMBINED and item == 0:
        return [Quantity(f"{di:08X}", 4, 2, True, _COMBINED[high])]
    if high in _PHASE_ENERGY and item == 0:
        return [Quantity(f"{di:08X}", 4, 2, False, "kWh")]
    if high in _INSTANT:
        return _instant(high, item)
    if di == FREQUENCY:
        return [Quantity(f"{di:08X}", 2, 2, False, "Hz", "frequency_hz")]
    if di == 0x02800007:
        return [Quantity(f"{di:08X}", 2, 1, True, "°C")]
    return []


def _energy(high: int, tariff: int) -> Quantity:
    middle = f"_t{tariff}" if tariff else ""
    code = f"{high << 16 | tariff << 8:08X}"
    return Quantity(code, 4, 2, False, "kWh", f"{_ENERGY[high]}{middle}_kwh")


def _instant(high: int, item: int) -> list[Quantity]:
    size, places, signed, unit, key, shift, has_total = _INSTANT[high]
    first = 0 if has_total else 1
    phases = range(first, 4) if item == 0xFF else [item]
    if item != 0xFF and not first <= item <= 3:
        return []
    return [
        Quantity(
            f"{high << 16 | phase << 8:08X}",
            size,
            places,
            signed,
            unit,
            key.format(f"_l{phase}" if phase else ""),
            shift,
        )
        for phase in phases
    ]


def _quantities_1997(di: int, length: int) -> list[Quantity]:
    group = {0x901: "import", 0x902: "export"}.get(di >> 4)
    if group:
        item = di & 0xF
        tariffs = range(min(length // 4, 15)) if item == 0xF else [item]
        return [
            Quantity(
                f"{di & 0xFFF0 | t:04X}",
                4,
                2,
                False,
                "kWh",
                f"{group}_t{t}_kwh" if t else f"{group}_kwh",
            )
            for t in tariffs
        ]
    known = _INSTANT_1997.get(di & 0xFFF0)
    if known is None:
        return []
    size, places, unit, key, shift, first = known
    item = di & 0xF
    phases = range(first, 4) if item == 0xF else [item]
    if item != 0xF and not first <= item <= 3:
        return []
    return [
        Quantity(
            f"{di & 0xFFF0 | n:04X}",
            size,
            places,
            False,
            unit,
            key.format(f"_l{n}" if n else ""),
            shift,
        )
        for n in phases
    ]


def _frame(
    kind: str,
    raw: bytes,
    at: int,
    address: str,
    details: Mapping[str, str | int],
    values: tuple[Value, ...] = (),
    normalized: Mapping[str, Decimal] | None = None,
) -> Frame:
    texts = {"meter_id": address} if kind in ("data", "address") else {}
    return Frame(
        PROTOCOL, kind, at, raw, Proof.BCC, address, values, normalized or {}, texts, details
    )


def _error_text(data: bytes) -> str:
    if len(data) != 1:
        return "error"
    named = [text for bit, text in enumerate(_ERROR_BITS) if data[0] >> bit & 1]
    return ", ".join(named) or "error"
