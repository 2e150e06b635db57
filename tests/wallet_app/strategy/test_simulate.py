import numpy as np

from wallet_app.strategy.equilibrium import Method
from wallet_app.strategy.simulate import community, study, study_slot


def test_same_seed_same_community():
    one, other = (community(50, np.random.default_rng(7)) for _ in range(2))
    assert one.energy.tolist() == other.energy.tolist()
    assert one.reservation.tolist() == other.reservation.tolist()
    floor, cap = one.bounds_pair
    assert floor <= one.reservation.min()
    assert one.reservation.max() <= cap


def test_uplift_shrinks_with_the_community_and_regret_is_zero():
    small = study(5, 60, np.random.default_rng(1))
    large = study(500, 10, np.random.default_rng(1))
    assert small.largest_regret == large.largest_regret == 0
    assert small.uplift_ppm > 5 * large.uplift_ppm >= 0
    assert small.paper_fails_permille is not None
    assert large.paper_fails_permille is None
    assert large.nearly_permille >= large.truthful_permille


def test_a_slot_says_whether_the_truth_was_kept():
    for seed in range(20):
        found = study_slot(community(4, np.random.default_rng(seed)), withholding=True)
        assert (found.method is Method.TRUTHFUL) == (found.truthful_regret == 0)
        assert (found.gainers == 0) == (found.truthful_regret == 0)
        assert found.withholding is not None
