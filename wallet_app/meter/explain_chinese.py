"""DL/T 645 and DL/T 698.45 frames, field by field (docs/meter-protocols.md sections 4 and 5)."""

from collections.abc import Mapping
from decimal import Decimal

from wallet_app.i18n import tr
from wallet_app.meter import crc, dlt645, dlt698
from wallet_app.meter.events import Frame, plain
from wallet_app.meter.explain_axdr import DLT698, explain_data
from wallet_app.meter.explain_fields import Field, Pieces
from wallet_app.meter.names import value_name

_MINUS_33 = bytes((i - 0x33) & 0xFF for i in range(256))
# High word of an identifier → bytes of one value (docs/meter-protocols.md 4).
_SIZES_645 = {0x0201: 2, 0x0202: 3, 0x0203: 3, 0x0204: 3, 0x0205: 3, 0x0206: 2, 0x0280: 2}


def explain_645(raw: bytes) -> list[Field]:
    """Return the fields of one DL/T 645 frame, damaged or not, from its first 68."""
    out = Pieces(raw)
    out.mark(b"\x68", tr("Start"))
    address = out.peek(6)
    out.add(6, tr("Address"), _digits(address))
    out.mark(b"\x68", tr("Start of the command"))
    control = out.peek()[0] if out.left else 0
    out.add(1, tr("Control"), _control_645(control))
    length = out.number(1, tr("Length of the data"))
    data = out.peek(min(length, max(0, out.left - 2)))
    _data_645(out, data.translate(_MINUS_33), control, _decoded(dlt645.Dlt645Parser(), raw))
    _close_645(out, raw)
    return out.fields


def _close_645(out: Pieces, raw: bytes) -> None:
    out.rest(2, tr("Data"))
    if out.left:
        out.checksum(bytes((sum(raw[: out.at]) & 0xFF,)), tr("Check sum"))
    if out.left:
        out.mark(b"\x16", tr("End"))
    out.rest(0, tr("Behind the end"))


def _control_645(control: int) -> str:
    function = control & 0x1F
    what = {
        0x01: tr("read (1997 edition)"),
        0x11: tr("read"),
        0x02: tr("read what follows (1997 edition)"),
        0x12: tr("read what follows"),
        0x13: tr("read the address"),
    }.get(function, tr("command {number}", number=f"{function:02X}"))
    if not control & 0x80:
        return tr("request: {what}", what=what)
    if control & 0x40:
        return tr("the meter refuses: {what}", what=what)
    text = tr("reply: {what}", what=what)
    return f"{text}, {tr('more follows')}" if control & 0x20 else text


