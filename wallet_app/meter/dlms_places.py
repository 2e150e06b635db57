"""DLMS push lists without codes: what stands in which place, by maker (meter-protocols.md 9).

A list is recognised by its length and by what its first or last items are; one that is of no maker
known here means nothing, and gives no values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wallet_app.meter.axdr import Item, clock, printable

METER, CLOCK = "meter", "clock"


@dataclass(frozen=True, slots=True)
class Layout:
    """The codes of a list's items in order ("" for what is not read), and the powers of ten."""

    places: Sequence[str]
    shifts: Mapping[str, int]


# Powers of ten to kWh, W, A and V where a list has no scalers.
KAIFA_SHIFT = {"energy": -3, "power": 0, "current": -3, "voltage": -1}
PLAIN_SHIFT = {"energy": -3, "power": 0}
_ISKRA_SHIFT = {"energy": -3, "power": 0, "current": -2, "voltage": -1}
_LANDIS_SHIFT = {"energy": -3, "power": 0, "current": -2, "voltage": 0}

_VOLTS, _AMPS = ("32.7.0", "52.7.0", "72.7.0"), ("31.7.0", "51.7.0", "71.7.0")
_DRAWN, _FED = ("21.7.0", "41.7.0", "61.7.0"), ("22.7.0", "42.7.0", "62.7.0")
_TOTALS = ("1.8.0", "1.8.1", "1.8.2", "2.8.0", "2.8.1", "2.8.2")
_NET = ("1.7.0", "2.7.0")

_KAIFA_HEAD = ("", METER, "", *_NET, "", "")
_KAIFA_TAIL = (CLOCK, "1.8.0", "2.8.0", "", "")
_KAIFA = {
    9: (*_KAIFA_HEAD, "31.7.0", "32.7.0"),
    13: (*_KAIFA_HEAD, *_AMPS, *_VOLTS),
}
_KAIFA |= {14: (*_KAIFA[9], *_KAIFA_TAIL), 18: (*_KAIFA[13], *_KAIFA_TAIL)}
_VIENNA = (CLOCK, "1.8.0", "2.8.0", "", "", *_NET, "", "")
# Iskra in Slovenia: lists of powers, of energies, and of the present values of an older kind.
_ISKRA_18 = ("", METER, *_NET, "", "", *_VOLTS, *_AMPS, *_DRAWN, *_FED)
_ISKRA_ENERGIES = ("", METER, "", "", *_TOTALS, "", "")
_ISKRA_12 = ("", METER, *_VOLTS, *_AMPS, *_NET, "", "")
# Iskra in Croatia: number, time, date, then everything.
_CROATIA = {
    33: (METER, "", "", *_TOTALS, *[""] * 4, *_NET, "", *_DRAWN, *_FED, *_VOLTS, *_AMPS),
    28: (METER, "", "", *_TOTALS, *_NET, *_DRAWN, *_FED, *_VOLTS, *_AMPS),
}
_LANDIS = (*_VOLTS, *_AMPS, *_NET, "1.8.0", "2.8.0")
_LANDIS_LENGTHS = {11: (*_LANDIS, METER), 14: (*_LANDIS, "", "", "", METER)}


def layout(items: Sequence[Item]) -> Layout | None:
    """Return what the items of a list without codes are; None if nobody is known to send it."""
    size = len(items)
    first, last = (items[0], items[-1]) if items else (None, None)
    if size == 1 and isinstance(first, int):
        return Layout(("1.7.0",), KAIFA_SHIFT)  # Kaifa's shortest
    if _name(first).startswith("KFM"):
        return _made(_KAIFA.get(size), KAIFA_SHIFT)
    if _name(first).startswith("ISK"):
        return _iskra(items)
    if isinstance(first, bytes) and clock(first) and size == len(_VIENNA) and _numbers(items[1:]):
        return Layout(_VIENNA, PLAIN_SHIFT)
    if size in _CROATIA and [len(i) if isinstance(i, bytes) else 0 for i in items[1:3]] == [4, 5]:
        return _made(_CROATIA[size] if _numbers(items[3:9]) else None, _ISKRA_SHIFT)
    if size in _LANDIS_LENGTHS and _numbers(items[:-1]) and _name(last).isdigit():
        return Layout(_LANDIS_LENGTHS[size], _LANDIS_SHIFT)
    return None


def _iskra(items: Sequence[Item]) -> Layout | None:
    if len(items) == 18:
        return _made(_ISKRA_18 if _numbers(items[2:]) else None, _ISKRA_SHIFT)
    if len(items) == 12 and _numbers(items[4:]):
        energies = isinstance(items[3], bytes)  # the tariff in force
        return Layout(_ISKRA_ENERGIES if energies else _ISKRA_12, _ISKRA_SHIFT)
    return None


def _made(places: Sequence[str] | None, shifts: Mapping[str, int]) -> Layout | None:
    return Layout(places, shifts) if places is not None else None


def _name(item: Item) -> str:
    return printable(item) if isinstance(item, str | bytes) else ""


def _numbers(items: Sequence[Item]) -> bool:
    return all(isinstance(item, int) for item in items)
