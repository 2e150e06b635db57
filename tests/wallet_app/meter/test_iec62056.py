"""D0: identification, BCC, mode D, codes and units, on readouts built here."""

import pytest

from wallet_app.meter import iec62056
from wallet_app.meter.events import Event, Frame, Problem, Proof
from wallet_app.meter.iec62056 import Iec62056Parser, acknowledge, sign_on
from wallet_app.meter.simulator.telegrams import d0_block, d0_push, lines


def parse(data: bytes) -> list[Event]:
    parser = Iec62056Parser()
    return parser.feed(data) + parser.finish()


def reading(events: list[Event]) -> dict[str, str]:
    (frame,) = [e for e in events if isinstance(e, Frame) and e.kind == "data"]
    return frame.to_json()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (["1.8.0(001234.567*kWh)"], {"import_kwh": "1234.567"}),
        (["1-0:1.8.0*255(001234.567*kWh)"], {"import_kwh": "1234.567"}),
        (["1.8.0*12(000001.000*kWh)"], {}),
        (["1-0:1.8.0*96(000001.000*kWh)"], {}),
        (["1.8.0(001234.567)"], {"import_kwh": "1234.567"}),
        (["1.7.0(00.250)"], {"power_w": "250"}),
        (["1-0:1.7.255*255(-000250.00*W)"], {"power_w": "-250"}),
        (["1.7(00.250*kW)", "2.7(00.300*kW)"], {"power_w": "-50"}),
        (["16.7.0(-0.05*kW)", "1.7.0(9.9*kW)"], {"power_w": "-50"}),
        (["32.7(230)"], {"voltage_l1_v": "230"}),
        (["1.8.1(1.5*kWh)1.8.2(2*kWh)"],
         {"import_t1_kwh": "1.5", "import_t2_kwh": "2", "import_kwh": "3.5"}),
        (["2.8.0(1500*Wh)"], {"export_kwh": "1.5"}),
        (["1.8.0(1.5*kwh)", "2.8.0(2*KWH)", "1.7.0(2*mW)"], {"import_kwh": "1.5",
                                                            "export_kwh": "2"}),
        (["2.8.0()"], {}),
        (["1.8.0(-1.5*kWh)", "2.8.1(-1*kWh)", "2.8.2(3*kWh)"], {"export_t2_kwh": "3"}),
        (["1.8.0(1.5*kvarh)"], {}),
        (["15.8.0(1.5*kWh)", "F.F(00)"], {}),
        (["0.0.0(00012345)", "C.1.0(7)"], {"meter_id": "00012345"}),
        (["C.1(7)", "1-1:1.8.0(5*kWh)"], {"meter_id": "7", "import_kwh": "5"}),
        (["1-1:0.0.0(7)", "1-1:1.8.0(5*kWh)"], {"meter_id": "7", "import_kwh": "5"}),
        (["1-1:1.8.0(5*kWh)", "1-0:1.8.0(6*kWh)"], {"import_kwh": "6"}),
        (["0-1:96.1.0(4730)", "1-0:1.8.0(6*kWh)"], {"import_kwh": "6"}),
        (["7-0:1.8.0(5*kWh)", "1-2:1.8.0(5*kWh)"], {}),
        (["C.1.0(7)"], {"meter_id": "7"}),
        (["0.9.1(120000)", "0.9.2(250102)"], {"clock": "2025-01-02T12:00:00"}),
        (["0.9.1(12:00:00)", "0.9.2(1250102)"], {"clock": "2025-01-02T12:00:00"}),
        (["1.0.0(1250102120000)"], {"clock": "2025-01-02T12:00:00"}),
        (["0.9.1(120000)", "0.9.2(251702)"], {}),
        (["1.8.0(013925.5*)Y\x02\x02\x01"], {"import_kwh": "13925.5"}),
        (["x1.8.0(5*kWh)", "C.1(1126)"], {"meter_id": "1126"}),
        (["0.0(      18438636)"], {"meter_id": "18438636"}),
        (["strange ( line", "1.8.0(1.5*kWh)"], {"import_kwh": "1.5"}),
    ],
)  # fmt: skip
def test_values(data: list[str], expected: dict[str, str]):
    assert reading(parse(d0_block(*data))) == expected


def test_identification_comes_first():
    ident, data = parse(d0_block("1.8.0(1*kWh)"))
    assert isinstance(ident, Frame)
    assert ident.kind == "identification"
    assert ident.details == {"manufacturer": "XMP", "baud_char": "5", "ident": "\\2METER"}
    assert isinstance(data, Frame)
    assert data.proof is Proof.BCC


def test_identification_with_a_stx_in_it():
    assert reading(parse(d0_block("1.8.0(1*kWh)", ident="/ISk5\x02MT382"))) == {"import_kwh": "1"}


def test_line_ends_of_a_landis_gyr():
    telegram = d0_block("1.8.0(1*kWh)\n", "2.8.0(2*kWh)")
    assert reading(parse(telegram)) == {"import_kwh": "1", "export_kwh": "2"}


def test_parity_bits_are_masked():
    telegram = d0_block("1.8.0(1*kWh)")
    even = bytes(b | 0x80 if b.bit_count() % 2 else b for b in telegram)
    assert reading(parse(b"\x7f\x7f" + even)) == {"import_kwh": "1"}


def test_echo_of_request_and_acknowledgement():
    telegram = d0_block("1.8.0(1*kWh)")
    end = telegram.index(b"\n") + 1
    wire = sign_on() + telegram[:end] + acknowledge("5") + b"\x7f" + telegram[end:]
    assert reading(parse(wire)) == {"import_kwh": "1"}


