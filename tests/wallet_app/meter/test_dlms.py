"""DLMS push lists over HDLC: frames, layouts, scalers, encryption, on lists built here."""

import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wallet_app.meter.dlms import DlmsParser, clock
from wallet_app.meter.events import Event, Frame, Problem
from wallet_app.meter.simulator.telegrams import (
    LLC,
    dlms_apdu,
    dlms_entry,
    dlms_text,
    hdlc,
    obis,
)

KEY, AUTH_KEY, TITLE = bytes(range(16)), bytes(range(16, 32)), b"LGZ\x00\x00\x00\x00\x07"
NOON = bytes.fromhex("07EA0615010C0000FF800000")
ENERGY = dlms_entry("1-0:1.8.0", 123456, 0, 30)
METER = dlms_text("0-0:96.1.0", "7359992")


def parse(data: bytes, key: bytes = b"", auth_key: bytes = b"") -> list[Event]:
    parser = DlmsParser(key, auth_key)
    return parser.feed(data) + parser.finish()


def reading(events: list[Event]) -> dict[str, str]:
    (frame,) = [e for e in events if isinstance(e, Frame) and e.kind == "data"]
    return frame.to_json()


def u32(value: int) -> bytes:
    return b"\x06" + value.to_bytes(4, "big")


def u16(value: int) -> bytes:
    return b"\x12" + value.to_bytes(2, "big")


def text(value: str) -> bytes:
    return b"\x0a" + bytes((len(value),)) + value.encode("ascii")


def flat(*items: bytes) -> bytes:
    return b"\x0f\x40\x00\x00\x00\x00\x02" + bytes((len(items),)) + b"".join(items)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([METER, ENERGY], {"meter_id": "7359992", "import_kwh": "123.456"}),
        ([dlms_entry("1-0:1.8.0", 1234, 1, 30)], {"import_kwh": "12.34"}),
        ([dlms_entry("1-0:1.7.0", 5, 0, 27), dlms_entry("1-0:2.7.0", 8, 0, 27)], {"power_w": "-3"}),
        ([dlms_entry("1-0:32.7.0", 2301, -1, 35)], {"voltage_l1_v": "230.1"}),
        ([dlms_entry("1-0:3.7.0", 5, 0, 29)], {}),
        ([dlms_entry("1-0:1.8.0", 5, 0, 27)], {}),  # energy in W
        ([b"\x02\x02" + obis("0-0:1.0.0") + b"\x09\x0c" + NOON], {"clock": "2026-06-21T12:00:00"}),
    ],
)
def test_code_value_scaler(entries: list[bytes], expected: dict[str, str]):
    assert reading(parse(hdlc(LLC + dlms_apdu(*entries)))) == expected


def test_kamstrup_list_without_scalers():
    items = [text("Kamstrup_V0001"), obis("1-1:0.0.5"), text("5706567")]
    items += [obis("1-1:1.7.0"), u32(250), obis("1-1:31.7.0"), u32(123)]
    items += [obis("1-1:32.7.0"), u16(230), obis("1-1:1.8.0"), u32(7745250)]
    expected = {"meter_id": "5706567", "power_w": "250", "current_l1_a": "1.23"}
    expected |= {"voltage_l1_v": "230", "import_kwh": "77452.5"}
    assert reading(parse(hdlc(LLC + flat(*items)))) == expected
    items[3:3] = [obis("1-1:96.1.1"), text("6851111BN")]
    assert reading(parse(hdlc(LLC + flat(*items))))["current_l1_a"] == "0.123"


def test_landis_gyr_list_without_scalers():
    items = [obis("1-0:1.8.0"), u32(4408736), obis("1-0:1.7.0"), u32(2893)]
    items += [obis("1-0:31.7.0"), u32(3)]  # its scale is not known: no value
    assert reading(parse(hdlc(LLC + flat(*items)))) == {
        "import_kwh": "4408.736",
        "power_w": "2893",
    }


def test_sagemcom_list_with_class_and_attribute():
    entry = b"\x02\x04" + u16(3) + obis("1-0:1.8.0") + b"\x0f\x02" + u32(5000)
    assert reading(parse(hdlc(LLC + dlms_apdu(entry)))) == {"import_kwh": "5"}


