"""What reading costs: a P1 telegram a second and ten Modbus meters on one line, CPU of the reader.

The meters are simulated in a process of their own, on pseudo-terminals; the reader does everything
the window does behind its screen: sessions, parsers, plausibility, raw log.
"""

import subprocess
import sys
import time

from light_node.clock import SystemClock
from wallet_app.meter.desk import Connection, MeterDesk
from wallet_app.meter.dialogue import Options

SETTLE_S, MEASURE_S = 6.0, 30.0
METERS = """
import sys
from datetime import UTC, datetime
from tests.wallet_app.meter.bus import Bus
from wallet_app.meter.simulator import meters
from wallet_app.meter.simulator.home import HomeState
from wallet_app.meter.simulator.terminal import MeterTerminal
state = HomeState(datetime(2026, 6, 21, 9, tzinfo=UTC), 2000, 500, 0, 0, 12345678, 9999, 231.0)
units = [meters.make("modbus_rtu", str(n), lambda: state, profile="sdm630") for n in range(1, 11)]
p1 = meters.make("dsmr_p1", "1", lambda: state)
with MeterTerminal(p1) as p1, MeterTerminal(Bus(units)) as bus:
    print(p1.port, bus.port, flush=True)
    sys.stdin.read()
"""


def run() -> None:
    """Print readings a second and the share of a core, for two paces of the Modbus line."""
    print(f"{'Modbus meters read every':<26} {'readings/s':>11} {'% of a core':>12}")
    for interval_s in (5.0, 1.0):
        readings, share = measure(interval_s)
        print(f"{interval_s:>24.0f} s {readings:>11.1f} {share:>12.2f}")


def measure(interval_s: float) -> tuple[float, float]:
    """Return (readings per second, CPU of this process in per cent of a core)."""
    command = [sys.executable, "-c", METERS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        p1, bus = server.stdout.readline().split()
        desk = MeterDesk(SystemClock(), port_list=list)
        units = ",".join(str(n) for n in range(1, 11))
        desk.connect(Connection(p1, "dsmr_p1", interval_s=1.0))
        options = Options(address=units, profile="sdm630")
        desk.connect(Connection(bus, "modbus_rtu", options, interval_s))
        time.sleep(SETTLE_S)
        before, cpu, began = _count(desk), time.process_time(), time.monotonic()
        time.sleep(MEASURE_S)
        seconds = time.monotonic() - began
        share = 100 * (time.process_time() - cpu) / seconds
        readings = (_count(desk) - before) / seconds
        desk.close()
        server.terminate()
    return readings, share


def _count(desk: MeterDesk) -> int:
    return sum(meter.count for view in desk.views() for meter in view.meters)
