"""Kills, dead peers, broken streams, full disks, lying peers: nothing lost, nothing twice."""

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from light_node.contract.stub import split_composite_key
from light_node.fabric.errors import ContractRefused, EndorseError, Unavailable
from light_node.market.units import EnergyWh, PriceTick
from tests.light_node.conftest import trader_identity
from tests.wallet_app.trading.house import SLOT, TIMETABLE, House, Killed, Market
from wallet_app.database import DatabaseError
from wallet_app.trading import history, outbox
from wallet_app.trading.course import NotNow
from wallet_app.trading.outbox import EntryState
from wallet_app.trading.view import AgentMode, Phase, Proof, SlotView

MakeHouse = Callable[..., House]
EXPORTED = 1_960


def live(market: Market, house: House) -> House:
    """Live through the slot; a house that is killed is started again. Return the last run."""
    readings = {SLOT.starts_at: 700_000, SLOT.ends_at: 700_000 + EXPORTED}
    moments = [*readings, TIMETABLE.settles(SLOT) + timedelta(minutes=5)]

    def restarted(dead: House) -> House:
        dead.kill()
        return dead.again()

    for moment in moments:
        while True:
            try:
                market.run_to(moment)
                break
            except Killed:
                house = restarted(house)
        if moment in readings:
            house.meter(500_000, readings[moment])
    return house


def own_writes(market: Market, house: House) -> dict[str, int]:
    """How many valid transactions wrote a record of each kind of this household's."""
    count: dict[str, int] = {}
    for writes in market.channel.written.values():
        for key in writes:
            kind, attributes = split_composite_key(key)
            if house.participant in attributes and kind in ("quote", "reading", "participant"):
                name = f"{kind} {attributes[1]}" if kind == "quote" else kind
                count[name] = count.get(name, 0) + 1
    return count


def outcome(slot: SlotView) -> tuple[Any, ...]:
    return (
        slot.phase, slot.side, slot.quoted_wh, slot.quoted_price, slot.quote_state,
        slot.matched_wh, slot.price, slot.delivered_wh, slot.market_money, slot.grid_money,
        slot.penalty_money, slot.grid_only_money, slot.proof,
    )  # fmt: skip


@pytest.fixture
def undisturbed(market: Market, house: House) -> tuple[Any, ...]:
    """What the slot brings when nothing goes wrong."""
    house.start()
    house = live(market, house)
    assert own_writes(market, house) == {"participant": 1, "quote 1": 1, "quote 2": 1, "reading": 1}
    found = outcome(house.slot())
    house.kill()
    assert found[0] is Phase.SETTLED
    assert found[-1] is Proof.AGREED
    return found


def fresh(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Market, House]:
    market = Market()
    identity = trader_identity("home")
    house = House(market, tmp_path / name, identity, monkeypatch=monkeypatch)
    house.expect(-2_000)
    return market, house


