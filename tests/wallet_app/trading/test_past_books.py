"""What the wallet remembers of past slots, and the estimates it makes from it."""

import dataclasses
import random
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from light_node.market.clearing import clear
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from tests.wallet_app.trading.house import CAP, FLOOR, SLOT, TIMETABLE, House, Market
from wallet_app.database import DatabaseError
from wallet_app.settings import Settings, SettingsError
from wallet_app.strategy.battery import BatteryState
from wallet_app.strategy.forecast import SlotEnergy
from wallet_app.strategy.game import PublicBook
from wallet_app.strategy.lookahead import PlannedSlot, look_ahead
from wallet_app.strategy.record import Kept, Promise, kept
from wallet_app.strategy.reservation import Tranche
from wallet_app.trading import books
from wallet_app.trading.books import FinalBook
from wallet_app.trading.history import History
from wallet_app.trading.planner import Planner
from wallet_app.trading.view import SuggestionView

BOUNDS = PriceBounds(PriceTick(FLOOR), PriceTick(CAP))
MakeHouse = Callable[..., House]


def quote(name: str, side: Side, energy: int, price: int) -> Quote:
    return Quote(name, side, EnergyWh(energy), PriceTick(price))


def final_book(slot: Slot = SLOT, *quotes: Quote) -> FinalBook:
    used = quotes or (
        quote("E", Side.SELL, 4_000, 5_001),
        quote("X", Side.BUY, 5_000, 9_000),
    )
    standing = clear(slot.id, BOUNDS, used).standing
    return FinalBook(slot, BOUNDS, PublicBook(slot.id, tuple(used), standing))


def before(slot: Slot, count: int) -> list[Slot]:
    """The ``count`` slots before ``slot``, ascending."""
    return [Slot(slot.start - i * slot.length_s, slot.length_s) for i in range(count, 0, -1)]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "history.sqlite")
    yield made
    made.close()


# -- the record -----------------------------------------------------------------------------------


def test_books_come_back_as_they_were(history: History) -> None:
    kept_books = [final_book(slot) for slot in before(SLOT, 3)]
    for final in reversed(kept_books):
        history.add_book(final)
    assert history.final_books() == kept_books
    assert history.has_book(kept_books[0].slot.id)
    assert not history.has_book(SLOT.id)
    assert history.final_books(kept_books[1].slot.starts_at, SLOT.starts_at) == kept_books[1:]


def test_a_book_is_kept_once(history: History) -> None:
    first = final_book()
    history.add_book(first)
    history.add_book(final_book(SLOT, quote("Y", Side.BUY, 1, 5_000)))
    assert history.final_books() == [first]


@pytest.mark.parametrize(
    ("bound", "value", "left"), [("MAX_BOOKS", 4, 4), ("MAX_KEPT_QUOTES", 7, 3)]
)
def test_the_oldest_books_go(
    history: History, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, left: int
) -> None:
    monkeypatch.setattr(books, bound, value)
    slots = before(SLOT, 9)
    for slot in slots:
        history.add_book(final_book(slot))
    assert [final.slot for final in history.final_books()] == slots[-left:]


def test_books_past_their_age_go(history: History) -> None:
    ages = (books.MAX_AGE_DAYS + 1, books.MAX_AGE_DAYS - 1, 0)
    slots = [Slot(SLOT.start - age * 86_400, SLOT.length_s) for age in ages]
    for slot in slots:
        history.add_book(final_book(slot))
    assert [final.slot for final in history.final_books()] == slots[1:]


def test_a_book_too_large_is_not_kept(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "MAX_BOOK_QUOTES", 1)
    history.add_book(final_book())
    assert history.final_books() == []


@pytest.mark.parametrize("damage", [b"", b"no zlib", books.packed(final_book().book)[:-9]])
def test_a_damaged_book_is_said_and_not_guessed_at(
    history: History, tmp_path: Path, damage: bytes
) -> None:
    history.add_book(final_book())
    with sqlite3.connect(tmp_path / "history.sqlite") as database:
        database.execute("UPDATE books SET book=?", (damage,))
    database.close()
    with pytest.raises(DatabaseError, match="damaged"):
        history.final_books()


def test_names_of_any_length_and_script_fit(history: History) -> None:
    state = random.Random(1)
    quotes = [
        quote(f"{i}" + "".join(chr(state.randrange(0x4E00, 0x9FFF)) for _ in range(250)),
              Side.BUY, 1, FLOOR + i)
        for i in range(300)
    ]  # fmt: skip
    final = final_book(SLOT, *quotes)
    history.add_book(final)
    assert history.final_books() == [final]


# -- what was promised ----------------------------------------------------------------------------

PROMISE = Promise(
    Side.SELL,
    EnergyWh(2_000),
    PriceTick(8_500),
    PriceTick(5_500),
    MoneyWhTick(15_000_000),
    (Tranche(EnergyWh(2_000), PriceTick(5_500), "battery"),),
)


