"""Asking a DLMS meter: only what is on the list, and what answers, refusals and blocks mean."""

from decimal import Decimal

import pytest

from wallet_app.meter import dlms_get
from wallet_app.meter.axdr import DlmsError
from wallet_app.meter.dlms import DlmsParser
from wallet_app.meter.dlms_get import Answer, Answers, Station, get_request
from wallet_app.meter.events import Event, Frame, Problem
from wallet_app.meter.simulator.telegrams import LLC, hdlc

IMPORT = "1-0:1.8.0"
SCALE = bytes.fromhex("C401C100 0202 0F01 161E")  # tens of Wh
VALUE = bytes.fromhex("C401C100 06 00003039")
ACCEPTED = bytes.fromhex(
    "6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F0400001E1D04C80007"
)


def question(code: str, attribute: int) -> bytes:
    return get_request(code, attribute, 1)[3:]


def asked(*pairs: tuple[bytes, bytes]) -> Answer:
    answers, answer = Answers(), None
    for request, reply in pairs:
        answers.take(request)
        answer = answers.take(reply)
    assert answer is not None
    return answer


def test_frames_are_those_of_the_standard():
    station = Station()
    assert station.frame(dlms_get.SNRM).hex() == "7ea0070321930f017e"
    request = station.frame(0x32, get_request(IMPORT, 2, 1))
    assert request.hex() == "7ea0190321326fd8e6e600c001c100030100010800ff020032687e"


def test_server_addresses_of_one_two_and_four_bytes():
    for text, start in (("1", "0321"), ("1.17", "022321"), ("1.300", "0002045921")):
        frame = Station.parse(text).frame(dlms_get.SNRM)
        assert frame[3:].hex().startswith(start)
    for wrong in ("x", "1.2.3", "0", "20000", "²"):
        with pytest.raises(ValueError, match=r"address|devices"):
            Station.parse(wrong)


@pytest.mark.parametrize(
    ("code", "attribute"),
    [(IMPORT, 1), (IMPORT, 4), ("0-0:96.3.10", 2), ("0-0:1.0.0", 3), ("nonsense", 2)],
)
def test_only_what_is_on_the_list_can_be_asked(code: str, attribute: int):
    with pytest.raises(ValueError, match="may be read"):
        get_request(code, attribute, 1)


def test_association_proposes_nothing_but_reading():
    for password in (b"", b"12345678"):
        request = dlms_get.association_request(password)
        assert len(request) == request[4] + 5
        # Conformance block: GET (bit 19) and its blocks (bit 11).
        assert request[-9:-2].hex() == "5f1f0400001010"
        assert password in request
    with pytest.raises(ValueError, match="64"):
        dlms_get.association_request(bytes(65))


def test_value_with_its_scale():
    answer = asked((question(IMPORT, 3), SCALE), (question(IMPORT, 2), VALUE))
    assert answer.found == {"1.8.0": Decimal("123.45")}
    assert answer.values[0].value == Decimal(123450)


def test_value_without_scale_or_question_is_no_value():
    assert asked((question(IMPORT, 2), VALUE)).found == {}
    answer = Answers().take(VALUE)
    assert answer is not None
    assert answer.kind == "other"
    answers = Answers()
    answers.take(question(IMPORT, 3))
    answers.take(SCALE)
    answers.take(question("1-0:2.8.0", 2))
    answer = answers.take(VALUE)
    assert answer is not None
    assert answer.found == {}


def test_half_of_a_net_power_is_not_taken_for_the_whole():
    watts = bytes.fromhex("C401C100 0202 0F00 161B")
    code = "1-0:1.7.0"
    answer = asked((question(code, 3), watts), (question(code, 2), VALUE))
    assert answer.found == {}
    assert answer.values[0].value == 12345


def test_clock_and_number():
    noon = bytes.fromhex("C401C100 090C 07EA0615010C0000FFFF8800")
    assert asked((question("0-0:1.0.0", 2), noon)).texts == {"clock": "2026-06-21T12:00:00+02:00"}
    number = b"\xc4\x01\xc1\x00\x09\x0412ab"
    assert asked((question("0-0:96.1.0", 2), number)).texts == {"meter_id": "12ab"}


