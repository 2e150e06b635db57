"""Header compression (RFC 7541): all of reading, and as little of writing as is allowed."""

from collections import deque
from collections.abc import Iterable

from light_node.http2 import huffman

Header = tuple[bytes, bytes]

MAX_TABLE_BYTES = 4096
MAX_LIST_BYTES = 16 * 1024
"""Most bytes of all names and values of one list, 32 added for each (RFC 9113, 6.5.2)."""
_OVERHEAD = 32
_MAX_INTEGER = 2**31

_STATIC: tuple[Header, ...] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    *(
        (name, b"")
        for name in b"""
        accept-language accept-ranges accept access-control-allow-origin age allow
        authorization cache-control content-disposition content-encoding content-language
        content-length content-location content-range content-type cookie date etag expect
        expires from host if-match if-modified-since if-none-match if-range
        if-unmodified-since last-modified link location max-forwards proxy-authenticate
        proxy-authorization range referer refresh retry-after server set-cookie
        strict-transport-security transfer-encoding user-agent vary via www-authenticate
        """.split()
    ),
)


class HpackError(ValueError):
    """A header block that cannot be read: nothing after it on the connection can."""


class Decoder:
    """Reads the header blocks of one connection, in order."""

    def __init__(self) -> None:
        self._dynamic: deque[Header] = deque()
        self._size = 0
        self._most = MAX_TABLE_BYTES

    def decode(self, block: bytes) -> list[Header]:
        """Return the headers; ``HpackError`` if the block is damaged or too much."""
        found: list[Header] = []
        at = size = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                header = self._entry(index)
            elif first & 0x40:
                header, at = self._literal(block, at, 6)
                self._add(header)
            elif first & 0x20:
                if found:
                    raise HpackError("the table's size changes at the beginning only")
                most, at = _integer(block, at, 5)
                if most > MAX_TABLE_BYTES:
                    raise HpackError("the table may not be that large")
                self._resize(most)
                continue
            else:
                header, at = self._literal(block, at, 4)
            size += len(header[0]) + len(header[1]) + _OVERHEAD
            if size > MAX_LIST_BYTES:
                raise HpackError("the headers are too long")
            found.append(header)
        return found

    def _literal(self, block: bytes, at: int, bits: int) -> tuple[Header, int]:
        index, at = _integer(block, at, bits)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = _text(block, at)
        value, at = _text(block, at)
        return (name, value), at

    def _entry(self, index: int) -> Header:
        if 1 <= index <= len(_STATIC):
            return _STATIC[index - 1]
        own = index - len(_STATIC) - 1
        if not 0 <= own < len(self._dynamic):
            raise HpackError(f"there is no entry {index}")
        return self._dynamic[own]

    def _add(self, header: Header) -> None:
        self._dynamic.appendleft(header)
        self._size += len(header[0]) + len(header[1]) + _OVERHEAD
        self._resize(self._most)

    def _resize(self, most: int) -> None:
        self._most = most
        while self._size > most:
            name, value = self._dynamic.pop()
            self._size -= len(name) + len(value) + _OVERHEAD


def encode(headers: Iterable[Header]) -> bytes:
    """Return a header block that adds nothing to the reader's table."""
    block = bytearray()
    for header in headers:
        if header in _STATIC:
            block.append(0x80 | _STATIC.index(header) + 1)
            continue
        block.append(0)
        for text in header:
            block += _write_integer(len(text), 7) + text
    return bytes(block)


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    try:
        value = block[at] & most
        at += 1
        if value < most:
            return value, at
        shift = 0
        while True:
            byte = block[at]
            at += 1
            value += (byte & 0x7F) << shift
            shift += 7
            if value >= _MAX_INTEGER or shift > 35:
                raise HpackError("a number is too large")
            if byte < 0x80:
                return value, at
    except IndexError:
        raise HpackError("the header block is cut off") from None


def _write_integer(value: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if value < most:
        return bytes((value,))
    out, value = bytearray((most,)), value - most
    while value >= 0x80:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    coded = at < len(block) and block[at] & 0x80
    length, at = _integer(block, at, 7)
    raw = block[at : at + length]
    if len(raw) != length:
        raise HpackError("the header block is cut off")
    if not coded:
        return raw, at + length
    try:
        return huffman.decode(raw), at + length
    except huffman.HuffmanError as error:
        raise HpackError(str(error)) from error
