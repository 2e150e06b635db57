"""Selected equilibria against exhaustive search through the market's own clearing."""

import itertools
import random

import numpy as np
import pytest

from light_node.market.clearing import Market, clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.strategy.equilibrium import (
    Method,
    certify,
    iterate,
    one_setter,
    pinned,
    solve,
    truthful,
)
from wallet_app.strategy.ladder import Players

SLOT = "2026-06-21T10:00Z/PT60M"


def players_of(bounds, rows):
    """Players from (id, sells, energy, reservation)."""
    names, sells, energy, limits = zip(*rows, strict=True)
    return Players(
        SLOT,
        PriceBounds(PriceTick(bounds[0]), PriceTick(bounds[1])),
        list(names),
        np.array(sells, bool),
        np.array(energy, np.int64),
        np.array(limits, np.int64),
    )


def random_players(rng, *, most=6, top=9, energy=6):
    rows = [
        (f"p{i}", rng.random() < 0.6, rng.randint(1, energy), rng.randint(0, top))
        for i in range(rng.randint(1, most))
    ]
    return players_of((0, top), rows)


def long_side_only(rng, *, most=6, top=9, energy=6):
    """One taker on the short side that accepts any price; the game of the theorems."""
    sells = rng.random() < 0.5
    rows = [
        (f"p{i}", sells, rng.randint(1, energy), rng.randint(0, top))
        for i in range(rng.randint(1, most))
    ]
    total = sum(row[2] for row in rows)
    taken = rng.randint(1, max(total - 1, 1))
    return players_of((0, top), [*rows, ("taker", not sells, taken, top if sells else 0)])


def quotes_of(players, prices):
    return [
        Quote(name, Side.SELL if s else Side.BUY, EnergyWh(int(e)), PriceTick(int(p)))
        for name, s, e, p in zip(players.ids, players.sells, players.energy, prices, strict=True)
    ]


def payoffs(players, prices, standing):
    clearing = clear(SLOT, players.bounds, quotes_of(players, prices), standing)
    result = []
    for name, sells, limit in zip(players.ids, players.sells, players.reservation, strict=True):
        margin = (clearing.price or 0) - int(limit)
        result.append((margin if sells else -margin) * clearing.fills[name])
    return result


def largest_regret(players, prices, standing, only=None):
    now = payoffs(players, prices, standing)
    floor, cap = players.bounds_pair
    worst = 0
    for index in range(len(players)):
        if only is not None and not only[index]:
            continue
        for price in range(floor, cap + 1):
            changed = [*prices]
            changed[index] = price
            worst = max(worst, payoffs(players, changed, standing)[index] - now[index])
    return worst


def test_tables_2_and_3_of_the_paper_clear_at_the_printed_price_and_fills():
    table2 = players_of(
        (3800, 11080),
        [
            ("A", False, 4, 6800),
            ("B", False, 11, 8100),
            ("C", False, 6, 6500),
            ("D", False, 10, 6900),
            ("supply", True, 16, 3800),
        ],
    )
    found = solve(table2)
    assert found.max_regret == 0
    assert found.profile.price == 6800
    assert found.profile.fills.tolist() == [0, 11, 0, 5, 16]
    table3 = players_of(
        (3800, 11080),
        [
            ("E", True, 12, 5000),
            ("F", True, 13, 6400),
            ("G", True, 1, 7400),
            ("H", True, 3, 4000),
            ("demand", False, 13, 11080),
        ],
    )
    found = solve(table3)
    assert found.method is Method.ITERATION
    assert found.profile.price == 6400
    assert found.profile.fills.tolist() == [10, 0, 0, 3, 13]
    assert found.profile.standing[:2] == ("H", "E")


@pytest.mark.parametrize("seed", range(15))
def test_solution_has_no_regret_by_exhaustive_search(seed):
    rng = random.Random(seed)
    for _ in range(12):
        players = random_players(rng)
        previous = [name for name in players.ids if rng.random() < 0.3]
        found = solve(players, previous)
        prices = found.profile.quotes.tolist()
        assert found.max_regret == 0
        assert largest_regret(players, prices, found.profile.standing) == 0
        assert certify(players, found.profile.quotes, found.profile.standing).max_regret == 0


@pytest.mark.parametrize("seed", range(6))
def test_solution_is_among_all_pure_equilibria_of_small_games(seed):
    rng = random.Random(seed)
    for _ in range(3):
        players = random_players(rng, most=3, top=4)
        found = solve(players)
        standing = found.profile.standing
        floor, cap = players.bounds_pair
        grid = itertools.product(range(floor, cap + 1), repeat=len(players))
        every = {p for p in grid if largest_regret(players, list(p), standing) == 0}
        assert tuple(found.profile.quotes.tolist()) in every


