"""Final books of past slots and promised suggestions, as the wallet's own record keeps them.

A book is small text that repeats itself (names, prices), so it is kept compressed. What is read
back was written by this program; a file that was tampered with is refused with a ``ValueError``.
"""

import json
import zlib
from dataclasses import dataclass

from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot, parse
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.i18n import said, tr
from wallet_app.strategy.game import PublicBook
from wallet_app.strategy.record import Promise
from wallet_app.strategy.reservation import Tranche
from wallet_app.strategy.scenarios import PastBook

MAX_BOOK_QUOTES = 10_000
"""Larger books are not kept: among so many nobody gains anything by estimating the others
(docs/strategy.md), and keeping one would hold up the lane."""
MAX_BOOKS = 3_000  # a month of quarter hours, four of hours
MAX_KEPT_QUOTES = 500_000
MAX_AGE_DAYS = 400
_MAX_BYTES = 40_000_000  # what 10,000 quotes with the longest names take


@dataclass(frozen=True, slots=True)
class FinalBook:
    """A slot's last standing with the quotes it ranks, and the tariffs of the slot."""

    slot: Slot
    bounds: PriceBounds
    book: PublicBook

    @property
    def past(self) -> PastBook:
        """The book as the scenarios take it."""
        return PastBook.of(self.slot, self.book.quotes)


def packed(book: PublicBook) -> bytes:
    """Return quotes and standing as compressed text."""
    rows = [[q.participant, q.side.value, q.energy, q.price] for q in book.quotes]
    text = json.dumps([rows, book.standing], separators=(",", ":"))
    return zlib.compress(text.encode(), 6)


def unpacked(slot: str, floor: int, cap: int, data: bytes) -> FinalBook:
    """Return what :func:`packed` made; ``ValueError`` if it is something else."""
    try:
        unzip = zlib.decompressobj()
        text = unzip.decompress(data, _MAX_BYTES)
        if not unzip.eof:
            raise ValueError(tr("a kept book is damaged"))
        rows, standing = json.loads(text)
        quotes = tuple(
            Quote(str(name), Side(side), EnergyWh(energy), PriceTick(price))
            for name, side, energy, price in rows
        )
    except (zlib.error, TypeError) as error:
        raise ValueError(tr("a kept book is damaged: {why}", why=said(error))) from error
    bounds = PriceBounds(PriceTick(floor), PriceTick(cap))
    return FinalBook(parse(slot), bounds, PublicBook(slot, quotes, tuple(map(str, standing))))


def promise_text(promise: Promise) -> str:
    """Return a promise as text for the record."""
    return json.dumps(
        {
            "side": promise.side.value,
            "energy_wh": promise.energy,
            "price": promise.price,
            "honest_price": promise.honest_price,
            "expected_money": promise.expected_money,
            "tranches": [[t.energy_wh, t.price, t.destination] for t in promise.tranches],
        }
    )


def promise_from(text: str) -> Promise:
    """Return what :func:`promise_text` made; ``ValueError`` if it is something else."""
    try:
        fields = json.loads(text)
        return Promise(
            Side(fields["side"]),
            EnergyWh(fields["energy_wh"]),
            PriceTick(fields["price"]),
            PriceTick(fields["honest_price"]),
            MoneyWhTick(fields["expected_money"]),
            tuple(
                Tranche(EnergyWh(energy), PriceTick(price), str(place))
                for energy, price, place in fields["tranches"]
            ),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(tr("a kept suggestion is damaged: {why}", why=said(error))) from error
