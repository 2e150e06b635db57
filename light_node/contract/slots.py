"""The slot record and its phases: quoting ⇄ closed → final → cleared → settling → settled.

Everything that may race with a participant's transaction hangs on this one record: quotes and
readings read it, and the flips out of ``quoting`` and ``cleared`` do nothing but write it. So a
quote that was endorsed before its round closed and commits afterwards fails by MVCC, one that
comes later is refused, and once a flip is committed nothing can enter the range that the next
step reads.
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from light_node import jsonio
from light_node.contract import fields, records
from light_node.contract.caller import operator_of
from light_node.contract.errors import Code, ContractError
from light_node.contract.records import CALENDAR, SLOT, Record
from light_node.contract.stub import Invocation, LedgerState, composite_key
from light_node.i18n import Text
from light_node.market.errors import InvalidBounds
from light_node.market.quotes import PriceBounds
from light_node.market.slots import Slot
from light_node.market.units import MAX_PRICE_TICK, PriceTick

PAGE = 1500
"""Most slots one query lists: a day of one-minute slots fits."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_OPENING: dict[str, fields.Field] = {
    "slot": fields.SLOT,
    "floor": fields.Integer(-MAX_PRICE_TICK, MAX_PRICE_TICK),
    "cap": fields.Integer(-MAX_PRICE_TICK, MAX_PRICE_TICK),
    "rounds": fields.ROUND,
}


class Phase(StrEnum):
    """Where a slot stands."""

    QUOTING = "quoting"  # round ``round`` takes quotes
    CLOSED = "closed"  # round ``round`` is closed, its standing not yet published
    FINAL = "final"  # the standing of round ``round`` is the last one
    CLEARED = "cleared"  # orders are made; readings are taken
    SETTLING = "settling"  # no more readings
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What the ledger keeps of a slot; prices in ticks, times in seconds, rounds from 1."""

    slot: str
    start: int
    length_s: int
    floor: int
    cap: int
    rounds: int
    round: int
    phase: Phase

    @property
    def bounds(self) -> PriceBounds:
        """Floor and cap as the market rules take them."""
        return PriceBounds(PriceTick(self.floor), PriceTick(self.cap))

    @property
    def interval(self) -> Slot:
        """The slot itself."""
        return Slot(self.start, self.length_s)

    def to_json(self) -> Record:
        """Return the record's JSON form."""
        return {**asdict(self), "phase": self.phase.value}

    @classmethod
    def from_json(cls, value: Any) -> "SlotRecord":
        """Read :meth:`to_json`'s form; ``JsonError`` if it is not that. Unknown fields pass."""
        record = jsonio.mapping(value, Text("a slot record"))
        try:
            phase = Phase(jsonio.string(record, "phase"))
        except ValueError as error:
            raise jsonio.JsonError(Text("a slot record: {error}", error=error)) from error
        return cls(
            slot=jsonio.string(record, "slot"),
            start=jsonio.integer(record, "start"),
            length_s=jsonio.integer(record, "length_s"),
            floor=jsonio.integer(record, "floor"),
            cap=jsonio.integer(record, "cap"),
            rounds=jsonio.integer(record, "rounds", low=1, high=fields.MAX_ROUNDS),
            round=jsonio.integer(record, "round", low=1, high=fields.MAX_ROUNDS),
            phase=phase,
        )


def open_slot(invocation: Invocation) -> bytes:
    """``OpenSlot``: open a delivery slot for quotes in round 1."""
    operator_of(invocation)
    given = fields.json_argument(invocation, _OPENING)
    slot = fields.slot_of(given["slot"])
    try:
        PriceBounds(PriceTick(given["floor"]), PriceTick(given["cap"]))
    except InvalidBounds as error:
        raise fields.bad_input(str(error)) from None
    if records.load(invocation.state, SLOT, slot.id) is not None:
        raise ContractError(Code.SLOT_EXISTS, f"{slot.id} was opened before")
    _enter_calendar(invocation.state, slot)
    record = SlotRecord(
        slot.id, slot.start, slot.length_s, given["floor"], given["cap"], given["rounds"], 1,
        Phase.QUOTING,
    )  # fmt: skip
    save(invocation.state, record)
    records.emit(invocation, "SlotOpened", record.to_json())
    return jsonio.canonical_dumps(record.to_json())


def get_slot(invocation: Invocation) -> bytes:
    """``GetSlot(slot)``: the slot record."""
    (slot,) = fields.arguments(invocation, 1)
    return jsonio.canonical_dumps(find(invocation.state, slot).to_json())


def list_slots(invocation: Invocation) -> bytes:
    """``ListSlots(from, to)``: records of up to 1500 slots that start in [from, to), by start."""
    first, last = (fields.instant_of(text) for text in fields.arguments(invocation, 2))
    # Slot ids begin with their start, so the instant alone bounds the range.
    start, end = (composite_key(SLOT, (instant,))[:-1] for instant in (first, last))
    found, more = records.take(invocation.state.range(start, end), PAGE)
    return jsonio.canonical_dumps({"slots": found, "more": more})


def find(state: LedgerState, slot_id: str) -> SlotRecord:
    """Return a slot's record; ``BAD_INPUT`` or ``UNKNOWN_SLOT`` if there is none."""
    fields.slot_of(slot_id)  # an id that can be read is the canonical one, so it is the key's too
    value = state.get(composite_key(SLOT, (slot_id,)))
    if value is None:
        raise ContractError(Code.UNKNOWN_SLOT, f"{slot_id} was not opened")
    return _read(value)


@lru_cache(1024)
def _read(value: bytes) -> SlotRecord:
    # Hundreds of quotes read the same few records, which change by round only.
    return SlotRecord.from_json(records.parse(value))


def find_in(state: LedgerState, slot_id: str, phase: Phase) -> SlotRecord:
    """Return a slot's record; ``WRONG_PHASE`` unless the slot is in ``phase``."""
    record = find(state, slot_id)
    if record.phase is not phase:
        raise ContractError(
            Code.WRONG_PHASE, f"{slot_id} is {record.phase}; this needs a slot that is {phase}"
        )
    return record


def move(invocation: Invocation, record: SlotRecord, phase: Phase, number: int = 0) -> SlotRecord:
    """Write the slot's new phase (and round, if given) and return the new record."""
    moved = replace(record, phase=phase, round=number or record.round)
    save(invocation.state, moved)
    return moved


def save(state: LedgerState, record: SlotRecord) -> None:
    """Write a slot record."""
    records.store(state, record.to_json(), SLOT, record.slot)


def _enter_calendar(state: LedgerState, slot: Slot) -> None:
    """Reserve the slot's time, so that no energy is sold twice in overlapping slots.

    Calendar entries are written once, so reading a range of them conflicts with another opening
    only, never with the slots' own life.
    """
    earliest = max(slot.starts_at - timedelta(days=1), _EPOCH)
    start, end = (composite_key(CALENDAR, (_instant(t),))[:-1] for t in (earliest, slot.ends_at))
    for _, value in state.range(start, end):
        other = fields.slot_of(records.parse(value)["slot"])
        if other.end > slot.start:
            raise ContractError(Code.SLOT_OVERLAPS, f"{slot.id} overlaps {other.id}, open already")
    records.store(state, {"slot": slot.id}, CALENDAR, _instant(slot.starts_at))


def _instant(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%MZ}"
