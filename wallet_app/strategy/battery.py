"""The battery as the strategy sees it, and the papers' order of energy use.

Energies in Wh, powers in W, prices in ticks (0.0001 currency/kWh); SOC is stored energy over
capacity. A seller sells on the market first, then charges, then feeds into the grid; a buyer buys
on the market first, then discharges, then takes from the grid ([H] section 4, docs/market-rules.md
section 2).

The round-trip efficiency is lost in equal parts both ways: 1 Wh at the terminals stores √η Wh, and
1 Wh stored delivers √η Wh. A battery at 1000 permille, as in the papers, is the special case.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from light_node.market.units import EnergyWh, PriceTick

PERMILLE = 1000
_HOUR_S = 3600


class BatteryError(ValueError):
    """The battery's figures contradict each other; the message says which and what to change."""


@dataclass(frozen=True, slots=True)
class Battery:
    """What a battery can do and may be used for.

    ``reserve_wh`` is kept for outages: never discharged. ``cycle_cost`` is the wear of one Wh
    delivered, in ticks (price of the pack over the energy it delivers in its life). ``None`` for a
    power means the inverter does not limit it within a slot. Raises :class:`BatteryError`.
    """

    capacity_wh: EnergyWh
    max_charge_w: int | None = None
    max_discharge_w: int | None = None
    round_trip_efficiency_permille: int = PERMILLE
    reserve_wh: EnergyWh = EnergyWh(0)
    cycle_cost: PriceTick = PriceTick(0)
    may_charge_from_grid: bool = False
    may_discharge_to_sell: bool = False

    def __post_init__(self) -> None:
        if self.capacity_wh < 0:
            raise BatteryError(f"the battery's capacity is {self.capacity_wh} Wh; give 0 or more")
        if not 0 <= self.reserve_wh <= self.capacity_wh:
            raise BatteryError(
                f"the reserve of {self.reserve_wh} Wh does not fit a battery of "
                f"{self.capacity_wh} Wh; give 0 to {self.capacity_wh}"
            )
        if not 0 < self.round_trip_efficiency_permille <= PERMILLE:
            raise BatteryError(
                f"a round-trip efficiency of {self.round_trip_efficiency_permille} permille is "
                "not possible; give 1 to 1000"
            )
        for name, power in (("charging", self.max_charge_w), ("discharging", self.max_discharge_w)):
            if power is not None and power < 0:
                raise BatteryError(f"the {name} power is {power} W; give 0 or more")
        if self.cycle_cost < 0:
            raise BatteryError(f"the cycle cost is {self.cycle_cost} ticks; give 0 or more")

    @property
    def one_way_permille(self) -> int:
        """The efficiency of charging alone, and of discharging alone: the root, rounded down."""
        return math.isqrt(self.round_trip_efficiency_permille * PERMILLE)

    def charge_room(self, state: "BatteryState", length_s: int) -> EnergyWh:
        """Return how much energy (Wh, at the battery's terminals) a slot of this length can take.

        Power over time and free capacity limit it; a last fraction of a Wh is not taken.
        """
        free = max(self.capacity_wh - state.energy_wh, 0)
        room = free * PERMILLE // self.one_way_permille
        return EnergyWh(_limited(room, self.max_charge_w, length_s))

    def discharge_room(self, state: "BatteryState", length_s: int) -> EnergyWh:
        """Return how much energy (Wh at the terminals) a slot can deliver above the reserve."""
        stored = max(state.energy_wh - self.reserve_wh, 0)
        return EnergyWh(
            _limited(stored * self.one_way_permille // PERMILLE, self.max_discharge_w, length_s)
        )

    def charged(self, state: "BatteryState", energy: EnergyWh) -> "BatteryState":
        """Return the state after ``energy`` Wh went in; losses are rounded against the owner."""
        stored = energy * self.one_way_permille // PERMILLE
        return BatteryState(EnergyWh(min(state.energy_wh + stored, self.capacity_wh)))

    def discharged(self, state: "BatteryState", energy: EnergyWh) -> "BatteryState":
        """Return the state after ``energy`` Wh came out; losses are rounded against the owner."""
        taken = -(-energy * PERMILLE // self.one_way_permille)
        return BatteryState(EnergyWh(max(state.energy_wh - taken, 0)))


@dataclass(frozen=True, slots=True)
class BatteryState:
    """What is stored now, in Wh."""

    energy_wh: EnergyWh = EnergyWh(0)

    def soc_permyriad(self, battery: Battery) -> int:
        """Return the state of charge in 1/10000 (a hundredth of a percent), rounded down."""
        return self.energy_wh * 10_000 // battery.capacity_wh if battery.capacity_wh else 0


class EnergySplit(NamedTuple):
    """Where a slot's net energy went, all in Wh and never negative."""

    market_wh: EnergyWh  # sold or bought on the market
    battery_wh: EnergyWh  # charged (seller) or discharged (buyer)
    grid_wh: EnergyWh  # fed in (seller) or taken (buyer)
    after: BatteryState


NO_BATTERY = Battery(EnergyWh(0))
EMPTY = BatteryState()


def split_after_clearing(
    net_wh: int, traded_wh: EnergyWh, battery: Battery, state: BatteryState, length_s: int
) -> EnergySplit:
    """Return where the energy of a slot goes once the market has cleared ([H] section 4).

    ``net_wh`` is load minus generation: positive is a deficit to cover, negative a surplus to
    place. ``traded_wh`` is what the market matched on that side, at most ``abs(net_wh)`` of which
    counts here (a deviation from the contract is for the settlement).
    """
    traded = min(traded_wh, abs(net_wh))
    rest = abs(net_wh) - traded
    if net_wh < 0:
        battery_wh = EnergyWh(min(rest, battery.charge_room(state, length_s)))
        after = battery.charged(state, battery_wh)
    else:
        battery_wh = EnergyWh(min(rest, battery.discharge_room(state, length_s)))
        after = battery.discharged(state, battery_wh)
    return EnergySplit(EnergyWh(traded), battery_wh, EnergyWh(rest - battery_wh), after)


def _limited(energy: int, power_w: int | None, length_s: int) -> int:
    return energy if power_w is None else min(energy, power_w * length_s // _HOUR_S)
