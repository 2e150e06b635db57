"""Serial ports: which there are, opening one, and what to say when that fails.

docs/meter-protocols.md sections 12 and 14. An adapter is known by its serial number, else by where
it is plugged in, because ``ttyUSB0`` changes its number when adapters are plugged in again.
"""

import errno
import os
import select
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import serial
from serial.tools import list_ports

from wallet_app.i18n import tr

if sys.platform == "win32":
    PORT_FAILURES: tuple[type[Exception], ...] = (serial.SerialException, OSError)
else:
    import grp
    import termios

    # termios.error is no OSError; it comes out of flush() and friends after an unplug.
    PORT_FAILURES = (serial.SerialException, OSError, termios.error)

READ_TIMEOUT_S = 0.05
"""How long one read waits. Never changed on an open port: a pseudo-terminal refuses that."""

_CHIPS = {
    (0x0403, None): "FTDI",
    (0x10C4, None): "Silicon Labs CP210x",
    (0x1A86, None): "WCH CH34x",
    (0x067B, None): "Prolific PL2303",
}


@dataclass(frozen=True, slots=True)
class Link:
    """Speed and format of a line: ``parity`` is "N", "E" or "O"."""

    baud: int = 2400
    data_bits: int = 8
    parity: str = "E"
    stop_bits: int = 1

    @property
    def byte_s(self) -> float:
        """Return how long one byte takes on the line."""
        bits = 1 + self.data_bits + (self.parity != "N") + self.stop_bits
        return bits / self.baud

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits}"


@dataclass(frozen=True, slots=True)
class PortInfo:
    """One port of this machine; ``identity`` names the adapter across re-plugging ("" unknown)."""

    device: str
    name: str
    identity: str
    likely: bool  # a USB adapter, not a modem or a Bluetooth port


class Line(Protocol):
    """The part of ``serial.Serial`` the session uses; tests pass their own."""

    baudrate: int

    def read(self, size: int = 1, wait_s: float = READ_TIMEOUT_S, /) -> bytes:
        """Read what is there, up to ``size`` bytes; wait up to ``wait_s`` for the first of them.

        Lines that cannot wait for as long come back earlier with nothing.
        """
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send ``data``."""
        ...

    def flush(self) -> None:
        """Wait until everything has been handed to the adapter."""
        ...

    def reset_input_buffer(self) -> None:
        """Forget what came in and was not read."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


PortFactory = Callable[[str, Link], Line]


class PortError(Exception):
    """The port cannot be opened; the message says what to do."""


def open_port(device: str, link: Link) -> Line:
    """Open ``device`` for this program alone; ``PortError`` with what to do about it."""
    # A pseudo-terminal has neither parity nor seven bits; asking for them makes later calls fail.
    pseudo = device.startswith("/dev/pts/")
    parity, data_bits = ("N", 8) if pseudo else (link.parity, link.data_bits)
    options = {} if "://" in device else {"exclusive": True}
    try:
        port = serial.serial_for_url(
            device,
            baudrate=link.baud,
            bytesize=data_bits,
            parity=parity,
            stopbits=link.stop_bits,
            timeout=READ_TIMEOUT_S,
            write_timeout=5.0,
            **options,
        )
    except (*PORT_FAILURES, ValueError) as error:
        raise PortError(explain(device, error)) from error
    for signal in ("rts", "dtr"):
        try:
            setattr(port, signal, True)  # infrared heads take their supply from these
        except PORT_FAILURES:
            break  # pseudo-terminals and sockets have no such lines
    return _Blocking(port) if "://" in device or sys.platform == "win32" else _Descriptor(port)


class _Opened:
    """An open port of pyserial's as a :class:`Line`."""

    def __init__(self, port: Any) -> None:
        self._port = port

    @property
    def baudrate(self) -> int:
        """Return or change the speed of the open port."""
        return int(self._port.baudrate)

    @baudrate.setter
    def baudrate(self, baud: int) -> None:
        self._port.baudrate = baud

    def write(self, data: bytes) -> int | None:
        """Send ``data``."""
        written: int | None = self._port.write(data)
        return written

    def flush(self) -> None:
        """Wait until everything has been handed to the adapter."""
        self._port.flush()

    def reset_input_buffer(self) -> None:
        """Forget what came in and was not read."""
        self._port.reset_input_buffer()

    def close(self) -> None:
        """Give the port back."""
        self._port.close()


class _Blocking(_Opened):
    """Windows ports and sockets: wait for one byte, then take what else is there."""

    def read(self, size: int = 1, _wait_s: float = READ_TIMEOUT_S) -> bytes:
        """Read what is there, waiting at most the time the port was opened with."""
        data: bytes = self._port.read(1)
        waiting = min(self._port.in_waiting, size - 1) if data else 0
        return data + self._port.read(waiting) if waiting else data


