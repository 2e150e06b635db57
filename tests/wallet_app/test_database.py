"""SQLite files: versions, damage, kills; nothing is changed that is not ours to change."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from wallet_app.database import DatabaseError, open_database

SCHEMA = "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY) STRICT;"


def test_made_opened_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.sqlite"
    for name in ("a", "b"):
        database = open_database(path, 3, SCHEMA)
        database.execute("INSERT INTO facts VALUES (?)", (name,))
        assert database.execute("PRAGMA user_version").fetchone() == (3,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        database.close()
    database = open_database(path, 3, SCHEMA)
    assert [row[0] for row in database.execute("SELECT name FROM facts")] == ["a", "b"]
    database.close()


@pytest.mark.parametrize("version", [1, 4, 2**31 - 1])
def test_another_version_is_refused_and_nothing_changed(tmp_path: Path, version: int) -> None:
    path = tmp_path / "file.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.execute(f"PRAGMA user_version={version}")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseError, match=f"another version of this program .{version}, this"):
        open_database(path, 3, SCHEMA)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"x" * 9])
def test_what_is_no_database_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.sqlite"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match="cannot open"):
        open_database(path, 3, SCHEMA)
    assert path.read_bytes() == content


def test_a_place_where_no_file_can_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatabaseError, match="cannot open"):
        open_database(tmp_path / "file" / "below.sqlite", 3, SCHEMA)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatabaseError, match="cannot open"):
        open_database(tmp_path / "folder", 3, SCHEMA)


KILLED = """
import os, signal, sys
from pathlib import Path
from wallet_app.database import open_database
database = open_database(Path(sys.argv[1]), 3, sys.argv[2])
for number in range(10):
    database.execute("INSERT INTO facts VALUES (?)", (str(number),))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), SCHEMA], check=False)
    assert done.returncode == -signal.SIGKILL
    database = open_database(path, 3, SCHEMA)
    assert database.execute("SELECT count(*) FROM facts").fetchone() == (10,)
    database.close()
