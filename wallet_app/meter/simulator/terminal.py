"""Serves a simulated meter on a pseudo-terminal, as a serial port any program can open (POSIX)."""

import os
import select
import threading
import time
from collections.abc import Callable

from wallet_app.meter.simulator.device import Device
from wallet_app.meter.simulator.pump import Pump

_READ_BYTES = 4096


class MeterTerminal:
    """A thread between a pseudo-terminal and a simulated meter; use as a context manager.

    ``port`` is the name to open. :meth:`unplug` closes the master: programs on the port see what
    they would see if the adapter were pulled out.
    """

    def __init__(self, device: Device, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pump = Pump(device, monotonic)
        # Imported here: Windows has neither pseudo-terminals nor this module, see MeterSocket.
        import tty

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
        while not self._closing:
            watched = [self._master, self._wake]
            readable, _, _ = select.select(watched, [], [], self._pump.pause())
            if self._wake in readable:
                return
            received = os.read(self._master, _READ_BYTES) if self._master in readable else b""
            for data in self._pump.run(received):
                self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._master, data)
        except BlockingIOError:
            return  # nobody reads, and the line's buffer is full: the bytes are lost, as on a wire
