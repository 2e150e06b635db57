"""Houses on a market in memory; see :mod:`tests.wallet_app.trading.house`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.light_node.conftest import trader_identity
from tests.wallet_app.trading.house import House, Market


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def make_house(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., House]]:
    """How to make a house, not started yet: ``make_house(settings=…, inverter=…)``."""
    made: list[House] = []

    def make(on: Market | None = None, **options: Any) -> House:
        directory = tmp_path / f"house-{len(made)}"
        made.append(
            House(
                on or market,
                directory,
                trader_identity("home"),
                monkeypatch=monkeypatch,
                **options,
            )
        )
        return made[-1]

    yield make
    for house in made:
        for running in [*house.market.houses, house]:
            running.kill()


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """A house that expects 2 kWh to sell in every hour, not started yet."""
    made = make_house()
    made.expect(-2_000)
    return made
