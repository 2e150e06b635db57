"""The pace of a catch-up: of the last seconds, and never from a time long gone."""

import pytest

from light_node.chain.progress import WINDOW_S, Pace, Progress


def test_nothing_is_told_while_nothing_is_known_or_left() -> None:
    pace = Pace()
    assert pace.progress(0, 0, 1, None) is None
    assert pace.progress(0, 0, 10, 10) is None
    assert pace.progress(0, 0, 11, 10) is None
    assert pace.progress(0, 0, 1, 11) == Progress(0.0)
    pace.note(0, 1)
    assert pace.progress(1, 0, 1, 11) == Progress(0.0), "one batch gives no pace"


def test_share_counts_from_the_trust_root() -> None:
    assert Pace().progress(0, 100, 151, 201) == Progress(0.5)


def test_pace_and_time_left() -> None:
    pace = Pace()
    for second in range(6):
        pace.note(float(second), 1 + 100 * second)
    assert pace.progress(5.0, 0, 501, 1001) == Progress(0.5, 100.0, 5.0)


def test_a_stall_makes_the_estimate_longer_and_then_unknown() -> None:
    pace = Pace()
    pace.note(0.0, 1)
    pace.note(1.0, 101)
    assert pace.progress(4.0, 0, 101, 201) == Progress(0.5, 25.0, 4.0)
    assert pace.progress(1.0 + WINDOW_S + 0.1, 0, 101, 201) == Progress(0.5)


def test_an_idle_hour_does_not_count() -> None:
    pace = Pace()
    pace.note(0.0, 1)
    pace.note(3600.0, 1001)
    pace.note(3601.0, 2001)
    found = pace.progress(3601.0, 0, 2001, 3001)
    assert found is not None
    assert found.blocks_per_s == 1000.0


@pytest.mark.parametrize("step", [0.0, 0.001, 0.1])
def test_many_small_batches_take_no_room(step: float) -> None:
    pace = Pace()
    for n in range(20_000):
        pace.note(n * step, n)
    assert len(pace._samples) <= 2 + 2 * WINDOW_S / 0.25
    found = pace.progress(20_000 * step, 0, 19_999, 30_000)
    assert found is not None
    if step == 0.1:
        assert found.blocks_per_s == pytest.approx(10, rel=0.05)
