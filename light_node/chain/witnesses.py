"""Which of two contradicting versions of a block each node shows: the reporter's word, no proof.

Signatures prove who signed both; who serves which version only the light node that asked can say.
It matters for attribution: a peer that relays what its orderers signed need not have lied, and the
version that one node alone shows is the likelier lie.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from light_node.chain import errors, verify
from light_node.chain.sources import Source
from light_node.fabric import block as blocks
from light_node.fabric.block import Block
from light_node.fabric.errors import FabricError
from light_node.i18n import Text, all_of, row_of

Shows = Literal["ours", "theirs", "another", "nothing"]
SHOWS: tuple[Shows, ...] = ("ours", "theirs", "another", "nothing")
_SAYS: Mapping[Shows, Text] = {
    "ours": Text("the version verified here"),
    "theirs": Text("the other one"),
    "another": Text("yet another"),
}


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

    def sources(self, asked: Sequence[Source], shows: Shows) -> list[Source]:
        """Return those of the sources ``asked`` that show that version; in the same order."""
        pairs = zip(asked, self.witnesses, strict=True)
        return [source for source, witness in pairs if witness.shows == shows]

    def minority(self, without: Collection[str] = ()) -> frozenset[str]:
        """Return who shows the version fewer organisations show; empty if as many show each.

        Organisations ``without`` a voice, since they are proved to have signed both, do not count.
        """
        ours = self.organizations("ours").difference(without)
        theirs = self.organizations("theirs").difference(without)
        if len(ours) == len(theirs):
            return frozenset()
        return theirs if len(theirs) < len(ours) else ours


def same_version(one: Block, other: Block) -> bool:
    """Say whether two blocks have the same header and the same signed last-config index."""
    return one.hash == other.hash and verify.last_config(one) == verify.last_config(other)


def ask(
    number: int,
    ours: tuple[bytes, int | None],
    theirs: tuple[bytes, int | None],
    sources: Sequence[Source],
) -> Testimony:
    """Ask every source for its copy of a block; versions are (hash, signed last-config index).

    All at once, so that one that does not answer holds up nobody but itself.
    """

    def shown(source: Source) -> tuple[Shows, bytes]:
        try:
            raw = source.block(number, headers_only=True)
            version = version_of(verify.parse(raw))
        except (FabricError, errors.VerificationError):
            return "nothing", b""
        return "ours" if version == ours else "theirs" if version == theirs else "another", raw

    with ThreadPoolExecutor(max(1, len(sources)), "light-node-witness") as pool:
        found = list(pool.map(shown, sources))
    kept: dict[Shows, bytes] = {}
    for shows, raw in found:
        kept.setdefault(shows, raw)
    return Testimony(
        tuple(
            Witness(source.organization, source.address, shows)
            for source, (shows, _) in zip(sources, found, strict=True)
        ),
        kept.get("ours"),
        kept.get("theirs"),
    )


def version_of(block: Block) -> tuple[bytes, int | None]:
    """Return hash and signed index; no index where the data beside it shows that it is false.

    A peer that passes on what its orderers signed, with the data that refutes it, hides nothing.
    Nor is there one in a block that nobody signed, where it cannot be read.
    """
    try:
        index = verify.last_config(block)
    except errors.MalformedBlock:
        index = None
    is_config = block.envelopes is not None and blocks.is_config(block.envelopes)
    return block.hash, None if is_config and index != block.number else index


def in_words(witnesses: Sequence[Witness]) -> Text:
    """Say who shows which version, by organisation; "" if nobody was asked."""
    parts = []
    for shows in SHOWS:
        named = sorted({w.organization for w in witnesses if w.shows == shows})
        if named:
            one, names = len(named) == 1, all_of(named)
            if shows == "nothing":
                parts.append(
                    Text("{names} shows nothing now", names=names)
                    if one
                    else Text("{names} show nothing now", names=names)
                )
            else:
                parts.append(
                    Text("{names} shows {what}", names=names, what=_SAYS[shows])
                    if one
                    else Text("{names} show {what}", names=names, what=_SAYS[shows])
                )
    return row_of(parts)
