"""The load test: what is sent, in which order. Each step says what it found as it goes."""

import asyncio
import bisect
import contextlib
import gc
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from light_node.bench import market
from light_node.bench.client import LoadClient
from light_node.bench.load import Outcome, paced
from light_node.bench.report import PAPER, PUTS, QUERIES, QUOTES, Row, Verified
from light_node.chain.node import LightNode
from light_node.chain.status import SyncStatus
from light_node.clock import Clock
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import NetworkProfile

_KV = "kv"
_SETTLE_S = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what: queries a row, transactions a rate, the rates; 0 or none leaves it out.

    ``verified`` quotes are sent 50 a second while a light node follows.
    """

    queries: int = 1_000
    transactions: int = 500
    rates: tuple[int, ...] = (50, 100, 150, 200)
    verified: int = 500
    verified_rate: int = 50


@dataclass(frozen=True, slots=True)
class Found:
    """Everything a run measured; ``verified`` None if it was left out."""

    rows: tuple[Row, ...]
    verified: Verified | None


class Bench:
    """A load test of one network through one organisation's peer."""

    def __init__(
        self,
        profile: NetworkProfile,
        operator: SigningIdentity,
        clock: Clock,
        say: Callable[[str], None],
        tell: Callable[[Row], None],
    ) -> None:
        """``operator`` sends queries and opens slots; ``say`` shows progress."""
        self._profile, self._operator, self._clock = profile, operator, clock
        self._say, self._tell = say, tell

    async def run(self, plan: Plan) -> Found:
        """Carry out ``plan``; ``NoRegistrar``, ``CaError``, ``RuntimeError``, ``grpc.RpcError``."""
        # Pauses of the collector would be counted as the network's.
        gc.collect()
        gc.freeze()
        quotes = plan.transactions * len(plan.rates) + plan.verified
        traders = []
        if quotes:
            self._say(f"enrolling {market.TRADERS} households …")
            traders = await asyncio.to_thread(
                market.enrol_traders, self._profile, self._operator.msp_id
            )
        async with self._client() as client:
            has_kv = await self._has_kv(client)
            rows = await self._queries(client, plan.queries, has_kv) if plan.queries else []
            verified = None
            if quotes:
                quoting = await market.prepare(
                    self._profile, client, self._operator, traders, quotes
                )
                numbers = itertools.count()
                for rate in plan.rates:
                    if has_kv:
                        rows.append(
                            await self._puts(client, quoting.traders, plan.transactions, rate)
                        )
                    rows.append(
                        await self._quotes(client, quoting, numbers, plan.transactions, rate)
                    )
                if plan.verified:
                    verified = await self._verified(client, quoting, numbers, plan)
        return Found(tuple(rows), verified)

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[LoadClient]:
        client = LoadClient(self._profile, self._operator.msp_id)
        try:
            yield client
        finally:
            await client.close()

    async def _has_kv(self, client: LoadClient) -> bool:
        try:
            await client.submit(self._operator, _KV, b"put", b"bench", b"value")
        except grpc.RpcError:
            self._say("the trivial chaincode kv is not deployed: no puts")
            return False
        return True

    async def _queries(self, client: LoadClient, count: int, has_kv: bool) -> list[Row]:
        async def query(_: int) -> bytes:
            if has_kv:
                return await client.evaluate(self._operator, _KV, b"get", b"bench")
            return await client.evaluate(self._operator, self._profile.chaincode, b"GetPots")

        await paced(100, 100, query)  # connections, caches
        rows = []
        for paper in PAPER:
            rows.append(self._told(Row(QUERIES, await paced(count, paper.rate, query), paper)))
        return rows

    async def _puts(
        self, client: LoadClient, traders: Sequence[market.Trader], count: int, rate: int
    ) -> Row:
        def put(i: int) -> Awaitable[object]:
            # By those who quote: to a peer many callers cost more than one whom it remembers.
            sender = traders[i % len(traders)].identity
            return client.submit(sender, _KV, b"put", f"bench-{i}".encode(), b"value")

        return self._told(Row(PUTS, await paced(count, rate, put)))

    async def _quotes(
        self,
        client: LoadClient,
        quoting: market.Quoting,
        numbers: "itertools.count[int]",
        count: int,
        rate: int,
    ) -> Row:
        outcome = await paced(count, rate, lambda _: quoting.send(client, next(numbers)))
        return self._told(Row(QUOTES, outcome))

    async def _verified(
        self,
        client: LoadClient,
        quoting: market.Quoting,
        numbers: "itertools.count[int]",
        plan: Plan,
    ) -> Verified:
        seen: list[tuple[float, int]] = []

        def note(status: SyncStatus) -> None:
            seen.append((time.perf_counter(), status.valid_height or 0))

        with (
            tempfile.TemporaryDirectory() as folder,
            LightNode(self._profile, Path(folder), self._operator, self._clock) as node,
        ):
            node.subscribe(note)
            tip = await asyncio.to_thread(_caught_up, node)
            self._say(f"a light node follows from block {tip}")
            outcome = await paced(
                plan.verified, plan.verified_rate, lambda _: quoting.send(client, next(numbers))
            )
            last = max((s.committed.block_number for s in outcome.samples), default=0)
            await asyncio.to_thread(
                node.wait, lambda status: (status.valid_height or 0) > last, _SETTLE_S
            )
            timeout = node.config.batch_timeout_ns / 1e6
        latencies = verified_latencies(outcome, seen)
        return Verified(plan.verified_rate, latencies, plan.verified - len(latencies), timeout)

    def _told(self, row: Row) -> Row:
        self._tell(row)
        for text in row.outcome.examples:
            self._say(f"  failed: {text[:200]}")
        return row


def verified_latencies(outcome: Outcome, seen: Sequence[tuple[float, int]]) -> tuple[float, ...]:
    """Return ms from each call's instant until two organisations agreed on its block, ascending.

    ``seen`` are (monotonic seconds, blocks agreed on) in the order they were seen. Calls whose
    block was never agreed on are left out.
    """
    heights = list(itertools.accumulate((height for _, height in seen), max))
    found = []
    for sample in outcome.samples:
        place = bisect.bisect_right(heights, sample.committed.block_number)
        if place < len(seen):
            found.append((seen[place][0] - sample.due) * 1e3)
    return tuple(sorted(found))


def _caught_up(node: LightNode) -> int:
    def arrived(status: SyncStatus) -> bool:
        return bool(status.height and (status.valid_height or 0) >= status.height)

    if not node.wait(arrived, _SETTLE_S):
        raise RuntimeError(f"the light node does not catch up: {node.status().waiting_for}")
    return node.status().valid_height or 0