def test_wrong_bcc_and_the_good_readout_behind():
    good = d0_block("1.8.0(1*kWh)")
    events = parse(good.replace(b"(1*", b"(2*") + good)
    assert [e.kind for e in events] == ["identification", "checksum", "identification", "data"]


def test_digits_flipped_alike_pass_the_bcc_but_not_the_sum_of_tariffs():
    telegram = d0_block("1.8.0(30.0*kWh)", "1.8.1(10.0*kWh)", "1.8.2(20.0*kWh)")
    altered = telegram.replace(b"(10.0", b"(50.0").replace(b"(20.0", b"(60.0")
    events = parse(altered)
    assert reading(events) == {}
    assert events[-1].kind == "value"


def test_push_without_check_sum_is_unproven():
    telegram = d0_push("1-0:0.0.0*255(1336)", "1-0:1.8.0*255(00032549.5061662*kWh)")
    _, frame = parse(telegram + b"  25818685\r\nDE000\xff\r\n")
    assert isinstance(frame, Frame)
    assert frame.proof is Proof.NONE
    assert frame.to_json() == {"meter_id": "1336", "import_kwh": "32549.5061662"}


@pytest.mark.parametrize(
    "line", ["1.8.0(1*kWh", "1.8.0 1*kWh)", "1.8.0(1*kWh)x", "1.8.0(\x011*kWh)", "B0.0.0(1)"]
)
def test_push_with_a_malformed_line_is_no_reading(line: str):
    events = parse(d0_push("2.8.0(5*kWh)", line))
    assert [e.kind for e in events] == ["identification", "framing"]


def test_block_that_lost_its_stx_is_no_push():
    telegram = d0_block("1.8.0(1*kWh)").replace(b"\x02", b"")
    assert [e.kind for e in parse(telegram)] == ["identification", "framing"]


def test_cut_readouts_are_incomplete():
    for telegram in (d0_block("1.8.0(1*kWh)")[:-2], d0_push("1.8.0(1*kWh)")[:-4]):
        assert [e.kind for e in parse(telegram)] == ["identification", "incomplete"]


def test_requests_are_the_only_two_there_are():
    assert sign_on() == b"/?!\r\n"
    assert sign_on("00123") == b"/?00123!\r\n"
    assert acknowledge("5") == b"\x06050\r\n"
    for bad in ("7", "A", "51", ""):
        with pytest.raises(ValueError, match="speed"):
            acknowledge(bad)
    with pytest.raises(ValueError, match="address"):
        sign_on("!\r\n\x06")


def test_endless_text_is_given_up():
    parser = Iec62056Parser()
    events = parser.feed(lines("/XMP5METER", ""))
    for _ in range(40):
        events += parser.feed(b"1.8.0(1*kWh)\r\n" * 70)
        assert parser.pending <= iec62056.MAX_READOUT
    assert events[-1].kind == "incomplete"
    assert isinstance(events[-1], Problem)


EASY = ("1-0:0.0.0*255(1ESY1)", "1-0:1.8.0*255(00123.4567890*kWh)", "1-0:1.7.0*255(002100.00*W)",
        "1-0:21.7.0*255(000700.00*W)", "1-0:41.7.0*255(000700.00*W)",
        "1-0:61.7.0*255(000700.00*W)")  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("002100.00*W", "02100.00*W"),  # a digit was lost
        ("002100.00*W", "0002100.00*W"),
        ("002100.00*W", "082100.00*W"),  # far from what the phases add up to
        ("1.8.0", "1.8.2"),  # a tariff alone
    ],
)
def test_damage_no_check_sum_tells_shows_in_the_numbers(before: str, after: str):
    def telegram(*lines: str) -> bytes:
        return "\r\n".join(["/ESY5Q3D", "", *lines, "!", ""]).encode("ascii")

    good = [e for e in parse(telegram(*EASY)) if isinstance(e, Frame) and e.kind == "data"]
    assert good[0].normalized["power_w"] == 2100
    damaged = [line.replace(before, after) for line in EASY]
    events = parse(telegram(*damaged) + telegram(*EASY))
    readings = [e.normalized for e in events if isinstance(e, Frame) and e.kind == "data"]
    assert readings == [good[0].normalized]
    assert "framing" in [e.kind for e in events if isinstance(e, Problem)]


def test_what_is_no_damage_where_no_check_sum_tells():
    signed = [line.replace("000700.00*W", "-00700.00*W") for line in EASY[:4]]
    other = [EASY[0], "1-0:1.8.255*255(00005.0000000*kWh)", "1-0:2.8.0*255(00001.0000000*kWh)"]
    for lines_ in (signed, other):
        text = "\r\n".join(["/ESY5Q3D", "", *lines_, "!", ""]).encode("ascii")
        assert [e.kind for e in parse(text)] == ["identification", "data"]


def test_a_telegram_that_lost_its_end_does_not_swallow_the_next():
    text = "\r\n".join(["/ESY5Q3D", "", *EASY, "!", ""]).encode("ascii")
    events = parse(text[: text.index(b"1-0:41.7.0")] + text)
    kinds = [e.kind for e in events]
    assert kinds == ["identification", "incomplete", "identification", "data"]


def test_starts_without_an_end_cost_no_more_than_other_bytes():
    searched = 0

    class Counting(Iec62056Parser):
        def _masked(self, start: int, length: int = iec62056.MAX_READOUT) -> bytes:
            nonlocal searched
            masked = super()._masked(start, length)
            searched += len(masked)
            return masked

    parser = Counting()
    data = b"/ABC5x\r\n" + b"\x02" * 30_000
    parser.feed(data)
    parser.finish()
    assert searched < 2 * len(data)
