"""Communities by the thousand: what the quoting game does as they grow.

A community's households have a surplus or a deficit with equal chance, an energy drawn evenly, a
battery at an even state of charge, and the papers' linear reservation prices. Every slot is solved
with :mod:`wallet_app.strategy.equilibrium`, and compared with the truthful profile and with the
paper's own iteration. Randomness is a numpy generator passed in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from light_node.market.clearing import Market
from light_node.market.quotes import PriceBounds, Side
from light_node.market.units import MONEY_PER_CURRENCY, PriceTick
from light_node.plot import Line, Panel
from wallet_app.strategy.equilibrium import Equilibrium, Method, iterate, solve, truthful
from wallet_app.strategy.ladder import Players
from wallet_app.strategy.paper import iterate_as_printed
from wallet_app.strategy.reservation import PAPER_CEILING, PAPER_FLOOR
from wallet_app.strategy.withholding import best_offer, public_book

BOUNDS = PriceBounds(PAPER_FLOOR[Side.BUY], PAPER_CEILING)
ENERGY_WH = (100, 5000)
PAPER_UPTO = 100  # participants; the paper's iteration is a Python loop
WITHHOLDING_UPTO = 100
NEARLY = MONEY_PER_CURRENCY // 100
"""One hundredth of the currency: a regret nobody would lift a finger for."""


@dataclass(frozen=True, slots=True)
class SlotStudy:
    """What one slot showed. Prices in ticks; None where it was not looked at."""

    method: Method
    truthful_price: int | None
    price: int | None
    long_price: int | None  # where only the long side competes
    gainers: int  # participants with a regret at the truthful profile
    truthful_regret: int  # the largest of these regrets, in Wh·tick
    paper_fails: bool | None
    withholding: bool | None  # see _withholds
    largest_regret: int  # at the selected profile


@dataclass(frozen=True, slots=True)
class Study:
    """Slots of communities of one size, summed up; shares in permille, uplift in 1/1,000,000.

    The uplift is how far the selected price lies from the truthful one in the long side's favour,
    in the mean over slots where anything trades.
    """

    participants: int
    slots: int
    truthful_permille: int
    nearly_permille: int  # nobody could gain more than NEARLY by leaving the truth
    pinned_permille: int
    uplift_ppm: int
    long_uplift_ppm: int  # the same where only the long side competes
    gainers_mean_permille: int  # mean number of gainers per slot, times 1000
    paper_fails_permille: int | None
    withholding_permille: int | None
    largest_regret: int


def community(count: int, random: np.random.Generator, slot_id: str = "simulated") -> Players:
    """Return ``count`` households of one slot (see the module's text)."""
    sells = random.random(count) < 0.5
    charge = random.integers(0, 10_001, count)
    floors = np.where(sells, int(PAPER_FLOOR[Side.SELL]), int(PAPER_FLOOR[Side.BUY]))
    reservation = PAPER_CEILING - (PAPER_CEILING - floors) * charge // 10_000
    return Players(
        slot_id,
        BOUNDS,
        [f"hh-{i:06d}" for i in range(count)],
        sells,
        random.integers(ENERGY_WH[0], ENERGY_WH[1] + 1, count),
        reservation.astype(np.int64),
    )


def study_slot(players: Players, *, withholding: bool = False) -> SlotStudy:
    """Return what the slot of ``players`` shows."""
    truth, found = truthful(players), solve(players)
    paper_fails = None
    if len(players) <= PAPER_UPTO:
        paper_fails = iterate_as_printed(players).ended != "equilibrium"
    return SlotStudy(
        found.method,
        truth.profile.price,
        found.profile.price,
        iterate(truth, long_side_only=True).profile.price,
        int(np.count_nonzero(truth.regrets.gain)),
        truth.max_regret,
        paper_fails,
        _withholds(truth) if withholding and len(players) <= WITHHOLDING_UPTO else None,
        found.max_regret,
    )


def study(
    count: int, slots: int, random: np.random.Generator, *, withholding: bool = False
) -> Study:
    """Return ``slots`` random communities of ``count`` summed up."""
    seen = []
    uplifts: list[float] = []
    long_uplifts: list[float] = []
    for number in range(slots):
        players = community(count, random, f"simulated-{number}")
        found = study_slot(players, withholding=withholding)
        seen.append(found)
        favour = -1 if players.market is Market.SELLER else 1
        for reached, kept in ((found.price, uplifts), (found.long_price, long_uplifts)):
            if found.truthful_price and reached is not None:
                kept.append(favour * (reached - found.truthful_price) / found.truthful_price)
    return Study(
        count,
        slots,
        _permille([s.method is Method.TRUTHFUL for s in seen]) or 0,
        _permille([s.truthful_regret <= NEARLY for s in seen]) or 0,
        _permille([s.method is Method.PINNED for s in seen]) or 0,
        _ppm(uplifts),
        _ppm(long_uplifts),
        1000 * sum(s.gainers for s in seen) // max(slots, 1),
        _permille([s.paper_fails for s in seen]),
        _permille([s.withholding for s in seen]),
        max((s.largest_regret for s in seen), default=0),
    )


def panels(studies: Sequence[Study]) -> tuple[Panel, ...]:
    """Return the studies as plots over the size: uplift, gainers, honesty, withholding."""

    def line(name: str, value: Callable[[Study], int | None], per: int) -> Line:
        found = ((s, value(s)) for s in sorted(studies, key=lambda s: s.participants))
        return Line(name, tuple((s.participants, None if v is None else v / per) for s, v in found))

    size = "households"
    return (
        Panel(
            "Price uplift over the truthful price",
            size,
            "uplift, %",
            (
                line("both sides move (selected equilibrium)", lambda s: s.uplift_ppm, 10_000),
                line("only the long side moves", lambda s: s.long_uplift_ppm, 10_000),
            ),
            y_log=True,
        ),
        Panel(
            "Who gains by leaving the truth",
            size,
            "households per slot",
            (line("any gain, be it 1 Wh·tick", lambda s: s.gainers_mean_permille, 1000),),
        ),
        Panel(
            "How often the honest quote is best",
            size,
            "slots, %",
            (
                line("for everybody, exactly", lambda s: s.truthful_permille, 10),
                line("nobody could gain 0.01 of the currency", lambda s: s.nearly_permille, 10),
            ),
        ),
        Panel(
            "Withholding, and the paper's iteration",
            size,
            "slots, %",
            (
                line("somebody gains by offering less", lambda s: s.withholding_permille, 10),
                line("the paper's iteration fails", lambda s: s.paper_fails_permille, 10),
            ),
        ),
    )


def _withholds(truth: Equilibrium) -> bool:
    """Return whether anybody could gain by price and quantity where only the long side competed.

    That is the market of the theorems. The selected profile counts both sides' prices, and there
    less energy brings nothing that a price does not (but for single ticks): offering q' for q at a
    price sells min(q', what is left there) and moves the price no further.
    """
    profile = iterate(truth, long_side_only=True).profile
    players = profile.players
    book = public_book(profile, profile.standing)
    return any(
        best_offer(book, name, PriceTick(limit), players.bounds, profile.standing).gain > 0
        for name, limit in zip(players.ids, players.reservation.tolist(), strict=True)
    )


def _ppm(shares: Sequence[float]) -> int:
    return round(1_000_000 * float(np.mean(shares))) if shares else 0


def _permille(flags: Sequence[bool | None]) -> int | None:
    known = [flag for flag in flags if flag is not None]
    return 1000 * sum(known) // len(known) if known else None
