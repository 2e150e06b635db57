"""The program's own line icons: SVG files drawn in ``currentColor``, tinted as the theme asks."""

from importlib import resources

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer


def renderer(name: str, color: QColor) -> QSvgRenderer:
    """Return a renderer of icon ``name`` in ``color``; FileNotFoundError if there is none."""
    path = resources.files("resources") / "icons" / f"{name}.svg"
    svg = path.read_text(encoding="utf-8").replace("currentColor", color.name())
    return QSvgRenderer(QByteArray(svg.encode()))


def pixmap(name: str, color: QColor, size: int, ratio: float = 1.0) -> QPixmap:
    """Return icon ``name`` as a square of ``size`` logical pixels at device pixel ``ratio``."""
    image = QPixmap(round(size * ratio), round(size * ratio))
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    renderer(name, color).render(painter, QRectF(0, 0, image.width(), image.height()))
    painter.end()
    image.setDevicePixelRatio(ratio)
    return image


def icon(name: str, color: QColor, size: int = 20) -> QIcon:
    """Return icon ``name`` sharp on plain and on high-density screens."""
    result = QIcon()
    for ratio in (1.0, 2.0, 3.0):
        result.addPixmap(pixmap(name, color, size, ratio))
    return result


def app_icon() -> QIcon:
    """Return the program's icon."""
    result = QIcon()
    for size in (16, 32, 64, 128):
        result.addPixmap(pixmap("app", QColor("#0b6e75"), size))
    return result
