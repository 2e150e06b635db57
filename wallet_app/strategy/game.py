"""The quoting game of one slot as one participant faces it, exact and in integers.

One fact carries everything here (docs/market-rules.md section 5 restated). Lay every Wh quoted in
the slot, asks and bids alike, in one row by price; with D the total demand, the price of a buyer's
market is the (D+1)-th lowest Wh of that row, of a seller's market the D-th, and at equal totals
the mean of the two, rounded down. So with everybody else's quotes fixed, the price a participant
causes by quoting p for q Wh is **p itself, kept between two numbers**:

    h = the (k−q)-th lowest Wh of the others,   g = the k-th lowest,   k = D+1 or D

Its energy is a step function of p: for a seller the bids at or above p less the other asks ranked
before it, between 0 and q. Between two neighbouring quotes of others the payoff of a seller is
therefore constant or rises with p, so the best price is a quote of somebody else, one tick below
one, or a bound; buyers mirror that. No price has to be sampled, and both sides, both kinds of
market, incumbency and pivotal participants are the same few lines.

Regret here is over prices; withheld energy is in :mod:`wallet_app.strategy.withholding`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from light_node.market.clearing import rank_hash
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.strategy.reservation import Tranche


@dataclass(frozen=True, slots=True)
class PublicBook:
    """What everybody can see after a round: its quotes and who stood matched, in rank order."""

    slot_id: str
    quotes: tuple[Quote, ...]
    standing: tuple[str, ...] = ()

    def quote_of(self, participant: str) -> Quote | None:
        """Return the quote of ``participant``, or None if it has not quoted."""
        return next((q for q in self.quotes if q.participant == participant), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a quote brings: the price of the slot (None: nothing trades) and the energy matched."""

    price: PriceTick | None
    energy: EnergyWh


@dataclass(frozen=True, slots=True)
class BestResponse:
    """The best price against the others' quotes, and what the current one leaves on the table.

    ``payoff`` is (P − r)·sold or (v − P)·bought in Wh·tick. ``gain`` is the regret: exactly zero
    means no other price between floor and cap would bring more, and ``price`` is then the current
    one. Among equally good prices it is the one nearest to the reservation price.
    """

    price: PriceTick
    payoff: MoneyWhTick
    current_payoff: MoneyWhTick
    gain: MoneyWhTick
    outcome: Outcome


Payoff = Callable[[Outcome], int]


