"""What a simulated meter sends, and when: the part that terminal and socket share."""

import heapq
from collections.abc import Callable

from wallet_app.meter.simulator.device import Device, Replies


class Pump:
    """Keeps a device's replies until their time has come. Not thread-safe."""

    def __init__(self, device: Device, monotonic: Callable[[], float]) -> None:
        self._device, self._monotonic = device, monotonic
        self._waiting: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._due = monotonic() + (device.period_s or 0.0)

    def pause(self) -> float | None:
        """Return for how many seconds nothing is due; None for ever."""
        deadlines = [self._waiting[0][0]] if self._waiting else []
        deadlines += [self._due] if self._device.period_s else []
        return max(0.0, min(deadlines) - self._monotonic()) if deadlines else None

    def run(self, received: bytes) -> list[bytes]:
        """Give the device the host's bytes (none is fine); return what goes out now, in order."""
        now, period_s = self._monotonic(), self._device.period_s
        replies: Replies = self._device.on_bytes(received, now) if received else []
        if period_s and now >= self._due:
            replies = replies + self._device.push(now)
            self._due = max(self._due + period_s, now)
        for delay, data in replies:
            self._count += 1
            heapq.heappush(self._waiting, (now + delay, self._count, data))
        out = []
        while self._waiting and self._waiting[0][0] <= now:
            out.append(heapq.heappop(self._waiting)[2])
        return out
