"""A serial line in virtual time: bits on a wire, so that a wrong speed gives the rubbish it gives.

Nothing here waits: reading moves the clock on. Framing errors are read as 00, as Linux does.
"""

import bisect
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from wallet_app.meter.ports import READ_TIMEOUT_S, Link
from wallet_app.meter.simulator.device import Device, Replies


class VirtualTime:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 6, 21, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class VirtualStop(threading.Event):
    """An event whose wait passes virtual time."""

    def __init__(self, time: VirtualTime) -> None:
        super().__init__()
        self._time = time

    def wait(self, timeout: float | None = None) -> bool:
        self._time.seconds += timeout or 0.0
        return self.is_set()


def wave(data: bytes, link: Link) -> list[int]:
    """Return the levels of ``data`` on the wire, a bit each, start and stop bits included."""
    bits = []
    for byte in data:
        value = [byte >> n & 1 for n in range(link.data_bits)]
        parity = [] if link.parity == "N" else [sum(value) % 2]
        bits += [0, *value, *parity, *[1] * link.stop_bits]
    return bits


def heard(
    start: float, bits: list[int], sender: Link, receiver: Link, since: float
) -> list[tuple[float, int]]:
    """Return (time, byte) of what a receiver makes of a wave, listening ``since`` then."""
    bit, mine = 1 / sender.baud, 1 / receiver.baud
    end = start + len(bits) * bit

    def level(at: float) -> int:
        return bits[int((at - start) / bit)] if start <= at < end else 1

    found, at = [], max(since, start)
    frame = 1 + receiver.data_bits + (receiver.parity != "N")
    while at < end:
        index = int((at - start) / bit + 1e-9)
        while index < len(bits) and bits[index]:
            index += 1
        if index >= len(bits):
            break
        edge = max(at, start + index * bit)
        value = sum(level(edge + (1.5 + n) * mine) << n for n in range(receiver.data_bits))
        stop = edge + (frame + 0.5) * mine
        found.append((stop, value if level(stop) else 0))
        at = stop
    return found


@dataclass
class Wire:
    """A meter at its own speed on a line; a port factory in virtual time."""

    device: Device
    link: Link
    time: VirtualTime
    phase: float = 0.0
    bursts: list[tuple[float, list[int]]] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._due = self.phase

    def __call__(self, _device: str, link: Link) -> "VirtualLine":
        return VirtualLine(self, link)

    def push_until(self, at: float) -> None:
        """Let the meter push what it pushes up to then."""
        while self.device.period_s and self._due <= at:
            self.send(self.device.push(self._due), self._due)
            self._due += self.device.period_s

    def send(self, replies: Replies, now: float) -> None:
        for delay, data in replies:
            self.bursts.append((now + delay, wave(data, self.link)))

    def ask(self, data: bytes, link: Link) -> None:
        """Let the meter hear what a host sends at its own speed."""
        self.asked.append(data)
        start = self.time.seconds
        bits = wave(data, link)
        received = heard(start, bits, link, self.link, start)
        if received:
            self.send(
                self.device.on_bytes(bytes(b for _, b in received), received[-1][0]),
                received[-1][0],
            )


class VirtualLine:
    """An open port on a :class:`Wire`."""

    def __init__(self, wire: Wire, link: Link) -> None:
        self._wire, self._link, self.baudrate = wire, link, link.baud
        self._opened = wire.time.seconds
        self._taken = 0
        self._bytes: list[tuple[float, int]] = []
        self._seen = 0

    def _arrived(self, until: float) -> int:
        """Return up to which place in the bytes everything has arrived by then."""
        self._wire.push_until(until)
        for start, bits in self._wire.bursts[self._seen :]:
            self._bytes += heard(start, bits, self._wire.link, self._link, self._opened)
            self._bytes.sort()
        self._seen = len(self._wire.bursts)
        return bisect.bisect_right(self._bytes, (until, 256))

    def read(self, size: int = 1, wait_s: float = READ_TIMEOUT_S) -> bytes:
        time = self._wire.time
        end = self._arrived(time.seconds)
        if end == self._taken:
            end = self._arrived(time.seconds + wait_s)
            nothing = end == self._taken
            time.seconds = time.seconds + wait_s if nothing else self._bytes[self._taken][0]
            end = self._arrived(time.seconds)
        part = self._bytes[self._taken : min(end, self._taken + size)]
        self._taken += len(part)
        return bytes(byte for _, byte in part)

    def write(self, data: bytes) -> int:
        self._wire.ask(data, self._link)
        return len(data)

    def flush(self) -> None: ...

    def reset_input_buffer(self) -> None:
        self._taken = self._arrived(self._wire.time.seconds)

    def close(self) -> None: ...
