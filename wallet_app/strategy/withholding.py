"""Regret in price and quantity: what offering less energy than one has could gain.

This is the weak spot of the rule (docs/market-rules.md section 6): less energy can tip the market
from one side to the other. It is reported apart from the regret in price, as a warning and never
as a suggestion. The contract's answer: delivered energy is metered, what was not offered earns the
reservation value only, and at equal totals the price is the midpoint, which halves the prize.

For a fixed price a seller's energy sold is the smaller of what is offered and what is left over for
it, and the price it causes is kept between h and g of :mod:`wallet_app.strategy.game`, where h
depends on the amount offered by steps. So an amount worth looking at is the own energy, an amount
at which totals are equal or nearly so, or the largest amount that keeps h at one of the others'
quotes; each of them is then a game in price alone, solved exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.strategy.game import PublicBook, Residual, best_price, payoff_at
from wallet_app.strategy.ladder import Profile


@dataclass(frozen=True, slots=True)
class Withholding:
    """The best offer in price and quantity against the others' quotes.

    ``gain`` is over the current quote, ``gain_in_price`` is the part that a price alone would
    bring, both in Wh·tick; withholding matters where ``gain`` is the larger.
    """

    energy: EnergyWh
    price: PriceTick
    payoff: MoneyWhTick
    gain: MoneyWhTick
    gain_in_price: MoneyWhTick


def best_offer(
    book: PublicBook,
    participant: str,
    reservation: PriceTick,
    bounds: PriceBounds,
    previous_standing: Sequence[str],
) -> Withholding:
    """Return the best (energy, price) of ``participant`` in ``book``; ``KeyError`` if not in it."""
    own = book.quote_of(participant)
    if own is None:
        raise KeyError(f"{participant} has no quote in this book")
    payoff = payoff_at(own.side, reservation)
    residual = Residual(book, own, bounds, previous_standing)
    in_price = best_price(residual, payoff, reservation, current=own.price)
    energy, best = own.energy, in_price
    for amount in _amounts(book, own):
        offer = Quote(participant, own.side, EnergyWh(amount), own.price)
        less = Residual(book, offer, bounds, previous_standing)
        found = best_price(less, payoff, reservation, current=None)
        if found.payoff > best.payoff:
            energy, best = EnergyWh(amount), found
    gain = best.payoff - in_price.current_payoff
    return Withholding(energy, best.price, best.payoff, MoneyWhTick(gain), in_price.gain)


def public_book(profile: Profile, standing: Sequence[str]) -> PublicBook:
    """Return a profile's quotes as a book with ``standing``."""
    players = profile.players
    columns = (players.ids, players.sells.tolist(), players.energy.tolist())
    quotes = (
        Quote(name, Side.SELL if sells else Side.BUY, EnergyWh(energy), PriceTick(price))
        for name, sells, energy, price in zip(*columns, profile.quotes.tolist(), strict=True)
    )
    return PublicBook(players.slot_id, tuple(quotes), tuple(standing))


def _amounts(book: PublicBook, own: Quote) -> list[int]:
    """Return the amounts below the own energy that hold a best one."""
    others = sorted(
        (q.price, q.energy) for q in book.quotes if q.participant != own.participant and q.energy
    )
    supply = sum(q.energy for q in book.quotes if q.side is Side.SELL and q is not own)
    demand = sum(q.energy for q in book.quotes if q.side is Side.BUY and q is not own)
    selling = own.side is Side.SELL
    balance = demand - supply if selling else supply - demand
    amounts = {0, balance - 1, balance, balance + 1}
    # The price rule takes the k-th lowest Wh, k = D or D+1. A seller's offer q pushes it down to
    # the (k−q)-th of the others; a buyer's raises D, so its price goes up to their (k+q)-th.
    for upto in accumulate((energy for _, energy in others), initial=0):
        amounts |= {demand - upto, demand - upto - 1, upto - demand, upto - demand - 1}
    amounts |= {a + 1 for a in amounts}
    return sorted(a for a in amounts if 0 <= a < own.energy)
