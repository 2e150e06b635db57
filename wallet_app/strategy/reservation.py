"""Reservation prices: what a Wh is worth outside the market (docs/market-rules.md section 6).

Two models. The papers' line, price(SOC) = ceiling − (ceiling − floor)·SOC, reproduces the printed
columns of both tables of [H]. The physical model asks what the energy would really do: unsold
energy avoids a later purchase, less losses and wear, while the battery has room, and earns the
feed-in tariff beyond; missing energy comes out of the battery, where it would have been worth
something later, and from the grid beyond. Prices in ticks, energies in Wh.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from light_node.market.quotes import PriceBounds, Side
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.strategy.battery import PERMILLE, Battery, BatteryState

PAPER_CEILING = PriceTick(11_080)
PAPER_FLOOR = {Side.SELL: PriceTick(4_000), Side.BUY: PriceTick(3_800)}


@dataclass(frozen=True, slots=True)
class Tranche:
    """Energy that shares one value outside the market, and where it would go."""

    energy_wh: EnergyWh
    price: PriceTick
    destination: str  # "battery" or "grid"


@dataclass(frozen=True, slots=True)
class LinearModel:
    """The papers' line between a price when empty and a price when full."""

    ceiling: PriceTick = PAPER_CEILING
    floor_sell: PriceTick = PAPER_FLOOR[Side.SELL]
    floor_buy: PriceTick = PAPER_FLOOR[Side.BUY]

    def price(self, side: Side, battery: Battery, state: BatteryState) -> PriceTick:
        """Return ceiling − (ceiling − floor)·SOC in ticks, rounded half up; unclipped."""
        if battery.capacity_wh == 0:
            return self.ceiling if side is Side.BUY else self.floor_sell
        floor = self.floor_sell if side is Side.SELL else self.floor_buy
        drop = (self.ceiling - floor) * state.energy_wh
        scaled = self.ceiling * battery.capacity_wh - drop
        return PriceTick((2 * scaled + battery.capacity_wh) // (2 * battery.capacity_wh))

    def tranches(
        self, net_wh: int, battery: Battery, state: BatteryState, bounds: PriceBounds, length_s: int
    ) -> tuple[Tranche, ...]:
        """Return all the energy as one tranche at the line's price, clipped to the bounds."""
        del length_s
        if net_wh == 0:
            return ()
        side = Side.SELL if net_wh < 0 else Side.BUY
        price = clip(self.price(side, battery, state), bounds)
        place = "battery" if battery.capacity_wh else "grid"
        return (Tranche(EnergyWh(abs(net_wh)), price, place),)


@dataclass(frozen=True, slots=True)
class PhysicalModel:
    """What the energy would do without the market, at known tariffs.

    ``stored_value`` is what 1 Wh out of the battery will be worth later (the retail price it will
    avoid, or the look-ahead's, see :mod:`wallet_app.strategy.lookahead`), wear included; None takes
    the slot's cap, the retail tariff now.
    """

    stored_value: PriceTick | None = None

    def tranches(
        self, net_wh: int, battery: Battery, state: BatteryState, bounds: PriceBounds, length_s: int
    ) -> tuple[Tranche, ...]:
        """Return the parts of a slot's net energy with their prices, first used first.

        A seller's unsold energy goes to the battery and then to the grid, so the tranche for the
        battery comes first and is the dearer one; a buyer's missing energy comes from the battery
        first, the cheaper tranche, and then from the grid at the cap. A battery that would lose
        money on the energy (losses and wear above the value) is left out, and so is an empty one.
        """
        later = bounds.cap if self.stored_value is None else self.stored_value
        energy = abs(net_wh)
        if net_wh < 0:
            room = min(energy, battery.charge_room(state, length_s))
            value = later - battery.cycle_cost
            in_battery = value * battery.round_trip_efficiency_permille // PERMILLE
            worth_it = in_battery > bounds.floor
            outside = bounds.floor
        else:
            room = min(energy, battery.discharge_room(state, length_s))
            # Used now or later, the stored Wh wears the battery once: only its later use is lost.
            in_battery = later
            worth_it = in_battery < bounds.cap
            outside = bounds.cap
        parts = []
        if room and worth_it:
            parts.append(Tranche(EnergyWh(room), clip(PriceTick(in_battery), bounds), "battery"))
        else:
            room = 0
        if energy - room:
            parts.append(Tranche(EnergyWh(energy - room), outside, "grid"))
        return tuple(parts)


def clip(price: PriceTick, bounds: PriceBounds) -> PriceTick:
    """Return ``price`` moved into [floor, cap]: outside it no quote is valid."""
    return PriceTick(min(max(price, bounds.floor), bounds.cap))


def average_price(tranches: Sequence[Tranche]) -> PriceTick:
    """Return the energy-weighted mean price of ``tranches``, rounded half up (0 for none).

    One quote has one price. Where the parts differ much, quoting only the part that gains is
    better than this average; :func:`wallet_app.strategy.suggest.suggest` weighs both.
    """
    total = sum(t.energy_wh for t in tranches)
    if not total:
        return PriceTick(0)
    return PriceTick((2 * sum(t.energy_wh * t.price for t in tranches) + total) // (2 * total))
