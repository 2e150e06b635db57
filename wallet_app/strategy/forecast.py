"""Forecast of a slot's net energy (load minus generation) from the meter's own history.

The method is small on purpose, because a household's own meter has weeks, not years, behind it:

1. *Pattern*: past days at the same local time of day, weighted by age and by kind of day (working
   day or weekend).
2. *Today*: how far the last hours ran above or below their own pattern, in standard deviations,
   carried over to the target and fading with the lead time. Clouds and guests last for hours.
3. *Band*: the quantiles of what this very method missed by on past days around the same time of
   day, in standard deviations, each day judged from the days before it only (split conformal
   prediction, with recent days counting more). Before there are enough such days, the past
   values' own quantiles, widened.
4. *Cold start*: a prior (a standard profile, say) counts as a few days' readings, so its part
   shrinks as readings come in; without any, the answer is zero with a wide band, and says so.

Energies in Wh per slot, positive = to buy. Floats live only in here; results are integers.
Measured against "same as yesterday" and "same slot last week" by
:func:`wallet_app.strategy.backtest.compare`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from light_node.market.slots import Slot

QUANTILES = (10, 50, 90)
_DAY_S = 86_400
_BLIND_W = 1000  # half-width of the band when nothing at all is known: one kilowatt

Prior = Callable[[Slot], int]
"""Expected net energy (Wh) of a slot from general knowledge, such as a standard profile."""


class SlotEnergy(NamedTuple):
    """What the meter measured in a past slot: aware start, length, load minus generation in Wh."""

    start: datetime
    length_s: int
    net_wh: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected net energy of a slot in Wh, its quantiles by percent, and what it rests on."""

    mean_wh: int
    quantiles: dict[int, int]
    basis: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the method weighs; the defaults did best on the profiles in ``resources/``."""

    window_days: int = 60  # older readings are not looked at
    half_life_days: float = 20.0
    other_kind_weight: float = 0.35  # of a working day for a weekend day and the other way round
    prior_days: float = 1.5  # days of readings that the prior is worth
    memory_s: int = 2 * 3600 + 1  # how much of today tells about now
    carry: float = 0.75  # part of today's deviation expected to last into the next slot
    fade_s: int = 5 * 3600  # lead time after which that part is down to 1/e
    widen: float = 1.5  # of the band while it cannot be calibrated: what a short past has not seen
    band_s: int = 2 * 3600  # how far around the time of day past errors are looked at
    band_days: int = 7  # days that must lie before a day for its error to count
    band_errors: int = 40  # errors needed before the band rests on them


DEFAULTS = Settings()


class Forecaster:
    """Forecasts for one household.

    ``zone`` is where people get up: days, weekends and times of day are local, so that a clock
    change moves the pattern with the household. ``prior`` serves the first days.
    """

    def __init__(
        self, zone: tzinfo = UTC, prior: Prior | None = None, settings: Settings = DEFAULTS
    ) -> None:
        self._zone, self._prior, self._settings = zone, prior, settings

    def forecast(self, history: Sequence[SlotEnergy], target: Slot, now: datetime) -> Forecast:
        """Return the forecast of ``target`` from what is known at ``now`` (aware).

        Readings of other slot lengths, unfinished ones and ones older than the window are passed
        over; gaps and clock-change days are fine. ``ValueError`` for a time without a zone.
        """
        if now.tzinfo is None:
            raise ValueError("a forecast needs the present time with its zone")
        days = self._days(history, target, now)
        prior = None if self._prior is None else self._prior(target)
        if days is None:
            return _cold(prior, target)
        pattern = days.pattern(days.column_of(target), prior, self._settings)
        if pattern is None:
            return _cold(prior, target)
        shift, part = self._today(days, target, now)
        mean = pattern.mean + shift * pattern.spread
        errors = days.errors(days.column_of(target), target.starts_at - now, part, self._settings)
        quantiles = {
            q: round(mean + self._deviation(pattern, errors, part if shift else 0.0, q / 100))
            for q in QUANTILES
        }
        basis = f"{days.count} past days" if days.count > 1 else "one past day"
        if prior is not None and days.count < 7:
            basis += " and a standard profile"
        return Forecast(round(mean), quantiles, basis)

    def _deviation(
        self, pattern: "_Pattern", errors: "_Weighted", part: float, share: float
    ) -> float:
        """Return how far the ``share`` quantile lies from the mean, in Wh."""
        if len(errors.values) >= self._settings.band_errors and pattern.spread > 0:
            return pattern.spread * _quantile(errors, share)
        narrow = self._settings.widen * float(np.sqrt(1 - part * part))
        return narrow * (
            _quantile(_Weighted(pattern.values, pattern.weights), share) - pattern.mean
        )

    def _days(self, history: Sequence[SlotEnergy], target: Slot, now: datetime) -> "_Days | None":
        oldest = now - timedelta(days=self._settings.window_days)
        length = timedelta(seconds=target.length_s)
        usable = [
            (reading.start.astimezone(self._zone), reading.net_wh)
            for reading in history
            if reading.length_s == target.length_s
            and oldest <= reading.start
            and reading.start + length <= now
        ]
        return _Days(usable, target, self._zone) if usable else None

    def _today(self, days: "_Days", target: Slot, now: datetime) -> tuple[float, float]:
        """Return how many deviations to shift the target, and the part of today's it is."""
        settings = self._settings
        lead = max((target.starts_at - now).total_seconds(), 0.0)
        part = settings.carry * float(np.exp(-lead / settings.fade_s))
        recent = days.recent(now, self._prior, settings)
        return (part * float(np.mean(recent)) if recent else 0.0), part


