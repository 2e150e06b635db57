"""The two ways in: open the window, or render its pages to pictures without a display."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path
from types import FrameType

from PySide6.QtCore import (
    QEvent,
    QEventLoop,
    QLocale,
    QMessageLogContext,
    QTimer,
    QtMsgType,
    qInstallMessageHandler,
)
from PySide6.QtWidgets import QApplication

from wallet_app import format as fmt
from wallet_app import i18n
from wallet_app.gui import icons, settings, theme
from wallet_app.gui.feed import ALL
from wallet_app.gui.source import WalletSource
from wallet_app.gui.window import MainWindow

INTERRUPTED = 128 + signal.SIGINT
_LOADING_MS = 15_000


def run_window(
    source: WalletSource,
    *,
    screenshot: Path | None = None,
    screenshot_after: float = 5.0,
    close_after: float | None = None,
    on_close: Callable[[], None] | None = None,
    zone: tzinfo | None = None,
) -> int:
    """Show the window over ``source`` until it is closed; return the exit code.

    Call it from the main thread. With ``screenshot`` a PNG of the window is written there
    ``screenshot_after`` seconds after opening; ``close_after`` seconds after opening the window
    closes by itself; ``on_close`` is called once when it has closed. Times and days are shown in
    ``zone`` (None: the machine's). Returns 0, or 130 after Ctrl-C.
    """
    path = settings.settings_path()
    kept = settings.load(path)
    app = application(kept, zone)
    window = MainWindow(source, kept, path, on_close)
    if kept.maximized:
        window.showMaximized()
    else:
        window.show()
    window.setFocus()
    window.start()
    if screenshot is not None:
        target = screenshot
        QTimer.singleShot(round(screenshot_after * 1000), window, lambda: _save(window, target))
    if close_after is not None:
        QTimer.singleShot(round(close_after * 1000), window, window.close)
    with _interruptible(window) as interrupted:
        app.exec()
    window.close()  # the loop can also end by quit(): settings and subscription end all the same
    window.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    return INTERRUPTED if interrupted else 0


def render_screenshots(
    source: WalletSource,
    directory: Path,
    size: tuple[int, int] = (1280, 800),
    *,
    theme_name: str = "light",
    zone: tzinfo | None = None,
) -> list[Path]:
    """Write one PNG per page of the window over ``source`` into ``directory``; return the paths.

    Needs no display (it draws offscreen unless a QApplication exists already) and leaves the
    user's settings alone. Times and days are shown in ``zone`` (None: the machine's). Call it
    from the main thread. ``OSError`` if a file cannot be written.
    """
    if QApplication.instance() is None:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    kept = settings.WindowSettings(theme=theme_name, width=size[0], height=size[1])
    application(kept, zone)
    directory.mkdir(parents=True, exist_ok=True)
    with _quiet_offscreen():
        window = MainWindow(source, kept, None)
        window.resize(*size)
        window.show()
        window.setFocus()
        window.show_view(source.view(), ALL)
        paths = []
        for key, page in window.pages.items():
            window.open_page(key)
            window.tick()
            _settle(page.busy)
            paths.append(_save(window, directory / f"{key}.png"))
        window.close()
        window.deleteLater()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    return paths


def application(kept: settings.WindowSettings, zone: tzinfo | None = None) -> QApplication:
    """Return the QApplication, made if need be, in the language and colours of ``kept``.

    Times and days are shown in ``zone`` (None: the machine's).
    """
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(sys.argv[:1])
    app.setApplicationName("prosumer-wallet")
    app.setApplicationDisplayName("Prosumer Wallet")
    app.setDesktopFileName("prosumer-wallet")
    app.setWindowIcon(icons.app_icon())
    app.setQuitOnLastWindowClosed(True)
    i18n.use_language(kept.language or None)
    fmt.use_zone(zone)
    marks = QLocale.system()
    fmt.set_number_style(fmt.NumberStyle(marks.decimalPoint(), marks.groupSeparator()))
    theme.apply(app, theme.choose(kept.theme))
    return app


def _save(window: MainWindow, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not window.grab().save(str(path), "PNG"):
        raise OSError(f"cannot write the screenshot {path}")
    return path


def _settle(busy: Callable[[], bool]) -> None:
    """Run the event loop until ``busy`` is over, everything is laid out and painted."""
    loop = QEventLoop()
    poll, limit = QTimer(), QTimer()
    poll.timeout.connect(lambda: None if busy() else loop.quit())
    limit.timeout.connect(loop.quit)
    poll.start(120)
    limit.start(_LOADING_MS)
    loop.exec()
    poll.stop()
    limit.stop()


@contextmanager
def _quiet_offscreen() -> Iterator[None]:
    """Drop the one thing the offscreen platform says of every window; forward all else."""

    def handle(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
        if "propagateSizeHints" in message:
            return
        if before is not None:
            before(kind, context, message)
        else:
            sys.stderr.write(message + "\n")

    before: Callable[[QtMsgType, QMessageLogContext, str], None] | None
    before = qInstallMessageHandler(handle)
    try:
        yield
    finally:
        qInstallMessageHandler(before)


@contextmanager
def _interruptible(window: MainWindow) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM close the window; what arrived is in the list."""
    arrived: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        window.close()
        app = QApplication.instance()
        if app is not None:
            app.quit()

    # Python sees signals only between its own instructions; the window's timer runs some.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