def test_a_promise_is_held_against_the_final_book() -> None:
    # Demand 5,000 against 4,000 + 2,000: a buyer's market in which the home sets the price.
    found = kept(PROMISE, "home", BOUNDS, final_book().book)
    for price, brought in ((8_500, found.real_money), (5_500, found.honest_money)):
        cleared = clear(
            SLOT.id, BOUNDS, [*final_book().book.quotes, quote("home", Side.SELL, 2_000, price)]
        )
        sold, paid = cleared.fills["home"], cleared.price or 0
        assert brought == sold * paid + (2_000 - sold) * 5_500
    assert found.real_money == 1_000 * 8_500 + 1_000 * 5_500 != found.honest_money
    assert found.expected_money == 15_000_000


def test_promises_wait_for_their_slot_and_the_first_one_counts(history: History) -> None:
    history.promise(SLOT.id, PROMISE)
    history.promise(SLOT.id, dataclasses.replace(PROMISE, price=PriceTick(4_000)))
    assert history.open_promise(SLOT.id) == PROMISE
    assert history.judged() == []
    history.judge(SLOT.id, Kept(PROMISE.expected_money, MoneyWhTick(-3), MoneyWhTick(2)))
    assert history.open_promise(SLOT.id) is None
    assert history.judged() == [Kept(PROMISE.expected_money, MoneyWhTick(-3), MoneyWhTick(2))]


def test_the_newest_promises_are_judged(history: History) -> None:
    for number, slot in enumerate(before(SLOT, 5)):
        history.promise(slot.id, PROMISE)
        history.judge(slot.id, Kept(MoneyWhTick(0), MoneyWhTick(number), MoneyWhTick(0)))
    assert [one.real_money for one in history.judged(2)] == [3, 4]


# -- the planner ----------------------------------------------------------------------------------


def planner(**settings: int | str) -> Planner:
    made = Planner(Settings({"time_zone": "UTC", **settings}), "home")
    for day in range(1, 15):
        for hour in range(-3, 12):
            start = SLOT.starts_at + timedelta(days=-day, hours=hour)
            made.learn(SlotEnergy(start, 3600, -2_000 if hour < 3 else 1_500))
    return made


def test_the_others_are_estimated_once_a_book_is_known() -> None:
    made = planner()
    now = TIMETABLE.opens(SLOT)
    plan = made.plan(SLOT, 0, now)
    blind = made.suggest(SLOT, BOUNDS, plan)
    assert (blind.estimated, blind.scenarios, blind.chance_permille) == (True, 0, None)
    for slot in before(SLOT, 5):
        made.remember(final_book(slot).past)
    known = made.suggest(SLOT, BOUNDS, plan)
    assert (known.estimated, known.regret, known.chance_permille) == (True, None, 1000)
    assert "2 similar past slots" in known.reason  # likeness fades within hours
    assert known.scenarios == 2
    assert known.price == 9_000  # in every one of these slots X pays up to 0.9000
    assert known.low_money == known.high_money == known.expected_money
    answer = made.suggest(SLOT, BOUNDS, plan, book=final_book().book)
    assert (answer.estimated, answer.scenarios) == (False, 0)


def test_large_books_are_drawn_less_often() -> None:
    made = planner()
    for day in range(1, 31):
        made.remember(final_book(Slot(SLOT.start - day * 86_400, SLOT.length_s)).past)
    plan = made.plan(SLOT, 0, TIMETABLE.opens(SLOT))
    assert made.suggest(SLOT, BOUNDS, plan).scenarios > 20
    many = [quote(f"b{i}", Side.BUY, 10, FLOOR + i) for i in range(4_000)]
    made.remember(final_book(SLOT.next, *many).past)
    assert 1 < made.suggest(SLOT, BOUNDS, plan).scenarios <= 10


def test_a_cautious_household_takes_the_safer_price() -> None:
    """Mostly X pays 1.0900, sometimes only 0.6000: the mean says 1.0900, the worst tenth not."""
    quoted = {}
    for risk in (0, 1000):
        made = planner(risk_permille=risk)
        for day in range(1, 15):
            slot = Slot(SLOT.start - day * 86_400, SLOT.length_s)
            price = 6_000 if day % 5 == 0 else 10_900
            made.remember(final_book(slot, quote("X", Side.BUY, 1_000, price)).past)
        plan = made.plan(SLOT, 10_000, TIMETABLE.opens(SLOT))
        quoted[risk] = made.suggest(SLOT, BOUNDS, plan).price
    assert quoted == {0: 10_900, 1000: 6_000}
    with pytest.raises(SettingsError, match="risk_permille"):
        Settings({"risk_permille": 1001})


BATTERY: dict[str, int | str] = {
    "reservation_model": "physical",
    "battery_capacity_wh": 10_000,
    "battery_efficiency_permille": 1000,
    "battery_cycle_cost": 0,
}


