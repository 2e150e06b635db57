"""The in-memory ledger has Fabric's semantics: what a simulation sees, what a commit refuses."""

import pytest

from light_node.contract.memory import MemoryLedger, Validation
from light_node.contract.stub import (
    KeyRefused,
    composite_key,
    composite_range,
    scan,
    split_composite_key,
)

VALID, MVCC, PHANTOM = Validation


def written(**entries: str) -> MemoryLedger:
    ledger = MemoryLedger()
    simulation = ledger.simulate()
    for key, value in entries.items():
        simulation.put(key, value.encode())
    assert ledger.commit([simulation.finish()]) == [VALID]
    return ledger


def keys(ledger: MemoryLedger) -> list[str]:
    return [key for key, _, _ in ledger.entries("", "\U0010ffff")]


def test_reads_do_not_see_own_writes() -> None:
    ledger = written(a="1")
    simulation = ledger.simulate()
    simulation.put("a", b"2")
    simulation.put("b", b"3")
    assert simulation.get("a") == b"1"
    assert simulation.get("b") is None
    assert list(simulation.range("a", "z")) == [("a", b"1")]


def test_of_two_writers_of_one_key_the_first_in_the_block_wins() -> None:
    ledger = written(a="1")
    first, second = ledger.simulate(), ledger.simulate()
    for simulation in (first, second):
        simulation.get("a")
    first.put("a", b"first")
    second.put("a", b"second")
    assert ledger.commit([second.finish(), first.finish()]) == [VALID, MVCC]
    found = ledger.lookup("a")
    assert found is not None
    assert found[0] == b"second"


def test_a_blind_write_conflicts_with_nothing() -> None:
    ledger = written(a="1")
    first, second = ledger.simulate(), ledger.simulate()
    first.put("a", b"2")
    second.put("a", b"3")
    assert ledger.commit([first.finish(), second.finish()]) == [VALID, VALID]


def test_the_same_value_written_again_is_a_new_version() -> None:
    ledger = written(a="1")
    reader, writer = ledger.simulate(), ledger.simulate()
    reader.get("a")
    writer.put("a", b"1")
    assert ledger.commit([writer.finish()]) == [VALID]
    assert ledger.commit([reader.finish()]) == [MVCC]


def test_reading_an_absent_key_conflicts_with_its_creation() -> None:
    ledger = written()
    reader, writer = ledger.simulate(), ledger.simulate()
    assert reader.get("a") is None
    writer.put("a", b"1")
    assert ledger.commit([writer.finish(), reader.finish()]) == [VALID, MVCC]


@pytest.mark.parametrize("change", ["insert", "update", "delete"])
def test_any_change_in_a_range_is_a_phantom(change: str) -> None:
    ledger = written(b="1", d="1")
    reader, writer = ledger.simulate(), ledger.simulate()
    assert [key for key, _ in reader.range("a", "e")] == ["b", "d"]
    if change == "delete":
        writer.delete("b")
    else:
        writer.put("c" if change == "insert" else "d", b"2")
    assert ledger.commit([writer.finish(), reader.finish()]) == [VALID, PHANTOM]


@pytest.mark.parametrize("key", ["Z", "e", "f"])
def test_a_change_outside_the_range_is_none(key: str) -> None:
    ledger = written(b="1")
    reader, writer = ledger.simulate(), ledger.simulate()
    list(reader.range("a", "e"))
    writer.put(key, b"1")
    assert ledger.commit([writer.finish(), reader.finish()]) == [VALID, VALID]


@pytest.mark.parametrize(("key", "code"), [("a", PHANTOM), ("b", PHANTOM), ("c", VALID)])
def test_a_range_left_early_vouches_for_what_was_iterated(key: str, code: Validation) -> None:
    ledger = written(b="1", d="1")
    reader, writer = ledger.simulate(), ledger.simulate()
    assert next(reader.range("a", "e")) == ("b", b"1")
    writer.put(key, b"2")
    assert ledger.commit([writer.finish(), reader.finish()]) == [VALID, code]


def test_an_empty_value_deletes() -> None:
    ledger = written(a="1", b="1")
    simulation = ledger.simulate()
    simulation.put("a", b"")
    assert ledger.commit([simulation.finish()]) == [VALID]
    assert keys(ledger) == ["b"]


def test_an_invalid_transaction_changes_nothing() -> None:
    ledger = written(a="1")
    loser, winner = ledger.simulate(), ledger.simulate()
    loser.get("a")
    loser.put("b", b"1")
    winner.put("a", b"2")
    assert ledger.commit([winner.finish(), loser.finish()]) == [VALID, MVCC]
    assert keys(ledger) == ["a"]


def test_a_simulation_does_not_outlive_its_height() -> None:
    ledger = written(a="1")
    simulation = ledger.simulate()
    ledger.commit([])
    with pytest.raises(RuntimeError, match="moved on"):
        simulation.get("a")


def test_keys_come_in_the_order_of_their_utf8_bytes() -> None:
    names = ["z", "é", "中", "￿", "\U00010000", "a"]
    ledger = written(**dict.fromkeys(names, "1"))
    assert keys(ledger) == sorted(names, key=str.encode)


def test_composite_keys_are_delimited() -> None:
    key = composite_key("quote", ["slot", "1", "hh-1@Org1MSP"])
    assert key == "\0quote\0slot\x001\0hh-1@Org1MSP\0"
    assert split_composite_key(key) == ("quote", ("slot", "1", "hh-1@Org1MSP"))
    assert composite_range("quote", ["slot"]) == ("\0quote\0slot\0", "\0quote\0slot\0\U0010ffff")


def test_a_scan_finds_its_prefix_and_no_neighbour() -> None:
    wanted = [composite_key("quote", ["s", "1", who]) for who in ("a", "b", "中")]
    others = [
        composite_key("quote", ["s", "10", "a"]),
        composite_key("quote", ["s2", "1", "a"]),
        composite_key("quotes", ["s", "1", "a"]),
    ]
    ledger = written(**dict.fromkeys([*others, *wanted], "1"))
    assert [key for key, _ in scan(ledger.simulate(), "quote", ["s", "1"])] == wanted


@pytest.mark.parametrize("part", ["", "a\0b", "a\U0010ffff"])
def test_unusable_parts_of_a_key_are_refused(part: str) -> None:
    with pytest.raises(KeyRefused):
        composite_key("quote", [part])
    with pytest.raises(KeyRefused):
        composite_key(part, ["a"])


@pytest.mark.parametrize("key", ["", "plain", "\0quote", "\0\0"])
def test_what_is_no_composite_key_is_refused(key: str) -> None:
    with pytest.raises(KeyRefused):
        split_composite_key(key)
