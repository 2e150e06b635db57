"""The store of readings: nothing lost, nothing altered unseen, energies that add up."""

import multiprocessing
import os
import signal
import sqlite3
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.fabric.crypto import KeySigner, generate_key, verify
from wallet_app.meter.events import Origin, Proof, Reading
from wallet_app.meter.plausibility import Verdict
from wallet_app.meter.recording import ReadingStore, RecordingError

START = datetime(2026, 6, 21, 10, tzinfo=UTC)
GOOD, BAD = Verdict(True), Verdict(False, ("register_back",))


def reading(seconds: float, kwh: str, export: str | None = "0", gap: str = "") -> Reading:
    values = {"import_kwh": Decimal(kwh)}
    if export is not None:
        values["export_kwh"] = Decimal(export)
    return Reading(
        host_time=START + timedelta(seconds=seconds),
        monotonic=seconds,
        meter_id="A",
        protocol="dlt645",
        values=values,
        proof=Proof.BCC,
        raw=b"\x68" + kwh.encode(),
        after_gap=gap,
    )


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def store(tmp_path: Path) -> ReadingStore:
    return ReadingStore(tmp_path / "readings.db")


def test_energy_between_readings_lies_on_the_line(store: ReadingStore):
    for seconds, kwh, export in ((0, "100", "7"), (60, "100.60", "7.12"), (120, "100.60", "7.30")):
        store.append(reading(seconds, kwh, export), GOOD)
    energy = store.energy_between("A", at(30), at(120))
    assert energy is not None
    assert (energy.import_wh, energy.export_wh) == (300, 240)
    assert energy.complete
    assert energy.widest_gap_s == 60
    assert not energy.simulated


def test_nothing_is_said_before_readings_enclose_the_interval(store: ReadingStore):
    assert store.energy_between("A", at(0), at(10)) is None
    store.append(reading(0, "100"), GOOD)
    assert store.energy_between("A", at(0), at(10)) is None
    store.append(reading(10, "100.02"), GOOD)
    energy = store.energy_between("A", at(0), at(10))
    assert energy is not None
    assert energy.import_wh == 20
    assert store.energy_between("A", at(-1), at(10)) is None
    assert store.energy_between("B", at(0), at(10)) is None


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30)), min_size=2, max_size=30),
    st.lists(st.integers(0, 1000), min_size=1, max_size=10),
)
def test_adjoining_intervals_add_up_exactly(steps: list[tuple[int, int]], cuts: list[int]):
    store = ReadingStore(Path(":memory:"))
    seconds = register = 0
    store.append(reading(0, "0"), GOOD)
    for wait, gained in steps:
        seconds, register = seconds + wait, register + gained
        store.append(reading(seconds, str(Decimal(register) / 100)), GOOD)
    bounds = sorted({0, seconds, *(cut * seconds / 1000 for cut in cuts)})
    parts = [store.energy_between("A", at(a), at(b)) for a, b in pairwise(bounds)]
    assert sum(part.import_wh or 0 for part in parts if part) == register * 10
    assert all(part and part.import_wh is not None and part.import_wh >= 0 for part in parts)
    store.close()


def test_gap_is_a_record_and_the_interval_is_not_complete(store: ReadingStore):
    store.append(reading(0, "100"), GOOD)
    store.append(reading(3600, "101", gap="the adapter was unplugged"), GOOD)
    energy = store.energy_between("A", at(0), at(1800))
    assert energy is not None
    assert not energy.complete
    whole = store.energy_between("A", at(0), at(3600))
    assert whole is not None
    assert whole.import_wh == 1000
    assert whole.complete
    assert [s.number for s in store.series("A", at(0), at(9999))] == [1, 3]
    assert store.check_chain() == []


def test_rejected_readings_are_kept_but_do_not_count(store: ReadingStore):
    store.append(reading(0, "100"), GOOD)
    store.append(reading(30, "0"), BAD)
    store.append(reading(60, "100.1"), GOOD)
    energy = store.energy_between("A", at(0), at(60))
    assert energy is not None
    assert energy.import_wh == 100
    kept = store.series("A", at(0), at(61))
    assert [s.accepted for s in kept] == [True, False, True]
    assert kept[1].flags == ("register_back",)
    assert kept[1].reading == reading(30, "0")