POINTS = [
    "evaluate GetParticipant", "evaluate ListSlots", "before prepare Admit", "after prepare Admit",
    "evaluate GetSlot", "before prepare SubmitQuote", "after prepare SubmitQuote",
    "evaluate GetStanding", "evaluate GetClearing", "before prepare SubmitReading",
    "after prepare SubmitReading", "evaluate GetSettlement", "evaluate GetAccount",
    "before submit", "after submit", "before outcome",
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_call_it_goes_on(
    point: str,
    undisturbed: tuple[Any, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    market, house = fresh(tmp_path, "killed", monkeypatch)
    house.ledger.kill_at = point
    ledger = house.ledger
    try:
        house.start()
    except Killed:
        house.kill()
        house = house.again()
    house = live(market, house)
    assert not ledger.kill_at, "the point was never passed"
    assert outcome(house.slot()) == undisturbed
    assert own_writes(market, house) == {"participant": 1, "quote 1": 1, "quote 2": 1, "reading": 1}
    assert not house.open_entries()
    house.kill()


def test_killed_after_any_write_to_the_disk_it_goes_on(
    undisturbed: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies right after the n-th thing it kept, for every n."""
    writes = 0
    deadly = 0

    def counting(original: Any) -> Any:
        def write(self: Any, statement: str, values: tuple[Any, ...]) -> None:
            nonlocal writes
            original(self, statement, values)
            writes += 1
            if writes == deadly:
                raise Killed(statement)

        return write

    monkeypatch.setattr(history.History, "_execute", counting(history.History._execute))
    monkeypatch.setattr(outbox.Outbox, "_write", counting(outbox.Outbox._write))
    count = 1
    while True:
        deadly = 0
        market, house = fresh(tmp_path, f"house-{count}", monkeypatch)
        writes, deadly = 0, count
        try:
            house.start()
        except Killed:
            house.kill()
            house = house.again()
        house = live(market, house)
        found, wrote = outcome(house.slot()), own_writes(market, house)
        house.kill()
        assert found == undisturbed, f"killed after write {count}"
        expected = {"participant": 1, "quote 1": 1, "quote 2": 1, "reading": 1}
        assert wrote == expected, f"killed after write {count}"
        if writes < count:
            break
        count += 1
    assert count > 25  # a slot has that many


# -- peers and streams --------------------------------------------------------------------------


def test_a_peer_that_is_down_at_the_start_and_comes_later(market: Market, house: House) -> None:
    house.ledger.down = True
    house.running.__enter__()
    market.houses.append(house)
    house.ledger.wait_asked(1)
    house.settle()
    assert any("The market does not answer: no peer answers" in t for t in house.said("warning"))
    assert not house.session.view().slots
    house.ledger.down = False
    house.reconnect()
    assert "You have entered the market." in house.said("good")
    house = live(market, house)
    assert house.slot().proof is Proof.AGREED


def test_a_restart_while_the_peer_is_down_shows_what_is_known_and_catches_up(
    market: Market, house: House
) -> None:
    house.start()
    market.run_to(TIMETABLE.round_closes(SLOT, 1) + timedelta(minutes=1))
    house.kill()
    later = House(market, house.directory, house.identity, monkeypatch=house._patch)
    later.ledger.down = True
    later.running.__enter__()
    market.houses.append(later)
    later.ledger.wait_asked(1)
    later.settle()
    assert later.slot().quote_state == "committed"
    market.run_to(SLOT.starts_at)
    assert later.slot().phase is Phase.QUOTING
    later.ledger.down = False
    later.reconnect()
    assert later.slot().phase is Phase.DELIVERING
    assert later.slot().matched_wh == market.ask("GetClearing", SLOT.id)["fills"].get(
        house.participant, 0
    )
    later.kill()


def test_a_broken_stream_is_taken_up_where_it_broke(market: Market, house: House) -> None:
    house.start()
    market.run_to(TIMETABLE.opens(SLOT) + timedelta(minutes=1))
    house.ledger.down = True
    house.ledger.streams[-1].end(Unavailable("the connection broke"))
    market.run_to(TIMETABLE.round_closes(SLOT, 2) + timedelta(minutes=1))
    assert any("the connection broke" in t for t in house.said("warning"))
    assert house.slot().round == 1
    house.ledger.down = False
    house.reconnect()
    assert house.slot().round == 3
    assert house.session.view().standing.round == 2
    house = live(market, house)
    assert house.slot().proof is Proof.AGREED


@pytest.mark.parametrize(
    ("function", "until"),
    [
        ("GetSlot", SLOT.starts_at),  # no slot is known: nothing can be quoted, but read it is
        ("GetStanding", TIMETABLE.settles(SLOT)),
        ("GetClearing", TIMETABLE.settles(SLOT)),
        ("GetSettlement", TIMETABLE.settles(SLOT) + timedelta(minutes=5)),
        ("GetAccount", TIMETABLE.settles(SLOT) + timedelta(minutes=5)),
    ],
)
def test_events_whose_queries_find_nobody_are_dealt_with_later(
    market: Market, house: House, function: str, until: datetime
) -> None:
    house.start()
    market.run_to(TIMETABLE.opens(SLOT) - timedelta(minutes=1))
    house.ledger.refuse_reads = {function}
    steps: dict[datetime, Callable[[], None]] = {
        SLOT.starts_at: lambda: house.meter(500_000, 700_000),
        SLOT.ends_at: lambda: house.meter(500_000, 700_000 + EXPORTED),
    }
    answering = [False]

    def answer() -> None:
        behind = house.running._history.fact("events_block")
        newest = max(event.block for event in market.channel.events)
        assert behind is None or int(behind) < newest  # a kill now would begin there again
        house.ledger.refuse_reads = set()
        answering[0] = True

    for moment in sorted({*steps, until}):
        market.run_to(moment)
        if moment in steps:
            steps[moment]()
        if moment == until:
            answer()
    market.run_until_settled()
    market.run_to(market.now + timedelta(minutes=10))
    assert answering[0]
    slot = house.slot()
    assert (slot.phase, slot.proof) == (Phase.SETTLED, Proof.AGREED)
    line = market.ask("GetSettlement", SLOT.id, house.participant)["lines"][0]
    assert (slot.matched_wh, slot.market_money) == (line["contracted_wh"], line["market_money"])
    newest = max(event.block for event in market.channel.events)
    assert house.running._history.fact("events_block") == str(newest)
    assert (
        house.session.view().money.balance == market.ask("GetAccount", house.participant)["balance"]
    )


@pytest.mark.parametrize("function", ["GetSlot", "GetStanding", "GetClearing", "GetSettlement"])
def test_a_peer_that_has_not_applied_the_block_of_its_event_yet_is_asked_again(
    market: Market, house: House, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    house.start()
    market.run_to(TIMETABLE.opens(SLOT) - timedelta(minutes=1))
    evaluate, late = house.ledger.evaluate, set[tuple[str, ...]]()

    def behind(called: str, *arguments: str) -> Any:
        if called == function and (called, *arguments) not in late:
            late.add((called, *arguments))
            raise ContractRefused(404, "NOT_FOUND", "no such slot yet")
        return evaluate(called, *arguments)

    monkeypatch.setattr(house.ledger, "evaluate", behind)
    live(market, house)
    slot = house.slot()
    assert late
    assert (slot.phase, slot.proof) == (Phase.SETTLED, Proof.AGREED)
    assert not any("does not answer" in text for text in house.said("warning"))


def test_a_refusal_that_stays_is_said_and_left(
    market: Market, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.start()
    market.run_to(TIMETABLE.opens(SLOT) - timedelta(minutes=1))
    evaluate = house.ledger.evaluate

    def refuse(called: str, *arguments: str) -> Any:
        if called == "GetStanding":
            raise ContractRefused(404, "NOT_FOUND", "no such round")
        return evaluate(called, *arguments)

    monkeypatch.setattr(house.ledger, "evaluate", refuse)
    live(market, house)
    assert any("NOT_FOUND" in text for text in house.said("warning"))
    newest = max(event.block for event in market.channel.events)
    assert house.running._history.fact("events_block") == str(newest)


def test_replayed_events_change_nothing_and_say_nothing(market: Market, house: House) -> None:
    house.start()
    house = live(market, house)
    before, said = house.session.view(), house.said()
    for block in ("1", "", str(market.channel.events[4].block)):
        house.running._history.set_fact("events_block", block)
        house.kill()
        house = house.again()
        after = house.session.view()
        assert (after.slots, after.money) == (before.slots, before.money)
        assert house.said() == said
    assert own_writes(market, house) == {"participant": 1, "quote 1": 1, "quote 2": 1, "reading": 1}


def test_a_standing_that_comes_again_is_not_answered_again(market: Market, house: House) -> None:
    house.start()
    market.run_to(TIMETABLE.round_closes(SLOT, 2) + timedelta(minutes=1))
    before = [(e.key, e.arguments) for e in house.entries("quote|")]
    standing = house.session.view().standing
    house.running._history.set_fact("events_block", "1")
    house.kill()
    later = house.again()
    assert [(e.key, e.arguments) for e in later.entries("quote|")] == before
    assert later.session.view().standing == standing
    assert not later.said("warning")


def test_a_directory_lost_the_slot_is_taken_up_from_the_ledger(
    market: Market, house: House, tmp_path: Path
) -> None:
    house.start()
    market.run_to(SLOT.starts_at + timedelta(minutes=10))
    matched = house.slot().matched_wh
    house.kill()
    house.directory = tmp_path / "empty"
    later = house.again()
    assert (later.slot().phase, later.slot().matched_wh) == (Phase.DELIVERING, matched)
    market.run_until_settled()
    assert (later.slot().side, later.slot().proof) == ("sell", Proof.AGREED)


# -- proofs -------------------------------------------------------------------------------------


def test_a_settlement_that_the_peer_misreports_is_disputed(market: Market, house: House) -> None:
    def richer(function: str, answer: Any) -> Any:
        if function == "GetSettlement":
            for line in answer["lines"]:
                line["market_money"] += 1
        return answer

    house.ledger.twist = richer
    house.start()
    house = live(market, house)
    view = house.session.view()
    assert house.slot().proof is Proof.DISPUTED
    assert view.money.proof is Proof.DISPUTED
    assert any("not what the block says" in text for text in house.said("error"))


def test_a_standing_that_the_peer_misreports_is_disputed(market: Market, house: House) -> None:
    def cheaper(function: str, answer: Any) -> Any:
        return {**answer, "price": answer["price"] - 1} if function == "GetStanding" else answer

    house.ledger.twist = cheaper
    house.start()
    market.run_to(TIMETABLE.round_closes(SLOT, 1) + timedelta(minutes=1))
    standing = house.session.view().standing
    assert standing is not None
    assert standing.proof is Proof.DISPUTED


def test_what_cannot_be_proved_yet_is_proved_later_also_after_a_restart(
    market: Market, house: House
) -> None:
    house.node.proof = None
    house.start()
    house = live(market, house)
    assert house.slot().proof is Proof.NONE
    assert house.session.view().money.proof is Proof.NONE
    house.kill()
    later = house.again()  # its node has caught up
    assert later.slot().proof is Proof.AGREED


def test_an_answer_that_is_not_what_was_promised_is_said(market: Market, house: House) -> None:
    house.ledger.twist = lambda function, answer: [] if function == "GetClearing" else answer
    house.start()
    market.run_to(SLOT.starts_at)
    assert any("GetClearing" in text for text in house.said("warning"))
    market.run_until_settled()
    assert house.slot().phase is Phase.SETTLED  # the events after it went on


# -- the disk -----------------------------------------------------------------------------------


def fill(box: Any, table: str) -> None:
    """Let the file grow no more and use up what is left of it."""
    pages = box._db.execute("PRAGMA page_count").fetchone()[0]
    box._db.execute(f"PRAGMA max_page_count={pages}")
    fillers = {
        "outbox": "INSERT INTO outbox(key,function,arguments,created,deadline,state)"
        " VALUES (?,'','','','','refused')",
        "slots": f"INSERT INTO slots VALUES (?, '', '{'x' * 200}')",
    }
    with pytest.raises(sqlite3.OperationalError, match="full"):
        box._db.executemany(fillers[table], ((f"filler|{n}",) for n in range(100_000)))


def free(box: Any) -> None:
    box._db.execute("PRAGMA max_page_count=1000000")


def test_a_full_disk_promises_nothing_and_loses_nothing(market: Market, house: House) -> None:
    house.start()
    house.agent(AgentMode.SHOW)
    market.run_to(TIMETABLE.opens(SLOT) + timedelta(minutes=5))
    fill(house.running._outbox, "outbox")

    def quote() -> None:
        house.session.submit_quote(SLOT.id, EnergyWh(1_000), PriceTick(5_000))

    with pytest.raises(NotNow, match=r"Nothing was quoted.*full.*free disk space"):
        house.command(quote)
    assert house.slot().quoted_price is None
    assert not house.entries("quote|")
    free(house.running._outbox)
    house.command(quote)
    assert house.slot().quote_state == "committed"


def test_a_full_disk_under_the_history_is_said_and_made_up_for(
    market: Market, house: House
) -> None:
    house.start()
    market.run_to(TIMETABLE.opens(SLOT) - timedelta(minutes=1))
    fill(house.running._history, "slots")
    market.run_to(SLOT.starts_at)
    assert any("cannot write the history" in text for text in house.said("error"))
    assert house.slot().matched_wh > 0  # shown from memory
    house.meter(500_000, 700_000)
    free(house.running._history)
    market.run_to(SLOT.ends_at)
    house.meter(500_000, 700_000 + EXPORTED)
    market.run_until_settled()
    expected = outcome(house.slot())
    house.kill()
    assert outcome(house.again().slot()) == expected


def test_an_outbox_that_cannot_be_written_holds_the_envelope_back(
    market: Market, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed but not kept: it must not leave, because nobody would remember it."""
    house.start()
    house.agent(AgentMode.SHOW)
    market.run_to(TIMETABLE.opens(SLOT) + timedelta(minutes=5))
    original = outbox.Outbox.prepared

    def full(self: Any, *values: Any) -> None:
        raise outbox.OutboxError("cannot write the outbox: disk full; free disk space")

    monkeypatch.setattr(outbox.Outbox, "prepared", full)
    with pytest.raises(outbox.OutboxError):
        house.command(
            lambda: house.session.submit_quote(SLOT.id, EnergyWh(1_000), PriceTick(5_000))
        )
    assert market.ask("GetQuotes", SLOT.id, "1")["quotes"][0]["participant"] != house.participant
    assert own_writes(market, house) == {"participant": 1}
    monkeypatch.setattr(outbox.Outbox, "prepared", original)
    house.settle()
    assert own_writes(market, house) == {"participant": 1, "quote 1": 1}


def test_another_versions_files_are_left_alone_and_nothing_stays_open(
    market: Market, make_house: MakeHouse, house: House
) -> None:
    house.start()
    house.kill()
    path = house.directory / "history.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    content = path.read_bytes()
    with pytest.raises(DatabaseError, match="another version"):
        house.again()
    assert path.read_bytes() == content
    # Nothing holds the other files: they can be used at once.
    again = outbox.Outbox(house.directory / "outbox.sqlite")
    assert [e.state for e in again.entries("admit|")] == [EntryState.COMMITTED]
    again.close()


def test_one_entry_that_fails_by_itself_does_not_hold_up_the_others(
    market: Market, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.start()
    prepare = house.ledger.prepare

    def choosy(function: str, *arguments: str) -> tuple[str, bytes]:
        if function == "Admit":
            raise EndorseError("endorse failed (INTERNAL)")
        return prepare(function, *arguments)

    monkeypatch.setattr(house.ledger, "prepare", choosy)
    box, now = house.running._outbox, market.clock.now()
    box.put("admit|9", "Admit", ["{}"], created=now, deadline=now + timedelta(days=1))
    market.run_to(SLOT.starts_at)
    assert [e.state for e in house.entries("quote|")] == [EntryState.COMMITTED] * 2
    assert [e.key for e in house.open_entries()] == ["admit|9"]


def test_stopping_is_not_reported_as_a_failure(market: Market, house: House) -> None:
    house.start()
    said = house.said()
    house.session.stop()
    house.running._report(Unavailable("the connection was closed"))
    assert house.said() == said


def test_the_view_survives_a_slot_with_more_rounds_than_the_timetable(
    market: Market, house: House
) -> None:
    house.start()
    market.run_to(TIMETABLE.opens(SLOT) + timedelta(minutes=1))
    house.running._state.amend(SLOT.id, round=7)
    quoting = house.session.view().quoting
    assert quoting is not None
    assert isinstance(quoting.round_closes, datetime)
