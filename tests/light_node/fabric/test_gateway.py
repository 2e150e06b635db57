"""The gateway client against a peer that plays well and badly, over real gRPC and TLS."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from light_node.clock import SystemClock
from light_node.fabric import endorsement, transaction
from light_node.fabric.errors import (
    AccessDenied,
    ClockSkewed,
    CommitConflict,
    CommitError,
    ContractRefused,
    EndorseError,
    EndorsersDisagree,
    EvaluateError,
    FabricError,
    MalformedMessage,
    OutcomeUnknown,
    Overloaded,
    SubmitError,
    TimedOut,
    Unavailable,
    UntrustedResponse,
)
from light_node.fabric.gateway import Deadlines, Endorsed, Gateway
from light_node.fabric.pb import common_pb2, lifecycle_pb2, peer_pb2

CODE = grpc.StatusCode
PATIENT = Deadlines(evaluate=20, endorse=20, submit=20, commit=60, probe=10, resubmit=30)
# For tests in which nothing is committed at first: each probe then lasts its whole time.
HASTY = Deadlines(evaluate=20, endorse=20, submit=20, commit=60, probe=0.2, resubmit=30)


@pytest.fixture
def gateway(channel: grpc.Channel, consortium: Any) -> Iterator[Gateway]:
    made = Gateway(
        channel,
        consortium.client,
        "market",
        SystemClock(),
        policy=consortium.majority,
        deadlines=PATIENT,
    )
    yield made
    made.close()


@pytest.fixture
def hasty(channel: grpc.Channel, consortium: Any) -> Iterator[Gateway]:
    made = Gateway(
        channel,
        consortium.client,
        "market",
        SystemClock(),
        policy=consortium.majority,
        deadlines=HASTY,
    )
    yield made
    made.close()


def gateway_with(channel: grpc.Channel, consortium: Any, **deadlines: float) -> Gateway:
    return Gateway(
        channel,
        consortium.client,
        "market",
        SystemClock(),
        policy=consortium.majority,
        deadlines=Deadlines(**deadlines),
    )


# -- the good way ---------------------------------------------------------------------------------


def test_evaluate(gateway: Gateway, peer: Any) -> None:
    assert gateway.evaluate("market", "GetSlot", "2026", b"\xff") == b'{"ok":true}'
    assert peer.proposals[0].args == (b"GetSlot", b"2026", b"\xff")
    assert peer.proposals[0].channel == "market"


def test_submit_transaction(gateway: Gateway, peer: Any, consortium: Any) -> None:
    result = gateway.submit_transaction("market", "OpenSlot", "{}")
    assert result.payload == b'{"ok":true}'
    assert result.block_number == 7
    (raw,) = peer.submitted
    tx = transaction.parse_transaction(raw)
    assert tx.transaction_id == result.transaction_id
    assert tx.args == (b"OpenSlot", b"{}")
    identity = consortium.msps.deserialize(tx.creator)
    assert identity.verify(tx.header.payload, tx.header.signature)
    assert peer.calls == ["endorse", "submit", "commit status"]


def test_endorse_submits_nothing(gateway: Gateway, peer: Any) -> None:
    endorsed = gateway.endorse("market", "OpenSlot", "{}")
    assert peer.calls == ["endorse"]
    assert endorsed.result == b'{"ok":true}'
    assert endorsed.event is not None
    assert endorsed.event.name == "SlotOpened"
    gateway.submit(endorsed)
    assert gateway.commit_status(endorsed.transaction_id).valid


def test_every_transaction_has_its_own_id(gateway: Gateway) -> None:
    ids = {gateway.endorse("market", "f").transaction_id for _ in range(5)}
    assert len(ids) == 5


def test_many_threads_share_a_gateway(gateway: Gateway, peer: Any) -> None:
    results, errors = [], []

    def work() -> None:
        try:
            results.append(gateway.submit_transaction("market", "f").transaction_id)
        except FabricError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(results)) == 8


# -- lies: nothing is signed ----------------------------------------------------------------------


def test_an_altered_result_is_not_signed(gateway: Gateway, peer: Any) -> None:
    def tamper(envelope: common_pb2.Envelope) -> None:
        envelope.payload = envelope.payload.replace(b'{"ok":true}', b'{"ok":fals}')

    peer.tamper = tamper
    with pytest.raises(UntrustedResponse):
        gateway.submit_transaction("market", "f")
    assert peer.submitted == []


def test_another_call_prepared_is_not_signed(gateway: Gateway, peer: Any) -> None:
    def tamper(envelope: common_pb2.Envelope) -> None:
        envelope.payload = envelope.payload.replace(b"SubmitQuote", b"DeleteQuote")

    peer.tamper = tamper
    with pytest.raises(UntrustedResponse) as caught:
        gateway.submit_transaction("market", "SubmitQuote", "{}")
    assert caught.value.point == 2
    assert peer.submitted == []


def test_an_empty_answer_is_not_signed(gateway: Gateway, peer: Any) -> None:
    peer.tamper = lambda envelope: envelope.Clear()
    with pytest.raises(UntrustedResponse):
        gateway.endorse("market", "f")


def test_the_expectation_is_asked(gateway: Gateway) -> None:
    def expect(action: transaction.Action) -> None:
        raise UntrustedResponse(5, "not the transfer meant")

    with pytest.raises(UntrustedResponse, match="not the transfer meant"):
        gateway.endorse("market", "f", expect=expect)


# -- errors by class ------------------------------------------------------------------------------


REFUSAL = "chaincode response 409, ROUND_CLOSED: round 2 of slot X is closed"


def test_a_refusal_at_endorsement(gateway: Gateway, peer: Any, kit: Any) -> None:
    text = "failed to endorse transaction, see attached details for more info"
    details = (("peer0:7051", "Org1MSP", REFUSAL),)
    peer.scripts["endorse"] = [kit.Failure(CODE.ABORTED, text, details)]
    with pytest.raises(ContractRefused) as caught:
        gateway.submit_transaction("market", "SubmitQuote")
    error = caught.value
    assert (error.status, error.code) == (409, "ROUND_CLOSED")
    assert error.foreign == "round 2 of slot X is closed"
    assert error.transaction_id == peer.proposals[0].transaction_id
    assert peer.calls == ["endorse"]


def test_a_refusal_at_evaluation(gateway: Gateway, peer: Any, kit: Any) -> None:
    text = f"evaluate call to endorser returned error: {REFUSAL}"
    peer.scripts["evaluate"] = [kit.Failure(CODE.UNKNOWN, text, (("p", "Org1MSP", REFUSAL),))]
    with pytest.raises(ContractRefused) as caught:
        gateway.evaluate("market", "f")
    assert caught.value.code == "ROUND_CLOSED"


def test_a_refusal_without_a_code_word(gateway: Gateway, peer: Any) -> None:
    bad = peer_pb2.Response(status=500, message="it broke: badly")
    peer.evaluate_answers["market.f"] = bad
    with pytest.raises(ContractRefused) as caught:
        gateway.evaluate("market", "f")
    assert (caught.value.status, caught.value.code) == (500, "")
    assert caught.value.foreign == "it broke: badly"


def test_an_answer_without_status(gateway: Gateway, peer: Any) -> None:
    peer.evaluate_answers["market.f"] = peer_pb2.Response()
    with pytest.raises(EvaluateError):
        gateway.evaluate("market", "f")


CASES = [
    (CODE.ABORTED, "failed to endorse", "ProposalResponsePayloads do not match", EndorsersDisagree),
    (
        CODE.ABORTED,
        "failed to endorse",
        "error validating proposal: access denied: channel [market] creator org [Org1MSP]",
        AccessDenied,
    ),
    (
        CODE.ABORTED,
        "failed to endorse",
        "request unauthorized due to incorrect timestamp: peer 10:00, client 12:00",
        ClockSkewed,
    ),
    (
        CODE.ABORTED,
        "failed to collect enough transaction endorsements",
        "connection error: dial tcp: connection refused",
        Unavailable,
    ),
    (CODE.ABORTED, "failed to endorse", "could not launch chaincode market", Unavailable),
    (CODE.FAILED_PRECONDITION, "no combination of peers can be derived", "", EndorseError),
    (CODE.UNAVAILABLE, "failed to find any endorsing peers for org(s): Org9MSP", "", Unavailable),
    (CODE.PERMISSION_DENIED, "not allowed to read", "", AccessDenied),
    (CODE.INTERNAL, "something", "", EndorseError),
]


@pytest.mark.parametrize(("code", "text", "detail", "kind"), CASES)
def test_endorse_errors_by_class(
    gateway: Gateway, peer: Any, kit: Any, code: Any, text: str, detail: str, kind: type
) -> None:
    details = (("peer0:7051", "Org1MSP", detail),) if detail else ()
    peer.scripts["endorse"] = [kit.Failure(code, text, details)] * 2
    with pytest.raises(kind) as caught:
        gateway.endorse("market", "f")
    assert type(caught.value) is kind
    assert caught.value.foreign == text
    assert [d.message for d in caught.value.details] == ([detail] if detail else [])
    assert text not in str(caught.value)


def test_truncated_status_details_are_ignored(gateway: Gateway, peer: Any, kit: Any) -> None:
    peer.scripts["endorse"] = [kit.Failure(CODE.ABORTED, "failed", raw_details=b"\x1a\xff\x01")]
    with pytest.raises(EndorseError) as caught:
        gateway.endorse("market", "f")
    assert caught.value.details == ()


def test_foreign_text_is_one_bounded_plain_line(gateway: Gateway, peer: Any, kit: Any) -> None:
    nasty = "a\x1b[31m\nb\u202e" + "x" * 5000
    peer.scripts["endorse"] = [kit.Failure(CODE.ABORTED, "t", (("a\n", "b", nasty),))]
    with pytest.raises(EndorseError) as caught:
        gateway.endorse("market", "f")
    (detail,) = caught.value.details
    assert detail.address == "a "
    assert detail.message.startswith("a [31m b x")
    assert len(detail.message) == 2000


# -- deadlines, overload, lost connections --------------------------------------------------------


def test_evaluate_has_a_deadline(channel: grpc.Channel, consortium: Any, peer: Any) -> None:
    release = threading.Event()
    peer.scripts["evaluate"] = [lambda context: release.wait()]
    try:
        with pytest.raises(TimedOut):
            gateway_with(channel, consortium, evaluate=0.2).evaluate("market", "f")
    finally:
        release.set()


def test_overload_is_waited_out(gateway: Gateway, peer: Any, kit: Any) -> None:
    busy = kit.Failure(
        CODE.UNKNOWN, "too many requests for /gateway.Gateway, exceeding concurrency limit (500)"
    )
    peer.scripts = {"evaluate": [busy] * 3, "endorse": [busy] * 3, "submit": [busy] * 3}
    assert gateway.evaluate("market", "f") == b'{"ok":true}'
    assert gateway.submit_transaction("market", "f").block_number == 7
    assert peer.calls.count("submit") == 4
    assert len(set(peer.submitted)) == 1


def test_lasting_overload_is_an_error(
    channel: grpc.Channel, consortium: Any, peer: Any, kit: Any
) -> None:
    busy = kit.Failure(CODE.UNKNOWN, "too many requests for /gateway.Gateway")
    peer.scripts["evaluate"] = [busy] * 1000
    with pytest.raises(Overloaded):
        gateway_with(channel, consortium, evaluate=0.3).evaluate("market", "f")


def test_reads_are_repeated_once_after_a_lost_connection(
    gateway: Gateway, peer: Any, kit: Any
) -> None:
    lost = kit.Failure(CODE.UNAVAILABLE, "Socket closed")
    peer.scripts["evaluate"] = [lost]
    assert gateway.evaluate("market", "f") == b'{"ok":true}'
    assert peer.proposals[0].transaction_id != peer.proposals[1].transaction_id
    peer.scripts["evaluate"] = [lost, lost]
    with pytest.raises(Unavailable):
        gateway.evaluate("market", "f")


def test_nobody_there(consortium: Any, tls: Any) -> None:
    from light_node.fabric.connection import connect

    channel = connect("127.0.0.1:1", tls.root_pem)
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            gateway_with(channel, consortium).evaluate("market", "f")
    finally:
        channel.close()
    with pytest.raises(Unavailable, match="closed"):
        gateway_with(channel, consortium).evaluate("market", "f")


# -- the retry rule of 4.7 ------------------------------------------------------------------------


def test_an_error_that_was_a_commit(gateway: Gateway, peer: Any, kit: Any) -> None:
    def commit_then_fail(context: grpc.ServicerContext) -> None:
        peer.commit(peer.proposals[-1].transaction_id, block=11)
        kit.Failure(CODE.UNAVAILABLE, "insufficient number of orderers").raise_in(context)

    peer.scripts["submit"] = [commit_then_fail]
    result = gateway.submit_transaction("market", "f")
    assert result.block_number == 11
    assert len(peer.submitted) == 1


def test_after_an_error_the_same_envelope_is_submitted_again(
    hasty: Gateway, peer: Any, kit: Any
) -> None:
    down = kit.Failure(CODE.UNAVAILABLE, "no orderers could successfully process transaction")
    peer.scripts["submit"] = [down, down]
    result = hasty.submit_transaction("market", "f")
    assert len(peer.submitted) == 3
    assert len(set(peer.submitted)) == 1
    assert transaction.parse_transaction(peer.submitted[0]).transaction_id == result.transaction_id
    # Between two submissions the outcome is always asked for first.
    assert peer.calls == ["endorse", *["submit", "commit status"] * 3]


def test_an_accepted_transaction_that_got_lost_is_sent_again(
    channel: grpc.Channel, consortium: Any, peer: Any
) -> None:
    peer.commit_on_submit = False

    def commits_now(context: Any) -> None:
        peer.commit_on_submit = True

    peer.scripts["submit"] = [lambda context: None, commits_now]
    gateway = gateway_with(channel, consortium, resubmit=0.2)
    assert gateway.submit_transaction("market", "f").block_number == 7
    assert len(peer.submitted) >= 2
    assert len(set(peer.submitted)) == 1


def test_an_unknown_outcome_keeps_the_envelope_and_can_be_resumed(
    channel: grpc.Channel, consortium: Any, peer: Any, gateway: Gateway
) -> None:
    peer.commit_on_submit = False
    impatient = gateway_with(channel, consortium, commit=0.5, probe=0.1, resubmit=0.2)
    with pytest.raises(OutcomeUnknown) as caught:
        impatient.submit_transaction("market", "f")
    error = caught.value
    assert error.envelope == peer.submitted[0]
    before = len(peer.submitted)
    peer.commit(error.transaction_id, block=9)
    result = gateway.resume(error.transaction_id, error.envelope)
    assert (result.block_number, result.payload) == (9, b'{"ok":true}')
    assert len(peer.submitted) == before  # it was committed: nothing is sent again


def test_resume_submits_what_was_never_sent(hasty: Gateway, peer: Any) -> None:
    endorsed = hasty.endorse("market", "f")
    result = hasty.resume(endorsed.transaction_id, endorsed.envelope)
    assert result.payload == endorsed.result
    assert peer.submitted == [endorsed.envelope]
    assert peer.calls[1:3] == ["commit status", "submit"]


def test_resume_tells_of_an_invalid_commit(gateway: Gateway, peer: Any) -> None:
    endorsed = gateway.endorse("market", "f")
    peer.commit(endorsed.transaction_id, code=peer_pb2.MVCC_READ_CONFLICT, block=3)
    with pytest.raises(CommitConflict) as caught:
        gateway.resume(endorsed.transaction_id, endorsed.envelope)
    assert caught.value.block_number == 3
    assert peer.submitted == []


def test_resume_refuses_a_damaged_outbox(gateway: Gateway, peer: Any) -> None:
    endorsed = gateway.endorse("market", "f")
    for transaction_id, envelope in [
        ("0" * 64, endorsed.envelope),
        ("", endorsed.envelope),
        (endorsed.transaction_id, endorsed.envelope[:-80]),
        (endorsed.transaction_id, b""),
    ]:
        with pytest.raises(MalformedMessage):
            gateway.resume(transaction_id, envelope)
    with pytest.raises(MalformedMessage):
        gateway.submit(Endorsed("0" * 64, b"\xff"))
    assert peer.submitted == []


def test_a_plain_rejection_ends_after_three_tries(hasty: Gateway, peer: Any, kit: Any) -> None:
    text = "received unsuccessful response from orderer: status=BAD_REQUEST"
    peer.scripts["submit"] = [kit.Failure(CODE.ABORTED, text)] * 10
    with pytest.raises(SubmitError) as caught:
        hasty.submit_transaction("market", "f")
    assert caught.value.foreign == text
    assert len(peer.submitted) == 3


def test_one_rejecting_orderer_is_got_around(hasty: Gateway, peer: Any, kit: Any) -> None:
    text = "received unsuccessful response from orderer: status=BAD_REQUEST"
    peer.scripts["submit"] = [kit.Failure(CODE.ABORTED, text)]
    assert hasty.submit_transaction("market", "f").block_number == 7


def test_a_rejection_after_doubt_stays_unknown(hasty: Gateway, peer: Any, kit: Any) -> None:
    lost = kit.Failure(CODE.UNAVAILABLE, "Socket closed")
    rejected = kit.Failure(CODE.ABORTED, "status=BAD_REQUEST")
    peer.scripts["submit"] = [lost, rejected, rejected, rejected]
    with pytest.raises(OutcomeUnknown):
        hasty.submit_transaction("market", "f")


def test_denied_at_submit_is_not_repeated(hasty: Gateway, peer: Any, kit: Any) -> None:
    peer.scripts["submit"] = [kit.Failure(CODE.PERMISSION_DENIED, "no")] * 5
    with pytest.raises(AccessDenied):
        hasty.submit_transaction("market", "f")
    assert len(peer.submitted) == 1


def test_denied_commit_status_leaves_the_outcome_unknown(
    gateway: Gateway, peer: Any, kit: Any
) -> None:
    peer.scripts["commit status"] = [kit.Failure(CODE.PERMISSION_DENIED, "no")] * 5
    with pytest.raises(OutcomeUnknown) as caught:
        gateway.submit_transaction("market", "f")
    assert isinstance(caught.value.__cause__, AccessDenied)
    assert len(peer.submitted) == 1


def test_invalid_commits_are_errors(gateway: Gateway, peer: Any) -> None:
    peer.commit_code = peer_pb2.ENDORSEMENT_POLICY_FAILURE
    with pytest.raises(CommitError, match="ENDORSEMENT_POLICY_FAILURE") as caught:
        gateway.submit_transaction("market", "f", retries=3)
    assert not isinstance(caught.value, CommitConflict)
    assert len(peer.submitted) == 1


@pytest.mark.parametrize("code", [peer_pb2.MVCC_READ_CONFLICT, peer_pb2.PHANTOM_READ_CONFLICT])
def test_conflicts_are_the_callers_choice(gateway: Gateway, peer: Any, code: int) -> None:
    peer.commit_code = code
    with pytest.raises(CommitConflict):
        gateway.submit_transaction("market", "f")
    assert len(peer.submitted) == 1


def test_conflicts_are_retried_under_new_ids(gateway: Gateway, peer: Any) -> None:
    peer.commit_code = peer_pb2.MVCC_READ_CONFLICT

    def heal(context: Any) -> None:
        peer.commit_code = 0

    peer.scripts["submit"] = [lambda context: None, heal]
    result = gateway.submit_transaction("market", "f", retries=3)
    ids = [transaction.parse_transaction(raw).transaction_id for raw in peer.submitted]
    assert len(set(ids)) == 2
    assert result.transaction_id == ids[1]


def test_commit_status_times_out(gateway: Gateway) -> None:
    with pytest.raises(TimedOut):
        gateway.commit_status("f" * 64, 0.2)


def test_a_call_cancelled_at_its_deadline_has_timed_out(gateway: Gateway, peer: Any) -> None:
    """The server knows the deadline, too, and may be the first to act on it."""

    def cancel_late(context: grpc.ServicerContext) -> None:
        while (context.time_remaining() or 0) > 0.05:
            threading.Event().wait(0.005)
        context.abort(CODE.CANCELLED, "context deadline exceeded")

    peer.scripts["commit status"] = [cancel_late]
    with pytest.raises(TimedOut):
        gateway.commit_status("f" * 64, 1.0)


def test_a_call_cancelled_before_its_deadline_is_a_lost_one(
    gateway: Gateway, peer: Any, kit: Any
) -> None:
    peer.scripts["commit status"] = [kit.Failure(CODE.CANCELLED, "going away")]
    with pytest.raises(Unavailable) as caught:
        gateway.commit_status("f" * 64, 30.0)
    assert not isinstance(caught.value, TimedOut)


def test_closing_ends_a_waiting_submission(
    channel: grpc.Channel, consortium: Any, peer: Any, kit: Any
) -> None:
    waiting = gateway_with(channel, consortium, commit=60.0, probe=0.05, resubmit=0.05)
    down = kit.Failure(CODE.UNAVAILABLE, "no orderers")
    peer.scripts["submit"] = [down, lambda context: waiting.close()] + [down] * 1000
    peer.commit_on_submit = False
    with pytest.raises(OutcomeUnknown):
        waiting.submit_transaction("market", "f")


# -- the policy fetched ---------------------------------------------------------------------------


def definition(plugin: str = "vscc") -> peer_pb2.Response:
    found = lifecycle_pb2.QueryChaincodeDefinitionResult(
        sequence=1,
        version="1",
        validation_plugin=plugin,
        validation_parameter=endorsement.reference_bytes(),
    )
    return peer_pb2.Response(status=200, payload=found.SerializeToString())


@pytest.fixture
def trusting(channel: grpc.Channel, consortium: Any) -> Gateway:
    return Gateway(channel, consortium.client, "raftch", SystemClock(), deadlines=PATIENT)


def test_the_policy_is_fetched_and_after_a_refusal_fetched_anew(
    trusting: Gateway, peer: Any, data: Any
) -> None:
    block = (data / "fabric/raft/full/0000.block").read_bytes()
    peer.evaluate_answers = {
        "_lifecycle.QueryChaincodeDefinition": definition(),
        "cscc.GetConfigBlock": peer_pb2.Response(status=200, payload=block),
    }
    for _ in range(2):
        # The peers of this test are none of that channel's, which the fetched config tells.
        with pytest.raises(UntrustedResponse) as caught:
            trusting.endorse("market", "f")
        assert caught.value.point == 6
    assert peer.calls == ["evaluate", "evaluate", "endorse"] * 2


def test_a_config_block_of_another_channel_is_refused(
    trusting: Gateway, peer: Any, data: Any
) -> None:
    block = (data / "fabric/bft/full/0000.block").read_bytes()
    peer.evaluate_answers = {"cscc.GetConfigBlock": peer_pb2.Response(status=200, payload=block)}
    with pytest.raises(EndorseError, match="another channel"):
        trusting.endorse("market", "f")


def test_a_validation_plugin_of_its_own_is_refused(trusting: Gateway, peer: Any, data: Any) -> None:
    block = (data / "fabric/raft/full/0000.block").read_bytes()
    peer.evaluate_answers = {
        "_lifecycle.QueryChaincodeDefinition": definition("own"),
        "cscc.GetConfigBlock": peer_pb2.Response(status=200, payload=block),
    }
    with pytest.raises(EndorseError, match="plug-in"):
        trusting.endorse("market", "f")


def test_height_and_damaged_answers(gateway: Gateway, peer: Any) -> None:
    info = common_pb2.BlockchainInfo(height=12).SerializeToString()
    peer.evaluate_answers["qscc.GetChainInfo"] = peer_pb2.Response(status=200, payload=info)
    assert gateway.height() == 12
    for name, call in (
        ("qscc.GetChainInfo", gateway.height),
        ("_lifecycle.QueryChaincodeDefinition", lambda: gateway.definition("market")),
    ):
        peer.evaluate_answers[name] = peer_pb2.Response(status=200, payload=b"\xff")
        with pytest.raises(MalformedMessage):
            call()
