"""Holds what a peer told against what the user's own light node has verified.

A standing, a clearing or a settlement is one peer's word until the transaction that wrote it is
found in a block whose header this node verified, with the very same value in its write set.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from light_node import jsonio
from light_node.fabric.errors import FabricError
from wallet_app.trading.view import Proof, TrustView

_log = logging.getLogger(__name__)
_WAIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Proven:
    """A transaction out of a verified block: its writes in the market's namespace, and how sure."""

    proof: Proof
    writes: Mapping[str, bytes | None]


class Node(Protocol):
    """What trading needs of the light node."""

    def trust(self) -> TrustView:
        """Return what the Trust screen shows."""
        ...

    def prove(self, block: int, transaction_id: str, timeout: float) -> Proven | None:
        """Return the transaction as verified; None if that is not possible within ``timeout`` s."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """Something a peer said of transaction ``transaction_id`` in ``block``.

    ``holds`` tells from the transaction's real writes (key → value in the market's namespace)
    whether it is so; ``done`` gets the result.
    """

    block: int
    transaction_id: str
    holds: Callable[[Mapping[str, bytes | None]], bool]
    done: Callable[[Proof], None]


class Prover:
    """A thread that proves claims in order. ``done`` is called from it with the result."""

    def __init__(self, node: Node) -> None:
        """Prove with ``node``."""
        self._node = node
        self._queue: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="prover", daemon=True)

    def start(self) -> None:
        """Start proving."""
        self._thread.start()

    def put(self, claim: Claim) -> None:
        """Prove ``claim`` after those before it."""
        self._queue.put(claim)

    def stop(self) -> None:
        """End after the claim under way."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(_WAIT_S)

    def _run(self) -> None:
        while (claim := self._queue.get()) is not None:
            claim.done(self._prove(claim))

    def _prove(self, claim: Claim) -> Proof:
        try:
            proven = self._node.prove(claim.block, claim.transaction_id, _WAIT_S)
        except FabricError as error:
            _log.warning("block %d cannot be proved yet: %s", claim.block, error)
            return Proof.NONE
        if proven is None:
            return Proof.NONE
        try:
            holds = claim.holds(proven.writes)
        except jsonio.JsonError:
            holds = False
        if not holds:
            _log.error("transaction %s wrote something else than was told", claim.transaction_id)
            return Proof.DISPUTED
        return proven.proof
