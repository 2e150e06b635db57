"""From the source's worker threads to the UI thread, at a pace a person can read.

One thread of its own takes the snapshots: the UI thread never calls into the source, so a source
that blocks delays figures, never the window. Changes that arrive between two snapshots, or while
the window is still painting the last one, are merged.
"""

import logging
import threading
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, Signal, Slot

from wallet_app.failures import explain
from wallet_app.gui.source import WalletSource
from wallet_app.trading.view import Change, WalletView

ALL = frozenset(Change)
_log = logging.getLogger(__name__)


class ViewFeed(QObject):
    """Emits ``updated(view, changes)`` on the UI thread, at most once per ``interval`` seconds."""

    updated = Signal(object, object)
    failed = Signal(str)
    _arrived = Signal(object, object)

    def __init__(self, source: WalletSource, interval: float = 0.1) -> None:
        super().__init__()
        self._source = source
        self._interval = interval
        self._changes: set[Change] = set(ALL)
        self._wake = threading.Event()
        self._shown = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._unsubscribe: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name="window-feed", daemon=True)
        self._arrived.connect(self._show, Qt.ConnectionType.QueuedConnection)

    def start(self) -> None:
        """Subscribe and deliver a first full snapshot."""
        self._unsubscribe = self._source.subscribe(self._changed)
        self._wake.set()
        self._thread.start()

    def refresh(self) -> None:
        """Ask for a full snapshot, as if everything had changed."""
        self._changed(ALL)

    def stop(self) -> None:
        """Unsubscribe and end the thread; a snapshot still being taken is not waited for long."""
        self._stopped.set()
        if self._unsubscribe:
            self._unsubscribe()
            self._unsubscribe = None
        self._wake.set()
        self._shown.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _changed(self, changes: frozenset[Change]) -> None:
        with self._lock:
            self._changes |= changes
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if self._stopped.is_set():
                return
            self._wake.clear()
            with self._lock:
                changes, self._changes = frozenset(self._changes), set()
            self._shown.clear()
            try:
                view = self._source.view()
            except Exception as error:  # noqa: BLE001  the window says it and stays open
                _log.error("no snapshot from the source", exc_info=error)
                self._arrived.emit(None, explain(error))
            else:
                self._arrived.emit(view, changes)
            # Back-pressure: a slow window gets fewer, larger changes instead of a growing queue.
            self._shown.wait()
            self._stopped.wait(self._interval)

    @Slot(object, object)
    def _show(self, view: WalletView | None, what: frozenset[Change] | str) -> None:
        try:
            if self._stopped.is_set():
                return
            if view is None:
                self.failed.emit(what)
            else:
                self.updated.emit(view, what)
        finally:
            self._shown.set()
