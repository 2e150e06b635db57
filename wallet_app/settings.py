"""The wallet's settings: one descriptor each, read by window, commands and docs alike."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from light_node import jsonio
from wallet_app.files import write_atomically

_FILE = "settings.json"


class SettingsError(Exception):
    """A setting has an impossible value; the message names it and says what is possible."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: name, default, help, and what values it may take."""

    name: str
    default: int | str
    help: str
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> int | str:
        """Return ``value`` if it is possible here; ``SettingsError`` otherwise."""
        if isinstance(self.default, int):
            if isinstance(value, bool) or not isinstance(value, int):
                raise SettingsError(f'"{self.name}" must be a whole number, not {value!r}')
            if self.low is not None and value < self.low:
                raise SettingsError(f'"{self.name}" is {value}; it must be at least {self.low}')
            if self.high is not None and value > self.high:
                raise SettingsError(f'"{self.name}" is {value}; it must be at most {self.high}')
            return value
        if not isinstance(value, str) or len(value) > 1000:
            raise SettingsError(f'"{self.name}" must be a text, not {value!r}')
        if self.choices and value not in self.choices:
            raise SettingsError(f'"{self.name}" must be one of {", ".join(self.choices)}')
        if self.name == "time_zone":
            _check_zone(value)
        return value


_MWH = 10**9
SETTINGS = (
    Setting("time_zone", "Asia/Shanghai", "time zone of days and reports (IANA name)"),
    Setting("currency", "CNY", "currency shown beside money"),
    Setting(
        "agent",
        "ask",
        "show the suggestion, ask before submitting it, or do it within the limits",
        choices=("show", "ask", "do"),
    ),
    Setting("wallet_address", "", "address bound into quotes; empty: made from the key"),
    Setting("zone", "", "grid zone of the connection, as the market operator names it"),
    Setting("slot_length_s", 900, "length of the market's slots, s", 60, 86_400),
    Setting("capacity_w", 10_000, "largest power of the grid connection, W", 1, 10**8),
    Setting("voltage_v", 400, "voltage level of the connection, V", 100, 10**6),
    Setting("meter_port", "", "serial port of the meter, such as COM5 or /dev/ttyUSB0"),
    Setting("meter_protocol", "dlt645", "protocol of the meter"),
    Setting("meter_address", "", "address of the meter; empty: ask the only one on the line"),
    Setting("meter_interval_ms", 5_000, "how often the meter is read, ms", 50, 3_600_000),
    Setting(
        "annual_load_wh", 3_500_000, "yearly consumption, Wh, for the first forecasts", 0, _MWH
    ),
    Setting("pv_peak_w", 5_000, "peak power of the roof, W; 0: no roof", 0, 10**7),
    Setting("battery_capacity_wh", 0, "usable capacity of the battery, Wh; 0: none", 0, 10**8),
    Setting("battery_reserve_wh", 0, "kept for outages, Wh", 0, 10**8),
    Setting("battery_charge_w", 5_000, "largest charging power, W", 0, 10**7),
    Setting("battery_discharge_w", 5_000, "largest discharging power, W", 0, 10**7),
    Setting("battery_efficiency_permille", 920, "round-trip efficiency, 1/1000", 1, 1000),
    Setting("battery_cycle_cost", 300, "wear per kWh delivered, ticks", 0, 10**6),
    Setting(
        "reservation_model",
        "linear",
        "what energy is worth outside the market: the papers' line over the state of charge, or "
        "what it would physically avoid or earn",
        choices=("linear", "physical"),
    ),
    Setting(
        "risk_permille",
        0,
        "how much bad outcomes count before the others' quotes are public, 1/1000: 0 the average "
        "only, 1000 the worst tenth only",
        0,
        1000,
    ),
    Setting("limit_min_sell_price", 0, "the agent never sells below this, ticks", 0, 10**9),
    Setting("limit_max_buy_price", 10**9, "the agent never buys above this, ticks", 0, 10**9),
    Setting("limit_energy_wh", 50_000, "largest quote of the agent, Wh", 0, 10**9),
    Setting("limit_daily_loss", 100_000_000, "the agent stops at this loss a day, 1e-7", 0, 10**15),
)
_BY_NAME = {setting.name: setting for setting in SETTINGS}


class Settings(Mapping[str, Any]):
    """The settings in force; immutable, :meth:`changed` gives a new set."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        """Take ``values`` over the defaults; ``SettingsError`` for an impossible or unknown one."""
        self._values: dict[str, int | str] = {s.name: s.default for s in SETTINGS}
        for name, value in (values or {}).items():
            if name not in _BY_NAME:
                raise SettingsError(f'there is no setting "{name}"')
            self._values[name] = _BY_NAME[name].check(value)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def changed(self, **values: int | str) -> "Settings":
        """Return these settings with ``values`` replaced."""
        return Settings({**self._values, **values})

    @property
    def zone_info(self) -> ZoneInfo:
        """The time zone of days and reports."""
        return ZoneInfo(self._values["time_zone"])  # type: ignore[arg-type]

    def save(self, directory: Path) -> None:
        """Write ``settings.json``, atomically."""
        text = json.dumps(self._values, ensure_ascii=False, indent=2)
        write_atomically(directory / _FILE, text.encode(), private=True)

    @classmethod
    def load(cls, directory: Path) -> "Settings":
        """Read ``settings.json``; the defaults where there is none, ``SettingsError`` if damaged.

        Settings of a newer version are passed over, so that going back loses nothing else.
        """
        path = directory / _FILE
        try:
            values = jsonio.mapping(jsonio.strict_loads(path.read_bytes()), _FILE)
        except FileNotFoundError:
            return cls()
        except (OSError, jsonio.JsonError) as error:
            raise SettingsError(f"{path} cannot be used: {error}; mend or delete it") from error
        return cls({name: value for name, value in values.items() if name in _BY_NAME})


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(f'"time_zone" is {name!r}; give an IANA name, Asia/Shanghai') from error
