"""Clearing a slot: the final standing becomes fills, orders and the dispatch event.

docs/market-rules.md sections 5 and 7. Nothing traded is a valid outcome.
"""

from light_node import jsonio
from light_node.contract import fields, quoting, records, slots
from light_node.contract.caller import operator_of
from light_node.contract.errors import Code, ContractError
from light_node.contract.records import CLEARING, ORDERS, Record
from light_node.contract.slots import Phase
from light_node.contract.stub import Invocation, LedgerState
from light_node.market import orders
from light_node.market.quotes import Side


def clear_slot(invocation: Invocation) -> bytes:
    """``ClearSlot(slot)``: recompute the standing from the quotes, bind it, pair, dispatch."""
    operator = operator_of(invocation)
    (slot_id,) = fields.arguments(invocation, 1)
    slot = slots.find_in(invocation.state, slot_id, Phase.FINAL)
    last, latest = quoting.replay(invocation.state, slot)
    clearing, quotes = last.standing, tuple(last.book.values())
    traders = {
        who: orders.Trader(who, zone=record["zone"], green=record["green"])
        for who, record in latest.items()
    }
    matched_at = int(invocation.timestamp.timestamp())
    made = orders.pair(
        slot.bounds, quotes, clearing, traders, mtc=operator.participant, matched_at=matched_at
    )
    fills: dict[Side, dict[str, int]] = {side: {} for side in Side}
    for quote in quotes:
        fills[quote.side][quote.participant] = clearing.fills[quote.participant]
    record = {
        "slot": slot.slot,
        "round": last.number,
        "market": clearing.market.value,
        "price": clearing.price,
        "volume_wh": clearing.volume,
        "sellers": fills[Side.SELL],
        "buyers": fills[Side.BUY],
        "standing": list(clearing.standing),
        "transaction": invocation.transaction_id,
    }
    records.store(invocation.state, record, CLEARING, slot.slot)
    rows = [[order.seller, order.buyer, order.energy, order.degree] for order in made]
    book = {
        "slot": slot.slot,
        "mtc": operator.participant,
        "matched_at": matched_at,
        "price": clearing.price,
        "orders": rows,
    }
    records.store(invocation.state, book, ORDERS, slot.slot)
    slots.move(invocation, slot, Phase.CLEARED)
    summary = {key: record[key] for key in ("slot", "market", "price", "volume_wh")}
    dispatch = {
        "feed_in": {who: wh for who, wh in fills[Side.SELL].items() if wh},
        "draw": {who: wh for who, wh in fills[Side.BUY].items() if wh},
    }
    records.emit(invocation, "SlotCleared", {**summary, "dispatch": dispatch})
    return jsonio.canonical_dumps({**summary, "orders": len(rows)})


def get_clearing(invocation: Invocation) -> bytes:
    """``GetClearing(slot)``: market, price, volume, fills of everybody that quoted, rank order."""
    (slot_id,) = fields.arguments(invocation, 1)
    record = clearing_of(invocation.state, slots.find(invocation.state, slot_id).slot)
    fills = {**record["sellers"], **record["buyers"]}
    return jsonio.canonical_dumps({**record, "fills": fills})


def get_orders(invocation: Invocation) -> bytes:
    """``GetOrders(slot)``: the bilateral orders with their timestamp and Rand."""
    (slot_id,) = fields.arguments(invocation, 1)
    slot = slots.find(invocation.state, slot_id)
    record = _found(records.load(invocation.state, ORDERS, slot.slot), slot.slot)
    shown = [
        {
            "seller": seller,
            "buyer": buyer,
            "energy_wh": energy,
            "degree": degree,
            # Rand follows from the ids, so it is told here and not kept.
            "rand": orders.order_rand(seller, buyer, record["mtc"]).hex(),
        }
        for seller, buyer, energy, degree in record["orders"]
    ]
    return jsonio.canonical_dumps({**record, "orders": shown})


def clearing_of(state: LedgerState, slot_id: str) -> Record:
    """Return the clearing record of a slot; ``NOT_YET`` if it is not cleared."""
    return _found(records.load(state, CLEARING, slot_id), slot_id)


def _found(record: Record | None, slot_id: str) -> Record:
    if record is None:
        raise ContractError(Code.NOT_YET, f"{slot_id} is not cleared yet")
    return record
