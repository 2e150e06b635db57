"""The trust root to hand on: as a QR code for a telephone's camera, and as text to copy."""

import segno
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from light_node.chain.root_text import in_lines
from wallet_app.gui.widgets import button, label
from wallet_app.i18n import tr

_QUIET_ZONE = 4  # light modules around the code, as ISO/IEC 18004 asks for
_MODULE_PX = 5


class QrCode(QWidget):
    """A QR code of an alphanumeric text, dark on light in every theme: cameras want it so."""

    def __init__(self, text: str) -> None:
        super().__init__()
        code = segno.make_qr(text, error="m")
        self._modules = [bytes(row) for row in code.matrix]
        self.setAccessibleName(tr("QR code of the trust root; the text beside it says the same"))
        self.setMinimumSize(self.sizeHint())

    def sizeHint(self) -> QSize:
        """As many pixels as every camera can tell apart."""
        side = (len(self._modules) + 2 * _QUIET_ZONE) * _MODULE_PX
        return QSize(side, side)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Paint the modules as large as the widget allows, all of one whole size."""
        painter = QPainter(self)
        count = len(self._modules) + 2 * _QUIET_ZONE
        module = max(1, min(self.width(), self.height()) // count)
        side = module * count
        left, top = (self.width() - side) // 2, (self.height() - side) // 2
        painter.fillRect(QRectF(left, top, side, side), QColor(Qt.GlobalColor.white))
        for y, row in enumerate(self._modules):
            for x, dark in enumerate(row):
                if dark:
                    at = QRectF(
                        left + (x + _QUIET_ZONE) * module,
                        top + (y + _QUIET_ZONE) * module,
                        module,
                        module,
                    )
                    painter.fillRect(at, QColor(Qt.GlobalColor.black))
        painter.end()


class RootSheet(QDialog):
    """Shows the text of a trust root to whoever wants to start from the same one."""

    def __init__(self, parent: QWidget, text: str, fingerprint: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Trust root"))
        self._text = text
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 18, 20, 16)
        column.setSpacing(12)
        hint = tr(
            "Another household or program that takes this text starts from the same configuration "
            "block as this wallet. Compare the fingerprint with theirs by voice."
        )
        column.addWidget(label(hint, "muted", wrap=True))
        row = QHBoxLayout()
        row.setSpacing(16)
        row.addWidget(QrCode(text))
        side = QVBoxLayout()
        side.addWidget(label(tr("Fingerprint of the configuration block"), "small"))
        self.fingerprint: QLabel = label(fingerprint, "mono", wrap=True)
        side.addWidget(self.fingerprint)
        self.shown = QPlainTextEdit(in_lines(text))
        self.shown.setReadOnly(True)
        self.shown.setProperty("role", "mono")
        self.shown.setAccessibleName(tr("Text of the trust root"))
        self.shown.setMinimumWidth(360)
        side.addWidget(self.shown, 1)
        row.addLayout(side, 1)
        column.addLayout(row)
        buttons = QDialogButtonBox()
        self.copy = button(tr("Copy the text"), self._copy, kind="primary")
        buttons.addButton(self.copy, QDialogButtonBox.ButtonRole.ActionRole)
        close = buttons.addButton(tr("Close"), QDialogButtonBox.ButtonRole.RejectRole)
        close.clicked.connect(self.reject)
        column.addWidget(buttons)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._text)
        self.copy.setText(tr("Copied"))
