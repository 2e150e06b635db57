"""How past suggestions did: what they promised beside what the slots then brought."""

from collections.abc import Sequence
from dataclasses import dataclass

from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.strategy.game import PublicBook, Residual, payoff_over
from wallet_app.strategy.reservation import Tranche
from wallet_app.strategy.suggest import Suggestion, total_money


@dataclass(frozen=True, slots=True)
class Promise:
    """What a suggestion made before the first standing said, as far as it can be held to it."""

    side: Side
    energy: EnergyWh
    price: PriceTick
    honest_price: PriceTick
    expected_money: MoneyWhTick
    tranches: tuple[Tranche, ...]

    @classmethod
    def of(cls, suggestion: Suggestion) -> "Promise | None":
        """Return the promise of an estimate; None where nothing was estimated."""
        if suggestion.side is None or not suggestion.scenarios:
            return None
        return cls(
            suggestion.side,
            suggestion.energy,
            suggestion.price,
            suggestion.honest_price,
            suggestion.expected_money,
            suggestion.tranches,
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """One past suggestion: what it expected and what its slot brought, money in Wh·tick.

    ``honest_money`` is what the reservation price would have brought in the same final book.
    """

    expected_money: MoneyWhTick
    real_money: MoneyWhTick
    honest_money: MoneyWhTick


def kept(promise: Promise, participant: str, bounds: PriceBounds, final: PublicBook) -> Kept:
    """Hold ``promise`` against the others' final quotes of its slot: as quoted, and honestly.

    They answered what was really quoted, as in a replay; energy left over counts with its worth.
    """
    payoff = payoff_over(promise.side, promise.tranches)

    def brought(energy: int, price: PriceTick) -> MoneyWhTick:
        quote = Quote(participant, promise.side, EnergyWh(energy), price)
        outcome = Residual(final, quote, bounds, final.standing).outcome(price)
        return total_money(promise.side, promise.tranches, payoff(outcome))

    everything = sum(t.energy_wh for t in promise.tranches)
    return Kept(
        promise.expected_money,
        brought(promise.energy, promise.price),
        brought(everything, promise.honest_price),
    )


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """Past suggestions summed up; shares in permille.

    ``mean_miss`` is the mean absolute difference between expected and real.
    """

    count: int
    expected_money: MoneyWhTick
    real_money: MoneyWhTick
    honest_money: MoneyWhTick
    mean_miss: MoneyWhTick
    not_worse_than_honest_permille: int


def track_record(past: Sequence[Kept]) -> TrackRecord | None:
    """Return the record of ``past`` suggestions, or None where there is none yet."""
    if not past:
        return None
    count = len(past)
    miss = sum(abs(one.real_money - one.expected_money) for one in past)
    good = sum(one.real_money >= one.honest_money for one in past)
    return TrackRecord(
        count,
        MoneyWhTick(sum(one.expected_money for one in past)),
        MoneyWhTick(sum(one.real_money for one in past)),
        MoneyWhTick(sum(one.honest_money for one in past)),
        MoneyWhTick(miss // count),
        1000 * good // count,
    )
