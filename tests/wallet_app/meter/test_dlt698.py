"""DL/T 698.45: GET replies matched by object, errors item by item, nothing but reading."""

import pytest

from wallet_app.meter import crc, dlt698
from wallet_app.meter.dlt698 import Dlt698Parser, encode
from wallet_app.meter.events import Event, Frame, Problem

METER = "123456789012"
ENERGIES = "001002000101030600000064060000003C0600000028"


def parse(data: bytes) -> list[Event]:
    parser = Dlt698Parser()
    events = parser.feed(data) + parser.finish()
    assert parser.pending == 0
    return events


def reply(apdu: str, control: int = 0xC3) -> list[Event]:
    return parse(encode(METER, control, bytes.fromhex(apdu)))


def reading(events: list[Event]) -> dict[str, str]:
    (frame,) = [e for e in events if isinstance(e, Frame)]
    return frame.to_json()


def test_wildcard_request_is_that_of_the_document():
    wire = "6817004345AAAAAAAAAAAA005B4F0501004001020000ED0316"
    assert dlt698.get_request("", [dlt698.ADDRESS]) == b"\xfe" * 4 + bytes.fromhex(wire)


def test_list_request_is_that_of_the_document():
    wire = "682400430501000000000000DB8B050200040010020000200200200402002000020000698016"
    objects = [dlt698.IMPORT, dlt698.EXPORT, dlt698.POWER, dlt698.VOLTAGE]
    request = dlt698.get_request("1", objects)
    assert request == b"\xfe" * 4 + bytes.fromhex(wire)
    assert dlt698.wanted(request) == (
        "000000000001",
        frozenset(("00100200", "00200200", "20040200", "20000200")),
    )


@pytest.mark.parametrize("objects", [[], [0x80000200], [0x40000200, 0x43000100]])
def test_nothing_but_the_list_can_be_requested(objects: list[int]):
    with pytest.raises(ValueError, match="on the list"):
        dlt698.get_request(METER, objects)


def test_energies_with_tariffs():
    assert reading(reply("850100" + ENERGIES + "0000")) == {
        "meter_id": METER,
        "import_kwh": "1",
        "import_t1_kwh": "0.6",
        "import_t2_kwh": "0.4",
    }


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("00100201" "01" "0600000064", {"import_kwh": "1"}),
        ("00200204" "01" "0600000064", {"export_t3_kwh": "1"}),
        ("00100400" "01" "0101" "15000000000001E240", {"import_kwh": "12.3456"}),
        ("20040200" "01" "0104" "05FFFFFF9C" "05FFFFFFCE" "0500000000" "0500000000",
         {"power_w": "-10", "power_l1_w": "-5", "power_l2_w": "0", "power_l3_w": "0"}),
        ("20010200" "01" "0103" "0500000FA0" "00" "00", {"current_l1_a": "4"}),
        ("200A0200" "01" "0101" "1003E7", {"power_factor": "0.999"}),
        ("200F0200" "01" "12138C", {"frequency_hz": "50.04"}),
        ("00100200" "01" "0101" "06FFFFFFFF", {}),
        ("00110200" "01" "0101" "0600000064", {}),
        ("40000200" "01" "1C07EA060F0A0B0C", {"clock": "2026-06-15T10:11:12"}),
        ("40000200" "01" "1C07E211280A0B0C", {}),  # the 40th of the 17th month
    ],
)  # fmt: skip
def test_objects(item: str, expected: dict[str, str]):
    assert reading(reply("850100" + item + "0000")) == {"meter_id": METER, **expected}


def test_one_refused_item_does_not_spoil_the_others():
    events = reply("85020003" + ENERGIES + "002002000004" + "200F02000112138C0000")
    assert reading(events)["import_kwh"] == "1"
    assert reading(events)["frequency_hz"] == "50.04"
    (problem,) = [e for e in events if isinstance(e, Problem)]
    assert problem.kind == "error_reply"
    assert "no such object" in problem.text


def test_everything_refused_is_no_reading():
    events = reply("8501000010020000030000")
    assert reading(events) == {}
    assert [e.kind for e in events] == ["error", "error_reply"]


def test_secured_reply_is_read_and_an_encrypted_one_named():
    plain = bytes.fromhex("850100" + ENERGIES + "0000")
    secured = "9000" + bytes((len(plain),)).hex() + plain.hex() + "0100041234567801020304"
    assert reading(reply(secured))["import_kwh"] == "1"
    assert [e.kind for e in reply("90010401020304")][-1] == "encrypted"


def test_scrambled_reply():
    plain = bytes.fromhex("850100" + ENERGIES + "0000")
    events = parse(encode(METER, 0xCB, bytes((b + 0x33) & 0xFF for b in plain)))
    assert reading(events)["import_kwh"] == "1"


def test_fragment_and_login_are_no_readings():
    assert reply("0000" + "850100", control=0xE3)[-1].kind == "fragment"
    (login,) = parse(encode(METER, 0x81, bytes.fromhex("010000B4")))
    assert login.kind == "link"


@pytest.mark.parametrize(
    "apdu",
    [
        "850100001002000101060600000064",  # six promised, one there
        "85010000100200017F",  # a type that does not exist
        "8501000010020005",
        "8501",
        "8501000010020001" + "0101" * 40,
        "85010000100200010983FFFFFF",
    ],
)
def test_what_is_no_reply_gives_a_problem_and_no_value(apdu: str):
    events = reply(apdu)
    assert not [e for e in events if isinstance(e, Frame) and e.normalized]
    assert [e.kind for e in events if isinstance(e, Problem)] == ["value"]


