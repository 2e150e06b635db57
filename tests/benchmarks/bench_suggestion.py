"""A suggestion as the running wallet makes it: forecast, kept books, look-ahead. Under 50 ms."""

import random
import time
from collections.abc import Callable
from datetime import timedelta

from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot, parse
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.settings import Settings
from wallet_app.strategy.forecast import SlotEnergy
from wallet_app.strategy.scenarios import PastBook
from wallet_app.trading.planner import Planner

SLOT = parse("2026-06-21T10:00Z/PT15M")
BOUNDS = PriceBounds(PriceTick(4_000), PriceTick(11_000))
SIZES = ((200, 50), (3_000, 50), (500, 1_000), (50, 10_000))  # kept books, quotes in each
TARIFFS = 96  # announced slots, a day
DAYS = 21  # of readings


def run() -> None:
    print("one suggestion on three weeks of quarter hours, best of five, ms\n")
    print(
        f"{'books':>8}{'quotes':>8}{'used':>11}{'forecast':>10}{'estimate':>10}"
        f"{'and look-ahead':>16}"
    )
    for books, quotes in SIZES:
        planner = _planner(books, quotes)
        now = SLOT.starts_at - timedelta(minutes=10)
        plan = planner.plan(SLOT, 4_000, now)
        tariffs, coming = {}, SLOT
        for _ in range(TARIFFS):
            coming = coming.next
            tariffs[coming] = BOUNDS
        found = planner.suggest(SLOT, BOUNDS, plan, tariffs=tariffs)
        forecast = _best(lambda p=planner, n=now: p.plan(SLOT, 4_000, n))  # type: ignore[misc]
        alone = _best(lambda p=planner, x=plan: p.suggest(SLOT, BOUNDS, x))  # type: ignore[misc]
        ahead = _best(
            lambda p=planner, x=plan, t=tariffs: p.suggest(SLOT, BOUNDS, x, tariffs=t)  # type: ignore[misc]
        )
        print(
            f"{books:>8,}{quotes:>8,}{found.scenarios:>11}{forecast:>10.1f}{alone:>10.1f}"
            f"{ahead:>16.1f}"
        )


def _planner(books: int, quotes: int) -> Planner:
    state = random.Random(1)
    settings = Settings({"reservation_model": "physical", "battery_capacity_wh": 10_000})
    made = Planner(settings, "me")
    step = timedelta(seconds=SLOT.length_s)
    for number in range(1, DAYS * 86_400 // SLOT.length_s):
        start = SLOT.starts_at - number * step
        made.learn(SlotEnergy(start, SLOT.length_s, state.randint(-2_000, 1_000)))
    drawn = [_quotes(state, quotes) for _ in range(20)]
    for number in range(1, books + 1):
        slot = Slot(SLOT.start - number * SLOT.length_s, SLOT.length_s)
        made.remember(PastBook.of(slot, drawn[number % len(drawn)]))
    return made


def _quotes(state: random.Random, count: int) -> list[Quote]:
    return [
        Quote(
            f"hh-{number:05d}@Org1MSP",
            state.choice(list(Side)),
            EnergyWh(state.randint(100, 5_000)),
            PriceTick(state.randint(BOUNDS.floor, BOUNDS.cap)),
        )
        for number in range(count)
    ]


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times) * 1e3
