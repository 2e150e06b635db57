"""Settlement: worked examples by hand, then what holds for every slot."""

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.market.clearing import clear
from light_node.market.errors import DuplicateParticipant, InvalidQuote, InvalidSettlement
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.settlement import (
    Contracted,
    Delivered,
    Settlement,
    SettlementLine,
    SettlementRules,
    apportion,
    contracts,
    estimate,
    grid_only,
    settle,
    true_up,
    worst_case,
)
from light_node.market.units import EnergyWh, PriceTick

BOUNDS = PriceBounds(PriceTick(4_000), PriceTick(10_000))
P = 6_000


def sold(participant: str, energy: int, price: int = P) -> Contracted:
    return Contracted(participant, Side.SELL, EnergyWh(energy), PriceTick(price))


def bought(participant: str, energy: int, price: int = P) -> Contracted:
    return Contracted(participant, Side.BUY, EnergyWh(energy), PriceTick(price))


def metered(participant: str, imported: int = 0, exported: int = 0) -> Delivered:
    return Delivered(participant, EnergyWh(imported), EnergyWh(exported))


def settled(
    contracted: Sequence[Contracted], delivered: Sequence[Delivered]
) -> tuple[Settlement, dict[str, SettlementLine]]:
    settlement = settle(BOUNDS, contracted, delivered)
    lines = {line.participant: line for line in settlement.lines}
    assert sum(line.total for line in settlement.lines) + settlement.pot + settlement.grid == 0
    return settlement, lines


PAIR = (sold("s", 10_000), bought("b", 10_000))


def test_delivered_as_contracted() -> None:
    settlement, lines = settled(PAIR, [metered("s", exported=10_000), metered("b", 10_000)])
    assert (lines["s"].total, lines["b"].total) == (10_000 * P, -10_000 * P)
    assert (settlement.pot, settlement.grid) == (0, 0)
    assert lines["s"].grid_only_money == 10_000 * 4_000
    assert lines["b"].grid_only_money == -10_000 * 10_000


def test_seller_short_within_the_tolerance_pays_nothing() -> None:
    settlement, lines = settled(PAIR, [metered("s", exported=9_700), metered("b", 10_000)])
    seller, buyer = lines["s"], lines["b"]
    assert (seller.missing, seller.tolerance, seller.within_tolerance) == (300, 300, True)
    assert seller.total == seller.market_money == 9_700 * P
    # The difference comes from the grid, at its tariff.
    assert (buyer.traded, buyer.grid_import) == (9_700, 300)
    assert buyer.total == -(9_700 * P + 300 * 10_000)
    assert (settlement.pot, settlement.grid) == (0, 300 * 10_000)


def test_seller_short_by_one_more_pays_for_all_of_it() -> None:
    settlement, lines = settled(PAIR, [metered("s", exported=9_699), metered("b", 10_000)])
    seller, buyer = lines["s"], lines["b"]
    # (retail - P) on all 301 Wh, 10 % of P on the one beyond the band.
    assert seller.penalty_money == -(301 * 4_000 + 600)
    assert seller.total == 9_699 * P - 301 * 4_000 - 600
    assert buyer.compensation_money == 301 * 4_000
    assert buyer.total == -10_000 * P  # as if everything had been delivered
    assert (settlement.pot, settlement.grid) == (600, 301 * 10_000)


def test_buyer_short_is_the_mirror_image() -> None:
    settlement, lines = settled(PAIR, [metered("s", exported=10_000), metered("b", 9_000)])
    seller, buyer = lines["s"], lines["b"]
    assert buyer.penalty_money == -(1_000 * 2_000 + 700 * 600)
    assert (seller.traded, seller.grid_export) == (9_000, 1_000)
    assert seller.compensation_money == 1_000 * 2_000
    assert seller.total == 10_000 * P
    assert (settlement.pot, settlement.grid) == (700 * 600, -1_000 * 4_000)


def test_more_than_contracted_is_traded_with_the_grid() -> None:
    settlement, lines = settled(PAIR, [metered("s", exported=10_500), metered("b", 12_000)])
    assert lines["s"].grid_money == 500 * 4_000
    assert lines["b"].grid_money == -2_000 * 10_000
    assert lines["s"].penalty_money == lines["b"].penalty_money == 0
    assert settlement.pot == 0


def test_both_sides_short_alike_harm_nobody_so_the_pot_takes_it() -> None:
    settlement, lines = settled(PAIR, [metered("s", exported=9_000), metered("b", 9_000)])
    assert lines["s"].traded == lines["b"].traded == 9_000
    assert lines["s"].compensation_money == lines["b"].compensation_money == 0
    paid = 1_000 * 4_000 + 700 * 600 + 1_000 * 2_000 + 700 * 600
    assert (settlement.pot, settlement.grid) == (paid, 0)


