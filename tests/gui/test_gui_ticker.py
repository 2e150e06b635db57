"""Market time between snapshots, with the wall clock in the test's hand."""

from datetime import timedelta

from tests.gui.fake_source import DAY
from wallet_app.gui.ticker import MarketTicker


class Wall:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_real_time_runs_at_the_wall_s_pace_for_ever() -> None:
    wall = Wall()
    ticker = MarketTicker(wall)
    assert ticker.now() is None
    assert ticker.seconds_to(DAY) is None
    ticker.update(DAY, accelerated=False)
    wall.now += 90
    assert ticker.now() == DAY + timedelta(seconds=90)
    assert ticker.seconds_to(DAY + timedelta(seconds=100)) == 10
    assert ticker.seconds_to(None) is None


def test_a_demo_s_pace_is_measured_and_not_carried_on_without_snapshots() -> None:
    wall = Wall()
    ticker = MarketTicker(wall)
    ticker.update(DAY, accelerated=True)
    wall.now += 0.1
    ticker.update(DAY + timedelta(seconds=100), accelerated=True)
    wall.now += 0.5
    assert ticker.now() == DAY + timedelta(seconds=600)
    wall.now += 3600
    assert ticker.now() == DAY + timedelta(seconds=2100), "the day is over, or the source is stuck"


def test_snapshots_close_together_do_not_distort_the_pace() -> None:
    wall = Wall()
    ticker = MarketTicker(wall)
    ticker.update(DAY, accelerated=True)
    wall.now += 0.1
    ticker.update(DAY + timedelta(seconds=100), accelerated=True)
    wall.now += 0.001
    ticker.update(DAY + timedelta(seconds=102), accelerated=True)
    wall.now += 0.099
    now = ticker.now()
    assert now is not None
    assert abs((now - DAY).total_seconds() - 200) < 0.001


def test_a_frozen_day_stands_still() -> None:
    wall = Wall()
    ticker = MarketTicker(wall)
    ticker.update(DAY, accelerated=True)
    wall.now += 1
    ticker.update(DAY + timedelta(hours=1), accelerated=True)
    wall.now += 1
    ticker.update(DAY + timedelta(hours=1), accelerated=True)
    wall.now += 1
    assert ticker.now() == DAY + timedelta(hours=1)
