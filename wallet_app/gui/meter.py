"""Meters: what is connected, what it says, what goes over the line, and a test to keep."""

import contextlib
import threading
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QStackedWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from wallet_app import format as fmt
from wallet_app.failures import explain
from wallet_app.gui.meter_connect import ChoiceError, ConnectBar
from wallet_app.gui.meter_raw import RawView, plain_table
from wallet_app.gui.meter_report import ReportView
from wallet_app.gui.meter_table import MeterTable, Row
from wallet_app.gui.meter_values import ValuesView
from wallet_app.gui.op import Op
from wallet_app.gui.page import Page
from wallet_app.gui.theme import Theme
from wallet_app.gui.widgets import Notice, Segmented, button, label, set_tip
from wallet_app.i18n import tr
from wallet_app.meter.desk import Connection, DeskError, LineView, MeterDesk, MeterLine
from wallet_app.meter.detect import Detection
from wallet_app.meter.dialogue import PROTOCOLS
from wallet_app.meter.roles import Role
from wallet_app.meter.words import role_short, role_words
from wallet_app.trading.lines import adopted, assigned, role_of
from wallet_app.trading.preferences import Preferences
from wallet_app.trading.view import Change, WalletView


class MeterPage(Page):
    """All meters of this machine; ``preferences`` None where there is no wallet to feed."""

    key = "meter"
    icon = "meter"
    _progress = Signal(int, int, str)

    def __init__(self, theme: Theme, desk: MeterDesk, preferences: Preferences | None) -> None:
        super().__init__(tr("Meters"))
        self._desk, self._preferences = desk, preferences
        self._views: tuple[LineView, ...] = ()
        self._searching: threading.Event | None = None
        self.bar = ConnectBar(theme, desk)
        self.notice = Notice(theme)
        self.notice.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self._question = _Question(theme)
        self.table = MeterTable(theme)
        self._none = label(
            tr(
                "No meter is connected. Plug the adapter in, choose its port and press the button: "
                "protocol, speed and number are found within 30 seconds."
            ),
            "muted",
            wrap=True,
        )
        self.values, self.raw = ValuesView(), RawView(theme)
        self.report = ReportView(self._tested)
        self.search = _SearchView()
        self.tabs = Segmented(
            tr("Show"),
            [
                ("values", tr("Values"), tr("Everything the meter says")),
                ("raw", tr("Raw bytes"), tr("What goes over the line, explained byte by byte")),
                ("test", tr("Test"), tr("A test report to keep")),
                ("search", tr("Search"), tr("What the last search tried and what came back")),
            ],
        )
        self._stack = QStackedWidget()
        for view in (self.values, self.raw, self.report, self.search):
            self._stack.addWidget(view)
        self._build()
        self._wire()
        self.open_tab("values")

    def _build(self) -> None:
        self.capture = button(tr("Capture …"), self._ask_capture)
        self.own = button(tr("Use for the wallet"), self.use_for_wallet)
        self.close_line = button(tr("Disconnect"), self.disconnect_line)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.tabs)
        row.addStretch(1)
        self.role = QComboBox()
        for role in (None, *Role):
            self.role.addItem(role_words(role), str(role or ""))
        self.role.setAccessibleName(tr("What this meter is for"))
        self.role.setMinimumHeight(26)
        # Its longest choice must not set how narrow the window can be; the list shows it whole.
        self.role.setMinimumContentsLength(16)
        self.role.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        set_tip(
            self.role,
            tr(
                "With several meters only those at the grid connection count for trading: they are "
                "added up, and a slot that one of them did not measure is not reported."
            ),
        )
        for each in (self.role, self.capture, self.own, self.close_line):
            row.addWidget(each)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 12, 14, 12)
        layout.setSpacing(8)
        layout.addWidget(self.bar)
        layout.addWidget(self.notice)
        layout.addWidget(self._question)
        layout.addWidget(self._none)
        layout.addWidget(self.table)
        layout.addLayout(row)
        layout.addWidget(self._stack, 1)

    def _wire(self) -> None:
        self.bar.wanted.connect(self.connect_meter)
        self.bar.stop.connect(self.stop_search)
        self.bar.replay.connect(self._ask_replay)
        self.table.picked.connect(lambda *_: self._show_chosen())
        self.tabs.chosen.connect(self.open_tab)
        self.report.said.connect(self.notice.say)
        self._progress.connect(self._show_progress)
        self._question.answered.connect(self._answer)
        self.role.activated.connect(
            lambda _: self.assign(
                Role(self.role.currentData()) if self.role.currentData() else None
            )
        )
        stop = threading.Event()
        self._gone = stop
        self.destroyed.connect(lambda: stop.set())

    # ---- showing

    def refresh(self, view: WalletView, changes: frozenset[Change]) -> None:
        """Show how the lines stand; a snapshot of the wallet tells nothing more."""
        self.tick()

    def showEvent(self, event: object) -> None:
        """Look for ports whenever the page is opened."""
        super().showEvent(event)  # type: ignore[arg-type]
        self.bar.look()

    def tick(self) -> None:
        """Show how the lines stand at this moment."""
        self._views = self._desk.views()
        self._none.setVisible(not self._views)
        self.table.setVisible(bool(self._views))
        self.table.refresh(self._views, self._desk.clock.now(), self._role_words)
        self._show_chosen()

    def open_tab(self, name: str) -> None:
        """Show the view ``name``: values, raw, test or search."""
        self.tabs.set_value(name)
        order = ("values", "raw", "test", "search")
        self._stack.setCurrentIndex(order.index(name))
        self._show_chosen()

    def _line(self) -> MeterLine | None:
        row = self.table.row_chosen
        if row is None:
            return None
        try:
            return self._desk.line(row.line.key)
        except DeskError:
            return None

    def _tested(self) -> list[MeterLine]:
        """Return the lines a test of all meters is of."""
        found = []
        for view in self._desk.views():
            with contextlib.suppress(DeskError):  # closed a moment ago
                found += [] if view.replayed else [self._desk.line(view.key)]
        return found

    def _show_chosen(self) -> None:
        row, line = self.table.row_chosen, self._line()
        view = row.line if row is not None and line is not None else None
        shown = self._stack.currentWidget()
        if shown is self.values:
            self.values.show_row(row, self._desk.clock.now())
        elif shown is self.raw:
            self.raw.show_line(line)
        # A test goes on, and ends, whatever is looked at meanwhile.
        self.report.show_line(line, view)
        capturing = bool(view and view.capture)
        self.capture.setText(tr("End the capture") if capturing else tr("Capture …"))
        self.capture.setEnabled(view is not None and not view.replayed)
        self.close_line.setEnabled(view is not None and not view.own)
        usable = view is not None and not view.own and not view.replayed
        self.own.setVisible(self._preferences is not None)
        self.own.setEnabled(usable)
        self._show_role(row if view is not None else None)
        self._question.ask(view.question if view else "")
        if view is not None and view.capture_problem:
            self.notice.say(
                tr("The capture is not whole: {why}", why=view.capture_problem), "error"
            )

    # ---- connecting

    def connect_meter(self) -> None:
        """Connect as entered; search first where the protocol is to be found out."""
        self.notice.say("")
        try:
            choice = self.bar.choice()
        except ChoiceError as error:
            self.notice.say(explain(error))
            return
        if choice.protocol:
            self._connect(choice.connection())
            return
        stop = threading.Event()
        self._searching = stop
        self.bar.show_searching(0)

        def progress(done: int, total: int, text: str) -> None:
            if self._gone.is_set():
                stop.set()
            else:
                self._progress.emit(done, total, text)

        def found(result: Detection) -> None:
            self.search.show_detection(choice.port, result)
            if result.found is None:
                self.notice.say(result.advice, "warning")
                self.open_tab("search")
                return
            connection = Connection.found(
                choice.port, result.found, choice.options, choice.interval_s
            )
            self._connect(replace(connection, identity=choice.identity))

        address = choice.options.address or ""
        Op(self, lambda: self._desk.detect(choice.port, progress, stop, address)).finally_(
            self._searched
        ).success(found).failure(self._failed).run()

    def _searched(self) -> None:
        self._searching = None
        self.bar.show_searching(None)

    def _show_progress(self, done: int, total: int, text: str) -> None:
        if self._searching is not None:
            self.bar.show_searching(100 * done // max(total, 1), text)

    def stop_search(self) -> None:
        """End a search that is going on."""
        if self._searching is not None:
            self._searching.set()

    def _connect(self, connection: Connection) -> None:
        def connected(key: str) -> None:
            self.tick()
            self.table.choose(key)
            if self.tabs.value() == "search":
                self.open_tab("values")

        Op(self, lambda: self._desk.connect(connection)).success(connected).failure(
            self._failed
        ).run_in_order()

    def disconnect_line(self) -> None:
        """Close the chosen line."""
        row = self.table.row_chosen
        if row is None:
            return
        key = row.line.key
        Op(self, lambda: self._desk.disconnect(key)).success(lambda _: self.tick()).failure(
            self._failed
        ).run_in_order()

    def use_for_wallet(self) -> None:
        """Let the wallet read the chosen meter from now on, at later starts too."""
        row, preferences = self.table.row_chosen, self._preferences
        if row is None or preferences is None:
            return
        changes = adopted(preferences.settings, self._views, row.line)
        Op(self, lambda: preferences.change(**changes)).success(
            lambda _: self.notice.say(tr("The wallet reads this meter now."), "good")
        ).failure(self._failed).run_in_order()

    def assign(self, role: Role | None) -> None:
        """Say what the chosen meter is for; None takes it from the wallet."""
        row, preferences = self.table.row_chosen, self._preferences
        if row is None or preferences is None or row.meter is None or row.line.replayed:
            return
        changes = assigned(preferences.settings, self._views, row.line, row.meter.meter_id, role)
        Op(self, lambda: preferences.change(**changes)).success(lambda _: self.tick()).failure(
            self._failed
        ).run_in_order()

    def _role(self, row: Row) -> Role | None:
        if self._preferences is None or row.meter is None or row.line.replayed:
            return None
        settings, meter = self._preferences.settings, row.meter.meter_id
        role = role_of(settings, row.line.connection, meter)
        only = row.line.own and not settings["meter_roles"] and len(row.line.meters) == 1
        return Role.GRID if only else role

    def _role_words(self, row: Row) -> str:
        role = self._role(row)
        several = self._preferences is not None and self._preferences.settings["meter_roles"]
        return role_short(role) if several and role is not None else ""

    def _show_role(self, row: Row | None) -> None:
        self.role.setVisible(self._preferences is not None)
        usable = row is not None and row.meter is not None and not row.line.replayed
        self.role.setEnabled(usable)
        if not self.role.view().isVisible():  # somebody is choosing
            self.role.setCurrentIndex(self.role.findData(str((row and self._role(row)) or "")))

    def _failed(self, error: Exception) -> None:
        self.notice.say(fmt.foreign(explain(error), 400), "error")

    def _answer(self, was_reset: bool) -> None:
        line = self._line()
        if line is not None:
            line.answer(was_reset=was_reset)
            self.tick()

    # ---- capture and replay

    def _ask_capture(self) -> None:
        line = self._line()
        if line is None:
            return
        if line.view().capture:
            self.end_capture(line)
            return
        name = str(Path.home() / "meter-capture.txt")
        chosen, _ = QFileDialog.getSaveFileName(self, tr("Capture to a file"), name)
        if chosen:
            self.start_capture(line, Path(chosen))

    def start_capture(self, line: MeterLine, path: Path) -> None:
        """Keep every byte of ``line`` in ``path``."""
        text = tr("Every byte is kept in {file}.", file=str(path))
        Op(self, lambda: line.start_capture(path)).success(
            lambda _: self.notice.say(text, "good")
        ).failure(self._failed).run_in_order()

    def end_capture(self, line: MeterLine) -> None:
        """End the capture of ``line``."""

        def ended(problem: str) -> None:
            if problem:
                self.notice.say(tr("The capture is not whole: {why}", why=problem), "error")
            else:
                self.notice.say(tr("The capture has ended."), "good")

        Op(self, line.stop_capture).success(ended).failure(self._failed).run_in_order()

    def _ask_replay(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, tr("Play a capture back"), str(Path.home()))
        if not chosen:
            return
        protocol = str(self.bar.protocol.currentData() or "")
        if not protocol:
            names = list(PROTOCOLS.values())
            name, good = QInputDialog.getItem(
                self, tr("Play a capture back"), tr("Protocol"), names, 0, False
            )
            if not good:
                return
            protocol = next(key for key, value in PROTOCOLS.items() if value == name)
        self.start_replay(Path(chosen), protocol)

    def start_replay(self, path: Path, protocol: str) -> None:
        """Play the capture in ``path`` back, as fast as it was."""
        try:
            options = self.bar.options()
        except ChoiceError as error:
            self.notice.say(explain(error))
            return

        def started(key: str) -> None:
            self.tick()
            self.table.choose(key)
            self.open_tab("raw")

        Op(self, lambda: self._desk.replay(path, protocol, options, 1.0)).success(started).failure(
            self._failed
        ).run_in_order()


class _Question(QWidget):
    """What the plausibility rules want to know, with the two answers."""

    answered = Signal(bool)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._notice = Notice(theme)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._notice, 1)
        row.addWidget(button(tr("Yes, begin anew"), lambda: self.answered.emit(True)))
        row.addWidget(button(tr("No"), lambda: self.answered.emit(False)))
        self.hide()

    def ask(self, text: str) -> None:
        """Show the question; "" hides it."""
        self._notice.say(fmt.foreign(text, 300))
        self.setVisible(bool(text))


