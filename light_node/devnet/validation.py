"""What a committing peer decides about each transaction of a block, in Fabric's order.

First every transaction on its own: form, creator's signature, transaction id, duplicates,
endorsement policy. Then, in block order, those still valid against the state and against what
earlier transactions of the block wrote: MVCC, then phantoms. Pure functions; flags as in
``docs/fabric-protocol.md`` 1.6, read-write sets as in 1.7, order after 2.10.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from light_node.devnet.simulation import StateReader
from light_node.devnet.store import Version
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import common_pb2, kvrwset_pb2, peer_pb2
from light_node.fabric.transaction import (
    ChaincodeEvent,
    EnvelopeHeader,
    ParsedTransaction,
    parse_header,
    parse_transaction,
)

log = logging.getLogger(__name__)

VALID = int(peer_pb2.VALID)
Updates = dict[tuple[str, bytes], tuple[bytes | None, Version]]


class Rules(Protocol):
    """What the channel's configuration and definitions say, as far as validation asks."""

    channel: str

    def creator_signed(self, header: EnvelopeHeader) -> bool:
        """Tell whether the creator is a valid identity and signed the payload."""
        ...

    def config_follows(self, header: EnvelopeHeader) -> bool:
        """Tell whether a CONFIG envelope brings the configuration its update leads to."""
        ...

    def endorsed(self, transaction: ParsedTransaction, chaincode: str) -> bool:
        """Tell whether the endorsements satisfy the endorsement policy of ``chaincode``."""
        ...

    def chaincode_exists(self, name: str) -> bool:
        """Tell whether ``name`` is committed on the channel (system chaincodes are not)."""
        ...


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """The verdict on one transaction; ``event`` is set for every readable one that emits it."""

    transaction_id: str
    type: int
    code: int
    event: ChaincodeEvent | None = None


@dataclass(frozen=True, slots=True)
class ValidatedBlock:
    """The verdicts on all transactions of a block and the state changes of the valid ones."""

    results: tuple[TransactionResult, ...]
    updates: Updates

    @property
    def filter(self) -> bytes:
        """The block's TRANSACTIONS_FILTER."""
        return bytes(result.code for result in self.results)


@dataclass(frozen=True, slots=True)
class _Candidate:
    id: str
    type: int
    code: int
    transaction: ParsedTransaction | None = None


def validate_block(
    number: int,
    envelopes: Sequence[bytes],
    rules: Rules,
    state: StateReader,
    is_committed: Callable[[str], bool],
) -> ValidatedBlock:
    """Return the verdicts on block ``number``; ``is_committed`` knows earlier blocks' ids."""
    candidates = []
    seen: set[str] = set()
    for envelope in envelopes:
        candidate = _check_alone(envelope, rules, is_committed)
        if candidate.code == VALID and candidate.id:
            if candidate.id in seen:
                candidate = _Candidate(
                    candidate.id, candidate.type, peer_pb2.DUPLICATE_TXID, candidate.transaction
                )
            seen.add(candidate.id)
        candidates.append(candidate)
    updates: Updates = {}
    results = []
    for position, candidate in enumerate(candidates):
        code, transaction = candidate.code, candidate.transaction
        if code == VALID and transaction is not None:
            code = check_reads(transaction, state, updates)
            if code == VALID:
                _apply(transaction, Version(number, position), updates)
        event = transaction.event if transaction is not None else None
        results.append(TransactionResult(candidate.id, candidate.type, code, event))
    return ValidatedBlock(tuple(results), updates)


def describe_block(envelopes: Sequence[bytes], codes: bytes) -> tuple[TransactionResult, ...]:
    """Return the results of a block validated before, from its data and its filter."""
    results = []
    for envelope, code in zip(envelopes, codes, strict=True):
        candidate = _read(envelope)
        transaction = candidate.transaction
        event = transaction.event if transaction is not None else None
        results.append(TransactionResult(candidate.id, candidate.type, code, event))
    return tuple(results)


# -- each transaction alone ------------------------------------------------------------------


def _read(envelope: bytes) -> _Candidate:
    """Parse as far as possible; a configuration has no transaction to show."""
    if not envelope:
        return _Candidate("", common_pb2.MESSAGE, peer_pb2.NIL_ENVELOPE)
    try:
        header = parse_header(envelope)
    except MalformedMessage:
        return _Candidate("", common_pb2.MESSAGE, peer_pb2.BAD_PAYLOAD)
    kind = header.type
    if kind == common_pb2.CONFIG:
        return _Candidate(header.transaction_id, kind, VALID)
    if kind != common_pb2.ENDORSER_TRANSACTION:
        return _Candidate(header.transaction_id, kind, peer_pb2.UNKNOWN_TX_TYPE)
    try:
        transaction = parse_transaction(envelope)
    except MalformedMessage:
        return _Candidate(header.transaction_id, kind, peer_pb2.INVALID_ENDORSER_TRANSACTION)
    return _Candidate(header.transaction_id, kind, VALID, transaction)


