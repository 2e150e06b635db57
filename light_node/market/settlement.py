"""Settlement of a delivered slot (docs/market-rules.md section 8), exact in integers.

The rules' sentences leave room; this is our reading of them, the same for buyers in the mirror:

* Each participant counts with its *net* energy at the meter. Net energy in the direction of the
  contract, up to the contracted energy, is **delivered**; what is lacking is **missing**; what
  goes beyond, or the other way, is traded with the grid at its tariffs and is nobody else's
  business.
* Missing energy within the **tolerance** max(3 %, 50 Wh) costs its causer nothing. Beyond it, a
  seller pays (cap - P) on all that is missing, a buyer (P - floor), and both 10 % of \\|P\\| on the
  part beyond the tolerance (rounded down, as everything a debtor pays).
* Only as much changes hands at P as both sides delivered. If the sellers delivered less than the
  buyers took, the buyers' difference comes from the grid at the cap; if the buyers took less, the
  sellers' difference goes to the grid at the floor. The difference is shared in proportion to
  what each delivered. So the side that kept its contract is **harmed** by (cap - P) or
  (P - floor) per Wh.
* What was paid for missing energy **compensates** the harmed side first, in proportion to the
  harm and never beyond it; the rest goes to the community pot.

Shares of integers are by largest remainder. Money in Wh·tick, positive is received; participants,
grid and pot always sum up to zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from light_node.market.clearing import Clearing
from light_node.market.errors import DuplicateParticipant, InvalidSettlement
from light_node.market.quotes import PriceBounds, Quote, Side, check_participant
from light_node.market.units import MAX_ENERGY_WH, EnergyWh, MoneyWhTick, PriceTick


@dataclass(frozen=True, slots=True)
class SettlementRules:
    """The numbers of the settlement rule; integers, percent and Wh.

    3 % is the band of Fujian's 2021 draft rules, 10 % of the contract price Shaanxi's number of
    2022 (docs/market-rules.md section 8).
    """

    tolerance_percent: int = 3
    tolerance_wh: int = 50
    penalty_percent: int = 10

    def __post_init__(self) -> None:
        for value in (self.tolerance_percent, self.penalty_percent):
            if type(value) is not int or not 0 <= value <= 100:
                raise InvalidSettlement("percentages are integers from 0 to 100")
        if type(self.tolerance_wh) is not int or not 0 <= self.tolerance_wh <= MAX_ENERGY_WH:
            raise InvalidSettlement("the tolerance in Wh is an integer from 0 up")

    def tolerance(self, contracted: EnergyWh) -> EnergyWh:
        """Return the missing energy that costs nothing, in Wh (percentage rounded down)."""
        return EnergyWh(max(contracted * self.tolerance_percent // 100, self.tolerance_wh))


PAPER_RULES = SettlementRules()


@dataclass(frozen=True, slots=True)
class Contracted:
    """What one participant agreed to in the clearing: ``energy`` Wh (at least 1) at ``price``."""

    participant: str
    side: Side
    energy: EnergyWh
    price: PriceTick


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one participant's meter counted over the slot, in Wh, both at least 0.

    ``estimated`` marks figures no meter has signed.
    """

    participant: str
    import_wh: EnergyWh
    export_wh: EnergyWh
    estimated: bool = False

    def __post_init__(self) -> None:
        check_participant(self.participant)
        for value in (self.import_wh, self.export_wh):
            if type(value) is not int or not 0 <= value <= MAX_ENERGY_WH:
                raise InvalidSettlement(
                    f"{self.participant}: metered energy must be an integer "
                    f"from 0 to {MAX_ENERGY_WH} Wh"
                )


_T = TypeVar("_T", Contracted, Delivered)


@dataclass(frozen=True, slots=True)
class SettlementLine:
    """One participant's settlement; energies in Wh and at least 0, money positive if received.

    ``import_wh - export_wh`` at the meter equals ``grid_import - grid_export`` plus ``traded``
    for a buyer, minus ``traded`` for a seller.
    """

    participant: str
    side: Side | None  # None: nothing contracted, everything with the grid
    contracted: EnergyWh
    delivered: EnergyWh  # in the direction of the contract, at most what was contracted
    missing: EnergyWh  # contracted - delivered
    tolerance: EnergyWh
    traded: EnergyWh  # delivered that met a counterpart: changes hands at the contract price
    grid_import: EnergyWh
    grid_export: EnergyWh
    market_money: MoneyWhTick
    grid_money: MoneyWhTick
    penalty_money: MoneyWhTick  # at most 0: for missing energy outside the tolerance
    compensation_money: MoneyWhTick  # at least 0: for what others' missing energy cost
    grid_only_money: MoneyWhTick  # the same net energy without the market
    estimated: bool

    @property
    def within_tolerance(self) -> bool:
        """Whether what is missing, if anything, is within the tolerance."""
        return self.missing <= self.tolerance

    @property
    def total(self) -> MoneyWhTick:
        """All that the participant receives (or, below zero, pays)."""
        return MoneyWhTick(
            self.market_money + self.grid_money + self.penalty_money + self.compensation_money
        )


