"""Push lists in M-Bus frames (Austria): sums, segments, encryption, noise."""

from decimal import Decimal

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wallet_app.meter.dlms import DlmsParser
from wallet_app.meter.events import Event, Frame, Problem, Proof
from wallet_app.meter.simulator.telegrams import LLC, dlms_apdu, dlms_entry, hdlc, mbus, mbus_list

KEY, TITLE = bytes(range(16)), b"KFM\x67\x50\x00\x00\x09"
APDU = dlms_apdu(*(dlms_entry(f"1-0:{c}.8.0", 1000 * c, 0, 30) for c in (1, 2)))


def parse(data: bytes, key: bytes = b"") -> list[Event]:
    parser = DlmsParser(key)
    return parser.feed(data) + parser.finish()


def readings(events: list[Event]) -> list[dict[str, str]]:
    return [e.to_json() for e in events if isinstance(e, Frame) and e.normalized]


def kinds(events: list[Event]) -> list[str]:
    return [e.kind for e in events if isinstance(e, Problem)]


EXPECTED = {"import_kwh": "1", "export_kwh": "2"}


def test_one_frame():
    (frame,) = parse(mbus(APDU))
    assert isinstance(frame, Frame)
    assert frame.normalized == {"import_kwh": Decimal(1), "export_kwh": Decimal(2)}
    assert frame.proof is Proof.BCC  # a sum of eight bits is no CRC


@pytest.mark.parametrize("size", [1, 7, 30, 245])
def test_segments_are_joined(size: int):
    wire = mbus_list(APDU, size) if len(APDU) <= 16 * size else mbus_list(APDU, 10)
    assert readings(parse(wire)) == [EXPECTED]
    assert readings(parse(wire + wire)) == [EXPECTED, EXPECTED]


def test_ciphered_list():
    counter = (35).to_bytes(4, "big")
    cipher = Cipher(algorithms.AES(KEY), modes.CTR(TITLE + counter + b"\x00\x00\x00\x02"))
    text = cipher.encryptor().update(APDU)
    body = b"\x20" + counter + text
    wire = mbus_list(b"\xdb\x08" + TITLE + bytes((0x81, len(body))) + body, 30)
    assert readings(parse(wire, KEY)) == [EXPECTED]
    assert kinds(parse(wire)) == ["encrypted"]
    assert kinds(parse(wire, bytes(16))) == ["encrypted"]


def test_a_lost_segment_gives_no_reading():
    first, second, third = (mbus(APDU[20 * n : 20 * n + 20], n, last=n == 2) for n in range(3))
    assert kinds(parse(first + third)) == ["fragment"]
    assert kinds(parse(second + third)) == ["fragment", "fragment"]
    assert readings(parse(first + third + mbus_list(APDU, 20))) == [EXPECTED]


def test_every_flipped_bit_gives_the_value_or_none():
    wire = mbus_list(APDU, 40)
    for bit in range(8 * len(wire)):
        damaged = bytearray(wire)
        damaged[bit // 8] ^= 1 << bit % 8
        events = parse(bytes(damaged))
        assert readings(events) in ([], [EXPECTED])
        assert readings(parse(bytes(damaged) + wire))[-1:] == [EXPECTED]


@pytest.mark.parametrize("noise", [b"\x68", b"\x68\x10\x10", b"\x68\x20\x20\x68\x53", b"\x7e\xa0"])
def test_found_behind_noise_that_looks_like_a_start(noise: bytes):
    assert readings(parse(noise + mbus(APDU))) == [EXPECTED]


def test_hdlc_and_mbus_on_one_line():
    wire = hdlc(LLC + APDU) + mbus(APDU) + hdlc(LLC + APDU)
    assert readings(parse(wire)) == [EXPECTED] * 3


def test_damaged_frames_are_named():
    wire = mbus(APDU)
    assert kinds(parse(wire[:-2] + bytes((wire[-2] ^ 1,)) + wire[-1:])) == ["checksum"]
    assert kinds(parse(wire[:-1] + b"\x17")) == ["framing"]
    assert kinds(parse(wire[:-5])) == ["incomplete"]


def test_a_list_that_stops_is_named():
    assert kinds(parse(mbus(APDU[:20], last=False))) == ["incomplete"]
    assert kinds(parse(hdlc(LLC + APDU[:20], segmented=True))) == ["incomplete"]
