"""Header DER, hashes and metadata against the vectors of docs/fabric-protocol.md section 9."""

from pathlib import Path

import pytest

from light_node.fabric import block as blocks
from light_node.fabric.block import BlockError, BlockSignature
from light_node.fabric.commit_hash import StateWrite, block_updates, commit_hash, encode_updates
from light_node.fabric.pb import common_pb2

PREVIOUS, DATA = b"\x22" * 32, b"\x33" * 32
CHANNELS = ("raft", "bft")


@pytest.mark.parametrize(
    ("number", "start", "digest"),
    [
        (1, "3047020101 0420", "2c44edcf38f3285f20dd2997add860e1fcc8e9d99bc3541289ed83a79ad60e4b"),
        (
            127,
            "304702017f 0420",
            "b54766536a763014712a04e4011d245d642406b69f2b3fb0d30b14b55d2a5f15",
        ),
        (
            128,
            "304802020080 0420",
            "7739ab03e82e87d701c05bd57ca4488df0b90ed79857c03c3b58261e33021113",
        ),
        (
            65536,
            "30490203010000 0420",
            "737cee758ef270aac51b4b4d3ffec9c7eb467189fcbc7b753e2f312284be5512",
        ),
        (
            2**64 - 1,
            "304f020900ffffffffffffffff 0420",
            "d206e6f6edb0c013b2c8a90ba9e8fcd0e2799c3e85e48b5f06937a8485255c50",
        ),
    ],
)
def test_header_vectors(number: int, start: str, digest: str) -> None:
    der = blocks.header_der(number, PREVIOUS, DATA)
    assert der.startswith(bytes.fromhex(start))
    assert blocks.block_hash(number, PREVIOUS, DATA).hex() == digest


def test_genesis_header_vector() -> None:
    der = blocks.header_der(0, b"", b"\x11" * 32)
    assert der == bytes.fromhex("30270201000400 0420") + b"\x11" * 32
    digest = "6c16af72ee160882c723e9f414e8c1d07c4e33afe0eb2bfa3f0abfa782127940"
    assert blocks.block_hash(0, b"", b"\x11" * 32).hex() == digest


@pytest.mark.parametrize(
    ("number", "previous", "data"),
    [(-1, PREVIOUS, DATA), (2**64, PREVIOUS, DATA), (1, b"x", DATA), (1, PREVIOUS, DATA[1:])],
)
def test_header_sizes_are_bounded(number: int, previous: bytes, data: bytes) -> None:
    with pytest.raises(BlockError):
        blocks.header_der(number, previous, data)


def test_data_hash_vector() -> None:
    envelopes = [bytes.fromhex("0a0161120162"), bytes.fromhex("0a0163120164")]
    expected = "cef84b0562cfde61110d8acfe6f6ae47201cd36b8ac7c7665ab9a937926899a2"
    assert blocks.data_hash(envelopes).hex() == expected
    blocks.check_well_formed(envelopes)


def test_metadata_vectors() -> None:
    assert blocks.signed_value(0).hex() == "0a00"
    assert blocks.encode_signature_entry(blocks.signed_value(0), []).hex() == "0a020a00"
    assert blocks.signed_value(11).hex() == "0a02080b"
    assert blocks.identifier_header(3, bytes(24)).hex() == "08031218" + "00" * 24
    assert blocks.encode_last_config_entry(0) == b""
    assert blocks.encode_last_config_entry(11) == b"\x0a\x02\x08\x0b"


def test_commit_hash_vectors() -> None:
    updates = encode_updates([StateWrite("kv", "", b"k1", b"v1", 5, 0)])
    assert updates.hex() == "0a110a026b761a026b312a0276313203010500"
    expected = "a3f686e29945d3c881bb07f8cea64793848d8e0b9d05e1ce693f0d8d6f398a92"
    assert commit_hash(b"\x00", updates).hex() == expected
    expected = "c5781f635bfcb95b5c1b648ab035a04a330a01dda3be3c7bf2da64492ca6733f"
    assert commit_hash(b"\x00", b"", b"\x44" * 32).hex() == expected


def test_updates_order_names_each_namespace_and_collection_once() -> None:
    writes = [
        StateWrite("b", "c2", b"\x01", b"h", 256, 300),
        StateWrite("b", "", b"z", b"", 256, 0),
        StateWrite("", "", b"config", b"x", 256, 0),
        StateWrite("a", "c1", b"\x02", b"h", 256, 1),
        StateWrite("b", "", b"y", b"v", 256, 0),
        StateWrite("b", "c1", b"\x03", b"h", 256, 1),
    ]
    from light_node.fabric.pb import commit_pb2

    got = commit_pb2.Updates.FromString(encode_updates(writes)).kvwrites
    rows = [(w.namespace, w.collection, w.key, w.isDelete, w.version_bytes.hex()) for w in got]
    assert rows == [
        ("a", "c1", b"\x02", False, "0201000101"),
        ("b", "", b"y", False, "02010000"),
        ("", "", b"z", True, "02010000"),
        ("", "c1", b"\x03", False, "0201000101"),
        ("", "c2", b"\x01", False, "02010002012c"),
    ]


