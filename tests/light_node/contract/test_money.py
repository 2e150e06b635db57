"""Whatever is quoted and metered: no money appears, none is lost, nobody trades past its limit."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SLOTS = ("2026-06-21T10:00Z/PT60M", "2026-06-21T11:00Z/PT60M")
NAMES = "EFHXY"

quotes = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["sell", "buy"]), st.integers(0, 9_000),
              st.integers(4000, 11000)),
    unique_by=lambda quote: quote[0],
)  # fmt: skip
readings = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.integers(0, 9_000), st.integers(0, 9_000))
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(days=st.tuples(*[st.tuples(quotes, readings) for _ in SLOTS]))
def test_settlement_moves_money_and_makes_none(world: Any, days: Any) -> None:
    market = type(world)()
    market.admit(*NAMES)
    for slot, (quoted, metered) in zip(SLOTS, days, strict=True):
        market.open(slot, rounds=1)
        for name, side, energy, price in quoted:
            market.quote(name, side, energy, price, 1, slot)
        market.close_and_publish(1, slot)
        market.operate("ClearSlot", slot)
        for name, (import_wh, export_wh) in metered.items():
            market.reading(name, import_wh, export_wh, slot)
        market.operate("CloseDelivery", slot)
        market.operate("SettleSlot", slot)
        check_sums(market)
        check_orders(market, slot, quoted)


def check_sums(market: Any) -> None:
    accounts = [market.ask("GetAccount", market.id(name)) for name in NAMES]
    pots = market.ask("GetPots")
    assert sum(account["balance"] for account in accounts) + pots["community"] == 0
    assert sum(account["grid_money"] for account in accounts) + pots["grid"] == 0
    assert pots["community"] >= 0
    sold = sum(account["sold_wh"] for account in accounts)
    assert sold == sum(account["bought_wh"] for account in accounts)


def check_orders(market: Any, slot: str, quoted: Any) -> None:
    cleared = market.ask("GetClearing", slot)
    orders = market.ask("GetOrders", slot)["orders"]
    limits = {market.id(name): (side, energy, price) for name, side, energy, price in quoted}
    got = dict.fromkeys(limits, 0)
    for order in orders:
        assert limits[order["seller"]][2] <= cleared["price"] <= limits[order["buyer"]][2]
        assert (limits[order["seller"]][0], limits[order["buyer"]][0]) == ("sell", "buy")
        got[order["seller"]] += order["energy_wh"]
        got[order["buyer"]] += order["energy_wh"]
    assert got == cleared["fills"]
    assert all(energy <= limits[who][1] for who, energy in got.items())
