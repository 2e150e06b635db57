"""The settings page: one row for each descriptor of :mod:`wallet_app.settings`, nothing by hand.

What a row shows and takes comes from the descriptor: title, help, unit, bounds, choices. Values
are kept as they are changed; what counts from the next start only says so.
"""

from PySide6.QtCore import Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from wallet_app import format as fmt
from wallet_app.failures import explain
from wallet_app.gui.op import Op
from wallet_app.gui.page import Page
from wallet_app.gui.theme import Theme
from wallet_app.gui.welcome_parts import outlined
from wallet_app.gui.widgets import Card, Notice, button, label, set_tip
from wallet_app.i18n import tr
from wallet_app.meter.dialogue import PROTOCOLS
from wallet_app.settings import GROUPS, SETTINGS, Setting, Settings
from wallet_app.trading.preferences import Preferences
from wallet_app.trading.view import Change, WalletView


def group_words(group: str) -> str:
    """Return the heading of a group of settings."""
    return {
        "agent": tr("Agent"),
        "limits": tr("Limits of the agent"),
        "household": tr("Household"),
        "battery": tr("Battery"),
        "meter": tr("Meter"),
        "market": tr("Market"),
    }[group]


def choice_words(setting: Setting, value: str) -> str:
    """Return what one of the possible values of ``setting`` means."""
    if setting.name == "meter_protocol":
        return PROTOCOLS[value]
    return {
        ("agent", "show"): tr("only show the suggestion"),
        ("agent", "ask"): tr("ask before submitting"),
        ("agent", "do"): tr("submit within the limits"),
        ("reservation_model", "linear"): tr("the papers' line"),
        ("reservation_model", "physical"): tr("what it physically avoids or earns"),
        ("meter_mode", "ask"): tr("ask the meter"),
        ("meter_mode", "listen"): tr("listen to it"),
        ("meter_mode", "pull"): tr("ask a DLMS meter"),
    }.get((setting.name, value), value)


def _unit(unit: str) -> str:
    return {"min": tr("min"), "s": tr("s")}.get(unit, unit)


