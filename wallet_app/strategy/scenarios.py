"""The best price while the others are only estimated, exact for the scenarios it rests on.

Each scenario is a whole past book of the ledger (so who quotes together stays together), drawn by
likeness: time of day, kind of day, season, and recent first. In every scenario the payoff never
falls between two neighbouring quotes as the price moves the participant's way (see
:mod:`wallet_app.strategy.game`), so the sum over all scenarios, and the sum over the worst of them
as well, has its maximum on the union of the scenarios' candidate prices. All of them are
evaluated at once; nothing is sampled within a scenario.

Energies in Wh, prices in ticks, money in Wh·tick; all integers but the likeness weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import numpy as np
from numpy.typing import NDArray

from light_node.market.clearing import rank_hash
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.strategy.reservation import Tranche

Integers = NDArray[np.int64]

MAX_SCENARIOS = 200
_DAY_S = 86_400
_SAFE_MONEY = 1 << 62


@dataclass(frozen=True, eq=False)
class PastBook:
    """A slot's final quotes as arrays, aligned; made once when the ledger's slot is read."""

    slot: Slot
    ids: tuple[str, ...]
    sells: NDArray[np.bool_]
    energy: Integers
    price: Integers

    @classmethod
    def of(cls, slot: Slot, quotes: Sequence[Quote]) -> "PastBook":
        """Return the book of ``quotes``; those over 0 Wh are left out."""
        live = [q for q in quotes if q.energy]
        return cls(
            slot,
            tuple(q.participant for q in live),
            np.array([q.side is Side.SELL for q in live], bool),
            np.array([q.energy for q in live], np.int64),
            np.array([q.price for q in live], np.int64),
        )


@dataclass(frozen=True, slots=True)
class Risk:
    """How much a bad outcome counts: 0 weighs the mean only, 1000 the worst ``tail`` only."""

    aversion_permille: int = 0
    tail_permille: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.aversion_permille <= 1000 or not 0 < self.tail_permille <= 1000:
            raise ValueError("risk aversion is 0 to 1000 permille, its tail 1 to 1000")


NEUTRAL = Risk()


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a price is expected to bring over the scenarios; payoffs are over the outside value.

    ``low`` and ``high`` are the 10 % and 90 % quantiles of the payoff, ``chance_permille`` the part
    of the scenarios in which anything trades, ``energy`` the mean energy traded.
    """

    price: PriceTick
    payoff: MoneyWhTick
    low: MoneyWhTick
    high: MoneyWhTick
    energy: EnergyWh
    chance_permille: int
    scenarios: int


def draw(
    history: Sequence[PastBook], target: Slot, zone: tzinfo, count: int = MAX_SCENARIOS
) -> list[PastBook]:
    """Return ``count`` books of ``history`` like ``target``, the likeliest more than once.

    Only books of slots before the target and of its length count. Deterministic: each book appears
    as often as its share of the likeness, rounded by a fixed ladder, so that two wallets with the
    same history see the same scenarios. An empty list where nothing is known.
    """
    past = [
        book
        for book in history
        if book.slot.start < target.start and book.slot.length_s == target.length_s
    ]
    if not past:
        return []
    weights = np.array([_likeness(book.slot, target, zone) for book in past])
    upto = np.cumsum(weights) / weights.sum()
    rungs = (np.arange(count) + 0.5) / count
    return [past[i] for i in np.searchsorted(upto, rungs).tolist()]


def _likeness(past: Slot, target: Slot, zone: tzinfo) -> float:
    then, now = past.starts_at.astimezone(zone), target.starts_at.astimezone(zone)
    hours = abs((then.hour * 60 + then.minute) - (now.hour * 60 + now.minute)) / 60
    hours = min(hours, 24 - hours)
    season = abs(then.timetuple().tm_yday - now.timetuple().tm_yday)
    season = min(season, 365 - season)
    kind = 1.0 if (then.weekday() >= 5) == (now.weekday() >= 5) else 0.4
    age = (target.start - past.start) / _DAY_S
    return kind * math.exp(-(hours**2) - season / 45 - age / 30)


