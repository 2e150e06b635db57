"""Money of the participants and pots, in Wh·tick; positive is received.

Market money, penalties and compensations of all accounts and the community pot always sum up to
zero, and so do the grid's money and its pot: settlement moves money, it never makes any.
"""

from light_node import jsonio
from light_node.contract import fields, records
from light_node.contract.errors import Code, ContractError
from light_node.contract.records import ACCOUNT, PARTICIPANT, POT, Record
from light_node.contract.stub import Invocation, LedgerState
from light_node.market.quotes import Side
from light_node.market.settlement import Settlement, SettlementLine

COMMUNITY, GRID = "community", "grid"
_MONEY = ("market_money", "penalty_money", "compensation_money", "grid_money")


def book(state: LedgerState, slot_id: str, settled: Settlement) -> None:
    """Add a slot's settlement to the accounts of its participants and to the pots.

    Each key is read and written once, as nothing here sees its own writes.
    """
    participants = [line.participant for line in settled.lines]
    records.prefetch(
        state, *((ACCOUNT, who) for who in participants), (POT, COMMUNITY), (POT, GRID)
    )
    for line in settled.lines:
        record = records.load(state, ACCOUNT, line.participant) or _empty(line.participant)
        _add(record, slot_id, line)
        records.store(state, record, ACCOUNT, line.participant)
    for pot, amount in ((COMMUNITY, settled.pot), (GRID, settled.grid)):
        records.store(state, {"money": _pot(state, pot) + amount}, POT, pot)


def get_account(invocation: Invocation) -> bytes:
    """``GetAccount(id)``: sums over all settled slots; all zero before the first one."""
    participant = fields.participant_of(fields.arguments(invocation, 1)[0])
    record = records.load(invocation.state, ACCOUNT, participant)
    if record is None:
        if records.load(invocation.state, PARTICIPANT, participant) is None:
            raise ContractError(Code.UNKNOWN_PARTICIPANT, f"{participant} was never admitted")
        record = _empty(participant)
    # The grid bills what went through it, so its money is shown and is no part of the balance.
    balance = sum(record[name] for name in _MONEY if name != "grid_money")
    return jsonio.canonical_dumps({**record, "balance": balance})


def get_pots(invocation: Invocation) -> bytes:
    """``GetPots()``: what the community pot and the grid have received."""
    fields.arguments(invocation, 0)
    pots = {pot: _pot(invocation.state, pot) for pot in (COMMUNITY, GRID)}
    return jsonio.canonical_dumps(pots)


def _empty(participant: str) -> Record:
    sums = dict.fromkeys((*_MONEY, "sold_wh", "bought_wh", "slots"), 0)
    return {"participant": participant, "last_slot": None, **sums}


def _add(record: Record, slot_id: str, line: SettlementLine) -> None:
    for name in _MONEY:
        record[name] += getattr(line, name)
    if line.side is not None:
        record["sold_wh" if line.side is Side.SELL else "bought_wh"] += line.traded
    record["slots"] += 1
    record["last_slot"] = slot_id


def _pot(state: LedgerState, pot: str) -> int:
    record = records.load(state, POT, pot)
    return record["money"] if record else 0
