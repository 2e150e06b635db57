"""The clearing against a slow one written down from docs/market-rules.md 4 and 5 alone.

The reference goes through the book unit by unit of energy; it shares no code and no idea with the
program's: no arrays, no crossing, no bisection.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from light_node.market import margin
from light_node.market.clearing import clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, PriceTick


@dataclass(frozen=True)
class Reference:
    market: str
    price: int | None
    volume: int
    fills: dict[str, int]
    standing: tuple[str, ...]


def reference_clear(
    slot_id: str, bounds: PriceBounds, quotes: Sequence[Quote], previous: Sequence[str] = ()
) -> Reference:
    places = {participant: place for place, participant in enumerate(previous)}

    def rank(quote: Quote) -> tuple[bool, int, str]:
        incumbent = quote.participant in places
        text = f"{slot_id}|{quote.participant}"
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        return not incumbent, places.get(quote.participant, 0), digest

    asks = sorted((q for q in quotes if q.side is Side.SELL), key=lambda q: (q.price, rank(q)))
    bids = sorted((q for q in quotes if q.side is Side.BUY), key=lambda q: (-q.price, rank(q)))
    ask_units = [quote for quote in asks for _ in range(quote.energy)]
    bid_units = [quote for quote in bids for _ in range(quote.energy)]
    supply, demand = len(ask_units), len(bid_units)
    market = "buyer" if supply > demand else "seller" if demand > supply else "balanced"
    fills = {quote.participant: 0 for quote in quotes}
    volume = 0
    while volume < min(supply, demand) and ask_units[volume].price <= bid_units[volume].price:
        fills[ask_units[volume].participant] += 1
        fills[bid_units[volume].participant] += 1
        volume += 1
    standing = tuple(q.participant for q in (*asks, *bids) if fills[q.participant])
    if not volume:
        return Reference(market, None, 0, fills, standing)
    s, b = ask_units[volume - 1], bid_units[volume - 1]
    next_asks = [q.price for q in asks if q.energy and not fills[q.participant]]
    next_bids = [q.price for q in bids if q.energy and not fills[q.participant]]
    a_plus = next_asks[0] if next_asks else bounds.cap
    b_plus = next_bids[0] if next_bids else bounds.floor
    if fills[s.participant] < s.energy:
        price = s.price
    elif fills[b.participant] < b.energy:
        price = b.price
    elif market == "buyer":
        price = min(a_plus, b.price)
    elif market == "seller":
        price = max(b_plus, s.price)
    else:
        price = (max(s.price, b_plus) + min(b.price, a_plus)) // 2
    return Reference(market, price, volume, fills, standing)


def random_book(rng: random.Random, most: int = 12) -> tuple[PriceBounds, list[Quote], list[str]]:
    """A book with many ties, sometimes balanced, sometimes with prices below zero."""
    floor = rng.choice([-7, 0, 40])
    cap = floor + rng.choice([0, 1, 3, 9, 400])
    energies = rng.choice([(1, 1), (0, 3), (1, 9)])
    quotes = [
        Quote(
            f"p{index}",
            rng.choice(list(Side)),
            EnergyWh(rng.randint(*energies)),
            PriceTick(rng.randint(floor, cap)),
        )
        for index in range(rng.randint(0, most))
    ]
    if rng.random() < 0.4:
        # Level the totals: the midpoint case would be rare otherwise.
        gap = sum(q.energy if q.side is Side.SELL else -q.energy for q in quotes)
        side = Side.BUY if gap > 0 else Side.SELL
        price = PriceTick(rng.randint(floor, cap))
        quotes.append(Quote("leveller", side, EnergyWh(abs(gap)), price))
    previous = [quote.participant for quote in quotes if rng.random() < 0.4] + ["gone"]
    rng.shuffle(previous)
    rng.shuffle(quotes)
    return PriceBounds(PriceTick(floor), PriceTick(cap)), quotes, previous


@pytest.mark.parametrize("sort_below", [1024, 3, 0])
def test_thousands_of_random_books(sort_below: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margin, "_SORT_BELOW", sort_below)
    rng = random.Random(20220609 + sort_below)
    for case in range(1_500):
        bounds, quotes, previous = random_book(rng)
        slot_id = f"slot {case}"
        expected = reference_clear(slot_id, bounds, quotes, previous)
        outcome = clear(slot_id, bounds, quotes, previous)
        seen = Reference(
            outcome.market, outcome.price, outcome.volume, dict(outcome.fills), outcome.standing
        )
        assert seen == expected, (case, bounds, quotes, previous)


@pytest.mark.parametrize("span", [1, 50, 1_000_000])
def test_books_large_enough_for_the_bisection(span: int) -> None:
    rng = random.Random(span)
    bounds = PriceBounds(PriceTick(0), PriceTick(span))
    for case in range(3):
        quotes = [
            Quote(
                f"p{index}",
                rng.choice(list(Side)),
                EnergyWh(rng.randint(0, 4)),
                PriceTick(rng.randint(0, span)),
            )
            for index in range(3_000)
        ]
        previous = [q.participant for q in rng.sample(quotes, 500)]
        expected = reference_clear("slot", bounds, quotes, previous)
        outcome = clear("slot", bounds, quotes, previous)
        assert outcome.price == expected.price, case
        assert outcome.fills == expected.fills, case
        assert outcome.standing == expected.standing, case
