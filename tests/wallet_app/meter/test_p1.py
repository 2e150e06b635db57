"""DSMR P1: CRC rules, registers, power, identity and time of telegrams built here."""

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wallet_app.meter import crc
from wallet_app.meter.events import Event, Frame, Problem, Proof
from wallet_app.meter.p1 import P1Parser, unhex
from wallet_app.meter.simulator.telegrams import lines, p1

VERSION = "1-3:0.2.8(50)"


def parse(data: bytes) -> list[Event]:
    parser = P1Parser()
    return parser.feed(data) + parser.finish()


def reading(*data: str) -> dict[str, str]:
    (frame,) = parse(p1(*data))
    assert isinstance(frame, Frame)
    assert frame.proof is Proof.CRC
    return frame.to_json()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            ["1-0:1.8.1(000001.500*kWh)", "1-0:1.8.2(000002.250*kWh)"],
            {"import_t1_kwh": "1.5", "import_t2_kwh": "2.25", "import_kwh": "3.75"},
        ),
        (
            ["1-0:1.8.0(000009.000*kWh)", "1-0:1.8.1(000001.500*kWh)"],
            {"import_t1_kwh": "1.5", "import_kwh": "9"},
        ),
        (["1-0:1.8.1(000001.500*kWh)", "1-0:1.8.2(broken)"], {"import_t1_kwh": "1.5"}),
        (["1-0:1.8.0(001234567*Wh)"], {"import_kwh": "1234.567"}),
        (["1-0:1.7.0(00.100*kW)", "1-0:2.7.0(00.350*kW)"], {"power_w": "-250"}),
        (["1-0:1.7.0(00350*W)"], {"power_w": "350"}),
        (["1-0:21.7.0(00.1*kW)", "1-0:22.7.0(00.3*kW)"], {"power_l1_w": "-200"}),
        (["1-0:1.8.0()"], {}),
        (["1-0:15.8.0(00001.0*kWh)", "1-0:16.8.0(00001.0*kWh)"], {}),
        (["1-0:1.8.0(000009.000*kW)"], {}),
        (["0-1:24.2.1(160210200000W)(01197.484*m3)", "0-1:96.1.0(4730303332)"], {}),
        (["1-0:99.97.0(1)(0-0:96.7.19)(101208152415W)(0000000240*s)"], {}),
        (["0-0:96.1.1(4530303033)"], {"meter_id_raw": "4530303033", "meter_id": "E0003"}),
        (["0-0:96.1.1(A\x1b[2JB)"], {"meter_id_raw": "A?[2JB", "meter_id": "A?[2JB"}),
        (["0-0:42.0.0(LUX1)"], {"meter_id_raw": "LUX1", "meter_id": "LUX1"}),
        (["0-0:1.0.0(260621120000S)"], {"clock": "2026-06-21T12:00:00+02:00"}),
        (["0-0:1.0.0(260121120000W)"], {"clock": "2026-01-21T12:00:00+01:00"}),
        (["0-0:1.0.0(261740120000W)"], {}),
        (["1-0:32.7.0(230.1*V)"], {"voltage_l1_v": "230.1"}),
        (["1-0:71.7.0(002*A)"], {"current_l3_a": "2"}),
    ],
)  # fmt: skip
def test_values(data: list[str], expected: dict[str, str]):
    assert reading(VERSION, *data) == expected


def test_binary_and_latin_1_bytes_do_no_harm():
    covered = lines("/ISK5\x02M550T\xb3", "", VERSION, "1-0:1.8.0(000009.000*kWh)") + b"!"
    (frame,) = parse(covered + f"{crc.arc(covered):04X}\r\n".encode())
    assert isinstance(frame, Frame)
    assert frame.to_json() == {"import_kwh": "9"}
    assert frame.details["identification"] == "ISK5?M550T³"


def test_crc_without_leading_zeros():
    for number in range(5000):
        data = (VERSION, f"1-0:1.8.0({number:06d}.000*kWh)")
        telegram = p1(*data)
        if telegram[-6:-5] == b"0":
            digits = telegram[-6:-2].lstrip(b"0").decode()
            (frame,) = parse(p1(*data, crc_digits=digits))
            assert isinstance(frame, Frame)
            return
    pytest.fail("no telegram with a leading zero was found")


def test_other_crc_of_a_hungarian_meter():
    covered = p1(VERSION, "1-0:1.8.0(000009.000*kWh)")[:-6]
    (frame,) = parse(covered + f"{crc.x25(covered):04X}\r\n".encode())
    assert isinstance(frame, Frame)
    assert frame.proof is Proof.CRC


def test_old_versions_have_no_crc_and_are_unproven():
    (frame,) = parse(p1("1-0:1.8.1(00001.001*kWh)", crc_digits=""))
    assert isinstance(frame, Frame)
    assert frame.proof is Proof.NONE


def test_new_version_without_crc_is_no_reading():
    (problem,) = parse(p1(VERSION, "1-0:1.8.1(00001.001*kWh)", crc_digits=""))
    assert isinstance(problem, Problem)
    assert problem.kind == "framing"


def test_wrong_crc_and_the_good_telegram_behind():
    good = p1(VERSION, "1-0:1.8.0(000009.000*kWh)")
    events = parse(good.replace(b"9.000", b"8.000") + good)
    assert [e.kind for e in events] == ["checksum", "data"]


