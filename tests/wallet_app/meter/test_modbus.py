"""Modbus RTU: replies found by request and CRC, profiles, floats without false digits."""

import struct

import pytest

from wallet_app.meter import modbus
from wallet_app.meter.events import Event, Frame, Problem, plain
from wallet_app.meter.modbus import ModbusParser, Request, profile, single
from wallet_app.meter.simulator.telegrams import modbus_reply

POWER = Request(1, 4, 0x34, 2)
REPLY = modbus_reply(1, 4, [0x44B9, 0x1000])


def parse(data: bytes, request: Request | None = POWER, kind: str = "sdm630") -> list[Event]:
    parser = ModbusParser(request, profile(kind))
    return parser.feed(data) + parser.finish()


def normalized(events: list[Event]) -> dict[str, str]:
    frames = [e for e in events if isinstance(e, Frame) and e.kind == "data"]
    assert len(frames) == 1
    return {key: plain(value) for key, value in frames[0].normalized.items()}


@pytest.mark.parametrize(
    ("request_", "wire"),
    [
        (Request(1, 4, 0x34, 2), "0104003400023005"),
        (Request(1, 4, 0x48, 4), "01040048000471DF"),
        (Request(1, 4, 0, 0x12), "0104000000127007"),
    ],
)
def test_requests_are_those_of_the_document(request_: Request, wire: str):
    assert request_.encode() == bytes.fromhex(wire)
    assert Request.decode(bytes.fromhex(wire)) == request_


@pytest.mark.parametrize(
    "request_",
    [
        Request(1, 6, 0, 1),
        Request(1, 16, 0, 1),
        Request(0, 4, 0, 1),
        Request(248, 4, 0, 1),
        Request(1, 4, 0, 126),
        Request(1, 4, 0, 0),
        Request(1, 4, 0xFFFF, 2),
        Request(1, 4, -1, 2),
    ],
)
def test_nothing_but_reading_can_be_encoded(request_: Request):
    with pytest.raises(ValueError, match=r"function|unit|registers"):
        request_.encode()


def test_writes_are_no_requests():
    with pytest.raises(ValueError, match="no Modbus read request"):
        Request.decode(bytes.fromhex("0106000100035809CB"))


@pytest.mark.parametrize(
    "noise",
    [b"", b"\x00", b"\x00\x00", POWER.encode(), POWER.encode() + b"\x00", b"\x01", b"\x01\x04"],
)
def test_glitches_and_echo_are_passed_over(noise: bytes):
    assert normalized(parse(noise + REPLY + b"\x00")) == {"power_w": "1480.5"}


def test_exception_reply():
    *_, problem = parse(bytes.fromhex("018402C2C1"))
    assert isinstance(problem, Problem)
    assert problem.kind == "exception"
    assert "no such register" in problem.text


def test_wrong_crc_and_good_reply_behind():
    bad = bytearray(REPLY)
    bad[4] ^= 1
    problem, frame = parse(bytes(bad) + REPLY)
    assert isinstance(problem, Problem)
    assert problem.kind == "checksum"
    assert isinstance(frame, Frame)


def test_replies_to_other_questions_are_no_readings():
    for other in (modbus_reply(2, 4, [1, 2]), modbus_reply(1, 3, [1, 2]), modbus_reply(1, 4, [1])):
        assert not [e for e in parse(other) if isinstance(e, Frame)]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (modbus_reply(2, 4, [1, 2]), "other_meter"),
        (modbus_reply(1, 3, [1, 2]), "other_identifier"),
        (modbus_reply(1, 4, [1]), "other_identifier"),
    ],
)
def test_replies_to_other_questions_are_named_when_a_file_is_decoded(reply: bytes, kind: str):
    parser = ModbusParser(POWER, profile("sdm630"), tell_others=True)
    problem, frame = parser.feed(reply + REPLY) + parser.finish()
    assert isinstance(problem, Problem)
    assert problem.kind == kind
    assert isinstance(frame, Frame)
    assert frame.normalized


def test_a_request_on_the_line_tells_what_the_reply_is_about():
    assert normalized(parse(POWER.encode() + REPLY, None)) == {"power_w": "1480.5"}
    assert not [e for e in parse(REPLY, None) if isinstance(e, Frame)]


