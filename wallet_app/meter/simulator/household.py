"""A household's load and roof, minute by minute, from the curves in ``resources/profiles``.

Deterministic: the same seeds give the same minutes in every process. Powers are constant within a
minute, so energies are exact sums. Neighbours share a sky through ``weather_seed``.
"""

import csv
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray

from light_node import jsonio
from resources import resource

MINUTES = 1440
_KEPT_DAYS = 32
_MONTH_MIDDLES = (15, 46, 75, 105, 136, 166, 197, 228, 258, 289, 319, 350)
_BLOCK_SHARE = 0.4  # of a day's energy, used by appliances that are switched on and off
_BLOCK_W, _BLOCK_MIN = (700.0, 2200.0), (4, 30)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HomeSpec:
    """A home: energy a year, roof, battery."""

    annual_load_kwh: float = 4200.0
    pv_kwp: float = 6.5
    battery_kwh: float = 10.0
    battery_kw: float = 5.0


class Household:
    """Load and roof of one home at any market time (aware datetimes).

    ``seed`` scatters the load, ``weather_seed`` the clouds; ``utc_offset_h`` is the home's clock.
    """

    def __init__(
        self,
        seed: int,
        annual_load_kwh: float,
        pv_kwp: float,
        *,
        weather_seed: int = 0,
        utc_offset_h: float = 8.0,
    ) -> None:
        if annual_load_kwh < 0 or pv_kwp < 0:
            raise ValueError("energy and roof of a household cannot be negative")
        self._seed, self._weather_seed = seed, weather_seed
        self._annual_load_kwh, self._pv_kwp = annual_load_kwh, pv_kwp
        self._offset = timedelta(hours=utc_offset_h)
        # Nobody lives exactly by the average clock.
        self._shift = int(np.random.default_rng(seed).integers(-40, 41))
        self._days: dict[date, tuple[Array, Array, Array, Array]] = {}

    def load_w(self, market_time: datetime) -> float:
        """Return the power used in the house in W."""
        day, minute = self._local(market_time)
        return float(self._day(day)[0][int(minute)])

    def pv_w(self, market_time: datetime) -> float:
        """Return the power of the roof in W."""
        day, minute = self._local(market_time)
        return float(self._day(day)[1][int(minute)])

    def load_wh(self, start: datetime, end: datetime) -> float:
        """Return the energy used between two instants in Wh."""
        return self._integral(start, end, 2)

    def pv_wh(self, start: datetime, end: datetime) -> float:
        """Return the energy of the roof between two instants in Wh."""
        return self._integral(start, end, 3)

    def net_wh(self, start: datetime, end: datetime) -> float:
        """Return load less roof in Wh: positive is a deficit, negative a surplus."""
        return self.load_wh(start, end) - self.pv_wh(start, end)

    def _local(self, market_time: datetime) -> tuple[date, float]:
        local = market_time.astimezone(UTC) + self._offset
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        return local.date(), (local - midnight) / timedelta(minutes=1)

    def _integral(self, start: datetime, end: datetime, column: int) -> float:
        if end < start:
            raise ValueError("an interval cannot end before it starts")
        first, from_minute = self._local(start)
        last, to_minute = self._local(end)
        total = 0.0
        day = first
        while day <= last:
            sums = self._day(day)[column]
            begin = from_minute if day == first else 0.0
            until = to_minute if day == last else float(MINUTES)
            total += _at(sums, until) - _at(sums, begin)
            day += timedelta(days=1)
        return total

    def _day(self, day: date) -> tuple[Array, Array, Array, Array]:
        """Return minute powers of load and roof, and their running sums in Wh (1441 values)."""
        found = self._days.get(day)
        if found is None:
            load, roof = self._load(day), self._roof(day)
            found = (load, roof, _running(load), _running(roof))
            if len(self._days) >= _KEPT_DAYS:
                del self._days[next(iter(self._days))]
            self._days[day] = found
        return found

    def _load(self, day: date) -> Array:
        random = np.random.default_rng((self._seed, day.toordinal(), 1))
        column = 3 * (day.month - 1) + {5: 1, 6: 2}.get(day.weekday(), 0)
        curve = _minutes(_load_curves()[:, column])
        curve = np.roll(curve, self._shift) * (self._annual_load_kwh / 1000)
        curve = curve * _dynamisation(day.timetuple().tm_yday)
        smooth = curve * (1 - _BLOCK_SHARE) * np.exp(_autoregressive(random, 30, 0.12))
        return smooth + _blocks(random, curve)

    def _roof(self, day: date) -> Array:
        number = day.timetuple().tm_yday
        clear = _minutes(_pv_curve(number)) * self._pv_kwp
        sky = np.random.default_rng((self._weather_seed, day.toordinal(), 2))
        kind = sky.choice(3, p=(0.45, 0.35, 0.20))  # fine, mixed, overcast
        mean, scatter = ((0.95, 0.03), (0.70, 0.22), (0.28, 0.10))[int(kind)]
        clouds = mean + scatter * _autoregressive(sky, 20, 1.0)
        own = np.random.default_rng((self._seed, day.toordinal(), 3))
        clouds = clouds + 0.3 * scatter * _autoregressive(own, 8, 1.0)
        return np.asarray(clear * np.clip(clouds, 0.05, 1.05))


