"""Updates from worker threads: merged, in order, and never at the window's expense."""

import threading
from dataclasses import replace

from pytestqt.qtbot import QtBot

from tests.gui.fake_source import FakeSource, full_view
from wallet_app.gui.feed import ALL, ViewFeed
from wallet_app.trading.view import Change, WalletView


class Received:
    def __init__(self, feed: ViewFeed) -> None:
        self.views: list[WalletView] = []
        self.changes: list[frozenset[Change]] = []
        self.threads: set[int] = set()
        feed.updated.connect(self._take)

    def _take(self, view: WalletView, changes: frozenset[Change]) -> None:
        self.views.append(view)
        self.changes.append(changes)
        self.threads.add(threading.get_ident())


def test_the_first_snapshot_is_whole_and_arrives_on_the_ui_thread(
    qtbot: QtBot, source: FakeSource
) -> None:
    feed = ViewFeed(source, interval=0.01)
    received = Received(feed)
    feed.start()
    qtbot.waitUntil(lambda: len(received.views) == 1)
    assert received.changes == [ALL]
    assert received.threads == {threading.get_ident()}
    feed.stop()
    assert source.subscribers == 0


def test_a_burst_from_many_threads_becomes_one_refresh_with_the_last_view(
    qtbot: QtBot, source: FakeSource
) -> None:
    feed = ViewFeed(source, interval=0.01)
    received = Received(feed)
    feed.start()
    qtbot.waitUntil(lambda: len(received.views) == 1)
    view = full_view()

    def burst() -> None:
        for number in range(500):
            source.publish(replace(view, network=str(number)), Change.LIVE)

    workers = [threading.Thread(target=burst) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    source.publish(replace(view, network="last"), Change.EVENT)
    # Nothing was painted meanwhile, so at most one snapshot was under way and one is merged.
    qtbot.waitUntil(lambda: received.views[-1].network == "last")
    assert len(received.views) <= 3
    assert frozenset.union(*received.changes[1:]) == {Change.LIVE, Change.EVENT}
    feed.stop()


def test_a_source_that_blocks_delays_figures_not_the_window(
    qtbot: QtBot, source: FakeSource
) -> None:
    gate = threading.Event()
    callers: set[int] = set()
    plain = source.view

    def slow() -> WalletView:
        callers.add(threading.get_ident())
        gate.wait(10)
        return plain()

    source.view = slow  # type: ignore[method-assign]
    feed = ViewFeed(source, interval=0.01)
    received = Received(feed)
    feed.start()
    qtbot.wait(50)  # the event loop runs while the source blocks
    assert received.views == []
    gate.set()
    qtbot.waitUntil(lambda: len(received.views) == 1)
    assert threading.get_ident() not in callers
    feed.stop()


def test_a_failing_source_is_said_and_recovers(qtbot: QtBot, source: FakeSource) -> None:
    plain = source.view
    said: list[str] = []

    def broken() -> WalletView:
        raise OSError("the store is locked")

    source.view = broken  # type: ignore[method-assign]
    feed = ViewFeed(source, interval=0.01)
    feed.failed.connect(said.append)
    received = Received(feed)
    feed.start()
    qtbot.waitUntil(lambda: bool(said))
    assert said == ["the store is locked"]
    source.view = plain  # type: ignore[method-assign]
    feed.refresh()
    qtbot.waitUntil(lambda: len(received.views) == 1)
    assert received.changes == [ALL]
    feed.stop()


def test_stopping_while_the_source_publishes_ends_it(qtbot: QtBot, source: FakeSource) -> None:
    feed = ViewFeed(source, interval=0.01)
    received = Received(feed)
    feed.start()
    qtbot.waitUntil(lambda: len(received.views) == 1)
    source.publish(source.current, Change.LIVE)
    feed.stop()
    shown = len(received.views)
    qtbot.wait(30)
    assert len(received.views) == shown