def test_missing_register_is_not_zero(store: ReadingStore):
    store.append(reading(0, "100", None), GOOD)
    store.append(reading(60, "100.1", None), GOOD)
    energy = store.energy_between("A", at(0), at(60))
    assert energy is not None
    assert energy.export_wh is None
    assert energy.import_wh == 100


def test_roll_over_goes_on_counting(store: ReadingStore):
    store.append(reading(0, "999999.95"), GOOD)
    rolled = Verdict(True, rolled_over={"import_kwh": Decimal(1_000_000)})
    store.append(reading(60, "0.05"), rolled)
    store.append(reading(120, "0.15"), GOOD)
    energy = store.energy_between("A", at(0), at(120))
    assert energy is not None
    assert energy.import_wh == 200


def test_an_exchanged_meter_goes_on_where_the_old_one_ended(store: ReadingStore):
    store.append(reading(0, "100"), GOOD)
    store.append(reading(60, "100.1"), GOOD)
    for seconds, kwh in ((90, "7"), (120, "7.2"), (180, "7.3")):
        new = replace(reading(seconds, kwh), meter_id="B")
        store.append(new, Verdict(True, ("new_meter",)))
    connection = store.energy_between(None, at(0), at(180))
    assert connection is not None
    assert connection.import_wh == 100 + 300
    assert not connection.complete
    parts = [store.energy_between(None, at(a), at(b)) for a, b in ((0, 75), (75, 150), (150, 180))]
    assert [part.import_wh for part in parts if part] == [100, 250, 50]
    assert [part.complete for part in parts if part] == [False, False, True]
    assert store.energy_between("B", at(0), at(180)) is None
    alone = store.energy_between("B", at(90), at(180))
    assert alone is not None
    assert alone.complete


def test_a_clock_set_back_makes_no_negative_energy(store: ReadingStore):
    for seconds, kwh in ((0, "100"), (3600, "101"), (3660, "101.1")):
        store.append(reading(seconds, kwh), GOOD)
    # The clock was an hour ahead and is set right: its readings come under earlier times again.
    jumped = Verdict(True, ("clock_jump",))
    store.append(replace(reading(120, "101.2"), problems=("clock_jump",)), jumped)
    store.append(reading(180, "101.3"), GOOD)
    parts = [store.energy_between("A", at(a), at(b)) for a, b in pairwise((0, 60, 120, 150, 180))]
    assert [part.import_wh for part in parts if part] == [600, 600, 50, 50]
    assert store.energy_between("A", at(0), at(3600)) is None
    assert [s.accepted for s in store.series("A", at(0), at(9999))] == [True] * 5
    assert store.check_chain() == []


def test_registers_that_contradict_each_other_give_no_energy(store: ReadingStore):
    store.append(reading(0, "100"), GOOD)
    store.append(reading(60, "99"), GOOD)
    found = store.energy_between("A", at(0), at(60))
    assert found is not None
    assert found.import_wh is None
    assert not found.complete


def test_a_late_reading_refines_the_intervals_before_it(store: ReadingStore):
    store.append(reading(0, "100"), GOOD)
    store.append(reading(600, "101"), GOOD)
    before = store.energy_between("A", at(0), at(300))
    store.append(reading(300, "100.9"), Verdict(True, ("late",)))
    after = store.energy_between("A", at(0), at(300))
    assert before is not None
    assert after is not None
    assert (before.import_wh, before.complete) == (500, False)
    assert (after.import_wh, after.complete) == (900, True)


def test_no_difference_is_taken_across_a_reset(store: ReadingStore):
    store.append(reading(0, "100"), GOOD)
    store.append(reading(60, "0.01"), Verdict(True, new_series=True))
    store.append(reading(120, "0.05"), GOOD)
    across = store.energy_between("A", at(0), at(120))
    assert across is not None
    assert across.import_wh == 40  # what the reset meter counted; the rest is in no register
    assert not across.complete
    after = store.energy_between("A", at(60), at(120))
    assert after is not None
    assert after.import_wh == 40


