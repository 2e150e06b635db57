"""Flags of the blocks an audit reads: one agreed commit hash vouches for all of them."""

from collections.abc import Callable
from typing import Any

import pytest

from light_node.chain import blocks as full_blocks
from light_node.chain import errors, verify
from light_node.chain.auditor import _Flags
from light_node.chain.blocks import FullBlock
from light_node.chain.status import Level
from light_node.fabric import block as wire
from light_node.fabric.pb import common_pb2

Blocks = Callable[[str, str], list[bytes]]


class FakeNode:
    """Serves blocks; two organisations agree on what ``levels`` says, else on everything."""

    first_block = 0

    def __init__(self, raws: list[bytes]) -> None:
        self.raws, self.levels, self.asked = raws, dict[int, Level](), list[int]()

    def block(self, number: int) -> FullBlock:
        raw = self.raws[number]
        return full_blocks.open_block(raw, verify.parse(raw).hash)

    def validity_of(self, full: FullBlock) -> tuple[Level, tuple[str, ...]]:
        self.asked.append(full.number)
        return self.levels.get(full.number, Level.AGREED), ("Org1MSP", "Org2MSP")


def read(node: Any, last: int, first: int) -> _Flags:
    flags = _Flags(node)
    for number in range(last, first - 1, -1):
        flags.add(node.block(number))
    flags.end(first)
    return flags


def change_metadata(raw: bytes, entry: int, how: Callable[[bytearray], Any]) -> bytes:
    message = common_pb2.Block.FromString(raw)
    data = bytearray(message.metadata.metadata[entry])
    how(data)
    message.metadata.metadata[entry] = bytes(data)
    return message.SerializeToString()


@pytest.mark.parametrize("first", [1, 4])
def test_only_the_last_block_is_asked_about(real_blocks: Blocks, first: int) -> None:
    node = FakeNode(real_blocks("bft", "full"))
    flags = read(node, 12, first)
    assert flags.level is Level.AGREED
    assert node.asked == [12]
    assert flags.organizations == ("Org1MSP", "Org2MSP")


@pytest.mark.parametrize(
    ("entry", "number"),
    [(wire.TRANSACTIONS_FILTER, n) for n in range(4, 13)]
    + [(wire.COMMIT_HASH, n) for n in range(3, 13)],
)
def test_every_altered_flag_or_commit_hash_is_found(
    real_blocks: Blocks, number: int, entry: int
) -> None:
    raws = real_blocks("bft", "full")

    def flip(data: bytearray) -> None:
        data[-1] ^= 11

    raws[number] = change_metadata(raws[number], entry, flip)
    with pytest.raises(errors.CommitHashMismatch):
        read(FakeNode(raws), 12, 4)


def test_the_worst_answer_counts(real_blocks: Blocks) -> None:
    node = FakeNode(real_blocks("raft", "full"))
    node.levels[9] = Level.VERIFIED
    assert read(node, 9, 4).level is Level.VERIFIED
    node.levels[9] = Level.DISPUTED
    assert read(node, 9, 4).level is Level.DISPUTED


def test_blocks_without_commit_hashes_are_asked_about_one_by_one(real_blocks: Blocks) -> None:
    raws = [change_metadata(raw, wire.COMMIT_HASH, bytearray.clear)
            for raw in real_blocks("raft", "full")]  # fmt: skip
    node = FakeNode(raws)
    node.levels[6] = Level.VERIFIED
    assert read(node, 8, 5).level is Level.VERIFIED
    assert node.asked == [8, 7, 6, 5]


def test_above_a_later_trust_root_the_lowest_block_is_asked_about(real_blocks: Blocks) -> None:
    node = FakeNode(real_blocks("bft", "full"))
    node.first_block = 5
    read(node, 9, 6)
    assert node.asked == [9, 6]