class Residual:
    """The market one participant faces: the others' quotes, fixed."""

    def __init__(
        self, book: PublicBook, own: Quote, bounds: PriceBounds, previous_standing: Sequence[str]
    ) -> None:
        others = [q for q in book.quotes if q.participant != own.participant and q.energy]
        self.bounds, self.own = bounds, own
        self._slot_id = book.slot_id
        self._position = {name: i for i, name in enumerate(previous_standing)}
        self._quotes = others
        self._asks = _Curve([q for q in others if q.side is Side.SELL])
        self._bids = _Curve([q for q in others if q.side is Side.BUY])
        self._all = _Curve(others)
        supply = self._asks.total + (own.energy if own.side is Side.SELL else 0)
        self._demand = self._bids.total + (own.energy if own.side is Side.BUY else 0)
        first = self._demand + (supply > self._demand)
        last = self._demand + (supply >= self._demand)
        self._ranges = [(self._edge(k - own.energy), self._edge(k)) for k in (first, last)]

    def outcome(self, price: int) -> Outcome:
        """Return what quoting ``price`` would bring."""
        asks, bids, energy = self._asks, self._bids, self.own.energy
        if self.own.side is Side.SELL:
            room = bids.total - bids.below(price) - asks.below(price)
        else:
            room = asks.upto(price) - (bids.total - bids.upto(price))
        if room > 0:
            room -= self._ahead_at(price)
        fill = min(max(room, 0), energy)
        if not fill:
            # Others may still trade; their price is of no concern to somebody without energy.
            return Outcome(None, EnergyWh(0))
        low, high = (min(max(price, h), g) for h, g in self._ranges)
        return Outcome(PriceTick((low + high) // 2), EnergyWh(fill))

    def candidates(self, *extra: int) -> list[int]:
        """Return prices that hold a best one, ascending, for any payoff that grows with the price
        a seller gets (falls with the price a buyer pays) at fixed energy.
        """
        step = -1 if self.own.side is Side.SELL else 1
        low, high = self._ranges[0][0], self._ranges[1][1]
        quotes = self._all.distinct(low, high)
        floor, cap = self.bounds.floor, self.bounds.cap
        found = {floor, cap, *quotes, *(q + step for q in quotes), *extra}
        return sorted(p for p in found if floor <= p <= cap)

    def _edge(self, unit: int) -> int:
        """Return the price of the ``unit``-th lowest Wh of the others; outside, the bounds."""
        if unit <= 0:
            return self.bounds.floor
        return self._all.unit(unit, self.bounds.cap)

    def _ahead_at(self, price: int) -> int:
        """Return the energy on the own side at exactly ``price`` that ranks before the own."""
        curve = self._asks if self.own.side is Side.SELL else self._bids
        if curve.upto(price) == curve.below(price):
            return 0
        tied = (q for q in self._quotes if q.price == price and q.side is self.own.side)
        mine = self._rank(self.own.participant)
        return sum(q.energy for q in tied if self._rank(q.participant) < mine)

    def _rank(self, participant: str) -> tuple[int, bytes]:
        position = self._position.get(participant)
        if position is None:
            return len(self._position), rank_hash(self._slot_id, participant)
        return position, b""


def best_response(
    book: PublicBook,
    participant: str,
    reservation: PriceTick,
    bounds: PriceBounds,
    previous_standing: Sequence[str],
) -> BestResponse:
    """Return the best price of ``participant``, who is in ``book``, over all prices in ``bounds``.

    ``previous_standing`` is what ranks ties in the round this answer is for: after a round, that
    round's own standing. Raises ``KeyError`` if the participant has no quote in the book.
    """
    own = book.quote_of(participant)
    if own is None:
        raise KeyError(f"{participant} has no quote in this book")
    residual = Residual(book, own, bounds, previous_standing)
    return best_price(residual, payoff_at(own.side, reservation), reservation, current=own.price)


def best_price(
    residual: Residual, payoff: Payoff, reservation: PriceTick, *, current: PriceTick | None
) -> BestResponse:
    """Return the best price in a residual market for any payoff (see :meth:`Residual.candidates`).

    ``current`` is kept unless something is strictly better; None stands for no quote yet, whose
    payoff is zero.
    """
    now = payoff(residual.outcome(current)) if current is not None else 0
    reached = ((price, residual.outcome(price)) for price in residual.candidates(reservation))
    outcomes = [(payoff(outcome), price, outcome) for price, outcome in reached]
    top = max(value for value, _, _ in outcomes)
    if current is not None and top <= now:
        return _response(current, now, now, residual.outcome(current))
    best = [(price, outcome) for value, price, outcome in outcomes if value == top]
    price, outcome = min(best, key=lambda pair: (abs(pair[0] - reservation), pair[0]))
    return _response(price, top, now, outcome)


def payoff_at(side: Side, reservation: PriceTick) -> Payoff:
    """Return the payoff with one reservation price for all the energy, in Wh·tick."""
    sign = 1 if side is Side.SELL else -1

    def payoff(outcome: Outcome) -> int:
        if outcome.price is None:
            return 0
        return sign * (outcome.price - reservation) * outcome.energy

    return payoff


def payoff_over(side: Side, tranches: Sequence[Tranche]) -> Payoff:
    """Return the payoff when parts of the energy have values of their own, in Wh·tick.

    A seller gives up its least valuable energy first and a buyer replaces its dearest first, as
    the order of energy use has it.
    """
    ordered = sorted(tranches, key=lambda t: t.price, reverse=side is Side.BUY)
    sign = 1 if side is Side.SELL else -1

    def payoff(outcome: Outcome) -> int:
        if outcome.price is None:
            return 0
        left, outside = int(outcome.energy), 0
        for tranche in ordered:
            part = min(left, tranche.energy_wh)
            outside += part * tranche.price
            left -= part
        return sign * (outcome.price * (outcome.energy - left) - outside)

    return payoff


def _response(price: int, payoff: int, current: int, outcome: Outcome) -> BestResponse:
    return BestResponse(
        PriceTick(price),
        MoneyWhTick(payoff),
        MoneyWhTick(current),
        MoneyWhTick(payoff - current),
        outcome,
    )


class _Curve:
    """Quotes summed up along the price: energy below, up to, and the price of the n-th Wh."""

    def __init__(self, quotes: Sequence[Quote]) -> None:
        ordered = sorted((q.price, q.energy) for q in quotes)
        self._prices = [price for price, _ in ordered]
        self._sums = [0, *accumulate(energy for _, energy in ordered)]
        self.total = self._sums[-1]

    def below(self, price: int) -> int:
        return self._sums[bisect_left(self._prices, price)]

    def upto(self, price: int) -> int:
        return self._sums[bisect_right(self._prices, price)]

    def unit(self, number: int, beyond: int) -> int:
        return self._prices[bisect_left(self._sums, number) - 1] if number <= self.total else beyond

    def distinct(self, low: int, high: int) -> set[int]:
        prices = self._prices
        return set(prices[bisect_left(prices, low) : bisect_right(prices, high)])
