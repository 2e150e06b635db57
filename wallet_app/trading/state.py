"""What the session knows right now, and the view the screens get of it. Thread-safe.

Records are immutable and replaced whole; whoever changes one says which part of the view it
touches, and subscribers are told.
"""

import dataclasses
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from light_node.clock import Clock, MarketTime
from light_node.market.slots import Slot, parse
from light_node.market.units import EnergyWh, MoneyWhTick
from light_node.mtc.timetable import Timetable
from wallet_app.database import DatabaseError
from wallet_app.failures import explain
from wallet_app.trading.history import History, SlotRecord
from wallet_app.trading.view import (
    AgentMode,
    Change,
    EventView,
    LiveView,
    MoneyView,
    Phase,
    Proof,
    SlotView,
    StandingView,
    SuggestionView,
    TrustView,
    WalletView,
)

_log = logging.getLogger(__name__)
_WORST_FIRST = (Proof.DISPUTED, Proof.NONE, Proof.VERIFIED, Proof.AGREED, Proof.AUDITED)
_EVENT_LINES = 100
_ONCE = timedelta(hours=20)
_KEPT, _KEPT_DAYS = 1000, timedelta(days=3)


@dataclass(frozen=True, slots=True)
class About:
    """Who trades where: shown on every screen and never changing during a session."""

    participant: str
    organisation: str
    network: str
    zone: tzinfo
    currency: str
    demo: bool


