"""What a simulated meter is to the line it hangs on, and faults of that line."""

import random
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol

from wallet_app.meter.simulator.home import HomeState

Replies = list[tuple[float, bytes]]
"""(delay in s, bytes) to send to the host, in order."""

LINE_FAULTS = ("echo", "noise", "flip", "half", "drop", "silent", "sum", "slow")
"""Faults of a line, see :class:`FaultyLine`."""
METER_FAULTS = ("exchange", "rollover")
"""What happens to a meter itself, see :class:`Exchanged` and :func:`about_to_roll_over`."""
FAULTS = LINE_FAULTS + METER_FAULTS

# Where the check sum (or a digit of it) is, counted from the end of a telegram.
_SUM_AT = {
    "dlt645": 2,
    "dlt698": 3,
    "modbus_rtu": 1,
    "iec62056_21": 1,
    "dsmr_p1": 3,
    "sml": 1,
    "dlms": 2,
}
_SLOW_BYTE_S, _SLOWEST_S = 0.02, 2.0
REGISTER_END_WH = 1_000_000_000
"""Registers of eight digits begin again behind 999 999.99 kWh."""
_BEFORE_END_WH = 20


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
    nothing comes; ``sum``: the check sum is wrong (needs ``protocol``; mode D has none); ``slow``:
    one byte at a time, 20 ms apart or as much as fits in two seconds.
    """

    def __init__(
        self,
        device: Device,
        faults: Collection[str],
        *,
        every: int = 3,
        seed: int = 1,
        protocol: str = "",
    ) -> None:
        unknown = set(faults) - set(LINE_FAULTS)
        if unknown:
            raise ValueError(f"no fault {min(unknown)!r}; there are: {', '.join(LINE_FAULTS)}")
        if every < 1:
            raise ValueError("a fault can come with every piece at most")
        if "sum" in faults and protocol not in _SUM_AT:
            raise ValueError("a wrong check sum needs a protocol that is known here")
        self._device, self._faults, self._every = device, frozenset(faults), every
        self._random, self._protocol = random.Random(seed), protocol
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
            if self._sent % self._every:
                result.append((delay, data))
                continue
            damaged = self._damage(data)
            if "slow" in self._faults:
                gap = min(_SLOW_BYTE_S, _SLOWEST_S / max(1, len(damaged)))
                pieces = (damaged[n : n + 1] for n in range(len(damaged)))
                result += [(delay + n * gap, piece) for n, piece in enumerate(pieces)]
            elif damaged:
                result.append((delay, damaged))
        return result

    def _damage(self, data: bytes) -> bytes:
        if "silent" in self._faults:
            return b""
        wire = bytearray(data)
        if "sum" in self._faults:
            self._spoil_sum(wire)
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

    def _spoil_sum(self, wire: bytearray) -> None:
        at = len(wire) - _SUM_AT[self._protocol]
        lines_only = self._protocol == "iec62056_21" and b"\x03" not in wire
        if at < 0 or lines_only:
            return  # an identification or mode D: there is no sum
        if self._protocol == "dsmr_p1":
            wire[at] = ord("0") if wire[at] != ord("0") else ord("1")
        else:
            wire[at] ^= 0x15


class Exchanged:
    """A meter that is replaced by another one after ``after`` pieces it sent."""

    def __init__(self, first: Device, second: Device, *, after: int) -> None:
        self._device, self._second, self._left = first, second, after

    @property
    def period_s(self) -> float | None:
        """Return how often the meter in place pushes."""
        return self._device.period_s

    def on_bytes(self, data: bytes, now: float) -> Replies:
        """Pass the host's bytes to the meter in place."""
        return self._counted(self._device.on_bytes(data, now))

    def push(self, now: float) -> Replies:
        """Return what the meter in place pushes."""
        return self._counted(self._device.push(now))

    def _counted(self, replies: Replies) -> Replies:
        self._left -= len(replies)
        if self._left <= 0:
            self._device = self._second
        return replies


def about_to_roll_over(state: Callable[[], HomeState]) -> Callable[[], HomeState]:
    """Return the states of a home whose import register is 20 Wh in front of its end."""
    offset: list[float] = []

    def shifted() -> HomeState:
        now = state()
        if not offset:
            offset.append(REGISTER_END_WH - _BEFORE_END_WH - now.import_wh)
        return replace(now, import_wh=(now.import_wh + offset[0]) % REGISTER_END_WH)

    return shifted


def from_zero(state: Callable[[], HomeState]) -> Callable[[], HomeState]:
    """Return the states of a home whose meter is new: its registers began at the first look."""
    begin: list[HomeState] = []

    def shifted() -> HomeState:
        now = state()
        if not begin:
            begin.append(now)
        return replace(
            now,
            import_wh=now.import_wh - begin[0].import_wh,
            export_wh=now.export_wh - begin[0].export_wh,
        )

    return shifted
