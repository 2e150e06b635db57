"""A whole quote profile as numpy arrays: energy per price level, fills, price, everybody's regret.

The same facts as in :mod:`wallet_app.strategy.game`, for all participants at once. Quotes are
summed up per price level (a table over all ticks between floor and cap, or over the prices that
occur where that table would be large), so nothing is sorted by participant and one moved quote
costs one pass over the levels. Buyers are looked at in a mirror (prices negated, levels reversed):
every line below is about sellers.

Rank needs no hash when a profile is judged under its own standing, which is what the next round
looks like: whoever is matched stands before all dearer and after all cheaper matched ones, and
somebody unmatched finds no room beside another unmatched. Proofs are in the methods.

Energies in Wh, prices in ticks, money in Wh·tick, all 64-bit integers; where a product could
leave 64 bits, Python's own integers take over in the same arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from light_node.market.clearing import Market, rank_hash
from light_node.market.quotes import PriceBounds

Integers = NDArray[np.int64]
Money = NDArray[Any]  # int64, or Python integers where 64 bits may not do
Flags = NDArray[np.bool_]

_DENSE_LEVELS = 1 << 16
_EXACT_FLOAT = 1 << 53
_SAFE_MONEY = 1 << 62
PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class Players:
    """Who plays a slot: ids, sides (True sells), energies and reservation prices, aligned."""

    slot_id: str
    bounds: PriceBounds
    ids: Sequence[str]
    sells: Flags
    energy: Integers
    reservation: Integers

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def supply(self) -> int:
        """Total energy of the sellers, whatever they ask."""
        return int(self.energy[self.sells].sum())

    @cached_property
    def demand(self) -> int:
        """Total energy of the buyers."""
        return int(self.energy.sum()) - self.supply

    @cached_property
    def market(self) -> Market:
        """Whose market it is: totals decide, prices do not."""
        if self.supply == self.demand:
            return Market.BALANCED
        return Market.BUYER if self.supply > self.demand else Market.SELLER

    @cached_property
    def honest(self) -> Integers:
        """The truthful profile: reservation prices, moved into the bounds."""
        return np.clip(self.reservation, self.bounds.floor, self.bounds.cap)

    @cached_property
    def members(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices of the sellers and of the buyers who have energy at all."""
        live = self.energy > 0
        return np.flatnonzero(live & self.sells), np.flatnonzero(live & ~self.sells)

    @cached_property
    def money_fits(self) -> bool:
        """Whether every payoff stays within 64 bits."""
        if not len(self):
            return True
        ends = (*self.bounds_pair, int(self.reservation.min()), int(self.reservation.max()))
        return (max(ends) - min(ends) + 1) * max(int(self.energy.max()), 1) < _SAFE_MONEY

    @property
    def bounds_pair(self) -> tuple[int, int]:
        """Floor and cap."""
        return int(self.bounds.floor), int(self.bounds.cap)


class Rank:
    """Who comes first at equal prices, computed only for the ties that matter.

    Made from a previous standing; :meth:`after` gives the rank that holds once a profile has been
    cleared: its matched by (price, rank before), the others by hash. Keys compare within one side.
    """

    def __init__(self, players: Players, previous_standing: Sequence[str] = ()) -> None:
        self._players = players
        self._position = {name: i for i, name in enumerate(previous_standing)}
        self._matched: Flags | None = None
        self._quotes: Integers | None = None
        self._before: Rank | None = None

    def after(self, matched: Flags, quotes: Integers) -> "Rank":
        """Return the rank in the round after a profile with these quotes and matched players."""
        result = Rank(self._players)
        result._matched, result._quotes, result._before = matched, quotes, self
        return result

    def key(self, index: int) -> tuple[Any, ...]:
        """Return a sort key of player ``index``: compare keys of players on one side only."""
        name = self._players.ids[index]
        if self._matched is None or self._quotes is None or self._before is None:
            position = self._position.get(name)
            if position is not None:
                return (0, position)
        elif self._matched[index]:
            price = int(self._quotes[index])
            ordered = price if self._players.sells[index] else -price
            return (0, ordered, self._before.key(index))
        return (1, rank_hash(self._players.slot_id, name))


