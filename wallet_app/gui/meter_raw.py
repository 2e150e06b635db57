"""The live raw view: what went over the line, and every field of it explained byte by byte."""

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QSplitter,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from wallet_app import format as fmt
from wallet_app.gui import icons
from wallet_app.gui.op import Op
from wallet_app.gui.theme import Theme
from wallet_app.gui.widgets import label
from wallet_app.i18n import tr
from wallet_app.meter.desk import Connection, MeterLine
from wallet_app.meter.explain import Context, Field, explain
from wallet_app.meter.rawlog import Turn

_MOST_TURNS, _PREVIEW, _MOST_FIELDS = 200, 24, 1500


@dataclass(frozen=True, slots=True)
class _Shown:
    line: str
    turn: int
    size: int


class RawView(QWidget):
    """Turns of one line at the left, the fields of the chosen one at the right."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._line: MeterLine | None = None
        self._turns: tuple[Turn, ...] = ()
        self._shown: _Shown | None = None
        self._turn_heads = [tr("Time"), tr("Direction"), tr("Bytes")]
        self._field_heads = [tr("At"), tr("Bytes"), tr("Field"), tr("Meaning")]
        self.turns = plain_table(self._turn_heads, tr("What went over the line"), stretch=2)
        self.fields = plain_table(self._field_heads, tr("Fields of the chosen bytes"), stretch=3)
        self.turns.itemSelectionChanged.connect(self._chosen)
        self.follow = QCheckBox(tr("Follow the newest"))
        self.follow.setChecked(True)
        self._count = label("", "small")
        bar = QHBoxLayout()
        bar.addWidget(self.follow)
        bar.addStretch(1)
        bar.addWidget(self._count)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(self.turns)
        split.addWidget(self.fields)
        split.setSizes([320, 560])
        split.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(bar)
        layout.addWidget(split, 1)

    def show_line(self, line: MeterLine | None) -> None:
        """Show the newest turns of ``line``."""
        if line is not self._line:
            self._line, self._turns, self._shown = line, (), None
            self.turns.setRowCount(0)
            self.fields.setRowCount(0)
        if line is None:
            return
        turns = line.turns()[-_MOST_TURNS:]
        if turns == self._turns:
            return
        chosen = self._turn_chosen()
        self._turns = turns
        self._fill()
        if self.follow.isChecked() or chosen is None:
            # The newest may still be growing; a received one says more than a request.
            place = max((i for i, turn in enumerate(turns) if not turn.sent), default=-1)
            place = place if place >= 0 else len(turns) - 1
        else:
            place = next((i for i, t in enumerate(turns) if t.number == chosen.number), 0)
        if self.turns.currentRow() != place:
            self.turns.selectRow(place)
        newest = self.turns.item(place, 0)
        if self.follow.isChecked() and newest is not None:
            self.turns.scrollToItem(newest)
        self._chosen()

    def _fill(self) -> None:
        self.turns.blockSignals(True)
        self.turns.setRowCount(len(self._turns))
        for row, turn in enumerate(self._turns):
            more = " …" if len(turn.data) > _PREVIEW else ""
            moment = fmt.local(turn.time)
            texts = (
                f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}",
                tr("to the meter") if turn.sent else tr("from the meter"),
                f"{turn.data[:_PREVIEW].hex(' ').upper()}{more}",
            )
            items = [
                _set(self.turns, row, column, text, self._turn_heads[column], mono=column == 2)
                for column, text in enumerate(texts)
            ]
            arrow = icons.icon(
                "right" if turn.sent else "left",
                self._theme.color("muted" if turn.sent else "accent"),
                16,
            )
            items[1].setIcon(arrow)
        self.turns.blockSignals(False)
        size = sum(len(turn.data) for turn in self._turns)
        self._count.setText(
            tr("{turns} turns, {size} bytes", turns=len(self._turns), size=fmt.count(size))
        )

    def _turn_chosen(self) -> Turn | None:
        row = self.turns.currentRow()
        return self._turns[row] if 0 <= row < len(self._turns) else None

    def _chosen(self) -> None:
        turn, line = self._turn_chosen(), self._line
        if turn is None or line is None:
            return
        wanted = _Shown(line.key, turn.number, len(turn.data))
        if wanted == self._shown:
            return
        self._shown = wanted
        connection = line.connection

        def show(fields: list[Field]) -> None:
            if self._shown == wanted:
                self._show_fields(turn, fields)

        Op(self, lambda: _explained(turn, connection)).success(show).run()

    def _show_fields(self, turn: Turn, fields: list[Field]) -> None:
        shown = fields[:_MOST_FIELDS]
        self.fields.setRowCount(len(shown))
        for row, field in enumerate(shown):
            part = turn.data[field.at : field.at + field.length]
            hexed = part[:40].hex(" ").upper() + (" …" if len(part) > 40 else "")
            texts = (str(field.at), hexed, "    " * field.depth + field.name, field.text)
            for column, text in enumerate(texts[:3]):
                _set(self.fields, row, column, text, self._field_heads[column], mono=column < 2)
            meaning = fmt.foreign(texts[3], 300)
            item = _set(self.fields, row, 3, meaning, self._field_heads[3])
            if field.good is None:
                item.setIcon(icons.icon("dot", self._theme.color("surface"), 16))
            else:
                mark, color = ("check", "good") if field.good else ("error", "error")
                item.setIcon(icons.icon(mark, self._theme.color(color), 16))


def _explained(turn: Turn, connection: Connection) -> list[Field]:
    options = connection.options
    request = b"" if turn.sent else turn.request
    context = Context(request, options.profile, options.key, options.auth_key)
    return explain(connection.protocol, turn.data, context)


def plain_table(heads: list[str], name: str, *, stretch: int) -> QTableWidget:
    """Return a table to read: rows are chosen, nothing is edited; one column takes the width."""
    table = QTableWidget(0, len(heads))
    table.setHorizontalHeaderLabels(heads)
    table.setAccessibleName(name)
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
    table.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
    table.setShowGrid(False)
    table.setTabKeyNavigation(False)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(22)
    head = table.horizontalHeader()
    head.setHighlightSections(False)
    head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    for column in range(len(heads)):
        head.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
    head.setSectionResizeMode(stretch, QHeaderView.ResizeMode.Stretch)
    head.setMaximumSectionSize(260)
    return table


def _set(
    table: QTableWidget, row: int, column: int, text: str, head: str, *, mono: bool = False
) -> QTableWidgetItem:
    item = table.item(row, column)
    if item is None:
        item = QTableWidgetItem()
        if mono:
            font = item.font()
            font.setFamilies(["DejaVu Sans Mono", "Consolas", "Menlo", "monospace"])
            font.setPointSizeF(8.0)
            item.setFont(font)
        table.setItem(row, column, item)
    if item.text() != text:
        item.setText(text)
        item.setToolTip("")
        item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{head}: {text.strip()}")
    return item
