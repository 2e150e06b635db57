"""What becomes of transactions: conflicts, duplicates, sizes, events, the commit hash (7.5–7.8)."""

from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from light_node.fabric.block import parse_block
from light_node.fabric.commit import CommitStatus
from light_node.fabric.commit_hash import block_updates, commit_hash
from light_node.fabric.deliver import DeliverClient
from light_node.fabric.errors import CommitConflict, FabricError
from light_node.fabric.events import Checkpoint
from light_node.fabric.gateway import Endorsed, Gateway
from light_node.fabric.methods import (
    BROADCAST,
    CHAINCODE_EVENTS,
    ENDORSE,
    PEER_DELIVER_FILTERED,
    SUBMIT,
)
from light_node.fabric.pb import common_pb2, gateway_pb2, orderer_pb2, peer_pb2
from tests.conformance.calls import (
    deliver,
    endorse_request,
    failure_of,
    propose,
    seek_info,
)
from tests.conformance.networks import CLOCK, Network

SECONDS = 30.0


def commit(gateway: Gateway, endorsed: Endorsed) -> CommitStatus:
    gateway.submit(endorsed)
    return gateway.commit_status(endorsed.transaction_id, SECONDS)


# -- MVCC and phantoms -------------------------------------------------------------------------


def test_two_endorsed_on_one_version(gateway: Gateway) -> None:
    gateway.submit_transaction("kv", "put", "or-a", "0")
    first, second = (gateway.endorse("kv", "add", "or-a", "1") for _ in range(2))
    assert commit(gateway, first).valid
    assert commit(gateway, second).code == peer_pb2.MVCC_READ_CONFLICT
    with pytest.raises(CommitConflict):
        gateway.resume(second.transaction_id, second.envelope)
    assert gateway.evaluate("kv", "get", "or-a") == b"1"


def test_two_of_one_block(gateway: Gateway) -> None:
    gateway.submit_transaction("kv", "put", "or-block", "0")
    rivals = [gateway.endorse("kv", "add", "or-block", "1") for _ in range(4)]
    for rival in rivals:
        gateway.submit(rival)
    found = [gateway.commit_status(r.transaction_id, SECONDS) for r in rivals]
    assert sorted(status.code for status in found) == [
        peer_pb2.VALID,
        *[peer_pb2.MVCC_READ_CONFLICT] * 3,
    ]
    assert gateway.evaluate("kv", "get", "or-block") == b"1"


@pytest.mark.parametrize("before", [("put", "or-k", "1"), ("del", "or-k")])
def test_a_read_of_what_comes_or_goes(gateway: Gateway, before: tuple[str, ...]) -> None:
    made = before[0] == "put"
    gateway.submit_transaction("kv", *(("del", "or-k") if made else ("put", "or-k", "1")))
    reading = gateway.endorse("kv", "add", "or-k", "1")
    gateway.submit_transaction("kv", *before)
    assert commit(gateway, reading).code == peer_pb2.MVCC_READ_CONFLICT


def test_writes_without_reads_never_conflict(gateway: Gateway) -> None:
    writes = [gateway.endorse("kv", "put", "or-blind", str(i)) for i in range(3)]
    for write in writes:
        gateway.submit(write)
    assert all(gateway.commit_status(w.transaction_id, SECONDS).valid for w in writes)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("put", "or-r-2", "x"), peer_pb2.PHANTOM_READ_CONFLICT),  # inserted
        (("put", "or-r-1", "y"), peer_pb2.PHANTOM_READ_CONFLICT),  # changed
        (("del", "or-r-1"), peer_pb2.PHANTOM_READ_CONFLICT),  # deleted
        (("put", "or-s", "x"), peer_pb2.VALID),  # the end is not part of the range
        (("put", "or-q", "x"), peer_pb2.VALID),  # before it
    ],
)
def test_ranges_are_read_again_at_commit(
    gateway: Gateway, change: tuple[str, ...], code: int
) -> None:
    gateway.submit_transaction("kv", "del", "or-r-2")
    gateway.submit_transaction("kv", "put", "or-r-1", "x")
    counting = gateway.endorse("kv", "count", "or-r", "or-s", "or-total")
    gateway.submit_transaction("kv", *change)
    assert commit(gateway, counting).code == code


def test_a_phantom_of_the_same_block(gateway: Gateway) -> None:
    counting = [gateway.endorse("kv", "count", "or-v", "or-w", f"or-v{i}") for i in range(2)]
    for endorsed in counting:
        gateway.submit(endorsed)
    codes = [gateway.commit_status(e.transaction_id, SECONDS).code for e in counting]
    assert sorted(codes) == [peer_pb2.VALID, peer_pb2.PHANTOM_READ_CONFLICT]


# -- duplicates --------------------------------------------------------------------------------


