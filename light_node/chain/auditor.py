"""Auditing a market slot over a light node: fetch its blocks, prove their flags, replay them.

The blocks are read backwards until the transaction that opened the slot. Validity flags bear no
signature, but commit hashes are a chain (``docs/fabric-protocol.md`` 2.8): each is recomputed from
flags, writes and the one before, so that two organisations agreeing on the last block's agree on
the flags of all blocks that were read.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from light_node.chain import errors
from light_node.chain.audit import (
    Difference,
    OrderedTransaction,
    Replay,
    Version,
    belongs,
    market_writes,
    opens,
    replay,
)
from light_node.chain.blocks import FullBlock
from light_node.chain.node import LightNode
from light_node.chain.status import Level
from light_node.fabric import block as blocks
from light_node.fabric.block import BlockError
from light_node.fabric.commit_hash import NeedsStateError, block_updates, commit_hash
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.msp import MspError, MspManager
from light_node.fabric.transaction import ParsedTransaction, parse_transaction
from light_node.i18n import Text, told
from light_node.market.slots import parse as parse_slot

MAX_BLOCKS = 20_000
MAX_TRANSACTIONS = 100_000
_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Accused:
    """A transaction that does not follow, and the organisations whose peers endorsed it.

    Their signatures stand on the outcome, so that it can be shown to others.
    """

    block: int
    transaction_id: str
    organizations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """A slot held against its own quotes and readings.

    ``replay`` has the phase reached and the differences, problems of transactions (signatures,
    endorsements) among them. ``level`` says how far the flags of blocks ``first`` to ``last`` are
    proved, by ``organizations``. ``accused`` are the transactions that have differences, in order.
    """

    replay: Replay
    level: Level
    organizations: tuple[str, ...]
    first: int
    last: int
    accused: tuple[Accused, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether all that was written is what the rules give, and nobody disputes the flags."""
        return not self.replay.differences and self.level is not Level.DISPUTED

    @property
    def complete(self) -> bool:
        """Whether everything could be replayed and the slot is settled."""
        return self.replay.phase == "settled" and not self.replay.unchecked


class Auditor:
    """Audits slots of one market. Thread-safe; remembers what later slots will refer to."""

    def __init__(self, node: LightNode, chaincode: str, *, max_blocks: int = MAX_BLOCKS) -> None:
        """``max_blocks`` bounds how far back one audit reads."""
        self._node = node
        self._chaincode = chaincode
        self._max_blocks = max_blocks
        self._values: OrderedDict[tuple[str, Version], bytes | None] = OrderedDict()
        self._lock = threading.Lock()

    def audit(self, slot_id: str, last: int | None = None) -> Audit:
        """Replay a slot from verified block ``last`` (default: the newest) back to its opening.

        ``InvalidSlot`` for an impossible id; ``NotVerified`` if the slot's opening is not within
        the bound, or a block cannot be had; ``CommitHashMismatch`` if a peer lied in the flags:
        then who it was is being found out, and after that another audit may go through.
        """
        parse_slot(slot_id)
        try:
            return self._audit(slot_id, last)
        except errors.CommitHashMismatch as error:
            self._node.examine(error.number or 0)
            raise

    def _audit(self, slot_id: str, last: int | None) -> Audit:
        if last is None:
            last = self._node.status().verified_height - 1
        flags = _Flags(self._node)
        found: list[OrderedTransaction] = []
        problems: list[Difference] = []
        first = max(self._node.first_block + 1, last + 1 - self._max_blocks)
        for number in range(last, first - 1, -1):
            full = self._node.block(number)
            flags.add(full)
            if self._collect(full, slot_id, found, problems):
                flags.end(number)
                result = replay(slot_id, self._chaincode, reversed(found), self._earlier)
                differences = (*reversed(problems), *result.differences)
                result = Replay(
                    slot_id, result.phase, result.transactions, differences, result.unchecked
                )
                accused = self._accused(found, differences)
                return Audit(result, flags.level, flags.organizations, number, last, accused)
        if first > last:
            raise errors.NotVerified(Text("no block after the trust root is verified here yet"))
        advice = (
            Text("check the slot's id; it may be in a later block or yet to come")
            if first == self._node.first_block + 1
            else Text("read from a block nearer to the slot, or more blocks")
        )
        raise errors.NotVerified(
            Text(
                "{slot} was not opened in blocks {first} to {last}; {advice}",
                slot=slot_id,
                first=first,
                last=last,
                advice=advice,
            )
        )

    def _accused(
        self, found: Iterable[OrderedTransaction], differences: Iterable[Difference]
    ) -> tuple[Accused, ...]:
        """Return who signed what differs, by signatures checked here; ``found`` is last first."""
        wrong = {(d.block, d.transaction_id) for d in differences}
        accused = []
        for entry in found:
            name = ascii(entry.transaction.transaction_id)[1:-1]
            if (entry.block, name) in wrong:
                msps = self._node.config_before(entry.block).msps
                accused.append(Accused(entry.block, name, endorsed_by(msps, entry.transaction)))
        return tuple(reversed(accused))

    def _collect(
        self,
        full: FullBlock,
        slot_id: str,
        found: list[OrderedTransaction],
        problems: list[Difference],
    ) -> bool:
        """Take the slot's valid transactions out of a block, last first; True if it opens it."""
        opened = False
        for entry in reversed(full.transactions):
            transaction = _parsed(entry.envelope) if entry.is_valid else None
            if transaction is None:
                continue
            version = (full.number, entry.index)
            self._remember(transaction, version)
            if not any(belongs(k, slot_id) for k in market_writes(transaction, self._chaincode)):
                continue
            if len(found) >= MAX_TRANSACTIONS:
                raise errors.NotVerified(
                    Text(
                        "more than {most} transactions in {slot}",
                        most=MAX_TRANSACTIONS,
                        slot=slot_id,
                    )
                )
            found.append(OrderedTransaction(*version, transaction))
            for problem in self._node.check(entry)[1]:
                name, function = entry.transaction_id, "a transaction"
                problems.append(
                    Difference(
                        full.number,
                        name,
                        function,
                        Text("valid"),
                        Text("yes"),
                        Text("no: {problem}", problem=problem),
                    )
                )
            opened = opened or opens(transaction, self._chaincode, slot_id)
        return opened

    def _remember(self, transaction: ParsedTransaction, version: Version) -> None:
        with self._lock:
            for key, value in market_writes(transaction, self._chaincode).items():
                self._values[key, version] = value
            while len(self._values) > _REMEMBERED:
                self._values.popitem(last=False)

    def _earlier(self, key: str, version: Version) -> bytes | None:
        with self._lock:
            if (key, version) in self._values:
                self._values.move_to_end((key, version))
                return self._values[key, version]
        number, index = version
        full = self._node.block(number)
        if index >= len(full.transactions):
            raise errors.NotVerified(
                Text("block {number} has no transaction {index}", number=number, index=index)
            )
        transaction = _parsed(full.transactions[index].envelope)
        if transaction is None or key not in market_writes(transaction, self._chaincode):
            raise errors.NotVerified(
                Text(
                    "transaction {index} of block {number} did not write that",
                    index=index,
                    number=number,
                )
            )
        self._remember(transaction, version)
        return market_writes(transaction, self._chaincode)[key]


