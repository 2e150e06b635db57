"""The wallet's settings: one descriptor each, read by window, commands and docs alike."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from light_node import jsonio
from light_node.market.units import MONEY_PER_CURRENCY, TICKS_PER_CURRENCY
from wallet_app.files import write_atomically
from wallet_app.i18n import said, tr, translated
from wallet_app.meter.roles import parse_lines, parse_roles

_FILE = "settings.json"


class SettingsError(Exception):
    """A setting has an impossible value; the message names it and says what is possible."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: name, default, title and help, and what values it may take.

    ``group`` is the heading it stands under; ``shown`` how people read its number, as (unit,
    divisor, decimals); ``restart`` tells that a change counts from the next start; ``secret`` that
    it is not shown.
    """

    name: str
    default: int | str
    title: str
    help: str
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    group: str = ""
    shown: tuple[str, int, int] = ("", 1, 0)
    restart: bool = True
    secret: bool = False

    @property
    def title_words(self) -> str:
        """Return the title in the user's language."""
        return translated(self.title)

    @property
    def help_words(self) -> str:
        """Return the help in the user's language."""
        return translated(self.help)

    def check(self, value: Any) -> int | str:
        """Return ``value`` if it is possible here; ``SettingsError`` otherwise."""
        if isinstance(self.default, int):
            if isinstance(value, bool) or not isinstance(value, int):
                raise SettingsError(
                    tr(
                        '"{name}" must be a whole number, not {value}',
                        name=self.name,
                        value=repr(value),
                    )
                )
            if self.low is not None and value < self.low:
                raise SettingsError(
                    tr(
                        '"{name}" is {value}; it must be at least {low}',
                        name=self.name,
                        value=value,
                        low=self.low,
                    )
                )
            if self.high is not None and value > self.high:
                raise SettingsError(
                    tr(
                        '"{name}" is {value}; it must be at most {high}',
                        name=self.name,
                        value=value,
                        high=self.high,
                    )
                )
            return value
        if not isinstance(value, str) or len(value) > 1000:
            raise SettingsError(
                tr('"{name}" must be a text, not {value}', name=self.name, value=repr(value))
            )
        if self.choices and value not in self.choices:
            raise SettingsError(
                tr(
                    '"{name}" must be one of {choices}',
                    name=self.name,
                    choices=", ".join(self.choices),
                )
            )
        check = _CHECKS.get(self.name)
        if check is not None:
            check(value)
        return value


_MWH = 10**9
_KW, _KWH = ("kW", 1000, 2), ("kWh", 1000, 2)
_PRICE = ("/kWh", TICKS_PER_CURRENCY, 4)
GROUPS = ("agent", "limits", "household", "battery", "meter", "market")
"""The headings of the settings, in the order of the page."""

