from light_node.market.clearing import clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot, parse
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.strategy.battery import Battery, BatteryState
from wallet_app.strategy.game import PublicBook
from wallet_app.strategy.replay import Home, PastSlot, Strategy, replay

FIRST = parse("2026-06-21T10:00Z/PT60M")
BOUNDS = PriceBounds(PriceTick(20), PriceTick(100))
HOME = Home(
    "me",
    Battery(EnergyWh(1_000)),
    BatteryState(EnergyWh(400)),
    PriceTick(30),
)


def past(hours, net, *quotes):
    slot = Slot(FIRST.start + hours * 3600, 3600)
    standing = clear(slot.id, BOUNDS, quotes).standing
    return PastSlot(slot, BOUNDS, net, PublicBook(slot.id, tuple(quotes), standing))


def q(name, side, energy, price):
    return Quote(name, side, EnergyWh(energy), PriceTick(price))


DAY = [
    past(0, -900, q("me", Side.SELL, 900, 30), q("d", Side.BUY, 500, 80)),
    past(1, 700, q("s", Side.SELL, 300, 40)),
    past(2, 0),
]


def test_grid_only_and_own_battery_are_the_baselines():
    grid = replay(DAY, HOME, Strategy.GRID)
    assert grid.money == grid.grid_money == 900 * 20 - 700 * 100
    battery = replay(DAY, HOME, Strategy.BATTERY)
    # 600 Wh fit into the battery, 300 are fed in; then it covers all of 700.
    assert [slot.battery_wh for slot in battery.slots] == [600, 700, 0]
    assert battery.money == 300 * 20
    assert battery.slots[-1].stored_wh == 300


def test_quotes_as_placed_trade_as_they_did():
    lived = replay(DAY, HOME, Strategy.QUOTED)
    first = lived.slots[0]
    assert (first.traded_wh, first.price, first.market_money) == (500, 30, 500 * 30)
    assert first.battery_wh == 400
    assert lived.slots[1].quote is None


def test_suggested_never_earns_less_than_honest_at_the_reservation_price():
    honest = replay(DAY[:1], HOME, Strategy.HONEST)
    better = replay(DAY[:1], HOME, Strategy.SUGGESTED)
    assert honest.slots[0].quote.price == 30
    assert better.market_money == 500 * 80 > honest.market_money
    everything = replay(DAY, HOME, Strategy.SUGGESTED)
    # The buyer's own value is 30, the only ask is 40: nothing to buy at a price that pays.
    assert everything.slots[1].traded_wh == 0
    assert everything.slots[2].quote is None


def test_another_battery_changes_the_day():
    small = Home("me", Battery(EnergyWh(0)), BatteryState(), PriceTick(30))
    lived = replay(DAY, small, Strategy.BATTERY)
    assert lived.money == 900 * 20 - 700 * 100


def test_a_quote_on_the_wrong_side_is_left_to_the_settlement():
    turned = [past(0, 300, q("me", Side.SELL, 900, 30), q("d", Side.BUY, 500, 80))]
    assert replay(turned, HOME, Strategy.QUOTED).slots[0].traded_wh == 0
