"""Live figures: what meter and battery say now, judged, recorded and shown.

The meter is the truth at the grid connection; roof, house and battery come from the inverter where
one tells them. What no source gives stays unknown.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Protocol

import numpy as np

from light_node.clock import Clock, MarketTime
from wallet_app.meter.events import Reading
from wallet_app.meter.plausibility import REGISTERS, Limits, Memory, Verdict, judge, rebase
from wallet_app.meter.recording import ReadingStore
from wallet_app.meter.session import MeterStatus
from wallet_app.meter.words import flag_words
from wallet_app.trading.view import LiveView

_POINTS = 4000
_COUNTERS_KEPT = 1200
_FIRST_FEW = 100
_TELEMETRY = ("roof_w", "house_w", "battery_w", "battery_wh", "roof_wh", "house_wh")


class Inverter(Protocol):
    """What steers the battery and knows the roof; the demo's simulated home is one."""

    def hold_grid(self, energy_wh: int, until: datetime) -> None:
        """Use the battery so that ``energy_wh`` (positive: taken) crosses the grid connection.

        Evenly from now to market time ``until``; what the battery cannot do, the grid does.
        """
        ...


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the inverter says, at one market instant: powers in W, stored energy in Wh.

    ``roof_wh`` and ``house_wh`` are its counters, from whatever start.
    """

    market: datetime
    roof_w: int
    house_w: int
    battery_w: int
    battery_wh: int
    roof_wh: int
    house_wh: int

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "Telemetry | None":
        """Read a telemetry line; None if it is none (a foreign line changes nothing)."""
        try:
            market = datetime.fromisoformat(line["market"])
            numbers = [line[name] for name in _TELEMETRY]
        except (KeyError, TypeError, ValueError):
            return None
        if market.tzinfo is None or not 1970 < market.year < 3000:
            return None
        if not all(type(n) is int and abs(n) < 10**9 for n in numbers):
            return None
        return cls(market, *numbers)


@dataclass(frozen=True, slots=True)
class MeteredEnergy:
    """A slot's energies at the grid connection, from register differences.

    ``register_*`` are the totals at the end, in Wh. ``complete`` is False when a boundary fell
    into a gap; then the split between slots is a guess and the reading says "estimated".
    """

    import_wh: int
    export_wh: int
    register_import_wh: int
    register_export_wh: int
    meter_id: str
    origin: str
    complete: bool

    @property
    def net_wh(self) -> int:
        """Import minus export: positive was taken from the grid."""
        return self.import_wh - self.export_wh


class LiveFeed:
    """Takes readings, meter states and telemetry from their threads; answers views."""

    def __init__(
        self,
        store: ReadingStore,
        market_time: MarketTime,
        clock: Clock,
        *,
        day_start: Callable[[datetime], datetime],
        max_power_w: int,
        battery_capacity_wh: int,
        zone: tzinfo | None = None,
        on_change: Callable[[], None],
        on_problem: Callable[[str], None],
    ) -> None:
        """``day_start`` gives the start of the local day of a market time, for today's sums.

        ``zone`` is where the meter lives, for clocks that name no zone.
        """
        self._store, self._market_time, self._clock = store, market_time, clock
        self._day_start, self._capacity = day_start, battery_capacity_wh
        self._on_change, self._on_problem = on_change, on_problem
        self._limits = Limits(max_power_w=max_power_w, rate=market_time.rate, zone=zone)
        self._memory = Memory.after(store.last_accepted())
        self._lock = threading.Lock()
        self._reading: Reading | None = self._memory.last
        self._status: MeterStatus | None = None
        self._telemetry: Telemetry | None = None
        self._series: deque[tuple[float, int]] = deque(maxlen=_POINTS)
        self._roof_day: tuple[datetime, int] | None = None
        self._counters: deque[tuple[float, int]] = deque(maxlen=_COUNTERS_KEPT)
        self._base: _DayBase | None = None
        self._reset = threading.Event()

    def confirm_reset(self) -> None:
        """Take the next reading as a new start: the user says the meter was reset or exchanged."""
        self._reset.set()

    def take_reading(self, reading: Reading) -> Verdict:
        """Judge, record and show a reading; return the verdict.

        ``RecordingError`` passes: nothing is pretended.
        """
        if self._reset.is_set():
            verdict, memory = rebase(reading, self._memory)
        else:
            verdict, memory = judge(reading, self._memory, self._limits)
        self._store.append(reading, verdict)
        self._memory = memory
        self._reset.clear()
        if not verdict.accepted:
            self._on_problem(", ".join(flag_words(flag) for flag in verdict.flags))
            return verdict
        if "late" in verdict.flags:
            self._on_change()
            return verdict
        market = self._market_time.at(reading.host_time)
        with self._lock:
            self._reading = reading
            if reading.power_w is not None:
                self._series.append((market.timestamp(), int(reading.power_w)))
            self._count_day(market, reading, verdict)
        self._on_change()
        return verdict

    def take_status(self, status: MeterStatus) -> None:
        """Show how the meter session is doing."""
        with self._lock:
            self._status = status
        self._on_change()

    def take_telemetry(self, line: Mapping[str, Any]) -> None:
        """Take a line of the inverter."""
        telemetry = Telemetry.from_json(line)
        if telemetry is None:
            return
        with self._lock:
            self._telemetry = telemetry
            day = self._day_start(telemetry.market)
            if self._roof_day is None or self._roof_day[0] != day:
                self._roof_day = (day, telemetry.roof_wh)
            point = (telemetry.market.timestamp(), telemetry.house_wh - telemetry.roof_wh)
            if self._counters and point[0] <= self._counters[-1][0]:
                self._counters.clear()  # another inverter, or it started anew
            self._counters.append(point)
        self._on_change()

    @property
    def stored_wh(self) -> int | None:
        """What the battery holds, None when nobody says."""
        with self._lock:
            return self._telemetry.battery_wh if self._telemetry else None

    @property
    def meter_id(self) -> str:
        """The number of the meter last read, "" before the first reading."""
        with self._lock:
            return self._reading.meter_id if self._reading else ""

    def energy(self, start: datetime, end: datetime) -> MeteredEnergy | None:
        """Return a slot's energies (market times), None until readings enclose it."""
        meter_id = self.meter_id
        if not meter_id:
            return None
        wall = self._market_time.to_wall(start), self._market_time.to_wall(end)
        # A boundary may be interpolated between readings this far apart, as the market counts.
        gap = max(self._market_time.wall_span((end - start) / 5), timedelta(milliseconds=500))
        found = self._store.energy_between(None, *wall, max_gap=gap)
        if found is None or found.import_wh is None or found.export_wh is None:
            return None
        last = self._store.last_accepted(meter_id)
        if last is None:
            return None
        return MeteredEnergy(
            max(found.import_wh, 0),
            max(found.export_wh, 0),
            _wh(last.import_kwh),
            _wh(last.export_kwh),
            meter_id,
            "simulated" if found.simulated else "meter",
            found.complete,
        )

    def natural_wh(self, start: datetime, end: datetime) -> int | None:
        """Return load minus roof over a slot (market times), without the battery's part.

        From the inverter's counters; None when they do not enclose the slot.
        """
        with self._lock:
            points = list(self._counters)
        if len(points) < 2 or points[0][0] > start.timestamp() or points[-1][0] < end.timestamp():
            return None
        times, counts = zip(*points, strict=True)
        edges = np.interp([start.timestamp(), end.timestamp()], times, counts)
        return round(float(edges[1] - edges[0]))

    def view(self) -> LiveView:
        """Return what the screens show."""
        now = self._clock.now()
        with self._lock:
            reading, status, telemetry = self._reading, self._status, self._telemetry
            grid = int(reading.power_w) if reading and reading.power_w is not None else None
            imported, exported = self._today(reading)
            return LiveView(
                grid_power_w=grid,
                roof_power_w=telemetry.roof_w if telemetry else None,
                house_power_w=telemetry.house_w if telemetry else None,
                battery_power_w=telemetry.battery_w if telemetry else None,
                battery_wh=telemetry.battery_wh if telemetry else None,
                battery_capacity_wh=self._capacity or None,
                today_import_wh=imported,
                today_export_wh=exported,
                today_roof_wh=self._roof_today(telemetry),
                meter_id=reading.meter_id if reading else "",
                meter_port=status.port if status else "",
                meter_state=status.text if status else "",
                meter_age_s=(now - reading.host_time).total_seconds() if reading else None,
            )

    def series(self) -> tuple[tuple[float, int], ...]:
        """Return (POSIX market time, grid W) of today, ascending."""
        start = self._day_start(self._market_time.at(self._clock.now())).timestamp()
        with self._lock:
            return tuple(point for point in self._series if point[0] >= start)

    def _count_day(self, market: datetime, reading: Reading, verdict: Verdict) -> None:
        day, base = self._day_start(market), self._base
        if base is None or (base.day, base.meter_id) != (day, reading.meter_id):
            base = self._day_base(day, reading)
        else:
            # A register that went round through 0 goes on counting from below it.
            imported, exported = (
                start if start is None else start - verdict.rolled_over.get(name, Decimal(0))
                for name, start in zip(REGISTERS, (base.import_kwh, base.export_kwh), strict=True)
            )
            base = replace(base, import_kwh=imported, export_kwh=exported)
        self._base = base

    def _day_base(self, day: datetime, reading: Reading) -> "_DayBase":
        """Return the registers at the start of the day, or at its first reading on record."""
        since = self._market_time.to_wall(day)
        found = self._store.energy_between(reading.meter_id, since, reading.host_time)
        if found is not None and found.import_wh is not None and found.export_wh is not None:
            gone = Decimal(found.import_wh) / 1000, Decimal(found.export_wh) / 1000
            imported, exported = (
                now if now is None else now - part
                for now, part in zip((reading.import_kwh, reading.export_kwh), gone, strict=True)
            )
            return _DayBase(day, reading.meter_id, imported, exported)
        today = self._store.series(reading.meter_id, since, reading.host_time, limit=_FIRST_FEW)
        first = next((r.reading for r in today if r.accepted), reading)
        return _DayBase(day, reading.meter_id, first.import_kwh, first.export_kwh)

    def _today(self, reading: Reading | None) -> tuple[int | None, int | None]:
        base = self._base
        if reading is None or base is None or base.meter_id != reading.meter_id:
            return None, None
        return (
            _gone(base.import_kwh, reading.import_kwh),
            _gone(base.export_kwh, reading.export_kwh),
        )

    def _roof_today(self, telemetry: Telemetry | None) -> int | None:
        if telemetry is None or self._roof_day is None:
            return None
        return telemetry.roof_wh - self._roof_day[1]


@dataclass(frozen=True, slots=True)
class _DayBase:
    """The registers of a meter where the local day began."""

    day: datetime
    meter_id: str
    import_kwh: Decimal | None
    export_kwh: Decimal | None


def _gone(start: Decimal | None, now: Decimal | None) -> int | None:
    return None if start is None or now is None else _wh(now) - _wh(start)


def _wh(kwh: Decimal | None) -> int:
    return int((kwh or Decimal(0)) * 1000)
