"""The folder of a light node on disk: who may write, what a kill left behind, what is wrong."""

import contextlib
import errno
import sys
from pathlib import Path
from typing import BinaryIO

from light_node import files
from light_node.chain import errors
from light_node.i18n import Text, os_reason

# Folder below the store's, and the names of the files that are replaced whole in it. All of them
# are written by whoever holds the store's lock; quarantine.json has a lock of its own.
_REPLACED = {
    "": r"headers\.bin",
    "configs": r"\d{10,20}\.block",
    "skip": r"\d{20}\.part",
    "conflicts": r"\d{10,20}-.*\.json",
    "evidence": r"\d{10,20}-.*\.json",
    "records": r"\d{10,20}-.*\.json",
}
_ADVICE = {
    errno.ENOSPC: Text("free some space"),
    errno.EDQUOT: Text("free some space, your quota is used up"),
    errno.EROFS: Text("make the disk writable or choose another directory"),
    errno.EACCES: Text("give this user the right to write there or choose another directory"),
    errno.EPERM: Text("give this user the right to write there or choose another directory"),
}


def refused(doing: Text, error: OSError) -> errors.StoreError:
    """Return the error for a disk that refused ``doing``, with what to do about it if known."""
    advice = _ADVICE.get(error.errno or 0)
    why = os_reason(error)
    if advice is None:
        return errors.StoreError(Text("{doing}: {why}", doing=doing, why=why))
    return errors.StoreError(Text("{doing}: {why}; {advice}", doing=doing, why=why, advice=advice))


def remove_leftovers(directory: Path) -> None:
    """Remove temporary files of kills; the caller holds the store's lock. ``OSError``."""
    for folder, names in _REPLACED.items():
        files.remove_leftovers(directory / folder, names)


def has_room(folder: Path, size: int, *, most_files: int, most_bytes: int) -> bool:
    """Say whether one more JSON file of ``size`` bytes stays within the bounds of a folder."""
    sizes = [path.stat().st_size for path in folder.glob("*.json")]
    return len(sizes) < most_files and sum(sizes) + size <= most_bytes


def size_bytes(directory: Path) -> int:
    """Return what all files of a light node take on disk, in bytes."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a running node replaces files meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def acquire_lock(path: Path, *, wait: bool = False) -> BinaryIO:
    """Return an open lock file, locked until it is closed; ``StoreError`` if it is in use.

    With ``wait`` until its holder lets go (on Windows at most ten seconds).
    """
    file = path.open("ab")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise errors.StoreError(
            Text(
                "another light node is using {directory}; stop it or choose another directory",
                directory=path.parent,
            )
        ) from error
    return file
