"""Quotes and bounds refuse what would make two machines disagree."""

from typing import Any

import pytest

from light_node.market.errors import InvalidBounds, InvalidQuote, MarketError, PriceOutOfBounds
from light_node.market.quotes import MAX_ID_LENGTH, PriceBounds, Quote, Side, check_participant
from light_node.market.units import MAX_ENERGY_WH, MAX_PRICE_TICK, EnergyWh, PriceTick

GOOD: dict[str, Any] = {"participant": "hh-001@Org1MSP", "side": Side.SELL, "energy": 0, "price": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"participant": "户主-1"},
        {"participant": "x" * MAX_ID_LENGTH},
        {"energy": MAX_ENERGY_WH},
        {"price": -MAX_PRICE_TICK},
        {"price": MAX_PRICE_TICK},
    ],
)
def test_good_quotes(change: dict[str, Any]) -> None:
    Quote(**{**GOOD, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"participant": ""},
        {"participant": "x" * (MAX_ID_LENGTH + 1)},
        {"participant": 7},
        {"participant": "two\nlines"},
        {"participant": "\x1b[31mred"},
        {"participant": "\x9b31mred"},
        {"participant": "\ud800"},
        {"side": "sell"},
        {"energy": -1},
        {"energy": 1.0},
        {"energy": True},
        {"energy": MAX_ENERGY_WH + 1},
        {"price": 1.5},
        {"price": False},
        {"price": "1"},
        {"price": MAX_PRICE_TICK + 1},
        {"price": -MAX_PRICE_TICK - 1},
    ],
)
def test_bad_quotes_name_their_fault_in_one_line(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidQuote) as caught:
        Quote(**{**GOOD, **change})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("floor", "cap"), [(2, 1), (0.0, 1), (0, True), (0, MAX_PRICE_TICK + 1), ("0", 1)]
)
def test_bad_bounds(floor: Any, cap: Any) -> None:
    with pytest.raises(InvalidBounds):
        PriceBounds(floor, cap)


def test_bounds_include_their_ends() -> None:
    bounds = PriceBounds(PriceTick(-1), PriceTick(3))
    assert [price in bounds for price in (-2, -1, 3, 4)] == [False, True, True, False]
    bounds.check(Quote("a", Side.BUY, EnergyWh(1), PriceTick(3)))
    with pytest.raises(PriceOutOfBounds, match="a: price 4 is outside -1 to 3"):
        bounds.check(Quote("a", Side.BUY, EnergyWh(1), PriceTick(4)))


def test_sides_and_errors() -> None:
    assert Side.BUY.other is Side.SELL
    assert Side.SELL.other is Side.BUY
    with pytest.raises(MarketError):
        check_participant(None)
