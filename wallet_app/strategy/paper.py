"""The paper's own iteration, step by step: an explanation, never an answer ([H] 5.4, Fig. 5).

Round 1 quotes the reservation price. While somebody of the long side can strictly gain, each
matched participant of that side, in rank order, moves to the next competitor's current quote. It
gives Tables 2 and 3 of [H] quote by quote, and elsewhere it often rests at a profile that is no
equilibrium: a pivotal participant should go past the last quote, others should stay. So it is
shown beside its largest regret, and the selected equilibrium comes from
:mod:`wallet_app.strategy.equilibrium`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from light_node.market.clearing import Market
from wallet_app.strategy.ladder import Players, Profile, Rank
from wallet_app.strategy.regret import Regrets, regrets

MAX_ROUNDS = 1000


@dataclass(frozen=True, eq=False)
class PaperIteration:
    """Every round's profile, and the regrets at the last one.

    ``ended`` is "equilibrium" (nobody of the long side gains), "rest" (somebody could gain but the
    rule moves nobody), "cycle" (a profile came back) or "cut" (too many rounds).
    """

    rounds: tuple[Profile, ...]
    regrets: Regrets
    ended: str


def iterate_as_printed(players: Players, previous_standing: Sequence[str] = ()) -> PaperIteration:
    """Run the paper's iteration from the reservation prices."""
    profile = Profile(players, players.honest, Rank(players, previous_standing))
    rounds, seen = [profile], {profile.quotes.tobytes()}
    long_side = players.sells == (players.market is not Market.SELLER)
    while True:
        found = regrets(profile)
        if not (found.gain[long_side] > 0).any():
            return PaperIteration(tuple(rounds), found, "equilibrium")
        profile = _next_round(profile)
        state = profile.quotes.tobytes()
        if (profile.quotes == rounds[-1].quotes).all():
            return PaperIteration(tuple(rounds), found, "rest")
        rounds.append(profile)
        if state in seen or len(rounds) >= MAX_ROUNDS:
            ended = "cycle" if state in seen else "cut"
            return PaperIteration(tuple(rounds), regrets(profile), ended)
        seen.add(state)


def _next_round(profile: Profile) -> Profile:
    """Return the profile after each matched player of the long side moved once.

    In rank order, each takes the quote its successor still has, so all read the old quotes.
    """
    half = profile.halves[0 if profile.players.market is not Market.SELLER else 1]
    # Ranks of ranks of … would grow with every round; the standing says the same in one list.
    rank = Rank(profile.players, profile.standing)
    order = sorted(
        half.members.tolist(), key=lambda i: (half.sign * int(profile.quotes[i]), rank.key(i))
    )
    quotes = profile.quotes.copy()
    for index, successor in pairwise(order):
        if profile.fills[index]:
            quotes[index] = profile.quotes[successor]
    return Profile(profile.players, np.asarray(quotes), rank)
