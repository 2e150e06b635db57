"""What the market contract sees of a ledger: state, invocation, response, composite keys.

The same contract runs inside the devnet's endorser, behind a chaincode server and over the
in-memory ledger of :mod:`light_node.contract.memory`; each of them implements
:class:`LedgerState` and calls :func:`light_node.contract.contract.invoke`. The semantics are
Fabric's (docs/fabric-protocol.md section 1.11).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography.x509 import Certificate

OK = 200
"""Status of a response that changes the ledger; 400 and above is a refusal."""

_NAMESPACE = "\x00"
_SEPARATOR = "\x00"
_LAST = "\U0010ffff"


class KeyRefused(ValueError):
    """A composite key's part is empty or holds U+0000 or U+10FFFF."""


class LedgerState(Protocol):
    """World state of one chaincode at endorsement; keys are ordered as their UTF-8 bytes.

    Reads never see writes of the same invocation. Every key read is recorded with its version,
    every range with its whole result, and both are checked again at commit.
    """

    def get(self, key: str) -> bytes | None:
        """Return the committed value of ``key``; None if absent."""
        ...

    def prefetch(self, keys: Sequence[str]) -> None:
        """Take note that ``keys`` are read next, so that a state far away asks for all at once.

        Only keys that every invocation which ends well does read: what is fetched counts as read.
        """
        ...

    def put(self, key: str, value: bytes) -> None:
        """Set ``key`` at commit; an empty value deletes it, as in Fabric."""
        ...

    def delete(self, key: str) -> None:
        """Remove ``key`` at commit."""
        ...

    def range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Yield the committed (key, value) with ``start`` ≤ key < ``end`` in key order.

        A change inside the part of the range that was iterated invalidates the transaction
        (PHANTOM_READ_CONFLICT).
        """
        ...


@dataclass(slots=True)
class Invocation:
    """One call of the contract: its arguments and the proposal they came in.

    ``args[0]`` is the function's name. ``creator`` is the serialized ``msp.SerializedIdentity``;
    the caller has already checked that it is valid in its MSP and signed the proposal, and passes
    its ``certificate`` and ``msp_id``. ``timestamp`` is the channel header's (aware UTC): the
    client chose it, so nothing that others rely on is decided by it. ``event`` holds what
    :meth:`set_event` was last given; it counts only if the response's status is below 400.
    """

    state: LedgerState
    args: Sequence[bytes]
    creator: bytes
    certificate: Certificate
    msp_id: str
    transaction_id: str
    timestamp: datetime
    channel_id: str
    event: tuple[str, bytes] | None = field(default=None, init=False)

    def set_event(self, name: str, payload: bytes) -> None:
        """Emit the chaincode event ``name`` (not empty); a transaction has at most one."""
        if not name:
            raise ValueError("an event needs a name")
        self.event = (name, payload)


@dataclass(frozen=True, slots=True)
class Response:
    """Outcome of an invocation, as ``protos.Response``.

    ``status`` is 200, or 400 and above with ``message`` = ``CODE: plain text`` (the codes are
    :class:`light_node.contract.errors.Code`). ``payload`` is canonical JSON, empty on refusal.
    """

    status: int
    message: str
    payload: bytes

    @property
    def ok(self) -> bool:
        """Whether the invocation may be endorsed (status below 400)."""
        return self.status < 400


def composite_key(object_type: str, attributes: Sequence[str]) -> str:
    """Return ``U+0000 type U+0000 attribute U+0000 …``; ``KeyRefused`` for unusable parts."""
    key = _NAMESPACE + _SEPARATOR.join((object_type, *attributes)) + _SEPARATOR
    # An empty part shows as two separators in a row; one that holds a separator, by their number.
    if (
        key.count(_SEPARATOR) != len(attributes) + 2
        or _SEPARATOR + _SEPARATOR in key
        or _LAST in key
    ):
        raise KeyRefused("a part of a composite key must not be empty or hold U+0000, U+10FFFF")
    return key


def split_composite_key(key: str) -> tuple[str, tuple[str, ...]]:
    """Return object type and attributes of a composite key; ``KeyRefused`` if it is none."""
    if not key.startswith(_NAMESPACE) or not key.endswith(_SEPARATOR) or len(key) < 3:
        raise KeyRefused("not a composite key")
    object_type, *attributes = key[1:-1].split(_SEPARATOR)
    return object_type, tuple(attributes)


def composite_range(object_type: str, attributes: Sequence[str]) -> tuple[str, str]:
    """Return (start, end) of all composite keys that begin with these parts, end exclusive."""
    prefix = composite_key(object_type, attributes)
    return prefix, prefix + _LAST


def scan(
    state: LedgerState, object_type: str, attributes: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield (key, value) of all composite keys that begin with these parts, in key order."""
    return state.range(*composite_range(object_type, attributes))
