"""What holds for every book (docs/market-rules.md section 5)."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from light_node.market import margin
from light_node.market.clearing import Clearing, Market, clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, PriceTick

SLOT = "2026-06-21T10:00Z/PT15M"
FLOOR, CAP = 20, 30
BOUNDS = PriceBounds(PriceTick(FLOOR), PriceTick(CAP))

prices = st.integers(FLOOR, CAP).map(PriceTick)
energies = st.integers(1, 6).map(EnergyWh)
sides = st.sampled_from(list(Side))


@st.composite
def books(draw: st.DrawFn) -> list[Quote]:
    """Books with many ties; every third or so is levelled so that the totals are equal."""
    rows = draw(st.lists(st.tuples(sides, energies, prices), max_size=9))
    quotes = [Quote(f"p{index}", *row) for index, row in enumerate(rows)]
    gap = sum(q.energy if q.side is Side.SELL else -q.energy for q in quotes)
    if gap and draw(st.sampled_from([True, False, False])):
        side = Side.BUY if gap > 0 else Side.SELL
        quotes.append(Quote("level", side, EnergyWh(abs(gap)), draw(prices)))
    return quotes


standings = st.permutations([f"p{index}" for index in range(9)]).flatmap(
    lambda ids: st.integers(0, 9).map(lambda count: ids[:count])
)


@pytest.fixture(params=[1024, 2], ids=["sorted", "bisected"], autouse=True, scope="module")
def _both_ways(request: pytest.FixtureRequest) -> object:
    """Small books are sorted, large ones bisected; both ways have to keep every promise."""
    usual, margin._SORT_BELOW = margin._SORT_BELOW, request.param
    yield
    margin._SORT_BELOW = usual


def matched(quotes: Sequence[Quote], outcome: Clearing, side: Side) -> list[Quote]:
    return [q for q in quotes if q.side is side and outcome.fills[q.participant]]


def supplied(quotes: Sequence[Quote], price: int) -> int:
    return sum(q.energy for q in quotes if q.side is Side.SELL and q.price <= price)


def demanded(quotes: Sequence[Quote], price: int) -> int:
    return sum(q.energy for q in quotes if q.side is Side.BUY and q.price >= price)


def served_in_part(quotes: Sequence[Quote], outcome: Clearing) -> bool:
    return any(0 < outcome.fills[q.participant] < q.energy for q in quotes)


@given(books(), standings)
def test_bought_is_sold_and_nobody_gets_more_than_quoted(
    quotes: list[Quote], previous: list[str]
) -> None:
    outcome = clear(SLOT, BOUNDS, quotes, previous)
    assert set(outcome.fills) == {q.participant for q in quotes}
    for side in Side:
        fills = [outcome.fills[q.participant] for q in quotes if q.side is side]
        assert sum(fills) == outcome.volume
    assert all(0 <= outcome.fills[q.participant] <= q.energy for q in quotes)
    assert (outcome.price is None) == (outcome.volume == 0)


@given(books())
def test_the_volume_is_the_most_any_price_allows(quotes: list[Quote]) -> None:
    most = max(min(supplied(quotes, p), demanded(quotes, p)) for p in range(FLOOR, CAP + 1))
    assert clear(SLOT, BOUNDS, quotes).volume == most


@given(books(), standings)
def test_nobody_trades_worse_than_quoted_and_the_price_is_within_bounds(
    quotes: list[Quote], previous: list[str]
) -> None:
    outcome = clear(SLOT, BOUNDS, quotes, previous)
    if outcome.price is None:
        return
    assert FLOOR <= outcome.price <= CAP
    assert all(q.price <= outcome.price for q in matched(quotes, outcome, Side.SELL))
    assert all(q.price >= outcome.price for q in matched(quotes, outcome, Side.BUY))


@given(books(), standings)
def test_better_quotes_and_better_ranks_are_served_first(
    quotes: list[Quote], previous: list[str]
) -> None:
    outcome = clear(SLOT, BOUNDS, quotes, previous)
    for side, sign in ((Side.SELL, 1), (Side.BUY, -1)):
        own = [q for q in quotes if q.side is side]
        for one in own:
            for other in own:
                one_first = sign * one.price < sign * other.price or (
                    one.price == other.price
                    and one.participant in previous
                    and (
                        other.participant not in previous
                        or previous.index(one.participant) < previous.index(other.participant)
                    )
                )
                if one_first and outcome.fills[other.participant]:
                    assert outcome.fills[one.participant] == one.energy


@given(books(), standings, st.randoms(use_true_random=False))
def test_independent_of_input_order(
    quotes: list[Quote], previous: list[str], rng: random.Random
) -> None:
    shuffled = rng.sample(quotes, len(quotes))
    assert clear(SLOT, BOUNDS, quotes, previous) == clear(SLOT, BOUNDS, shuffled, previous)


@given(books(), standings)
def test_the_market_is_named_by_the_totals(quotes: list[Quote], previous: list[str]) -> None:
    supply, demand = supplied(quotes, CAP), demanded(quotes, FLOOR)
    outcome = clear(SLOT, BOUNDS, quotes, previous)
    if supply == demand:
        assert outcome.market is Market.BALANCED
    else:
        assert outcome.market is (Market.BUYER if supply > demand else Market.SELLER)


@given(books(), standings)
def test_mirror_symmetry(quotes: list[Quote], previous: list[str]) -> None:
    """Negating every price and swapping the sides negates the price and leaves the fills.

    Only the midpoint of a balanced market, rounded down on both sides of the mirror, may come
    out one tick lower.
    """
    mirrored = [Quote(q.participant, q.side.other, q.energy, PriceTick(-q.price)) for q in quotes]
    bounds = PriceBounds(PriceTick(-CAP), PriceTick(-FLOOR))
    one, other = clear(SLOT, BOUNDS, quotes, previous), clear(SLOT, bounds, mirrored, previous)
    swapped = {
        Market.BUYER: Market.SELLER,
        Market.SELLER: Market.BUYER,
        Market.BALANCED: Market.BALANCED,
    }
    assert other.market is swapped[one.market]
    assert other.fills == one.fills
    if one.price is None or other.price is None:
        assert one.price is other.price
    elif one.market is Market.BALANCED and not served_in_part(quotes, one):
        assert one.price + other.price in (0, -1)
    else:
        assert one.price + other.price == 0


@given(books(), standings, sides, energies, prices)
def test_a_quote_that_is_not_served_moves_no_energy(
    quotes: list[Quote], previous: list[str], side: Side, energy: EnergyWh, price: PriceTick
) -> None:
    """Volume, everybody else's fill and the standing stay as they were without it.

    The price stays, too, where a marginal quote is served in part: then it is that quote's.
    """
    before = clear(SLOT, BOUNDS, quotes, previous)
    after = clear(SLOT, BOUNDS, [*quotes, Quote("new", side, energy, price)], previous)
    if after.fills["new"]:
        return
    assert after.volume == before.volume
    assert after.standing == before.standing
    assert after.fills == {**before.fills, "new": 0}
    if served_in_part(quotes, before):
        assert after.price == before.price


@given(books(), standings, sides, energies, st.data())
def test_an_out_of_merit_quote_changes_nothing(
    quotes: list[Quote], previous: list[str], side: Side, energy: EnergyWh, data: st.DataObject
) -> None:
    """Out of merit: an ask above the last buyer served, or a bid below the last seller served.

    (Where nothing trades: above every bid, or below every ask.) Such a quote changes nothing as
    long as it does not change which side is long: totals of all valid quotes name the market and,
    where everybody served is served in full, choose the row of the price table.
    """
    bounds = PriceBounds(PriceTick(FLOOR - 3), PriceTick(CAP + 3))
    before = clear(SLOT, bounds, quotes, previous)
    against = [
        q.price
        for q in quotes
        if q.side is side.other and (before.fills[q.participant] or not before.volume)
    ]
    if side is Side.SELL:
        limit = (max if not before.volume else min)(against, default=FLOOR)
        price = data.draw(st.integers(limit + 1, CAP + 3))
    else:
        limit = (min if not before.volume else max)(against, default=CAP)
        price = data.draw(st.integers(FLOOR - 3, limit - 1))
    after = clear(SLOT, bounds, [*quotes, Quote("new", side, energy, PriceTick(price))], previous)
    assert after.fills == {**before.fills, "new": 0}
    assert after.volume == before.volume
    assert after.standing == before.standing
    if after.market is before.market or served_in_part(quotes, before):
        assert after.price == before.price


def test_an_unserved_quote_may_change_the_price_where_all_are_served_in_full() -> None:
    """The limits of the two properties above, each by its smallest example."""
    book = [
        Quote("s", Side.SELL, EnergyWh(4), PriceTick(21)),
        Quote("b", Side.BUY, EnergyWh(4), PriceTick(29)),
    ]
    assert clear(SLOT, BOUNDS, book).price == 25
    # Out of merit, but it makes supply the long side: min(next ask, last bid).
    tipped = clear(SLOT, BOUNDS, [*book, Quote("new", Side.SELL, EnergyWh(1), PriceTick(30))])
    assert (tipped.market, tipped.price, tipped.fills["new"]) == (Market.BUYER, 29, 0)
    # Not served, but in merit: it is the first ask not sold, and so the price.
    priced = clear(SLOT, BOUNDS, [*book, Quote("new", Side.SELL, EnergyWh(1), PriceTick(23))])
    assert (priced.price, priced.fills["new"]) == (23, 0)


@given(st.lists(st.tuples(energies, prices), min_size=1, max_size=9), st.integers(1, 20))
def test_pure_buyers_market_is_the_papers_equation(
    rows: list[tuple[EnergyWh, PriceTick]], demand: int
) -> None:
    """P = min { p : S(p) > D }, the quote of the first unit that is not sold [H eq. 3]."""
    asks = [Quote(f"s{index}", Side.SELL, *row) for index, row in enumerate(rows)]
    assume(sum(q.energy for q in asks) > demand)
    outcome = clear(SLOT, BOUNDS, [*asks, Quote("b", Side.BUY, EnergyWh(demand), PriceTick(CAP))])
    assert outcome.market is Market.BUYER
    assert outcome.price == min(p for p in range(FLOOR, CAP + 1) if supplied(asks, p) > demand)
    assert outcome.volume == demand


@given(st.lists(st.tuples(energies, prices), min_size=1, max_size=9), st.integers(1, 20))
def test_pure_sellers_market_is_its_mirror_image(
    rows: list[tuple[EnergyWh, PriceTick]], supply: int
) -> None:
    """P = max { p : D(p) > S } [H eq. 7]."""
    bids = [Quote(f"b{index}", Side.BUY, *row) for index, row in enumerate(rows)]
    assume(sum(q.energy for q in bids) > supply)
    outcome = clear(
        SLOT, BOUNDS, [*bids, Quote("s", Side.SELL, EnergyWh(supply), PriceTick(FLOOR))]
    )
    assert outcome.price == max(p for p in range(FLOOR, CAP + 1) if demanded(bids, p) > supply)


@given(books(), standings)
def test_the_standing_may_be_fed_back(quotes: list[Quote], previous: list[str]) -> None:
    """Clearing the same quotes again by their own standing gives the same outcome."""
    outcome = clear(SLOT, BOUNDS, quotes, previous)
    assert clear(SLOT, BOUNDS, quotes, outcome.standing) == outcome
