"""Peers that lie, stumble or vanish: only their own transactions and streams suffer."""

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from light_node.chaincode import transaction
from light_node.chaincode.host import Limits, Service
from light_node.contract.stub import OK, Invocation, Response
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import peer_pb2

M = peer_pb2.ChaincodeMessage
WAIT = 20.0
ID = "market_1:" + "0" * 64


@pytest.fixture
def trader(new_trader: Callable[..., SigningIdentity]) -> SigningIdentity:
    return new_trader("Ada")


def count(running: Any, name: str, **labels: str) -> float:
    """A counter's value, 0 if it never counted."""
    return running.metrics.registry.get_sample_value(f"chaincode_{name}", labels) or 0.0


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT * 100)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to that")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        M(type=M.REGISTER).SerializeToString(),
        M(type=M.REGISTERED).SerializeToString(),
        M(type=M.READY).SerializeToString(),
        M(type=M.GET_STATE, txid="t").SerializeToString(),
        M(type=99).SerializeToString(),
        b"",
    ],
)
def test_what_no_peer_may_send_ends_its_stream_and_no_other(
    serve: Any, dial: Any, trader: SigningIdentity, data: bytes
) -> None:
    running = serve("kv")
    good, bad = dial(running), dial(running)
    assert bad.ready.wait(WAIT)
    bad.send_bytes(data)
    assert bad.over.wait(WAIT)
    assert bad.status is grpc.StatusCode.INVALID_ARGUMENT
    assert good.call(trader, "put", "k", "v").payload == b"v"
    wait_until(lambda: count(running, "streams_ended_total", reason="malformed") == 1)


def test_a_transaction_before_the_registration_ends_the_stream(serve: Any, dial: Any) -> None:
    peer = dial(serve("kv"), register=lambda: [M(type=M.TRANSACTION, txid="t", channel_id="c")])
    assert peer.over.wait(WAIT)
    assert peer.status is grpc.StatusCode.INVALID_ARGUMENT


