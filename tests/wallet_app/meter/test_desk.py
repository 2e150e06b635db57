"""Several lines at once, capture and replay, tests, and what cannot be done in words."""

import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from light_node.clock import SystemClock
from wallet_app.meter.channel import Timing
from wallet_app.meter.desk import Connection, DeskError, LineView, MeterDesk
from wallet_app.meter.dialogue import Options
from wallet_app.meter.events import Origin
from wallet_app.meter.plausibility import Verdict

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

from wallet_app.meter.simulator import meters
from wallet_app.meter.simulator.home import HomeState
from wallet_app.meter.simulator.terminal import MeterTerminal

STATE = HomeState(datetime(2026, 6, 21, 9, tzinfo=UTC), 2000, 500, 0, 0, 12_345_678, 9_999, 231.04)
QUICK = Timing(reply_s=0.2, retry_s=0.01, between_s=0.0, reopen_s=0.05, pace=0.1)


@pytest.fixture
def desk() -> Iterator[MeterDesk]:
    made = MeterDesk(SystemClock(), port_list=list, timing=QUICK, detect_scale=0.05)
    yield made
    made.close()


@pytest.fixture
def plug() -> Iterator[Callable[..., MeterTerminal]]:
    terminals: list[MeterTerminal] = []

    def plug_in(protocol: str, address: str, profile: str = "") -> MeterTerminal:
        device = meters.make(protocol, address, lambda: STATE, profile=profile)
        if device.period_s is not None:
            device.period_s = 0.05  # type: ignore[misc]
        if hasattr(device, "_delay"):
            device._delay = 0.0
        terminals.append(MeterTerminal(device))
        return terminals[-1]

    yield plug_in
    for terminal in terminals:
        terminal.close()


def until(
    desk: MeterDesk, condition: Callable[[tuple[LineView, ...]], bool]
) -> tuple[LineView, ...]:
    """Wait (for up to 20 s) until the desk's views satisfy ``condition``; return them."""
    pause = threading.Event()
    for _ in range(1000):
        views = desk.views()
        if condition(views):
            return views
        pause.wait(0.02)
    raise AssertionError(f"never came: {desk.views()}")


def test_several_meters_of_different_kinds_at_once(
    desk: MeterDesk, plug: Callable[..., MeterTerminal]
):
    modbus = Options(address="1", profile="sdm630")
    for protocol, address, options in (
        ("dlt645", "123456789012", Options()),
        ("sml", "7", Options()),
        ("modbus_rtu", "1", modbus),
    ):
        terminal = plug(protocol, address, options.profile)
        desk.connect(Connection(terminal.port, protocol, options, interval_s=0.05))
    views = until(desk, lambda v: all(line.meters for line in v))
    assert [v.protocol_name for v in views] == ["DL/T 645-2007", "SML", "Modbus RTU (sdm630)"]
    assert [v.status.state for v in views] == ["reading"] * 3
    readings = [v.meters[0].reading for v in views]
    assert all(r is not None and r.values["import_kwh"] for r in readings)
    assert all(desk.line(v.key).turns() for v in views)
    desk.disconnect(views[0].key)
    assert [v.key for v in desk.views()] == [v.key for v in views[1:]]
    with pytest.raises(DeskError, match="not connected"):
        desk.line(views[0].key)


def test_a_port_is_read_once(desk: MeterDesk, plug: Callable[..., MeterTerminal]):
    terminal = plug("sml", "7")
    desk.connect(Connection(terminal.port, "sml"))
    with pytest.raises(DeskError, match="being read already"):
        desk.connect(Connection(terminal.port, "sml"))
    with pytest.raises(DeskError, match="being read already"):
        desk.detect(terminal.port, lambda *_: None, threading.Event())


def test_wrong_options_leave_no_line_behind(desk: MeterDesk):
    with pytest.raises(DeskError, match="meter address"):
        desk.connect(Connection("COM9", "dlt645", Options(address="twelve")))
    assert desk.views() == ()


def test_found_and_connected(desk: MeterDesk, plug: Callable[..., MeterTerminal]):
    terminal = plug("modbus_rtu", "1", "sdm630")
    texts: list[str] = []
    result = desk.detect(terminal.port, lambda _a, _b, text: texts.append(text), threading.Event())
    assert result.found is not None
    assert "listen at 9600 8N1" in texts
    assert [a.result for a in result.attempts][-1].startswith("found")
    connection = Connection.found(terminal.port, result.found, Options(), 0.05)
    desk.connect(connection)
    (view,) = until(desk, lambda v: bool(v[0].meters))
    assert view.connection.options.profile == "sdm630"


