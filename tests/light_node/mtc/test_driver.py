"""The trading centre keeps to its timetable, whatever happens to it or to the network."""

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from light_node.clock import MarketTime
from light_node.fabric.errors import (
    AccessDenied,
    CommitConflict,
    ContractRefused,
    FabricError,
    OutcomeUnknown,
    Unavailable,
)
from light_node.market.quotes import PriceBounds
from light_node.market.slots import Slot, parse
from light_node.market.units import PriceTick
from light_node.mtc.driver import Done, Driver, Span
from light_node.mtc.timetable import Timetable

WALL = datetime(2026, 1, 1, tzinfo=UTC)
MARKET = datetime(2026, 6, 21, 9, 0, tzinfo=UTC)
FIRST = parse("2026-06-21T10:00Z/PT60M")
TIMETABLE = Timetable(length_s=3600)
STEPS_PER_SLOT = 10  # open, 3 × (close, publish), clear, close delivery, settle

Hook = Callable[[str], None]


class FakeClock:
    """Wall time that moves when somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return WALL + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Killed(BaseException):
    """The process ends here and now."""


class FakeGateway:
    """The world's channel, with hooks before endorsement and after commit."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.calls: list[tuple[str, ...]] = []
        self.before: Hook = lambda function: None
        self.after: Hook = lambda function: None
        self.on_read: Hook = lambda function: None

    def submit(self, function: str, *args: str) -> bytes:
        self.calls.append((function, *args))
        self.before(function)
        payload: bytes = self.world.channel.submit(self.world.operator, function, *args)
        self.after(function)
        return payload

    def evaluate(self, function: str, *args: str) -> bytes:
        self.on_read(function)
        payload: bytes = self.world.channel.evaluate(self.world.operator, function, *args)
        return payload


class Centre:
    """A driver over a world, with a clock that runs 100 times as fast in the market."""

    def __init__(self, world: Any, slots: int | None = 1) -> None:
        self.world = world
        self.clock = FakeClock()
        self.market_time = MarketTime(WALL, MARKET, 100)
        self.gateway = FakeGateway(world)
        self.done: list[Done] = []
        self.errors: list[FabricError] = []
        self.span = Span(FIRST, slots)
        self.participants: Callable[[], None] = lambda: None
        self.driver = self.start()

    def start(self) -> Driver:
        """Begin anew, as a new process would: with nothing but the ledger."""
        self.driver = Driver(
            self.gateway,
            self.clock,
            self.market_time,
            TIMETABLE,
            tariff,
            self.span,
            report=self.hear,
        )
        return self.driver

    def hear(self, done: Done) -> None:
        if done.error is None:
            self.done.append(done)
        else:
            self.errors.append(done.error)

    def wait(self, seconds: float) -> bool:
        self.participants()
        self.clock.seconds += seconds
        return self.clock.seconds > 1000

    def run(self) -> bool:
        return self.driver.run(self.wait)

    @property
    def market_now(self) -> datetime:
        return self.market_time.at(self.clock.now())


def tariff(slot: Slot) -> PriceBounds:
    return PriceBounds(PriceTick(4000), PriceTick(11000 if slot == FIRST else 10000))


@pytest.fixture
def centre(world: Any) -> Centre:
    return Centre(world)


def keep_quoting(centre: Centre) -> None:
    """E sells to X and changes its price in every round, so that all rounds are needed."""
    world = centre.world

    def act() -> None:
        for record in world.ask("ListSlots", "2026-06-21T00:00Z", "2026-06-23T00:00Z")["slots"]:
            slot, number = record["slot"], record["round"]
            seen = world.ask("GetQuotes", slot, str(number))["quotes"]
            if record["phase"] == "quoting" and not seen:
                world.quote("E", "sell", 4_000, 5000 + number, number, slot)
                if number == 1:
                    world.quote("X", "buy", 4_000, 9000, 1, slot)
            if record["phase"] == "cleared" and not world.ask("GetReadings", slot)["readings"]:
                world.reading("E", 0, 4_000, slot)
                world.reading("X", 4_000, 0, slot)

    centre.participants = act


def functions(centre: Centre) -> list[str]:
    return [done.step.function for done in centre.done]


WHOLE_SLOT = [
    "OpenSlot",
    *["CloseRound", "PublishStanding"] * 3,
    "ClearSlot",
    "CloseDelivery",
    "SettleSlot",
]


def test_a_slot_from_opening_to_settlement(centre: Centre) -> None:
    keep_quoting(centre)
    assert centre.run() is True
    assert functions(centre) == WHOLE_SLOT
    record = centre.world.ask("GetSlot", FIRST.id)
    assert (record["phase"], record["floor"], record["cap"]) == ("settled", 4000, 11000)
    check_punctual(centre)
    settled = centre.world.ask("GetSettlement", FIRST.id)
    earned = {line["side"]: line["market_money"] for line in settled["lines"]}
    assert earned == {"sell": 4_000 * settled["price"], "buy": -4_000 * settled["price"]}