def test_refusal_of_a_value():
    answer = asked((question(IMPORT, 2), bytes.fromhex("C401C10104")))
    assert answer.kind == "error"
    assert answer.refused == ["no such object (4)"]


def test_answer_in_blocks():
    request = question(IMPORT, 2)
    answers = Answers()
    answers.take(question(IMPORT, 3))
    answers.take(SCALE)
    answers.take(request)
    first = answers.take(bytes.fromhex("C402C10000000001000206 00"))
    assert first is not None
    assert first.kind == "block"
    assert first.details == {"block": 1}
    answers.take(dlms_get.next_block_request(1, 1)[3:])
    last = answers.take(bytes.fromhex("C402C1010000000200 03 003039"))
    assert last is not None
    assert last.found == {"1.8.0": Decimal("123.45")}
    with pytest.raises(DlmsError, match="missing"):
        answers.take(bytes.fromhex("C402C1010000000500 03 003039"))


def test_list_of_objects_in_one_answer():
    items = [get_request(IMPORT, attribute, 1)[6:-1] for attribute in (3, 2)]
    request = b"\xc0\x03\xc1\x02" + b"".join(item + b"\x00" for item in items)
    answer = asked((request, b"\xc4\x03\xc1\x02" + SCALE[3:] + VALUE[3:]))
    assert answer.found == {"1.8.0": Decimal("123.45")}


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({}, "association", ""),
        ({"A203020100": "A203020101", "A305A103020100": "A305A10302010D"}, "error", "password"),
        ({"A203020100": "A203020102", "A305A103020100": "A305A10302010E"}, "error", "give the"),
        ({"BE10040E08": "BE10040E0E"}, "error", "services"),
    ],
)
def test_association(change: dict[str, str], kind: str, text: str):
    wire = ACCEPTED.hex().upper()
    for old, new in change.items():
        assert old in wire
        wire = wire.replace(old, new)
    answer = Answers().take(bytes.fromhex(wire))
    assert answer is not None
    assert answer.kind == kind
    assert text in " ".join(answer.refused)


def parse(parser: DlmsParser, data: bytes) -> list[Event]:
    return parser.feed(data) + parser.finish()


def test_conversation_on_the_line():
    parser, station = DlmsParser(), Station()
    wire = station.frame(0x10, get_request(IMPORT, 3, 1)) + hdlc(LLC + SCALE)
    wire += station.frame(0x32, get_request(IMPORT, 2, 2)) + hdlc(LLC + VALUE)
    events = parse(parser, wire)
    assert all(isinstance(event, Frame) for event in events)
    assert [e.to_json() for e in events if isinstance(e, Frame) and e.normalized] == [
        {"import_kwh": "123.45"}
    ]


def test_request_given_beside_the_answer():
    parser, station = DlmsParser(), Station()
    parser.expect(station.frame(0x10, get_request(IMPORT, 3, 1)))
    parse(parser, hdlc(LLC + SCALE))
    parser.expect(station.frame(0x10, get_request(IMPORT, 2, 1)))
    (frame,) = parse(parser, hdlc(LLC + VALUE))
    assert isinstance(frame, Frame)
    assert frame.normalized == {"import_kwh": Decimal("123.45")}
    for wrong in (b"", station.frame(dlms_get.SNRM), b"\x7e\xa0\x07"):
        with pytest.raises(ValueError, match="GET"):
            parser.expect(wrong)


@pytest.mark.parametrize("apdu", ["D8010102", "0E010203", "C401C10103"])
def test_refusals_are_error_replies(apdu: str):
    parser = DlmsParser()
    parser.expect(Station().frame(0x10, get_request(IMPORT, 2, 1)))
    events = parse(parser, hdlc(LLC + bytes.fromhex(apdu)))
    assert [e.kind for e in events if isinstance(e, Problem)] == ["error_reply"]


@pytest.mark.parametrize(
    "apdu", ["C4", "C401", "C402C1", "C403C1FF", "61", "61FF", "C001C1", "CC01"]
)
def test_cut_apdus_are_problems(apdu: str):
    parser = DlmsParser()
    events = parse(parser, hdlc(LLC + bytes.fromhex(apdu)))
    assert all(isinstance(e, Problem) or not e.normalized for e in events)
    assert events
