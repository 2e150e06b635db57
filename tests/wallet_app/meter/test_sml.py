"""SML: transport, values and the makers' peculiarities, on files built here."""

from decimal import Decimal

import pytest

from wallet_app.meter import crc
from wallet_app.meter.events import Event, Frame, Problem
from wallet_app.meter.simulator.telegrams import (
    ABSENT,
    sml,
    sml_entry,
    sml_integer,
    sml_list,
    sml_octets,
)
from wallet_app.meter.sml import SmlParser

SERVER = "0a0149534b0004325ec5"
ENERGY = sml_entry("1-0:1.8.0", sml_integer(123456, 5), 30, -1)


def parse(data: bytes) -> list[Event]:
    parser = SmlParser()
    events = parser.feed(data) + parser.finish()
    assert parser.pending == 0
    return events


def reading(*entries: bytes, server: bytes = bytes.fromhex(SERVER)) -> dict[str, str]:
    (frame,) = parse(sml(*entries, server=server))
    assert isinstance(frame, Frame)
    texts = frame.to_json()
    assert texts.pop("server_id_hex") == server.hex()
    return texts


def power(value: int, size: int, scaler: int = 0) -> bytes:
    return sml_entry("1-0:16.7.0", sml_integer(value, size), 27, scaler)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([ENERGY], {"import_kwh": "12.3456"}),
        ([sml_entry("1-0:2.8.0", sml_integer(5, 1, signed=False), 30)], {"export_kwh": "0.005"}),
        (
            [sml_entry(f"1-0:1.8.{n}", sml_integer(1000 * n, 4), 30) for n in (1, 2)],
            {"import_t1_kwh": "1", "import_t2_kwh": "2", "import_kwh": "3"},
        ),
        ([power(-300, 3)], {"power_w": "-300"}),
        ([power(-30012, 4, -2)], {"power_w": "-300.12"}),
        ([sml_entry("1-0:1.7.0", sml_integer(7, 1), 27)], {"power_w": "7"}),
        ([sml_entry("1-0:1.7.1", sml_integer(-7, 1), 27)], {"power_w": "-7"}),
        ([sml_entry("1-0:36.7.0", sml_integer(7, 8), 27)], {"power_l1_w": "7"}),
        ([sml_entry("1-0:32.7.0", sml_integer(2301, 2), 35, -1)], {"voltage_l1_v": "230.1"}),
        ([sml_entry("1-0:14.7.0", sml_integer(500, 2), 44, -1)], {"frequency_hz": "50"}),
        ([sml_entry("1-0:1.8.0", ABSENT, 30, -1), power(5, 2)], {"power_w": "5"}),
        ([sml_entry("1-0:1.8.0", sml_octets(b"odd"), 30), power(5, 2)], {"power_w": "5"}),
        ([sml_entry("1-0:1.8.0", sml_integer(5, 2)), power(5, 2)], {"power_w": "5"}),  # no unit
        ([sml_entry("1-0:1.8.0", sml_integer(5, 2), 27)], {}),  # energy in W
        ([sml_octets(b"stray"), ENERGY], {"import_kwh": "12.3456"}),
    ],
)
def test_values(entries: list[bytes], expected: dict[str, str]):
    assert reading(*entries) == expected


def test_power_without_sign_takes_it_from_the_status_word():
    size = sml_entry("1-0:15.7.0", sml_integer(1371, 4), 27, -1)
    for status, expected in ((0x182, "137.1"), (0x1B0, "-137.1")):
        word = sml_integer(status, 4, signed=False)
        energy = sml_entry("1-0:1.8.0", sml_integer(1, 5), 30, -1, status=word)
        assert reading(energy, size)["power_w"] == expected
    assert "power_w" not in reading(ENERGY, size)


