"""What liars can make once keys are stolen: forked blocks, another channel, worthless signatures.

The devnet holds the keys of all consenters, so it can produce what on a real network takes a
quorum of colluding orderers: a second block of a number that is signed exactly as the channel
requires. All liars share one forger: those told to fork at the same block show the same fork.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from light_node.devnet.blocks import BlockSigner, OrderedBlock, Random
from light_node.devnet.certificates import BACKDATED, Credential, issue_identity, new_root
from light_node.devnet.chain import Chain
from light_node.devnet.ledger import envelopes_of
from light_node.devnet.material import Material
from light_node.devnet.store import StoredBlock
from light_node.fabric import block as wire
from light_node.fabric import crypto
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, peer_pb2
from light_node.fabric.proposal import NONCE_BYTES

OTHER_CHANNEL = "another"
_P256 = crypto.curve_order(crypto.generate_key().curve)


class Forger:
    """Makes false blocks and signatures. For the event loop, as the chain it reads."""

    def __init__(
        self, chain: Chain, signer: BlockSigner, material: Material, bft: bool, random: Random
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._bft = bft
        self._random = random
        self._forks: dict[int, list[StoredBlock]] = {}
        self._other: list[StoredBlock] = []
        self._expired = [
            _expired_identity(m.ca, m.node.msp_id, m.node.name) for m in material.orderers
        ]
        self._member = material.peers[0].signing_identity()
        self._stranger = _stranger()

    # -- whole blocks ------------------------------------------------------------------------

    def fork(self, start: int, number: int) -> StoredBlock | None:
        """Return block ``number`` of the history that leaves the real one at ``start``.

        Signed by every consenter. It repeats a transaction of each real block, as dishonest
        orderers could; a configuration block cannot be changed so, and is linked anew.
        """
        found = self._forks.setdefault(start, [])
        while len(found) <= number - start:
            real = self._chain.stored(start + len(found))
            if real is None:
                return None
            found.append(self._forked(real, found[-1] if found else None))
        return found[number - start]

    def _forked(self, real: StoredBlock, before: StoredBlock | None) -> StoredBlock:
        envelopes, verdicts = envelopes_of(real), real.filter
        if real.last_config != real.number:
            envelopes += envelopes[:1]
            verdicts += bytes([peer_pb2.DUPLICATE_TXID])
        previous = before.hash if before else real.previous_hash
        ordered = self._signer.order(real.number, previous, envelopes, real.last_config)
        commit_hash = sha256(b"fork" + real.commit_hash).digest()
        return _stored(ordered, verdicts, commit_hash)

    def reindexed(self, real: StoredBlock, index: int) -> StoredBlock:
        """Return the real block signed by every consenter with another last-config index."""
        envelopes = envelopes_of(real)
        ordered = self._signer.order(real.number, real.previous_hash, envelopes, index)
        return replace(real, signatures=ordered.signatures, last_config=index)

    def other_channel(self, number: int) -> StoredBlock:
        """Return block ``number`` of another channel of the same orderers, from its genesis on."""
        while len(self._other) <= number:
            height = len(self._other)
            previous = self._other[-1].hash if height else b""
            # Its block 0 is never shown: what it holds does not matter.
            ordered = self._signer.order(height, previous, [self._other_envelope(height)], 0)
            self._other.append(_stored(ordered, bytes(1), sha256(ordered.hash).digest()))
        return self._other[number]

    def _other_envelope(self, number: int) -> bytes:
        channel_header = common_pb2.ChannelHeader(
            type=common_pb2.ENDORSER_TRANSACTION, channel_id=OTHER_CHANNEL, tx_id=f"{number:064x}"
        )
        header = common_pb2.Header(
            channel_header=channel_header.SerializeToString(),
            signature_header=wire.signature_header(
                self._member.serialized, self._random(NONCE_BYTES)
            ),
        )
        payload = common_pb2.Payload(header=header).SerializeToString()
        signed = common_pb2.Envelope(payload=payload, signature=self._member.sign(payload))
        return signed.SerializeToString()

    # -- signatures --------------------------------------------------------------------------

    def unknown_signatures(self, raw: bytes) -> bytes:
        """Return a block signed by nobody the channel knows, each signature good in itself.

        BFT: consenter ids that do not exist. Raft: an identity of an organisation that does not.
        """
        if self._bft:
            return self._resigned(raw, lambda i: (i + 100, self._stranger))
        return self._resigned(raw, lambda _: (0, self._stranger))

    def expired_signatures(self, raw: bytes) -> bytes:
        """Return a block signed with certificates of the orderers' own CAs that have expired."""
        return self._resigned(raw, lambda i: (0, self._expired[i % len(self._expired)]))

    def _resigned(self, raw: bytes, signer: Callable[[int], tuple[int, SigningIdentity]]) -> bytes:
        block = common_pb2.Block.FromString(raw)
        entry = common_pb2.Metadata.FromString(block.metadata.metadata[wire.SIGNATURES])
        der = wire.parse_block(raw).der
        signatures = []
        for index in range(len(entry.signatures)):
            identifier, identity = signer(index)
            nonce = self._random(NONCE_BYTES)
            if identifier:
                header = wire.identifier_header(identifier, nonce)
                signature = identity.sign(wire.signed_bytes(entry.value, header, der))
                signatures.append(wire.BlockSignature(signature, identifier_header=header))
            else:
                header = wire.signature_header(identity.serialized, nonce)
                signature = identity.sign(wire.signed_bytes(entry.value, header, der))
                signatures.append(wire.BlockSignature(signature, signature_header=header))
        signed = wire.encode_signature_entry(entry.value, signatures)
        block.metadata.metadata[wire.SIGNATURES] = signed
        return block.SerializeToString()


