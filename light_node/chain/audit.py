"""Replaying a market slot from the transactions in verified blocks: was it cleared as it should be?

Endorsements prove that a majority of organisations *said* what the contract's outcome is, not that
it is right. But quotes, readings and everything the rules need lie in the blocks. So every valid
transaction that wrote to the slot is run again through the contract itself
(:mod:`light_node.contract`), on the state the transactions before it left, and result, event and
writes are compared with what was endorsed: a misprice, a quote left out, a wrong settlement line
shows as a :class:`Difference`, whoever signed it.

What a transaction read of other slots' keys (admissions, balances before, the reading before) is
taken at the version its read set names, from the block of that version. That version is the one
in force, or the transaction would not be valid (MVCC). That slots do not overlap is not replayed.

Pure: transactions in, differences out. :mod:`light_node.chain.auditor` fetches and verifies them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from light_node import jsonio
from light_node.chain.errors import NotVerified
from light_node.contract import records
from light_node.contract.contract import invoke
from light_node.contract.stub import (
    Invocation,
    KeyRefused,
    Response,
    composite_key,
    split_composite_key,
)
from light_node.fabric.crypto import CryptoError, load_certificate
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import kvrwset_pb2, msp_pb2
from light_node.fabric.transaction import NamespaceRwset, ParsedTransaction
from light_node.i18n import Text

SLOT_TYPES = frozenset(
    {
        records.SLOT,
        records.QUOTE,
        records.STANDING,
        records.CLEARING,
        records.ORDERS,
        records.READING,
        records.SETTLEMENT,
    }
)
"""Object types of the keys that belong to one slot; the first attribute is its id."""
MAX_DIFFERENCES = 1000
_MAX_SHOWN = 160

Version = tuple[int, int]
"""Block number and position in it: where a key was last written."""
Earlier = Callable[[str, Version], bytes | None]
"""Gives the value written to a key at an earlier version; ``NotVerified`` if it is not at hand."""


@dataclass(frozen=True, slots=True)
class OrderedTransaction:
    """A transaction that two organisations call valid, and its place in the chain."""

    block: int
    index: int
    transaction: ParsedTransaction

    @property
    def version(self) -> Version:
        """The version of what it wrote."""
        return self.block, self.index


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that was written and does not follow.

    ``written`` and ``replayed`` are short JSON or words; words of ours are Texts. All of it is
    ASCII and bounded, whatever the ledger holds.
    """

    block: int
    transaction_id: str
    function: str
    subject: str
    written: str
    replayed: str

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> Text:
        """Say it in one line."""
        return Text(
            "block {number}, {function}: {subject} is {written}, replayed {replayed}",
            number=self.block,
            function=self.function,
            subject=self.subject,
            written=self.written,
            replayed=self.replayed,
        ).of("Difference")


@dataclass(frozen=True, slots=True)
class Replay:
    """What replaying gave. ``phase`` is the slot's at the end, "" if it was never opened.

    ``unchecked`` names transactions that could not be run again because earlier state is not at
    hand, with the reason.
    """

    slot: str
    phase: str
    transactions: int
    differences: tuple[Difference, ...]
    unchecked: tuple[Text, ...]


def belongs(key: str, slot_id: str) -> bool:
    """Say whether ``key`` is one of the slot's own."""
    try:
        kind, attributes = split_composite_key(key)
    except KeyRefused:
        return False
    return kind in SLOT_TYPES and bool(attributes) and attributes[0] == slot_id


def market_writes(transaction: ParsedTransaction, chaincode: str) -> Mapping[str, bytes | None]:
    """Return what a transaction writes in the chaincode's namespace."""
    space = _namespace(transaction, chaincode)
    return {} if space is None else space.writes


def opens(transaction: ParsedTransaction, chaincode: str, slot_id: str) -> bool:
    """Say whether nothing of the slot can have been written before this transaction."""
    return any(
        key == composite_key(records.SLOT, (slot_id,))
        for key in market_writes(transaction, chaincode)
    ) and transaction.args[:1] == (b"OpenSlot",)


def replay(
    slot_id: str,
    chaincode: str,
    transactions: Iterable[OrderedTransaction],
    earlier: Earlier,
) -> Replay:
    """Run a slot's transactions again, in chain order, and compare.

    ``transactions`` are all valid ones that wrote to the slot, from the one that opened it on;
    others among them are taken as state and not judged.
    """
    state = _State(slot_id, chaincode, earlier)
    differences: list[Difference] = []
    unchecked: list[Text] = []
    count = 0
    for entry in transactions:
        if any(belongs(key, slot_id) for key in market_writes(entry.transaction, chaincode)):
            count += 1
            try:
                found = _judge(state, entry)
            except NotVerified as error:
                name = _shown(entry.transaction.transaction_id[:16])
                unchecked.append(
                    Text(
                        "{function} {name}: {error}",
                        function=_function(entry),
                        name=name,
                        error=error,
                    )
                )
                found = []
            differences += found[: MAX_DIFFERENCES - len(differences)]
        state.apply(entry)
    return Replay(slot_id, state.phase, count, tuple(differences), tuple(unchecked))


