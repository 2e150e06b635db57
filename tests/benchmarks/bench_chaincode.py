"""The market contract behind Fabric's own peers, side by side with the trivial chaincode kv.

To reach: quotes at 100 a second, from submission to commit, with at most 1.5 times kv's latency;
1,000 quotes cleared in one transaction in less than 2 s; no pause above 50 ms from a chaincode
server. Needs Fabric's programs (FABRIC_BIN or PATH) and 6 minutes; skipped elsewhere.

Rounds alternate puts and quotes of the same households on one Raft network, every peer with a
server of its own, at several rates: where the machine has no core left, calls queue, and a ratio
of latencies says how long it was at its end. So the ceiling stands beside it. Pauses are what the
servers' own metrics say: the collector's, the longest computing for one message, and how late their
loops came round, which counts waiting for a core that other processes have.
"""

import asyncio
import gc
import itertools
import os
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from light_node import jsonio
from light_node.bench.client import Committed, LoadClient
from light_node.bench.load import Outcome, paced
from light_node.bench.market import TRADERS, Quoting, Trader
from light_node.bench.report import HEAD, PUTS, QUOTES, Row, table_line
from light_node.clock import SystemClock
from light_node.devnet.certificates import Credential, issue_identity
from light_node.devnet.store import Store
from light_node.devnet.testing import DevnetClients
from light_node.fabric import crypto
from light_node.fabric.identity import SigningIdentity
from light_node.fabricnet import binaries
from light_node.fabricnet.errors import FabricNetError
from light_node.fabricnet.network import FabricNet, UpOptions
from light_node.fabricnet.plan import Plan

ROUNDS, COUNT = 5, 300
RATES = tuple(int(rate) for rate in os.environ.get("RATES", "50,75,100").split(","))
_CEILING_RATE = 400
CLEARED = 1_000
_AT_ONCE = 20
_FIRST_SLOT = datetime.fromisoformat("2027-06-21T10:00Z")
_ORDERING = os.environ.get("ORDERING", "raft")
_BATCH = int(os.environ.get("BATCH", "10"))  # most transactions in a block


