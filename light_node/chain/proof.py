"""A transaction's proof as a file: whoever trusts one configuration block can check it offline.

The file holds the configuration blocks from the trust root to the transaction's block, each signed
under the one before, the block itself with its signatures and all data (Fabric has no inclusion
proofs: ``docs/fabric-protocol.md`` 2.2), and a *witness* of validity where there is one. Validity
flags bear no signature, but endorsers sign the versions of what they read: a later endorsement
that read a key at version (block, position) is the signed word of each endorser's organisation that
the transaction at that place was committed as valid.

Format (canonical JSON, bytes in Base64; ``docs/light-node.md``): ``version`` 1, ``kind``,
``channel``, ``transaction_id``, ``configs``, ``block``, ``witness`` (an envelope, or null),
``made_at`` (ISO 8601, the maker's word).
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from light_node import jsonio
from light_node.chain import blocks, errors, verify
from light_node.chain.blocks import DEFAULT_ENDORSEMENT
from light_node.chain.trust import TrustRoot
from light_node.fabric.block import MAX_BLOCK_BYTES
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.msp import MspError
from light_node.fabric.pb import common_pb2, kvrwset_pb2
from light_node.fabric.transaction import (
    MAX_ENVELOPE_BYTES,
    NamespaceRwset,
    ParsedTransaction,
    parse_transaction,
)
from light_node.i18n import Text, told

KIND = "fabric transaction proof"
MAX_FILE_BYTES = 2 * MAX_BLOCK_BYTES
MAX_CONFIGS = 1000
_FIELDS = frozenset(
    ("version", "kind", "channel", "transaction_id", "configs", "block", "witness", "made_at")
)


@dataclass(frozen=True, slots=True)
class TransactionProof:
    """What the file holds; nothing in it is believed before :func:`check`."""

    channel: str
    transaction_id: str
    configs: tuple[bytes, ...]
    block: bytes
    witness: bytes | None
    made_at: str

    def dumps(self) -> bytes:
        """Return the file's content."""
        return jsonio.canonical_dumps(
            {
                "version": 1,
                "kind": KIND,
                "channel": self.channel,
                "transaction_id": self.transaction_id,
                "configs": [encode(raw) for raw in self.configs],
                "block": encode(self.block),
                "witness": None if self.witness is None else encode(self.witness),
                "made_at": self.made_at,
            }
        )


