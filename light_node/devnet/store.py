"""The one SQLite file of a devnet: keys, chain, state, transaction index, CA registry.

A block, the state after it and the index entries of its transactions are written in one SQLite
transaction, in WAL mode with a sync at every commit: whatever instant the process is killed or the
power fails, the file holds a whole number of blocks and the state that belongs to them.

Connections: one writes (used by one thread at a time), readers are separate and see a snapshot, so
that endorsing never waits for a commit.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from light_node.devnet.errors import DirectoryError

FILE_NAME = "devnet.sqlite"
SCHEMA_VERSION = 1
_APPLICATION_ID = 0x70776465  # "pwde": tells our files from other programs' SQLite files

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE credential (name TEXT PRIMARY KEY, certificate BLOB NOT NULL, key BLOB NOT NULL);
CREATE TABLE block (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE,
    previous_hash BLOB NOT NULL, data_hash BLOB NOT NULL, data BLOB NOT NULL,
    last_config INTEGER NOT NULL, signatures BLOB NOT NULL,
    filter BLOB NOT NULL, commit_hash BLOB NOT NULL
);
CREATE TABLE tx (
    id TEXT PRIMARY KEY, block INTEGER NOT NULL, position INTEGER NOT NULL, code INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE state (
    namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
    block INTEGER NOT NULL, tx INTEGER NOT NULL, PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
CREATE TABLE ca_identity (
    ca TEXT NOT NULL, id TEXT NOT NULL, salt BLOB NOT NULL, secret BLOB NOT NULL,
    type TEXT NOT NULL, affiliation TEXT NOT NULL, attributes TEXT NOT NULL,
    max_enrollments INTEGER NOT NULL, enrollments INTEGER NOT NULL DEFAULT 0,
    wrong_secrets INTEGER NOT NULL DEFAULT 0, revoked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (ca, id)
) WITHOUT ROWID;
CREATE TABLE ca_certificate (
    ca TEXT NOT NULL, serial TEXT NOT NULL, aki TEXT NOT NULL, id TEXT NOT NULL,
    pem BLOB NOT NULL, not_after TEXT NOT NULL, revoked_at TEXT, reason TEXT,
    PRIMARY KEY (ca, serial)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Version:
    """Which transaction last wrote a key: block number and place in the block."""

    block: int
    tx: int


@dataclass(frozen=True, slots=True)
class VersionedValue:
    """The value of a key and the version of its last write."""

    value: bytes
    version: Version


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A committed block in the parts from which every node's copy of it is put together.

    ``data`` is a serialized common.BlockData; ``last_config`` the number of the config block in
    force after it; ``signatures`` a serialized common.Metadata with the signed value and the
    signature of every consenter, in consenter order (none in block 0); ``filter`` one
    TxValidationCode per transaction; ``commit_hash`` is empty for block 0.
    """

    number: int
    hash: bytes
    previous_hash: bytes
    data_hash: bytes
    data: bytes
    last_config: int
    signatures: bytes
    filter: bytes
    commit_hash: bytes


@dataclass(frozen=True, slots=True)
class TransactionEntry:
    """Where a transaction id was first committed, and with which validation code."""

    block: int
    position: int
    code: int


StateUpdates = Mapping[tuple[str, bytes], tuple[bytes | None, Version]]
"""Final writes of a block: (namespace, key) → (value or None for a delete, version)."""


