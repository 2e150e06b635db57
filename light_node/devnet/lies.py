"""The catalogue of lies: what a peer or an orderer may do to those who believe it.

One class per lie, over the honest view of the node that tells it; what it says is true below a
given block. :mod:`light_node.devnet.masks` puts them in place of the truth. docs/devnet.md lists
them with what catches each.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import ClassVar

from light_node.contract import contract
from light_node.contract.chaincodes import Chaincode
from light_node.contract.stub import Invocation, Response
from light_node.devnet import forger as forging
from light_node.devnet.dishonest_contract import dishonest
from light_node.devnet.forger import Forger
from light_node.devnet.store import StoredBlock
from light_node.devnet.views import NodeView, OrdererView, PeerView
from light_node.fabric import block as wire
from light_node.fabric.pb import common_pb2, peer_pb2

SLOW_S = 3.0
OVERSIZE_BYTES = 16 * 1024 * 1024
FAR = 1_000_000
"""How many blocks a node that knows the future, or never ends, claims beyond the real tip."""


class Lie:
    """The truth told by one node; subclasses change it from block ``first`` on.

    ``nodes`` says who can tell the lie, ``summary`` what it is.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    nodes: ClassVar[tuple[type[NodeView], ...]] = (PeerView, OrdererView)

    def __init__(self, truth: NodeView, forger: Forger, first: int) -> None:
        self.truth = truth
        self.forger = forger
        self.first = first

    @property
    def begun(self) -> bool:
        """Whether block ``first`` is there."""
        return self.truth.height > self.first

    def height(self) -> int:
        """Return how many blocks the node says it has."""
        return self.truth.height

    def newest(self) -> int:
        """Return the number of the block the node calls its newest."""
        return self.height() - 1

    def last(self, stop: int) -> int:
        """Return the last block sent to a client that asked for those up to ``stop``."""
        return stop

    async def pace(self, number: int) -> None:
        """Return when block ``number`` may go out."""

    def block(self, number: int, *, header_only: bool) -> bytes | None:
        """Return the node's copy of a block."""
        if number < self.first:
            return self.truth.block(number, header_only=header_only)
        stored = self.shown(number)
        if stored is None:
            return None
        return self.garbled(self.truth.copy(stored, header_only=header_only))

    def shown(self, number: int) -> StoredBlock | None:
        """Return what block ``number``, from ``first`` on, is made of."""
        return self.truth.stored(number)

    def garbled(self, raw: bytes) -> bytes:
        """Return what is sent for a serialized block from ``first`` on."""
        return raw

    def run(self, chaincode: Chaincode, invocation: Invocation) -> Response:
        """Simulate an invocation."""
        return chaincode(invocation)

    def orders(self) -> bool:
        """Tell whether envelopes that were accepted are ordered."""
        return True

    def skew(self) -> timedelta:
        """Return how far the node's clock is ahead."""
        return timedelta(0)


# -- withholding and flooding ----------------------------------------------------------------


class Silent(Lie):
    """Takes requests and never answers."""

    name, summary = "silent", "takes requests for blocks and never answers"

    async def pace(self, number: int) -> None:
        """Wait for ever."""
        if number >= self.first:
            await asyncio.Event().wait()


class Slow(Lie):
    """Answers late."""

    name, summary = "slow", f"answers {SLOW_S:g} s late, every block"

    async def pace(self, number: int) -> None:
        """Wait."""
        if number >= self.first:
            await asyncio.sleep(SLOW_S)


