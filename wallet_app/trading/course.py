"""The course of a slot for one household: planned, quoted in rounds, matched, delivered, settled.

Everything here runs on the session's lane. Each step takes what the ledger says, not what an
earlier step remembers, so that a wallet started in the middle of a slot joins where it stands.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from light_node.clock import Clock, MarketTime
from light_node.contract.slots import Phase as LedgerPhase
from light_node.contract.slots import SlotRecord as LedgerSlot
from light_node.fabric.crypto import Signer
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot, parse
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from light_node.mtc.timetable import Timetable
from wallet_app import failures
from wallet_app.i18n import tr
from wallet_app.meter.desk import MeterDesk
from wallet_app.meter.recording import RecordingError
from wallet_app.strategy.explain import explain, past_record
from wallet_app.strategy.forecast import SlotEnergy
from wallet_app.strategy.limits import DayTotals, Limits, Verdict, check
from wallet_app.strategy.record import Promise, TrackRecord, kept, track_record
from wallet_app.strategy.suggest import Suggestion
from wallet_app.trading.books import MAX_BOOK_QUOTES, FinalBook
from wallet_app.trading.history import History, SlotRecord
from wallet_app.trading.lane import Timetabler
from wallet_app.trading.live import LiveFeed
from wallet_app.trading.market import MarketReader, Standing
from wallet_app.trading.messages import quote_message, read_quote, reading_message
from wallet_app.trading.outbox import Entry, EntryState, Outbox
from wallet_app.trading.planner import Planner
from wallet_app.trading.preferences import Preferences
from wallet_app.trading.state import TradingState
from wallet_app.trading.telemetry import Inverter
from wallet_app.trading.view import AgentMode, StandingView, SuggestionView

_REREAD = timedelta(milliseconds=150)
_REREADS = 20
_A_MOMENT = timedelta(milliseconds=1)
_AT_ITS_START = 0.95  # of the slot is left: the order is not late


class NotNow(Exception):
    """What was asked for cannot be done now; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a course works with; made once per session."""

    state: TradingState
    history: History
    planner: Planner
    reader: MarketReader
    outbox: Outbox
    live: LiveFeed
    timetabler: Timetabler
    timetable: Timetable
    market_time: MarketTime
    clock: Clock
    signer: Signer
    address: str
    limits: Limits
    inverter: Inverter | None
    read_meter_now: Callable[[], None]
    wake_sender: Callable[[], None]
    meters: MeterDesk
    preferences: Preferences


class Course:
    """Drives all slots of one household."""

    def __init__(self, tools: Tools) -> None:
        """Work with ``tools``; nothing happens before the first slot is seen."""
        self._t = tools
        self._me = tools.state.about.participant
        self._scheduled: set[str] = set()

    def seen(self, slot: LedgerSlot) -> None:
        """Take up a slot as the ledger has it; harmless to repeat."""
        record = self._t.state.record(slot.slot)
        if record is None:
            record = SlotRecord(
                slot.slot,
                slot.floor,
                slot.cap,
                phase=slot.phase.value,
                round=slot.round,
                rounds=slot.rounds,
            )
            self._t.state.update(record)
        if slot.slot not in self._scheduled:  # in this run: a start derives all timers anew
            self._scheduled.add(slot.slot)
            self._schedule(slot.interval)
            self._recall_quote(slot.slot)
        now = self._t.state.amend(slot.slot, phase=slot.phase.value, round=slot.round)
        if slot.phase is LedgerPhase.QUOTING and (now is None or now.quoted_price is None):
            self._first_quote(slot)

    def standing_published(self, slot: LedgerSlot, standing: Standing) -> None:
        """Answer a standing: show it, and quote anew if that is strictly better.

        A standing that a later one or the clearing has overtaken changes nothing any more: events
        come again after a restart.
        """
        self._t.state.amend(slot.slot, phase=slot.phase.value, round=slot.round)
        if standing.final:
            self.keep_book(slot, standing)
        published = slot.round if slot.phase is LedgerPhase.FINAL else slot.round - 1
        before = (LedgerPhase.QUOTING, LedgerPhase.CLOSED, LedgerPhase.FINAL)
        if slot.phase not in before or standing.round < published:
            return
        self._t.state.amend(
            slot.slot, matched_wh=int(standing.fills.get(self._me, 0)), price=standing.price
        )
        self._t.state.set_standing(_standing_view(standing, self._me))
        own = standing.quote_of(self._me)
        if own is None or standing.final or slot.phase is not LedgerPhase.QUOTING:
            return
        suggestion = self._suggest(slot, standing=standing, quoted=own)
        if suggestion.side is None or suggestion.price == own.price:
            self._t.state.set_agent(self._t.state.agent, suggestion.reason)
            return
        self._decide(slot, suggestion)

    def keep_book(self, slot: LedgerSlot, standing: Standing) -> None:
        """Keep a slot's final book, and hold what was suggested for it against it."""
        if self._t.history.has_book(slot.slot):
            return
        if len(standing.quotes) > MAX_BOOK_QUOTES or len(standing.standing) > MAX_BOOK_QUOTES:
            return
        bounds = PriceBounds(PriceTick(slot.floor), PriceTick(slot.cap))
        final = FinalBook(slot.interval, bounds, standing.book)
        promise = self._t.history.open_promise(slot.slot)
        if promise is not None:
            self._t.history.judge(slot.slot, kept(promise, self._me, bounds, standing.book))
        self._t.planner.remember(final.past)
        self._t.history.add_book(final)

    def cleared(self, slot: LedgerSlot, price: PriceTick | None, own_wh: EnergyWh) -> None:
        """Note what was matched and prepare the battery for delivery."""
        self._t.state.amend(
            slot.slot, phase=slot.phase.value, round=slot.round, matched_wh=own_wh, price=price
        )
        if own_wh and price is not None:
            record = self._t.state.record(slot.slot)
            text = tr("sold") if record and record.side == "sell" else tr("bought")
            self._t.state.say(
                "good",
                tr(
                    "{slot}: {what} {kwh} kWh at {price} per kWh",
                    slot=self._t.state.local_time(parse(slot.slot)),
                    what=text,
                    kwh=f"{own_wh / 1000:.2f}",
                    price=f"{price / 10_000:.4f}",
                ),
                once=True,
            )
        self._schedule(slot.interval)

    def quote(self, slot_id: str, energy: EnergyWh, price: PriceTick) -> None:
        """Quote what the user or the agent decided; ``NotNow`` if that is not possible."""
        record = self._t.state.record(slot_id)
        if record is None or record.phase != "quoting":
            raise NotNow(tr("This slot takes no quotes now: wait for the next one."))
        if not record.floor <= price <= record.cap:
            raise NotNow(
                tr(
                    "The price must lie between {floor} and {cap} per kWh.",
                    floor=f"{record.floor / 10_000:.4f}",
                    cap=f"{record.cap / 10_000:.4f}",
                )
            )
        if not record.side or energy <= 0:
            raise NotNow(tr("There is nothing to trade in this slot."))
        quote = Quote(self._me, Side(record.side), energy, price)
        verdict = self.verdict(slot_id, quote)
        if not verdict.allowed:
            raise NotNow(verdict.long)
        before = self._t.outbox.entries(f"quote|{slot_id}|{record.round}|")
        if before and not before[-1].failed and read_quote(before[-1].arguments[0])[1] == quote:
            return  # this very quote is on its way, or there already
        closes = self._t.timetable.round_closes(
            parse(slot_id), min(record.round, self._t.timetable.rounds)
        )
        self._t.outbox.put(
            f"quote|{slot_id}|{record.round}|{len(before)}",
            "SubmitQuote",
            [quote_message(self._t.signer, slot_id, record.round, self._t.address, quote)],
            created=self._t.clock.now(),
            deadline=self._t.market_time.to_wall(closes),
        )
        self._t.state.amend(slot_id, quoted_wh=energy, quoted_price=price, quote_state="waiting")
        self._t.wake_sender()

    def objection(self, entry: Entry) -> str:
        """Return why the user's limits forbid signing ``entry`` now, "" if they do not.

        Asked by the sender, on its thread, right before a transaction is endorsed and signed: what
        lay in the outbox while limits changed or the day went on is held against them as well.
        """
        if entry.function != "SubmitQuote":
            return ""
        try:
            slot_id, quote = read_quote(entry.arguments[0])
            verdict = self.verdict(slot_id, quote)
        except ValueError as error:
            return tr("the kept quote cannot be read: {why}", why=failures.explain(error))
        return "" if verdict.allowed else verdict.long

    def verdict(self, slot_id: str, quote: Quote) -> Verdict:
        """Hold a quote against the user's limits, with the day's totals so far."""
        now = self._t.state.market_now()
        start, end = self._t.state.day(parse(slot_id).starts_at)
        day = [r for r in self._t.history.between(start, end) if r.slot != slot_id]
        loss = sum(
            (r.grid_only_money or 0)
            - (r.market_money or 0)
            - (r.grid_money or 0)
            - (r.penalty_money or 0)
            for r in day
            if r.market_money is not None
        )
        totals = DayTotals(
            sold_wh=EnergyWh(sum(_traded(r) for r in day if r.side == "sell")),
            bought_wh=EnergyWh(sum(_traded(r) for r in day if r.side == "buy")),
            loss=MoneyWhTick(loss),
            battery_wh=_energy(self._t.live.stored_wh),
        )
        return check(self._t.limits, quote, totals, now)

    def _first_quote(self, slot: LedgerSlot) -> None:
        stored = self._t.live.stored_wh or 0
        plan = self._t.planner.plan(slot.interval, stored, self._t.state.market_now())
        self._t.state.amend(slot.slot, planned_wh=plan.forecast.mean_wh)
        suggestion = self._suggest(slot)
        if suggestion.side is None:
            self._t.state.amend(slot.slot, side="")
            return
        self._t.state.amend(slot.slot, side=suggestion.side.value)
        if slot.round == 1:
            self._decide(slot, suggestion)

    def _suggest(
        self, slot: LedgerSlot, *, standing: Standing | None = None, quoted: Quote | None = None
    ) -> Suggestion:
        stored = self._t.live.stored_wh or 0
        plan = self._t.planner.plan(slot.interval, stored, self._t.state.market_now())
        suggestion = self._t.planner.suggest(
            slot.interval,
            PriceBounds(PriceTick(slot.floor), PriceTick(slot.cap)),
            plan,
            quoted=quoted,
            book=standing.book if standing else None,
            tariffs=self._tariffs_after(slot),
        )
        record = None
        if standing is None:
            record = track_record(self._t.history.judged())
            promise = Promise.of(suggestion)
            if promise is not None and slot.round == 1:
                self._t.history.promise(slot.slot, promise)
        self._t.state.set_suggestion(_suggestion_view(slot.slot, suggestion, record))
        return suggestion

    def _tariffs_after(self, slot: LedgerSlot) -> dict[Slot, PriceBounds]:
        """Return the tariffs of the slots after ``slot`` that the ledger has announced."""
        later = (r for r in self._t.state.records() if r.slot > slot.slot)
        return {parse(r.slot): PriceBounds(PriceTick(r.floor), PriceTick(r.cap)) for r in later}

    def _decide(self, slot: LedgerSlot, suggestion: Suggestion) -> None:
        """Act as far as the user lets the agent."""
        mode = self._t.state.agent
        self._t.state.set_agent(mode, suggestion.reason)
        if mode is not AgentMode.DO:
            return
        try:
            self.quote(slot.slot, suggestion.energy, suggestion.price)
        except NotNow as refusal:
            self._t.state.set_agent(mode, failures.explain(refusal))
            self._t.state.say("warning", tr("No quote: {why}", why=failures.explain(refusal)))

    def _recall_quote(self, slot_id: str) -> None:
        """Note the newest quote and how far it got, where a kill left that to the outbox alone."""
        entries = self._t.outbox.entries(f"quote|{slot_id}|")
        if not entries:
            return
        _, quote = read_quote(entries[-1].arguments[0])
        self._t.state.amend(
            slot_id,
            side=quote.side.value,
            quoted_wh=int(quote.energy),
            quoted_price=int(quote.price),
            quote_state=quote_state(entries[-1]),
        )

    def _schedule(self, slot: Slot) -> None:
        """Set the timers of a slot; timers that are due already run at once."""
        at = self._t.timetabler.at
        now = self._t.state.market_now()
        if now < slot.ends_at:
            at(slot.starts_at, f"start|{slot.id}", lambda: self._start_delivery(slot))
        if now < self._t.timetable.readings_due(slot):
            at(slot.ends_at, f"end|{slot.id}", lambda: self._end_delivery(slot, 0))

    def _share_left(self, slot: Slot) -> float:
        now = self._t.state.market_now()
        left = (slot.ends_at - now) / timedelta(seconds=slot.length_s)
        return 1.0 if left > _AT_ITS_START else max(left, 0.0)

    def _start_delivery(self, slot: Slot) -> None:
        """Order the battery about for the slot that starts now."""
        inverter = self._t.inverter
        record = self._t.state.record(slot.id)
        if inverter is None or record is None:
            return
        # The market's energy crosses the connection as agreed; the battery takes or gives the rest
        # while it can, and the grid what is left ([H] section 4).
        sold = record.matched_wh if record.side == "sell" else 0
        bought = record.matched_wh if record.side == "buy" else 0
        # After a restart in the middle, only what belongs to the rest of the slot.
        inverter.hold_grid(round((bought - sold) * self._share_left(slot)), slot.ends_at)

    def _end_delivery(self, slot: Slot, attempt: int) -> None:
        """Read the registers at the slot's end, learn from them, and sign the reading."""
        if self._t.outbox.get(f"reading|{slot.id}") is not None:
            return  # an earlier run came this far
        if attempt == 0:
            self._t.read_meter_now()
        due = self._t.market_time.to_wall(self._t.timetable.readings_due(slot))
        late = self._t.clock.now() >= due
        try:
            energy = self._t.live.energy(slot.starts_at, slot.ends_at)
        except RecordingError as error:
            self._t.state.say("error", failures.explain(error))
            energy = None
        natural = self._t.live.natural_wh(slot.starts_at, slot.ends_at)
        lagging = natural is None and self._t.inverter is not None and attempt < _REREADS
        if (energy is None or lagging) and not late:
            # A cable that is pulled or a meter that is slow may be back before readings are due.
            pause = _REREAD * max(attempt - _REREADS, 1)
            later = min(self._t.clock.now() + pause, due + _A_MOMENT)
            self._t.timetabler.at(
                self._t.market_time.at(later),
                f"end|{slot.id}",
                lambda: self._end_delivery(slot, attempt + 1),
            )
            return
        if energy is None:
            self._t.state.say(
                "warning",
                tr(
                    "{slot}: no meter reading; the market will estimate it",
                    slot=self._t.state.local_time(slot),
                ),
            )
            return
        net = energy.net_wh if natural is None else natural
        past = SlotEnergy(slot.starts_at, slot.length_s, net)
        self._t.planner.learn(past)
        self._t.history.add_energy(past, energy.origin)
        self._t.state.amend(slot.id, delivered_wh=energy.net_wh)
        meter = hashlib.sha256(f"{self._me}|{energy.meter_id}".encode()).hexdigest()[:32]
        self._t.outbox.put(
            f"reading|{slot.id}",
            "SubmitReading",
            [reading_message(self._t.signer, slot.id, self._me, energy, meter)],
            created=self._t.clock.now(),
            deadline=due,
        )
        self._t.wake_sender()


