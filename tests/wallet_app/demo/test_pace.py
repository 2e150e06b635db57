"""The demo's day is slower on a machine that is: no quote is lost to the pace."""

import pytest

from wallet_app.demo.day import SECONDS_PER_SLOT, pace


@pytest.mark.parametrize(
    ("setup_s", "neighbours", "seconds"),
    [
        (0.5, 30, SECONDS_PER_SLOT),
        (6.7, 30, SECONDS_PER_SLOT),
        (8.0, 30, SECONDS_PER_SLOT),
        (16.0, 30, 2 * SECONDS_PER_SLOT),
        (8.0, 10, 4.8),  # the same time for fewer neighbours is a slower machine
        (500.0, 30, 15.0),
    ],
)
def test_the_pace_follows_the_set_up(setup_s: float, neighbours: int, seconds: float) -> None:
    assert pace(setup_s, neighbours) == pytest.approx(seconds)