def check_punctual(centre: Centre) -> None:
    timed = ("OpenSlot", "CloseRound", "CloseDelivery", "SettleSlot")
    late = [done.at - done.step.due for done in centre.done if done.step.function in timed]
    assert max(late) < timedelta(seconds=1)
    assert min(late) >= timedelta(0)


def test_steps_come_at_their_times(centre: Centre) -> None:
    keep_quoting(centre)
    centre.run()
    closes = [done.at for done in centre.done if done.step.function == "CloseRound"]
    due = [TIMETABLE.round_closes(FIRST, number) for number in (1, 2, 3)]
    assert all(at - d < timedelta(seconds=1) for at, d in zip(closes, due, strict=True))
    (cleared,) = [done.at for done in centre.done if done.step.function == "ClearSlot"]
    assert cleared <= TIMETABLE.clears(FIRST)
    (settled,) = [done.at for done in centre.done if done.step.function == "SettleSlot"]
    assert settled >= TIMETABLE.settles(FIRST)


def test_unchanged_rounds_are_not_waited_for(centre: Centre) -> None:
    """Nobody quotes: the empty round 1 is the last one."""
    centre.run()
    assert functions(centre).count("CloseRound") == 1
    assert functions(centre)[-1] == "SettleSlot"


def test_slots_overlap_without_getting_in_each_others_way(world: Any) -> None:
    centre = Centre(world, slots=4)
    keep_quoting(centre)
    assert centre.run() is True
    assert len(centre.done) == 4 * STEPS_PER_SLOT
    check_punctual(centre)
    found = world.ask("ListSlots", "2026-06-21T00:00Z", "2026-06-22T00:00Z")["slots"]
    assert [record["cap"] for record in found] == [11000, 10000, 10000, 10000]


@pytest.mark.parametrize("moment", ["before", "after", "on_read"])
@pytest.mark.parametrize("count", range(1, STEPS_PER_SLOT + 1))
def test_killed_at_any_step_it_goes_on(centre: Centre, moment: str, count: int) -> None:
    keep_quoting(centre)
    calls = 0

    def kill(function: str) -> None:
        nonlocal calls
        calls += 1
        if calls == count:
            raise Killed

    setattr(centre.gateway, moment, kill)
    with pytest.raises(Killed):
        centre.run()
    centre.clock.seconds += 0.5  # somebody starts it again
    centre.start()
    assert centre.run() is True
    check_each_step_committed_once(centre)


def check_each_step_committed_once(centre: Centre) -> None:
    world = centre.world
    assert world.ask("GetSlot", FIRST.id)["phase"] == "settled"
    assert world.event_names == [
        "SlotOpened",
        *["RoundClosed", "StandingPublished"] * 3,
        "SlotCleared",
        "DeliveryClosed",
        "SlotSettled",
    ]
    assert world.ask("GetAccount", world.id("E"))["slots"] == 1


def failures(*errors: FabricError) -> Hook:
    queue = list(errors)

    def fail(function: str) -> None:
        if queue:
            raise queue.pop(0)

    return fail


TROUBLE = [
    Unavailable("nobody answers"),
    CommitConflict("tx", 11, 7),
    CommitConflict("tx", 12, 7),
    OutcomeUnknown("tx", b"", None),
    AccessDenied("not yet known"),
    ContractRefused(500, "", "crashed"),
]


@pytest.mark.parametrize("error", TROUBLE, ids=lambda e: type(e).__name__)
def test_a_step_that_fails_is_tried_again(centre: Centre, error: FabricError) -> None:
    keep_quoting(centre)
    centre.gateway.before = failures(error, error, error)
    assert centre.run() is True
    assert len(centre.errors) == 3
    check_each_step_committed_once(centre)


@pytest.mark.parametrize("error", TROUBLE, ids=lambda e: type(e).__name__)
def test_a_step_committed_without_word_is_not_done_twice(
    centre: Centre, error: FabricError
) -> None:
    keep_quoting(centre)
    failing = {name: failures(error) for name in WHOLE_SLOT}
    centre.gateway.after = lambda function: failing[function](function)
    assert centre.run() is True
    assert len(centre.errors) == len(failing)
    check_each_step_committed_once(centre)
    submitted = [call for call in centre.gateway.calls if call[0] == "SettleSlot"]
    assert len(submitted) == 1


def test_a_ledger_that_cannot_be_read_is_waited_for(centre: Centre) -> None:
    keep_quoting(centre)
    centre.gateway.on_read = failures(*[Unavailable("down")] * 4)
    assert centre.run() is True
    check_each_step_committed_once(centre)