@pytest.mark.parametrize("channel", CHANNELS)
def test_commit_hashes_of_a_live_channel_are_recomputed(data: Path, channel: str) -> None:
    """Private data, MVCC conflicts, a duplicate and a configuration change are among the blocks."""
    previous, seen = b"", set()
    for path in sorted((data / "fabric" / channel / "full").iterdir()):
        block = blocks.parse_block(path.read_bytes())
        if block.number == 0:
            assert blocks.stated_commit_hash(block) == b""
            continue
        assert block.envelopes is not None
        flags = blocks.transactions_filter(block)
        seen.update(flags)
        updates = block_updates(block.number, block.envelopes, flags)
        previous = commit_hash(flags, updates, previous)
        assert previous == blocks.stated_commit_hash(block), path.name
    assert 0 in seen
    assert len(seen) > 1, "the fixtures hold invalid transactions too"


def test_flags_must_match_the_transactions() -> None:
    with pytest.raises(BlockError, match="2 flags"):
        block_updates(3, [b"\x0a\x01a\x12\x01b"], b"\x00\x00")


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("form", ["full", "headers"])
def test_real_blocks_link_and_hash(data: Path, channel: str, form: str) -> None:
    previous = b""
    for path in sorted((data / "fabric" / channel / form).iterdir()):
        block = blocks.parse_block(path.read_bytes())
        assert block.previous_hash == previous
        previous = block.hash
        if block.envelopes is not None:
            assert blocks.data_hash(block.envelopes) == block.data_hash
            blocks.check_well_formed(block.envelopes)
        entry = blocks.signature_entry(block)
        assert entry.last_config == (11 if block.number >= 11 else 0)
        assert (block.number in (0, 11)) == bool(
            block.envelopes and blocks.is_config(block.envelopes)
        )


@pytest.mark.parametrize("channel", CHANNELS)
def test_header_form_is_what_without_data_gives(data: Path, channel: str) -> None:
    for number in (0, 1, 11, 12):
        full = (data / "fabric" / channel / "full" / f"{number:04}.block").read_bytes()
        header = (data / "fabric" / channel / "headers" / f"{number:04}.block").read_bytes()
        reduced, given = blocks.parse_block(blocks.without_data(full)), blocks.parse_block(header)
        assert reduced.hash == given.hash
        assert (reduced.envelopes is None) == (given.envelopes is None)


def test_encode_and_parse_round_trip() -> None:
    envelope = common_pb2.Envelope(payload=b"p", signature=b"s").SerializeToString()
    signatures = [
        BlockSignature(b"sig", signature_header=blocks.signature_header(b"me", bytes(24))),
        BlockSignature(b"sig", identifier_header=blocks.identifier_header(2, bytes(24))),
    ]
    entry = blocks.encode_signature_entry(blocks.signed_value(7, b"view"), signatures)
    metadata = [entry, blocks.encode_last_config_entry(7), b"\x00", b"", b""]
    block = blocks.parse_block(blocks.encode_block(9, PREVIOUS, [envelope], metadata))
    assert (block.number, block.previous_hash) == (9, PREVIOUS)
    assert block.envelopes == (envelope,)
    assert blocks.signature_entry(block).signatures == tuple(signatures)
    assert blocks.signature_entry(block).last_config == 7
    assert block.hash == blocks.block_hash(9, PREVIOUS, blocks.data_hash([envelope]))
    header = blocks.encode_block(9, PREVIOUS, None, metadata, header_data_hash=block.data_hash)
    assert blocks.parse_block(header).hash == block.hash
    assert blocks.parse_block(header).envelopes is None


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"", "empty"),
        (b"\x0a\xff", "not a serialized block"),
        (b"\x12\x00", "no header"),
        (b"hello world", "not a serialized block"),
        (common_pb2.Block(header={"number": 3}).SerializeToString(), "previous hash"),
        (
            common_pb2.Block(
                header={"previous_hash": PREVIOUS, "data_hash": DATA}
            ).SerializeToString(),
            "no previous hash",
        ),
        (
            common_pb2.Block(
                header={"number": 1, "previous_hash": b"x", "data_hash": DATA}
            ).SerializeToString(),
            "1-byte previous hash",
        ),
    ],
)
def test_what_is_no_block_is_said(raw: bytes, complaint: str) -> None:
    with pytest.raises(BlockError, match=complaint):
        blocks.parse_block(raw)


@pytest.mark.parametrize(
    ("envelopes", "complaint"),
    [
        ([], "no transaction"),
        ([b"\x0a\x01a\x12\x01b", b"\x0a\x01a"], "transaction 1 has no payload or no signature"),
        ([b"\x0a\x01a\x12\x01b\x1a\x01c"], "canonical"),  # an unknown field
        ([b"\x12\x01b\x0a\x01a"], "canonical"),  # fields out of order
        ([b"\x0a\x81\x00a\x12\x01b"], "canonical"),  # a longer varint than needed
        ([b"\x0a\x05a"], "not an envelope"),
        # One transaction cut in two: the concatenation, and so the hash, is the same.
        ([b"\x0a\x01a", b"\x12\x01b"], "transaction 0"),
    ],
)
def test_data_that_does_not_delimit_itself_is_refused(
    envelopes: list[bytes], complaint: str
) -> None:
    with pytest.raises(BlockError, match=complaint):
        blocks.check_well_formed(envelopes)
