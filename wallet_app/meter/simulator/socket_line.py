"""Serves a simulated meter on a local TCP port: where there are no pseudo-terminals (Windows).

Programs open it as ``socket://127.0.0.1:PORT``. It listens on the loopback interface only.
"""

import select
import socket
import threading
import time
from collections.abc import Callable

from wallet_app.meter.simulator.device import Device
from wallet_app.meter.simulator.pump import Pump

_READ_BYTES = 4096


class MeterSocket:
    """A thread between a TCP connection and a simulated meter; ``port`` is the name to open."""

    def __init__(self, device: Device, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pump = Pump(device, monotonic)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        # A pair of sockets, because Windows selects on nothing else.
        self._wake, self._waker = socket.socketpair()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="meter-socket", daemon=True)
        self._thread.start()

    def __enter__(self) -> "MeterSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and close the port; closing twice is allowed."""
        if self._closing:
            return
        self._closing = True
        self._waker.send(b"x")
        self._thread.join()
        for each in (self._listener, self._wake, self._waker):
            each.close()

    def _serve(self) -> None:
        while not self._closing:
            readable, _, _ = select.select([self._listener, self._wake], [], [])
            if self._wake in readable:
                return
            host, _ = self._listener.accept()
            with host:
                self._talk(host)

    def _talk(self, host: socket.socket) -> None:
        """Serve one program until it goes away or the meter is taken off."""
        while True:
            readable, _, _ = select.select([host, self._wake], [], [], self._pump.pause())
            if self._wake in readable:
                return
            try:
                received = host.recv(_READ_BYTES) if host in readable else b""
                if host in readable and not received:
                    return
                for data in self._pump.run(received):
                    host.sendall(data)
            except OSError:
                return  # the program went away in mid-sentence: wait for the next one
