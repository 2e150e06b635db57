"""Clearing 100,000 quotes, against what numpy needs to sort the same arrays.

To reach: the array core within 3x of the sort. Books differ in what makes a clearing hard: many
ties (few prices), no ties (many prices), a wide range of prices with all quotes in a corner of
it, and everybody at one price, where there is nothing to sort and all to rank: its core time is
SHA-256 of 50,000 ids.
"""

import time
from collections.abc import Callable

import numpy as np

from light_node.market.clearing import clear, rank_hash
from light_node.market.margin import find_margin
from light_node.market.orders import Trader, pair
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, PriceTick

QUOTES = 100_000
SLOT = "2026-06-21T10:00Z/PT15M"
BOOKS = {  # name: floor, cap, lowest and highest price quoted
    "retail tariff, 7,000 prices": (4_000, 11_080, 4_000, 11_080),
    "1e9 prices, hardly a tie": (0, 10**9, 0, 10**9),
    "1e9 prices, all in a corner": (0, 10**9, 4_000, 11_080),
    "one price: 50,000 ids to hash": (4_000, 11_080, 6_800, 6_800),
}


def run() -> None:
    print(f"{QUOTES:,} quotes, half of them asks; best of the runs, ms\n")
    head = ("book", "np.sort", "np.argsort", "core", "core/sort", "core/argsort")
    print(f"{head[0]:30}" + "".join(f"{name:>13}" for name in head[1:]))
    for name, (floor, cap, low, high) in BOOKS.items():
        _core(name, PriceBounds(PriceTick(floor), PriceTick(cap)), low, high)
    print("\nfrom Quote objects to fills and standing (all ids hashed where all are tied), ms\n")
    for name, (floor, cap, low, high) in BOOKS.items():
        bounds = PriceBounds(PriceTick(floor), PriceTick(cap))
        quotes = _quotes(np.random.default_rng(1), QUOTES, low, high)
        elapsed = _best(lambda b=bounds, q=quotes: clear(SLOT, b, q), 3)  # type: ignore[misc]
        print(f"{name:30}{elapsed * 1e3:13.1f}")
    print("\nwho trades with whom (optimal up to 2,000,000 pairs, then by blocks), ms\n")
    for count in (30, 300, 2_000, 8_000):
        _pairing(count)


def _core(name: str, bounds: PriceBounds, low: int, high: int) -> None:
    rng = np.random.default_rng(1)
    prices = rng.integers(low, high + 1, QUOTES)
    energies = rng.integers(1, 20_000, QUOTES)
    half = QUOTES // 2
    asks, bids = prices[:half].copy(), prices[half:].copy()
    offered, wanted = energies[:half].copy(), energies[half:].copy()
    ids = {Side.SELL: [f"s{i}" for i in range(half)], Side.BUY: [f"b{i}" for i in range(half)]}

    def rank(side: Side, tied: np.ndarray) -> np.ndarray:
        return np.array(sorted(tied, key=lambda i: rank_hash(SLOT, ids[side][i])))

    sort = _best(lambda: (np.sort(asks), np.sort(bids)))
    argsort = _best(lambda: (np.argsort(asks), np.argsort(bids)))
    core = _best(lambda: find_margin(bounds, asks, offered, bids, wanted, rank), 10)
    figures = f"{sort * 1e3:13.2f}{argsort * 1e3:13.2f}{core * 1e3:13.2f}"
    print(f"{name:30}{figures}{core / sort:12.2f}x{core / argsort:12.2f}x")


def _pairing(count: int) -> None:
    rng = np.random.default_rng(2)
    bounds = PriceBounds(PriceTick(4_000), PriceTick(11_080))
    quotes = _quotes(rng, count, 4_000, 11_080)
    outcome = clear(SLOT, bounds, quotes)
    traders = {
        quote.participant: Trader(quote.participant, f"z{rng.integers(8)}", bool(rng.integers(2)))
        for quote in quotes
    }
    elapsed = _best(lambda: pair(bounds, quotes, outcome, traders, mtc="mtc", matched_at=0), 2)
    sellers = sum(1 for q in quotes if q.side is Side.SELL and outcome.fills[q.participant])
    buyers = len(outcome.standing) - sellers
    print(f"{f'{sellers:,} sellers x {buyers:,} buyers':30}{elapsed * 1e3:13.1f}")


def _quotes(rng: np.random.Generator, count: int, low: int, high: int) -> list[Quote]:
    prices = rng.integers(low, high + 1, count).tolist()
    energies = rng.integers(1, 20_000, count).tolist()
    return [
        Quote(f"hh-{i:06}", Side.SELL if i % 2 else Side.BUY, EnergyWh(energy), PriceTick(price))
        for i, (energy, price) in enumerate(zip(energies, prices, strict=True))
    ]


def _best(work: Callable[[], object], runs: int = 30) -> float:
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