def test_the_same_envelope_again(network: Network, peer: grpc.Channel, gateway: Gateway) -> None:
    gateway.submit_transaction("kv", "put", "or-twice", "0")
    endorsed = gateway.endorse("kv", "add", "or-twice", "1")
    first = commit(gateway, endorsed)
    assert first.valid
    request = gateway_pb2.SubmitRequest(
        transaction_id=endorsed.transaction_id, channel_id=network.channel
    )
    request.prepared_transaction.ParseFromString(endorsed.envelope)
    if network.bft:
        failure = failure_of(SUBMIT.callable(peer), request)
        assert failure.code is grpc.StatusCode.UNAVAILABLE
        assert failure.text == (
            "insufficient number of orderers could successfully process transaction "
            "to satisfy quorum requirement"
        )
        assert failure.said
        assert all("request already processed" in said for said in failure.said)
    else:
        SUBMIT.callable(peer)(request)
        last = gateway.submit_transaction("kv", "put", "or-after", "1").block_number
        seek = seek_info(first.block_number + 1, last)
        codes = [
            transaction.tx_validation_code
            for answer in deliver(network, peer, PEER_DELIVER_FILTERED, seek)
            for transaction in answer.filtered_block.filtered_transactions
            if transaction.txid == endorsed.transaction_id
        ]
        assert codes == [peer_pb2.DUPLICATE_TXID]
    # The first result stands.
    again = gateway.commit_status(endorsed.transaction_id, SECONDS)
    assert (again.code, again.block_number) == (first.code, first.block_number)
    assert gateway.resume(endorsed.transaction_id, endorsed.envelope).block_number == (
        first.block_number
    )
    assert gateway.evaluate("kv", "get", "or-twice") == b"1"


