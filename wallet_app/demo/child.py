"""Runs one of our commands as a child that ends when its parent does.

``python -m wallet_app.demo.child PROGRAM ARGUMENTS…`` with PROGRAM ``light-node`` or
``prosumer-wallet``. The parent holds the other end of standard input: when it goes away, by
whatever death, the pipe closes and the child stops itself, so that no devnet is left behind.
The lines that come before are for the command, which gets them from :func:`lines`.
"""

import importlib
import os
import queue
import signal
import sys
import threading

_lines: "queue.SimpleQueue[str | None]" = queue.SimpleQueue()


def lines() -> "queue.SimpleQueue[str | None]":
    """Return the queue of lines the parent wrote; None marks the end."""
    return _lines


def _watch() -> None:
    for line in sys.stdin:
        _lines.put(line)
    _lines.put(None)
    # SIGTERM runs the command's own clean stop; Windows has no such thing and ends it at once.
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Run the command named on the command line."""
    program, *arguments = sys.argv[1:]
    # Ctrl-C in the terminal reaches the whole process group; stopping is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if program != "prosumer-wallet":  # the simulated home reads its commands itself
        threading.Thread(target=_watch, name="parent-watch", daemon=True).start()
    modules = {
        "light-node": "light_node.cli",
        "neighbours": "wallet_app.demo.neighbours",
        "prosumer-wallet": "wallet_app.cli",
    }
    return int(importlib.import_module(modules[program]).main(arguments))


if __name__ == "__main__":
    sys.exit(main())
