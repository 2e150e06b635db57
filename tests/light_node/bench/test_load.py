"""Sending on schedule, and what is counted."""

import asyncio

from light_node.bench.client import Committed, NotCommitted
from light_node.bench.load import Outcome, Sample, paced, percentile
from light_node.bench.run import verified_latencies


def test_calls_overlap_and_failures_are_counted_apart() -> None:
    under_way: list[int] = []
    most = 0

    async def send(i: int) -> int:
        nonlocal most
        under_way.append(i)
        most = max(most, len(under_way))
        await asyncio.sleep(0.05)
        under_way.remove(i)
        if i % 4 == 3:
            raise NotCommitted(f"CODE {i}")
        return i

    outcome = asyncio.run(paced(20, 1_000, send))
    assert most > 1  # nobody waits for an answer before sending the next
    assert sorted(sample.result for sample in outcome.samples) == [
        i for i in range(20) if i % 4 != 3
    ]
    assert outcome.failed == 5
    assert len(outcome.examples) == 3
    assert outcome.examples[0].startswith("CODE ")


def test_latency_counts_from_the_instant_a_call_was_due() -> None:
    async def send(i: int) -> None:
        if i == 0:
            import time

            time.sleep(0.2)  # a stall of the sender itself

    outcome = asyncio.run(paced(10, 1_000, send))
    assert len([ms for ms in outcome.latencies if ms > 150]) == 10


def test_percentiles() -> None:
    assert percentile([float(i) for i in range(100)], 0.99) == 99
    assert percentile([1.0, 2.0], 0.5) == 2
    assert percentile([5.0], 1) == 5
    assert percentile([], 0.5) != percentile([], 0.5)


def committed(due: float, block: int) -> Sample:
    return Sample(due, 0.0, Committed("tx", block))


def test_verified_when_two_organisations_hold_more_blocks_than_its_number() -> None:
    samples = (committed(10.0, 5), committed(10.1, 6), committed(10.2, 9))
    outcome = Outcome(50, samples, 0, 1.0, 0.0)
    # Heights count blocks; one that is seen to fall back takes nothing back.
    seen = [(9.0, 5), (10.5, 6), (10.6, 0), (11.0, 8)]
    assert [round(ms) for ms in verified_latencies(outcome, seen)] == [500, 900]
