"""What the light node knows at one instant, as immutable values for screens and commands."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from light_node.chain.errors import Fork
from light_node.chain.progress import Progress
from light_node.i18n import NOTHING, Text, all_of


class PeerState(StrEnum):
    """How the connection to one source stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    UNREACHABLE = "unreachable"
    DISAGREES = "disagrees"  # it showed something that does not verify, or another history


class Level(StrEnum):
    """How far something has been proved; the wallet's ``Proof`` has the same words."""

    VERIFIED = "verified"  # in a block proved from the trust root
    AGREED = "agreed"  # and peers of two organisations agree on flags and state
    DISPUTED = "disputed"  # organisations disagree, or a check of the transaction failed


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One source. ``height`` is what it claims; ``agrees`` is None while that is not known.

    ``agrees`` is True when its newest header is our tip (or was until a moment ago), False when it
    showed something else, None when it is behind, silent or unreachable. ``error`` is ours,
    ``foreign`` the node's own text. ``examined``: what it showed is not ours, and is being looked
    into.
    """

    organization: str
    address: str
    kind: str
    state: PeerState
    height: int | None = None
    agrees: bool | None = None
    last_seen: datetime | None = None
    error: Text = NOTHING
    foreign: str = ""
    examined: bool = False


@dataclass(frozen=True, slots=True)
class Dissent:
    """An organisation whose peer states other flags or commit hashes than the ``others`` do.

    ``number`` is the lowest block known. Nothing is proved: see :mod:`light_node.chain.dissent`.
    """

    organization: str
    number: int
    others: tuple[str, ...]

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> Text:
        """Say it to people."""
        return Text(
            "{organization} states other validity of transactions in block {number} than {others}, "
            "who agree and are believed; ask its operator",
            organization=self.organization,
            number=self.number,
            others=all_of(self.others),
        ).of("Dissent")


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What is verified, who agrees, how far behind, and what is being waited for.

    Heights count blocks: height 12 means blocks 0 to 11. ``agreed_height`` is shown by sources of
    two organisations with the same header, ``valid_height`` also with the same validity flags and
    commit hash; None while unknown. ``disputed_block`` is the lowest block on whose flags peers
    disagree and no majority decides, ``dissents`` names those outvoted. ``evidence`` is the file
    kept of a fork, "" if none could be kept, None before. ``newest_at`` is when the tip last moved,
    to tell quiet from withheld. ``trust_root_text`` is the root for others
    (:mod:`light_node.chain.root_text`), "" where it has no dates. ``progress`` is None while all
    that is claimed is verified.
    """

    channel: str
    trust_root: str
    trust_root_expires: datetime | None
    verified_height: int
    agreed_height: int | None = None
    valid_height: int | None = None
    height: int | None = None
    peers: tuple[PeerStatus, ...] = ()
    waiting_for: Text = NOTHING
    problem: Text = NOTHING
    blocks_verified: int = 0
    signatures_verified: int = 0
    newest_at: datetime | None = None
    disputed_block: int | None = None
    dissents: tuple[Dissent, ...] = ()
    fork: Fork | None = None
    evidence: str | None = None
    running: bool = False
    trust_root_text: str = ""
    progress: Progress | None = None
