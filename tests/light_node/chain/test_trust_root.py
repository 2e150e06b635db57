"""A trust root is checked on loading, refused when expired, and comparable by eye."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from light_node.chain import errors, trust
from light_node.clock import SystemClock
from light_node.fabric.pb import common_pb2
from light_node.fabric.profile import TrustRoot as ProfileTrustRoot

Blocks = Callable[[str, str], list[bytes]]
NOW = SystemClock().now()


@pytest.mark.parametrize("kind", ["raft", "bft"])
@pytest.mark.parametrize("number", [0, 11])
def test_any_configuration_block_serves(real_blocks: Blocks, kind: str, number: int) -> None:
    root = trust.load(real_blocks(kind, "full")[number], channel=f"{kind}ch")
    assert root.number == number
    assert root.state.config.block_number == number
    assert root.state.height == number + 1
    groups = root.fingerprint.split("-")
    assert [len(group) for group in groups] == [4, 4, 4, 4]


def test_fingerprints_differ_where_hashes_do(real_blocks: Blocks) -> None:
    prints = {
        trust.load(real_blocks(k, "full")[n]).fingerprint for k in ("raft", "bft") for n in (0, 11)
    }
    assert len(prints) == 4


def spoil(raw: bytes, change: Callable[[common_pb2.Block], Any]) -> bytes:
    message = common_pb2.Block.FromString(raw)
    change(message)
    return message.SerializeToString()


def _flip_data(block: common_pb2.Block) -> None:
    data = bytearray(block.data.data[0])
    data[100] ^= 1
    block.data.data[0] = bytes(data)


def _other_index(block: common_pb2.Block) -> None:
    value = common_pb2.OrdererBlockMetadata(last_config=common_pb2.LastConfig(index=3))
    entry = common_pb2.Metadata(value=value.SerializeToString())
    block.metadata.metadata[0] = entry.SerializeToString()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_flip_data, "altered"),
        (lambda b: b.ClearField("data"), "not a configuration block"),
        (lambda b: b.data.data.append(b"\x0a\x01a\x12\x01b"), "altered"),
        (_other_index, "last-config index is 3"),
        (lambda b: b.ClearField("metadata"), "no metadata"),
        (lambda b: b.ClearField("header"), "no header"),
    ],
)
def test_a_spoiled_root_is_refused(
    real_blocks: Blocks, change: Callable[[common_pb2.Block], Any], complaint: str
) -> None:
    with pytest.raises(errors.TrustRootMismatch, match=complaint):
        trust.load(spoil(real_blocks("bft", "full")[0], change))


def test_what_is_no_configuration_block_is_refused(real_blocks: Blocks) -> None:
    for raw in (b"", b"junk", real_blocks("raft", "full")[1], real_blocks("raft", "headers")[1]):
        with pytest.raises(errors.TrustRootMismatch):
            trust.load(raw)


def test_channel_and_hash_must_be_the_expected_ones(real_blocks: Blocks) -> None:
    raw = real_blocks("raft", "full")[0]
    good = trust.load(raw)
    trust.load(raw, channel="raftch", expected_hash=good.hash)
    with pytest.raises(errors.TrustRootMismatch, match="'bftch'"):
        trust.load(raw, channel="bftch")
    with pytest.raises(errors.TrustRootMismatch, match="fingerprint"):
        trust.load(raw, expected_hash=bytes(32))


def test_another_block_is_refused_before_anything_in_it_is_read(
    real_blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any peer may send the block that a root text names: its contents must cost nothing."""
    first, later = (real_blocks("raft", "full")[n] for n in (0, 11))
    expected = trust.load(first).hash
    read: list[Any] = []
    monkeypatch.setattr(trust.ChannelConfig, "from_block", read.append)
    with pytest.raises(errors.TrustRootMismatch, match="fingerprint"):
        trust.load(later, expected_hash=expected)
    assert not read


def test_from_a_profile(real_blocks: Blocks) -> None:
    raw = real_blocks("raft", "full")[0]
    stated = ProfileTrustRoot(
        "raftch", raw, trust.load(raw).hash.hex(), NOW, NOW + timedelta(days=1)
    )
    root = trust.from_profile(stated)
    assert (root.obtained, root.expires) == (NOW, NOW + timedelta(days=1))
    root.check_expiry(NOW)
    root.check_expiry(NOW + timedelta(hours=23))
    with pytest.raises(errors.TrustRootExpired, match="new network profile"):
        root.check_expiry(NOW + timedelta(days=1))
    other = ProfileTrustRoot("raftch", raw, "00" * 32, NOW, NOW + timedelta(days=1))
    with pytest.raises(errors.TrustRootMismatch):
        trust.from_profile(other)