def test_request_that_fits_as_a_reply_is_an_echo():
    request = Request(1, 3, 0x0400, 2)  # the echo's third byte is the byte count of a reply
    parser = ModbusParser(request)
    events = parser.feed(request.encode() + modbus_reply(1, 3, [7, 8])) + parser.finish()
    assert [e.kind for e in events] == ["request", "data"]


@pytest.mark.parametrize(
    ("kind", "request_", "words", "expected"),
    [
        ("sdm120", Request(1, 4, 0x0C, 2), [0x44B9, 0x1000], {"power_w": "1480.5"}),
        ("sdm630", Request(1, 4, 0x0C, 2), [0x44B9, 0x1000], {"power_l1_w": "1480.5"}),
        ("sdm", Request(1, 4, 0x48, 4), [0x4640, 0xE6B8, 0x7FC0, 0], {"import_kwh": "12345.68"}),
        ("dtsu666", Request(1, 3, 0x2006, 2), [0x4510, 0x2000], {"voltage_l1_v": "230.6"}),
        ("ddsu666", Request(1, 3, 0x2004, 2), [0xBF9D, 0xF3B6], {"power_w": "-1234"}),
        ("adw300", Request(1, 3, 36, 2), [0xFFFF, 0xFB2E], {"power_w": "-1234"}),
        (
            "adw300",
            Request(1, 3, 62, 4),
            [1, 2, 0, 5],
            {"import_kwh": "655.38", "export_kwh": "0.05"},
        ),
        (
            "pzem016",
            Request(1, 4, 0, 7),
            [2301, 0x86A0, 1, 23, 0, 0xE240, 1],
            {
                "voltage_l1_v": "230.1",
                "current_l1_a": "100",
                "power_w": "2.3",
                "import_kwh": "123.456",
            },
        ),
        ("dtsu666", Request(1, 4, 0x2006, 2), [0x4510, 0x2000], {}),  # the other function
        ("sdm120", Request(1, 4, 0x0D, 2), [0x44B9, 0x1000], {}),  # half of two values
    ],
)
def test_profiles(kind: str, request_: Request, words: list[int], expected: dict[str, str]):
    reply = modbus_reply(1, request_.function, words)
    assert normalized(parse(reply, request_, kind)) == expected


@pytest.mark.parametrize("name", sorted(set(modbus.PROFILES) - {"sunspec"}))
def test_every_profile_asks_for_all_its_registers_with_valid_requests(name: str):
    kind = profile(name)
    requests = kind.requests(7)
    for request in requests:
        request.encode()
    for register in kind.registers:
        assert any(
            r.start <= register.address and register.address + register.count <= r.start + r.count
            for r in requests
        )
    assert any(key.endswith("_kwh") for key in (r.key for r in kind.registers))


def test_unknown_profile_names_those_there_are():
    with pytest.raises(ValueError, match="sdm630"):
        profile("nonesuch")


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0x44B91000, "1480.5"),
        (0x435C0F0A, "220.05875"),
        (0x3DCCCCCD, "0.1"),
        (0x80000000, "0"),
        (0xC0490FDB, "-3.1415927"),
    ],
)
def test_float32_as_its_shortest_decimal(bits: int, text: str):
    value = single(bits)
    assert value is not None
    assert plain(value) == text


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800000, 0xFF800000])
def test_nan_and_infinity_are_no_values(bits: int):
    assert single(bits) is None


def test_frame_carries_the_registers_even_without_a_profile():
    parser = ModbusParser(POWER)
    (frame,) = parser.feed(REPLY)
    assert isinstance(frame, Frame)
    assert frame.details["registers"] == "44B9 1000"
    assert frame.normalized == {}


def float_words(number: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">f", number)))


def test_sunspec_model_with_floats():
    model = [0x7FC0, 0] * 62
    for at, number in ((2, 6.5), (10, 230.5), (24, 50.0), (26, -1500.0), (58, 9990.0), (66, 5e6)):
        model[at : at + 2] = float_words(number)
    words = [213, 124, *model][:70]
    reply = modbus_reply(1, 3, words)
    assert normalized(parse(reply, Request(1, 3, 40_070, 70), "sunspec")) == {
        "current_l1_a": "6.5",
        "voltage_l1_v": "230.5",
        "frequency_hz": "50",
        "power_w": "-1500",
        "export_kwh": "9.99",
        "import_kwh": "5000",
    }


