"""Replaying a slot: an honest one follows in every byte; whatever is altered is found and named."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from light_node import jsonio
from light_node.chain.audit import Difference, OrderedTransaction, Replay, belongs, opens, replay
from light_node.chain.errors import NotVerified
from light_node.contract.memory import Endorsed, MemoryChannel, Validation
from light_node.contract.stub import composite_key, split_composite_key
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, kvrwset_pb2
from light_node.fabric.transaction import (
    Action,
    ChaincodeEvent,
    EnvelopeHeader,
    NamespaceRwset,
    ParsedTransaction,
    Response,
)

SLOT = "2026-06-21T10:00Z/PT60M"
NEXT = "2026-06-21T11:00Z/PT60M"
NOW = datetime(2026, 6, 21, 9, tzinfo=UTC)


class Recorder(MemoryChannel):
    """Keeps what was committed as the transactions a light node would read out of blocks."""

    def __init__(self, channel: MemoryChannel) -> None:
        super().__init__(channel.ledger, lambda: NOW)
        self.calls: dict[str, tuple[SigningIdentity, tuple[bytes, ...]]] = {}
        self.chain: list[OrderedTransaction] = []

    def endorse(self, identity: SigningIdentity, function: str, *args: str | bytes) -> Endorsed:
        endorsed = super().endorse(identity, function, *args)
        given = tuple(a.encode() if isinstance(a, str) else a for a in (function, *args))
        self.calls[endorsed.transaction_id] = identity, given
        return endorsed

    def commit(self, *block: Endorsed) -> list[Validation]:
        number = self.ledger.height
        codes = super().commit(*block)
        for index, (endorsed, code) in enumerate(zip(block, codes, strict=True)):
            if code is Validation.VALID:
                parsed = self.parsed(endorsed)
                self.chain.append(OrderedTransaction(number, index, parsed))
        return codes

    def parsed(self, endorsed: Endorsed) -> ParsedTransaction:
        identity, args = self.calls[endorsed.transaction_id]
        header = common_pb2.ChannelHeader(channel_id=self.channel_id)
        header.timestamp.FromDatetime(NOW)
        kv = kvrwset_pb2.KVRWSet()
        for key, version in endorsed.rwset.reads.items():
            read = kv.reads.add(key=key)
            if version is not None:
                read.version.block_num, read.version.tx_num = version.block, version.transaction
        for span in endorsed.rwset.ranges:
            info = kv.range_queries_info.add(start_key=span.start, end_key=span.end)
            info.itr_exhausted = span.exhausted
        for key, value in endorsed.rwset.writes.items():
            kv.writes.add(key=key, is_delete=value is None, value=value or b"")
        event = None
        if endorsed.event:
            event = ChaincodeEvent("market", endorsed.transaction_id, *endorsed.event)
        response = Response(200, "", endorsed.response.payload)
        action = Action(b"", "market", "1", (NamespaceRwset("market", kv, ()),), response, event)
        return ParsedTransaction(
            EnvelopeHeader(
                common_pb2.ENDORSER_TRANSACTION, self.channel_id, endorsed.transaction_id,
                identity.serialized, b"", header.SerializeToString(), b"", b"", b"", b"",
            ),
            "market", args, action, (), b"", b"", b"",
        )  # fmt: skip

    def earlier(self, key: str, version: tuple[int, int]) -> bytes | None:
        found = next((t for t in self.chain if t.version == version), None)
        if found is None:
            raise NotVerified("no such transaction")
        return found.transaction.rwsets[0].writes[key]

    def replay(self, slot: str = SLOT, chain: list[OrderedTransaction] | None = None) -> Replay:
        chain = self.chain if chain is None else chain
        start = next(i for i, t in enumerate(chain) if opens(t.transaction, "market", slot))
        return replay(slot, "market", chain[start:], self.earlier)


def play(world: Any, slot: str) -> None:
    world.open(slot, rounds=2)
    world.quote("E", "sell", 5000, 5000, slot=slot)
    world.quote("F", "sell", 4000, 6000, slot=slot)
    world.quote("X", "buy", 3000, 9000, slot=slot)
    world.quote("Y", "buy", 3500, 8000, slot=slot)
    world.close_and_publish(1, slot)
    world.quote("F", "sell", 4000, 5500, 2, slot=slot)
    world.close_and_publish(2, slot)
    world.operate("ClearSlot", slot)
    world.reading("E", 0, 4000, slot)
    world.reading("X", 3000, 0, slot)
    world.reading("Y", 3000, 0, slot)
    world.reading("Y", 400, 0, slot)  # a correction
    world.operate("CloseDelivery", slot)
    world.operate("SettleSlot", slot)


@pytest.fixture
def recorder(empty_world: Any) -> Recorder:
    """Two slots played to the end, one after the other."""
    world = empty_world
    world.channel = Recorder(world.channel)
    world.admit("E", "F", "X", "Y")
    play(world, SLOT)
    play(world, NEXT)
    found: Recorder = world.channel
    return found


def change_writes(
    entry: OrderedTransaction, how: Callable[[kvrwset_pb2.KVRWSet], Any]
) -> OrderedTransaction:
    transaction = entry.transaction
    kv = kvrwset_pb2.KVRWSet.FromString(transaction.rwsets[0].kv.SerializeToString())
    how(kv)
    space = replace(transaction.rwsets[0], kv=kv)
    action = replace(transaction.action, rwsets=(space,))
    return replace(entry, transaction=replace(transaction, action=action))


def of(recorder: Recorder, function: str, slot: str = SLOT) -> int:
    """Where the last call of ``function`` for ``slot`` stands."""
    return max(
        i
        for i, t in enumerate(recorder.chain)
        if t.transaction.args[0] == function.encode() and slot.encode() in t.transaction.args[1]
    )


def tampered(recorder: Recorder, at: int, changed: OrderedTransaction) -> Replay:
    return recorder.replay(chain=[*recorder.chain[:at], changed, *recorder.chain[at + 1 :]])


def test_honest_slots_follow_in_every_byte(recorder: Recorder) -> None:
    for slot in (SLOT, NEXT):  # the second refers to balances and readings of the first
        found = recorder.replay(slot)
        assert found == Replay(slot, "settled", 17, (), ())


def test_a_slot_under_way_is_replayed_as_far_as_it_is(recorder: Recorder) -> None:
    chain = recorder.chain[: of(recorder, "ClearSlot")]
    assert recorder.replay(chain=chain) == Replay(SLOT, "final", 10, (), ())


def alter(value: Any) -> Any:
    """Something else of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("a" if value[-1:] != "a" else "b")
    if isinstance(value, list):
        return value[:-1] if value else ["more"]
    if isinstance(value, dict):
        return {**value, next(iter(value), "x"): alter(next(iter(value.values()), 0))}
    return 1  # for null


