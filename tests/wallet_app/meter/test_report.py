"""The field tester's report: what was read, how often, how well."""

import csv
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from light_node.clock import SystemClock
from wallet_app.meter.dialogue import Options
from wallet_app.meter.events import Proof, Reading
from wallet_app.meter.plausibility import Verdict
from wallet_app.meter.rawlog import Turn
from wallet_app.meter.report import Place, Report, ReportBuilder, run, table
from wallet_app.meter.report_html import report_html
from wallet_app.meter.session import MeterStatus

START = datetime(2026, 6, 21, 10, tzinfo=UTC)


def reading(seconds: float, meter: str = "A", clock: str = "", **values: str) -> Reading:
    decimals = {key: Decimal(text) for key, text in values.items()}
    at = START + timedelta(seconds=seconds)
    return Reading(at, seconds, meter, "p1", decimals, Proof.CRC, b"/!", meter_clock=clock)


def report(*readings: Reading, good: int = 100, bad: int = 0) -> Report:
    status = MeterStatus("reading", "COM5", "reading", good, bad)
    return Report("COM5", "DSMR P1", START, list(readings), status)


def test_figures():
    out = report(
        reading(0, power_w="5"), reading(1, power_w="-7"), reading(4, power_w="1"), bad=1
    ).to_json()
    assert out["interval_s"] == {"shortest": 1, "mean": 2, "longest": 3}
    assert out["ranges"] == {"power_w": ["-7", "5"]}
    assert out["damaged_percent"] == 0.99
    assert out["values"] == {"power_w": "1"}
    assert out["meter_ids"] == ["A"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (report(reading(0)), "no fault"),
        (report(reading(0), bad=2), "now and then"),
        (report(reading(0), bad=60), "wrong speed"),
        (report(reading(0), reading(1, "B")), "more than one meter"),
        (report(), "reading"),
    ],
)
def test_advice(made: Report, words: str):
    assert words in made.advice()


def test_table_has_a_column_for_every_value_and_no_formulas():
    made = report(
        reading(0, import_kwh="1.5", power_w="-3"), reading(1, "=cmd()", import_kwh="1.6")
    )
    rows = list(csv.DictReader(made.to_csv().splitlines()))
    assert [row["import_kwh"] for row in rows] == ["1.5", "1.6"]
    assert [row["power_w"] for row in rows] == ["-3", ""]
    assert rows[1]["meter_id"] == "'=cmd()"
    assert rows[0]["raw_hex"] == "2f21"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_run_against_a_simulated_meter():
    from wallet_app.meter.simulator.home import HomeState
    from wallet_app.meter.simulator.meters import SmlPush
    from wallet_app.meter.simulator.terminal import MeterTerminal

    state = HomeState(START, 2000, 500, 0, 0, 12_345_678, 9_999, 231.0)
    meter = SmlPush("7", lambda: state)
    meter.period_s = 0.03
    heard: list[bytes] = []
    with MeterTerminal(meter) as terminal:
        (made,) = run(
            [Place(terminal.port, "sml")],
            clock=SystemClock(),
            count=3,
            timeout_s=20,
            interval_s=0.01,
            tap=lambda sent, data: heard.append(data),
        )
    assert len(made.readings) == 3
    assert not made.stopped_early
    assert made.readings[0].raw in b"".join(heard)
    assert made.to_json()["origin"] == "simulated"


def test_document_has_every_part_and_no_markup_of_the_meters():
    clock = (START + timedelta(seconds=75)).isoformat()
    made = report(
        reading(0, "<b>A</b>", clock, import_kwh="1.5", power_w="-3"),
        reading(1, "<b>A</b>", clock, import_kwh="1.6", power_w="5"),
        bad=4,
    )
    made.verdicts = [Verdict(True, ("first",)), Verdict(False, ("register_back",))]
    made.turns = (
        Turn(1, START, 0.0, 0.1, True, b"\x01\x02"),
        Turn(2, START, 0.35, 0.4, False, b"\x03" * 500, b"\x01\x02"),
    )
    page = report_html(made)
    for heading in ("Identification", "Values", "Timing", "Errors", "Readings", "Raw log"):
        assert f"<h2>{heading}</h2>" in page
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "<b>A</b>" not in page
    assert "01 02" in page
    assert "(500)" in page
    assert "the register stepped back" in page
    assert "+74 s" in page
    assert "shortest 0.25, mean 0.25, longest 0.25" in page
    assert "3.85 %" in page