def test_capture_replay_and_report_agree(
    desk: MeterDesk, plug: Callable[..., MeterTerminal], tmp_path: Path
):
    terminal = plug("dlt645", "123456789012")
    key = desk.connect(Connection(terminal.port, "dlt645", interval_s=0.02))
    line, file = desk.line(key), tmp_path / "capture.txt"
    line.start_capture(file)
    assert line.view().capture == str(file)
    line.start_test(3)
    until(desk, lambda v: v[0].test_wanted > 0 and v[0].test_done >= v[0].test_wanted)
    report = line.finish_test()
    assert line.stop_capture() == ""
    desk.disconnect(key)
    assert len(report.readings) == 3
    assert report.turns
    assert not report.stopped_early
    replay = desk.replay(file, "dlt645", Options(), 0.0)
    (view,) = until(desk, lambda v: v[0].status.state == "stopped")
    meter = view.meters[0]
    assert view.replayed
    assert meter.reading is not None
    assert meter.reading.origin is Origin.REPLAYED
    assert meter.meter_id == "123456789012"
    assert meter.count >= 3
    assert meter.reading.values["import_kwh"] == report.readings[0].values["import_kwh"]
    assert view.status.good_frames >= 18
    assert any(not turn.sent and turn.request for turn in desk.line(replay).turns())


def test_replay_of_modbus_knows_the_request_behind_each_reply(
    desk: MeterDesk, plug: Callable[..., MeterTerminal], tmp_path: Path
):
    options = Options(address="1", profile="sdm630")
    terminal = plug("modbus_rtu", "1", "sdm630")
    key = desk.connect(Connection(terminal.port, "modbus_rtu", options, interval_s=0.02))
    file = tmp_path / "capture.txt"
    desk.line(key).start_capture(file)
    until(desk, lambda v: bool(v[0].meters) and v[0].meters[0].count >= 3)
    desk.disconnect(key)
    desk.replay(file, "modbus_rtu", options, 0.0)
    (view,) = until(desk, lambda v: v[0].status.state == "stopped")
    # The capture may have ended in the middle of a poll: its last reading need not be whole.
    assert view.meters[0].count >= 3
    assert view.meters[0].reading is not None
    assert view.meters[0].reading.values


@pytest.mark.parametrize(
    ("text", "words"),
    [("no capture", "no capture of this program"), ("", "nothing was received")],
)
def test_replay_of_what_is_no_capture(desk: MeterDesk, tmp_path: Path, text: str, words: str):
    file = tmp_path / "capture.txt"
    file.write_text(text)
    with pytest.raises(DeskError, match=words):
        desk.replay(file, "dlt645", Options(), 0.0)
    assert desk.views() == ()
    with pytest.raises(DeskError, match="cannot read"):
        desk.replay(tmp_path / "none.txt", "dlt645", Options(), 0.0)


def test_capture_into_nowhere_is_told_and_reading_goes_on(
    desk: MeterDesk, plug: Callable[..., MeterTerminal], tmp_path: Path
):
    key = desk.connect(Connection(plug("sml", "7").port, "sml", interval_s=0.02))
    with pytest.raises(DeskError, match="cannot write"):
        desk.line(key).start_capture(tmp_path / "no" / "such" / "folder")
    until(desk, lambda v: bool(v[0].meters))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_capture_and_not_the_reading(
    desk: MeterDesk, plug: Callable[..., MeterTerminal]
):
    key = desk.connect(Connection(plug("sml", "7").port, "sml", interval_s=0.02))
    desk.line(key).start_capture(Path("/dev/full"))
    (view,) = until(desk, lambda v: bool(v[0].capture_problem))
    before = view.meters[0].count if view.meters else 0
    until(desk, lambda v: bool(v[0].meters) and v[0].meters[0].count > before + 3)
    assert "space" in desk.line(key).stop_capture()


def test_the_wallets_own_line_stands_first_and_cannot_be_closed(
    desk: MeterDesk, plug: Callable[..., MeterTerminal]
):
    first = desk.connect(Connection(plug("sml", "7").port, "sml", interval_s=0.02))
    taken: list[object] = []

    def take(reading: object) -> Verdict:
        taken.append(reading)
        return Verdict(False, ("register_back",), ask="was it exchanged?")

    own = desk.add_own(
        Connection(plug("sml", "8").port, "sml", interval_s=0.02), take, lambda _: None
    )
    desk.run(own)
    views = until(desk, lambda v: bool(v[0].meters) and v[0].meters[0].rejected > 1)
    assert [v.key for v in views] == [own.key, first]
    assert views[0].question == "was it exchanged?"
    assert taken
    with pytest.raises(DeskError, match="choose another one"):
        desk.disconnect(own.key)
