"""A past day again: another strategy, battery or tariff against the books that really were.

The others' final quotes stay as they were (they would have answered a different quote; nobody can
know how), and the household's energy is what its meter measured. So the figures are comparable
with each other and are called what they are: a replay, not a promise. Money in Wh·tick, earned is
positive; energy left in the battery is shown, never turned into money.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.strategy.battery import (
    EMPTY,
    NO_BATTERY,
    Battery,
    BatteryState,
    split_after_clearing,
)
from wallet_app.strategy.game import Outcome, PublicBook, Residual
from wallet_app.strategy.reservation import LinearModel, PhysicalModel
from wallet_app.strategy.suggest import PHYSICAL, OwnPosition, suggest


class Strategy(StrEnum):
    """What the household does; the first two are the baselines."""

    GRID = "grid"  # no market, no battery
    BATTERY = "battery"  # no market
    QUOTED = "quoted"  # the quotes that were really placed
    HONEST = "honest"  # the reservation price
    SUGGESTED = "suggested"  # the best response to the standing


@dataclass(frozen=True, slots=True)
class PastSlot:
    """What happened in a slot: measured net energy (Wh, positive = deficit) and the final book.

    ``book`` holds the household's own quote, if it placed one, and the standing it cleared under.
    """

    slot: Slot
    bounds: PriceBounds
    net_wh: int
    book: PublicBook


@dataclass(frozen=True, slots=True)
class Home:
    """The household replayed: its id, its battery, what is stored at first, reservation prices."""

    participant: str
    battery: Battery = NO_BATTERY
    state: BatteryState = EMPTY
    reservation: PriceTick | LinearModel | PhysicalModel = PHYSICAL


@dataclass(frozen=True, slots=True)
class ReplayedSlot:
    """One slot of a replay; energies in Wh, split as in :mod:`wallet_app.strategy.battery`."""

    slot: Slot
    net_wh: int
    quote: Quote | None
    price: PriceTick | None
    traded_wh: EnergyWh
    battery_wh: EnergyWh
    grid_wh: EnergyWh
    stored_wh: EnergyWh
    market_money: MoneyWhTick
    grid_money: MoneyWhTick


@dataclass(frozen=True, slots=True)
class Replay:
    """A replayed day, slot by slot, with its sums."""

    strategy: Strategy
    slots: tuple[ReplayedSlot, ...]

    @property
    def market_money(self) -> MoneyWhTick:
        """Earned (+) or spent (−) on the market."""
        return MoneyWhTick(sum(slot.market_money for slot in self.slots))

    @property
    def grid_money(self) -> MoneyWhTick:
        """Earned or spent at the grid tariffs."""
        return MoneyWhTick(sum(slot.grid_money for slot in self.slots))

    @property
    def money(self) -> MoneyWhTick:
        """Both together."""
        return MoneyWhTick(self.market_money + self.grid_money)


def replay(day: Sequence[PastSlot], home: Home, strategy: Strategy) -> Replay:
    """Return ``day`` (ascending slots) as ``home`` would have lived it under ``strategy``."""
    battery, state = home.battery, home.state
    if strategy is Strategy.GRID:
        battery, state = NO_BATTERY, EMPTY
    lived = []
    for past in day:
        quote = _quote(past, home, battery, state, strategy)
        outcome = _traded(past, quote)
        traded = EnergyWh(min(outcome.energy, abs(past.net_wh)))
        split = split_after_clearing(past.net_wh, traded, battery, state, past.slot.length_s)
        state = split.after
        sign = 1 if past.net_wh < 0 else -1
        tariff = past.bounds.floor if past.net_wh < 0 else past.bounds.cap
        lived.append(
            ReplayedSlot(
                past.slot,
                past.net_wh,
                quote,
                outcome.price,
                split.market_wh,
                split.battery_wh,
                split.grid_wh,
                state.energy_wh,
                MoneyWhTick(sign * (outcome.price or 0) * split.market_wh),
                MoneyWhTick(sign * tariff * split.grid_wh),
            )
        )
    return Replay(strategy, tuple(lived))


def _quote(
    past: PastSlot, home: Home, battery: Battery, state: BatteryState, strategy: Strategy
) -> Quote | None:
    """Return the quote the strategy places; None to stay off the market."""
    if strategy in (Strategy.GRID, Strategy.BATTERY):
        return None
    if strategy is Strategy.QUOTED:
        quote = past.book.quote_of(home.participant)
        # A quote on the other side than the energy turned out brings a penalty, not a trade.
        side = Side.SELL if past.net_wh < 0 else Side.BUY
        return quote if quote is not None and quote.side is side and past.net_wh else None
    own = OwnPosition(home.participant, past.net_wh, battery, home.reservation, state)
    found = suggest(past.slot, past.bounds, own, past.book)
    if found.side is None:
        return None
    if strategy is Strategy.HONEST:
        energy, price = EnergyWh(abs(past.net_wh)), found.honest_price
        return Quote(home.participant, found.side, energy, price)
    return Quote(home.participant, found.side, found.energy, found.price)


def _traded(past: PastSlot, quote: Quote | None) -> Outcome:
    if quote is None:
        return Outcome(None, EnergyWh(0))
    residual = Residual(past.book, quote, past.bounds, past.book.standing)
    return residual.outcome(quote.price)
