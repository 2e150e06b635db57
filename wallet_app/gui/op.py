"""How window code starts work: off the UI thread, with the answer back on it.

    Op(self, lambda: source.history(start, end)).success(self._show).failure(self._say).run()

Commands of the user (quotes, agent mode) use :meth:`Op.run_in_order`: one lane, so that two quick
clicks take effect in the order they were made. Everything else runs in a small pool. If the parent
widget is gone when the answer comes, the answer is dropped.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import shiboken6
from PySide6.QtCore import QObject, Qt, Signal, Slot

T = TypeVar("T")
_log = logging.getLogger(__name__)
_pool = ThreadPoolExecutor(max_workers=3, thread_name_prefix="window-pool")
_lane = ThreadPoolExecutor(max_workers=1, thread_name_prefix="window-lane")
_running: set["_Bridge"] = set()


class _Bridge(QObject):
    """Carries one answer to the thread it was made on (the UI thread)."""

    done = Signal(object, object)

    def __init__(self, parent: QObject) -> None:
        # No Qt parent: the worker may emit while the parent is being destroyed.
        super().__init__()
        self._parent = parent
        self.on_success: Callable[[Any], None] | None = None
        self.on_failure: Callable[[Exception], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.done.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @Slot(object, object)
    def _deliver(self, result: Any, error: Exception | None) -> None:
        _running.discard(self)
        if not shiboken6.isValid(self._parent):
            return
        if self.on_end:
            self.on_end()
        if error is None:
            if self.on_success:
                self.on_success(result)
        elif self.on_failure:
            self.on_failure(error)
        else:
            _log.error("background work failed", exc_info=error)


class Op(Generic[T]):
    """One piece of work for ``parent``; see the module's example."""

    def __init__(self, parent: QObject, work: Callable[[], T]) -> None:
        self._work = work
        self._bridge = _Bridge(parent)

    def success(self, then: Callable[[T], None]) -> "Op[T]":
        """Call ``then`` with the result, on the UI thread."""
        self._bridge.on_success = then
        return self

    def failure(self, then: Callable[[Exception], None]) -> "Op[T]":
        """Call ``then`` with what the work raised, on the UI thread."""
        self._bridge.on_failure = then
        return self

    def finally_(self, then: Callable[[], None]) -> "Op[T]":
        """Call ``then`` before either, on the UI thread: to enable a button again."""
        self._bridge.on_end = then
        return self

    def run(self) -> None:
        """Start in the pool."""
        self._start(_pool)

    def run_in_order(self) -> None:
        """Start after all work given to this lane before."""
        self._start(_lane)

    def _start(self, executor: Executor) -> None:
        _running.add(self._bridge)
        executor.submit(self._execute)

    def _execute(self) -> None:
        try:
            result, error = self._work(), None
        except Exception as problem:  # noqa: BLE001  every failure is the caller's to show
            result, error = None, problem
        self._bridge.done.emit(result, error)
