"""Admission, delisting and the list of participants (docs/market-rules.md section 2)."""

from cryptography.hazmat.primitives import hashes

from light_node import jsonio
from light_node.contract import fields, records
from light_node.contract.caller import USER_TYPES, Caller, operator_of, trader_of
from light_node.contract.errors import Code, ContractError
from light_node.contract.records import PARTICIPANT, Record
from light_node.contract.stub import Invocation, LedgerState
from light_node.market.slots import Slot

ACTIVE, DELISTED = "active", "delisted"
_HOUR_S = 3600
_SLACK_WH = 100

_ADMISSION: dict[str, fields.Field] = {
    "wallet_address": fields.Text(128),
    "capacity_w": fields.Integer(1, 10**9),
    "voltage_v": fields.Integer(1, 10**6),
    "zone": fields.Text(64, shortest=0),
    "green": fields.Flag(),
}
_DECISION: dict[str, fields.Field] = {
    "participant": fields.PARTICIPANT,
    "reason": fields.Text(200),
}


def admit(invocation: Invocation) -> bytes:
    """``Admit``: enter the caller into the market, or renew what is recorded about it.

    Identity is the enrolment id, so entering again keeps the account and, once delisted, stays so
    until an operator reinstates it.
    """
    caller = trader_of(invocation)
    if caller.user_type not in USER_TYPES:
        raise ContractError(
            Code.NOT_PERMITTED,
            f"the certificate's market.user_type must be one of {', '.join(USER_TYPES)}",
        )
    given = fields.json_argument(invocation, _ADMISSION)
    known = records.load(invocation.state, PARTICIPANT, caller.participant) or {}
    record = {
        **given,
        "participant": caller.participant,
        "user_type": caller.user_type,
        "credit": caller.credit,
        "certificate_sha256": caller.certificate.fingerprint(hashes.SHA256()).hex(),
        "status": known.get("status", ACTIVE),
        "reason": known.get("reason", ""),
        "admitted": known.get("admitted", invocation.transaction_id),
        "updated": invocation.transaction_id,
    }
    return _store(invocation, record)


def delist(invocation: Invocation) -> bytes:
    """``Delist``: keep a participant from quoting, with the reason on record (operators)."""
    return _decide(invocation, DELISTED)


def reinstate(invocation: Invocation) -> bytes:
    """``Reinstate``: let a delisted participant quote again (operators)."""
    return _decide(invocation, ACTIVE)


def get_participant(invocation: Invocation) -> bytes:
    """``GetParticipant(id)``: the admission record."""
    (participant,) = fields.arguments(invocation, 1)
    return jsonio.canonical_dumps(_known(invocation, fields.participant_of(participant)))


def list_participants(invocation: Invocation) -> bytes:
    """``ListParticipants([after])``: up to 1000 admission records in the order of their ids."""
    given = fields.arguments(invocation, 0, 1)
    found, more = records.load_page(invocation.state, fields.after_of(given), PARTICIPANT)
    return jsonio.canonical_dumps({"participants": found, "more": more})


def trading(state: LedgerState, caller: Caller) -> Record:
    """Return the caller's admission record; ``NOT_ADMITTED`` or ``DELISTED`` if there is none."""
    record = records.load(state, PARTICIPANT, caller.participant)
    if record is None:
        raise ContractError(
            Code.NOT_ADMITTED, f"{caller.participant} has not entered the market: call Admit first"
        )
    if record["status"] != ACTIVE:
        raise ContractError(
            Code.DELISTED, f"{caller.participant} is delisted: {record['reason']}; ask the operator"
        )
    return record


def most_energy(record: Record, slot: Slot) -> int:
    """Return the most energy in Wh that is believable for the participant's connection in a slot.

    Twice the admitted capacity over the slot and 100 Wh: a bound against nonsense, not a limit;
    fuses bear a short overload and meters count in steps.
    """
    capacity_w: int = record["capacity_w"]
    return 2 * capacity_w * slot.length_s // _HOUR_S + _SLACK_WH


def _decide(invocation: Invocation, status: str) -> bytes:
    operator_of(invocation)
    given = fields.json_argument(invocation, _DECISION)
    record = _known(invocation, given["participant"])
    record.update(status=status, reason=given["reason"], updated=invocation.transaction_id)
    return _store(invocation, record)


def _known(invocation: Invocation, participant: str) -> Record:
    record = records.load(invocation.state, PARTICIPANT, participant)
    if record is None:
        raise ContractError(Code.UNKNOWN_PARTICIPANT, f"{participant} was never admitted")
    return record


def _store(invocation: Invocation, record: Record) -> bytes:
    records.store(invocation.state, record, PARTICIPANT, record["participant"])
    return jsonio.canonical_dumps(record)
