"""The field tester's test of a meter: start it, watch it, keep its report."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from wallet_app import files
from wallet_app import format as fmt
from wallet_app.failures import explain
from wallet_app.gui import pdf
from wallet_app.gui.dialogs import show_error
from wallet_app.gui.op import Op
from wallet_app.gui.widgets import Card, Facts, button, label
from wallet_app.i18n import tr
from wallet_app.meter.desk import DeskError, LineView, MeterLine
from wallet_app.meter.report import Report, table
from wallet_app.meter.report_html import report_html

_COUNT = 20


class ReportView(QWidget):
    """A test of the chosen line, or of all at once, and the report of the last one.

    ``lines`` gives the lines there are; ``said`` is for the notice.
    """

    said = Signal(str, str)

    def __init__(self, lines: Callable[[], list[MeterLine]]) -> None:
        super().__init__()
        self._lines = lines
        self._line: MeterLine | None = None
        self._testing: list[MeterLine] = []
        self.reports: list[Report] = []
        card = Card(tr("Test"))
        card.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        row = QHBoxLayout()
        self.count = QSpinBox()
        self.count.setRange(1, 10_000)
        self.count.setValue(_COUNT)
        self.count.setMinimumHeight(26)
        self.count.setAccessibleName(tr("Readings to take"))
        self.all = QCheckBox(tr("All meters at once"))
        self.start = button(tr("Start the test"), self._start, kind="primary")
        self.finish = button(tr("End it now"), self.end)
        self._doing = label("", "muted")
        row.addWidget(label(tr("Readings to take")))
        row.addWidget(self.count)
        row.addWidget(self.all)
        row.addWidget(self.start)
        row.addWidget(self.finish)
        row.addWidget(self._doing, 1)
        card.body.addLayout(row)
        self._result = Card(tr("Report"))
        self._advice = label("", "strong", wrap=True)
        self._facts = Facts()
        self._values = {
            name: self._facts.add(title)
            for name, title in (
                ("meter", tr("Meter number")),
                ("readings", tr("Readings")),
                ("damaged", tr("Damaged frames")),
                ("missed", tr("Polls without an answer")),
                ("aside", tr("Readings set aside")),
                ("interval", tr("Seconds between readings")),
                ("reply", tr("Seconds from request to answer")),
            )
        }
        self._result.body.addWidget(self._advice)
        self._result.body.addWidget(self._facts)
        exports = QHBoxLayout()
        exports.addStretch(1)
        exports.addWidget(button(tr("Save as PDF …"), self._ask_pdf))
        exports.addWidget(button(tr("Save as CSV …"), self._ask_csv))
        self._result.body.addLayout(exports)
        self._result.body.addStretch(1)
        self._hint = label(
            tr(
                "A test takes some readings and reports identification, values, timing, error "
                "rates and the raw log."
            ),
            "muted",
            wrap=True,
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(10)
        layout.addWidget(card)
        layout.addWidget(self._hint)
        layout.addWidget(self._result, 4)
        filler = QFrame()
        layout.addWidget(filler, 1)
        self._show_reports([])

    @property
    def report(self) -> Report | None:
        """Return the report of the last test's first line."""
        return self.reports[0] if self.reports else None

    def show_line(self, line: MeterLine | None, view: LineView | None) -> None:
        """Show how the test stands; one that has all its readings ends here."""
        self._line = line
        views = [each.view() for each in self._testing]
        if views and all(v.test_done >= v.test_wanted for v in views):
            self.end()
        running = bool(self._testing)
        usable = line is not None and not (view and view.replayed)
        self.start.setEnabled(not running and (usable or self.all.isChecked()))
        self.start.setVisible(not running)
        self.finish.setVisible(running)
        self.count.setEnabled(not running)
        self.all.setEnabled(not running)
        if not running:
            self._doing.setText("")
            return
        done, wanted = sum(v.test_done for v in views), sum(v.test_wanted for v in views)
        self._doing.setText(tr("{done} of {wanted} readings", done=done, wanted=wanted))

    def _start(self) -> None:
        chosen = [self._line] if self._line is not None else []
        self._testing = self._lines() if self.all.isChecked() else chosen
        for line in self._testing:
            line.start_test(self.count.value())
        if self._testing:
            self._show_reports([])

    def end(self) -> None:
        """End the running test and show its report."""
        lines, self._testing = self._testing, []
        reports = []
        for line in lines:
            try:
                reports.append(line.finish_test())
            except DeskError as error:
                self.said.emit(explain(error), "warning")
        self._show_reports(reports)

    def _show_reports(self, reports: list[Report]) -> None:
        self.reports = reports
        self._result.setVisible(bool(reports))
        self._hint.setVisible(not reports)
        meters = [meter for line in reports for meter in line.meters()]
        one = len(meters) == 1
        self._facts.setVisible(one)
        if one:
            self._show_figures(meters[0])
        else:
            lines = [f"{', '.join(m.meter_ids) or m.port}: {m.advice()}" for m in meters]
            self._advice.setText("\n".join(fmt.foreign(text, 300) for text in lines))

    def _show_figures(self, report: Report) -> None:
        figures = report.to_json()
        self._advice.setText(fmt.foreign(report.advice(), 300))
        texts = {
            "meter": fmt.foreign(", ".join(report.meter_ids), 80) or fmt.DASH,
            "readings": fmt.count(len(report.readings)),
            "damaged": f"{figures['bad_frames']} ({figures['damaged_percent']} %)",
            "missed": f"{figures['missed_polls']} / {figures['polls']}",
            "aside": fmt.count(report.rejected()),
            "interval": _spread(figures["interval_s"]),
            "reply": _spread(figures["reply_s"]),
        }
        for name, text in texts.items():
            self._values[name].setText(text)

    # ---- exports

    def _ask_pdf(self) -> None:
        kinds = f"{tr('PDF document')} (*.pdf);;{tr('Web page')} (*.html)"
        path = self._ask(tr("Save the report"), ".pdf", kinds)
        if path is not None:
            self.export_document(path)

    def _ask_csv(self) -> None:
        path = self._ask(tr("Save the report"), ".csv", "CSV (*.csv)")
        if path is not None:
            self.export_csv(path)

    def export_document(self, path: Path) -> None:
        """Write the report to ``path``: HTML by its suffix, else PDF."""
        reports = self.reports
        if not reports:
            return

        def work() -> None:
            page = report_html(*reports)
            if path.suffix.lower() in (".html", ".htm"):
                files.write_atomically(path, page.encode())
            else:
                pdf.write_pdf(page, path)

        self._export(path, Op(self, work))

    def export_csv(self, path: Path) -> None:
        """Write the report's readings to ``path``."""
        if self.reports:
            data = table(self.reports).encode()
            self._export(path, Op(self, lambda: files.write_atomically(path, data)))

    def _export(self, path: Path, work: Op[None]) -> None:
        written = tr("Written: {path}", path=str(path))
        failed = tr("{path} was not written.", path=str(path))
        work.success(lambda _: self.said.emit(written, "good")).failure(
            lambda error: show_error(self, failed, error)
        ).run()

    def _ask(self, title: str, suffix: str, kinds: str) -> Path | None:
        report = self.report
        known = report.meter_ids if report and len(self.reports) == 1 else []
        number = known[0] if len(known) == 1 else "meters" if self.reports[1:] else "meter"
        name = "".join(c for c in number if c.isalnum()) or "meter"
        chosen, _ = QFileDialog.getSaveFileName(
            self, title, str(Path.home() / f"{name}-test{suffix}"), kinds
        )
        if not chosen:
            return None
        path = Path(chosen)
        return path if path.suffix else path.with_suffix(suffix)


def _spread(figures: dict[str, float]) -> str:
    if not figures:
        return fmt.DASH
    return f"{figures['shortest']} / {figures['mean']} / {figures['longest']}"
