"""The small parts the pages are built of.

Every label made here shows plain text: what a peer or a file says can carry no markup and no link.
"""

import html
from collections.abc import Callable, Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QBoxLayout,
    QButtonGroup,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from wallet_app.gui import icons, words
from wallet_app.gui.theme import Theme
from wallet_app.trading.view import Proof


def label(text: str = "", role: str = "", *, wrap: bool = False) -> QLabel:
    """Return a plain-text label; ``role`` picks its typography in the style sheet."""
    result = QLabel()
    result.setTextFormat(Qt.TextFormat.PlainText)
    result.setText(text)
    result.setWordWrap(wrap)
    if role:
        result.setProperty("role", role)
    return result


def set_tone(widget: QWidget, tone: str) -> None:
    """Colour ``widget`` as good, warning, error, accent or ("") plain; the words say it too."""
    if widget.property("tone") == tone:
        return
    widget.setProperty("tone", tone)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def set_tip(widget: QWidget, text: str) -> None:
    """Set a tool tip that shows ``text`` literally (Qt would render what looks like HTML)."""
    widget.setToolTip(f"<span>{html.escape(text)}</span>" if text else "")


class ElidedLabel(QLabel):
    """One line of plain text that ends in an ellipsis where it does not fit; the tip has it all."""

    def __init__(self, role: str = "") -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        if role:
            self.setProperty("role", role)

    def set_full_text(self, text: str) -> None:
        """Show ``text``."""
        if text == self.text():
            return
        self.setText(text)
        self.setAccessibleName(text)
        self._tip()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Offer the whole text as a tip exactly when it is cut."""
        super().resizeEvent(event)
        self._tip()

    def _tip(self) -> None:
        cut = self.fontMetrics().horizontalAdvance(self.text()) > self.width()
        set_tip(self, self.text() if cut else "")

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the text, cut at the right."""
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), int(self.alignment()) | Qt.TextFlag.TextSingleLine, text)


class Badge(QLabel):
    """A word in a small rounded box."""

    def __init__(self, text: str = "", tone: str = "") -> None:
        super().__init__()
        self.setObjectName("badge")
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.show_state(text, tone)

    def show_state(self, text: str, tone: str = "") -> None:
        """Show ``text`` in ``tone``; an empty text hides the badge."""
        self.setText(text)
        set_tone(self, tone)
        self.setVisible(bool(text))


class IconLabel(QWidget):
    """An icon and a word beside it, e.g. a proof state."""

    def __init__(self, theme: Theme, role: str = "small", *, wrap: bool = False) -> None:
        super().__init__()
        self._theme = theme
        self._shown: tuple[str, str] = ("", "")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        self.picture = label()
        self.text = label("", role, wrap=wrap)
        layout.addWidget(self.picture)
        layout.addWidget(self.text, 1 if wrap else 0)
        if not wrap:
            self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)

    def show_state(self, icon: str, text: str, color: str = "muted") -> None:
        """Show ``icon`` in the theme's ``color`` and ``text``."""
        self.text.setText(text)
        self.setAccessibleName(text)
        if self._shown != (icon, color):
            self._shown = (icon, color)
            ratio = self.devicePixelRatioF()
            self.picture.setPixmap(icons.pixmap(icon, self._theme.color(color), 16, ratio))


def proof_words(proof: Proof) -> tuple[str, str, str]:
    """Return icon, words and colour that say how far a figure is verified."""
    icon, color = {
        Proof.NONE: ("unknown", "muted"),
        Proof.VERIFIED: ("check", "good"),
        Proof.AGREED: ("double-check", "good"),
        Proof.AUDITED: ("seal", "good"),
        Proof.DISPUTED: ("warning", "error"),
    }[proof]
    return icon, words.proof(proof), color


class ProofLabel(IconLabel):
    """How far the figure beside it has been verified."""

    def show_proof(self, proof: Proof) -> None:
        """Show ``proof`` as symbol and words."""
        self.show_state(*proof_words(proof))


