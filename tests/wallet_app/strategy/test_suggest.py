import random

import pytest

from light_node.market.clearing import clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot, parse
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.strategy.battery import Battery, BatteryState
from wallet_app.strategy.explain import explain
from wallet_app.strategy.game import PublicBook
from wallet_app.strategy.record import Kept, track_record
from wallet_app.strategy.reservation import PhysicalModel
from wallet_app.strategy.scenarios import PastBook
from wallet_app.strategy.suggest import OwnPosition, suggest

SLOT = parse("2026-06-21T10:00Z/PT60M")
BOUNDS = PriceBounds(PriceTick(0), PriceTick(100))


def q(name, side, energy, price):
    return Quote(name, side, EnergyWh(energy), PriceTick(price))


def book(*quotes, previous=()):
    standing = clear(SLOT.id, BOUNDS, quotes, previous).standing
    return PublicBook(SLOT.id, tuple(quotes), standing)


def test_nothing_known_suggests_the_honest_price_and_promises_nothing():
    answer = suggest(SLOT, BOUNDS, OwnPosition("me", -1000, reservation=PriceTick(40)))
    assert (answer.side, answer.energy, answer.price) == (Side.SELL, 1000, 40)
    assert answer.estimated
    assert answer.regret is None
    assert answer.expected_money == answer.honest_money == 40_000
    assert answer.grid_only_money == 0
    assert "grid" in answer.unsold


def test_nothing_to_trade():
    answer = suggest(SLOT, BOUNDS, OwnPosition("me", 0))
    assert answer.side is None
    assert answer.energy == 0


def test_marginal_seller_moves_to_its_competitors_price_and_keeps_its_place():
    mine = q("me", Side.SELL, 12, 50)
    public = book(
        mine, q("f", Side.SELL, 13, 64), q("h", Side.SELL, 3, 40), q("d", Side.BUY, 13, 100)
    )
    answer = suggest(
        SLOT, BOUNDS, OwnPosition("me", -12, reservation=PriceTick(50), quoted=mine), public
    )
    assert (answer.price, answer.honest_price) == (64, 50)
    assert answer.expected_money == 64 * 10 + 50 * 2
    assert answer.honest_money == 50 * 12
    assert answer.regret == 0
    assert not answer.estimated
    assert "64" in answer.reason


def test_without_a_strict_gain_the_current_quote_stays():
    mine = q("me", Side.SELL, 3, 47)
    public = book(mine, q("f", Side.SELL, 13, 64), q("d", Side.BUY, 13, 100))
    own = OwnPosition("me", -3, reservation=PriceTick(40), quoted=mine)
    assert suggest(SLOT, BOUNDS, own, public).price == 47


def test_a_later_round_keeps_side_and_never_raises_energy():
    mine = q("me", Side.SELL, 1000, 40)
    public = book(mine, q("d", Side.BUY, 9000, 90))
    more = OwnPosition("me", -5000, reservation=PriceTick(40), quoted=mine)
    assert suggest(SLOT, BOUNDS, more, public).energy == 1000
    turned = OwnPosition("me", 500, reservation=PriceTick(40), quoted=mine)
    assert suggest(SLOT, BOUNDS, turned, public).side is None


def test_energy_with_different_value_is_offered_apart_when_that_pays():
    # Battery room is worth 80, the rest only the feed-in 0; buyers pay 50 at most.
    own = OwnPosition(
        "me",
        -1000,
        Battery(EnergyWh(700)),
        PhysicalModel(stored_value=PriceTick(80)),
    )
    public = book(q("d", Side.BUY, 1000, 50), q("s", Side.SELL, 10, 90))
    answer = suggest(SLOT, BOUNDS, own, public)
    assert (answer.energy, answer.price) == (300, 50)
    assert answer.expected_money == 300 * 50 + 700 * 80
    assert "battery" in answer.unsold


