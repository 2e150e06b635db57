"""Quoting in rounds: quotes, closing a round, publishing its standing (docs/market-rules.md 4)."""

from collections.abc import Sequence

from light_node import jsonio
from light_node.contract import fields, participants, records, slots
from light_node.contract.caller import operator_of, trader_of
from light_node.contract.errors import Code, ContractError
from light_node.contract.records import PARTICIPANT, QUOTE, SLOT, STANDING, Record
from light_node.contract.slots import Phase, SlotRecord
from light_node.contract.stub import Invocation, LedgerState
from light_node.market import errors, rounds
from light_node.market.clearing import Clearing, Market
from light_node.market.quotes import Quote, Side
from light_node.market.units import MAX_ENERGY_WH, MAX_PRICE_TICK, EnergyWh, PriceTick

MAX_QUOTES_PER_SLOT = 20_000
"""Most quotes one transaction clears; Fabric's peers cut ranges off at 100,000 keys in silence."""

SIGNED_FIELDS: dict[str, fields.Field] = {
    "slot": fields.SLOT,
    "round": fields.ROUND,
    "participant": fields.PARTICIPANT,
    "wallet_address": fields.Text(128),
    "side": fields.SIDE,
    "energy_wh": fields.Integer(0, MAX_ENERGY_WH),
    "price": fields.Integer(-MAX_PRICE_TICK, MAX_PRICE_TICK),
    "signature": fields.SIGNATURE,
}
_REFUSALS = {
    errors.PriceOutOfBounds: Code.PRICE_OUT_OF_BOUNDS,
    errors.SideChanged: Code.SIDE_CHANGED,
    errors.EnergyRaised: Code.ENERGY_RAISED,
    errors.FirstQuoteTooLate: Code.FIRST_QUOTE_TOO_LATE,
}


def submit_quote(invocation: Invocation) -> bytes:
    """``SubmitQuote``: enter or replace the caller's quote in the open round.

    Reads the slot record, the caller's admission and its own earlier quotes, nothing else: quotes
    of different participants never conflict. The same signed fields again change nothing.
    """
    caller = trader_of(invocation)
    given = fields.json_argument(invocation, SIGNED_FIELDS)
    caller.require_self(given["participant"])
    number = given["round"]
    records.prefetch(
        invocation.state,
        (SLOT, given["slot"]),
        (PARTICIPANT, caller.participant),
        *((QUOTE, given["slot"], str(n), caller.participant) for n in (number - 1, number) if n),
    )
    slot = slots.find(invocation.state, given["slot"])
    if slot.phase is not Phase.QUOTING or slot.round != number:
        open_now = f"round {slot.round} is {'open' if slot.phase is Phase.QUOTING else 'closed'}"
        raise ContractError(Code.ROUND_CLOSED, f"round {number} of {slot.slot}: {open_now}")
    admission = participants.trading(invocation.state, caller)
    if given["wallet_address"] != admission["wallet_address"]:
        raise fields.bad_input('"wallet_address" is not the admitted one; call Admit to change it')
    most = participants.most_energy(admission, slot.interval)
    if given["energy_wh"] > most:
        raise fields.bad_input(f'"energy_wh" is above {most}, twice what the connection carries')
    fields.check_signature(caller, given)
    _check_rules(invocation.state, slot, quote_of(given))
    key = (slot.slot, str(number), caller.participant)
    known = records.load(invocation.state, QUOTE, *key)
    same = known is not None and _signed(known) == _signed(given)
    if not same:
        # Kept beside the quote, because reading admissions while clearing would let anybody spoil
        # the clearing by entering the market again at the right moment.
        facts = {"zone": admission["zone"], "green": admission["green"]}
        record = {**given, **facts, "transaction": invocation.transaction_id}
        records.store(invocation.state, record, QUOTE, *key)
    return jsonio.canonical_dumps({k: given[k] for k in ("slot", "round", "participant")})


def close_round(invocation: Invocation) -> bytes:
    """``CloseRound(slot, round)``: take no more quotes. Writes the slot record and nothing else."""
    operator_of(invocation)
    slot_id, text = fields.arguments(invocation, 2)
    slot = _in_round(invocation.state, slot_id, Phase.QUOTING, fields.round_of(text))
    slots.move(invocation, slot, Phase.CLOSED)
    records.emit(invocation, "RoundClosed", {"slot": slot.slot, "round": slot.round})
    return jsonio.canonical_dumps({"slot": slot.slot, "round": slot.round})


def publish_standing(invocation: Invocation) -> bytes:
    """``PublishStanding(slot, round)``: clear a closed round, open the next or end quoting."""
    operator_of(invocation)
    slot_id, text = fields.arguments(invocation, 2)
    slot = _in_round(invocation.state, slot_id, Phase.CLOSED, fields.round_of(text))
    before = None
    if slot.round > 1:
        before = _parse_round(_recorded(invocation.state, slot.slot, slot.round - 1))
    closed = _close(slot, _submitted(invocation.state, slot, slot.round), before)
    standing = _standing(slot.slot, closed, before)
    records.store(invocation.state, standing, STANDING, slot.slot, str(slot.round))
    if closed.final:
        moved = slots.move(invocation, slot, Phase.FINAL)
    else:
        moved = slots.move(invocation, slot, Phase.QUOTING, slot.round + 1)
    summary = {k: standing[k] for k in ("slot", "round", "market", "price", "volume_wh", "changed")}
    records.emit(invocation, "StandingPublished", {**summary, "phase": moved.phase.value})
    return jsonio.canonical_dumps({**summary, "phase": moved.phase.value})