def test_answers_nobody_waits_for_are_dropped(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    running = serve("kv")
    peer = dial(running)
    assert peer.ready.wait(WAIT)
    peer.send(M(type=M.RESPONSE, txid="nobody", channel_id="market"))
    peer.send(M(type=M.ERROR, txid="nobody", channel_id="market"))
    call = peer.begin(trader, "put", "k", "v")
    assert call.response().payload == b"v"
    peer.send(M(type=M.RESPONSE, txid=call.proposal.transaction_id, channel_id="market"))
    assert peer.call(trader, "put", "k", "w").payload == b"w"
    assert count(running, "messages_dropped_total", reason="answer nobody waits for") == 3


def test_an_answer_given_twice_counts_once(serve: Any, dial: Any, trader: SigningIdentity) -> None:
    running = serve("kv")
    peer = dial(running)

    def twice(call: Any, message: Any) -> bool:
        peer.answer(message, b"4")
        peer.answer(message, b"400")
        return message.type != M.GET_STATE

    peer.on_call = twice
    assert peer.call(trader, "add", "n", "1").payload == b"5"


def test_the_same_transaction_twice_runs_once(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    running = serve("kv")
    peer = dial(running)
    held: list[Any] = []
    peer.on_call = lambda call, message: bool(held.append(message))
    call = peer.begin(trader, "put", "k", "v")
    wait_until(lambda: len(held) == 1)
    peer.send(peer.transaction(call.proposal))
    wait_until(
        lambda: count(running, "messages_dropped_total", reason="duplicate transaction") == 1
    )
    peer.answer(held[0], b"")
    assert call.response().payload == b"v"
    assert len(held) == 1


def test_a_peer_that_refuses_a_state_call_gets_its_words_back(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    peer = dial(serve("kv"))

    def refuse(call: Any, message: Any) -> bool:
        peer.answer(message, b"GET_STATE failed:\n no ledger context", M.ERROR)
        return False

    peer.on_call = refuse
    assert peer.begin(trader, "get", "k").error() == "GET_STATE failed:  no ledger context"


@pytest.mark.parametrize("payload", [b"\xff\xff", b"\x0a\x02\xff\xff"])
def test_a_damaged_range_answer_ends_that_transaction_only(
    serve: Any, dial: Any, trader: SigningIdentity, payload: bytes
) -> None:
    peer = dial(serve("kv"))

    def damage(call: Any, message: Any) -> bool:
        if message.type == M.GET_STATE_BY_RANGE:
            peer.answer(message, payload)
            return False
        return True

    peer.on_call = damage
    assert "the peer's answer is no" in peer.begin(trader, "range", "a", "z").error()
    assert peer.call(trader, "put", "k", "v").payload == b"v"


def test_fewer_values_than_keys_end_the_transaction(serve: Any, dial: Any, world: Any) -> None:
    world.open()
    peer = dial(serve(), world.ledger)

    def short(call: Any, message: Any) -> bool:
        if message.type == M.GET_STATE_MULTIPLE:
            answer = peer_pb2.GetStateMultipleResult(values=[b"{}"])
            peer.answer(message, answer.SerializeToString())
            return False
        return True

    peer.on_call = short
    call = peer.begin(world.traders["E"], "SubmitQuote", world.quote_text("E", "sell", 1000, 5000))
    assert call.error() == "3 keys were asked for, 1 answered"


def test_a_range_that_never_ends_is_fetched_as_far_as_it_is_read(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    """The iterator's pages are asked for one by one; the transaction's time bounds them."""
    running = serve("kv", limits=Limits(execute_seconds=0.5))
    peer = dial(running)

    def endless(call: Any, message: Any) -> bool:
        answer = peer_pb2.QueryResponse(id="q", has_more=True)
        peer.answer(message, answer.SerializeToString())
        return False

    peer.on_call = endless
    assert peer.begin(trader, "range", "a", "z").error() == "the transaction took too long"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda m: m.ClearField("proposal"), "the proposal"),
        (lambda m: setattr(m, "payload", b"\xff"), "no ChaincodeInput"),
        (lambda m: setattr(m.proposal, "proposal_bytes", b"\xff\xff"), "the proposal is no"),
        (lambda m: setattr(m, "txid", "of another"), "another transaction's"),
    ],
)
def test_a_transaction_that_is_not_all_there_is_answered_with_an_error(
    serve: Any, dial: Any, trader: SigningIdentity, spoil: Callable[[Any], None], said: str
) -> None:
    peer = dial(serve("kv"))
    call = peer.begin(trader, "put", "k", "v")
    call.response()
    message = peer.transaction(call.proposal)
    spoil(message)
    peer.calls["market", message.txid] = again = type(call)(call.proposal, call.simulation)
    peer.send(message)
    assert said in again.error()
    assert peer.call(trader, "put", "k", "v").payload == b"v"


def test_a_stream_cut_in_mid_transaction_leaves_nothing_behind(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    running = serve("kv")
    peer, held = dial(running), threading.Event()

    def hold(call: Any, message: Any) -> bool:
        held.set()
        return False

    peer.on_call = hold
    peer.begin(trader, "put", "k", "v")
    assert held.wait(WAIT)
    assert count(running, "transactions_running") == 1
    peer.cut()
    wait_until(lambda: count(running, "transactions_running") == 0)
    wait_until(lambda: count(running, "streams") == 0)
    assert count(running, "transactions_total", function="put", outcome="failed") == 1
    assert dial(running).call(trader, "put", "k", "v").payload == b"v"


def test_a_peer_that_never_answers_is_waited_for_only_so_long(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    peer = dial(serve("kv", limits=Limits(execute_seconds=0.2)))
    peer.on_call = lambda call, message: False
    assert peer.begin(trader, "get", "k").error() == "the transaction took too long"
    peer.on_call = lambda call, message: True
    assert peer.call(trader, "put", "k", "v").payload == b"v"


def test_more_transactions_than_allowed_are_refused_at_once(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    peer = dial(serve("kv", limits=Limits(transactions=2)))
    held: list[Any] = []
    peer.on_call = lambda call, message: bool(held.append(message))
    first = [peer.begin(trader, "put", f"k{n}", "v") for n in range(2)]
    assert "runs 2 transactions already" in peer.begin(trader, "put", "k", "v").error()
    for message in held:
        peer.answer(message, b"")
    assert [call.response().status for call in first] == [200, 200]


def test_a_message_larger_than_grpc_takes_ends_that_stream_only(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    running = serve("kv")
    good, bad = dial(running), dial(running)
    assert bad.ready.wait(WAIT)
    bad.send_bytes(bytes(100 * 1024 * 1024 + 1))
    assert bad.over.wait(WAIT)
    assert bad.status is not None
    assert good.call(trader, "put", "k", "v").payload == b"v"


def test_an_answer_too_large_to_send_is_an_error(
    serve: Any, dial: Any, trader: SigningIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "MAX_ANSWER_BYTES", 1000)
    peer = dial(serve("kv"))
    assert "the answer is larger" in peer.begin(trader, "put", "k", "v" * 1001).error()


def test_a_defect_of_the_contract_ends_its_transaction_and_is_logged(
    serve: Any, dial: Any, trader: SigningIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(invocation: Invocation) -> Response:
        if invocation.args[0] == b"good":
            return Response(OK, "", b"fine")
        raise ZeroDivisionError("secret")

    running = serve(Service(ID, broken))
    peer = dial(running)
    assert peer.begin(trader, "bad").error() == "the chaincode failed; its server's log says why"
    assert peer.call(trader, "good").payload == b"fine"
    assert "ZeroDivisionError: secret" in caplog.text


def test_a_key_fabric_refuses_ends_the_transaction(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    def careless(invocation: Invocation) -> Response:
        invocation.state.put("", b"value")
        return Response(OK, "", b"")

    peer = dial(serve(Service(ID, careless)))
    assert peer.begin(trader, "f").error() == "a key must not be empty"


def test_keepalive_is_echoed(serve: Any, dial: Any) -> None:
    peer = dial(serve("kv"))
    assert peer.ready.wait(WAIT)
    peer.send(M(type=M.KEEPALIVE, payload=b"still there"))
    assert peer.received.get(timeout=WAIT).type == M.REGISTER
    echoed = peer.received.get(timeout=WAIT)
    assert (echoed.type, echoed.payload) == (M.KEEPALIVE, b"still there")


def test_a_peer_that_sends_and_never_reads_does_not_fill_the_memory(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    running = serve("kv")
    good, bad = dial(running), dial(running)
    assert bad.ready.wait(WAIT)
    bad.stop_reading()
    # More than what lies in the sockets' buffers, so that the server's writes have to wait.
    for _ in range(200):
        bad.send(M(type=M.KEEPALIVE, payload=bytes(300_000)))
    before = -1
    while bad.unsent != before:
        before = bad.unsent
        time.sleep(0.5)
    assert 100 < before < 200
    assert good.call(trader, "put", "k", "v").payload == b"v"
    bad.cut()
    wait_until(lambda: count(running, "streams_ended_total", reason="cut") == 1)


def test_invented_functions_do_not_grow_the_metrics(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    running = serve("kv")
    peer = dial(running)
    for number in range(20):
        assert peer.call(trader, f"invented{number}").status == 400
    assert count(running, "transactions_total", function="other", outcome="refused") == 20
    assert b"invented" not in running.metrics.text()
