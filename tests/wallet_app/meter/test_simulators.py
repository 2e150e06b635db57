"""Every protocol end to end: a session reads a simulated meter on a pseudo-terminal."""

import queue
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from light_node.clock import SystemClock
from wallet_app.meter import dlt645, dlt698, iec62056, modbus
from wallet_app.meter.dialogue import PROTOCOLS, Options, dialogue
from wallet_app.meter.events import Frame, Origin, Proof, Reading
from wallet_app.meter.p1 import P1Parser
from wallet_app.meter.ports import Link
from wallet_app.meter.session import MeterSession, Timing

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

from wallet_app.meter.simulator import meters, serve
from wallet_app.meter.simulator.device import (
    FAULTS,
    LINE_FAULTS,
    Device,
    Exchanged,
    FaultyLine,
    about_to_roll_over,
    from_zero,
)
from wallet_app.meter.simulator.home import HomeState
from wallet_app.meter.simulator.terminal import MeterTerminal

STATE = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 2000, 500, 0, 0, 12_345_678, 9_999, 231.04)
QUICK = Timing(
    reply_s=0.1, listen_s=1.0, retry_s=0.01, between_s=0.0, reopen_s=0.05, silent_polls=5
)
LINK = Link(921600, 8, "N", 1)
CASES = {
    "dlt645": ("dlt645", "123456789012", Options(), "12345.67"),
    "dlt698": ("dlt698", "123456789012", Options(), "12345.67"),
    "sdm630": ("modbus_rtu", "7", Options(profile="sdm630"), "12345.67"),
    "sdm120": ("modbus_rtu", "7", Options(profile="sdm120"), "12345.67"),
    "dtsu666": ("modbus_rtu", "7", Options(profile="dtsu666"), "12345.67"),
    "adw300": ("modbus_rtu", "7", Options(profile="adw300"), "12345.67"),
    "sunspec": ("modbus_rtu", "7", Options(profile="sunspec"), "12345.67"),
    "pzem016": ("modbus_rtu", "7", Options(profile="pzem016"), "12345.67"),
    "d0": ("iec62056_21", "123456789012", Options(), "12345.67"),
    "d0 mode D": ("iec62056_21", "123456789012", Options(listen=True), "12345.67"),
    "p1": ("dsmr_p1", "123456789012", Options(), "12345.67"),
    "sml": ("sml", "123456789012", Options(), "12345.6780"),
    "dlms": ("dlms", "123456789012", Options(), "12345.678"),
    "dlms asked": ("dlms", "123456789012", Options(ask=True), "12345.678"),
    "adl400": ("modbus_rtu", "7", Options(profile="adl400"), "12345.60"),
}


def make(case: str) -> Device:
    protocol, address, options, _ = CASES[case]
    device = meters.make(
        protocol,
        address,
        lambda: STATE,
        profile=options.profile,
        push=options.listen,
        ask=options.ask,
    )
    if device.period_s is not None:
        device.period_s = 0.05  # type: ignore[misc]
    if isinstance(device, meters.D0Meter):
        device._delay = 0.0
    return device


def read(case: str, device: Device, *, address: str | None = None, count: int = 1) -> list[Reading]:
    protocol, number, options, _ = CASES[case]
    given = number if protocol == "modbus_rtu" else address
    readings: queue.Queue[Reading] = queue.Queue()
    with MeterTerminal(device) as terminal:
        session = MeterSession(
            terminal.port,
            protocol=protocol,
            address=given,
            interval_s=0.01,
            clock=SystemClock(),
            on_reading=readings.put,
            on_status=lambda _: None,
            link=LINK,
            options=options,
            timing=QUICK,
        )
        session.start()
        try:
            return [readings.get(timeout=30) for _ in range(count)]
        finally:
            session.stop()


def test_there_is_a_simulated_meter_for_every_protocol():
    assert {protocol for protocol, *_ in CASES.values()} == set(PROTOCOLS)


