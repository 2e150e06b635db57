"""A simulated DLMS meter that is asked: HDLC, association, GET in one piece, segments or blocks."""

import struct
from collections.abc import Callable

from wallet_app.meter import crc, dlms_get, obis
from wallet_app.meter.hdlc import HdlcFrame, Wait, next_frame
from wallet_app.meter.simulator.device import Asked, Replies
from wallet_app.meter.simulator.home import HomeState

StateSource = Callable[[], HomeState]

_FROM_METER = b"\xe6\xe7\x00"
_UA_PARAMETERS = bytes.fromhex("8180140502008006020080070400000001080400000001")
_ACCEPTED = bytes.fromhex(
    "6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000101000800007"
)
_WRONG_PASSWORD = 13
_NO_SUCH_OBJECT = 4
_MOST_HELD = 4096


class DlmsMeter(Asked):
    """Answers the reads of ``dlms_get``; everything else gets "no such object".

    ``password`` must be given by the client if there is one; ``segment`` is the most bytes of a
    reply in one HDLC frame, ``block`` in one block of a GET (0: all in one).
    """

    def __init__(
        self,
        number: str,
        state: StateSource,
        *,
        password: bytes = b"",
        segment: int = 0,
        block: int = 0,
        reply_delay_s: float = 0.02,
    ) -> None:
        self._number, self._state, self._delay = number, state, reply_delay_s
        self._password, self._segment, self._block = password, segment, block
        self._held = bytearray()
        self._connected = self._associated = False
        self._sent = self._received = 0
        self._waiting: list[bytes] = []  # segments of a reply not yet asked for
        self._blocks: list[bytes] = []

    def on_bytes(self, data: bytes, now: float) -> Replies:
        """Take the host's bytes; return the replies."""
        self._held += data
        replies: Replies = []
        position = 0
        while position < len(self._held):
            found = next_frame(self._held, position, 0, final=False)
            if isinstance(found, Wait):
                position = found.position
                break
            position, what = found
            if isinstance(what, HdlcFrame):
                reply = self._answer(what)
                if reply:
                    replies.append((self._delay, reply))
        del self._held[: max(position, len(self._held) - _MOST_HELD)]
        return replies

    def _answer(self, frame: HdlcFrame) -> bytes:
        control = frame.control
        if control == dlms_get.SNRM:
            self._connected, self._associated = True, False
            self._sent = self._received = 0
            return _frame(frame, dlms_get.UA, _UA_PARAMETERS)
        if control == dlms_get.DISC:
            was, self._connected = self._connected, False
            return _frame(frame, dlms_get.UA if was else dlms_get.DM)
        if not self._connected:
            return _frame(frame, dlms_get.DM)
        if control & 0x0F == 0x01 and self._waiting:  # receive ready: the next segment
            return self._next_segment(frame)
        if control & 0x01 or not frame.information:
            return b""
        if control >> 1 & 7 == self._received:  # else it is asked again: answer again
            self._received = (self._received + 1) & 7
        else:
            self._sent = (self._sent - 1) & 7
        reply = _FROM_METER + self._apdu(frame.information[3:])
        size = self._segment or len(reply)
        self._waiting = [reply[start : start + size] for start in range(0, len(reply), size)]
        return self._next_segment(frame)

    def _next_segment(self, frame: HdlcFrame) -> bytes:
        part = self._waiting.pop(0)
        control = self._received << 5 | 0x10 | self._sent << 1
        self._sent = (self._sent + 1) & 7
        return _frame(frame, control, part, segmented=bool(self._waiting))

    def _apdu(self, asked: bytes) -> bytes:
        if asked[:1] == b"\x60":
            return self._associate(asked)
        if not self._associated or asked[:1] != b"\xc0":
            return bytes.fromhex("D8010102")  # state error: service not allowed
        if asked[1:2] == b"\x02":
            return self._next_block(asked)
        name = obis.code(asked[5:11])
        data = self._data(name, asked[11])
        if data is None:
            return b"\xc4\x01" + asked[2:3] + bytes((1, _NO_SUCH_OBJECT))
        if self._block and len(data) > self._block:
            size = self._block
            self._blocks = [data[start : start + size] for start in range(0, len(data), size)]
            return self._next_block(asked[:3] + b"\x00\x00\x00\x00")
        return b"\xc4\x01" + asked[2:3] + b"\x00" + data

    def _next_block(self, asked: bytes) -> bytes:
        number = int.from_bytes(asked[3:7], "big")
        if not number < len(self._blocks):
            return b"\xc4\x01" + asked[2:3] + b"\x01\x13"  # no long GET in progress
        part, last = self._blocks[number], number + 1 == len(self._blocks)
        head = b"\xc4\x02" + asked[2:3] + bytes((last,)) + (number + 1).to_bytes(4, "big")
        return head + b"\x00" + bytes((len(part),)) + part

    def _associate(self, asked: bytes) -> bytes:
        self._associated = not self._password or self._password in asked
        if self._associated:
            return _ACCEPTED
        refused = _ACCEPTED.replace(bytes.fromhex("A203020100"), bytes.fromhex("A203020101"))
        diagnostic = bytes.fromhex("A305A1030201") + bytes((_WRONG_PASSWORD,))
        return refused.replace(bytes.fromhex("A305A103020100"), diagnostic)

    def _data(self, code: str, attribute: int) -> bytes | None:
        """Return the A-XDR of a value (2) or of its scaler and unit (3); None if there is none."""
        if attribute == 2 and code == "0-0:96.1.0":
            return b"\x09" + bytes((len(self._number),)) + self._number.encode("ascii")
        state = self._state()
        if attribute == 2 and code == "0-0:1.0.0":
            return b"\x09\x0c" + _clock(state)
        amps = round(100 * state.grid_w / state.voltage_v)
        registers = {
            "1-0:1.8.0": (int(state.import_wh), 0, 30),
            "1-0:2.8.0": (int(state.export_wh), 0, 30),
            "1-0:1.7.0": (max(0, round(state.grid_w)), 0, 27),
            "1-0:2.7.0": (max(0, -round(state.grid_w)), 0, 27),
            "1-0:32.7.0": (round(10 * state.voltage_v), -1, 35),
            "1-0:31.7.0": (amps, -2, 33),
            "1-0:14.7.0": (5000, -2, 44),
        }
        if code not in registers or attribute not in (2, 3):
            return None
        value, scaler, unit = registers[code]
        if attribute == 3:
            return struct.pack(">BBBbBB", 2, 2, 0x0F, scaler, 0x16, unit)
        return b"\x05" + struct.pack(">i", value)


def _frame(
    asked: HdlcFrame, control: int, information: bytes = b"", *, segmented: bool = False
) -> bytes:
    """Return the reply to ``asked``: the addresses change places."""
    to, sender = _addresses(asked.raw)
    head = sender + to + bytes((control,))
    size = 2 + len(head) + 2 + (len(information) + 2 if information else 0)
    body = (0xA000 | (0x0800 if segmented else 0) | size).to_bytes(2, "big") + head
    body += crc.x25(body).to_bytes(2, "little")
    if information:
        body += information
        body += crc.x25(body).to_bytes(2, "little")
    return b"\x7e" + body + b"\x7e"


def _addresses(raw: bytes) -> tuple[bytes, bytes]:
    ends = [index for index in range(3, len(raw)) if raw[index] & 1]
    return raw[3 : ends[0] + 1], raw[ends[0] + 1 : ends[1] + 1]


def _clock(state: HomeState) -> bytes:
    at = state.market
    day = struct.pack(">HBBB", at.year, at.month, at.day, at.isoweekday())
    return day + bytes((at.hour, at.minute, at.second, 0)) + b"\x00\x00\x00"
