"""Entry point of the market contract: dispatch by function name, refusals as responses."""

from collections.abc import Callable, Mapping

from light_node.contract.errors import Code, ContractError
from light_node.contract.stub import OK, Invocation, Response

Function = Callable[[Invocation], bytes]

FUNCTIONS: Mapping[str, Function] = {}


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
