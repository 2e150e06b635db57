"""Units of the market: integers, with the unit in the type's name (docs/market-rules.md section 1).

| type          | unit                                             |
| ------------- | ------------------------------------------------ |
| EnergyWh      | Wh                                               |
| PriceTick     | tick = 0.0001 currency/kWh                       |
| MoneyWhTick   | Wh·tick = 1e-7 currency; never rounded           |
"""

from typing import NewType

EnergyWh = NewType("EnergyWh", int)
PriceTick = NewType("PriceTick", int)
MoneyWhTick = NewType("MoneyWhTick", int)

TICKS_PER_CURRENCY = 10_000
MONEY_PER_CURRENCY = 10_000_000
MAX_ENERGY_WH = 10**12
"""Largest energy of one quote or reading: 1 TWh, so that sums of a million stay within 64 bits."""
MAX_PRICE_TICK = 10**9
"""Largest price: 100,000 currency/kWh."""


def money(energy: EnergyWh, price: PriceTick) -> MoneyWhTick:
    """Return what ``energy`` costs at ``price``, exactly."""
    return MoneyWhTick(energy * price)