class Ladder:
    """Energy asked for and bid for at every price level, and where each player stands.

    ``prices`` ascending, floor and cap always among them; ``asks`` and ``bids`` in Wh per level.
    """

    def __init__(
        self, players: Players, prices: Integers, level: Integers, asks: Integers, bids: Integers
    ) -> None:
        self.players, self.prices, self.level = players, prices, level
        self.asks, self.bids = asks, bids
        self.asks_upto, self.bids_upto = asks.cumsum(), bids.cumsum()

    @classmethod
    def of(cls, players: Players, quotes: Integers) -> "Ladder":
        """Sum a profile up, over all ticks or, where that is longer, over the prices quoted."""
        floor, cap = players.bounds_pair
        if cap - floor < max(_DENSE_LEVELS >> 10, 4 * len(players)):
            prices = np.arange(floor, cap + 1)
            level: Integers = quotes - floor
        else:
            prices, level = np.unique(np.append(quotes, (floor, cap)), return_inverse=True)
            level = level[:-2]
        asks, bids = (_per_level(level, players, side, len(prices)) for side in (0, 1))
        return cls(players, prices, level, asks, bids)

    def moved(self, index: int, price: int, quotes: Integers) -> "Ladder":
        """Return the ladder after player ``index`` alone went to ``price``."""
        new = int(np.searchsorted(self.prices, price))
        if self.prices[new] != price:
            return Ladder.of(self.players, quotes)
        old, energy = int(self.level[index]), int(self.players.energy[index])
        level, changed = self.level.copy(), (self.asks.copy(), self.bids.copy())
        level[index] = new
        side = changed[0 if self.players.sells[index] else 1]
        side[old] -= energy
        side[new] += energy
        return Ladder(self.players, self.prices, level, *changed)

    @cached_property
    def occupied(self) -> NDArray[np.intp]:
        """Levels that somebody quotes, and floor and cap."""
        some = (self.asks + self.bids) > 0
        some[0] = some[-1] = True
        return np.flatnonzero(some)


