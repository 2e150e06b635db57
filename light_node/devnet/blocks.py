"""Making blocks as an ordering service does, and each node's own copy of a committed one.

Under BFT every node keeps the quorum of signatures it happened to collect, under Raft every orderer
signs its own copy (``docs/fabric-protocol.md`` 2.3). So copies of one block differ in metadata
between nodes although the block is the same; the devnet keeps all signatures and deals them out
the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from light_node.devnet.config_update import CurrentConfig, config_transaction
from light_node.devnet.store import StoredBlock
from light_node.fabric import block as wire
from light_node.fabric.block import varint
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, etcdraft_pb2
from light_node.fabric.policy import bft_quorum
from light_node.fabric.proposal import NONCE_BYTES

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class OrderedBlock:
    """What the ordering service agreed on and signed: everything but the peers' verdicts.

    ``signatures`` is a serialized common.Metadata with the signature of every consenter.
    """

    number: int
    previous_hash: bytes
    data_hash: bytes
    hash: bytes
    envelopes: tuple[bytes, ...]
    last_config: int
    signatures: bytes


class BlockSigner:
    """The consenters' part in a block: they sign what section 2.3 says."""

    def __init__(self, consenters: Sequence[SigningIdentity], bft: bool, random: Random) -> None:
        self._consenters = consenters
        self._bft = bft
        self._random = random

    def order(
        self, number: int, previous_hash: bytes, envelopes: Sequence[bytes], last_config: int
    ) -> OrderedBlock:
        """Return block ``number`` over ``envelopes``, signed by every consenter."""
        data_hash = wire.data_hash(envelopes)
        der = wire.header_der(number, previous_hash, data_hash)
        value = wire.signed_value(last_config, self._consenter_metadata(number))
        signatures = [self._sign(i, value, der) for i in range(len(self._consenters))]
        return OrderedBlock(
            number,
            previous_hash,
            data_hash,
            wire.block_hash(number, previous_hash, data_hash),
            tuple(envelopes),
            last_config,
            wire.encode_signature_entry(value, signatures),
        )

    def configure(self, current: CurrentConfig, update: bytes) -> bytes:
        """Return the CONFIG envelope that the first consenter proposes for an update."""
        nonce = self._random(NONCE_BYTES)
        return config_transaction(current, update, self._consenters[0], nonce)

    def _sign(self, index: int, value: bytes, der: bytes) -> wire.BlockSignature:
        consenter, nonce = self._consenters[index], self._random(NONCE_BYTES)
        if self._bft:
            header = wire.identifier_header(index + 1, nonce)
            signature = consenter.sign(wire.signed_bytes(value, header, der))
            return wire.BlockSignature(signature, identifier_header=header)
        header = wire.signature_header(consenter.serialized, nonce)
        signature = consenter.sign(wire.signed_bytes(value, header, der))
        return wire.BlockSignature(signature, signature_header=header)

    def _consenter_metadata(self, number: int) -> bytes:
        if self._bft:
            # SmartBFT's view metadata: 2 latest_sequence, 3 decisions_in_view; opaque to clients.
            decisions = b"\x18" + varint(number - 1) if number > 1 else b""
            return b"\x10" + varint(number) + decisions
        count = len(self._consenters)
        raft = etcdraft_pb2.BlockMetadata(
            consenter_ids=range(1, count + 1), next_consenter_id=count + 1, raft_index=number + 4
        )
        return common_pb2.Metadata(value=raft.SerializeToString()).SerializeToString()


@dataclass(frozen=True, slots=True)
class CopyRule:
    """Which signatures a node's copies carry: those from consenter ``first`` (0-based) on."""

    first: int
    consenters: int
    bft: bool

    def signature_entry(self, stored: StoredBlock) -> bytes:
        """Return metadata entry 0 of this node's copy."""
        entry = common_pb2.Metadata.FromString(stored.signatures)
        if not entry.signatures:
            return stored.signatures
        count = bft_quorum(self.consenters) if self.bft else 1
        # The first of a quorum rotates with the block too, as collecting them does on a network.
        start = self.first + (stored.number if self.bft else 0)
        order = [(start + i) % self.consenters for i in range(count)]
        kept = common_pb2.Metadata(
            value=entry.value, signatures=[entry.signatures[i] for i in order]
        )
        return kept.SerializeToString()


def peer_copy(stored: StoredBlock, rule: CopyRule, *, header_only: bool = False) -> bytes:
    """Return a peer's serialized common.Block; ``header_only`` leaves out ordinary data (2.9)."""
    commit_hash = wire.encode_commit_hash_entry(stored.commit_hash) if stored.commit_hash else b""
    return _copy(stored, rule, stored.filter, commit_hash, header_only)


def orderer_copy(stored: StoredBlock, rule: CopyRule, *, header_only: bool = False) -> bytes:
    """Return an orderer's copy, which knows neither verdicts nor commit hash (2.8)."""
    # Block 0 is handed to orderers with the filter configtxgen wrote.
    verdicts = stored.filter if stored.number == 0 else b""
    return _copy(stored, rule, verdicts, b"", header_only)


def _copy(
    stored: StoredBlock, rule: CopyRule, verdicts: bytes, commit_hash: bytes, header_only: bool
) -> bytes:
    last_config = wire.encode_last_config_entry(stored.last_config) if stored.last_config else b""
    entries = [rule.signature_entry(stored), last_config, verdicts, b"", commit_hash]
    message = common_pb2.Block(
        header=common_pb2.BlockHeader(
            number=stored.number,
            previous_hash=stored.previous_hash,
            data_hash=stored.data_hash,
        ),
        metadata=common_pb2.BlockMetadata(metadata=entries),
    )
    if not header_only or stored.last_config == stored.number:
        message.data.ParseFromString(stored.data)
    return message.SerializeToString()
