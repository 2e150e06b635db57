"""Why the contract refuses: a closed list of codes, each with its status (docs/contract.md).

A refusal travels as a response of status 400 and above whose message is ``CODE: plain text``.
Programs branch on the code; the text is for people and may change.
"""

from enum import Enum


class Code(Enum):
    """Code of a refusal and its status: 400 input, 403 not permitted, 404 unknown, 409 phase."""

    status: int

    BAD_INPUT = (400, "an argument is missing, malformed, out of range or not known")
    UNKNOWN_FUNCTION = (400, "the contract has no such function")
    BAD_SIGNATURE = (400, "the signature is not the caller's over these fields")
    PRICE_OUT_OF_BOUNDS = (400, "the price is below the slot's floor or above its cap")
    IMPLAUSIBLE_READING = (400, "registers and energies contradict each other or the connection")
    NOT_PERMITTED = (403, "the caller's certificate lacks the attribute this function needs")
    NOT_YOURS = (403, "only the participant itself may do this")
    DELISTED = (403, "the participant is delisted")
    NOT_ADMITTED = (404, "the participant is not admitted to the market")
    UNKNOWN_SLOT = (404, "no such slot was opened")
    UNKNOWN_PARTICIPANT = (404, "no such participant was admitted")
    NOT_YET = (404, "the slot has not come this far, so there is nothing to show")
    SLOT_EXISTS = (409, "the slot is open already")
    SLOT_OVERLAPS = (409, "another slot covers part of this time")
    ROUND_CLOSED = (409, "the round takes no quotes: it is closed, or another one is open")
    WRONG_PHASE = (409, "the slot is not in the phase this function needs")
    DELIVERY_CLOSED = (409, "the slot takes no readings: not cleared yet, or delivery is closed")
    SIDE_CHANGED = (409, "a later round may not change a quote's side")
    ENERGY_RAISED = (409, "a later round may not raise a quote's energy")
    FIRST_QUOTE_TOO_LATE = (409, "first quotes are collected in round 1 only")
    TOO_MANY_REVISIONS = (409, "the reading was corrected as often as is allowed")
    TOO_MANY_QUOTES = (409, "the slot holds more quotes than one transaction may clear")
    CONTRADICTION = (409, "what is recomputed from the ledger differs from what is recorded")

    def __new__(cls, status: int, meaning: str) -> "Code":
        """Make a member whose value is its own name's meaning, with the status beside it."""
        member = object.__new__(cls)
        member._value_ = (status, meaning)
        member.status = status
        member.__doc__ = meaning
        return member


class ContractError(Exception):
    """The contract refuses; ``code`` says why, the text says what to change."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text
