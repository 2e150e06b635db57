"""Side by side with Fabric's official Node client: the same loads in alternating runs.

To reach: none failed, an average latency within 1.2 times the Node client's, below 2 ms of client
CPU per transaction; quotes, ours through the market contract, within 1.5 times the Node client's
puts through the trivial chaincode. Every turn is a process of its own, so that neither inherits
anything.

On a network that runs already (``light-node fabric up --kv`` or a devnet):
``BENCH_NETWORK=D make bench BENCH=node``; without it on a devnet.
"""

import asyncio
import contextlib
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from light_node.bench import market
from light_node.bench.client import LoadClient
from light_node.bench.load import paced, percentile
from light_node.devnet.testing import DevnetClients, DevnetProcess

NODE_CLIENT = Path(__file__).parents[1] / "integration" / "node"
LOADS = (
    ("query", 600, 200),
    ("query", 1_000, 460),
    ("put", 200, 50),
    ("put", 300, 100),
    ("quote", 300, 100),  # beside the Node client's puts
)
ROUNDS = 3
HEAD = (
    f"{'load':<6}{'sent/s':>7}{'failed':>14}{'avg ms':>20}{'ratio':>7}{'p99 ms':>20}"
    f"{'CPU ms per call':>18}"
)


def run() -> None:
    if shutil.which("node") is None or not (NODE_CLIENT / "node_modules").is_dir():
        print("Node or its packages are missing: run 'npm ci' in tests/integration/node")
        return
    with _network() as net:
        found: dict[str, list[list[dict[str, Any]]]] = {"ours": [], "node": []}
        for _ in range(ROUNDS):
            found["ours"].append(_turn([sys.executable, "-m", __spec__.name, str(net.directory)]))
            found["node"].append(_node(net))
        print(f"{net.profile.name}: ours / Node client, medians of {ROUNDS} alternating rounds\n")
        print(HEAD)
        for place, (kind, _, rate) in enumerate(LOADS):
            ours, node = ([turn[place] for turn in found[who]] for who in ("ours", "node"))
            print(_line(kind, rate, ours, node), flush=True)
        print()


@contextlib.contextmanager
def _network() -> Iterator[DevnetClients]:
    given = os.environ.get("BENCH_NETWORK")
    if given:
        yield DevnetClients(Path(given))
        return
    with tempfile.TemporaryDirectory() as directory, DevnetProcess(Path(directory)) as net:
        yield net


def _node(net: DevnetClients) -> list[dict[str, Any]]:
    peer = net.profile.organization("Org1MSP").peers[0]
    user = net.directory / "users" / "Org1MSP" / "operator"
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "root.pem")
        root.write_text(peer.tls_root_pem)
        options = {
            "address": peer.address,
            "tlsRoot": str(root),
            "mspId": "Org1MSP",
            "certificate": str(user / "cert.pem"),
            "key": str(user / "key.pem"),
            "channel": net.profile.channel,
            "loads": [
                {"kind": "put" if kind == "quote" else kind, "count": count, "rate": rate}
                for kind, count, rate in LOADS
            ],
        }
        return _turn(["node", "bench.mjs", json.dumps(options)], NODE_CLIENT)


def _turn(command: list[str], directory: Path | None = None) -> list[dict[str, Any]]:
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, timeout=300, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _line(kind: str, rate: int, ours: list[dict[str, Any]], node: list[dict[str, Any]]) -> str:
    def both(figure: Any, form: str) -> tuple[str, float, float]:
        one, other = (statistics.median(figure(turn) for turn in t) for t in (ours, node))
        return f"{one:{form}} / {other:{form}}", one, other

    averages, one, other = both(lambda t: statistics.fmean(t["latencies"]), ".1f")
    p99, _, _ = both(lambda t: percentile(sorted(t["latencies"]), 0.99), ".1f")
    cpu, _, _ = both(lambda t: t["cpu_ms"], ".2f")
    failed = f"{sum(t['failed'] for t in ours)} / {sum(t['failed'] for t in node)}"
    return f"{kind:<6}{rate:>7}{failed:>14}{averages:>20}{one / other:>7.2f}{p99:>20}{cpu:>18}"


async def _ours(net: DevnetClients) -> None:
    gc.freeze()
    user, client = net.user(), LoadClient(net.profile, "Org1MSP")
    quotes = sum(count for kind, count, _ in LOADS if kind == "quote")
    try:
        traders = await asyncio.to_thread(market.enrol_traders, net.profile, "Org1MSP")
        quoting = await market.prepare(net.profile, client, user, traders, quotes)
        await client.submit(user, "kv", b"put", b"bench", b"value")

        def send(kind: str, i: int) -> Any:
            if kind == "query":
                return client.evaluate(user, "kv", b"get", b"bench")
            if kind == "quote":
                return quoting.send(client, i)
            return client.submit(user, "kv", b"put", f"bench-{i}".encode(), b"value")

        await paced(100, 100, lambda i: send("query", i))
        for kind, count, rate in LOADS:
            outcome = await paced(count, rate, lambda i, kind=kind: send(kind, i))
            answer = {"latencies": outcome.latencies, "failed": outcome.failed}
            print(json.dumps({**answer, "cpu_ms": outcome.cpu_ms}), flush=True)
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(_ours(DevnetClients(Path(sys.argv[1]))))