@pytest.mark.parametrize("seed", range(40))
def test_expected_money_is_what_the_clearing_then_pays_and_nothing_pays_more(seed):
    rng = random.Random(seed)
    others = [
        q(f"p{i}", rng.choice(list(Side)), rng.randint(1, 9), rng.randint(0, 30))
        for i in range(rng.randint(1, 7))
    ]
    bounds = PriceBounds(PriceTick(0), PriceTick(30))
    reservation = PriceTick(rng.randint(0, 30))
    net = rng.choice([-6, -3, 4, 8])
    side = Side.SELL if net < 0 else Side.BUY
    mine = q("me", side, abs(net), reservation)
    standing = clear(SLOT.id, bounds, [*others, mine]).standing
    public = PublicBook(SLOT.id, (*others, mine), standing)
    own = OwnPosition("me", net, reservation=reservation, quoted=mine)
    answer = suggest(SLOT, bounds, own, public)

    def money(price):
        cleared = clear(SLOT.id, bounds, [*others, q("me", side, abs(net), price)], standing)
        fill = cleared.fills["me"]
        value = (cleared.price or 0) * fill + reservation * (abs(net) - fill)
        return value if side is Side.SELL else -value

    assert answer.expected_money == money(answer.price) == max(map(money, range(31)))
    assert answer.honest_money == money(reservation)


def test_battery_state_limits_what_is_priced_as_battery_energy():
    own = OwnPosition(
        "me",
        2000,
        Battery(EnergyWh(4000), reserve_wh=EnergyWh(1000)),
        PhysicalModel(stored_value=PriceTick(60)),
        BatteryState(EnergyWh(1500)),
    )
    answer = suggest(SLOT, BOUNDS, own)
    assert answer.honest_price == (500 * 60 + 1500 * 100) // 2000
    assert "0.50 kWh comes from the battery" in answer.unsold


def past(days, *quotes):
    return PastBook.of(Slot(SLOT.start - days * 86_400, SLOT.length_s), quotes)


def test_history_gives_an_estimate_with_its_chance_and_spread():
    demand = q("d", Side.BUY, 1000, 100)
    history = [
        past(days, demand, q("rival", Side.SELL, 1000, 70), q("x", Side.SELL, 500, 10))
        for days in range(1, 8)
    ]
    own = OwnPosition("me", -800, reservation=PriceTick(40))
    answer = suggest(SLOT, BOUNDS, own, None, history)
    assert answer.estimated
    assert answer.regret is None
    assert answer.price in (69, 70)
    assert answer.honest_money == 70 * 500 + 40 * 300 or answer.honest_money == 40 * 800
    assert answer.expected_money >= answer.honest_money
    assert answer.chance_permille == 1000
    assert answer.low_money <= answer.expected_money <= answer.high_money
    assert "7 similar past slots" in answer.reason


def test_explanation_in_full_names_quotes_money_baselines_and_proof():
    own = OwnPosition("me", -1000, reservation=PriceTick(40))
    proved = explain(suggest(SLOT, BOUNDS, own, book(q("d", Side.BUY, 1000, 50))))
    assert any("grid only" in line for line in proved)
    assert any("Checked against every price" in line for line in proved)
    history = [past(1, q("d", Side.BUY, 1000, 50))]
    guessed = explain(suggest(SLOT, BOUNDS, own, None, history))
    assert any("Chance to trade" in line for line in guessed)
    assert "estimated" in guessed[-1]
    assert len(explain(suggest(SLOT, BOUNDS, OwnPosition("me", 0)))) == 1


def test_past_suggestions_are_summed_up():
    assert track_record([]) is None
    past_ones = [
        Kept(MoneyWhTick(100), MoneyWhTick(80), MoneyWhTick(70)),
        Kept(MoneyWhTick(50), MoneyWhTick(60), MoneyWhTick(65)),
    ]
    record = track_record(past_ones)
    assert (record.count, record.expected_money, record.real_money) == (2, 150, 140)
    assert (record.mean_miss, record.not_worse_than_honest_permille) == (15, 500)
    own = OwnPosition("me", -1000, reservation=PriceTick(40))
    assert "last 2 suggestions" in explain(suggest(SLOT, BOUNDS, own), record)[-1]
