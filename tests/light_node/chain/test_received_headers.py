"""Batches of received headers give the verdict, and the error, of checking them one by one."""

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from light_node.chain import errors, received, trust, verify
from light_node.chain.verify import TrustedState
from light_node.fabric import block as blocks
from light_node.fabric.pb import common_pb2

from .conftest import Channel

HEIGHT = 180
"""Numbers from 128 on take a byte more."""
CHANGED_AT = 90


@cache
def channel(bft: bool) -> Channel:
    made = Channel.make(bft=bft)
    made.extend(CHANGED_AT - 1)
    made.add_config()
    made.extend(HEIGHT - CHANGED_AT - 1)
    return made


@cache
def headers(bft: bool) -> tuple[bytes, ...]:
    return tuple(blocks.without_data(raw) for raw in channel(bft).raw)


@cache
def state_after(bft: bool, number: int) -> TrustedState:
    state = channel(bft).root.state
    if number:
        batch = [verify.parse(raw) for raw in channel(bft).raw[1 : number + 1]]
        state, _ = verify.verify_blocks(state, batch)
    return state


def one_by_one(state: TrustedState, raws: Sequence[bytes]) -> Any:
    """What the rules say, block after block; the names of the parts are those of ``Received``."""
    data_hashes, hashes, configs, signatures = [], [], {}, 0
    before = state
    for at, raw in enumerate(raws):
        try:
            block = verify.parse(raw)
            verified = verify.verify_block(state, block, attested=at == len(raws) - 1)
        except errors.VerificationError:
            for known, shown in ((before, raws[at - 1 : at]), (state, [raw])):
                for one in shown:
                    verify.verify_block(known, verify.parse(one))
            raise
        before, state = state, verify.apply(state, verified)
        data_hashes.append(block.data_hash)
        hashes.append(block.hash)
        signatures += len(verified.signers)
        if verified.config is not None:
            configs[block.number] = raw
    return state, received.Received(data_hashes, hashes, configs, verified, signatures)


def outcome(check: Callable[[TrustedState, Sequence[bytes]], Any], *arguments: Any) -> Any:
    try:
        state, found = check(*arguments)
    except errors.VerificationError as error:
        return type(error), str(error), error.number, error.hash
    last = found.last
    return state[1:], state.config.sequence, found[:3], last.block, last.signers, found.signatures


def check_same(state: TrustedState, raws: Sequence[bytes]) -> Any:
    expected = outcome(one_by_one, state, raws)
    assert outcome(received.verify_received, state, raws) == expected
    return expected


@pytest.mark.parametrize("bft", [False, True])
def test_a_chain_of_headers_is_verified_as_a_whole(bft: bool) -> None:
    expected = check_same(state_after(bft, 0), headers(bft)[1:])
    assert expected[0][0] == HEIGHT - 1


@pytest.mark.parametrize("bft", [False, True])
def test_full_blocks_give_the_same(bft: bool) -> None:
    full = check_same(state_after(bft, 0), channel(bft).raw[1:])
    alone = check_same(state_after(bft, 0), headers(bft)[1:])
    assert full[0] == alone[0]
    assert full[2] == alone[2]


@pytest.mark.parametrize("kind", ["raft", "bft"])
@pytest.mark.parametrize("form", ["full", "headers"])
def test_live_channels_give_the_same(real_blocks: Any, kind: str, form: str) -> None:
    raws = real_blocks(kind, form)
    assert check_same(trust.load(raws[0]).state, raws[1:])[0][0] == len(raws) - 1


@pytest.mark.parametrize("bft", [False, True])
def test_usual_headers_take_the_quick_way(bft: bool) -> None:
    state = state_after(bft, 0)
    # All but the configuration block; number 128, where numbers grow, is passed.
    assert len(received.verify_usual(state, headers(bft)[1:])) == CHANGED_AT - 1
    after = state_after(bft, CHANGED_AT)
    assert (
        len(received.verify_usual(after, headers(bft)[CHANGED_AT + 1 :])) == HEIGHT - CHANGED_AT - 1
    )


@pytest.mark.parametrize("first", [2**14 - 9, 2**15 - 9, 2**23 - 9, 2**35 - 9, 2**55 - 9])
def test_where_numbers_grow(first: int) -> None:
    base = state_after(True, CHANGED_AT)
    model = verify.parse(headers(True)[-1])
    state = TrustedState(base.config, first - 1, b"\x07" * 32)
    previous, raws = state.hash, []
    for number in range(first, first + 20):
        raws.append(
            blocks.encode_block(
                number, previous, None, model.metadata, header_data_hash=number.to_bytes(32, "big")
            )
        )
        previous = verify.parse(raws[-1]).hash
    found = received.verify_usual(state, raws)
    assert [digest for _, digest in found] == [verify.parse(raw).hash for raw in raws]
    assert [data for data, _ in found] == [verify.parse(raw).data_hash for raw in raws]


