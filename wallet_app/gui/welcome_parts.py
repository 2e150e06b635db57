"""What the pages of the set-up wizard are built of."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QFrame,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from wallet_app.gui.theme import Theme
from wallet_app.gui.widgets import label
from wallet_app.onboarding import Answers

_FIELD_PX = 32


class StepPage(QWidget):
    """One step's questions; ``changed`` says that an answer changed."""

    changed = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(10)

    def show_answers(self, answers: Answers) -> None:
        """Show what was answered before."""

    def read(self, answers: Answers) -> Answers:
        """Return ``answers`` with this page's own put in."""
        return answers

    def first_field(self) -> QWidget | None:
        """Return where the keyboard should go first."""
        return None


def password_field() -> QLineEdit:
    """Return a field that hides what is typed."""
    field = QLineEdit()
    field.setEchoMode(QLineEdit.EchoMode.Password)
    field.setMaxLength(1000)
    field.setProperty("kind", "field")
    return field


def outlined(widget: QWidget, theme: Theme) -> None:
    """Give ``widget`` an outline that shows on a dark window too."""
    # Fusion derives outlines from the window's colour, darkened: on a dark window nobody sees them.
    palette = widget.palette()
    color = theme.color("muted" if theme.name == "dark" else "strong_border")
    palette.setColor(QPalette.ColorRole.Window, color)
    widget.setPalette(palette)


def new_form() -> QFormLayout:
    """Return a form whose fields take the width there is."""
    form = QFormLayout()
    form.setHorizontalSpacing(16)
    form.setVerticalSpacing(10)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    return form


def add_row(form: QFormLayout, name: str, field: QWidget) -> None:
    """Add ``field`` to ``form`` under ``name``, which screen readers get too."""
    title = label(name)
    title.setBuddy(field)
    title.setMinimumHeight(_FIELD_PX)
    field.setAccessibleName(name)
    field.setFixedHeight(_FIELD_PX)
    field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    form.addRow(title, field)


def figure_box(unit: str, places: int, high: float, step: float) -> QDoubleSpinBox:
    """Return a field for a figure from 0 to ``high`` with its unit."""
    box = QDoubleSpinBox()
    box.setDecimals(places)
    box.setRange(0.0, high)
    box.setSingleStep(step)
    box.setSuffix(unit)
    box.setGroupSeparatorShown(True)
    return box


def plain_card() -> tuple[QFrame, QVBoxLayout]:
    """Return a surface without title, and the column to fill it."""
    card = QFrame()
    card.setObjectName("card")
    body = QVBoxLayout(card)
    body.setContentsMargins(14, 12, 14, 12)
    body.setSpacing(8)
    return card, body


def indented(widget: QWidget) -> QWidget:
    """Return ``widget`` moved under the text of a choice."""
    widget.setContentsMargins(24, 0, 0, 0)
    return widget
