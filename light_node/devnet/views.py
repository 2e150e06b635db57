"""What each node of the devnet shows to its clients.

There is one validated ledger underneath; every answer of a peer goes through its
:class:`PeerView`, every answer of an orderer through its :class:`OrdererView`. An honest view says
what the ledger says. A test that wants a node to lie replaces its view, and only its view.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from light_node.contract.chaincodes import Chaincode
from light_node.contract.stub import Invocation, Response
from light_node.devnet.blocks import CopyRule, orderer_copy, peer_copy
from light_node.devnet.chain import Chain
from light_node.devnet.layout import Node
from light_node.devnet.ledger import CommittedBlock
from light_node.devnet.material import NodeMaterial
from light_node.devnet.ordering import Answer, OrderingService
from light_node.devnet.simulation import StateReader
from light_node.devnet.store import StoredBlock, TransactionEntry
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2
from light_node.fabric.transaction import Endorsement, endorse


class NodeView:
    """What peers and orderers have in common: a chain they serve block by block."""

    def __init__(self, material: NodeMaterial, chain: Chain, rule: CopyRule) -> None:
        self.node: Node = material.node
        self.identity: SigningIdentity = material.signing_identity()
        self._chain = chain
        self._rule = rule

    @property
    def height(self) -> int:
        """How many blocks this node has."""
        return self._chain.height

    @property
    def newest(self) -> int:
        """The number of the block this node calls its newest."""
        return self.height - 1

    def last(self, stop: int) -> int:
        """Return the last block sent to a client that asked for those up to ``stop``."""
        return stop

    async def wait_for(self, number: int) -> None:
        """Return when this node has block ``number``."""
        await self._chain.wait_for(number)

    @property
    def is_prompt(self) -> bool:
        """Whether blocks that are there go out at once, without :meth:`pace`."""
        return True

    async def pace(self, number: int) -> None:
        """Return when block ``number``, which is there, may go out: at once."""

    @property
    def skew(self) -> timedelta:
        """How far this node's clock is ahead of the network's."""
        return timedelta(0)

    def block(self, number: int, *, header_only: bool = False) -> bytes | None:
        """Return this node's serialized copy of a block, None if it does not have it."""
        stored = self.stored(number)
        return self.copy(stored, header_only=header_only) if stored else None

    def stored(self, number: int) -> StoredBlock | None:
        """Return the parts of a block, None if this node does not have it."""
        return self._chain.stored(number) if number < self.height else None

    def copy(self, stored: StoredBlock, *, header_only: bool = False) -> bytes:
        """Return this node's serialized copy of a block given its parts."""
        raise NotImplementedError


class OrdererView(NodeView):
    """One consenter as its clients see it."""

    def __init__(
        self, material: NodeMaterial, chain: Chain, rule: CopyRule, ordering: OrderingService
    ) -> None:
        super().__init__(material, chain, rule)
        self._ordering = ordering

    def copy(self, stored: StoredBlock, *, header_only: bool = False) -> bytes:
        """Return this orderer's copy of a block, without verdicts."""
        return orderer_copy(stored, self._rule, header_only=header_only)

    def broadcast(self, envelope: common_pb2.Envelope) -> Answer:
        """Take an envelope a client sent to this orderer alone, or say why not."""
        answer = self.check(envelope)
        if answer.accepted:
            self.order(envelope)
        return answer

    def order(self, envelope: common_pb2.Envelope) -> bool:
        """Order an envelope that :meth:`check` accepted; whether it was really done."""
        self._ordering.take(envelope)
        return True

    def check(self, envelope: common_pb2.Envelope) -> Answer:
        """Return what this orderer answers, without ordering the envelope."""
        return self._ordering.check(envelope)


class PeerView(NodeView):
    """One organisation's peer as its clients see it."""

    def copy(self, stored: StoredBlock, *, header_only: bool = False) -> bytes:
        """Return this peer's copy of a block, with verdicts and commit hash."""
        return peer_copy(stored, self._rule, header_only=header_only)

    def number_of_hash(self, header_hash: bytes) -> int | None:
        """Return the number of the block with that header hash."""
        stored = self._chain.stored_by_hash(header_hash)
        return stored.number if stored else None

    def committed(self, number: int) -> CommittedBlock | None:
        """Return a block with the verdicts on its transactions."""
        return self._chain.committed(number) if number < self.height else None

    def transaction(self, transaction_id: str) -> TransactionEntry | None:
        """Return where a transaction was committed first."""
        return self._chain.transaction(transaction_id)

    async def wait_for_transaction(self, transaction_id: str) -> TransactionEntry:
        """Return where a transaction is committed, waiting for that as long as it takes."""
        return await self._chain.wait_for_transaction(transaction_id)

    @contextmanager
    def state(self) -> Iterator[StateReader]:
        """Give a consistent snapshot of this peer's state."""
        with self._chain.state() as reader:
            yield reader

    def run(self, chaincode: Chaincode, invocation: Invocation) -> Response:
        """Simulate an invocation of the chaincode this peer has installed."""
        return chaincode(invocation)

    def endorse(self, response_payload: bytes) -> Endorsement:
        """Sign a simulation's outcome as this peer."""
        return endorse(self.identity, response_payload)


async def follow(view: PeerView, start: int) -> AsyncIterator[CommittedBlock]:
    """Yield blocks from ``start`` on, each when the peer has it; never ends by itself."""
    number = start
    while True:
        await view.wait_for(number)
        block = view.committed(number)
        if block is None:
            raise LookupError(f"block {number} was announced but is not there")
        yield block
        number += 1


def bft_submission(
    orderers: Sequence[OrdererView], envelope: common_pb2.Envelope
) -> list[tuple[OrdererView, Answer]]:
    """Send an envelope to all orderers, as a BFT client does; ordered once if any accepts."""
    answers = [(orderer, orderer.check(envelope)) for orderer in orderers]
    for orderer, answer in answers:
        # One that says yes and drops it does no harm: the others have it too.
        if answer.accepted and orderer.order(envelope):
            break
    return answers
