"""The outbox: what the user did is on disk before the network hears of it.

An entry goes ``waiting → prepared → sent → committed``; ``refused`` and ``expired`` end it too.
``prepared`` holds the signed envelope: from then on only this envelope is ever submitted, again if
need be, because the same transaction id commits at most once (docs/fabric-protocol.md 4.7). A new
transaction is built only after the old one is known to have failed.
"""

import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from wallet_app.database import DatabaseError, open_database, reason
from wallet_app.i18n import said, tr

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    function TEXT NOT NULL,
    arguments TEXT NOT NULL,
    created TEXT NOT NULL,
    deadline TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    transaction_id TEXT NOT NULL DEFAULT '',
    envelope BLOB,
    block INTEGER,
    note TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_open ON outbox(state)
    WHERE state IN ('waiting', 'prepared', 'sent');
"""


class EntryState(StrEnum):
    """Where an entry stands."""

    WAITING = "waiting"
    PREPARED = "prepared"
    SENT = "sent"
    COMMITTED = "committed"
    REFUSED = "refused"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the entry."""
        return self in (EntryState.COMMITTED, EntryState.REFUSED, EntryState.EXPIRED)


class OutboxError(DatabaseError):
    """The outbox file cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to be written to the ledger. Times are aware UTC wall times."""

    id: int
    key: str
    function: str
    arguments: tuple[str, ...]
    created: datetime
    deadline: datetime
    state: EntryState
    tries: int = 0
    transaction_id: str = ""
    envelope: bytes | None = None
    block: int | None = None
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended without an effect on the ledger."""
        return self.state in (EntryState.REFUSED, EntryState.EXPIRED)


class Outbox:
    """Entries in one SQLite file; every change is on disk before the call returns. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at ``path``; ``OutboxError`` when that is impossible."""
        self._lock = threading.Lock()
        try:
            self._db = open_database(path, _SCHEMA_VERSION, _SCHEMA)
        except DatabaseError as error:
            raise OutboxError(said(error)) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def put(
        self,
        key: str,
        function: str,
        arguments: Sequence[str],
        *,
        created: datetime,
        deadline: datetime,
    ) -> Entry:
        """Keep a new entry; with a ``key`` that is there already, return the one that is there.

        ``OutboxError`` when the disk refuses: then nothing was promised and nothing is sent.
        """
        self._write(
            "INSERT OR IGNORE INTO outbox(key, function, arguments, created, deadline, state)"
            " VALUES (?,?,?,?,?,?)",
            (
                key,
                function,
                json.dumps(list(arguments), ensure_ascii=False),
                created.isoformat(),
                deadline.isoformat(),
                EntryState.WAITING,
            ),
        )
        entry = self.get(key)
        if entry is None:
            raise OutboxError(tr("the entry '{key}' was not kept", key=key))
        return entry

    def get(self, key: str) -> Entry | None:
        """Return the entry of ``key``, None if there is none."""
        rows = self._read("WHERE key=?", (key,))
        return rows[0] if rows else None

    def open_entries(self) -> list[Entry]:
        """Return the entries that are not final, oldest first."""
        return self._read("WHERE state IN ('waiting','prepared','sent') ORDER BY id", ())

    def entries(self, prefix: str) -> list[Entry]:
        """Return all entries whose key starts with ``prefix``, oldest first."""
        # As a range of keys, which their index answers however many entries there are.
        return self._read("WHERE key>=? AND key<? ORDER BY id", (prefix, f"{prefix}\U0010ffff"))

    def prepared(self, entry_id: int, transaction_id: str, envelope: bytes) -> None:
        """Keep the signed envelope: from now on only this one may be submitted."""
        self._write(
            "UPDATE outbox SET state='prepared', transaction_id=?, envelope=?, tries=tries+1"
            " WHERE id=? AND state='waiting'",
            (transaction_id, envelope, entry_id),
        )

    def sent(self, entry_id: int) -> None:
        """Note that an orderer may have the envelope."""
        self._write("UPDATE outbox SET state='sent' WHERE id=? AND state='prepared'", (entry_id,))

    def committed(self, entry_id: int, block: int) -> None:
        """Note the block that holds the valid transaction."""
        self._write(
            "UPDATE outbox SET state='committed', block=?, envelope=NULL, note='' WHERE id=?",
            (block, entry_id),
        )

    def refused(self, entry_id: int, note: str) -> None:
        """End the entry: the contract or the network said no."""
        self._end(entry_id, EntryState.REFUSED, note)

    def expired(self, entry_id: int, note: str) -> None:
        """End the entry: its time has passed."""
        self._end(entry_id, EntryState.EXPIRED, note)

    def again(self, entry_id: int, note: str) -> None:
        """Start over with a new transaction: only after the old one is known to have failed."""
        self._write(
            "UPDATE outbox SET state='waiting', transaction_id='', envelope=NULL, note=?"
            " WHERE id=?",
            (note, entry_id),
        )

    def noted(self, entry_id: int, note: str) -> None:
        """Keep what is being waited for, without changing the state."""
        self._write("UPDATE outbox SET note=? WHERE id=?", (note, entry_id))

    def _end(self, entry_id: int, state: EntryState, note: str) -> None:
        self._write(
            "UPDATE outbox SET state=?, note=?, envelope=NULL WHERE id=?", (state, note, entry_id)
        )

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            try:
                self._db.execute(statement, values)
            except sqlite3.Error as error:
                raise OutboxError(
                    tr("cannot write the outbox: {why}; free disk space", why=reason(error))
                ) from error

    def _read(self, where: str, values: tuple[object, ...]) -> list[Entry]:
        columns = (
            "id, key, function, arguments, created, deadline, state, tries, transaction_id,"
            " envelope, block, note"
        )
        query = f"SELECT {columns} FROM outbox {where}"
        with self._lock:
            try:
                with closing(self._db.execute(query, values)) as rows:
                    return [_entry(row) for row in rows]
            except sqlite3.Error as error:
                raise OutboxError(tr("cannot read the outbox: {why}", why=reason(error))) from error


def _entry(row: tuple[object, ...]) -> Entry:
    (id_, key, function, arguments, created, deadline, state, tries, tx, envelope, block, note) = (
        row
    )
    return Entry(
        int(str(id_)),
        str(key),
        str(function),
        tuple(json.loads(str(arguments))),
        datetime.fromisoformat(str(created)),
        datetime.fromisoformat(str(deadline)),
        EntryState(str(state)),
        int(str(tries)),
        str(tx),
        envelope if isinstance(envelope, bytes) else None,
        block if isinstance(block, int) else None,
        str(note),
    )
