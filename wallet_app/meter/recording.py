"""Keeps every reading: raw bytes, values, verdict, chained and signed; answers energy per interval.

Each record names the hash of the one before and is signed if a signer is given, so deletion,
insertion and reordering show afterwards. That is no proof that the bytes came from a meter, and
nobody is stopped from starting a new chain (docs/meter-protocols.md section 18).

Energies are differences of registers. A register at an instant between two readings lies on the
straight line between them and is rounded to whole Wh *once, as a function of the instant alone*;
so adjoining intervals add up exactly, whatever the resolution of the meter.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from light_node import jsonio
from light_node.fabric.crypto import Signer
from wallet_app.database import DatabaseError, open_database, reason
from wallet_app.i18n import tr
from wallet_app.meter.events import Origin, Proof, Reading, plain
from wallet_app.meter.plausibility import Verdict

_VERSION = 1
_OVERTAKEN = 2  # in the column "accepted": it was, but its time was overtaken
_UNITS_PER_KWH = 10_000_000  # the finest meter known shows 1e-7 kWh
_UNITS_PER_WH = _UNITS_PER_KWH // 1000
_GENESIS = bytes(32)
_READ_OFTEN = 10  # a register that did not come in so many readings is none the meter has
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    n INTEGER PRIMARY KEY, body BLOB NOT NULL, hash BLOB NOT NULL, signature BLOB
);
CREATE TABLE IF NOT EXISTS reading (
    n INTEGER PRIMARY KEY REFERENCES record(n), meter_id TEXT NOT NULL, t INTEGER NOT NULL,
    accepted INTEGER NOT NULL, series INTEGER NOT NULL, import_u INTEGER, export_u INTEGER,
    import_offset INTEGER NOT NULL, export_offset INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS reading_time ON reading (meter_id, accepted, t);
CREATE TABLE IF NOT EXISTS simulated (
    meter_id TEXT NOT NULL, t INTEGER NOT NULL, n INTEGER NOT NULL REFERENCES record(n),
    PRIMARY KEY (meter_id, t, n)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS register (
    meter_id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (meter_id, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS raw (n INTEGER PRIMARY KEY REFERENCES record(n), bytes BLOB NOT NULL);
"""