SETTINGS = (
    Setting(
        "agent",
        "ask",
        "What the agent does",
        "show the suggestion, ask before submitting it, or do it within the limits",
        choices=("show", "ask", "do"),
        group="agent",
        restart=False,
    ),
    Setting(
        "reservation_model",
        "linear",
        "What energy is worth",
        "what energy is worth outside the market: the papers' line over the state of charge, or "
        "what it would physically avoid or earn",
        choices=("linear", "physical"),
        group="agent",
    ),
    Setting(
        "risk_permille",
        0,
        "Caution",
        "how much bad outcomes count before the others' quotes are public: 0 the average "
        "only, 100 % the worst tenth only",
        0,
        1000,
        group="agent",
        shown=("%", 10, 0),
    ),
    Setting(
        "limit_min_sell_price",
        0,
        "Never sell below",
        "the agent never sells below this price",
        0,
        10**9,
        group="limits",
        shown=_PRICE,
    ),
    Setting(
        "limit_max_buy_price",
        10**9,
        "Never buy above",
        "the agent never buys above this price",
        0,
        10**9,
        group="limits",
        shown=_PRICE,
    ),
    Setting(
        "limit_energy_wh",
        50_000,
        "Largest quote",
        "largest quote of the agent",
        0,
        10**9,
        group="limits",
        shown=_KWH,
    ),
    Setting(
        "limit_day_sell_wh",
        _MWH,
        "Sold at most a day",
        "the agent sells no more than this in a day",
        0,
        _MWH,
        group="limits",
        shown=_KWH,
    ),
    Setting(
        "limit_day_buy_wh",
        _MWH,
        "Bought at most a day",
        "the agent buys no more than this in a day",
        0,
        _MWH,
        group="limits",
        shown=_KWH,
    ),
    Setting(
        "limit_reserve_wh",
        0,
        "Sell only when stored",
        "the battery must hold this much before surplus is sold",
        0,
        10**8,
        group="limits",
        shown=_KWH,
    ),
    Setting(
        "limit_hours",
        "",
        "Trading hours",
        "local hours in which the agent trades, such as 06:00-12:00, 22:00-02:00; empty: all day",
        group="limits",
    ),
    Setting(
        "limit_daily_loss",
        100_000_000,
        "Stop at a daily loss of",
        "the agent stops when a day's trading brought this much less than the grid alone",
        0,
        10**15,
        group="limits",
        shown=("", MONEY_PER_CURRENCY, 2),
    ),
    Setting(
        "time_zone",
        "Asia/Shanghai",
        "Time zone",
        "time zone of days and reports (IANA name)",
        group="household",
    ),
    Setting("currency", "CNY", "Currency", "currency shown beside money", group="household"),
    Setting(
        "annual_load_wh",
        3_500_000,
        "Consumption a year",
        "yearly consumption, for the first forecasts",
        0,
        _MWH,
        group="household",
        shown=("kWh", 1000, 0),
    ),
    Setting(
        "pv_peak_w",
        5_000,
        "Roof, peak power",
        "peak power of the roof; 0: no roof",
        0,
        10**7,
        group="household",
        shown=_KW,
    ),
    Setting(
        "capacity_w",
        10_000,
        "Grid connection",
        "largest power of the grid connection",
        1,
        10**8,
        group="household",
        shown=_KW,
    ),
    Setting(
        "voltage_v",
        400,
        "Voltage level",
        "voltage level of the connection",
        100,
        10**6,
        group="household",
        shown=("V", 1, 0),
    ),
    Setting(
        "battery_capacity_wh",
        0,
        "Battery, usable",
        "usable capacity of the battery; 0: none",
        0,
        10**8,
        group="battery",
        shown=_KWH,
    ),
    Setting(
        "battery_reserve_wh",
        0,
        "Kept for outages",
        "kept in the battery for outages",
        0,
        10**8,
        group="battery",
        shown=_KWH,
    ),
    Setting(
        "battery_charge_w",
        5_000,
        "Charging power",
        "largest charging power",
        0,
        10**7,
        group="battery",
        shown=_KW,
    ),
    Setting(
        "battery_discharge_w",
        5_000,
        "Discharging power",
        "largest discharging power",
        0,
        10**7,
        group="battery",
        shown=_KW,
    ),
    Setting(
        "battery_efficiency_permille",
        920,
        "Efficiency",
        "round-trip efficiency",
        1,
        1000,
        group="battery",
        shown=("%", 10, 1),
    ),
    Setting(
        "battery_cycle_cost",
        300,
        "Wear",
        "wear for each kWh delivered",
        0,
        10**6,
        group="battery",
        shown=_PRICE,
    ),
    Setting(
        "meter_port",
        "",
        "Serial port",
        "serial port of the meter, such as COM5 or /dev/ttyUSB0; empty: no meter",
        group="meter",
        restart=False,
    ),
    Setting(
        "meter_protocol",
        "dlt645",
        "Protocol",
        "protocol of the meter",
        choices=("dlt645", "dlt698", "modbus_rtu", "iec62056_21", "dsmr_p1", "sml", "dlms"),
        group="meter",
        restart=False,
    ),
    Setting(
        "meter_address",
        "",
        "Meter number or unit",
        "address of the meter; empty: ask the only one on the line",
        group="meter",
        restart=False,
    ),
    Setting(
        "meter_profile",
        "",
        "Register profile",
        "kind of a Modbus meter, such as sdm630 or dtsu666",
        group="meter",
        restart=False,
    ),
    Setting(
        "meter_link",
        "",
        "Speed and format",
        "such as 9600 8N1; empty: try the usual ones",
        group="meter",
        restart=False,
    ),
    Setting(
        "meter_mode",
        "ask",
        "Ask or listen",
        "ask an IEC 62056-21 meter, or listen to one that sends by itself; ask a DLMS meter that "
        "sends no lists",
        choices=("ask", "listen", "pull"),
        group="meter",
        restart=False,
    ),
    Setting(
        "meter_adapter",
        "",
        "Adapter",
        "serial number of the adapter: it is found again under whatever port name",
        group="meter",
        restart=False,
    ),
    Setting(
        "meter_key",
        "",
        "Decryption key",
        "key of encrypted telegrams from the grid operator, 32 hex digits",
        group="meter",
        restart=False,
        secret=True,
    ),
    Setting(
        "meter_auth_key",
        "",
        "Second key",
        "authentication key of encrypted telegrams, 32 hex digits",
        group="meter",
        restart=False,
        secret=True,
    ),
    Setting(
        "meter_password",
        "",
        "Password",
        "low level security of a DLMS meter that is asked",
        group="meter",
        restart=False,
        secret=True,
    ),
    Setting(
        "meter_interval_ms",
        5_000,
        "Read every",
        "how often the meter is read",
        50,
        3_600_000,
        group="meter",
        shown=("s", 1000, 1),
        restart=False,
    ),
    Setting(
        "meter_roles",
        "",
        "What each meter is for",
        "with several meters: which ones count for trading; chosen on the Meters page",
        group="meter",
        restart=False,
    ),
    Setting(
        "meter_lines",
        "",
        "Further meters",
        "further lines the wallet reads, with their meters; chosen on the Meters page",
        group="meter",
        restart=False,
        secret=True,
    ),
    Setting(
        "slot_length_s",
        900,
        "Length of slots",
        "length of the market's slots",
        60,
        86_400,
        group="market",
        shown=("min", 60, 0),
    ),
    Setting(
        "zone",
        "",
        "Grid zone",
        "grid zone of the connection, as the market operator names it",
        group="market",
    ),
    Setting(
        "wallet_address",
        "",
        "Address in quotes",
        "address bound into quotes; empty: made from the key",
        group="market",
    ),
)
BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