@dataclass(frozen=True, slots=True)
class Settlement:
    """A slot's settlement: one line per participant, ascending by id; what pot and grid receive.

    ``sum(line.total) + pot + grid == 0``.
    """

    lines: tuple[SettlementLine, ...]
    pot: MoneyWhTick
    grid: MoneyWhTick

    def line(self, participant: str) -> SettlementLine:
        """Return the participant's line; ``InvalidSettlement`` if it has none."""
        for line in self.lines:
            if line.participant == participant:
                return line
        raise InvalidSettlement(f"{participant} has no line in this settlement")


def contracts(quotes: Iterable[Quote], clearing: Clearing) -> tuple[Contracted, ...]:
    """Return what a clearing binds its matched participants to, ascending by id."""
    if clearing.price is None:
        return ()
    price = clearing.price
    found = [
        Contracted(quote.participant, quote.side, fill, price)
        for quote in quotes
        if (fill := clearing.fills[quote.participant])
    ]
    return tuple(sorted(found, key=lambda contracted: contracted.participant))


def estimate(contracted: Contracted) -> Delivered:
    """Return what stands in for a missing reading: delivery exactly as contracted, flagged.

    It moves no money but the contract's, whichever way the truth turns out;
    :func:`true_up` corrects it when the reading arrives.
    """
    sold = contracted.energy if contracted.side is Side.SELL else EnergyWh(0)
    bought = contracted.energy if contracted.side is Side.BUY else EnergyWh(0)
    return Delivered(contracted.participant, bought, sold, estimated=True)


def grid_only(bounds: PriceBounds, import_wh: EnergyWh, export_wh: EnergyWh) -> MoneyWhTick:
    """Return what the same energy would bring with the grid alone (never positive for import).

    ``export * floor - import * cap``: what "saved" is measured against. Settlement lines use it
    on net energy, as the market does, so that netting is not mistaken for a gain from trading.
    """
    return MoneyWhTick(export_wh * bounds.floor - import_wh * bounds.cap)


def worst_case(
    bounds: PriceBounds, quote: Quote, rules: SettlementRules = PAPER_RULES
) -> MoneyWhTick:
    """Return the most this quote could make its participant pay: what its deposit must hold.

    Either the energy is taken at the limit (a buyer) or nothing of it is delivered; both are
    worst when everything is matched at the participant's own limit price. At least 0. What is
    traded with the grid is billed by the grid and not part of it.
    """
    missing = _penalty(bounds, quote.side, quote.energy, quote.energy, quote.price, rules)
    payment = quote.energy * quote.price * (1 if quote.side is Side.BUY else -1)
    return MoneyWhTick(max(0, missing, payment))


def settle(
    bounds: PriceBounds,
    contracted: Sequence[Contracted],
    delivered: Sequence[Delivered],
    rules: SettlementRules = PAPER_RULES,
) -> Settlement:
    """Settle a slot from its contracts and readings.

    A contract without a reading is estimated (:func:`estimate`); a reading without a contract is
    settled with the grid. Raises ``DuplicateParticipant`` when somebody has two of either, and
    ``InvalidSettlement`` when the contracts do not come from one clearing: different prices, a
    price outside ``bounds``, or energy sold that is not energy bought.
    """
    agreed = _by_participant(contracted)
    metered = _by_participant(delivered)
    price = _common_price(bounds, contracted)
    parties = [
        _Party(
            participant,
            agreed.get(participant),
            metered.get(participant) or estimate(agreed[participant]),
            rules,
        )
        for participant in sorted({*agreed, *metered})
    ]
    sellers = [party for party in parties if party.side is Side.SELL]
    buyers = [party for party in parties if party.side is Side.BUY]
    imbalance = sum(p.delivered for p in sellers) - sum(p.delivered for p in buyers)
    long_side = sellers if imbalance > 0 else buyers
    loss = price - bounds.floor if imbalance > 0 else bounds.cap - price
    shares = apportion(abs(imbalance), [party.delivered for party in long_side])
    for party, share in zip(long_side, shares, strict=True):
        party.unmatched = share
    for party in parties:
        party.penalty = party.charge(bounds, price, rules)
    paid = sum(party.penalty for party in parties)
    harms = [party.unmatched * loss for party in long_side]
    compensated = min(paid, sum(harms))
    for party, amount in zip(long_side, apportion(compensated, harms), strict=True):
        party.compensation = amount
    lines = tuple(party.line(bounds, price, rules) for party in parties)
    return Settlement(
        lines=lines,
        pot=MoneyWhTick(paid - compensated),
        grid=MoneyWhTick(-sum(line.grid_money for line in lines)),
    )


