"""Entry point of the market contract: dispatch by function name, refusals as responses."""

from collections.abc import Callable, Mapping

from light_node.contract import accounts, clearing, delivery, participants, quoting, slots
from light_node.contract.errors import Code, ContractError
from light_node.contract.stub import OK, Invocation, Response

Function = Callable[[Invocation], bytes]

TRANSACTIONS: Mapping[str, Function] = {
    "Admit": participants.admit,
    "Delist": participants.delist,
    "Reinstate": participants.reinstate,
    "OpenSlot": slots.open_slot,
    "SubmitQuote": quoting.submit_quote,
    "CloseRound": quoting.close_round,
    "PublishStanding": quoting.publish_standing,
    "ClearSlot": clearing.clear_slot,
    "SubmitReading": delivery.submit_reading,
    "CloseDelivery": delivery.close_delivery,
    "SettleSlot": delivery.settle_slot,
}
"""Functions that change the ledger: to be submitted."""

QUERIES: Mapping[str, Function] = {
    "GetSlot": slots.get_slot,
    "ListSlots": slots.list_slots,
    "GetQuotes": quoting.get_quotes,
    "GetStanding": quoting.get_standing,
    "GetClearing": clearing.get_clearing,
    "GetOrders": clearing.get_orders,
    "GetReadings": delivery.get_readings,
    "GetSettlement": delivery.get_settlement,
    "GetParticipant": participants.get_participant,
    "ListParticipants": participants.list_participants,
    "GetAccount": accounts.get_account,
    "GetPots": accounts.get_pots,
}
"""Functions that only read, for any member of the channel: to be evaluated."""

FUNCTIONS: Mapping[str, Function] = {**TRANSACTIONS, **QUERIES}

LONG = frozenset(
    {
        "PublishStanding", "ClearSlot", "SettleSlot", "ListSlots", "GetQuotes", "GetStanding",
        "GetClearing", "GetOrders", "GetReadings", "GetSettlement", "ListParticipants",
    }
)  # fmt: skip
"""Functions whose work grows with what a slot or a list holds; all others take a few reads."""


def invoke(invocation: Invocation) -> Response:
    """Run one invocation; refusals come back as responses with status 400 and above.

    Any exception that leaves this function is a defect of the contract; whoever hosts it answers
    status 500 and endorses nothing.
    """
    try:
        function = _function(invocation)
        return Response(OK, "", function(invocation))
    except ContractError as error:
        return Response(error.code.status, str(error), b"")


def _function(invocation: Invocation) -> Function:
    name = invocation.args[0] if invocation.args else b""
    function = FUNCTIONS.get(name.decode("ascii", "replace"))
    if function is None:
        known = ", ".join(sorted(FUNCTIONS))
        raise ContractError(Code.UNKNOWN_FUNCTION, f"functions of this contract are {known}")
    return function