def test_kaifa_lists_go_by_place():
    short = flat(u32(5852))
    assert reading(parse(hdlc(LLC + short, control=0x10))) == {"power_w": "5852"}
    items = [text("KFM_001"), text("6970631"), text("MA304H3E"), u32(948), u32(0), u32(0), u32(64)]
    items += [u32(1416), u32(3241), u32(3119), u32(2385), u32(0), u32(2389)]
    hourly = [b"\x09\x0c" + NOON, u32(79591144), u32(7), u32(1), u32(2)]
    result = reading(parse(hdlc(LLC + flat(*items, *hourly))))
    assert result["meter_id"] == "6970631"
    assert result["current_l2_a"] == "3.241"
    assert result["voltage_l3_v"] == "238.9"
    assert result["import_kwh"] == "79591.144"
    assert result["export_kwh"] == "0.007"
    assert result["clock"] == "2026-06-21T12:00:00"


@pytest.mark.parametrize("when", [b"\x00", b"\x0c" + NOON, b"\x09\x0c" + NOON])
def test_date_and_time_of_the_list(when: bytes):
    result = reading(parse(hdlc(LLC + dlms_apdu(ENERGY, when=when))))
    assert result.get("clock") == ("2026-06-21T12:00:00" if len(when) > 1 else None)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        ("07EA0615010C0000FFFF8800", "2026-06-21T12:00:00+02:00"),
        ("07EA0615010C0000FF003C00", "2026-06-21T12:00:00-01:00"),
        ("07EA1101010C0000FF800000", ""),
        ("07EA", ""),
    ],
)
def test_cosem_date_time(octets: str, expected: str):
    assert clock(bytes.fromhex(octets)) == expected


def segments(apdu: bytes, size: int) -> list[bytes]:
    whole = LLC + apdu
    parts = [whole[i : i + size] for i in range(0, len(whole), size)]
    return [hdlc(part, segmented=part is not parts[-1]) for part in parts]


def test_segmented_list_and_a_lost_segment():
    apdu = dlms_apdu(METER, ENERGY)
    frames = segments(apdu, 20)
    assert len(frames) > 2
    assert reading(parse(b"".join(frames)))["import_kwh"] == "123.456"
    shared_flags = frames[0] + b"".join(frame[1:] for frame in frames[1:])
    assert reading(parse(shared_flags))["import_kwh"] == "123.456"
    lost = parse(frames[0] + b"".join(frames[2:]))
    assert not [e for e in lost if isinstance(e, Frame) and e.normalized]


def sealed(apdu: bytes, security: int) -> bytes:
    counter = b"\x00\x00\x00\x2a"
    encryptor = Cipher(algorithms.AES(KEY), modes.GCM(TITLE + counter)).encryptor()
    if security & 0x10:
        encryptor.authenticate_additional_data(bytes((security,)) + AUTH_KEY)
    body = bytes((security,)) + counter + encryptor.update(apdu) + encryptor.finalize()
    body += encryptor.tag[:12] if security & 0x10 else b""
    return b"\xdb\x08" + TITLE + b"\x82" + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize("security", [0x20, 0x30])
def test_encrypted_list(security: int):
    wire = hdlc(LLC + sealed(dlms_apdu(METER, ENERGY), security))
    assert reading(parse(wire, KEY, AUTH_KEY))["import_kwh"] == "123.456"
    assert reading(parse(wire, KEY))["import_kwh"] == "123.456"
    (problem,) = parse(wire)
    assert isinstance(problem, Problem)
    assert problem.kind == "encrypted"
    assert "grid operator" in problem.text


def test_list_played_back_is_refused():
    wire = hdlc(LLC + sealed(dlms_apdu(METER, ENERGY), 0x30))
    for auth_key in (AUTH_KEY, b""):
        assert [e.kind for e in parse(wire + wire, KEY, auth_key)] == ["data", "replay"]


def test_wrong_keys_are_told():
    wire = hdlc(LLC + sealed(dlms_apdu(ENERGY), 0x30))
    for key, auth_key in ((AUTH_KEY, b""), (KEY, KEY)):
        (problem,) = parse(wire, key, auth_key)
        assert isinstance(problem, Problem)
        assert problem.kind == "encrypted"
    with pytest.raises(ValueError, match="16 bytes"):
        DlmsParser(b"short")