class _Weighted(NamedTuple):
    values: NDArray[np.float64]
    weights: NDArray[np.float64]


class _Pattern(NamedTuple):
    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    mean: float
    spread: float


class _Days:
    """The history as a table: a row per local day, a column per slot of the day; NaN: none."""

    def __init__(
        self, readings: Sequence[tuple[datetime, int]], target: Slot, zone: tzinfo
    ) -> None:
        self._zone, self._length = zone, target.length_s
        self._today = target.starts_at.astimezone(zone).date().toordinal()
        rows = [start.date().toordinal() for start, _ in readings]
        self._first = min(rows)
        columns = -(-_DAY_S // self._length)
        height = max(self._today, *rows) - self._first + 1
        self._table = np.full((height, columns), np.nan)
        for row, (start, net) in zip(rows, readings, strict=True):
            # The hour that a clock change repeats lands on the same place: the later one stays.
            self._table[row - self._first, self._column(start)] = net
        self._kinds = np.array([_weekend(self._first + row) for row in range(height)])
        self._readings = readings
        self.count = len(set(rows))

    def column_of(self, slot: Slot) -> int:
        return self._column(slot.starts_at.astimezone(self._zone))

    def pattern(
        self, column: int, prior: int | None, settings: Settings, *, before: int | None = None
    ) -> _Pattern | None:
        """Return the weighted past of one time of day, rows before day ``before`` only."""
        today = self._today if before is None else before
        height = today - self._first
        values = self._table[:height, column]
        ages = today - self._first - np.arange(len(values))
        weights = np.exp2(-ages / settings.half_life_days)
        kind = _weekend(today)
        weights = weights * np.where(self._kinds[:height] == kind, 1, settings.other_kind_weight)
        if prior is None and before is None and bool(np.isnan(values).all()):
            # Nothing at this time of day: the household's other hours are better than nothing.
            table = self._table[: height + 1]
            weights = np.repeat(np.append(weights, 1.0)[: len(table)], table.shape[1])
            values = table.ravel()
        known = ~np.isnan(values)
        values, weights = values[known], weights[known]
        if prior is not None:
            # The prior with a band around it, as if it had been measured.
            values = np.append(values, [0.5 * prior, prior, 1.5 * prior])
            weights = np.append(weights, [settings.prior_days / 3] * 3)
        if not len(values):
            return None
        mean = float(np.average(values, weights=weights))
        spread = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
        return _Pattern(values, weights, mean, spread)

    def recent(self, now: datetime, prior: Prior | None, settings: Settings) -> list[float]:
        """Return by how many deviations the last hours' readings missed their own patterns."""
        since = now - timedelta(seconds=settings.memory_s)
        missed = []
        for start, net in self._readings:
            if start < since:
                continue
            day = start.date().toordinal()
            known = prior and prior(Slot(int(start.timestamp()), self._length))
            pattern = self.pattern(self._column(start), known, settings, before=day)
            if pattern is not None and len(pattern.values) > 1 and pattern.spread > 0:
                missed.append(float(np.clip((net - pattern.mean) / pattern.spread, -3, 3)))
        return missed

    def errors(self, column: int, lead: timedelta, part: float, settings: Settings) -> _Weighted:
        """Return what the method missed by on past days around ``column``, in deviations.

        Every reading is judged from the days before its own, with the same look at its own day's
        last hours as the forecast takes (``part`` of their deviation, ``lead`` before).
        """
        deviations = self._deviations(settings)
        flat = np.clip(deviations.ravel(), -3, 3)
        first = -(-int(lead.total_seconds()) // self._length)
        count = max(settings.memory_s // self._length, 1)
        seen = np.zeros((2, len(flat)))  # sum and number of the deviations already measured then
        for back in range(first + 1, first + 1 + count):
            known = ~np.isnan(flat[:-back])
            seen[0, back:] += np.where(known, flat[:-back], 0.0)
            seen[1, back:] += known
        carried = np.divide(part * seen[0], seen[1], out=np.zeros(len(flat)), where=seen[1] > 0)
        missed = deviations - carried.reshape(deviations.shape)
        width = max(settings.band_s // self._length, 1)
        columns = np.arange(column - width, column + width + 1) % missed.shape[1]
        near = missed[:, np.unique(columns)]
        ages = self._today - self._first - np.arange(len(near))
        weights = np.repeat(np.exp2(-ages / settings.half_life_days), near.shape[1])
        values = near.ravel()
        good = ~np.isnan(values)
        return _Weighted(values[good], weights[good])

    def _deviations(self, settings: Settings) -> NDArray[np.float64]:
        """Return how far each reading lies from the pattern of the days before; NaN: unknown."""
        height = len(self._table)
        ages = np.arange(height)[:, None] - np.arange(height)[None, :]
        weights = np.where(ages > 0, np.exp2(-ages / settings.half_life_days), 0.0)
        weights *= np.where(self._kinds[:, None] == self._kinds, 1, settings.other_kind_weight)
        known = ~np.isnan(self._table)
        values = np.where(known, self._table, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = weights @ known
            mean = weights @ values / total
            spread = np.sqrt(np.maximum(weights @ values**2 / total - mean**2, 0.0))
            deviations = (self._table - mean) / spread
        enough = (np.tri(height, k=-1) @ known >= settings.band_days) & (spread > 0)
        return np.where(enough, deviations, np.nan)

    def _column(self, local: datetime) -> int:
        return (local.hour * 3600 + local.minute * 60) // self._length


def _weekend(ordinal: int) -> bool:
    return (ordinal - 1) % 7 >= 5  # ordinal 1 was a Monday


def _quantile(sample: _Weighted, share: float) -> float:
    order = np.argsort(sample.values)
    values, weights = sample.values[order], sample.weights[order]
    middle = (np.cumsum(weights) - weights / 2) / weights.sum()
    return float(np.interp(share, middle, values))


def _cold(prior: int | None, target: Slot) -> Forecast:
    mean = prior or 0
    band = abs(mean) // 2 if prior is not None else _BLIND_W * target.length_s // 3600
    quantiles = {10: mean - band, 50: mean, 90: mean + band}
    basis = "a standard profile, no readings yet" if prior is not None else "no readings yet"
    return Forecast(mean, quantiles, basis)
