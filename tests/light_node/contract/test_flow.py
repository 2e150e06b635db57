"""A slot from opening to settlement, with everything that goes wrong on an ordinary day."""

import json
from typing import Any

SLOT = "2026-06-21T10:00Z/PT60M"


def run_to_final(world: Any) -> None:
    """Table 3's hour: E, F and H sell, X and Y buy 13 kWh; three rounds."""
    world.open()
    world.quote("E", "sell", 12_000, 5000)
    world.quote("F", "sell", 8_000, 6400)
    world.quote("H", "sell", 3_000, 4000)
    world.quote("X", "buy", 9_000, 11000)
    world.quote("Y", "buy", 4_000, 11000)
    first = world.close_and_publish(1)
    assert (first["market"], first["price"], first["volume_wh"]) == ("buyer", 5000, 13_000)
    assert first["phase"] == "quoting"
    # H and E move to their next competitor's price.
    world.quote("H", "sell", 3_000, 5000, 2)
    world.quote("E", "sell", 12_000, 6400, 2)
    world.close_and_publish(2)
    world.quote("H", "sell", 3_000, 6400, 3)
    last = world.close_and_publish(3)
    assert last["phase"] == "final"


def test_a_whole_slot(world: Any) -> None:
    run_to_final(world)
    standing = world.ask("GetStanding", SLOT)
    assert standing["round"] == 3
    assert standing["price"] == 6400
    fills = {world.id("H"): 3_000, world.id("E"): 10_000, world.id("F"): 0}
    assert fills.items() <= standing["fills"].items()
    assert standing["standing"][:2] == [world.id("H"), world.id("E")]

    summary = world.operate("ClearSlot", SLOT)
    assert summary["price"] == 6400
    orders = world.ask("GetOrders", SLOT)
    assert sum(order["energy_wh"] for order in orders["orders"]) == 13_000
    assert {order["buyer"] for order in orders["orders"]} == {world.id("X"), world.id("Y")}
    assert orders["mtc"] == "mtc@Org3MSP"
    cleared = world.channel.events[-1]
    assert cleared.name == "SlotCleared"
    dispatch = json.loads(cleared.payload)["dispatch"]
    assert dispatch["feed_in"] == {world.id("H"): 3_000, world.id("E"): 10_000}
    assert dispatch["draw"] == {world.id("X"): 9_000, world.id("Y"): 4_000}

    world.reading("H", 0, 3_000)
    world.reading("E", 0, 8_000)  # 2 kWh short, far outside the band of 300 Wh
    world.reading("X", 9_500, 0)  # draws 500 Wh more than contracted
    world.reading("F", 0, 7_000)  # no contract: all to the grid; Y never reads
    world.operate("CloseDelivery", SLOT)
    settled = world.operate("SettleSlot", SLOT)
    assert settled["estimated"] == 1
    assert settled["participants"] == 5
    check_money(world)
    assert world.event_names == [
        "SlotOpened",
        *["RoundClosed", "StandingPublished"] * 3,
        "SlotCleared",
        "DeliveryClosed",
        "SlotSettled",
    ]


