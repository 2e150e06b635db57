"""A ledger in memory with Fabric's semantics, for tests, replays and trying the contract out.

It keeps what makes Fabric different from a database: an invocation is *simulated* on committed
state and leaves a read set, range reads and a write set; only at commit are the versions of all
reads compared (MVCC_READ_CONFLICT) and all ranges read again (PHANTOM_READ_CONFLICT), in the
order of the block, each transaction seeing the writes of the valid ones before it
(docs/fabric-protocol.md section 7, point 5). Simulations may lie as far apart from their commit
as a test wants, which is how interleavings are played through.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from hashlib import sha256

from light_node.contract.contract import invoke
from light_node.contract.stub import Invocation, Response
from light_node.fabric.errors import commit_error, contract_refused
from light_node.fabric.identity import SigningIdentity


class Validation(IntEnum):
    """The validation codes this ledger gives, with ``protos.TxValidationCode``'s numbers."""

    VALID = 0
    MVCC_READ_CONFLICT = 11
    PHANTOM_READ_CONFLICT = 12


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Where a key was last written: block number and position in the block."""

    block: int
    transaction: int


@dataclass(frozen=True, slots=True)
class RangeRead:
    """A range as it was iterated: ``exhausted`` unless the reader stopped early."""

    start: str
    end: str
    exhausted: bool
    results: tuple[tuple[str, Version], ...]


@dataclass(slots=True)
class ReadWriteSet:
    """What a simulation read and would write; a written None is a deletion."""

    reads: dict[str, Version | None] = field(default_factory=dict)
    ranges: list[RangeRead] = field(default_factory=list)
    writes: dict[str, bytes | None] = field(default_factory=dict)


class Simulation:
    """A :class:`~light_node.contract.stub.LedgerState` of one invocation; it dies with a commit."""

    def __init__(self, ledger: "MemoryLedger") -> None:
        self._ledger = ledger
        self._height = ledger.height
        self._open: list[_OpenRange] = []
        self._done = ReadWriteSet()

    def get(self, key: str) -> bytes | None:
        """Return the committed value, recording the version read."""
        self._check_alive()
        found = self._ledger.lookup(key)
        self._done.reads.setdefault(key, found[1] if found else None)
        return found[0] if found else None

    def prefetch(self, keys: Sequence[str]) -> None:
        """Do nothing: nothing here is far away."""

    def put(self, key: str, value: bytes) -> None:
        """Record a write; an empty value is a deletion."""
        if not key:
            raise ValueError("a key must not be empty")
        self._done.writes[key] = value or None

    def delete(self, key: str) -> None:
        """Record a deletion."""
        self.put(key, b"")

    def range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Yield committed entries in key order, recording how far the reader came."""
        reading = _OpenRange(start, end)
        self._open.append(reading)
        for key, value, version in self._ledger.entries(start, end):
            self._check_alive()
            reading.results.append((key, version))
            yield key, value
        reading.exhausted = True

    def finish(self) -> ReadWriteSet:
        """Return what was read and would be written."""
        self._done.ranges = [
            RangeRead(r.start, r.end, r.exhausted, tuple(r.results)) for r in self._open
        ]
        return self._done

    def _check_alive(self) -> None:
        if self._ledger.height != self._height:
            raise RuntimeError("the ledger has moved on: a simulation sees one height only")


class MemoryLedger:
    """Versioned world state of one chaincode; starts empty at height 1 (the genesis block)."""

    def __init__(self) -> None:
        self._state: dict[str, tuple[bytes, Version]] = {}
        self._keys: list[str] = []
        self.height = 1

    def lookup(self, key: str) -> tuple[bytes, Version] | None:
        """Return a committed value and its version."""
        return self._state.get(key)

    def entries(self, start: str, end: str) -> Iterator[tuple[str, bytes, Version]]:
        """Yield committed (key, value, version) with ``start`` ≤ key < ``end``.

        Python compares text by code point, which is the order of UTF-8 bytes LevelDB keeps.
        """
        first, last = bisect_left(self._keys, start), bisect_left(self._keys, end)
        for key in self._keys[first:last]:
            value, version = self._state[key]
            yield key, value, version

    def simulate(self) -> Simulation:
        """Begin a simulation on the committed state."""
        return Simulation(self)

    def commit(self, block: Sequence[ReadWriteSet]) -> list[Validation]:
        """Validate and apply one block of transactions in order; return one code for each."""
        number, self.height = self.height, self.height + 1
        codes = []
        for position, rwset in enumerate(block):
            code = self._validate(rwset)
            codes.append(code)
            if code is Validation.VALID:
                for key, value in rwset.writes.items():
                    self._apply(key, value, Version(number, position))
        return codes

    def _validate(self, rwset: ReadWriteSet) -> Validation:
        for key, version in rwset.reads.items():
            found = self._state.get(key)
            if (found[1] if found else None) != version:
                return Validation.MVCC_READ_CONFLICT
        for reading in rwset.ranges:
            if not reading.exhausted and not reading.results:
                continue
            # An iterator left early vouches for the keys up to the last one it returned only.
            end = reading.end if reading.exhausted else reading.results[-1][0] + "\0"
            now = tuple((key, version) for key, _, version in self.entries(reading.start, end))
            if now != reading.results:
                return Validation.PHANTOM_READ_CONFLICT
        return Validation.VALID

    def _apply(self, key: str, value: bytes | None, version: Version) -> None:
        known = key in self._state
        if value is None:
            if known:
                del self._state[key]
                del self._keys[bisect_left(self._keys, key)]
            return
        if not known:
            insort(self._keys, key)
        self._state[key] = (value, version)