def with_signatures(raw: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a serialized block with every orderer's signature replaced by ``change`` of it."""
    block = common_pb2.Block.FromString(raw)
    entry = common_pb2.Metadata.FromString(block.metadata.metadata[wire.SIGNATURES])
    for item in entry.signatures:
        item.signature = change(item.signature)
    block.metadata.metadata[wire.SIGNATURES] = entry.SerializeToString()
    return block.SerializeToString()


def high_s(signature: bytes) -> bytes:
    """Return the twin of a P-256 signature with the high ``s``, which Fabric refuses (3.4)."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, max(s, _P256 - s))


def without_last(stored: StoredBlock) -> StoredBlock:
    """Return a block without its last transaction, its data hash and hash fitting; not signed."""
    kept = envelopes_of(stored)[:-1]
    data_hash = wire.data_hash(kept)
    return replace(
        stored,
        data=common_pb2.BlockData(data=kept).SerializeToString(),
        data_hash=data_hash,
        hash=wire.block_hash(stored.number, stored.previous_hash, data_hash),
        filter=stored.filter[:-1],
    )


def resting_on(stored: StoredBlock, config: int) -> StoredBlock:
    """Return a block that names another configuration block; its signatures do not fit."""
    entry = common_pb2.Metadata.FromString(stored.signatures)
    entry.value = wire.signed_value(config)
    return replace(stored, signatures=entry.SerializeToString(), last_config=config)


def unsigned(stored: StoredBlock) -> StoredBlock:
    """Return a block without its orderers' signatures; what they would sign stays."""
    entry = common_pb2.Metadata.FromString(stored.signatures)
    del entry.signatures[:]
    return replace(stored, signatures=entry.SerializeToString())


def renumbered(stored: StoredBlock, number: int, previous_hash: bytes) -> StoredBlock:
    """Return a made-up header: another number and predecessor over the same data, not signed."""
    return replace(
        stored,
        number=number,
        previous_hash=previous_hash,
        hash=wire.block_hash(number, previous_hash, stored.data_hash),
    )


def _stored(ordered: OrderedBlock, verdicts: bytes, commit_hash: bytes) -> StoredBlock:
    return StoredBlock(
        number=ordered.number,
        hash=ordered.hash,
        previous_hash=ordered.previous_hash,
        data_hash=ordered.data_hash,
        data=common_pb2.BlockData(data=ordered.envelopes).SerializeToString(),
        last_config=ordered.last_config,
        signatures=ordered.signatures,
        filter=verdicts,
        commit_hash=commit_hash,
    )


def _expired_identity(ca: Credential, msp_id: str, name: str) -> SigningIdentity:
    # Its life ended before the network began: the CA's own starts a little earlier.
    not_after = ca.certificate.not_valid_before_utc + BACKDATED / 2
    key = crypto.generate_key()
    certificate = issue_identity(ca, key.public_key(), name, ["orderer"], not_after)
    return SigningIdentity.from_key(msp_id, crypto.certificate_pem(certificate), key)


def _stranger() -> SigningIdentity:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ca, key = new_root("ca.stranger", "stranger", start), crypto.generate_key()
    expiry = start + timedelta(days=3650)
    certificate = issue_identity(ca, key.public_key(), "stranger", ["orderer"], expiry)
    return SigningIdentity.from_key("StrangerMSP", crypto.certificate_pem(certificate), key)
