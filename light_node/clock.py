"""Clocks, passed in wherever time matters.

Two times are kept apart. *Wall time* is what Fabric checks (proposals within 15 minutes) and
what keepalives and deadlines use. *Market time* is when slots are quoted and delivered; it equals
wall time except on a devnet that was told to run faster, so that a day fits into 90 seconds.
"""

import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from light_node import jsonio
from light_node.i18n import Text

# Python's monotonic clock stands still while Linux or macOS sleeps; these go on. Whoever compares
# it with the wall clock would take every sleep for a clock set forward.
_AWAKE_OR_NOT: int | None = getattr(
    time,
    "CLOCK_BOOTTIME",
    getattr(time, "CLOCK_MONOTONIC", None) if sys.platform == "darwin" else None,
)


class Clock(Protocol):
    """Wall time and a monotonic counter."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never jump; the time the machine slept counts."""
        return time.monotonic() if _AWAKE_OR_NOT is None else time.clock_gettime(_AWAKE_OR_NOT)


@dataclass(frozen=True, slots=True)
class MarketTime:
    """How market time runs: at wall time ``wall`` it was ``market``; ``rate`` times as fast.

    ``rate`` is an integer so that every process of a network maps the same instant alike.
    """

    wall: datetime
    market: datetime
    rate: int = 1

    def at(self, wall: datetime) -> datetime:
        """Return the market time at wall time ``wall`` (aware UTC)."""
        return self.market + (wall - self.wall) * self.rate

    def to_wall(self, market: datetime) -> datetime:
        """Return the wall time at which the market time is ``market`` (aware UTC)."""
        return self.wall + (market - self.market) / self.rate

    def wall_span(self, market: timedelta) -> timedelta:
        """Return how long a span of market time takes on the wall."""
        return market / self.rate

    def to_json(self) -> dict[str, Any]:
        """Return the form kept in a network profile."""
        return {
            "wall": self.wall.isoformat(),
            "market": self.market.isoformat(),
            "rate": self.rate,
        }

    @classmethod
    def from_json(cls, value: Any) -> "MarketTime":
        """Read :meth:`to_json`'s form; ``JsonError`` if it is not that, None means wall time."""
        if value is None:
            return REAL_TIME
        fields = jsonio.mapping(value, "market_time")
        try:
            wall = datetime.fromisoformat(jsonio.string(fields, "wall"))
            market = datetime.fromisoformat(jsonio.string(fields, "market"))
        except ValueError as error:
            raise jsonio.JsonError(
                Text("market_time holds no ISO 8601 time: {error}", error=error)
            ) from error
        if wall.tzinfo is None or market.tzinfo is None:
            raise jsonio.JsonError(
                Text("market_time needs times with an offset, like 2026-06-21T00:00Z")
            )
        return cls(wall, market, jsonio.integer(fields, "rate", low=1, high=1_000_000))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REAL_TIME = MarketTime(_EPOCH, _EPOCH, 1)
"""Market time that is wall time: every network but an accelerated devnet."""
