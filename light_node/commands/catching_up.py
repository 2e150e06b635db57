"""Waiting for a light node to catch up: a progress line, and a limit on time without progress."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from light_node.chain.node import LightNode
from light_node.chain.status import SyncStatus
from light_node.clock import Clock, SystemClock
from light_node.i18n import all_of, said, tr

DEFAULT_TIMEOUT_S = 60.0
HELP = "give up after so many seconds without one more block verified or agreed on (default 60)"
REDRAWN_S, LINE_S = 0.25, 10.0
"""How often the line is written anew on a terminal, and elsewhere another one added."""

Condition = Callable[[SyncStatus], bool]


def catch_up(
    node: LightNode,
    done: Condition,
    timeout: float,
    *,
    clock: Clock | None = None,
    stream: TextIO | None = None,
) -> bool:
    """Wait until ``done``; False after ``timeout`` seconds without one more block, or when stopped.

    Meanwhile the progress is written to ``stream`` (standard error).
    """
    clock = clock or SystemClock()
    line = ProgressLine(sys.stderr if stream is None else stream, clock)
    try:
        return _wait(node, done, timeout, clock, line)
    finally:
        line.end()


def _wait(
    node: LightNode, done: Condition, timeout: float, clock: Clock, line: "ProgressLine"
) -> bool:
    reached: tuple[int, int] | None = None
    since = clock.monotonic()
    while True:
        status, now = node.status(), clock.monotonic()
        if done(status):
            return True
        if (found := _reached(status)) != reached:
            reached, since = found, now
        left = timeout - (now - since)
        if left <= 0 or _has_stopped(status):
            return False
        line.show(status)
        node.wait(lambda s: done(s) or _has_stopped(s), min(left, REDRAWN_S))


def _has_stopped(status: SyncStatus) -> bool:
    """Say whether nothing more is to come; after a fork its evidence is."""
    return not status.running and (status.fork is None or status.evidence is not None)


def _reached(status: SyncStatus) -> tuple[int, int]:
    """What is verified and agreed on; what sources claim is no progress."""
    return status.verified_height, status.agreed_height or 0


class ProgressLine:
    """Progress in one line that is written anew; where that is no terminal, a line now and then."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._redraws = stream.isatty()
        self._shown_at = clock.monotonic()  # the first line only after a moment
        self._open = False

    def show(self, status: SyncStatus) -> None:
        """Write the progress, if there is any and the last was written long enough ago."""
        now = self._clock.monotonic()
        if now - self._shown_at < (REDRAWN_S if self._redraws else LINE_S):
            return
        self._shown_at = now
        text = words(status_progress(status)) or _waiting_for(status)
        if not self._redraws:
            print(text, file=self._stream, flush=True)
        else:
            print(f"\r{text[:79]}\x1b[K", end="", file=self._stream, flush=True)
            self._open = True

    def end(self) -> None:
        """Leave the line, so that what is printed next has one of its own."""
        if self._open:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
            self._open = False


def _waiting_for(status: SyncStatus) -> str:
    examined = sorted({p.organization for p in status.peers if p.examined})
    if not status.waiting_for and examined:
        return tr("Looking into what {names} showed", names=said(all_of(examined)))
    return tr("Waiting for: {what}", what=said(status.waiting_for))


def status_progress(status: SyncStatus) -> dict[str, Any] | None:
    """Return the progress as ``--json`` prints it, rounded; None if the node is not behind."""
    progress = status.progress
    if progress is None:
        return None
    pace, left = progress.blocks_per_s, progress.seconds_left
    return {
        "verified": status.verified_height,
        "of": status.height,
        "share": round(progress.share, 4),
        "blocks_per_s": None if pace is None else round(pace, 1),
        "seconds_left": None if left is None else round(left),
    }


def words(progress: Mapping[str, Any] | None) -> str:
    """Say a progress of :func:`status_progress` to people; "" for None."""
    if progress is None:
        return ""
    text = tr(
        "verified {number} of {all} blocks ({share} %)",
        number=f"{progress['verified']:,}",
        all=f"{progress['of']:,}",
        share=f"{int(1000 * progress['share']) / 10:.1f}",
    )
    if progress["blocks_per_s"] is None or progress["seconds_left"] is None:
        return text
    return tr(
        "{progress}, {number} blocks/s, about {time} left",
        progress=text,
        number=f"{progress['blocks_per_s']:,.0f}",
        time=span(progress["seconds_left"]),
    )


def block_count(number: int) -> str:
    """Say how many blocks."""
    return tr("1 block") if number == 1 else tr("{number} blocks", number=f"{number:,}")


def span(seconds: float) -> str:
    """Return a time in words, as exact as an estimate can be."""
    if seconds < 90:
        return tr("{number} s", number=max(1, round(seconds)))
    if seconds < 90 * 60:
        return tr("{number} min", number=round(seconds / 60))
    return tr("{number} h", number=f"{seconds / 3600:.1f}")
