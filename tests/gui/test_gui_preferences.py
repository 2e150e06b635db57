"""The settings page: every descriptor has its row, and what is entered is kept or named."""

from pathlib import Path

import pytest
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QLineEdit
from pytestqt.qtbot import QtBot

from tests.gui.fake_source import FakeSource, full_view
from wallet_app.gui import theme
from wallet_app.gui.feed import ALL
from wallet_app.gui.preferences import SettingsPage
from wallet_app.settings import SETTINGS, Settings
from wallet_app.trading.preferences import Preferences


@pytest.fixture
def kept(tmp_path: Path) -> Preferences:
    return Preferences(tmp_path, Settings())


@pytest.fixture
def page(qtbot: QtBot, kept: Preferences) -> SettingsPage:
    made = SettingsPage(theme.LIGHT, kept)
    qtbot.addWidget(made)
    made.resize(960, 540)
    made.show()
    return made


def enter(page: SettingsPage, name: str, value: object) -> None:
    widget = page.fields[name].widget
    if isinstance(widget, QComboBox):
        widget.setCurrentIndex(widget.findData(value))
    elif isinstance(widget, QDoubleSpinBox):
        assert isinstance(value, int | float)
        widget.setValue(value)
    elif isinstance(widget, QLineEdit):
        widget.setText(str(value))
        widget.textEdited.emit(str(value))


def test_every_setting_has_a_row_that_shows_it_and_gives_it_back(page: SettingsPage) -> None:
    assert set(page.fields) == {setting.name for setting in SETTINGS}
    for setting in SETTINGS:
        field = page.fields[setting.name]
        assert field.value(setting.default) == setting.default
        assert field.widget.accessibleName() == setting.title
        assert field.widget.accessibleDescription() == setting.help
    assert not page.save.isEnabled()


def test_a_change_is_kept_in_the_wallets_own_units(
    qtbot: QtBot, page: SettingsPage, kept: Preferences, tmp_path: Path
) -> None:
    enter(page, "pv_peak_w", 7.25)
    enter(page, "limit_min_sell_price", 0.35)
    enter(page, "agent", "do")
    assert page.save.isEnabled()
    page.save.click()
    qtbot.waitUntil(lambda: kept.settings["pv_peak_w"] == 7250)
    assert kept.settings["limit_min_sell_price"] == 3500
    assert Settings.load(tmp_path)["agent"] == "do"
    qtbot.waitUntil(lambda: not page.save.isEnabled())
    said = page.notice.text.text()
    assert "From the next start on" in said
    assert "Roof, peak power" in said
    assert "What the agent does" not in said  # that counts at once


def test_an_impossible_value_is_named_and_nothing_is_changed(
    qtbot: QtBot, page: SettingsPage, kept: Preferences
) -> None:
    before = kept.settings
    enter(page, "time_zone", "Mars/Olympus")
    enter(page, "pv_peak_w", 1.0)
    page.save.click()
    qtbot.waitUntil(lambda: "IANA name" in page.notice.text.text())
    assert kept.settings is before
    page.undo.click()
    assert not page.save.isEnabled()
    assert page.fields["pv_peak_w"].value(0) == 5000


def test_a_disk_that_refuses_is_told(
    qtbot: QtBot, page: SettingsPage, kept: Preferences, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Settings, "save", full)
    enter(page, "pv_peak_w", 1.0)
    page.save.click()
    qtbot.waitUntil(lambda: "No space left" in page.notice.text.text())
    assert kept.settings["pv_peak_w"] == 5000
    assert page.save.isEnabled()  # what was entered is still there


def test_what_was_changed_elsewhere_is_shown_unless_something_is_being_entered(
    page: SettingsPage, kept: Preferences
) -> None:
    kept.change(agent="show")
    page.refresh(full_view(), ALL)
    assert page.fields["agent"].value("ask") == "show"
    enter(page, "voltage_v", 230)
    kept.change(agent="do")
    page.refresh(full_view(), ALL)
    assert page.fields["voltage_v"].value(400) == 230


def test_a_figure_that_is_finer_than_shown_is_not_changed_by_looking(
    qtbot: QtBot, tmp_path: Path
) -> None:
    kept = Preferences(tmp_path, Settings({"pv_peak_w": 7777}))
    page = SettingsPage(theme.LIGHT, kept)
    qtbot.addWidget(page)
    assert not page.save.isEnabled()
    assert page.fields["pv_peak_w"].value(7777) == 7777


def test_keys_are_not_shown(page: SettingsPage) -> None:
    secret = page.fields["meter_key"].widget
    assert isinstance(secret, QLineEdit)
    assert secret.echoMode() is QLineEdit.EchoMode.Password


def test_the_agents_mode_set_in_the_window_is_kept(source: FakeSource) -> None:
    # The real session keeps it in tests/wallet_app/trading; here only that both see one thing.
    source.directory.mkdir(parents=True)
    changed: list[frozenset[str]] = []
    source.preferences.on_change(lambda _, names: changed.append(names))
    source.preferences.change(agent="do")
    source.preferences.change(agent="do")
    assert changed == [frozenset({"agent"})]
