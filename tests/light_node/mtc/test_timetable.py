"""The timetable of a slot in market time."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from light_node.market.slots import parse
from light_node.mtc.timetable import Timetable

HOURS = Timetable(length_s=3600)
SLOT = parse("2026-06-21T10:00Z/PT60M")


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 6, 21, hour, minute, second, tzinfo=UTC)


def test_an_hourly_slot() -> None:
    assert HOURS.opens(SLOT) == at(9, 0)
    closes = [HOURS.round_closes(SLOT, i) for i in (1, 2, 3)]
    assert closes == [at(9, 13, 12), at(9, 26, 24), at(9, 39, 36)]
    assert HOURS.gate_closes(SLOT) == at(9, 39, 36)
    assert HOURS.clears(SLOT) == at(9, 45)
    assert HOURS.readings_due(SLOT) == at(11, 18)
    assert HOURS.settles(SLOT) == at(11, 21)


@pytest.mark.parametrize(
    ("now", "number"),
    [
        (at(8, 59, 59), 0),
        (at(9, 0), 1),
        (at(9, 13, 11), 1),
        (at(9, 13, 12), 2),
        (at(9, 39, 35), 3),
        (at(9, 39, 36), 4),
    ],
)
def test_the_open_round(now: datetime, number: int) -> None:
    assert HOURS.round_at(SLOT, now) == number


def test_the_next_slot_is_quoted_while_one_is_delivered() -> None:
    assert HOURS.quoting(at(9, 30)) == SLOT
    assert HOURS.delivering(at(10, 59, 59)) == SLOT
    assert HOURS.quoting(at(10, 0)) == SLOT.next


def test_slots_between_two_times() -> None:
    assert [s.id[11:16] for s in HOURS.between(at(9, 30), at(12, 0))] == ["10:00", "11:00"]
    assert [s.id[11:16] for s in HOURS.between(at(9, 0), at(9, 1))] == ["09:00"]
    assert list(HOURS.between(at(9, 1), at(9, 2))) == []


def test_a_day_has_all_its_quarters() -> None:
    day = list(Timetable().between(at(0, 0), at(0, 0) + timedelta(days=1)))
    assert len(day) == 96
    assert all(one.end == other.start for one, other in itertools.pairwise(day))


@pytest.mark.parametrize(
    "shares",
    [
        {"rounds": 0},
        {"rounds": 10},
        {"rounds": 4},
        {"clear_share": 1001},
        {"reading_share": 0},
        {"settle_share": 200},
    ],
)
def test_times_out_of_order_are_refused(shares: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must|rounds"):
        Timetable(**shares)


def test_a_round_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="round 4"):
        HOURS.round_closes(SLOT, 4)
