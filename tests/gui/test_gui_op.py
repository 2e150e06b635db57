"""Background work: off the UI thread, answers on it, orders kept, dead parents left alone."""

import threading
from concurrent.futures import Executor
from typing import Any

import pytest
from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from wallet_app.gui import op
from wallet_app.gui.op import Op


def test_work_runs_elsewhere_and_the_answer_comes_here(qtbot: QtBot) -> None:
    parent = QObject()
    threads: list[int] = []
    got: list[tuple[str, int]] = []

    def work() -> str:
        threads.append(threading.get_ident())
        return "done"

    Op(parent, work).success(lambda r: got.append((r, threading.get_ident()))).run()
    qtbot.waitUntil(lambda: bool(got))
    assert got == [("done", threading.get_ident())]
    assert threads != [threading.get_ident()]


def test_a_failure_is_handed_over_and_the_end_comes_first(qtbot: QtBot) -> None:
    parent = QObject()
    got: list[object] = []

    def work() -> None:
        raise OSError("disk full")

    Op(parent, work).finally_(lambda: got.append("end")).success(got.append).failure(
        got.append
    ).run()
    qtbot.waitUntil(lambda: len(got) == 2)
    assert got[0] == "end"
    assert isinstance(got[1], OSError)


def test_the_lane_keeps_the_order_of_clicks(qtbot: QtBot) -> None:
    parent = QObject()
    release = threading.Event()
    order: list[int] = []
    done: list[object] = []
    Op(parent, lambda: (release.wait(10), order.append(0))).success(done.append).run_in_order()
    for number in range(1, 20):
        Op(parent, lambda n=number: order.append(n)).success(done.append).run_in_order()
    assert order == []
    release.set()
    qtbot.waitUntil(lambda: len(done) == 20)
    assert order == list(range(20))


def test_an_answer_for_a_parent_that_is_gone_is_dropped(qtbot: QtBot) -> None:
    parent, other = QObject(), QObject()
    release = threading.Event()
    got: list[object] = []
    after: list[object] = []
    Op(parent, lambda: release.wait(10)).success(got.append).run_in_order()
    parent.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    release.set()
    Op(other, lambda: 1).success(after.append).run_in_order()
    qtbot.waitUntil(lambda: bool(after))
    assert got == []


class Tracked:
    """Notes the thread on which it is freed."""

    def __init__(self, freed: list[int]) -> None:
        self._freed = freed

    def __del__(self) -> None:
        self._freed.append(threading.get_ident())


class SlowToLetGo(Executor):
    """Runs work on a thread that keeps what it was given until it is told to let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def run(held: list[Any]) -> None:
            held[0](*args, **kwargs)
            self.let_go.wait(10)
            held.clear()

        # The list is the thread's alone, as a pool's entry for the work is.
        self.thread = threading.Thread(target=run, args=([fn],))
        del fn
        self.thread.start()


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_the_window_is_freed_on_the_workers_thread(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    pool, freed, got = SlowToLetGo(), list[int](), list[object]()
    monkeypatch.setattr(op, "_pool", pool)
    parent = QObject()

    def start() -> None:
        inside, outside = Tracked(freed), Tracked(freed)

        def work() -> object:
            if fails:
                raise OSError(repr(inside))
            return Tracked(freed)

        def shown(answer: object) -> None:
            got.append((type(answer), outside is None))

        Op(parent, work).success(shown).failure(shown).run()

    start()
    qtbot.waitUntil(lambda: bool(got))
    pool.let_go.set()
    pool.thread.join()
    assert len(freed) == (2 if fails else 3)
    assert set(freed) == {threading.get_ident()}
