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
from dataclasses import dataclass

from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot
from light_node.market.units import (
    TICKS_PER_CURRENCY,
    EnergyWh,
    MoneyWhTick,
    PriceTick,
)
from wallet_app.i18n import tr
from wallet_app.strategy import game
from wallet_app.strategy.battery import EMPTY, NO_BATTERY, Battery, BatteryState
from wallet_app.strategy.game import BestResponse, Outcome, PublicBook
from wallet_app.strategy.reservation import (
    LinearModel,
    PhysicalModel,
    Tranche,
    average_price,
    clip,
)

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
    ``grid_only_money`` without market. ``regret`` is the most the household could still gain with
    another price against the standing (None while opponents are estimated).
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


def suggest(
    slot: Slot,
    bounds: PriceBounds,
    own: OwnPosition,
    standing: PublicBook | None = None,
) -> Suggestion:
    """Return the quote to place in ``slot`` (see the module's text)."""
    tranches = _tranches(slot, bounds, own)
    if not tranches:
        return _nothing(bounds)
    side = Side.SELL if own.net_wh < 0 else Side.BUY
    if standing is None:
        return _honest(bounds, side, tranches)
    return _respond(slot, bounds, own, side, tranches, standing)


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
    slot: Slot,
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
    for amount in _amounts(side, tranches)[:-1]:
        part = game.best_price(market(amount), payoff, honest, current=None)
        if part.payoff > best.payoff:
            best_amount, best = amount, part
    return Suggestion(
        side=side,
        energy=EnergyWh(best_amount),
        price=best.price,
        honest_price=honest,
        expected_money=_total(side, tranches, best.payoff),
        honest_money=_total(side, tranches, payoff(plain)),
        grid_only_money=_grid_only(bounds, side, energy),
        regret=MoneyWhTick(0),
        estimated=False,
        reason=_why(side, honest, best, plain),
        unsold=_unsold(side, tranches, best.outcome.energy),
    )


def _honest(bounds: PriceBounds, side: Side, tranches: Sequence[Tranche]) -> Suggestion:
    """Suggest the reservation price: nothing is known of the others, so nothing is promised."""
    energy = EnergyWh(sum(t.energy_wh for t in tranches))
    honest = average_price(tranches)
    outside = _total(side, tranches, 0)
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
        unsold=_unsold(side, tranches, EnergyWh(0)),
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


def _amounts(side: Side, tranches: Sequence[Tranche]) -> list[int]:
    """Return the amounts worth offering: the least valuable parts first, then all."""
    ordered = sorted(tranches, key=lambda t: t.price, reverse=side is Side.BUY)
    sums, total = [], 0
    for tranche in ordered:
        total += tranche.energy_wh
        sums.append(total)
    return sums


def _total(side: Side, tranches: Sequence[Tranche], payoff: int) -> MoneyWhTick:
    outside = sum(t.energy_wh * t.price for t in tranches)
    return MoneyWhTick(payoff + (outside if side is Side.SELL else -outside))


def _grid_only(bounds: PriceBounds, side: Side, energy: int) -> MoneyWhTick:
    return MoneyWhTick(energy * bounds.floor if side is Side.SELL else -energy * bounds.cap)


def _why(side: Side, honest: PriceTick, best: BestResponse, plain: Outcome) -> str:
    quote = in_currency(best.price)
    if best.outcome.price is None:
        return tr("No quote that pays finds a partner now; {price} per kWh stays.", price=quote)
    values = {
        "price": quote,
        "energy": in_kwh(best.outcome.energy),
        "deal": in_currency(best.outcome.price),
        "honest": in_currency(honest),
        "before": in_kwh(plain.energy),
        "plain": in_currency(plain.price or 0),
    }
    if side is Side.SELL:
        if best.price == honest or best.gain <= 0:
            text = "Selling {energy} kWh at {deal} per kWh; no other price than {price} earns more."
        elif plain.energy:
            text = (
                "Asking {price} per kWh sells {energy} kWh at {deal}; "
                "the plain quote of {honest} sells {before} kWh at {plain}."
            )
        else:
            text = (
                "Asking {price} per kWh sells {energy} kWh at {deal}; "
                "the plain quote of {honest} sells nothing."
            )
    elif best.price == honest or best.gain <= 0:
        text = "Buying {energy} kWh at {deal} per kWh; no other price than {price} saves more."
    elif plain.energy:
        text = (
            "Bidding {price} per kWh buys {energy} kWh at {deal}; "
            "the plain quote of {honest} buys {before} kWh at {plain}."
        )
    else:
        text = (
            "Bidding {price} per kWh buys {energy} kWh at {deal}; "
            "the plain quote of {honest} buys nothing."
        )
    return tr(text, **values)


def _unsold(side: Side, tranches: Sequence[Tranche], matched: int) -> str:
    """Say what happens to the energy the market does not take, in the order of energy use."""
    rest = max(sum(t.energy_wh for t in tranches) - matched, 0)
    stored = sum(t.energy_wh for t in tranches if t.destination == "battery")
    battery = min(rest, stored)
    values = {"battery": in_kwh(battery), "grid": in_kwh(rest - battery)}
    if not rest:
        return ""
    if side is Side.SELL:
        if not battery:
            text = "{grid} kWh unsold is fed into the grid."
        elif battery == rest:
            text = "{battery} kWh unsold charges the battery."
        else:
            text = "Unsold, {battery} kWh charges the battery and {grid} kWh is fed into the grid."
    elif not battery:
        text = "{grid} kWh not bought comes from the grid."
    elif battery == rest:
        text = "{battery} kWh not bought comes from the battery."
    else:
        text = "Not bought, {battery} kWh comes from the battery and {grid} kWh from the grid."
    return tr(text, **values)


def in_currency(price: int) -> str:
    """Return a price in ticks as currency per kWh, as reasons show it."""
    return f"{price / TICKS_PER_CURRENCY:.4f}"


def in_kwh(energy: int) -> str:
    """Return an energy in Wh as kWh, as reasons show it."""
    return f"{energy / 1000:.2f}"
