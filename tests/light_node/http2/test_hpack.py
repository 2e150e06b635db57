"""Header compression: the RFC's own examples, and blocks that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.http2 import hpack, huffman
from light_node.http2.hpack import Decoder, HpackError

GET = (b":method", b"GET")
HOST = (b":authority", b"www.example.com")


def test_requests_of_appendix_c_with_huffman_code_and_table() -> None:
    decoder = Decoder()
    first = decoder.decode(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff"))
    assert first == [GET, (b":scheme", b"http"), (b":path", b"/"), HOST]
    second = decoder.decode(bytes.fromhex("828684be5886a8eb10649cbf"))
    assert second == [*first, (b"cache-control", b"no-cache")]
    third = decoder.decode(bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"))
    assert third == [
        GET, (b":scheme", b"https"), (b":path", b"/index.html"), HOST,
        (b"custom-key", b"custom-value"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("block", "header"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", (b"custom-key", b"custom-header")),
        ("040c2f73616d706c652f70617468", (b":path", b"/sample/path")),
        ("100870617373776f726406736563726574", (b"password", b"secret")),
        ("82", GET),
    ],
)
def test_literals_of_appendix_c(block: str, header: tuple[bytes, bytes]) -> None:
    assert Decoder().decode(bytes.fromhex(block)) == [header]


def test_the_table_forgets_its_oldest_entries() -> None:
    decoder = Decoder()
    entry = b"\x40\x01a\x7f\xbf\x1e" + bytes(4030)  # 127 + 63 + 30 · 128; 4063 of 4096 in all
    decoder.decode(b"\x40\x01b\x01c")
    assert decoder.decode(b"\xbe") == [(b"b", b"c")]
    decoder.decode(entry)
    assert decoder.decode(b"\xbe")[0][0] == b"a"
    with pytest.raises(HpackError, match="no entry 63"):
        decoder.decode(b"\xbf")


def test_the_table_can_be_emptied() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01b\x01c")
    assert decoder.decode(b"\x20\x82") == [GET]
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe")


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # entry 0
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",  # a number without end
        b"\x00\x05ab",  # cut off in a text
        b"\x40",
        b"\x82\x20",  # a new size behind a header
        b"\x3f\xe2\x1f",  # a table of 4097 bytes
        b"\x00\x81\x00\x01a",  # padding of zeros
        b"\x00\x84\xff\xff\xff\xff\x01a",  # the end as a symbol
        b"\x00\x01a\x00" * 600,  # too many headers
    ],
)
def test_blocks_that_cannot_be_read(block: bytes) -> None:
    with pytest.raises(HpackError):
        Decoder().decode(block)


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.binary(max_size=300)), max_size=8)
)
def test_what_is_written_is_read(headers: list[tuple[bytes, bytes]]) -> None:
    assert Decoder().decode(hpack.encode(headers)) == headers


@given(st.binary(max_size=200))
def test_nothing_else_is_raised(block: bytes) -> None:
    try:
        found = Decoder().decode(block)
    except HpackError:
        return
    assert sum(len(name) + len(value) for name, value in found) <= hpack.MAX_LIST_BYTES


def test_every_code_is_there_once() -> None:
    assert len(huffman._SYMBOLS) == 257
    # A complete code: its words fill the whole space of 30 bits (Kraft).
    assert sum(2 ** (30 - length) for length, _ in huffman._SYMBOLS) == 2**30
