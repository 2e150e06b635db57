"""What the session knows: days of 23 and 25 hours, sums, proofs, lines, subscribers, threads."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from light_node.clock import REAL_TIME, MarketTime
from light_node.market.slots import Slot, parse
from light_node.mtc.timetable import Timetable
from wallet_app.trading.history import History, SlotRecord
from wallet_app.trading.state import About, TradingState, sums
from wallet_app.trading.view import Change, EventView, Phase, Proof

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


class Clock:
    def __init__(self, now: datetime = NOON) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


class Desk:
    """A state over a history on disk."""

    def __init__(self, path: Path, now: datetime = NOON, zone: Any = BERLIN) -> None:
        self.path, self.zone, self.clock = path, zone, Clock(now)
        self.history = History(path)
        self.state = self.open()

    def open(self, market_time: MarketTime = REAL_TIME) -> TradingState:
        about = About("home@Org1MSP", "Org1MSP", "test", self.zone, "EUR", demo=False)
        return TradingState(about, self.history, market_time, self.clock, Timetable(3600))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "history.sqlite")
    yield made
    made.history.close()


def slots(start: datetime, count: int) -> list[Slot]:
    first = int(start.timestamp())
    return [Slot(first + 3600 * n, 3600) for n in range(count)]


def settled(slot: str, money: int = 10, **values: Any) -> SlotRecord:
    return SlotRecord(
        slot, 4000, 11_000, phase="settled", market_money=money, grid_money=0, penalty_money=0,
        grid_only_money=0, proof="agreed", **values,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        ("2026-03-29", "Europe/Berlin", 23),
        ("2026-10-25", "Europe/Berlin", 25),
        ("2026-06-21", "Europe/Berlin", 24),
        ("2026-03-08", "America/New_York", 23),
        ("2026-11-01", "America/New_York", 25),
        ("2026-06-21", "Asia/Shanghai", 24),
        ("2026-09-06", "America/Santiago", 23),  # the hour from midnight on does not exist
    ],
)
def test_a_local_day_has_the_slots_it_has(tmp_path: Path, day: str, zone: str, hours: int) -> None:
    local = ZoneInfo(zone)
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=local).astimezone(UTC)
    desk = Desk(tmp_path / "h.sqlite", noon, local)
    for slot in slots(noon - timedelta(hours=36), 72):
        desk.state.update(settled(slot.id))
    start, end = desk.state.day(noon)
    view = desk.state.view()
    assert len(view.slots) == hours
    assert view.money.market_money == 10 * hours
    assert {s.start.astimezone(local).date().isoformat() for s in view.slots} == {day}
    assert len(desk.state.between(start, end)) == hours
    # The same from disk, at the next start.
    assert desk.open().view().slots == view.slots
    desk.history.close()


def test_the_current_and_the_quoting_slot(desk: Desk) -> None:
    for slot in slots(NOON - timedelta(hours=1), 4):
        phase = "cleared" if slot.starts_at <= NOON else "quoting"
        desk.state.update(SlotRecord(slot.id, 1, 2, phase=phase, round=1, rounds=3))
    view = desk.state.view()
    assert view.delivering is not None
    assert (view.delivering.start, view.delivering.phase) == (NOON, Phase.DELIVERING)
    assert view.quoting is not None
    assert view.quoting.start == NOON + timedelta(hours=1)
    assert view.quoting.round_closes == NOON + timedelta(hours=0.22)
    assert view.slots[0].phase is Phase.CLEARED  # awaiting settlement, not delivering


def test_market_time_is_utc_whatever_the_profile_says(desk: Desk) -> None:
    east = datetime(2026, 6, 21, 20, tzinfo=ZoneInfo("Asia/Shanghai"))
    state = desk.open(MarketTime(NOON, east, 10))
    assert state.market_now() == NOON
    assert state.market_now().utcoffset() == timedelta(0)


def test_sums_are_over_settled_slots_and_as_sure_as_the_worst_of_them(desk: Desk) -> None:
    ids = [s.id for s in slots(NOON - timedelta(hours=3), 4)]
    desk.state.update(settled(ids[0], 500, side="sell", matched_wh=1_000))
    desk.state.update(settled(ids[1], -200, side="buy", matched_wh=700))
    desk.state.update(SlotRecord(ids[2], 1, 2, phase="cleared", side="sell", matched_wh=9_999))
    money = desk.state.view().money
    assert (money.market_money, money.sold_wh, money.bought_wh) == (300, 1_000, 700)
    assert money.proof is Proof.AGREED
    for proof in (Proof.VERIFIED, Proof.NONE, Proof.DISPUTED):
        desk.state.amend(ids[1], proof=proof.value)
        assert desk.state.view().money.proof is proof
    assert sums((), None).proof is Proof.NONE


@pytest.mark.parametrize(
    ("before", "new", "after"),
    [
        ("none", Proof.VERIFIED, "verified"),
        ("verified", Proof.AGREED, "agreed"),
        ("agreed", Proof.VERIFIED, "agreed"),
        ("agreed", Proof.NONE, "agreed"),
        ("agreed", Proof.DISPUTED, "disputed"),
        ("disputed", Proof.AGREED, "disputed"),
    ],
)
def test_what_was_proved_stays_proved_and_a_dispute_stays(
    desk: Desk, before: str, new: Proof, after: str
) -> None:
    slot = slots(NOON, 1)[0].id
    desk.state.update(SlotRecord(slot, 1, 2, phase="settled", proof=before))
    desk.state.prove_slot(slot, new)
    record = desk.state.record(slot)
    assert record is not None
    assert record.proof == after


def test_amending_what_is_not_there(desk: Desk) -> None:
    assert desk.state.amend(slots(NOON, 1)[0].id, phase="settled") is None
    desk.state.prove_slot(slots(NOON, 1)[0].id, Proof.AGREED)
    assert desk.state.records() == []


def test_two_threads_amend_one_record_and_lose_nothing(desk: Desk) -> None:
    slot = slots(NOON, 1)[0].id
    desk.state.update(SlotRecord(slot, 1, 2))
    barrier = threading.Barrier(2)

    def count(name: str) -> None:
        barrier.wait()
        for number in range(1, 101):
            record = desk.state.amend(slot, **{name: number})
            assert record is not None
            assert getattr(record, name) == number

    threads = [threading.Thread(target=count, args=(n,)) for n in ("planned_wh", "delivered_wh")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = desk.state.record(slot)
    assert record is not None
    assert (record.planned_wh, record.delivered_wh) == (100, 100)
    assert desk.history.get(slot) == record


def test_subscribers_hear_each_change_until_they_stop(desk: Desk) -> None:
    heard: list[frozenset[Change]] = []
    stop = desk.state.subscribe(heard.append)
    slot = slots(NOON, 1)[0].id
    desk.state.update(SlotRecord(slot, 1, 2))
    desk.state.update(SlotRecord(slot, 1, 2))  # nothing new
    desk.state.amend(slot, floor=1)  # nothing new either
    desk.state.say("info", "hello")
    stop()
    stop()
    desk.state.say("info", "nobody hears")
    assert heard == [frozenset({Change.SLOT, Change.HISTORY}), frozenset({Change.EVENT})]


def test_a_subscriber_that_fails_stops_nobody(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []

    def broken(_: object) -> None:
        raise RuntimeError("the window is gone")

    desk.state.subscribe(broken)
    desk.state.subscribe(lambda _: heard.append(1))
    desk.state.say("info", "hello")
    assert heard == [1]
    assert "the window is gone" in caplog.text


def test_lines_are_said_once_in_a_row_and_kept(desk: Desk) -> None:
    for text in ("no answer", "no answer", "sold", "no answer"):
        desk.state.say("warning", text, "peer's words")
    assert [e.text for e in desk.state.view().events] == ["no answer", "sold", "no answer"]
    kept = desk.open().view().events
    assert kept == desk.state.view().events
    assert kept[0].foreign == "peer's words"


def test_news_that_a_replay_brings_again_is_said_once(desk: Desk) -> None:
    desk.state.say("good", "18:00–19:00: sold", once=True)
    desk.state.say("info", "between")
    desk.state.say("good", "18:00–19:00: sold", once=True)
    assert len(desk.state.view().events) == 2
    desk.clock.time += timedelta(days=1)  # tomorrow it is news
    desk.state.say("good", "18:00–19:00: sold", once=True)
    assert len(desk.state.view().events) == 3


def test_only_the_newest_lines_are_shown(desk: Desk) -> None:
    for number in range(150):
        desk.state.say("info", f"line {number}")
    texts = [e.text for e in desk.state.view().events]
    assert (len(texts), texts[0], texts[-1]) == (100, "line 50", "line 149")


def test_memory_stays_small_over_months_and_history_whole(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet_app.trading.state._KEPT", 50)
    old = slots(NOON - timedelta(days=10), 60)
    for slot in old:
        desk.state.update(settled(slot.id))
    today = slots(NOON - timedelta(hours=1), 2)
    for slot in today:
        desk.state.update(settled(slot.id))
    kept = [r.slot for r in desk.state.records()]
    assert len(kept) <= 50
    assert kept[-2:] == [s.id for s in today]
    assert len(desk.state.between(old[0].starts_at, NOON + timedelta(hours=1))) == 62
    assert desk.state.record(old[0].id) == settled(old[0].id)


# -- the history file ---------------------------------------------------------------------------


def test_the_history_compares_instants_not_texts(desk: Desk) -> None:
    """08:00 UTC is 16:00 in Shanghai: as texts 08:00 comes before 10:00+08:00, as times after."""
    desk.history.save(settled("2026-06-21T08:00Z/PT60M"))
    shanghai = ZoneInfo("Asia/Shanghai")
    ten = datetime(2026, 6, 21, 10, tzinfo=shanghai)
    assert len(desk.history.between(ten, ten + timedelta(hours=7))) == 1
    assert desk.history.between(ten, ten + timedelta(hours=6)) == []
    assert desk.history.between(ten + timedelta(hours=7), ten + timedelta(days=1)) == []


def test_energies_of_any_zone(desk: Desk) -> None:
    from wallet_app.strategy.forecast import SlotEnergy

    start = datetime(2026, 6, 21, 10, tzinfo=BERLIN)
    desk.history.add_energy(SlotEnergy(start, 3600, 5), "meter")
    desk.history.add_energy(SlotEnergy(start.astimezone(UTC), 3600, 6), "meter")  # the same slot
    assert [e.net_wh for e in desk.history.energies(start)] == [6]
    assert desk.history.energies(start + timedelta(seconds=1)) == []


def test_old_lines_make_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet_app.trading.history._KEPT_EVENTS", 10)
    for number in range(25):
        desk.history.add_event(EventView(NOON, "info", str(number)))
    assert [e.text for e in desk.history.events(100)] == [str(n) for n in range(15, 25)]


def test_a_record_comes_back_as_it_was(desk: Desk) -> None:
    record = settled("2026-06-21T08:00Z/PT60M", -5, side="buy", quote_state="refused: «价»")
    desk.history.save(record)
    assert desk.history.get(record.slot) == record
    view = record.view(parse(record.slot))
    assert (view.phase, view.proof, view.market_money) == (Phase.SETTLED, Proof.AGREED, -5)
