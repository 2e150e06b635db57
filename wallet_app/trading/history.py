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
from wallet_app.database import DatabaseError, open_database
from wallet_app.strategy.forecast import SlotEnergy
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
"""
_KEPT_EVENTS = 2000


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
                    f"cannot write the history: {error}; free disk space"
                ) from error

    def _query(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                with closing(self._db.execute(statement, values)) as rows:
                    return rows.fetchall()
            except sqlite3.Error as error:
                raise DatabaseError(
                    f"cannot read the history: {error}; restore a backup"
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
