"""The limits a user sets once, and the one pure function that holds a quote against them.

The function is called where signing happens, so that no path around the agent, the window or the
outbox can sign what the user forbade. Prices in ticks, energies in Wh, money in Wh·tick.
"""

from dataclasses import dataclass
from datetime import datetime, time, tzinfo

from light_node.market.quotes import Quote, Side
from light_node.market.units import (
    MONEY_PER_CURRENCY,
    TICKS_PER_CURRENCY,
    EnergyWh,
    MoneyWhTick,
    PriceTick,
)
from wallet_app.i18n import tr


@dataclass(frozen=True, slots=True)
class Limits:
    """What the wallet may do on its own; None means the user set no limit.

    ``max_day_loss`` is how much worse than the grid alone a day's trading may have gone before
    trading stops. ``reserve_wh`` is what the battery has to hold before surplus may be sold.
    ``hours`` are pairs (from, until) of local time; until before from runs over midnight; none
    means all day. ``zone`` is the user's time zone, None the zone of the time given.
    """

    min_sell_price: PriceTick | None = None
    max_buy_price: PriceTick | None = None
    max_slot_wh: EnergyWh | None = None
    max_day_sell_wh: EnergyWh | None = None
    max_day_buy_wh: EnergyWh | None = None
    max_day_loss: MoneyWhTick | None = None
    reserve_wh: EnergyWh | None = None
    hours: tuple[tuple[time, time], ...] = ()
    zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class DayTotals:
    """What the local day has seen so far, open quotes included (a quote counts when signed).

    ``loss`` is grid-only money less what the day really brought, 0 or less when trading paid off.
    ``battery_wh`` is None when no battery is known.
    """

    sold_wh: EnergyWh = EnergyWh(0)
    bought_wh: EnergyWh = EnergyWh(0)
    loss: MoneyWhTick = MoneyWhTick(0)
    battery_wh: EnergyWh | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a quote may be signed, why not in a few words, and in full with what to do."""

    allowed: bool
    short: str
    long: str


def check(limits: Limits, quote: Quote, totals: DayTotals, now: datetime) -> Verdict:
    """Return whether ``quote`` keeps to ``limits``; the first limit it breaks is named.

    ``totals`` are without this quote (a replaced quote of the same slot taken out first). ``now``
    is aware; its local hour counts. ``ValueError`` for a time without a zone, because guessing one
    could sign outside the hours.
    """
    if now.tzinfo is None:
        raise ValueError("limits need a time with its zone")
    checks = (
        _hours(limits, now),
        _price(limits, quote),
        _energy(limits, quote, totals),
        _loss(limits, totals),
        _reserve(limits, quote, totals),
    )
    allowed = Verdict(
        True, tr("within your limits"), tr("This quote keeps to every limit you set.")
    )
    return next((verdict for verdict in checks if verdict is not None), allowed)


def _refused(short: str, long: str) -> Verdict:
    return Verdict(False, short, long)


def _hours(limits: Limits, now: datetime) -> Verdict | None:
    local = now.astimezone(limits.zone) if limits.zone else now
    clock = local.time()
    if not limits.hours or any(_within(clock, start, end) for start, end in limits.hours):
        return None
    shown = ", ".join(f"{start:%H:%M}–{end:%H:%M}" for start, end in limits.hours)
    return _refused(
        tr("outside your trading hours"),
        tr(
            "It is {clock}; you allow trading {hours}. Change the hours to trade now.",
            clock=f"{clock:%H:%M}",
            hours=shown,
        ),
    )


def _within(clock: time, start: time, end: time) -> bool:
    if start <= end:
        return start <= clock < end or start == end
    return clock >= start or clock < end


def _price(limits: Limits, quote: Quote) -> Verdict | None:
    low, high = limits.min_sell_price, limits.max_buy_price
    if quote.side is Side.SELL and low is not None and quote.price < low:
        return _refused(
            tr("below your lowest selling price"),
            tr(
                "The quote asks {price} per kWh; you sell at {limit} or more.",
                price=_per_kwh(quote.price),
                limit=_per_kwh(low),
            ),
        )
    if quote.side is Side.BUY and high is not None and quote.price > high:
        return _refused(
            tr("above your highest buying price"),
            tr(
                "The quote bids {price} per kWh; you buy at {limit} or less.",
                price=_per_kwh(quote.price),
                limit=_per_kwh(high),
            ),
        )
    return None


def _energy(limits: Limits, quote: Quote, totals: DayTotals) -> Verdict | None:
    if limits.max_slot_wh is not None and quote.energy > limits.max_slot_wh:
        return _refused(
            tr("more energy than you allow in a slot"),
            tr(
                "The quote is over {energy} Wh; you allow {limit} Wh in a slot.",
                energy=quote.energy,
                limit=limits.max_slot_wh,
            ),
        )
    selling = quote.side is Side.SELL
    allowed = limits.max_day_sell_wh if selling else limits.max_day_buy_wh
    done = totals.sold_wh if selling else totals.bought_wh
    if allowed is not None and done + quote.energy > allowed:
        text = (
            "Today's sales would reach {energy} Wh; you allow {limit} Wh a day."
            if selling
            else "Today's purchases would reach {energy} Wh; you allow {limit} Wh a day."
        )
        return _refused(
            tr("more energy than you allow in a day"),
            tr(text, energy=done + quote.energy, limit=allowed),
        )
    return None


def _loss(limits: Limits, totals: DayTotals) -> Verdict | None:
    if limits.max_day_loss is None or totals.loss < limits.max_day_loss or totals.loss <= 0:
        return None
    return _refused(
        tr("your daily loss limit is reached"),
        tr(
            "Trading has cost {loss} more than the grid alone today; you allow {limit}. "
            "It resumes tomorrow.",
            loss=_money(totals.loss),
            limit=_money(limits.max_day_loss),
        ),
    )


def _reserve(limits: Limits, quote: Quote, totals: DayTotals) -> Verdict | None:
    stored, reserve = totals.battery_wh, limits.reserve_wh
    if quote.side is Side.BUY or reserve is None or stored is None or stored >= reserve:
        return None
    return _refused(
        tr("the battery is below your reserve"),
        tr(
            "The battery holds {stored} Wh; you keep {reserve} Wh, so surplus charges it first.",
            stored=stored,
            reserve=reserve,
        ),
    )


def _per_kwh(price: int) -> str:
    return f"{price / TICKS_PER_CURRENCY:.4f}"


def _money(money: int) -> str:
    return f"{money / MONEY_PER_CURRENCY:.2f}"
