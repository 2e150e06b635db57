"""Settings of a running wallet: kept, applied where they can be, its meter changed."""

import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.wallet_app.trading.test_threads import Ledger, wallet
from wallet_app.settings import Settings, SettingsError
from wallet_app.trading import setup
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
        running.preferences.change(meter_address="1,2")
        state = running.session.view().live.meter_state
    assert any("no meter address" in text for text in events)
    assert "fed by one meter" in state