def check_money(world: Any) -> None:
    record = world.ask("GetSettlement", SLOT)
    lines = {line["participant"]: line for line in record["lines"]}
    short = lines[world.id("E")]
    assert short["missing_wh"] == 2_000
    # (cap - P) on all that is missing and a tenth of P on what is beyond 3 %.
    assert short["penalty_money"] == -(2_000 * (11000 - 6400) + 1_700 * 6400 // 10)
    assert lines[world.id("Y")]["estimated"] is True
    assert lines[world.id("Y")]["delivered_wh"] == 4_000
    assert lines[world.id("F")]["side"] is None
    assert lines[world.id("F")]["grid_money"] == 7_000 * 4000
    assert lines[world.id("H")]["market_money"] == 3_000 * 6400
    # The harmed buyers are made whole before the pot gets anything.
    harmed = lines[world.id("X")]["compensation_money"] + lines[world.id("Y")]["compensation_money"]
    assert harmed == 2_000 * (11000 - 6400)
    pots = world.ask("GetPots")
    assert pots["community"] == 1_700 * 6400 // 10
    accounts = [world.ask("GetAccount", world.id(name)) for name in "EFHXY"]
    assert sum(account["balance"] for account in accounts) + pots["community"] == 0
    assert sum(account["grid_money"] for account in accounts) + pots["grid"] == 0


def test_an_unchanged_round_ends_the_quoting(world: Any) -> None:
    world.open()
    world.quote("E", "sell", 5_000, 5000)
    world.quote("X", "buy", 4_000, 9000)
    assert world.close_and_publish(1)["changed"] is True
    # The same quote entered again is no change.
    world.quote("E", "sell", 5_000, 5000, 2)
    second = world.close_and_publish(2)
    assert (second["changed"], second["phase"]) == (False, "final")
    assert world.phase() == ("final", 2)
    assert world.operate("ClearSlot", SLOT)["volume_wh"] == 4_000


def test_unchanged_quotes_carry_over(world: Any) -> None:
    world.open()
    world.quote("E", "sell", 5_000, 5000)
    world.quote("F", "sell", 5_000, 6000)
    world.quote("X", "buy", 4_000, 9000)
    world.close_and_publish(1)
    world.quote("F", "sell", 4_000, 4500, 2)
    world.close_and_publish(2)
    world.quote("E", "sell", 5_000, 4400, 3)
    world.close_and_publish(3)
    rows = [
        (q["participant"], q["energy_wh"], q["price"], q["fill_wh"])
        for q in world.ask("GetStanding", SLOT)["quotes"]
    ]
    assert rows == [
        (world.id("E"), 5_000, 4400, 4_000),
        (world.id("F"), 4_000, 4500, 0),
        (world.id("X"), 4_000, 9000, 4_000),
    ]
    assert [q["price"] for q in world.ask("GetQuotes", SLOT, "2")["quotes"]] == [4500]


def test_an_empty_book_ends_after_round_one_and_settles(world: Any) -> None:
    world.open()
    assert world.close_and_publish(1)["phase"] == "final"
    summary = world.operate("ClearSlot", SLOT)
    assert summary == {
        "slot": SLOT, "market": "balanced", "price": None, "volume_wh": 0, "orders": 0
    }  # fmt: skip
    world.reading("F", 0, 7_000)
    world.operate("CloseDelivery", SLOT)
    assert world.operate("SettleSlot", SLOT)["participants"] == 1
    assert world.ask("GetAccount", world.id("F"))["grid_money"] == 7_000 * 4000


def test_quotes_that_do_not_meet_trade_nothing(world: Any) -> None:
    world.open(rounds=1)
    world.quote("E", "sell", 5_000, 8000)
    world.quote("X", "buy", 4_000, 5000)
    world.close_and_publish(1)
    summary = world.operate("ClearSlot", SLOT)
    assert (summary["price"], summary["volume_wh"], summary["orders"]) == (None, 0, 0)
    fills = {world.id("E"): 0, world.id("X"): 0}
    assert world.ask("GetClearing", SLOT)["fills"] == fills
    assert world.ask("GetOrders", SLOT)["orders"] == []
    world.operate("CloseDelivery", SLOT)
    assert world.operate("SettleSlot", SLOT)["participants"] == 0


def test_accounts_add_up_over_slots(world: Any) -> None:
    for hour in (10, 11):
        slot = f"2026-06-21T{hour}:00Z/PT60M"
        world.open(slot, rounds=1)
        world.quote("E", "sell", 2_000, 5000, 1, slot)
        world.quote("X", "buy", 2_000, 5000, 1, slot)
        world.close_and_publish(1, slot)
        world.operate("ClearSlot", slot)
        world.reading("E", 0, 2_000, slot)
        world.reading("X", 2_000, 0, slot)
        world.operate("CloseDelivery", slot)
        world.operate("SettleSlot", slot)
    seller, buyer = (world.ask("GetAccount", world.id(name)) for name in "EX")
    assert (seller["balance"], buyer["balance"]) == (2 * 2_000 * 5000, -2 * 2_000 * 5000)
    assert (seller["sold_wh"], buyer["bought_wh"], seller["slots"]) == (4_000, 4_000, 2)
    assert seller["last_slot"] == "2026-06-21T11:00Z/PT60M"