def test_numbers_beyond_any_chain_are_left_to_the_rules() -> None:
    base = state_after(True, CHANGED_AT)
    state = TrustedState(base.config, 2**64 - 5, b"\x07" * 32)
    assert received.verify_usual(state, headers(True)[100:120]) == []


def test_nothing_to_verify_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no block"):
        received.verify_received(state_after(True, 0), [])


# -- damage ---------------------------------------------------------------------------------------


def flip(pick: random.Random, raw: bytes) -> bytes:
    out = bytearray(raw)
    out[pick.randrange(len(out))] ^= 1 << pick.randrange(8)
    return bytes(out)


def flip_early(pick: random.Random, raw: bytes) -> bytes:
    """In the header, the lengths and the signed value, where most is decided."""
    out = bytearray(raw)
    out[pick.randrange(min(110, len(out)))] ^= 1 << pick.randrange(8)
    return bytes(out)


def cut(pick: random.Random, raw: bytes) -> bytes:
    return raw[: pick.randrange(len(raw))]


def insert(pick: random.Random, raw: bytes) -> bytes:
    at = pick.randrange(len(raw) + 1)
    return raw[:at] + pick.randbytes(1 + pick.randrange(4)) + raw[at:]


def remove(pick: random.Random, raw: bytes) -> bytes:
    at = pick.randrange(len(raw))
    return raw[:at] + raw[at + 1 + pick.randrange(4) :]


def append_field(pick: random.Random, raw: bytes) -> bytes:
    """A field of the block, repeated or unknown: protobuf merges it or carries it along."""
    return raw + bytes((pick.choice((0x0A, 0x12, 0x1A, 0x22, 0x28)), 0x00))


def through_message(change: Callable[[random.Random, common_pb2.Block], None]) -> Any:
    def apply(pick: random.Random, raw: bytes) -> bytes:
        try:
            message = common_pb2.Block.FromString(raw)
        except DecodeError:  # already damaged beyond reading
            return raw
        change(pick, message)
        return message.SerializeToString()

    return apply


def change_entries(pick: random.Random, message: common_pb2.Block) -> None:
    entries = message.metadata.metadata
    if pick.random() < 0.5 or not entries:
        entries.append(pick.randbytes(3))
    else:
        del entries[pick.randrange(len(entries))]


def change_signed_entry(pick: random.Random, message: common_pb2.Block) -> None:
    if not message.metadata.metadata:
        return
    entry = message.metadata.metadata[0] or b"\x0a"
    change = pick.choice((flip, flip_early, cut, insert, remove, append_field))
    message.metadata.metadata[0] = change(pick, entry)


def change_index(pick: random.Random, message: common_pb2.Block) -> None:
    index = pick.choice((0, 1, CHANGED_AT, CHANGED_AT - 1, message.header.number, 200))
    value = blocks.signed_value(index, pick.choice((b"", b"\x08\x01", pick.randbytes(200))))
    if pick.random() < 0.2:
        value = pick.choice((b"", b"\x12\x00", value + value, value + b"\x0a\x00"))
    signature = blocks.BlockSignature(b"s" * pick.choice((0, 70, 200)), b"", b"\x08\x01")
    entry = blocks.encode_signature_entry(value, [signature] * pick.choice((0, 1, 3, 70)))
    del message.metadata.metadata[:1]
    message.metadata.metadata.insert(0, entry)


def change_header(pick: random.Random, message: common_pb2.Block) -> None:
    way = pick.randrange(3)
    if way == 0:
        message.header.number = pick.choice((0, 1, message.header.number ^ 3, 2**64 - 1))
    elif way == 1:
        message.header.previous_hash = pick.randbytes(pick.choice((0, 31, 32, 33)))
    else:
        message.header.data_hash = pick.randbytes(pick.choice((0, 31, 32, 33)))


DAMAGES = (
    flip, flip_early, cut, insert, remove, append_field, through_message(change_entries),
    through_message(change_signed_entry), through_message(change_index),
    through_message(change_header),
)  # fmt: skip


def damaged(pick: random.Random, raws: list[bytes]) -> list[bytes]:
    raws = list(raws)
    for _ in range(pick.choice((1, 1, 1, 2, 5))):
        at, way = pick.randrange(len(raws)), pick.randrange(len(DAMAGES) + 3)
        if way < len(DAMAGES):
            raws[at] = DAMAGES[way](pick, raws[at] or b"\x0a")
        elif way == len(DAMAGES):
            raws[at : at + 1] = []
        elif way == len(DAMAGES) + 1:
            raws.insert(at, raws[at])
        else:
            other = pick.randrange(len(raws))
            raws[at], raws[other] = raws[other], raws[at]
        if not raws:
            raws = [b""]
    return raws


