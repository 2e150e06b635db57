"""Market time between two snapshots, so that a countdown runs evenly."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

_MAX_RATE = 100_000.0
_TRUSTED_S = 2.0  # so long is a measured pace carried on without a snapshot


class MarketTicker:
    """Extrapolates market time from the last snapshots; a demo's time runs faster than the wall."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._anchor: tuple[float, datetime] | None = None
        self._rate = 1.0
        self._accelerated = False

    def update(self, market_now: datetime, accelerated: bool) -> None:
        """Take a snapshot's time; with ``accelerated`` the pace is measured, else it is 1."""
        now = self._monotonic()
        self._accelerated = accelerated
        if not accelerated:
            self._rate = 1.0
        elif self._anchor and now - self._anchor[0] > 0.05:
            moved = (market_now - self._anchor[1]).total_seconds()
            self._rate = min(_MAX_RATE, max(0.0, moved / (now - self._anchor[0])))
        if not accelerated or self._anchor is None or now - self._anchor[0] > 0.05:
            self._anchor = (now, market_now)

    def now(self) -> datetime | None:
        """Return the market time at this moment, None before the first snapshot."""
        if self._anchor is None:
            return None
        taken, market = self._anchor
        passed = self._monotonic() - taken
        if self._accelerated:
            passed = min(passed, _TRUSTED_S)
        return market + timedelta(seconds=passed * self._rate)

    def seconds_to(self, at: datetime | None) -> float | None:
        """Return the market seconds until ``at``, None where either is not known."""
        now = self.now()
        return None if at is None or now is None else (at - now).total_seconds()