class Bench:
    """One network, a client of its first peer, and the processes of its chaincode servers."""

    def __init__(self, network: FabricNet) -> None:
        self.network = network
        clients = DevnetClients(network.directory)
        self.operator = clients.user("operator")
        self.client = LoadClient(clients.profile, self.operator.msp_id)
        self.plan = Plan.load(network.directory)
        self._slots = self._puts = 0

    def cpu(self, chaincode: str) -> float:
        """Seconds of CPU that the servers of a chaincode have used (Linux; elsewhere 0)."""
        total = 0.0
        for name in self.network.processes.names():
            pid = self.network.processes.pid(name)
            stat = Path(f"/proc/{pid}/stat")
            if name.startswith(f"{chaincode}.") and stat.exists():
                fields = stat.read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def longest(self, of: str) -> float:
        """Longest pause in ms that any server of the market contract has seen."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        found = [0.0]
        for server in self.plan.chaincode_servers:
            if server.chaincode != "market":
                continue
            with opener.open(f"http://127.0.0.1:{server.operations}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            pattern = rf'chaincode_longest_pause_seconds{{of="{of}"}} (\S+)'
            found += [1e3 * float(value) for value in re.findall(pattern, text)]
        return max(found)

    async def admit(self, traders: list[Trader]) -> None:
        facts = {"capacity_w": 5_000, "voltage_v": 230, "zone": "z1", "green": True}

        async def one(i: int) -> None:
            trader = traders[i]
            fields = {**facts, "wallet_address": trader.wallet_address}
            text = jsonio.canonical_dumps(fields)
            await self.client.submit(trader.identity, "market", b"Admit", text)

        await _all(len(traders), one)

    async def open_slot(self, rounds: int = 3) -> str:
        start = _FIRST_SLOT + timedelta(hours=self._slots)
        self._slots += 1
        slot = f"{start:%Y-%m-%dT%H:%MZ}/PT60M"
        fields = {"slot": slot, "floor": 4_000, "cap": 11_080, "rounds": rounds}
        await self.operate(b"OpenSlot", jsonio.canonical_dumps(fields))
        return slot

    async def operate(self, *args: bytes) -> float:
        """Submit as the operator; seconds until it was committed."""
        started = time.perf_counter()
        await self.client.submit(self.operator, "market", *args)
        return time.perf_counter() - started

    async def put(self, traders: list[Trader], number: int) -> Committed:
        """Put by one of those who quote: a peer remembers a caller, and many cost it more."""
        sender = traders[number % len(traders)].identity
        return await self.client.submit(sender, "kv", b"put", b"k%d" % number, b"value")

    async def puts(self, traders: list[Trader], rate: int) -> Outcome:
        first, self._puts = self._puts, self._puts + COUNT
        return await paced(COUNT, rate, lambda i: self.put(traders, first + i))

    async def quotes(self, traders: list[Trader], rate: int) -> Outcome:
        quoting = await self.quoting(traders, COUNT)
        return await paced(COUNT, rate, lambda i: quoting.send(self.client, i))

    async def quoting(self, traders: list[Trader], count: int, rounds: int = 3) -> Quoting:
        """Slots, newly opened, for ``count`` quotes, one of each trader in each."""
        slots = [await self.open_slot(rounds) for _ in range(-(-count // len(traders)))]
        return Quoting("market", tuple(traders), tuple(slots))


def run() -> None:
    try:
        release = binaries.find(os.environ).release
    except FabricNetError as error:
        print(f"skipped: {error}")
        return
    with tempfile.TemporaryDirectory() as directory:
        network = FabricNet(Path(directory, "n"), SystemClock())
        try:
            network.up(
                UpOptions(bft=_ORDERING == "bft", kv=True, batch_messages=_BATCH), lambda text: None
            )
            print(f"Fabric {release}, {_ORDERING}, batch 500 ms or {_BATCH}\n")
            asyncio.run(_run(network))
        finally:
            network.down(purge=True)


async def _run(network: FabricNet) -> None:
    bench = Bench(network)
    everybody = _traders(bench.network.directory / "keys", CLEARED)
    traders = everybody[:TRADERS]
    gc.freeze()
    await bench.admit(everybody)
    print(f"{COUNT} each\n{HEAD}{'server CPU ms':>15}")
    for warming in (bench.puts, bench.quotes):
        await warming(traders, RATES[0])
    ratios: dict[int, list[float]] = {rate: [] for rate in RATES}
    for _, rate in itertools.product(range(ROUNDS), RATES):
        before = bench.cpu("kv")
        puts = await bench.puts(traders, rate)
        print(_line(PUTS, puts) + _per(bench.cpu("kv") - before), flush=True)
        before = bench.cpu("market")
        quotes = await bench.quotes(traders, rate)
        print(_line(QUOTES, quotes) + _per(bench.cpu("market") - before), flush=True)
        ratios[rate].append(quotes.average_ms / puts.average_ms)
    print("\nquotes / puts, average latency (1.5):")
    for rate, found in ratios.items():
        shown = ", ".join(f"{ratio:.2f}" for ratio in found)
        print(f"  {rate:3} a second: median {statistics.median(found):.2f} of {shown}")
    print(f"  {RATES[-1]:3} a second, both at once: {await _mixed(bench, traders):.2f}")
    ceiling = await bench.puts(traders, _CEILING_RATE)
    print(f"ceiling: {ceiling.throughput:.0f} puts a second, sent at {_CEILING_RATE}")
    quoting = await bench.quoting(everybody, CLEARED, rounds=1)
    await _all(CLEARED, lambda i: quoting.send(bench.client, i))
    print(f"\n{CLEARED:,} quotes in one slot, from submission to commit:")
    for function, *args in ((b"CloseRound", b"1"), (b"PublishStanding", b"1"), (b"ClearSlot",)):
        seconds = await bench.operate(function, quoting.slots[0].encode(), *args)
        print(f"  {function.decode():18}{seconds:6.2f} s")
    print(
        f"\nlongest pause of a server: collector {bench.longest('gc'):.1f} ms, computing for one "
        f"message {bench.longest('step'):.1f} ms (50), loop late {bench.longest('loop'):.1f} ms"
    )
    await bench.client.close()


async def _mixed(bench: Bench, traders: list[Trader]) -> float:
    """Send puts and quotes in turns; on a machine with other work both meet the same of it."""
    quoting = await bench.quoting(traders, COUNT)
    latencies: dict[str, list[float]] = {"put": [], "quote": []}

    async def one(i: int) -> None:
        began = time.perf_counter()
        if i % 2:
            await bench.put(traders, -i)
        else:
            await quoting.send(bench.client, i // 2)
        latencies["put" if i % 2 else "quote"].append(1e3 * (time.perf_counter() - began))

    print(_line("both", await paced(2 * COUNT, RATES[-1], one)), flush=True)
    put, quote = (statistics.fmean(latencies[name]) for name in ("put", "quote"))
    print(f"  puts {put:.1f} ms, quotes {quote:.1f} ms on average")
    return quote / put


def _traders(keys: Path, count: int) -> list[Trader]:
    """Identities straight from Org1's root: the CA's own pace is not what is measured."""
    store = Store.open(keys)
    root = Credential.load(*store.credentials()["peer0.org1/ca"])
    store.close()
    after = datetime.now(UTC) + timedelta(days=1)
    found = []
    for i in range(count):
        key, name = crypto.generate_key(), f"trader-{i}"
        certificate = issue_identity(
            root,
            key.public_key(),
            name,
            ["client"],
            after,
            attributes={
                "hf.EnrollmentID": name,
                "market.user_type": "household",
                "market.permissions": "trade",
            },
        )
        pem = crypto.certificate_pem(certificate)
        identity = SigningIdentity.from_key("Org1MSP", pem, key)
        found.append(Trader(identity, f"{name}@Org1MSP", f"wallet-{i}"))
    return found


def _line(load: str, outcome: Outcome) -> str:
    for text in outcome.examples:
        print(f"  failed: {text[:200]}")
    return table_line(Row(load, outcome))


async def _all(count: int, send: Callable[[int], Awaitable[object]]) -> None:
    """Send ``count`` calls, a few at a time: what is prepared is not measured."""
    waiting = iter(range(count))

    async def some() -> None:
        for i in waiting:
            await send(i)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))


def _per(seconds: float) -> str:
    return f"{1e3 * seconds / COUNT:15.2f}"
