"""Full blocks: what is in one whose header is verified, and who agrees on what was valid.

``docs/fabric-protocol.md`` sections 2.8 and 2.10. Pure functions of bytes. A verified block proves
that a transaction was ordered; that it was *valid* is each peer's word, so the flag of a
transaction is believed when peers of two organisations show the same flags and commit hash.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from light_node.chain import errors, verify
from light_node.fabric import block as blocks
from light_node.fabric.block import Block
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.endorsement import DEFAULT_REFERENCE
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.msp import MspError
from light_node.fabric.pb import common_pb2, peer_pb2
from light_node.fabric.policy import PolicyError, SignedData, satisfied
from light_node.fabric.transaction import ParsedTransaction, parse_header, parse_transaction
from light_node.i18n import Text

DEFAULT_ENDORSEMENT = peer_pb2.ApplicationPolicy(
    channel_config_policy_reference=DEFAULT_REFERENCE
).SerializeToString()


@dataclass(frozen=True, slots=True)
class BlockTransaction:
    """One envelope of a verified block: its place, id, header type and validation code.

    ``code`` is the ``TxValidationCode`` the serving peer states (0 is VALID), None if it states
    none. ``transaction_id`` is empty where the envelope has none, as a configuration may.
    """

    block_number: int
    index: int
    transaction_id: str
    type: int
    code: int | None
    envelope: bytes

    @property
    def is_valid(self) -> bool:
        """Whether the peer says that it took effect."""
        return self.code == peer_pb2.VALID


@dataclass(frozen=True, slots=True)
class FullBlock:
    """A block whose header and data are proved. Flags and commit hash are the serving peer's."""

    block: Block
    transactions: tuple[BlockTransaction, ...]

    @property
    def number(self) -> int:
        """The block number."""
        return self.block.number

    def find(self, transaction_id: str) -> BlockTransaction | None:
        """Return the first transaction with that id; a later one with it is a duplicate."""
        return next((t for t in self.transactions if t.transaction_id == transaction_id), None)


def open_block(raw: bytes, expected_hash: bytes) -> FullBlock:
    """Parse a full block and prove it to be the one with a verified hash.

    ``VerificationError`` if it is another block, its data was altered, or it came without data.
    """
    block = verify.parse(raw)
    verify.verify_hash(block, expected_hash)
    if block.envelopes is None:
        raise errors.MalformedBlock(
            Text("block {number} came without its data", number=block.number),
            number=block.number,
            hash=block.hash,
        )
    flags = blocks.transactions_filter(block)
    if flags and len(flags) != len(block.envelopes):
        raise errors.MalformedBlock(
            Text(
                "block {number} has {transactions} transactions but {flags} flags",
                number=block.number,
                transactions=len(block.envelopes),
                flags=len(flags),
            ),
            number=block.number,
            hash=block.hash,
        )
    return FullBlock(
        block,
        tuple(
            _transaction(block.number, index, raw, flags[index] if flags else None)
            for index, raw in enumerate(block.envelopes)
        ),
    )


def _transaction(number: int, index: int, raw: bytes, code: int | None) -> BlockTransaction:
    try:
        header = parse_header(raw)
    except MalformedMessage:
        # Orderers order bytes; peers mark what they cannot read as invalid, and so it stays.
        return BlockTransaction(number, index, "", -1, code, raw)
    return BlockTransaction(number, index, header.transaction_id, header.type, code, raw)


def check_transaction(
    config: ChannelConfig, envelope: bytes, endorsement_policies: Mapping[str, bytes]
) -> tuple[ParsedTransaction | None, tuple[Text, ...]]:
    """Check a transaction as a peer does before MVCC (2.10 steps 3 to 5).

    Returns it parsed and what is wrong: channel, creator's signature, transaction id, proposal
    hash, endorsements. ``endorsement_policies`` are serialized ``ApplicationPolicy`` by chaincode;
    each chaincode invoked or written to must have its own satisfied, those not named are not
    checked. A transaction flagged VALID that has a problem was accepted against the rules.
    """
    try:
        transaction = parse_transaction(envelope)
    except MalformedMessage as error:
        return None, (error.text,)
    problems: list[Text] = []
    if transaction.channel != config.channel_id:
        problems.append(Text("it is for another channel"))
    if not transaction.id_is_consistent:
        problems.append(Text("its id is not the hash of nonce and creator"))
    if not transaction.hash_is_consistent:
        problems.append(Text("what was endorsed is not what was proposed"))
    problems += _check_creator(config, transaction)
    touched = {transaction.chaincode, transaction.action.chaincode}
    touched |= {rwset.namespace for rwset in transaction.rwsets if rwset.writes_anything}
    for chaincode in sorted(touched & set(endorsement_policies)):
        problems += _check_endorsements(config, transaction, endorsement_policies[chaincode])
    return transaction, tuple(problems)


def _check_creator(config: ChannelConfig, transaction: ParsedTransaction) -> list[Text]:
    try:
        creator = config.msps.deserialize(transaction.creator)
    except MspError as error:
        return [Text("its creator is not accepted: {error}", error=error)]
    header = transaction.header
    if not creator.verify(header.payload, header.signature):
        return [Text("its creator's signature is wrong")]
    return []


def _check_endorsements(
    config: ChannelConfig, transaction: ParsedTransaction, endorsement_policy: bytes
) -> list[Text]:
    signed = [
        SignedData(transaction.response_payload + e.endorser, e.endorser, e.signature)
        for e in transaction.endorsements
    ]
    try:
        policy = config.endorsement_policy(endorsement_policy)
        if satisfied(policy, config.msps, signed):
            return []
    except PolicyError as error:
        return [Text("its endorsement policy cannot be used: {error}", error=error)]
    return [Text("its endorsements do not satisfy the policy")]


def is_endorser_transaction(transaction: BlockTransaction) -> bool:
    """Say whether it is a chaincode invocation, rather than a configuration or unreadable."""
    return transaction.type == common_pb2.ENDORSER_TRANSACTION