class RecordingError(DatabaseError):
    """The store cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class IntervalEnergy:
    """Energy of one interval in Wh, from register differences; None for a missing register.

    ``complete`` is False when a boundary lies in a gap longer than allowed (then the split between
    the intervals at that boundary is a guess, the sum over the gap is not), when the meter was
    reset or exchanged in between (then what each counted is added up; what flowed between the last
    reading of one and the first of the next is in neither) or when registers contradict each other
    (then the energies are None). ``widest_gap_s`` is how far apart the readings around a boundary
    are.
    """

    start: datetime
    end: datetime
    import_wh: int | None
    export_wh: int | None
    complete: bool
    widest_gap_s: float
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class StoredReading:
    """One reading as recorded, with its running number, verdict and flags."""

    number: int
    reading: Reading
    accepted: bool
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Segment:
    meter_id: str
    series: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Point:
    t: int
    meter_id: str
    series: int
    import_u: int | None
    export_u: int | None


class ReadingStore:
    """The readings of this machine in one SQLite file; safe to use from several threads.

    Every append is committed before it returns and survives a kill. ``RecordingError`` when the
    file cannot be opened or written.
    """

    def __init__(self, path: Path, signer: Signer | None = None) -> None:
        self._path, self._signer = path, signer
        self._lock = threading.Lock()
        try:
            self._db = open_database(path, _VERSION, _SCHEMA)
        except DatabaseError as error:
            raise RecordingError(str(error)) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def append(self, reading: Reading, verdict: Verdict) -> int:
        """Record ``reading`` with its ``verdict``; return its running number.

        A reading after a gap is preceded by a record of the gap, so that numbers have no holes.
        """
        with self._lock, self._transaction():
            if reading.after_gap:
                self._append_gap(reading)
            number = self._chain(_body(reading, verdict))
            self._db.execute("INSERT INTO raw VALUES (?, ?)", (number, reading.raw))
            self._insert(number, reading, verdict)
            if reading.origin is Origin.SIMULATED:
                values = (reading.meter_id, _micros(reading.host_time), number)
                self._db.execute("INSERT INTO simulated VALUES (?, ?, ?)", values)
            return number

    def energy_between(
        self,
        meter_id: str | None,
        start: datetime,
        end: datetime,
        *,
        max_gap: timedelta = timedelta(minutes=2),
    ) -> IntervalEnergy | None:
        """Return the energy between two host times; None until readings enclose both of them.

        Times are this machine's (wall) times, aware; an accelerated market's are mapped before.
        ``meter_id`` None takes whichever meters were read: the energy of the connection, also
        across an exchange of its meter.
        """
        with self._lock, self._reading():
            first, last = self._around(meter_id, start), self._around(meter_id, end)
            if first is None or last is None:
                return None
            simulated = self._simulated(meter_id, first[0].t, last[1].t)
            gap_s = max(after.t - before.t for before, after in (first, last)) / 1e6
            segments = self._segments(meter_id, first[0].t, last[1].t)
            if len(segments) == 1:
                energies = [
                    _difference(_at(first, start, key), _at(last, end, key))
                    for key in ("import", "export")
                ]
            else:
                energies = self._sum(segments, start, end)
        complete = len(segments) == 1 and gap_s <= max_gap.total_seconds()
        if any(energy is not None and energy < 0 for energy in energies):
            energies, complete = [None, None], False
        return IntervalEnergy(start, end, energies[0], energies[1], complete, gap_s, simulated)

    def series(
        self, meter_id: str, start: datetime, end: datetime, *, limit: int = 100_000
    ) -> list[StoredReading]:
        """Return what was recorded of a meter in [start, end), rejected readings too, in order."""
        query = (
            "SELECT record.n, record.body, raw.bytes FROM reading JOIN record USING (n) "
            "LEFT JOIN raw USING (n) WHERE meter_id = ? AND t >= ? AND t < ? ORDER BY n LIMIT ?"
        )
        with self._lock, self._reading():
            rows = self._db.execute(query, (meter_id, _micros(start), _micros(end), limit))
            return [_stored(*row) for row in rows]

    def last_accepted(self, meter_id: str | None = None) -> Reading | None:
        """Return the newest accepted reading (of any meter if none is named)."""
        query = (
            "SELECT record.n, record.body, raw.bytes FROM reading JOIN record USING (n) "
            "LEFT JOIN raw USING (n) WHERE accepted = 1 AND (? IS NULL OR meter_id = ?) "
            "ORDER BY n DESC LIMIT 1"
        )
        with self._lock, self._reading():
            row = self._db.execute(query, (meter_id, meter_id)).fetchone()
            return _stored(*row).reading if row else None

    def lacks(self, meter_id: str, name: str) -> bool:
        """Say whether a meter has no register ``name`` (``import_kwh``, ``export_kwh``) at all.

        So it is when none of its readings ever had it, and there are ten at least.
        """
        shown = "SELECT name FROM register WHERE meter_id = ?"
        count = (
            "SELECT count(*) FROM (SELECT 1 FROM reading WHERE meter_id = ? AND accepted = 1 "
            "LIMIT ?)"
        )
        with self._lock, self._reading():
            names = {row[0] for row in self._db.execute(shown, (meter_id,))}
            if not names or name in names:
                return False
            found: int = self._db.execute(count, (meter_id, _READ_OFTEN)).fetchone()[0]
            return found >= _READ_OFTEN

    def forget_raw(self, before: datetime) -> int:
        """Delete the raw bytes of older readings (their hashes stay); return how many."""
        with self._lock, self._transaction():
            query = "DELETE FROM raw WHERE n IN (SELECT n FROM reading WHERE t < ?)"
            return self._db.execute(query, (_micros(before),)).rowcount

    def check_chain(self, verify: Callable[[bytes, bytes], bool] | None = None) -> list[str]:
        """Return what is wrong with the chain, one line per finding; [] is a whole chain.

        ``verify(message, signature)`` checks signatures; None leaves them unchecked.
        """
        findings: list[str] = []
        previous, expected = _GENESIS, 1
        query = (
            "SELECT record.n, body, hash, signature, raw.bytes FROM record "
            "LEFT JOIN raw USING (n) ORDER BY record.n"
        )
        with self._lock, self._reading():
            for number, body, digest, signature, raw in self._db.execute(query):
                if number != expected:
                    findings.append(f"records {expected} to {number - 1} are missing")
                fields = _fields(body)
                if fields is None:
                    findings.append(f"record {number} cannot be read")
                    previous, expected = digest, number + 1
                    continue
                if hashlib.sha256(body).digest() != digest:
                    findings.append(f"record {number} was altered")
                if fields.get("n") != number or fields.get("previous") != previous.hex():
                    findings.append(f"record {number} does not follow the one before it")
                if raw is not None and hashlib.sha256(raw).hexdigest() != fields.get("raw_sha256"):
                    findings.append(f"the raw bytes of record {number} were altered")
                if verify is not None and not (signature and verify(body, signature)):
                    findings.append(f"record {number} has no good signature")
                previous, expected = digest, number + 1
        return findings

    def head(self) -> tuple[int, bytes]:
        """Return the newest running number and hash; made public now and then, they fix the chain.

        Without that, records cut off at the end do not show. (0, zeros) when there is none.
        """
        query = "SELECT n, hash FROM record ORDER BY n DESC LIMIT 1"
        with self._lock, self._reading():
            row = self._db.execute(query).fetchone()
        return (row[0], row[1]) if row else (0, _GENESIS)

    def _append_gap(self, reading: Reading) -> None:
        query = "SELECT max(t) FROM reading WHERE meter_id = ? AND accepted = 1"
        last = self._db.execute(query, (reading.meter_id,)).fetchone()[0]
        self._chain(
            {
                "kind": "gap",
                "meter_id": reading.meter_id,
                "from": _time(last).isoformat() if last is not None else "",
                "to": reading.host_time.astimezone(UTC).isoformat(),
                "reason": reading.after_gap,
            }
        )

    def _chain(self, body: dict[str, Any]) -> int:
        row = self._db.execute("SELECT n, hash FROM record ORDER BY n DESC LIMIT 1").fetchone()
        number, previous = (row[0] + 1, row[1]) if row else (1, _GENESIS)
        message = jsonio.canonical_dumps({**body, "n": number, "previous": previous.hex()})
        signature = self._signer.sign(message) if self._signer else None
        digest = hashlib.sha256(message).digest()
        self._db.execute(
            "INSERT INTO record VALUES (?, ?, ?, ?)", (number, message, digest, signature)
        )
        return number

    def _insert(self, number: int, reading: Reading, verdict: Verdict) -> None:
        query = (
            "SELECT series, import_offset, export_offset FROM reading "
            "WHERE meter_id = ? AND accepted = 1 ORDER BY n DESC LIMIT 1"
        )
        row = self._db.execute(query, (reading.meter_id,)).fetchone()
        series, *offsets = row or (1, 0, 0)
        if verdict.new_series:
            series, offsets = series + 1, [0, 0]
        units: list[int | None] = []
        for index, key in enumerate(("import_kwh", "export_kwh")):
            offsets[index] += _units(verdict.rolled_over.get(key, Decimal(0)))
            value = reading.values.get(key)
            units.append(None if value is None else _units(value) + offsets[index])
            if value is not None:
                shown = "INSERT OR IGNORE INTO register VALUES (?, ?)"
                self._db.execute(shown, (reading.meter_id, key))
        if verdict.accepted and "clock_jump" in verdict.flags:
            # This machine's clock was set back: what was recorded under a later time was recorded
            # under a wrong one. It stays on record, but energies are not read off it any more.
            overtaken = (
                "UPDATE reading SET accepted = ? WHERE accepted = 1 AND meter_id = ? AND t >= ?"
            )
            self._db.execute(overtaken, (_OVERTAKEN, reading.meter_id, _micros(reading.host_time)))
        values = (number, reading.meter_id, _micros(reading.host_time), int(verdict.accepted))
        self._db.execute(
            "INSERT INTO reading VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, series, *units, *offsets),
        )

    def _around(
        self, meter_id: str | None, at: datetime, series: int | None = None
    ) -> tuple[_Point, _Point] | None:
        """Return the accepted points at or before, and at or after, an instant."""
        columns = "SELECT t, meter_id, series, import_u, export_u FROM reading WHERE accepted = 1 "
        columns += "AND (import_u IS NOT NULL OR export_u IS NOT NULL) "
        chosen: list[object] = []
        if meter_id is not None:
            columns, chosen = columns + "AND meter_id = ? ", [meter_id]
        if series is not None:
            columns, chosen = columns + "AND series = ? ", [*chosen, series]
        key = (*chosen, _micros(at))
        before = self._db.execute(columns + "AND t <= ? ORDER BY t DESC, n DESC LIMIT 1", key)
        after = self._db.execute(columns + "AND t >= ? ORDER BY t, n LIMIT 1", key)
        rows = before.fetchone(), after.fetchone()
        if rows[0] is None or rows[1] is None:
            return None
        return _Point(*rows[0]), _Point(*rows[1])

    def _segments(self, meter_id: str | None, first: int, last: int) -> list[_Segment]:
        """Return the runs of one meter without a reset that have points in [first, last]."""
        query = (
            "SELECT meter_id, series, min(t), max(t) FROM reading WHERE accepted = 1 "
            "AND (import_u IS NOT NULL OR export_u IS NOT NULL) AND (? IS NULL OR meter_id = ?) "
            "AND t BETWEEN ? AND ? GROUP BY meter_id, series ORDER BY min(t)"
        )
        return [
            _Segment(*row) for row in self._db.execute(query, (meter_id, meter_id, first, last))
        ]

    def _sum(
        self, segments: Sequence[_Segment], start: datetime, end: datetime
    ) -> list[int | None]:
        """Return what each run counted in [start, end), added up; None for a missing register."""
        sums: list[int | None] = [0, 0]
        for segment in segments:
            begin = max(start, _time(segment.first))
            stop = min(end, _time(segment.last))
            low = self._around(segment.meter_id, begin, segment.series)
            high = self._around(segment.meter_id, stop, segment.series)
            if begin >= stop or low is None or high is None:
                continue
            for index, key in enumerate(("import", "export")):
                part = _difference(_at(low, begin, key), _at(high, stop, key))
                total = sums[index]
                sums[index] = None if part is None or total is None else total + part
        return sums

    def _simulated(self, meter_id: str | None, first: int, last: int) -> bool:
        query = (
            "SELECT 1 FROM simulated WHERE (? IS NULL OR meter_id = ?) "
            "AND t BETWEEN ? AND ? LIMIT 1"
        )
        return self._db.execute(query, (meter_id, meter_id, first, last)).fetchone() is not None

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db, self._not_written, write=True)

    def _reading(self) -> "_Transaction":
        return _Transaction(self._db, self._not_read, write=False)

    def _not_written(self, error: sqlite3.Error) -> str:
        return tr(
            "{path} cannot be written: {why}; {advice}",
            path=self._path,
            why=reason(error),
            advice=_advice(error),
        )

    def _not_read(self, error: sqlite3.Error) -> str:
        return tr(
            "{path} cannot be read: {why}; {advice}",
            path=self._path,
            why=reason(error),
            advice=_advice(error),
        )


class _Transaction:
    """Commit or roll back as one; database errors become ``RecordingError``."""

    def __init__(
        self, db: sqlite3.Connection, explain: Callable[[sqlite3.Error], str], *, write: bool
    ) -> None:
        self._db, self._explain, self._write = db, explain, write

    def __enter__(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE" if self._write else "BEGIN")
        except sqlite3.Error as error:
            raise RecordingError(self._explain(error)) from error

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("COMMIT" if kind is None else "ROLLBACK")
        except sqlite3.Error as failed:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise RecordingError(self._explain(failed)) from failed
        if isinstance(error, sqlite3.Error):
            raise RecordingError(self._explain(error)) from error


def _advice(error: sqlite3.Error) -> str:
    text = str(error)
    if "full" in text:
        return tr("free some space")
    if "locked" in text:
        return tr("close that program first")
    return tr("check that the file is whole and writable")


def _body(reading: Reading, verdict: Verdict) -> dict[str, Any]:
    return {
        "kind": "reading",
        "host_time": reading.host_time.astimezone(UTC).isoformat(),
        "monotonic": f"{reading.monotonic:.6f}",
        "meter_id": reading.meter_id,
        "protocol": reading.protocol,
        "values": {key: plain(value) for key, value in reading.values.items()},
        "proof": str(reading.proof),
        "origin": str(reading.origin),
        "meter_clock": reading.meter_clock,
        "after_gap": reading.after_gap,
        "problems": list(reading.problems),
        "accepted": verdict.accepted,
        "flags": list(verdict.flags),
        "raw_sha256": hashlib.sha256(reading.raw).hexdigest(),
    }


def _fields(body: object) -> dict[str, Any] | None:
    """Return what a record's bytes say; None if somebody made them into something else."""
    try:
        value = jsonio.strict_loads(body) if isinstance(body, bytes) else None
    except jsonio.JsonError:
        return None
    return value if isinstance(value, dict) else None


