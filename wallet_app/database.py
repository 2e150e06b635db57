"""SQLite files as the wallet opens them: durable at power cut, refused when of another version."""

import sqlite3
from pathlib import Path

from wallet_app.i18n import said, tr


class DatabaseError(Exception):
    """The file cannot be used; the message says what to do. Nothing was changed."""


def reason(error: Exception) -> str:
    """Return why SQLite or the system refused, in the user's words where they are known."""
    if not isinstance(error, sqlite3.Error):
        return said(error)
    text = str(error)
    return {
        "database or disk is full": tr("the disk is full"),
        "disk I/O error": tr("the disk cannot be read or written"),
        "database is locked": tr("another program has it open"),
        "database disk image is malformed": tr("the file is damaged"),
        "file is not a database": tr("the file is no database"),
        "unable to open database file": tr("the file cannot be opened"),
        "attempt to write a readonly database": tr("the file is read-only"),
    }.get(text, text)


def open_database(path: Path, version: int, schema: str) -> sqlite3.Connection:
    """Open or make ``path`` with ``schema`` (CREATE … IF NOT EXISTS statements).

    Autocommit, write-ahead log, fsync at every commit: what was said to be kept survives a power
    cut. The connection may be used from any thread; callers hold a lock of their own.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(
            tr("cannot open {path}: {why}", path=path, why=reason(error))
        ) from error
    try:
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, version):
            raise DatabaseError(
                tr(
                    "{path} was written by another version of this program ({found}, this is "
                    "{version}): update the program, nothing was changed",
                    path=path,
                    found=found,
                    version=version,
                )
            )
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(schema)
        database.execute(f"PRAGMA user_version={version}")
    except sqlite3.Error as error:
        database.close()
        raise DatabaseError(
            tr(
                "cannot open {path}: {why}; free disk space or restore a backup",
                path=path,
                why=reason(error),
            )
        ) from error
    except DatabaseError:
        database.close()
        raise
    return database
