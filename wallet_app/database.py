"""SQLite files as the wallet opens them: durable at power cut, refused when of another version."""

import sqlite3
from pathlib import Path


class DatabaseError(Exception):
    """The file cannot be used; the message says what to do. Nothing was changed."""


def open_database(path: Path, version: int, schema: str) -> sqlite3.Connection:
    """Open or make ``path`` with ``schema`` (CREATE … IF NOT EXISTS statements).

    Autocommit, write-ahead log, fsync at every commit: what was said to be kept survives a power
    cut. The connection may be used from any thread; callers hold a lock of their own.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"cannot open {path}: {error}") from error
    try:
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, version):
            raise DatabaseError(
                f"{path} was written by another version of this program ({found}, this is "
                f"{version}): update the program, nothing was changed"
            )
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(schema)
        database.execute(f"PRAGMA user_version={version}")
    except sqlite3.Error as error:
        database.close()
        raise DatabaseError(
            f"cannot open {path}: {error}; free disk space or restore a backup"
        ) from error
    except DatabaseError:
        database.close()
        raise
    return database