FUNCTIONS = ["OpenSlot", "SubmitQuote", "CloseRound", "PublishStanding", "ClearSlot",
             "SubmitReading", "CloseDelivery", "SettleSlot"]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_altered_field_of_every_record_is_found(recorder: Recorder, function: str) -> None:
    at = of(recorder, function)
    entry = recorder.chain[at]
    count = 0
    for key, value in entry.transaction.rwsets[0].writes.items():
        assert value is not None
        record = jsonio.strict_loads(value)
        for name in record:
            false = jsonio.canonical_dumps({**record, name: alter(record[name])})

            def put(kv: kvrwset_pb2.KVRWSet, key: str = key, false: bytes = false) -> None:
                next(w for w in kv.writes if w.key == key).value = false

            found = tampered(recorder, at, change_writes(entry, put)).differences
            named = [d for d in found if d.block == entry.block and f", {name}" in d.subject]
            assert named, (key, name, found)
            assert named[0].function == function
            assert split_composite_key(key)[0] in named[0].subject
            count += 1
    assert count >= 8 or function in ("CloseRound", "CloseDelivery")


def test_a_misprice_is_told_with_both_prices(recorder: Recorder) -> None:
    at = of(recorder, "ClearSlot")
    key = composite_key("clearing", (SLOT,))
    honest = jsonio.strict_loads(recorder.earlier(key, recorder.chain[at].version) or b"")

    def put(kv: kvrwset_pb2.KVRWSet) -> None:
        write = next(w for w in kv.writes if w.key == key)
        write.value = jsonio.canonical_dumps({**honest, "price": honest["price"] + 700})

    found = tampered(recorder, at, change_writes(recorder.chain[at], put)).differences
    price = honest["price"]
    assert found[0].subject == "clearing, price"
    assert (found[0].written, found[0].replayed) == (str(price + 700), str(price))
    assert str(found[0]).startswith(f"block {recorder.chain[at].block}, ClearSlot: clearing, price")
    # And what settles at that price does not become right by it.
    assert all(isinstance(d, Difference) for d in found)