def test_block_transfer_where_only_the_first_block_has_a_header():
    apdu = sealed(dlms_apdu(METER, ENERGY), 0x30)
    parts = [apdu[i : i + 30] for i in range(0, len(apdu), 30)]
    wire = b""
    for number, part in enumerate(parts, 1):
        control = 0xC0 if part is parts[-1] else 0x40
        block = b"\xe0" + struct.pack(">BHHB", control, number, 0, len(part)) + part
        wire += hdlc((LLC if number == 1 else b"") + block)
    assert reading(parse(wire, KEY, AUTH_KEY))["import_kwh"] == "123.456"


def test_wrong_sums_of_header_and_frame():
    good = hdlc(LLC + dlms_apdu(ENERGY))
    for position in (5, len(good) - 8):
        bad = bytearray(good)
        bad[position] ^= 1
        assert [e.kind for e in parse(bytes(bad) + good)][-2:] == ["checksum", "data"]


def test_frames_without_a_list():
    (frame,) = parse(
        bytes.fromhex("7ea01f21022373e6c781801205019a06019a070400000001080400000001cca27e")
    )
    assert isinstance(frame, Frame)
    assert frame.kind == "control"
    assert frame.to_json() == {}
    (frame,) = parse(hdlc(LLC + bytes.fromhex("C401C10006000004D2")))
    assert frame.kind == "other"


@pytest.mark.parametrize(
    "data",
    [
        "0F00000000",
        "0F0000000005",
        "0F0000000000" + "0101" * 40,
        "0F0000000000020109",
        "0F" * 40,
        "0F00000000000201060000000100",
    ],
)
def test_nonsense_with_right_sums_is_no_reading(data: str):
    events = parse(hdlc(LLC + bytes.fromhex(data)))
    assert [e.kind for e in events] == ["value"]


def test_impossible_scaler_gives_no_value():
    huge = b"\x02\x03" + obis("1-0:1.8.0") + u32(5) + b"\x02\x02\x05\x7f\xff\xff\xff\x16\x1e"
    other = dlms_entry("1-0:2.8.0", 1000, 0, 30)
    assert reading(parse(hdlc(LLC + dlms_apdu(huge, other)))) == {"export_kwh": "1"}


def test_a_list_whose_last_segment_was_lost_does_not_hide_the_next_one():
    apdu = LLC + dlms_apdu(METER, ENERGY)
    first, last = hdlc(apdu[:30], segmented=True), hdlc(apdu[30:])
    cut = bytearray(last)
    cut[-4] ^= 1
    events = parse(first + bytes(cut) + first + last)
    assert reading(events)["import_kwh"] == "123.456"


def described(*objects: tuple[int, str], attribute: int = 2) -> bytes:
    """Return a push object list: {class, OBIS, attribute, index} for each value."""
    rows = [
        b"\x02\x04" + u16(kind) + obis(code) + b"\x0f" + bytes((attribute,)) + u16(0)
        for kind, code in objects
    ]
    return b"\x01" + bytes((len(rows),)) + b"".join(rows)


def test_a_list_that_begins_with_what_its_values_are():
    objects = [(40, "0-0:25.9.0"), (1, "0-0:96.1.0"), (3, "1-0:1.8.0"), (3, "1-0:2.7.0")]
    number = b"\x09\x0a7359992" + bytes(3)
    values = [number, u32(1_234_560), u32(321)]
    events = parse(hdlc(LLC + flat(described(*objects), *values)))
    assert reading(events) == {"meter_id": "7359992", "import_kwh": "1234.56", "power_w": "-321"}
    # The list itself need not be one of its values.
    events = parse(hdlc(LLC + flat(described(*objects[1:]), *values)))
    assert reading(events)["import_kwh"] == "1234.56"
    # With a value missing nobody knows which: the index of an object is no reading either.
    events = parse(hdlc(LLC + flat(described(*objects), *values[:-1])))
    assert [e.kind for e in events if isinstance(e, Problem)] == ["value"]
    assert not [e for e in events if isinstance(e, Frame) and e.normalized]