class Half:
    """One side of a profile, mirrored for buyers so that its members sell.

    Per level: ``own`` energy of this side, ``own_upto`` summed up, ``all_upto`` of both sides,
    ``wanted`` the other side's energy at that price or a better one, ``room`` what is left there
    for whoever of this side is first. ``units`` are the one or two Wh of the row of all quotes
    whose price is the slot's (see :mod:`wallet_app.strategy.game`).
    """

    def __init__(self, ladder: Ladder, sells: bool) -> None:
        players = ladder.players
        supply, demand = players.supply, players.demand
        self.sign, self.money_fits = (1 if sells else -1), players.money_fits
        self.members = players.members[0 if sells else 1]
        level = ladder.level[self.members]
        self.energy = players.energy[self.members]
        asks, bids = ladder.asks_upto, ladder.bids_upto
        if sells:
            self.price, self.level, self.own = ladder.prices, level, ladder.asks
            self.own_upto, self.all_upto = asks, asks + bids
            self.wanted = demand - bids + ladder.bids
        else:
            self.price, self.level = -ladder.prices[::-1], len(ladder.prices) - 1 - level
            self.own = ladder.bids[::-1]
            self.own_upto = (demand - bids + ladder.bids)[::-1]
            self.wanted = asks[::-1]
            self.all_upto = self.own_upto + (supply - asks + ladder.asks)[::-1]
            supply, demand = demand, supply
        self.room = self.wanted - self.own_upto + self.own
        first, last = demand + (supply > demand), demand + (supply >= demand)
        self.units = (first,) if first == last else (first, last)
        self.round_up = not sells

    def fills(self, rank: Rank) -> Integers:
        """Return what each member trades; at most one level has to share, by rank."""
        full = int(np.count_nonzero(self.room >= self.own))
        filled = np.where(self.level < full, self.energy, 0)
        if full < len(self.room) and self.room[full] > 0:
            self._share(full, int(self.room[full]), filled, rank)
        return filled

    def _share(self, level: int, amount: int, filled: Integers, rank: Rank) -> None:
        tied = np.flatnonzero(self.level == level)
        if len(tied) > 1:
            keys = {i: rank.key(int(self.members[i])) for i in tied.tolist()}
            tied = np.array(sorted(keys, key=keys.__getitem__))
        upto = np.minimum(np.cumsum(self.energy[tied]), amount)
        filled[tied] = np.diff(upto, prepend=0)

    def unit_level(self, unit: Integers) -> Integers:
        """Return the levels of the ``unit``-th lowest Wh quoted (the cap's beyond the last)."""
        found: Integers = np.minimum(self.all_upto.searchsorted(unit), len(self.price) - 1)
        return found

    def level_of(self, unit: int) -> int:
        """Return :meth:`unit_level` of a single Wh."""
        return min(int(self.all_upto.searchsorted(unit)), len(self.price) - 1)

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """The levels of ``units``: between their prices the market clears."""
        return tuple(self.level_of(unit) for unit in self.units)

    def middle(self, low: Any, high: Any = None) -> Any:
        """Return the mean of two prices, rounded down in the world outside the mirror."""
        if high is None:
            return low
        total = low + high
        return -((-total) // 2) if self.round_up else total // 2


class Profile:
    """A quote for every player, cleared: levels, price, fills."""

    def __init__(
        self, players: Players, quotes: Integers, rank: Rank, ladder: Ladder | None = None
    ) -> None:
        self.players, self.quotes, self.rank_before = players, quotes, rank
        self.ladder = ladder or Ladder.of(players, quotes)
        self.halves = (Half(self.ladder, True), Half(self.ladder, False))
        self.half_fills = tuple(half.fills(rank) for half in self.halves)
        self.fills = np.zeros(len(players), np.int64)
        for half, filled in zip(self.halves, self.half_fills, strict=True):
            self.fills[half.members] = filled

    @cached_property
    def volume(self) -> int:
        """Energy traded, in Wh."""
        return int(self.half_fills[0].sum())

    @cached_property
    def price(self) -> int | None:
        """Uniform price in ticks; None when nothing trades."""
        if not self.volume:
            return None
        half = self.halves[0]
        return int(half.middle(*(int(half.price[edge]) for edge in half.edges)))

    @cached_property
    def rank(self) -> Rank:
        """The rank that holds in the round after this profile."""
        return self.rank_before.after(self.fills > 0, self.quotes)

    @cached_property
    def standing(self) -> tuple[str, ...]:
        """The matched ids in rank order: sellers, then buyers. Hashes every tie, so it is slow."""
        ids = self.players.ids
        result: list[str] = []
        for half, filled in zip(self.halves, self.half_fills, strict=True):
            matched = half.members[filled > 0].tolist()
            result += [ids[i] for i in sorted(matched, key=self.rank.key)]
        return tuple(result)

    def moved(self, index: int, price: int) -> "Profile":
        """Return the profile after player ``index`` alone changed its quote, one round later."""
        quotes = self.quotes.copy()
        quotes[index] = price
        return Profile(self.players, quotes, self.rank, self.ladder.moved(index, price, quotes))


def _per_level(level: Integers, players: Players, side: int, count: int) -> Integers:
    members = players.members[side]
    energy = players.energy[members]
    if players.supply + players.demand < _EXACT_FLOAT:
        return np.bincount(level[members], energy, count).astype(np.int64)
    result = np.zeros(count, np.int64)
    np.add.at(result, level[members], energy)
    return result
