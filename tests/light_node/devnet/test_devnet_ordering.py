"""The cutter, admission to the ordering service, and what happens when the disk refuses."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from light_node.devnet.blocks import CopyRule
from light_node.devnet.ledger import CommittedBlock
from light_node.devnet.ordering import BlockCutter, OrderingService
from light_node.devnet.views import OrdererView, bft_submission
from light_node.fabric import crypto
from light_node.fabric.pb import common_pb2, peer_pb2


def test_cutter_counts() -> None:
    cutter = BlockCutter(max_messages=3, preferred_max_bytes=1000)
    assert [cutter.add(bytes([i])) for i in range(4)] == [[], [], [[b"\x00", b"\x01", b"\x02"]], []]
    assert cutter.pending == 1
    assert cutter.cut() == [b"\x03"]
    assert cutter.pending == 0


def test_cutter_keeps_blocks_below_the_preferred_size() -> None:
    cutter = BlockCutter(max_messages=100, preferred_max_bytes=10)
    assert cutter.add(b"a" * 6) == []
    assert cutter.add(b"b" * 6) == [[b"a" * 6]]
    assert cutter.cut() == [b"b" * 6]


def test_cutter_gives_a_large_message_its_own_block_in_order() -> None:
    cutter = BlockCutter(max_messages=100, preferred_max_bytes=10)
    cutter.add(b"a")
    assert cutter.add(b"b" * 11) == [[b"a"], [b"b" * 11]]
    assert cutter.pending == 0


class Ordering:
    """An ordering service over the ground's ledger, with views of its consenters."""

    def __init__(self, ground: Any, *, bft: bool = True, batch_timeout: float = 0.01) -> None:
        self.ground = ground
        self.service = OrderingService(
            ground.access, self.append, ground.chain.publish, batch_timeout=batch_timeout, bft=bft
        )
        members = ground.network.material.orderers
        self.orderers = [
            OrdererView(m, ground.chain, CopyRule(i, len(members), bft), self.service)
            for i, m in enumerate(members)
        ]
        self.failures: list[sqlite3.Error] = []

    def append(self, batch: list[bytes]) -> CommittedBlock:
        if self.failures:
            raise self.failures.pop()
        block: CommittedBlock = self.ground.writer.append(batch)
        return block


def run(ground: Any, body: Callable[[Ordering], Awaitable[None]], **options: Any) -> None:
    async def inside() -> None:
        ordering = Ordering(ground, **options)
        ordering.service.start()
        try:
            await body(ordering)
        finally:
            await ordering.service.stop()

    asyncio.run(inside())


def envelope(ground: Any, *args: str, **options: Any) -> common_pb2.Envelope:
    return common_pb2.Envelope.FromString(ground.envelope(*args, **options))


def test_accepted_envelopes_reach_a_block_after_the_timeout(ground: Any) -> None:
    async def body(ordering: Ordering) -> None:
        answer = ordering.orderers[0].broadcast(envelope(ground, "put", "a", "1"))
        assert (answer.status, answer.info) == (common_pb2.SUCCESS, "")
        await ground.chain.wait_for(1)

    run(ground, body)
    assert ground.value("a") == b"1"


def test_stopping_writes_what_was_accepted(ground: Any) -> None:
    async def body(ordering: Ordering) -> None:
        assert ordering.orderers[0].broadcast(envelope(ground, "put", "a", "1")).accepted

    run(ground, body, batch_timeout=3600)
    assert ground.value("a") == b"1"


def test_a_bft_client_sends_to_all_and_one_transaction_is_ordered(ground: Any) -> None:
    async def body(ordering: Ordering) -> None:
        sent = envelope(ground, "put", "a", "1")
        assert [a.accepted for _, a in bft_submission(ordering.orderers, sent)] == [True] * 4
        pending = bft_submission(ordering.orderers, sent)
        assert {a.info for _, a in pending} == {"request already exists"}
        await ground.chain.wait_for(1)
        await asyncio.sleep(0)
        done = bft_submission(ordering.orderers, sent)
        assert {(a.status, a.info) for _, a in done} == {
            (common_pb2.SERVICE_UNAVAILABLE, "request already processed")
        }

    run(ground, body)
    assert [len(ground.chain.committed(1).results), ground.chain.height] == [1, 2]