def test_a_quote_that_is_left_out_is_found(recorder: Recorder) -> None:
    """The contract ran as if the cheaper seller had not quoted, and all signed it."""
    at = of(recorder, "PublishStanding")
    entry = recorder.chain[at]
    cheat = entry.transaction.args[1].decode()
    key = composite_key("standing", (cheat, "2"))
    honest = jsonio.strict_loads(recorder.earlier(key, entry.version) or b"")
    cheaper = [row for row in honest["quotes"] if not row[0].startswith("E")]

    def put(kv: kvrwset_pb2.KVRWSet) -> None:
        write = next(w for w in kv.writes if w.key == key)
        write.value = jsonio.canonical_dumps({**honest, "quotes": cheaper})

    found = tampered(recorder, at, change_writes(entry, put)).differences
    assert [d.function for d in found] == ["PublishStanding", "ClearSlot"]
    assert "standing 2, quotes" in found[0].subject
    assert "CONTRADICTION" in found[1].replayed


@pytest.mark.parametrize("function", FUNCTIONS)
def test_missing_and_additional_writes_are_found(recorder: Recorder, function: str) -> None:
    at = of(recorder, function)
    entry = recorder.chain[at]
    key = composite_key("account", ("thief@Org3MSP",))
    more = change_writes(entry, lambda kv: kv.writes.add(key=key, value=b"{}"))
    found = tampered(recorder, at, more).differences
    assert [(d.written, d.replayed) for d in found if "account thief" in d.subject] == [
        ("there", "missing")
    ]
    if function == "OpenSlot":  # without its slot record it opens nothing
        with pytest.raises(StopIteration):
            tampered(recorder, at, change_writes(entry, lambda kv: kv.writes.pop(-1)))
    elif len(entry.transaction.rwsets[0].writes) > 1:
        fewer = change_writes(entry, lambda kv: kv.writes.pop(-1))
        found = tampered(recorder, at, fewer).differences
        assert any((d.written, d.replayed) == ("missing", "there") for d in found)


def test_result_event_and_reads_are_compared(recorder: Recorder) -> None:
    at = of(recorder, "SettleSlot")
    entry = recorder.chain[at]
    transaction, action = entry.transaction, entry.transaction.action
    assert action.event is not None

    def with_action(**changes: Any) -> Replay:
        false = replace(transaction, action=replace(action, **changes))
        return tampered(recorder, at, replace(entry, transaction=false))

    found = with_action(response=Response(200, "", b'{"pot_money":7}')).differences
    assert any("the result, pot_money" in d.subject for d in found)
    assert with_action(event=None).differences[0].subject == "an event"
    payload = jsonio.strict_loads(action.event.payload)
    false = replace(action.event, payload=json.dumps({**payload, "price": 1}).encode())
    assert with_action(event=false).differences[0].subject == "the event, price"
    renamed = replace(action.event, name="SlotCleared")
    assert with_action(event=renamed).differences[0].replayed == '"SlotSettled"'


