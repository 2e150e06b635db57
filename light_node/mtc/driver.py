"""The trading centre's operator: performs the due steps of all slots, in order, on time.

It keeps nothing that matters: each round asks the ledger where its slots stand and derives the
next step from that (:mod:`light_node.mtc.plan`), so it can be killed anywhere and started again,
and two of them do no harm. A step whose outcome is not known is looked up, not repeated: if it
was committed after all, the record shows the next phase; if it still commits later, the repeated
step fails by MVCC or is refused, because every step reads and moves the slot record.
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from light_node import jsonio
from light_node.clock import Clock, MarketTime
from light_node.contract.errors import Code
from light_node.contract.slots import Phase, SlotRecord
from light_node.fabric.errors import ContractRefused, FabricError
from light_node.market.quotes import PriceBounds
from light_node.market.slots import Slot
from light_node.mtc import plan
from light_node.mtc.plan import Step
from light_node.mtc.timetable import Timetable

LOOK_BACK = timedelta(days=31)
"""How far back unsettled slots are looked for at the start: a month of downtime is made up for."""
LONGEST_WAIT_S = 5.0
"""Seconds of wall time after which the ledger is asked again though nothing is due by ours."""
_SHORTEST_WAIT_S = 0.001
_FIRST_BACK_OFF_S, _LAST_BACK_OFF_S = 0.1, 30.0
_LEDGER = "the ledger"
# The slot is not where it was a moment ago: somebody did the step. Look again, nothing is wrong.
_MOVED_ON = frozenset({Code.WRONG_PHASE.name, Code.SLOT_EXISTS.name})

_log = logging.getLogger(__name__)


class OperatorGateway(Protocol):
    """The market contract on a channel, seen by an operator identity."""

    def submit(self, function: str, *args: str) -> bytes:
        """Endorse, submit and wait for the commit; ``FabricError`` in all other cases."""
        ...

    def evaluate(self, function: str, *args: str) -> bytes:
        """Return what a query answers; ``FabricError`` otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """Which slots the trading centre opens: ``count`` from ``first`` on (None: without end).

    ``ValueError`` unless ``first`` starts at a multiple of its length since 1970, as all slots of
    a timetable do.
    """

    first: Slot
    count: int | None = None

    def __post_init__(self) -> None:
        if self.first.start % self.first.length_s:
            raise ValueError(f"{self.first.id} does not start at a multiple of its length")
        if self.count is not None and self.count < 1:
            raise ValueError("at least one slot must be opened")

    def slots(self, start: datetime, end: datetime, timetable: Timetable) -> Iterable[Slot]:
        """Yield those that start in [``start``, ``end``)."""
        last = self.first.start + (self.count or 0) * self.first.length_s
        for slot in timetable.between(max(start, self.first.starts_at), end):
            if self.count is None or slot.start < last:
                yield slot

    def over(self, now: datetime, timetable: Timetable) -> bool:
        """Whether no slot of the span can be opened any more."""
        if self.count is None:
            return False
        last = Slot(self.first.start + (self.count - 1) * self.first.length_s, self.first.length_s)
        return now >= timetable.round_closes(last, 1)


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was tried: market time, and the error if it did not succeed."""

    at: datetime
    step: Step
    error: FabricError | None = None


class Driver:
    """Drives one market. Not thread-safe: one thread calls :meth:`run` or :meth:`turn`."""

    def __init__(
        self,
        gateway: OperatorGateway,
        clock: Clock,
        market_time: MarketTime,
        timetable: Timetable,
        tariff: Callable[[Slot], PriceBounds],
        span: Span,
        *,
        report: Callable[[Done], None] = lambda done: None,
    ) -> None:
        """``tariff`` gives floor and cap of a slot; ``report`` hears of every step tried."""
        self._gateway, self._clock, self._market_time = gateway, clock, market_time
        self._timetable, self._tariff, self._span = timetable, tariff, span
        self._report = report
        # Only to spare the network: both are derived anew after a restart.
        self._unsettled_from: datetime | None = None
        self._patience: dict[str, _Patience] = {}

    @property
    def now(self) -> datetime:
        """The market time."""
        return self._market_time.at(self._clock.now())

    def run(self, wait: Callable[[float], bool]) -> bool:
        """Drive until all slots of the span are settled (True) or ``wait`` says stop (False).

        ``wait(seconds)`` sleeps and returns True to stop, like ``threading.Event.wait``.
        """
        while True:
            seconds = self.turn()
            if seconds is None:
                return True
            if wait(seconds):
                return False

    def turn(self) -> float | None:
        """Perform the most urgent due step, if any; return seconds of wall time until the next.

        None when nothing is left to do, ever.
        """
        try:
            records = self._read_slots()
        except (FabricError, jsonio.JsonError) as error:
            _log.warning("the ledger cannot be read, trying again: %s", error)
            return self._fail(_LEDGER)
        now = self.now
        steps = self._steps(records, now)
        names = {str(step) for step in steps}
        self._patience = {name: p for name, p in self._patience.items() if name in names}
        if not steps and self._span.over(now, self._timetable):
            return None
        due = [step for step in steps if step.due <= now and not self._paused(step)]
        if due:
            self._perform(min(due, key=plan.urgency))
            return 0.0
        return self._seconds_until_next(steps, now)

    def _read_slots(self) -> list[SlotRecord]:
        now = self.now
        start = self._unsettled_from or now - LOOK_BACK
        end = now + timedelta(seconds=2 * self._timetable.length_s)
        found: list[SlotRecord] = []
        more = True
        while more:
            answer = self._gateway.evaluate("ListSlots", _instant(start), _instant(end))
            page = jsonio.mapping(jsonio.strict_loads(answer), "ListSlots")
            records = [SlotRecord.from_json(item) for item in jsonio.array(page, "slots")]
            found += records
            more = bool(jsonio.required(page, "more")) and bool(records)
            if more:
                start = records[-1].interval.starts_at + timedelta(minutes=1)
        unsettled = [r.interval.starts_at for r in found if r.phase is not Phase.SETTLED]
        ahead = now - timedelta(seconds=self._timetable.length_s)
        self._unsettled_from = min([*unsettled, ahead])
        return found

    def _steps(self, records: list[SlotRecord], now: datetime) -> list[Step]:
        steps = [plan.following(self._timetable, record) for record in records]
        known = {record.slot for record in records}
        horizon = now + timedelta(seconds=2 * self._timetable.length_s)
        for slot in self._span.slots(now, horizon, self._timetable):
            if slot.id not in known:
                steps.append(plan.opening(self._timetable, slot, now))
        return [step for step in steps if step is not None]

    def _perform(self, step: Step) -> None:
        try:
            self._gateway.submit(step.function, *self._arguments(step))
        except FabricError as error:
            if isinstance(error, ContractRefused) and error.code in _MOVED_ON:
                _log.info("%s was done already", step)
            else:
                _log.warning("%s failed, trying again: %s %s", step, error, error.foreign)
            self._fail(str(step))
            self._report(Done(self.now, step, error))
            return
        self._patience.pop(str(step), None)
        _log.info("%s", step)
        self._report(Done(self.now, step))

    def _arguments(self, step: Step) -> tuple[str, ...]:
        if step.function != "OpenSlot":
            return step.arguments
        bounds = self._tariff(step.slot)
        opening = {
            "slot": step.slot.id,
            "floor": bounds.floor,
            "cap": bounds.cap,
            "rounds": self._timetable.rounds,
        }
        return (json.dumps(opening),)

    def _seconds_until_next(self, steps: list[Step], now: datetime) -> float:
        waits = [LONGEST_WAIT_S]
        for step in steps:
            if step.due > now:
                waits.append(self._market_time.wall_span(step.due - now).total_seconds())
        monotonic = self._clock.monotonic()
        waits += [p.until - monotonic for p in self._patience.values() if p.until > monotonic]
        # Never 0: a wait rounded down would spin until the clock has passed the microsecond.
        return max(_SHORTEST_WAIT_S, min(waits))

    def _fail(self, what: str) -> float:
        """Double the pause before ``what`` is tried again; return it in seconds of wall time."""
        before = self._patience.get(what)
        seconds = min(before.seconds * 2, _LAST_BACK_OFF_S) if before else _FIRST_BACK_OFF_S
        self._patience[what] = _Patience(seconds, self._clock.monotonic() + seconds)
        return seconds

    def _paused(self, step: Step) -> bool:
        patience = self._patience.get(str(step))
        return patience is not None and patience.until > self._clock.monotonic()


@dataclass(frozen=True, slots=True)
class _Patience:
    """How long the last pause was, and until when (monotonic) it lasts."""

    seconds: float
    until: float


def _instant(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%MZ}"
