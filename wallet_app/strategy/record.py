"""How past suggestions did: what they promised beside what the slots then brought."""

from collections.abc import Sequence
from dataclasses import dataclass

from light_node.market.units import MoneyWhTick


@dataclass(frozen=True, slots=True)
class Kept:
    """One past suggestion: what it expected and what its slot brought, money in Wh·tick.

    ``honest_money`` is what the reservation price would have brought in the same final book.
    """

    expected_money: MoneyWhTick
    real_money: MoneyWhTick
    honest_money: MoneyWhTick


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
