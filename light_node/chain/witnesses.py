"""Which of two contradicting versions of a block each node shows: the reporter's word, no proof.

Signatures prove who signed both; who serves which version only the light node that asked can say.
It matters for attribution: a peer that relays what its orderers signed need not have lied, and the
version that one node alone shows is the likelier lie.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from light_node.chain import errors, verify
from light_node.chain.sources import Source
from light_node.fabric.block import Block
from light_node.fabric.errors import FabricError

Shows = Literal["ours", "theirs", "another", "nothing"]
SHOWS: tuple[Shows, ...] = ("ours", "theirs", "another", "nothing")


@dataclass(frozen=True, slots=True)
class Witness:
    """What one node showed when asked for the block."""

    organization: str
    address: str
    shows: Shows


@dataclass(frozen=True, slots=True)
class Testimony:
    """All witnesses, and the first copy with its signatures of each version, if any was shown."""

    witnesses: tuple[Witness, ...]
    ours: bytes | None
    theirs: bytes | None

    def organizations(self, shows: Shows) -> frozenset[str]:
        """Return the organisations one of whose nodes shows that version."""
        return frozenset(w.organization for w in self.witnesses if w.shows == shows)

    def minority(self) -> frozenset[str]:
        """Return who shows the version fewer organisations show; empty if as many show each."""
        ours, theirs = self.organizations("ours"), self.organizations("theirs")
        if len(ours) == len(theirs):
            return frozenset()
        return theirs if len(theirs) < len(ours) else ours


def same_version(one: Block, other: Block) -> bool:
    """Say whether two blocks have the same header and the same signed last-config index."""
    return one.hash == other.hash and verify.last_config(one) == verify.last_config(other)


def ask(
    number: int, ours: tuple[bytes, int], theirs: tuple[bytes, int], sources: Iterable[Source]
) -> Testimony:
    """Ask every source for its copy of a block; versions are (hash, signed last-config index)."""
    kept: dict[Shows, bytes] = {}
    witnesses: list[Witness] = []
    for source in sources:
        shows: Shows = "nothing"
        try:
            raw = source.block(number, headers_only=True)
            block = verify.parse(raw)
            shown = (block.hash, verify.last_config(block))
            shows = "ours" if shown == ours else "theirs" if shown == theirs else "another"
            kept.setdefault(shows, raw)
        except (FabricError, errors.VerificationError):
            shows = "nothing"
        witnesses.append(Witness(source.organization, source.address, shows))
    return Testimony(tuple(witnesses), kept.get("ours"), kept.get("theirs"))


def in_words(witnesses: Sequence[Witness]) -> str:
    """Say who shows which version, by organisation; "" if nobody was asked."""
    says: dict[Shows, str] = {
        "ours": "the version verified here",
        "theirs": "the other one",
        "another": "yet another",
        "nothing": "nothing now",
    }
    parts = []
    for shows in SHOWS:
        named = sorted({w.organization for w in witnesses if w.shows == shows})
        if named:
            verb = "shows" if len(named) == 1 else "show"
            parts.append(f"{' and '.join(named)} {verb} {says[shows]}")
    return "; ".join(parts)