def test_raft_orders_a_repeated_envelope_as_a_duplicate(raft_ground: Any) -> None:
    async def body(ordering: Ordering) -> None:
        sent = envelope(raft_ground, "put", "a", "1")
        assert ordering.orderers[0].broadcast(sent).accepted
        await raft_ground.chain.wait_for(1)
        assert ordering.orderers[1].broadcast(sent).accepted
        await raft_ground.chain.wait_for(2)

    run(raft_ground, body, bft=False)
    (result,) = raft_ground.chain.committed(2).results
    assert result.code == peer_pb2.DUPLICATE_TXID


def refusal(ground: Any, sent: common_pb2.Envelope) -> tuple[int, str]:
    found: list[tuple[int, str]] = []

    async def body(ordering: Ordering) -> None:
        answer = ordering.orderers[0].broadcast(sent)
        found.append((answer.status, answer.info))

    run(ground, body)
    assert ground.chain.height == 1
    return found[0]


def test_bad_signatures_are_forbidden(ground: Any) -> None:
    sent = envelope(ground, "put", "a", "1")
    sent.signature = ground.client.sign(b"else")
    assert refusal(ground, sent)[0] == common_pb2.FORBIDDEN


def test_high_s_signatures_are_forbidden(ground: Any) -> None:
    sent = envelope(ground, "put", "a", "1")
    r, s = crypto.decode_dss_signature(sent.signature)
    order = crypto.curve_order(ground.client.signer.public_key.curve)
    sent.signature = crypto.encode_dss_signature(r, order - s)
    assert refusal(ground, sent)[0] == common_pb2.FORBIDDEN


def test_expired_clients_are_forbidden(ground: Any) -> None:
    member = ground.identity("short", not_after=ground.clock.now() + timedelta(hours=1))
    sent = envelope(ground, "put", "a", "1", identity=member)
    ground.clock.moment += timedelta(hours=2)
    status, info = refusal(ground, sent)
    assert (status, info) == (common_pb2.BAD_REQUEST, "broadcast client identity expired")


def test_peers_are_no_writers(ground: Any) -> None:
    sent = envelope(ground, "put", "a", "1")
    peer = ground.identity("peer9", "peer")
    payload = common_pb2.Payload.FromString(sent.payload)
    header = common_pb2.SignatureHeader(creator=peer.serialized, nonce=b"n")
    payload.header.signature_header = header.SerializeToString()
    sent.payload = payload.SerializeToString()
    sent.signature = peer.sign(sent.payload)
    status, info = refusal(ground, sent)
    assert status == common_pb2.FORBIDDEN
    assert "/Channel/Writers" in info


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"channel_id": "elsewhere"}, common_pb2.BAD_REQUEST),
        ({"type": common_pb2.CONFIG}, common_pb2.BAD_REQUEST),
        ({"type": common_pb2.CONFIG_UPDATE}, common_pb2.NOT_IMPLEMENTED),
    ],
)
def test_what_is_not_ordered(ground: Any, fields: dict[str, Any], status: int) -> None:
    sent = envelope(ground, "put", "a", "1")
    payload = common_pb2.Payload.FromString(sent.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    for name, value in fields.items():
        setattr(header, name, value)
    payload.header.channel_header = header.SerializeToString()
    sent.payload = payload.SerializeToString()
    sent.signature = ground.client.sign(sent.payload)
    assert refusal(ground, sent)[0] == status


def test_envelopes_over_the_absolute_limit(ground: Any) -> None:
    sent = common_pb2.Envelope(payload=bytes(11 * 1024 * 1024), signature=b"s")
    status, info = refusal(ground, sent)
    assert status == common_pb2.BAD_REQUEST
    assert "exceeds maximum allowed" in info


def test_a_full_disk_loses_nothing_and_is_said(
    ground: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("light_node.devnet.ordering._RETRY_SECONDS", 0.05)

    async def body(ordering: Ordering) -> None:
        ordering.failures = [sqlite3.OperationalError("database or disk is full")] * 2
        assert ordering.orderers[0].broadcast(envelope(ground, "put", "a", "1")).accepted
        while not ordering.service.problem:
            await asyncio.sleep(0.005)
        answer = ordering.orderers[0].broadcast(envelope(ground, "put", "b", "1"))
        assert answer.status == common_pb2.SERVICE_UNAVAILABLE
        assert "disk is full" in answer.info
        await ground.chain.wait_for(1)
        assert ordering.orderers[0].broadcast(envelope(ground, "put", "c", "1")).accepted

    run(ground, body)
    assert ground.value("a") == b"1"
    assert ground.value("b") is None
    assert ground.value("c") == b"1"
    assert "disk is full" in caplog.text