@pytest.mark.parametrize("case", CASES)
def test_reads_registers_and_power(case: str):
    (reading,) = read(case, make(case))
    assert reading.import_kwh is not None
    assert abs(reading.import_kwh - Decimal(CASES[case][3])) < Decimal("0.002")
    if case != "pzem016":  # unsigned registers: it cannot show feeding in
        assert reading.power_w == -1500
        assert reading.export_kwh is not None
        step = Decimal("0.1") if case == "adl400" else Decimal("0.01")  # through a ratio of 10
        assert abs(reading.export_kwh - Decimal("9.99")) < step
    assert reading.meter_id
    assert reading.origin is Origin.SIMULATED
    assert (reading.proof is Proof.NONE) is (case == "d0 mode D")


@pytest.mark.parametrize("fault", LINE_FAULTS)
@pytest.mark.parametrize("case", ["dlt645", "dlt698", "sdm630", "d0", "p1", "sml", "dlms"])
def test_bad_lines_never_give_a_wrong_value(case: str, fault: str):
    line = FaultyLine(make(case), [fault], every=3, seed=7, protocol=CASES[case][0])
    for reading in read(case, line, address=CASES[case][1], count=1 if fault == "echo" else 2):
        assert reading.import_kwh is not None
        assert abs(reading.import_kwh - Decimal(CASES[case][3])) < Decimal("0.002")


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_every_protocol_has_speeds_to_try(protocol: str):
    assert dialogue(protocol, Options()).links


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("modbus_rtu", Options(address="248")),
        ("modbus_rtu", Options(address="one")),
        ("modbus_rtu", Options(profile="nonesuch")),
        ("dlt698", Options(address="meter")),
        ("iec62056_21", Options(address="\r\n")),
        ("dlms", Options(key=b"short")),
        ("morse", Options()),
    ],
)
def test_wrong_options_are_refused(protocol: str, options: Options):
    with pytest.raises(ValueError, match=r"address|profile|keys|protocol"):
        dialogue(protocol, options)


@pytest.mark.parametrize(
    ("protocol", "address"), [("modbus_rtu", "300"), ("dlt645", "x"), ("morse", "1")]
)
def test_impossible_simulated_meters_are_refused(protocol: str, address: str):
    with pytest.raises(ValueError, match=r"address|protocol"):
        meters.make(protocol, address, lambda: STATE)


def test_unknown_faults_are_refused():
    with pytest.raises(ValueError, match="no fault"):
        FaultyLine(make("sml"), ["rain"])
    with pytest.raises(ValueError, match="every"):
        FaultyLine(make("sml"), ["flip"], every=0)


def test_simulated_modbus_meter_knows_its_limits():
    meter = meters.ModbusMeter(1, "sdm120", lambda: STATE)
    reply = meter.on_bytes(b"\x00" + modbus.Request(1, 4, 0x0400, 2).encode(), 0.0)[0][1]
    assert reply[:3] == b"\x01\x84\x02"
    assert meter.on_bytes(modbus.Request(9, 4, 0, 2).encode(), 0.0) == []


@pytest.mark.parametrize("case", ["p1", "sml", "dlms"])
def test_a_wrong_sum_gives_no_reading(case: str):
    protocol = CASES[case][0]
    good, bad = (
        FaultyLine(make(case), ["sum"], every=every, protocol=protocol).push(0.0)[0][1]
        for every in (2, 1)
    )
    assert readings(protocol, good)
    assert not readings(protocol, bad)


def readings(protocol: str, data: bytes) -> list[Frame]:
    parser = dialogue(protocol, Options()).parser()
    events = parser.feed(data) + parser.finish()
    return [e for e in events if isinstance(e, Frame) and e.normalized]


