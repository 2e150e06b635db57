"""How window code starts work: off the UI thread, with the answer back on it.

    Op(self, lambda: source.history(start, end)).success(self._show).failure(self._say).run()

Commands of the user (quotes, agent mode) use :meth:`Op.run_in_order`: one lane, so that two quick
clicks take effect in the order they were made. Everything else runs in a small pool. If the parent
widget is gone when the answer comes, the answer is dropped.

A worker thread never holds the last reference to anything of the window: it knows a piece of work
by its number only, and lets go of it before it tells. Qt objects, and what the callbacks hold, are
so freed on the UI thread, the only one that may.
"""

import itertools
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
_numbers = itertools.count()
_running: dict[int, "Op[Any]"] = {}
"""What is under way, by number. Entries come and go on the UI thread only."""


class _Mailbox(QObject):
    """Tells the thread it was made on (the UI thread) which piece of work is done."""

    done = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.done.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @Slot(int)
    def _deliver(self, number: int) -> None:
        _running.pop(number)._deliver()


_mailbox: _Mailbox | None = None


class Op(Generic[T]):
    """One piece of work for ``parent``; see the module's example."""

    def __init__(self, parent: QObject, work: Callable[[], T]) -> None:
        self._parent = parent
        self._work = work
        self._result: Any = None
        self._error: Exception | None = None
        self._on_success: Callable[[T], None] | None = None
        self._on_failure: Callable[[Exception], None] | None = None
        self._on_end: Callable[[], None] | None = None

    def success(self, then: Callable[[T], None]) -> "Op[T]":
        """Call ``then`` with the result, on the UI thread."""
        self._on_success = then
        return self

    def failure(self, then: Callable[[Exception], None]) -> "Op[T]":
        """Call ``then`` with what the work raised, on the UI thread."""
        self._on_failure = then
        return self

    def finally_(self, then: Callable[[], None]) -> "Op[T]":
        """Call ``then`` before either, on the UI thread: to enable a button again."""
        self._on_end = then
        return self

    def run(self) -> None:
        """Start in the pool."""
        self._start(_pool)

    def run_in_order(self) -> None:
        """Start after all work given to this lane before."""
        self._start(_lane)

    def _start(self, executor: Executor) -> None:
        global _mailbox
        if _mailbox is None:
            _mailbox = _Mailbox()
        number = next(_numbers)
        _running[number] = self
        executor.submit(_execute, number, _mailbox)

    def _answer(self) -> None:
        try:
            self._result = self._work()
        except Exception as problem:  # noqa: BLE001  every failure is the caller's to show
            self._error = problem

    def _deliver(self) -> None:
        # The traceback holds this object in turn: without this, both would wait for the collector,
        # which may run on any thread.
        result, error = self._result, self._error
        self._result = self._error = None
        if not shiboken6.isValid(self._parent):
            return
        if self._on_end:
            self._on_end()
        if error is None:
            if self._on_success:
                self._on_success(result)
        elif self._on_failure:
            self._on_failure(error)
        else:
            _log.error("background work failed", exc_info=error)


def _execute(number: int, mailbox: _Mailbox) -> None:
    _running[number]._answer()
    mailbox.done.emit(number)
