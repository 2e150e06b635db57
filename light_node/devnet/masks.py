"""Masks over the nodes' honest views, and switching lies on and off while the network runs.

Without a lie a mask passes the truth on; told to lie, it shows what the lie makes of it.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from light_node.contract.chaincodes import Chaincode
from light_node.contract.stub import Invocation, Response
from light_node.devnet.blocks import CopyRule
from light_node.devnet.chain import Chain
from light_node.devnet.errors import DevnetError
from light_node.devnet.forger import Forger
from light_node.devnet.lies import LIES, Lie
from light_node.devnet.material import NodeMaterial
from light_node.devnet.ordering import OrderingService
from light_node.devnet.store import TransactionEntry
from light_node.devnet.views import NodeView, OrdererView, PeerView
from light_node.fabric.pb import common_pb2


class LieError(DevnetError):
    """A lie that is not in the catalogue, or not for that node."""


class _Mask:
    """What masks of peers and orderers share: the lie told now, and news of a change of it."""

    lie: Lie | None

    def __init__(self, truth: NodeView) -> None:
        self.truth = truth
        self.lie = None
        self._changed = asyncio.Event()

    def tell(self, lie: Lie | None) -> None:
        """Tell ``lie`` from now on, None for the truth; whoever waits is told."""
        self.lie = lie
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def height(self) -> int:
        return self.truth.height if self.lie is None else self.lie.height()

    def newest(self) -> int:
        return self.truth.newest if self.lie is None else self.lie.newest()

    def skew(self) -> timedelta:
        return timedelta(0) if self.lie is None else self.lie.skew()

    def last(self, stop: int) -> int:
        return stop if self.lie is None else self.lie.last(stop)

    async def wait_for(self, number: int) -> None:
        while number >= self.height():
            await self._unless_changed(self.truth.wait_for(self.truth.height))

    async def pace(self, number: int) -> None:
        if self.lie is not None:
            await self._unless_changed(self.lie.pace(number))

    async def _unless_changed(self, waiting: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self._changed.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def block(self, number: int, *, header_only: bool) -> bytes | None:
        if self.lie is None:
            return self.truth.block(number, header_only=header_only)
        if number >= self.height():
            return None
        return self.lie.block(number, header_only=header_only)


class MaskedPeer(PeerView):
    """A peer that can be told to lie."""

    def __init__(self, material: NodeMaterial, chain: Chain, rule: CopyRule) -> None:
        super().__init__(material, chain, rule)
        self.mask = _Mask(PeerView(material, chain, rule))

    @property
    def height(self) -> int:
        """How many blocks this node says it has."""
        return self.mask.height()

    @property
    def newest(self) -> int:
        """The number of the block this node calls its newest."""
        return self.mask.newest()

    @property
    def skew(self) -> timedelta:
        """How far this node's clock is ahead of the network's."""
        return self.mask.skew()

    def last(self, stop: int) -> int:
        """Return the last block sent to a client that asked for those up to ``stop``."""
        return self.mask.last(stop)

    async def wait_for(self, number: int) -> None:
        """Return when this node says it has block ``number``."""
        await self.mask.wait_for(number)

    @property
    def is_prompt(self) -> bool:
        """Whether no lie can delay an answer."""
        return self.mask.lie is None

    async def pace(self, number: int) -> None:
        """Return when the answer goes out."""
        await self.mask.pace(number)

    def block(self, number: int, *, header_only: bool = False) -> bytes | None:
        """Return this node's copy of a block."""
        return self.mask.block(number, header_only=header_only)

    def transaction(self, transaction_id: str) -> TransactionEntry | None:
        """Return where a transaction was committed, as far as this node shows."""
        found = super().transaction(transaction_id)
        return found if found is not None and found.block < self.height else None

    async def wait_for_transaction(self, transaction_id: str) -> TransactionEntry:
        """Return where a transaction is committed, when this node shows it."""
        found = await super().wait_for_transaction(transaction_id)
        await self.wait_for(found.block)
        return found

    def run(self, chaincode: Chaincode, invocation: Invocation) -> Response:
        """Simulate an invocation."""
        lie = self.mask.lie
        return chaincode(invocation) if lie is None else lie.run(chaincode, invocation)


