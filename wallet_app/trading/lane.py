"""One serial lane of work and one timetable: everything trading does runs here, in order.

Ledger events, timer jobs and the user's commands are closures on one queue, so the trading state
needs no locks of its own against itself.
"""

import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from light_node.clock import MarketTime

Work = Callable[[], None]
_HEARTBEAT_S = 5


class Lane:
    """A thread that runs what is put on it, one after the other."""

    def __init__(self, name: str, on_error: Callable[[Exception], None]) -> None:
        """``on_error`` is told of work that raised; the lane goes on."""
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._on_error = on_error
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start working."""
        self._thread.start()

    def put(self, work: Work) -> None:
        """Run ``work`` after everything put before it."""
        self._queue.put(work)

    def stop(self, timeout: float = 5.0) -> None:
        """Finish what is queued, then end."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - reported, and the lane must outlive it
                self._on_error(error)


class Timetabler:
    """Runs work at market times, on a lane. Late work runs at once; it is never dropped.

    APScheduler would drop jobs missed during sleep by default; here a job that was due while the
    machine slept or the clock jumped runs as soon as it can, and decides itself whether it still
    makes sense. It waits on a clock that stands still during sleep, so a heartbeat makes it look
    at the wall clock every few seconds.
    """

    def __init__(self, market_time: MarketTime, lane: Lane) -> None:
        """Jobs are given in market time and put on ``lane`` when their wall time comes."""
        self._market_time, self._lane = market_time, lane
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"misfire_grace_time": None, "coalesce": True},
        )

    def start(self) -> None:
        """Start the clockwork."""
        self._scheduler.add_job(_beat, IntervalTrigger(seconds=_HEARTBEAT_S, timezone=UTC))
        self._scheduler.start()

    def at(self, market: datetime, key: str, work: Work) -> None:
        """Run ``work`` at market time ``market``; the same ``key`` replaces what was there."""
        self._scheduler.add_job(
            self._lane.put,
            DateTrigger(self._market_time.to_wall(market), timezone=UTC),
            args=(work,),
            id=key,
            replace_existing=True,
        )

    def stop(self) -> None:
        """Stop; jobs that have not begun are forgotten (a start derives them anew)."""
        if self._scheduler.running:
            # A job that ends just while the scheduler is shut down makes its thread fail: first
            # let it begin nothing new, then wait for the round under way (it holds the jobs).
            self._scheduler.pause()
            self._scheduler.get_jobs()
            self._scheduler.shutdown()


def _beat() -> None:
    """Do nothing: that the scheduler wakes up is all that is wanted."""
