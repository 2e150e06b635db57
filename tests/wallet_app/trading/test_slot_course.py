"""A slot from opening to settlement over the real contract, as a household lives it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from light_node.fabric.errors import ContractRefused
from light_node.market.slots import Slot, parse
from light_node.market.units import EnergyWh, PriceTick
from tests.wallet_app.trading.house import (
    CAP,
    FLOOR,
    MARKET,
    SLOT,
    TIMETABLE,
    House,
    Market,
    RecordingInverter,
)
from wallet_app.settings import Settings
from wallet_app.trading.course import NotNow
from wallet_app.trading.outbox import EntryState
from wallet_app.trading.view import AgentMode, Phase, Proof

MakeHouse = Callable[..., House]
IN_ROUND_1 = TIMETABLE.opens(SLOT) + timedelta(minutes=5)


def deliver(market: Market, house: House, exported: int, slot: Slot = SLOT) -> None:
    """Live to the end of ``slot`` with a meter that is read at its edges."""
    market.run_to(slot.starts_at)
    house.meter(500_000, 700_000)
    market.run_to(slot.ends_at)
    house.meter(500_000, 700_000 + exported)


def test_a_whole_slot(market: Market, house: House) -> None:
    house.start()
    deliver(market, house, 1_960)
    market.run_until_settled()
    slot = house.slot()
    assert (slot.phase, slot.side, slot.proof) == (Phase.SETTLED, "sell", Proof.AGREED)
    assert slot.delivered_wh == -1_960
    line = market.ask("GetSettlement", SLOT.id, house.participant)["lines"][0]
    assert slot.matched_wh == line["contracted_wh"] > 0
    assert slot.market_money == line["market_money"] == slot.matched_wh * slot.price
    assert slot.grid_money == line["grid_money"] == (1_960 - slot.matched_wh) * FLOOR
    assert slot.grid_only_money == 1_960 * FLOOR
    view = house.session.view()
    account = market.ask("GetAccount", house.participant)
    assert (view.money.balance, view.money.proof) == (account["balance"], Proof.AGREED)
    assert view.money.saved == slot.market_money + slot.grid_money - slot.grid_only_money > 0
    assert not house.open_entries()


def test_what_went_onto_the_ledger_is_signed_by_the_household_and_bound_to_the_round(
    market: Market, house: House
) -> None:
    house.start()
    deliver(market, house, 1_960)
    market.run_until_settled()
    quotes = [market.ask("GetQuotes", SLOT.id, str(number))["quotes"] for number in (1, 2, 3)]
    own = [q for rounds in quotes for q in rounds if q["participant"] == house.participant]
    assert [q["round"] for q in own] == [1, 2]  # changed once, on a strict gain
    assert own[0]["energy_wh"] == own[1]["energy_wh"]
    (reading,) = [
        r
        for r in market.ask("GetReadings", SLOT.id)["readings"]
        if r["participant"] == house.participant
    ]
    assert (reading["export_wh"], reading["register_export_wh"]) == (1_960, 701_960)
    assert (reading["origin"], reading["estimated"]) == ("simulated", False)
    assert "202611200001" not in json.dumps(reading)  # the meter's number stays at home


def test_phases_are_told_as_they_come(market: Market, house: House) -> None:
    house.start()
    seen = []

    def look(_: object = None) -> None:
        slot = house.slot() if house.session.history(SLOT.starts_at, SLOT.ends_at) else None
        if slot and (slot.phase, slot.round) not in seen:
            seen.append((slot.phase, slot.round))

    stop = house.session.subscribe(look)
    market.run_to(SLOT.starts_at + timedelta(minutes=30))
    look()
    market.run_until_settled()
    stop()
    assert [phase for phase, _ in seen if phase is not Phase.CLOSED] == [
        Phase.QUOTING,
        Phase.QUOTING,
        Phase.QUOTING,
        Phase.FINAL,
        Phase.CLEARED,
        Phase.DELIVERING,
        Phase.SETTLING,
        Phase.SETTLED,
    ]


def test_the_view_in_round_two(market: Market, house: House) -> None:
    house.start()
    market.run_to(TIMETABLE.round_closes(SLOT, 1) + timedelta(minutes=2))
    view = house.session.view()
    assert view.quoting is not None
    assert view.quoting.slot == SLOT.id
    assert (view.quoting.round, view.quoting.rounds) == (2, 3)
    assert view.quoting.round_closes == TIMETABLE.round_closes(SLOT, 2)
    assert view.quoting.gate_closes == TIMETABLE.gate_closes(SLOT)
    assert view.standing is not None
    assert (view.standing.round, view.standing.proof) == (1, Proof.AGREED)
    assert [own for _, _, own in view.standing.asks].count(True) == 1
    assert view.suggestion is not None
    assert (view.suggestion.estimated, view.suggestion.regret_money) == (False, 0)
    assert view.delivering is None


# -- the agent's modes --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [AgentMode.SHOW, AgentMode.ASK])
def test_an_agent_that_may_not_act_quotes_nothing(
    market: Market, house: House, mode: AgentMode
) -> None:
    house.start()
    house.agent(mode)
    market.run_to(SLOT.starts_at)
    assert not house.entries("quote|")
    view = house.session.view()
    assert view.agent is mode
    assert (house.slot().side, house.slot().quoted_price) == ("sell", None)
    assert view.suggestion is not None
    assert view.suggestion.side == "sell"
    assert view.agent_reason


def test_an_accepted_suggestion_is_quoted_as_it_was_shown(market: Market, house: House) -> None:
    house.start()
    house.agent(AgentMode.ASK)
    market.run_to(IN_ROUND_1)
    suggestion = house.session.view().suggestion
    assert suggestion is not None
    house.command(house.session.accept_suggestion)
    slot = house.slot()
    assert (slot.quoted_wh, slot.quoted_price) == (suggestion.energy_wh, suggestion.price)
    assert slot.quote_state == "committed"
    deliver(market, house, 1_900)
    market.run_until_settled()
    assert house.slot().proof is Proof.AGREED


def test_an_agent_told_to_act_in_the_middle_of_a_round_acts(market: Market, house: House) -> None:
    house.start()
    house.agent(AgentMode.SHOW)
    market.run_to(IN_ROUND_1)
    assert not house.entries("quote|")
    house.agent(AgentMode.DO)
    house.settle()
    assert house.slot().quote_state == "committed"
    house.agent(AgentMode.DO)  # again: no second quote
    house.settle()
    assert len(house.entries("quote|")) == 1
    assert house.said("info").count("The agent's mode is now: do") == 1


def test_the_users_own_quote(market: Market, house: House) -> None:
    house.start()
    house.agent(AgentMode.SHOW)
    market.run_to(IN_ROUND_1)
    house.command(lambda: house.session.submit_quote(SLOT.id, EnergyWh(1_200), PriceTick(4_900)))
    market.run_to(SLOT.starts_at)
    slot = house.slot()
    assert (slot.quoted_wh, slot.quoted_price, slot.quote_state) == (1_200, 4_900, "committed")
    assert slot.matched_wh == 1_200  # cheaper than E: first in line


def test_the_same_quote_twice_is_one_transaction(market: Market, house: House) -> None:
    house.start()
    house.agent(AgentMode.SHOW)
    market.run_to(IN_ROUND_1)
    for _ in range(2):
        house.command(
            lambda: house.session.submit_quote(SLOT.id, EnergyWh(1_200), PriceTick(4_900))
        )
    assert len(house.entries("quote|")) == 1
    house.command(lambda: house.session.submit_quote(SLOT.id, EnergyWh(1_100), PriceTick(4_900)))
    assert [e.state for e in house.entries("quote|")] == [EntryState.COMMITTED] * 2


@pytest.mark.parametrize(
    ("slot", "energy", "price", "text"),
    [
        (SLOT.id, 1_000, FLOOR - 1, "between 0.4000 and 1.1000"),
        (SLOT.id, 1_000, CAP + 1, "between 0.4000 and 1.1000"),
        (SLOT.id, 0, 5_000, "nothing to trade"),
        ("2026-06-21T15:00Z/PT60M", 1_000, 5_000, "takes no quotes now"),
    ],
)
def test_a_quote_that_cannot_be_is_refused_in_words(
    market: Market, house: House, slot: str, energy: int, price: int, text: str
) -> None:
    house.start()
    house.agent(AgentMode.SHOW)
    market.run_to(IN_ROUND_1)
    with pytest.raises(NotNow, match=text):
        house.command(lambda: house.session.submit_quote(slot, EnergyWh(energy), PriceTick(price)))
    assert not house.entries("quote|")


def test_a_quote_after_the_round_is_refused_by_the_wallet(market: Market, house: House) -> None:
    house.start()
    market.run_to(SLOT.starts_at)
    with pytest.raises(NotNow, match="takes no quotes now"):
        house.command(
            lambda: house.session.submit_quote(SLOT.id, EnergyWh(1_000), PriceTick(5_000))
        )


def test_nothing_to_trade(market: Market, make_house: MakeHouse) -> None:
    plain = Settings({"agent": "do", "annual_load_wh": 0, "pv_peak_w": 0})
    house = make_house(settings=plain)
    house.expect(3)  # below what is worth a transaction
    house.start()
    market.run_to(IN_ROUND_1)
    assert (house.slot().side, house.entries("quote|")) == ("", [])
    with pytest.raises(NotNow, match="nothing to trade"):
        house.command(house.session.accept_suggestion)


def test_a_buyer(market: Market, make_house: MakeHouse) -> None:
    market.buyer_wh = 1_000  # E has more than X wants
    house = make_house()
    house.expect(2_000)
    house.start()
    market.run_to(SLOT.starts_at)
    house.meter(500_000, 0)
    market.run_to(SLOT.ends_at)
    house.meter(502_000, 0)
    market.run_until_settled()
    slot = house.slot()
    assert (slot.side, slot.delivered_wh, slot.proof) == ("buy", 2_000, Proof.AGREED)
    assert slot.matched_wh > 0
    assert slot.market_money == -slot.matched_wh * slot.price
    assert house.session.view().money.bought_wh == slot.matched_wh
    assert any("bought" in text for text in house.said("good"))


# -- limits -------------------------------------------------------------------------------------


def limited(**limits: int | str) -> Settings:
    return Settings({"agent": "do", **limits})


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"limit_min_sell_price": 10_999}, "you sell at 1.0999 or more"),
        ({"limit_energy_wh": 100}, "you allow 100 Wh"),
        ({"limit_day_sell_wh": 100}, "you allow 100 Wh a day"),
        ({"limit_hours": "01:00-02:00"}, "you allow trading 01:00–02:00"),
    ],
)
def test_the_agent_keeps_to_the_limits(
    market: Market, make_house: MakeHouse, limits: dict[str, int | str], words: str
) -> None:
    house = make_house(settings=limited(**limits))
    house.expect(-2_000)
    house.start()
    market.run_to(SLOT.starts_at)
    assert not house.entries("quote|")
    assert not [name for name, _ in house.ledger.prepared if name == "SubmitQuote"]
    assert any(words in text for text in house.said("warning"))
    with pytest.raises(NotNow, match="no quotes now"):
        house.command(lambda: house.session.submit_quote(SLOT.id, EnergyWh(90), PriceTick(10_999)))


def test_the_users_own_quote_keeps_to_the_limits_too(market: Market, make_house: MakeHouse) -> None:
    house = make_house(settings=limited(limit_energy_wh=500))
    house.expect(-2_000)
    house.start()
    house.agent(AgentMode.SHOW)
    market.run_to(IN_ROUND_1)
    with pytest.raises(NotNow, match="you allow 500 Wh"):
        house.command(lambda: house.session.submit_quote(SLOT.id, EnergyWh(501), PriceTick(5_000)))
    house.command(lambda: house.session.submit_quote(SLOT.id, EnergyWh(500), PriceTick(5_000)))
    assert house.slot().quote_state == "committed"


def test_a_quote_left_in_the_outbox_is_held_against_the_limits_before_it_is_signed(
    market: Market, house: House
) -> None:
    house.start()
    house.ledger.down = True  # the quote is kept and cannot be sent
    market.channel.submit(  # the slot opens while the wallet hears events and reaches nobody
        market.operator, "OpenSlot",
        json.dumps({"slot": SLOT.id, "floor": FLOOR, "cap": CAP, "rounds": 3}),
    )  # fmt: skip
    house.ledger.down = False
    house.ledger.kill_at = "before prepare SubmitQuote"
    with pytest.raises(BaseException, match="before prepare"):
        house.settle()
    house.kill()
    house.settings = house.settings.changed(limit_energy_wh=100)
    later = house.again()
    (entry,) = later.entries("quote|")
    assert entry.state is EntryState.REFUSED
    assert not [name for name, _ in later.ledger.prepared if name == "SubmitQuote"]
    assert later.slot().quote_state.startswith("refused: ")
    assert any("you allow 100 Wh" in text for text in later.said("warning"))


def test_a_days_limits_count_the_local_day(market: Market, house: House) -> None:
    """18:00 UTC is 02:00 of the next day in Shanghai: its loss is not today's."""
    house.start()
    market.run_to(IN_ROUND_1)
    from light_node.market.quotes import Quote, Side
    from wallet_app.trading.history import SlotRecord

    state, course = house.running._state, house.session._course
    quote = Quote(house.participant, Side.SELL, EnergyWh(100), PriceTick(5_000))
    loss = house.settings["limit_daily_loss"]
    for start, other_day in [
        ("2026-06-20T15:00Z/PT60M", True),  # 23:00 of the day before
        ("2026-06-21T16:00Z/PT60M", True),  # 00:00 of the day after
        ("2026-06-20T16:00Z/PT60M", False),  # 00:00
        ("2026-06-21T15:00Z/PT60M", False),  # 23:00
    ]:
        lost = SlotRecord(
            start, FLOOR, CAP, phase="settled", market_money=-loss, grid_money=0,
            penalty_money=0, grid_only_money=0,
        )  # fmt: skip
        state.update(lost)
        assert course.verdict(SLOT.id, quote).allowed is other_day, start
        state.amend(start, market_money=0)


