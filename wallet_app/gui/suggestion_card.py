"""The suggested quote: what, why, what it is worth, and the buttons that act on it."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QGridLayout, QHBoxLayout, QLabel

from wallet_app import format as fmt
from wallet_app.gui import words
from wallet_app.gui.dialogs import QuoteDialog, show_error
from wallet_app.gui.op import Op
from wallet_app.gui.source import WalletSource
from wallet_app.gui.theme import Theme
from wallet_app.gui.widgets import (
    Badge,
    Card,
    IconLabel,
    Segmented,
    button,
    label,
    rule,
    set_tip,
    set_tone,
)
from wallet_app.i18n import tr
from wallet_app.trading.view import AgentMode, Phase, SuggestionView, WalletView


class SuggestionCard(Card):
    """Suggestion, comparison with the honest quote and the grid, certificate, agent mode."""

    def __init__(self, theme: Theme, source: WalletSource) -> None:
        super().__init__(tr("Suggested quote"))
        self._source = source
        self._view: WalletView | None = None
        self._span = Badge()
        name = tr("Agent")
        self._agent = Segmented(name, [(mode, *words.agent(mode)) for mode in AgentMode])
        self._agent.chosen.connect(self._choose_agent)
        self.corner.addWidget(self._span)
        self.corner.addStretch(1)
        self.corner.addWidget(label(name, "small"))
        self.corner.addWidget(self._agent)
        self._what = IconLabel(theme, "headline")
        self.body.addWidget(self._what)
        self._worth = self._comparison()
        self._reason = label("", wrap=True)
        self._reason.setAccessibleName(tr("Reason"))
        self.body.addWidget(self._reason)
        self._unsold = label("", "small", wrap=True)
        self._unsold.setAccessibleName(tr("Energy that finds no partner"))
        self.body.addWidget(self._unsold)
        self._certificate = IconLabel(theme, wrap=True)
        self.body.addWidget(self._certificate)
        self.body.addStretch(1)
        self.body.addWidget(rule())
        self.body.addLayout(self._actions())

    def _comparison(self) -> tuple[QLabel, QLabel, QLabel]:
        grid = QGridLayout()
        grid.setHorizontalSpacing(18)
        grid.setVerticalSpacing(0)
        values = []
        for column, name in enumerate((tr("this quote"), tr("honest quote"), tr("grid only"))):
            grid.addWidget(label(name, "small"), 0, column)
            value = label("", "strong")
            value.setAccessibleName(tr("Expected money, {which}", which=name))
            grid.addWidget(value, 1, column)
            grid.setColumnStretch(column, 1)
            values.append(value)
        self.body.addLayout(grid)
        return values[0], values[1], values[2]

    def _actions(self) -> QHBoxLayout:
        self._submit = button(
            tr("Submit this quote"), self.submit, kind="primary", shortcut="Ctrl+Return"
        )
        self._other = button(
            tr("Other…"), self._open_dialog, tip=tr("Quote another energy or price")
        )
        self._why = label("", "small", wrap=True)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self._submit)
        row.addWidget(self._other)
        row.addWidget(self._why, 1)
        row.addStretch(0)
        return row

    def refresh(self, view: WalletView) -> None:
        """Show the suggestion of ``view``."""
        self._view = view
        self._agent.set_value(view.agent)
        slot = view.quoting
        # A suggestion for a slot that takes no quotes any more is history, not advice.
        current = view.suggestion if slot is not None else None
        suggestion = current if current and slot and current.slot == slot.slot else None
        open_now = slot is not None and slot.phase is Phase.QUOTING
        self._submit.setEnabled(open_now and suggestion is not None and bool(suggestion.side))
        self._other.setEnabled(open_now)
        said = suggestion.reason if suggestion else ""
        self._why.setText(fmt.foreign(view.agent_reason) if view.agent_reason != said else "")
        self._span.show_state(fmt.slot_span(slot.start, slot.length_s) if slot else "")
        if suggestion is None:
            self._show_none()
        else:
            self._show(suggestion, view.currency)

    def _show_none(self) -> None:
        self._what.show_state("clock", tr("No suggestion yet"))
        for value in self._worth:
            value.setText(fmt.DASH)
        self._reason.setText(tr("It appears when a slot opens and the meter has been read."))
        self._unsold.hide()
        self._certificate.hide()

    def _show(self, suggestion: SuggestionView, currency: str) -> None:
        if suggestion.side:
            text = tr(
                "{side} {kwh} kWh at {price}",
                side=words.side(suggestion.side),
                kwh=fmt.kwh(suggestion.energy_wh),
                price=fmt.price(suggestion.price),
            )
            self._what.show_state(suggestion.side, text, "accent")
        else:
            self._what.show_state("battery", tr("Keep: nothing to trade"), "accent")
        amounts = (
            suggestion.expected_money,
            suggestion.honest_money,
            suggestion.grid_only_money,
        )
        for value, amount in zip(self._worth, amounts, strict=True):
            value.setText(f"{fmt.money(amount, 4, sign=True)} {currency}")
        better = suggestion.expected_money > suggestion.grid_only_money
        set_tone(self._worth[0], "good" if better else "")
        set_tip(self._worth[1], tr("at {price}", price=fmt.price(suggestion.honest_price)))
        self._reason.setText(fmt.foreign(suggestion.reason, 400))
        self._unsold.setText(fmt.foreign(suggestion.unsold, 400))
        self._unsold.setVisible(bool(suggestion.unsold))
        self._show_certificate(suggestion, currency)

    def _show_certificate(self, suggestion: SuggestionView, currency: str) -> None:
        self._certificate.show()
        regret = suggestion.regret_money
        set_tip(self._certificate, "\n".join(suggestion.explanation))
        if suggestion.chance_permille is not None:
            text = tr(
                "Estimate: brings {low} to {high} {currency} in 80 of 100 cases",
                low=fmt.money(suggestion.low_money or 0, 4, sign=True),
                high=fmt.money(suggestion.high_money or 0, 4, sign=True),
                currency=currency,
            )
            if suggestion.record:
                text += "\n" + suggestion.record
            self._certificate.show_state("unknown", text)
        elif suggestion.estimated or regret is None:
            text = tr("Estimate: others' quotes are not public before the first standing")
            self._certificate.show_state("unknown", text)
        elif regret == 0:
            text = tr("Certificate: against this standing no other price could earn you more")
            self._certificate.show_state("seal", text, "good")
        else:
            text = tr(
                "Another price could still gain at most {money} {currency}",
                money=fmt.money(regret, 4),
                currency=currency,
            )
            self._certificate.show_state("info", text)

    def submit(self) -> None:
        """Quote what is suggested."""
        if not self._submit.isEnabled():
            return
        self._submit.setEnabled(False)
        what = tr("The quote was not submitted.")
        Op(self, self._source.accept_suggestion).finally_(self._restore).failure(
            lambda error: show_error(self, what, error)
        ).run_in_order()

    def _restore(self) -> None:
        if self._view is not None:
            self.refresh(self._view)

    def _open_dialog(self) -> None:
        view = self._view
        if view is None or view.quoting is None:
            return
        dialog = QuoteDialog(self, view.quoting, view.suggestion)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.finished.connect(lambda code: self._dialog_done(dialog, code))
        dialog.open()

    def _dialog_done(self, dialog: QuoteDialog, code: int) -> None:
        if code != QDialog.DialogCode.Accepted:
            return
        slot, energy, price = dialog.quote()
        what = tr("The quote was not submitted.")
        Op(self, lambda: self._source.submit_quote(slot, energy, price)).failure(
            lambda error: show_error(self, what, error)
        ).run_in_order()

    def _choose_agent(self, value: str) -> None:
        mode = AgentMode(value)
        what = tr("The agent keeps its mode.")
        Op(self, lambda: self._source.set_agent(mode)).failure(
            lambda error: self._agent_failed(what, error)
        ).run_in_order()

    def _agent_failed(self, what: str, error: Exception) -> None:
        self._restore()
        show_error(self, what, error)
