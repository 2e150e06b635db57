"""Orders: fills are kept, the degree follows its formula, the pairing is the best one."""

import hashlib
import itertools
import random

import pytest

from light_node.market import orders
from light_node.market.clearing import Clearing, Market, clear
from light_node.market.errors import InvalidOrders
from light_node.market.orders import (
    ONE,
    MatchingRules,
    Order,
    Trader,
    Weights,
    Zones,
    order_rand,
    pair,
)
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, PriceTick

BOUNDS = PriceBounds(PriceTick(4_000), PriceTick(10_000))
SLOT = "2026-06-21T10:00Z/PT60M"


def quote(participant: str, side: Side, energy: int, price: int) -> Quote:
    return Quote(participant, side, EnergyWh(energy), PriceTick(price))


def market(count: int, seed: int) -> tuple[list[Quote], Clearing, dict[str, Trader]]:
    rng = random.Random(seed)
    quotes = [
        quote(f"h{i:03}", rng.choice(list(Side)), rng.randint(1, 6_000), rng.randint(4_000, 10_000))
        for i in range(count)
    ]
    traders = {
        q.participant: Trader(
            q.participant, rng.choice("abc"), rng.random() < 0.5, rng.randint(0, ONE)
        )
        for q in quotes
    }
    return quotes, clear(SLOT, BOUNDS, quotes), traders


def paired(
    quotes: list[Quote],
    outcome: Clearing,
    traders: dict[str, Trader],
    rules: MatchingRules | None = None,
) -> tuple[Order, ...]:
    return pair(BOUNDS, quotes, outcome, traders, mtc="mtc@Org1", matched_at=1_000, rules=rules)


def assert_fills_kept(quotes: list[Quote], outcome: Clearing, found: tuple[Order, ...]) -> None:
    for q in quotes:
        own = [o.energy for o in found if q.participant in (o.seller, o.buyer)]
        assert sum(own) == outcome.fills[q.participant]
    side = {q.participant: q.side for q in quotes}
    assert all((side[o.seller], side[o.buyer]) == (Side.SELL, Side.BUY) for o in found)
    assert all(o.price == outcome.price and o.energy > 0 for o in found)
    assert list(found) == sorted(found, key=lambda o: (o.seller, o.buyer))


@pytest.mark.parametrize("seed", range(5))
def test_orders_keep_every_fill_and_the_price(seed: int) -> None:
    quotes, outcome, traders = market(40, seed)
    found = paired(quotes, outcome, traders)
    assert_fills_kept(quotes, outcome, found)
    assert found == paired(quotes[::-1], outcome, traders)


def test_the_degree_of_a_pair_follows_the_formula() -> None:
    quotes = [quote("s", Side.SELL, 900, 5_000), quote("b", Side.BUY, 1_200, 8_000)]
    outcome = clear(SLOT, BOUNDS, quotes)
    rules = MatchingRules(
        Weights(quantity=1_000, reputation=2_000, distance=3_000, green=1_500, price=2_500),
        Zones({("a", "b"): 2, ("a", "c"): 8}),
    )
    traders = {"s": Trader("s", "b", True, 7_000), "b": Trader("b", "a", True, 100)}
    (order,) = paired(quotes, outcome, traders, rules)
    # The fills are equal (900 Wh), zones a and b are 2 of at most 8 apart, bid - ask is half the
    # spread; the buyer's own reputation plays no part.
    scores = (1_000 * ONE, 2_000 * 7_000, 3_000 * 7_500, 1_500 * ONE, 2_500 * 5_000)
    assert order.degree == sum(scores)
    assert (order.energy, order.price, order.matched_at) == (900, outcome.price, 1_000)
    assert order.rand == order_rand("s", "b", "mtc@Org1")
    # Green counts only where the buyer asks and the seller has.
    for seller_has, buyer_asks in ((True, False), (False, True), (False, False)):
        other = {
            "s": Trader("s", "b", seller_has, 7_000),
            "b": Trader("b", "a", buyer_asks, 100),
        }
        (order,) = paired(quotes, outcome, other, rules)
        assert order.degree == sum(scores) - 1_500 * ONE


def test_quantity_score_compares_what_was_matched() -> None:
    quotes = [
        quote("s", Side.SELL, 300, 5_000),
        quote("t", Side.SELL, 100, 5_000),
        quote("b", Side.BUY, 400, 8_000),
    ]
    outcome = clear(SLOT, BOUNDS, quotes)
    only_quantity = MatchingRules(Weights(ONE, 0, 0, 0, 0))
    traders = {id_: Trader(id_) for id_ in "stb"}
    found = paired(quotes, outcome, traders, only_quantity)
    assert {o.seller: o.degree for o in found} == {"s": 7_500 * ONE, "t": 2_500 * ONE}
    mirrored = [
        quote("s", Side.SELL, 400, 5_000),
        quote("t", Side.BUY, 100, 8_000),
        quote("b", Side.BUY, 300, 8_000),
    ]
    found = paired(mirrored, clear(SLOT, BOUNDS, mirrored), traders, only_quantity)
    assert {o.buyer: o.degree for o in found} == {"b": 7_500 * ONE, "t": 2_500 * ONE}


