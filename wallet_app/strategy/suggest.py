"""The suggestion for one slot: what to quote, what it should bring, and why.

After a round the public standing is known, and the answer is an exact best response to it: no
other price between floor and cap would bring this household more, and that is its certificate.
A price is changed only on a strict gain; otherwise the current quote (at first the honest one,
the reservation price) stays. Before any standing exists, others are estimated from past books
(:mod:`wallet_app.strategy.scenarios`), or, with no history either, the honest price is suggested;
both say that they are estimates (docs/market-rules.md section 6).

Money is signed: earned is positive, spent negative, in Wh·tick. Energy that finds no partner counts
with its reservation price, so that all figures cover the same energy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo

from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot
from light_node.market.units import (
    EnergyWh,
    MoneyWhTick,
    PriceTick,
)
from wallet_app.i18n import tr
from wallet_app.strategy import game
from wallet_app.strategy.battery import EMPTY, NO_BATTERY, Battery, BatteryState
from wallet_app.strategy.game import PublicBook
from wallet_app.strategy.reservation import (
    LinearModel,
    PhysicalModel,
    Tranche,
    average_price,
    clip,
)
from wallet_app.strategy.scenarios import (
    MAX_SCENARIOS,
    NEUTRAL,
    PastBook,
    Risk,
    Scenarios,
    draw,
)
from wallet_app.strategy.wording import in_currency, unsold, why, why_estimated

PHYSICAL = PhysicalModel()


@dataclass(frozen=True, slots=True)
class OwnPosition:
    """What the household knows about itself for the slot.

    ``net_wh`` is the forecast load minus generation: positive to buy, negative to sell.
    ``reservation`` is a model, or a price in ticks for all the energy. ``quoted`` is the quote
    already placed in an earlier round: its side is fixed and its energy must not rise.
    """

    participant: str
    net_wh: int
    battery: Battery = NO_BATTERY
    reservation: PriceTick | LinearModel | PhysicalModel = PHYSICAL
    state: BatteryState = EMPTY
    quoted: Quote | None = None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A quote to place and what speaks for it; ``side`` None means there is nothing to trade.

    ``expected_money`` is of the suggested quote, ``honest_money`` of the reservation price,
    ``grid_only_money`` without market and battery, ``own_battery_money`` without market. ``regret``
    is the most the household could still gain with another price against the standing (None while
    opponents are estimated). ``chance_permille`` is the chance to trade anything, ``low_money`` and
    ``high_money`` what nine in ten and one in ten scenarios reach; None without scenarios.
    """

    side: Side | None
    energy: EnergyWh
    price: PriceTick
    honest_price: PriceTick
    expected_money: MoneyWhTick
    honest_money: MoneyWhTick
    grid_only_money: MoneyWhTick
    regret: MoneyWhTick | None
    estimated: bool
    reason: str
    unsold: str
    own_battery_money: MoneyWhTick = MoneyWhTick(0)
    chance_permille: int | None = None
    low_money: MoneyWhTick | None = None
    high_money: MoneyWhTick | None = None
    scenarios: int = 0  # how many past books the estimate rests on
    tranches: tuple[Tranche, ...] = ()  # the energy by its worth outside the market


def suggest(
    slot: Slot,
    bounds: PriceBounds,
    own: OwnPosition,
    standing: PublicBook | None = None,
    history: Sequence[PastBook] = (),
    *,
    zone: tzinfo = UTC,
    risk: Risk = NEUTRAL,
    scenarios: int = MAX_SCENARIOS,
) -> Suggestion:
    """Return the quote to place in ``slot`` (see the module's text).

    ``history`` are final books of past slots, used before the first standing; ``zone`` tells which
    hours and days of them are alike, ``risk`` how much their worst outcomes count, ``scenarios``
    how many are drawn.
    """
    tranches = _tranches(slot, bounds, own)
    if not tranches:
        return _nothing(bounds)
    side = Side.SELL if own.net_wh < 0 else Side.BUY
    if standing is not None:
        return _respond(bounds, own, side, tranches, standing)
    books = draw(history, slot, zone, scenarios)
    if not books:
        return _honest(bounds, side, tranches)
    return _estimate(slot, bounds, own.participant, side, tranches, books, risk)


def _tranches(slot: Slot, bounds: PriceBounds, own: OwnPosition) -> tuple[Tranche, ...]:
    net = own.net_wh
    if own.quoted is not None:
        if (net < 0) is not (own.quoted.side is Side.SELL):
            return ()
        net = max(min(net, own.quoted.energy), -own.quoted.energy)
    if not net:
        return ()
    if isinstance(own.reservation, LinearModel | PhysicalModel):
        return own.reservation.tranches(net, own.battery, own.state, bounds, slot.length_s)
    return (Tranche(EnergyWh(abs(net)), clip(own.reservation, bounds), "grid"),)