@dataclass(frozen=True, slots=True)
class Endorsed:
    """An invocation that was simulated and not committed yet."""

    transaction_id: str
    response: Response
    rwset: ReadWriteSet
    event: tuple[str, bytes] | None


@dataclass(frozen=True, slots=True)
class CommittedEvent:
    """An event of a valid transaction."""

    block: int
    transaction_id: str
    name: str
    payload: bytes


class MemoryChannel:
    """The market contract on a :class:`MemoryLedger`, called as through a gateway.

    ``now`` gives the proposals' timestamps. Errors are the gateway client's own:
    ``fabric.errors.ContractRefused`` and ``CommitConflict``.
    """

    def __init__(self, ledger: MemoryLedger, now: Callable[[], datetime]) -> None:
        self.ledger = ledger
        self.channel_id = "market"
        self.events: list[CommittedEvent] = []
        self._now = now
        self._count = 0

    def endorse(self, identity: SigningIdentity, function: str, *args: str | bytes) -> Endorsed:
        """Simulate one invocation; a refusal is in the response's status."""
        self._count += 1
        transaction_id = sha256(self._count.to_bytes(8) + identity.serialized).hexdigest()
        simulation = self.ledger.simulate()
        invocation = Invocation(
            state=simulation,
            args=[a.encode() if isinstance(a, str) else a for a in (function, *args)],
            creator=identity.serialized,
            certificate=identity.certificate,
            msp_id=identity.msp_id,
            transaction_id=transaction_id,
            timestamp=self._now(),
            channel_id=self.channel_id,
        )
        response = invoke(invocation)
        event = invocation.event if response.ok else None
        return Endorsed(transaction_id, response, simulation.finish(), event)

    def commit(self, *block: Endorsed) -> list[Validation]:
        """Commit one block of endorsed transactions in this order."""
        number = self.ledger.height
        for endorsed in block:
            _check(endorsed)
        codes = self.ledger.commit([endorsed.rwset for endorsed in block])
        for endorsed, code in zip(block, codes, strict=True):
            if code is Validation.VALID and endorsed.event:
                name, payload = endorsed.event
                self.events.append(CommittedEvent(number, endorsed.transaction_id, name, payload))
        return codes

    def evaluate(self, identity: SigningIdentity, function: str, *args: str | bytes) -> bytes:
        """Return the payload of a query; ``ContractRefused`` if the contract refuses."""
        return _check(self.endorse(identity, function, *args)).response.payload

    def submit(self, identity: SigningIdentity, function: str, *args: str | bytes) -> bytes:
        """Endorse and commit in a block of its own; ``ContractRefused`` or ``CommitConflict``."""
        endorsed = _check(self.endorse(identity, function, *args))
        code = self.commit(endorsed)[0]
        if code is not Validation.VALID:
            raise commit_error(endorsed.transaction_id, code, self.ledger.height - 1)
        return endorsed.response.payload


class _OpenRange:
    def __init__(self, start: str, end: str) -> None:
        self.start, self.end = start, end
        self.results: list[tuple[str, Version]] = []
        self.exhausted = False


def _check(endorsed: Endorsed) -> Endorsed:
    if not endorsed.response.ok:
        raise contract_refused(
            endorsed.response.status,
            endorsed.response.message,
            stage="endorse",
            transaction_id=endorsed.transaction_id,
        )
    return endorsed
