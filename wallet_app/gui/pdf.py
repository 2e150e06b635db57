"""HTML to PDF with Qt's own text engine; needs a QGuiApplication, may run in any thread."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QMarginsF, QSizeF
from PySide6.QtGui import QGuiApplication, QPageLayout, QPageSize, QPdfWriter, QTextDocument

from wallet_app import files

_DPI = 96


@contextmanager
def headless() -> Iterator[None]:
    """Give a command without a window what :func:`write_pdf` needs; no display is touched."""
    if QGuiApplication.instance() is None:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
        application: QGuiApplication | None = QGuiApplication([])
    else:
        application = None
    try:
        yield
    finally:
        if application is not None:
            application.shutdown()


def write_pdf(page: str, path: Path) -> None:
    """Write the HTML text ``page`` as A4 landscape PDF to ``path``, atomically.

    ``OSError`` if ``path`` cannot be written. The document loads nothing: a statement holds no
    links and no pictures.
    """
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = QPdfWriter(buffer)
    writer.setResolution(_DPI)
    writer.setTitle("Prosumer Wallet")
    writer.setPageLayout(
        QPageLayout(
            QPageSize(QPageSize.PageSizeId.A4),
            QPageLayout.Orientation.Landscape,
            QMarginsF(12, 12, 12, 12),
            QPageLayout.Unit.Millimeter,
        )
    )
    document = QTextDocument()
    document.documentLayout().setPaintDevice(writer)
    document.setDocumentMargin(0)
    document.setHtml(page)
    area = writer.pageLayout().paintRectPixels(_DPI)
    document.setPageSize(QSizeF(area.width(), area.height()))
    document.print_(writer)
    del writer
    buffer.close()
    files.write_atomically(path, bytes(data.data()))
