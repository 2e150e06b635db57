"""The outbox and its sender: a kill between any two steps loses nothing and does nothing twice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from light_node.fabric.errors import ContractRefused, Unavailable
from wallet_app.trading.ledger import LedgerEvent, Outcome
from wallet_app.trading.outbox import Entry, EntryState, Outbox, OutboxError
from wallet_app.trading.sender import MAX_TRIES, Sender

NOW = datetime(2026, 6, 21, 12, tzinfo=UTC)
SOON = NOW + timedelta(minutes=5)


class FixedClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


class FakeLedger:
    """A ledger that commits what it is given, at most once per id, and fails where it is told."""

    peer_address = ""

    def __init__(self) -> None:
        self.commits: dict[str, int] = {}
        self.made = 0
        self.kill_at = ""
        self.codes: list[int] = []
        self.refusal: ContractRefused | None = None
        self.down = False
        self.lose_answer = False

    def _maybe_kill(self, point: str) -> None:
        if self.kill_at == point:
            self.kill_at = ""
            raise Killed(point)

    def evaluate(self, function: str, *arguments: str) -> Any:
        raise NotImplementedError

    def prepare(self, function: str, *arguments: str) -> tuple[str, bytes]:
        if self.down:
            raise Unavailable("no peer answers")
        if self.refusal:
            raise self.refusal
        self._maybe_kill("before prepare")
        self.made += 1
        self._maybe_kill("after prepare")
        return f"tx{self.made}", b"envelope " + "|".join(arguments).encode()

    def submit(self, transaction_id: str, envelope: bytes) -> None:
        if self.down:
            raise Unavailable("no orderer answers")
        self._maybe_kill("before submit")
        code = self.codes.pop(0) if self.codes else 0
        self.commits.setdefault(transaction_id, code)
        self._maybe_kill("after submit")
        if self.lose_answer:
            self.lose_answer = False
            raise Unavailable("the answer was lost")

    def outcome(self, transaction_id: str, timeout: float) -> Outcome | None:
        self._maybe_kill("before outcome")
        if transaction_id not in self.commits:
            return None
        return Outcome(self.commits[transaction_id], 7)

    def events(self, start_block: int | None) -> Iterator[LedgerEvent]:
        return iter(())

    def close(self) -> None: ...

    @property
    def valid(self) -> list[str]:
        return [tx for tx, code in self.commits.items() if code == 0]


def put(outbox: Outbox, key: str = "quote|slot|1", deadline: datetime = SOON) -> Entry:
    return outbox.put(key, "SubmitQuote", ['{"价":1}'], created=NOW, deadline=deadline)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite")
    yield box
    box.close()


def test_an_entry_is_on_disk_and_the_same_key_is_the_same_entry(tmp_path: Path) -> None:
    first = Outbox(tmp_path / "o.sqlite")
    entry = put(first)
    assert put(first) == entry
    first.close()
    second = Outbox(tmp_path / "o.sqlite")
    assert second.open_entries() == [entry]
    assert entry.arguments == ('{"价":1}',)
    second.close()


@pytest.mark.parametrize(
    "point", ["before prepare", "after prepare", "before submit", "after submit", "before outcome"]
)
def test_a_kill_at_any_step_commits_exactly_once_after_restart(tmp_path: Path, point: str) -> None:
    ledger, clock = FakeLedger(), FixedClock()
    ledger.kill_at = point
    box = Outbox(tmp_path / "o.sqlite")
    put(box)
    with pytest.raises(Killed):
        Sender(box, ledger, clock).step()
    box.close()
    again = Outbox(tmp_path / "o.sqlite")
    Sender(again, ledger, clock).step()
    entry = again.get("quote|slot|1")
    assert entry is not None
    assert (entry.state, entry.block) == (EntryState.COMMITTED, 7)
    assert len(ledger.valid) == 1
    again.close()


def test_a_lost_answer_to_submit_is_looked_up_not_repeated(outbox: Outbox) -> None:
    ledger = FakeLedger()
    ledger.lose_answer = True
    put(outbox)
    Sender(outbox, ledger, FixedClock()).step()
    assert outbox.get("quote|slot|1").state is EntryState.COMMITTED  # type: ignore[union-attr]
    assert ledger.made == 1


def test_a_conflict_is_tried_again_as_a_new_transaction(outbox: Outbox) -> None:
    ledger = FakeLedger()
    ledger.codes = [11, 12]
    put(outbox)
    sender = Sender(outbox, ledger, FixedClock())
    while sender.step():
        pass
    entry = outbox.get("quote|slot|1")
    assert entry is not None
    assert entry.state is EntryState.COMMITTED
    assert entry.transaction_id == "tx3"
    assert ledger.valid == ["tx3"]


def test_endless_conflicts_end_as_refused(outbox: Outbox) -> None:
    ledger = FakeLedger()
    ledger.codes = [11] * 100
    put(outbox)
    sender = Sender(outbox, ledger, FixedClock())
    for _ in range(50):
        sender.step()
    entry = outbox.get("quote|slot|1")
    assert entry is not None
    assert entry.state is EntryState.REFUSED
    assert ledger.made == MAX_TRIES


def test_another_validation_code_is_final(outbox: Outbox) -> None:
    ledger = FakeLedger()
    ledger.codes = [10]
    put(outbox)
    Sender(outbox, ledger, FixedClock()).step()
    entry = outbox.get("quote|slot|1")
    assert entry is not None
    assert entry.state is EntryState.REFUSED
    assert "10" in entry.note


def test_the_contracts_no_is_kept_with_its_reason(outbox: Outbox) -> None:
    ledger = FakeLedger()
    ledger.refusal = ContractRefused(409, "ROUND_CLOSED", "round 1 is closed")
    put(outbox)
    Sender(outbox, ledger, FixedClock()).step()
    entry = outbox.get("quote|slot|1")
    assert entry is not None
    assert (entry.state, entry.note) == (
        EntryState.REFUSED,
        "the round was closed already, or another one is open (ROUND_CLOSED)",
    )


def test_a_dead_network_keeps_the_entry_and_says_what_it_waits_for(outbox: Outbox) -> None:
    ledger = FakeLedger()
    ledger.down = True
    put(outbox)
    sender = Sender(outbox, ledger, FixedClock())
    sender.step()
    entry = outbox.get("quote|slot|1")
    assert entry is not None
    assert (entry.state, entry.note) == (EntryState.WAITING, "no peer answers")
    ledger.down = False
    sender.step()
    assert outbox.get("quote|slot|1").state is EntryState.COMMITTED  # type: ignore[union-attr]


def test_an_entry_past_its_deadline_is_not_sent(outbox: Outbox) -> None:
    ledger, clock = FakeLedger(), FixedClock()
    put(outbox)
    clock.time = SOON + timedelta(seconds=1)
    Sender(outbox, ledger, clock).step()
    assert outbox.get("quote|slot|1").state is EntryState.EXPIRED  # type: ignore[union-attr]
    assert ledger.made == 0


def test_the_guard_is_asked_where_signing_happens(outbox: Outbox) -> None:
    ledger = FakeLedger()
    put(outbox)
    Sender(outbox, ledger, FixedClock(), guard=lambda entry: "over your daily limit").step()
    entry = outbox.get("quote|slot|1")
    assert entry is not None
    assert (entry.state, entry.note) == (EntryState.REFUSED, "over your daily limit")
    assert ledger.made == 0


def test_a_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "o.sqlite"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.commit()
    db.close()
    with pytest.raises(OutboxError, match="another version"):
        Outbox(path)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    path.write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(OutboxError, match="cannot open"):
        Outbox(path)


def test_the_thread_sends_what_is_put_while_it_runs(outbox: Outbox) -> None:
    import threading

    done = threading.Event()
    sender = Sender(
        outbox,
        FakeLedger(),
        FixedClock(),
        on_change=lambda entry: done.set() if entry.state is EntryState.COMMITTED else None,
    )
    sender.start()
    put(outbox)
    sender.wake()
    assert done.wait(5)
    sender.stop()