class Settings(Mapping[str, Any]):
    """The settings in force; immutable, :meth:`changed` gives a new set."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        """Take ``values`` over the defaults; ``SettingsError`` for an impossible or unknown one."""
        self._values: dict[str, int | str] = {s.name: s.default for s in SETTINGS}
        for name, value in (values or {}).items():
            if name not in BY_NAME:
                raise SettingsError(tr('there is no setting "{name}"', name=name))
            self._values[name] = BY_NAME[name].check(value)

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
            raise SettingsError(
                tr("{path} cannot be used: {why}; mend or delete it", path=path, why=said(error))
            ) from error
        return cls({name: value for name, value in values.items() if name in BY_NAME})


def _check_key(text: str) -> None:
    if text and not re.fullmatch(r"[0-9A-Fa-f]{32}", text):
        raise SettingsError(tr("the keys of a meter are 32 hex digits each"))


def _check_link(text: str) -> None:
    if text:
        parse_link(text)


def parse_link(text: str) -> tuple[int, int, str, int]:
    """Return (baud, data bits, parity, stop bits) of ``9600 8N1``; ``SettingsError`` if none."""
    match = re.fullmatch(r"(\d{3,6}) ([78])([NEO])([12])", text.strip().upper())
    if match is None:
        raise SettingsError(
            tr('"meter_link" is {text}; write speed and format such as 9600 8N1', text=repr(text))
        )
    return int(match[1]), int(match[2]), match[3], int(match[4])


def _check_password(text: str) -> None:
    if len(text.encode("utf-8")) > 64:
        raise SettingsError(tr("passwords of meters have up to 64 bytes"))


def _check_roles(text: str) -> None:
    try:
        parse_roles(text)
    except ValueError as error:
        raise SettingsError(tr('"meter_roles": {why}', why=said(error))) from error


def _check_lines(text: str) -> None:
    try:
        lines = parse_lines(text)
    except ValueError as error:
        raise SettingsError(tr('"meter_lines": {why}', why=said(error))) from error
    for line in lines:
        for name, value in line.items():
            BY_NAME[f"meter_{name}"].check(value)


def _check_hours(text: str) -> None:
    parse_hours(text)


def parse_hours(text: str) -> tuple[tuple[time, time], ...]:
    """Return the spans of ``06:00-12:00, 22:00-02:00``; "" gives none, ``SettingsError`` others.

    A span whose end is before its begin runs over midnight.
    """
    spans = []
    for part in text.split(",") if text.strip() else ():
        ends = re.fullmatch(r"\s*(\d\d:\d\d)\s*[-–]\s*(\d\d:\d\d)\s*", part, re.ASCII)
        try:
            start, end = map(time.fromisoformat, ends.groups() if ends else ("", ""))
        except ValueError:
            raise SettingsError(
                tr(
                    '"limit_hours" has {part}; write hours such as 06:00-12:00, 22:00-02:00',
                    part=repr(part.strip()),
                )
            ) from None
        if start == end:
            # It could mean always or never, and one of the two spends money.
            raise SettingsError(
                tr(
                    '"limit_hours" begins and ends at {start}; leave it empty to trade all day',
                    start=format(start, "%H:%M"),
                )
            )
        spans.append((start, end))
    return tuple(spans)


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            tr('"time_zone" is {name}; give an IANA name, Asia/Shanghai', name=repr(name))
        ) from error


_CHECKS: Mapping[str, Callable[[str], None]] = {
    "time_zone": _check_zone,
    "limit_hours": _check_hours,
    "meter_key": _check_key,
    "meter_auth_key": _check_key,
    "meter_link": _check_link,
    "meter_password": _check_password,
    "meter_roles": _check_roles,
    "meter_lines": _check_lines,
}
