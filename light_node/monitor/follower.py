"""Reads every block once two organisations agree on it, and audits the slots settled in it.

What was audited is not kept: after a restart it goes on with the next block. ``light-node audit``
looks at any slot again.
"""

import logging
import threading
from collections import Counter
from dataclasses import dataclass, field

from light_node import jsonio
from light_node.chain import errors
from light_node.chain.auditor import Auditor
from light_node.chain.blocks import FullBlock
from light_node.chain.node import LightNode
from light_node.chain.status import Level
from light_node.fabric.block import transactions_filter
from light_node.fabric.errors import FabricError, MalformedMessage, validation_code_name
from light_node.fabric.transaction import parse_transaction
from light_node.market.errors import InvalidSlot

SETTLED_EVENT = "SlotSettled"
GOOD, DIFFERS, DISPUTED, UNPROVED, IMPOSSIBLE = "good", "differs", "disputed", "unproved", "failed"
RESULTS = (GOOD, DIFFERS, DISPUTED, UNPROVED, IMPOSSIBLE)
"""How an audit ends: all follows from the rules; something does not; organisations dispute the
flags; only one organisation vouches for them; or it could not be done."""
_PAUSE_S = 0.5
_ATTEMPTS = 5

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What was counted since the start: transactions by validation code, audits by result."""

    blocks: int = 0
    next_block: int = 0
    transactions: Counter[str] = field(default_factory=Counter)
    audits: Counter[str] = field(default_factory=Counter)
    last_slot: str = ""


class Follower:
    """Follows ``node`` in a thread of its own from the block agreed on at :meth:`start` on."""

    def __init__(self, node: LightNode, chaincode: str) -> None:
        """``chaincode`` is the market's."""
        self._node = node
        self._chaincode = chaincode
        self._auditor = Auditor(node, chaincode)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._lock = threading.Lock()
        self._tally = Tally()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the block or audit under way."""
        self._stopping.set()
        self._thread.join()

    def tally(self) -> Tally:
        """Return a copy of what was counted."""
        with self._lock:
            t = self._tally
            return Tally(
                t.blocks, t.next_block, Counter(t.transactions), Counter(t.audits), t.last_slot
            )

    def _run(self) -> None:
        number: int | None = None
        failures = 0
        while not self._stopping.is_set():
            agreed = self._node.status().agreed_height
            if number is None:
                number = agreed  # the first block that comes
            if number is None or agreed is None or number >= agreed:
                self._stopping.wait(_PAUSE_S)
                continue
            try:
                self._read(self._node.block(number))
            except (errors.ChainError, FabricError) as error:
                # A peer is restarting, or withholds the block: others are asked the next time.
                failures += 1
                log.warning("block %d cannot be read: %s", number, error)
                self._stopping.wait(_PAUSE_S * min(failures, 20))
                continue
            failures = 0
            number += 1

    def _read(self, full: FullBlock) -> None:
        flags = transactions_filter(full.block)
        slots = self._settled(full)
        with self._lock:
            self._tally.blocks += 1
            self._tally.next_block = full.number + 1
            self._tally.transactions.update(validation_code_name(code) for code in flags)
        for slot in slots:
            result = self._audit(slot, full.number)
            if self._stopping.is_set():
                return
            with self._lock:
                self._tally.audits[result] += 1
                self._tally.last_slot = slot

    def _settled(self, full: FullBlock) -> list[str]:
        """Return the slots whose settlement is in this block."""
        found = []
        for entry in full.transactions:
            if not entry.is_valid:
                continue
            try:
                event = parse_transaction(entry.envelope).event
                if event is None or (event.chaincode, event.name) != (
                    self._chaincode,
                    SETTLED_EVENT,
                ):
                    continue
                payload = jsonio.mapping(jsonio.strict_loads(event.payload), SETTLED_EVENT)
                found.append(jsonio.string(payload, "slot", max_length=64))
            except (MalformedMessage, jsonio.JsonError):
                continue  # a configuration, or no event of the market's
        return found

    def _audit(self, slot: str, last: int) -> str:
        for attempt in range(_ATTEMPTS):
            try:
                audit = self._auditor.audit(slot, last)
            except errors.NotVerified as error:
                log.warning("slot %s cannot be audited now: %s", slot, error)
                if self._stopping.wait(_PAUSE_S * (attempt + 1)):
                    return IMPOSSIBLE
                continue
            except (errors.ChainError, FabricError, InvalidSlot) as error:
                log.error("slot %s: the audit failed: %s", slot, error)
                return IMPOSSIBLE
            for difference in audit.replay.differences:
                log.error("slot %s differs: %s", slot, difference)
            if audit.level is Level.DISPUTED:
                return DISPUTED
            if audit.replay.differences:
                return DIFFERS
            proved = audit.level is Level.AGREED and not audit.replay.unchecked
            return GOOD if proved else UNPROVED
        return IMPOSSIBLE
