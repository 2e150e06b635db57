"""The garbage collector kept from stopping the world for long, and what pauses remain measured."""

import asyncio
import gc
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from light_node.chaincode.metrics import Metrics
from light_node.clock import Clock

# Contract code makes next to no cycles, so a collection finds nothing; what it costs grows with
# the objects alive. Those of the program itself are frozen, and the rest is looked at seldom.
_THRESHOLDS = (5_000, 20, 50)
# Python's 5 ms between hand-overs would delay every message while a long function computes.
_SWITCH_INTERVAL = 0.0005
_SAMPLE_SECONDS = 0.5
_REMEMBERED = 1000

Collections = deque[tuple[int, float]]
"""Generation and seconds of collections that are not counted yet."""


@contextmanager
def tamed(clock: Clock) -> Iterator[Collections]:
    """Freeze what is loaded, collect seldom, time every collection; undone at the end."""
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    found: Collections = deque(maxlen=_REMEMBERED)
    started = 0.0

    def watch(phase: str, info: dict[str, int]) -> None:
        # No more than this: a collection may begin anywhere, also while a metric's lock is held.
        nonlocal started
        if phase == "start":
            started = clock.monotonic()
        else:
            found.append((info["generation"], clock.monotonic() - started))

    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.callbacks.append(watch)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        yield found
    finally:
        sys.setswitchinterval(interval)
        gc.callbacks.remove(watch)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def sample(metrics: Metrics, clock: Clock, collections: Collections) -> None:
    """Count, until cancelled, collections and how late the event loop comes round."""
    while True:
        due = clock.monotonic() + _SAMPLE_SECONDS
        await asyncio.sleep(_SAMPLE_SECONDS)
        metrics.loop_paused(max(0.0, clock.monotonic() - due))
        while collections:
            metrics.gc_paused(*collections.popleft())
