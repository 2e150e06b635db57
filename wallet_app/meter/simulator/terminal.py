"""Serves a simulated meter on a pseudo-terminal, as a serial port any program can open (POSIX)."""

import heapq
import os
import select
import threading
import time
import tty
from collections.abc import Callable

from wallet_app.meter.simulator.device import Device, Replies

_READ_BYTES = 4096


class MeterTerminal:
    """A thread between a pseudo-terminal and a simulated meter; use as a context manager.

    ``port`` is the name to open. :meth:`unplug` closes the master: programs on the port see what
    they would see if the adapter were pulled out.
    """

    def __init__(self, device: Device, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._device, self._monotonic = device, monotonic
        self._master, slave = os.openpty()
        # A meter that pushes must not wait for somebody to listen.
        os.set_blocking(self._master, False)
        # Raw before anybody opens it, else the line discipline echoes and eats bytes.
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        # Kept open so that the terminal lives on while no program has it open.
        self._slave = slave
        self._wake, self._waker = os.pipe()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="meter-terminal", daemon=True)
        self._thread.start()

    def __enter__(self) -> "MeterTerminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def unplug(self) -> None:
        """Close the terminal under whoever has it open."""
        self.close()

    def close(self) -> None:
        """Stop serving and close the terminal; closing twice is allowed."""
        if self._closing:
            return
        self._closing = True
        os.write(self._waker, b"x")
        self._thread.join()
        for descriptor in (self._slave, self._master, self._wake, self._waker):
            os.close(descriptor)

    def _serve(self) -> None:
        waiting: list[tuple[float, int, bytes]] = []
        count = 0
        period_s = self._device.period_s
        due = self._monotonic() + (period_s or 0.0)
        while not self._closing:
            deadlines = [waiting[0][0]] if waiting else []
            deadlines += [due] if period_s else []
            pause = max(0.0, min(deadlines) - self._monotonic()) if deadlines else None
            readable, _, _ = select.select([self._master, self._wake], [], [], pause)
            if self._wake in readable:
                return
            now = self._monotonic()
            replies: Replies = []
            if self._master in readable:
                replies += self._device.on_bytes(os.read(self._master, _READ_BYTES), now)
            if period_s and now >= due:
                replies += self._device.push(now)
                due = max(due + period_s, now)
            for delay, data in replies:
                count += 1
                heapq.heappush(waiting, (now + delay, count, data))
            while waiting and waiting[0][0] <= now:
                self._write(heapq.heappop(waiting)[2])

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._master, data)
        except BlockingIOError:
            return  # nobody reads, and the line's buffer is full: the bytes are lost, as on a wire