_ACCEPTED = Text("accepted")


# -- state --------------------------------------------------------------------------------------


class _NotRead(Exception):
    """The contract reads something that the endorsed transaction did not: unread, unchecked."""


class _State:
    """World state of the market as far as the slot needs it."""

    def __init__(self, slot_id: str, chaincode: str, earlier: Earlier) -> None:
        self.slot_id, self.chaincode, self.earlier = slot_id, chaincode, earlier
        self.known: dict[str, tuple[bytes | None, Version]] = {}

    @property
    def phase(self) -> str:
        """The slot's phase as written last, "" before it is opened or if unreadable."""
        found = self.known.get(composite_key(records.SLOT, (self.slot_id,)))
        try:
            record = jsonio.mapping(jsonio.strict_loads((found and found[0]) or b""), "the slot")
            return jsonio.string(record, "phase", max_length=32)
        except jsonio.JsonError:
            return ""

    def apply(self, entry: OrderedTransaction) -> None:
        """Take over what a transaction wrote."""
        for key, value in market_writes(entry.transaction, self.chaincode).items():
            self.known[key] = value, entry.version


class _View:
    """The ledger as one transaction saw it: a :class:`light_node.contract.stub.LedgerState`."""

    def __init__(self, state: _State, space: NamespaceRwset) -> None:
        self._state = state
        self._reads = {read.key: _version(read) for read in space.kv.reads}
        self._ranges = {(read.start_key, read.end_key) for read in space.kv.range_queries_info}
        self.writes: dict[str, bytes | None] = {}

    def get(self, key: str) -> bytes | None:
        if key not in self._reads:
            raise _NotRead(key)
        value, version = self._state.known.get(key, (None, None))
        if belongs(key, self._state.slot_id):
            return value
        stated = self._reads[key]
        if stated is None:
            return None
        return value if stated == version else self._state.earlier(key, stated)

    def prefetch(self, keys: Sequence[str]) -> None:
        """Do nothing: what was read is what :meth:`get` is asked for."""

    def put(self, key: str, value: bytes) -> None:
        self.writes[key] = value or None

    def delete(self, key: str) -> None:
        self.writes[key] = None

    def range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        if (start, end) not in self._ranges:
            raise _NotRead(start)
        # Ranges outside of the slot are the calendar's, which is not replayed.
        keys = [
            k for k in self._state.known if start <= k < end and belongs(k, self._state.slot_id)
        ]
        for key in sorted(keys):
            value, _ = self._state.known[key]
            if value is not None:
                yield key, value


# -- one transaction ----------------------------------------------------------------------------


def _judge(state: _State, entry: OrderedTransaction) -> list[Difference]:
    transaction = entry.transaction
    if transaction.chaincode != state.chaincode:
        name = _shown(transaction.chaincode)
        return [_difference(entry, Text("what wrote to the slot"), name, f'"{state.chaincode}"')]
    space = _namespace(transaction, state.chaincode)
    assert space is not None
    found = _beside_the_contract(entry, space) + _stale_reads(state, entry, space)
    view = _View(state, space)
    try:
        response, event = _run(view, transaction)
    except _NotRead as missing:
        wanted = _named(str(missing.args[0]))
        without, including = Text("without {key}", key=wanted), Text("with {key}", key=wanted)
        return [*found, _difference(entry, Text("what was read"), without, including)]
    except (MalformedMessage, CryptoError, DecodeError) as error:
        refusal = _text(str(error))
        return [*found, _difference(entry, Text("the proposal"), _ACCEPTED, refusal)]
    except NotVerified:
        raise
    except Exception as error:  # noqa: BLE001 - a spoiled record can break the contract anywhere
        reason = Text(
            "impossible on these records ({kind}: {what})",
            kind=type(error).__name__,
            what=_text(str(error)),
        )
        return [*found, _difference(entry, Text("the outcome"), _ACCEPTED, reason)]
    if not response.ok:
        refusal = _text(response.message)
        return [*found, _difference(entry, Text("the outcome"), _ACCEPTED, refusal)]
    return found + _compare(entry, space, view.writes, response, event)


def _run(view: _View, transaction: ParsedTransaction) -> tuple[Response, tuple[str, bytes] | None]:
    identity = msp_pb2.SerializedIdentity.FromString(transaction.creator)
    invocation = Invocation(
        state=view,
        args=list(transaction.args),
        creator=transaction.creator,
        certificate=load_certificate(identity.id_bytes),
        msp_id=identity.mspid,
        transaction_id=transaction.transaction_id,
        timestamp=transaction.header.timestamp,
        channel_id=transaction.channel,
    )
    response = invoke(invocation)
    return response, invocation.event


