"""The simulated meter on a TCP port, read by the same session as on a serial line."""

import threading
from datetime import UTC, datetime

from light_node.clock import SystemClock
from wallet_app.meter.events import Origin, Reading
from wallet_app.meter.session import MeterSession
from wallet_app.meter.simulator import meters
from wallet_app.meter.simulator.home import BatterySpec, SimulatedHome
from wallet_app.meter.simulator.household import Household
from wallet_app.meter.simulator.socket_line import MeterSocket


def test_a_session_reads_the_meter_over_tcp_again_and_again() -> None:
    start = datetime(2026, 6, 21, tzinfo=UTC)
    home = SimulatedHome(Household(1, 4000, 5), BatterySpec(), start, import_wh=1_234_560)
    device = meters.make("dlt645", "000000000042", lambda: home.advance(start))
    with MeterSocket(device) as line:
        for _ in range(2):  # the second program finds the meter as the first one did
            readings: list[Reading] = []
            got = threading.Event()

            def take(
                reading: Reading, into: list[Reading] = readings, done: threading.Event = got
            ) -> None:
                into.append(reading)
                done.set()

            session = MeterSession(
                line.port,
                address="000000000042",
                interval_s=0.1,
                clock=SystemClock(),
                on_reading=take,
                on_status=lambda status: None,
                origin=Origin.SIMULATED,
            )
            session.start()
            assert got.wait(10)
            session.stop()
            assert readings[0].meter_id == "000000000042"
            assert str(readings[0].import_kwh) == "1234.56"
            assert readings[0].origin is Origin.SIMULATED