def test_viennas_lists_have_no_codes_and_are_not_kaifas():
    when = b"\x09\x0c" + NOON
    energies = [u32(5_107_912), u32(7_000), u32(1_126_903), u32(566_784)]
    powers = [u32(230), u32(0), u32(88), u32(21)]
    values = reading(parse(hdlc(LLC + flat(when, *energies, *powers))))
    assert values["import_kwh"] == "5107.912"
    assert values["export_kwh"] == "7"
    assert values["power_w"] == "230"
    assert "voltage_l1_v" not in values
    # As many values, but of neither maker: they mean nothing.
    events = parse(hdlc(LLC + flat(text("OTHER_1"), *energies, *powers)))
    assert not [e for e in events if isinstance(e, Frame) and e.normalized]


def octets(value: bytes) -> bytes:
    return b"\x09" + bytes((len(value),)) + value


ISKRA = [octets(b"ISK1030771234567"), octets(b"16820005")]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (  # Iskra, powers
            [*ISKRA, u32(1393), u32(0), u32(0), u32(738), u16(2379), u16(2380), u16(2296), u16(103),
             u16(125), u16(597), u32(16), u32(51), u32(1326), u32(0), u32(0), u32(0)],
            {"power_w": "1393", "voltage_l3_v": "229.6", "current_l1_a": "1.03",
             "power_l3_w": "1326", "meter_id": "16820005"},
        ),
        (  # Iskra, energies
            [*ISKRA, b"\x16\x01", octets(b"\x00\x01"), u32(52837), u32(13593), u32(39244),
             u32(177927), u32(78615), u32(99312), u32(7), u32(8)],
            {"import_kwh": "52.837", "import_t2_kwh": "39.244", "export_t1_kwh": "78.615"},
        ),
        (  # Iskra, an older kind
            [*ISKRA, u16(2379), u16(2380), u16(2296), u16(103), u16(125), u16(597), u32(100),
             u32(400), u32(0), u32(0)],
            {"power_w": "-300", "voltage_l1_v": "237.9", "current_l3_a": "5.97"},
        ),
        (  # Iskra in Croatia
            [octets(b"92029691"), octets(bytes(4)), octets(bytes(5)), u32(7088218), u32(4945434),
             u32(2142784), u32(5742921), u32(51016), u32(1568471), *[u32(9)] * 4, u32(382), u32(0),
             u16(889), u32(127), u32(189), u32(65), u32(0), u32(0), u32(0), u16(2388), u16(2357),
             u16(2377), u16(55), u16(89), u16(77), *[u32(1)] * 5],
            {"import_kwh": "7088.218", "power_w": "382", "power_l2_w": "189",
             "current_l1_a": "0.55", "voltage_l2_v": "235.7", "meter_id": "92029691"},
        ),
        (  # Landis+Gyr in Switzerland
            [*[u16(236)] * 3, u16(0), u16(46), u16(26), u32(125), u32(0), u32(27881149), u32(7619),
             u16(400), u16(3), u16(288), octets(b"30137181")],
            {"import_kwh": "27881.149", "export_kwh": "7.619", "voltage_l1_v": "236",
             "current_l2_a": "0.46", "power_w": "125", "meter_id": "30137181"},
        ),
    ],
)  # fmt: skip
def test_lists_without_codes_go_by_their_makers_places(
    items: list[bytes], expected: dict[str, str]
):
    found = reading(parse(hdlc(LLC + flat(*items))))
    assert {key: found.get(key) for key in expected} == expected
    # Of another length they are unknown, and nothing is guessed.
    events = parse(hdlc(LLC + flat(*items, u32(1))))
    assert not [e for e in events if isinstance(e, Frame) and e.normalized]


def test_kamstrups_finer_volts():
    def kamstrup(volts: int) -> str:
        items = [text("Kamstrup_V0001"), obis("1-1:32.7.0"), u16(volts)]
        return reading(parse(hdlc(LLC + flat(*items))))["voltage_l1_v"]

    assert kamstrup(223) == "223"
    assert kamstrup(22314) == "223.14"


def test_numbers_filled_up_with_zeros():
    number = obis("0-0:96.1.0") + b"\x0a\x0c13943597" + bytes(4)
    item = b"\x02\x02" + number
    assert reading(parse(hdlc(LLC + flat(item, ENERGY))))["meter_id"] == "13943597"
