"""The trading session: wires ledger, light node, meter, battery and user together.

One lane runs everything in order: the contract's events, the timetable's jobs and the user's
commands. What has to reach the ledger goes into the outbox; what the screens show is a
:class:`~wallet_app.trading.view.WalletView` built from immutable records.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from light_node import jsonio
from light_node.contract.slots import Phase as LedgerPhase
from light_node.contract.slots import SlotRecord as LedgerSlot
from light_node.fabric.errors import ContractRefused, FabricError
from light_node.market.slots import parse
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.database import DatabaseError
from wallet_app.failures import explain, foreign
from wallet_app.i18n import said, tr
from wallet_app.meter.desk import MeterDesk
from wallet_app.trading.course import Course, NotNow, Tools, quote_state
from wallet_app.trading.export import write_csv
from wallet_app.trading.lane import Lane
from wallet_app.trading.ledger import Ledger, LedgerEvent
from wallet_app.trading.market import settlement_written, standing_written
from wallet_app.trading.outbox import Entry, EntryState, OutboxError
from wallet_app.trading.preferences import Preferences
from wallet_app.trading.proofs import Audited, Claim, Node, Prover
from wallet_app.trading.sender import Sender
from wallet_app.trading.view import AgentMode, Change, Proof, SlotView, TrustView, WalletView

_log = logging.getLogger(__name__)
_RETRY_S = 2.0
_REFUSALS = 3  # times an event's queries may be refused before that is believed
_AGAIN = timedelta(seconds=2)
_COMMAND_S = 10.0
_EVENTS_BLOCK = "events_block"
_FINAL_PROOFS = (Proof.AUDITED.value, Proof.DISPUTED.value)  # nothing more is to come of these


class TradingSession:
    """One household on one network. What the window and the terminal work with.

    Made by :mod:`wallet_app.trading.setup`; :meth:`start` before use, :meth:`stop` at the end.
    """

    def __init__(
        self,
        tools: Tools,
        ledger: Ledger,
        node: Node,
        lane: Lane,
        sender: Sender,
        admission: str,
    ) -> None:
        """``admission`` is the JSON argument of Admit for a household the market does not know."""
        self._t, self._ledger, self._lane, self._sender = tools, ledger, lane, sender
        self._state = tools.state
        self._admission = admission
        self._course = Course(tools)
        self._prover = Prover(node)
        self._node = node
        self._stopping = threading.Event()
        self._follower = threading.Thread(target=self._follow, name="events", daemon=True)
        self._owed: dict[str, int] = {}  # block of each event that could not be dealt with yet
        self._newest = 0
        self._state.feed(tools.live.view, tools.live.series, self._trust)

    def _trust(self) -> TrustView:
        trust, used = self._node.trust(), self._ledger.peer_address
        peers = (replace(peer, in_use=peer.address == used) for peer in trust.peers)
        return replace(trust, peers=tuple(peers))

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start trading: the outbox first, then the timetable, then the events.

        ``DatabaseError`` if the history cannot be read; then :meth:`stop` still ends it all.
        """
        for energy in self._t.history.energies(self._state.market_now() - timedelta(days=70)):
            self._t.planner.learn(energy)
        for final in self._t.history.final_books():
            self._t.planner.remember(final.past)
        self._lane.start()
        self._sender.start()
        self._prover.start()
        self._t.timetabler.start()
        self._follower.start()

    def stop(self) -> None:
        """Stop everything; what is open stays in the outbox and goes on at the next start."""
        self._stopping.set()
        self._t.timetabler.stop()
        self._ledger.close()
        self._sender.stop()
        self._lane.stop()
        self._prover.stop()
        if self._follower.is_alive():
            self._follower.join(5.0)

    @property
    def stopping(self) -> bool:
        """Whether the session is ending, when what it asked for fails by its own doing."""
        return self._stopping.is_set()

    def objection(self, entry: Entry) -> str:
        """Return why ``entry`` must not be signed, "" if it may be (asked by the sender)."""
        return self._course.objection(entry)

    def entry_changed(self, entry: Entry) -> None:
        """Show what became of an outbox entry (called by the sender)."""
        self._lane.put(lambda: self._entry_changed(entry))

    # -- what screens use -------------------------------------------------------------------------

    def view(self) -> WalletView:
        """Return everything the screens show, at this instant."""
        return self._state.view()

    def subscribe(self, callback: Callable[[frozenset[Change]], None]) -> Callable[[], None]:
        """Call ``callback`` from worker threads whenever something changed; return how to stop."""
        return self._state.subscribe(callback)

    @property
    def meters(self) -> MeterDesk:
        """The meters read on this machine, the wallet's own first."""
        return self._t.meters

    @property
    def preferences(self) -> Preferences:
        """The wallet's settings."""
        return self._t.preferences

    def set_agent(self, mode: AgentMode) -> None:
        """Let the agent show its suggestion, ask, or act within the limits; kept for later starts.

        A disk that refuses costs a line of activity, not the mode.
        """
        self._state.set_agent(mode, "")
        try:
            self._t.preferences.change(agent=mode.value)
        except OSError as error:
            why = error.strerror or type(error).__name__
            self._state.say("error", tr("The agent's mode was not kept: {why}", why=why))
        self._state.say("info", tr("The agent's mode is now: {mode}", mode=_mode(mode)))
        if mode is AgentMode.DO:
            self._lane.put(self._look_again)

    def _look_again(self) -> None:
        """Let the agent act in the slots that take quotes and have none yet."""
        for record in self._state.records():
            if record.phase == "quoting" and record.quoted_price is None:
                self._course.seen(self._t.reader.slot(record.slot))

    def submit_quote(self, slot: str, energy_wh: EnergyWh, price: PriceTick) -> None:
        """Quote for ``slot``; ``NotNow`` says why that is not possible."""
        self._on_lane(lambda: self._course.quote(slot, energy_wh, price))

    def accept_suggestion(self) -> None:
        """Quote exactly what is suggested now; ``NotNow`` says why that is not possible."""
        suggestion = self._state.suggestion
        if suggestion is None or not suggestion.side:
            raise NotNow(tr("There is nothing to trade in this slot."))
        self.submit_quote(suggestion.slot, suggestion.energy_wh, suggestion.price)

    def history(self, start: datetime, end: datetime) -> tuple[SlotView, ...]:
        """Return the slots that start in [start, end), ascending."""
        return self._state.between(start, end)

    def export_csv(self, path: Path, start: datetime, end: datetime) -> None:
        """Write the slots that start in [start, end) to ``path``."""
        about = self._state.about
        write_csv(path, self.history(start, end), about.zone, about.currency)

    # -- the ledger's side ------------------------------------------------------------------------

    def _follow(self) -> None:
        """Keep up with the market: where it stands, then every event; through all failures."""
        while not self._stopping.is_set():
            try:
                # The stream first: what happens while the slots are looked up comes as an event.
                stream = self._ledger.events(self._first_block())
                self._lane.put(self._catch_up)
                for event in stream:
                    self._lane.put(lambda e=event: self._take(e))  # type: ignore[misc]
            except (FabricError, jsonio.JsonError, DatabaseError) as error:
                self._unanswered(error)
            self._stopping.wait(_RETRY_S)

    def _first_block(self) -> int | None:
        block = self._t.history.fact(_EVENTS_BLOCK)
        return int(block) if block else None

    def _unanswered(self, error: Exception) -> None:
        if self._stopping.is_set():
            return
        self._state.say(
            "warning", tr("The market does not answer: {why}", why=explain(error)), foreign(error)
        )

    def _again(self, key: str, work: Callable[[], None]) -> None:
        """Put ``work`` on the lane once more, after a pause; one of each ``key`` at a time."""
        self._t.timetabler.at(self._t.market_time.at(self._t.clock.now() + _AGAIN), key, work)

    def _catch_up(self) -> None:
        """Enter the market if need be, and take up the slots around now; until that succeeds."""
        try:
            self._enter()
            now = self._state.market_now()
            first, end = (
                f"{t:%Y-%m-%dT%H:%MZ}" for t in (now - timedelta(days=1), now + timedelta(days=2))
            )
            slots = self._t.reader.slots(first, end)
            for slot in slots:
                self._join(slot)
            self._lane.put(lambda: self._recall_books(slots))
        except FabricError as error:
            self._unanswered(error)
            self._again("catch up", self._catch_up)

    def _enter(self) -> None:
        me = self._state.about.participant
        try:
            self._t.reader.participant(me)
            self._state.set_balance(self._t.reader.balance(me))
        except ContractRefused as refusal:
            if refusal.code != "UNKNOWN_PARTICIPANT":
                raise
            before = self._t.outbox.entries("admit|")
            if before and not before[-1].failed:
                return  # on its way
            now = self._t.clock.now()
            self._t.outbox.put(
                f"admit|{len(before)}",
                "Admit",
                [self._admission],
                created=now,
                deadline=now + timedelta(days=3650),
            )
            self._sender.wake()

    def _recall_books(self, slots: list[LedgerSlot]) -> None:
        """Take the final books that were missed into the record: one, then what else waits.

        Newest first: the likeliest guide to the slot that is open now.
        """
        over = (LedgerPhase.CLEARED, LedgerPhase.SETTLING, LedgerPhase.SETTLED)
        missed = [s for s in slots if s.phase in over and not self._t.history.has_book(s.slot)]
        if not missed or self.stopping:
            return
        newest = max(missed, key=lambda slot: slot.interval)
        missed.remove(newest)
        try:
            self._course.keep_book(newest, self._t.reader.standing(newest.slot, newest.round))
        except (ContractRefused, jsonio.JsonError) as error:
            _log.warning("the book of %s is not to be had: %s", newest.slot, error)
        except FabricError as error:
            self._unanswered(error)
            return  # the next time the market answers, all that is missing is asked for again
        if missed:
            self._lane.put(lambda: self._recall_books(missed))

    def _join(self, slot: LedgerSlot) -> None:
        """Take a slot up where it stands, whatever of it was missed."""
        record = self._state.record(slot.slot)
        final = record is not None and record.proof in _FINAL_PROOFS and not record.contested
        if final and record is not None and record.phase == "settled":
            return
        self._course.seen(slot)
        if slot.phase in (LedgerPhase.QUOTING, LedgerPhase.CLOSED, LedgerPhase.FINAL):
            published = slot.round if slot.phase is LedgerPhase.FINAL else slot.round - 1
            if published:
                standing = self._t.reader.standing(slot.slot, published)
                self._course.standing_published(slot, standing)
        elif slot.phase in (LedgerPhase.CLEARED, LedgerPhase.SETTLING):
            self._cleared(slot)
        elif slot.phase is LedgerPhase.SETTLED:
            self._settled(slot.slot, None)

    def _take(self, event: LedgerEvent, refusals: int = 0) -> None:
        """Deal with one event, then remember that it was dealt with.

        An event whose queries found nobody is kept and tried again; until then a restart begins
        at its block. So is, a few times, one whose queries the contract refused: a peer sends a
        block's events a moment before it has applied the block, and another peer, asked in place
        of one that died, may be a block behind.
        """
        slot_id, transaction = event.payload.get("slot"), event.transaction_id
        try:
            if isinstance(slot_id, str):
                self._dispatch(event, slot_id)
        except jsonio.JsonError as error:
            self._unanswered(error)  # asking again would bring the same answer
        except FabricError as error:
            refused = isinstance(error, ContractRefused)
            if not refused or refusals == _REFUSALS:
                self._unanswered(error)
            if not refused or refusals < _REFUSALS:
                self._owed[transaction] = event.block
                self._again(
                    f"event|{transaction}|{event.name}",
                    lambda: self._take(event, refusals + refused),
                )
                return
        self._owed.pop(transaction, None)
        self._newest = max(self._newest, event.block)
        # The block may hold further events, so the next start reads it again: handlers repeat
        # without harm.
        self._t.history.set_fact(_EVENTS_BLOCK, str(min([self._newest, *self._owed.values()])))

    def _dispatch(self, event: LedgerEvent, slot_id: str) -> None:
        slot = self._t.reader.slot(slot_id)
        self._course.seen(slot)
        if event.name == "StandingPublished":
            number = jsonio.integer(event.payload, "round", low=1, high=9)
            standing = self._t.reader.standing(slot_id, number)
            self._course.standing_published(slot, standing)
            self._prove(
                event.block,
                event.transaction_id,
                lambda writes: standing_written(writes, standing),
                lambda proof, contested: self._state.prove_standing(
                    slot_id, number, proof, contested
                ),
            )
        elif event.name == "SlotCleared":
            self._cleared(slot)
        elif event.name == "SlotSettled":
            self._settled(slot_id, event.block)

    def _cleared(self, slot: LedgerSlot) -> None:
        price, own = self._t.reader.clearing(slot.slot, self._state.about.participant)
        self._course.cleared(slot, price, own)

    def _settled(self, slot_id: str, block: int | None) -> None:
        """Take over what a settlement brought and have it proved; ``block`` holds it, if known."""
        me = self._state.about.participant
        settlement = self._t.reader.settlement(slot_id, me)
        line, transaction = settlement.line, settlement.transaction
        if line is None:
            self._state.amend(slot_id, phase="settled")
            return
        record = self._state.amend(
            slot_id,
            phase="settled",
            price=settlement.price,
            matched_wh=line.contracted_wh,
            market_money=line.market_money,
            grid_money=line.grid_money,
            penalty_money=line.penalty_money + line.compensation_money,
            grid_only_money=line.grid_only_money,
            transaction=transaction,
        )
        if record is not None and line.side and not record.side:
            self._state.amend(slot_id, side=line.side)
        self._state.set_balance(self._t.reader.balance(me))
        if block is None:
            outcome = self._ledger.outcome(transaction, _RETRY_S)
            block = outcome.block if outcome else None
        if block is not None:
            self._state.amend(slot_id, block=block)
            self._prove(
                block,
                transaction,
                lambda writes: settlement_written(writes, slot_id, me, line),
                lambda proof, contested: self._proved(slot_id, proof, contested),
                slot=slot_id,
            )

    def _prove(
        self,
        block: int,
        transaction: str,
        holds: Callable[[Mapping[str, bytes | None]], bool],
        done: Callable[[Proof, bool], None],
        slot: str = "",
    ) -> None:
        """Have a claim proved; with ``slot`` the settlement of that slot replayed, too."""

        def audited(found: Audited) -> None:
            self._audited(slot, found)

        self._prover.put(Claim(block, transaction, holds, done, slot, audited if slot else None))

    def _proved(self, slot_id: str, proof: Proof, contested: bool) -> None:
        self._state.prove_slot(slot_id, proof, contested)
        if contested:
            self._say_contested(slot_id)
        elif proof is Proof.DISPUTED:
            slot = self._state.local_time(parse(slot_id))
            self._state.say(
                "error",
                tr("{slot}: the peer's settlement is not what the block says", slot=slot),
            )

    def _audited(self, slot_id: str, found: Audited) -> None:
        self._state.prove_slot(slot_id, found.proof, found.contested)
        if found.contested:
            self._say_contested(slot_id, found.difference)
        elif found.proof is Proof.DISPUTED:
            slot = self._state.local_time(parse(slot_id))
            self._state.say(
                "error",
                tr("{slot}: the settlement does not follow from quotes and readings", slot=slot),
                said(found.difference),
            )

    def _say_contested(self, slot_id: str, foreign: str = "") -> None:
        slot = self._state.local_time(parse(slot_id))
        text = tr("{slot}: organisations differ on what took effect; it is looked into", slot=slot)
        self._state.say("error", text, foreign)

    # -- the user's side --------------------------------------------------------------------------

    def _on_lane(self, work: Callable[[], None]) -> None:
        """Run ``work`` on the lane and wait; what it raises is raised here.

        What could not be begun in time is never done: a second try must not make two of it.
        """
        done, claimed = threading.Event(), threading.Lock()
        failures: list[Exception] = []

        def run() -> None:
            if not claimed.acquire(blocking=False):
                return  # nobody waits for it any more
            try:
                work()
            except Exception as error:  # noqa: BLE001 - handed to the caller, below
                failures.append(error)
            finally:
                done.set()

        self._lane.put(run)
        if not done.wait(_COMMAND_S) and claimed.acquire(blocking=False):
            raise NotNow(tr("The wallet is busy: try again in a moment."))
        done.wait()
        if failures and isinstance(failures[0], OutboxError):
            raise NotNow(tr("Nothing was quoted: {why}", why=explain(failures[0]))) from failures[0]
        if failures:
            raise failures[0]

    def _entry_changed(self, entry: Entry) -> None:
        kind, _, rest = entry.key.partition("|")
        slot_id = rest.partition("|")[0]
        if kind == "quote":
            self._quote_changed(slot_id, entry)
        elif kind == "admit" and entry.state is EntryState.COMMITTED:
            self._state.say("good", tr("You have entered the market."))
            self._catch_up()
        elif kind == "admit" and entry.failed:
            text = tr("The market did not let you in: {why}", why=entry.note)
            self._state.say("error", text)
        elif kind == "reading" and entry.failed:
            slot = self._state.local_time(parse(slot_id))
            text = tr("{slot}: the meter reading was not taken: {why}", slot=slot, why=entry.note)
            self._state.say("warning", text)

    def _quote_changed(self, slot_id: str, entry: Entry) -> None:
        newest = self._t.outbox.entries(f"quote|{slot_id}|")[-1]
        if newest.key != entry.key:
            return
        if entry.failed:
            slot = self._state.local_time(parse(slot_id))
            self._state.say("warning", tr("{slot}: no quote: {why}", slot=slot, why=entry.note))
        self._state.amend(slot_id, quote_state=quote_state(entry))


def _mode(mode: AgentMode) -> str:
    return {
        AgentMode.SHOW: tr("show"),
        AgentMode.ASK: tr("ask"),
        AgentMode.DO: tr("do"),
    }[mode]
