"""Time ranges and sums of the history, without Qt: days by the local calendar, slots by UTC."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum

from wallet_app import format as fmt
from wallet_app.trading.view import Proof, SlotView

_MOST_BARS = 100


class Span(StrEnum):
    """How much of the history is shown at once."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    OWN = "own"


def bounds(span: Span, day: date) -> tuple[date, date]:
    """Return first day and the day after the last of the ``span`` that holds ``day``."""
    if span is Span.WEEK:
        first = day - timedelta(days=day.weekday())
        return first, first + timedelta(days=7)
    if span is Span.MONTH:
        first = day.replace(day=1)
        return first, (first + timedelta(days=32)).replace(day=1)
    if span is Span.YEAR:
        return date(day.year, 1, 1), date(day.year + 1, 1, 1)
    return day, day + timedelta(days=1)


def instants(first: date, after: date, zone: tzinfo | None = None) -> tuple[datetime, datetime]:
    """Return the local midnights between which the days lie; 23 or 25 h where clocks change."""
    return fmt.midnight(first, zone), fmt.midnight(after, zone)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over slots: energies in Wh, money in Wh·tick."""

    slots: int = 0
    sold_wh: int = 0
    bought_wh: int = 0
    earned: int = 0
    spent: int = 0
    grid: int = 0
    penalty: int = 0
    grid_only: int = 0
    unverified: int = 0

    @property
    def total(self) -> int:
        """Return all money together."""
        return self.earned + self.spent + self.grid + self.penalty

    @property
    def saved(self) -> int:
        """Return what the market brought against the grid alone."""
        return self.total - self.grid_only


def settled(slot: SlotView) -> bool:
    """Return whether the slot's money is known, so that it may enter sums with its baseline."""
    return slot.grid_only_money is not None


def slot_total(slot: SlotView) -> int | None:
    """Return all money of ``slot`` together, None before it is settled."""
    if not settled(slot):
        return None
    return (slot.market_money or 0) + (slot.grid_money or 0) + (slot.penalty_money or 0)


def slot_saved(slot: SlotView) -> int | None:
    """Return what the market brought in ``slot``, None before it is settled."""
    total = slot_total(slot)
    return None if total is None or slot.grid_only_money is None else total - slot.grid_only_money


def totals(slots: Iterable[SlotView]) -> Totals:
    """Return the sums over the settled ones of ``slots``."""
    number = sold = bought = earned = spent = grid = penalty = grid_only = unverified = 0
    for slot in slots:
        if not settled(slot):
            continue
        number += 1
        sold += slot.matched_wh if slot.side == "sell" else 0
        bought += slot.matched_wh if slot.side == "buy" else 0
        market = slot.market_money or 0
        earned += max(market, 0)
        spent += min(market, 0)
        grid += slot.grid_money or 0
        penalty += slot.penalty_money or 0
        grid_only += slot.grid_only_money or 0
        unverified += slot.proof in (Proof.NONE, Proof.DISPUTED)
    return Totals(number, sold, bought, earned, spent, grid, penalty, grid_only, unverified)


@dataclass(frozen=True, slots=True)
class Bars:
    """What the money plot draws: one label and two amounts (Wh·tick) per bar pair."""

    labels: tuple[str, ...] = ()
    with_market: tuple[int, ...] = ()
    grid_only: tuple[int, ...] = ()


def bars(slots: Sequence[SlotView], zone: tzinfo | None = None) -> Bars:
    """Group settled ``slots`` (ascending) so that at most about a hundred bars come out."""
    known = [slot for slot in slots if settled(slot)]
    grouped: dict[str, list[int]] = {}
    for pattern in ("%m-%d %H:%M", "%Y-%m-%d", "%Y-%m"):
        grouped = {}
        for slot in known:
            pair = grouped.setdefault(fmt.local(slot.start, zone).strftime(pattern), [0, 0])
            pair[0] += slot_total(slot) or 0
            pair[1] += slot.grid_only_money or 0
        if len(grouped) <= _MOST_BARS:
            break
    labels = list(grouped)
    # Within one day the date says nothing.
    if labels and len({text[:5] for text in labels}) == 1 and len(labels[0]) == 11:
        labels = [text[6:] for text in labels]
    return Bars(
        tuple(labels),
        tuple(pair[0] for pair in grouped.values()),
        tuple(pair[1] for pair in grouped.values()),
    )


def title(first: date, after: date) -> str:
    """Return the days as text, e.g. "2026-06-21" or "2026-06-01 – 2026-06-30"."""
    last = after - timedelta(days=1)
    return first.isoformat() if last == first else f"{first} {fmt.DASH} {last}"
