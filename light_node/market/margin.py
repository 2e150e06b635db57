"""The array core of the clearing: where supply and demand cross, at which price, who is served.

Docs/market-rules.md section 5 on numpy arrays of 64-bit integers, exact for up to ``MAX_QUOTES``
quotes of up to ``MAX_ENERGY_WH``. It never sorts a large book: with S(p) the energy asked for at
or below p and D(p) the energy bid for at or above p, the crossing p* = min { p : S(p) >= D(p) }
is bracketed by bisection over prices, which costs at most 31 passes over shrinking arrays
whatever the prices are. Everything else follows from p*:

* asks below p* and bids at or above p* are served in full;
* if S(p*-1) > D(p*), the volume is S(p*-1) and the rest of it goes to bids at p*-1, which cannot
  all be served (S(p*-1) < D(p*-1) by minimality);
* otherwise the volume is D(p*), and the rest of it goes to asks at p*.

So at most one group of equal quotes has to share, and only its members need a rank.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from light_node.market.errors import TooManyQuotes
from light_node.market.quotes import PriceBounds, Side

Integers = NDArray[np.int64]
Rank = Callable[[Side, NDArray[np.intp]], NDArray[np.intp]]
"""Given a side and indices of tied quotes on it, return these indices in rank order."""

MAX_QUOTES = 1_000_000
"""Most quotes on one side: their energies then sum up within 64 bits."""
_SORT_BELOW = 1024  # from here on one small sort is quicker than further passes


class Market(StrEnum):
    """Which side is short and so has the market to itself (by totals of all valid quotes)."""

    BUYER = "buyer"  # total supply > total demand
    SELLER = "seller"  # total demand > total supply
    BALANCED = "balanced"


@dataclass(frozen=True, slots=True, eq=False)
class Margin:
    """Outcome of :func:`find_margin`.

    ``price`` in ticks (None: nothing trades), ``volume`` in Wh; fills in Wh, aligned with the
    arrays given, each summing up to ``volume``.
    """

    market: Market
    price: int | None
    volume: int
    ask_fills: Integers
    bid_fills: Integers


def find_margin(
    bounds: PriceBounds,
    ask_prices: Integers,
    ask_energies: Integers,
    bid_prices: Integers,
    bid_energies: Integers,
    rank: Rank,
) -> Margin:
    """Clear a book given as arrays; prices within ``bounds``, energies at least 1 Wh.

    ``rank`` is asked once at most, for the one group of tied quotes that cannot all be served.
    """
    if max(len(ask_prices), len(bid_prices)) > MAX_QUOTES:
        raise TooManyQuotes(f"more than {MAX_QUOTES} quotes on one side")
    supply, demand = int(ask_energies.sum()), int(bid_energies.sum())
    market = _market(supply, demand)
    nothing = Margin(
        market, None, 0, np.zeros(len(ask_prices), np.int64), np.zeros(len(bid_prices), np.int64)
    )
    if not supply or not demand or ask_prices.min() > bid_prices.max():
        return nothing
    crossing = _crossing(ask_prices, ask_energies, bid_prices, bid_energies)
    ask_fills = ask_energies * (ask_prices < crossing)
    bid_fills = bid_energies * (bid_prices >= crossing)
    sold, bought = int(ask_fills.sum()), int(bid_fills.sum())
    if sold > bought:
        _share(Side.BUY, bid_prices == crossing - 1, bid_energies, sold - bought, bid_fills, rank)
        return Margin(market, crossing - 1, sold, ask_fills, bid_fills)
    tied = ask_prices == crossing
    at_crossing = int(ask_energies[tied].sum())
    rest = bought - sold
    if rest:
        _share(Side.SELL, tied, ask_energies, rest, ask_fills, rank)
    if 0 < rest < at_crossing:
        return Margin(market, crossing, bought, ask_fills, bid_fills)
    price = _price_between(market, bounds, ask_prices, ask_fills, bid_prices, bid_fills)
    return Margin(market, price, bought, ask_fills, bid_fills)


def _market(supply: int, demand: int) -> Market:
    if supply == demand:
        return Market.BALANCED
    return Market.BUYER if supply > demand else Market.SELLER


def _crossing(
    ask_prices: Integers, ask_energies: Integers, bid_prices: Integers, bid_energies: Integers
) -> int:
    """Return p* = min { p : S(p) >= D(p) } of a book whose best quotes meet.

    Invariant of the bracket: S(low) < D(low) and S(high) >= D(high). Only asks and bids strictly
    inside it are still looked at; ``sold`` is S(low), ``bought`` is D(high).
    """
    low, high = int(ask_prices.min()) - 1, int(bid_prices.max()) + 1
    sold = bought = 0
    # Asks above the best bid and bids below the best ask lie outside; the passes below drop them.
    while len(ask_prices) + len(bid_prices) > _SORT_BELOW and high - low > 1:
        middle = (low + high) // 2
        cheap, dear = ask_prices <= middle, bid_prices >= middle
        sold_at_middle = sold + int(np.dot(ask_energies, cheap))
        bought_at_middle = bought + int(np.dot(bid_energies, dear))
        if sold_at_middle >= bought_at_middle:
            high, bought = middle, bought_at_middle
            keep_asks, keep_bids = ask_prices < middle, ~dear
        else:
            low, sold = middle, sold_at_middle
            keep_asks, keep_bids = ~cheap, bid_prices > middle
        # np.compress: with a mask that has no pattern it is thrice as quick as an index.
        ask_prices = np.compress(keep_asks, ask_prices)
        ask_energies = np.compress(keep_asks, ask_energies)
        bid_prices = np.compress(keep_bids, bid_prices)
        bid_energies = np.compress(keep_bids, bid_energies)
    # S steps up at asks and D steps down just above bids (those at low are dropped by now), so p*
    # is one of these points, or high itself.
    points = np.concatenate((ask_prices, bid_prices + 1, [low + 1]))
    points = np.sort(points[(points > low) & (points < high)])
    asks, bids = np.argsort(ask_prices), np.argsort(bid_prices)
    ask_sums = np.concatenate(([0], np.cumsum(ask_energies[asks])))
    bid_sums = np.concatenate(([0], np.cumsum(bid_energies[bids])))
    supplied = sold + ask_sums[np.searchsorted(ask_prices[asks], points, "right")]
    below = bid_sums[np.searchsorted(bid_prices[bids], points, "left")]
    demanded = bought + bid_sums[-1] - below
    crossed = np.flatnonzero(supplied >= demanded)
    return int(points[crossed[0]]) if len(crossed) else high


def _share(
    side: Side,
    tied: NDArray[np.bool_],
    energies: Integers,
    amount: int,
    fills: Integers,
    rank: Rank,
) -> None:
    """Hand ``amount`` to the quotes in ``tied`` in rank order, writing into ``fills``."""
    indices = np.flatnonzero(tied)
    if amount < int(energies[indices].sum()) and len(indices) > 1:
        indices = rank(side, indices)
    upto = np.minimum(np.cumsum(energies[indices]), amount)
    fills[indices] = np.diff(upto, prepend=0)


def _price_between(
    market: Market,
    bounds: PriceBounds,
    ask_prices: Integers,
    ask_fills: Integers,
    bid_prices: Integers,
    bid_fills: Integers,
) -> int:
    """Return the price where everyone served is served in full (last three rows of the table)."""
    sold, bought = ask_fills > 0, bid_fills > 0
    last_ask = int(np.compress(sold, ask_prices).max())
    last_bid = int(np.compress(bought, bid_prices).min())
    next_ask = int(np.compress(~sold, ask_prices).min(initial=bounds.cap))
    next_bid = int(np.compress(~bought, bid_prices).max(initial=bounds.floor))
    if market is Market.BUYER:
        return min(next_ask, last_bid)
    if market is Market.SELLER:
        return max(next_bid, last_ask)
    return (max(last_ask, next_bid) + min(last_bid, next_ask)) // 2
