"""Decoding speed of the meter parsers, beside other libraries, and the cost of a set of meters.

Telegrams are built by the simulator; a telegram counts when it came out as a reading. The other
libraries (see ``meter_libraries``) take turns with ours within one run, so that the ratio holds on
a busy machine too; those that are not installed are named and skipped.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from tests.benchmarks.meter_libraries import Decode, installed
from wallet_app.meter import dlt645, dlt698, modbus
from wallet_app.meter.dlms import DlmsParser
from wallet_app.meter.events import Frame, StreamParser
from wallet_app.meter.iec62056 import Iec62056Parser
from wallet_app.meter.p1 import P1Parser
from wallet_app.meter.simulator import meters, telegrams
from wallet_app.meter.simulator.home import HomeState
from wallet_app.meter.sml import SmlParser

SECONDS = 0.5
TURNS = 60
STATE = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 2000, 500, 0, 0, 12_345_678, 9_999, 231.04)
REQUEST = modbus.Request(1, 4, 0x34, 0x18)


def cases() -> dict[str, tuple[Callable[[], StreamParser], bytes]]:
    number = "123456789012"
    obis = [f"1-0:{c}.7.0(00.{c:03d}*kW)" for c in (21, 41, 61, 22, 42, 62)]
    obis += [f"0-0:96.7.{n}(00003)" for n in range(16)]
    p1 = telegrams.p1(
        "1-3:0.2.8(50)",
        f"0-0:96.1.1({number.encode().hex()})",
        "1-0:1.8.1(000756.849*kWh)",
        "1-0:1.8.2(000714.405*kWh)",
        "1-0:1.7.0(00.111*kW)",
        "1-0:2.7.0(00.000*kW)",
        *obis,
    )
    get = dlt698.get_request(number, [dlt698.IMPORT, dlt698.EXPORT, dlt698.POWER, dlt698.VOLTAGE])
    reply_698 = meters.Dlt698Meter(number, lambda: STATE).on_bytes(get, 0.0)[0][1]
    words = [0x4640, 0xE6B8] * (REQUEST.count // 2)
    return {
        "dlt645": (
            dlt645.Dlt645Parser,
            dlt645.encode(number, 0x91, bytes.fromhex("0000010056341200")),
        ),
        "dlt698": (dlt698.Dlt698Parser, reply_698),
        "modbus_rtu": (
            lambda: modbus.ModbusParser(REQUEST, modbus.profile("sdm630")),
            telegrams.modbus_reply(1, 4, words),
        ),
        "dsmr_p1": (P1Parser, p1),
        "sml": (SmlParser, meters.SmlPush(number, lambda: STATE).push(0.0)[0][1]),
        "iec62056_21": (
            Iec62056Parser,
            telegrams.d0_block("0.0.0(1)", "1.8.0(1.5*kWh)", *(f"C.7.{n}(1)" for n in range(20))),
        ),
        "dlms": (DlmsParser, meters.DlmsPush(number, lambda: STATE).push(0.0)[0][1]),
    }


def rate(parser: StreamParser, telegram: bytes) -> float:
    """Return decoded telegrams per second."""
    batch = telegram * 20
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SECONDS:
        for event in parser.feed(batch):
            count += isinstance(event, Frame) and bool(event.normalized)
    return count / elapsed


def beside(parser: StreamParser, decode: Decode, telegram: bytes) -> tuple[float, float]:
    """Return the best µs per telegram of (our parser, the other's ``decode``), in turns."""
    best_ours = best_other = float("inf")
    batch = 50
    for _ in range(TURNS):
        began = time.perf_counter()
        for _ in range(batch):
            parser.feed(telegram)
        ours = time.perf_counter()
        for _ in range(batch):
            decode(telegram)
        ended = time.perf_counter()
        best_ours = min(best_ours, (ours - began) / batch)
        best_other = min(best_other, (ended - ours) / batch)
    return 1e6 * best_ours, 1e6 * best_other


def run() -> None:
    """Print µs per telegram and MB/s, other libraries beside them, and the cost of ten meters."""
    print(f"{'protocol':<12} {'bytes':>6} {'µs each':>9} {'MB/s':>7}   one a second: % of a core")
    for name, (make, telegram) in cases().items():
        each = rate(make(), telegram)
        speed = each * len(telegram) / 1e6
        print(f"{name:<12} {len(telegram):>6} {1e6 / each:>9.1f} {speed:>7.2f}   {100 / each:.4f}")
    print(f"\n{'protocol':<12} {'library':<12} {'ours µs':>9} {'theirs µs':>10}   theirs / ours")
    for name, (make, telegram) in cases().items():
        for library, decode, why in installed(name, telegram):
            if decode is None:
                print(f"{name:<12} {library:<12} skipped: {why}")
                continue
            ours, theirs = beside(make(), decode, telegram)
            print(f"{name:<12} {library:<12} {ours:>9.1f} {theirs:>10.1f}   {theirs / ours:.1f}")
    speeds = {name: rate(*_ready(name)) for name in ("dsmr_p1", "modbus_rtu")}
    share = 100 / speeds["dsmr_p1"] + 1000 / speeds["modbus_rtu"]
    print(f"\none P1 telegram and ten Modbus replies a second, decoding: {share:.3f} % of a core")


def _ready(name: str) -> tuple[StreamParser, bytes]:
    make, telegram = cases()[name]
    return make(), telegram
