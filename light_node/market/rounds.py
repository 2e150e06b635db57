"""Quoting rounds: what a round may change, what carries over, when it ends (market-rules.md 4).

Round 1 collects first quotes. In a later round a participant may replace its price, not its
side, and may not raise its energy; who does not quote again stands by its last quote. "May not
raise" is read strictly: nobody enters after round 1, because energy held back at first and shown
later would raise it just the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from light_node.market.clearing import Clearing, clear
from light_node.market.errors import (
    DuplicateParticipant,
    EnergyRaised,
    FirstQuoteTooLate,
    RoundRuleBroken,
    SideChanged,
)
from light_node.market.quotes import PriceBounds, Quote

MAX_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Round:
    """A closed round: its number from 1, the book by participant, the standing it led to.

    ``final`` says that quoting is finished: ``standing`` is then the slot's clearing.
    """

    number: int
    book: Mapping[str, Quote]
    standing: Clearing
    final: bool


def check_quote(bounds: PriceBounds, quote: Quote, *, number: int, before: Quote | None) -> None:
    """Raise unless ``quote`` is allowed in round ``number``.

    ``before`` is the participant's quote in the book of the previous round, None if it has none
    (always so in round 1, where a quote may still be replaced freely). Raises
    ``PriceOutOfBounds``, ``FirstQuoteTooLate``, ``SideChanged`` or ``EnergyRaised``.
    """
    bounds.check(quote)
    if number == 1:
        return
    if before is None:
        raise FirstQuoteTooLate(
            f"{quote.participant}: first quotes are collected in round 1; this is round {number}"
        )
    if before.participant != quote.participant:
        raise RoundRuleBroken(f"{quote.participant}: compared with a quote of somebody else")
    if quote.side is not before.side:
        raise SideChanged(
            f"{quote.participant}: the side was {before.side} in the round before and stays so"
        )
    if quote.energy > before.energy:
        raise EnergyRaised(
            f"{quote.participant}: energy was {before.energy} Wh in the round before; "
            f"{quote.energy} Wh would raise it"
        )


def carry_over(
    bounds: PriceBounds,
    submitted: Iterable[Quote],
    *,
    number: int,
    before: Mapping[str, Quote],
) -> dict[str, Quote]:
    """Return the book of round ``number``: the book ``before`` it with ``submitted`` replaced.

    Every submitted quote is checked (:func:`check_quote`); ``DuplicateParticipant`` when one
    participant has two. Sorted by participant, so that the same book looks the same everywhere.
    """
    fresh: dict[str, Quote] = {}
    for quote in submitted:
        if quote.participant in fresh:
            raise DuplicateParticipant(f"{quote.participant} has two quotes in round {number}")
        check_quote(bounds, quote, number=number, before=before.get(quote.participant))
        fresh[quote.participant] = quote
    book = {**before, **fresh}
    return {participant: book[participant] for participant in sorted(book)}


def is_final(
    *, number: int, last: int, before: Mapping[str, Quote], book: Mapping[str, Quote]
) -> bool:
    """Say whether quoting ends with round ``number`` of at most ``last``.

    It ends when nobody changed a quote or the last round is reached. An empty round 1 ends it
    too, because nobody may enter later.
    """
    return number >= last or book == before


def close_round(
    slot_id: str,
    bounds: PriceBounds,
    submitted: Iterable[Quote],
    *,
    last: int,
    before: Round | None = None,
) -> Round:
    """Close the round after ``before`` (None: round 1): carry over, clear, see whether it ends.

    ``last`` is the configured number of rounds, 1 to ``MAX_ROUNDS``. Raises what
    :func:`carry_over` raises, and ``RoundRuleBroken`` when quoting is finished already.
    """
    if type(last) is not int or not 1 <= last <= MAX_ROUNDS:
        raise RoundRuleBroken(f"a slot has 1 to {MAX_ROUNDS} rounds")
    if before is not None and before.final:
        raise RoundRuleBroken(f"quoting ended with round {before.number}")
    number = 1 if before is None else before.number + 1
    book_before: Mapping[str, Quote] = {} if before is None else before.book
    previous: Sequence[str] = () if before is None else before.standing.standing
    book = carry_over(bounds, submitted, number=number, before=book_before)
    standing = clear(slot_id, bounds, tuple(book.values()), previous)
    final = is_final(number=number, last=last, before=book_before, book=book)
    return Round(number, book, standing, final)
