"""Read-write sets: what was read and written, and nothing else."""

from collections.abc import Iterator

import pytest

from light_node.devnet.simulation import Simulator, StateKeyError
from light_node.devnet.store import Version, VersionedValue
from light_node.fabric.pb import kvrwset_pb2
from light_node.fabric.transaction import parse_rwset


class Values:
    """Committed state of namespace kv, from a dictionary."""

    def __init__(self, values: dict[str, bytes]) -> None:
        self.values = {
            k.encode(): VersionedValue(v, Version(5, i)) for i, (k, v) in enumerate(values.items())
        }

    def get(self, namespace: str, key: bytes) -> VersionedValue | None:
        return self.values.get(key) if namespace == "kv" else None

    def range(
        self, namespace: str, start: bytes, end: bytes
    ) -> Iterator[tuple[bytes, VersionedValue]]:
        for key in sorted(self.values):
            if key >= start and (not end or key < end):
                yield key, self.values[key]


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(Values({"\x00t\x00x\x00": b"0", "a": b"1", "b": b"2", "c": b"3"}), "kv")


def rwset(simulator: Simulator) -> kvrwset_pb2.KVRWSet:
    (found,) = parse_rwset(simulator.results())
    assert found.namespace == "kv"
    return found.kv


def test_nothing_done_gives_an_empty_set(simulator: Simulator) -> None:
    assert simulator.results() == b""


def test_own_writes_are_not_read(simulator: Simulator) -> None:
    simulator.put("a", b"new")
    simulator.delete("b")
    assert simulator.get("a") == b"1"
    assert dict(simulator.range("a", "d")) == {"a": b"1", "b": b"2", "c": b"3"}


def test_reads_carry_versions_and_missing_keys_none(simulator: Simulator) -> None:
    simulator.get("b")
    simulator.get("b")
    simulator.get("nowhere")
    reads = rwset(simulator).reads
    assert [(r.key, r.HasField("version")) for r in reads] == [("b", True), ("nowhere", False)]
    assert (reads[0].version.block_num, reads[0].version.tx_num) == (5, 2)


def test_the_last_write_of_a_key_counts_and_keys_are_sorted(simulator: Simulator) -> None:
    simulator.put("z", b"1")
    simulator.put("y", b"2")
    simulator.put("z", b"3")
    simulator.put("x", b"")
    assert [(w.key, w.value, w.is_delete) for w in rwset(simulator).writes] == [
        ("x", b"", True),
        ("y", b"2", False),
        ("z", b"3", False),
    ]


def test_an_exhausted_range_protects_to_its_end(simulator: Simulator) -> None:
    list(simulator.range("a", "c"))
    (info,) = rwset(simulator).range_queries_info
    assert (info.start_key, info.end_key, info.itr_exhausted) == ("a", "c", True)
    assert [r.key for r in info.raw_reads.kv_reads] == ["a", "b"]
    assert not rwset(simulator).reads


def test_a_range_left_early_protects_what_was_seen(simulator: Simulator) -> None:
    next(simulator.range("a", "d"))
    (info,) = rwset(simulator).range_queries_info
    assert (info.end_key, info.itr_exhausted) == ("a", False)
    assert [r.key for r in info.raw_reads.kv_reads] == ["a"]


def test_closing_ends_iterations_left_open() -> None:
    state = Values({"a": b"1", "b": b"2"})
    simulator = Simulator(state, "kv")
    left_open = simulator.range("a", "c")
    next(left_open)
    simulator.close()
    assert list(left_open) == []


def test_an_open_range_starts_after_the_composite_keys(simulator: Simulator) -> None:
    assert [key for key, _ in simulator.range("", "")] == ["a", "b", "c"]
    (info,) = rwset(simulator).range_queries_info
    assert info.start_key == "\x01"


def test_an_empty_range_is_recorded_too(simulator: Simulator) -> None:
    assert list(simulator.range("p", "q")) == []
    (info,) = rwset(simulator).range_queries_info
    assert info.WhichOneof("reads_info") == "raw_reads"
    assert info.itr_exhausted


@pytest.mark.parametrize("key", ["", "\ud800"])
def test_unusable_keys(simulator: Simulator, key: str) -> None:
    with pytest.raises(StateKeyError):
        simulator.put(key, b"x")
    with pytest.raises(StateKeyError):
        simulator.get(key)
