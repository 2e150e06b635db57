"""Verification of many received headers at once: the rules of ``verify``, over whole arrays.

Headers that a server sends without data nearly all have one shape: the fields in the order every
protobuf writer puts them, five metadata entries, the signed index of the configuration in force.
:func:`verify_received` checks that shape and the fields in it for a whole batch with array
operations, which leaves one SHA-256 per header to Python. Whatever has another shape (a
configuration block, a full block, unknown fields, anything wrong) goes through
:func:`light_node.chain.verify.verify_block` by itself, so that verdicts and errors are that
function's: a batch passes here exactly if it passes there, with the same result.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from light_node.chain import errors, verify
from light_node.chain.verify import TrustedState, Verified
from light_node.fabric.block import varint

_HASH = 32
_FEW = 8
"""Shorter runs are verified one by one: setting up the arrays costs more."""
_MANY = 64
"""After a shorter run so many are verified one by one: it does not pay to look ahead there."""
_MOST_LOOKED_AT = 1024
"""Rows looked at in one go: more gain little, and are looked at again behind an unusual one."""
_MOST_SIGNATURES = 64  # more than an ordering service has; such blocks are looked at singly
_WIDTHS = tuple(
    sorted({2 ** (7 * n) for n in range(1, 9)} | {2 ** (8 * n - 1) for n in range(1, 8)})
)
"""Where a block number takes one byte more, in protobuf or in DER."""

_Bytes = NDArray[np.uint8]
_Places = NDArray[np.int64]
_Flags = NDArray[np.bool_]


class Received(NamedTuple):
    """Consecutive blocks that were proved to follow a state, in the form the store takes.

    ``data_hashes`` and ``hashes`` have one entry of 32 bytes per block. ``configs`` holds the
    bytes of the configuration blocks among them by number, ``last`` is the last block with its
    signers, ``signatures`` how many signatures were checked.
    """

    data_hashes: list[bytes]
    hashes: list[bytes]
    configs: dict[int, bytes]
    last: Verified
    signatures: int


def verify_received(state: TrustedState, raws: Sequence[bytes]) -> tuple[TrustedState, Received]:
    """Verify serialized consecutive blocks after ``state``: parsing included, at least one.

    As :func:`~light_node.chain.verify.verify_blocks` of the parsed blocks: hash links and signed
    indices for all, signatures on configuration blocks and on the last. Nothing of the batch may
    be used before the whole call returns; the error of the first block that has one is raised.
    """
    data_hashes: list[bytes] = []
    hashes: list[bytes] = []
    configs: dict[int, bytes] = {}
    signatures, at, final = 0, 0, len(raws) - 1
    singly = 0  # how many to verify one by one first: more, the more unusual ones there are
    verified: Verified | None = None
    while at <= final:
        if not singly and final - at >= _FEW:
            run = verify_usual(state, raws[at:final])
            data_hashes += [data for data, _ in run]
            hashes += [digest for _, digest in run]
            if run:
                state = TrustedState(state.config, state.number + len(run), hashes[-1])
            at += len(run)
            if len(run) < _MANY:
                singly = _MANY
        block = None
        try:
            block = verify.parse(raws[at])
            verified = verify.verify_block(state, block, attested=at == final)
        except errors.VerificationError:
            verify.verify_signed(state, verify.parse(raws[at - 1]) if at else None, block)
            raise
        state = verify.apply(state, verified)
        data_hashes.append(block.data_hash)
        hashes.append(block.hash)
        if verified.config is not None:
            configs[block.number] = raws[at]
        signatures += len(verified.signers)
        at += 1
        singly = max(0, singly - 1)
    if verified is None:
        raise ValueError("there is no block to verify")
    return state, Received(data_hashes, hashes, configs, verified, signatures)


def verify_usual(state: TrustedState, raws: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return (data hash, block hash) of those at the start that follow ``state`` and are usual.

    Only hash links and indices are checked: all of it rests on the signatures of a later block.
    """
    found: list[tuple[bytes, bytes]] = []
    tip, number, index = state.hash, state.number + 1, state.config.block_number
    while len(found) < len(raws):
        # Within a run all numbers take equally many bytes, in protobuf and in DER.
        room = next((width - number for width in _WIDTHS if width > number), 0)
        rest = raws[len(found) : len(found) + min(room, _MOST_LOOKED_AT)]
        run = _proved(tip, number, index, rest) if rest else []
        found += run
        if not run or len(run) < len(rest):
            break
        number += len(run)
        tip = run[-1][1]
    return found