def _data_645(out: Pieces, data: bytes, control: int, frame: Frame | None) -> None:
    """Explain the data field; ``data`` are its bytes less 33h."""
    reply, function = bool(control & 0x80), control & 0x1F
    if reply and control & 0x40:
        reason = str(frame.details.get("error", "")) if frame else ""
        if data:
            out.add(1, tr("Reason"), f"{data[:1].hex().upper()} {reason}".strip())
        return
    if function == 0x13:
        if len(data) == 6:
            out.add(6, tr("Address of the meter"), _digits(data))
        return
    size = 2 if function in (1, 2) else 4
    if function not in (0x01, 0x02, 0x11, 0x12) or len(data) < size:
        return
    identifier = data[size - 1 :: -1].hex().upper()
    out.add(size, tr("Identifier"), f"{identifier} {_identifier_name(identifier)}".strip())
    payload = data[size:]
    if not reply or not payload:
        return
    high = int(identifier[:4], 16) if size == 4 else 0
    width = _SIZES_645.get(high, 4 if high < 0x0100 and size == 4 else 0)
    if size == 2:
        width = 2 if identifier.startswith("B6") else 4
    if not width or len(payload) % width:
        return
    values = {v.code: f"{plain(v.value)} {v.unit}".strip() for v in frame.values} if frame else {}
    for code in _codes_645(identifier, len(payload) // width):
        text = values.get(code, tr("no value"))
        out.add(width, _identifier_name(code) or code, text, depth=1)


def _codes_645(identifier: str, count: int) -> list[str]:
    """Return the identifiers of the values in the block ``identifier``, one each."""
    if len(identifier) == 4:
        base = int(identifier, 16)
        first = base & 0xFFF0 if base & 0xF == 0xF else base
        return [f"{first + n:04X}" for n in range(count)]
    if identifier[4:6] != "FF":
        return [identifier] * count
    first = 1 if identifier[:4] in ("0201", "0202") else 0
    return [f"{identifier[:4]}{first + n:02X}{identifier[6:]}" for n in range(count)]


def _identifier_name(identifier: str) -> str:
    if len(identifier) == 4:
        group = {"901": "import_kwh", "902": "export_kwh", "B61": "voltage"}.get(identifier[:3], "")
        return _numbered(group, int(identifier[3], 16), "F") if group else ""
    fixed = {
        "02800002": tr("Frequency"),
        "02800007": tr("Temperature"),
        "04000101": tr("Date"),
        "04000102": tr("Time"),
        "04000401": tr("Address"),
        "04000402": tr("Number of the meter"),
        "00000000": tr("Both directions together, no import"),
    }.get(identifier)
    if fixed:
        return fixed
    group = {
        "0001": "import_kwh",
        "0002": "export_kwh",
        "0201": "voltage",
        "0202": "current",
        "0203": "power",
        "0206": "power_factor",
    }.get(identifier[:4], "")
    if group:
        return _numbered(group, int(identifier[4:6], 16), identifier[4:6])
    other = {"0204": tr("Reactive power"), "0205": tr("Apparent power")}
    return other.get(identifier[:4], "")


def _numbered(group: str, number: int, shown: str) -> str:
    """Return the name of total, tariff, phase or block ``number`` of a group of values."""
    if group.endswith("_kwh"):
        name = value_name(group)
        if shown in ("FF", "F"):
            return tr("{name}, total and tariffs", name=name)
        return name if not number else tr("{name}, tariff {number}", name=name, number=number)
    if shown in ("FF", "F"):
        return tr("{name}, all phases", name=value_name(f"{group}_l1").rpartition(",")[0])
    total = f"{group}_w" if group == "power" else group
    return value_name(f"{group}_l{number}" if number else total)


def explain_698(raw: bytes) -> list[Field]:
    """Return the fields of one DL/T 698.45 frame, damaged or not, from its 68."""
    out = Pieces(raw)
    out.mark(b"\x68", tr("Start"))
    word = int.from_bytes(out.peek(2), "little")
    out.add(2, tr("Length"), str(word & 0x3FFF))
    control = out.peek()[0] if out.left else 0
    out.add(1, tr("Control"), _control_698(control))
    flag = out.peek()[0] if out.left else 0
    kinds = (tr("one meter"), tr("any meter"), tr("group"), tr("everybody"))
    size = (flag & 0x0F) + 1
    text = f"{kinds[flag >> 6]}, {tr('{number} bytes', number=size)}"
    out.add(1, tr("Kind of address"), text)
    out.add(size, tr("Address"), _digits(out.peek(size)))
    out.add(1, tr("Client"), out.peek().hex().upper())
    if out.left:
        out.checksum(crc.x25(raw[1 : out.at]).to_bytes(2, "little"), tr("Check sum of the header"))
    apdu = raw[out.at : max(out.at, len(raw) - 3)]
    if control & 0x08:
        apdu = apdu.translate(_MINUS_33)
    inner = Pieces(apdu)
    if control & 0x20:
        inner.rest(0, tr("A part of a longer reply"))
    else:
        _apdu_698(inner)
    out.take(inner.fields, out.at)
    if out.left:
        right = crc.x25(raw[1 : out.at]).to_bytes(2, "little")
        out.checksum(right, tr("Check sum of the frame"))
    if out.left:
        out.mark(b"\x16", tr("End"))
    out.rest(0, tr("Behind the end"))
    return out.fields


def _control_698(control: int) -> str:
    text = {
        0x43: tr("request"),
        0xC3: tr("reply"),
        0x81: tr("the meter logs in by itself"),
        0x01: tr("answer to a login"),
    }.get(control & 0xC7, f"{control:02X}")
    if control & 0x20:
        text += f", {tr('a part of a longer reply')}"
    return f"{text}, {tr('33h was added to every byte')}" if control & 0x08 else text


def _apdu_698(out: Pieces) -> None:
    head = out.peek(2)
    if head[:1] == b"\x90":
        _secured_698(out)
        return
    names = {
        b"\x05\x01": tr("read one object"),
        b"\x05\x02": tr("read several objects"),
        b"\x85\x01": tr("one object"),
        b"\x85\x02": tr("several objects"),
    }
    if head not in names:
        out.rest(0, tr("Message"), tr("not a reading: not explained"))
        return
    out.add(2, tr("Service"), names[head])
    out.number(1, tr("Number of the question"))
    count = out.number(1, tr("Objects")) if head[1] == 2 else 1
    for _ in range(min(count, 64)):
        if not out.left:
            return
        code = out.peek(4).hex().upper()
        out.add(4, tr("Object"), f"{code} {_OBJECTS_698.get(code[:4], lambda: '')()}".strip())
        if head[0] == 0x85 and out.left:
            _result_698(out, code)
    if head[0] == 0x85 and out.left >= 2:
        out.add(1, tr("Follow-up report"), tr("none") if out.peek() == b"\x00" else "")
    out.rest(0, tr("Time tag"), tr("none") if out.data[out.at :] == b"\x00" else "")


def _result_698(out: Pieces, code: str) -> None:
    result = out.peek()[0]
    if result == 0:
        out.add(1, tr("Result"), tr("refused"), depth=1)
        if out.left:
            out.number(1, tr("Reason"), depth=1)
        return
    out.add(1, tr("Result"), tr("data follow") if result == 1 else tr("unknown"), depth=1)
    scale = _SCALES_698.get(code[:4])
    if code[:4] in ("0010", "0020") and code[4:6] == "04":
        scale = (4, "kWh")

    def shown(number: int) -> str:
        if scale is None:
            return str(number)
        return f"{plain(Decimal(number).scaleb(-scale[0]))} {scale[1]}".strip()

    explain_data(out, DLT698, shown, depth=1)


def _secured_698(out: Pieces) -> None:
    out.add(1, tr("Service"), tr("reply with a signature of the utility's"))
    ciphered = out.peek() == b"\x01"
    out.add(1, tr("Kind"), tr("encrypted") if ciphered else tr("readable"))
    if ciphered:
        out.rest(0, tr("Encrypted part"), tr("only the utility can read it"))
        return
    size = out.peek()[0] if out.left else 0
    heads = 1 if size < 0x80 else 1 + (size & 0x0F)
    if heads > 1:
        size = int.from_bytes(out.peek(heads)[1:], "big")
    out.add(heads, tr("Length"), str(size))
    inner = Pieces(out.peek(size))
    _apdu_698(inner)
    out.take(inner.fields, out.at, depth=1)
    out.rest(0, tr("Signature (MAC)"), tr("only the utility can check it"))


_OBJECTS_698 = {
    "0010": lambda: value_name("import_kwh"),
    "0020": lambda: value_name("export_kwh"),
    "2000": lambda: tr("Voltage"),
    "2001": lambda: tr("Current"),
    "2004": lambda: value_name("power_w"),
    "200A": lambda: value_name("power_factor"),
    "200F": lambda: value_name("frequency_hz"),
    "4000": lambda: tr("Date and time"),
    "4001": lambda: tr("Address"),
    "4002": lambda: tr("Number of the meter"),
}
_SCALES_698: Mapping[str, tuple[int, str]] = {
    "0010": (2, "kWh"),
    "0020": (2, "kWh"),
    "2000": (1, "V"),
    "2001": (3, "A"),
    "2004": (1, "W"),
    "200A": (3, ""),
    "200F": (2, "Hz"),
}


def _digits(address: bytes) -> str:
    return address[::-1].hex().upper()


def _decoded(parser: dlt645.Dlt645Parser | dlt698.Dlt698Parser, raw: bytes) -> Frame | None:
    """Return what the parser itself reads in ``raw``; None if the frame is damaged."""
    events = parser.feed(raw) + parser.finish()
    return next((e for e in events if isinstance(e, Frame) and e.at == 0), None)