def test_nothing_delivered() -> None:
    _, lines = settled(PAIR, [metered("s"), metered("b", 10_000)])
    assert (lines["s"].delivered, lines["s"].missing) == (0, 10_000)
    assert lines["s"].total == -(10_000 * 4_000 + 9_700 * 600)
    assert lines["b"].total == -10_000 * P


def test_the_wrong_way_round_counts_as_nothing_delivered_and_is_bought_from_the_grid() -> None:
    settlement, lines = settled(PAIR, [metered("s", 2_000), metered("b", exported=500)])
    seller, buyer = lines["s"], lines["b"]
    assert (seller.delivered, seller.missing, seller.grid_import) == (0, 10_000, 2_000)
    assert seller.grid_money == -2_000 * 10_000
    assert (buyer.delivered, buyer.missing, buyer.grid_export) == (0, 10_000, 500)
    assert buyer.grid_money == 500 * 4_000
    assert settlement.grid == 2_000 * 10_000 - 500 * 4_000


def test_only_net_energy_counts() -> None:
    _, lines = settled(PAIR, [metered("s", 1_500, 11_500), metered("b", 10_400, 400)])
    assert lines["s"].total == 10_000 * P
    assert lines["b"].total == -10_000 * P
    # The baseline nets as well: netting is no gain from trading.
    assert lines["s"].grid_only_money == 10_000 * 4_000


def test_a_small_contract_has_the_tolerance_of_50_wh() -> None:
    small = (sold("s", 60), bought("b", 60))
    _, lines = settled(small, [metered("s", exported=10), metered("b", 60)])
    assert (lines["s"].tolerance, lines["s"].penalty_money) == (50, 0)
    _, lines = settled(small, [metered("s", exported=9), metered("b", 60)])
    assert lines["s"].penalty_money == -(51 * 4_000 + 600)


def test_harm_within_the_band_is_made_good_by_what_others_paid() -> None:
    # s is short within its band, t beyond it: b and c miss 1,200 Wh, t paid for 1,000 and more.
    contracted = (sold("s", 10_000), sold("t", 10_000), bought("b", 15_000), bought("c", 5_000))
    delivered = [
        metered("s", exported=9_800), metered("t", exported=9_000),
        metered("b", 15_000), metered("c", 5_000),
    ]  # fmt: skip
    settlement, lines = settled(contracted, delivered)
    paid, harm = 1_000 * 4_000 + 700 * 600, 1_200 * 4_000
    assert lines["s"].total == 9_800 * P
    assert lines["t"].penalty_money == -paid
    assert (lines["b"].grid_import, lines["c"].grid_import) == (900, 300)
    assert harm > paid
    assert (lines["b"].compensation_money, lines["c"].compensation_money) == (3_315_000, 1_105_000)
    assert settlement.pot == 0


def test_remainders_go_to_the_largest_and_then_to_the_first() -> None:
    contracted = (bought("b", 30_000), *(sold(f"s{i}", 10_000) for i in range(3)))
    delivered = [metered("b", 29_900), *(metered(f"s{i}", exported=10_000) for i in range(3))]
    _, lines = settled(contracted, delivered)
    assert [lines[f"s{i}"].grid_export for i in range(3)] == [34, 33, 33]


def test_a_missing_reading_is_estimated_and_flagged_and_trued_up() -> None:
    before, lines = settled(PAIR, [metered("b", 10_000)])
    assert (lines["s"].estimated, lines["b"].estimated) == (True, False)
    assert lines["s"].total == 10_000 * P
    after, _ = settled(PAIR, [metered("s", exported=9_000), metered("b", 10_000)])
    change = true_up(before, after)
    assert change == {"b": 0, "s": -(1_000 * P + 1_000 * 4_000 + 700 * 600)}
    moved = sum(change.values()) + after.pot - before.pot + after.grid - before.grid
    assert moved == 0
    assert estimate(PAIR[1]) == Delivered("b", EnergyWh(10_000), EnergyWh(0), estimated=True)


def test_a_reading_without_a_contract_is_settled_with_the_grid() -> None:
    settlement, lines = settled((), [metered("x", 700, 200), metered("y", exported=300)])
    assert lines["x"].side is None
    assert (lines["x"].total, lines["y"].total) == (-500 * 10_000, 300 * 4_000)
    assert lines["x"].total == lines["x"].grid_only_money
    assert settlement.grid == 500 * 10_000 - 300 * 4_000
    assert settlement.line("y") is lines["y"]
    with pytest.raises(InvalidSettlement, match="z has no line"):
        settlement.line("z")
    nothing = settle(BOUNDS, (), ())
    assert (nothing.lines, nothing.pot, nothing.grid) == ((), 0, 0)


