"""Price bounds of a slot: what the grid pays (floor) and asks (cap), by local time of day.

The file is JSON; prices in ticks (0.0001 currency/kWh), bands in local time, each lasting until
the next begins, the last one over midnight until the first::

    {"time_zone": "Asia/Shanghai",
     "bands": [{"from": "07:00", "floor": 3800, "cap": 11080},
               {"from": "23:00", "floor": 3800, "cap": 6000}]}
"""

from dataclasses import dataclass
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from light_node import jsonio
from light_node.i18n import Text
from light_node.market.errors import InvalidBounds
from light_node.market.quotes import PriceBounds
from light_node.market.slots import Slot
from light_node.market.units import PriceTick

MAX_BANDS = 96


class TariffError(jsonio.JsonError):
    """The tariff cannot be used; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """Bands of (local time it begins, price bounds), ascending; at least one."""

    zone: ZoneInfo
    bands: tuple[tuple[time, PriceBounds], ...]

    def bounds(self, slot: Slot) -> PriceBounds:
        """Return the bounds of the band the slot starts in."""
        local = slot.starts_at.astimezone(self.zone).time()
        begun = [bounds for begins, bounds in self.bands if begins <= local]
        return begun[-1] if begun else self.bands[-1][1]


# The paper's reservation prices lie between 0.38 and 1.108 CNY/kWh (docs/market-rules.md 6).
DEFAULT = Tariff(ZoneInfo("UTC"), ((time(0), PriceBounds(PriceTick(3_800), PriceTick(11_080))),))
"""One price all day, for networks whose operator gives no tariff."""


def read(value: Any) -> Tariff:
    """Read a tariff file's JSON; ``TariffError`` names what is wrong."""
    try:
        fields = jsonio.mapping(value, Text("a tariff"))
        name = jsonio.string(fields, "time_zone", max_length=64)
        bands = tuple(_band(item) for item in jsonio.array(fields, "bands"))
        unknown = sorted(fields.keys() - {"time_zone", "bands"})
    except jsonio.JsonError as error:
        raise TariffError(Text("tariff: {error}", error=error)) from error
    if unknown:
        raise TariffError(
            Text(
                'tariff: unknown field "{unknown}"; fields are time_zone, bands', unknown=unknown[0]
            )
        )
    if not 1 <= len(bands) <= MAX_BANDS:
        raise TariffError(Text("tariff: 1 to {most} bands are needed", most=MAX_BANDS))
    begins = [band[0] for band in bands]
    if begins != sorted(set(begins)):
        raise TariffError(Text('tariff: the bands must ascend by "from", each time once'))
    try:
        return Tariff(ZoneInfo(name), bands)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise TariffError(
            Text('tariff: no time zone "{name}"; they look like Asia/Shanghai', name=name)
        ) from error


def _band(value: Any) -> tuple[time, PriceBounds]:
    fields = jsonio.mapping(value, Text("a band"))
    begins = jsonio.string(fields, "from", max_length=5)
    floor, cap = jsonio.integer(fields, "floor"), jsonio.integer(fields, "cap")
    try:
        return time.fromisoformat(begins), PriceBounds(PriceTick(floor), PriceTick(cap))
    except InvalidBounds as error:
        raise TariffError(
            Text("tariff: the band from {begins}: {error}", begins=begins, error=error)
        ) from error
    except ValueError as error:
        raise TariffError(
            Text('tariff: "from" must be a time like 07:00, not "{begins}"', begins=begins)
        ) from error
