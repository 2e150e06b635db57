"""Keys of the world state and how records are read and written (docs/contract.md, "Keys").

Every record is canonical JSON, so that all endorsers write the same bytes. Numbers in keys have
a fixed width, so that keys sort as numbers do.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from light_node import jsonio
from light_node.contract.stub import (
    Invocation,
    LedgerState,
    composite_key,
    composite_range,
    scan,
    split_composite_key,
)

SLOT, CALENDAR = "slot", "calendar"
QUOTE, STANDING, CLEARING, ORDERS = "quote", "standing", "clearing", "orders"
READING, SETTLEMENT = "reading", "settlement"
PARTICIPANT, ACCOUNT, POT = "participant", "account", "pot"

Record = dict[str, Any]

PAGE = 1000
"""Most records one query lists."""


def load(state: LedgerState, object_type: str, *attributes: str) -> Record | None:
    """Return the record at this composite key; None if there is none."""
    value = state.get(composite_key(object_type, attributes))
    return None if value is None else parse(value)


def prefetch(state: LedgerState, *keys: tuple[str, ...]) -> None:
    """Announce reads of these (object type, attribute, …): see :meth:`LedgerState.prefetch`."""
    state.prefetch([composite_key(object_type, attributes) for object_type, *attributes in keys])


def store(state: LedgerState, record: Any, object_type: str, *attributes: str) -> None:
    """Write the record at this composite key."""
    state.put(composite_key(object_type, attributes), jsonio.canonical_dumps(record))


def load_all(
    state: LedgerState, object_type: str, *attributes: str
) -> Iterator[tuple[tuple[str, ...], Record]]:
    """Yield (all attributes of the key, record) under a prefix, in key order."""
    for key, value in scan(state, object_type, attributes):
        yield split_composite_key(key)[1], parse(value)


def load_page(
    state: LedgerState, after: str, object_type: str, *attributes: str
) -> tuple[list[Record], bool]:
    """Return the first ``PAGE`` records under a prefix and whether there are more.

    ``after`` is the last attribute of the record the page before ended with, "" for the first.
    """
    start, end = composite_range(object_type, attributes)
    if after:
        # U+0001 sorts after the key's closing U+0000 and before every character an id may hold.
        start = composite_key(object_type, (*attributes, after))[:-1] + "\x01"
    return take(state.range(start, end), PAGE)


def take(entries: Iterator[tuple[str, bytes]], limit: int) -> tuple[list[Record], bool]:
    """Return up to ``limit`` records and whether there are more."""
    found = [parse(value) for _, value in islice(entries, limit + 1)]
    return found[:limit], len(found) > limit


def parse(value: bytes) -> Record:
    """Read a record this contract wrote."""
    record: Record = jsonio.strict_loads(value)
    return record


def emit(invocation: Invocation, name: str, payload: Record) -> None:
    """Set the transaction's event; the payload is canonical JSON and names the slot."""
    invocation.set_event(name, jsonio.canonical_dumps(payload))