class Scenarios:
    """A participant's market in every scenario at once; buyers are looked at in a mirror."""

    def __init__(
        self,
        books: Sequence[PastBook],
        slot: Slot,
        bounds: PriceBounds,
        participant: str,
        side: Side,
        tranches: Sequence[Tranche],
    ) -> None:
        if not books:
            raise ValueError("scenarios need at least one past book")
        self._sign = 1 if side is Side.SELL else -1
        ends = (self._sign * bounds.floor, self._sign * bounds.cap)
        self._low, self._high = min(ends), max(ends)
        self._slot_id, self._participant, self.side = slot.id, participant, side
        # The least valuable energy is given up first (mirrored: the dearest is replaced first).
        self._tranches = sorted(
            (self._sign * t.price, int(t.energy_wh)) for t in tranches if t.energy_wh
        )
        self.energy = sum(energy for _, energy in self._tranches)
        self.count = len(books)
        self._lay_out(books)
        self._find_edges()

    def _lay_out(self, books: Sequence[PastBook]) -> None:
        """Put all books into flat arrays sorted by (scenario, price), the own quotes taken out."""
        sizes = [len(book.ids) for book in books]
        row = np.repeat(np.arange(self.count), sizes)
        names = [name for book in books for name in book.ids]
        price = self._sign * np.concatenate([book.price for book in books])
        energy = np.concatenate([book.energy for book in books])
        own_side = np.concatenate([book.sells for book in books]) == (self._sign > 0)
        # Tariffs change: a past quote outside today's bounds would be quoted at the bound today.
        price = np.clip(price, self._low, self._high)
        mine = self._participant
        others = np.array([name != mine for name in names], bool)
        order = np.lexsort((price, row))
        order = order[others[order]]
        self._row, self._price, self._energy = row[order], price[order], energy[order]
        self._own_side = own_side[order]
        self._names, self._order = names, order

    def _find_edges(self) -> None:
        """Find h and g of every scenario, for the one or two Wh whose price is the slot's."""
        rows, count = self._row, self.count
        own = self._sums(np.where(self._own_side, self._energy, 0))
        self._wanted = self._sums(np.where(self._own_side, 0, self._energy))
        supply, demand = own + self.energy, self._wanted
        upto = np.cumsum(self._energy)
        ends = np.searchsorted(rows, np.arange(count), "right")
        begins = np.searchsorted(rows, np.arange(count), "left")
        padded = np.concatenate(([0], upto))
        before, total = padded[begins], padded[ends] - padded[begins]

        def price_of(unit: Integers) -> Integers:
            at = np.searchsorted(upto, before + np.clip(unit, 1, np.maximum(total, 1)))
            at = np.minimum(at, max(len(upto) - 1, 0))
            inside = self._price[at] if len(upto) else np.zeros(count, np.int64)
            found: Integers = np.where(unit <= 0, self._low, inside)
            return np.where(unit > total, self._high, found)

        units = (demand + (supply > demand), demand + (supply >= demand))
        self._edges = [
            (price_of(unit - self.energy)[:, None], price_of(unit)[:, None]) for unit in units
        ]

    def _sums(self, energy: Integers) -> Integers:
        return np.bincount(self._row, energy, self.count).astype(np.int64)

    def candidates(self, *extra: int) -> Integers:
        """Return the union of all scenarios' candidate prices (mirrored for buyers), ascending."""
        first, last = self._edges[0][0][:, 0], self._edges[1][1][:, 0]
        near = (self._price >= first[self._row]) & (self._price <= last[self._row])
        quotes = self._price[near]
        every = np.concatenate(
            (quotes, quotes - 1, first - 1, [self._low, self._high], np.array(extra, np.int64))
        )
        every = np.unique(every)
        return every[(every >= self._low) & (every <= self._high)]

    def payoffs(self, prices: Integers) -> tuple[Any, Integers]:
        """Return payoff and energy traded, a row per scenario and a column per (mirrored) price."""
        columns = len(prices)
        # A quote of the other side counts up to its price; one of the own side stands before every
        # dearer price, and before the same price where its rank is better.
        at = np.searchsorted(prices, self._price, "right")
        tied = self._own_side & (prices[np.maximum(at - 1, 0)] == self._price)
        if tied.any():
            at[tied] -= self._ranks_before(np.flatnonzero(tied))
        taken = np.bincount(
            self._row * (columns + 1) + at, self._energy, self.count * (columns + 1)
        ).reshape(self.count, columns + 1)[:, :columns]
        room = self._wanted[:, None] - np.cumsum(taken, axis=1).astype(np.int64)
        sold = np.clip(room, 0, self.energy)
        low, high = (np.clip(prices[None, :], h, g) for h, g in self._edges)
        total = low + high
        paid = total // 2 if self._sign > 0 else -((-total) // 2)
        worth: Any = sold if self._fits() else sold.astype(object)
        result = paid * worth
        start = 0
        for price, energy in self._tranches:
            result = result - price * np.clip(worth - start, 0, energy)
            start += energy
        return result, sold

    def best(self, honest: PriceTick, risk: Risk = NEUTRAL) -> tuple[Expectation, Expectation]:
        """Return the best price and the honest one with what both are expected to bring.

        Among equally good prices the one nearest to ``honest`` is taken.
        """
        mirrored = self._sign * honest
        prices = self.candidates(mirrored)
        payoff, sold = self.payoffs(prices)
        total = payoff.sum(axis=0)
        objective: Any = total
        if risk.aversion_permille:
            worst = -(-self.count * risk.tail_permille // 1000)
            tail = np.sort(payoff, axis=0)[:worst].sum(axis=0)
            mean_part = (1000 - risk.aversion_permille) * worst
            tail_part = risk.aversion_permille * self.count
            objective = total.astype(object) * mean_part + tail.astype(object) * tail_part
        top = np.flatnonzero(objective == objective.max())
        chosen = int(top[np.argmin(np.abs(prices[top] - mirrored))])
        plain = int(np.searchsorted(prices, mirrored))
        found = [self._expect(int(prices[i]), payoff[:, i], sold[:, i]) for i in (chosen, plain)]
        return found[0], found[1]

    def _expect(self, price: int, payoff: Any, sold: Integers) -> Expectation:
        ordered = sorted(payoff.tolist())
        tenth = len(ordered) // 10
        return Expectation(
            PriceTick(self._sign * price),
            MoneyWhTick(sum(ordered) // len(ordered)),
            MoneyWhTick(ordered[tenth]),
            MoneyWhTick(ordered[len(ordered) - 1 - tenth]),
            EnergyWh(int(sold.sum()) // self.count),
            1000 * int(np.count_nonzero(sold)) // self.count,
            self.count,
        )

    def _ranks_before(self, indices: NDArray[np.intp]) -> Integers:
        """Return 1 where a quote stands before the own one at the same price, by the slot's hash.

        Nobody was matched before the first round, so only hashes rank.
        """
        mine = rank_hash(self._slot_id, self._participant)
        names = [self._names[i] for i in self._order[indices].tolist()]
        known = {name: rank_hash(self._slot_id, name) < mine for name in set(names)}
        return np.array([known[name] for name in names], np.int64)

    def _fits(self) -> bool:
        ends = [abs(self._low), abs(self._high), *(abs(price) for price, _ in self._tranches)]
        return 2 * max(ends) * max(self.energy, 1) * self.count < _SAFE_MONEY
