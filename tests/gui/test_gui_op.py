"""Background work: off the UI thread, answers on it, orders kept, dead parents left alone."""

import threading

from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

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