def test_a_report_without_readings_is_a_document_too():
    page = report_html(Report("COM5", "DSMR P1", START))
    assert "nothing was read" in page


def test_builder_counts_only_what_came_during_the_test():
    class Still(SystemClock):
        def now(self) -> datetime:
            return START

    builder = ReportBuilder("COM5", "dsmr_p1", Still(), 2)
    builder.take_status(MeterStatus("reading", "COM5", "reading", 100, 7, polls=50))
    builder.take_reading(reading(0, import_kwh="1"))
    builder.take_status(MeterStatus("reading", "COM5", "reading", 103, 8, polls=52))
    assert not builder.done.is_set()
    builder.take_reading(reading(1, import_kwh="0.5"))
    assert builder.done.is_set()
    builder.take_reading(reading(2, import_kwh="1"))
    made = builder.finish()
    assert len(made.readings) == 2
    assert made.status is not None
    assert (made.status.good_frames, made.status.bad_frames, made.status.polls) == (3, 1, 2)
    assert made.flags() == {"first": 1, "register_back": 1}
    assert made.rejected() == 1
    assert "every fifth frame" in made.advice()


def test_run_without_a_port_says_why():
    (made,) = run([Place("/dev/no-such-port", "sml")], clock=SystemClock(), count=1, timeout_s=0.2)
    assert made.stopped_early
    assert "plug in the adapter" in made.advice()


def test_one_report_has_a_section_for_every_meter_of_every_line():
    from tests.wallet_app.meter.bus import Bus
    from wallet_app.meter.simulator import meters
    from wallet_app.meter.simulator.home import HomeState
    from wallet_app.meter.simulator.terminal import MeterTerminal

    state = HomeState(START, 2000, 500, 0, 0, 12_345_678, 9_999, 231.0)
    push = meters.make("sml", "7", lambda: state)
    push.period_s = 0.03  # type: ignore[misc]
    units = [meters.make("modbus_rtu", n, lambda: state, profile="sdm120") for n in "12"]
    with MeterTerminal(push) as first, MeterTerminal(Bus(units)) as second:
        modbus = Place(second.port, "modbus_rtu", Options(address="1,2", profile="sdm120"))
        reports = run(
            [Place(first.port, "sml"), modbus],
            clock=SystemClock(),
            count=2,
            timeout_s=30,
            interval_s=0.05,
        )
    assert [len(made.readings) for made in reports] == [2, 4]
    parts = [part for made in reports for part in made.meters()]
    numbers = [part.meter_ids for part in parts]
    assert numbers[1:] == [["sdm120-unit-1"], ["sdm120-unit-2"]]
    # That two meters take turns on a line is no exchange of the meter.
    assert all("new_meter" not in part.flags() for part in parts)
    assert {part.advice() for part in parts} == {"no fault found on the line"}
    page = report_html(*reports)
    for number, name in enumerate([numbers[0][0], "sdm120-unit-1", "sdm120-unit-2"], 1):
        assert f"<h1 class='meter'>{number}. {name}</h1>" in page
    assert page.count("<h2>Values</h2>") == 3
    assert page.count(f"<h2>Raw log of {second.port}</h2>") == 1
    rows = list(csv.DictReader(table(reports).splitlines()))
    assert [row["port"] for row in rows] == [first.port] * 2 + [second.port] * 4
    assert [row["meter_id"] for row in rows[2:]] == ["sdm120-unit-1", "sdm120-unit-2"] * 2
    assert all(row["import_kwh"] and row["raw_hex"] for row in rows)
