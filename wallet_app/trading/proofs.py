"""Holds what a peer told against what the user's own light node has verified.

A standing, a clearing or a settlement is one peer's word until the transaction that wrote it is
found in a block whose header this node verified, with the very same value in its write set.
"""

import heapq
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from light_node import jsonio
from light_node.fabric.errors import FabricError
from light_node.i18n import NOTHING, Text
from wallet_app.trading.view import Proof, TrustView

_log = logging.getLogger(__name__)
_WAIT_S = 15.0
_SLICE_S = 1.0
_PAUSE_S = 0.2
_TRIES = 20
_DISPUTES = 3
"""So often peers must be found to differ before that is told: it stands for good then."""
_FIRST_LATER_S, _LAST_LATER_S = 5.0, 600.0
"""What one organisation alone vouches for is looked at again after so long, doubled every time."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A transaction out of a verified block: its writes in the market's namespace, and how sure.

    ``contested`` tells of a DISPUTED one that organisations differ on it: that may be decided yet.
    """

    proof: Proof
    writes: Mapping[str, bytes | None]
    contested: bool = True


@dataclass(frozen=True, slots=True)
class Audited:
    """What replaying a slot gave: AUDITED, AGREED if not all could be replayed, or DISPUTED.

    ``difference`` says what differs first, and quotes the ledger; empty unless DISPUTED.
    ``contested`` tells of a DISPUTED one that it rests on flags organisations differ on: that may
    be decided yet.
    """

    proof: Proof
    difference: Text = NOTHING
    contested: bool = False


class Node(Protocol):
    """What trading needs of the light node."""

    def trust(self) -> TrustView:
        """Return what the Trust screen shows."""
        ...

    def prove(self, block: int, transaction_id: str, timeout: float) -> Proven | None:
        """Return the transaction as verified; None if that is not possible within ``timeout`` s."""
        ...

    def audit(self, slot: str, block: int) -> Audited | None:
        """Replay a slot settled in verified block ``block``; None if its blocks are not at hand."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """Something a peer said of transaction ``transaction_id`` in ``block``.

    ``holds`` tells from the transaction's real writes (key → value in the market's namespace)
    whether it is so; ``done`` gets the result, and whether a dispute is one between organisations
    that may be decided yet. When two organisations agree on it and it settles ``slot``, the slot is
    replayed, and ``audited`` gets the outcome of that. ``tries``, ``disputes`` and ``looks`` count
    how often it could not be proved, was contested, or was looked at after something had been told
    that may change; ``told`` and ``audit`` are what was told last.
    """

    block: int
    transaction_id: str
    holds: Callable[[Mapping[str, bytes | None]], bool]
    done: Callable[[Proof, bool], None]
    slot: str = ""
    audited: Callable[[Audited], None] | None = None
    tries: int = 0
    disputes: int = 0
    looks: int = 0
    told: Proof | None = None
    audit: Audited | None = None


class Prover:
    """A thread that proves claims in order. ``done`` is called from it with the result.

    A claim that cannot be proved yet, because the light node is behind or its peers are silent,
    goes behind the others and is tried again for some minutes. One for which a single organisation
    vouches, or on which organisations differ, is told so, and looked at again for some hours: the
    other may be lost for a while only, and who lies is found out and shut out.
    """

    def __init__(self, node: Node) -> None:
        """Prove with ``node``."""
        self._node = node
        self._queue: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self._later: list[tuple[float, int, Claim]] = []
        self._looks = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prover", daemon=True)

    def start(self) -> None:
        """Start proving."""
        self._thread.start()

    def put(self, claim: Claim) -> None:
        """Prove ``claim`` after those before it."""
        self._queue.put(claim)

    def stop(self) -> None:
        """End at once; claims not proved yet are forgotten (a start derives them anew)."""
        self._stopping.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(_WAIT_S)

    def _run(self) -> None:
        while (claim := self._next()) is not None and not self._stopping.is_set():
            proof, contested = self._prove(claim)
            if self._stopping.is_set():
                return
            if proof is Proof.NONE:
                self._unproved(claim)
            elif contested and claim.disputes + 1 < _DISPUTES:
                self._again(replace(claim, disputes=claim.disputes + 1))
            else:
                self._tell(claim, proof, contested)

    def _unproved(self, claim: Claim) -> None:
        if claim.told is not None:
            self._look_later(claim)
        elif claim.tries + 1 < _TRIES:
            self._queue.put(replace(claim, tries=claim.tries + 1))
        else:
            claim.done(Proof.NONE, False)

    def _tell(self, claim: Claim, proof: Proof, contested: bool) -> None:
        if proof is not claim.told:
            claim.done(proof, contested)
            claim = replace(claim, told=proof)
        if proof is Proof.VERIFIED or contested:
            self._look_later(claim)
        if proof is Proof.AGREED and claim.audited is not None:
            self._audit(claim, claim.audited)

    def _again(self, claim: Claim) -> None:
        self._queue.put(claim)
        self._stopping.wait(_PAUSE_S)

    def _next(self) -> Claim | None:
        """Wait for the next claim: a new one, or one that is due to be looked at again."""
        timeout = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return heapq.heappop(self._later)[2]

    def _look_later(self, claim: Claim) -> None:
        if claim.looks >= _TRIES:
            return
        due = time.monotonic() + min(_FIRST_LATER_S * 2**claim.looks, _LAST_LATER_S)
        self._looks += 1  # of two that are due at once the first comes first
        heapq.heappush(self._later, (due, self._looks, replace(claim, looks=claim.looks + 1)))

    def _audit(self, claim: Claim, audited: Callable[[Audited], None]) -> None:
        """Replay the slot the claim settles; later if its blocks cannot be had now."""
        found = self._node.audit(claim.slot, claim.block)
        if found is None:
            if claim.tries + 1 < _TRIES:
                self._again(replace(claim, tries=claim.tries + 1))
            return
        if found.contested and claim.disputes + 1 < _DISPUTES:
            self._again(replace(claim, disputes=claim.disputes + 1))
            return
        if found != claim.audit:
            if found.proof is Proof.DISPUTED:
                _log.error("%s was not settled as it should be: %s", claim.slot, found.difference)
            audited(found)
        if found.contested:
            self._look_later(replace(claim, audit=found))

    def _prove(self, claim: Claim) -> tuple[Proof, bool]:
        """Return how far a claim is proved, and whether organisations differ on it."""
        proven = self._found(claim)
        if proven is None:
            return Proof.NONE, False
        if proven.proof is Proof.DISPUTED:
            return Proof.DISPUTED, proven.contested
        try:
            holds = claim.holds(proven.writes)
        except jsonio.JsonError:
            holds = False
        if not holds:
            _log.error("transaction %s wrote something else than was told", claim.transaction_id)
            return Proof.DISPUTED, False
        return proven.proof, False

    def _found(self, claim: Claim) -> Proven | None:
        """Ask the node in short slices, so that a stop is heard meanwhile."""
        until = time.monotonic() + _WAIT_S
        while not self._stopping.is_set() and time.monotonic() < until:
            try:
                proven = self._node.prove(claim.block, claim.transaction_id, _SLICE_S)
            except FabricError as error:
                _log.warning("block %d cannot be proved yet: %s", claim.block, error)
                proven = None
            if proven is not None:
                return proven
            self._stopping.wait(_PAUSE_S)
        return None
