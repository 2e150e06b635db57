"""DL/T 698.45: GET replies matched by object, errors item by item, nothing but reading."""

import pytest

from wallet_app.meter import dlt698
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
