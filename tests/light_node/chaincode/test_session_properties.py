"""Whatever a peer sends in whatever order: a session answers, drops, or ends its stream."""

import asyncio
import contextlib
import functools
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from light_node.chaincode.host import Host, Limits, Service
from light_node.chaincode.metrics import Metrics
from light_node.chaincode.session import Session
from light_node.clock import SystemClock
from light_node.devnet.certificates import new_root
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.identity import serialize
from light_node.fabric.pb import common_pb2, peer_pb2

M = peer_pb2.ChaincodeMessage
PACKAGE_ID = "kv_1:" + "0" * 64

arguments = st.builds(
    lambda args: peer_pb2.ChaincodeInput(args=args).SerializeToString(),
    st.lists(st.sampled_from([b"get", b"add", b"range", b"k", b"1", b"\xff"]), max_size=3),
)
page = st.builds(
    lambda more, results: peer_pb2.QueryResponse(
        id="q", has_more=more, results=[peer_pb2.QueryResultBytes(resultBytes=r) for r in results]
    ).SerializeToString(),
    st.booleans(),
    st.lists(st.binary(max_size=4), max_size=2),
)


@functools.cache
def proposed(transaction_id: str) -> peer_pb2.SignedProposal:
    """A proposal as a peer passes it on, after it has judged it."""
    root = new_root("Ada", "Org1", datetime.now(UTC))
    channel = common_pb2.ChannelHeader(tx_id=transaction_id)
    channel.timestamp.seconds = 1_800_000_000
    signature = common_pb2.SignatureHeader(creator=serialize("Org1MSP", root.certificate_pem))
    header = common_pb2.Header(
        channel_header=channel.SerializeToString(), signature_header=signature.SerializeToString()
    )
    proposal = peer_pb2.Proposal(header=header.SerializeToString())
    return peer_pb2.SignedProposal(proposal_bytes=proposal.SerializeToString())


@st.composite
def messages(draw: Any) -> bytes:
    kind = draw(
        st.sampled_from(
            [M.TRANSACTION, M.TRANSACTION, M.RESPONSE, M.RESPONSE, M.ERROR, M.INIT, M.KEEPALIVE,
             M.REGISTERED, M.READY, M.COMPLETED, M.UNDEFINED]
        )
    )  # fmt: skip
    txid = draw(st.sampled_from(["t1", "t2", ""]))
    return M(
        type=kind,
        txid=txid,
        channel_id=draw(st.sampled_from(["c", ""])),
        payload=draw(st.one_of(arguments, page, st.binary(max_size=8))),
        proposal=draw(
            st.sampled_from([proposed(txid), None, peer_pb2.SignedProposal(proposal_bytes=b"x")])
        ),
    ).SerializeToString()


def run(script: list[bytes]) -> tuple[list[peer_pb2.ChaincodeMessage], Metrics]:
    """Play the peer's messages to a registered session; its answers and counters."""
    metrics, sent = Metrics(), []

    async def play() -> None:
        host = Host(Service.named("kv", PACKAGE_ID), Limits(transactions=3), metrics)
        session = Session(host, sent.append, SystemClock())
        session.begin()
        session.receive(M(type=M.REGISTERED).SerializeToString())
        session.receive(M(type=M.READY).SerializeToString())
        with contextlib.suppress(MalformedMessage):
            for data in script:
                session.receive(data)
        session.end()
        await asyncio.wait_for(host.drained(), 20)
        host.close()

    asyncio.run(play())
    return sent, metrics


@settings(max_examples=50)
@given(st.lists(st.one_of(messages(), st.binary(max_size=12)), max_size=12))
def test_a_session_survives_any_script(script: list[bytes]) -> None:
    sent, metrics = run(script)
    assert sent[0].type == M.REGISTER
    answered = [message for message in sent if message.type in (M.COMPLETED, M.ERROR)]
    begun = [data for data in script if _kind(data) in (M.TRANSACTION, M.INIT)]
    assert len(answered) <= len(begun)
    assert metrics.registry.get_sample_value("chaincode_transactions_running") in (None, 0.0)


def _kind(data: bytes) -> int:
    try:
        return M.FromString(data).type
    except DecodeError:
        return -1


def test_the_scripts_reach_the_contract() -> None:
    """The property would hold of a session that refuses everything, too."""
    call = M(
        type=M.TRANSACTION, txid="t1", channel_id="c", proposal=proposed("t1"),
        payload=peer_pb2.ChaincodeInput(args=[b"get", b"k"]).SerializeToString(),
    )  # fmt: skip
    answer = M(type=M.RESPONSE, txid="t1", channel_id="c", payload=b"value")
    sent, _ = run([call.SerializeToString(), answer.SerializeToString()])
    assert [message.type for message in sent] == [M.REGISTER, M.GET_STATE, M.COMPLETED]
    assert peer_pb2.Response.FromString(sent[-1].payload).payload == b"value"
