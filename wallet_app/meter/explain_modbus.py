"""Modbus RTU requests, replies and exceptions, field by field (docs/meter-protocols.md 10)."""

from wallet_app.i18n import tr
from wallet_app.meter import crc, modbus
from wallet_app.meter.events import Frame, Problem, plain
from wallet_app.meter.explain_fields import Field, Pieces, Span, merged
from wallet_app.meter.names import value_name, value_unit

_EXCEPTION = 0x80


def modbus_spans(data: bytes, request: bytes) -> list[Span]:
    """Return where frames lie in ``data``; replies are found by the ``request`` they answer."""
    asked = _request(request)
    parser = modbus.ModbusParser(asked, None, tell_others=True)
    events = parser.feed(data) + parser.finish()
    good = [Span(e.at, e.at + len(e.raw)) for e in events if isinstance(e, Frame)]
    damaged = [Span(e.at, e.at + len(e.raw)) for e in events if isinstance(e, Problem) and e.raw]
    return merged(good, damaged, len(data))


def explain_modbus(raw: bytes, request: bytes, profile: str) -> list[Field]:
    """Return the fields of one frame; ``request`` and ``profile`` name the registers of a reply."""
    out = Pieces(raw)
    out.number(1, tr("Unit"))
    function = out.peek()[0] if out.left else 0
    out.add(1, tr("Function"), _function(function))
    asked = _request(request)
    if function & _EXCEPTION:
        out.number(1, tr("Reason"))
    elif len(raw) == 8 and (asked is None or raw[2] != 2 * asked.count or raw == request):
        start = int.from_bytes(out.peek(2), "big")
        out.add(2, tr("First register"), f"{start} ({start:04X})")
        out.number(2, tr("Registers"), "big")
    else:
        size = out.number(1, tr("Bytes"))
        _registers(out, min(size, max(0, out.left - 2)), asked, profile)
    out.rest(2, tr("Data"))
    if out.left == 2:
        out.checksum(crc.modbus(raw[:-2]).to_bytes(2, "little"), tr("Check sum"))
    out.rest(0, tr("Check sum"), tr("cut off"))
    return out.fields


def _request(data: bytes) -> modbus.Request | None:
    try:
        return modbus.Request.decode(data[-8:]) if data else None
    except ValueError:
        return None


def _function(function: int) -> str:
    names = {
        modbus.READ_HOLDING: tr("read holding registers"),
        modbus.READ_INPUT: tr("read input registers"),
    }
    name = names.get(function & 0x7F, str(function & 0x7F))
    return tr("refused: {what}", what=name) if function & _EXCEPTION else name


def _registers(out: Pieces, size: int, asked: modbus.Request | None, profile: str) -> None:
    end = out.at + size
    kind = modbus.profile(profile) if profile else None
    known = {}
    if kind is not None and asked is not None and kind.function == asked.function:
        known = {register.address: register for register in kind.registers}
    address = asked.start if asked is not None else 0
    while out.at + 2 <= end:
        register = known.get(address)
        width = 2 * register.count if register else 2
        if register is None or out.at + width > end:
            width, register = 2, None
        part = out.peek(width)
        words = tuple(int.from_bytes(part[i : i + 2], "big") for i in range(0, width, 2))
        shown = tr("Register {number}", number=f"{address} ({address:04X})")
        if register is None:
            name, text = shown if asked else tr("Register"), str(words[0])
        else:
            value = register.decode(words)
            unit = value_unit(register.key)
            text = tr("no value") if value is None else f"{plain(value)} {unit}".strip()
            name = value_name(register.key)
            text = f"{text}  ({shown})"
        out.add(width, name, text, depth=1)
        address += width // 2