class Card(QFrame):
    """A titled surface; put content into :attr:`body`, small things into :attr:`corner`."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setObjectName("card")
        self.setAccessibleName(title)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(14, 10, 14, 12)
        outer.setSpacing(8)
        header = QHBoxLayout()
        header.setSpacing(8)
        self.title = label(title, "cardtitle")
        header.addWidget(self.title)
        self.corner = QHBoxLayout()
        self.corner.setSpacing(6)
        self.corner.addStretch(0)
        header.addLayout(self.corner, 1)
        outer.addLayout(header)
        self.body = QVBoxLayout()
        self.body.setSpacing(6)
        outer.addLayout(self.body, 1)


class Segmented(QWidget):
    """A row of buttons of which one is chosen; arrow keys move within it."""

    chosen = Signal(str)

    def __init__(self, name: str, options: Sequence[tuple[str, str, str]]) -> None:
        """Build from ``options`` of (value, text, tip); ``name`` is what it chooses."""
        super().__init__()
        self.setAccessibleName(name)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QPushButton] = {}
        for place, (value, text, tip) in enumerate(options):
            button = QPushButton(text)
            button.setCheckable(True)
            button.setProperty("kind", "segment")
            edge = "first" if place == 0 else "last" if place == len(options) - 1 else "middle"
            button.setProperty("place", edge)
            button.setAccessibleName(f"{name}: {text}")
            button.setAccessibleDescription(tip)
            set_tip(button, tip)
            self._group.addButton(button)
            self._buttons[value] = button
            layout.addWidget(button)
        self._group.buttonClicked.connect(self._clicked)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)

    def set_value(self, value: str) -> None:
        """Mark ``value`` as chosen without announcing it."""
        self._buttons[value].setChecked(True)
        focus_chosen(self._group)

    def value(self) -> str:
        """Return the chosen value, "" while there is none."""
        return next((v for v, button in self._buttons.items() if button.isChecked()), "")

    def _clicked(self, clicked: QAbstractButton) -> None:
        self.chosen.emit(next(v for v, button in self._buttons.items() if button is clicked))


def focus_chosen(group: QButtonGroup) -> None:
    """Let Tab reach the chosen button of ``group`` only, as with radio buttons; arrows do the rest.

    Qt itself does so only after one of them had the focus, and then with that one.
    """
    for member in group.buttons():
        chosen = member.isChecked()
        policy = Qt.FocusPolicy.StrongFocus if chosen else Qt.FocusPolicy.ClickFocus
        member.setFocusPolicy(policy)


class Facts(QWidget):
    """Rows of name and value, values aligned at the right."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(0, 1)

    def add(self, name: str, role: str = "") -> QLabel:
        """Append a row called ``name`` and return its value label."""
        row = self._grid.rowCount()
        title = label(name, role or "muted")
        value = label("", role)
        value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        value.setAccessibleName(name)
        title.setBuddy(value)
        self._grid.addWidget(title, row, 0)
        self._grid.addWidget(value, row, 1)
        return value

    def add_line(self) -> None:
        """Append a thin rule."""
        self._grid.addWidget(rule(), self._grid.rowCount(), 0, 1, 2)


class Notice(QFrame):
    """A line that matters now, with its symbol; hidden while there is nothing to say."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("notice")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 6, 10, 6)
        self._mark = IconLabel(theme)
        self._mark.text.hide()
        self.text = label("", wrap=True)
        layout.addWidget(self._mark, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.text, 1)
        self.hide()

    def say(self, text: str, tone: str = "warning") -> None:
        """Show ``text``; an empty text hides the notice."""
        self.text.setText(text)
        self.setAccessibleName(text)
        icon = {"good": "check", "error": "error"}.get(tone, "warning")
        self._mark.show_state(icon, "", tone)
        set_tone(self, tone)
        self.setVisible(bool(text))


def rule() -> QFrame:
    """Return a thin horizontal line."""
    line = QFrame()
    line.setObjectName("line")
    return line


def button(
    text: str, clicked: Callable[[], object], *, kind: str = "", tip: str = "", shortcut: str = ""
) -> QPushButton:
    """Return a push button; ``kind`` is "primary", "icon" or plain."""
    result = QPushButton(text)
    result.setAccessibleName(text or tip)
    if kind:
        result.setProperty("kind", kind)
    if shortcut:
        result.setShortcut(shortcut)
        tip = f"{tip or text} ({shortcut})"
    set_tip(result, tip)
    result.clicked.connect(lambda: clicked())
    return result


def spread(layout: QBoxLayout, *widgets: QWidget) -> None:
    """Add ``widgets`` to ``layout`` with a stretch at the end."""
    for widget in widgets:
        layout.addWidget(widget)
    layout.addStretch(1)


def icon_button(theme: Theme, name: str, tip: str, clicked: Callable[[], object]) -> QPushButton:
    """Return a button that shows icon ``name``; ``tip`` is also its accessible name."""
    result = button("", clicked, kind="icon", tip=tip)
    result.setIcon(icons.icon(name, theme.color("text")))
    result.setIconSize(QSize(18, 18))
    return result
