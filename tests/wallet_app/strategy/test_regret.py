"""Vectorised fills, prices and regrets against the market's clearing and exhaustive search."""

import random

import numpy as np
import pytest

from light_node.market.clearing import clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.strategy.ladder import Players, Profile, Rank
from wallet_app.strategy.regret import regrets

SLOT = "2026-06-21T10:00Z/PT60M"


def random_players(rng, *, top=9, most=6, energy=5, one_sided=False):
    floor = rng.randint(-2, 2)
    bounds = PriceBounds(PriceTick(floor), PriceTick(rng.randint(floor, top)))
    count = rng.randint(1, most)
    sells = [rng.random() < 0.6 for _ in range(count)]
    limits = [rng.randint(bounds.floor, bounds.cap) for _ in range(count)]
    if one_sided:
        long_side = rng.random() < 0.5
        limits = [
            r if s is long_side else (bounds.cap if long_side else bounds.floor)
            for s, r in zip(sells, limits, strict=True)
        ]
    return Players(
        SLOT,
        bounds,
        [f"p{i}" for i in range(count)],
        np.array(sells, bool),
        np.array([rng.randint(0, energy) for _ in range(count)], np.int64),
        np.array(limits, np.int64),
    )


def quotes_of(players, prices):
    return [
        Quote(name, Side.SELL if s else Side.BUY, EnergyWh(int(e)), PriceTick(int(p)))
        for name, s, e, p in zip(players.ids, players.sells, players.energy, prices, strict=True)
    ]


def true_regret(players, prices, standing, index):
    """Largest gain of one player over all prices, through the market's own clearing."""

    def payoff(price):
        changed = [*prices]
        changed[index] = price
        clearing = clear(SLOT, players.bounds, quotes_of(players, changed), standing)
        fill = clearing.fills[players.ids[index]]
        margin = (clearing.price or 0) - int(players.reservation[index])
        return (margin if players.sells[index] else -margin) * fill

    floor, cap = players.bounds_pair
    now = payoff(prices[index])
    every = {price: payoff(price) - now for price in range(floor, cap + 1)}
    return max(every.values()), every


def check(players, prices, previous):
    cleared = clear(SLOT, players.bounds, quotes_of(players, prices), previous)
    profile = Profile(players, np.array(prices, np.int64), Rank(players, previous))
    assert profile.price == cleared.price
    assert players.market == cleared.market
    assert dict(zip(players.ids, profile.fills.tolist(), strict=True)) == cleared.fills
    assert profile.standing == cleared.standing
    for found, standing in (
        (regrets(profile), cleared.standing),
        (regrets(profile, profile.rank_before), previous),
    ):
        for index in range(len(players)):
            gain, every = true_regret(players, prices, standing, index)
            assert found.gain[index] == gain
            assert every[int(found.deviation[index])] == gain


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_exhaustive_search(seed):
    rng = random.Random(seed)
    for _ in range(20):
        players = random_players(rng)
        floor, cap = players.bounds_pair
        prices = [rng.randint(floor, cap) for _ in range(len(players))]
        previous = [name for name in players.ids if rng.random() < 0.4]
        rng.shuffle(previous)
        check(players, prices, previous)
        check(players, players.honest.tolist(), previous)
