"""Transactions endorsed on one state and committed on another: what may, and may not, go wrong."""

from typing import Any

import pytest

from light_node.contract.memory import Validation

SLOT = "2026-06-21T10:00Z/PT60M"
VALID, MVCC, PHANTOM = Validation


@pytest.fixture
def open_world(world: Any) -> Any:
    """Round 1 is open, E and X have quoted."""
    world.open()
    world.quote("E", "sell", 5_000, 5000)
    world.quote("X", "buy", 4_000, 9000)
    return world


def quoted(world: Any, number: int = 1) -> list[str]:
    return [q["participant"] for q in world.ask("GetQuotes", SLOT, str(number))["quotes"]]


def test_parallel_quotes_in_one_block_all_commit(world: Any) -> None:
    world.open()
    block = [
        world.endorse_quote(name, side, 3_000, 6000)
        for name, side in zip("EFHXY", ("sell", "sell", "sell", "buy", "buy"), strict=True)
    ]
    assert world.channel.commit(*block) == [VALID] * 5
    assert quoted(world) == [world.id(name) for name in "EFHXY"]


def test_a_quote_reads_only_its_own_keys(open_world: Any) -> None:
    endorsed = open_world.endorse_quote("F", "sell", 3_000, 6000)
    own = open_world.id("F")
    assert endorsed.rwset.ranges == []
    assert set(endorsed.rwset.reads) == {
        f"\0slot\0{SLOT}\0",
        f"\0participant\0{own}\0",
        f"\0quote\0{SLOT}\x001\0{own}\0",
    }
    assert set(endorsed.rwset.writes) == {f"\0quote\0{SLOT}\x001\0{own}\0"}


def test_closing_a_round_touches_the_slot_record_only(open_world: Any) -> None:
    closing = open_world.endorse_operator("CloseRound", SLOT, "1")
    assert closing.rwset.ranges == []
    assert set(closing.rwset.reads) == set(closing.rwset.writes) == {f"\0slot\0{SLOT}\0"}


def test_quotes_in_the_block_before_the_close_do_not_hold_it_up(open_world: Any) -> None:
    closing = open_world.endorse_operator("CloseRound", SLOT, "1")
    quote = open_world.endorse_quote("F", "sell", 3_000, 6000)
    assert open_world.channel.commit(quote, closing) == [VALID, VALID]
    standing = open_world.operate("PublishStanding", SLOT, "1")
    assert standing["volume_wh"] == 4_000
    assert open_world.id("F") in quoted(open_world)


@pytest.mark.parametrize("same_block", [True, False])
def test_a_quote_endorsed_before_the_close_and_committed_after_it_dies(
    open_world: Any, same_block: bool
) -> None:
    late = open_world.endorse_quote("F", "sell", 3_000, 4000)
    assert late.response.ok
    closing = open_world.endorse_operator("CloseRound", SLOT, "1")
    if same_block:
        assert open_world.channel.commit(closing, late) == [VALID, MVCC]
    else:
        assert open_world.channel.commit(closing) == [VALID]
        assert open_world.channel.commit(late) == [MVCC]
    assert open_world.id("F") not in quoted(open_world)


def test_a_quote_after_the_close_is_refused(open_world: Any) -> None:
    open_world.operate("CloseRound", SLOT, "1")
    late = open_world.endorse_quote("F", "sell", 3_000, 4000)
    assert late.response.status == 409
    assert late.response.message.startswith("ROUND_CLOSED: ")


@pytest.mark.parametrize("same_block", [True, False])
def test_a_late_quote_spoils_no_standing(open_world: Any, same_block: bool) -> None:
    late = open_world.endorse_quote("F", "sell", 3_000, 4000)
    open_world.operate("CloseRound", SLOT, "1")
    publishing = open_world.endorse_operator("PublishStanding", SLOT, "1")
    block = [late, publishing]
    codes = (
        open_world.channel.commit(*block)
        if same_block
        else [open_world.channel.commit(entry)[0] for entry in block]
    )
    assert codes == [MVCC, VALID]
    fills = open_world.ask("GetStanding", SLOT)["fills"]
    assert open_world.id("F") not in fills


def test_a_quote_that_would_have_died_lets_round_two_go_on(open_world: Any) -> None:
    late = open_world.endorse_quote("E", "sell", 5_000, 4500)
    open_world.close_and_publish(1)
    assert open_world.channel.commit(late) == [MVCC]
    open_world.quote("E", "sell", 5_000, 4500, 2)
    assert open_world.close_and_publish(2)["price"] == 4500


def test_a_quote_of_a_closed_round_is_refused_in_the_next(open_world: Any) -> None:
    open_world.close_and_publish(1)
    late = open_world.endorse_quote("E", "sell", 5_000, 4500, 1)
    assert late.response.message.startswith("ROUND_CLOSED: ")
    early = open_world.endorse_quote("E", "sell", 5_000, 4500, 3)
    assert early.response.message.startswith("ROUND_CLOSED: ")


