"""Files written so that a power cut leaves the old contents or the new, never half of each."""

import contextlib
import os
import re
import tempfile
from pathlib import Path

_SUFFIX = ".new"
# ``.NAME.RANDOM.new``, and ``.NAME.new`` of earlier versions.
_TEMPORARY = re.compile(r"\.(?P<name>.+?)(?:\.[a-z0-9_]{8})?\.new", re.DOTALL)


def write_atomically(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace ``path`` by ``data``: temporary file, fsync, rename; ``OSError`` leaves the old file.

    With ``private`` only the owner may read it (where the file system knows owners). A kill may
    leave the temporary file behind: :func:`remove_leftovers`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=_SUFFIX)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o600 if private else 0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    _sync_directory(path.parent)


def rename_durably(path: Path, target: Path) -> None:
    """Rename within one directory; on the disk when this returns. ``OSError``."""
    path.replace(target)
    _sync_directory(target.parent)


def remove_durably(path: Path) -> None:
    """Remove a file, if it is there; gone from the disk when this returns. ``OSError``."""
    path.unlink(missing_ok=True)
    _sync_directory(path.parent)


def remove_leftovers(folder: Path, names: str) -> None:
    """Remove what killed :func:`write_atomically` calls left in ``folder``; ``OSError``.

    ``names`` is a regular expression for the whole names of the files that were to be written.
    The caller sees to it that none of them is being written now.
    """
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        found = _TEMPORARY.fullmatch(path.name)
        if found and re.fullmatch(names, found["name"]) and path.is_file():
            path.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    # The rename itself must reach the disk; Windows has no handle for a directory.
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
