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
_PAIRS_AT_ONCE = 1 << 20


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


class Half:
    """One side of a profile, mirrored for buyers so that its members sell."""

    def __init__(
        self,
        players: Players,
        sells: bool,
        prices: Integers,
        energies: tuple[Integers, Integers],
        level: Integers,
    ) -> None:
        sign = 1 if sells else -1
        self.sign, self.players = sign, players
        self.members = players.members[0 if sells else 1]
        self.price = prices if sells else -prices[::-1]
        own, other = (e[::sign] for e in (energies if sells else energies[::-1]))
        top = len(prices) - 1
        self.level = level[self.members] if sells else top - level[self.members]
        self.energy = players.energy[self.members]
        self.own = own
        self.own_upto = np.cumsum(own)
        other_upto = np.cumsum(other)
        demand = int(other_upto[-1])
        supply = int(self.own_upto[-1])
        self.all_upto = self.own_upto + other_upto
        self.wanted = demand - other_upto + other  # the other side's energy at a price or better
        self.room = self.wanted - self.own_upto + own  # left at a level for whoever is first there
        self.units = (demand + (supply > demand), demand + (supply >= demand))
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

    def unit_level(self, unit: Any) -> Any:
        """Return the level of the ``unit``-th lowest Wh quoted (the cap's beyond the last)."""
        return np.minimum(np.searchsorted(self.all_upto, unit), len(self.price) - 1)

    def middle(self, low: Any, high: Any) -> Any:
        """Return the mean of two prices, rounded down in the world outside the mirror."""
        total = low + high
        return -((-total) // 2) if self.round_up else total // 2


class Profile:
    """A quote for every player, cleared: levels, price, fills."""

    def __init__(self, players: Players, quotes: Integers, rank: Rank) -> None:
        self.players, self.quotes, self.rank_before = players, quotes, rank
        floor, cap = players.bounds_pair
        if cap - floor < max(_DENSE_LEVELS, 4 * len(players)):
            self.prices = np.arange(floor, cap + 1)
            self.level: Integers = quotes - floor
        else:
            self.prices = np.unique(np.append(quotes, (floor, cap)))
            self.level = np.searchsorted(self.prices, quotes)
        energies = (
            _per_level(self.level, players, 0, len(self.prices)),
            _per_level(self.level, players, 1, len(self.prices)),
        )
        self.occupied = np.flatnonzero(energies[0] + energies[1])
        self.halves = tuple(
            Half(players, sells, self.prices, energies, self.level) for sells in (True, False)
        )
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
        low, high = (half.price[half.unit_level(unit)] for unit in half.units)
        return int(half.middle(low, high))

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
        return Profile(self.players, quotes, self.rank)


def _per_level(level: Integers, players: Players, side: int, count: int) -> Integers:
    members = players.members[side]
    energy = players.energy[members]
    if players.supply + players.demand < _EXACT_FLOAT:
        return np.bincount(level[members], energy, count).astype(np.int64)
    result = np.zeros(count, np.int64)
    np.add.at(result, level[members], energy)
    return result