class Store:
    """One connection to the file of a devnet directory. Not for several threads at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, directory: Path) -> "Store":
        """Open (or make) the file in ``directory``; ``DirectoryError`` if it is not ours."""
        path = directory / FILE_NAME
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                # It holds private keys: only the owner may read it.
                path.touch(mode=0o600)
            connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except (OSError, sqlite3.Error) as error:
            raise DirectoryError(f"cannot use {directory} for a devnet: {error}") from error
        try:
            connection.execute("PRAGMA busy_timeout = 10000")
            _check_or_create(connection, directory)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -8192")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise DirectoryError(f"{path} cannot be used: {error}") from error
        except DirectoryError:
            connection.close()
            raise
        return cls(connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write everything inside the block, or nothing; waits for another writer."""
        with self._bracket("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads inside the block see one and the same committed state."""
        with self._bracket("BEGIN"):
            yield

    @contextmanager
    def _bracket(self, begin: str) -> Iterator[None]:
        self._connection.execute(begin)
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            # A full disk: leave the connection usable for the next attempt.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def execute(self, sql: str, parameters: Iterable[object] = ()) -> sqlite3.Cursor:
        """Run one statement of a component that has its own tables here (the CA registry)."""
        return self._connection.execute(sql, tuple(parameters))

    # -- meta and credentials ----------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """Return the setting ``key``, None if it was never written."""
        row = self.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Write the setting ``key``."""
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])

    def credentials(self) -> dict[str, tuple[bytes, bytes]]:
        """Return all (certificate PEM, key PEM) of the network's own nodes and CAs by name."""
        rows = self.execute("SELECT name, certificate, key FROM credential")
        return {name: (certificate, key) for name, certificate, key in rows}

    def add_credential(self, name: str, certificate_pem: bytes, key_pem: bytes) -> None:
        """Keep a credential under ``name``."""
        self.execute("INSERT INTO credential VALUES (?, ?, ?)", [name, certificate_pem, key_pem])

    # -- chain -------------------------------------------------------------------------------

    def height(self) -> int:
        """Return how many blocks are committed."""
        row = self.execute("SELECT MAX(number) FROM block").fetchone()
        return 0 if row[0] is None else int(row[0]) + 1

    def block(self, number: int) -> StoredBlock | None:
        """Return block ``number`` (any uint64), None beyond the tip."""
        if number > _MAX_NUMBER:
            return None
        row = self.execute(f"{_SELECT_BLOCK} WHERE number = ?", [number]).fetchone()
        return None if row is None else StoredBlock(*row)

    def blocks(self, first: int, most: int, most_bytes: int) -> list[StoredBlock]:
        """Return blocks from ``first`` on: at least one if it is there, and then no more than
        ``most`` blocks with ``most_bytes`` of data between them.
        """
        sql = f"{_SELECT_BLOCK} WHERE number >= ? ORDER BY number LIMIT ?"
        found: list[StoredBlock] = []
        with closing(self._connection.execute(sql, [min(first, _MAX_NUMBER), most])) as rows:
            for row in rows:
                block = StoredBlock(*row)
                most_bytes -= len(block.data)
                if found and most_bytes < 0:
                    break
                found.append(block)
        return found

    def block_by_hash(self, header_hash: bytes) -> StoredBlock | None:
        """Return the block whose header hashes to ``header_hash``."""
        row = self.execute(f"{_SELECT_BLOCK} WHERE hash = ?", [header_hash]).fetchone()
        return None if row is None else StoredBlock(*row)

    def transaction_entry(self, transaction_id: str) -> TransactionEntry | None:
        """Return where ``transaction_id`` was first committed, None if it was not."""
        sql = "SELECT block, position, code FROM tx WHERE id = ?"
        row = self.execute(sql, [transaction_id]).fetchone()
        return None if row is None else TransactionEntry(*row)

    def commit_block(
        self,
        block: StoredBlock,
        transactions: Iterable[tuple[str, int, int]],
        updates: StateUpdates,
    ) -> None:
        """Write a block, the index of its (id, position, code) and its state; all or nothing.

        An id that was committed before keeps its first result (2.10).
        """
        with self.transaction():
            self.insert_block(block, transactions, updates)

    def insert_block(
        self,
        block: StoredBlock,
        transactions: Iterable[tuple[str, int, int]],
        updates: StateUpdates,
    ) -> None:
        """Do what :meth:`commit_block` does, inside the caller's transaction."""
        self.execute(
            "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [getattr(block, name) for name in StoredBlock.__slots__],
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO tx VALUES (?, ?, ?, ?)",
            [(tx_id, block.number, position, code) for tx_id, position, code in transactions],
        )
        self._connection.executemany(
            "DELETE FROM state WHERE namespace = ? AND key = ?",
            [where for where, (value, _) in updates.items() if value is None],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?)",
            [
                (namespace, key, value, version.block, version.tx)
                for (namespace, key), (value, version) in updates.items()
                if value is not None
            ],
        )

    # -- state -------------------------------------------------------------------------------

    def get(self, namespace: str, key: bytes) -> VersionedValue | None:
        """Return the committed value of a key with its version."""
        sql = "SELECT value, block, tx FROM state WHERE namespace = ? AND key = ?"
        row = self.execute(sql, [namespace, key]).fetchone()
        return None if row is None else VersionedValue(row[0], Version(row[1], row[2]))

    def range(
        self, namespace: str, start: bytes, end: bytes
    ) -> Iterator[tuple[bytes, VersionedValue]]:
        """Yield keys from ``start`` (inclusive) to ``end`` (exclusive; empty: no end) in order."""
        sql = "SELECT key, value, block, tx FROM state WHERE namespace = ? AND key >= ?"
        parameters: list[object] = [namespace, start]
        if end:
            sql += " AND key < ?"
            parameters.append(end)
        cursor = self._connection.execute(sql + " ORDER BY key", parameters)
        with closing(cursor):
            for key, value, block, tx in cursor:
                yield key, VersionedValue(value, Version(block, tx))


_MAX_NUMBER = 2**63 - 1
_SELECT_BLOCK = f"SELECT {', '.join(StoredBlock.__slots__)} FROM block"


def _check_or_create(connection: sqlite3.Connection, directory: Path) -> None:
    with closing(connection.cursor()) as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        try:
            version = cursor.execute("PRAGMA user_version").fetchone()[0]
            application = cursor.execute("PRAGMA application_id").fetchone()[0]
            tables = cursor.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0]
            if version == 0 and application == 0 and tables == 0:
                for statement in _SCHEMA.split(";\n"):
                    if statement.strip():
                        cursor.execute(statement)
                cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                cursor.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            elif application != _APPLICATION_ID:
                raise DirectoryError(
                    f"{directory / FILE_NAME} was not made by this program; "
                    "choose another directory"
                )
            elif version != SCHEMA_VERSION:
                raise DirectoryError(
                    f"{directory} was made by another version of the devnet "
                    f"(format {version}, this program writes {SCHEMA_VERSION}): "
                    "use the program that made it, or start in an empty directory"
                )
            cursor.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                cursor.execute("ROLLBACK")
            raise