def test_what_is_not_read_is_not_checked_by_peers_and_so_found(recorder: Recorder) -> None:
    at = of(recorder, "SettleSlot")
    entry = recorder.chain[at]
    for kind in ("slot", "clearing", "account", "pot"):

        def blind(kv: kvrwset_pb2.KVRWSet, kind: str = kind) -> None:
            kept = [r for r in kv.reads if split_composite_key(r.key)[0] != kind]
            kv.ClearField("reads")
            kv.reads.extend(kept)

        found = tampered(recorder, at, change_writes(entry, blind)).differences
        assert found[0].subject == "what was read"
        assert kind in found[0].replayed
    unread = change_writes(entry, lambda kv: kv.ClearField("range_queries_info"))
    assert "reading" in tampered(recorder, at, unread).differences[0].replayed


def test_writing_on_stale_reads_is_found(recorder: Recorder) -> None:
    at = of(recorder, "PublishStanding")

    def age(kv: kvrwset_pb2.KVRWSet) -> None:
        read = next(r for r in kv.reads if split_composite_key(r.key)[0] == "slot")
        read.version.block_num -= 1

    found = tampered(recorder, at, change_writes(recorder.chain[at], age)).differences
    assert found[0].subject == "the version read of slot"


def test_a_reading_somebody_else_signed_is_found(recorder: Recorder) -> None:
    at = of(recorder, "SubmitReading")
    entry = recorder.chain[at]
    given = json.loads(entry.transaction.args[1])
    forged = json.dumps({**given, "import_wh": given["import_wh"] + 5}).encode()
    false = replace(entry.transaction, args=(b"SubmitReading", forged))
    found = tampered(recorder, at, replace(entry, transaction=false)).differences
    assert "BAD_SIGNATURE" in found[0].replayed
    other = replace(
        entry.transaction, header=replace(entry.transaction.header, creator=b"\x0a\x01A")
    )
    found = tampered(recorder, at, replace(entry, transaction=other)).differences
    assert found[0].subject == "the proposal"


def test_another_chaincode_and_key_metadata_do_not_pass(recorder: Recorder) -> None:
    at = of(recorder, "ClearSlot")
    entry = recorder.chain[at]
    other = replace(entry, transaction=replace(entry.transaction, chaincode="evil\u202e"))
    assert "u202e" in tampered(recorder, at, other).differences[0].written
    more = change_writes(entry, lambda kv: kv.metadata_writes.add(key="x"))
    assert "metadata" in tampered(recorder, at, more).differences[0].subject


def test_records_that_are_garbage_are_differences_and_no_crash(recorder: Recorder) -> None:
    for function in FUNCTIONS[:-1]:
        at = of(recorder, function)
        for garbage in (b"\xff", b"[]", b"{}", b'{"quotes":[[1]]}', b"null"):

            def put(kv: kvrwset_pb2.KVRWSet, garbage: bytes = garbage) -> None:
                for write in kv.writes:
                    write.value = garbage

            found = tampered(recorder, at, change_writes(recorder.chain[at], put))
            assert found.differences
            assert all(len(str(d)) < 900 and str(d).isascii() for d in found.differences)


def test_earlier_state_that_is_not_at_hand_is_said(recorder: Recorder) -> None:
    def nothing(key: str, version: tuple[int, int]) -> bytes | None:
        raise NotVerified("not kept")

    start = of(recorder, "OpenSlot", NEXT)
    found = replay(NEXT, "market", recorder.chain[start:], nothing)
    assert found.differences == ()
    assert len(found.unchecked) >= 9  # each quote, each reading, the settlement
    assert all("not kept" in text for text in found.unchecked)


def test_only_the_slots_own_keys_belong_to_it() -> None:
    assert belongs(composite_key("quote", (SLOT, "1", "a@B")), SLOT)
    for key in ("", "x", "\x00slot", composite_key("slot", (NEXT,)), composite_key("pot", (SLOT,))):
        assert not belongs(key, SLOT)


def test_opening_is_told_from_other_steps(recorder: Recorder) -> None:
    opened = [t for t in recorder.chain if opens(t.transaction, "market", SLOT)]
    assert len(opened) == 1
    assert composite_key("slot", (SLOT,)) in opened[0].transaction.rwsets[0].writes
