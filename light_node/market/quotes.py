"""A quote and the price bounds of its slot (docs/market-rules.md sections 1 and 3)."""

import re
from dataclasses import dataclass
from enum import StrEnum

from light_node.market.errors import InvalidBounds, InvalidQuote, PriceOutOfBounds
from light_node.market.units import MAX_ENERGY_WH, MAX_PRICE_TICK, EnergyWh, PriceTick

MAX_ID_LENGTH = 256
"""Longest participant id in characters: an enrolment id and an MSP id fit many times over."""

# Fixed ranges rather than str.isprintable(): that follows the Unicode tables of the Python at
# hand, and every peer has to accept and refuse the same ids. Surrogates have no UTF-8 form.
_UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Side(StrEnum):
    """Which way the energy goes, seen from the participant."""

    BUY = "buy"
    SELL = "sell"

    @property
    def other(self) -> "Side":
        """The opposite side."""
        return Side.SELL if self is Side.BUY else Side.BUY


@dataclass(frozen=True, slots=True)
class Quote:
    """One participant's offer for one slot: trade up to ``energy`` at ``price`` or better.

    ``energy`` is 0 to ``MAX_ENERGY_WH``; a quote over 0 Wh is valid and changes nothing, so that
    a caller need not filter. ``price`` is a limit in ticks and may be negative where a tariff is.
    Raises ``InvalidQuote`` for anything else (floats and truth values included), because a wrong
    type would make two machines disagree much later.
    """

    participant: str
    side: Side
    energy: EnergyWh
    price: PriceTick

    def __post_init__(self) -> None:
        check_participant(self.participant)
        if not isinstance(self.side, Side):
            raise InvalidQuote(f"{self.participant}: the side must be buy or sell")
        if type(self.energy) is not int or not 0 <= self.energy <= MAX_ENERGY_WH:
            raise InvalidQuote(
                f"{self.participant}: energy must be an integer from 0 to {MAX_ENERGY_WH} Wh"
            )
        if type(self.price) is not int or not -MAX_PRICE_TICK <= self.price <= MAX_PRICE_TICK:
            raise InvalidQuote(
                f"{self.participant}: price must be an integer from "
                f"{-MAX_PRICE_TICK} to {MAX_PRICE_TICK} ticks"
            )


@dataclass(frozen=True, slots=True)
class PriceBounds:
    """What the grid pays and asks in a slot: feed-in tariff (floor) and retail tariff (cap).

    Both in ticks, within ±``MAX_PRICE_TICK``, floor not above cap; else ``InvalidBounds``.
    """

    floor: PriceTick
    cap: PriceTick

    def __post_init__(self) -> None:
        for name, value in (("floor", self.floor), ("cap", self.cap)):
            if type(value) is not int or not -MAX_PRICE_TICK <= value <= MAX_PRICE_TICK:
                raise InvalidBounds(
                    f"{name} must be an integer from {-MAX_PRICE_TICK} to {MAX_PRICE_TICK} ticks"
                )
        if self.floor > self.cap:
            raise InvalidBounds(f"floor {self.floor} is above cap {self.cap}")

    def __contains__(self, price: int) -> bool:
        return self.floor <= price <= self.cap

    def check(self, quote: Quote) -> None:
        """Raise ``PriceOutOfBounds`` unless the quote's price lies between floor and cap."""
        if quote.price not in self:
            raise PriceOutOfBounds(
                f"{quote.participant}: price {quote.price} is outside "
                f"{self.floor} to {self.cap} (floor to cap)"
            )


def check_participant(participant: object) -> None:
    """Raise ``InvalidQuote`` unless ``participant`` is usable as an id (:func:`fault_of_id`)."""
    fault = fault_of_id(participant)
    if fault:
        raise InvalidQuote(f"a participant id {fault}")


def fault_of_id(text: object) -> str:
    """Return what keeps ``text`` from being an id of a participant or slot; empty if nothing does.

    An id has 1 to ``MAX_ID_LENGTH`` characters, none of them a control character or half a
    surrogate: the rank hashes the UTF-8 form, and ids are printed on terminals.
    """
    if not isinstance(text, str):
        return "must be text"
    if not 1 <= len(text) <= MAX_ID_LENGTH:
        return f"must have 1 to {MAX_ID_LENGTH} characters"
    if _UNUSABLE.search(text):
        return f"must not hold control characters or halves of surrogates: {text!a}"
    return ""
