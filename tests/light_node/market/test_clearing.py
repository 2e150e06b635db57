"""The papers' examples, each row of the price table, ranks, and what is refused."""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from light_node.market import clearing, margin
from light_node.market.clearing import Market, clear
from light_node.market.errors import (
    DuplicateParticipant,
    InvalidSlot,
    MarketError,
    PriceOutOfBounds,
    TooManyQuotes,
)
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import MAX_ENERGY_WH, TICKS_PER_CURRENCY, EnergyWh, PriceTick

SLOT = "2026-06-21T23:00Z/PT60M"
BOUNDS = PriceBounds(PriceTick(3800), PriceTick(11080))


def sell(participant: str, energy: int, price: int) -> Quote:
    return Quote(participant, Side.SELL, EnergyWh(energy), PriceTick(price))


def buy(participant: str, energy: int, price: int) -> Quote:
    return Quote(participant, Side.BUY, EnergyWh(energy), PriceTick(price))


def table(path: Path, side: Side, column: str) -> list[Quote]:
    """Quotes of one of the tables of [H]: first column id, second kWh, ``column`` the price."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    who, energy = list(rows[0])[:2]
    return [
        Quote(
            row[who],
            side,
            EnergyWh(int(row[energy]) * 1000),
            PriceTick(int(Decimal(row[column]) * TICKS_PER_CURRENCY)),
        )
        for row in rows
    ]


@pytest.mark.parametrize(
    ("name", "side", "against", "first", "final", "market"),
    [
        # Hour 23: supply of 16 kWh; hour 24: demand of 13 kWh. Prices before and after the rounds.
        ("hou_table2.csv", Side.BUY, sell("S", 16_000, 3800), 6900, 6800, Market.SELLER),
        ("hou_table3.csv", Side.SELL, buy("T", 13_000, 11080), 5000, 6400, Market.BUYER),
    ],
)
def test_the_papers_examples(
    data: Path, name: str, side: Side, against: Quote, first: int, final: int, market: Market
) -> None:
    path = data / "paper" / name
    matched_column = "market_purchase_kwh" if side is Side.BUY else "market_sale_kwh"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    matched = {next(iter(row.values())): int(row[matched_column]) * 1000 for row in rows}

    one = clear(SLOT, BOUNDS, [*table(path, side, "reservation_price"), against])
    assert (one.market, one.price, one.volume) == (market, first, against.energy)
    assert {id_: one.fills[id_] for id_ in matched} == matched

    # The marginal participant moved to its competitor's price and keeps its place by standing.
    quotes = [*table(path, side, "equilibrium_quote"), against]
    last = clear(SLOT, BOUNDS, quotes, one.standing)
    assert (last.market, last.price, last.volume) == (market, final, against.energy)
    assert {id_: last.fills[id_] for id_ in matched} == matched
    assert last.standing == one.standing


def test_without_the_standing_of_the_round_before_the_hash_decides(data: Path) -> None:
    quotes = table(data / "paper" / "hou_table3.csv", Side.SELL, "equilibrium_quote")
    fills = clear(SLOT, BOUNDS, [*quotes, buy("T", 13_000, 11080)]).fills
    ranked = sorted("EF", key=lambda id_: hashlib.sha256(f"{SLOT}|{id_}".encode()).digest())
    assert fills["H"] == 3_000
    assert fills[ranked[0]] == 10_000
    assert fills[ranked[1]] == 0


@pytest.mark.parametrize(
    ("quotes", "market", "price", "volume"),
    [
        # s served in part: s's quote, whatever the bids and the next ask.
        ([sell("s", 10, 5000), sell("t", 9, 6000), buy("b", 4, 9000)], "buyer", 5000, 4),
        # … also where demand is greater in total.
        ([sell("s", 10, 5000), buy("b", 4, 9000), buy("c", 20, 4000)], "seller", 5000, 4),
        # b served in part: b's quote.
        ([sell("s", 4, 5000), buy("b", 10, 9000)], "seller", 9000, 4),
        ([sell("s", 4, 5000), sell("t", 20, 9500), buy("b", 10, 9000)], "buyer", 9000, 4),
        # In full, buyer's market: the next ask, or the last buyer's limit if that is lower.
        ([sell("s", 4, 5000), sell("t", 1, 6000), buy("b", 4, 9000)], "buyer", 6000, 4),
        ([sell("s", 4, 5000), sell("t", 1, 9500), buy("b", 4, 9000)], "buyer", 9000, 4),
        # In full, seller's market: the next bid, or the last seller's limit if that is higher.
        ([sell("s", 4, 5000), buy("b", 4, 9000), buy("c", 1, 8000)], "seller", 8000, 4),
        ([sell("s", 4, 5000), buy("b", 4, 9000), buy("c", 1, 4000)], "seller", 5000, 4),
        # In full, totals equal: midpoint, rounded down.
        ([sell("s", 4, 5000), buy("b", 4, 9001)], "balanced", 7000, 4),
        (
            [sell("s", 4, 5000), sell("t", 2, 8000), buy("b", 4, 9000), buy("c", 2, 6001)],
            "balanced",
            7000,
            4,
        ),
        # No quote beyond the margin, and none needed: neither cap nor floor enters.
        ([sell("s", 4, 3800), buy("b", 4, 11080)], "balanced", 7440, 4),
        # Nothing trades; the market is named by the totals all the same.
        ([sell("s", 4, 9000), buy("b", 3, 8999)], "buyer", None, 0),
        ([sell("s", 4, 9000)], "buyer", None, 0),
        ([buy("b", 4, 9000)], "seller", None, 0),
        ([sell("s", 0, 4000), buy("b", 0, 9000)], "balanced", None, 0),
        ([], "balanced", None, 0),
        # The best quotes meet exactly.
        ([sell("s", 4, 9000), buy("b", 4, 9000)], "balanced", 9000, 4),
        # All quotes alike: who is long does not matter.
        ([sell("s", 4, 9000), sell("t", 4, 9000), buy("b", 4, 9000)], "buyer", 9000, 4),
    ],
)
def test_each_row_of_the_price_table(
    quotes: Sequence[Quote], market: str, price: int | None, volume: int
) -> None:
    outcome = clear(SLOT, BOUNDS, quotes)
    assert (outcome.market, outcome.price, outcome.volume) == (market, price, volume)
    assert set(outcome.fills) == {quote.participant for quote in quotes}


def test_floor_and_cap_stand_in_for_a_missing_next_quote() -> None:
    # A buyer's market whose long side is sold out cannot be, nor can a seller's; what is left is
    # the balanced book, where the limits of those served are the nearer ones.
    tight = PriceBounds(PriceTick(5000), PriceTick(9000))
    assert clear(SLOT, tight, [sell("s", 4, 5000), buy("b", 4, 9000)]).price == 7000


def test_zero_energy_changes_nothing_and_is_listed() -> None:
    quotes = [sell("s", 4, 5000), sell("t", 1, 6000), buy("b", 4, 9000)]
    plain = clear(SLOT, BOUNDS, quotes)
    more = clear(SLOT, BOUNDS, [*quotes, sell("zero", 0, 5500), buy("none", 0, 9500)])
    assert (more.price, more.volume, more.standing) == (plain.price, plain.volume, plain.standing)
    assert more.fills == {**plain.fills, "zero": 0, "none": 0}


def test_standing_is_sellers_then_buyers_each_in_rank_order() -> None:
    quotes = [
        buy("b1", 2, 8000), buy("b2", 2, 9000), buy("b3", 5, 4000),
        sell("s1", 3, 5000), sell("s2", 1, 4000), sell("s3", 1, 7000),
    ]  # fmt: skip
    assert clear(SLOT, BOUNDS, quotes).standing == ("s2", "s1", "b2", "b1")


def test_incumbents_keep_the_order_of_the_round_before() -> None:
    tied = [sell(f"s{index}", 5, 6000) for index in range(6)]
    quotes = [*tied, buy("b", 13, 9000)]
    outcome = clear(SLOT, BOUNDS, quotes, ("gone", "s4", "s1", "s5"))
    assert outcome.standing == ("s4", "s1", "s5", "b")
    assert [outcome.fills[id_] for id_ in ("s4", "s1", "s5")] == [5, 5, 3]
    again = clear(SLOT, BOUNDS, quotes, outcome.standing)
    assert again == outcome


def test_only_tied_quotes_at_the_margin_are_hashed_for_the_fills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[str] = []
    original = clearing.rank_hash

    def counting(slot_id: str, participant: str) -> bytes:
        hashed.append(participant)
        return original(slot_id, participant)

    monkeypatch.setattr(clearing, "rank_hash", counting)
    # Different prices but for two tied pairs: one below the margin (matters for the standing
    # only), one out of the market (matters for nothing).
    quotes = [sell(f"s{index}", 5, 5000 + index) for index in range(100)]
    quotes += [sell("low", 5, 5000), sell("out", 5, 5090), buy("b", 52, 9000)]
    clear(SLOT, BOUNDS, quotes)
    assert set(hashed) == {"s0", "low"}


def test_the_largest_numbers_stay_exact() -> None:
    n = 2_000
    quotes = [sell(f"s{index}", MAX_ENERGY_WH, 5000) for index in range(n)]
    quotes += [buy(f"b{index}", MAX_ENERGY_WH, 9000) for index in range(n - 1)]
    quotes.append(buy("last", MAX_ENERGY_WH - 1, 9000))
    outcome = clear(SLOT, BOUNDS, quotes)
    assert (outcome.market, outcome.price) == (Market.BUYER, 5000)
    assert outcome.volume == n * MAX_ENERGY_WH - 1 == sum(outcome.fills.values()) // 2


def test_prices_may_be_negative_and_the_midpoint_goes_down() -> None:
    bounds = PriceBounds(PriceTick(-10), PriceTick(5))
    assert clear(SLOT, bounds, [sell("s", 1, -10), buy("b", 1, 3)]).price == -4


@pytest.mark.parametrize(
    ("quotes", "previous", "error", "says"),
    [
        ([sell("s", 1, 3799)], (), PriceOutOfBounds, "s: price 3799 is outside 3800 to 11080"),
        ([buy("b", 0, 11081)], (), PriceOutOfBounds, "b: price 11081 is outside"),
        ([sell("s", 1, 4000), buy("s", 1, 4000)], (), DuplicateParticipant, "s has two quotes"),
        ([], ("a", "b", "a"), DuplicateParticipant, "a appears twice"),
    ],
)
def test_refused_books(
    quotes: list[Quote], previous: tuple[str, ...], error: type[MarketError], says: str
) -> None:
    with pytest.raises(error, match=says):
        clear(SLOT, BOUNDS, quotes, previous)


@pytest.mark.parametrize("slot_id", ["", "a\nb", "x" * 257, "\ud800"])
def test_refused_slot_ids(slot_id: str) -> None:
    with pytest.raises(InvalidSlot):
        clear(slot_id, BOUNDS, [])


def test_too_many_quotes_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "MAX_QUOTES", 2)
    quotes = [sell(f"s{index}", 1, 4000) for index in range(3)]
    with pytest.raises(TooManyQuotes):
        clear(SLOT, BOUNDS, quotes)
    clear(SLOT, BOUNDS, quotes[:2])
    monkeypatch.setattr(clearing, "MAX_QUOTES", 10)
    monkeypatch.setattr(margin, "MAX_QUOTES", 2)
    with pytest.raises(TooManyQuotes):
        clear(SLOT, BOUNDS, quotes)


def test_a_quote_moves_only_itself_when_it_withdraws_from_a_tie() -> None:
    tied = [sell(f"s{index}", 5, 6000) for index in range(4)]
    quotes = [*tied, buy("b", 10, 9000)]
    outcome = clear(SLOT, BOUNDS, quotes)
    first, second = outcome.standing[:2]
    others = [replace(q, price=PriceTick(6001)) if q.participant == first else q for q in quotes]
    moved = clear(SLOT, BOUNDS, others)
    assert moved.standing[0] == second
    assert moved.fills[first] == 0