def test_neighbours_meet_when_distance_decides() -> None:
    quotes = [
        *(quote(f"s{z}", Side.SELL, 500, 5_000) for z in "abc"),
        *(quote(f"b{z}", Side.BUY, 500, 8_000) for z in "cab"),
    ]
    traders = {q.participant: Trader(q.participant, q.participant[1]) for q in quotes}
    found = paired(
        quotes, clear(SLOT, BOUNDS, quotes), traders, MatchingRules(Weights(0, 0, ONE, 0, 0))
    )
    assert {(o.seller, o.buyer) for o in found} == {("sa", "ba"), ("sb", "bb"), ("sc", "bc")}


def test_the_sum_of_degree_times_energy_is_the_greatest() -> None:
    rng = random.Random(4)
    for seed in range(30):
        n = rng.randint(2, 4)
        quotes = [quote(f"s{i}", Side.SELL, 700, 4_000 + i) for i in range(n)]
        quotes += [quote(f"b{i}", Side.BUY, 700, 10_000 - i) for i in range(n)]
        traders = {
            q.participant: Trader(q.participant, rng.choice("abcd"), rng.random() < 0.5)
            for q in quotes
        }
        rules = MatchingRules(zones=Zones({("a", "b"): 1, ("b", "c"): 2, ("c", "d"): seed + 1}))
        found = paired(quotes, clear(SLOT, BOUNDS, quotes), traders, rules)
        degree = {
            (s.participant, b.participant): paired(
                [s, b], clear(SLOT, BOUNDS, [s, b]), traders, rules
            )[0].degree
            for s in quotes[:n]
            for b in quotes[n:]
        }
        best = max(
            sum(
                degree[s.participant, b.participant] for s, b in zip(quotes[:n], order, strict=True)
            )
            for order in itertools.permutations(quotes[n:])
        )
        assert sum(o.degree * o.energy for o in found) == 700 * best


def test_above_the_size_limit_blocks_keep_fills_and_stay_deterministic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quotes, outcome, traders = market(300, 1)
    exact = paired(quotes, outcome, traders)
    monkeypatch.setattr(orders, "MAX_EXACT_PAIRS", 100)
    for block in (7, 64, 1_000):
        monkeypatch.setattr(orders, "_BLOCK", block)
        found = paired(quotes, outcome, traders)
        assert_fills_kept(quotes, outcome, found)
        assert found == paired(quotes[::-1], outcome, traders)
        value = sum(o.degree * o.energy for o in found)
        best = sum(o.degree * o.energy for o in exact)
        assert value <= best
        if block == 1_000:
            assert value == best


def test_nothing_traded_gives_no_orders() -> None:
    quotes = [quote("s", Side.SELL, 5, 9_000), quote("b", Side.BUY, 5, 5_000)]
    assert paired(quotes, clear(SLOT, BOUNDS, quotes), {}) == ()


def test_rand_is_sha_256_of_the_three_ids_with_their_lengths() -> None:
    data = b"\x00\x00\x00\x02ab" + b"\x00\x00\x00\x03\xe6\x88\xb7" + b"\x00\x00\x00\x01m"
    assert order_rand("ab", "户", "m") == hashlib.sha256(data).digest()
    assert order_rand("ab", "c", "m") != order_rand("a", "bc", "m")
    assert order_rand("a", "b", "m") != order_rand("b", "a", "m")


def test_zones() -> None:
    zones = Zones({("a", "b"): 3, ("b", "c"): 7})
    assert zones.distance("a", "a") == 0
    assert zones.distance("a", "b") == zones.distance("b", "a") == 3
    assert zones.distance("a", "c") == zones.farthest == 7
    assert (Zones().farthest, Zones().distance("a", "b")) == (1, 1)
    assert Zones({("a", "b"): 0}).farthest == 1


def test_what_does_not_fit_is_refused() -> None:
    quotes = [quote("s", Side.SELL, 5, 5_000), quote("b", Side.BUY, 5, 9_000)]
    outcome = clear(SLOT, BOUNDS, quotes)
    traders = {"s": Trader("s"), "b": Trader("b")}
    with pytest.raises(InvalidOrders, match="nothing is known of b"):
        paired(quotes, outcome, {"s": Trader("s")})
    with pytest.raises(InvalidOrders, match="not the same"):
        paired(quotes[:1], outcome, traders)
    wrong = Clearing(
        Market.BALANCED, PriceTick(7_000), EnergyWh(4), outcome.fills, outcome.standing
    )
    with pytest.raises(InvalidOrders, match="not the same"):
        paired(quotes, wrong, traders)
    with pytest.raises(InvalidOrders, match="sum up"):
        Weights(quantity=1)
    with pytest.raises(InvalidOrders, match="sum up"):
        Weights(quantity=-1_000, reputation=6_000)
    with pytest.raises(InvalidOrders, match="from 0"):
        Zones({("a", "b"): -1})
    with pytest.raises(InvalidOrders, match="reputation"):
        Trader("x", reputation=ONE + 1)