def _proved(tip: bytes, first: int, index: int, raws: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return those at the start of a run that are usual and linked, beginning at ``tip``."""
    rows = _Rows(raws)
    numbers = np.arange(first, first + len(raws), dtype=np.uint64)
    head = _header_start(numbers)
    length = head.shape[1] + _HASH + 2 + _HASH
    shown = rows.take(length)
    previous = shown[:, head.shape[1] : head.shape[1] + _HASH]
    middle = shown[:, head.shape[1] + _HASH : -_HASH]
    data = shown[:, -_HASH:]
    good = (shown[:, : head.shape[1]] == head).all(axis=1) & (middle == (0x1A, 0x20)).all(axis=1)
    good &= _usual_metadata(rows, length, index)
    count = len(raws) if good.all() else int(good.argmin())
    if not count:
        return []
    ders = _ders(numbers[:count], previous[:count], data[:count])
    size = len(ders) // count
    digests = [sha256(ders[at : at + size]).digest() for at in range(0, len(ders), size)]
    expected = np.frombuffer(b"".join((tip, *digests[:-1])), np.uint8).reshape(count, _HASH)
    linked = (previous[:count] == expected).all(axis=1)
    if not linked.all():
        count = int(linked.argmin())
    datas = data[:count].tobytes()
    return [(datas[at * _HASH : (at + 1) * _HASH], digests[at]) for at in range(count)]


def _header_start(numbers: NDArray[np.uint64]) -> _Bytes:
    """Return ``BlockHeader`` up to the previous hash, a row per number: all of one width."""
    width = max(1, -(-int(numbers[-1]).bit_length() // 7))
    start = np.empty((len(numbers), width + 5), np.uint8)
    start[:, 0] = 0x0A
    start[:, 1] = width + 69
    start[:, 2] = 0x08
    for at in range(width):
        more = 0x80 if at < width - 1 else 0
        start[:, 3 + at] = (numbers >> np.uint64(7 * at)) & np.uint64(0x7F) | np.uint64(more)
    start[:, -2:] = (0x12, 0x20)
    return start


def _ders(numbers: NDArray[np.uint64], previous: _Bytes, data: _Bytes) -> bytes:
    """Return the DER of each header, one after the other (section 2.1)."""
    width = int(numbers[-1]).bit_length() // 8 + 1
    ders = np.empty((len(numbers), 4 + width + 2 * (2 + _HASH)), np.uint8)
    ders[:, :4] = (0x30, width + 70, 0x02, width)
    big_endian = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
    ders[:, 4 : 4 + width] = big_endian[:, 8 - width :]
    ders[:, 4 + width : 6 + width] = (0x04, 0x20)
    ders[:, 6 + width : 6 + width + _HASH] = previous
    ders[:, 6 + width + _HASH : 8 + width + _HASH] = (0x04, 0x20)
    ders[:, 8 + width + _HASH :] = data
    return ders.tobytes()


class _Rows:
    """Serialized blocks side by side in one array; a place is an index into it, one per row."""

    def __init__(self, raws: Sequence[bytes]) -> None:
        lengths = np.fromiter(map(len, raws), np.int64, len(raws))
        self.ends: _Places = lengths.cumsum()
        self.starts: _Places = self.ends - lengths
        # Room for what is read behind the last row before its end is looked at.
        self._bytes: _Bytes = np.frombuffer(b"".join((*raws, bytes(256))), np.uint8)
        self._last = len(self._bytes) - 1

    def take(self, count: int) -> _Bytes:
        """Return the first ``count`` bytes, at most 256, of each row; of the next if too short."""
        taken: _Bytes = self._bytes[self.starts[:, None] + np.arange(count)]
        return taken

    def at(self, places: _Places) -> _Bytes:
        taken: _Bytes = self._bytes[np.minimum(places, self._last)]
        return taken

    def field(self, places: _Places, tags: Sequence[int]) -> tuple[_Flags, _Places, _Places]:
        """Read a field with one of ``tags`` and a length below 2**21 at ``places``.

        Returns whether there is one, where its contents begin and where they end.
        """
        tag, low = self.at(places), self.at(places + 1)
        good = tag == tags[0]
        for other in tags[1:]:
            good |= tag == other
        begin, length = places + 2, low.astype(np.int64)
        long = low >= 0x80
        if long.any():
            middle = self.at(places + 2)
            longer = long & (middle >= 0x80)
            length = np.where(long, (length & 0x7F) | (middle.astype(np.int64) & 0x7F) << 7, length)
            begin = begin + long
            if longer.any():
                high = self.at(places + 3)
                length = np.where(longer, length | high.astype(np.int64) << 14, length)
                begin = begin + longer
                good &= ~longer | (high < 0x80)
        return good, begin, begin + length


def _usual_metadata(rows: _Rows, header: int, index: int) -> _Flags:
    """Say which rows are the header (``header`` bytes) and usual metadata that name ``index``."""
    good, begin, end = rows.field(rows.starts + header, (0x1A,))
    good &= end == rows.ends
    good &= rows.ends - rows.starts <= verify.MAX_METADATA_BYTES
    at = begin
    for entry in range(5):
        found, begin, at = rows.field(at, (0x0A,))
        good &= found & (at <= end)
        if entry == 0:
            good &= _usual_signatures(rows, begin, at, index, good)
    whole: _Flags = good & (at == end)
    return whole


def _usual_signatures(
    rows: _Rows, begin: _Places, end: _Places, index: int, among: _Flags
) -> _Flags:
    """Say which entries are the signed value and well-formed signatures (section 2.3)."""
    good, begin, at = rows.field(begin, (0x0A,))
    good &= among & (at <= end) & _names(rows, begin, at, index)
    for _ in range(_MOST_SIGNATURES):
        more = good & (at < end)
        if not more.any():
            break
        found, inner, stop = rows.field(at, (0x12,))
        good &= ~more | (found & (stop <= end))
        for _ in range(3):  # signature header, signature, identifier header: in any order
            inside = more & good & (inner < stop)
            if not inside.any():
                break
            found, _, behind = rows.field(inner, (0x0A, 0x12, 0x1A))
            good &= ~inside | (found & (behind <= stop))
            inner = np.where(inside, behind, inner)
        good &= ~more | (inner == stop)
        at = np.where(more, stop, at)
    whole: _Flags = good & (at == end)
    return whole


def _names(rows: _Rows, begin: _Places, end: _Places, index: int) -> _Flags:
    """Say which signed values are the last-config index ``index`` and consenter metadata."""
    number = b"\x08" + varint(index) if index else b""
    good: _Flags = begin + 2 + len(number) <= end
    for offset, expected in enumerate((0x0A, len(number), *number)):
        good &= rows.at(begin + offset) == expected
    at = begin + 2 + len(number)
    bare = at == end
    if bare.all():
        return good
    found, _, behind = rows.field(at, (0x12,))
    good &= bare | (found & (behind == end))
    return good