@pytest.mark.parametrize(
    ("serial", "size", "value", "expected"),
    [
        (42_082_910, 2, 0x8025 - 0x10000, "328.05"),  # the fault: positive, sent as negative
        (55_000_000, 3, -1, "167772.15"),
        (42_082_910, 4, -32731, "-327.31"),  # real negatives come in four bytes
        (60_694_612, 2, -32731, "-327.31"),  # a meter without the fault
    ],
)
def test_dzg_meters_that_send_positive_power_as_negative(
    serial: int, size: int, value: int, expected: str
):
    server = b"\x0a\x01DZG\x00" + serial.to_bytes(4, "big")
    assert reading(power(value, size, -2), server=server)["power_w"] == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x040104, {"power_w": "328.05", "power_l1_w": "507"}),  # drawn, and drawn on phase 1
        (0x1C1904, {"power_w": "-327.31", "power_l1_w": "-148.36"}),  # fed in, and so is phase 1
        (0x1C6904, {"power_w": "-327.31", "power_l1_w": "507"}),  # phases 2 and 3 feed in
    ],
)
def test_dzg_meters_say_in_the_status_word_which_way_power_flows(
    status: int, expected: dict[str, str]
):
    word = sml_integer(status, 4, signed=False)
    energy = sml_entry("1-0:1.8.0", sml_integer(1, 5), 30, -1, status=word)
    phase = sml_entry("1-0:36.7.0", sml_integer(0xC60C - 0x10000, 2), 27, -2)
    server = b"\x0a\x01DZG\x00" + (50_071_463).to_bytes(4, "big")
    found = reading(energy, power(-32731, 2, -2), phase, server=server)
    assert {key: found[key] for key in expected} == expected


def test_escape_inside_the_payload():
    for octets in (b"\x1b" * 4, b"\x1b" * 4 + b"\x01" * 4, b"\x1b" * 5 + b"\x1a", b"\x1b" * 12):
        for shift in range(4):
            filler = sml_entry("1-0:96.1.1", sml_octets(b"x" * (shift + 1)))
            (frame,) = parse(sml(filler, sml_entry("1-0:96.1.2", sml_octets(octets)), ENERGY))
            assert isinstance(frame, Frame)
            assert frame.to_json()["import_kwh"] == "12.3456"


def test_kermit_crc_of_a_holley_meter():
    covered = sml(ENERGY)[:-2]
    (frame,) = parse(covered + crc.kermit(covered).to_bytes(2, "big"))
    assert isinstance(frame, Frame)
    assert frame.normalized


def test_wrong_crc_and_the_good_file_behind():
    bad = bytearray(sml(ENERGY))
    bad[40] ^= 1
    assert [e.kind for e in parse(bytes(bad) + sml(ENERGY))] == ["checksum", "data"]


def test_lost_end_and_the_next_file():
    events = parse(sml(ENERGY)[:-10] + sml(ENERGY))
    assert [e.kind for e in events] == ["incomplete", "data"]


@pytest.mark.parametrize("payload", ["73", "77FFFF", "BF", "8F8F8F8F8F", "7F" * 20, "52", "30"])
def test_nonsense_with_a_right_crc_is_no_reading(payload: str):
    inner = bytes.fromhex(payload)
    pad = -len(inner) % 4
    covered = b"\x1b" * 4 + b"\x01" * 4 + inner + bytes(pad) + b"\x1b" * 4 + bytes((0x1A, pad))
    events = parse(covered + crc.x25(covered).to_bytes(2, "little"))
    assert not [e for e in events if isinstance(e, Frame) and (e.normalized or e.texts)]


def test_endless_file_is_given_up():
    parser = SmlParser()
    events = parser.feed(b"\x1b" * 4 + b"\x01" * 4)
    for _ in range(20):
        events += parser.feed(bytes(1000))
        assert parser.pending <= 8192
    assert [e.kind for e in events] == ["incomplete"]
    assert isinstance(events[0], Problem)


def test_impossible_scaler_gives_no_value():
    huge = sml_list(
        sml_octets(b"\x01\x00\x01\x08\x00\xff"),
        ABSENT,
        ABSENT,
        sml_integer(30, 1, signed=False),
        sml_integer(-(1 << 62), 8),
        sml_integer(12345, 5),
        ABSENT,
    )
    (frame,) = parse(sml(huge, sml_entry("1-0:2.8.0", sml_integer(1000, 5), 30, 0)))
    assert isinstance(frame, Frame)
    assert frame.normalized == {"export_kwh": Decimal(1)}