@pytest.mark.parametrize("seed", range(10))
def test_theorems_where_only_the_long_side_moves(seed):
    rng = random.Random(seed)
    for _ in range(30):
        players = long_side_only(rng, most=8, top=30, energy=12)
        long_side = players.sells == (players.market is not Market.SELLER)
        truth = truthful(players)
        setter, moved = one_setter(truth), iterate(truth)
        long_moves = [index for index, _ in moved.moves if long_side[index]]
        assert setter.regrets.gain[long_side].max(initial=0) == 0
        assert len(setter.moves) <= 1
        assert len(long_moves) <= 3
        if truth.regrets.gain[long_side].max(initial=0) == 0:
            assert not setter.moves
            assert not long_moves


def test_moves_of_the_long_side_only_raise_the_price():
    rng = random.Random(5)
    raised = 0
    for _ in range(200):
        players = long_side_only(rng, most=8, top=40, energy=12)
        truth = truthful(players)
        moved = iterate(truth)
        long_side = players.sells == (players.market is not Market.SELLER)
        if not moved.moves or not all(long_side[i] for i, _ in moved.moves):
            continue
        before, after = truth.profile.price, moved.profile.price
        raised += 1
        assert (after > before) if players.market is not Market.SELLER else (after < before)
    assert raised > 20


@pytest.mark.parametrize("seed", range(8))
def test_pinned_profile_keeps_the_truthful_outcome_without_regret(seed):
    rng = random.Random(seed)
    for _ in range(20):
        players = random_players(rng)
        truth = truthful(players)
        held = pinned(truth)
        assert held.profile.price == truth.profile.price
        assert held.profile.fills.tolist() == truth.profile.fills.tolist()
        assert held.max_regret == 0
        assert largest_regret(players, held.profile.quotes.tolist(), held.profile.standing) == 0


def test_epsilon_keeps_the_truth():
    players = players_of((0, 100), [("a", True, 10, 20), ("b", True, 10, 30), ("d", False, 5, 100)])
    truth = truthful(players)
    assert truth.max_regret > 0
    assert solve(players, epsilon=truth.max_regret).method is Method.TRUTHFUL
    assert solve(players, epsilon=truth.max_regret - 1).method is not Method.TRUTHFUL


def test_a_pivotal_seller_takes_the_price_to_the_cap():
    players = players_of(
        (0, 100), [("small", True, 4, 20), ("large", True, 20, 30), ("d", False, 10, 100)]
    )
    assert one_setter(truthful(players)).profile.price == 100


def test_energies_and_prices_at_the_far_end_stay_exact():
    players = players_of(
        (-(10**9), 10**9),
        [
            ("a", True, 10**12, -(10**9)),
            ("b", True, 10**12, 5),
            ("d", False, 10**12 + 1, 10**9),
        ],
    )
    truth = truthful(players)
    assert not players.money_fits
    assert truth.profile.price == 5
    # b sells the last Wh and can go to the cap with it; a would lose all but one Wh by following.
    assert truth.regrets.gain[1] == 10**9 - 5
    gain_of_a = (10**9 + 10**9) * 1 - (5 + 10**9) * 10**12
    assert gain_of_a < 0
    assert truth.regrets.gain[0] == 0


def test_many_participants_have_exactly_no_regret():
    random_state = np.random.default_rng(3)
    count = 20_000
    sells = random_state.random(count) < 0.5
    players = Players(
        SLOT,
        PriceBounds(PriceTick(4000), PriceTick(11000)),
        [f"h{i}" for i in range(count)],
        sells,
        random_state.integers(1, 5000, count),
        random_state.integers(4000, 11001, count),
    )
    found = solve(players)
    assert found.max_regret == 0
    again = clear(
        SLOT,
        players.bounds,
        quotes_of(players, found.profile.quotes),
        found.profile.standing,
    )
    assert again.price == found.profile.price
    assert [again.fills[name] for name in players.ids] == found.profile.fills.tolist()


def test_nobody_and_nothing_to_trade():
    bounds = PriceBounds(PriceTick(0), PriceTick(5))
    empty = np.array([], np.int64)
    nobody = Players(SLOT, bounds, [], np.array([], bool), empty, empty)
    assert solve(nobody).profile.price is None
    apart = players_of((0, 9), [("a", True, 5, 8), ("b", False, 5, 2)])
    found = solve(apart)
    assert (found.method, found.profile.price, found.max_regret) == (Method.TRUTHFUL, None, 0)