def test_ten_percent_is_rounded_down_and_taken_of_the_amount_of_a_negative_price() -> None:
    bounds = PriceBounds(PriceTick(-100), PriceTick(-50))
    contracted = (sold("s", 1_000, -63), bought("b", 1_000, -63))
    line = settle(bounds, contracted, [metered("s", exported=949), metered("b", 1_000)]).line("s")
    assert line.penalty_money == -(51 * 13 + 6)


def test_contracts_come_from_a_clearing() -> None:
    quotes = [
        Quote("s", Side.SELL, EnergyWh(9), PriceTick(5_000)),
        Quote("t", Side.SELL, EnergyWh(9), PriceTick(9_000)),
        Quote("b", Side.BUY, EnergyWh(4), PriceTick(8_000)),
    ]
    outcome = clear("slot", BOUNDS, quotes)
    assert contracts(quotes, outcome) == (bought("b", 4, 5_000), sold("s", 4, 5_000))
    assert contracts(quotes[:1], clear("slot", BOUNDS, quotes[:1])) == ()


@pytest.mark.parametrize(
    ("contracted", "delivered", "error"),
    [
        ((*PAIR, sold("s", 1)), (), DuplicateParticipant),
        (PAIR, (metered("s"), metered("s")), DuplicateParticipant),
        ((sold("s", 5), bought("b", 5, 6_001)), (), InvalidSettlement),
        ((sold("s", 5, 3_999), bought("b", 5, 3_999)), (), InvalidSettlement),
        ((sold("s", 5), bought("b", 4)), (), InvalidSettlement),
        ((sold("s", 0), bought("b", 0)), (), InvalidSettlement),
        ((sold("s", -5), bought("b", -5)), (), InvalidSettlement),
    ],
)
def test_what_does_not_come_from_one_clearing_is_refused(
    contracted: tuple[Contracted, ...], delivered: tuple[Delivered, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        settle(BOUNDS, contracted, delivered)


@pytest.mark.parametrize(
    "fields", [("s", -1, 0), ("s", 0, 1.0), ("s", True, 0), ("s", 10**13, 0), ("", 0, 0)]
)
def test_bad_readings_are_refused(fields: tuple[Any, Any, Any]) -> None:
    with pytest.raises((InvalidSettlement, InvalidQuote)):
        Delivered(*fields)


@pytest.mark.parametrize(
    "fields", [{"tolerance_percent": 101}, {"tolerance_wh": -1}, {"penalty_percent": 1.5}]
)
def test_bad_rules_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettlement):
        SettlementRules(**fields)


def test_grid_only_baseline() -> None:
    assert grid_only(BOUNDS, EnergyWh(300), EnergyWh(1_000)) == 1_000 * 4_000 - 300 * 10_000


@st.composite
def slots(draw: st.DrawFn) -> tuple[PriceBounds, list[Contracted], list[Delivered]]:
    """Any bounds, price, contracts that balance, and readings of any quality."""
    low, price, high = sorted(draw(st.tuples(*[st.integers(-500, 9_000)] * 3)))
    sells = draw(st.lists(st.integers(1, 4_000), min_size=1, max_size=5))
    rng = draw(st.randoms(use_true_random=False))
    buys = _split(rng, sum(sells), draw(st.integers(1, 5)))
    agreed = [sold(f"s{i}", energy, price) for i, energy in enumerate(sells)]
    agreed += [bought(f"b{i}", energy, price) for i, energy in enumerate(buys)]
    readings = []
    for contract in agreed:
        towards = draw(st.sampled_from([0, 0, 0, -20, -60, -200, 70]))
        share = draw(st.sampled_from([100, 100, 98, 97, 90, 50, 0, -30, 140]))
        energy = max(-(10**6), contract.energy * share // 100 + towards)
        other = draw(st.sampled_from([0, 0, 250]))
        forward, back = max(energy, 0) + other, max(-energy, 0) + other
        if draw(st.integers(0, 9)):
            if contract.side is Side.SELL:
                readings.append(metered(contract.participant, back, forward))
            else:
                readings.append(metered(contract.participant, forward, back))
    readings.append(metered("outsider", draw(st.integers(0, 500)), draw(st.integers(0, 500))))
    return PriceBounds(PriceTick(low), PriceTick(high)), agreed, readings


def _split(rng: random.Random, total: int, parts: int) -> list[int]:
    cuts = sorted(rng.randint(0, total) for _ in range(parts - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True) if b > a]


@given(slots())
def test_money_is_conserved_and_energy_adds_up(
    slot: tuple[PriceBounds, list[Contracted], list[Delivered]],
) -> None:
    bounds, agreed, readings = slot
    settlement = settle(bounds, agreed, readings)
    lines = settlement.lines
    assert sum(line.total for line in lines) + settlement.pot + settlement.grid == 0
    assert sum(line.market_money for line in lines) == 0
    assert settlement.pot >= 0
    read = {reading.participant: reading for reading in readings}
    for line in lines:
        reading = read.get(line.participant)
        assert line.estimated == (reading is None)
        assert 0 <= line.traded <= line.delivered <= line.contracted
        assert line.missing == line.contracted - line.delivered
        towards = line.traded if line.side is Side.BUY else -line.traded
        if reading is not None:
            net = reading.import_wh - reading.export_wh
            assert net == line.grid_import - line.grid_export + towards
    for side in Side:
        assert sum(line.traded for line in lines if line.side is side) == min(
            sum(line.delivered for line in lines if line.side is each) for each in Side
        )


@given(slots())
def test_penalties_and_compensation_stay_within_their_rules(
    slot: tuple[PriceBounds, list[Contracted], list[Delivered]],
) -> None:
    bounds, agreed, readings = slot
    price = agreed[0].price
    settlement = settle(bounds, agreed, readings)
    paid = -sum(line.penalty_money for line in settlement.lines)
    harm = 0
    for line in settlement.lines:
        assert line.penalty_money <= 0 <= line.compensation_money
        if line.within_tolerance:
            assert line.penalty_money == 0
        spread = bounds.cap - price if line.side is Side.BUY else price - bounds.floor
        own_harm = (line.delivered - line.traded) * spread
        assert line.compensation_money <= own_harm
        harm += own_harm
    assert sum(line.compensation_money for line in settlement.lines) == min(paid, harm)
    assert settlement.pot == paid - min(paid, harm)


@given(slots())
def test_who_keeps_its_contract_is_made_whole_when_nobody_hides_in_the_band(
    slot: tuple[PriceBounds, list[Contracted], list[Delivered]],
) -> None:
    bounds, agreed, readings = slot
    settlement = settle(bounds, agreed, readings)
    if any(0 < line.missing <= line.tolerance for line in settlement.lines):
        return
    for line in settlement.lines:
        if line.side is not None and not line.missing:
            sign = 1 if line.side is Side.SELL else -1
            beyond = line.total - sign * line.contracted * agreed[0].price
            surplus = line.grid_export if line.side is Side.SELL else line.grid_import
            unmatched = line.delivered - line.traded
            tariff = bounds.floor if line.side is Side.SELL else bounds.cap
            assert beyond == sign * (surplus - unmatched) * tariff


@given(slots())
def test_settlement_does_not_depend_on_input_order(
    slot: tuple[PriceBounds, list[Contracted], list[Delivered]],
) -> None:
    bounds, agreed, readings = slot
    assert settle(bounds, agreed, readings) == settle(bounds, agreed[::-1], readings[::-1])


@given(slots(), st.integers(0, 2_000), st.integers(0, 2_000))
def test_a_quote_never_costs_more_than_its_worst_case(
    slot: tuple[PriceBounds, list[Contracted], list[Delivered]], more: int, off: int
) -> None:
    bounds, agreed, readings = slot
    settlement = settle(bounds, agreed, readings)
    for contract in agreed:
        # The quote behind the contract: perhaps filled in part, perhaps at a better price.
        limit = contract.price + off if contract.side is Side.BUY else contract.price - off
        limit = min(max(limit, bounds.floor), bounds.cap)
        quote = Quote(
            contract.participant,
            contract.side,
            EnergyWh(contract.energy + more),
            PriceTick(limit),
        )
        line = settlement.line(contract.participant)
        assert -(line.market_money + line.penalty_money) <= worst_case(bounds, quote)


@given(st.lists(st.integers(0, 10**15), max_size=8), st.integers(0, 10**16))
def test_apportion_is_the_method_of_the_largest_remainder(weights: list[int], total: int) -> None:
    whole = sum(weights)
    if total and not whole:
        with pytest.raises(InvalidSettlement):
            apportion(total, weights)
        return
    parts = apportion(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        exact = Fraction(total * weight, whole) if whole else Fraction(0)
        assert abs(part - exact) < 1
        if total <= whole:
            assert part <= weight
    rounded_up = [
        Fraction(total * w, whole) % 1
        for part, w in zip(parts, weights, strict=True)
        if whole and part > Fraction(total * w, whole)
    ]
    rounded_down = [
        Fraction(total * w, whole) % 1
        for part, w in zip(parts, weights, strict=True)
        if whole and part < Fraction(total * w, whole)
    ]
    assert min(rounded_up, default=Fraction(1)) >= max(rounded_down, default=Fraction(0))


@pytest.mark.parametrize(("total", "weights"), [(-1, [1]), (1, [-1, 3])])
def test_negative_amounts_cannot_be_split(total: int, weights: list[int]) -> None:
    with pytest.raises(InvalidSettlement):
        apportion(total, weights)