class _Figure(QDoubleSpinBox):
    """A figure that a passing wheel does not change."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class Field:
    """One setting on the page; ``changed`` tells that the user entered something."""

    def __init__(self, setting: Setting, currency: str, theme: Theme) -> None:
        self.setting = setting
        unit, self._divisor, places = setting.shown
        if setting.name == "limit_daily_loss":
            unit = currency
        elif unit == "/kWh":
            unit = f"{currency}/kWh"
        self.widget: QWidget
        if setting.choices:
            self.widget = box = QComboBox()
            for choice in setting.choices:
                box.addItem(choice_words(setting, choice), choice)
        elif isinstance(setting.default, int):
            self.widget = figure = _Figure()
            figure.setDecimals(places)
            low, high = setting.low or 0, setting.high if setting.high is not None else 10**15
            figure.setRange(low / self._divisor, high / self._divisor)
            figure.setSingleStep(max(10**-places, setting.default / self._divisor / 20))
            figure.setSuffix(f" {_unit(unit)}" if unit else "")
            figure.setGroupSeparatorShown(True)
            figure.setKeyboardTracking(False)
        else:
            self.widget = text = QLineEdit()
            text.setMaxLength(1000)
            text.setProperty("kind", "field")
            if setting.secret:
                text.setEchoMode(QLineEdit.EchoMode.Password)
        self.widget.setAccessibleName(setting.title_words)
        self.widget.setAccessibleDescription(setting.help_words)
        self.widget.setFixedHeight(28)
        outlined(self.widget, theme)
        set_tip(self.widget, setting.help_words)

    def show_value(self, value: int | str) -> None:
        """Show ``value`` without announcing it."""
        self.widget.blockSignals(True)
        if isinstance(self.widget, QComboBox):
            self.widget.setCurrentIndex(self.widget.findData(value))
        elif isinstance(self.widget, QDoubleSpinBox):
            self.widget.setValue(int(value) / self._divisor)
        elif isinstance(self.widget, QLineEdit):
            self.widget.setText(str(value))
        self.widget.blockSignals(False)

    def value(self, before: int | str) -> int | str:
        """Return what is entered, ``before`` where it shows as the same figure."""
        if isinstance(self.widget, QComboBox):
            return str(self.widget.currentData())
        if isinstance(self.widget, QDoubleSpinBox):
            places = self.widget.decimals()
            if round(int(before) / self._divisor, places) == round(self.widget.value(), places):
                return before
            return round(self.widget.value() * self._divisor)
        assert isinstance(self.widget, QLineEdit)
        return self.widget.text().strip()


class SettingsPage(Page):
    """Every setting of the wallet, by group."""

    key = "settings"
    icon = "settings"

    def __init__(self, theme: Theme, preferences: Preferences) -> None:
        super().__init__(tr("Settings"))
        self._preferences = preferences
        self._shown: Settings | None = None
        currency = preferences.settings["currency"]
        self.fields = {setting.name: Field(setting, currency, theme) for setting in SETTINGS}
        self.notice = Notice(theme)
        inner = QWidget()
        inner.setObjectName("scrolled")
        columns = QHBoxLayout(inner)
        columns.setContentsMargins(14, 6, 14, 14)
        columns.setSpacing(12)
        for groups in (("agent", "limits", "battery"), ("household", "meter", "market")):
            column = QVBoxLayout()
            column.setSpacing(12)
            for group in groups:
                column.addWidget(self._card(group))
            column.addStretch(1)
            columns.addLayout(column, 1)
        assert {s.group for s in SETTINGS} == set(GROUPS)
        area = QScrollArea()
        area.setWidget(inner)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setAccessibleName(self.title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(area, 1)
        layout.addWidget(self._foot())
        self._show(preferences.settings)

    def _card(self, group: str) -> Card:
        card = Card(group_words(group))
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(0, 3)
        grid.setColumnStretch(1, 2)
        for row, setting in enumerate(s for s in SETTINGS if s.group == group):
            field = self.fields[setting.name]
            title = label(setting.title_words, wrap=True)
            title.setBuddy(field.widget)
            set_tip(title, setting.help_words)
            grid.addWidget(title, row, 0, Qt.AlignmentFlag.AlignVCenter)
            grid.addWidget(field.widget, row, 1)
            self._listen(field)
        card.body.addLayout(grid)
        return card

    def _listen(self, field: Field) -> None:
        widget = field.widget
        if isinstance(widget, QComboBox):
            widget.currentIndexChanged.connect(lambda _: self._edited())
        elif isinstance(widget, QDoubleSpinBox):
            widget.valueChanged.connect(lambda _: self._edited())
        elif isinstance(widget, QLineEdit):
            widget.textEdited.connect(lambda _: self._edited())

    def _foot(self) -> QWidget:
        foot = QWidget()
        row = QHBoxLayout(foot)
        row.setContentsMargins(14, 8, 14, 10)
        self.save = button(tr("Save"), self.keep, kind="primary")
        self.undo = button(tr("Undo"), self._undo)
        row.addWidget(self.notice, 1)
        row.addStretch(0)
        row.addWidget(self.undo)
        row.addWidget(self.save)
        self.save.setEnabled(False)
        self.undo.setEnabled(False)
        return foot

    def refresh(self, view: WalletView, changes: frozenset[Change]) -> None:
        """Show what was changed elsewhere, such as the agent's mode; what is entered here stays."""
        if not self._edits() and self._preferences.settings is not self._shown:
            self._show(self._preferences.settings)

    def keep(self) -> None:
        """Keep what was entered; an impossible value is named and nothing is changed."""
        edits = self._edits()
        if not edits:
            return

        def kept(later: frozenset[str]) -> None:
            self._show(self._preferences.settings)
            text = tr("Kept.")
            if later:
                names = ", ".join(s.title_words for s in SETTINGS if s.name in later)
                text = tr("Kept. From the next start on: {names}.", names=names)
            self.notice.say(text, "good")

        def failed(error: Exception) -> None:
            self.notice.say(fmt.foreign(explain(error), 300), "error")

        Op(self, lambda: self._preferences.change(**edits)).success(kept).failure(
            failed
        ).run_in_order()

    def _undo(self) -> None:
        self._show(self._preferences.settings)
        self.notice.say("")

    def _show(self, settings: Settings) -> None:
        self._shown = settings
        for name, field in self.fields.items():
            field.show_value(settings[name])
        self._keep_state()

    def _edits(self) -> dict[str, int | str]:
        """Return what differs from what is kept."""
        before = self._shown
        if before is None:
            return {}
        entered = {name: field.value(before[name]) for name, field in self.fields.items()}
        return {name: value for name, value in entered.items() if value != before[name]}

    def _edited(self) -> None:
        self._keep_state()

    def _keep_state(self) -> None:
        edited = bool(self._edits())
        self.save.setEnabled(edited)
        self.undo.setEnabled(edited)
