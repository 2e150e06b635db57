"""What the wallet remembers of each slot, in one SQLite file: planned, quoted, matched, delivered.

The ledger is the truth; this is the household's own record beside it, so that the history shows
at once after a start and keeps what the ledger never knew (forecast, battery, reasons).
"""

import dataclasses
import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from light_node.market.slots import Slot, parse
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.database import DatabaseError, open_database, reason
from wallet_app.i18n import tr
from wallet_app.strategy.forecast import SlotEnergy
from wallet_app.strategy.record import Kept, Promise
from wallet_app.trading import books
from wallet_app.trading.books import FinalBook
from wallet_app.trading.view import EventView, Phase, Proof, SlotView

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS slots (
    slot TEXT PRIMARY KEY,
    start TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS slots_by_start ON slots(start);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    "foreign" TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS energies (
    start TEXT PRIMARY KEY,
    length_s INTEGER NOT NULL,
    net_wh INTEGER NOT NULL,
    origin TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS books (
    slot TEXT PRIMARY KEY,
    start INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    cap INTEGER NOT NULL,
    quotes INTEGER NOT NULL,
    book BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS books_by_start ON books(start, quotes);
CREATE TABLE IF NOT EXISTS promises (
    slot TEXT PRIMARY KEY,
    start INTEGER NOT NULL,
    promise TEXT NOT NULL,
    expected_money INTEGER NOT NULL,
    real_money INTEGER,
    honest_money INTEGER
) STRICT, WITHOUT ROWID;
"""
_KEPT_EVENTS = 2000
PARTICIPANT = "participant"
"""Name of the fact that says whose history it is."""
_KEPT_PROMISES = 5000
_DAY_S = 86_400
_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_JUDGED = 100  # the newest suggestions that the track record is about


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """One slot as this household lived it. Energies in Wh, prices in ticks, money in Wh·tick."""

    slot: str
    floor: int
    cap: int
    phase: str = "quoting"
    round: int = 0
    rounds: int = 0
    planned_wh: int | None = None  # forecast net energy, positive = to buy
    side: str = ""
    quoted_wh: int = 0
    quoted_price: int | None = None
    quote_state: str = ""
    matched_wh: int = 0
    price: int | None = None
    delivered_wh: int | None = None  # net metered, positive = taken from the grid
    market_money: int | None = None
    grid_money: int | None = None
    penalty_money: int | None = None
    grid_only_money: int | None = None
    proof: str = Proof.NONE.value
    transaction: str = ""
    block: int | None = None
    contested: bool = False  # disputed between organisations only: may be decided yet

    def view(self, slot: Slot, **times: datetime | None) -> SlotView:
        """Return the record as the screens see it; ``times`` are round_closes, gate_closes."""
        return SlotView(
            slot=self.slot,
            start=slot.starts_at,
            length_s=slot.length_s,
            floor=PriceTick(self.floor),
            cap=PriceTick(self.cap),
            phase=Phase(self.phase),
            round=self.round,
            rounds=self.rounds,
            planned_wh=self.planned_wh,
            side=self.side,
            quoted_wh=EnergyWh(self.quoted_wh),
            quoted_price=_price(self.quoted_price),
            quote_state=self.quote_state,
            matched_wh=EnergyWh(self.matched_wh),
            price=_price(self.price),
            delivered_wh=self.delivered_wh,
            market_money=_money(self.market_money),
            grid_money=_money(self.grid_money),
            penalty_money=_money(self.penalty_money),
            grid_only_money=_money(self.grid_only_money),
            proof=Proof(self.proof),
            transaction=self.transaction,
            **times,
        )


class History:
    """Slot records, activity lines and a few named facts; thread-safe, durable.

    Times may be in any zone. ``DatabaseError`` when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file; ``DatabaseError`` when that is impossible."""
        self._lock = threading.Lock()
        self._db = open_database(path, _VERSION, _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def save(self, record: SlotRecord) -> None:
        """Keep ``record``, replacing the one of the same slot."""
        start = parse(record.slot).starts_at.isoformat()
        text = json.dumps(dataclasses.asdict(record), ensure_ascii=False)
        self._execute(
            "INSERT INTO slots VALUES (?,?,?)"
            " ON CONFLICT(slot) DO UPDATE SET record=excluded.record",
            (record.slot, start, text),
        )

    def get(self, slot: str) -> SlotRecord | None:
        """Return the record of ``slot``."""
        rows = self._query("SELECT record FROM slots WHERE slot=?", (slot,))
        return _record(rows[0][0]) if rows else None

    def newest(self) -> SlotRecord | None:
        """Return the record of the latest slot, None while there is none."""
        rows = self._query("SELECT record FROM slots ORDER BY start DESC, slot LIMIT 1", ())
        return _record(rows[0][0]) if rows else None

    def between(self, start: datetime, end: datetime) -> list[SlotRecord]:
        """Return the records of slots that start in [start, end), ascending."""
        rows = self._query(
            "SELECT record FROM slots WHERE start>=? AND start<? ORDER BY start",
            (_text(start), _text(end)),
        )
        return [_record(row[0]) for row in rows]

    def add_event(self, event: EventView) -> None:
        """Append an activity line; only the newest couple of thousand are kept."""
        self._execute(
            'INSERT INTO events(at, kind, text, "foreign") VALUES (?,?,?,?)',
            (_text(event.at), event.kind, event.text, event.foreign),
        )
        self._execute(
            "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (_KEPT_EVENTS,)
        )

    def events(self, limit: int) -> list[EventView]:
        """Return the newest ``limit`` activity lines, newest last."""
        rows = self._query(
            'SELECT at, kind, text, "foreign" FROM events ORDER BY id DESC LIMIT ?', (limit,)
        )
        return [EventView(datetime.fromisoformat(at), k, t, f) for at, k, t, f in reversed(rows)]

    def add_energy(self, energy: SlotEnergy, origin: str) -> None:
        """Keep a past slot's net energy without the battery's part; ``origin`` as in readings."""
        self._execute(
            "INSERT OR REPLACE INTO energies VALUES (?,?,?,?)",
            (_text(energy.start), energy.length_s, energy.net_wh, origin),
        )

    def energies(self, since: datetime) -> list[SlotEnergy]:
        """Return the net energies of past slots that started at or after ``since``, ascending."""
        rows = self._query(
            "SELECT start, length_s, net_wh FROM energies WHERE start>=? ORDER BY start",
            (_text(since),),
        )
        return [SlotEnergy(datetime.fromisoformat(s), length, net) for s, length, net in rows]

    def add_book(self, final: FinalBook) -> None:
        """Keep a slot's final book; one is kept once. The oldest and too large ones are left out.

        At most 3,000 books, half a million quotes and 400 days (:mod:`.books`).
        """
        count = len(final.book.quotes)
        if count > books.MAX_BOOK_QUOTES:
            return
        row = (
            final.slot.id,
            final.slot.start,
            final.bounds.floor,
            final.bounds.cap,
            count,
            books.packed(final.book),
        )
        self._execute("INSERT OR IGNORE INTO books VALUES (?,?,?,?,?,?)", row)
        self._execute(
            "DELETE FROM books WHERE start < (SELECT max(start) FROM books) - ? OR slot IN ("
            " SELECT slot FROM (SELECT slot, row_number() OVER newest AS place,"
            " sum(quotes) OVER newest AS upto FROM books"
            " WINDOW newest AS (ORDER BY start DESC, slot ROWS UNBOUNDED PRECEDING))"
            " WHERE place > ? OR upto > ?)",
            (books.MAX_AGE_DAYS * _DAY_S, books.MAX_BOOKS, books.MAX_KEPT_QUOTES),
        )

    def has_book(self, slot: str) -> bool:
        """Tell whether the final book of ``slot`` is kept."""
        return bool(self._query("SELECT 1 FROM books WHERE slot=?", (slot,)))

    def final_books(self, start: datetime = _FIRST, end: datetime = _LAST) -> list[FinalBook]:
        """Return the final books of slots that start in [start, end), ascending; by default all.

        ``DatabaseError`` for one that is damaged.
        """
        rows = self._query(
            "SELECT slot, floor, cap, book FROM books WHERE start>=? AND start<? ORDER BY start",
            (start.timestamp(), end.timestamp()),
        )
        try:
            return [books.unpacked(*row) for row in rows]
        except ValueError as error:
            raise DatabaseError(
                tr("cannot read the history: {why}; restore a backup", why=reason(error))
            ) from error

    def promise(self, slot: str, promise: Promise) -> None:
        """Keep what the first estimate for ``slot`` promised; later ones change nothing."""
        self._execute(
            "INSERT OR IGNORE INTO promises VALUES (?,?,?,?,NULL,NULL)",
            (slot, parse(slot).start, books.promise_text(promise), promise.expected_money),
        )
        self._execute(
            "DELETE FROM promises WHERE start < (SELECT min(start) FROM (SELECT start"
            " FROM promises ORDER BY start DESC LIMIT ?))",
            (_KEPT_PROMISES,),
        )

    def open_promise(self, slot: str) -> Promise | None:
        """Return the promise made for ``slot`` as long as it is not known what became of it."""
        rows = self._query(
            "SELECT promise FROM promises WHERE slot=? AND real_money IS NULL", (slot,)
        )
        try:
            return books.promise_from(rows[0][0]) if rows else None
        except ValueError as error:
            raise DatabaseError(
                tr("cannot read the history: {why}; restore a backup", why=reason(error))
            ) from error

    def judge(self, slot: str, found: Kept) -> None:
        """Note what became of the promise made for ``slot``."""
        self._execute(
            "UPDATE promises SET real_money=?, honest_money=? WHERE slot=?",
            (found.real_money, found.honest_money, slot),
        )

    def judged(self, limit: int = _JUDGED) -> list[Kept]:
        """Return the newest ``limit`` promises with what became of them, ascending."""
        rows = self._query(
            "SELECT expected_money, real_money, honest_money FROM promises"
            " WHERE real_money IS NOT NULL ORDER BY start DESC LIMIT ?",
            (limit,),
        )
        return [
            Kept(MoneyWhTick(expected), MoneyWhTick(real), MoneyWhTick(honest))
            for expected, real, honest in reversed(rows)
        ]

    def fact(self, name: str) -> str | None:
        """Return a named fact, such as the last event block seen."""
        rows = self._query("SELECT value FROM facts WHERE name=?", (name,))
        return str(rows[0][0]) if rows else None

    def set_fact(self, name: str, value: str) -> None:
        """Keep a named fact."""
        self._execute(
            "INSERT INTO facts VALUES (?,?) ON CONFLICT(name) DO UPDATE SET value=excluded.value",
            (name, value),
        )

    def _execute(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            try:
                self._db.execute(statement, values)
            except sqlite3.Error as error:
                raise DatabaseError(
                    tr("cannot write the history: {why}; free disk space", why=reason(error))
                ) from error

    def _query(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                with closing(self._db.execute(statement, values)) as rows:
                    return rows.fetchall()
            except sqlite3.Error as error:
                raise DatabaseError(
                    tr("cannot read the history: {why}; restore a backup", why=reason(error))
                ) from error


def _text(at: datetime) -> str:
    # Compared as text, so every time must be written in the same zone.
    return at.astimezone(UTC).isoformat()


def _record(text: str) -> SlotRecord:
    return SlotRecord(**json.loads(text))


def _price(value: int | None) -> PriceTick | None:
    return None if value is None else PriceTick(value)


def _money(value: int | None) -> MoneyWhTick | None:
    return None if value is None else MoneyWhTick(value)
