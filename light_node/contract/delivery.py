"""Metered delivery and settlement of a slot (docs/market-rules.md section 8)."""

from collections.abc import Iterator

from light_node import jsonio
from light_node.contract import accounts, clearing, fields, participants, records, slots
from light_node.contract.caller import operator_of, trader_of
from light_node.contract.errors import Code, ContractError
from light_node.contract.records import READING, SETTLEMENT, Record
from light_node.contract.slots import Phase, SlotRecord
from light_node.contract.stub import Invocation, LedgerState
from light_node.market import settlement
from light_node.market.quotes import Side
from light_node.market.settlement import Contracted, Delivered, SettlementLine
from light_node.market.slots import Slot
from light_node.market.units import MAX_ENERGY_WH, EnergyWh, PriceTick

MAX_REVISIONS = 20
"""How often a participant may replace its reading: enough to correct, too few to fill blocks."""
MAX_REGISTER_WH = 10**15

SIGNED_FIELDS: dict[str, fields.Field] = {
    "slot": fields.SLOT,
    "participant": fields.PARTICIPANT,
    "import_wh": fields.Integer(0, MAX_ENERGY_WH),
    "export_wh": fields.Integer(0, MAX_ENERGY_WH),
    "register_import_wh": fields.Integer(0, MAX_REGISTER_WH),
    "register_export_wh": fields.Integer(0, MAX_REGISTER_WH),
    "meter": fields.Text(64),
    "origin": fields.Text(64),
    "estimated": fields.Flag(),
    "signature": fields.SIGNATURE,
}
_DIRECTIONS = (("import_wh", "register_import_wh"), ("export_wh", "register_export_wh"))


def submit_reading(invocation: Invocation) -> bytes:
    """``SubmitReading``: enter what the caller's meter counted over a slot, or correct it.

    Taken while the slot is delivering (phase ``cleared``) from anybody admitted, with or without
    a contract. A correction replaces the reading and names the transaction it replaces. The same
    signed fields again change nothing.
    """
    caller = trader_of(invocation)
    given = fields.json_argument(invocation, SIGNED_FIELDS)
    caller.require_self(given["participant"])
    interval = fields.slot_of(given["slot"])
    records.prefetch(
        invocation.state,
        (records.SLOT, interval.id),
        (records.PARTICIPANT, caller.participant),
        *((READING, s.id, caller.participant) for s in (_before(interval), interval) if s),
    )
    slot = slots.find(invocation.state, given["slot"])
    if slot.phase is not Phase.CLEARED:
        raise ContractError(
            Code.DELIVERY_CLOSED, f"{slot.slot} is {slot.phase}; readings are taken while cleared"
        )
    admission = _admission(invocation.state, caller.participant)
    fields.check_signature(caller, given)
    _check_plausible(invocation.state, slot, admission, given)
    key = (slot.slot, caller.participant)
    known = records.load(invocation.state, READING, *key)
    revision = known["revision"] + 1 if known else 1
    if known and fields.signed_bytes(known, SIGNED_FIELDS) == fields.signed_bytes(
        given, SIGNED_FIELDS
    ):
        revision = known["revision"]
    elif revision > MAX_REVISIONS:
        raise ContractError(
            Code.TOO_MANY_REVISIONS, f"a reading is corrected {MAX_REVISIONS - 1} times at most"
        )
    else:
        record = {
            **given,
            "transaction": invocation.transaction_id,
            "revision": revision,
            "replaces": known["transaction"] if known else None,
        }
        records.store(invocation.state, record, READING, *key)
    answer = {"slot": slot.slot, "participant": caller.participant, "revision": revision}
    return jsonio.canonical_dumps(answer)


def close_delivery(invocation: Invocation) -> bytes:
    """``CloseDelivery(slot)``: take no more readings. Writes the slot record and nothing else."""
    operator_of(invocation)
    (slot_id,) = fields.arguments(invocation, 1)
    slot = slots.find_in(invocation.state, slot_id, Phase.CLEARED)
    slots.move(invocation, slot, Phase.SETTLING)
    records.emit(invocation, "DeliveryClosed", {"slot": slot.slot})
    return jsonio.canonical_dumps({"slot": slot.slot})


