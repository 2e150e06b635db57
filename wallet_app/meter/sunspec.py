"""SunSpec meter models behind Modbus: 201–204 with scale factors, 211–214 with floats.

A device starts with the words ``SunS`` (usually at register 40000); then come models, each with
its number and length. Values that are "not implemented" (8000h, NaN) are absent.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

START = 40_000
MARKER = (0x5375, 0x6E53)
INTEGER_MODELS, FLOAT_MODELS = range(201, 205), range(211, 215)
LENGTHS = {**dict.fromkeys(INTEGER_MODELS, 105), **dict.fromkeys(FLOAT_MODELS, 124)}
WANTED = 70
"""Registers of a model, header included, that hold everything read here."""
_END, _ABSENT = 0xFFFF, 0x8000

# Offsets behind the header: (common name, value, scale factor, shift).
_INTEGERS = (
    *((f"current_l{n}_a", n, 4, 0) for n in (1, 2, 3)),
    *((f"voltage_l{n}_v", 5 + n, 13, 0) for n in (1, 2, 3)),
    ("frequency_hz", 14, 15, 0),
    ("power_w", 16, 20, 0),
    *((f"power_l{n}_w", 16 + n, 20, 0) for n in (1, 2, 3)),
)
_COUNTERS = (("export_kwh", 36), ("import_kwh", 44))
_COUNTER_SCALE = 52
_FLOATS = (
    *((f"current_l{n}_a", 2 * n, 0) for n in (1, 2, 3)),
    *((f"voltage_l{n}_v", 8 + 2 * n, 0) for n in (1, 2, 3)),
    ("frequency_hz", 24, 0),
    ("power_w", 26, 0),
    *((f"power_l{n}_w", 26 + 2 * n, 0) for n in (1, 2, 3)),
    ("export_kwh", 58, -3),
    ("import_kwh", 66, -3),
)


def meter_values(
    words: Sequence[int], single: Callable[[int], Decimal | None]
) -> dict[str, Decimal]:
    """Return what the first meter model in ``words`` says, by common name.

    ``words`` begin with ``SunS`` or with a meter model's header, or nothing is read. ``single``
    turns the bits of a float32 into a number.
    """
    position = 2 if tuple(words[:2]) == MARKER else 0
    while position + 2 <= len(words):
        model, length = words[position], words[position + 1]
        if LENGTHS.get(model) == length:
            data = words[position + 2 : position + 2 + length]
            if model in FLOAT_MODELS:
                return _floats(data, single)
            return _integers(data)
        if position == 0 or model == _END:
            return {}
        position += 2 + length
    return {}


def _integers(data: Sequence[int]) -> dict[str, Decimal]:
    result: dict[str, Decimal] = {}
    for key, at, scale_at, shift in _INTEGERS:
        value, scale = _signed(data, at), _signed(data, scale_at)
        if value is not None and scale is not None and abs(scale) <= 10:
            result[key] = Decimal(value).scaleb(scale + shift)
    scale = _signed(data, _COUNTER_SCALE)
    for key, at in _COUNTERS:
        if scale is not None and abs(scale) <= 10 and at + 1 < len(data):
            count = data[at] << 16 | data[at + 1]
            if count:  # 0 is how this standard writes a counter that is not there
                result[key] = Decimal(count).scaleb(scale - 3)
    return result


def _floats(data: Sequence[int], single: Callable[[int], Decimal | None]) -> dict[str, Decimal]:
    result: dict[str, Decimal] = {}
    for key, at, shift in _FLOATS:
        if at + 1 < len(data):
            value = single(data[at] << 16 | data[at + 1])
            if value is not None:
                result[key] = value.scaleb(shift)
    return result


def _signed(data: Sequence[int], at: int) -> int | None:
    if at >= len(data) or data[at] == _ABSENT:
        return None
    return data[at] - 0x10000 if data[at] & 0x8000 else data[at]