def test_neither_quotes_nor_admissions_spoil_the_clearing(open_world: Any) -> None:
    late = open_world.endorse_quote("E", "sell", 5_000, 4500)
    open_world.close_and_publish(1)
    later = open_world.endorse_quote("E", "sell", 5_000, 4600, 2)
    open_world.close_and_publish(2)
    clearing = open_world.endorse_operator("ClearSlot", SLOT)
    again = open_world.channel.endorse(
        open_world.traders["E"], "Admit", open_world.admission("E", zone="south")
    )
    assert open_world.channel.commit(late, later, again, clearing) == [MVCC, MVCC, VALID, VALID]
    assert open_world.ask("GetClearing", SLOT)["volume_wh"] == 4_000


def test_two_operators_clear_once(open_world: Any) -> None:
    open_world.close_and_publish(1)
    open_world.close_and_publish(2)
    one, other = (open_world.endorse_operator("ClearSlot", SLOT) for _ in range(2))
    assert open_world.channel.commit(one, other) == [VALID, MVCC]


def test_of_two_quotes_of_one_participant_in_a_block_one_counts(open_world: Any) -> None:
    one = open_world.endorse_quote("F", "sell", 3_000, 6000)
    other = open_world.endorse_quote("F", "sell", 3_000, 7000)
    assert open_world.channel.commit(one, other) == [VALID, MVCC]
    assert quoted(open_world).count(open_world.id("F")) == 1


def test_delisting_kills_a_quote_under_way(open_world: Any) -> None:
    quote = open_world.endorse_quote("F", "sell", 3_000, 6000)
    decision = f'{{"participant": "{open_world.id("F")}", "reason": "meter seal broken"}}'
    open_world.operate("Delist", decision)
    assert open_world.channel.commit(quote) == [MVCC]


@pytest.fixture
def delivering_world(open_world: Any) -> Any:
    """E sold 4 kWh to X; the slot takes readings."""
    open_world.close_and_publish(1)
    open_world.close_and_publish(2)
    open_world.operate("ClearSlot", SLOT)
    return open_world


def endorse_reading(world: Any, name: str, import_wh: int, export_wh: int) -> Any:
    text = world.reading_text(name, import_wh, export_wh)
    return world.channel.endorse(world.traders[name], "SubmitReading", text)


def test_parallel_readings_all_commit_and_do_not_hold_up_the_close(delivering_world: Any) -> None:
    closing = delivering_world.endorse_operator("CloseDelivery", SLOT)
    readings = [
        endorse_reading(delivering_world, "E", 0, 4_000),
        endorse_reading(delivering_world, "X", 4_000, 0),
    ]
    assert delivering_world.channel.commit(*readings, closing) == [VALID] * 3
    assert delivering_world.operate("SettleSlot", SLOT)["estimated"] == 0


def test_a_late_reading_dies_and_spoils_no_settlement(delivering_world: Any) -> None:
    delivering_world.reading("X", 4_000, 0)
    late = endorse_reading(delivering_world, "E", 0, 4_000)
    closing = delivering_world.endorse_operator("CloseDelivery", SLOT)
    assert set(closing.rwset.writes) == {f"\0slot\0{SLOT}\0"}
    assert delivering_world.channel.commit(closing) == [VALID]
    settling = delivering_world.endorse_operator("SettleSlot", SLOT)
    assert delivering_world.channel.commit(late, settling) == [MVCC, VALID]
    refused = endorse_reading(delivering_world, "E", 0, 4_000)
    assert refused.response.message.startswith("DELIVERY_CLOSED: ")
    lines = delivering_world.ask("GetSettlement", SLOT, delivering_world.id("E"))["lines"]
    assert [line["estimated"] for line in lines] == [True]


def test_a_range_that_something_enters_is_a_phantom_after_all(open_world: Any) -> None:
    """The memory ledger would notice: the guard is the closed round, not luck."""
    simulation = open_world.ledger.simulate()
    list(simulation.range(f"\0quote\0{SLOT}\x001\0", f"\0quote\0{SLOT}\x001\0\U0010ffff"))
    open_world.quote("F", "sell", 3_000, 6000)
    assert open_world.ledger.commit([simulation.finish()]) == [PHANTOM]


def test_two_slots_settled_side_by_side_lose_no_money(delivering_world: Any) -> None:
    other = "2026-06-21T11:00Z/PT60M"
    delivering_world.open(other, rounds=1)
    delivering_world.quote("E", "sell", 1_000, 5000, 1, other)
    delivering_world.quote("X", "buy", 1_000, 5000, 1, other)
    delivering_world.close_and_publish(1, other)
    delivering_world.operate("ClearSlot", other)
    for slot in (SLOT, other):
        delivering_world.operate("CloseDelivery", slot)
    both = [delivering_world.endorse_operator("SettleSlot", slot) for slot in (SLOT, other)]
    assert delivering_world.channel.commit(*both) == [VALID, MVCC]
    delivering_world.operate("SettleSlot", other)
    account = delivering_world.ask("GetAccount", delivering_world.id("E"))
    price = delivering_world.ask("GetClearing", SLOT)["price"]
    assert account["balance"] == 4_000 * price + 1_000 * 5000
