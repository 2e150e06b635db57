"""Contracts that cheat: what a matchmaking centre and the endorsers it has won over may run.

Each runs the honest contract over a ledger state that is falsified on the way in or out. All who
run the same one write the same, so a majority of them endorses it properly: signatures, flags and
commit hashes are in order, and only recomputing the slot from the signed quotes and readings finds
it (docs/market-rules.md sections 5, 7 and 8).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from light_node import jsonio
from light_node.contract import records
from light_node.contract.records import CLEARING, ORDERS, QUOTE, READING, SLOT, Record
from light_node.contract.stub import (
    Invocation,
    LedgerState,
    Response,
    composite_range,
    split_composite_key,
)

Contract = Callable[[Invocation], Response]


@dataclass(frozen=True, slots=True)
class _Falsified:
    """A :class:`LedgerState` whose reads and writes pass through the hooks of a subclass."""

    state: LedgerState

    def get(self, key: str) -> bytes | None:
        """Return what is there."""
        return self.state.get(key)

    def prefetch(self, keys: Sequence[str]) -> None:
        """Pass it on."""
        self.state.prefetch(keys)

    def put(self, key: str, value: bytes) -> None:
        """Write what :meth:`written` makes of it."""
        self.state.put(key, self.written(key, value))

    def delete(self, key: str) -> None:
        """Delete as asked."""
        self.state.delete(key)

    def range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Yield what :meth:`seen` lets through; all is read, and so recorded, all the same."""
        for key, value in self.state.range(start, end):
            shown = self.seen(key, value)
            if shown is not None:
                yield key, shown

    def written(self, key: str, value: bytes) -> bytes:
        """Return what is written instead of ``value``."""
        return value

    def told(self, value: bytes) -> bytes:
        """Return what event and response say instead of ``value``."""
        return value

    def seen(self, key: str, value: bytes) -> bytes | None:
        """Return what a range query shows instead of ``value``, None to leave it out."""
        return value


class _Mispriced(_Falsified):
    """Raises the price of clearing and orders half way to the cap."""

    __slots__ = ()

    def written(self, key: str, value: bytes) -> bytes:
        if _kind(key)[0] not in (CLEARING, ORDERS):
            return value
        return self.told(value)

    def told(self, value: bytes) -> bytes:
        record = records.parse(value)
        slot = records.load(self.state, SLOT, record["slot"])
        if record["price"] is None or slot is None:
            return value
        return jsonio.canonical_dumps({**record, "price": false_price(record["price"], slot)})


class _Skipping(_Falsified):
    """Does not see the cheapest seller of round 1, in any round."""

    __slots__ = ()

    def seen(self, key: str, value: bytes) -> bytes | None:
        kind, attributes = _kind(key)
        if kind == QUOTE and attributes[2] == self._victim(attributes[0]):
            return None
        return value

    def _victim(self, slot: str) -> str:
        start, end = composite_range(QUOTE, (slot, "1"))
        quotes = [records.parse(value) for _, value in self.state.range(start, end)]
        offers = [(q["price"], q["participant"]) for q in quotes if q["side"] == "sell"]
        return min(offers)[1] if len(offers) > 1 else ""


class _Missettling(_Falsified):
    """Counts a tenth less than the meters of those who fed in have signed."""

    __slots__ = ()

    def seen(self, key: str, value: bytes) -> bytes | None:
        if _kind(key)[0] != READING:
            return value
        record = records.parse(value)
        fed_in = record["export_wh"]
        return jsonio.canonical_dumps({**record, "export_wh": fed_in - fed_in // 10})


def false_price(price: int, slot: Record) -> int:
    """Return what the mispricing contract makes of a price: half way to the cap, rounded up."""
    return int(price) + (int(slot["cap"]) - int(price) + 1) // 2


def _kind(key: str) -> tuple[str, tuple[str, ...]]:
    return split_composite_key(key) if key.startswith("\x00") else ("", ())


_SWITCHED: Mapping[str, tuple[type[_Falsified], frozenset[bytes]]] = {
    "misprice": (_Mispriced, frozenset({b"ClearSlot"})),
    "skip-quote": (_Skipping, frozenset({b"PublishStanding", b"ClearSlot"})),
    "missettle": (_Missettling, frozenset({b"SettleSlot"})),
}


def dishonest(name: str, honest: Contract) -> Contract:
    """Return ``honest`` with its misprice, skip-quote or missettle variant's functions replaced."""
    state, functions = _SWITCHED[name]

    def invoke(invocation: Invocation) -> Response:
        if not invocation.args or invocation.args[0] not in functions:
            return honest(invocation)
        truth, falsified = invocation.state, state(invocation.state)
        invocation.state = falsified
        try:
            response = honest(invocation)
        finally:
            invocation.state = truth
        if not response.ok:
            return response
        if invocation.event is not None:
            name, payload = invocation.event
            invocation.set_event(name, falsified.told(payload))
        return Response(response.status, response.message, falsified.told(response.payload))

    return invoke
