"""Settings of a running wallet: kept, applied where they can be, its meter changed."""

import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.wallet_app.trading.test_threads import Ledger, wallet
from wallet_app.meter.desk import Connection
from wallet_app.meter.dialogue import Options
from wallet_app.meter.roles import Role
from wallet_app.settings import Settings, SettingsError
from wallet_app.trading import setup
from wallet_app.trading.lines import assigned
from wallet_app.trading.preferences import Preferences
from wallet_app.trading.view import AgentMode


def test_changes_are_kept_and_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    kept = Preferences(tmp_path, Settings())
    heard: list[frozenset[str]] = []
    kept.on_change(lambda settings, names: heard.append(names))
    assert kept.change(agent="do", pv_peak_w=7000, voltage_v=400) == {"pv_peak_w"}
    assert heard == [frozenset({"agent", "pv_peak_w"})]
    assert Settings.load(tmp_path)["agent"] == "do"
    assert kept.change(agent="do") == frozenset()
    assert len(heard) == 1
    with pytest.raises(SettingsError):
        kept.change(agent="always")
    assert kept.settings["agent"] == "do"


def test_the_agents_mode_outlasts_a_restart(tmp_path: Path) -> None:
    with setup.RunningWallet(wallet(tmp_path, Ledger())) as running:
        running.session.set_agent(AgentMode.DO)
    again = wallet(tmp_path, Ledger(), settings=Settings.load(tmp_path))
    with setup.RunningWallet(again) as running:
        assert running.session.view().agent is AgentMode.DO


def test_a_disk_that_refuses_costs_a_line_and_not_the_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Settings, "save", full)
    with setup.RunningWallet(wallet(tmp_path, Ledger())) as running:
        running.session.set_agent(AgentMode.DO)
        view = running.session.view()
    assert view.agent is AgentMode.DO
    assert any("No space left" in event.text for event in view.events)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_the_meter_is_changed_while_the_wallet_runs(tmp_path: Path) -> None:
    from wallet_app.meter.simulator.dlt645 import Dlt645Meter
    from wallet_app.meter.simulator.home import HomeState
    from wallet_app.meter.simulator.terminal import MeterTerminal

    state = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 0, 500, 0, 0, 1_234_560, 0, 230.0)
    pause = threading.Event()
    with (
        MeterTerminal(Dlt645Meter("1".zfill(12), lambda: state, reply_delay_s=0.0)) as first,
        MeterTerminal(Dlt645Meter("2".zfill(12), lambda: state, reply_delay_s=0.0)) as second,
        setup.RunningWallet(wallet(tmp_path, Ledger())) as running,
    ):
        assert "no meter" in running.session.view().live.meter_state
        for terminal, number in ((first, "1"), (second, "2")):
            running.preferences.change(meter_port=terminal.port, meter_interval_ms=50)
            for _ in range(1000):
                if running.session.view().live.meter_id == number.zfill(12):
                    break
                pause.wait(0.02)
            live = running.session.view().live
            assert (live.meter_id, live.meter_port) == (number.zfill(12), terminal.port)
            assert [v.own for v in running.meters.views()] == [True]
        running.preferences.change(meter_port="")
        assert running.meters.views() == ()
        running.preferences.change(meter_port=first.port, meter_address="twelve")
        events = [event.text for event in running.session.view().events]
    assert any("no meter address" in text for text in events)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_two_meters_at_the_connection_are_added_up(tmp_path: Path) -> None:
    from wallet_app.meter.simulator import meters
    from wallet_app.meter.simulator.home import HomeState
    from wallet_app.meter.simulator.terminal import MeterTerminal

    state = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 0, 500, 0, 0, 1_234_560, 0, 230.0)
    devices = [meters.make("modbus_rtu", "1", lambda: state, profile="sdm120") for _ in "12"]
    pause = threading.Event()
    with (
        MeterTerminal(devices[0]) as first,
        MeterTerminal(devices[1]) as second,
        setup.RunningWallet(wallet(tmp_path, Ledger())) as running,
    ):
        running.preferences.change(
            meter_port=first.port,
            meter_protocol="modbus_rtu",
            meter_profile="sdm120",
            meter_interval_ms=50,
        )

        def until(condition: Callable[[], bool]) -> None:
            for _ in range(1000):
                if condition():
                    return
                pause.wait(0.02)
            raise AssertionError(running.session.view().live)

        until(lambda: running.session.view().live.grid_power_w == 500)
        further = Connection(
            second.port, "modbus_rtu", Options(address="1", profile="sdm120"), interval_s=0.05
        )
        key = running.meters.connect(further)
        until(lambda: bool(running.meters.line(key).view().meters))
        views = running.meters.views()
        changes = assigned(
            running.preferences.settings, views, views[1], "sdm120-unit-1", Role.GRID
        )
        running.preferences.change(**changes)
        # Both are unit 1 of the same kind: their lines tell them apart.
        until(lambda: running.session.view().live.grid_power_w == 1000)
        name = f"sdm120-unit-1@{second.port}"
        assert running.session.view().live.meter_id == f"sdm120-unit-1 + {name}"
        assert [v.own for v in running.meters.views()] == [True, True]
        running.preferences.change(meter_roles=f'{{"sdm120-unit-1": "grid", "{name}": "reversed"}}')
        until(lambda: running.session.view().live.grid_power_w == 0)
