from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from light_node.market.quotes import PriceBounds
from light_node.market.slots import Slot
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.strategy.battery import Battery, BatteryState
from wallet_app.strategy.lookahead import (
    LookAheadError,
    PlannedSlot,
    look_ahead,
    slots_with_tariff,
)

HOUR = 3600
START = int(datetime(2026, 6, 21, tzinfo=UTC).timestamp())


def slots(nets, feed_in=3000, retail=6000):
    retails = retail if isinstance(retail, list) else [retail] * len(nets)
    return [
        PlannedSlot(
            Slot(START + i * HOUR, HOUR), net, PriceBounds(PriceTick(feed_in), PriceTick(price))
        )
        for i, (net, price) in enumerate(zip(nets, retails, strict=True))
    ]


def test_surplus_is_stored_for_the_dear_evening():
    battery = Battery(EnergyWh(4_000))
    found = look_ahead(slots([-3_000, 0, 2_000, 2_000]), battery, BatteryState(), PriceTick(0))
    assert sum(found.charge) == 3_000
    assert sum(found.discharge) == 3_000
    # One Wh more stored would avoid retail: 4 kWh are missing in the evening.
    assert found.stored_value == 6_000
    assert found.cost == 1_000 * 6_000


def test_a_battery_with_room_to_spare_is_worth_what_it_will_really_do():
    battery = Battery(EnergyWh(9_000))
    # 6 kWh surplus, 2 kWh needed: the marginal stored Wh is left over at the end.
    found = look_ahead(slots([-6_000, 1_000, 1_000]), battery, BatteryState(), PriceTick(3_500))
    assert found.stored_value == 3_500
    worthless = look_ahead(slots([-6_000, 2_000]), battery, BatteryState(), PriceTick(0))
    assert worthless.charge[0] == 2_000
    assert worthless.cost == -4_000 * 3_000


def test_losses_and_wear_keep_the_battery_out_of_bad_business():
    battery = Battery(
        EnergyWh(9_000), round_trip_efficiency_permille=810, cycle_cost=PriceTick(2_000)
    )
    # 0.81 · (4500 − 2000) is less than the feed-in of 3000.
    found = look_ahead(slots([-2_000, 2_000], retail=4_500), battery, BatteryState(), PriceTick(0))
    assert sum(found.charge) == 0
    good = look_ahead(slots([-2_000, 2_000], retail=8_000), battery, BatteryState(), PriceTick(0))
    assert good.charge[0] == 2_000
    assert good.discharge[1] == 1_620
    # Wear included, as the physical model expects it.
    assert good.stored_value == 8_000


def test_reserve_power_and_permissions_are_kept():
    battery = Battery(
        EnergyWh(5_000), max_charge_w=1_000, max_discharge_w=500, reserve_wh=EnergyWh(1_000)
    )
    full = BatteryState(EnergyWh(2_000))
    found = look_ahead(slots([2_000, 2_000, 2_000]), battery, full, PriceTick(0))
    assert found.discharge == (500, 500, 0) or sum(found.discharge) == 1_000
    assert max(found.discharge) <= 500
    below = look_ahead(slots([2_000]), battery, BatteryState(EnergyWh(400)), PriceTick(0))
    assert sum(below.discharge) == 0
    cheap_then_dear = slots([0, 3_000], retail=[3_000, 9_000])
    assert sum(look_ahead(cheap_then_dear, battery, BatteryState()).charge) == 0
    trader = Battery(EnergyWh(5_000), may_charge_from_grid=True)
    bought = look_ahead(cheap_then_dear, trader, BatteryState(), PriceTick(0))
    assert bought.charge[0] == 3_000
    assert bought.cost == 3_000 * 3_000


def test_a_battery_of_nothing_costs_the_grid():
    found = look_ahead(slots([1_000, -500]), Battery(EnergyWh(0)), BatteryState())
    assert found.cost == 1_000 * 6_000 - 500 * 3_000
    assert set(found.charge) == set(found.discharge) == {0}


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 29, 23), (10, 25, 25), (6, 21, 24)])
def test_clock_change_days_are_lists_of_23_and_25_slots(month, day, hours):
    zone = ZoneInfo("Europe/Berlin")
    start = int(datetime(2026, month, day, tzinfo=zone).timestamp())
    end = int((datetime(2026, month, day, tzinfo=zone) + timedelta(days=1)).timestamp())
    day_slots = [Slot(s, HOUR) for s in range(start, end, HOUR)]
    bounds = PriceBounds(PriceTick(3_000), PriceTick(6_000))
    planned = slots_with_tariff(
        day_slots, dict.fromkeys(day_slots, 500), dict.fromkeys(day_slots, bounds)
    )
    found = look_ahead(planned, Battery(EnergyWh(1_000)), BatteryState(EnergyWh(1_000)))
    assert len(found.charge) == hours


def test_what_is_missing_is_named():
    planned = slots([1, 2, 3])
    with pytest.raises(LookAheadError, match="missing between"):
        look_ahead([planned[0], planned[2]], Battery(EnergyWh(1)), BatteryState())
    with pytest.raises(LookAheadError, match="at least one"):
        look_ahead([], Battery(EnergyWh(1)), BatteryState())
    day = [p.slot for p in planned]
    bounds = {day[0]: planned[0].tariff}
    with pytest.raises(LookAheadError, match=r"no tariff for 2026-06-21T01:00Z/PT60M and 1 more"):
        slots_with_tariff(day, dict.fromkeys(day, 0), bounds)
