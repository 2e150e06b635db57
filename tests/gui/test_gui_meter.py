"""The meter page over real simulated meters on pseudo-terminals, and over recorded ones."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PySide6.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit
from pytestqt.qtbot import QtBot

from light_node.clock import SystemClock
from tests.gui.fake_source import FakeSource, fake_desk, fake_reading
from wallet_app import i18n
from wallet_app.gui import app, settings, theme
from wallet_app.gui.meter import MeterPage
from wallet_app.gui.meter_window import MeterWindow
from wallet_app.meter.channel import Timing
from wallet_app.meter.desk import Connection, LineView, MeterDesk
from wallet_app.meter.dialogue import Options
from wallet_app.meter.events import Reading
from wallet_app.meter.plausibility import Verdict
from wallet_app.meter.ports import PortError, PortInfo
from wallet_app.meter.roles import Role
from wallet_app.settings import Settings
from wallet_app.trading.lines import Meter, adopted
from wallet_app.trading.preferences import Preferences

QUICK = Timing(reply_s=0.3, retry_s=0.01, between_s=0.0, reopen_s=0.05, pace=0.1)
NUMBER = "202611200001"


def cells(page: MeterPage, row: int) -> list[str]:
    items = [page.table.item(row, column) for column in range(page.table.columnCount())]
    return [item.text() if item else "" for item in items]


@pytest.fixture
def page(qtbot: QtBot, tmp_path: Path) -> MeterPage:
    made = MeterPage(theme.LIGHT, fake_desk(), Preferences(tmp_path, Settings()))
    qtbot.addWidget(made)
    made.resize(960, 540)
    made.show()
    made.tick()
    return made


def test_a_row_for_every_meter_with_state_power_registers_and_quality(page: MeterPage) -> None:
    rows = [cells(page, row) for row in range(page.table.rowCount())]
    assert rows[0] == [
        NUMBER, "/dev/ttyUSB0", "reading", "−1.24 kW", "1234.56", "4459.5", "2 s", "0.0 %", "1",
        "+17 s", "",
    ]  # fmt: skip
    assert rows[2][:4] == ["sdm630-unit-8", "/dev/ttyUSB8", "no answer", "+12.84 kW"]


def test_all_columns_fit_a_small_screen(qtbot: QtBot, tmp_path: Path) -> None:
    app.application(settings.WindowSettings(), UTC)  # with the style sheet, which widens things
    page = MeterPage(theme.LIGHT, fake_desk(), Preferences(tmp_path, Settings()))
    qtbot.addWidget(page)
    page.resize(960, 540)
    page.show()
    page.tick()
    assert page.table.horizontalScrollBar().maximum() == 0
    assert page.minimumSizeHint().width() <= 960


def test_the_wallets_own_meter_stays_and_feeds_it_already(page: MeterPage) -> None:
    assert not page.close_line.isEnabled()
    assert not page.own.isEnabled()
    page.table.selectRow(1)
    assert page.close_line.isEnabled()
    assert page.own.isEnabled()


def test_everything_the_commands_can_be_told_can_be_entered(qtbot: QtBot, page: MeterPage) -> None:
    bar = page.bar
    bar.port.setEditText("COM5")
    bar.protocol.setCurrentIndex(bar.protocol.findData("dlms"))
    bar.mode.setCurrentIndex(bar.mode.findData("pull"))
    bar.address.setText("1.17")
    bar.password.setText("12345678")
    bar.interval.setValue(30)
    connection = bar.choice().connection()
    assert connection.interval_s == 30
    assert connection.options == Options(address="1.17", ask=True, password=b"12345678")
    # And the wallet can be told as much.
    view = LineView("x", connection, page._views[0].status)
    settings = Settings().changed(**adopted(Settings(), (), view))
    meter = Meter.of(settings)
    assert meter is not None
    assert meter.connection().options == connection.options


def test_a_further_meter_gets_a_role(qtbot: QtBot, page: MeterPage) -> None:
    preferences = page._preferences
    assert preferences is not None
    preferences.change(meter_port="/dev/ttyUSB0")
    page.tick()
    assert page.role.currentData() == Role.GRID  # the only meter needs no word
    assert page.table.isColumnHidden(10)
    page.table.selectRow(1)
    assert page.role.currentData() == ""
    page.role.setCurrentIndex(page.role.findData(str(Role.GENERATION)))
    page.role.activated.emit(page.role.currentIndex())
    qtbot.waitUntil(lambda: "generation" in preferences.settings["meter_roles"])
    page.tick()
    assert [cells(page, row)[10] for row in range(3)] == [
        "grid", "roof", "",
    ]  # fmt: skip
    assert page.role.currentData() == Role.GENERATION
    assert page.table.horizontalScrollBar().maximum() == 0


def test_the_choice_stays_on_its_meter_while_others_come_and_go(page: MeterPage) -> None:
    page.table.selectRow(2)
    chosen = page.table.row_chosen
    assert chosen is not None
    page._desk.disconnect(page._desk.views()[1].key)
    page.tick()
    assert page.table.row_chosen is not None
    assert page.table.row_chosen.key == chosen.key
    assert page.table.currentRow() == 1


def test_raw_bytes_are_explained_field_by_field(qtbot: QtBot, page: MeterPage) -> None:
    page.open_tab("raw")
    raw = page.raw
    qtbot.waitUntil(lambda: raw.fields.rowCount() > 5)
    named = [raw.fields.item(row, 2).text().strip() for row in range(raw.fields.rowCount())]
    meanings = [raw.fields.item(row, 3).text() for row in range(raw.fields.rowCount())]
    assert named[0] == "Wake-up bytes"
    assert "1234.56 kWh" in meanings
    # New bytes come while an older turn is read: the view stays where the reader is.
    raw.follow.setChecked(False)
    raw.turns.selectRow(0)
    qtbot.waitUntil(
        lambda: (
            "request: read"
            in [raw.fields.item(row, 3).text() for row in range(raw.fields.rowCount())]
        )
    )
    line = page._desk.line(page._desk.views()[0].key)
    line.tap(True, b"\x68")
    page.tick()
    assert raw.turns.currentRow() == 0
    assert raw.turns.rowCount() == 3


def test_a_test_ends_by_itself_and_its_report_is_kept(
    qtbot: QtBot, page: MeterPage, tmp_path: Path
) -> None:
    page.open_tab("test")
    page.report.count.setValue(2)
    page.report.start.click()
    page.tick()
    assert page.report.finish.isVisible()
    line = page._desk.line(page._desk.views()[0].key)
    page.open_tab("values")  # a test goes on whatever is looked at
    for power in ("-1000", "-1100"):
        line.take_reading(fake_reading(NUMBER, power_w=power, import_kwh="1234.57"))
    page.tick()
    report = page.report.report
    assert report is not None
    assert [str(r.values["power_w"]) for r in report.readings] == ["-1000", "-1100"]
    page.open_tab("test")
    for name, start in (("r.pdf", b"%PDF"), ("r.html", b"<!DOCTYPE"), ("r.csv", b"host_time")):
        export = page.report.export_csv if name == "r.csv" else page.report.export_document
        with qtbot.waitSignal(page.report.said, timeout=10_000) as said:
            export(tmp_path / name)
        assert said.args[1] == "good"
        assert (tmp_path / name).read_bytes().startswith(start)


def test_all_meters_are_tested_at_once(page: MeterPage, tmp_path: Path) -> None:
    page.open_tab("test")
    page.report.count.setValue(1)
    page.report.all.setChecked(True)
    page.report.start.click()
    page.tick()
    assert "0 of" in page.report._doing.text()
    lines = [page._desk.line(view.key) for view in page._desk.views()]
    for number, line in enumerate(lines):
        line.take_reading(fake_reading(f"M{number}", import_kwh="5"))
    page.tick()
    assert [r.meter_ids for r in page.report.reports] == [[f"M{n}"] for n in range(len(lines))]
    assert not page.report._facts.isVisible()
    assert page.report._advice.text().count("\n") == len(lines) - 1
    assert page.report.start.isVisible()


def test_a_question_is_answered_once(page: MeterPage) -> None:
    desk = page._desk
    answers: list[bool] = []
    verdict = Verdict(False, ("register_back",), ask="was the meter exchanged?")
    line = desk.add_own(
        Connection("/dev/ttyUSB0"), lambda _: verdict, lambda _: None, lambda: answers.append(True)
    )
    line.take_reading(fake_reading(NUMBER, import_kwh="1"))
    page.tick()
    page.table.choose(line.key)
    page.tick()
    assert page._question.isVisible()
    assert "Set aside: the register stepped back" in page.values._odd.text()
    page._question.answered.emit(True)
    assert answers == [True]
    assert not page._question.isVisible()


def test_what_a_meter_says_is_shown_as_plain_text(page: MeterPage) -> None:
    line = page._desk.line(page._desk.views()[0].key)
    line.take_reading(fake_reading("<b>7</b>\u202e", import_kwh="1"))
    page.tick()
    texts = [cells(page, row)[0] for row in range(page.table.rowCount())]
    assert "<b>7</b>" in texts


def test_everything_has_a_name_for_screen_readers(page: MeterPage) -> None:
    page.bar.more.click()
    for press in page.findChildren(QAbstractButton):
        inside = isinstance(press.parent(), QComboBox)
        # Without a text or a name a screen reader says nothing but "button".
        assert inside or press.accessibleName() or press.text() or not press.isVisible(), press
    for kind in (QComboBox, QAbstractSpinBox):
        for widget in page.findChildren(kind):
            assert widget.accessibleName(), widget
    for field in page.findChildren(QLineEdit):
        inside = isinstance(field.parent(), QComboBox | QAbstractSpinBox)
        assert inside or field.accessibleName(), field


def test_both_languages(qtbot: QtBot, tmp_path: Path) -> None:
    i18n.use_language("zh_CN")
    made = MeterPage(theme.DARK, fake_desk(), Preferences(tmp_path, Settings()))
    qtbot.addWidget(made)
    made.show()
    made.tick()
    assert cells(made, 0)[2] == "正在读取"
    assert made.bar.begin.text() == "查找并连接"


def test_nothing_connected_says_how_to_begin(qtbot: QtBot, tmp_path: Path) -> None:
    desk = MeterDesk(SystemClock(), port_list=list)
    made = MeterPage(theme.LIGHT, desk, None)
    qtbot.addWidget(made)
    made.show()
    made.tick()
    assert made._none.isVisible()
    assert not made.own.isVisible()
    made.connect_meter()
    assert "plug the adapter in" in made.notice.text.text()


def test_a_port_nobody_may_open_is_told_with_the_command(qtbot: QtBot, tmp_path: Path) -> None:
    text = "this user may not open /dev/ttyUSB0: run 'sudo usermod -aG dialout $USER'"

    def refuse(_device: str, _link: object) -> object:
        raise PortError(text)

    desk = MeterDesk(SystemClock(), port_list=list, port_factory=refuse)  # type: ignore[arg-type]
    made = MeterPage(theme.LIGHT, desk, None)
    qtbot.addWidget(made)
    made.show()
    made.bar.port.setEditText("/dev/ttyUSB0")
    made.connect_meter()
    qtbot.waitUntil(lambda: "usermod" in made.notice.text.text())
    assert made.bar.begin.isVisible()


@pytest.mark.parametrize(
    ("enter", "words"),
    [
        (lambda bar: bar.key.setText("xyz"), "hex digits"),
        (lambda bar: bar.link.setText("fast"), "9600 8N1"),
    ],
)
def test_what_cannot_be_used_is_named(
    page: MeterPage, enter: Callable[[object], None], words: str
) -> None:
    page.bar.port.setEditText("COM5")
    enter(page.bar)
    page.connect_meter()
    assert words in page.notice.text.text()


if sys.platform != "win32":
    from wallet_app.meter.simulator import meters
    from wallet_app.meter.simulator.home import HomeState
    from wallet_app.meter.simulator.terminal import MeterTerminal

    STATE = HomeState(datetime(2026, 6, 21, 9, tzinfo=UTC), 2000, 500, 0, 0, 12_345_678, 9_999, 231)

    @pytest.fixture
    def live(qtbot: QtBot, tmp_path: Path) -> Iterator[tuple[MeterPage, MeterTerminal, MeterDesk]]:
        device = meters.make("dlt645", NUMBER, lambda: STATE)
        device._delay = 0.0  # type: ignore[attr-defined]
        terminal = MeterTerminal(device)
        info = [PortInfo(terminal.port, "adapter", "0403:6001:A1", likely=True)]
        desk = MeterDesk(SystemClock(), port_list=lambda: info, timing=QUICK, detect_scale=0.06)
        page = MeterPage(theme.LIGHT, desk, Preferences(tmp_path, Settings()))
        qtbot.addWidget(page)
        page.show()
        yield page, terminal, desk
        desk.close()
        terminal.close()

    def test_find_connect_watch_capture_replay_and_disconnect(
        qtbot: QtBot, live: tuple[MeterPage, MeterTerminal, MeterDesk], tmp_path: Path
    ) -> None:
        page, terminal, desk = live
        qtbot.waitUntil(lambda: page.bar.port.count() == 1)
        page.bar.begin.click()
        qtbot.waitUntil(lambda: page.bar.halt.isVisible())

        def shown() -> list[str]:
            page.tick()
            return cells(page, 0) if page.table.rowCount() else []

        qtbot.waitUntil(lambda: NUMBER in shown(), timeout=20_000)
        assert page.bar.begin.isVisible()
        assert page.search.table.rowCount() >= 1
        assert "DL/T 645-2007" in page.search._advice.text()
        line, file = desk.line(desk.views()[0].key), tmp_path / "capture.txt"
        page.start_capture(line, file)
        qtbot.waitUntil(lambda: bool(desk.views()[0].capture))
        before = desk.views()[0].meters[0].count
        line.session.request_now()  # type: ignore[union-attr]
        qtbot.waitUntil(lambda: desk.views()[0].meters[0].count > before)
        page.end_capture(line)
        qtbot.waitUntil(lambda: not desk.views()[0].capture)
        page.use_for_wallet()
        qtbot.waitUntil(lambda: "reads this meter" in page.notice.text.text())
        assert page._preferences is not None
        assert page._preferences.settings["meter_port"] == terminal.port
        assert page._preferences.settings["meter_adapter"] == "0403:6001:A1"
        page.disconnect_line()
        qtbot.waitUntil(lambda: desk.views() == ())
        page.start_replay(file, "dlt645")
        qtbot.waitUntil(lambda: bool(desk.views()) and bool(desk.views()[0].meters), timeout=20_000)
        page.tick()
        assert cells(page, 0)[2].startswith("replay")

    def test_a_search_is_stopped(
        qtbot: QtBot, live: tuple[MeterPage, MeterTerminal, MeterDesk]
    ) -> None:
        page, terminal, desk = live
        desk._scale = 1.0
        page.bar.port.setEditText(terminal.port)
        page.connect_meter()
        qtbot.waitUntil(lambda: page.bar.halt.isVisible())
        page.bar.halt.click()
        qtbot.waitUntil(lambda: page.bar.begin.isVisible(), timeout=10_000)
        assert "stopped" in page.notice.text.text()


def test_a_window_of_its_own_needs_no_wallet(qtbot: QtBot, tmp_path: Path) -> None:
    desk = MeterDesk(SystemClock(), port_list=list)
    window = MeterWindow(desk, settings.WindowSettings())
    qtbot.addWidget(window)
    window.show()
    assert not window.page.own.isVisible()
    assert window.page._none.isVisible()
    desk.connect(Connection("/dev/no-such-port", "sml"))
    qtbot.waitUntil(lambda: window.page.table.rowCount() == 1)
    qtbot.waitUntil(lambda: "plug in" in window.page.values._text.text())
    window.close()
    assert desk.views() == ()


def test_the_source_of_the_tests_serves_the_whole_window(source: FakeSource) -> None:
    assert [view.own for view in source.meters.views()] == [True, False, False]
    assert isinstance(fake_reading("1"), Reading)
    assert source.meters.views()[1].connection.options == Options(address="7", profile="sdm630")
