"""Expected payoffs against exhaustive search over every price and scenario."""

import random
from datetime import UTC

import numpy as np
import pytest

from light_node.market.clearing import clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot, parse
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.strategy.reservation import Tranche
from wallet_app.strategy.scenarios import PastBook, Risk, Scenarios, draw

SLOT = parse("2026-06-21T10:00Z/PT60M")
HOUR = 3600


def random_quotes(rng, top=12):
    return [
        Quote(
            f"p{i}",
            rng.choice(list(Side)),
            EnergyWh(rng.randint(0, 6)),
            PriceTick(rng.randint(0, top)),
        )
        for i in range(rng.randint(0, 6))
    ]


def payoff_of(quotes, bounds, side, tranches, price):
    energy = sum(t.energy_wh for t in tranches)
    mine = Quote("me", side, EnergyWh(energy), PriceTick(price))
    others = [q for q in quotes if q.participant != "me"]
    clearing = clear(SLOT.id, bounds, [*others, mine])
    left = fill = clearing.fills["me"]
    outside = 0
    for t in sorted(tranches, key=lambda t: t.price, reverse=side is Side.BUY):
        outside += min(left, t.energy_wh) * t.price
        left -= min(left, t.energy_wh)
    value = (clearing.price or 0) * fill - outside
    return value if side is Side.SELL else -value


@pytest.mark.parametrize("aversion", [0, 400, 1000])
@pytest.mark.parametrize("seed", range(12))
def test_equal_to_exhaustive_search(seed, aversion):
    rng = random.Random(seed)
    bounds = PriceBounds(PriceTick(0), PriceTick(12))
    for _ in range(5):
        books = [random_quotes(rng) for _ in range(rng.randint(1, 7))]
        side = rng.choice(list(Side))
        tranches = [
            Tranche(EnergyWh(rng.randint(1, 5)), PriceTick(rng.randint(0, 12)), "grid")
            for _ in range(rng.randint(1, 2))
        ]
        honest = PriceTick(rng.randint(0, 12))
        risk = Risk(aversion, 300)
        seen = Scenarios(
            [PastBook.of(SLOT, quotes) for quotes in books], SLOT, bounds, "me", side, tranches
        )
        best, plain = seen.best(honest, risk)
        worst = -(-len(books) * 300 // 1000)

        def objective(price, books=books, side=side, tranches=tranches, worst=worst):
            every = sorted(payoff_of(b, bounds, side, tranches, price) for b in books)
            total, tail = sum(every), sum(every[:worst])
            return (1000 - aversion) * total * worst + aversion * tail * len(books)

        assert objective(best.price) == max(map(objective, range(13)))
        for found in (best, plain):
            every = [payoff_of(b, bounds, side, tranches, found.price) for b in books]
            assert found.payoff == sum(every) // len(every)
            assert found.scenarios == len(books)
            assert min(every) <= found.low <= found.high <= max(every)
        assert plain.price == honest


def test_own_past_quotes_do_not_compete_with_the_own_next_one():
    bounds = PriceBounds(PriceTick(0), PriceTick(100))
    quotes = [
        Quote("me", Side.SELL, EnergyWh(50), PriceTick(1)),
        Quote("d", Side.BUY, EnergyWh(10), PriceTick(80)),
    ]
    tranches = [Tranche(EnergyWh(5), PriceTick(20), "grid")]
    seen = Scenarios([PastBook.of(SLOT, quotes)], SLOT, bounds, "me", Side.SELL, tranches)
    best, _ = seen.best(PriceTick(20))
    assert (best.payoff, best.chance_permille, best.energy) == ((80 - 20) * 5, 1000, 5)


def test_risk_aversion_prefers_the_safe_price():
    bounds = PriceBounds(PriceTick(0), PriceTick(100))

    def book(rival):
        return PastBook.of(
            SLOT,
            [
                Quote("d", Side.BUY, EnergyWh(10), PriceTick(100)),
                Quote("rival", Side.SELL, EnergyWh(10), PriceTick(rival)),
            ],
        )

    books = [book(30)] * 4 + [book(90)] * 6
    tranches = [Tranche(EnergyWh(10), PriceTick(20), "grid")]
    seen = Scenarios(books, SLOT, bounds, "me", Side.SELL, tranches)
    bold, _ = seen.best(PriceTick(20))
    careful, _ = seen.best(PriceTick(20), Risk(1000, 400))
    assert careful.low > bold.low or careful.price == bold.price
    assert careful.payoff <= bold.payoff


def test_past_quotes_outside_todays_bounds_are_moved_into_them():
    bounds = PriceBounds(PriceTick(40), PriceTick(60))
    book = PastBook.of(SLOT, [Quote("d", Side.BUY, EnergyWh(10), PriceTick(90))])
    tranches = [Tranche(EnergyWh(5), PriceTick(45), "grid")]
    best, _ = Scenarios([book], SLOT, bounds, "me", Side.SELL, tranches).best(PriceTick(45))
    assert best.payoff == (60 - 45) * 5


def test_energies_beyond_64_bit_money_stay_exact():
    bounds = PriceBounds(PriceTick(0), PriceTick(10**9))
    big = EnergyWh(10**12)
    book = PastBook.of(SLOT, [Quote("d", Side.BUY, EnergyWh(10**12), PriceTick(10**9))])
    seen = Scenarios([book], SLOT, bounds, "me", Side.SELL, [Tranche(big, PriceTick(0), "grid")])
    best, _ = seen.best(PriceTick(0))
    assert best.payoff == 10**21


def test_drawn_books_are_past_alike_and_recent_first():
    def at(days, hour):
        return Slot(SLOT.start + days * 86_400 + (hour - 10) * HOUR, HOUR)

    def empty(slot):
        return PastBook(
            slot, (), np.array([], bool), np.array([], np.int64), np.array([], np.int64)
        )

    books = [empty(at(d, h)) for d in range(-28, 3) for h in range(24)]
    drawn = draw(books, SLOT, UTC)
    assert len(drawn) == 200
    assert all(book.slot.start < SLOT.start for book in drawn)
    near = [b for b in drawn if abs((b.slot.start - SLOT.start) % 86_400) in (0, HOUR, 82_800)]
    assert len(near) > 150
    last_week = sum(SLOT.start - b.slot.start <= 7 * 86_400 for b in drawn)
    first_week = sum(SLOT.start - b.slot.start > 21 * 86_400 for b in drawn)
    assert last_week > 1.3 * first_week
    assert draw([], SLOT, UTC) == []


def test_no_scenarios_and_bad_risk_are_refused():
    with pytest.raises(ValueError, match="past book"):
        Scenarios([], SLOT, PriceBounds(PriceTick(0), PriceTick(1)), "me", Side.SELL, [])
    with pytest.raises(ValueError, match="permille"):
        Risk(1001)