def settle_slot(invocation: Invocation) -> bytes:
    """``SettleSlot(slot)``: settle contracts against readings and move the money."""
    operator_of(invocation)
    (slot_id,) = fields.arguments(invocation, 1)
    slot = slots.find_in(invocation.state, slot_id, Phase.SETTLING)
    cleared = clearing.clearing_of(invocation.state, slot.slot)
    delivered = [_delivered(reading) for reading in _readings(invocation.state, slot.slot)]
    settled = settlement.settle(slot.bounds, list(_contracts(cleared)), delivered)
    record = {
        "slot": slot.slot,
        "price": cleared["price"],
        "volume_wh": cleared["volume_wh"],
        "pot_money": settled.pot,
        "grid_money": settled.grid,
        "columns": list(_COLUMNS),
        "lines": [_row(line) for line in settled.lines],
        "transaction": invocation.transaction_id,
    }
    records.store(invocation.state, record, SETTLEMENT, slot.slot)
    accounts.book(invocation.state, slot.slot, settled)
    slots.move(invocation, slot, Phase.SETTLED)
    summary = {
        **{key: record[key] for key in ("slot", "price", "volume_wh", "pot_money")},
        "participants": len(settled.lines),
        "estimated": sum(line.estimated for line in settled.lines),
    }
    records.emit(invocation, "SlotSettled", summary)
    return jsonio.canonical_dumps(summary)


def get_readings(invocation: Invocation) -> bytes:
    """``GetReadings(slot[, after])``: up to 1000 readings of a slot, by participant."""
    slot_id, *after = fields.arguments(invocation, 1, 2)
    slot = slots.find(invocation.state, slot_id)
    found, more = records.load_page(invocation.state, fields.after_of(after), READING, slot.slot)
    return jsonio.canonical_dumps({"readings": found, "more": more})


def get_settlement(invocation: Invocation) -> bytes:
    """``GetSettlement(slot[, participant])``: the slot's settlement, all lines or one's own."""
    slot_id, *who = fields.arguments(invocation, 1, 2)
    slot = slots.find(invocation.state, slot_id)
    record = records.load(invocation.state, SETTLEMENT, slot.slot)
    if record is None:
        raise ContractError(Code.NOT_YET, f"{slot.slot} is not settled yet")
    columns = record.pop("columns")
    lines = [dict(zip(columns, row, strict=True)) for row in record["lines"]]
    if who and who[0]:
        participant = fields.participant_of(who[0])
        lines = [line for line in lines if line["participant"] == participant]
    return jsonio.canonical_dumps({**record, "lines": lines})


# Name in the settlement record, and where its value stands in the settlement line.
_COLUMNS = {
    "participant": "participant",
    "side": "side",
    "contracted_wh": "contracted",
    "delivered_wh": "delivered",
    "missing_wh": "missing",
    "tolerance_wh": "tolerance",
    "traded_wh": "traded",
    "grid_import_wh": "grid_import",
    "grid_export_wh": "grid_export",
    "market_money": "market_money",
    "grid_money": "grid_money",
    "penalty_money": "penalty_money",
    "compensation_money": "compensation_money",
    "grid_only_money": "grid_only_money",
    "estimated": "estimated",
}


def _row(line: SettlementLine) -> list[object]:
    return [getattr(line, attribute) for attribute in _COLUMNS.values()]


def _admission(state: LedgerState, participant: str) -> Record:
    # Delisting keeps from quoting; what was contracted before is still metered and settled.
    record = records.load(state, records.PARTICIPANT, participant)
    if record is None:
        raise ContractError(
            Code.NOT_ADMITTED, f"{participant} has not entered the market: call Admit first"
        )
    return record


def _check_plausible(
    state: LedgerState, slot: SlotRecord, admission: Record, given: Record
) -> None:
    most = participants.most_energy(admission, slot.interval)
    for energy, register in _DIRECTIONS:
        if given[energy] > most:
            raise _implausible(f'"{energy}" is above {most}, twice what the connection carries')
        if given[energy] > given[register]:
            raise _implausible(f'"{energy}" is more than "{register}" has counted in all')
    before = _before(slot.interval)
    if before is None:
        return
    last = records.load(state, READING, before.id, given["participant"])
    if last is None or last["meter"] != given["meter"] or last["estimated"] or given["estimated"]:
        return
    for _, register in _DIRECTIONS:
        if given[register] < last[register]:
            raise _implausible(f'"{register}" runs backwards: {last[register]} one slot earlier')


def _before(slot: Slot) -> Slot | None:
    return Slot(slot.start - slot.length_s, slot.length_s) if slot.start >= slot.length_s else None


def _implausible(text: str) -> ContractError:
    return ContractError(Code.IMPLAUSIBLE_READING, text)


def _readings(state: LedgerState, slot_id: str) -> Iterator[Record]:
    return (record for _, record in records.load_all(state, READING, slot_id))


def _delivered(reading: Record) -> Delivered:
    return Delivered(
        reading["participant"],
        EnergyWh(reading["import_wh"]),
        EnergyWh(reading["export_wh"]),
        estimated=reading["estimated"],
    )


def _contracts(cleared: Record) -> Iterator[Contracted]:
    for side, name in ((Side.SELL, "sellers"), (Side.BUY, "buyers")):
        for participant, energy in sorted(cleared[name].items()):
            if energy:
                price = PriceTick(cleared["price"])
                yield Contracted(participant, side, EnergyWh(energy), price)
