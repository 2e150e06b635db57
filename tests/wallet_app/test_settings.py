"""Settings: every value checked, files of all kinds read or refused in words."""

import json
import os
import stat
from datetime import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from wallet_app.settings import SETTINGS, Settings, SettingsError, parse_hours
from wallet_app.trading.setup import limits_of


def write(directory: Path, text: str | bytes) -> None:
    directory.mkdir(exist_ok=True)
    data = text.encode() if isinstance(text, str) else text
    (directory / "settings.json").write_bytes(data)


def test_defaults_are_possible_and_described() -> None:
    for setting in SETTINGS:
        assert setting.check(setting.default) == setting.default
        assert setting.help
    assert len({s.name for s in SETTINGS}) == len(SETTINGS)
    assert dict(Settings()) == {s.name: s.default for s in SETTINGS}
    assert len(Settings()) == len(SETTINGS)


def test_a_changed_set_leaves_the_old_one_alone() -> None:
    before = Settings()
    after = before.changed(pv_peak_w=7_000, time_zone="Europe/Berlin")
    assert (before["pv_peak_w"], after["pv_peak_w"]) == (5_000, 7_000)
    assert after.zone_info == ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pv_peak_w": -1}, '"pv_peak_w" is -1; it must be at least 0'),
        ({"battery_efficiency_permille": 1001}, "at most 1000"),
        ({"battery_efficiency_permille": 0}, "at least 1"),
        ({"pv_peak_w": 1.5}, "whole number"),
        ({"pv_peak_w": True}, "whole number"),
        ({"pv_peak_w": "5000"}, "whole number"),
        ({"agent": "always"}, "one of show, ask, do"),
        ({"agent": 1}, "must be a text"),
        ({"meter_port": "x" * 1001}, "must be a text"),
        ({"time_zone": "Mars/Olympus"}, "give an IANA name"),
        ({"time_zone": "../../etc/passwd"}, "give an IANA name"),
        ({"time_zone": ""}, "give an IANA name"),
        ({"colour": "red"}, 'there is no setting "colour"'),
    ],
)
def test_an_impossible_value_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings(values)
    known = {name: value for name, value in values.items() if name != "colour"}
    if known:
        with pytest.raises(SettingsError, match=words):
            Settings().changed(**known)


def test_trading_hours_are_spans_of_local_time() -> None:
    assert parse_hours(" ") == ()
    spans = ((time(6), time(12, 30)), (time(22), time(2)))
    assert parse_hours("06:00-12:30, 22:00–02:00") == spans
    for text in ("6-12", "06:00-25:00", "06:00", "06:00-12:00,", "06:00-12:00-13:00"):
        with pytest.raises(SettingsError, match="write hours such as"):
            Settings({"limit_hours": text})
    with pytest.raises(SettingsError, match="leave it empty to trade all day"):
        Settings({"limit_hours": "06:00-06:00"})


def test_every_limit_of_the_settings_reaches_the_check() -> None:
    plain = limits_of(Settings())
    changed = {
        "limit_min_sell_price": ("min_sell_price", 1),
        "limit_max_buy_price": ("max_buy_price", 1),
        "limit_energy_wh": ("max_slot_wh", 1),
        "limit_day_sell_wh": ("max_day_sell_wh", 1),
        "limit_day_buy_wh": ("max_day_buy_wh", 1),
        "limit_daily_loss": ("max_day_loss", 1),
        "limit_reserve_wh": ("reserve_wh", 1),
        "limit_hours": ("hours", "06:00-12:00"),
    }
    assert set(changed) == {s.name for s in SETTINGS if s.group == "limits"}
    for setting, (field, value) in changed.items():
        limits = limits_of(Settings({setting: value}))
        assert getattr(limits, field) != getattr(plain, field), setting


def test_saved_and_loaded(tmp_path: Path) -> None:
    settings = Settings({"zone": "朝阳区", "agent": "do", "limit_daily_loss": 0})
    settings.save(tmp_path / "new")
    assert dict(Settings.load(tmp_path / "new")) == dict(settings)
    path = tmp_path / "new" / "settings.json"
    assert "朝阳区" in path.read_text(encoding="utf-8")  # a person can read and mend it
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_is_the_defaults(tmp_path: Path) -> None:
    assert dict(Settings.load(tmp_path)) == dict(Settings())


def test_an_older_file_takes_the_defaults_for_what_it_lacks(tmp_path: Path) -> None:
    write(tmp_path, '{"agent": "show"}')
    assert dict(Settings.load(tmp_path)) == {**Settings(), "agent": "show"}


def test_a_newer_versions_settings_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, json.dumps({"agent": "do", "tariff_2030": {"x": 1}, "version": 9}))
    assert Settings.load(tmp_path)["agent"] == "do"


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "5", '{"agent": "do", "agent": "ask"}', b"\xff\xfe\x00", "[" * 100_000,
        '{"pv_peak_w": NaN}', '{"pv_peak_w": ' + "9" * 10_000 + "}",
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, text: str | bytes) -> None:
    write(tmp_path, text)
    before = (tmp_path / "settings.json").read_bytes()
    with pytest.raises(SettingsError, match="mend or delete it"):
        Settings.load(tmp_path)
    assert (tmp_path / "settings.json").read_bytes() == before


def test_an_impossible_value_in_the_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, '{"pv_peak_w": -5}')
    with pytest.raises(SettingsError, match='"pv_peak_w" is -5'):
        Settings.load(tmp_path)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "settings.json").mkdir()
    with pytest.raises(SettingsError, match="cannot be used"):
        Settings.load(tmp_path)