class _SearchView(QWidget):
    """What the last search tried, what came back, and the advice."""

    def __init__(self) -> None:
        super().__init__()
        self._heads = [tr("Tried"), tr("Speed and format"), tr("What came back")]
        self.table = plain_table(self._heads, tr("What the last search tried"), stretch=2)
        self._advice = label(tr("Nothing has been searched yet."), "muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._advice)
        layout.addWidget(self.table, 1)

    def show_detection(self, port: str, result: Detection) -> None:
        """Show the steps of a search on ``port``."""
        found = result.found
        text = tr("{port}: {result}", port=port, result=result.advice)
        if found is not None:
            name = PROTOCOLS[found.protocol]
            number = fmt.foreign(found.meter_id, 60) or fmt.DASH
            text = tr(
                "{port}: {protocol} at {speed}, meter {number}",
                port=port,
                protocol=f"{name} ({found.profile})" if found.profile else name,
                speed=found.link,
                number=number,
            )
        self._advice.setText(text)
        self.table.setRowCount(len(result.attempts))
        for row, attempt in enumerate(result.attempts):
            for column, part in enumerate((attempt.what, str(attempt.link), attempt.result)):
                item = QTableWidgetItem(fmt.foreign(part, 200))
                item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{self._heads[column]}: {part}")
                self.table.setItem(row, column, item)
