"""What a simulated meter is to the line it hangs on, and faults of that line."""

import random
from collections.abc import Collection
from typing import Protocol

Replies = list[tuple[float, bytes]]
"""(delay in s, bytes) to send to the host, in order."""

FAULTS = ("echo", "noise", "flip", "half", "drop", "silent")
"""Faults of a line, see :class:`FaultyLine`."""


class Device(Protocol):
    """A simulated meter without a port; ``now`` is the host's monotonic time in s."""

    @property
    def period_s(self) -> float | None:
        """Return how often it pushes by itself; None if it only answers."""
        ...

    def on_bytes(self, data: bytes, now: float) -> Replies:
        """Take the host's bytes; return what goes out, and when."""
        ...

    def push(self, now: float) -> Replies:
        """Return what goes out by itself, once a period."""
        ...


class Asked:
    """Base of meters that only answer."""

    period_s: float | None = None

    def push(self, _now: float) -> Replies:
        """Return nothing: this meter does not push."""
        return []


class Pushing:
    """Base of meters that only push."""

    period_s: float | None = 1.0

    def on_bytes(self, _data: bytes, _now: float) -> Replies:
        """Return nothing: this meter does not answer."""
        return []


class FaultyLine:
    """A device behind a bad line: every ``every``-th piece it sends suffers the faults.

    ``echo``: the host's own bytes come back first (always); ``noise``: random bytes around;
    ``flip``: one bit; ``half``: the second half is lost; ``drop``: one byte is lost; ``silent``:
    nothing comes.
    """

    def __init__(
        self, device: Device, faults: Collection[str], *, every: int = 3, seed: int = 1
    ) -> None:
        unknown = set(faults) - set(FAULTS)
        if unknown:
            raise ValueError(f"no fault {min(unknown)!r}; there are: {', '.join(FAULTS)}")
        if every < 1:
            raise ValueError("a fault can come with every piece at most")
        self._device, self._faults, self._every = device, frozenset(faults), every
        self._random = random.Random(seed)
        self._sent = 0

    @property
    def period_s(self) -> float | None:
        """Return how often the device pushes."""
        return self._device.period_s

    def on_bytes(self, data: bytes, now: float) -> Replies:
        """Pass the host's bytes on; return the device's replies as the line lets them through."""
        echo: Replies = [(0.0, data)] if "echo" in self._faults else []
        return echo + self._damaged(self._device.on_bytes(data, now))

    def push(self, now: float) -> Replies:
        """Return what the device pushes as the line lets it through."""
        return self._damaged(self._device.push(now))

    def _damaged(self, replies: Replies) -> Replies:
        result: Replies = []
        for delay, data in replies:
            self._sent += 1
            damaged = data if self._sent % self._every else self._damage(data)
            if damaged:
                result.append((delay, damaged))
        return result

    def _damage(self, data: bytes) -> bytes:
        if "silent" in self._faults:
            return b""
        wire = bytearray(data)
        if "half" in self._faults:
            del wire[len(wire) // 2 :]
        if "drop" in self._faults and wire:
            del wire[self._random.randrange(len(wire))]
        if "flip" in self._faults and wire:
            wire[self._random.randrange(len(wire))] ^= 1 << self._random.randrange(8)
        if "noise" in self._faults:
            before, behind = (self._random.randbytes(self._random.randrange(1, 20)) for _ in "ab")
            wire[:] = before + wire + behind
        return bytes(wire)