def test_energy_that_stands_counts_although_its_change_was_refused(
    market: Market, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wallet_app.trading.course import _traded

    house.start()
    market.run_to(TIMETABLE.round_closes(SLOT, 1) + timedelta(minutes=2))
    state = house.running._state
    record = state.amend(SLOT.id, quote_state="refused: too late", matched_wh=700)
    assert record is not None
    assert _traded(record) == 700


# -- late, refused, unheard ---------------------------------------------------------------------


def test_a_quote_overtaken_by_the_close_of_its_round(market: Market, house: House) -> None:
    house.start()
    closed = []

    def close() -> None:
        if not closed:
            closed.append(True)
            market.channel.submit(market.operator, "CloseRound", SLOT.id, "1")

    market.run_to(TIMETABLE.opens(SLOT) - timedelta(minutes=1))
    house.ledger.before_commit = close
    market.run_to(SLOT.starts_at)
    (entry,) = house.entries("quote|")
    assert (entry.state, entry.tries) == (EntryState.REFUSED, 1)
    assert "ROUND_CLOSED" in entry.note
    assert house.slot().quote_state.startswith("refused: ")
    assert any("ROUND_CLOSED" in text for text in house.said("warning"))
    assert house.slot().matched_wh == 0


def test_a_quote_that_could_not_be_sent_in_time_is_given_up_and_said(
    market: Market, house: House
) -> None:
    house.start()
    opened = TIMETABLE.opens(SLOT) + timedelta(minutes=1)
    house.agent(AgentMode.SHOW)
    market.run_to(opened)
    house.ledger.down = True
    house.command(lambda: house.session.submit_quote(SLOT.id, EnergyWh(1_000), PriceTick(5_000)))
    assert house.slot().quote_state == "waiting"
    market.run_to(TIMETABLE.round_closes(SLOT, 1) + timedelta(minutes=1))
    house.ledger.down = False
    market.run_to(SLOT.starts_at)
    (entry,) = house.entries("quote|")
    assert entry.state is EntryState.EXPIRED
    assert house.slot().quote_state.startswith("refused: ")
    assert len([t for t in house.said("warning") if "no quote" in t]) == 1


def test_a_refused_admission_is_said_and_tried_again_at_the_next_start(
    market: Market, make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house()
    prepare = house.ledger.prepare

    def refuse(function: str, *arguments: str) -> tuple[str, bytes]:
        if function == "Admit":
            raise ContractRefused(403, "FORBIDDEN", "you may not trade")
        return prepare(function, *arguments)

    monkeypatch.setattr(house.ledger, "prepare", refuse)
    house.start()
    assert any("FORBIDDEN" in text for text in house.said("error"))
    house.kill()
    later = house.again()
    assert [e.state for e in later.entries("admit|")] == [
        EntryState.REFUSED,
        EntryState.COMMITTED,
    ]
    assert market.ask("GetParticipant", house.participant)["participant"] == house.participant


# -- the meter ----------------------------------------------------------------------------------


def own_readings(market: Market, house: House) -> list[dict[str, Any]]:
    found = market.ask("GetReadings", SLOT.id)["readings"]
    return [r for r in found if r["participant"] == house.participant]


def test_a_meter_silent_at_the_end_leaves_the_market_to_estimate(
    market: Market, house: House
) -> None:
    house.start()
    market.run_until_settled()
    assert own_readings(market, house) == []
    assert [t for t in house.said("warning") if "no meter reading" in t] == [
        "18:00–19:00: no meter reading; the market will estimate it"
    ]
    slot = house.slot()
    assert (slot.phase, slot.delivered_wh) == (Phase.SETTLED, None)
    assert slot.market_money is not None


def test_a_meter_that_is_back_before_readings_are_due_is_read_and_marked_estimated(
    market: Market, house: House
) -> None:
    house.start()
    market.run_to(SLOT.starts_at)
    house.meter(500_000, 700_000)
    market.run_to(SLOT.ends_at - timedelta(minutes=10))
    house.meter(500_000, 701_000)
    market.run_to(SLOT.ends_at + timedelta(minutes=10))
    house.meter(500_000, 702_000, after_gap="the adapter was unplugged")
    market.run_until_settled()
    (reading,) = own_readings(market, house)
    assert (reading["export_wh"], reading["estimated"]) == (1_500, True)
    assert not [t for t in house.said("warning") if "no meter reading" in t]


def test_a_restart_after_the_end_still_sends_the_reading(market: Market, house: House) -> None:
    house.start()
    market.run_to(SLOT.starts_at)
    house.meter(500_000, 700_000)
    market.run_to(SLOT.ends_at - timedelta(minutes=1))
    house.kill()
    market.run_to(SLOT.ends_at + timedelta(minutes=5))
    later = house.again()
    later.meter(500_000, 701_960, at=SLOT.ends_at + timedelta(minutes=1))
    market.run_to(SLOT.ends_at + timedelta(minutes=8))
    (reading,) = own_readings(market, house)
    assert abs(reading["export_wh"] - 1_928) <= 1
    market.run_until_settled()
    assert later.slot().proof is Proof.AGREED


def telemetry(market: Market, house: House, *, house_wh: int, roof_wh: int) -> None:
    house.running.live.take_telemetry(
        {
            "market": market.now.isoformat(),
            "roof_w": 3_000,
            "house_w": 1_000,
            "battery_w": 0,
            "battery_wh": 4_000,
            "roof_wh": roof_wh,
            "house_wh": house_wh,
        }
    )


def test_with_an_inverter_the_battery_is_told_and_the_forecast_learns_without_it(
    market: Market, make_house: MakeHouse
) -> None:
    inverter = RecordingInverter()
    house = make_house(inverter=inverter)
    house.expect(-2_000)
    house.start()
    market.run_to(SLOT.starts_at)
    house.meter(500_000, 700_000)
    telemetry(market, house, house_wh=10_000, roof_wh=50_000)
    sold = house.slot().matched_wh
    assert sold > 0
    assert inverter.orders == [(-sold, SLOT.ends_at)]
    market.run_to(SLOT.ends_at)
    house.meter(500_000, 700_000 + sold)
    telemetry(market, house, house_wh=10_400, roof_wh=52_900)
    market.run_until_settled()
    assert house.slot().delivered_wh == -sold
    (learnt,) = house.running._history.energies(SLOT.starts_at)
    assert learnt.net_wh == 400 - 2_900


def test_a_restart_in_the_middle_orders_only_the_rest(
    market: Market, make_house: MakeHouse
) -> None:
    inverter = RecordingInverter()
    house = make_house(inverter=inverter)
    house.expect(-2_000)
    house.start()
    market.run_to(SLOT.starts_at)
    house.kill()
    market.run_to(SLOT.starts_at + timedelta(minutes=30))
    house.again()
    (first, _), (second, until) = inverter.orders
    assert (round(first / 2), SLOT.ends_at) == (second, until)


# -- days and slots -----------------------------------------------------------------------------


def test_slots_overlap(make_house: MakeHouse) -> None:
    market = Market(slots=3)
    house = make_house(market)
    house.expect(-2_000)
    house.start()
    slot, exported = SLOT, 700_000
    market.run_to(slot.starts_at)
    house.meter(0, exported)
    for _ in range(3):
        market.run_to(slot.ends_at)
        exported += 1_900
        house.meter(0, exported)
        slot = slot.next
    market.run_until_settled(parse("2026-06-21T12:00Z/PT60M"))
    views = house.session.history(SLOT.starts_at, slot.starts_at)
    assert [v.phase for v in views] == [Phase.SETTLED] * 3
    assert [v.delivered_wh for v in views] == [-1_900] * 3
    assert [v.proof for v in views] == [Proof.AGREED] * 3
    assert len({v.transaction for v in views}) == 3
    money = house.session.view().money
    assert money.market_money == sum(v.market_money or 0 for v in views)
    assert money.balance == market.ask("GetAccount", house.participant)["balance"]


def test_the_standard_household_is_asked_for_its_local_hour() -> None:
    from wallet_app.trading.setup import standard_prior

    settings = Settings({"time_zone": "America/Los_Angeles", "pv_peak_w": 8_000})
    noon = Slot(int(datetime(2026, 6, 21, 19, tzinfo=UTC).timestamp()), 3600)
    midnight = Slot(int(datetime(2026, 6, 21, 7, tzinfo=UTC).timestamp()), 3600)
    summer, winter = MARKET, datetime(2026, 1, 10, tzinfo=UTC)
    assert (
        standard_prior(settings, summer)(noon)
        < -3_000
        < 0
        < standard_prior(settings, summer)(midnight)
    )
    assert standard_prior(settings, summer)(noon) != standard_prior(settings, winter)(noon)


def test_the_peer_that_is_asked_is_marked(house: House) -> None:
    marked = [peer.address for peer in house.session.view().trust.peers if peer.in_use]
    assert marked == [house.ledger.peer_address]
