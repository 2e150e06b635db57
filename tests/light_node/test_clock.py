"""Market time and wall time map onto each other exactly."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.clock import REAL_TIME, MarketTime, SystemClock
from light_node.jsonio import JsonError

WALL = datetime(2026, 11, 20, 9, tzinfo=UTC)
MARKET = datetime(2026, 6, 21, tzinfo=UTC)


def test_a_day_fits_into_ninety_seconds() -> None:
    time = MarketTime(WALL, MARKET, 960)
    assert time.at(WALL + timedelta(seconds=90)) == MARKET + timedelta(days=1)
    assert time.to_wall(MARKET + timedelta(hours=1)) == WALL + timedelta(seconds=3.75)
    assert time.wall_span(timedelta(hours=1)) == timedelta(seconds=3.75)


@given(st.integers(1, 10_000), st.integers(-(10**6), 10**6))
def test_there_and_back(rate: int, seconds: int) -> None:
    time = MarketTime(WALL, MARKET, rate)
    moment = WALL + timedelta(seconds=seconds)
    assert abs(time.to_wall(time.at(moment)) - moment) <= timedelta(microseconds=1)


def test_json_round_trip_and_absence() -> None:
    time = MarketTime(WALL, MARKET, 960)
    assert MarketTime.from_json(time.to_json()) == time
    assert MarketTime.from_json(None) is REAL_TIME
    now = SystemClock().now()
    assert REAL_TIME.at(now) == now


@pytest.mark.parametrize(
    "change", [{"rate": 0}, {"rate": 1.5}, {"wall": "yesterday"}, {"market": "2026-06-21T00:00"}]
)
def test_a_damaged_market_time_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(JsonError):
        MarketTime.from_json({**MarketTime(WALL, MARKET, 1).to_json(), **change})
