"""The table of all meters that are read: one row each, refreshed in place."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem

from wallet_app import format as fmt
from wallet_app.gui import icons
from wallet_app.gui.theme import Theme
from wallet_app.i18n import tr
from wallet_app.meter.desk import LineView, MeterView
from wallet_app.meter.events import Origin, plain
from wallet_app.meter.words import state_words


@dataclass(frozen=True, slots=True)
class Row:
    """One meter on one line; ``meter`` None while the line has read none yet."""

    line: LineView
    meter: MeterView | None

    @property
    def key(self) -> tuple[str, str]:
        """Return what names the row across refreshes."""
        return self.line.key, self.meter.meter_id if self.meter else ""


def rows_of(views: tuple[LineView, ...]) -> list[Row]:
    """Return a row for every meter of every line, in order."""
    rows = []
    for view in views:
        known = sorted(view.meters, key=lambda meter: meter.meter_id)
        rows += [Row(view, meter) for meter in known] or [Row(view, None)]
    return rows


def age_words(row: Row, now: datetime) -> str:
    """Return how old the newest reading is, or its time if it comes from a capture."""
    reading = row.meter.reading if row.meter else None
    if reading is None:
        return fmt.DASH
    if reading.origin is Origin.REPLAYED:
        return fmt.clock_seconds(reading.host_time)
    seconds = max(0, int((now - reading.host_time).total_seconds()))
    return tr("{seconds} s", seconds=seconds) if seconds < 120 else fmt.duration(seconds)


def power_words(meter: MeterView | None) -> str:
    """Return the power with its direction; negative is fed in."""
    power = meter.reading.power_w if meter and meter.reading else None
    return fmt.DASH if power is None else f"{fmt.kw(int(power), sign=True)} kW"


def energy_words(value: Decimal | None) -> str:
    """Return a register in kWh with the meter's own decimals."""
    return fmt.DASH if value is None else plain(value)


def quality_words(line: LineView) -> tuple[str, str]:
    """Return the share of damaged frames and its tone."""
    permille = line.status.damaged_permille
    if permille is None:
        return fmt.DASH, ""
    tone = "good" if permille <= 10 else "warning" if permille <= 200 else "error"
    return f"{fmt.decimal(permille, 10, 1)} %", tone


def offset_words(seconds: float | None) -> str:
    """Return how far the meter's clock is ahead (+) of this machine's."""
    if seconds is None:
        return fmt.DASH
    sign = fmt.MINUS if seconds < 0 else "+"
    whole = abs(round(seconds))
    if whole < 120:
        return tr("{sign}{seconds} s", sign=sign, seconds=whole)
    return f"{sign}{fmt.duration(whole)}"


class MeterTable(QTableWidget):
    """All meters; ``picked`` tells which line and meter is chosen."""

    picked = Signal(str, str)

    def __init__(self, theme: Theme) -> None:
        self._heads = [
            tr("Meter"),
            tr("Port"),
            tr("State"),
            tr("Power"),
            tr("Import, kWh"),
            tr("Export, kWh"),
            tr("Age"),
            tr("Damaged"),
            tr("Gaps"),
            tr("Clock"),
            tr("For"),
        ]
        super().__init__(0, len(self._heads))
        self._theme = theme
        self._rows: list[Row] = []
        self.setHorizontalHeaderLabels(self._heads)
        self.setAccessibleName(tr("Meters"))
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(28)
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        head.setMinimumSectionSize(40)
        self.itemSelectionChanged.connect(self._picked)

    @property
    def row_chosen(self) -> Row | None:
        """Return the chosen row, None if there is none."""
        index = self.currentRow()
        return self._rows[index] if 0 <= index < len(self._rows) else None

    def refresh(
        self,
        views: tuple[LineView, ...],
        now: datetime,
        role: Callable[[Row], str] = lambda row: "",
    ) -> None:
        """Show ``views``, and what each meter is for; the choice stays on the same meter."""
        chosen = self.row_chosen
        self._rows = rows_of(views)
        self.blockSignals(True)
        self.setRowCount(len(self._rows))
        roles = [role(row) for row in self._rows]
        for index, row in enumerate(self._rows):
            self._show(index, row, now, roles[index])
        self.setColumnHidden(len(self._heads) - 1, not any(roles))
        keys = [row.key for row in self._rows]
        place = 0
        if chosen is not None:
            same_line = [i for i, key in enumerate(keys) if key[0] == chosen.key[0]]
            place = keys.index(chosen.key) if chosen.key in keys else (same_line or [0])[0]
        if self._rows and self.currentRow() != place:
            self.selectRow(place)
        self.blockSignals(False)
        lines = min(max(len(self._rows), 1), 6)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + 28 * lines + 6)

    def choose(self, key: str) -> None:
        """Choose the first meter of line ``key``."""
        for index, row in enumerate(self._rows):
            if row.line.key == key:
                self.selectRow(index)
                return

    def _show(self, index: int, row: Row, now: datetime, role: str) -> None:
        line, meter = row.line, row.meter
        reading = meter.reading if meter else None
        state, tone = state_words(line.status.state)
        if line.replayed:
            state = tr("replay, {state}", state=state)
        quality, quality_tone = quality_words(line)
        texts = (
            fmt.foreign(meter.meter_id, 40) if meter and meter.meter_id else tr("no number yet"),
            fmt.foreign(line.connection.port, 40),
            state,
            power_words(meter),
            energy_words(reading.import_kwh if reading else None),
            energy_words(reading.export_kwh if reading else None),
            age_words(row, now),
            quality,
            fmt.count(max(line.status.gaps, meter.gaps if meter else 0)),
            offset_words(meter.clock_offset_s if meter else None),
            role,
        )
        marks = {2: tone, 7: quality_tone}
        for column, text in enumerate(texts):
            item = self.item(index, column)
            if item is None:
                item = QTableWidgetItem()
                if column in (3, 4, 5):
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.setItem(index, column, item)
            if item.text() != text:
                item.setText(text)
                item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{self._heads[column]}: {text}")
            if column == 0:
                item.setIcon(
                    icons.icon("home" if line.own else "meter", self._theme.color("muted"))
                )
            elif column in marks:
                mark = marks[column]
                name = {"good": "check", "warning": "warning", "error": "error"}.get(mark, "clock")
                item.setIcon(icons.icon(name, self._theme.color(mark or "muted"), 16))

    def _picked(self) -> None:
        row = self.row_chosen
        if row is not None:
            self.picked.emit(*row.key)
