"""Files written so that the old contents or the new are there, whatever happens in between."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wallet_app.files import data_directory, write_atomically


def test_the_directory_is_the_platforms_or_the_one_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROSUMER_WALLET_HOME", str(tmp_path))
    assert data_directory() == tmp_path
    monkeypatch.delenv("PROSUMER_WALLET_HOME")
    assert data_directory().name == "prosumer-wallet"
    assert data_directory().is_absolute()


def test_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o644)])
def test_who_may_read_it(tmp_path: Path, private: bool, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    write_atomically(path, b"new", private=private)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from light_node import files
step = sys.argv[2]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if step == "before the rename":
    os.fsync = die
else:
    files._sync_directory = die
files.write_atomically(Path(sys.argv[1]), b"new" * 1000)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize(
    ("step", "contents"), [("before the rename", b"old"), ("after the rename", b"new" * 1000)]
)
def test_a_kill_leaves_the_old_file_or_the_new(tmp_path: Path, step: str, contents: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), step], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == contents
