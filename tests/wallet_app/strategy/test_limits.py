from datetime import UTC, datetime, time, timedelta, timezone

import pytest

from light_node.market.quotes import Quote, Side
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.strategy.limits import DayTotals, Limits, check

NOON = datetime(2026, 6, 21, 12, 0, tzinfo=UTC)
ASK = Quote("h", Side.SELL, EnergyWh(2_000), PriceTick(5_000))
BID = Quote("h", Side.BUY, EnergyWh(2_000), PriceTick(5_000))


def test_no_limits_allow_everything():
    assert check(Limits(), ASK, DayTotals(), NOON).allowed


@pytest.mark.parametrize(
    ("limits", "quote", "totals", "reason"),
    [
        (Limits(min_sell_price=PriceTick(5_001)), ASK, DayTotals(), "lowest selling price"),
        (Limits(max_buy_price=PriceTick(4_999)), BID, DayTotals(), "highest buying price"),
        (Limits(max_slot_wh=EnergyWh(1_999)), ASK, DayTotals(), "in a slot"),
        (
            Limits(max_day_sell_wh=EnergyWh(4_999)),
            ASK,
            DayTotals(sold_wh=EnergyWh(3_000)),
            "in a day",
        ),
        (
            Limits(max_day_buy_wh=EnergyWh(4_999)),
            BID,
            DayTotals(bought_wh=EnergyWh(3_000)),
            "in a day",
        ),
        (
            Limits(max_day_loss=MoneyWhTick(10)),
            ASK,
            DayTotals(loss=MoneyWhTick(10)),
            "daily loss",
        ),
        (
            Limits(reserve_wh=EnergyWh(3_000)),
            ASK,
            DayTotals(battery_wh=EnergyWh(2_999)),
            "reserve",
        ),
        (Limits(hours=((time(13), time(15)),)), ASK, DayTotals(), "hours"),
    ],
)
def test_each_limit_refuses_and_says_why(limits, quote, totals, reason):
    verdict = check(limits, quote, totals, NOON)
    assert not verdict.allowed
    assert reason in verdict.short
    assert len(verdict.long) > len(verdict.short)


@pytest.mark.parametrize(
    ("limits", "quote", "totals"),
    [
        (Limits(min_sell_price=PriceTick(5_000)), ASK, DayTotals()),
        (Limits(min_sell_price=PriceTick(9_000)), BID, DayTotals()),
        (Limits(max_buy_price=PriceTick(5_000)), BID, DayTotals()),
        (Limits(max_slot_wh=EnergyWh(2_000)), ASK, DayTotals()),
        (Limits(max_day_sell_wh=EnergyWh(5_000)), ASK, DayTotals(sold_wh=EnergyWh(3_000))),
        (Limits(max_day_sell_wh=EnergyWh(5_000)), BID, DayTotals(sold_wh=EnergyWh(4_000))),
        (Limits(max_day_loss=MoneyWhTick(0)), ASK, DayTotals(loss=MoneyWhTick(0))),
        (Limits(reserve_wh=EnergyWh(3_000)), ASK, DayTotals()),
        (Limits(reserve_wh=EnergyWh(3_000)), BID, DayTotals(battery_wh=EnergyWh(0))),
    ],
)
def test_at_the_limit_is_allowed(limits, quote, totals):
    assert check(limits, quote, totals, NOON).allowed


def test_hours_are_local_and_may_run_over_midnight():
    night = Limits(hours=((time(22), time(6)),), zone=timezone(timedelta(hours=8)))
    assert check(night, ASK, DayTotals(), NOON + timedelta(hours=2)).allowed  # 22:00 there
    assert check(night, ASK, DayTotals(), NOON + timedelta(hours=9)).allowed  # 05:00
    assert not check(night, ASK, DayTotals(), NOON + timedelta(hours=10)).allowed  # 06:00
    with pytest.raises(ValueError, match="zone"):
        check(night, ASK, DayTotals(), NOON.replace(tzinfo=None))