def homes() -> dict[str, HomeSpec]:
    """Return the named homes of ``resources/profiles/homes.json``."""
    value = json.loads(resource("profiles", "homes.json").read_text(encoding="utf-8"))
    named = jsonio.mapping(value, "homes.json")
    return {name: HomeSpec(**fields) for name, fields in named.items()}


def _blocks(random: np.random.Generator, curve: Array) -> Array:
    """Return appliances switched on and off: on average their share of the curve's energy."""
    mean_block = sum(_BLOCK_W) / 2 * (sum(_BLOCK_MIN) / 2)  # W·min
    total = float(curve.sum())
    result = np.zeros(MINUTES)
    if total <= 0:
        return result
    count = int(random.poisson(_BLOCK_SHARE * total / mean_block))
    starts = random.choice(MINUTES, size=count, p=curve / total)
    powers = random.uniform(*_BLOCK_W, size=count)
    lengths = random.integers(_BLOCK_MIN[0], _BLOCK_MIN[1] + 1, size=count)
    for start, power, length in zip(starts, powers, lengths, strict=True):
        result[(start + np.arange(length)) % MINUTES] += power
    return result


def _autoregressive(random: np.random.Generator, minutes: int, scatter: float) -> Array:
    """Return a stationary AR(1) process with the given memory and standard deviation."""
    keep = float(np.exp(-1 / minutes))
    steps = random.standard_normal(MINUTES) * np.sqrt(1 - keep**2)
    value = float(random.standard_normal())
    result = np.empty(MINUTES)
    for index, step in enumerate(steps):
        value = keep * value + float(step)
        result[index] = value
    return result * scatter


def _dynamisation(day: int) -> float:
    """Return the profile's factor for the day of the year (see make_profiles.py)."""
    return ((-3.92e-10 * day + 3.20e-7) * day - 7.02e-5) * day**2 + 2.10e-3 * day + 1.24


def _minutes(quarters: Array) -> Array:
    """Return quarter-hour powers as minute powers, linear between the middles of the quarters."""
    middles = np.arange(-1, 97) * 15 + 7.5
    around = np.concatenate((quarters[-1:], quarters, quarters[:1]))
    return np.asarray(np.interp(np.arange(MINUTES) + 0.5, middles, around), dtype=np.float64)


def _running(powers: Array) -> Array:
    return np.concatenate(((0.0,), np.cumsum(powers) / 60))


def _at(sums: Array, minute: float) -> float:
    index = min(int(minute), MINUTES - 1)
    part = minute - index
    return float(sums[index] + (sums[index + 1] - sums[index]) * part)


def _pv_curve(day: int) -> Array:
    curves = _pv_curves()
    middles = (_MONTH_MIDDLES[-1] - 365, *_MONTH_MIDDLES, _MONTH_MIDDLES[0] + 365)
    upper = next(i for i, middle in enumerate(middles) if day < middle)
    weight = (day - middles[upper - 1]) / (middles[upper] - middles[upper - 1])
    before, after = curves[:, (upper - 2) % 12], curves[:, (upper - 1) % 12]
    return np.asarray(before * (1 - weight) + after * weight)


@cache
def _load_curves() -> Array:
    return _table("household_load.csv")


@cache
def _pv_curves() -> Array:
    return _table("pv_clear_sky_taiyuan.csv")


def _table(name: str) -> Array:
    text = resource("profiles", name).read_text(encoding="ascii")
    rows = list(csv.reader(text.splitlines()))[1:]
    return np.array([[float(cell) for cell in row[1:]] for row in rows])
