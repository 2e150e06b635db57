"""The sentences of suggestions, and the figures in them; all translated where the user reads."""

from collections.abc import Sequence

from light_node.market.quotes import Side
from light_node.market.units import MONEY_PER_CURRENCY, TICKS_PER_CURRENCY, PriceTick
from wallet_app.i18n import tr
from wallet_app.strategy.game import BestResponse, Outcome
from wallet_app.strategy.reservation import Tranche
from wallet_app.strategy.scenarios import Expectation


def why(side: Side, honest: PriceTick, best: BestResponse, plain: Outcome) -> str:
    """Say in one sentence what a best response brings against the honest quote."""
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
            text = (
                "Quoting {price} sells {energy} kWh at {deal} per kWh; no other price earns more."
            )
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
        text = "Quoting {price} buys {energy} kWh at {deal} per kWh; no other price saves more."
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


def why_estimated(side: Side, honest: PriceTick, best: Expectation, known: int) -> str:
    """Say in one sentence what a price is expected to bring, from ``known`` past books."""
    values = {
        "price": in_currency(best.price),
        "honest": in_currency(honest),
        "energy": in_kwh(best.energy),
        "chance": f"{best.chance_permille / 10:.0f}",
        "count": known,
    }
    if side is Side.SELL:
        text = (
            "Estimate from {count} similar past slots: asking {price} per kWh sells about "
            "{energy} kWh, in {chance} of 100 cases at least something; worth to you is {honest}."
        )
    else:
        text = (
            "Estimate from {count} similar past slots: bidding {price} per kWh buys about "
            "{energy} kWh, in {chance} of 100 cases at least something; worth to you is {honest}."
        )
    return tr(text, **values)


def unsold(side: Side, tranches: Sequence[Tranche], matched: int) -> str:
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


def in_money(money: int) -> str:
    """Return a sum in Wh·tick as currency, as explanations show it."""
    return f"{money / MONEY_PER_CURRENCY:.2f}"
