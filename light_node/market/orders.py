"""From clearing to orders: who trades with whom (docs/market-rules.md section 7).

The clearing says who trades how much and at what price; orders pair sellers with buyers so that
sum(matching degree * energy) is greatest, and never change a volume or the price. The degree is
our reading of [C], whose formulas are not public in full:

    degree = sum(w_k * s_k),  weights summing up to ONE, scores from 0 to ONE

Both are integers with ``ONE`` = 10,000 standing for 1, so a degree runs from 0 to ``ONE**2``.
Reputation and price do not depend on the partner alone and so never decide a pairing by
themselves; they are part of the degree all the same, because people read it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from light_node.market.clearing import Clearing
from light_node.market.errors import InvalidOrders
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.transport import Shipment, ship
from light_node.market.units import EnergyWh, PriceTick

ONE = 10_000
"""The integer that stands for 1 in weights and scores."""
MAX_EXACT_PAIRS = 2_000_000
"""Up to so many pairs (sellers x buyers) the pairing is optimal; above, it is optimal by blocks."""
_BLOCK = 250

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the matching degree: integers from 0, summing up to ``ONE``."""

    quantity: int = 3_000
    reputation: int = 2_000
    distance: int = 2_000
    green: int = 1_500
    price: int = 1_500

    def __post_init__(self) -> None:
        values = [getattr(self, entry.name) for entry in fields(self)]
        if any(type(value) is not int or value < 0 for value in values) or sum(values) != ONE:
            raise InvalidOrders(f"the weights must be integers from 0 that sum up to {ONE}")


@dataclass(frozen=True, slots=True)
class Zones:
    """Distances between grid zones, in any one unit, integers from 0.

    ``distances`` may name a pair in either order; within a zone the distance is 0, and a pair
    that is not listed is as far apart as the farthest listed (1 if none is).
    """

    distances: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(type(d) is not int or not 0 <= d <= 10**9 for d in self.distances.values()):
            raise InvalidOrders("distances between zones must be integers from 0")

    @property
    def farthest(self) -> int:
        """The greatest distance there is, at least 1."""
        return max(1, *self.distances.values()) if self.distances else 1

    def distance(self, one: str, other: str) -> int:
        """Return the distance between two zones."""
        if one == other:
            return 0
        for pair in ((one, other), (other, one)):
            if pair in self.distances:
                return self.distances[pair]
        return self.farthest


@dataclass(frozen=True, slots=True)
class MatchingRules:
    """How the matching degree is weighed, and how far zones are apart."""

    weights: Weights = field(default_factory=Weights)
    zones: Zones = field(default_factory=Zones)


@dataclass(frozen=True, slots=True)
class Trader:
    """What the degree needs to know of a participant.

    ``green``: a seller has a renewable source, a buyer asks for one. ``reputation`` is the score
    of section 8 on the scale 0 to ``ONE``; it starts at one half.
    """

    participant: str
    zone: str = ""
    green: bool = False
    reputation: int = ONE // 2

    def __post_init__(self) -> None:
        if type(self.reputation) is not int or not 0 <= self.reputation <= ONE:
            raise InvalidOrders(f"{self.participant}: reputation must be 0 to {ONE}")


@dataclass(frozen=True, slots=True)
class Order:
    """One pair's contract: Ord(demand, supply, T_s) and its Rand, one record [Z eq. 4–6].

    ``energy`` in Wh at ``price`` in ticks; ``degree`` 0 to ``ONE**2``; ``matched_at`` is T_s in
    POSIX seconds; ``rand`` is 32 bytes (:func:`order_rand`).
    """

    seller: str
    buyer: str
    energy: EnergyWh
    price: PriceTick
    degree: int
    matched_at: int
    rand: bytes


def pair(
    bounds: PriceBounds,
    quotes: Sequence[Quote],
    clearing: Clearing,
    traders: Mapping[str, Trader],
    *,
    mtc: str,
    matched_at: int,
    rules: MatchingRules | None = None,
) -> tuple[Order, ...]:
    """Return the orders of a clearing, ascending by seller and buyer.

    ``quotes`` are those that were cleared, ``traders`` covers everybody matched, ``mtc`` is the
    matchmaking trading centre's id. Each participant's orders sum up to its fill. The result does
    not depend on the order of ``quotes``. Raises ``InvalidOrders`` when these do not fit.
    """
    if clearing.price is None:
        return ()
    matched = sorted(
        (quote for quote in quotes if clearing.fills.get(quote.participant)),
        key=lambda quote: quote.participant,
    )
    sellers = [quote for quote in matched if quote.side is Side.SELL]
    buyers = [quote for quote in matched if quote.side is Side.BUY]
    supply = [clearing.fills[quote.participant] for quote in sellers]
    demand = [clearing.fills[quote.participant] for quote in buyers]
    if not sum(supply) == sum(demand) == clearing.volume:
        raise InvalidOrders("the fills of sellers, of buyers and the volume are not the same")
    missing = [quote.participant for quote in matched if quote.participant not in traders]
    if missing:
        raise InvalidOrders(f"nothing is known of {missing[0]}, which is matched")
    book = _Book(bounds, rules or MatchingRules(), sellers, buyers, supply, demand, traders)
    price = clearing.price
    orders = []
    for i, j, energy in book.pairing():
        seller, buyer = sellers[i].participant, buyers[j].participant
        rand = order_rand(seller, buyer, mtc)
        degree = int(book.degrees(range(i, i + 1), range(j, j + 1))[0, 0])
        orders.append(Order(seller, buyer, EnergyWh(energy), price, degree, matched_at, rand))
    return tuple(orders)


