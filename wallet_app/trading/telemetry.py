"""What the inverter tells and can be told: the roof, the house and the battery."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

_NUMBERS = ("roof_w", "house_w", "battery_w", "battery_wh", "roof_wh", "house_wh")


class Inverter(Protocol):
    """What steers the battery and knows the roof; the demo's simulated home is one."""

    def hold_grid(self, energy_wh: int, until: datetime) -> None:
        """Use the battery so that ``energy_wh`` (positive: taken) crosses the grid connection.

        Evenly from now to market time ``until``; what the battery cannot do, the grid does.
        """
        ...


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the inverter says, at one market instant: powers in W, stored energy in Wh.

    ``roof_wh`` and ``house_wh`` are its counters, from whatever start.
    """

    market: datetime
    roof_w: int
    house_w: int
    battery_w: int
    battery_wh: int
    roof_wh: int
    house_wh: int

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "Telemetry | None":
        """Read a telemetry line; None if it is none (a foreign line changes nothing)."""
        try:
            market = datetime.fromisoformat(line["market"])
            numbers = [line[name] for name in _NUMBERS]
        except (KeyError, TypeError, ValueError):
            return None
        if market.tzinfo is None or not 1970 < market.year < 3000:
            return None
        if not all(type(n) is int and abs(n) < 10**9 for n in numbers):
            return None
        return cls(market, *numbers)
