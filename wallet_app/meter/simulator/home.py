"""A simulated home behind its meter: load, roof, battery, and the registers at the grid connection.

Time is market time. Powers are constant within a market minute and a battery that fills up or
runs empty splits the minute, so the registers do not depend on how often anybody looks.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from light_node import jsonio
from light_node.i18n import Text
from wallet_app.meter.simulator.household import Household

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class BatterySpec:
    """A battery: room in Wh, largest power in W at its terminals, efficiency of each direction."""

    capacity_wh: float = 10_000.0
    power_w: float = 5_000.0
    efficiency: float = 0.95


@dataclass(frozen=True, slots=True)
class HomeState:
    """Powers in W at one market instant and what the registers say in Wh.

    ``grid_w`` is positive when taken from the grid; ``battery_w`` when the battery charges.
    ``roof_wh`` and ``house_wh`` count from the start, as an inverter's own counters do.
    """

    market: datetime
    roof_w: float
    house_w: float
    battery_w: float
    battery_wh: float
    import_wh: float
    export_wh: float
    voltage_v: float
    roof_wh: float = 0.0
    house_wh: float = 0.0

    @property
    def grid_w(self) -> float:
        """Return the net power at the grid connection."""
        return self.house_w + self.battery_w - self.roof_w

    def to_json(self) -> dict[str, str | int]:
        """Return the telemetry line of ``meter simulate``: whole W and Wh."""
        return {
            "market": self.market.isoformat(),
            "roof_w": round(self.roof_w),
            "house_w": round(self.house_w),
            "battery_w": round(self.battery_w),
            "battery_wh": round(self.battery_wh),
            "grid_w": round(self.grid_w),
            "import_wh": int(self.import_wh),
            "export_wh": int(self.export_wh),
            "roof_wh": int(self.roof_wh),
            "house_wh": int(self.house_wh),
        }


class SimulatedHome:
    """Integrates a home from ``start`` on; every method may be called from any thread."""

    def __init__(
        self,
        household: Household,
        battery: BatterySpec,
        start: datetime,
        *,
        battery_wh: float = 0.0,
        import_wh: float = 0.0,
        export_wh: float = 0.0,
    ) -> None:
        self._household, self._battery = household, battery
        self._now = start
        self._stored_wh = min(max(battery_wh, 0.0), battery.capacity_wh)
        self._import_wh, self._export_wh = import_wh, export_wh
        self._roof_wh = self._house_wh = 0.0
        self._setpoint_w = 0.0
        self._grid_target_w: float | None = None
        self._until: datetime | None = None
        self._lock = threading.Lock()

    def advance(self, market: datetime) -> HomeState:
        """Integrate up to ``market`` (a time already passed changes nothing); return the state."""
        with self._lock:
            while self._now < market:
                self._step(min(market, self._next_edge()))
            return self._state()

    def set_battery_power(self, power_w: float | None) -> None:
        """Charge (positive) or discharge (negative) with ``power_w`` from now on; None: idle."""
        with self._lock:
            self._setpoint_w, self._until = float(power_w or 0.0), None
            self._grid_target_w = None

    def set_battery_energy(self, energy_wh: float, until: datetime) -> None:
        """Spread ``energy_wh`` (positive charges) evenly from now to ``until``, then idle."""
        with self._lock:
            hours = (until - self._now) / _HOUR
            self._setpoint_w = energy_wh / hours if hours > 0 else 0.0
            self._until = until if hours > 0 else None
            self._grid_target_w = None

    def set_grid_energy(self, energy_wh: float, until: datetime) -> None:
        """Steer the battery so that ``energy_wh`` (positive: taken) crosses the connection.

        Evenly from now to ``until``; what the battery cannot give or take, the grid does.
        """
        with self._lock:
            hours = (until - self._now) / _HOUR
            self._grid_target_w = energy_wh / hours if hours > 0 else None
            self._setpoint_w, self._until = 0.0, until if hours > 0 else None

    def command(self, value: Any) -> None:
        """Obey one decoded JSON line of ``meter simulate``; ``JsonError`` if it is none.

        ``{"battery_w": W or null}``, ``{"battery_wh": Wh, "until": market time}``, or
        ``{"grid_wh": Wh, "until": market time}`` (see :meth:`set_grid_energy`).
        """
        fields = jsonio.mapping(value, Text("a battery command"))
        if "battery_w" in fields:
            power = fields["battery_w"]
            self.set_battery_power(None if power is None else _number(fields, "battery_w"))
            return
        steer = self.set_grid_energy if "grid_wh" in fields else self.set_battery_energy
        energy = _number(fields, "grid_wh" if "grid_wh" in fields else "battery_wh")
        text = jsonio.string(fields, "until", max_length=64)
        try:
            until = datetime.fromisoformat(text)
        except ValueError as error:
            raise jsonio.JsonError(
                Text('"until" is no ISO 8601 time: {text}', text=text)
            ) from error
        if until.tzinfo is None:
            raise jsonio.JsonError(Text('"until" needs an offset, like 2026-06-21T10:00Z'))
        steer(energy, until)

    def _next_edge(self) -> datetime:
        edge = self._now.replace(second=0, microsecond=0) + _MINUTE
        return min(edge, self._until) if self._until and self._until > self._now else edge

    def _step(self, end: datetime) -> None:
        """Integrate to ``end``, within one minute of constant load, roof and setpoint."""
        if self._until and self._now >= self._until:
            self._setpoint_w, self._until, self._grid_target_w = 0.0, None, None
        hours = (end - self._now) / _HOUR
        house, roof = self._household.load_w(self._now), self._household.pv_w(self._now)
        rest = house - roof
        power = self._battery_power(rest)
        possible = min(hours, self._hours_left(power))
        self._house_wh += house * hours
        self._roof_wh += roof * hours
        self._count((rest + power) * possible)
        self._count(rest * (hours - possible))
        gain = self._battery.efficiency if power > 0 else 1 / self._battery.efficiency
        stored = self._stored_wh + power * gain * possible
        self._stored_wh = min(max(stored, 0.0), self._battery.capacity_wh)
        self._now = end

    def _count(self, energy_wh: float) -> None:
        if energy_wh > 0:
            self._import_wh += energy_wh
        else:
            self._export_wh -= energy_wh

    def _battery_power(self, rest_w: float) -> float:
        limit = self._battery.power_w
        wished = self._setpoint_w
        if self._grid_target_w is not None:
            wished = self._grid_target_w - rest_w
        power = min(max(wished, -limit), limit)
        # A full battery takes nothing, an empty one gives nothing (to a thousandth of a Wh).
        full = self._stored_wh >= self._battery.capacity_wh - 1e-3
        if (power > 0 and full) or (power < 0 and self._stored_wh <= 1e-3):
            return 0.0
        return power

    def _hours_left(self, power: float) -> float:
        if power > 0:
            room = self._battery.capacity_wh - self._stored_wh
            return room / (power * self._battery.efficiency)
        if power < 0:
            return self._stored_wh * self._battery.efficiency / -power
        return float("inf")

    def _state(self) -> HomeState:
        now = self._now
        running = not (self._until and now >= self._until)
        house, roof = self._household.load_w(now), self._household.pv_w(now)
        power = self._battery_power(house - roof) if running else 0.0
        net = house + power - roof
        # A weak line: feeding in lifts the voltage a little, drawing lowers it.
        voltage = 230.0 - net / 1000
        return HomeState(
            now.astimezone(UTC),
            roof,
            house,
            power,
            self._stored_wh,
            self._import_wh,
            self._export_wh,
            voltage,
            self._roof_wh,
            self._house_wh,
        )


def _number(fields: dict[str, Any], name: str) -> float:
    value = jsonio.required(fields, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
        raise jsonio.JsonError(Text('"{name}" must be a number of at most 1e9', name=name))
    return float(value)
