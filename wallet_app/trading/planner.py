"""From the household's past and its battery to what it wants in a slot, and back after clearing."""

import logging
import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from light_node.market.quotes import PriceBounds, Quote
from light_node.market.slots import Slot
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.settings import Settings
from wallet_app.strategy.battery import Battery, BatteryState
from wallet_app.strategy.forecast import Forecast, Forecaster, SlotEnergy
from wallet_app.strategy.game import PublicBook
from wallet_app.strategy.lookahead import LookAheadError, PlannedSlot, look_ahead
from wallet_app.strategy.reservation import LinearModel, PhysicalModel
from wallet_app.strategy.scenarios import MAX_SCENARIOS, PastBook, Risk
from wallet_app.strategy.suggest import OwnPosition, Suggestion, suggest
from wallet_app.trading.books import MAX_BOOKS, MAX_KEPT_QUOTES

_log = logging.getLogger(__name__)
_KEPT = timedelta(days=70)
_USUAL_DAYS = 14
_DAY_S = 86_400
_HORIZON_S = _DAY_S  # of the look-ahead
_SCENARIO_QUOTES = 40_000  # in all scenarios together: a few ten milliseconds
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
        self._zone, self._prior = settings.zone_info, prior
        self._risk = Risk(settings["risk_permille"])
        self._lock = threading.Lock()
        self._past: list[SlotEnergy] = []
        self._books: dict[Slot, PastBook] = {}

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

    def remember(self, book: PastBook) -> None:
        """Take a slot's final book into what the others are estimated from."""
        with self._lock:
            self._books[book.slot] = book
            quotes = sum(len(kept.ids) for kept in self._books.values())
            while len(self._books) > MAX_BOOKS or quotes > MAX_KEPT_QUOTES:
                quotes -= len(self._books.pop(min(self._books)).ids)

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
        tariffs: Mapping[Slot, PriceBounds] | None = None,
    ) -> Suggestion:
        """Return the quote to place, against the public ``book`` when there is one.

        Without one the others are estimated from the books given to :meth:`remember`. ``tariffs``
        of the slots to come tell the physical model what stored energy will be worth.
        """
        net = plan.forecast.mean_wh
        own = OwnPosition(
            participant=self._participant,
            net_wh=net if abs(net) >= MIN_TRADE_WH else 0,
            battery=self.battery,
            reservation=self._worth(slot, bounds, plan, tariffs or {}),
            state=BatteryState(EnergyWh(plan.stored_wh)),
            quoted=quoted,
        )
        if book is not None:
            return suggest(slot, bounds, own, book)
        with self._lock:
            past = list(self._books.values())
        largest = max((len(kept.ids) for kept in past), default=1)
        return suggest(
            slot,
            bounds,
            own,
            history=past,
            zone=self._zone,
            risk=self._risk,
            scenarios=min(max(_SCENARIO_QUOTES // max(largest, 1), 1), MAX_SCENARIOS),
        )

    def _worth(
        self, slot: Slot, bounds: PriceBounds, plan: Plan, tariffs: Mapping[Slot, PriceBounds]
    ) -> LinearModel | PhysicalModel:
        """Return the reservation model; the physical one with the look-ahead's value of storage.

        Where the next slot's tariff is not known, the slot's own cap has to do.
        """
        if isinstance(self._model, LinearModel) or not self.battery.capacity_wh:
            return self._model
        coming = [PlannedSlot(slot, plan.forecast.mean_wh, bounds)]
        following = slot.next
        while following in tariffs and following.start < slot.start + _HORIZON_S:
            coming.append(PlannedSlot(following, self._usual(following), tariffs[following]))
            following = following.next
        if len(coming) == 1:
            return self._model
        try:
            ahead = look_ahead(coming, self.battery, BatteryState(EnergyWh(plan.stored_wh)))
        except LookAheadError as error:
            _log.warning("%s: stored energy is valued at the slot's own tariff: %s", slot, error)
            return self._model
        return PhysicalModel(ahead.stored_value)

    def _usual(self, slot: Slot) -> int:
        """Return the mean net energy of this time of day on the last days, else the prior.

        The forecast proper takes milliseconds a slot; a day of them would be too slow here.
        """
        with self._lock:
            found = [self._at(slot.start - day * _DAY_S, slot) for day in range(1, _USUAL_DAYS + 1)]
        known = [net for net in found if net is not None]
        if known:
            return round(sum(known) / len(known))
        return self._prior(slot) if self._prior is not None else 0

    def _at(self, start: int, like: Slot) -> int | None:
        moment = datetime.fromtimestamp(start, UTC)
        index = bisect_left(self._past, moment, key=lambda e: e.start)
        if index == len(self._past) or self._past[index].start != moment:
            return None
        past = self._past[index]
        return past.net_wh if past.length_s == like.length_s else None


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
