"""Inputs for fuzzing the meter parsers: good telegrams, damaged on the wire or inside their sums.

A mutation on the wire mostly ends at the check sum; so half of the inputs are mutated before the
sums are computed, and reach what lies behind them.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wallet_app.meter import crc, dlms_get, dlt645, dlt698, modbus
from wallet_app.meter.dlms import DlmsParser
from wallet_app.meter.events import Event, StreamParser
from wallet_app.meter.iec62056 import Iec62056Parser
from wallet_app.meter.p1 import P1Parser
from wallet_app.meter.simulator import telegrams
from wallet_app.meter.sml import SmlParser

METER = "123456789012"
KEY = bytes(range(16))
MOST_PENDING = 17_000
_LONGEST = 4000
_TELLING = b"\x00\x01\x02\x03\x06\x09\x10\x16\x1a\x1b\x2f\x21\x68\x7e\x7f\x80\xa0\xfe\xff\n()*"
_SML_START = telegrams.sml()[:8]
_MESSAGE = telegrams.sml(telegrams.sml_entry("1-0:1.8.0", telegrams.sml_integer(12345, 5), 30, -1))


@dataclass(frozen=True, slots=True)
class Target:
    """How to fuzz one parser: a new one, good payloads, and how each is put on the wire."""

    parser: Callable[[], StreamParser]
    payloads: Sequence[bytes]
    wraps: Sequence[Callable[[bytes], bytes]]

    def wires(self) -> list[bytes]:
        """Return every payload in every wrapping."""
        return [wrap(payload) for payload in self.payloads for wrap in self.wraps]


def _sml(payload: bytes) -> bytes:
    pad = -len(payload) % 4
    covered = _SML_START + payload + bytes(pad) + b"\x1b" * 4 + bytes((0x1A, pad))
    return covered + crc.x25(covered).to_bytes(2, "little")


def _p1(text: bytes) -> bytes:
    covered = b"/XMX5LGBBFFB\r\n\r\n" + text + b"!"
    return covered + f"{crc.arc(covered):04X}\r\n".encode("ascii")


def _d0(text: bytes) -> bytes:
    check = 0
    for byte in text + b"\x03":
        check ^= byte
    return b"/XMP5\\2METER\r\n\x02" + text + bytes((0x03, check & 0x7F))


def _modbus(body: bytes) -> bytes:
    return body + crc.modbus(body).to_bytes(2, "little")


def _fragments(apdu: bytes) -> bytes:
    middle = len(apdu) // 2
    parts = (b"\x00\x00" + apdu[:middle], b"\x01\x40" + apdu[middle:])
    return b"".join(dlt698.encode(METER, 0xE3, part) for part in parts)


def _dlms(apdu: bytes) -> bytes:
    return telegrams.hdlc((telegrams.LLC + apdu)[:2000])


def _segmented(apdu: bytes) -> bytes:
    information = (telegrams.LLC + apdu)[:2000]
    first, rest = information[:40], information[40:]
    return telegrams.hdlc(first, segmented=True) + telegrams.hdlc(rest)


def _question() -> bytes:
    return dlms_get.Station().frame(0x10, dlms_get.get_request("1-0:1.8.0", 3, 1))


_LINES = telegrams.lines(
    "0-0:96.1.1(4530)", "1-0:1.8.1(000756.849*kWh)", "1-0:1.7.0(00.111*kW)", "0-1:24.1.0(003)"
)
_PUSH = telegrams.dlms_apdu(
    telegrams.dlms_text("0-0:96.1.0", METER),
    telegrams.dlms_entry("1-0:1.8.0", 12345, 1, 30),
    telegrams.dlms_entry("1-0:2.7.0", 5, 0, 27),
)
# Lists without codes: with their description in front, and by the places of a maker.
_DESCRIBED = bytes.fromhex(
    "0F0000000100 0203 0103 0204 120028 09060000190900FF 0F02 120000"
    "0204 120001 09060000600100FF 0F02 120000 0204 120003 09060100010800FF 0F02 120000"
    "0908 3132333435363738 0600003039"
)
_BY_PLACE = bytes.fromhex(
    "0F0000000100 020C 0910 49534B31303330373731323334353637 0908 3136383230303035 1601 09020001"
    "060000CE65 0600003519 060000994C 060002B707 0600013317 06000183F0 060001A56A 060000A8F5"
)
_REQUEST = modbus.Request(1, 3, 0x0A, 12)
TARGETS: dict[str, Target] = {
    "dlt645": Target(
        dlt645.Dlt645Parser,
        [bytes.fromhex(text) for text in ("0000010056341200", "00FF010056341200", "00FF0302" * 4)],
        [
            lambda data: dlt645.encode(METER, 0x91, data[:200]),
            lambda data: dlt645.encode(METER, 0x81, b"\x1f\x90" + data[:200]),
            lambda data: b"\xfe\xfe" + dlt645.encode(METER, 0xD1, data[:200]),
        ],
    ),
    "dlt698": Target(
        dlt698.Dlt698Parser,
        [
            bytes.fromhex("85010000100201010206000000640600000032" + "0000"),
            bytes.fromhex("850200022004020001020500000064050000003220000200010112 08ED0000"),
            bytes.fromhex("9000 0F 8501004000020001 1C07EA0615010C00 0000"),
        ],
        [
            lambda apdu: dlt698.encode(METER, 0xC3, apdu),
            lambda apdu: dlt698.encode(METER, 0xCB, apdu),
            _fragments,
        ],
    ),
    "iec62056_21": Target(
        Iec62056Parser,
        [telegrams.lines("0.0.0(1)", "0.9.1(120000)", "1.8.0(1.5*kWh)", "1.8.1*01(2)", "!")],
        [_d0, lambda text: b"/ESY5Q3D\r\n\r\n" + text, lambda text: b"\x7f/ISk5\x02MT\r\n" + text],
    ),
    "dsmr_p1": Target(
        lambda: P1Parser(KEY),
        [_LINES],
        [_p1, lambda text: b"/ISk5\\2MT382\r\n\r\n" + text + b"!\r\n"],
    ),
    "sml": Target(SmlParser, [_MESSAGE[8:-8]], [_sml]),
    "dlms": Target(
        lambda: DlmsParser(KEY),
        [
            _PUSH,
            _DESCRIBED,
            _BY_PLACE,
            bytes.fromhex("C401C10002020F01161E"),
            bytes.fromhex("C402C10100000001000206 00"),
        ],
        [
            _dlms,
            _segmented,
            lambda apdu: telegrams.mbus_list(apdu[:2000], 150),
            lambda apdu: _question() + _dlms(apdu),
            lambda apdu: _dlms(b"\xe0\x80\x00\x01\x00\x00" + bytes((len(apdu) & 0x7F,)) + apdu),
        ],
    ),
    "modbus_rtu": Target(
        lambda: modbus.ModbusParser(_REQUEST, modbus.profile("adl400"), tell_others=True),
        [telegrams.modbus_reply(1, 3, range(12))[:-2], _REQUEST.encode()[:-2], b"\x01\x83\x02"],
        [_modbus, lambda body: _REQUEST.encode() + _modbus(body)],
    ),
}


def mutate(pick: random.Random, data: bytes) -> bytes:
    """Return ``data`` with one to four bits, bytes or pieces changed."""
    result = bytearray(data)
    draw = pick.random
    for _ in range(1 + int(4 * draw())):
        at, kind = int(draw() * (len(result) + 1)), int(7 * draw())
        if kind == 0 and at < len(result):
            result[at] ^= 1 << int(8 * draw())
        elif kind == 1:
            del result[at : at + 1 + int(8 * draw())]
        elif kind == 2:
            result[at:at] = pick.randbytes(1 + int(8 * draw()))
        elif kind == 3:
            result[at:at] = data[: int(draw() * len(data))]
        elif kind == 4 and at < len(result):
            result[at] = _TELLING[int(draw() * len(_TELLING))]
        elif kind == 5 and at < len(result):
            result[at] = int(256 * draw())
        else:
            size = int(16 * draw())
            start = int(draw() * len(data))
            result[at : at + size] = data[start : start + size]
    return bytes(result[:_LONGEST])


def make_input(pick: random.Random, target: Target) -> bytes:
    """Return one damaged input: the wire mutated, or the payload before its sums."""
    draw = pick.random
    payload = target.payloads[int(draw() * len(target.payloads))]
    wrap = target.wraps[int(draw() * len(target.wraps))]
    way = draw()
    if way < 0.5:
        return wrap(mutate(pick, payload))
    if way < 0.9:
        return mutate(pick, wrap(payload))
    return wrap(mutate(pick, payload)) + mutate(pick, wrap(payload))


def run(parser: StreamParser, data: bytes, step: int) -> list[Event]:
    """Feed ``data`` in pieces of ``step`` bytes to the end; check the bound on what is held."""
    events: list[Event] = []
    for start in range(0, len(data), step):
        events += parser.feed(data[start : start + step])
        check_held(parser)
    return events + parser.finish()


def check_held(parser: StreamParser) -> None:
    """Fail if the parser holds more than any telegram needs."""
    if parser.pending > MOST_PENDING:
        raise AssertionError(f"{parser.pending} bytes pending")