class Truncated(Lie):
    """Sends the first half of each block."""

    name, summary = "truncated", "sends the first half of each block"

    def garbled(self, raw: bytes) -> bytes:
        """Cut in half."""
        return raw[: len(raw) // 2]


class Endless(Lie):
    """Never ends a stream: behind the real tip follow linked headers that nobody signed."""

    name, summary = "endless", "goes on behind the tip with made-up headers, whatever was asked for"

    def __init__(self, truth: NodeView, forger: Forger, first: int) -> None:
        super().__init__(truth, forger, first)
        self._hashes: dict[int, bytes] = {}

    def height(self) -> int:
        """Have a million blocks more."""
        return self.truth.height + (FAR if self.begun else 0)

    def newest(self) -> int:
        """Say the truth, so that the lie is not found before it begins."""
        return self.truth.height - 1

    def last(self, stop: int) -> int:
        """Go on for ever."""
        return stop + FAR if self.begun else stop

    def shown(self, number: int) -> StoredBlock | None:
        """Return the real block, behind the tip one that was made up."""
        tip = self.truth.stored(self.truth.height - 1)
        if tip is None or number <= tip.number:
            return self.truth.stored(number)
        # Linked as long as they are asked for in order.
        previous = tip.hash if number == tip.number + 1 else self._hashes.get(number - 1, bytes(32))
        made_up = forging.renumbered(tip, number, previous)
        self._hashes[number] = made_up.hash
        self._hashes.pop(number - FAR // 10, None)
        return made_up


class Oversized(Lie):
    """Pads every block with metadata no signature covers."""

    name, summary = "oversized", f"pads each block with {OVERSIZE_BYTES >> 20} MiB of metadata"

    def garbled(self, raw: bytes) -> bytes:
        """Append one more metadata entry."""
        block = common_pb2.Block.FromString(raw)
        block.metadata.metadata.append(bytes(OVERSIZE_BYTES))
        return block.SerializeToString()


class Future(Lie):
    """Claims a tip far ahead and shows later blocks in the place of the next."""

    name, summary = (
        "future",
        "claims a million blocks more and shows later ones in place of the next",
    )

    def height(self) -> int:
        """Claim a million blocks more."""
        return self.truth.height + (FAR if self.truth.height >= self.first else 0)

    def shown(self, number: int) -> StoredBlock | None:
        """Return a block from further on, made up where there is none."""
        later = self.truth.stored(number + 1)
        if later is not None:
            return later
        tip = self.truth.stored(self.truth.height - 1)
        if tip is None:
            return None
        # A configuration nobody has seen yet: its signatures cannot be checked now.
        claimed = forging.resting_on(tip, number)
        return forging.renumbered(claimed, number + 1, tip.hash)


class WithheldTip(Lie):
    """Stops at a block, as if nothing came after it."""

    name, summary = "withheld-tip", "shows no block from there on, as if the channel were quiet"

    def height(self) -> int:
        """Stay below ``first``."""
        return min(self.truth.height, self.first)


# -- false headers and signatures ------------------------------------------------------------


class WrongChannel(Lie):
    """Shows the blocks of another channel of the same orderers."""

    name, summary = "wrong-channel", "shows another channel's blocks, signed by the same orderers"

    def shown(self, number: int) -> StoredBlock | None:
        """Return the other channel's block."""
        return self.forger.other_channel(number) if number < self.truth.height else None


class Equivocating(Lie):
    """Shows one block in two versions in turn, both signed by the quorum."""

    name, summary = "equivocating", "shows that one block in two signed versions, in turn"

    def __init__(self, truth: NodeView, forger: Forger, first: int) -> None:
        super().__init__(truth, forger, first)
        self._asked = 0

    def shown(self, number: int) -> StoredBlock | None:
        """Return the second version first, then the real one, and so on."""
        if number != self.first:
            return self.truth.stored(number)
        self._asked += 1
        return self.forger.fork(number, number) if self._asked % 2 else self.truth.stored(number)


class ForkedHistory(Lie):
    """Shows another history from a block on, every block of it signed by the quorum."""

    name, summary = "forked-history", "shows another history from there on, signed by the quorum"

    def shown(self, number: int) -> StoredBlock | None:
        """Return the block of the other history."""
        return self.forger.fork(self.first, number)


class UnsignedStart(Lie):
    """Shows another history whose first block nobody signed; the quorum signed the later ones."""

    name = "unsigned-start"
    summary = "shows another history from there on, its first block unsigned, the rest signed"

    def shown(self, number: int) -> StoredBlock | None:
        """Return the block of the other history, the first without signatures."""
        forked = self.forger.fork(self.first, number)
        return forging.unsigned(forked) if forked and number == self.first else forked


class UnsignedHistory(Lie):
    """Shows another history that nobody signed: linked, and otherwise in good form."""

    name, summary = "unsigned-history", "shows another history from there on that nobody signed"

    def shown(self, number: int) -> StoredBlock | None:
        """Return the block of the other history without signatures."""
        forked = self.forger.fork(self.first, number)
        return forging.unsigned(forked) if forked else None


class ForgedSignature(Lie):
    """Replaces the orderers' signatures by well-formed ones of nobody."""

    name, summary = "forged-signature", "shows blocks with signatures that do not verify"

    def garbled(self, raw: bytes) -> bytes:
        """Change every signature's last byte, which leaves its form intact."""
        return forging.with_signatures(raw, lambda s: s[:-1] + bytes([s[-1] ^ 1]))


class HighS(Lie):
    """Replaces the orderers' signatures by their high-S twins, which plain ECDSA accepts."""

    name, summary = "high-s", "shows blocks with the high-S twins of the signatures"

    def garbled(self, raw: bytes) -> bytes:
        """Turn each signature round."""
        return forging.with_signatures(raw, forging.high_s)


class UnknownSigner(Lie):
    """Shows blocks signed by somebody the channel does not know."""

    name, summary = "unknown-signer", "shows blocks signed by nobody the channel knows"

    def garbled(self, raw: bytes) -> bytes:
        """Sign anew."""
        return self.forger.unknown_signatures(raw)


class ExpiredIdentity(Lie):
    """Shows blocks signed with expired certificates of the orderers, not the consenters' own."""

    name, summary = "expired-identity", "shows blocks signed with expired certificates of orderers"

    def garbled(self, raw: bytes) -> bytes:
        """Sign anew."""
        return self.forger.expired_signatures(raw)


class ReplayedHeader(Lie):
    """Shows the block before in the place of each block."""

    name, summary = "replayed-header", "shows the block before once more in place of each block"

    def shown(self, number: int) -> StoredBlock | None:
        """Return the block before."""
        return self.truth.stored(number - 1) if number < self.truth.height else None


class HiddenConfig(Lie):
    """Passes configuration blocks off as ordinary ones: their headers, without the data."""

    name, summary = "hidden-config", "sends configuration blocks as headers, hiding the change"

    def garbled(self, raw: bytes) -> bytes:
        """Drop the data of a configuration block."""
        block = common_pb2.Block.FromString(raw)
        if wire.is_config(block.data.data):
            block.ClearField("data")
        return block.SerializeToString()


class FalseLastConfig(Lie):
    """Shows real headers that colluding orderers signed as if no configuration had changed.

    Each header rests on the configuration before the lie began, so that whoever gets headers alone
    takes configuration blocks for ordinary ones.
    """

    name = "false-last-config"
    summary = "shows headers the quorum signed with a false index, hiding later configurations"

    def shown(self, number: int) -> StoredBlock | None:
        """Sign anew with the index in force before the lie."""
        stored, before = self.truth.stored(number), self.truth.stored(self.first - 1)
        if stored is None or before is None:
            return None
        return self.forger.reindexed(stored, before.last_config)


# -- a wrong clock ---------------------------------------------------------------------------


class _WrongClock(Lie):
    ahead: ClassVar[timedelta]

    def skew(self) -> timedelta:
        """Return how far the clock is ahead."""
        return self.ahead if self.begun else timedelta(0)


class ClockAhead(_WrongClock):
    """Lives in the future, so that it refuses what is asked now."""

    name, summary = "clock-ahead", "its clock is 20 minutes ahead: it refuses requests as too old"
    ahead = timedelta(minutes=20)


class ClockBehind(_WrongClock):
    """Lives in the past."""

    name, summary = "clock-behind", "its clock is 20 minutes behind: it refuses requests as too new"
    ahead = timedelta(minutes=-20)


# -- false contents --------------------------------------------------------------------------


class AlteredData(Lie):
    """Sends whole blocks, as servers before 3.0 do, with one byte of a transaction changed."""

    name, summary = "altered-data", "sends whole blocks with a byte of a transaction changed"

    def block(self, number: int, *, header_only: bool) -> bytes | None:
        """Return the block with data whatever was asked for."""
        return super().block(number, header_only=header_only and number < self.first)

    def shown(self, number: int) -> StoredBlock | None:
        """Change the last byte: of the last transaction's signature."""
        stored = self.truth.stored(number)
        if stored is None:
            return None
        return replace(stored, data=stored.data[:-1] + bytes([stored.data[-1] ^ 1]))


class DroppedTransaction(Lie):
    """Leaves out the last transaction of each block; the header is made to fit."""

    name, summary = "dropped-transaction", "leaves out each block's last transaction"

    def shown(self, number: int) -> StoredBlock | None:
        """Leave it out."""
        stored = self.truth.stored(number)
        return None if stored is None else forging.without_last(stored)


class AlteredFlags(Lie):
    """Says of valid transactions that they are not, and of others that they are."""

    name, summary = "altered-flags", "turns the validity flags of all transactions round"
    nodes = (PeerView,)

    def shown(self, number: int) -> StoredBlock | None:
        """Turn every flag round."""
        stored = self.truth.stored(number)
        if stored is None:
            return None
        refused = int(peer_pb2.MVCC_READ_CONFLICT)
        return replace(stored, filter=bytes(0 if code else refused for code in stored.filter))


class AlteredCommitHash(Lie):
    """States commit hashes of another state."""

    name, summary = "altered-commit-hash", "states commit hashes of another state"
    nodes = (PeerView,)

    def shown(self, number: int) -> StoredBlock | None:
        """State another hash."""
        stored = self.truth.stored(number)
        if stored is None:
            return None
        return replace(stored, commit_hash=sha256(b"another" + stored.commit_hash).digest())


class Censoring(Lie):
    """Says of every envelope that it was accepted, and orders none."""

    name, summary = "censoring", "accepts envelopes and orders none"
    nodes = (OrdererView,)

    def orders(self) -> bool:
        """Order none."""
        return not self.begun


# -- a dishonest matchmaker ------------------------------------------------------------------


class _Cheating(Lie):
    nodes = (PeerView,)

    def run(self, chaincode: Chaincode, invocation: Invocation) -> Response:
        """Run the cheating variant in place of the market contract."""
        if chaincode is contract.invoke and self.truth.height >= self.first:
            return dishonest(self.name, chaincode)(invocation)
        return chaincode(invocation)


class Misprice(_Cheating):
    """Clears at a price half way between the right one and the cap."""

    name, summary = "misprice", "endorses clearings at too high a price"


class SkipQuote(_Cheating):
    """Overlooks the cheapest seller."""

    name, summary = "skip-quote", "endorses standings and clearings without the cheapest seller"


class Missettle(_Cheating):
    """Settles a tenth less than was fed in."""

    name, summary = "missettle", "endorses settlements of a tenth less than was fed in"


_ALL: tuple[type[Lie], ...] = (
    *(Silent, Slow, Truncated, Endless, Oversized, Future, WithheldTip),
    *(WrongChannel, Equivocating, ForkedHistory, UnsignedStart, UnsignedHistory),
    *(ForgedSignature, HighS, UnknownSigner),
    *(ExpiredIdentity, ReplayedHeader, HiddenConfig, FalseLastConfig),
    *(ClockAhead, ClockBehind),
    *(AlteredData, DroppedTransaction, AlteredFlags, AlteredCommitHash, Censoring),
    *(Misprice, SkipQuote, Missettle),
)
LIES: Mapping[str, type[Lie]] = {lie.name: lie for lie in _ALL}
"""The catalogue, by name."""