class _Descriptor(_Opened):
    """POSIX ports: one wait and one read for a piece, where pyserial takes three calls of each."""

    def __init__(self, port: Any) -> None:
        super().__init__(port)
        self._descriptor: int = port.fileno()

    def read(self, size: int = 1, wait_s: float = READ_TIMEOUT_S) -> bytes:
        """Read what is there; ``SerialException`` when the adapter is gone."""
        if self._descriptor < 0:
            raise serial.SerialException("the port was closed")
        # Not poll(): on macOS it does not know serial ports.
        if not select.select([self._descriptor], [], [], wait_s)[0]:
            return b""
        data = os.read(self._descriptor, size)
        if not data:
            # What a port that was unplugged does for ever.
            raise serial.SerialException("the port is ready to read and has nothing")
        return data

    def write(self, data: bytes) -> int | None:
        """Send ``data``; what the port does not take at once goes the slower way, with a limit."""
        try:
            sent = os.write(self._descriptor, data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            super().write(data[sent:])
        return len(data)

    def close(self) -> None:
        """Give the port back; reading from it fails from then on."""
        self._descriptor = -1
        super().close()


def ports(listing: Callable[[], Iterable[object]] = list_ports.comports) -> list[PortInfo]:
    """Return the serial ports of this machine, likely meter adapters first."""
    entries = list(listing())
    found = [_info(entry) for entry in entries]
    # Clones share one serial number, and the ports of a four-port adapter do: then the place in
    # which each is plugged tells them apart.
    times = Counter(port.identity for port in found)
    told = [
        replace(port, identity=f"{port.identity} at {getattr(entry, 'location', None) or '?'}")
        if port.identity and times[port.identity] > 1
        else port
        for port, entry in zip(found, entries, strict=True)
    ]
    return sorted(told, key=lambda port: (not port.likely, port.device))


def find_again(device: str, identity: str, known: Iterable[PortInfo]) -> str:
    """Return where the adapter ``identity`` is now; ``device`` itself if it is not known.

    ``PortError`` if another adapter has taken its name and it is nowhere: reading on there would
    be reading another meter.
    """
    ports_ = list(known)
    here = [port for port in ports_ if identity and port.identity == identity]
    if any(port.device == device for port in here):
        return device
    if here:
        return here[0].device
    taken = [port for port in ports_ if port.device == device and port.identity]
    if identity and taken:
        raise PortError(
            tr(
                "the meter's adapter is not plugged in; {port} is another adapter now",
                port=device,
            )
        )
    return device


def explain(device: str, error: BaseException) -> str:
    """Return one line on why ``device`` could not be opened and what to do."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number == errno.EACCES or isinstance(error, PermissionError):
        return _no_permission(device, text)
    if number in (errno.EAGAIN, errno.EBUSY) or "Access is denied" in text:
        return tr(
            "{port} is in use: another program has it open; close that program and try again",
            port=device,
        )
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or "FileNotFound" in text:
        return tr(
            "there is no port {port}: plug in the adapter, or choose another port", port=device
        )
    if isinstance(error, ValueError):
        return tr(
            "{port} cannot be opened with these settings: choose another speed or format",
            port=device,
        )
    reason = os.strerror(number) if isinstance(number, int) else type(error).__name__
    return tr(
        "{port} cannot be opened ({reason}): unplug the adapter, wait, plug it in again",
        port=device,
        reason=reason,
    )


def _no_permission(device: str, text: str) -> str:
    if "in use" in text or sys.platform == "win32":
        return tr(
            "{port} is in use: another program has it open; close that program and try again",
            port=device,
        )
    try:
        group = grp.getgrgid(Path(device).stat().st_gid).gr_name
    except (OSError, KeyError):
        return tr(
            "this user may not open {port}: ask who looks after this machine for access",
            port=device,
        )
    return tr(
        "this user may not open {port}, which belongs to the group {group}: run "
        "'sudo usermod -aG {group} $USER', then log out and in again",
        port=device,
        group=group,
    )


def _info(entry: object) -> PortInfo:
    vendor = getattr(entry, "vid", None)
    product, number = getattr(entry, "pid", None), getattr(entry, "serial_number", None)
    place = getattr(entry, "location", None)
    device = str(getattr(entry, "device", ""))
    chip = _CHIPS.get((vendor, None), "") if vendor is not None else ""
    label = str(getattr(entry, "product", None) or getattr(entry, "description", None) or "")
    name = " ".join(part for part in (label if label != "n/a" else "", chip) if part)
    identity = ""
    if vendor is not None and product is not None and (number or place):
        identity = f"{vendor:04x}:{product:04x}:{number or 'at ' + str(place)}"
    return PortInfo(device, name[:100], identity, vendor is not None)
