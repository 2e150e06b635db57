"""Everybody's regret at a profile, exactly: the most each could gain by another price alone.

The profile is judged under its own standing (:class:`~wallet_app.strategy.ladder.Profile`), that
is, as the next round would see it, or under any other rank given. A seller's candidates are the
occupied levels between its bounds h and g, one tick below each, and "far off" on both sides; see
:mod:`wallet_app.strategy.game` for why no other price can be better. Almost everybody is dismissed
before that by one inequality: a matched seller can gain only above the lowest clearing price, where
at least ``spill`` Wh of the energy now sold there come before its own.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wallet_app.strategy.ladder import (
    PAIRS_AT_ONCE,
    Half,
    Integers,
    Money,
    Profile,
    Rank,
)


@dataclass(frozen=True, eq=False)
class Regrets:
    """Regret of every player in Wh·tick and the price that would bring it (else the own quote)."""

    profile: Profile
    gain: Money
    deviation: Integers

    @cached_property
    def maximum(self) -> int:
        """The largest regret; zero certifies a Nash equilibrium."""
        return int(self.gain.max()) if len(self.gain) else 0


def regrets(profile: Profile, rank: Rank | None = None) -> Regrets:
    """Return the exact regret of every player of ``profile``.

    Deviations rank by the profile's own standing, or by ``rank`` where that is given; the latter
    has to hash the ties that matter, one by one.
    """
    players = profile.players
    gain: Money = np.zeros(len(players), np.int64 if players.money_fits else object)
    deviation = profile.quotes.copy()
    for half, filled in zip(profile.halves, profile.half_fills, strict=True):
        if len(half.members):
            _side(profile, half, filled, gain, deviation, rank)
    return Regrets(profile, gain, deviation)


def _side(
    profile: Profile,
    half: Half,
    filled: Integers,
    gain: Money,
    deviation: Integers,
    rank: Rank | None,
) -> None:
    """Write the regrets of one side into ``gain`` and ``deviation``."""
    players = profile.players
    price = 0 if profile.price is None else half.sign * profile.price
    reservation = half.sign * players.reservation[half.members]
    keep = _could_gain(half, filled, reservation, price)
    if not len(keep):
        return
    seen = _Seen(half, keep, filled, reservation, price, rank)
    occupied = profile.ladder.occupied
    if half.sign < 0:
        occupied = len(half.price) - 1 - occupied[::-1]
    first = occupied.searchsorted(seen.low[0])
    counts = occupied.searchsorted(seen.high[-1], "right") - first
    upto = np.cumsum(counts)
    best, at = seen.far_off()
    start = 0
    while start < len(keep):
        # As many players at once as give about a million pairs, one at the least.
        done = int(upto[start - 1]) if start else 0
        stop = max(int(np.searchsorted(upto, done + PAIRS_AT_ONCE)), start + 1)
        part = slice(start, stop)
        value, where = seen.best_level(part, occupied, first[part], counts[part])
        better = value > best[part]
        best[part] = np.where(better, value, best[part])
        at[part] = np.where(better, where, at[part])
        start = stop
    won = best > seen.payoff
    index = half.members[keep[won]]
    gain[index] = (best - seen.payoff)[won]
    deviation[index] = half.sign * at[won]


def _could_gain(
    half: Half, filled: Integers, reservation: Integers, price: int
) -> NDArray[np.intp]:
    """Return the members that a first inequality does not dismiss (positions on this side).

    Full and content (reservation at most the price): a gain needs a price above the lowest
    clearing price; there ``spill`` Wh of what is quoted up to it come before the own energy.
    Without energy sold: a gain needs a price above the reservation, and the highest price that
    still sells is the g of :mod:`~wallet_app.strategy.game`, at most that of the largest member.
    """
    lowest = half.edges[0]
    beyond = int(half.wanted[lowest + 1]) if lowest + 1 < len(half.wanted) else 0
    spill = max(int(half.own_upto[lowest]) - beyond, 0)
    largest = int(half.energy.max())
    highest = int(half.price[half.level_of(half.units[-1] + largest)])
    content = (filled == half.energy) & (reservation <= price)
    dismissed = content & (half.energy <= spill)
    dismissed |= (filled == 0) & (reservation >= highest)
    keep = np.flatnonzero(~dismissed)
    if not len(keep):
        return keep
    # With each one's own g, an upper bound of what it could get.
    energy, limit = half.energy[keep], reservation[keep]
    reach = half.price[half.unit_level(half.units[-1] + energy)] - limit
    most = np.where(content[keep], energy - spill, energy)
    now = filled[keep]
    if not half.money_fits:
        most, now = most.astype(object), now.astype(object)
    # Whoever sells below its reservation price is looked at in any case: selling less may be best.
    open_case = (reach * most > (price - limit) * now) | ((limit > price) & (now > 0))
    return keep[open_case]


class _Seen:
    """The market as each of the kept members of one side sees it, with its own quote taken out."""

    def __init__(
        self,
        half: Half,
        keep: NDArray[np.intp],
        filled: Integers,
        reservation: Integers,
        price: int,
        rank: Rank | None,
    ) -> None:
        self.half, self.keep, self.rank = half, keep, rank
        self.level, self.energy = half.level[keep], half.energy[keep]
        self.matched = filled[keep] > 0
        self.reservation: Money = reservation[keep]
        sold: Money = filled[keep]
        if not half.money_fits:
            self.reservation, sold = self.reservation.astype(object), sold.astype(object)
        self.payoff = (price - self.reservation) * sold
        # Levels of h and g for each unit of the price rule (two only where totals are equal).
        around = [self._around(*pair) for pair in zip(half.units, half.edges, strict=True)]
        self.low, self.high = [low for low, _ in around], [high for _, high in around]

    def _around(self, unit: int, here: int) -> tuple[Integers, Integers]:
        """Return the levels of the (unit − q)-th and the unit-th lowest Wh of the others.

        ``here`` is the level of the unit-th Wh of all.
        """
        half = self.half
        below = half.unit_level(unit - self.energy)
        above = half.unit_level(unit + self.energy)
        return (
            np.where(below < self.level, below, here),
            np.where(here < self.level, here, above),
        )

    def far_off(self) -> tuple[Money, Integers]:
        """Return the better of asking less than h and asking the cap, payoff and price.

        Below h everything sells, whatever the rank; above g nothing does, which is best for who
        would sell at a loss. At the floor or cap there is nothing beyond; these are levels then.
        """
        half = self.half
        edge = half.price[self.low[0]]
        paid = half.middle(*(half.price[low] for low in self.low))
        possible = edge > half.price[0]
        value = np.where(possible, (paid - self.reservation) * self.energy, self.payoff)
        stop = (self.high[-1] < len(half.price) - 1) & (value < 0)
        return np.where(stop, 0, value), np.where(stop, half.price[-1], edge - 1)

    def best_level(
        self, part: slice, occupied: NDArray[np.intp], first: Integers, counts: Integers
    ) -> tuple[Money, Integers]:
        """Return the best payoff, and its price, at or just below an occupied level."""
        starts = np.cumsum(counts) - counts
        who = np.repeat(np.arange(len(counts)), counts)
        spot = np.arange(len(who)) - starts[who] + first[who]
        level = occupied[spot]
        at, under = self._payoffs(part, who, level, occupied[np.maximum(spot - 1, 0)])
        value = np.maximum(at, under)
        best = np.maximum.reduceat(value, starts)
        # The lowest price that gives the best payoff.
        price = self.half.price[level] - (under >= at)
        hit = np.flatnonzero(value == best[who])
        order = hit[np.unique(who[hit], return_index=True)[1]]
        return best, price[order]

    def _payoffs(
        self, part: slice, who: NDArray[np.intp], level: NDArray[np.intp], before: Integers
    ) -> tuple[Money, Money]:
        """Return the payoffs of asking a level's price and of asking one tick less.

        Rank: a matched player stands before everybody dearer and behind everybody cheaper; an
        unmatched one stands behind the matched and, beside another unmatched, finds no room. At
        its own level a player has what it has.
        """
        half = self.half
        own_level, energy = self.level[part][who], self.energy[part][who]
        room = half.room[level] + np.where(own_level < level, energy, 0)
        price = half.price[level]
        reservation, payoff = self.reservation[part][who], self.payoff[part][who]
        worth = self._paid(part, who, price) - reservation
        if self.rank is None:
            ahead = np.where(self.matched[part][who] & (level > own_level), 0, half.own[level])
        else:
            tied = (half.own[level] > 0) & (level != own_level)
            tied &= worth * np.minimum(np.maximum(room, 0), energy) > payoff
            ahead = self._ranked(part.start + who[tied], level[tied], tied)
        at = worth * np.minimum(np.maximum(room - ahead, 0), energy)
        gap = price - half.price[before] > 1
        sold = np.minimum(np.maximum(room, 0), energy)
        under = (self._paid(part, who, price - 1) - reservation) * sold
        return np.where(level == own_level, payoff, at), np.where(gap, under, payoff)

    def _ranked(self, who: Integers, level: Integers, tied: NDArray[np.bool_]) -> Integers:
        """Return the energy that ranks before a player at a level, where ``tied``; 0 elsewhere."""
        assert self.rank is not None
        half, key = self.half, self.rank.key
        at_level: dict[int, list[tuple[tuple[Any, ...], int]]] = {}
        found = []
        for index, where in zip(who.tolist(), level.tolist(), strict=True):
            if where not in at_level:
                there = np.flatnonzero(half.level == where).tolist()
                at_level[where] = [(key(int(half.members[i])), int(half.energy[i])) for i in there]
            mine = key(int(half.members[self.keep[index]]))
            found.append(sum(energy for other, energy in at_level[where] if other < mine))
        result = np.zeros(len(tied), np.int64)
        result[tied] = found
        return result

    def _paid(self, part: slice, who: NDArray[np.intp], price: Integers) -> Integers:
        """Return the price of the slot when the player asks ``price``: kept between h and g."""
        half = self.half
        kept = (
            np.minimum(np.maximum(price, half.price[h[part][who]]), half.price[g[part][who]])
            for h, g in zip(self.low, self.high, strict=True)
        )
        result: Integers = half.middle(*kept)
        return result
