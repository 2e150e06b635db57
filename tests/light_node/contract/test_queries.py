"""Queries: pages, ranges, and results that do not depend on who endorses."""

import json
from typing import Any

import pytest

from light_node import jsonio
from light_node.contract import records, slots
from light_node.contract.slots import SlotRecord

SLOT = "2026-06-21T10:00Z/PT60M"


def test_slots_of_a_time_span(empty_world: Any) -> None:
    for hour in range(8, 14):
        empty_world.open(f"2026-06-21T{hour:02}:00Z/PT60M")
    found = empty_world.ask("ListSlots", "2026-06-21T09:00Z", "2026-06-21T12:00Z")
    assert [s["slot"][11:13] for s in found["slots"]] == ["09", "10", "11"]
    assert found["more"] is False
    by_id = empty_world.ask("ListSlots", "2026-06-21T09:00Z/PT60M", "2026-06-21T12:00Z/PT60M")
    assert by_id == found
    assert empty_world.ask("ListSlots", "2026-06-22T00:00Z", "2026-06-21T00:00Z")["slots"] == []


def test_a_slot_record_reads_back(world: Any) -> None:
    record = world.open()
    assert SlotRecord.from_json(record).to_json() == record
    assert SlotRecord.from_json(record).interval.id == SLOT
    for field in record:
        with pytest.raises(jsonio.JsonError):
            SlotRecord.from_json({**record, field: None})


def test_pages(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PAGE", 2)
    monkeypatch.setattr(slots, "PAGE", 2)
    world.open(rounds=1)
    for name in "EFHX":
        world.quote(name, "buy" if name == "X" else "sell", 1_000, 5000)
    for function, args, name in (
        ("ListParticipants", (), "participants"),
        ("GetQuotes", (SLOT, "1"), "quotes"),
    ):
        ids, after, more = [], "", True
        while more:
            page = world.ask(function, *args, after)
            assert len(page[name]) <= 2
            ids += [record["participant"] for record in page[name]]
            after, more = ids[-1], page["more"]
        expected = "EFHXY" if name == "participants" else "EFHX"
        assert ids == [world.id(who) for who in expected]


def test_an_account_before_the_first_settlement(world: Any) -> None:
    account = world.ask("GetAccount", world.id("E"))
    assert (account["balance"], account["grid_money"], account["slots"]) == (0, 0, 0)


def test_admission_again_updates_and_keeps_its_beginning(world: Any) -> None:
    before = world.ask("GetParticipant", world.id("E"))
    world.admit("E", zone="", green=False, capacity_w=5_000)
    after = world.ask("GetParticipant", world.id("E"))
    assert (after["zone"], after["green"], after["capacity_w"]) == ("", False, 5_000)
    assert after["admitted"] == before["admitted"] == before["updated"] != after["updated"]
    assert (after["user_type"], after["credit"], after["status"]) == ("household", "A", "active")


def test_queries_write_nothing(world: Any) -> None:
    world.open(rounds=1)
    world.quote("E", "sell", 1_000, 5000)
    world.close_and_publish(1)
    for function, args in (
        ("GetSlot", (SLOT,)),
        ("GetStanding", (SLOT, "1")),
        ("GetQuotes", (SLOT, "1")),
        ("ListParticipants", ()),
        ("GetPots", ()),
        ("GetReadings", (SLOT,)),
    ):
        endorsed = world.channel.endorse(world.traders["E"], function, *args)
        assert endorsed.response.ok
        assert endorsed.rwset.writes == {}
        assert jsonio.canonical_dumps(json.loads(endorsed.response.payload)) == (
            endorsed.response.payload
        )


def test_endorsers_agree_to_the_last_byte(world: Any) -> None:
    """The same proposal on the same state gives the same reads, writes, event and payload."""
    world.open(rounds=1)
    for name, side in zip("YXHFE", ("buy", "buy", "sell", "sell", "sell"), strict=True):
        world.quote(name, side, 3_000, 6000)
    for function, args in (
        ("CloseRound", (SLOT, "1")),
        ("PublishStanding", (SLOT, "1")),
        ("ClearSlot", (SLOT,)),
        ("CloseDelivery", (SLOT,)),
        ("SettleSlot", (SLOT,)),
    ):
        count = world.channel._count
        one = world.endorse_operator(function, *args)
        world.channel._count = count  # the same transaction id
        other = world.endorse_operator(function, *args)
        assert one == other
        world.channel.commit(one)


def test_a_recorded_standing_that_does_not_follow_its_quotes_is_not_cleared(world: Any) -> None:
    world.open(rounds=1)
    world.quote("E", "sell", 1_000, 5000)
    world.quote("X", "buy", 1_000, 9000)
    world.close_and_publish(1)
    key = f"\0standing\0{SLOT}\x001\0"
    simulation = world.ledger.simulate()
    record = json.loads(simulation.get(key))
    record["price"] += 1
    simulation.put(key, jsonio.canonical_dumps(record))
    world.ledger.commit([simulation.finish()])
    refused = world.endorse_operator("ClearSlot", SLOT)
    assert refused.response.message.startswith("CONTRADICTION: ")