@settings(max_examples=150, deadline=None)
@given(bft=st.booleans(), seed=st.integers(0, 2**64))
def test_damaged_batches_are_refused_for_the_same_reason(bft: bool, seed: int) -> None:
    pick = random.Random(seed)
    start = pick.choice((0, 30, CHANGED_AT - 20, CHANGED_AT, 120))
    stop = start + 1 + pick.randrange(1, 50)
    source = list(headers(bft)[start + 1 : stop + 1])
    for at in range(len(source)):
        if pick.random() < 0.02:
            source[at] = channel(bft).raw[start + 1 + at]
    check_same(state_after(bft, start), damaged(pick, source))


def test_every_byte_of_a_header_in_the_middle() -> None:
    state, raws = state_after(True, CHANGED_AT), list(headers(True)[CHANGED_AT + 1 :][:20])
    for at in range(len(raws[10])):
        out = bytearray(raws[10])
        out[at] ^= 0x01
        check_same(state, [*raws[:10], bytes(out), *raws[11:]])


def test_many_unusual_ones_among_the_usual() -> None:
    base = list(headers(True)[CHANGED_AT + 1 :])
    for every in (2, 9, 70):
        mixed = [
            channel(True).raw[CHANGED_AT + 1 + at] if at % every == 0 else raw
            for at, raw in enumerate(base)
        ]
        assert check_same(state_after(True, CHANGED_AT), mixed)[0][0] == HEIGHT - 1


# -- whose fault it is: nobody looks at most signatures of a batch, until it fails --------------


def unsigned(raw: bytes, **header: bytes) -> bytes:
    """A header made up from a real one; the signatures are the real one's and do not fit."""
    message = common_pb2.Block.FromString(raw)
    for name, value in header.items():
        setattr(message.header, name, value)
    return message.SerializeToString()


@pytest.mark.parametrize("at", [0, 1, 20, 48])
@pytest.mark.parametrize("bft", [False, True])
def test_a_header_nobody_signed_is_refused_for_that_and_not_for_the_next_ones_link(
    bft: bool, at: int
) -> None:
    raws = list(headers(bft)[31:81])
    raws[at] = unsigned(raws[at], data_hash=bytes(32))
    with pytest.raises(errors.AttestationFailed) as caught:
        received.verify_received(state_after(bft, 30), raws)
    assert caught.value.number == 31 + at
    check_same(state_after(bft, 30), raws)
    with pytest.raises(errors.AttestationFailed) as caught:
        verify.verify_blocks(state_after(bft, 30), [verify.parse(raw) for raw in raws])
    assert caught.value.number == 31 + at


@pytest.mark.parametrize("at", [1, 20, 49])
@pytest.mark.parametrize("bft", [False, True])
def test_a_link_that_breaks_behind_a_signed_header_is_the_next_ones_fault(
    bft: bool, at: int
) -> None:
    raws = list(headers(bft)[31:81])
    raws[at] = unsigned(raws[at], previous_hash=bytes(32))
    with pytest.raises(errors.BrokenLink) as caught:
        received.verify_received(state_after(bft, 30), raws)
    assert caught.value.number == 31 + at


def test_an_index_nobody_signed_accuses_nobody_of_hiding_a_configuration() -> None:
    raws = list(headers(True)[31:81])
    message = common_pb2.Block.FromString(raws[20])
    entry = common_pb2.Metadata.FromString(message.metadata.metadata[0])
    entry.value = blocks.signed_value(7)
    message.metadata.metadata[0] = entry.SerializeToString()
    raws[20] = message.SerializeToString()
    with pytest.raises(errors.AttestationFailed) as caught:
        received.verify_received(state_after(True, 30), raws)
    assert caught.value.number == 51
    check_same(state_after(True, 30), raws)


@pytest.mark.parametrize("at", [1, 20])
def test_behind_a_header_nobody_signed_it_does_not_matter_what_cannot_be_read(at: int) -> None:
    raws = list(headers(True)[31:81])
    raws[at - 1] = unsigned(raws[at - 1], data_hash=bytes(32))
    raws[at] = raws[at][: len(raws[at]) // 2]
    with pytest.raises(errors.AttestationFailed) as caught:
        received.verify_received(state_after(True, 30), raws)
    assert caught.value.number == 30 + at
    check_same(state_after(True, 30), raws)