def test_a_proposal_that_was_committed(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    proposal = propose(network, gateway.identity, "put", "or-again", "1")
    request = endorse_request(proposal)
    envelope = ENDORSE.callable(peer)(request).prepared_transaction
    envelope.signature = gateway.identity.sign(envelope.payload)
    endorsed = Endorsed(proposal.transaction_id, envelope.SerializeToString(), b"")
    assert commit(gateway, endorsed).valid
    failure = failure_of(ENDORSE.callable(peer), request)
    assert failure.code is grpc.StatusCode.ABORTED
    assert any("duplicate transaction found" in said for said in failure.said)


def test_broadcast_straight_to_an_orderer(
    network: Network, orderer: grpc.Channel, gateway: Gateway
) -> None:
    endorsed = gateway.endorse("kv", "put", "or-direct", "1")
    envelope = common_pb2.Envelope.FromString(endorsed.envelope)

    def broadcast() -> orderer_pb2.BroadcastResponse:
        answers = BROADCAST.callable(orderer)(iter([envelope]), timeout=SECONDS)
        answer: orderer_pb2.BroadcastResponse = next(answers)
        answers.cancel()
        return answer

    assert broadcast().status == common_pb2.SUCCESS
    assert gateway.commit_status(endorsed.transaction_id, SECONDS).valid
    envelope.signature = b"x"
    assert broadcast().status == common_pb2.FORBIDDEN
    envelope.payload = b"\xff\xff"
    assert broadcast().status == common_pb2.BAD_REQUEST


# -- sizes -------------------------------------------------------------------------------------


def test_a_transaction_larger_than_a_block_may_be(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    endorsed = gateway.endorse("kv", "put", "or-large", "x" * (4 * 1024 * 1024))
    request = gateway_pb2.SubmitRequest(channel_id=network.channel)
    request.prepared_transaction.ParseFromString(endorsed.envelope)
    failure = failure_of(SUBMIT.callable(peer), request)
    texts = [failure.text, *failure.said]
    assert any("status=BAD_REQUEST" in text and "bytes" in text for text in texts)


# -- events ------------------------------------------------------------------------------------


def emit(gateway: Gateway, name: str) -> Any:
    return gateway.submit_transaction("kv", "emit", "or-e", name, name)


def next_events(gateway: Gateway, count: int, **where: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    with gateway.events("kv", **where) as stream:
        for block in stream:
            found += [(event.name, event.transaction_id) for event in block.events]
            if len(found) >= count:
                return found
    raise AssertionError("the stream ended")


def test_events_from_now_from_a_block_and_after_a_transaction(gateway: Gateway) -> None:
    with gateway.events("kv") as stream:
        first = emit(gateway, "First")
        found = next(stream)
    assert found.block_number == first.block_number
    assert [(e.name, e.payload) for e in found.events] == [("First", b"First")]
    second = emit(gateway, "Second")
    both = [("First", first.transaction_id), ("Second", second.transaction_id)]
    assert next_events(gateway, 2, start_block=first.block_number) == both
    assert next_events(gateway, 1, after_tx=first.transaction_id) == both[1:]
    start = {"start_block": first.block_number, "after_tx": first.transaction_id}
    assert next_events(gateway, 1, **start) == both[1:]


def test_replay_from_a_stored_checkpoint(gateway: Gateway) -> None:
    names = [f"Checkpoint{i}" for i in range(4)]
    height = gateway.height()
    for name in names[:2]:
        emit(gateway, name)
    seen: list[str] = []
    with gateway.events("kv", height) as stream:
        while len(seen) < 2:
            seen += [event.name for event in next(stream).events]
        stored: Checkpoint = stream.checkpoint
    for name in names[2:]:
        emit(gateway, name)
    with gateway.events("kv", stored.start_block, stored.after_tx) as stream:
        while len(seen) < 4:
            seen += [event.name for event in next(stream).events]
    assert seen == names


def test_invalid_transactions_have_no_events(gateway: Gateway) -> None:
    height = gateway.height()
    emits = [gateway.endorse("kv", "add", "or-silent", "1") for _ in range(2)]
    for endorsed in emits:
        gateway.submit(endorsed)
    for endorsed in emits:
        gateway.commit_status(endorsed.transaction_id, SECONDS)
    last = emit(gateway, "Loud")
    assert next_events(gateway, 1, start_block=height) == [("Loud", last.transaction_id)]


def test_after_a_transaction_without_events_nothing_follows(
    network: Network, peer: grpc.Channel, gateway: Gateway
) -> None:
    silent = gateway.submit_transaction("kv", "put", "or-quiet", "1")
    emit(gateway, "Unseen")
    request = gateway_pb2.ChaincodeEventsRequest(
        channel_id=network.channel,
        chaincode_id="kv",
        identity=gateway.identity.serialized,
        after_transaction_id=silent.transaction_id,
    ).SerializeToString()
    signed = gateway_pb2.SignedChaincodeEventsRequest(
        request=request, signature=gateway.identity.sign(request)
    )
    failure = failure_of(CHAINCODE_EVENTS.callable(peer), signed, timeout=1)
    # Cancelled where the deadline comes to the server a moment earlier.
    assert failure.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


@pytest.mark.parametrize("position", ["newest", "oldest"])
def test_event_positions_that_cannot_be(
    network: Network, peer: grpc.Channel, gateway: Gateway, position: str
) -> None:
    start = orderer_pb2.SeekPosition()
    getattr(start, position).SetInParent()
    failure = failure_of(CHAINCODE_EVENTS.callable(peer), events_request(network, gateway, start))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.text.startswith("invalid start position type")


def test_events_are_for_readers(network: Network, peer: grpc.Channel, gateway: Gateway) -> None:
    signed = events_request(network, gateway, None)
    signed.signature = b"x"
    failure = failure_of(CHAINCODE_EVENTS.callable(peer), signed)
    assert failure.code is grpc.StatusCode.PERMISSION_DENIED


def events_request(network: Network, gateway: Gateway, start: Any) -> Any:
    request = gateway_pb2.ChaincodeEventsRequest(
        channel_id=network.channel,
        chaincode_id="kv",
        identity=gateway.identity.serialized,
        start_position=start,
    ).SerializeToString()
    return gateway_pb2.SignedChaincodeEventsRequest(
        request=request, signature=gateway.identity.sign(request)
    )


# -- commit hash -------------------------------------------------------------------------------


def test_every_organisation_holds_the_commit_hash_that_follows(
    network: Network, gateway: Gateway
) -> None:
    gateway.submit_transaction("kv", "del", "or-blind")
    last = gateway.submit_transaction("kv", "put", "or-hash", "1").block_number
    chains = []
    with ExitStack() as stack:
        for organization in network.clients.profile.organizations:
            channel = stack.enter_context(network.clients.connect(organization.msp_id))
            reader = network.clients.user("reader", organization.msp_id)
            client = DeliverClient(channel, reader, network.channel, CLOCK)
            with client.blocks(0, last, timeout=SECONDS) as blocks:
                chains.append([parse_block(raw) for raw in blocks])
    first = chains[0]
    previous = b""
    for block in first[1:]:
        assert block.envelopes is not None
        flags = block.metadata[2]
        updates = block_updates(block.number, block.envelopes, flags)
        previous = commit_hash(flags, updates, previous)
        held = common_pb2.Metadata.FromString(block.metadata[4]).value
        assert held == previous, f"block {block.number}"
    for other in chains[1:]:
        assert [(b.hash, b.metadata[2], b.metadata[4]) for b in other] == [
            (b.hash, b.metadata[2], b.metadata[4]) for b in first
        ]


def test_refusals_leave_no_trace(gateway: Gateway) -> None:
    height = gateway.height()
    for call in (("fail", "500", "no"), ("dice", "or-dice"), ("none",)):
        with pytest.raises(FabricError):
            gateway.submit_transaction("kv", *call)
    assert gateway.height() == height
