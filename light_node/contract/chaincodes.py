"""The chaincodes there are: the market contract, and ``kv`` to test and load a network with.

A chaincode is a function of an invocation over :class:`light_node.contract.stub.LedgerState`; the
devnet runs it inside its endorser, :mod:`light_node.chaincode` behind a peer of Fabric.
"""

import json
import os
from collections.abc import Callable, Mapping

from light_node.contract import contract
from light_node.contract.stub import OK, Invocation, Response

Chaincode = Callable[[Invocation], Response]

MARKET, KV = "market", "kv"


def kv(invocation: Invocation) -> Response:
    """Run one of the ``kv`` functions; arguments are UTF-8 text, values any bytes.

    =========================  =============================================================
    ``put key value``          write; result: the value
    ``get key``                result: the value; 404 if there is none
    ``del key``                delete
    ``range start end``        result: JSON object key → value (text) of the range
    ``add key n``              read-modify-write an integer; result: the new value
    ``count start end key``    write into ``key`` how many keys the range holds
    ``emit key value name``    write, and emit the event ``name`` with the value as payload
    ``fail status message``    refuse with that status
    ``dice key``               write random bytes: no two endorsers agree
    =========================  =============================================================
    """
    if not invocation.args:
        return Response(400, "BAD_INPUT: no function named", b"")
    function = _FUNCTIONS.get(invocation.args[0])
    arguments = invocation.args[1:]
    if function is None:
        return Response(400, "UNKNOWN_FUNCTION: see the kv chaincode's description", b"")
    arity, body = function
    if len(arguments) != arity:
        return Response(400, f"BAD_INPUT: {arity} arguments are needed, not {len(arguments)}", b"")
    try:
        return body(invocation, *arguments)
    except ValueError as error:
        return Response(400, f"BAD_INPUT: {error}", b"")


def _put(invocation: Invocation, key: bytes, value: bytes) -> Response:
    invocation.state.put(key.decode(), value)
    return Response(OK, "", value)


def _get(invocation: Invocation, key: bytes) -> Response:
    value = invocation.state.get(key.decode())
    if value is None:
        return Response(404, "NOT_FOUND: no such key", b"")
    return Response(OK, "", value)


def _delete(invocation: Invocation, key: bytes) -> Response:
    invocation.state.delete(key.decode())
    return Response(OK, "", b"")


def _range(invocation: Invocation, start: bytes, end: bytes) -> Response:
    found = invocation.state.range(start.decode(), end.decode())
    text = json.dumps({key: value.decode("utf-8", "replace") for key, value in found})
    return Response(OK, "", text.encode())


def _add(invocation: Invocation, key: bytes, amount: bytes) -> Response:
    value = int(invocation.state.get(key.decode()) or b"0") + int(amount)
    return _put(invocation, key, str(value).encode())


def _count(invocation: Invocation, start: bytes, end: bytes, key: bytes) -> Response:
    found = sum(1 for _ in invocation.state.range(start.decode(), end.decode()))
    return _put(invocation, key, str(found).encode())


def _emit(invocation: Invocation, key: bytes, value: bytes, name: bytes) -> Response:
    invocation.set_event(name.decode(), value)
    return _put(invocation, key, value)


def _fail(_: Invocation, status: bytes, message: bytes) -> Response:
    return Response(int(status), message.decode(), b"")


def _dice(invocation: Invocation, key: bytes) -> Response:
    return _put(invocation, key, os.urandom(8))


_FUNCTIONS: Mapping[bytes, tuple[int, Callable[..., Response]]] = {
    b"put": (2, _put),
    b"get": (1, _get),
    b"del": (1, _delete),
    b"range": (2, _range),
    b"add": (2, _add),
    b"count": (3, _count),
    b"emit": (3, _emit),
    b"fail": (2, _fail),
    b"dice": (1, _dice),
}

CHAINCODES: Mapping[str, Chaincode] = {MARKET: contract.invoke, KV: kv}
"""Every chaincode by its name; all are committed on a devnet's channel."""

FUNCTIONS: Mapping[str, frozenset[bytes]] = {
    MARKET: frozenset(name.encode() for name in contract.FUNCTIONS),
    KV: frozenset(_FUNCTIONS),
}
"""Names of each chaincode's functions."""

LONG: Mapping[str, frozenset[bytes]] = {
    MARKET: frozenset(name.encode() for name in contract.LONG),
    KV: frozenset(),
}
"""Of these the ones that may compute for long."""
