"""The meter page in a window of its own: for the field tester, who needs no wallet."""

import signal

from PySide6.QtCore import QTimer
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QApplication, QMainWindow

from light_node.clock import Clock
from wallet_app.gui import icons, settings, theme
from wallet_app.gui.app import application
from wallet_app.gui.meter import MeterPage
from wallet_app.i18n import tr
from wallet_app.meter.desk import MeterDesk

_TICK_MS = 250
_ENDING = (signal.SIGINT, signal.SIGTERM)


class MeterWindow(QMainWindow):
    """All meters of this machine; closing it gives their ports back."""

    def __init__(self, desk: MeterDesk, kept: settings.WindowSettings) -> None:
        super().__init__()
        self._desk = desk
        self.setWindowTitle(tr("Meters"))
        self.setWindowIcon(icons.app_icon())
        self.setMinimumSize(900, 520)
        self.resize(1024, 640)
        self.page = MeterPage(theme.choose(kept.theme), desk, None)
        self.setCentralWidget(self.page)
        self._timer = QTimer(self)
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self.page.tick)
        self._timer.start()
        QShortcut(QKeySequence("Ctrl+Q"), self).activated.connect(self.close)
        self.page.tick()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop reading."""
        self._timer.stop()
        self.page.stop_search()
        self._desk.close()
        super().closeEvent(event)


def run_meter_window(clock: Clock) -> int:
    """Show the window until it is closed; return the exit code. Call it from the main thread."""
    kept = settings.load(settings.settings_path())
    app = application(kept)
    window = MeterWindow(MeterDesk(clock), kept)
    window.show()
    # Python sees signals only between its own instructions; the window's timer runs some.
    before = {n: signal.signal(n, lambda *_: window.close()) for n in _ENDING}
    try:
        app.exec()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    window.close()
    window.deleteLater()
    QApplication.processEvents()
    return 0
