"""What reading meters costs of one core: a P1 telegram a second and ten Modbus meters, live.

The meters are simulated on pseudo-terminals by another process, so that only our own side counts:
sessions, parsers, clocks and threads. Every Modbus meter is polled once a second.
"""

import multiprocessing
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from light_node.clock import SystemClock
from wallet_app.meter.dialogue import Options
from wallet_app.meter.events import Reading
from wallet_app.meter.ports import Link
from wallet_app.meter.session import MeterSession, Timing
from wallet_app.meter.simulator import meters
from wallet_app.meter.simulator.home import HomeState

SECONDS = 30
UNITS = 10
LINK = Link(9600, 8, "N", 1)
STATE = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 2000, 500, 0, 0, 12_345_678, 9_999, 231.04)


def serve(out: Connection) -> None:
    """Put all meters on terminals and say where, then wait to be ended."""
    from wallet_app.meter.simulator.terminal import MeterTerminal

    devices: list[meters.Device] = [meters.P1Push("123456789012", lambda: STATE)]
    devices += [meters.ModbusMeter(unit + 1, "sdm630", lambda: STATE) for unit in range(UNITS)]
    terminals = [MeterTerminal(device) for device in devices]
    out.send([terminal.port for terminal in terminals])
    out.recv()
    for terminal in terminals:
        terminal.close()


def run() -> None:
    """Print CPU time per second and the readings that came."""
    if sys.platform == "win32":
        print("skipped: pseudo-terminals are POSIX")
        return
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    ports: list[str] = ours.recv()
    count: Counter[str] = Counter()

    def got(reading: Reading) -> None:
        count[reading.protocol] += 1

    sessions = [
        MeterSession(
            port,
            protocol="modbus_rtu" if unit else "dsmr_p1",
            address=str(unit) if unit else None,
            interval_s=1.0,
            clock=SystemClock(),
            on_reading=got,
            on_status=lambda _: None,
            link=LINK,
            options=Options(profile="sdm630" if unit else ""),
            timing=Timing(),
        )
        for unit, port in enumerate(ports)
    ]
    for session in sessions:
        session.start()
    time.sleep(3)  # opening ports and imports are not what is asked
    count.clear()
    cpu, wall = time.process_time(), time.monotonic()
    time.sleep(SECONDS)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    for session in sessions:
        session.stop()
    ours.send("end")
    process.join(10)
    shown = ", ".join(f"{number / wall:.1f} {name}" for name, number in sorted(count.items()))
    print(f"readings a second: {shown}")
    print(f"{100 * cpu / wall:.2f} % of a core")