def _stored(number: int, body: bytes, raw: bytes | None) -> StoredReading:
    fields: Mapping[str, Any] = json.loads(body)
    reading = Reading(
        host_time=datetime.fromisoformat(fields["host_time"]),
        monotonic=float(fields["monotonic"]),
        meter_id=fields["meter_id"],
        protocol=fields["protocol"],
        values={key: Decimal(text) for key, text in fields["values"].items()},
        proof=Proof(fields["proof"]),
        raw=raw or b"",
        origin=Origin(fields["origin"]),
        meter_clock=fields["meter_clock"],
        after_gap=fields["after_gap"],
        problems=tuple(fields["problems"]),
    )
    return StoredReading(number, reading, fields["accepted"], tuple(fields["flags"]))


def _at(pair: tuple[_Point, _Point], at: datetime, key: str) -> int | None:
    """Return a register in whole Wh at an instant between two points; None if it is missing."""
    before, after = pair
    low = before.import_u if key == "import" else before.export_u
    high = after.import_u if key == "import" else after.export_u
    if low is None or high is None:
        return None
    units = low
    if after.t > before.t:
        units += (high - low) * (_micros(at) - before.t) // (after.t - before.t)
    return (units + _UNITS_PER_WH // 2) // _UNITS_PER_WH


def _difference(first: int | None, last: int | None) -> int | None:
    return None if first is None or last is None else last - first


def _units(value: Decimal) -> int:
    return int((value * _UNITS_PER_KWH).to_integral_value())


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
