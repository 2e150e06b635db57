"""A devnet's parts without its sockets: real keys, a real file, endorsers called directly."""

import itertools
import os
import shutil
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from light_node.contract.chaincodes import CHAINCODES
from light_node.devnet import network
from light_node.devnet.access import AccessControl, ChannelRules
from light_node.devnet.blocks import BlockSigner, CopyRule
from light_node.devnet.ca import CertificateAuthority
from light_node.devnet.certificates import issue_identity
from light_node.devnet.chain import Chain
from light_node.devnet.endorser import Endorser
from light_node.devnet.ledger import CommittedBlock, LedgerWriter
from light_node.devnet.network import Network, Options
from light_node.devnet.registry import Registry
from light_node.devnet.store import Store
from light_node.devnet.system_chaincodes import SystemChaincodes
from light_node.devnet.views import PeerView
from light_node.fabric import crypto
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import peer_pb2
from light_node.fabric.proposal import Proposal, build_proposal
from light_node.fabric.transaction import Endorsement, prepared_payload, sign_payload

Answer = TypeVar("Answer")
NOW = datetime(2026, 6, 21, 12, 0, tzinfo=UTC)


@dataclass
class MovableClock:
    """Wall time that a test sets."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


@dataclass
class Ground:
    """One devnet directory, opened, with an identity to act as and no server around it."""

    directory: Path
    network: Network
    config: ChannelConfig
    access: AccessControl
    writer: LedgerWriter
    store: Store
    cas: list[CertificateAuthority]
    clock: MovableClock
    endorsers: list[Endorser]
    chain: Chain
    client: SigningIdentity
    opened: list[Store]
    _nonces: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def identity(
        self,
        name: str,
        unit: str = "client",
        *,
        organization: int = 0,
        not_after: datetime = NOW + timedelta(days=30),
        not_before: datetime | None = None,
    ) -> SigningIdentity:
        """An identity issued by an organisation's root without asking its registry."""
        member = self.network.material.peers[organization]
        key = crypto.generate_key()
        certificate = issue_identity(
            member.ca, key.public_key(), name, [unit], not_after, not_before=not_before
        )
        pem = crypto.certificate_pem(certificate)
        return SigningIdentity.from_key(member.node.msp_id, pem, key)

    def propose(
        self,
        *args: str,
        chaincode: str = "kv",
        identity: SigningIdentity | None = None,
        now: datetime | None = None,
        channel: str = "market",
    ) -> Proposal:
        return build_proposal(
            identity or self.client,
            channel,
            chaincode,
            [a.encode() for a in args],
            now=now or self.clock.now(),
            nonce=next(self._nonces).to_bytes(24, "big"),
        )

    def endorse(
        self, proposal: Proposal, endorsers: Sequence[int] = (0, 1)
    ) -> tuple[bytes, list[Endorsement]]:
        """Endorse as these organisations; all payloads must agree."""
        answers = [_finish(self.endorsers[i].process(proposal.signed)) for i in endorsers]
        for answer in answers:
            assert answer.response.status == 200, answer.response.message
        payloads = {answer.payload for answer in answers}
        assert len(payloads) == 1
        return payloads.pop(), [
            Endorsement(a.endorsement.endorser, a.endorsement.signature) for a in answers
        ]

    def envelope(
        self,
        *args: str,
        chaincode: str = "kv",
        endorsers: Sequence[int] = (0, 1),
        identity: SigningIdentity | None = None,
    ) -> bytes:
        """A whole signed transaction, ready to be ordered."""
        signer = identity or self.client
        proposal = self.propose(*args, chaincode=chaincode, identity=signer)
        return self.assemble(proposal, *self.endorse(proposal, endorsers), identity=signer)

    def assemble(
        self,
        proposal: Proposal,
        payload: bytes,
        endorsements: Sequence[Endorsement],
        *,
        identity: SigningIdentity | None = None,
    ) -> bytes:
        public = peer_pb2.ChaincodeProposalPayload(input=proposal.input).SerializeToString()
        prepared = prepared_payload(
            proposal.channel_header, proposal.signature_header, public, payload, endorsements
        )
        return sign_payload(identity or self.client, prepared).SerializeToString()

    def commit(self, *envelopes: bytes) -> CommittedBlock:
        """Order, validate and write one block, as the ordering service does."""
        block = self.writer.append(list(envelopes))
        self.chain.publish(block)
        return block

    def codes(self, *envelopes: bytes) -> list[str]:
        """The validation codes of one committed block, by name."""
        block = self.commit(*envelopes)
        return [peer_pb2.TxValidationCode.Name(result.code) for result in block.results]

    def close(self) -> None:
        for store in self.opened:
            store.close()

    def value(self, key: str) -> bytes | None:
        found = self.store.get("kv", key.encode())
        return found.value if found else None


def _finish(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a coroutine that waits for nothing, also where a loop is running already."""
    try:
        work.send(None)
    except StopIteration as done:
        answer: Answer = done.value
        return answer
    raise AssertionError("it waited")


def open_ground(directory: Path, options: Options) -> Ground:
    clock = MovableClock()
    store, for_cas, reader = (Store.open(directory) for _ in range(3))
    opened = network.open_network(directory, options, store, clock.now(), os.urandom)
    registry = Registry(for_cas, os.urandom)
    cas = network.authorities(opened, registry, clock.now, os.urandom)
    network.write_users(opened, cas, os.urandom, clock.now())
    config = ChannelConfig.from_block(network.genesis_bytes(opened.genesis))
    access = AccessControl(config, clock.now)
    members = opened.material.orderers
    bft = opened.layout.bft
    signer = BlockSigner([m.signing_identity() for m in members], bft, os.urandom)
    rules = ChannelRules(network.current_config(store), frozenset(CHAINCODES))
    chain = Chain(reader)
    msp_ids = [m.node.msp_id for m in opened.material.peers]
    system = SystemChaincodes("market", sorted(CHAINCODES), msp_ids)
    endorsers = [
        Endorser(
            PeerView(member, chain, CopyRule(i, len(members), bft)), access, CHAINCODES, system
        )
        for i, member in enumerate(opened.material.peers)
    ]
    return Ground(
        directory,
        opened,
        config,
        access,
        LedgerWriter(store, signer, rules),
        store,
        cas,
        clock,
        endorsers,
        chain,
        network.load_user(directory, "Org1MSP", "operator"),
        [store, for_cas, reader],
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A devnet directory just made: keys and block 0 take longer than most tests."""
    directory = tmp_path_factory.mktemp("template")
    made = open_ground(directory, Options(base_port=0, batch_timeout_ms=50))
    made.close()
    return directory


@pytest.fixture
def ground(template: Path, tmp_path: Path) -> Iterator[Ground]:
    """A fresh BFT devnet."""
    directory = tmp_path / "net"
    shutil.copytree(template, directory)
    opened = open_ground(directory, Options())
    yield opened
    opened.close()


@pytest.fixture
def raft_ground(tmp_path: Path) -> Iterator[Ground]:
    """A fresh Raft devnet."""
    opened = open_ground(tmp_path / "raft", Options(base_port=0, raft=True))
    yield opened
    opened.close()
