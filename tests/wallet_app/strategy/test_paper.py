"""The paper's iteration against its printed tables."""

import csv
from pathlib import Path

import numpy as np
import pytest

from light_node.market.quotes import PriceBounds
from light_node.market.units import PriceTick
from wallet_app.strategy.ladder import Players
from wallet_app.strategy.paper import iterate_as_printed

PAPER = Path(__file__).parents[2] / "data" / "paper"


def ticks(text):
    return round(float(text) * 10_000)


@pytest.mark.parametrize(
    ("table", "who", "energy", "traded", "sells", "total"),
    [
        ("hou_table2", "buyer", "deficit_kwh", "market_purchase_kwh", False, 16),
        ("hou_table3", "seller", "surplus_kwh", "market_sale_kwh", True, 13),
    ],
)
def test_tables_quote_by_quote(table, who, energy, traded, sells, total):
    with (PAPER / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    floor, cap = 3800, 11080
    players = Players(
        "hour",
        PriceBounds(PriceTick(floor), PriceTick(cap)),
        [*(row[who] for row in rows), "other side"],
        np.array([*[sells] * len(rows), not sells]),
        np.array([*(1000 * int(row[energy]) for row in rows), 1000 * total]),
        np.array([*(ticks(row["reservation_price"]) for row in rows), cap if sells else floor]),
    )
    found = iterate_as_printed(players)
    assert found.ended == "equilibrium"
    assert found.regrets.maximum == 0
    assert len(found.rounds) == 2
    first, last = found.rounds
    assert first.quotes[:-1].tolist() == [ticks(row["reservation_price"]) for row in rows]
    assert last.quotes[:-1].tolist() == [ticks(row["equilibrium_quote"]) for row in rows]
    assert last.fills[:-1].tolist() == [1000 * int(row[traded]) for row in rows]
    assert last.price == {"hou_table2": 6800, "hou_table3": 6400}[table]


def test_a_pivotal_seller_leaves_the_paper_at_rest_with_regret():
    players = Players(
        "hour",
        PriceBounds(PriceTick(0), PriceTick(100)),
        ["small", "large", "demand"],
        np.array([True, True, False]),
        np.array([4, 20, 10]),
        np.array([20, 30, 100]),
    )
    found = iterate_as_printed(players)
    assert found.ended == "rest"
    assert found.regrets.gain[1] == (100 - 30) * 6