def test_known_tariffs_to_come_value_stored_energy() -> None:
    made = planner(**BATTERY)
    plan = made.plan(SLOT, 0, TIMETABLE.opens(SLOT))
    assert made.suggest(SLOT, BOUNDS, plan).honest_price == CAP  # nothing known but its own tariff
    cheap = PriceBounds(PriceTick(4_000), PriceTick(6_500))
    coming, tariffs = SLOT, {}
    for _ in range(8):
        coming = coming.next
        tariffs[coming] = cheap
    found = made.suggest(SLOT, BOUNDS, plan, tariffs=tariffs)
    # The evening's deficits are cheap to buy, so storing is worth no more than that.
    nets = [plan.forecast.mean_wh, -2_000, -2_000, *[1_500] * 6]
    slots = [SLOT, *sorted(tariffs)]
    ahead = look_ahead(
        [PlannedSlot(s, n, tariffs.get(s, BOUNDS)) for s, n in zip(slots, nets, strict=True)],
        made.battery,
        BatteryState(EnergyWh(0)),
    )
    assert found.honest_price == ahead.stored_value < CAP


def test_a_gap_in_the_tariffs_ends_the_look_ahead() -> None:
    made = planner(**BATTERY)
    plan = made.plan(SLOT, 0, TIMETABLE.opens(SLOT))
    later = {SLOT.next.next: PriceBounds(PriceTick(4_000), PriceTick(6_500))}
    assert made.suggest(SLOT, BOUNDS, plan, tariffs=later).honest_price == CAP


def test_the_papers_line_does_not_look_ahead() -> None:
    made = planner(**{**BATTERY, "reservation_model": "linear"})
    plan = made.plan(SLOT, 5_000, TIMETABLE.opens(SLOT))
    tariffs = {SLOT.next: PriceBounds(PriceTick(4_000), PriceTick(6_500))}
    alone = made.suggest(SLOT, BOUNDS, plan)
    assert made.suggest(SLOT, BOUNDS, plan, tariffs=tariffs) == alone


# -- the running wallet ---------------------------------------------------------------------------


def suggestions(house: House) -> dict[str, SuggestionView]:
    """The first suggestion of every slot, filled in as they come."""
    first: dict[str, SuggestionView] = {}

    def look(_: object) -> None:
        shown = house.running._state.suggestion
        if shown is not None:
            first.setdefault(shown.slot, shown)

    house.session.subscribe(look)
    return first


def test_honest_at_first_then_estimated_then_with_a_record(make_house: MakeHouse) -> None:
    market = Market(slots=3)
    house = make_house(market)
    house.expect(-2_000)
    house.start()
    first = suggestions(house)
    last = SLOT.next.next
    market.run_to(last.starts_at)
    blind, second, third = (first[s.id] for s in (SLOT, SLOT.next, last))
    assert (blind.estimated, blind.chance_permille, blind.record) == (True, None, "")
    assert (second.estimated, second.record) == (True, "")
    assert second.chance_permille == 1000
    assert second.low_money is not None
    assert second.high_money is not None
    assert second.low_money <= second.expected_money <= second.high_money
    assert "Estimate from" in second.reason
    assert any("Chance to trade" in line for line in second.explanation)
    assert "The last 1 suggestions expected" in third.record
    assert third.record in third.explanation
    (judged, _) = house.running._history.judged()
    assert judged.expected_money == second.expected_money


def test_a_restart_remembers_the_books(make_house: MakeHouse) -> None:
    market = Market(slots=2)
    house = make_house(market)
    house.expect(-2_000)
    house.start()
    market.run_to(TIMETABLE.opens(SLOT.next) - timedelta(minutes=5))
    stored = house.running._history.final_books()
    assert [final.slot for final in stored] == [SLOT]
    assert {q.participant for q in stored[0].book.quotes} == {"E@Org1MSP", "X@Org1MSP",
                                                              house.participant}  # fmt: skip
    house.kill()
    later = house.again()
    first = suggestions(later)
    market.run_to(TIMETABLE.opens(SLOT.next) + timedelta(minutes=5))
    assert first[SLOT.next.id].chance_permille is not None


def test_a_wallet_that_comes_late_asks_the_ledger_for_the_books_it_missed(
    make_house: MakeHouse,
) -> None:
    market = Market(slots=3)
    market.run_to(SLOT.next.starts_at + timedelta(minutes=1))
    house = make_house(market)
    house.expect(-2_000)
    house.start()
    stored = [final.slot for final in house.running._history.final_books()]
    assert stored == [SLOT, SLOT.next]
    assert not house.said("error")


def test_a_missed_book_that_nobody_gives_is_asked_for_again(make_house: MakeHouse) -> None:
    market = Market(slots=2)
    market.run_to(SLOT.starts_at + timedelta(minutes=1))
    house = make_house(market)
    house.ledger.refuse_reads = {"GetStanding"}
    house.start()
    assert house.running._history.final_books() == []
    house.ledger.refuse_reads = set()
    house.ledger.streams[-1].end()
    house.reconnect()
    stored = [final.slot for final in house.running._history.final_books()]
    assert SLOT in stored
