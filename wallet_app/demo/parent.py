"""The child's side of the pipe from its parent: lines to act on, and its closing to stop at."""

import os
import queue
import signal
import sys
import threading

_lines: "queue.SimpleQueue[str | None]" = queue.SimpleQueue()


def lines() -> "queue.SimpleQueue[str | None]":
    """Return the queue of lines the parent wrote; None marks the end."""
    return _lines


def watch() -> None:
    """Read standard input on a thread; when the parent is gone, stop this process cleanly."""
    threading.Thread(target=_watch, name="parent-watch", daemon=True).start()


def _watch() -> None:
    for line in sys.stdin:
        _lines.put(line)
    _lines.put(None)
    # SIGTERM runs the command's own clean stop; Windows has no such thing and ends it at once.
    os.kill(os.getpid(), signal.SIGTERM)
