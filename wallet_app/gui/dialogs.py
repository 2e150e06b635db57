"""Dialogs: one event in full, an own quote, an error. All text in them is plain."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from light_node.market.units import TICKS_PER_CURRENCY, EnergyWh, PriceTick
from wallet_app import format as fmt
from wallet_app.failures import explain
from wallet_app.gui import ranges, words
from wallet_app.gui.widgets import Facts, label, proof_words
from wallet_app.i18n import tr
from wallet_app.trading.view import EventView, SlotView, SuggestionView

_FOREIGN_SHOWN = 2000
_MAX_QUOTE_KWH = 100_000.0


def show_event(parent: QWidget, event: EventView) -> None:
    """Show ``event`` in full, what others said apart and labelled as theirs."""
    dialog = QDialog(parent)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowTitle(tr("Activity"))
    layout = QVBoxLayout(dialog)
    layout.setSpacing(10)
    layout.addWidget(label(fmt.date_time(event.at), "muted"))
    text = label(fmt.foreign(event.text, _FOREIGN_SHOWN), "strong", wrap=True)
    text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByKeyboard)
    layout.addWidget(text)
    if event.foreign:
        layout.addWidget(label(tr("What the other side said (not checked):"), "muted"))
        said = label(fmt.foreign(event.foreign, _FOREIGN_SHOWN), "mono", wrap=True)
        said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByKeyboard)
        layout.addWidget(said)
    layout.addWidget(_close_button(dialog))
    dialog.setMinimumWidth(420)
    dialog.open()


def show_error(parent: QWidget, what: str, error: Exception) -> None:
    """Say that ``what`` did not work, and why, in plain text."""
    box = QMessageBox(parent)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle(tr("That did not work"))
    box.setText(what)
    box.setInformativeText(fmt.foreign(explain(error), 500))
    box.addButton(tr("Close"), QMessageBox.ButtonRole.AcceptRole)
    box.open()


class QuoteDialog(QDialog):
    """An own quote instead of the suggested one: energy and limit price."""

    def __init__(self, parent: QWidget, slot: SlotView, suggestion: SuggestionView | None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Your own quote"))
        self._slot = slot
        side = suggestion.side if suggestion else slot.side
        layout = QVBoxLayout(self)
        layout.setSpacing(10)
        span = fmt.slot_span(slot.start, slot.length_s)
        layout.addWidget(label(f"{words.side(side)} · {span}", "title"))
        hint = tr(
            "Between feed-in {floor} and retail {cap}. A seller is never paid less than it quotes,"
            " a buyer never pays more.",
            floor=fmt.price(slot.floor),
            cap=fmt.price(slot.cap),
        )
        layout.addWidget(label(hint, "muted", wrap=True))
        form = QFormLayout()
        self._energy = self._box(tr("Energy in kWh"), 3, 0.001, _MAX_QUOTE_KWH, 0.1)
        self._price = self._box(
            tr("Limit price per kWh"),
            4,
            slot.floor / TICKS_PER_CURRENCY,
            slot.cap / TICKS_PER_CURRENCY,
            0.01,
        )
        self._fill(slot, suggestion)
        form.addRow(label(tr("Energy in kWh")), self._energy)
        form.addRow(label(tr("Limit price per kWh")), self._price)
        layout.addLayout(form)
        buttons = QDialogButtonBox()
        submit = buttons.addButton(tr("Submit"), QDialogButtonBox.ButtonRole.AcceptRole)
        submit.setProperty("kind", "primary")
        buttons.addButton(tr("Cancel"), QDialogButtonBox.ButtonRole.RejectRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
        self.setMinimumWidth(380)

    def quote(self) -> tuple[str, EnergyWh, PriceTick]:
        """Return slot, energy and price as entered."""
        energy = EnergyWh(round(self._energy.value() * 1000))
        price = PriceTick(round(self._price.value() * TICKS_PER_CURRENCY))
        return self._slot.slot, energy, price

    def _fill(self, slot: SlotView, suggestion: SuggestionView | None) -> None:
        if slot.quoted_wh and slot.quoted_price is not None:
            self._energy.setValue(slot.quoted_wh / 1000)
            self._price.setValue(slot.quoted_price / TICKS_PER_CURRENCY)
        elif suggestion is not None:
            self._energy.setValue(suggestion.energy_wh / 1000)
            self._price.setValue(suggestion.price / TICKS_PER_CURRENCY)

    def _box(
        self, name: str, decimals: int, low: float, high: float, step: float
    ) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setDecimals(decimals)
        box.setRange(low, high)
        box.setSingleStep(step)
        box.setAccessibleName(name)
        return box


def show_slot(parent: QWidget, slot: SlotView, currency: str) -> None:
    """Show everything known about ``slot``, with the transaction that settled it."""
    dialog = QDialog(parent)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowTitle(tr("Slot"))
    layout = QVBoxLayout(dialog)
    layout.setSpacing(10)
    span = f"{fmt.date(slot.start)}  {fmt.slot_span(slot.start, slot.length_s)}"
    layout.addWidget(label(span, "title"))
    facts = Facts()
    for name, text in _slot_facts(slot, currency):
        facts.add(name).setText(text)
    layout.addWidget(facts)
    transaction = label(fmt.foreign(slot.transaction, 80) or fmt.DASH, "mono", wrap=True)
    transaction.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByKeyboard)
    transaction.setAccessibleName(tr("Settlement transaction"))
    layout.addWidget(label(tr("Settlement transaction"), "muted"))
    layout.addWidget(transaction)
    layout.addWidget(_close_button(dialog))
    dialog.setMinimumWidth(420)
    dialog.open()


def _slot_facts(slot: SlotView, currency: str) -> list[tuple[str, str]]:
    def money(amount: int | None) -> str:
        return f"{fmt.money(amount, 4, sign=True)} {currency}"

    tariffs = tr(
        "feed-in {floor}, retail {cap}", floor=fmt.price(slot.floor), cap=fmt.price(slot.cap)
    )
    return [
        (tr("State"), words.stage(slot)),
        (tr("Tariffs"), tariffs),
        (tr("Planned"), f"{words.quantity(slot.planned_wh)} kWh"),
        (
            tr("Quoted"),
            tr(
                "{energy} at {price}",
                energy=fmt.kwh(slot.quoted_wh),
                price=fmt.price(slot.quoted_price),
            ),
        ),
        (tr("Matched"), f"{fmt.kwh(slot.matched_wh)} kWh"),
        (tr("Delivered"), f"{words.quantity(slot.delivered_wh)} kWh"),
        (tr("Price"), f"{fmt.price(slot.price)} {currency}/kWh"),
        (tr("Market"), money(slot.market_money)),
        (tr("Grid tariffs"), money(slot.grid_money)),
        (tr("Penalty"), money(slot.penalty_money)),
        (tr("Grid only would be"), money(slot.grid_only_money)),
        (tr("Saved"), money(ranges.slot_saved(slot))),
        (tr("Proof"), proof_words(slot.proof)[1]),
    ]


def _close_button(dialog: QDialog) -> QDialogButtonBox:
    buttons = QDialogButtonBox()
    close = buttons.addButton(tr("Close"), QDialogButtonBox.ButtonRole.RejectRole)
    close.setAccessibleName(tr("Close"))
    buttons.rejected.connect(dialog.reject)
    return buttons
