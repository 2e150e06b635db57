"""From OBIS codes to the common names, shared by D0, P1, SML and DLMS push lists.

Rules of docs/meter-protocols.md 2: the total register if there is one, only otherwise the sum of
the tariffs, never both; net power is import less export; 15.x (absolute sums) is neither.
"""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

UNITS: Mapping[str, tuple[str, int]] = {
    "Wh": ("energy", -3),
    "kWh": ("energy", 0),
    "MWh": ("energy", 3),
    "W": ("power", 0),
    "kW": ("power", 3),
    "MW": ("power", 6),
    "V": ("voltage", 0),
    "A": ("current", 0),
    "Hz": ("frequency", 0),
}
"""Unit → quantity and power of ten to the common unit (kWh, W, V, A, Hz)."""

# Some meters write kwh or KWH. What is big or small in M (mega, milli) must be written right.
_SPELLED = {unit.lower(): meant for unit, meant in UNITS.items() if not unit.startswith("M")}

_PLAIN = {
    **{f"{c}.7.0": f"voltage_l{n}_v" for n, c in ((1, 32), (2, 52), (3, 72))},
    **{f"{c}.7.0": f"current_l{n}_a" for n, c in ((1, 31), (2, 51), (3, 71))},
    "14.7.0": "frequency_hz",
}
# name: net, import, export
_POWERS = {
    "power_w": ("16.7.0", "1.7.0", "2.7.0"),
    "power_l1_w": ("36.7.0", "21.7.0", "22.7.0"),
    "power_l2_w": ("56.7.0", "41.7.0", "42.7.0"),
    "power_l3_w": ("76.7.0", "61.7.0", "62.7.0"),
}
_KINDS = {code: name.partition("_")[0] for code, name in _PLAIN.items()} | dict.fromkeys(
    (code for codes in _POWERS.values() for code in codes), "power"
)
_MAX_TARIFF = 63
OTHER_DIRECTION: Mapping[str, str] = {
    one: other for _, drawn, fed in _POWERS.values() for one, other in ((drawn, fed), (fed, drawn))
}
"""Powers that mean little alone: the code of the same power in the other direction."""


def quantity(code: str) -> str:
    """Return what the value of ``C.D.E`` is ("energy", "power", …); "" if it has no common name."""
    if code.startswith(("1.8.", "2.8.")):
        return "energy"
    return _KINDS.get(code, "")


def scaled(code: str, value: Decimal, unit: str) -> Decimal | None:
    """Return ``value`` in the common unit of ``code``; None if the unit does not fit the code."""
    kind, shift = UNITS.get(unit) or _SPELLED.get(unit.lower(), ("", 0))
    return value.scaleb(shift) if kind and kind == quantity(code) else None


def normalize(found: Mapping[str, Decimal | None]) -> dict[str, Decimal]:
    """Return values by common name from values by ``C.D.E`` in common units.

    None marks a code that was there with an unusable value: what would need it is left out.
    """
    result: dict[str, Decimal] = {}
    for direction, c in (("import", "1"), ("export", "2")):
        _energies(found, c, direction, result)
    for name, (net, drawn, fed) in _POWERS.items():
        value = _power(found, net, drawn, fed)
        if value is not None:
            result[name] = value
    for code, name in _PLAIN.items():
        plain = found.get(code)
        if plain is not None:
            result[name] = plain
    return result


def _energies(
    found: Mapping[str, Decimal | None], c: str, direction: str, result: dict[str, Decimal]
) -> None:
    tariffs: dict[int, Decimal | None] = {}
    for code, value in found.items():
        head, _, last = code.rpartition(".")
        if head == f"{c}.8" and last.isdecimal() and 1 <= int(last) <= _MAX_TARIFF:
            tariffs[int(last)] = value
    # A register never counts below 0: what says so is damaged, or "not there" in disguise.
    known = {n: value for n, value in tariffs.items() if value is not None and value >= 0}
    for tariff, value in known.items():
        result[f"{direction}_t{tariff}_kwh"] = value
    total = found.get(f"{c}.8.0")
    if total is None and f"{c}.8.0" not in found and known and len(known) == len(tariffs):
        total = sum(known.values(), Decimal(0))
    if total is not None and total >= 0:
        result[f"{direction}_kwh"] = total


def _power(found: Mapping[str, Decimal | None], net: str, drawn: str, fed: str) -> Decimal | None:
    if net in found:
        return found[net]
    if drawn not in found and fed not in found:
        return None
    first, second = found.get(drawn, Decimal(0)), found.get(fed, Decimal(0))
    return None if first is None or second is None else first - second


def octets(text: str) -> bytes:
    """Return ``A-B:C.D.E`` as six octets that end in FF; ``ValueError`` if it is none."""
    numbers = [int(part) for part in text.replace("-", ".").replace(":", ".").split(".")]
    if len(numbers) != 5:
        raise ValueError(f"{text!r} is no OBIS code")
    return bytes((*numbers, 0xFF))


def code(name: bytes) -> str:
    """Return six octets as ``A-B:C.D.E`` (with ``*F`` if that is not 255)."""
    text = f"{name[0]}-{name[1]}:{name[2]}.{name[3]}.{name[4]}"
    return text if name[5] == 0xFF else f"{text}*{name[5]}"


def shapes_differ(numbers: Sequence[tuple[str, str]]) -> bool:
    """Say whether (quantity, number as sent) of one telegram are written in different ways.

    A meter that fills its numbers up with zeros gives all of a kind as many digits: where one has
    fewer or more, a digit was lost or doubled on the way. Only worth knowing where no check sum
    tells.
    """
    widths: dict[str, set[tuple[int, int]]] = {}
    padded = set()
    for kind, text in numbers:
        if text.startswith(("+", "-")):
            continue  # the sign may stand in the place of a digit, or before it
        whole, _, places = text.partition(".")
        widths.setdefault(kind, set()).add((len(whole), len(places)))
        if len(whole) > 1 and whole.startswith("0"):
            padded.add(kind)
    return any(len(widths[kind]) > 1 for kind in padded)


def phases_disagree(normalized: Mapping[str, Decimal]) -> bool:
    """Say whether the powers of three phases are far from the power they should add up to.

    Not judged where power flows back: not every meter gives its phases a sign.
    """
    total = normalized.get("power_w")
    phases = [normalized[key] for n in (1, 2, 3) if (key := f"power_l{n}_w") in normalized]
    if total is None or len(phases) < 3 or min(total, *phases) < 0:
        return False
    return abs(sum(phases) - total) > max(Decimal(50), abs(total) / 20)


def tariffs_missing(codes: Collection[str]) -> bool:
    """Say whether a sum of tariffs would lack one: those that are there do not count from 1."""
    for c in ("1", "2"):
        lasts = [code.rpartition(".")[2] for code in codes if code.startswith(f"{c}.8.")]
        numbers = {int(last) for last in lasts if last.isdecimal() and int(last) <= _MAX_TARIFF}
        if 0 not in numbers and numbers and numbers != set(range(1, len(numbers) + 1)):
            return True
    return False
