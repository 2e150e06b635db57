"""Forecast errors on the profiles in ``resources/``, beside what anybody would guess.

To reach: nearer than "same as yesterday" and "same slot last week" for every household. Each slot
is forecast one slot ahead with three weeks of readings before it; mean absolute errors in Wh.
"""

import time
from datetime import UTC, datetime, timedelta, timezone

from wallet_app.meter.simulator.household import Household
from wallet_app.strategy.backtest import compare
from wallet_app.strategy.forecast import Forecaster, SlotEnergy

HOMES = (  # seed, roof in kWp, month
    (1, 6.5, 6),
    (2, 0.0, 3),
    (3, 4.0, 10),
    (4, 6.5, 12),
    (5, 10.0, 4),
    (6, 3.0, 8),
)
ZONE = timezone(timedelta(hours=8))


def run() -> None:
    head = ("roof kWp", "month", "slot", "forecast", "yesterday", "last week", "ratio", "in band")
    print("".join(f"{name:>11}" for name in head))
    begin, count = time.perf_counter(), 0
    for length in (3600, 900):
        for seed, roof, month in HOMES:
            history = _readings(seed, roof, month, length)
            start = history[0].start + timedelta(days=21)
            error = compare(history, Forecaster(ZONE), start)
            count += error.slots
            ratio = error.forecast_wh / min(error.yesterday_wh, error.last_week_wh)
            print(
                f"{roof:>11}{month:>11}{length // 60:>7} min{error.forecast_wh:>11.0f}"
                f"{error.yesterday_wh:>11.0f}{error.last_week_wh:>11.0f}{ratio:>11.2f}"
                f"{error.inside_permille / 10:>9.0f} %"
            )
    took = (time.perf_counter() - begin) / count * 1e3
    print(f"\n{count:,} forecasts, {took:.2f} ms each (three weeks of readings)")


def _readings(seed: int, roof: float, month: int, length: int) -> list[SlotEnergy]:
    home = Household(seed, 4200.0, roof, weather_seed=1)
    start, step = datetime(2026, month, 1, tzinfo=UTC), timedelta(seconds=length)
    slots = (start + i * step for i in range(28 * 86_400 // length))
    return [SlotEnergy(at, length, round(home.net_wh(at, at + step))) for at in slots]
