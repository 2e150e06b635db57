"""History: a range of slots as sums, bars and table, and its export."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from PySide6.QtCore import QDate, QModelIndex, Qt, QTimer
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDateEdit,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTableView,
    QVBoxLayout,
)

from wallet_app import files
from wallet_app import format as fmt
from wallet_app.failures import explain
from wallet_app.gui import pdf, plots, ranges, statement, words
from wallet_app.gui.dialogs import show_error, show_slot
from wallet_app.gui.history_model import HistoryModel
from wallet_app.gui.op import Op
from wallet_app.gui.page import Page
from wallet_app.gui.ranges import Bars, Span, Totals
from wallet_app.gui.source import WalletSource
from wallet_app.gui.theme import Theme
from wallet_app.gui.widgets import (
    Card,
    Notice,
    Segmented,
    button,
    icon_button,
    label,
    set_tone,
)
from wallet_app.i18n import tr
from wallet_app.trading.view import Change, Proof, SlotView, WalletView

_REFETCH_MS = 1500
_CELL_MARGINS, _ICON = 18, 20
_TABLE_POINTS = 8.5


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one query brings, all computed off the UI thread."""

    slots: tuple[SlotView, ...]
    totals: Totals
    bars: Bars


class SumsRow(QFrame):
    """The sums over the range: the one query that also feeds table, bars and exports."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("card")
        self.setAccessibleName(tr("Sums over the range"))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(14, 8, 14, 8)
        self._values: list[QLabel] = []
        for name in (
            tr("Saved against grid only"),
            tr("Earned on the market"),
            tr("Spent on the market"),
            tr("Grid tariffs"),
            tr("Penalties"),
            tr("Grid only would be"),
            tr("Sold, kWh"),
            tr("Bought, kWh"),
        ):
            column = QVBoxLayout()
            column.setSpacing(0)
            title = label(name, "small", wrap=True)
            title.setAlignment(Qt.AlignmentFlag.AlignBottom)
            value = label("", "strong")
            value.setAccessibleName(name)
            column.addWidget(title, 1)
            column.addWidget(value)
            layout.addLayout(column, 1)
            self._values.append(value)

    def show_totals(self, totals: Totals) -> None:
        """Show ``totals``."""
        money = (
            totals.saved,
            totals.earned,
            totals.spent,
            totals.grid,
            totals.penalty,
            totals.grid_only,
        )
        texts = [fmt.money(amount, sign=True) for amount in money]
        texts += [fmt.kwh(totals.sold_wh), fmt.kwh(totals.bought_wh)]
        for value, text in zip(self._values, texts, strict=True):
            value.setText(text)
        set_tone(self._values[0], "good" if totals.saved > 0 else "")


class HistoryPage(Page):
    """Choose a range, read it, take it along."""

    key = "history"
    icon = "history"

    def __init__(self, theme: Theme, source: WalletSource) -> None:
        super().__init__(tr("History"))
        self._theme = theme
        self._source = source
        self._view: WalletView | None = None
        self._day: date | None = None
        self._followed = True  # the range moves on with market time until the user picks one
        self._running = False
        self._again = False
        self.model = HistoryModel(theme, self)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_REFETCH_MS)
        self._later.timeout.connect(self.fetch)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 14, 14, 14)
        layout.setSpacing(12)
        layout.addLayout(self._toolbar())
        self._notice = Notice(theme)
        layout.addWidget(self._notice)
        self._sums = SumsRow()
        layout.addWidget(self._sums)
        layout.addWidget(self._plot_card(), 2)
        layout.addWidget(self._table_card(), 3)

    # ---- building

    def _toolbar(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        self._spans = Segmented(
            tr("Range"),
            [
                (Span.DAY, tr("Day"), tr("One day by the local calendar")),
                (Span.WEEK, tr("Week"), tr("Monday to Sunday")),
                (Span.MONTH, tr("Month"), tr("One calendar month")),
                (Span.YEAR, tr("Year"), tr("One calendar year")),
                (Span.OWN, tr("Own"), tr("From one day to another")),
            ],
        )
        self._spans.set_value(Span.DAY)
        self._spans.chosen.connect(lambda _: self._range_chosen())
        row.addWidget(self._spans)
        self._back = icon_button(self._theme, "left", tr("Earlier"), lambda: self._move(-1))
        self._forth = icon_button(self._theme, "right", tr("Later"), lambda: self._move(1))
        self._title = label("", "title")
        self._title.setAccessibleName(tr("Shown range"))
        self._from = self._date_edit(tr("First day"))
        self._to = self._date_edit(tr("Last day"))
        for widget in (self._back, self._title, self._forth, self._from, self._to):
            row.addWidget(widget)
        row.addStretch(1)
        csv = button(tr("Export CSV…"), self._ask_csv, shortcut="Ctrl+E")
        paper = button(tr("Statement…"), self._ask_statement, shortcut="Ctrl+S")
        row.addWidget(csv)
        row.addWidget(paper)
        self._show_own(False)
        return row

    def _date_edit(self, name: str) -> QDateEdit:
        edit = QDateEdit()
        edit.setDisplayFormat("yyyy-MM-dd")
        edit.setCalendarPopup(True)
        edit.setAccessibleName(name)
        edit.dateChanged.connect(lambda _: self._range_chosen())
        return edit

    def _plot_card(self) -> Card:
        card = Card(tr("Money with the market and with the grid alone"))
        for text, color, alpha in (
            (tr("with the market"), "accent", 0.85),
            (tr("grid only"), "grid", 0.15),
        ):
            tint = self._theme.color(color)
            card.corner.addWidget(plots.LegendKey(plots.pen(tint, 1), plots.soft(tint, alpha)))
            card.corner.addWidget(label(text, "small"))
        self._plot = plots.MoneyPlot(self._theme)
        card.body.addWidget(self._plot, 1)
        return card

    def _table_card(self) -> Card:
        card = Card(tr("Slots"))
        self._counted = label("", "small")
        card.corner.addWidget(self._counted)
        table = QTableView()
        small = QFont(table.font())
        small.setPointSizeF(_TABLE_POINTS)
        table.setFont(small)
        table.setAccessibleName(tr("Slots"))
        table.setAccessibleDescription(tr("Press Enter for the details of a line"))
        table.setModel(self.model)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setAlternatingRowColors(True)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setTabKeyNavigation(False)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(28)
        table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        head = table.horizontalHeader()
        head.setHighlightSections(False)
        head.setMinimumSectionSize(58)
        head.setStretchLastSection(True)
        table.activated.connect(self._open)
        self._table = table
        self._fit_columns(False)
        card.body.addWidget(table, 1)
        return card

    def _fit_columns(self, dated: bool) -> None:
        # By what the texts can be at most, not by measuring rows: that would touch all of them.
        metrics = self._table.fontMetrics()
        sold = words.quantity(-12_340)
        wide = (
            "2026-06-21 10:00–11:00" if dated else "10:00–11:00",
            sold,
            tr("{energy} at {price}", energy=sold, price="0.6400"),
            sold,
            sold,
            "0.6400",
            "+12.3456",
            "+12.3456",
            "+1.2345",
            "+12.3456",
        )
        for column, text in enumerate(wide):
            # Heads are bold, hence the tenth more.
            head = metrics.horizontalAdvance(self.model.columns[column].head) * 11 // 10
            width = max(metrics.horizontalAdvance(text), head)
            self._table.setColumnWidth(column, width + _CELL_MARGINS)
        # The last takes what is left, which for the usual words is enough in the smallest window.
        proof = metrics.horizontalAdvance(words.proof(Proof.AUDITED))
        self._table.setColumnWidth(len(wide), proof + _ICON + _CELL_MARGINS)

    # ---- range

    def _show_own(self, own: bool) -> None:
        for widget in (self._from, self._to):
            widget.setVisible(own)
        for other in (self._back, self._forth, self._title):
            other.setVisible(not own)

    def days(self) -> tuple[date, date]:
        """Return first day and the day after the last that are shown."""
        span = Span(self._spans.value())
        if span is Span.OWN:
            first, last = (_to_date(edit.date()) for edit in (self._from, self._to))
            return first, max(first, last) + timedelta(days=1)
        return ranges.bounds(span, self._day or _today())

    def _range_chosen(self) -> None:
        own = self._spans.value() == Span.OWN
        if own and not self._from.isVisibleTo(self):
            first, after = ranges.bounds(Span.MONTH, self._day or _today())
            for edit, day in ((self._from, first), (self._to, after - timedelta(days=1))):
                edit.blockSignals(True)
                edit.setDate(QDate(day.year, day.month, day.day))
                edit.blockSignals(False)
        self._show_own(own)
        self.fetch()

    def _move(self, step: int) -> None:
        first, after = self.days()
        self._day = first - timedelta(days=1) if step < 0 else after
        self._followed = False
        self.fetch()

    # ---- data

    def refresh(self, view: WalletView, changes: frozenset[Change]) -> None:
        """Fetch again when the history changed; the first time show the day of market time."""
        self._view = view
        today = fmt.local(view.market_now).date()
        first = self._day is None
        if self._followed:
            self._day = today
        if first:
            self.fetch()
        elif changes & {Change.HISTORY, Change.SLOT} and not self._later.isActive():
            self._later.start()

    def busy(self) -> bool:
        """Return whether a query is under way."""
        return self._running or self._day is None

    def fetch(self) -> None:
        """Query the shown range; while one query runs, at most one more is kept."""
        if self._running:
            self._again = True
            return
        self._running = True
        first, after = self.days()
        self._title.setText(ranges.title(first, after))
        start, end = ranges.instants(first, after)

        def work() -> Loaded:
            slots = self._source.history(start, end)
            return Loaded(slots, ranges.totals(slots), ranges.bars(slots))

        Op(self, work).finally_(self._ended).success(self._show).failure(self._failed).run()

    def _ended(self) -> None:
        self._running = False
        if self._again:
            self._again = False
            self.fetch()

    def _show(self, loaded: Loaded) -> None:
        self._notice.say("")
        selected = self._table.currentIndex().row()
        first, after = self.days()
        dated = after - first > timedelta(days=1)
        self.model.set_slots(loaded.slots, dated=dated)
        self._fit_columns(dated)
        if 0 <= selected < self.model.rowCount():
            self._table.selectRow(selected)
        self._sums.show_totals(loaded.totals)
        bars = loaded.bars
        currency = fmt.foreign(self._view.currency, 12) if self._view else ""
        self._plot.show_bars(bars.labels, bars.with_market, bars.grid_only, currency)
        counted = tr(
            "{slots} slots, {settled} settled",
            slots=fmt.count(len(loaded.slots)),
            settled=fmt.count(loaded.totals.slots),
        )
        if loaded.totals.unverified:
            number = fmt.count(loaded.totals.unverified)
            counted += " · " + tr("{number} not verified", number=number)
        self._counted.setText(counted)

    def _failed(self, error: Exception) -> None:
        reason = fmt.foreign(explain(error))
        self._notice.say(tr("The history cannot be read: {reason}", reason=reason), "error")

    def _open(self, index: QModelIndex) -> None:
        if self._view is not None:
            show_slot(self, self.model.slot(index.row()), self._view.currency)

    # ---- exports

    def _ask_csv(self) -> None:
        path = self._ask_path(tr("Export CSV"), ".csv", "CSV (*.csv)")
        if path is not None:
            self.export_csv(path)

    def export_csv(self, path: Path) -> None:
        """Write the shown range as CSV to ``path``."""
        start, end = ranges.instants(*self.days())
        self._export(path, partial(self._source.export_csv, path, start, end))

    def _ask_statement(self) -> None:
        kinds = f"{tr('PDF document')} (*.pdf);;{tr('Web page')} (*.html)"
        path = self._ask_path(tr("Save the statement"), ".pdf", kinds)
        if path is not None:
            self.export_statement(path)

    def export_statement(self, path: Path) -> None:
        """Write the statement of the shown range to ``path``: HTML by its suffix, else PDF."""
        view = self._view
        if view is None:
            return
        start, end = ranges.instants(*self.days())

        def work() -> None:
            text = statement.statement_html(view, self._source.history(start, end), start, end)
            if path.suffix.lower() in (".html", ".htm"):
                files.write_atomically(path, text.encode())
            else:
                pdf.write_pdf(text, path)

        self._export(path, work)

    def _export(self, path: Path, work: partial[None] | object) -> None:
        assert callable(work)
        written = tr("Written: {path}", path=str(path))
        failed = tr("{path} was not written.", path=str(path))
        Op(self, work).success(lambda _: self._notice.say(written, "good")).failure(
            lambda error: show_error(self, failed, error)
        ).run()

    def _ask_path(self, title: str, suffix: str, kinds: str) -> Path | None:
        first, after = self.days()
        name = f"prosumer-wallet-{first}_{after - timedelta(days=1)}{suffix}"
        chosen, _ = QFileDialog.getSaveFileName(self, title, str(Path.home() / name), kinds)
        if not chosen:
            return None
        path = Path(chosen)
        return path if path.suffix else path.with_suffix(suffix)


def _today() -> date:
    return fmt.local(datetime.now(UTC)).date()


def _to_date(day: QDate) -> date:
    return date(day.year(), day.month(), day.day())
