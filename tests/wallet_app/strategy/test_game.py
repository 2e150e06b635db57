"""Best responses against exhaustive search over every price, through the market's own clearing."""

import random

import pytest

from light_node.market.clearing import clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.strategy.game import PublicBook, Residual, best_response

SLOT = "2026-06-21T10:00Z/PT60M"


def random_game(rng, *, top=12, most=6, energy=5):
    """A small book full of ties, with reservations and a previous standing of any kind."""
    bounds = PriceBounds(PriceTick(rng.randint(-2, 2)), PriceTick(top))
    quotes, reservations = [], {}
    for i in range(rng.randint(1, most)):
        name = f"p{i}"
        price = PriceTick(rng.randint(bounds.floor, bounds.cap))
        quotes.append(Quote(name, rng.choice(list(Side)), EnergyWh(rng.randint(0, energy)), price))
        reservations[name] = PriceTick(rng.randint(bounds.floor - 1, bounds.cap + 1))
    standing = [q.participant for q in quotes if rng.random() < 0.4]
    rng.shuffle(standing)
    return bounds, quotes, reservations, tuple(standing)


def payoff(quote, reservation, clearing):
    fill = clearing.fills[quote.participant]
    if not fill:
        return 0
    margin = clearing.price - reservation
    return (margin if quote.side is Side.SELL else -margin) * fill


def exhaustive(bounds, quotes, reservations, standing, index):
    """Payoff of one participant at every price between floor and cap."""
    result = {}
    for price in range(bounds.floor, bounds.cap + 1):
        own = quotes[index]
        changed = [*quotes]
        changed[index] = Quote(own.participant, own.side, own.energy, PriceTick(price))
        clearing = clear(SLOT, bounds, changed, standing)
        result[price] = payoff(own, reservations[own.participant], clearing)
    return result


@pytest.mark.parametrize("seed", range(12))
def test_outcome_and_best_response_equal_exhaustive_search(seed):
    rng = random.Random(seed)
    for _ in range(25):
        bounds, quotes, reservations, standing = random_game(rng)
        book = PublicBook(SLOT, tuple(quotes))
        for index, own in enumerate(quotes):
            every = exhaustive(bounds, quotes, reservations, standing, index)
            residual = Residual(book, own, bounds, standing)
            for price in range(bounds.floor, bounds.cap + 1):
                changed = [*quotes]
                changed[index] = Quote(own.participant, own.side, own.energy, PriceTick(price))
                clearing = clear(SLOT, bounds, changed, standing)
                outcome = residual.outcome(price)
                assert outcome.energy == clearing.fills[own.participant]
                if outcome.energy:
                    assert outcome.price == clearing.price
            response = best_response(
                book, own.participant, reservations[own.participant], bounds, standing
            )
            assert response.payoff == max(every.values())
            assert response.current_payoff == every[own.price]
            assert response.gain == response.payoff - response.current_payoff
            assert every[response.price] == response.payoff


def test_no_gain_keeps_the_current_price():
    quotes = (
        Quote("buyer", Side.BUY, EnergyWh(10), PriceTick(90)),
        Quote("seller", Side.SELL, EnergyWh(10), PriceTick(20)),
        Quote("dear", Side.SELL, EnergyWh(10), PriceTick(50)),
    )
    bounds = PriceBounds(PriceTick(0), PriceTick(100))
    response = best_response(PublicBook(SLOT, quotes), "seller", PriceTick(20), bounds, ())
    assert (response.price, response.gain) == (20, 0)
    assert response.payoff == (50 - 20) * 10


def test_pivotal_seller_goes_to_the_cap():
    quotes = (
        Quote("buyer", Side.BUY, EnergyWh(10), PriceTick(100)),
        Quote("small", Side.SELL, EnergyWh(4), PriceTick(20)),
        Quote("large", Side.SELL, EnergyWh(20), PriceTick(30)),
    )
    bounds = PriceBounds(PriceTick(0), PriceTick(100))
    response = best_response(PublicBook(SLOT, quotes), "large", PriceTick(30), bounds, ())
    assert response.price == 100
    assert response.payoff == (100 - 30) * 6


def test_unknown_participant_is_named():
    book = PublicBook(SLOT, ())
    with pytest.raises(KeyError, match="nobody"):
        best_response(book, "nobody", PriceTick(1), PriceBounds(PriceTick(0), PriceTick(2)), ())