@pytest.mark.parametrize(
    "words", [[1, 66, *[0] * 10], [203, 60, *[0] * 10], [0x5375, 0x6E53, 0xFFFF, 0], [203]]
)
def test_sunspec_blocks_without_a_meter_model_give_no_values(words: list[int]):
    reply = modbus_reply(1, 3, words)
    assert normalized(parse(reply, Request(1, 3, 40_000, len(words)), "sunspec")) == {}


def test_sunspec_model_behind_the_common_one_in_one_reply():
    model = [0x8000] * 105
    model[16], model[20] = 0xFB2E, 0
    words = [0x5375, 0x6E53, 1, 4, 0, 0, 0, 0, 203, 105, *model]
    reply = modbus_reply(1, 3, words)
    assert normalized(parse(reply, Request(1, 3, 40_000, len(words)), "sunspec")) == {
        "power_w": "-1234"
    }


ADL_ENERGY, ADL_RATIO = Request(1, 3, 0x0A, 12), Request(1, 3, 0x8D, 2)


def adl(*pairs: tuple[Request, list[int]], tell: bool = True) -> list[Event]:
    parser = ModbusParser(None, modbus.profile("adl400"), tell_others=tell)
    events: list[Event] = []
    for asked, words in pairs:
        parser.expect(asked)
        events += parser.feed(modbus_reply(1, 3, words)) + parser.finish()
    return events


def test_acrel_values_are_multiplied_with_the_transformer_ratios():
    energy = [0, 12345, *[0] * 8, 0, 100]
    events = adl((ADL_RATIO, [2, 40]), (ADL_ENERGY, energy))
    assert normalized(events[1:]) == {"import_kwh": "9876", "export_kwh": "80"}
    volts = Request(1, 3, 0x61, 6)
    events = adl((ADL_RATIO, [2, 40]), (volts, [2301, 0, 0, 512, 0, 0]))
    found = normalized(events[1:])
    assert (found["voltage_l1_v"], found["current_l1_a"]) == ("460.2", "204.8")
    power = Request(1, 3, 0x16A, 2)
    events = adl((ADL_RATIO, [1, 40]), (power, [0xFFFF, 0xFFFE]))
    assert normalized(events[1:]) == {"power_w": "-80"}


def test_acrel_values_without_the_ratios_do_not_count():
    for first in ([], [(ADL_RATIO, [0, 40])]):
        events = adl(*first, (ADL_ENERGY, [0, 12345, *[0] * 10]))
        assert not [e for e in events if isinstance(e, Frame) and e.normalized]
        assert [e.kind for e in events if isinstance(e, Problem)] == ["value"]
    live = adl((ADL_ENERGY, [0, 12345, *[0] * 10]), tell=False)
    assert not [e for e in live if isinstance(e, Problem)]


def test_ratios_are_asked_first_and_names_may_have_dashes():
    requests = modbus.profile("DTSD-1352").requests(1)
    assert requests[0] == ADL_RATIO
    assert requests[1].start == 0x0A


@pytest.mark.parametrize(
    ("form", "words", "text"),
    [
        ("f32", (0x42F6, 0xE979), "123.456"),
        ("f32le", (0xE979, 0x42F6), "123.456"),
        ("i32", (0xFFFF, 0xFFFE), "-2"),
        ("i32le", (0xFFFE, 0xFFFF), "-2"),
        ("u32", (1, 2), "65538"),
        ("u32le", (2, 1), "65538"),
        ("i16", (0xFFFF,), "-1"),
        ("u16", (0xFFFF,), "65535"),
    ],
)
def test_word_orders(form: str, words: tuple[int, ...], text: str):
    assert str(modbus.Register(0, form, "power_w").decode(words)) == text


def test_a_register_below_zero_is_none():
    request = Request(1, 4, 0x48, 4)
    words = [*float_words(-1.5), *float_words(2.5)]
    assert normalized(parse(modbus_reply(1, 4, words), request)) == {"export_kwh": "2.5"}
