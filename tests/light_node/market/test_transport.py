"""The transportation problem: feasible, optimal against brute force, deterministic."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.market.transport import Integers, Shipment, _Tree, greedy, ship


def split(rng: random.Random, total: int, parts: int) -> list[int]:
    cuts = sorted(rng.sample(range(1, total), parts - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]


def worth(values: Integers, shipments: list[Shipment]) -> int:
    return sum(int(values[i, j]) * amount for i, j, amount in shipments)


def assert_feasible(shipments: list[Shipment], supply: list[int], demand: list[int]) -> None:
    assert all(amount > 0 for _, _, amount in shipments)
    pairs = [(i, j) for i, j, _ in shipments]
    assert pairs == sorted(set(pairs))
    for i, energy in enumerate(supply):
        assert sum(a for k, _, a in shipments if k == i) == energy
    for j, energy in enumerate(demand):
        assert sum(a for _, k, a in shipments if k == j) == energy


def improvable(values: Integers, shipments: list[Shipment]) -> bool:
    """Whether the residual graph has a cycle of gain (Bellman-Ford): then it is no optimum."""
    n, m = values.shape
    arcs = [(i, n + j, -int(values[i, j])) for i in range(n) for j in range(m)]
    arcs += [(n + j, i, int(values[i, j])) for i, j, _ in shipments]
    distance = [0] * (n + m)
    for _ in range(n + m):
        changed = False
        for tail, head, cost in arcs:
            if distance[tail] + cost < distance[head]:
                distance[head] = distance[tail] + cost
                changed = True
        if not changed:
            return False
    return True


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(3, 6), st.integers(0, 5),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_optimum_of_every_way_to_ship_single_units(
    n: int, m: int, total: int, largest: int, rng: random.Random
) -> None:
    supply, demand = split(rng, total, n), split(rng, total, m)
    values = np.array([[rng.randint(-largest, largest) for _ in range(m)] for _ in range(n)])
    sources = [i for i, energy in enumerate(supply) for _ in range(energy)]
    sinks = [j for j, energy in enumerate(demand) for _ in range(energy)]
    best = max(
        sum(int(values[i, j]) for i, j in zip(sources, order, strict=True))
        for order in set(itertools.permutations(sinks))
    )
    shipments = ship(values, supply, demand)
    assert_feasible(shipments, supply, demand)
    assert worth(values, shipments) == best


@pytest.mark.parametrize("largest", [0, 1, 5, 10**8])
@pytest.mark.parametrize("unit", [1, 10**9])
def test_no_residual_cycle_gains_anything(largest: int, unit: int) -> None:
    rng = random.Random(largest + unit)
    for _ in range(25):
        n, m = rng.randint(1, 12), rng.randint(1, 12)
        total = rng.randint(max(n, m), 4 * max(n, m))
        supply, demand = split(rng, total, n), split(rng, total, m)
        values = np.array([[rng.randint(0, largest) for _ in range(m)] for _ in range(n)])
        supply, demand = [unit * e for e in supply], [unit * e for e in demand]
        shipments = ship(values, supply, demand)
        assert_feasible(shipments, supply, demand)
        assert not improvable(values, shipments)
        assert len(shipments) <= n + m - 1


def test_the_certificate_above_notices_a_shipment_that_is_no_optimum() -> None:
    values = np.array([[1, 9], [9, 1]])
    assert improvable(values, [(0, 0, 5), (1, 1, 5)])
    assert not improvable(values, [(0, 1, 5), (1, 0, 5)])


def test_greedy_alone_is_not_enough() -> None:
    values = np.array([[10, 9], [9, 1]])
    assert worth(values, greedy(values, [1, 1], [1, 1])) == 11
    assert worth(values, ship(values, [1, 1], [1, 1])) == 18


def test_ties_all_over_and_equal_amounts_end() -> None:
    # Highly degenerate: every shipment exhausts a source and a sink at once.
    n = 40
    rng = np.random.default_rng(5)
    values = rng.integers(0, 2, (n, n))
    shipments = ship(values, [7] * n, [7] * n)
    assert_feasible(shipments, [7] * n, [7] * n)
    assert not improvable(values, shipments)


def test_the_tree_stays_strongly_feasible_so_that_it_cannot_cycle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After each pivot: every arc without flow points to the root, every tree arc costs nothing."""
    pivots = 0
    plain = _Tree._pivot

    def checked(tree: _Tree, source: int, sink: int, gain: int) -> None:
        nonlocal pivots
        pivots += 1
        plain(tree, source, sink, gain)
        for node in range(tree.root):
            above = tree.parent[node]
            assert tree.flow[node] > 0 or (tree.flow[node] == 0 and node < tree.sources)
            if above != tree.root:
                one, other = min(node, above), max(node, above)
                reduced = tree.cost[one, other - tree.sources]
                assert reduced + tree.potential[other] - tree.potential[one] == 0

    monkeypatch.setattr(_Tree, "_pivot", checked)
    rng = np.random.default_rng(6)
    for amount in (1, 3):
        for _ in range(10):
            ship(rng.integers(0, 4, (12, 12)), [amount] * 12, [amount] * 12)
    assert pivots > 50


def test_one_source_or_one_sink() -> None:
    assert ship(np.array([[3, 1, 2]]), [6], [1, 2, 3]) == [(0, 0, 1), (0, 1, 2), (0, 2, 3)]
    assert ship(np.array([[3], [1]]), [4, 2], [6]) == [(0, 0, 4), (1, 0, 2)]
    assert ship(np.zeros((0, 0), np.int64), [], []) == []


@pytest.mark.parametrize(
    ("shape", "supply", "demand"),
    [((1, 1), [1], [2]), ((1, 2), [2], [2]), ((1, 2), [2], [2, 0]), ((0, 1), [], [0])],
)
def test_what_does_not_fit_is_refused(
    shape: tuple[int, int], supply: list[int], demand: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"do not fit|at least 1"):
        ship(np.zeros(shape, np.int64), supply, demand)


def test_values_beyond_what_stays_exact_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2\*\*32"):
        ship(np.array([[1 << 33]]), [1], [1])
