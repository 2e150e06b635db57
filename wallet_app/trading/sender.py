"""Moves outbox entries to the ledger, one at a time, in order, until each has ended.

Every step is written to the outbox before the next one is taken, so that a kill between any two
instructions costs a repetition and never a loss or a second commit.
"""

import threading
from collections.abc import Callable
from datetime import timedelta

from light_node.clock import Clock
from light_node.fabric.errors import (
    AccessDenied,
    ContractRefused,
    FabricError,
    Unavailable,
    UntrustedResponse,
)
from wallet_app.failures import explain
from wallet_app.i18n import tr
from wallet_app.trading.ledger import Ledger
from wallet_app.trading.outbox import Entry, EntryState, Outbox

MAX_TRIES = 6
"""New transactions built for one entry before it is given up as refused."""
_STATUS_TIMEOUT_S = 20.0
_GIVE_UP_AFTER = timedelta(minutes=15)
_BACK_OFF_S = (0.1, 0.3, 1.0, 3.0, 10.0)


class Sender:
    """A worker thread over an outbox. ``guard`` is asked right before anything is signed."""

    def __init__(
        self,
        outbox: Outbox,
        ledger: Ledger,
        clock: Clock,
        *,
        on_change: Callable[[Entry], None] = lambda entry: None,
        guard: Callable[[Entry], str] = lambda entry: "",
        on_problem: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        """``guard`` returns "" to allow, else the reason why this entry must not be signed.

        ``on_problem`` is told of what stopped a step and is no answer of the network, such as a
        full disk; the step is tried again.
        """
        self._outbox, self._ledger, self._clock = outbox, ledger, clock
        self._on_change, self._guard, self._on_problem = on_change, guard, on_problem
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._failures = 0

    def start(self) -> None:
        """Start sending; entries left from an earlier run come first."""
        self._thread.start()

    def wake(self) -> None:
        """Look for new entries now."""
        self._wake.set()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop after the step under way; what is open stays in the outbox."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def step(self) -> bool:
        """Take one entry one run further; True if anything was open. (The thread's loop body.)"""
        entries = self._outbox.open_entries()
        failed = False
        for entry in entries:
            if self._stopping.is_set():
                return True
            try:
                self._advance(entry)
            except FabricError as error:
                failed = True
                self._outbox.noted(entry.id, explain(error))
                self._changed(entry.key)
                if isinstance(error, Unavailable):
                    break  # the next entry would meet the same silence
                continue
            self._changed(entry.key)
        self._failures = self._failures + 1 if failed else 0
        return bool(entries)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                open_entries = self.step()
            except Exception as error:  # noqa: BLE001 - reported, and the thread must outlive it
                # A full disk, mostly: nothing was promised, nothing is lost; try again later.
                self._on_problem(error)
                open_entries, self._failures = True, self._failures + 1
            if open_entries and self._failures:
                self._wake.wait(_BACK_OFF_S[min(self._failures, len(_BACK_OFF_S)) - 1])
            elif not open_entries:
                self._wake.wait(60.0)

    def _advance(self, entry: Entry) -> None:
        late = self._clock.now() > entry.deadline
        if entry.state is EntryState.WAITING:
            if late:
                self._outbox.expired(
                    entry.id, entry.note or tr("its time had passed before it was sent")
                )
                return
            self._prepare(entry)
        elif entry.state is EntryState.PREPARED and late:
            # It may or may not have left before a crash: only the ledger knows.
            outcome = self._ledger.outcome(entry.transaction_id, 2.0)
            if outcome is None:
                self._outbox.expired(entry.id, tr("its time passed before the network took it"))
                return
        self._send(entry.key)

    def _prepare(self, entry: Entry) -> None:
        reason = self._guard(entry)
        if reason:
            self._outbox.refused(entry.id, reason)
            return
        if entry.tries >= MAX_TRIES:
            note = tr("given up after {n} tries: {why}", n=entry.tries, why=entry.note)
            self._outbox.refused(entry.id, note)
            return
        try:
            transaction_id, envelope = self._ledger.prepare(entry.function, *entry.arguments)
        except (ContractRefused, AccessDenied, UntrustedResponse) as error:
            self._outbox.refused(entry.id, explain(error))
            return
        self._outbox.prepared(entry.id, transaction_id, envelope)

    def _send(self, key: str) -> None:
        entry = self._outbox.get(key)
        if entry is None or entry.envelope is None:
            return
        unsure: FabricError | None = None
        try:
            self._ledger.submit(entry.transaction_id, entry.envelope)
            self._outbox.sent(entry.id)
        except FabricError as error:
            unsure = error  # errors of Submit may be commits: ask before anything else (7.15)
        late = self._clock.now() > entry.deadline
        timeout = _STATUS_TIMEOUT_S if unsure is None and not late else 2.0
        outcome = self._ledger.outcome(entry.transaction_id, timeout)
        if outcome is None and unsure is not None:
            raise unsure
        if outcome is None:
            self._unconfirmed(entry)
            return
        if outcome.valid:
            self._outbox.committed(entry.id, outcome.block)
        elif outcome.conflict:
            self._outbox.again(entry.id, tr("something changed on the ledger in between"))
        else:
            note = tr("the network refused it (validation code {code})", code=outcome.code)
            self._outbox.refused(entry.id, note)

    def _unconfirmed(self, entry: Entry) -> None:
        # The network took it and stays silent. It may still commit, so no second transaction is
        # built; long after its time it is given up, saying so.
        if self._clock.now() > entry.deadline + _GIVE_UP_AFTER:
            note = tr("sent, but never confirmed: look it up in the history")
            self._outbox.expired(entry.id, note)
        else:
            self._outbox.noted(entry.id, tr("sent, not confirmed yet: asking again"))

    def _changed(self, key: str) -> None:
        entry = self._outbox.get(key)
        if entry is not None:
            self._on_change(entry)
