"""HDLC frames as DLMS meters send them, and the APDUs inside (docs/meter-protocols.md section 9).

The check sums are taken over the bytes received, never over a header built again: Kaifa sends
control bytes no standard names.
"""

from dataclasses import dataclass

from wallet_app.meter import crc
from wallet_app.meter.events import Problem

MAX_FRAME, MAX_APDU = 2050, 8192
_FLAG = 0x7E
_LLC = (b"\xe6\xe7\x00", b"\xe6\xe6\x00")


@dataclass(frozen=True, slots=True)
class HdlcFrame:
    """One frame with right sums: where, its bytes with both flags, control byte, information."""

    at: int
    raw: bytes
    control: int
    information: bytes
    segmented: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """More input is needed from this position on."""

    position: int


def next_frame(
    buffer: bytearray, start: int, offset: int, *, final: bool
) -> tuple[int, HdlcFrame | Problem | None] | Wait:
    """Look for a frame from ``start``: where to go on, and what was found there (None: nothing)."""
    begin = buffer.find(_FLAG, start)
    if begin < 0:
        return len(buffer), None
    head = buffer[begin + 1 : begin + 12]
    waiting = (begin + 1, None) if final else Wait(begin)
    if not head:
        return waiting
    if head[0] & 0xF0 != 0xA0:
        return begin + 1, None
    if len(head) < 2:
        return waiting
    length = (head[0] & 0x07) << 8 | head[1]
    header = _header_length(head)
    if header is None:
        return waiting
    if header == 0 or length < header + 2:
        return begin + 1, None
    has_information = length > header + 2
    if len(buffer) - begin < header + 3:
        return waiting
    if has_information and not _fits(buffer, begin + 1, header):
        if len(buffer) - begin < length + 2 and not final:
            return Wait(begin)
        raw = bytes(buffer[begin : begin + length + 2])
        if raw[-1] == _FLAG and len(raw) == length + 2:
            return begin + 1, Problem("checksum", offset + begin, raw, "of the header")
        return begin + 1, None
    raw = bytes(buffer[begin : begin + length + 2])
    if len(raw) < length + 2:
        if not final:
            return Wait(begin)
        return begin + 1, Problem("incomplete", offset + begin, raw)
    if not _fits(buffer, begin + 1, length - 2):
        return begin + 1, Problem("checksum", offset + begin, raw)
    if raw[-1] != _FLAG:
        return begin + 1, Problem("framing", offset + begin, raw, "the closing flag is missing")
    information = raw[1 + header + 2 : -3] if has_information else b""
    segmented = bool(head[0] & 0x08)
    frame = HdlcFrame(offset + begin, raw, raw[header], information, segmented)
    # The closing flag may open the next frame too.
    return begin + length + 1, frame


def _header_length(head: bytes | bytearray) -> int | None:
    """Return the bytes from format to control; None if more are needed, 0 if that cannot be."""
    position = 2
    for _ in range(2):
        size = 1
        while True:
            if position >= len(head):
                return None if len(head) < 11 else 0
            position += 1
            if head[position - 1] & 1:
                break
            size += 1
            if size > 4:
                return 0
    return position + 1


def _fits(buffer: bytearray, start: int, length: int) -> bool:
    sent = int.from_bytes(buffer[start + length : start + length + 2], "little")
    return crc.x25(buffer[start : start + length]) == sent


class Assembler:
    """Puts the information of segmented frames and of block transfers together to APDUs."""

    def __init__(self) -> None:
        self._segments: list[bytes] = []
        self._blocks: list[bytes] = []
        self.raw, self.at = b"", 0

    def reset(self) -> None:
        """Forget parts of an APDU that is not whole."""
        self._segments.clear()
        self._blocks.clear()
        self.raw = b""

    def give_up(self) -> tuple[int, bytes] | None:
        """Forget an APDU that is not whole; return where it began and its frames, if any."""
        if not (self._segments or self._blocks):
            return None
        rest = self.at, self.raw
        self.reset()
        return rest

    def add(self, frame: HdlcFrame) -> bytes | None:
        """Take a frame with information; return the APDU it completes, b"" if it has none."""
        information = frame.information
        if self._segments and information.startswith(_LLC):
            # Only a first segment begins so: the end of the one before was lost.
            self._segments.clear()
            self._blocks.clear()
        if not self._segments:
            # Landis+Gyr sends the later blocks of a block transfer without the LLC header.
            if information.startswith(_LLC):
                information = information[3:]
            elif not (self._blocks and information[:1] == b"\xe0"):
                return b""
            if not self._blocks:
                self.raw, self.at = b"", frame.at
        self.raw = (self.raw + frame.raw)[-2 * MAX_APDU :]
        self._segments.append(information)
        if sum(map(len, self._segments)) > MAX_APDU:
            self.reset()
            return b""
        if frame.segmented:
            return None
        apdu = b"".join(self._segments)
        self._segments.clear()
        return self._block(apdu) if apdu[:1] == b"\xe0" else apdu

    def _block(self, apdu: bytes) -> bytes | None:
        """Take one block of a general block transfer: E0 control block·2 acknowledged·2 length."""
        if len(apdu) < 7:
            self.reset()
            return b""
        control, number = apdu[1], int.from_bytes(apdu[2:4], "big")
        data = _after_length(apdu, 6)
        if number != len(self._blocks) + 1 or data is None:
            self._blocks.clear()
            if number != 1 or data is None:
                return b""
        self._blocks.append(data)
        if sum(map(len, self._blocks)) > MAX_APDU:
            self.reset()
            return b""
        if not control & 0x80:
            return None
        whole = b"".join(self._blocks)
        self._blocks.clear()
        return whole


def _after_length(data: bytes, position: int) -> bytes | None:
    """Return the bytes behind a length at ``position``; None if they are not all there."""
    size = data[position]
    position += 1
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 2:
            return None
        size = int.from_bytes(data[position : position + count], "big")
        position += count
    part = data[position : position + size]
    return part if len(part) == size else None