def test_lost_line_ends_break_the_crc():
    telegram = p1(VERSION, "1-0:1.8.0(000009.000*kWh)").replace(b"\r\n1", b"\n1")
    assert [e.kind for e in parse(telegram)] == ["checksum"]


def test_endless_text_is_given_up():
    parser = P1Parser()
    events: list[Event] = []
    for _ in range(40):
        events += parser.feed(b"/XMX5" + b"a" * 1000)
        assert parser.pending <= 16_384
    assert {e.kind for e in events} == {"incomplete"}


@pytest.mark.parametrize(
    ("text", "expected"), [("4530", "E0"), ("12345678", "12345678"), ("E003", "E003"), ("", "")]
)
def test_unhex(text: str, expected: str):
    assert unhex(text) == expected


KEY, AUTH_KEY, TITLE = bytes(range(16)), bytes(range(16, 32)), b"SAG\x00\x00\x00\x00\x07"
TELEGRAM = p1(VERSION, "1-0:1.8.0(000009.000*kWh)")


def sealed(plain: bytes, counter: int = 42, security: int = 0x30) -> bytes:
    number = counter.to_bytes(4, "big")
    encryptor = Cipher(algorithms.AES(KEY), modes.GCM(TITLE + number)).encryptor()
    encryptor.authenticate_additional_data(bytes((security,)) + AUTH_KEY)
    body = bytes((security,)) + number + encryptor.update(plain) + encryptor.finalize()
    body += encryptor.tag[:12]
    return b"\xdb\x08" + TITLE + b"\x82" + len(body).to_bytes(2, "big") + body


def parse_sealed(data: bytes, key: bytes = KEY, auth_key: bytes = AUTH_KEY) -> list[Event]:
    parser = P1Parser(key, auth_key)
    return parser.feed(data) + parser.finish()


@pytest.mark.parametrize("auth_key", [AUTH_KEY, b""])
def test_ciphered_telegram(auth_key: bytes):
    wire = sealed(TELEGRAM)
    (frame,) = parse_sealed(b"noise" + wire + b"noise", auth_key=auth_key)
    assert isinstance(frame, Frame)
    assert (frame.at, frame.raw) == (5, wire)
    assert frame.to_json() == {"import_kwh": "9"}


def test_ciphered_telegram_byte_by_byte():
    parser = P1Parser(KEY, AUTH_KEY)
    wire = sealed(TELEGRAM) + sealed(TELEGRAM, 43)
    events = [event for byte in wire for event in parser.feed(bytes((byte,)))]
    assert events == parse_sealed(wire)
    assert [e.kind for e in events] == ["data", "data"]


@pytest.mark.parametrize(
    ("data", "key", "kind"),
    [
        (sealed(TELEGRAM), b"", "encrypted"),
        (sealed(TELEGRAM), AUTH_KEY, "encrypted"),
        (sealed(TELEGRAM)[:-20], KEY, "incomplete"),
        (sealed(TELEGRAM.replace(b"9.000", b"8.000")), KEY, "checksum"),
        (sealed(b"short"), KEY, "encrypted"),
    ],
)
def test_ciphered_telegrams_that_cannot_be_read(data: bytes, key: bytes, kind: str):
    (problem,) = parse_sealed(data, key)
    assert isinstance(problem, Problem)
    assert problem.kind == kind


def test_altered_or_repeated_ciphered_telegram():
    altered = bytearray(sealed(TELEGRAM))
    altered[40] ^= 1
    assert [e.kind for e in parse_sealed(bytes(altered))] == ["encrypted"]
    assert [e.kind for e in parse_sealed(sealed(TELEGRAM) * 2)] == ["data", "replay"]


def test_input_may_end_behind_the_crc():
    whole = p1(VERSION, "1-0:1.8.0(000009.000*kWh)")
    (frame,) = parse(whole[:-2])
    assert isinstance(frame, Frame)
    assert frame.proof is Proof.CRC
    for end in range(3, 7):
        assert not [e for e in parse(whole[:-end]) if isinstance(e, Frame)]


@pytest.mark.parametrize(
    "damaged",
    [
        ["1-0:1.8.2(00001.500*kWh"],
        ["1-0:1.8.2(00001.500*kWh)x"],
        ["1-0:1.8.2(00001.500*kWh)", "1-0:1.8.2(00002.500*kWh)"],
        ["1-0:1.8.2(0001.500*kWh)"],  # a digit was lost: all of a kind have as many
        ["1-0:1.8.2(00001.500*kWh)", "1-0:2.8.2(00001.500*kWh)"],  # where is 2.8.1?
    ],
)
def test_without_crc_every_line_must_be_whole(damaged: list[str]):
    good = ["1-0:1.8.1(00002.000*kWh)", "0-1:24.3.0(120517020000)(08)(60)(1)(0-1:24.2.1)(m3)"]
    good.append("(00124.477)")
    (frame,) = parse(p1(*good, crc_digits=""))
    assert isinstance(frame, Frame)
    assert frame.proof is Proof.NONE
    events = parse(p1(*damaged, *good, crc_digits="") + p1(*good, crc_digits=""))
    found = [e.to_json() for e in events if isinstance(e, Frame)]
    assert found == [frame.to_json()]
    assert [e.kind for e in events if isinstance(e, Problem)] == ["framing"]
