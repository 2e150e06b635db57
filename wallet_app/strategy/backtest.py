"""How good a forecast was: measured on past readings, beside what anybody would guess.

Each slot is forecast from what was known when its quotes were due, then compared with the reading.
The two baselines are "same as yesterday" and "same slot last week".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from light_node.market.slots import Slot
from wallet_app.strategy.forecast import Forecaster, SlotEnergy

YESTERDAY, LAST_WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ForecastError:
    """Mean absolute errors in Wh per slot over the same slots, and how honest the band was.

    ``inside_permille`` is how often the reading lay between the 10 % and the 90 % quantile (800 is
    right). ``slots`` is how many could be compared: all three guesses and a reading were there.
    """

    slots: int
    forecast_wh: float
    yesterday_wh: float
    last_week_wh: float
    inside_permille: int

    @property
    def beats_both(self) -> bool:
        """Whether the forecast was nearer than both baselines."""
        return self.forecast_wh < min(self.yesterday_wh, self.last_week_wh)


def compare(
    history: Sequence[SlotEnergy],
    forecaster: Forecaster,
    start: datetime,
    *,
    lead: timedelta | None = None,
) -> ForecastError:
    """Measure ``forecaster`` on the readings from ``start`` on, with readings before it as past.

    ``history`` is ascending by start. ``lead`` is how long before the slot the quote is due, by
    default one slot length. Slots without a reading a day and a week before are passed over.
    """
    known = {reading.start: reading.net_wh for reading in history}
    missed: list[tuple[int, int, int]] = []
    inside = 0
    for index, reading in enumerate(history):
        yesterday = known.get(reading.start - YESTERDAY)
        last_week = known.get(reading.start - LAST_WEEK)
        if reading.start < start or yesterday is None or last_week is None:
            continue
        now = reading.start - (lead or timedelta(seconds=reading.length_s))
        slot = Slot(int(reading.start.timestamp()), reading.length_s)
        forecast = forecaster.forecast(history[:index], slot, now)
        inside += forecast.quantiles[10] <= reading.net_wh <= forecast.quantiles[90]
        guesses = (forecast.mean_wh, yesterday, last_week)
        missed.append(tuple(abs(guess - reading.net_wh) for guess in guesses))  # type: ignore[arg-type]
    count = len(missed)
    if not count:
        return ForecastError(0, 0.0, 0.0, 0.0, 0)
    own, day, week = (sum(column) / count for column in zip(*missed, strict=True))
    return ForecastError(count, own, day, week, 1000 * inside // count)
