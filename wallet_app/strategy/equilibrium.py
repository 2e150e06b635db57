"""Which equilibrium all wallets select from the same reservation prices, with its certificate.

The order of docs/market-rules.md section 6: the truthful profile where its largest regret is at
most ε; else moves from the reservation prices, one player at a time and only for a strict gain.
Two more constructions are kept beside it. *One-setter*: the player whose best response to the
truthful profile leads to the most extreme price quotes that, everybody else the truth. *Pinned*:
those who trade nearest to the margin of the truthful clearing quote its price, so price and fills
are the truthful ones and nobody can move the price: a raised ask finds no bid left above it and a
lowered bid no ask left below.

Where only the long side moves (the case of the theorems), the first two always end without regret
on that side. Where both sides move, they can chase each other; then the pinned profile is taken,
which always is an equilibrium and costs nobody anything against the truth. The one-setter profile
is never selected, it is the independent check of the iteration. Nothing is returned without the
regrets of all players, computed from the final quotes alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from light_node.market.clearing import Market
from wallet_app.strategy.ladder import Integers, Players, Profile, Rank
from wallet_app.strategy.regret import Regrets, regrets

MAX_MOVES = 64
"""A bound for the loop only: a phase of one side ends by itself, two moves are the most seen."""


class Method(StrEnum):
    """How a profile was found."""

    TRUTHFUL = "truthful"
    ITERATION = "iteration"
    ONE_SETTER = "one-setter"
    PINNED = "pinned"
    GIVEN = "given"  # only checked


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """A profile with everybody's regret: the certificate that anyone can recompute.

    ``moves`` lists who moved where on the way (player index, price), in order.
    """

    method: Method
    regrets: Regrets
    moves: tuple[tuple[int, int], ...] = ()

    @property
    def profile(self) -> Profile:
        """The certified quotes, cleared."""
        return self.regrets.profile

    @property
    def max_regret(self) -> int:
        """The largest regret in Wh·tick."""
        return self.regrets.maximum


def solve(players: Players, previous_standing: Sequence[str] = (), epsilon: int = 0) -> Equilibrium:
    """Return the selected equilibrium; its largest regret is 0, or at most ``epsilon`` if truthful.

    ``previous_standing`` ranks ties in the first clearing; the regrets are those of the round
    after, under the profile's own standing (``profile.standing``).
    """
    truth = truthful(players, previous_standing)
    if truth.max_regret <= epsilon:
        return truth
    found = iterate(truth)
    return found if found.max_regret == 0 else pinned(truth)


def truthful(players: Players, previous_standing: Sequence[str] = ()) -> Equilibrium:
    """Return the profile of the reservation prices with its regrets, equilibrium or not."""
    profile = Profile(players, players.honest, Rank(players, previous_standing))
    return Equilibrium(Method.TRUTHFUL, regrets(profile))


def iterate(
    truth: Equilibrium, max_moves: int = MAX_MOVES, *, long_side_only: bool = False
) -> Equilibrium:
    """Let one player at a time move to its best response, on strict gain only, until nobody gains.

    The long side goes first, then the short side (unless ``long_side_only``, the game of the
    theorems); within a side the best-placed player that gains. If the long side then wants to move
    again the two sides would chase each other, and this stops: the result has a regret above zero.
    """
    players = truth.profile.players
    long_side = players.sells == (players.market is not Market.SELLER)
    current, moves = truth.regrets, list(truth.moves)
    for movers in (long_side,) if long_side_only else (long_side, ~long_side):
        while len(moves) < max_moves:
            gaining = np.flatnonzero((current.gain > 0) & movers)
            if not len(gaining):
                break
            index = _best_placed(current.profile, gaining)
            price = int(current.deviation[index])
            moves.append((index, price))
            current = regrets(current.profile.moved(index, price))
    return Equilibrium(Method.ITERATION, current, tuple(moves))


def one_setter(truth: Equilibrium) -> Equilibrium:
    """Let only the player whose best response leads to the most extreme price quote it.

    That is the highest price for sellers where they are the long side, the lowest for buyers where
    they are; at equal totals the sellers count as long.
    """
    profile = truth.profile
    sellers = profile.players.market is not Market.SELLER
    gaining = np.flatnonzero((truth.regrets.gain > 0) & (profile.players.sells == sellers))
    if not len(gaining):
        return Equilibrium(Method.ONE_SETTER, truth.regrets)
    best = max(
        (_reached(profile, index, int(truth.regrets.deviation[index]), sellers), -index)
        for index in gaining.tolist()
    )
    index = -best[1]
    price = int(truth.regrets.deviation[index])
    found = regrets(profile.moved(index, price))
    return Equilibrium(Method.ONE_SETTER, found, ((index, price),))


def pinned(truth: Equilibrium) -> Equilibrium:
    """Return the profile in which those who trade nearest to the truthful price quote just that.

    On each side as many levels from the margin on as hold the energy of the largest player on the
    other side. Whoever raises its ask above the price then finds that all bids beyond it are taken
    by the other sellers, and the mirror; price and fills are the truthful ones.
    """
    profile = truth.profile
    if profile.price is None:
        return Equilibrium(Method.PINNED, truth.regrets)
    quotes = profile.quotes.copy()
    halves = list(zip(profile.halves, profile.half_fills, strict=True))
    for (half, filled), (other, _) in zip(halves, halves[::-1], strict=True):
        sold = np.bincount(half.level, filled, len(half.price))
        beyond = sold[::-1].cumsum()[::-1]  # sold at this level or nearer to the margin
        enough = np.flatnonzero((beyond >= int(other.energy.max())) & (sold > 0))
        lowest = int(enough[-1]) if len(enough) else 0
        quotes[half.members[(filled > 0) & (half.level >= lowest)]] = profile.price
    return Equilibrium(Method.PINNED, regrets(Profile(profile.players, quotes, profile.rank)))


def certify(players: Players, quotes: Integers, standing: Sequence[str]) -> Equilibrium:
    """Return the regrets of given quotes from the book alone.

    ``standing`` ranks ties, of the quotes as given and of every deviation; it is what
    :func:`solve` leaves in ``profile.standing``.
    """
    rank = Rank(players, standing)
    profile = Profile(players, quotes, rank)
    names = set(players.ids)
    known = tuple(name for name in standing if name in names)
    # Under its own standing no tie has to be hashed.
    found = regrets(profile) if profile.standing == known else regrets(profile, rank)
    return Equilibrium(Method.GIVEN, found)


def _best_placed(profile: Profile, indices: NDArray[np.intp]) -> int:
    """Return the one of some players of one side that comes first by (price, rank)."""
    sells = bool(profile.players.sells[indices[0]])
    price = profile.quotes[indices] if sells else -profile.quotes[indices]
    ahead = indices[price == price.min()]
    return min(ahead.tolist(), key=profile.rank.key) if len(ahead) > 1 else int(ahead[0])


def _reached(profile: Profile, index: int, price: int, sellers: bool) -> int:
    """Return the price a deviation leads to, larger for more extreme."""
    reached = profile.moved(index, price).price
    if reached is None:
        return -(1 << 62)
    return reached if sellers else -reached
