"""From the household's past and its battery to what it wants in a slot, and back after clearing."""

import threading
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from light_node.market.quotes import PriceBounds, Quote
from light_node.market.slots import Slot
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.settings import Settings
from wallet_app.strategy.battery import Battery, BatteryState
from wallet_app.strategy.forecast import Forecast, Forecaster, SlotEnergy
from wallet_app.strategy.game import PublicBook
from wallet_app.strategy.reservation import LinearModel, PhysicalModel
from wallet_app.strategy.suggest import OwnPosition, Suggestion, suggest

_KEPT = timedelta(days=70)
MIN_TRADE_WH = 20
"""Below this a quote is not worth its transaction."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is expected of a slot: net energy in Wh (positive = to buy) and what it rests on."""

    forecast: Forecast
    stored_wh: int  # expected in the battery when the slot starts


class Planner:
    """Knows the household: its past energies, its battery, its reservation price. Thread-safe."""

    def __init__(
        self, settings: Settings, participant: str, prior: Callable[[Slot], int] | None = None
    ) -> None:
        """``prior`` gives the expected net energy (Wh) of a slot before there is any history."""
        self._participant = participant
        self._forecaster = Forecaster(settings.zone_info, prior)
        self.battery = battery_of(settings)
        physical = settings["reservation_model"] == "physical"
        self._model: LinearModel | PhysicalModel = PhysicalModel() if physical else LinearModel()
        self._lock = threading.Lock()
        self._past: list[SlotEnergy] = []

    def learn(self, energy: SlotEnergy) -> None:
        """Take a past slot's net energy (without the battery's part) into the history."""
        with self._lock:
            index = bisect_left(self._past, energy.start, key=lambda e: e.start)
            if index < len(self._past) and self._past[index].start == energy.start:
                self._past[index] = energy
            else:
                insort(self._past, energy, key=lambda e: e.start)
            while self._past and energy.start - self._past[0].start > _KEPT:
                del self._past[0]

    def plan(self, slot: Slot, stored_wh: int, now: datetime) -> Plan:
        """Return what to expect of ``slot``; ``now`` is market time."""
        with self._lock:
            past = list(self._past)
        return Plan(self._forecaster.forecast(past, slot, now), stored_wh)

    def suggest(
        self,
        slot: Slot,
        bounds: PriceBounds,
        plan: Plan,
        *,
        quoted: Quote | None = None,
        book: PublicBook | None = None,
    ) -> Suggestion:
        """Return the quote to place, against the public ``book`` when there is one."""
        net = plan.forecast.mean_wh
        own = OwnPosition(
            participant=self._participant,
            net_wh=net if abs(net) >= MIN_TRADE_WH else 0,
            battery=self.battery,
            reservation=self._model,
            state=BatteryState(EnergyWh(plan.stored_wh)),
            quoted=quoted,
        )
        return suggest(slot, bounds, own, book)


def battery_of(settings: Settings) -> Battery:
    """Return the battery the settings describe."""
    return Battery(
        capacity_wh=EnergyWh(settings["battery_capacity_wh"]),
        max_charge_w=settings["battery_charge_w"],
        max_discharge_w=settings["battery_discharge_w"],
        round_trip_efficiency_permille=settings["battery_efficiency_permille"],
        reserve_wh=EnergyWh(min(settings["battery_reserve_wh"], settings["battery_capacity_wh"])),
        cycle_cost=PriceTick(settings["battery_cycle_cost"]),
    )