def get_quotes(invocation: Invocation) -> bytes:
    """``GetQuotes(slot, round[, after])``: up to 1000 signed quotes entered in a round, by id."""
    slot_id, text, *after = fields.arguments(invocation, 2, 3)
    slot, number = slots.find(invocation.state, slot_id), fields.round_of(text)
    found, more = records.load_page(
        invocation.state, fields.after_of(after), QUOTE, slot.slot, str(number)
    )
    return jsonio.canonical_dumps({"quotes": found, "more": more})


def get_standing(invocation: Invocation) -> bytes:
    """``GetStanding(slot[, round])``: a published standing, the latest unless a round is given."""
    slot_id, *text = fields.arguments(invocation, 1, 2)
    slot = slots.find(invocation.state, slot_id)
    published = slot.round - (slot.phase in (Phase.QUOTING, Phase.CLOSED))
    number = fields.round_of(text[0]) if text and text[0] else published
    if not 1 <= number <= published:
        raise ContractError(
            Code.NOT_YET, f"of {slot.slot} {published} of {slot.rounds} standings are published"
        )
    standing = _recorded(invocation.state, slot.slot, number)
    rows = standing["quotes"]
    shown = [
        {"participant": who, "side": side, "energy_wh": energy, "price": price, "fill_wh": fill}
        for who, side, energy, price, fill in rows
    ]
    fills = {row[0]: row[4] for row in rows}
    return jsonio.canonical_dumps({**standing, "quotes": shown, "fills": fills})


def replay(state: LedgerState, slot: SlotRecord) -> tuple[rounds.Round, dict[str, Record]]:
    """Return the last round, recomputed from the quotes of all rounds, and each one's last quote.

    ``CONTRADICTION`` if a recorded standing differs from what the quotes lead to.
    """
    before: rounds.Round | None = None
    latest: dict[str, Record] = {}
    for number in range(1, slot.round + 1):
        submitted = _submitted(state, slot, number)
        closed = _close(slot, submitted, before)
        if _standing(slot.slot, closed, before) != _recorded(state, slot.slot, number):
            raise ContractError(
                Code.CONTRADICTION, f"standing {number} of {slot.slot} does not follow its quotes"
            )
        latest.update((record["participant"], record) for record in submitted)
        before = closed
    if before is None or not before.final:
        raise ContractError(Code.CONTRADICTION, f"{slot.slot} is final before its last standing")
    return before, latest


def quote_of(record: Record) -> Quote:
    """Return the quote in a quote record."""
    return Quote(
        record["participant"],
        Side(record["side"]),
        EnergyWh(record["energy_wh"]),
        PriceTick(record["price"]),
    )


def _signed(record: Record) -> bytes:
    return fields.signed_bytes(record, SIGNED_FIELDS)


def _check_rules(state: LedgerState, slot: SlotRecord, quote: Quote) -> None:
    before = None
    for number in range(slot.round - 1, 0, -1):
        record = records.load(state, QUOTE, slot.slot, str(number), quote.participant)
        if record is not None:
            before = quote_of(record)
            break
    try:
        rounds.check_quote(slot.bounds, quote, number=slot.round, before=before)
    except tuple(_REFUSALS) as error:
        raise ContractError(_REFUSALS[type(error)], str(error)) from None


def _in_round(state: LedgerState, slot_id: str, phase: Phase, number: int) -> SlotRecord:
    slot = slots.find_in(state, slot_id, phase)
    if slot.round != number:
        raise ContractError(
            Code.WRONG_PHASE, f"{slot.slot} is in round {slot.round}, not in round {number}"
        )
    return slot


def _submitted(state: LedgerState, slot: SlotRecord, number: int) -> list[Record]:
    found = []
    for _, record in records.load_all(state, QUOTE, slot.slot, str(number)):
        found.append(record)
        if len(found) > MAX_QUOTES_PER_SLOT:
            raise ContractError(
                Code.TOO_MANY_QUOTES, f"one slot clears up to {MAX_QUOTES_PER_SLOT} quotes"
            )
    return found


def _close(
    slot: SlotRecord, submitted: Sequence[Record], before: rounds.Round | None
) -> rounds.Round:
    quotes = [quote_of(record) for record in submitted]
    return rounds.close_round(slot.slot, slot.bounds, quotes, last=slot.rounds, before=before)


def _standing(slot_id: str, closed: rounds.Round, before: rounds.Round | None) -> Record:
    """Return the record of a standing: the whole book, so that the next round needs no other."""
    clearing = closed.standing
    return {
        "slot": slot_id,
        "round": closed.number,
        "market": clearing.market.value,
        "price": clearing.price,
        "volume_wh": clearing.volume,
        "changed": closed.book != (before.book if before else {}),
        "final": closed.final,
        "standing": list(clearing.standing),
        "quotes": [
            [q.participant, q.side.value, q.energy, q.price, clearing.fills[q.participant]]
            for q in closed.book.values()
        ],
    }


def _parse_round(record: Record) -> rounds.Round:
    rows = record["quotes"]
    book = {
        who: Quote(who, Side(side), EnergyWh(energy), PriceTick(price))
        for who, side, energy, price, _ in rows
    }
    clearing = Clearing(
        market=Market(record["market"]),
        price=record["price"],
        volume=record["volume_wh"],
        fills={row[0]: EnergyWh(row[4]) for row in rows},
        standing=tuple(record["standing"]),
    )
    return rounds.Round(record["round"], book, clearing, record["final"])


def _recorded(state: LedgerState, slot_id: str, number: int) -> Record:
    record = records.load(state, STANDING, slot_id, str(number))
    if record is None:
        raise ContractError(Code.CONTRADICTION, f"standing {number} of {slot_id} is missing")
    return record
