"""What the commands that run parts of a network share: checks of their options, how they stop."""

import asyncio
import signal

from light_node.commandline import InputError

_WILDCARDS = ("0.0.0.0", "::", "")


def check_host(host: str) -> None:
    """Raise ``InputError`` for an address that certificates cannot name."""
    if host in _WILDCARDS:
        raise InputError(
            "--host must be the address others reach this machine by: it goes into certificates"
        )


def check_batch_timeout(milliseconds: int | None) -> None:
    """Raise ``InputError`` for a batch timeout no orderer is given; None is left to the network."""
    if milliseconds is not None and not 1 <= milliseconds <= 60_000:
        raise InputError("--batch-timeout must be 1 to 60000 milliseconds")


def check_batch_messages(count: int | None) -> None:
    """Raise ``InputError`` for a number of transactions no block is cut at; None: the default."""
    if count is not None and not 1 <= count <= 100_000:
        raise InputError("--batch-messages must be 1 to 100000")


def stop_event() -> asyncio.Event:
    """Return an event of the running loop that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop
