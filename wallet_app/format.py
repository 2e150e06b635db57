"""Numbers and times as people read them, for window, terminal and statement alike.

Everything is computed on integers, so a figure on screen is the figure in the ledger, rounded
once and half away from zero. None ("not known") becomes a dash, never a zero. Text that others
wrote goes through :func:`foreign` before it is shown.
"""

import unicodedata
from dataclasses import dataclass
from datetime import date as Date
from datetime import datetime, time, timedelta, tzinfo

from light_node.market.units import MONEY_PER_CURRENCY, TICKS_PER_CURRENCY

DASH = "–"
MINUS = "−"


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """The marks a locale uses in numbers."""

    decimal: str = "."
    group: str = ","


_style = NumberStyle()
_zone: tzinfo | None = None


def set_number_style(style: NumberStyle) -> None:
    """Use the marks of ``style`` from now on; the window sets it from the desktop's locale."""
    global _style
    _style = style


def use_zone(zone: tzinfo | None) -> None:
    """Show times and days in ``zone`` from now on; None is the machine's own."""
    global _zone
    _zone = zone


def local(at: datetime, zone: tzinfo | None = None) -> datetime:
    """Return ``at`` (aware) in ``zone``, by default the one in use."""
    return at.astimezone(zone or _zone)


def midnight(day: Date, zone: tzinfo | None = None) -> datetime:
    """Return the instant ``day`` begins in ``zone``, by default the one in use."""
    naive = datetime.combine(day, time())
    used = zone or _zone
    return naive.astimezone() if used is None else naive.replace(tzinfo=used)


def decimal(value: int | None, unit: int, places: int, *, sign: bool = False) -> str:
    """Return ``value / unit`` with ``places`` decimals, e.g. ``decimal(1234, 1000, 2)`` = "1.23".

    ``sign`` writes a plus before positive figures; a figure that rounds to zero carries no sign.
    """
    if value is None:
        return DASH
    scale: int = 10**places
    scaled = (2 * abs(value) * scale + unit) // (2 * unit)
    whole, fraction = divmod(scaled, scale)
    text = f"{whole:,}".replace(",", _style.group)
    if places:
        text += f"{_style.decimal}{fraction:0{places}d}"
    if scaled and value < 0:
        return MINUS + text
    return "+" + text if sign and scaled else text


def kwh(energy_wh: int | None, places: int = 2, *, sign: bool = False) -> str:
    """Return an energy in Wh as a number of kWh."""
    return decimal(energy_wh, 1000, places, sign=sign)


def kw(power_w: int | None, places: int = 2, *, sign: bool = False) -> str:
    """Return a power in W as a number of kW."""
    return decimal(power_w, 1000, places, sign=sign)


def price(tick: int | None) -> str:
    """Return a price in ticks as currency/kWh with its four decimals."""
    return decimal(tick, TICKS_PER_CURRENCY, 4)


def money(amount: int | None, places: int = 2, *, sign: bool = False) -> str:
    """Return an amount in Wh·tick as currency; small amounts deserve ``places=4``."""
    return decimal(amount, MONEY_PER_CURRENCY, places, sign=sign)


def count(number: int | None) -> str:
    """Return an integer with the locale's grouping."""
    return decimal(number, 1, 0)


def percent(part: int | None, whole: int | None) -> str:
    """Return ``part`` of ``whole`` in whole per cent; a dash when the whole is not known or 0."""
    if part is None or not whole:
        return DASH
    return f"{decimal(100 * part, whole, 0)} %"


def clock_time(at: datetime | None, zone: tzinfo | None = None) -> str:
    """Return hours and minutes in ``zone`` (default: the one in use)."""
    return DASH if at is None else local(at, zone).strftime("%H:%M")


def clock_seconds(at: datetime | None, zone: tzinfo | None = None) -> str:
    """Return hours, minutes and seconds in ``zone`` (default: the one in use)."""
    return DASH if at is None else local(at, zone).strftime("%H:%M:%S")


def date_time(at: datetime | None, zone: tzinfo | None = None) -> str:
    """Return date, hours and minutes in ``zone`` (default: the one in use)."""
    return DASH if at is None else local(at, zone).strftime("%Y-%m-%d %H:%M")


def date(at: datetime | None, zone: tzinfo | None = None) -> str:
    """Return the calendar day in ``zone`` (default: the one in use)."""
    return DASH if at is None else local(at, zone).strftime("%Y-%m-%d")


def slot_span(start: datetime, length_s: int, zone: tzinfo | None = None) -> str:
    """Return a slot's local times, e.g. "10:00–11:00"."""
    end = start + timedelta(seconds=length_s)
    return f"{clock_time(start, zone)}–{clock_time(end, zone)}"


def duration(seconds: float | None) -> str:
    """Return a span as "1:02:03" or "02:03"; what is past counts as zero."""
    if seconds is None:
        return DASH
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{second:02d}" if hours else f"{minutes:02d}:{second:02d}"


def foreign(text: str, limit: int = 200) -> str:
    """Return text of a peer, meter or file made harmless for one line of plain text.

    Control and direction-changing characters become spaces, so that nothing can hide or reorder
    what is beside it; longer text is cut with an ellipsis.
    """
    clean = "".join(
        " " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else c
        for c in text[: 4 * limit]
    )
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
