"""What is kept when a source shows something that does not fit: both headers, as received.

One JSON file per case in ``conflicts`` beside the header store, so that operators can be shown who
said what. Files and bytes are bounded: a source cannot fill the disk.
"""

import base64
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from light_node import files, jsonio
from light_node.chain import disk
from light_node.i18n import Text, as_json

FOLDER = "conflicts"
MAX_FILES = 100
MAX_OF_ONE = 25
"""Of one organisation: it must not use up the room for what others show."""
MAX_BYTES = 64 * 1024 * 1024
MAX_BLOCK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two different things shown for one block number, or one that does not verify.

    ``ours`` and ``theirs`` are serialized blocks as received (``ours`` None if no longer at hand).
    """

    channel: str
    number: int
    organization: str
    address: str
    seen_at: datetime
    reason: Text
    our_hash: bytes | None
    ours: bytes | None
    theirs: bytes
    trust_root: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the form written to disk; block bytes in base64, cut off when oversized."""
        return {
            "version": 1,
            "channel": self.channel,
            "number": self.number,
            "organization": self.organization,
            "address": self.address,
            "seen_at": self.seen_at.isoformat(),
            "reason": self.reason,
            "said": as_json(self.reason),
            "our_hash": None if self.our_hash is None else self.our_hash.hex(),
            "our_block": None if self.ours is None else _encode(self.ours),
            "their_block": _encode(self.theirs),
            "trust_root": self.trust_root.hex(),
        }


def keep(directory: Path, conflict: Conflict) -> Path | None:
    """Write a conflict below ``directory``; None when a bound of files or bytes is reached.

    A case that is there already is not written twice. ``OSError`` if the disk refuses.
    """
    folder = directory / FOLDER
    name = "".join(c if c.isalnum() else "-" for c in conflict.organization)[:60]
    path = folder / f"{conflict.number:010}-{name}.json"
    if path.exists():
        return path
    data = jsonio.canonical_dumps(conflict.to_json())
    of_one = sum(1 for _ in folder.glob(f"*-{name}.json"))
    if of_one >= MAX_OF_ONE or not disk.has_room(
        folder, len(data), most_files=MAX_FILES, most_bytes=MAX_BYTES
    ):
        return None
    files.write_atomically(path, data)
    return path


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw[:MAX_BLOCK_BYTES]).decode()
