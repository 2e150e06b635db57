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
from typing import Any

import numpy as np

from light_node.clock import Clock, MarketTime
from wallet_app.i18n import tr
from wallet_app.meter.events import Reading
from wallet_app.meter.plausibility import REGISTERS, Limits, Memory, Verdict, judge, rebase
from wallet_app.meter.recording import IntervalEnergy, ReadingStore
from wallet_app.meter.roles import COUNTED, Role, total
from wallet_app.meter.session import MeterStatus
from wallet_app.meter.words import flag_words
from wallet_app.trading.telemetry import Telemetry
from wallet_app.trading.view import LiveView

_POINTS = 4000
_COUNTERS_KEPT = 1200
_FIRST_FEW = 100
_LATELY = timedelta(minutes=2)


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
        # By meter where each has a role; one for all, under "", where one follows the other.
        self._memories = {"": Memory.after(store.last_accepted())}
        self._roles: Mapping[str, Role] | None = None
        self._unassigned: set[str] = set()
        self._lock = threading.Lock()
        self._reading: Reading | None = self._memories[""].last
        self._newest: dict[str, Reading] = {}
        self._lacking: set[tuple[str, str]] = set()  # registers that a meter has not at all
        self._status: MeterStatus | None = None
        self._telemetry: Telemetry | None = None
        self._series: deque[tuple[float, int]] = deque(maxlen=_POINTS)
        self._roof_day: tuple[datetime, int] | None = None
        self._counters: deque[tuple[float, int]] = deque(maxlen=_COUNTERS_KEPT)
        self._bases: dict[str, _DayBase] = {}
        self._resets: set[str] = set()
        self._judging = threading.Lock()  # readings come from a thread for each line

    def confirm_reset(self, meter: str = "") -> None:
        """Take the next reading as a new start: the user says the meter was reset or exchanged.

        ``meter`` says which of several.
        """
        with self._lock:
            self._resets.add("" if self._roles is None else meter)

    def use_roles(self, roles: Mapping[str, Role] | None) -> None:
        """Take what each of several meters is for, by number; None where there is only one.

        Of several, only those with a role at the grid connection count for trading.
        """
        with self._lock:
            self._roles = roles
            self._unassigned.clear()
            self._lacking.clear()
            if roles is None:
                self._newest.clear()

    def take_reading(self, reading: Reading) -> Verdict:
        """Judge, record and show a reading; return the verdict.

        ``RecordingError`` passes: nothing is pretended.
        """
        with self._judging:
            return self._take_reading(reading)

    def _take_reading(self, reading: Reading) -> Verdict:
        which = "" if self._roles is None else reading.meter_id
        memory = self._memories.get(which) or Memory.after(self._store.last_accepted(which))
        if which in self._resets:
            verdict, memory = rebase(reading, memory)
        else:
            verdict, memory = judge(reading, memory, self._limits)
        self._store.append(reading, verdict)
        self._memories[which] = memory
        with self._lock:
            self._resets.discard(which)
        if which and which not in (self._roles or {}) and which not in self._unassigned:
            self._unassigned.add(which)
            self._on_problem(
                tr("the meter {number} has no role: choose one on the Meters page", number=which)
            )
        if not verdict.accepted:
            self._on_problem(", ".join(flag_words(flag) for flag in verdict.flags))
            return verdict
        if "late" in verdict.flags:
            self._on_change()
            return verdict
        market = self._market_time.at(reading.host_time)
        lacking = {(which, name) for name in REGISTERS if which and self._store.lacks(which, name)}
        with self._lock:
            self._newest[reading.meter_id] = reading
            self._lacking = {pair for pair in self._lacking if pair[0] != which} | lacking
            if self._roles is None:
                self._reading = reading
            counted = self._counted()
            if reading.meter_id in counted:
                power = self._power(counted, reading.host_time)
                if power is not None:
                    self._series.append((market.timestamp(), power))
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
        """The number of the meter last read, "" before the first reading.

        Where several count, the numbers of all of them.
        """
        with self._lock:
            return " + ".join(self._counted())

    def energy(self, start: datetime, end: datetime) -> MeteredEnergy | None:
        """Return a slot's energies (market times), None until readings enclose it.

        Of several meters at the grid connection each must have been read around both ends: what
        one of them did not measure is not known, and nothing is put in its place.
        """
        with self._lock:
            counted, roles = self._counted(), self._roles
        if not counted:
            return None
        wall = self._market_time.to_wall(start), self._market_time.to_wall(end)
        # A boundary may be interpolated between readings this far apart, as the market counts.
        gap = max(self._market_time.wall_span((end - start) / 5), timedelta(milliseconds=500))
        parts: dict[str, IntervalEnergy] = {}
        for meter in counted:
            # The only meter of a connection may be exchanged: what each counted is added up then.
            part = self._store.energy_between(
                meter if roles is not None else None, *wall, max_gap=gap
            )
            if part is None:
                return None
            parts[meter] = part
        energies = self._totals(counted, {m: (p.import_wh, p.export_wh) for m, p in parts.items()})
        registers = self._totals(counted, {meter: self._registers(meter) for meter in counted})
        if energies[0] is None or energies[1] is None:
            return None
        return MeteredEnergy(
            max(energies[0], 0),
            max(energies[1], 0),
            registers[0] or 0,
            registers[1] or 0,
            " + ".join(counted),
            "simulated" if any(part.simulated for part in parts.values()) else "meter",
            all(part.complete for part in parts.values()),
        )

    def _registers(self, meter: str) -> tuple[int | None, int | None]:
        """Return the last accepted value of each register in Wh, whichever reading had it."""
        which = "" if self._roles is None else meter
        memory = self._memories.get(which) or Memory.after(self._store.last_accepted(meter))
        imported, exported = (memory.registers.get(name) for name in REGISTERS)
        return _known_wh(imported), _known_wh(exported)

    def _counted(self) -> dict[str, Role]:
        """Return the meters whose energy is traded, and how each counts."""
        if self._roles is None:
            return {self._reading.meter_id: Role.GRID} if self._reading else {}
        return {m: self._roles[m] for m in sorted(self._roles) if self._roles[m] in COUNTED}

    def _totals(
        self, counted: Mapping[str, Role], pairs: Mapping[str, tuple[int | None, int | None]]
    ) -> tuple[int | None, int | None]:
        """Return import and export of all meters, added up; None where one is not known."""
        sums: list[int | None] = []
        for direction in (0, 1):
            parts: dict[str, int | None] = {}
            lacking = set()
            for meter, role in counted.items():
                index = direction if role is Role.GRID else 1 - direction
                parts[meter] = pairs[meter][index]
                if (meter, REGISTERS[index]) in self._lacking:
                    lacking.add(meter)
            sums.append(total(parts, frozenset(lacking)))
        return sums[0], sums[1]

    def _power(self, meters: Mapping[str, Role], now: datetime) -> int | None:
        """Return the net power of ``meters``; None unless each said it lately."""
        powers = []
        for meter, role in meters.items():
            reading = self._newest.get(meter)
            if reading is None or reading.power_w is None or now - reading.host_time > _LATELY:
                return None
            powers.append(int(reading.power_w) if role is Role.GRID else -int(reading.power_w))
        return sum(powers) if powers else None

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
            counted = self._counted()
            if self._roles is None:
                grid = int(reading.power_w) if reading and reading.power_w is not None else None
                oldest = reading
            else:
                grid = self._power(counted, now)
                oldest = self._oldest(counted)
            roof, house = self._measured_roof(grid, now)
            imported, exported = self._today(counted)
            return LiveView(
                grid_power_w=grid,
                roof_power_w=telemetry.roof_w if telemetry else roof,
                house_power_w=telemetry.house_w if telemetry else house,
                battery_power_w=telemetry.battery_w if telemetry else None,
                battery_wh=telemetry.battery_wh if telemetry else None,
                battery_capacity_wh=self._capacity or None,
                today_import_wh=imported,
                today_export_wh=exported,
                today_roof_wh=self._roof_today(telemetry),
                meter_id=" + ".join(counted),
                meter_port=status.port if status else "",
                meter_state=status.text if status else "",
                meter_age_s=(now - oldest.host_time).total_seconds() if oldest else None,
            )

    def _oldest(self, meters: Mapping[str, Role]) -> Reading | None:
        """Return the oldest of the newest readings of ``meters``; None if one was not read yet."""
        read = [self._newest[meter] for meter in meters if meter in self._newest]
        if not read or len(read) < len(meters):
            return None
        return min(read, key=lambda reading: reading.host_time)

    def _measured_roof(self, grid: int | None, now: datetime) -> tuple[int | None, int | None]:
        """Return what the generation meters say the roof gives, and what the house then takes.

        Whichever way such a meter is wired: a roof takes next to nothing.
        """
        roles = self._roles or {}
        roofs = {m: Role.GRID for m, role in roles.items() if role is Role.GENERATION}
        powers = [self._power({meter: Role.GRID}, now) for meter in roofs]
        known = [abs(power) for power in powers if power is not None]
        if not known or None in powers:
            return None, None
        return sum(known), None if grid is None else max(grid + sum(known), 0)

    def series(self) -> tuple[tuple[float, int], ...]:
        """Return (POSIX market time, grid W) of today, ascending."""
        start = self._day_start(self._market_time.at(self._clock.now())).timestamp()
        with self._lock:
            return tuple(point for point in self._series if point[0] >= start)

    def _count_day(self, market: datetime, reading: Reading, verdict: Verdict) -> None:
        day, base = self._day_start(market), self._bases.get(reading.meter_id)
        if base is None or base.day != day:
            base = self._day_base(day, reading)
        else:
            # A register that went round through 0 goes on counting from below it.
            imported, exported = (
                start if start is None else start - verdict.rolled_over.get(name, Decimal(0))
                for name, start in zip(REGISTERS, (base.import_kwh, base.export_kwh), strict=True)
            )
            base = replace(base, import_kwh=imported, export_kwh=exported)
        if self._roles is None:
            self._bases.clear()
        self._bases[reading.meter_id] = base

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
            return _DayBase(day, imported, exported)
        today = self._store.series(reading.meter_id, since, reading.host_time, limit=_FIRST_FEW)
        first = next((r.reading for r in today if r.accepted), reading)
        return _DayBase(day, first.import_kwh, first.export_kwh)

    def _today(self, counted: Mapping[str, Role]) -> tuple[int | None, int | None]:
        gone: dict[str, tuple[int | None, int | None]] = {}
        for meter in counted:
            base, now = self._bases.get(meter), self._newest.get(meter)
            if base is None or now is None:
                return None, None
            imported = _gone(base.import_kwh, now.import_kwh)
            gone[meter] = imported, _gone(base.export_kwh, now.export_kwh)
        return self._totals(counted, gone) if gone else (None, None)

    def _roof_today(self, telemetry: Telemetry | None) -> int | None:
        if telemetry is None or self._roof_day is None:
            return None
        return telemetry.roof_wh - self._roof_day[1]


@dataclass(frozen=True, slots=True)
class _DayBase:
    """The registers of a meter where the local day began."""

    day: datetime
    import_kwh: Decimal | None
    export_kwh: Decimal | None


def _gone(start: Decimal | None, now: Decimal | None) -> int | None:
    return None if start is None or now is None else _wh(now) - _wh(start)


def _wh(kwh: Decimal) -> int:
    return int(kwh * 1000)


def _known_wh(register: tuple[Decimal, Reading] | None) -> int | None:
    return None if register is None else _wh(register[0])
