"""Who showed what: agreement of organisations on headers, validity flags and commit hashes.

Headers are chained by hash, so an organisation that showed our header N stands for all before it.
Commit hashes are chained likewise (section 2.8): two organisations with the same flags and the same
commit hash at N agree on the validity of every transaction up to N. Only peers state them; an
orderer's copy has neither. Nobody signs them, so one lying peer must not be able to stop the
others: more organisations than not, and at least two, decide; who states otherwise is named.
"""

import threading
from collections.abc import Mapping
from hashlib import sha256

from light_node.chain.status import Dissent, Level
from light_node.fabric import block as blocks
from light_node.fabric.block import Block, BlockError

REMEMBERED_BLOCKS = 4096
_TWO_FACED = b"contradicts itself: "  # longer than any digest


class Agreement:
    """Remembers, for recent blocks, which organisation showed which flags. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._matched: dict[str, int] = {}
        self._shown: dict[int, dict[str, bytes]] = {}
        self._valid: int | None = None
        self._disputed: set[int] = set()
        self._dissents: dict[str, Dissent] = {}
        self._forgotten: set[str] = set()
        self._latest: int | None = None

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
        """The lowest block on whose flags or commit hash peers differ and no majority decides."""
        with self._lock:
            return min(self._disputed, default=None)

    @property
    def differences(self) -> tuple[int, ...]:
        """Remembered blocks on which peers differ, decided by a majority or not: two at most.

        The lowest one, and the one shown last: a difference that nothing decides must not hide
        what somebody else states later.
        """
        with self._lock:
            found = {dissent.number for dissent in self._dissents.values()} | self._disputed
            lowest = min(found, default=None)
            return tuple(n for n in dict.fromkeys((lowest, self._latest)) if n is not None)

    @property
    def dissents(self) -> tuple[Dissent, ...]:
        """Where an organisation first stated otherwise than the majority, one each."""
        with self._lock:
            return tuple(self._dissents[name] for name in sorted(self._dissents))

    def show(self, organization: str, block: Block, *, peer: bool) -> bool:
        """Record a header that equals the verified one, as shown by ``organization``.

        Returns whether peers now differ on the block.
        """
        number = block.number
        stated = validity_digest(block) if peer else None
        with self._lock:
            self._matched[organization] = max(self._matched.get(organization, 0), number)
            # A copy that was on its way when its organisation was shut out counts no more either.
            if stated is None or organization in self._forgotten:
                return False
            shown = self._shown.setdefault(number, {})
            if shown.setdefault(organization, stated) != stated:
                # Saying two things about one block agrees with nobody, even alone.
                shown[organization] = _TWO_FACED + organization.encode()
            self._weigh(number)
            while len(self._shown) > REMEMBERED_BLOCKS:
                first = next(iter(self._shown))  # the one first shown
                del self._shown[first]
                self._disputed.discard(first)  # nothing could decide it any more
            differs = len(set(shown.values())) > 1 or number in self._disputed
            if differs:
                self._latest = number
            return differs

    def forget(self, organization: str) -> None:
        """Take back the flags an organisation stated, and hear it no more: it was proved to lie.

        What rested on its word falls with it: agreement, and that others dissent from it.
        """
        with self._lock:
            if organization in self._forgotten:
                return
            self._forgotten.add(organization)
            self._valid = self._latest = None
            self._dissents = {
                name: dissent
                for name, dissent in self._dissents.items()
                if name != organization and organization not in dissent.others
            }
            for number, shown in self._shown.items():
                shown.pop(organization, None)
                self._weigh(number)

    def _weigh(self, number: int) -> None:
        shown = self._shown[number]
        level, organizations = judge(shown)
        two_faced = any(digest.startswith(_TWO_FACED) for digest in shown.values())
        if level is Level.DISPUTED or (two_faced and level is Level.VERIFIED):
            self._disputed.add(number)
            return
        self._disputed.discard(number)
        if level is Level.AGREED:
            self._valid = max(self._valid or 0, number)
            for organization in shown.keys() - set(organizations):
                known = self._dissents.get(organization)
                if known is None or known.number > number:
                    self._dissents[organization] = Dissent(organization, number, organizations)

    def shown(self, number: int) -> dict[str, bytes]:
        """Return the digest of flags and commit hash by organisation, for a recent block."""
        with self._lock:
            return dict(self._shown.get(number, {}))


def majority(shown: Mapping[str, bytes]) -> bytes | None:
    """Return the digest that at least two organisations state, and more than state otherwise."""
    stated = list(shown.values())
    for digest in set(stated):
        count = stated.count(digest)
        if count > 1 and 2 * count > len(stated):
            return digest
    return None


def judge(shown: Mapping[str, bytes]) -> tuple[Level, tuple[str, ...]]:
    """Say how far organisations agree, given each one's digest; and which they are.

    ``AGREED`` by those who form a :func:`majority`; ``DISPUTED`` when any two differ and there is
    none, naming all; else ``VERIFIED``: the header is proved, its flags are one organisation's
    word.
    """
    decided = majority(shown)
    if decided is not None:
        return Level.AGREED, tuple(sorted(o for o, digest in shown.items() if digest == decided))
    level = Level.DISPUTED if len(set(shown.values())) > 1 else Level.VERIFIED
    return level, tuple(sorted(shown))


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
