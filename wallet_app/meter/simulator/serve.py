"""Runs a simulated home with its meter on a pseudo-terminal: ``meter simulate``.

Standard output: first ``{"port", "address", "origin"}``, then telemetry lines about four times a
second. Standard input: battery commands, one JSON object per line (see ``SimulatedHome.command``).
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TextIO

from light_node import jsonio
from light_node.clock import Clock, MarketTime
from wallet_app.meter.events import Origin
from wallet_app.meter.simulator import meters
from wallet_app.meter.simulator.device import (
    FAULTS,
    LINE_FAULTS,
    Device,
    Exchanged,
    FaultyLine,
    about_to_roll_over,
    from_zero,
)
from wallet_app.meter.simulator.home import BatterySpec, HomeState, SimulatedHome
from wallet_app.meter.simulator.household import HomeSpec, Household, homes
from wallet_app.meter.simulator.socket_line import MeterSocket
from wallet_app.meter.simulator.terminal import MeterTerminal

TELEMETRY_S = 0.25
MAX_COMMAND_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Choice:
    """Which home to simulate; None takes the value of the named home."""

    home: str = "family"
    annual_load_kwh: float | None = None
    pv_kwp: float | None = None
    battery_kwh: float | None = None
    battery_kw: float | None = None
    seed: int = 1
    weather_seed: int = 0
    utc_offset_h: float = 8.0


@dataclass(frozen=True, slots=True)
class MeterChoice:
    """Which meter to put in front of it, and how bad its line is (see ``FaultyLine``)."""

    protocol: str = "dlt645"
    address: str = "202611200001"
    profile: str = ""
    push: bool = False
    ask: bool = False
    faults: tuple[str, ...] = ()
    fault_every: int = 3


def make_home(choice: Choice, start: datetime) -> tuple[SimulatedHome, HomeSpec]:
    """Return the home of ``choice`` from market time ``start`` on; ``ValueError`` if impossible.

    The registers start at a value that depends on the seed, as meters in use do; the battery
    starts at half.
    """
    named = homes()
    if choice.home not in named:
        raise ValueError(f"no home {choice.home!r}; there are: {', '.join(sorted(named))}")
    wishes = {
        "annual_load_kwh": choice.annual_load_kwh,
        "pv_kwp": choice.pv_kwp,
        "battery_kwh": choice.battery_kwh,
        "battery_kw": choice.battery_kw,
    }
    spec = replace(named[choice.home], **{k: v for k, v in wishes.items() if v is not None})
    if min(spec.battery_kwh, spec.battery_kw) < 0:
        raise ValueError("a battery cannot have negative room or power")
    household = Household(
        choice.seed,
        spec.annual_load_kwh,
        spec.pv_kwp,
        weather_seed=choice.weather_seed,
        utc_offset_h=choice.utc_offset_h,
    )
    battery = BatterySpec(1000 * spec.battery_kwh, 1000 * spec.battery_kw)
    used = 1000.0 * (1000 + choice.seed * 7919 % 20_000)
    home = SimulatedHome(
        household,
        battery,
        start,
        battery_wh=battery.capacity_wh / 2,
        import_wh=used,
        export_wh=used / 2 if spec.pv_kwp else 0.0,
    )
    return home, spec


def make_meter(choice: MeterChoice, state: meters.StateSource) -> Device:
    """Return the meter of ``choice`` with its faults; ``ValueError`` if it is impossible."""
    unknown = set(choice.faults) - set(FAULTS)
    if unknown:
        raise ValueError(f"no fault {min(unknown)!r}; there are: {', '.join(FAULTS)}")

    def one(address: str, shown: meters.StateSource) -> Device:
        return meters.make(
            choice.protocol,
            address,
            shown,
            profile=choice.profile,
            push=choice.push,
            ask=choice.ask,
        )

    shown = about_to_roll_over(state) if "rollover" in choice.faults else state
    device = one(choice.address, shown)
    if "exchange" in choice.faults:
        if choice.fault_every < 1:
            raise ValueError("an exchange comes after one reply at least")
        # Modbus meters have no number: the new one answers to the same unit.
        same = choice.protocol == "modbus_rtu"
        number = choice.address if same else _another(choice.address)
        device = Exchanged(device, one(number, from_zero(state)), after=choice.fault_every)
    line_faults = [fault for fault in choice.faults if fault in LINE_FAULTS]
    if line_faults:
        every, protocol = choice.fault_every, choice.protocol
        device = FaultyLine(device, line_faults, every=every, protocol=protocol)
    return device


def _another(number: str) -> str:
    """Return the number of the meter that comes in place of ``number``."""
    last = (int(number[-1]) + 1) % 10
    return f"{number[:-1]}{last}"


class HomeServer:
    """A home, its meter and the terminal it is on, running by market time; a context manager."""

    def __init__(
        self, choice: Choice, meter: MeterChoice, market: MarketTime, clock: Clock
    ) -> None:
        self._market, self._clock = market, clock
        self.home, self.spec = make_home(choice, self._now())
        device = make_meter(meter, self.state)
        self._terminal = MeterTerminal(device) if hasattr(os, "openpty") else MeterSocket(device)
        self.port, self.address = self._terminal.port, meter.address

    def __enter__(self) -> "HomeServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def state(self) -> HomeState:
        """Return the home now, integrated up to the present market time."""
        return self.home.advance(self._now())

    def close(self) -> None:
        """Take the meter off its terminal."""
        self._terminal.close()

    def announcement(self) -> dict[str, Any]:
        """Return the first line of ``meter simulate``."""
        return {
            "port": self.port,
            "address": self.address,
            "origin": str(Origin.SIMULATED),
            "battery_capacity_wh": round(1000 * self.spec.battery_kwh),
            "battery_power_w": round(1000 * self.spec.battery_kw),
            "pv_wp": round(1000 * self.spec.pv_kwp),
        }

    def _now(self) -> datetime:
        return self._market.at(self._clock.now())


def run(server: HomeServer, commands: TextIO, telemetry: TextIO, errors: TextIO) -> None:
    """Write telemetry until the reader goes away (``BrokenPipeError``) or Ctrl-C; obey commands."""
    emit(telemetry, server.announcement())
    arguments = (server, commands, errors)
    threading.Thread(target=obey, args=arguments, name="battery", daemon=True).start()
    while True:
        emit(telemetry, server.state().to_json())
        time.sleep(TELEMETRY_S)


def obey(server: HomeServer, commands: TextIO, errors: TextIO) -> None:
    """Obey battery commands until the input ends; a line that is none is named and skipped."""
    while line := commands.readline(MAX_COMMAND_CHARACTERS):
        if not line.strip():
            continue
        try:
            value = jsonio.strict_loads(line)
            server.state()  # the command counts from now on, not from the last look
            server.home.command(value)
        except jsonio.JsonError as error:
            errors.write(f"battery command ignored: {error}\n")
            errors.flush()


def emit(stream: TextIO, value: Mapping[str, Any]) -> None:
    """Write one JSON line and push it out."""
    stream.write(json.dumps(value) + "\n")
    stream.flush()
