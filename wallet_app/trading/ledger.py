"""What trading needs of the network.

The trading session knows no gRPC: it speaks to a :class:`Ledger`, which
:class:`wallet_app.trading.network.GatewayLedger` implements over the gateway client. All calls
fail with the tree of :mod:`light_node.fabric.errors`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a transaction ended: TxValidationCode (0 is VALID) and its block."""

    code: int
    block: int

    @property
    def valid(self) -> bool:
        """Whether it changed the ledger."""
        return self.code == 0

    @property
    def conflict(self) -> bool:
        """Whether another transaction got in between: MVCC_READ_CONFLICT, PHANTOM_READ_CONFLICT."""
        return self.code in (11, 12)


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """One event of the market contract. ``payload`` is the event's JSON, not verified yet."""

    name: str
    payload: dict[str, Any]
    transaction_id: str
    block: int


class Ledger(Protocol):
    """The market contract on a channel, seen by one identity."""

    @property
    def peer_address(self) -> str:
        """Address of the peer that is asked now; "" where there is none."""
        ...

    def evaluate(self, function: str, *arguments: str) -> Any:
        """Return the JSON a query answers: one peer's word."""
        ...

    def prepare(self, function: str, *arguments: str) -> tuple[str, bytes]:
        """Endorse, check and sign; return transaction id and signed envelope. Nothing is sent."""
        ...

    def submit(self, transaction_id: str, envelope: bytes) -> None:
        """Hand the envelope to the ordering service; may be repeated."""
        ...

    def outcome(self, transaction_id: str, timeout: float) -> Outcome | None:
        """Return how the transaction ended, None if that is not known within ``timeout`` s."""
        ...

    def events(self, start_block: int | None) -> Iterator[LedgerEvent]:
        """Return the contract's events from ``start_block`` (None: from now on) until closed.

        "Now" is when this is called, not when the first event is asked for.
        """
        ...

    def close(self) -> None:
        """End event streams and connections."""
        ...