def test_back_off_grows_and_ends_with_success(centre: Centre) -> None:
    centre.gateway.on_read = failures(*[Unavailable("down")] * 12)
    pauses = [centre.driver.turn() for _ in range(12)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 30.0
    assert centre.driver.turn() == 0.0
    centre.gateway.on_read = failures(Unavailable("down"))
    assert centre.driver.turn() == 0.1


def test_a_slot_in_trouble_holds_up_no_other(world: Any) -> None:
    centre = Centre(world, slots=2)
    keep_quoting(centre)

    def refuse(function: str) -> None:
        if function == "ClearSlot" and centre.gateway.calls[-1][1] == FIRST.id:
            raise ContractRefused(409, "CONTRADICTION", "does not follow")

    centre.gateway.before = refuse
    assert centre.run() is False  # the first slot is never done, and is tried again for ever
    assert world.ask("GetSlot", FIRST.next.id)["phase"] == "settled"
    assert world.ask("GetSlot", FIRST.id)["phase"] == "final"
    assert 5 < len(centre.errors) < 60


def test_two_centres_do_no_harm(world: Any) -> None:
    one, other = Centre(world), Centre(world)
    keep_quoting(one)
    other.clock = one.clock
    other.start()
    while True:
        first, second = one.driver.turn(), other.driver.turn()
        if first is None and second is None:
            break
        one.wait(min(s for s in (first, second) if s is not None))
    check_each_step_committed_once(one)


def test_between_reading_and_submitting_another_centre_was_faster(centre: Centre) -> None:
    keep_quoting(centre)
    world = centre.world

    def overtake(function: str) -> None:
        if centre.gateway.calls.count(centre.gateway.calls[-1]) == 1:
            world.channel.submit(world.operator, *centre.gateway.calls[-1])

    centre.gateway.before = overtake
    assert centre.run() is True
    assert {e.code for e in centre.errors if isinstance(e, ContractRefused)} == {
        "SLOT_EXISTS",
        "WRONG_PHASE",
    }
    check_each_step_committed_once(centre)


def test_after_a_long_downtime_old_slots_are_finished_and_missed_ones_left_out(
    world: Any,
) -> None:
    centre = Centre(world, slots=20)
    keep_quoting(centre)
    while functions(centre)[-1:] != ["ClearSlot"]:
        seconds = centre.driver.turn()
        assert seconds is not None
        centre.wait(seconds)
    centre.clock.seconds += 10 * 36  # ten market hours
    centre.start()
    assert centre.run() is True
    found = world.ask("ListSlots", "2026-06-21T00:00Z", "2026-06-23T00:00Z")["slots"]
    assert {record["phase"] for record in found} == {"settled"}
    starts = [parse(record["slot"]).start for record in found]
    gaps = {(b - a) // 3600 for a, b in itertools.pairwise(starts)}
    assert max(gaps) >= 9
    assert starts[-1] == FIRST.start + 19 * 3600


def test_a_slot_whose_first_round_is_over_is_not_opened(world: Any) -> None:
    centre = Centre(world)
    centre.clock.seconds = 0.22 * 36
    assert centre.run() is True
    assert centre.gateway.calls == []


def test_a_slot_opened_with_other_rounds_is_finished(world: Any) -> None:
    opening = {"slot": FIRST.id, "floor": 4000, "cap": 11000, "rounds": 5}
    world.operate("OpenSlot", json.dumps(opening))
    centre = Centre(world)
    keep_quoting(centre)
    assert centre.run() is True
    assert world.ask("GetStanding", FIRST.id)["round"] == 5
    assert world.ask("GetSlot", FIRST.id)["phase"] == "settled"


def test_it_stops_when_told(centre: Centre) -> None:
    waits: list[float] = []

    def stop(seconds: float) -> bool:
        waits.append(seconds)
        return True

    assert centre.driver.run(stop) is False
    assert len(waits) == 1


def test_it_never_waits_too_long_or_not_at_all(world: Any) -> None:
    centre = Centre(world, slots=None)
    centre.market_time = MarketTime(WALL, MARKET, 1)
    centre.start()
    waits = []
    for _ in range(20):
        seconds = centre.driver.turn()
        assert seconds is not None
        waits.append(seconds)
        centre.wait(seconds)
    assert waits[0] == 0.0
    assert waits[1:] == [5.0] * 19


def test_a_span_without_end_goes_on(world: Any) -> None:
    centre = Centre(world, slots=None)
    assert centre.run() is False
    assert functions(centre).count("OpenSlot") == 28  # 1000 s at 100 times, hourly


@pytest.mark.parametrize("span", [("2026-06-21T10:00Z/PT60M", 0), ("2026-06-21T10:30Z/PT60M", 1)])
def test_spans_that_are_none(span: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match=r"slot|multiple"):
        Span(parse(span[0]), span[1])