def _respond(
    bounds: PriceBounds,
    own: OwnPosition,
    side: Side,
    tranches: Sequence[Tranche],
    standing: PublicBook,
) -> Suggestion:
    """Answer a standing: for every amount worth offering apart, the exact best price."""
    energy = EnergyWh(sum(t.energy_wh for t in tranches))
    honest = average_price(tranches)
    payoff = game.payoff_over(side, tranches)

    def market(amount: int) -> game.Residual:
        quote = Quote(own.participant, side, EnergyWh(amount), honest)
        return game.Residual(standing, quote, bounds, standing.standing)

    whole = market(energy)
    plain = whole.outcome(honest)
    start = own.quoted.price if own.quoted and own.quoted.energy == energy else honest
    best_amount, best = int(energy), game.best_price(whole, payoff, honest, current=start)
    for less in _parts(side, tranches)[:-1]:
        amount = sum(t.energy_wh for t in less)
        part = game.best_price(market(amount), payoff, honest, current=None)
        if part.payoff > best.payoff:
            best_amount, best = amount, part
    # The certificate is computed for the quote as suggested, not taken from how it was found.
    proof = game.best_price(market(best_amount), payoff, honest, current=best.price)
    return Suggestion(
        side=side,
        energy=EnergyWh(best_amount),
        price=best.price,
        honest_price=honest,
        expected_money=total_money(side, tranches, best.payoff),
        honest_money=total_money(side, tranches, payoff(plain)),
        grid_only_money=_grid_only(bounds, side, energy),
        regret=proof.gain,
        estimated=False,
        reason=why(side, honest, best, plain),
        unsold=unsold(side, tranches, best.outcome.energy),
        own_battery_money=total_money(side, tranches, 0),
        tranches=tuple(tranches),
    )


def _estimate(
    slot: Slot,
    bounds: PriceBounds,
    participant: str,
    side: Side,
    tranches: Sequence[Tranche],
    books: Sequence[PastBook],
    risk: Risk,
) -> Suggestion:
    """Answer before any standing: the best price over scenarios, all the energy or a part."""
    base = _honest(bounds, side, tranches)
    honest = base.honest_price
    # A book may be drawn more than once; the user is told what is really known.
    known = len({book.slot for book in books})
    everything = Scenarios(books, slot, bounds, participant, side, tranches)
    best, plain = everything.best(honest, risk)
    amount = everything.energy
    for part in _parts(side, tranches)[:-1]:
        seen = Scenarios(books, slot, bounds, participant, side, part)
        found, _ = seen.best(average_price(part), risk)
        if found.payoff > best.payoff:
            best, amount = found, seen.energy
    return replace(
        base,
        energy=EnergyWh(amount),
        price=best.price,
        expected_money=total_money(side, tranches, best.payoff),
        honest_money=total_money(side, tranches, plain.payoff),
        reason=why_estimated(side, honest, best, known),
        unsold=unsold(side, tranches, best.energy),
        chance_permille=best.chance_permille,
        low_money=total_money(side, tranches, best.low),
        high_money=total_money(side, tranches, best.high),
        scenarios=known,
    )


def _honest(bounds: PriceBounds, side: Side, tranches: Sequence[Tranche]) -> Suggestion:
    """Suggest the reservation price: nothing is known of the others, so nothing is promised."""
    energy = EnergyWh(sum(t.energy_wh for t in tranches))
    honest = average_price(tranches)
    outside = total_money(side, tranches, 0)
    return Suggestion(
        side=side,
        energy=energy,
        price=honest,
        honest_price=honest,
        expected_money=outside,
        honest_money=outside,
        grid_only_money=_grid_only(bounds, side, energy),
        regret=None,
        estimated=True,
        reason=tr(
            "No other quotes are known yet: {price} per kWh is what the energy is worth to you "
            "outside the market, so you cannot lose by it.",
            price=in_currency(honest),
        ),
        unsold=unsold(side, tranches, EnergyWh(0)),
        own_battery_money=outside,
        tranches=tuple(tranches),
    )


def _nothing(bounds: PriceBounds) -> Suggestion:
    zero = MoneyWhTick(0)
    return Suggestion(
        side=None,
        energy=EnergyWh(0),
        price=bounds.floor,
        honest_price=bounds.floor,
        expected_money=zero,
        honest_money=zero,
        grid_only_money=zero,
        regret=None,
        estimated=False,
        reason=tr("Nothing to trade: the house is expected to use just what it makes."),
        unsold="",
    )


def _parts(side: Side, tranches: Sequence[Tranche]) -> list[Sequence[Tranche]]:
    """Return the parts worth offering: the least valuable energy first, then more, then all."""
    ordered = sorted(tranches, key=lambda t: t.price, reverse=side is Side.BUY)
    return [ordered[: count + 1] for count in range(len(ordered))]


def total_money(side: Side, tranches: Sequence[Tranche], payoff: int) -> MoneyWhTick:
    """Return what all the energy brings when the market brings ``payoff`` over its worth."""
    outside = sum(t.energy_wh * t.price for t in tranches)
    return MoneyWhTick(payoff + (outside if side is Side.SELL else -outside))


def _grid_only(bounds: PriceBounds, side: Side, energy: int) -> MoneyWhTick:
    return MoneyWhTick(energy * bounds.floor if side is Side.SELL else -energy * bounds.cap)
