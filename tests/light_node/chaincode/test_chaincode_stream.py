"""Transactions over a real stream: the same read-write sets as everywhere, interleaved, paged."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from light_node.contract.memory import MemoryChannel, MemoryLedger
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import peer_pb2

M = peer_pb2.ChaincodeMessage


@pytest.fixture
def trader(new_trader: Callable[..., SigningIdentity]) -> SigningIdentity:
    return new_trader("Ada")


@pytest.mark.parametrize("batches", [True, False])
def test_a_quote_leaves_the_read_write_set_it_leaves_in_memory(
    serve: Any, dial: Any, world: Any, batches: bool
) -> None:
    world.open()
    text = world.quote_text("E", "sell", 1000, 5000)
    peer = dial(serve(), world.ledger, batches=batches)
    call = peer.begin(world.traders["E"], "SubmitQuote", text)
    assert json.loads(call.response().payload)["participant"] == world.id("E")
    reads = [M.GET_STATE_MULTIPLE] if batches else [M.GET_STATE] * 3
    assert call.asked == [*reads, M.PUT_STATE]
    direct = world.channel.endorse(world.traders["E"], "SubmitQuote", text)
    served = call.rwset()
    assert served.reads == direct.rwset.reads
    assert served.ranges == direct.rwset.ranges
    assert served.writes.keys() == direct.rwset.writes.keys()


def test_a_refusal_comes_back_as_a_response_and_writes_nothing(
    serve: Any, dial: Any, world: Any
) -> None:
    peer = dial(serve(), world.ledger)
    text = world.quote_text("E", "sell", 1000, 5000)
    call = peer.begin(world.traders["E"], "SubmitQuote", text)
    assert call.response().status == 404
    assert call.response().message.startswith("UNKNOWN_SLOT: ")
    assert not call.simulation.finish().writes


def test_the_event_travels_with_the_answer(serve: Any, dial: Any, trader: SigningIdentity) -> None:
    peer = dial(serve("kv"))
    message = peer.begin(trader, "emit", "k", "v", "Happened").answer.result(20)
    assert message.chaincode_event.event_name == "Happened"
    assert message.chaincode_event.payload == b"v"


def test_the_package_id_is_what_registers(serve: Any, dial: Any, trader: SigningIdentity) -> None:
    peer = dial(serve("kv"))
    peer.call(trader, "put", "k", "v")
    assert peer.registered == "market_1:" + "0" * 64


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_a_range_is_paged_to_its_end(
    serve: Any, dial: Any, trader: SigningIdentity, count: int
) -> None:
    ledger = MemoryLedger()
    writes = ledger.simulate()
    for number in range(count):
        writes.put(f"k{number:03}", b"v%d" % number)
    ledger.commit([writes.finish()])
    call = dial(serve("kv"), ledger).begin(trader, "range", "k", "l")
    found = json.loads(call.response().payload)
    assert found == {f"k{n:03}": f"v{n}" for n in range(count)}
    (reading,) = call.rwset().ranges
    assert reading.exhausted


def test_reads_never_see_own_writes(serve: Any, dial: Any, trader: SigningIdentity) -> None:
    ledger = MemoryLedger()
    peer = dial(serve("kv"), ledger)
    first = peer.begin(trader, "add", "n", "5").rwset()
    second = peer.begin(trader, "add", "n", "7").rwset()
    assert first.writes == {"n": b"5"}
    assert second.writes == {"n": b"7"}
    ledger.commit([first])
    assert peer.begin(trader, "add", "n", "7").rwset().writes == {"n": b"12"}


def test_hundreds_of_transactions_interleave_on_the_streams_of_several_peers(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    server = serve("kv")
    peers = [dial(server, batches=number % 2 == 0) for number in range(3)]
    calls = [
        (number, peer.begin(trader, "put", f"k{number}", f"v{number}"))
        for number in range(200)
        for peer in peers
    ]
    for number, call in reversed(calls):
        assert call.response().payload == b"v%d" % number
        assert call.rwset().writes == {f"k{number}": b"v%d" % number}


def test_a_trading_day_through_the_server_is_the_same_as_in_memory(
    serve: Any, dial: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of a slot's life is endorsed by both, and the writes must be the same."""
    peer = dial(serve(), world.ledger)
    direct, compared = MemoryChannel.endorse, []

    def both(
        channel: MemoryChannel, identity: SigningIdentity, function: str, *args: str | bytes
    ) -> Any:
        expected = direct(channel, identity, function, *args)
        call = peer.begin(identity, function, *args)
        response = call.response()
        assert response.status == expected.response.status
        if expected.response.ok:
            got = call.rwset()
            assert got.reads == expected.rwset.reads
            assert got.writes.keys() == expected.rwset.writes.keys()
            assert [r.start for r in got.ranges] == [r.start for r in expected.rwset.ranges]
        compared.append(function)
        return expected

    monkeypatch.setattr(MemoryChannel, "endorse", both)
    world.open(rounds=2)
    world.quote("E", "sell", 1000, 5000)
    world.quote("X", "buy", 800, 9000)
    world.close_and_publish(1)
    world.quote("X", "buy", 700, 9500, 2)
    world.close_and_publish(2)
    world.operate("ClearSlot", "2026-06-21T10:00Z/PT60M")
    world.reading("E", 0, 900)
    world.reading("X", 700, 0)
    world.operate("CloseDelivery", "2026-06-21T10:00Z/PT60M")
    world.operate("SettleSlot", "2026-06-21T10:00Z/PT60M")
    assert {"PublishStanding", "ClearSlot", "SettleSlot", "SubmitReading"} <= set(compared)