def test_simulated_readings_stay_simulated(store: ReadingStore):
    for seconds in (0, 60):
        simulated = replace(reading(seconds, "1"), origin=Origin.SIMULATED)
        store.append(simulated, GOOD)
    energy = store.energy_between("A", at(0), at(60))
    assert energy is not None
    assert energy.simulated
    last = store.last_accepted("A")
    assert last is not None
    assert last.origin is Origin.SIMULATED


def test_reopened_store_goes_on(tmp_path: Path):
    path = tmp_path / "readings.db"
    first = ReadingStore(path)
    first.append(reading(0, "100"), GOOD)
    first.close()
    second = ReadingStore(path)
    assert second.last_accepted() == reading(0, "100")
    assert second.append(reading(60, "101"), GOOD) == 2
    assert second.head()[0] == 2
    assert second.check_chain() == []
    second.close()


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("UPDATE record SET body = CAST(replace(body, '100', '900') AS BLOB)", "was altered"),
        ("UPDATE record SET body = 'text' WHERE n = 2", "record 2 cannot be read"),
        ("UPDATE record SET body = x'00ff' WHERE n = 2", "record 2 cannot be read"),
        ("DELETE FROM record WHERE n = 2", "records 2 to 2 are missing"),
        ("UPDATE raw SET bytes = x'00' WHERE n = 3", "raw bytes of record 3"),
        ("UPDATE record SET signature = NULL WHERE n = 1", "record 1 has no good signature"),
    ],
)
def test_damage_to_the_chain_shows(damage: str, finding: str, tmp_path: Path):
    key = generate_key()
    store = ReadingStore(tmp_path / "r.db", KeySigner(key))
    for n in range(3):
        store.append(reading(n, f"100.0{n}"), GOOD)

    def good(message: bytes, signature: bytes) -> bool:
        return verify(key.public_key(), signature, message)

    assert store.check_chain(good) == []
    with sqlite3.connect(tmp_path / "r.db") as db:
        db.execute(damage)
    db.close()
    assert any(finding in line for line in store.check_chain(good))
    store.close()


def test_raw_bytes_can_be_forgotten_without_breaking_the_chain(store: ReadingStore):
    for n in range(3):
        store.append(reading(n, "100"), GOOD)
    assert store.forget_raw(at(2)) == 2
    assert store.check_chain() == []
    assert [s.reading.raw != b"" for s in store.series("A", at(0), at(9))] == [False, False, True]


def _append_until_killed(path: Path) -> None:
    store = ReadingStore(path)
    for n in range(1_000_000):
        store.append(reading(n, str(n)), GOOD)
        if n == 20:
            Path(f"{path}.ready").touch()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_survives_a_kill(tmp_path: Path):
    path = tmp_path / "readings.db"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_append_until_killed, args=(path,))
    process.start()
    while not Path(f"{path}.ready").exists():
        assert process.is_alive()
        process.join(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = ReadingStore(path)
    assert store.check_chain() == []
    assert len(store.series("A", at(0), at(10**6))) >= 21
    store.close()


def test_full_disk_is_told_and_nothing_half_is_left(store: ReadingStore):
    store.append(reading(0, "100"), GOOD)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    huge = replace(reading(60, "101"), raw=bytes(100_000))
    with pytest.raises(RecordingError, match="disk is full"):
        store.append(huge, GOOD)
    store._db.execute("PRAGMA max_page_count = 100000")
    assert store.append(reading(60, "101"), GOOD) == 2
    assert store.check_chain() == []


def test_store_of_another_version_is_left_alone(tmp_path: Path):
    with sqlite3.connect(tmp_path / "r.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(RecordingError, match="another version"):
        ReadingStore(tmp_path / "r.db")


def test_file_that_is_no_store(tmp_path: Path):
    (tmp_path / "r.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(RecordingError, match="cannot open"):
        ReadingStore(tmp_path / "r.db")
