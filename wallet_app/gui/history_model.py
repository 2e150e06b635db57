"""The history as a Qt table: newest slot first, rows handed out in portions.

A hundred thousand slots are one tuple; the view asks for a few hundred rows at a time and cells
are formatted when they are painted, so opening and scrolling stay fluid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from wallet_app import format as fmt
from wallet_app.gui import icons, ranges, words
from wallet_app.gui.theme import Theme
from wallet_app.gui.widgets import proof_words
from wallet_app.i18n import tr
from wallet_app.trading.view import Proof, SlotView

_PORTION = 256
_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head, a tip that explains it, and the cell text of a slot."""

    head: str
    tip: str
    cell: Callable[[SlotView], str]
    left: bool = False


def columns() -> tuple[Column, ...]:
    """Return the columns in the current language."""
    return (
        Column(
            tr("Slot"),
            tr("Delivery time in local time"),
            lambda s: fmt.slot_span(s.start, s.length_s),
            left=True,
        ),
        Column(
            tr("Planned"),
            tr("Forecast net energy in kWh"),
            lambda s: words.quantity(s.planned_wh),
        ),
        Column(tr("Quoted"), tr("Own quote in kWh and limit price"), _quoted),
        Column(
            tr("Matched"),
            tr("Energy traded on the market in kWh"),
            lambda s: words.quantity(s.matched_wh if s.side == "buy" else -s.matched_wh),
        ),
        Column(
            tr("Delivered"),
            tr("Metered net energy in kWh"),
            lambda s: words.quantity(s.delivered_wh),
        ),
        Column(tr("Price"), tr("Clearing price per kWh"), lambda s: fmt.price(s.price)),
        Column(
            tr("Market"),
            tr("Money earned (+) or spent (−) on the market"),
            lambda s: fmt.money(s.market_money, 4, sign=True),
        ),
        Column(
            tr("Grid"),
            tr("Money for the rest, at the grid tariffs"),
            lambda s: fmt.money(s.grid_money, 4, sign=True),
        ),
        Column(
            tr("Penalty"),
            tr("Money for energy that was contracted and not delivered"),
            lambda s: fmt.money(s.penalty_money, 4, sign=True),
        ),
        Column(
            tr("Saved"),
            tr("Against the same energy with the grid alone"),
            lambda s: fmt.money(ranges.slot_saved(s), 4, sign=True),
        ),
        Column(
            tr("Proof"),
            tr("How far your own light node has verified it"),
            lambda s: proof_words(s.proof)[1] if ranges.settled(s) else words.stage(s),
            left=True,
        ),
    )


def _quoted(slot: SlotView) -> str:
    if not slot.quoted_wh:
        return fmt.DASH
    quantity = words.quantity(slot.quoted_wh if slot.side == "buy" else -slot.quoted_wh)
    return tr("{energy} at {price}", energy=quantity, price=fmt.price(slot.quoted_price))


class HistoryModel(QAbstractTableModel):
    """Slots, newest first."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._slots: tuple[SlotView, ...] = ()
        self._shown = 0
        self._dated = True
        self.columns = columns()
        self._icons = {}
        for proof in Proof:
            name, _, color = proof_words(proof)
            self._icons[proof] = icons.icon(name, theme.color(color), 16)

    def set_slots(self, slots: tuple[SlotView, ...], *, dated: bool = True) -> None:
        """Show ``slots``, given ascending by start; with ``dated`` rows carry their day."""
        if slots == self._slots and dated == self._dated:
            return
        self.beginResetModel()
        # As many rows as before stay loaded, so that a refresh does not throw the reader back.
        self._shown = min(len(slots), max(_PORTION, self._shown))
        self._slots = slots
        self._dated = dated
        self.endResetModel()

    def slot(self, row: int) -> SlotView:
        """Return the slot in ``row``."""
        return self._slots[len(self._slots) - 1 - row]

    def slots(self) -> tuple[SlotView, ...]:
        """Return all slots, ascending, shown or not."""
        return self._slots

    def rowCount(self, parent: _Index = _ROOT) -> int:
        """Return how many rows have been handed out."""
        return 0 if parent.isValid() else self._shown

    def columnCount(self, parent: _Index = _ROOT) -> int:
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self.columns)

    def canFetchMore(self, parent: _Index) -> bool:
        """Return whether there are more rows than were handed out."""
        return not parent.isValid() and self._shown < len(self._slots)

    def fetchMore(self, parent: _Index) -> None:
        """Hand out the next portion."""
        more = min(_PORTION, len(self._slots) - self._shown)
        if parent.isValid() or more <= 0:
            return
        self.beginInsertRows(QModelIndex(), self._shown, self._shown + more - 1)
        self._shown += more
        self.endInsertRows()

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return one cell."""
        if not index.isValid():
            return None
        column = self.columns[index.column()]
        slot = self.slot(index.row())
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(column, index.column(), slot)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{column.head}: {self._text(column, index.column(), slot)}"
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignLeft if column.left else Qt.AlignmentFlag.AlignRight
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        last = index.column() == len(self.columns) - 1
        if role == Qt.ItemDataRole.DecorationRole and last and ranges.settled(slot):
            return self._icons[slot.proof]
        return None

    def _text(self, column: Column, place: int, slot: SlotView) -> str:
        text = column.cell(slot)
        return f"{fmt.date(slot.start)} {text}" if place == 0 and self._dated else text

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return a column's head or its explanation."""
        if orientation is not Qt.Orientation.Horizontal:
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.head
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.tip
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignLeft if column.left else Qt.AlignmentFlag.AlignRight
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return None