def true_up(before: Settlement, after: Settlement) -> dict[str, MoneyWhTick]:
    """Return what each participant still receives when ``after`` replaces ``before``.

    For a reading that came late or was corrected: settle again, then move only the differences.
    The differences of pot and grid (``after.pot - before.pot``, ``after.grid - before.grid``)
    complete them to a sum of zero.
    """
    change: dict[str, int] = {}
    for settlement, sign in ((before, -1), (after, 1)):
        for line in settlement.lines:
            change[line.participant] = change.get(line.participant, 0) + sign * line.total
    return {participant: MoneyWhTick(change[participant]) for participant in sorted(change)}


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` in proportion to ``weights`` by largest remainder; the parts sum up to it.

    Equal remainders go to the earlier one, so callers order by participant id. All numbers at
    least 0; ``InvalidSettlement`` if there is something to split and nobody to take it. No part
    exceeds its weight as long as ``total`` does not exceed their sum.
    """
    if total < 0 or any(weight < 0 for weight in weights):
        raise InvalidSettlement("only amounts from 0 up can be split")
    if total == 0:
        return [0] * len(weights)
    whole = sum(weights)
    if whole == 0:
        raise InvalidSettlement("there is nobody to take a part")
    parts = [total * weight // whole for weight in weights]
    remainders = [total * weight % whole for weight in weights]
    first = sorted(range(len(weights)), key=lambda index: -remainders[index])
    for index in first[: total - sum(parts)]:
        parts[index] += 1
    return parts


class _Party:
    """One participant while its slot is being settled; energies in Wh, money in Wh·tick."""

    def __init__(
        self,
        participant: str,
        contracted: Contracted | None,
        metered: Delivered,
        rules: SettlementRules,
    ) -> None:
        self.participant = participant
        self.side = contracted.side if contracted else None
        self.contracted = contracted.energy if contracted else EnergyWh(0)
        self.estimated = metered.estimated
        self.net_import = metered.import_wh - metered.export_wh
        towards = self.net_import if self.side is Side.BUY else -self.net_import
        self.delivered = min(max(towards, 0), self.contracted)
        self.missing = EnergyWh(self.contracted - self.delivered)
        self.unmatched = 0
        self.penalty = 0
        self.compensation = 0

    def charge(self, bounds: PriceBounds, price: int, rules: SettlementRules) -> int:
        if self.side is None:
            return 0
        return _penalty(bounds, self.side, self.contracted, self.missing, PriceTick(price), rules)

    def line(self, bounds: PriceBounds, price: int, rules: SettlementRules) -> SettlementLine:
        traded = self.delivered - self.unmatched
        bought = traded if self.side is Side.BUY else -traded
        # What is neither traded nor missing went through the grid connection all the same.
        rest = self.net_import - bought
        grid_import, grid_export = EnergyWh(max(rest, 0)), EnergyWh(max(-rest, 0))
        net_import, net_export = max(self.net_import, 0), max(-self.net_import, 0)
        return SettlementLine(
            participant=self.participant,
            side=self.side,
            contracted=self.contracted,
            delivered=EnergyWh(self.delivered),
            missing=self.missing,
            tolerance=rules.tolerance(self.contracted) if self.side else EnergyWh(0),
            traded=EnergyWh(traded),
            grid_import=grid_import,
            grid_export=grid_export,
            market_money=MoneyWhTick(-bought * price),
            grid_money=grid_only(bounds, grid_import, grid_export),
            penalty_money=MoneyWhTick(-self.penalty),
            compensation_money=MoneyWhTick(self.compensation),
            grid_only_money=grid_only(bounds, EnergyWh(net_import), EnergyWh(net_export)),
            estimated=self.estimated,
        )


def _penalty(
    bounds: PriceBounds,
    side: Side,
    contracted: EnergyWh,
    missing: EnergyWh,
    price: PriceTick,
    rules: SettlementRules,
) -> int:
    beyond = missing - rules.tolerance(contracted)
    if beyond <= 0:
        return 0
    spread = bounds.cap - price if side is Side.SELL else price - bounds.floor
    return missing * spread + beyond * abs(price) * rules.penalty_percent // 100


def _by_participant(items: Sequence[_T]) -> dict[str, _T]:
    found: dict[str, _T] = {}
    for item in items:
        if item.participant in found:
            raise DuplicateParticipant(f"{item.participant} appears twice in one settlement")
        found[item.participant] = item
    return found


def _common_price(bounds: PriceBounds, contracted: Sequence[Contracted]) -> int:
    if not contracted:
        return bounds.floor
    prices = {item.price for item in contracted}
    if len(prices) > 1:
        raise InvalidSettlement("all contracts of a slot have one price; these have several")
    price = prices.pop()
    if price not in bounds:
        raise InvalidSettlement(f"the contract price {price} is outside floor and cap")
    balance = 0
    for item in contracted:
        if type(item.energy) is not int or not 0 < item.energy <= MAX_ENERGY_WH:
            raise InvalidSettlement(f"{item.participant}: contracted energy must be at least 1 Wh")
        balance += item.energy if item.side is Side.SELL else -item.energy
    if balance:
        raise InvalidSettlement(f"{abs(balance)} Wh more are contracted on one side than the other")
    return price