class MaskedOrderer(OrdererView):
    """An orderer that can be told to lie."""

    def __init__(
        self, material: NodeMaterial, chain: Chain, rule: CopyRule, ordering: OrderingService
    ) -> None:
        super().__init__(material, chain, rule, ordering)
        self.mask = _Mask(OrdererView(material, chain, rule, ordering))

    @property
    def height(self) -> int:
        """How many blocks this node says it has."""
        return self.mask.height()

    @property
    def newest(self) -> int:
        """The number of the block this node calls its newest."""
        return self.mask.newest()

    @property
    def skew(self) -> timedelta:
        """How far this node's clock is ahead of the network's."""
        return self.mask.skew()

    def last(self, stop: int) -> int:
        """Return the last block sent to a client that asked for those up to ``stop``."""
        return self.mask.last(stop)

    async def wait_for(self, number: int) -> None:
        """Return when this node says it has block ``number``."""
        await self.mask.wait_for(number)

    @property
    def is_prompt(self) -> bool:
        """Whether no lie can delay an answer."""
        return self.mask.lie is None

    async def pace(self, number: int) -> None:
        """Return when the answer goes out."""
        await self.mask.pace(number)

    def block(self, number: int, *, header_only: bool = False) -> bytes | None:
        """Return this node's copy of a block."""
        return self.mask.block(number, header_only=header_only)

    def order(self, envelope: common_pb2.Envelope) -> bool:
        """Order an envelope, or drop it."""
        if self.mask.lie is not None and not self.mask.lie.orders():
            return False
        return super().order(envelope)


# -- switching -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Instruction:
    """Who is to tell which lie, from which block on (at least 1: block 0 is the trust root)."""

    organization: str
    name: str
    first: int = 1

    @classmethod
    def parse(cls, text: str) -> "Instruction":
        """Read ``ORG:NAME`` or ``ORG:NAME=N``; ``LieError`` with the catalogue if unknown."""
        organization, colon, rest = text.partition(":")
        name, equals, number = rest.partition("=")
        if not organization or not colon:
            raise LieError(f"a lie is ORG:NAME or ORG:NAME=N, like Org2MSP:silent=12, not {text!r}")
        if name not in LIES:
            raise LieError(f"there is no lie {name!r}; there are {', '.join(LIES)}")
        if equals and not (number.isascii() and number.isdecimal() and int(number[:19]) > 0):
            raise LieError(f"{text!r}: N is the first block lied about, 1 or more")
        return cls(organization, name, int(number[:19]) if equals else 1)


class Liars:
    """The masks of a network's nodes, by MSP id. For the event loop."""

    def __init__(self, masked: Iterable[MaskedPeer | MaskedOrderer], forger: Forger) -> None:
        self._masked = {node.node.msp_id: node for node in masked}
        self._forger = forger

    @property
    def true_height(self) -> int:
        """How many blocks there really are."""
        return next(node.mask.truth.height for node in self._masked.values())

    @property
    def telling(self) -> dict[str, str]:
        """Who tells which lie now."""
        return {
            msp_id: node.mask.lie.name
            for msp_id, node in self._masked.items()
            if node.mask.lie is not None
        }

    def tell(self, instruction: Instruction) -> None:
        """Let a node lie from now on; ``LieError`` if there is no such node or not for it."""
        node = self._masked.get(instruction.organization)
        if node is None:
            known = ", ".join(self._masked)
            raise LieError(
                f"there is no organisation {instruction.organization}; there are {known}"
            )
        lie = LIES.get(instruction.name)
        if lie is None:
            raise LieError(f"there is no lie {instruction.name!r}; there are {', '.join(LIES)}")
        if not isinstance(node, lie.nodes):
            who = "peers" if lie.nodes == (PeerView,) else "orderers"
            raise LieError(f"{instruction.name} is for {who}, not for {instruction.organization}")
        node.mask.tell(lie(node.mask.truth, self._forger, instruction.first))

    def stop(self, organization: str | None = None) -> None:
        """Let one node, or all, tell the truth again."""
        for msp_id, node in self._masked.items():
            if organization in (None, msp_id):
                node.mask.tell(None)
