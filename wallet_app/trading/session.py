"""The trading session: wires ledger, light node, meter, battery and user together.

One lane runs everything in order: the contract's events, the timetable's jobs and the user's
commands. What has to reach the ledger goes into the outbox; what the screens show is a
:class:`~wallet_app.trading.view.WalletView` built from immutable records.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from light_node import jsonio
from light_node.contract.slots import Phase as LedgerPhase
from light_node.fabric.errors import ContractRefused, FabricError
from light_node.market.slots import parse
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.i18n import tr
from wallet_app.trading.course import Course, NotNow, Tools
from wallet_app.trading.export import write_csv
from wallet_app.trading.lane import Lane
from wallet_app.trading.ledger import Ledger, LedgerEvent
from wallet_app.trading.market import settlement_written, standing_written
from wallet_app.trading.outbox import Entry, EntryState
from wallet_app.trading.proofs import Claim, Node, Prover
from wallet_app.trading.sender import Sender
from wallet_app.trading.view import AgentMode, Change, Proof, SlotView, WalletView

_log = logging.getLogger(__name__)
_RETRY_S = 2.0
_COMMAND_S = 10.0


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
        self._state.feed(tools.live.view, tools.live.series, node.trust)

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start trading: the outbox first, then the timetable, then the events."""
        for energy in self._t.history.energies(self._state.market_now() - timedelta(days=70)):
            self._t.planner.learn(energy)
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
        self._follower.join(5.0)

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

    def set_agent(self, mode: AgentMode) -> None:
        """Let the agent show its suggestion, ask, or act within the limits."""
        self._state.set_agent(mode, "")
        self._state.say("info", tr("The agent's mode is now: {mode}", mode=_mode(mode)))

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
                start = self._t.history.fact("events_block")
                stream = self._ledger.events(int(start) if start else None)
                self._lane.put(self._catch_up)
                for event in stream:
                    self._lane.put(lambda e=event: self._take(e))  # type: ignore[misc]
            except (FabricError, jsonio.JsonError) as error:
                if self._stopping.is_set():
                    return
                foreign = error.foreign if isinstance(error, FabricError) else ""
                self._state.say(
                    "warning", tr("The market does not answer: {why}", why=str(error)), foreign
                )
            self._stopping.wait(_RETRY_S)

    def _catch_up(self) -> None:
        """Enter the market if need be, and take up the slots around now."""
        try:
            self._t.reader.participant(self._state.about.participant)
        except ContractRefused as refusal:
            if refusal.code != "UNKNOWN_PARTICIPANT":
                raise
            self._t.outbox.put(
                "admit",
                "Admit",
                [self._admission],
                created=self._t.clock.now(),
                deadline=self._t.clock.now() + timedelta(days=3650),
            )
            self._sender.wake()
        now = self._state.market_now()
        first, end = (
            f"{t:%Y-%m-%dT%H:%MZ}" for t in (now - timedelta(days=1), now + timedelta(days=2))
        )
        known = {r.slot: r.phase for r in self._state.records()}
        for slot in self._t.reader.slots(first, end):
            if known.get(slot.slot) == "settled":
                continue
            self._course.seen(slot)
            if slot.phase is LedgerPhase.SETTLED:
                self._settled(slot.slot, None)

    def _take(self, event: LedgerEvent) -> None:
        """Deal with one event, then remember that it was dealt with."""
        slot_id = event.payload.get("slot")
        if isinstance(slot_id, str):
            self._dispatch(event, slot_id)
        # The block may hold further events, so the next start reads it again: handlers repeat
        # without harm.
        self._t.history.set_fact("events_block", str(event.block))

    def _dispatch(self, event: LedgerEvent, slot_id: str) -> None:
        slot = self._t.reader.slot(slot_id)
        if event.name == "SlotOpened":
            self._course.seen(slot)
        elif event.name == "RoundClosed":
            self._state.amend(slot_id, phase=slot.phase.value, round=slot.round)
        elif event.name == "StandingPublished":
            number = jsonio.integer(event.payload, "round", low=1, high=9)
            self._course.seen(slot)
            standing = self._t.reader.standing(slot_id, number)
            self._course.standing_published(slot, standing)
            self._prove(
                event,
                lambda writes: standing_written(writes, standing),
                lambda proof: self._state.prove_standing(slot_id, number, proof),
            )
        elif event.name == "SlotCleared":
            self._course.seen(slot)
            price, own = self._t.reader.clearing(slot_id, self._state.about.participant)
            self._course.cleared(slot, price, own)
        elif event.name == "DeliveryClosed":
            self._state.amend(slot_id, phase=slot.phase.value)
        elif event.name == "SlotSettled":
            self._settled(slot_id, event)

    def _settled(self, slot_id: str, event: LedgerEvent | None) -> None:
        """Take over what a settlement brought; with its event, have it proved as well."""
        me = self._state.about.participant
        settlement = self._t.reader.settlement(slot_id, me)
        line = settlement.line
        if line is None:
            self._state.amend(slot_id, phase="settled")
            return
        self._state.amend(
            slot_id,
            phase="settled",
            price=settlement.price,
            matched_wh=line.contracted_wh,
            market_money=line.market_money,
            grid_money=line.grid_money,
            penalty_money=line.penalty_money + line.compensation_money,
            grid_only_money=line.grid_only_money,
            transaction=settlement.transaction,
        )
        self._state.set_balance(self._t.reader.balance(me))
        if event is not None:
            self._state.amend(slot_id, block=event.block)
            self._prove(
                event,
                lambda writes: settlement_written(writes, slot_id, me, line),
                lambda proof: self._proved(slot_id, proof),
            )

    def _prove(
        self,
        event: LedgerEvent,
        holds: Callable[[Mapping[str, bytes | None]], bool],
        done: Callable[[Proof], None],
    ) -> None:
        self._prover.put(Claim(event.block, event.transaction_id, holds, done))

    def _proved(self, slot_id: str, proof: Proof) -> None:
        self._state.amend(slot_id, proof=proof.value)
        if proof is Proof.DISPUTED:
            slot = self._state.local_time(parse(slot_id))
            self._state.say(
                "error",
                tr("{slot}: the peer's settlement is not what the block says", slot=slot),
            )

    # -- the user's side --------------------------------------------------------------------------

    def _on_lane(self, work: Callable[[], None]) -> None:
        """Run ``work`` on the lane and wait; what it raises is raised here."""
        done = threading.Event()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - handed to the caller, below
                failures.append(error)
            finally:
                done.set()

        self._lane.put(run)
        if not done.wait(_COMMAND_S):
            raise NotNow(tr("The wallet is busy: try again in a moment."))
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
        elif kind == "reading" and entry.state in (EntryState.REFUSED, EntryState.EXPIRED):
            slot = self._state.local_time(parse(slot_id))
            text = tr("{slot}: the meter reading was not taken: {why}", slot=slot, why=entry.note)
            self._state.say("warning", text)

    def _quote_changed(self, slot_id: str, entry: Entry) -> None:
        newest = self._t.outbox.entries(f"quote|{slot_id}|")[-1]
        if newest.key != entry.key:
            return
        state = entry.state.value
        if entry.state in (EntryState.REFUSED, EntryState.EXPIRED):
            state = f"{state}: {entry.note}"
            slot = self._state.local_time(parse(slot_id))
            self._state.say("warning", tr("{slot}: no quote: {why}", slot=slot, why=entry.note))
        self._state.amend(slot_id, quote_state=state)


def _mode(mode: AgentMode) -> str:
    return {
        AgentMode.SHOW: tr("show"),
        AgentMode.ASK: tr("ask"),
        AgentMode.DO: tr("do"),
    }[mode]