class TradingState:
    """Slot records, suggestion, standing, live figures and activity lines of one household."""

    def __init__(
        self,
        about: About,
        history: History,
        market_time: MarketTime,
        clock: Clock,
        timetable: Timetable,
    ) -> None:
        """Take up what ``history`` remembers."""
        self.about, self.timetable = about, timetable
        self._history, self._market_time, self._clock = history, market_time, clock
        self._lock = threading.RLock()
        self._records: dict[str, SlotRecord] = {}
        self._unsaved: dict[str, SlotRecord] = {}
        self._callbacks: list[Callable[[frozenset[Change]], None]] = []
        self._events: deque[EventView] = deque(history.events(_EVENT_LINES), maxlen=_EVENT_LINES)
        self._suggestion: SuggestionView | None = None
        self._standing: StandingView | None = None
        self._contested_standing: tuple[str, int] | None = None
        self._balance: MoneyWhTick | None = None
        self._live: Callable[[], LiveView] = LiveView
        self._series: Callable[[], tuple[tuple[float, int], ...]] = tuple
        self._trust: Callable[[], TrustView] = TrustView
        self._agent, self._agent_reason = AgentMode.SHOW, ""
        start, end = self.day(self.market_now())
        for record in history.between(start - timedelta(days=1), end + timedelta(days=1)):
            self._records[record.slot] = record

    def market_now(self) -> datetime:
        """Return the market time (aware UTC)."""
        return self._market_time.at(self._clock.now()).astimezone(UTC)

    def day(self, moment: datetime) -> tuple[datetime, datetime]:
        """Return start and end (aware) of the local day that holds ``moment``."""
        local = moment.astimezone(self.about.zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        # By calendar, not by 24 hours: the days of a clock change have 23 or 25.
        following = (midnight.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=local.tzinfo)
        return midnight, following

    def local_time(self, slot: Slot) -> str:
        """Return the slot as people say it: ``10:00–11:00`` in their time zone."""
        zone = self.about.zone
        return f"{slot.starts_at.astimezone(zone):%H:%M}–{slot.ends_at.astimezone(zone):%H:%M}"

    def feed(
        self,
        live: Callable[[], LiveView],
        series: Callable[[], tuple[tuple[float, int], ...]],
        trust: Callable[[], TrustView],
    ) -> None:
        """Say where live figures and trust come from; asked whenever a view is built."""
        self._live, self._series, self._trust = live, series, trust

    def subscribe(self, callback: Callable[[frozenset[Change]], None]) -> Callable[[], None]:
        """Call ``callback`` with every change, on the thread that made it; return how to stop."""
        with self._lock:
            self._callbacks.append(callback)

        def stop() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return stop

    def changed(self, *changes: Change) -> None:
        """Tell the subscribers."""
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            try:
                callback(frozenset(changes))
            except Exception:  # noqa: BLE001 - reported, and what called must go on
                # Called on the threads of meter, sender and lane: a screen must not stop those.
                _log.exception("a subscriber failed")

    def record(self, slot: str) -> SlotRecord | None:
        """Return the record of ``slot``."""
        with self._lock:
            return self._records.get(slot) or self._history.get(slot)

    def update(self, record: SlotRecord, *changes: Change) -> None:
        """Keep ``record`` (durably) and tell who watches.

        What the disk refuses is kept in memory and written with the next change.
        """
        with self._lock:
            if self._records.get(record.slot) == record and record.slot not in self._unsaved:
                return
            problem = self._keep(record)
        if problem:
            self.say("error", problem)
        self.changed(*(changes or (Change.SLOT, Change.HISTORY)))

    def amend(self, slot: str, **values: object) -> SlotRecord | None:
        """Replace fields of the record of ``slot``; None if there is no such record."""
        with self._lock:
            record = self.record(slot)
            if record is None:
                return None
            amended = dataclasses.replace(record, **values)  # type: ignore[arg-type]
            if amended == record and slot not in self._unsaved:
                return record
            # Read, changed and kept under one lock: others amend the same record.
            problem = self._keep(amended)
        if problem:
            self.say("error", problem)
        self.changed(Change.SLOT, Change.HISTORY)
        return amended

    def records(self) -> list[SlotRecord]:
        """Return the records in memory, ascending by start."""
        with self._lock:
            return sorted(self._records.values(), key=lambda r: r.slot)

    def set_suggestion(self, suggestion: SuggestionView | None) -> None:
        """Show ``suggestion``."""
        with self._lock:
            self._suggestion = suggestion
        self.changed(Change.SUGGESTION)

    @property
    def suggestion(self) -> SuggestionView | None:
        """The suggestion shown now."""
        with self._lock:
            return self._suggestion

    def set_standing(self, standing: StandingView | None) -> None:
        """Show ``standing``."""
        with self._lock:
            self._standing = standing
        self.changed(Change.STANDING)

    def prove_standing(self, slot: str, round_: int, proof: Proof, contested: bool = False) -> None:
        """Note how far the shown standing is verified, if it is that one; as :meth:`prove_slot`."""
        with self._lock:
            shown = self._standing
            if shown is None or (shown.slot, shown.round) != (slot, round_):
                return
            before = self._contested_standing == (slot, round_)
            if not _tells_more(proof, shown.proof, contested=before):
                return
            self._standing = dataclasses.replace(shown, proof=proof)
            self._contested_standing = (slot, round_) if contested else None
        self.changed(Change.STANDING)

    def prove_slot(self, slot: str, proof: Proof, contested: bool = False) -> None:
        """Note how far the settlement of ``slot`` is verified; what was proved stays proved.

        So does a dispute, but for a ``contested`` one, between organisations: once who lies is shut
        out, what those that are left show counts.
        """
        record = self.record(slot)
        if record is None:
            return
        if _tells_more(proof, Proof(record.proof), contested=record.contested):
            self.amend(slot, proof=proof.value, contested=contested)

    def set_balance(self, balance: MoneyWhTick) -> None:
        """Show the account's balance."""
        with self._lock:
            self._balance = balance

    def set_agent(self, mode: AgentMode, reason: str) -> None:
        """Show the agent's mode and what it is doing."""
        with self._lock:
            self._agent, self._agent_reason = mode, reason
        self.changed(Change.SUGGESTION)

    @property
    def agent(self) -> AgentMode:
        """The agent's mode."""
        with self._lock:
            return self._agent

    def say(self, kind: str, text: str, foreign: str = "", *, once: bool = False) -> None:
        """Add an activity line; the same line twice in a row is said once.

        With ``once`` also what lies between does not matter: for news that a replayed event may
        bring again. Never raises: a line that the disk refuses is shown all the same.
        """
        event = EventView(self.market_now(), kind, text, foreign)
        with self._lock:
            recent = [e for e in self._events if e.at > event.at - _ONCE] if once else []
            if any((e.kind, e.text) == (kind, text) for e in [*recent, *list(self._events)[-1:]]):
                return
            self._events.append(event)
            try:
                self._history.add_event(event)
            except DatabaseError as error:
                _log.warning("an activity line was not kept: %s", error)
        self.changed(Change.EVENT)

    def view(self) -> WalletView:
        """Return everything the screens show, at this instant."""
        now = self.market_now()
        start, end = self.day(now)
        trust, live, series = self._trust(), self._live(), self._series()
        with self._lock:
            views = [self._slot_view(r, now) for r in self.records()]
            today = tuple(v for v in views if start <= v.start < end)
            about = self.about
            return WalletView(
                market_now=now,
                participant=about.participant,
                organisation=about.organisation,
                network=about.network,
                currency=about.currency,
                zone=about.zone,
                agent=self._agent,
                agent_reason=self._agent_reason,
                live=live,
                delivering=_current(views, now),
                quoting=_quoting(views, now),
                suggestion=self._suggestion,
                standing=self._standing,
                trust=trust,
                money=sums(today, self._balance),
                slots=today,
                power_series=series,
                events=tuple(self._events),
                demo=about.demo,
            )

    def between(self, start: datetime, end: datetime) -> tuple[SlotView, ...]:
        """Return the slots that start in [start, end), ascending."""
        now = self.market_now()
        found = {r.slot: r for r in self._history.between(start, end)}
        with self._lock:
            found |= {
                r.slot: r for r in self._unsaved.values() if start <= parse(r.slot).starts_at < end
            }
        return tuple(self._slot_view(found[slot], now) for slot in sorted(found))

    def _keep(self, record: SlotRecord) -> str:
        """Take ``record`` and write it; return "" or why it could not be written (yet)."""
        self._records[record.slot] = self._unsaved[record.slot] = record
        if len(self._records) > _KEPT:
            oldest = f"{self.market_now() - _KEPT_DAYS:%Y-%m-%dT%H:%MZ}"
            self._records = {s: r for s, r in self._records.items() if s >= oldest}
        try:
            for waiting in list(self._unsaved.values()):
                self._history.save(waiting)
                del self._unsaved[waiting.slot]
        except DatabaseError as error:
            return explain(error)
        return ""

    def _slot_view(self, record: SlotRecord, now: datetime) -> SlotView:
        slot: Slot = parse(record.slot)
        gate = self.timetable.gate_closes(slot)
        closes = (
            # A slot opened under another timetable may have more rounds than ours knows.
            self.timetable.round_closes(slot, min(record.round, self.timetable.rounds))
            if record.phase == "quoting" and record.round
            else None
        )
        view = record.view(slot, round_closes=closes, gate_closes=gate)
        if view.phase is Phase.CLEARED and slot.starts_at <= now < slot.ends_at:
            view = dataclasses.replace(view, phase=Phase.DELIVERING)
        return view


def _tells_more(new: Proof, old: Proof, *, contested: bool) -> bool:
    """Say whether ``new`` replaces ``old``, a dispute between organisations if ``contested``."""
    if contested:
        return new is not Proof.NONE
    if Proof.DISPUTED in (new, old):
        return new is Proof.DISPUTED
    return _WORST_FIRST.index(new) > _WORST_FIRST.index(old)


def _current(views: list[SlotView], now: datetime) -> SlotView | None:
    for view in reversed(views):
        if view.start <= now < view.start + timedelta(seconds=view.length_s):
            return view
    return None


def _quoting(views: list[SlotView], now: datetime) -> SlotView | None:
    ahead = [view for view in views if view.start > now]
    return ahead[0] if ahead else None


def sums(slots: Sequence[SlotView], balance: MoneyWhTick | None) -> MoneyView:
    """Return the sums over the settled ones of ``slots``; the proof is the weakest of theirs.

    One disputed slot makes the sums disputed.
    """
    settled = [s for s in slots if s.market_money is not None]
    worst = min((s.proof for s in settled), key=_WORST_FIRST.index, default=Proof.NONE)
    return MoneyView(
        market_money=MoneyWhTick(sum(s.market_money or 0 for s in settled)),
        grid_money=MoneyWhTick(sum(s.grid_money or 0 for s in settled)),
        penalty_money=MoneyWhTick(sum(s.penalty_money or 0 for s in settled)),
        grid_only_money=MoneyWhTick(sum(s.grid_only_money or 0 for s in settled)),
        sold_wh=EnergyWh(sum(s.matched_wh for s in settled if s.side == "sell")),
        bought_wh=EnergyWh(sum(s.matched_wh for s in settled if s.side == "buy")),
        balance=balance,
        proof=worst,
    )