def test_two_end_bytes_and_wake_up_bytes():
    wire = encode(METER, 0xC3, bytes.fromhex("850100" + ENERGIES + "0000"))
    assert reading(parse(b"\xfe" * 4 + wire + b"\x16")) == reading(parse(wire))


def test_bad_header_is_told_before_the_whole_length_is_there():
    wire = bytearray(encode(METER, 0xC3, bytes(500)))
    wire[6] ^= 1
    parser = Dlt698Parser()
    (problem,) = parser.feed(bytes(wire[:40]))
    assert isinstance(problem, Problem)
    assert problem.kind == "checksum"


def test_reply_is_checked_against_the_request():
    (frame,) = reply("850100" + ENERGIES + "0000")
    assert isinstance(frame, Frame)
    assert dlt698.check_reply(frame, METER, frozenset(("00100200",))) is None
    other = dlt698.check_reply(frame, "1")
    assert other is not None
    assert other.kind == "other_meter"
    other = dlt698.check_reply(frame, METER, frozenset(("00200200",)))
    assert other is not None
    assert other.kind == "other_identifier"
    with pytest.raises(ValueError, match="no DL/T 698"):
        dlt698.wanted(frame.raw)


def fragments(apdu: bytes, size: int, *, control: int = 0xE3, first: int = 0) -> list[bytes]:
    """Return the frames of an APDU that is sent in pieces of ``size`` bytes."""
    parts = [apdu[start : start + size] for start in range(0, len(apdu), size)]
    places = [0, *[3] * (len(parts) - 2), 1]
    frames = []
    for number, (part, place) in enumerate(zip(parts, places, strict=True), first):
        data = (number & 0x0FFF | place << 14).to_bytes(2, "little") + part
        if control & 0x08:
            data = bytes((byte + 0x33) & 0xFF for byte in data)
        frames.append(encode(METER, control, data))
    return frames


LONG = bytes.fromhex("850100" + ENERGIES + "0000")
WHOLE = {"meter_id": METER, "import_kwh": "1", "import_t1_kwh": "0.6", "import_t2_kwh": "0.4"}


def readings(events: list[Event]) -> list[dict[str, str]]:
    return [e.to_json() for e in events if isinstance(e, Frame) and e.normalized]


@pytest.mark.parametrize("size", [1, 5, 13])
@pytest.mark.parametrize("control", [0xE3, 0xEB])
@pytest.mark.parametrize("first", [0, 4094])
def test_fragments_are_joined(size: int, control: int, first: int):
    parts = fragments(LONG, size, control=control, first=first)
    events = parse(b"\xfe\xfe".join(parts))
    assert readings(events) == [WHOLE]
    assert not [e for e in events if isinstance(e, Problem)]
    frame = events[-1]
    assert isinstance(frame, Frame)
    assert frame.raw == b"".join(parts)


def test_a_fragment_sent_twice_counts_once():
    parts = fragments(LONG, 9)
    asked = dlt698.acknowledge_fragment(METER, 0)
    assert readings(parse(parts[0] + asked + parts[0] + b"".join(parts[1:]))) == [WHOLE]


def test_a_lost_fragment_gives_no_reading():
    parts = fragments(LONG, 6)
    assert len(parts) > 3
    for missing in range(len(parts)):
        events = parse(b"".join(part for n, part in enumerate(parts) if n != missing))
        assert readings(events) == []
    events = parse(parts[0] + parts[2] + b"".join(parts))
    assert [e.kind for e in events if isinstance(e, Problem)] == ["fragment"]
    assert readings(events) == [WHOLE]


def test_a_reply_that_stops_is_named():
    parts = fragments(LONG, 9)
    events = parse(b"".join(parts[:-1]))
    assert readings(events) == []
    (problem,) = (e for e in events if isinstance(e, Problem))
    assert (problem.kind, problem.raw) == ("fragment", b"".join(parts[:-1]))


def test_fragments_of_two_meters_are_not_mixed():
    parts = fragments(LONG, 20)
    other = encode("2", 0xE3, b"\x01\x40" + LONG[20:])
    assert readings(parse(parts[0] + other)) == []


def test_part_of_a_long_list():
    apdu = "850500" + "01" + "0001" + "01" + "01" + ENERGIES + "0000"
    assert readings(reply(apdu)) == [WHOLE]
    assert [e.kind for e in reply("850500" + "01" + "0001" + "00" + "03" + "0000")] == [
        "error",
        "error_reply",
    ]


def test_extended_logical_address_is_no_part_of_the_number():
    wire = bytearray(encode(METER, 0xC3, LONG)[1:-3])
    wire[3:4] = b"\x26\x01"  # seven bytes, the first of them logical
    wire[0] += 1
    wire[12:14] = crc.x25(wire[:12]).to_bytes(2, "little")
    wire += crc.x25(wire).to_bytes(2, "little")
    assert readings(parse(b"\x68" + bytes(wire) + b"\x16")) == [WHOLE]


def test_a_register_below_zero_is_none():
    apdu = (
        "850100" + "00100400" + "01" + "0102" + "14" + "FF" * 8 + "14" + "00000000000F4240" + "0000"
    )
    assert reading(reply(apdu)) == {"meter_id": METER, "import_t1_kwh": "100"}
