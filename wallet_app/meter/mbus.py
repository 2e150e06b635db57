"""M-Bus long frames, which Austrian customer ports carry DLMS push lists in (EN 13757-2).

``68 L L 68 | C A CI | STSAP DTSAP payload | sum 16``: L counts from C to the payload's end, the sum
is theirs modulo 256. A long list comes in several frames: the low half of CI counts them from 0,
10h marks the last.
"""

from dataclasses import dataclass

from wallet_app.meter.events import Problem

START = 0x68
MOST_SEGMENTS = 16
_HEAD, _TAIL, _PAYLOAD = 4, 2, 9
_LAST = 0x10


@dataclass(frozen=True, slots=True)
class MbusFrame:
    """One frame with a right sum: where, its bytes, its place in the list, is it the last?"""

    at: int
    raw: bytes
    number: int
    last: bool

    @property
    def payload(self) -> bytes:
        """Return what the frame carries of the list."""
        return self.raw[_PAYLOAD:-_TAIL]


def next_frame(
    buffer: bytearray, begin: int, offset: int, *, final: bool
) -> tuple[int, MbusFrame | Problem | None] | None:
    """Look for a frame at ``begin``, where a 68h is.

    Returns where to go on and what was found (None: nothing); None alone if more input is needed.
    """
    head = buffer[begin : begin + _HEAD]
    impossible = (
        (len(head) > 2 and head[1] != head[2])
        or (len(head) > 1 and head[1] <= _PAYLOAD - _HEAD)
        or (len(head) > 3 and head[3] != START)
    )
    if impossible:
        return begin + 1, None
    if len(head) < _HEAD:
        return (begin + 1, None) if final else None
    length = _HEAD + head[1] + _TAIL
    raw = bytes(buffer[begin : begin + length])
    if len(raw) < length:
        if not final:
            return None
        return begin + 1, Problem("incomplete", offset + begin, raw)
    if sum(raw[_HEAD:-_TAIL]) & 0xFF != raw[-2]:
        return begin + 1, Problem("checksum", offset + begin, raw)
    if raw[-1] != 0x16:
        return begin + 1, Problem("framing", offset + begin, raw, "the end byte is not 16")
    information = raw[6]
    if information & 0xE0:  # another use of M-Bus than DLMS segments
        return begin + length, None
    frame = MbusFrame(offset + begin, raw, information & 0x0F, bool(information & _LAST))
    return begin + length, frame


class MbusAssembler:
    """Puts the payloads of consecutive frames together."""

    def __init__(self) -> None:
        self._payloads: list[bytes] = []
        self.raw, self.at = b"", 0

    def reset(self) -> None:
        """Forget parts of a list that is not whole."""
        self._payloads.clear()
        self.raw = b""

    def give_up(self) -> tuple[int, bytes] | None:
        """Forget a list that is not whole; return where it began and its frames, if any."""
        if not self._payloads:
            return None
        rest = self.at, self.raw
        self.reset()
        return rest

    def add(self, frame: MbusFrame) -> bytes | None:
        """Take a frame; return the APDU it completes, b"" if a part before it is missing."""
        if frame.number == 0:
            self.reset()
            self.at = frame.at
        elif frame.number != len(self._payloads):
            self.reset()
            self.raw, self.at = frame.raw, frame.at
            return b""
        self._payloads.append(frame.payload)
        self.raw += frame.raw
        if not frame.last:
            if len(self._payloads) >= MOST_SEGMENTS:
                self.reset()
            return None
        apdu = b"".join(self._payloads)
        self._payloads.clear()
        return apdu
