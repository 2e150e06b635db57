"""Who showed what: agreement of organisations on headers, validity flags and commit hashes.

Headers are chained by hash, so an organisation that showed our header N stands for all before it.
Commit hashes are chained likewise (section 2.8): two organisations with the same flags and the same
commit hash at N agree on the validity of every transaction up to N. Only peers state them; an
orderer's copy has neither.
"""

import threading
from collections.abc import Mapping
from hashlib import sha256

from light_node.chain.status import Level
from light_node.fabric import block as blocks
from light_node.fabric.block import Block, BlockError

REMEMBERED_BLOCKS = 4096


class Agreement:
    """Remembers, for recent blocks, which organisation showed which flags. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._matched: dict[str, int] = {}
        self._shown: dict[int, dict[str, bytes]] = {}
        self._valid: int | None = None
        self._disputed: int | None = None

    @property
    def agreed_height(self) -> int | None:
        """Blocks whose headers two organisations have shown; None before there are two."""
        with self._lock:
            ordered = sorted(self._matched.values(), reverse=True)
        return ordered[1] + 1 if len(ordered) > 1 else None

    @property
    def valid_height(self) -> int | None:
        """Blocks on whose validity flags two organisations' peers agree; None before there are."""
        with self._lock:
            return None if self._valid is None else self._valid + 1

    @property
    def disputed_block(self) -> int | None:
        """The lowest block on whose flags or commit hash peers were seen to disagree."""
        with self._lock:
            return self._disputed

    def show(self, organization: str, block: Block, *, peer: bool) -> None:
        """Record a header that equals the verified one, as shown by ``organization``."""
        number = block.number
        stated = validity_digest(block) if peer else None
        with self._lock:
            self._matched[organization] = max(self._matched.get(organization, 0), number)
            if stated is None:
                return
            shown = self._shown.setdefault(number, {})
            # Saying two things about one block is disagreeing, even alone.
            if shown.setdefault(organization, stated) != stated or len(set(shown.values())) > 1:
                self._disputed = number if self._disputed is None else min(self._disputed, number)
            if max(list(shown.values()).count(value) for value in shown.values()) > 1:
                self._valid = max(self._valid or 0, number)
            while len(self._shown) > REMEMBERED_BLOCKS:
                del self._shown[next(iter(self._shown))]  # the one first shown

    def shown(self, number: int) -> dict[str, bytes]:
        """Return the digest of flags and commit hash by organisation, for a recent block."""
        with self._lock:
            return dict(self._shown.get(number, {}))


def judge(shown: Mapping[str, bytes]) -> tuple[Level, tuple[str, ...]]:
    """Say how far organisations agree, given each one's digest; and which they are.

    ``AGREED`` when two or more state the same and none states otherwise, ``DISPUTED`` when any two
    differ, else ``VERIFIED``: the header is proved, its flags are one organisation's word.
    """
    organizations = tuple(sorted(shown))
    if len(set(shown.values())) > 1:
        return Level.DISPUTED, organizations
    return (Level.AGREED if len(shown) > 1 else Level.VERIFIED), organizations


def validity_digest(block: Block) -> bytes | None:
    """Return one value for a peer's flags and commit hash of a block, None if it states neither."""
    flags = blocks.transactions_filter(block)
    try:
        stated = blocks.stated_commit_hash(block)
    except BlockError:
        stated = block.metadata[blocks.COMMIT_HASH]  # malformed, and so unlike any other peer's
    if not flags and not stated:
        return None
    return sha256(len(flags).to_bytes(8, "big") + flags + stated).digest()
