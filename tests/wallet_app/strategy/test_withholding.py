"""Offers in price and quantity against exhaustive search."""

import random

import pytest

from light_node.market.clearing import clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.strategy.game import PublicBook
from wallet_app.strategy.withholding import best_offer

SLOT = "slot"


@pytest.mark.parametrize("seed", range(25))
def test_best_offer_equals_exhaustive_search(seed):
    rng = random.Random(seed)
    bounds = PriceBounds(PriceTick(0), PriceTick(8))
    for _ in range(4):
        quotes = [
            Quote(
                f"p{i}",
                rng.choice(list(Side)),
                EnergyWh(rng.randint(0, 8)),
                PriceTick(rng.randint(0, 8)),
            )
            for i in range(rng.randint(1, 5))
        ]
        standing = tuple(q.participant for q in quotes if rng.random() < 0.4)
        for index, own in enumerate(quotes):
            limit = PriceTick(rng.randint(-1, 9))

            def payoff(
                energy, price, index=index, own=own, limit=limit, quotes=quotes, standing=standing
            ):
                changed = [*quotes]
                changed[index] = Quote(
                    own.participant, own.side, EnergyWh(energy), PriceTick(price)
                )
                clearing = clear(SLOT, bounds, changed, standing)
                margin = (clearing.price or 0) - limit
                fill = clearing.fills[own.participant]
                return (margin if own.side is Side.SELL else -margin) * fill

            every = [payoff(e, p) for e in range(own.energy + 1) for p in range(9)]
            book = PublicBook(SLOT, tuple(quotes))
            found = best_offer(book, own.participant, limit, bounds, standing)
            assert found.payoff == max(every) == payoff(found.energy, found.price)
            assert found.gain == max(every) - payoff(own.energy, own.price)
            assert 0 <= found.gain_in_price <= found.gain


def test_asking_for_less_is_reported_apart_from_the_price():
    # Asking for all 7 Wh the buyer must outbid its rival, who was there first, and sets the price;
    # asking for the 2 Wh there are, it pays the rival's price.
    quotes = (
        Quote("seller", Side.SELL, EnergyWh(2), PriceTick(40)),
        Quote("buyer", Side.BUY, EnergyWh(7), PriceTick(90)),
        Quote("rival", Side.BUY, EnergyWh(9), PriceTick(40)),
    )
    bounds = PriceBounds(PriceTick(0), PriceTick(100))
    found = best_offer(PublicBook("s", quotes), "buyer", PriceTick(90), bounds, ("rival",))
    assert (found.energy, found.gain, found.gain_in_price) == (2, 100, 98)
