"""A devnet under the papers' load test, and quotes from submission to commit.

To reach: the ramp of docs/market-rules.md section 9 (1,000 queries a row, 50 to 460 a second sent)
with none failed and an average below 20 ms; puts and quotes at 100 a second, none lost, on average
below the batch timeout plus 50 ms; less than 250 MB resident.

The client is this process, the devnet another one; see :mod:`light_node.bench` for how it is
loaded. ``light-node bench --network D`` does the same for any network.
"""

import asyncio
import tempfile
from pathlib import Path

from light_node.bench.report import HEAD, table_line
from light_node.bench.run import Bench, Plan
from light_node.clock import SystemClock
from light_node.devnet.testing import DevnetProcess

RATE = 100


def run() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for timeout in (500, 100):
            with DevnetProcess(Path(directory, str(timeout)), f"--batch-timeout={timeout}") as net:
                allowed = f"batch timeout {timeout} ms, commits allowed {timeout + 50} ms"
                print(f"{allowed}; beside the queries what [Z] measured on Fabric 1.1\n\n{HEAD}")
                bench = Bench(
                    net.profile,
                    net.user(),
                    SystemClock(),
                    lambda text: print(text, flush=True),
                    lambda row: print(table_line(row), flush=True),
                )
                plan = Plan(1_000 if timeout == 500 else 0, 1_000, (RATE,), 400)
                found = asyncio.run(bench.run(plan))
                if found.verified:
                    print(found.verified.line)
                print(f"\nresident at the end: {_resident(net):.0f} MB\n")


def _resident(net: DevnetProcess) -> float:
    """Return the devnet's resident memory in MB (Linux; elsewhere not a number)."""
    try:
        text = Path(f"/proc/{net.pid}/status").read_text()
    except OSError:
        return float("nan")
    kilobytes = next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))
    return int(kilobytes) * 1024 / 1e6