def order_rand(pu: str, bu: str, mtc: str) -> bytes:
    """Return Rand = Hash(PU id, BU id, MTC id) [Z eq. 5]: SHA-256, 32 bytes.

    PU is the producing, BU the buying participant, MTC the trading centre. Hashed are the three
    ids in this order, each as a 4-byte big-endian length and its UTF-8 bytes: without lengths
    ("ab", "c") and ("a", "bc") would share a hash.
    """
    digest = hashlib.sha256()
    for text in (pu, bu, mtc):
        data = text.encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class _Book:
    """The matched sellers and buyers, ascending by id, with their fills."""

    bounds: PriceBounds
    rules: MatchingRules
    sellers: Sequence[Quote]
    buyers: Sequence[Quote]
    supply: Sequence[int]
    demand: Sequence[int]
    traders: Mapping[str, Trader]

    def pairing(self) -> list[Shipment]:
        """Return who delivers how much to whom, ascending by index of seller and buyer."""
        if len(self.sellers) * len(self.buyers) <= MAX_EXACT_PAIRS:
            degrees = self.degrees(range(len(self.sellers)), range(len(self.buyers)))
            return ship(degrees, self.supply, self.demand)
        return self._pairing_by_blocks()

    def _pairing_by_blocks(self) -> list[Shipment]:
        """Pair a very large book block by block, each block optimally.

        Both sides are put in the order (zone, green, energy, id) and cut at the same amounts of
        energy, at most ``_BLOCK`` participants a side to a block, so that neighbours meet. A
        participant across a cut has a part in both blocks.
        """
        sellers = self._by_likeness(self.sellers, self.supply)
        buyers = self._by_likeness(self.buyers, self.demand)
        supply, demand = list(self.supply), list(self.demand)
        amounts: dict[tuple[int, int], int] = {}
        i = j = 0
        while i < len(sellers):
            rows, columns = sellers[i : i + _BLOCK], buyers[j : j + _BLOCK]
            energy = min(sum(supply[k] for k in rows), sum(demand[k] for k in columns))
            offered, wanted = _first(rows, supply, energy), _first(columns, demand, energy)
            degrees = self.degrees(list(offered), list(wanted))
            rows, columns = list(offered), list(wanted)
            for r, c, amount in ship(degrees, list(offered.values()), list(wanted.values())):
                key = (rows[r], columns[c])
                amounts[key] = amounts.get(key, 0) + amount
                supply[key[0]] -= amount
                demand[key[1]] -= amount
            while i < len(sellers) and not supply[sellers[i]]:
                i += 1
            while j < len(buyers) and not demand[buyers[j]]:
                j += 1
        return sorted((*key, amount) for key, amount in amounts.items())

    def _by_likeness(self, quotes: Sequence[Quote], energies: Sequence[int]) -> list[int]:
        def likeness(index: int) -> tuple[str, bool, int, int]:
            trader = self.traders[quotes[index].participant]
            return trader.zone, trader.green, energies[index], index

        return sorted(range(len(quotes)), key=likeness)

    def degrees(self, rows: Sequence[int], columns: Sequence[int]) -> Integers:
        """Return the matching degrees of some sellers with some buyers, 0 to ``ONE**2`` each."""
        sellers = [self.traders[self.sellers[i].participant] for i in rows]
        buyers = [self.traders[self.buyers[j].participant] for j in columns]
        supply = _column(self.supply[i] for i in rows)[:, None]
        demand = _column(self.demand[j] for j in columns)
        quantity = np.minimum(supply, demand) * ONE // np.maximum(supply, demand)
        reputation = _column(seller.reputation for seller in sellers)[:, None]
        has = _column(seller.green for seller in sellers)[:, None]
        green = has * _column(buyer.green for buyer in buyers) * ONE
        asks = _column(self.sellers[i].price for i in rows)[:, None]
        bids = _column(self.buyers[j].price for j in columns)
        spread = max(1, self.bounds.cap - self.bounds.floor)
        price = (bids - asks) * ONE // spread
        weights = self.rules.weights
        degrees: Integers = (
            weights.quantity * quantity
            + weights.reputation * reputation
            + weights.distance * self._nearness(sellers, buyers)
            + weights.green * green
            + weights.price * price
        )
        return degrees

    def _nearness(self, sellers: Sequence[Trader], buyers: Sequence[Trader]) -> Integers:
        zones = self.rules.zones
        names = sorted({trader.zone for trader in (*sellers, *buyers)})
        farthest = zones.farthest
        table = np.array(
            [[ONE - zones.distance(a, b) * ONE // farthest for b in names] for a in names], np.int64
        )
        index = {name: k for k, name in enumerate(names)}
        at_sellers = _column(index[seller.zone] for seller in sellers)
        at_buyers = _column(index[buyer.zone] for buyer in buyers)
        return table[at_sellers[:, None], at_buyers]


def _column(values: Iterable[int]) -> Integers:
    return np.array(list(values), np.int64)


def _first(order: Sequence[int], amounts: Sequence[int], energy: int) -> dict[int, int]:
    """Take ``energy`` from ``amounts`` in the given order; return how much of each."""
    taken: dict[int, int] = {}
    for index in order:
        part = min(amounts[index], energy)
        if not part:
            break
        taken[index] = part
        energy -= part
    return taken
