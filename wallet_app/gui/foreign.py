"""What another machine said: on demand, as plain text, labelled as theirs."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QVBoxLayout, QWidget

from wallet_app import format as fmt
from wallet_app.gui.widgets import button, label
from wallet_app.i18n import tr

_SHOWN = 2000


def show_foreign(parent: QWidget, text: str) -> None:
    """Show ``text``, which nobody has checked."""
    dialog = QDialog(parent)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowTitle(tr("What the other side said"))
    layout = QVBoxLayout(dialog)
    layout.setContentsMargins(18, 14, 18, 14)
    layout.setSpacing(10)
    layout.addWidget(label(tr("What the other side said (not checked):"), "muted"))
    said = label(fmt.foreign(text, _SHOWN), "mono", wrap=True)
    said.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByKeyboard
        | Qt.TextInteractionFlag.TextSelectableByMouse
    )
    layout.addWidget(said)
    layout.addWidget(button(tr("Close"), dialog.reject), 0, Qt.AlignmentFlag.AlignRight)
    dialog.setMinimumWidth(420)
    dialog.open()
