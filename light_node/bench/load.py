"""Sending calls on schedule and what came of them."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from light_node.bench.client import Committed, NotCommitted

_MOST_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """A call that succeeded: when it was due (monotonic seconds), how long it took, its result."""

    due: float
    latency_ms: float
    result: Any

    @property
    def committed(self) -> Committed:
        """Where the transaction is; for samples of transactions only."""
        assert isinstance(self.result, Committed)
        return self.result


@dataclass(frozen=True, slots=True)
class Outcome:
    """Calls sent ``rate`` a second: the successes, how many failed, seconds until the last answer.

    ``cpu_ms`` is this process's processor time per call, all its threads; ``examples`` are texts of
    the first failures, from the other side.
    """

    rate: int
    samples: tuple[Sample, ...]
    failed: int
    seconds: float
    cpu_ms: float
    examples: tuple[str, ...] = ()

    @property
    def latencies(self) -> list[float]:
        """The latencies in ms, ascending."""
        return sorted(sample.latency_ms for sample in self.samples)

    @property
    def average_ms(self) -> float:
        """The mean latency; NaN if nothing succeeded."""
        return statistics.fmean(self.latencies) if self.samples else float("nan")

    @property
    def throughput(self) -> float:
        """Successes per second."""
        return len(self.samples) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """Return the latency that ``share`` (0 to 1) of the successes stay below."""
        return percentile(self.latencies, share)


def percentile(ascending: list[float], share: float) -> float:
    """Return the value that ``share`` (0 to 1) of ``ascending`` stay below; NaN of nothing."""
    if not ascending:
        return float("nan")
    return ascending[min(int(len(ascending) * share), len(ascending) - 1)]


async def paced(count: int, rate: int, send: Callable[[int], Awaitable[object]]) -> Outcome:
    """Send ``count`` calls, ``rate`` a second, each at its instant whatever the others do.

    ``send(i)`` makes one call; what it raises of gRPC's errors or ``NotCommitted`` is a failure.
    """
    samples: list[Sample] = []
    failures: list[str] = []
    cpu = time.process_time()
    start = time.perf_counter() + 0.05

    async def one(i: int) -> None:
        due = start + i / rate
        try:
            result = await send(i)
        except (grpc.RpcError, NotCommitted) as error:
            failures.append(_text(error))
        else:
            samples.append(Sample(due, (time.perf_counter() - due) * 1e3, result))

    tasks = []
    for i in range(count):
        delay = start + i / rate - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.append(asyncio.ensure_future(one(i)))
    await asyncio.gather(*tasks)
    seconds = time.perf_counter() - start
    used = (time.process_time() - cpu) * 1e3 / count
    return Outcome(
        rate, tuple(samples), len(failures), seconds, used, tuple(failures[:_MOST_EXAMPLES])
    )


def _text(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
