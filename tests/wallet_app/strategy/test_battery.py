import csv
from pathlib import Path

import pytest

from light_node.market.quotes import PriceBounds, Side
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.strategy.battery import Battery, BatteryError, BatteryState, split_after_clearing
from wallet_app.strategy.reservation import LinearModel, PhysicalModel, average_price

PAPER = Path(__file__).parents[2] / "data" / "paper"
FIFTY = Battery(EnergyWh(50_000))
HOUR = 3600


def rows(name):
    with (PAPER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def state_of(row):
    return BatteryState(EnergyWh(int(row["soc_before_pct"]) * 500))


@pytest.mark.parametrize(("table", "side"), [("hou_table2", Side.BUY), ("hou_table3", Side.SELL)])
def test_linear_model_gives_the_printed_reservation_prices(table, side):
    for row in rows(f"{table}.csv"):
        ticks = LinearModel().price(side, FIFTY, state_of(row))
        assert f"{ticks / 10_000:.2f}" == row["reservation_price"]


def test_table3_split_and_state_of_charge_are_the_papers():
    for row in rows("hou_table3.csv"):
        net = -1000 * int(row["surplus_kwh"])
        sold = EnergyWh(1000 * int(row["market_sale_kwh"]))
        split = split_after_clearing(net, sold, FIFTY, state_of(row), HOUR)
        assert split.battery_wh == 1000 * int(row["battery_charge_kwh"])
        assert split.grid_wh == 1000 * int(row["grid_feed_in_kwh"])
        assert split.after.soc_permyriad(FIFTY) == 100 * int(row["soc_after_pct"])


def test_table2_state_of_charge_is_one_point_below_the_print_in_all_rows():
    for row in rows("hou_table2.csv"):
        net = 1000 * int(row["deficit_kwh"])
        bought = EnergyWh(1000 * int(row["market_purchase_kwh"]))
        split = split_after_clearing(net, bought, FIFTY, state_of(row), HOUR)
        assert split.battery_wh == 1000 * int(row["battery_discharge_kwh"])
        assert split.grid_wh == 1000 * int(row["grid_purchase_kwh"])
        assert split.after.soc_permyriad(FIFTY) == 100 * (int(row["soc_after_pct"]) - 1)


def test_power_capacity_efficiency_and_reserve_limit_the_battery():
    battery = Battery(
        EnergyWh(10_000),
        max_charge_w=3000,
        max_discharge_w=2000,
        round_trip_efficiency_permille=810,
        reserve_wh=EnergyWh(1000),
    )
    quarter = 900
    empty, full = BatteryState(EnergyWh(0)), BatteryState(EnergyWh(10_000))
    assert battery.charge_room(empty, quarter) == 750
    assert battery.charge_room(BatteryState(EnergyWh(9_100)), HOUR) == 1000
    assert battery.discharge_room(full, HOUR) == 2000
    assert battery.discharge_room(BatteryState(EnergyWh(2_000)), HOUR) == 900
    assert battery.discharge_room(BatteryState(EnergyWh(500)), HOUR) == 0
    assert battery.charged(empty, EnergyWh(1000)).energy_wh == 900
    assert battery.discharged(full, EnergyWh(900)).energy_wh == 9000


def test_split_gives_all_energy_a_place():
    battery = Battery(EnergyWh(2_000), max_charge_w=1000)
    split = split_after_clearing(-5_000, EnergyWh(1_500), battery, BatteryState(), HOUR)
    assert split[:3] == (1_500, 1_000, 2_500)
    over = split_after_clearing(-500, EnergyWh(900), battery, BatteryState(), HOUR)
    assert over[:3] == (500, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"capacity_wh": -1}, "capacity"),
        ({"capacity_wh": 5, "reserve_wh": 6}, "reserve"),
        ({"capacity_wh": 5, "round_trip_efficiency_permille": 1001}, "efficiency"),
        ({"capacity_wh": 5, "round_trip_efficiency_permille": 0}, "efficiency"),
        ({"capacity_wh": 5, "max_charge_w": -1}, "charging"),
        ({"capacity_wh": 5, "cycle_cost": -1}, "cycle cost"),
    ],
)
def test_an_infeasible_battery_is_named(arguments, named):
    with pytest.raises(BatteryError, match=named):
        Battery(**arguments)


def test_physical_model_prices_battery_and_grid_apart():
    bounds = PriceBounds(PriceTick(3_500), PriceTick(6_000))
    battery = Battery(
        EnergyWh(2_000), round_trip_efficiency_permille=900, cycle_cost=PriceTick(500)
    )
    surplus = PhysicalModel().tranches(-5_000, battery, BatteryState(EnergyWh(1_400)), bounds, HOUR)
    # 600 Wh free hold 632 Wh at the terminals; (6000 − 500)·0.9 ticks each, the rest the feed-in.
    assert [(t.energy_wh, t.price, t.destination) for t in surplus] == [
        (632, 4_950, "battery"),
        (4_368, 3_500, "grid"),
    ]
    model = PhysicalModel(stored_value=PriceTick(4_000))
    deficit = model.tranches(5_000, battery, BatteryState(EnergyWh(2_000)), bounds, HOUR)
    assert [(t.energy_wh, t.price, t.destination) for t in deficit] == [
        (1_896, 4_000, "battery"),
        (3_104, 6_000, "grid"),
    ]
    assert average_price(deficit) == round((1_896 * 4_000 + 3_104 * 6_000) / 5_000)


def test_physical_model_leaves_out_a_battery_that_would_lose_money():
    bounds = PriceBounds(PriceTick(5_000), PriceTick(5_500))
    battery = Battery(EnergyWh(2_000), round_trip_efficiency_permille=800)
    (only,) = PhysicalModel().tranches(-1_000, battery, BatteryState(), bounds, HOUR)
    assert (only.destination, only.price) == ("grid", 5_000)
