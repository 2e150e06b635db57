"""Signed readings: who may, what is believed, corrections and their trace."""

import json
from typing import Any

import pytest

SLOT = "2026-06-21T10:00Z/PT60M"
NEXT = "2026-06-21T11:00Z/PT60M"


@pytest.fixture
def delivering(world: Any) -> Any:
    """E sold 4 kWh to X; the slot takes readings."""
    deliver(world, SLOT)
    return world


def deliver(world: Any, slot: str) -> None:
    world.open(slot, rounds=1)
    world.quote("E", "sell", 4_000, 5000, 1, slot)
    world.quote("X", "buy", 4_000, 9000, 1, slot)
    world.close_and_publish(1, slot)
    world.operate("ClearSlot", slot)


def refused(world: Any, name: str, *args: Any, **changes: Any) -> str:
    text = world.reading_text(name, *args, **changes)
    endorsed = world.channel.endorse(world.traders[name], "SubmitReading", text)
    assert not endorsed.response.ok
    assert endorsed.rwset.writes == {}
    return str(endorsed.response.message.partition(":")[0])


def test_a_reading_is_kept_as_signed(delivering: Any) -> None:
    delivering.reading("E", 100, 4_000)
    (record,) = delivering.ask("GetReadings", SLOT)["readings"]
    assert record["participant"] == delivering.id("E")
    assert (record["import_wh"], record["export_wh"]) == (100, 4_000)
    assert record["register_export_wh"] == 1_004_000
    assert (record["revision"], record["replaces"]) == (1, None)


def test_a_correction_leaves_a_trace(delivering: Any) -> None:
    delivering.reading("E", 0, 3_000)
    (first,) = delivering.ask("GetReadings", SLOT)["readings"]
    assert delivering.reading("E", 0, 4_000)["revision"] == 2
    (second,) = delivering.ask("GetReadings", SLOT)["readings"]
    assert second["export_wh"] == 4_000
    assert second["replaces"] == first["transaction"]
    assert second["transaction"] != first["transaction"]


def test_the_same_reading_again_changes_nothing(delivering: Any) -> None:
    delivering.registers["E"] = (1_000, 1_000)
    text = delivering.reading_text("E", 0, 3_000)
    delivering.channel.submit(delivering.traders["E"], "SubmitReading", text)
    again = delivering.channel.endorse(delivering.traders["E"], "SubmitReading", text)
    assert again.response.ok
    assert again.rwset.writes == {}
    assert json.loads(again.response.payload)["revision"] == 1


def test_corrections_are_bounded(delivering: Any) -> None:
    for revision in range(1, 21):
        assert delivering.reading("E", 0, revision)["revision"] == revision
    assert refused(delivering, "E", 0, 4_000) == "TOO_MANY_REVISIONS"


def test_readings_before_the_clearing(world: Any) -> None:
    world.open()
    assert refused(world, "E", 0, 4_000) == "DELIVERY_CLOSED"


def test_delisted_participants_still_deliver(delivering: Any) -> None:
    decision = json.dumps({"participant": delivering.id("E"), "reason": "moved away"})
    delivering.operate("Delist", decision)
    delivering.reading("E", 0, 4_000)


def test_nobody_reads_for_another(delivering: Any) -> None:
    text = delivering.reading_text("E", 0, 4_000)
    endorsed = delivering.channel.endorse(delivering.traders["F"], "SubmitReading", text)
    assert endorsed.response.message.startswith("NOT_YOURS: ")


def test_a_reading_needs_the_signature_over_all_of_it(delivering: Any) -> None:
    for field, value in (("export_wh", 4_001), ("estimated", True), ("meter", "another")):
        fields = json.loads(delivering.reading_text("E", 0, 4_000))
        text = json.dumps({**fields, field: value})
        endorsed = delivering.channel.endorse(delivering.traders["E"], "SubmitReading", text)
        assert endorsed.response.message.startswith("BAD_SIGNATURE: ")


def test_readings_nobody_believes(delivering: Any) -> None:
    # 20 kW carry 20 kWh in the hour; twice that and a little is the bound.
    assert refused(delivering, "E", 0, 40_101) == "IMPLAUSIBLE_READING"
    assert refused(delivering, "E", 40_101, 0) == "IMPLAUSIBLE_READING"
    assert refused(delivering, "E", 0, 4_000, register_export_wh=3_999) == "IMPLAUSIBLE_READING"
    assert refused(delivering, "E", 0, -1) == "BAD_INPUT"


def test_registers_do_not_run_backwards(delivering: Any) -> None:
    delivering.reading("E", 0, 4_000)
    deliver(delivering, NEXT)
    reached = delivering.registers["E"]
    delivering.registers["E"] = (reached[0], reached[1] - 5_000)
    assert refused(delivering, "E", 0, 4_000, NEXT) == "IMPLAUSIBLE_READING"
    # A new meter starts where it likes.
    delivering.registers["E"] = (0, 0)
    delivering.reading("E", 0, 4_000, NEXT, meter="a new one")


def test_an_estimated_reading_is_flagged_in_the_settlement(delivering: Any) -> None:
    delivering.reading("E", 0, 4_000, estimated=True)
    delivering.reading("X", 4_000, 0)
    delivering.operate("CloseDelivery", SLOT)
    delivering.operate("SettleSlot", SLOT)
    lines = delivering.ask("GetSettlement", SLOT)["lines"]
    flags = {line["participant"]: line["estimated"] for line in lines}
    assert flags == {delivering.id("E"): True, delivering.id("X"): False}