class _Flags:
    """Proves the validity flags of consecutive blocks, given from the last one backwards."""

    def __init__(self, node: LightNode) -> None:
        self._node = node
        self._above: tuple[FullBlock, bytes, bytes] | None = None  # block, flags, updates
        self.level = Level.AGREED
        self.organizations: tuple[str, ...] = ()

    def add(self, full: FullBlock) -> None:
        stated = blocks.stated_commit_hash(full.block)
        chained = self._check_above(stated)
        if not chained:
            self._ask(full)
        flags = blocks.transactions_filter(full.block)
        self._above = None
        if not stated:
            return  # no commit hash: the next one below has to be agreed on by itself
        try:
            updates = block_updates(full.number, full.block.envelopes or (), flags)
        except NeedsStateError:
            if chained:
                self._ask(full)  # its commit hash is vouched for, but does not prove its flags
            return
        except BlockError as error:
            raise errors.MalformedBlock(told(error), number=full.number) from error
        self._above = full, flags, updates

    def end(self, first: int) -> None:
        """Check the lowest block, against the commit hash before it."""
        if self._above is None:
            return
        if first == 1:
            self._check_above(b"")
        elif first - 1 > self._node.first_block:
            self._check_above(blocks.stated_commit_hash(self._node.block(first - 1).block))
        else:  # a later trust root comes without the commit hash of its block
            self._ask(self._above[0])

    def _check_above(self, previous: bytes) -> bool:
        """Recompute the commit hash of the block above; False if nothing vouches for this one."""
        if self._above is None:
            return False
        full, flags, updates = self._above
        stated = blocks.stated_commit_hash(full.block)
        computed = commit_hash(flags, updates, previous)
        if computed != stated:
            raise errors.CommitHashMismatch(full.number, full.block.hash, stated, computed)
        return True

    def _ask(self, full: FullBlock) -> None:
        level, organizations = self._node.validity_of(full)
        self.organizations = self.organizations or organizations
        if level is Level.DISPUTED or self.level is Level.DISPUTED:
            self.level = Level.DISPUTED
        elif level is Level.VERIFIED:
            self.level = level


def endorsed_by(msps: MspManager, transaction: ParsedTransaction) -> tuple[str, ...]:
    """Return the organisations whose endorsement verifies, sorted."""
    names = set()
    for endorsement in transaction.endorsements:
        try:
            identity = msps.deserialize(endorsement.endorser)
        except MspError:
            continue
        signed = transaction.response_payload + endorsement.endorser
        if identity.verify(signed, endorsement.signature):
            names.add(identity.msp_id)
    return tuple(sorted(names))


def _parsed(envelope: bytes) -> ParsedTransaction | None:
    try:
        return parse_transaction(envelope)
    except MalformedMessage:
        return None
