import random
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from light_node.market.slots import Slot
from wallet_app.meter.simulator.household import Household
from wallet_app.strategy.backtest import compare
from wallet_app.strategy.forecast import Forecaster, SlotEnergy

HOUR = 3600
START = datetime(2026, 6, 1, tzinfo=UTC)
LOCAL = timezone(timedelta(hours=8))


def readings(value, start=START, hours=24 * 14, length=HOUR):
    result = []
    for i in range(hours):
        at = start + timedelta(seconds=i * length)
        result.append(SlotEnergy(at, length, value(at)))
    return result


def slot_of(at):
    return Slot(int(at.timestamp()), HOUR)


def test_nothing_known_says_so_with_a_wide_band():
    target = slot_of(START)
    forecast = Forecaster().forecast([], target, START)
    assert (forecast.mean_wh, forecast.quantiles) == (0, {10: -1000, 50: 0, 90: 1000})
    assert "no readings" in forecast.basis


def test_a_prior_serves_the_first_days_and_then_fades():
    def prior(slot):
        return 1000

    target = slot_of(START + timedelta(days=20, hours=5))
    now = target.starts_at - timedelta(hours=1)
    cold = Forecaster(prior=prior).forecast([], target, now)
    assert cold.mean_wh == 1000
    assert "profile" in cold.basis
    few = readings(lambda at: 400, START + timedelta(days=18), hours=24)
    many = readings(lambda at: 400, START, hours=24 * 20)
    one_day = Forecaster(prior=prior).forecast(few, target, now).mean_wh
    three_weeks = Forecaster(prior=prior).forecast(many, target, now).mean_wh
    assert 450 < three_weeks + 50 <= one_day < 1000


def test_a_daily_pattern_is_met_exactly_and_the_future_is_not_looked_at():
    history = readings(lambda at: 100 * at.hour)
    target = slot_of(START + timedelta(days=10, hours=7))
    now = target.starts_at - timedelta(hours=1)
    later_differs = [r if r.start < now else r._replace(net_wh=9999) for r in history]
    forecast = Forecaster().forecast(later_differs, target, now)
    assert forecast.mean_wh == 700
    assert forecast.quantiles == {10: 700, 50: 700, 90: 700}


def test_a_cloudy_morning_lowers_the_next_hours():
    def sun(at):
        return -1000 - 100 * (at.day % 3)

    history = readings(sun)
    target = slot_of(START + timedelta(days=10, hours=12))
    now = target.starts_at - timedelta(hours=1)
    dark = [
        r._replace(net_wh=-200) if now - timedelta(hours=3) <= r.start < now else r for r in history
    ]
    plain = Forecaster().forecast(history, target, now).mean_wh
    assert Forecaster().forecast(dark, target, now).mean_wh > plain + 50


def test_clock_change_days_keep_the_household_pattern():
    zone = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 12, tzinfo=UTC)
    history = readings(lambda at: 100 * at.astimezone(zone).hour, start, hours=24 * 14)
    # 25 October 2026 has 25 hours; its local 18:00 is one UTC hour later than the day before.
    target = slot_of(datetime(2026, 10, 25, 17, tzinfo=UTC))
    now = target.starts_at - timedelta(hours=1)
    assert Forecaster(zone).forecast(history, target, now).mean_wh == 1800
    spring = readings(
        lambda at: 100 * at.astimezone(zone).hour, datetime(2026, 3, 16, tzinfo=UTC), 24 * 14
    )
    target = slot_of(datetime(2026, 3, 29, 16, tzinfo=UTC))  # the 23-hour day
    assert Forecaster(zone).forecast(spring, target, target.starts_at).mean_wh == 1800


def test_other_slot_lengths_and_gaps_are_passed_over():
    history = readings(lambda at: 300)
    odd = [SlotEnergy(START + timedelta(minutes=15 * i), 900, 7777) for i in range(96)]
    target = slot_of(START + timedelta(days=9, hours=3))
    kept = [r for i, r in enumerate(history) if i % 3]
    assert Forecaster().forecast(kept + odd, target, target.starts_at).mean_wh == 300


def test_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        Forecaster().forecast([], slot_of(START), START.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("seed", "roof", "month"), [(1, 6.5, 6), (2, 0.0, 3), (3, 4.0, 10), (4, 6.5, 12)]
)
def test_beats_yesterday_and_last_week_on_the_profiles(seed, roof, month):
    home = Household(seed, 4200.0, roof, weather_seed=1)
    hour = timedelta(hours=1)
    history = readings(
        lambda at: round(home.net_wh(at, at + hour)), datetime(2026, month, 1, tzinfo=UTC), 24 * 28
    )
    start = history[0].start + timedelta(days=21)
    error = compare(history, Forecaster(LOCAL), start)
    assert error.slots == 7 * 24
    assert error.beats_both
    assert error.forecast_wh < 0.9 * min(error.yesterday_wh, error.last_week_wh)


def test_compare_without_a_past_compares_nothing():
    assert compare(readings(lambda at: 1, hours=24), Forecaster(), START).slots == 0


@pytest.mark.parametrize("heavy_tails", [False, True])
def test_the_band_holds_four_times_of_five_whatever_the_noise(heavy_tails):
    """Noise that grows by the hour of the day, normal or with rare large loads (an oven)."""
    state = random.Random(7)

    def value(at):
        scale = 20 + 15 * at.hour
        noise = state.gauss(0, 1)
        if heavy_tails:
            noise = 8.0 if state.random() < 0.05 else 0.3 * noise
        return round(500 + scale * noise)

    history = readings(value, hours=24 * 35)
    error = compare(history, Forecaster(UTC), START + timedelta(days=21))
    assert error.slots == 24 * 14
    assert 720 <= error.inside_permille <= 880 + 60 * heavy_tails


def test_the_band_of_a_short_past_is_widened_until_it_can_be_calibrated():
    state = random.Random(3)
    history = readings(lambda at: round(state.gauss(500, 100)), hours=24 * 5)
    target = slot_of(START + timedelta(days=5, hours=1))
    few = Forecaster(UTC).forecast(history, target, target.starts_at - timedelta(hours=1))
    assert few.quantiles[10] < few.mean_wh < few.quantiles[90]
