"""The simulated home: energy is conserved, the battery has limits, looking changes nothing."""

from datetime import UTC, datetime, timedelta

import pytest

from light_node.jsonio import JsonError
from wallet_app.meter.simulator.home import BatterySpec, SimulatedHome
from wallet_app.meter.simulator.household import Household

START = datetime(2026, 6, 21, tzinfo=UTC)
HOUR = timedelta(hours=1)
BATTERY = BatterySpec(10_000, 5_000, 0.9)


def home(battery_wh: float = 5000, pv_kwp: float = 4) -> SimulatedHome:
    return SimulatedHome(Household(1, 4000, pv_kwp), BATTERY, START, battery_wh=battery_wh)


def test_registers_differ_by_the_net_energy():
    simulated = home()
    state = simulated.advance(START + 24 * HOUR)
    net = Household(1, 4000, 4).net_wh(START, START + 24 * HOUR)
    assert state.import_wh - state.export_wh == pytest.approx(net, abs=1e-6)
    assert state.import_wh > 0
    assert state.export_wh > 0


def test_looking_often_changes_nothing():
    often, once = home(), home()
    for simulated in (often, once):
        simulated.set_battery_power(3000)
    for step in range(1, 1001):
        often.advance(START + step * timedelta(seconds=17.3))
    end = START + 1000 * timedelta(seconds=17.3)
    a, b = often.advance(end), once.advance(end)
    assert a.import_wh == pytest.approx(b.import_wh, abs=1e-6)
    assert a.battery_wh == pytest.approx(b.battery_wh, abs=1e-6)


def test_charging_stops_when_full_and_the_grid_gives_only_what_went_in():
    simulated = home(battery_wh=9_100, pv_kwp=0)
    simulated.set_battery_power(2000)
    state = simulated.advance(START + HOUR)
    used = Household(1, 4000, 0).load_wh(START, START + HOUR)
    assert state.battery_wh == pytest.approx(10_000)
    assert state.battery_w == 0
    assert state.import_wh == pytest.approx(used + 900 / 0.9)


def test_discharging_stops_when_empty():
    simulated = home(battery_wh=450, pv_kwp=0)
    simulated.set_battery_power(-5000)
    state = simulated.advance(START + HOUR)
    used = Household(1, 4000, 0).load_wh(START, START + HOUR)
    assert state.battery_wh == pytest.approx(0)
    assert state.import_wh - state.export_wh == pytest.approx(used - 450 * 0.9)


def test_power_limit():
    simulated = home(battery_wh=0)
    simulated.set_battery_power(50_000)
    assert simulated.advance(START + timedelta(minutes=1)).battery_w == 5000


def test_energy_is_spread_until_its_time_and_then_idle():
    simulated = home(battery_wh=0)
    simulated.command({"battery_wh": 800, "until": "2026-06-21T00:30:00Z"})
    half = simulated.advance(START + timedelta(minutes=15))
    assert half.battery_w == pytest.approx(1600)
    assert half.battery_wh == pytest.approx(400 * 0.9)
    assert simulated.advance(START + timedelta(minutes=30)).battery_w == 0
    assert simulated.advance(START + HOUR).battery_wh == pytest.approx(800 * 0.9)


def test_energy_with_a_time_already_past_is_idle():
    simulated = home()
    simulated.advance(START + HOUR)
    simulated.set_battery_energy(500, START)
    assert simulated.advance(START + 2 * HOUR).battery_wh == 5000


def test_null_is_idle_and_a_new_command_replaces_the_old():
    simulated = home(battery_wh=0)
    simulated.command({"battery_w": 1500})
    assert simulated.advance(START + timedelta(minutes=6)).battery_wh == pytest.approx(135)
    simulated.command({"battery_w": None})
    assert simulated.advance(START + HOUR).battery_wh == pytest.approx(135)


@pytest.mark.parametrize(
    "command",
    [
        [],
        {},
        {"battery_w": "much"},
        {"battery_w": True},
        {"battery_w": 1e300},
        {"battery_wh": 5},
        {"battery_wh": 5, "until": "soon"},
        {"battery_wh": 5, "until": "2026-06-21T00:30:00"},
    ],
)
def test_commands_that_are_none(command: object):
    with pytest.raises(JsonError):
        home().command(command)


def test_time_does_not_run_backwards():
    simulated = home()
    later = simulated.advance(START + HOUR)
    assert simulated.advance(START) == later
