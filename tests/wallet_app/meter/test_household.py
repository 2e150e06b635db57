"""The curves and the homes made from them: deterministic, exact sums, sensible sizes."""

import importlib.util
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from resources import resource
from resources.scripts import make_profiles
from wallet_app.meter.simulator.household import Household, homes

DAY = datetime(2026, 6, 21, tzinfo=UTC)


def test_the_committed_roof_is_what_the_script_computes(tmp_path):
    path = tmp_path / "pv.csv"
    months = [f"day_{day}" for day in make_profiles.MONTH_MIDDLES]
    make_profiles.write(path, months, make_profiles.pv_curves())
    committed = resource("profiles", "pv_clear_sky_taiyuan.csv").read_text(encoding="ascii")
    assert committed == path.read_text()


@pytest.mark.skipif(
    importlib.util.find_spec("demandlib") is None,
    reason="the published load profile is not installed (see resources/scripts/make_profiles.py)",
)
def test_the_committed_load_is_what_the_script_computes(tmp_path, monkeypatch):
    monkeypatch.setattr(make_profiles, "PROFILES", tmp_path)
    make_profiles.main()
    committed = resource("profiles", "household_load.csv").read_text(encoding="ascii")
    assert committed == (tmp_path / "household_load.csv").read_text()


def test_the_committed_load_makes_a_thousand_kwh_a_year():
    text = resource("profiles", "household_load.csv").read_text(encoding="ascii")
    rows = [[float(cell) for cell in line.split(",")[1:]] for line in text.splitlines()[1:]]
    assert (len(rows), len(rows[0])) == (96, 36)
    energy_wh = 0.0
    for number in range(365):
        day = date(2018, 1, 1) + timedelta(days=number)
        column = 3 * (day.month - 1) + {5: 1, 6: 2}.get(day.weekday(), 0)
        power = sum(row[column] for row in rows) * make_profiles.dynamisation(number + 1)
        energy_wh += power / 4
    assert energy_wh == pytest.approx(1_000_000, rel=1e-3)


def test_a_year_uses_the_annual_energy_within_the_scatter():
    home = Household(7, 3500, 0)
    used = home.load_wh(DAY, DAY + timedelta(days=365))
    assert 0.95 * 3_500_000 < used < 1.05 * 3_500_000


def test_roof_yield_of_a_year_is_that_of_a_sunny_place():
    home = Household(7, 3500, 2)
    assert 1100 < home.pv_wh(DAY, DAY + timedelta(days=365)) / 2000 < 1700


def test_nights_are_dark_and_noon_is_not():
    home = Household(3, 3500, 5, utc_offset_h=8)
    assert home.pv_w(DAY + timedelta(hours=18)) == 0  # two in the morning
    assert home.pv_w(DAY + timedelta(hours=4, minutes=30)) > 200
    assert home.load_w(DAY) > 0


def test_same_seed_same_day_and_other_seed_another():
    span = (DAY, DAY + timedelta(hours=5))
    assert Household(5, 3500, 4).net_wh(*span) == Household(5, 3500, 4).net_wh(*span)
    assert Household(5, 3500, 4).net_wh(*span) != Household(6, 3500, 4).net_wh(*span)


def test_neighbours_share_the_sky():
    minutes = [DAY + timedelta(minutes=10 * i) for i in range(60)]
    first, second, elsewhere = (
        [Household(seed, 0, 1, weather_seed=weather).pv_w(at) for at in minutes]
        for seed, weather in ((1, 4), (2, 4), (1, 5))
    )
    assert np.corrcoef(first, second)[0, 1] > np.corrcoef(first, elsewhere)[0, 1]


def test_energy_is_the_exact_sum_of_minutes_across_midnight():
    home = Household(9, 4000, 3)
    start = DAY + timedelta(hours=15, seconds=30)  # half a minute before local 23:01
    end = start + timedelta(hours=2)
    total = (home.load_w(start) / 60 + home.load_w(end) / 60) / 2
    total += sum(home.load_w(start + timedelta(minutes=m)) / 60 for m in range(1, 120))
    assert home.load_wh(start, end) == pytest.approx(total, abs=1e-6)
    assert home.net_wh(start, start) == 0


def test_impossible_homes_and_intervals_are_refused():
    with pytest.raises(ValueError, match="negative"):
        Household(1, -1, 0)
    with pytest.raises(ValueError, match="before it starts"):
        Household(1, 1, 0).net_wh(DAY, DAY - timedelta(seconds=1))


def test_named_homes():
    assert {"family", "flat"} <= set(homes())
    assert homes()["flat"].pv_kwp == 0