def _compare(
    entry: OrderedTransaction,
    space: NamespaceRwset,
    writes: Mapping[str, bytes | None],
    response: Response,
    event: tuple[str, bytes] | None,
) -> list[Difference]:
    found: list[Difference] = []
    written = space.writes
    for key in sorted(written.keys() | writes.keys()):
        if key not in written or key not in writes:
            subject = Text("the writing of {key}", key=_named(key))
            found.append(_difference(entry, subject, _yes(key in written), _yes(key in writes)))
        else:
            found += _fields(entry, _named(key), written[key], writes[key])
    found += _fields(
        entry, Text("the result"), entry.transaction.response.payload, response.payload
    )
    stated = entry.transaction.event
    if stated is None or event is None:
        if (stated is None) != (event is None):
            found.append(
                _difference(entry, Text("an event"), _yes(bool(stated)), _yes(bool(event)))
            )
        return found
    if stated.name != event[0]:
        found.append(_difference(entry, Text("the event"), _shown(stated.name), _shown(event[0])))
    return found + _fields(entry, Text("the event"), stated.payload, event[1])


def _beside_the_contract(entry: OrderedTransaction, space: NamespaceRwset) -> list[Difference]:
    """The contract never touches key metadata or private data."""
    beside = space.kv.metadata_writes or any(
        c.hashed.hashed_writes or c.hashed.metadata_writes for c in space.collections
    )
    if not beside:
        return []
    subject = Text("key metadata or private data")
    return [_difference(entry, subject, Text("written"), Text("not written"))]


def _stale_reads(
    state: _State, entry: OrderedTransaction, space: NamespaceRwset
) -> list[Difference]:
    """What was read must be the version in force, or peers should have called it invalid."""
    found = []
    for read in space.kv.reads:
        if not belongs(read.key, state.slot_id):
            continue  # others may have written it meanwhile
        stated = _version(read)
        value, version = state.known.get(read.key, (None, None))
        in_force = None if value is None else version
        if stated != in_force:
            subject = Text("the version read of {key}", key=_named(read.key))
            found.append(_difference(entry, subject, str(stated), str(in_force)))
    return found


def _fields(
    entry: OrderedTransaction, what: str, written: bytes | None, replayed: bytes | None
) -> list[Difference]:
    """Say in which fields two records differ, or that they differ if they are no records."""
    if written == replayed:
        return []
    one, other = _record(written), _record(replayed)
    if one is None or other is None:
        return [_difference(entry, what, _shown(written), _shown(replayed))]
    found = []
    for name in sorted(one.keys() | other.keys()):
        a, b = one.get(name), other.get(name)
        if name in one and name in other and a == b and type(a) is type(b):
            continue
        subject, a, b = _narrow(Text("{what}, {name}", what=what, name=_text(name)), a, b)
        found.append(_difference(entry, subject, _shown(a), _shown(b)))
    # Equal fields in other bytes: not canonical, so not what the contract writes.
    return found or [_difference(entry, what, _shown(written), _shown(replayed))]


def _narrow(subject: Text, a: Any, b: Any) -> tuple[Text, Any, Any]:
    """Descend to the first row or member that differs, so that the difference can be read."""
    while True:
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            at: Any = next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)
            if at is None or not isinstance(a[at], list | dict):
                return subject, a, b
            subject, a, b = Text("{what} row {row}", what=subject, row=at + 1), a[at], b[at]
        elif isinstance(a, dict) and isinstance(b, dict):
            at = next((k for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)), None)
            if at is None:
                return subject, a, b
            subject = Text("{what} of {name}", what=subject, name=_text(at))
            a, b = a.get(at), b.get(at)
        else:
            return subject, a, b


# -- texts --------------------------------------------------------------------------------------


def _difference(entry: OrderedTransaction, subject: str, written: str, replayed: str) -> Difference:
    name = _text(entry.transaction.transaction_id)
    return Difference(entry.block, name, _function(entry), subject, written, replayed)


def _function(entry: OrderedTransaction) -> str:
    args = entry.transaction.args
    return _text(args[0].decode("ascii", "replace")) if args else Text("a call without arguments")


def _named(key: str) -> str:
    try:
        kind, attributes = split_composite_key(key)
    except KeyRefused:
        return _text(key)
    rest = attributes[1:] if kind in SLOT_TYPES else attributes
    return _text(" ".join((kind, *rest)))


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return _cut(json.dumps(value, sort_keys=True))


def _text(text: str) -> str:
    return _cut(ascii(text)[1:-1])


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _yes(there: bool) -> Text:
    return Text("there") if there else Text("missing")


def _record(value: bytes | None) -> dict[str, Any] | None:
    try:
        found = jsonio.strict_loads(value or b"")
    except jsonio.JsonError:
        return None
    return found if isinstance(found, dict) else None


def _version(read: kvrwset_pb2.KVRead) -> Version | None:
    if not read.HasField("version"):
        return None
    return read.version.block_num, read.version.tx_num


def _namespace(transaction: ParsedTransaction, chaincode: str) -> NamespaceRwset | None:
    return next((space for space in transaction.rwsets if space.namespace == chaincode), None)
