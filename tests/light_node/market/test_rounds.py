"""What a later round may change, what carries over, and when quoting ends."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.market.clearing import clear
from light_node.market.errors import (
    DuplicateParticipant,
    EnergyRaised,
    FirstQuoteTooLate,
    MarketError,
    PriceOutOfBounds,
    RoundRuleBroken,
    SideChanged,
)
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.rounds import Round, carry_over, check_quote, close_round, is_final
from light_node.market.units import EnergyWh, PriceTick

SLOT = "2026-06-21T23:00Z/PT60M"
BOUNDS = PriceBounds(PriceTick(3800), PriceTick(11080))


def quote(participant: str, side: Side, kwh: int, price: int) -> Quote:
    return Quote(participant, side, EnergyWh(kwh * 1000), PriceTick(price))


def test_the_paper_s_two_rounds_of_table_3() -> None:
    first = [
        quote("E", Side.SELL, 12, 5000), quote("F", Side.SELL, 13, 6400),
        quote("G", Side.SELL, 1, 7400), quote("H", Side.SELL, 3, 4000),
        quote("T", Side.BUY, 13, 11080),
    ]  # fmt: skip
    one = close_round(SLOT, BOUNDS, first, last=5)
    assert (one.number, one.standing.price, one.final) == (1, 5000, False)
    # H moves to its competitor's quote, and so does E; nobody else quotes again.
    moved = [quote("E", Side.SELL, 12, 6400), quote("H", Side.SELL, 3, 5000)]
    two = close_round(SLOT, BOUNDS, moved, last=5, before=one)
    assert (two.number, two.standing.price, two.final) == (2, 6400, False)
    assert two.standing.fills == {"E": 10_000, "F": 0, "G": 0, "H": 3_000, "T": 13_000}
    assert two.book["F"] == first[1]
    # Nobody changes anything: the last standing is the clearing.
    three = close_round(SLOT, BOUNDS, [], last=5, before=two)
    assert (three.final, three.book, three.standing) == (True, two.book, two.standing)
    with pytest.raises(RoundRuleBroken, match="ended with round 3"):
        close_round(SLOT, BOUNDS, [], last=5, before=three)


def test_quoting_the_same_again_is_no_change() -> None:
    same = quote("E", Side.SELL, 12, 5000)
    one = close_round(SLOT, BOUNDS, [same], last=3)
    assert close_round(SLOT, BOUNDS, [same], last=3, before=one).final


def test_the_last_round_ends_quoting_whatever_changed() -> None:
    one = close_round(SLOT, BOUNDS, [quote("E", Side.SELL, 12, 5000)], last=2)
    assert not one.final
    two = close_round(SLOT, BOUNDS, [quote("E", Side.SELL, 12, 5001)], last=2, before=one)
    assert two.final
    assert close_round(SLOT, BOUNDS, [quote("E", Side.SELL, 12, 5000)], last=1).final


def test_an_empty_first_round_ends_quoting_because_nobody_may_enter_later() -> None:
    assert close_round(SLOT, BOUNDS, [], last=3).final


BEFORE = quote("E", Side.SELL, 12, 5000)


@pytest.mark.parametrize(
    ("change", "number", "before", "error"),
    [
        ({"price": PriceTick(11080)}, 2, BEFORE, None),
        ({"energy": EnergyWh(11_999)}, 2, BEFORE, None),
        ({"energy": EnergyWh(0)}, 3, BEFORE, None),
        ({"energy": EnergyWh(12_001)}, 2, BEFORE, EnergyRaised),
        ({"side": Side.BUY}, 2, BEFORE, SideChanged),
        ({"price": PriceTick(11081)}, 2, BEFORE, PriceOutOfBounds),
        ({"price": PriceTick(3799)}, 1, None, PriceOutOfBounds),
        ({}, 2, None, FirstQuoteTooLate),
        ({"participant": "F"}, 2, BEFORE, RoundRuleBroken),
        # Within round 1 a quote may be replaced freely.
        ({"side": Side.BUY, "energy": EnergyWh(99_000)}, 1, None, None),
    ],
)
def test_what_a_round_allows(
    change: dict[str, object], number: int, before: Quote | None, error: type[MarketError] | None
) -> None:
    revised = replace(BEFORE, **change)  # type: ignore[arg-type]
    if error is None:
        check_quote(BOUNDS, revised, number=number, before=before)
    else:
        with pytest.raises(error):
            check_quote(BOUNDS, revised, number=number, before=before)


def test_carry_over_refuses_two_quotes_and_leaves_the_book_before_alone() -> None:
    before = {"E": BEFORE}
    with pytest.raises(DuplicateParticipant):
        carry_over(BOUNDS, [BEFORE, BEFORE], number=2, before=before)
    cheaper = replace(BEFORE, price=PriceTick(4000))
    assert carry_over(BOUNDS, [cheaper], number=2, before=before) == {"E": cheaper}
    assert before == {"E": BEFORE}


@pytest.mark.parametrize("last", [0, -1, 101, True, 2.0])
def test_the_number_of_rounds_is_sane(last: int) -> None:
    with pytest.raises(RoundRuleBroken):
        close_round(SLOT, BOUNDS, [], last=last)


def test_is_final() -> None:
    book = {"E": BEFORE}
    assert not is_final(number=1, last=3, before={}, book=book)
    assert is_final(number=2, last=3, before=book, book=dict(book))
    assert is_final(number=3, last=3, before={}, book=book)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(3800, 11080)), max_size=5))
def test_rounds_end_and_the_standing_is_the_clearing_of_the_book(
    moves: list[dict[str, int]],
) -> None:
    """Each round's standing clears the carried-over book by the standing of the round before."""
    start = [quote(id_, Side.SELL, 3, 4000 + 1000 * i) for i, id_ in enumerate("abcd")]
    state: Round = close_round(SLOT, BOUNDS, [*start, quote("t", Side.BUY, 7, 11080)], last=6)
    for move in moves:
        if state.final:
            break
        before = state
        submitted = [quote(id_, Side.SELL, 3, price) for id_, price in move.items()]
        state = close_round(SLOT, BOUNDS, submitted, last=6, before=before)
        assert list(state.book) == sorted(state.book)
        for id_ in "abcd":
            expected = move.get(id_, before.book[id_].price)
            assert state.book[id_].price == expected
        assert state.standing == clear(
            SLOT, BOUNDS, list(state.book.values()), before.standing.standing
        )
        assert state.final == (state.book == before.book or state.number == 6)
