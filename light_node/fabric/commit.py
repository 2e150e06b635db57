"""The way of a signed envelope to its commit: the retry rule of docs/fabric-protocol.md 4.7.

Only one envelope is ever submitted for one intention. After any error of Submit the peer is asked
what became of it before it is submitted again, because errors may have been commits (7.15).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from light_node.clock import Clock
from light_node.fabric.errors import (
    AccessDenied,
    FabricError,
    OutcomeUnknown,
    TimedOut,
    Unavailable,
    validation_code_name,
)
from light_node.fabric.pb import peer_pb2
from light_node.fabric.transaction import ChaincodeEvent

_FIRST_BACK_OFF_S = 0.05
_LAST_BACK_OFF_S = 3.0
_REJECTIONS = 3  # times the ordering service may reject before that is believed (7.6)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds allowed for each call.

    ``commit`` bounds the whole way of an envelope to its commit; ``probe`` is how long CommitStatus
    is asked after an error; an accepted envelope not committed after ``resubmit`` is sent again,
    because a Raft leader may have died with it.
    """

    evaluate: float = 10.0
    endorse: float = 20.0
    submit: float = 10.0
    commit: float = 60.0
    probe: float = 2.0
    resubmit: float = 15.0


DEFAULT_DEADLINES = Deadlines()


@dataclass(frozen=True, slots=True)
class Endorsed:
    """A checked and signed transaction, not submitted yet; keep id and envelope in an outbox.

    ``envelope`` is the serialized signed common.Envelope, ``result`` what the chaincode returned.
    """

    transaction_id: str
    envelope: bytes
    result: bytes = b""
    event: ChaincodeEvent | None = None


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """How a transaction ended: its protos.TxValidationCode and block."""

    code: int
    block_number: int

    @property
    def valid(self) -> bool:
        """Whether it changed the ledger."""
        return self.code == peer_pb2.VALID

    @property
    def name(self) -> str:
        """The name of the code."""
        return validation_code_name(self.code)


class Pace:
    """Pauses between tries, which :meth:`stop` ends from any thread, for good."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        """``random`` spreads the pauses, so that clients part."""
        self._random = random
        self._stopping = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be tried."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """End the pause under way and all later ones."""
        self._stopping.set()

    def pause(self, attempt: int, at_most: float = _LAST_BACK_OFF_S) -> None:
        """Wait before try ``attempt`` + 1: doubling from 50 ms to 3 s, the second half random."""
        step = min(_FIRST_BACK_OFF_S * 2 ** min(attempt, 16), _LAST_BACK_OFF_S)
        jitter = int.from_bytes(self._random(2)) / 0x10000
        self._stopping.wait(max(0.0, min(step * (0.5 + jitter / 2), at_most)))


class Committer:
    """Brings envelopes to their commit through one gateway. Thread-safe."""

    def __init__(
        self,
        submit: Callable[[Endorsed], None],
        commit_status: Callable[[str, float], CommitStatus],
        deadlines: Deadlines,
        clock: Clock,
        pace: Pace,
    ) -> None:
        """``submit`` and ``commit_status`` are the gateway's calls, with its errors."""
        self._submit, self._commit_status = submit, commit_status
        self._deadlines, self._clock, self._pace = deadlines, clock, pace

    def bring_to_commit(self, endorsed: Endorsed, *, ask_first: bool = False) -> CommitStatus:
        """Submit until the transaction is in a block; the retry rule of 4.7.

        ``FabricError`` of Submit only when the ordering service plainly rejected every time and
        nothing of the envelope can be left there; ``OutcomeUnknown`` in every other doubt.
        """
        deadline = self._clock.monotonic() + self._deadlines.commit
        uncertain, rejections, attempt = ask_first, 0, 0
        cause: FabricError | None = None
        wait = self._deadlines.probe if ask_first else 0.0
        while True:
            status, asked = self._ask(endorsed.transaction_id, wait, deadline)
            if status is not None:
                return status
            cause = cause or asked
            if uncertain and asked is not None and not isinstance(asked, Unavailable):
                raise OutcomeUnknown(endorsed.transaction_id, endorsed.envelope, asked) from asked
            left = deadline - self._clock.monotonic()
            if left <= 0 or self._pace.stopped:
                raise OutcomeUnknown(endorsed.transaction_id, endorsed.envelope, cause)
            if attempt and wait < self._deadlines.resubmit:
                self._pace.pause(attempt)
            attempt += 1
            try:
                self._submit(endorsed)
                uncertain, wait = True, self._deadlines.resubmit
            except Unavailable as error:
                cause, uncertain, wait = error, True, self._deadlines.probe
            except FabricError as error:
                cause, rejections, wait = error, rejections + 1, self._deadlines.probe
                if rejections == _REJECTIONS or isinstance(error, AccessDenied):
                    return self._rejected(endorsed, error, uncertain, deadline)

    def _rejected(
        self, endorsed: Endorsed, error: FabricError, uncertain: bool, deadline: float
    ) -> CommitStatus:
        status, _ = self._ask(endorsed.transaction_id, self._deadlines.probe, deadline)
        if status is not None:
            return status
        if uncertain:
            raise OutcomeUnknown(endorsed.transaction_id, endorsed.envelope, error) from error
        raise error

    def _ask(
        self, transaction_id: str, wait: float, deadline: float
    ) -> tuple[CommitStatus | None, FabricError | None]:
        """Ask CommitStatus for ``wait`` seconds: the status, or None and why there is none."""
        until = min(self._clock.monotonic() + wait, deadline)
        cause: FabricError | None = None
        attempt = 0
        while (left := until - self._clock.monotonic()) > 0 and not self._pace.stopped:
            try:
                return self._commit_status(transaction_id, left), None
            except TimedOut as error:
                return None, error
            except Unavailable as error:
                cause = error
            except FabricError as error:
                return None, error  # the peer will not tell; that says nothing of the outcome
            self._pace.pause(attempt, until - self._clock.monotonic())
            attempt += 1
        return None, cause
