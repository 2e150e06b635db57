"""Clearing of a slot: rank, uniform price, fills and standing (docs/market-rules.md 4 and 5)."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from light_node.market.errors import DuplicateParticipant, InvalidSlot, TooManyQuotes
from light_node.market.margin import MAX_QUOTES, Market, find_margin
from light_node.market.quotes import PriceBounds, Quote, Side, fault_of_id
from light_node.market.units import EnergyWh, PriceTick

__all__ = ["Clearing", "Market", "clear", "rank_hash"]


@dataclass(frozen=True, slots=True)
class Clearing:
    """Outcome of one clearing; after a round it is that round's standing.

    ``price`` in ticks (None: nothing trades), ``volume`` in Wh (bought = sold), ``fills`` in Wh
    for every participant that quoted, 0 where unmatched. ``standing`` lists the matched
    participants in rank order: the sellers first (price ascending), then the buyers (price
    descending), equal prices by rank. It is the next round's ``previous_standing`` as it is.
    """

    market: Market
    price: PriceTick | None
    volume: EnergyWh
    fills: dict[str, EnergyWh]
    standing: tuple[str, ...]


def clear(
    slot_id: str,
    bounds: PriceBounds,
    quotes: Sequence[Quote],
    previous_standing: Sequence[str] = (),
) -> Clearing:
    """Clear the quotes of a slot at one price.

    ``previous_standing`` holds who stood matched in the round before, in rank order; ids that do
    not quote now are passed over. The result does not depend on the order of ``quotes``.
    Raises ``PriceOutOfBounds``, ``DuplicateParticipant`` (in either list), ``TooManyQuotes`` or
    ``InvalidSlot`` (``slot_id`` is no usable text; the clearing reads nothing out of it).
    """
    fault = fault_of_id(slot_id)
    if fault:
        raise InvalidSlot(f"a slot id {fault}")
    if len(quotes) > MAX_QUOTES:
        raise TooManyQuotes(f"the book holds more than {MAX_QUOTES} quotes")
    _check_once((quote.participant for quote in quotes), "has two quotes; one per slot is allowed")
    _check_once(previous_standing, "appears twice in the previous standing")
    for quote in quotes:
        bounds.check(quote)
    order = _Rank(slot_id, previous_standing)
    sides = {
        side: [quote for quote in quotes if quote.side is side and quote.energy] for side in Side
    }

    def rank_tied(side: Side, tied: NDArray[np.intp]) -> NDArray[np.intp]:
        book = sides[side]
        return np.array(sorted(tied, key=lambda i: order.key(book[i].participant)), dtype=np.intp)

    asks, bids = sides[Side.SELL], sides[Side.BUY]
    margin = find_margin(
        bounds, _prices(asks), _energies(asks), _prices(bids), _energies(bids), rank_tied
    )
    fills = dict.fromkeys((quote.participant for quote in quotes), EnergyWh(0))
    matched: list[list[Quote]] = []
    for book, energies in ((asks, margin.ask_fills), (bids, margin.bid_fills)):
        filled = [
            (quote, fill) for quote, fill in zip(book, energies.tolist(), strict=True) if fill
        ]
        fills.update((quote.participant, EnergyWh(fill)) for quote, fill in filled)
        matched.append([quote for quote, _ in filled])
    sellers = order.sort(matched[0], descending=False)
    buyers = order.sort(matched[1], descending=True)
    return Clearing(
        market=margin.market,
        price=None if margin.price is None else PriceTick(margin.price),
        volume=EnergyWh(margin.volume),
        fills=fills,
        standing=tuple(quote.participant for quote in (*sellers, *buyers)),
    )


def rank_hash(slot_id: str, participant: str) -> bytes:
    """Return what ranks newcomers at equal prices: SHA-256 of ``slot|participant id`` in UTF-8.

    Ascending. It cannot be influenced by arriving early, as ledger order could.
    """
    return hashlib.sha256(f"{slot_id}|{participant}".encode()).digest()


class _Rank:
    """Order at equal prices: the matched of the previous round first, the others by hash."""

    def __init__(self, slot_id: str, previous_standing: Sequence[str]) -> None:
        self._slot_id = slot_id
        self._position = {participant: i for i, participant in enumerate(previous_standing)}

    def key(self, participant: str) -> tuple[int, bytes]:
        position = self._position.get(participant)
        if position is None:
            return len(self._position), rank_hash(self._slot_id, participant)
        return position, b""

    def sort(self, quotes: list[Quote], *, descending: bool) -> list[Quote]:
        """Sort by price, then rank; hashes are computed for tied quotes only."""
        result: list[Quote] = []
        by_price = sorted(quotes, key=lambda quote: quote.price, reverse=descending)
        for _, group in groupby(by_price, key=lambda quote: quote.price):
            tied = list(group)
            if len(tied) > 1:
                tied.sort(key=lambda quote: self.key(quote.participant))
            result += tied
        return result


def _check_once(participants: Iterable[str], complaint: str) -> None:
    seen: set[str] = set()
    for participant in participants:
        if participant in seen:
            # An id of the previous standing need not belong to a quote, so nobody checked it yet.
            name = f"{participant[:40]!a}" if fault_of_id(participant) else participant
            raise DuplicateParticipant(f"{name} {complaint}")
        seen.add(participant)


def _prices(quotes: list[Quote]) -> NDArray[np.int64]:
    return np.fromiter((quote.price for quote in quotes), np.int64, len(quotes))


def _energies(quotes: list[Quote]) -> NDArray[np.int64]:
    return np.fromiter((quote.energy for quote in quotes), np.int64, len(quotes))