def _suggestion_view(
    slot: str, suggestion: Suggestion, record: TrackRecord | None
) -> SuggestionView:
    return SuggestionView(
        slot=slot,
        side=suggestion.side.value if suggestion.side else "",
        energy_wh=suggestion.energy,
        price=suggestion.price,
        honest_price=suggestion.honest_price,
        expected_money=suggestion.expected_money,
        honest_money=suggestion.honest_money,
        grid_only_money=suggestion.grid_only_money,
        regret_money=suggestion.regret,
        estimated=suggestion.estimated,
        reason=suggestion.reason,
        unsold=suggestion.unsold,
        chance_permille=suggestion.chance_permille,
        low_money=suggestion.low_money,
        high_money=suggestion.high_money,
        record=past_record(record) if record is not None else "",
        explanation=explain(suggestion, record),
    )


def _standing_view(standing: Standing, me: str) -> StandingView:
    def side(which: Side) -> tuple[tuple[PriceTick, EnergyWh, bool], ...]:
        steps = [
            (q.price, q.energy, q.participant == me)
            for q in standing.quotes
            if q.side is which and q.energy
        ]
        return tuple(sorted(steps, reverse=which is Side.BUY))

    return StandingView(
        slot=standing.slot,
        round=standing.round,
        market=standing.market,
        price=standing.price,
        volume_wh=standing.volume,
        asks=side(Side.SELL),
        bids=side(Side.BUY),
        own_fill_wh=standing.fills.get(me, EnergyWh(0)),
    )


def quote_state(entry: Entry) -> str:
    """Return what ``SlotView.quote_state`` says of an outbox entry."""
    if entry.failed:
        return f"refused: {entry.note}"
    # Signed and not handed over yet is still waiting, for the user.
    return "waiting" if entry.state is EntryState.PREPARED else entry.state.value


def _traded(record: SlotRecord) -> int:
    open_quote = record.quote_state in ("waiting", "sent", "committed")
    if record.phase in ("quoting", "closed") and open_quote:
        return record.quoted_wh
    return record.matched_wh  # of a refused change, too: the quote before it stands


def _energy(value: int | None) -> EnergyWh | None:
    return None if value is None else EnergyWh(value)