@dataclass(frozen=True, slots=True)
class ProvenTransaction:
    """What a proof proves: the transaction is in block ``number``, at ``index``, in this form.

    ``signers`` are the organisations whose orderers signed the block. ``valid_by`` are those whose
    peers signed that it took effect, empty if the file has no witness. ``problems`` says what
    peers should have refused (signatures, endorsements by the channel's default policy).
    """

    number: int
    index: int
    hash: bytes
    config: int
    signers: tuple[str, ...]
    transaction: ParsedTransaction
    problems: tuple[str, ...]
    valid_by: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether peers of two organisations signed that it took effect, and nothing is wrong."""
        return len(self.valid_by) > 1 and not self.problems


def loads(raw: bytes) -> TransactionProof:
    """Read a proof file; ``UnusableFile`` if it is none."""
    if len(raw) > MAX_FILE_BYTES:
        raise errors.UnusableFile(Text("a proof has at most {most} MiB", most=MAX_FILE_BYTES >> 20))
    try:
        fields = jsonio.mapping(jsonio.strict_loads(raw), Text("a proof"))
        jsonio.integer(fields, "version", low=1, high=1)
        if jsonio.string(fields, "kind", max_length=100) != KIND:
            raise jsonio.JsonError(Text("this is no transaction proof"))
        if fields.keys() != _FIELDS:
            raise jsonio.JsonError(Text("a proof has other fields"))
        return TransactionProof(
            channel=jsonio.string(fields, "channel", max_length=250),
            transaction_id=jsonio.string(fields, "transaction_id", max_length=128),
            configs=read_configs(fields),
            block=decode(fields["block"], "block", MAX_BLOCK_BYTES),
            witness=None
            if fields["witness"] is None
            else decode(fields["witness"], "witness", MAX_ENVELOPE_BYTES),
            made_at=jsonio.string(fields, "made_at", max_length=64),
        )
    except jsonio.JsonError as error:
        raise errors.UnusableFile(told(error)) from error


def check(proof: TransactionProof, root: TrustRoot) -> ProvenTransaction:
    """Prove the transaction from ``root``; expiry of the root is for the caller to judge.

    ``VerificationError`` if a block is not what the one before allows, ``NotVerified`` if the
    transaction is not in the block, the root is not before it, or the witness does not fit.
    """
    if proof.channel != root.config.channel_id:
        raise errors.NotVerified(
            Text(
                "the proof is of channel {channel}, the trust root of {channel_id}",
                channel=ascii(proof.channel),
                channel_id=ascii(root.config.channel_id),
            )
        )
    config = follow(root.config, proof.configs)
    block = verify.parse(proof.block)
    if block.number <= root.number:
        raise errors.NotVerified(
            Text(
                "block {number} is not after the trust root, block {root}: check with an "
                "earlier one",
                number=block.number,
                root=root.number,
            )
        )
    signers = verify.verify_alone(config, block)
    full = blocks.open_block(proof.block, block.hash)
    entry = full.find(proof.transaction_id)
    if entry is None:
        raise errors.NotVerified(
            Text("block {number} does not hold that transaction", number=block.number)
        )
    try:
        transaction = parse_transaction(entry.envelope)
    except MalformedMessage as error:
        raise errors.NotVerified(
            Text("it is no chaincode transaction: {error}", error=error)
        ) from error
    if transaction.channel != proof.channel:  # a header names no channel, what is in it does
        raise errors.NotVerified(Text("the transaction is of another channel"))
    policies = {transaction.chaincode: DEFAULT_ENDORSEMENT}
    _, problems = blocks.check_transaction(config, entry.envelope, policies)
    valid_by: tuple[str, ...] = ()
    if proof.witness is not None:
        valid_by = witnesses(config, proof.witness, transaction, (block.number, entry.index))
        if not valid_by:
            raise errors.NotVerified(
                Text("the witness does not say that the transaction took effect")
            )
    return ProvenTransaction(
        block.number,
        entry.index,
        block.hash,
        config.block_number,
        signers,
        transaction,
        problems,
        valid_by,
    )


def witnesses(
    config: ChannelConfig,
    envelope: bytes,
    transaction: ParsedTransaction,
    place: tuple[int, int],
) -> tuple[str, ...]:
    """Return the organisations whose peers signed, in a later envelope, that a transaction counts.

    They did if they endorsed reading, at version ``place`` (block, position), a key that
    ``transaction`` writes. Only endorsements by peers count, each organisation once. Empty if it
    is not so.
    """
    try:
        later = parse_transaction(envelope)
    except MalformedMessage:
        return ()
    # What endorsers sign holds the proposal's hash, and only that holds the channel.
    if later.channel != config.channel_id or not later.hash_is_consistent:
        return ()
    if not _reads(later, transaction, place):
        return ()
    found = set()
    for endorsement in later.endorsements:
        try:
            identity = config.msps.deserialize(endorsement.endorser)
        except MspError:
            continue
        signed = later.response_payload + endorsement.endorser
        is_peer = identity.has_role(common_pb2.MSPRole.PEER) and identity.is_valid()
        if is_peer and identity.verify(signed, endorsement.signature):
            found.add(identity.msp_id)
    return tuple(sorted(found))


def _reads(
    later: ParsedTransaction, transaction: ParsedTransaction, place: tuple[int, int]
) -> bool:
    written: Mapping[str, Any] = {space.namespace: space.writes for space in transaction.rwsets}
    return any(
        read.HasField("version")
        and (read.version.block_num, read.version.tx_num) == place
        and read.key in written.get(space.namespace, ())
        for space in later.rwsets
        for read in _all_reads(space)
    )


def _all_reads(space: NamespaceRwset) -> Iterator[kvrwset_pb2.KVRead]:
    yield from space.kv.reads
    for query in space.kv.range_queries_info:
        yield from query.raw_reads.kv_reads


def follow(config: ChannelConfig, configs: tuple[bytes, ...]) -> ChannelConfig:
    """Return the last of ``configs``, each signed under the one before, the first under ``config``.

    ``VerificationError`` if one is not. Those up to ``config``'s own block are passed over.
    """
    for raw in configs:
        block = verify.parse(raw)
        # A root later than the maker's own: what comes before it is history.
        if block.number > config.block_number:
            config = verify.skip_to_config(config, block)
    return config


def encode(raw: bytes) -> str:
    """Return bytes as a Base64 field."""
    return base64.b64encode(raw).decode()


def read_configs(fields: dict[str, Any]) -> tuple[bytes, ...]:
    """Return the configuration blocks in the field ``configs``; ``JsonError``."""
    configs = jsonio.array(fields, "configs")
    if len(configs) > MAX_CONFIGS:
        raise jsonio.JsonError(Text("more than {most} configuration blocks", most=MAX_CONFIGS))
    return tuple(decode(entry, "configs", MAX_BLOCK_BYTES) for entry in configs)


def decode(value: object, name: str, most: int) -> bytes:
    """Return the bytes of a Base64 field, at most ``most``; ``JsonError`` if it is none."""
    if not isinstance(value, str) or len(value) > (most + 2) // 3 * 4:
        raise jsonio.JsonError(
            Text('"{name}" must be Base64 text of at most {most} bytes', name=name, most=most)
        )
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise jsonio.JsonError(Text('"{name}" is not Base64', name=name)) from error