def _check_alone(envelope: bytes, rules: Rules, is_committed: Callable[[str], bool]) -> _Candidate:
    candidate = _read(envelope)
    if candidate.code in (peer_pb2.NIL_ENVELOPE, peer_pb2.BAD_PAYLOAD):
        return candidate
    try:
        code = _verdict(candidate, parse_header(envelope), rules, is_committed)
    except Exception:  # one envelope must never keep the chain from growing
        log.exception("a transaction could not be validated")
        code = peer_pb2.INVALID_OTHER_REASON
    return _Candidate(candidate.id, candidate.type, code, candidate.transaction)


def _verdict(
    candidate: _Candidate,
    header: EnvelopeHeader,
    rules: Rules,
    is_committed: Callable[[str], bool],
) -> int:
    if not header.creator or not header.nonce:
        return peer_pb2.BAD_COMMON_HEADER
    if not rules.creator_signed(header):
        return peer_pb2.BAD_CREATOR_SIGNATURE
    if candidate.code == peer_pb2.UNKNOWN_TX_TYPE:
        return peer_pb2.UNSUPPORTED_TX_PAYLOAD
    if candidate.type == common_pb2.CONFIG:
        return VALID if rules.config_follows(header) else peer_pb2.INVALID_CONFIG_TRANSACTION
    transaction = candidate.transaction
    if transaction is None:
        return candidate.code
    if not transaction.id_is_consistent:
        return peer_pb2.BAD_PROPOSAL_TXID
    if transaction.action_header != header.signature_header or not transaction.hash_is_consistent:
        return peer_pb2.INVALID_ENDORSER_TRANSACTION
    if header.channel != rules.channel:
        return peer_pb2.TARGET_CHAIN_NOT_FOUND
    if is_committed(transaction.transaction_id):
        return peer_pb2.DUPLICATE_TXID
    return _endorsement_verdict(transaction, rules)


def _endorsement_verdict(transaction: ParsedTransaction, rules: Rules) -> int:
    action = transaction.action
    if not transaction.chaincode or not action.chaincode:
        return peer_pb2.INVALID_CHAINCODE
    if action.chaincode != transaction.chaincode:
        return peer_pb2.INVALID_CHAINCODE
    event = action.event
    if event is not None and (
        event.chaincode != action.chaincode or event.transaction_id != transaction.transaction_id
    ):
        return peer_pb2.INVALID_OTHER_REASON
    if not rules.chaincode_exists(action.chaincode):
        return peer_pb2.INVALID_CHAINCODE
    # The called chaincode's policy must hold even when nothing is written.
    written = {action.chaincode}
    for rwset in action.rwsets:
        if rwset.collections or rwset.kv.metadata_writes:
            return peer_pb2.BAD_RWSET  # the devnet has neither private data nor key policies
        if rwset.writes_anything:
            written.add(rwset.namespace)
    for namespace in sorted(written):
        if not rules.chaincode_exists(namespace):
            return peer_pb2.ILLEGAL_WRITESET
        if not rules.endorsed(transaction, namespace):
            return peer_pb2.ENDORSEMENT_POLICY_FAILURE
    return VALID


# -- against the state -----------------------------------------------------------------------


def check_reads(transaction: ParsedTransaction, state: StateReader, updates: Updates) -> int:
    """Return VALID if everything read is still so, given ``updates`` earlier in the block."""
    for rwset in transaction.rwsets:
        for read in rwset.kv.reads:
            if not _read_holds(rwset.namespace, read, state, updates):
                return peer_pb2.MVCC_READ_CONFLICT
        for query in rwset.kv.range_queries_info:
            if not _range_holds(rwset.namespace, query, state, updates):
                return peer_pb2.PHANTOM_READ_CONFLICT
    return VALID


def _read_holds(
    namespace: str, read: kvrwset_pb2.KVRead, state: StateReader, updates: Updates
) -> bool:
    key = read.key.encode()
    if (namespace, key) in updates:
        return False
    found = state.get(namespace, key)
    return _stated(read) == (found.version if found else None)


def _range_holds(
    namespace: str, query: kvrwset_pb2.RangeQueryInfo, state: StateReader, updates: Updates
) -> bool:
    if query.WhichOneof("reads_info") == "reads_merkle_hashes":
        return False  # no endorser of the devnet summarises reads by hashes
    start, end = query.start_key.encode(), query.end_key.encode()
    if not query.itr_exhausted:
        end += b"\x00"  # the last key seen belongs to what was read
    now = [(key, found.version) for key, found in state.range(namespace, start, end)]
    pending = {
        key: change
        for (where, key), change in updates.items()
        if where == namespace and key >= start and (not end or key < end)
    }
    if pending:
        merged = dict(now)
        for key, (value, version) in pending.items():
            merged.pop(key, None)
            if value is not None:
                merged[key] = version
        now = sorted(merged.items(), key=lambda item: item[0])
    stated = [(read.key.encode(), _stated(read)) for read in query.raw_reads.kv_reads]
    return stated == now


def _stated(read: kvrwset_pb2.KVRead) -> Version | None:
    if not read.HasField("version"):
        return None
    return Version(read.version.block_num, read.version.tx_num)


def _apply(transaction: ParsedTransaction, version: Version, updates: Updates) -> None:
    for rwset in transaction.rwsets:
        for key, value in rwset.writes.items():
            updates[rwset.namespace, key.encode()] = (value, version)