def test_wrong_sum_of_asked_meters():
    asked = {
        "dlt645": dlt645.read_request("12", dlt645.IMPORT_TOTAL),
        "dlt698": dlt698.get_request("12", [dlt698.IMPORT]),
        "iec62056_21": iec62056.acknowledge("5"),
    }
    for protocol, request in asked.items():
        for every, count in ((2, 1), (1, 0)):
            meter = meters.make(protocol, "12", lambda: STATE)
            line = FaultyLine(meter, ["sum"], every=every, protocol=protocol)
            ident = b"".join(data for _, data in line.on_bytes(iec62056.sign_on(), 0.0))
            reply = b"".join(data for _, data in line.on_bytes(request, 0.0))
            if protocol == "iec62056_21" and every == 2:
                line = FaultyLine(meter, [], every=1, protocol=protocol)
                reply = b"".join(data for _, data in line.on_bytes(request, 0.0))
            assert len(readings(protocol, ident + reply)) == count


def test_slow_bytes_are_all_bytes_in_order():
    meter = meters.make("dlt645", "12", lambda: STATE)
    request = dlt645.read_request("12", dlt645.IMPORT_TOTAL)
    whole = meter.on_bytes(request, 0.0)[0][1]
    pieces = FaultyLine(meter, ["slow"], every=1).on_bytes(request, 0.0)
    assert b"".join(data for _, data in pieces) == whole
    delays = [delay for delay, _ in pieces]
    assert delays == sorted(delays)
    assert delays[-1] - delays[0] > 0.3


def test_exchange_of_the_meter():
    state = STATE
    second = meters.P1Push("22", from_zero(lambda: state))
    line = Exchanged(meters.P1Push("11", lambda: state), second, after=2)
    found = [readings("dsmr_p1", line.push(0.0)[0][1])[0] for _ in range(2)]
    state = replace(STATE, import_wh=STATE.import_wh + 1000)
    found += [readings("dsmr_p1", line.push(0.0)[0][1])[0] for _ in range(2)]
    state = replace(STATE, import_wh=STATE.import_wh + 3000)
    found.append(readings("dsmr_p1", line.push(0.0)[0][1])[0])
    assert [f.meter_id for f in found] == ["11", "11", "22", "22", "22"]
    assert [f.normalized["import_kwh"] for f in found[1:]] == [Decimal("12345.67"), 0, 0, 2]
    assert line.period_s == 1.0


def test_rollover_of_the_register():
    state = STATE
    meter = meters.Dlt645Meter("12", about_to_roll_over(lambda: state))
    request = dlt645.read_request("12", dlt645.IMPORT_TOTAL)
    found = []
    for more in (0, 10, 25):
        state = replace(STATE, import_wh=STATE.import_wh + more)
        found.append(readings("dlt645", meter.on_bytes(request, 0.0)[0][1])[0])
    values = [frame.normalized["import_kwh"] for frame in found]
    assert values == [Decimal("999999.98"), Decimal("999999.99"), 0]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", CASES)
def test_every_fault_can_be_ordered_for_every_meter(case: str, fault: str):
    protocol, address, options, _ = CASES[case]
    choice = serve.MeterChoice(
        protocol, address, options.profile, options.listen, options.ask, (fault,), 2
    )
    device = serve.make_meter(choice, lambda: STATE)
    for _ in range(4):
        device.push(0.0)
        device.on_bytes(b"/?!\r\n", 0.0)


def test_faults_that_cannot_be():
    with pytest.raises(ValueError, match="no fault"):
        serve.make_meter(serve.MeterChoice(faults=("rain",)), lambda: STATE)
    choice = serve.MeterChoice(faults=("exchange",), fault_every=0)
    with pytest.raises(ValueError, match="after one reply"):
        serve.make_meter(choice, lambda: STATE)
    with pytest.raises(ValueError, match="needs a protocol"):
        FaultyLine(make("sml"), ["sum"])


def test_the_clock_of_a_p1_telegram_is_the_time_it_says():
    device = meters.make("dsmr_p1", "123", lambda: STATE)
    ((_, telegram),) = device.push(0.0)
    (frame,) = P1Parser().feed(telegram)
    assert isinstance(frame, Frame)
    assert datetime.fromisoformat(frame.texts["clock"]) == STATE.market
