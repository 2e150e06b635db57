"""The real threads: lane, timetable, sender, prover, and a whole wallet started and stopped."""

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from light_node.clock import REAL_TIME, MarketTime, SystemClock
from light_node.fabric.errors import FabricError, Unavailable
from light_node.mtc.timetable import Timetable
from tests.light_node.conftest import trader_identity
from wallet_app.meter.session import MeterSession
from wallet_app.settings import Settings
from wallet_app.trading import history, setup
from wallet_app.trading.course import NotNow
from wallet_app.trading.lane import Lane, Timetabler
from wallet_app.trading.ledger import LedgerEvent, Outcome
from wallet_app.trading.lines import Meter
from wallet_app.trading.outbox import Entry, EntryState, Outbox, OutboxError
from wallet_app.trading.proofs import Claim, Proven, Prover
from wallet_app.trading.sender import Sender
from wallet_app.trading.view import Change, Proof, TrustView


def ours() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if not t.name.startswith(("window-", "Dummy"))}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = ours()
    yield
    left = ours() - before
    for thread in left:
        thread.join(5.0)
    assert not {t.name for t in left if t.is_alive()}


# -- lane and timetable -------------------------------------------------------------------------


def test_work_runs_in_order_and_outlives_failures() -> None:
    failures: list[Exception] = []
    lane = Lane("lane", failures.append)
    done: list[int] = []
    lane.put(lambda: done.append(1))
    lane.put(lambda: done.append(1 // 0))
    lane.put(lambda: done.append(2))
    lane.start()
    lane.stop()
    assert done == [1, 2]
    assert [type(f) for f in failures] == [ZeroDivisionError]


def test_a_lane_that_never_started_stops() -> None:
    Lane("lane", lambda error: None).stop()


class Bell:
    """A lane that tells what was put on it."""

    def __init__(self) -> None:
        self.rung: queue.Queue[Callable[[], None]] = queue.Queue()

    def put(self, work: Callable[[], None]) -> None:
        self.rung.put(work)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def timetabler(bell: Bell) -> Iterator[Timetabler]:
    made = Timetabler(REAL_TIME, bell)  # type: ignore[arg-type]
    yield made
    made.stop()


def work(name: str) -> Callable[[], None]:
    return lambda: (_ for _ in ()).throw(AssertionError(name))


def test_late_work_runs_at_once_however_late(timetabler: Timetabler, bell: Bell) -> None:
    job = work("late")
    timetabler.at(datetime.now(UTC) - timedelta(days=30), "late", job)
    timetabler.start()
    assert bell.rung.get(timeout=20) is job
    job = work("later")
    timetabler.at(datetime.now(UTC) - timedelta(seconds=1), "later", job)
    assert bell.rung.get(timeout=20) is job


def test_the_same_key_replaces(timetabler: Timetabler, bell: Bell) -> None:
    first, second = work("first"), work("second")
    timetabler.start()
    timetabler.at(datetime.now(UTC) + timedelta(hours=1), "key", first)
    timetabler.at(datetime.now(UTC) - timedelta(hours=1), "key", second)
    assert bell.rung.get(timeout=20) is second
    assert bell.rung.empty()


def test_market_time_is_mapped(bell: Bell) -> None:
    now = datetime.now(UTC)
    made = Timetabler(MarketTime(now, now, 3600), bell)  # type: ignore[arg-type]
    made.start()
    job = work("an hour of the market is a second here")
    made.at(now + timedelta(minutes=3), "key", job)
    assert bell.rung.get(timeout=20) is job
    made.stop()


def test_a_jump_of_the_clock_is_noticed_within_a_heartbeat(
    timetabler: Timetabler, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after sleep: the wait goes on, but the wall clock has passed the hour."""
    import apscheduler.schedulers.base as base

    monkeypatch.setattr("wallet_app.trading.lane._HEARTBEAT_S", 1)
    ahead = timedelta()

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + ahead

    monkeypatch.setattr(base, "datetime", Jumping)
    timetabler.start()
    job = work("due")
    timetabler.at(datetime.now(UTC) + timedelta(hours=1), "key", job)
    threading.Event().wait(0.3)  # until the scheduler sleeps: were it still awake, it would see
    ahead = timedelta(hours=2)
    assert bell.rung.get(timeout=20) is job


# -- the sender ---------------------------------------------------------------------------------


class Ledger:
    """Commits what it is given; ``trouble`` is raised by the next calls of prepare."""

    peer_address = ""

    def __init__(self) -> None:
        self.trouble: list[Exception] = []
        self.closed = threading.Event()
        self.block = threading.Event()
        self.open_error: FabricError | None = None

    def evaluate(self, function: str, *arguments: str) -> Any:
        raise Unavailable("no peer answers")

    def prepare(self, function: str, *arguments: str) -> tuple[str, bytes]:
        if self.trouble:
            raise self.trouble.pop(0)
        return f"tx of {arguments[0]}", b"envelope"

    def submit(self, transaction_id: str, envelope: bytes) -> None: ...

    def outcome(self, transaction_id: str, timeout: float) -> Outcome | None:
        return Outcome(0, 7)

    def events(self, start_block: int | None) -> Iterator[LedgerEvent]:
        if self.open_error is not None:
            raise self.open_error
        return self._events()

    def _events(self) -> Iterator[LedgerEvent]:
        self.closed.wait()
        yield from ()

    def close(self) -> None:
        self.closed.set()


def put(box: Outbox, key: str) -> Entry:
    now = datetime.now(UTC)
    return box.put(key, "SubmitQuote", [key], created=now, deadline=now + timedelta(hours=1))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox.sqlite")
    yield made
    made.close()


@pytest.mark.parametrize(
    "trouble",
    [OutboxError("cannot write the outbox: disk full"), ValueError("nobody expected this")],
)
def test_what_stops_a_step_is_told_and_the_sender_goes_on(box: Outbox, trouble: Exception) -> None:
    ledger, told = Ledger(), []
    ledger.trouble = [trouble]
    done = threading.Event()
    sender = Sender(
        box,
        ledger,
        SystemClock(),
        on_change=lambda entry: done.set() if entry.state is EntryState.COMMITTED else None,
        on_problem=told.append,
    )
    sender.start()
    put(box, "quote|a")
    sender.wake()
    assert done.wait(20)
    sender.stop()
    assert told == [trouble]


def test_an_outbox_that_cannot_be_read_is_told(box: Outbox) -> None:
    told: queue.Queue[Exception] = queue.Queue()
    box._db.execute("ALTER TABLE outbox RENAME TO elsewhere")
    sender = Sender(box, Ledger(), SystemClock(), on_problem=told.put)
    sender.start()
    assert "cannot read the outbox" in str(told.get(timeout=20))
    box._db.execute("ALTER TABLE elsewhere RENAME TO outbox")
    sender.stop()


# -- the prover ---------------------------------------------------------------------------------


class Node:
    """Proves after ``failures`` refusals."""

    def __init__(self, failures: int = 0, error: FabricError | None = None) -> None:
        self.failures, self.error = failures, error
        self.asked = 0

    def trust(self) -> TrustView:
        return TrustView()

    def prove(self, block: int, transaction_id: str, timeout: float) -> Proven | None:
        self.asked += 1
        if self.asked <= self.failures:
            if self.error is not None:
                raise self.error
            return None
        return Proven(Proof.VERIFIED, {"k": b"1"})


def claim(done: Callable[[Proof], None], holds: bool = True) -> Claim:
    def told(proof: Proof, contested: bool) -> None:
        done(proof)

    return Claim(7, "tx", lambda writes: holds and dict(writes) == {"k": b"1"}, told)


@pytest.mark.parametrize("error", [None, Unavailable("no peer answers")])
def test_a_claim_is_tried_until_it_can_be_proved(
    error: FabricError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet_app.trading.proofs._PAUSE_S", 0.0)
    results: queue.Queue[Proof] = queue.Queue()
    prover = Prover(Node(5, error))
    prover.start()
    prover.put(claim(results.put))
    assert results.get(timeout=20) is Proof.VERIFIED
    prover.put(claim(results.put, holds=False))
    assert results.get(timeout=20) is Proof.DISPUTED
    prover.stop()


def test_a_claim_nobody_can_prove_lets_others_pass_and_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wallet_app.trading.proofs._PAUSE_S", 0.0)
    monkeypatch.setattr("wallet_app.trading.proofs._WAIT_S", 0.005)
    monkeypatch.setattr("wallet_app.trading.proofs._TRIES", 3)

    class OnlyEight(Node):
        def prove(self, block: int, transaction_id: str, timeout: float) -> Proven | None:
            return Proven(Proof.AGREED, {"k": b"1"}) if block == 8 else None

    results: queue.Queue[tuple[int, Proof]] = queue.Queue()
    prover = Prover(OnlyEight())
    prover.put(Claim(7, "tx", lambda _: True, lambda proof, _: results.put((7, proof))))
    prover.put(Claim(8, "tx", lambda _: True, lambda proof, _: results.put((8, proof))))
    prover.start()
    assert results.get(timeout=20) == (8, Proof.AGREED)
    assert results.get(timeout=20) == (7, Proof.NONE)
    monkeypatch.setattr("wallet_app.trading.proofs._WAIT_S", 15.0)
    prover.stop()


def test_stopping_the_prover_does_not_wait_for_what_cannot_be_proved() -> None:
    node = Node(10**9)
    prover = Prover(node)
    prover.start()
    for _ in range(50):
        prover.put(claim(lambda proof: pytest.fail("nothing was proved")))
    while not node.asked:
        threading.Event().wait(0.001)
    prover.stop()  # the fixture sees that the thread has ended


# -- the whole wallet ---------------------------------------------------------------------------


def wallet(directory: Path, ledger: Ledger, **changes: Any) -> setup.Wallet:
    fields: dict[str, Any] = {
        "directory": directory,
        "profile": SimpleNamespace(name="test", market_time=REAL_TIME, chaincode="market"),
        "identity": trader_identity("home"),
        "participant": "home@Org1MSP",
        "settings": Settings(),
        "timetable": Timetable(3600),
        "clock": SystemClock(),
        "node": Node(),
        "connect": lambda *_: ledger,
    }
    return setup.Wallet(**{**fields, **changes})


def test_a_wallet_whose_peer_is_down_runs_says_so_and_stops(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.open_error = Unavailable("no peer answers")
    said = threading.Event()
    running = setup.RunningWallet(wallet(tmp_path, ledger))
    running.session.subscribe(lambda what: said.set() if Change.EVENT in what else None)
    with running:
        assert said.wait(20)
        view = running.session.view()
    assert [e.kind for e in view.events] == ["warning"]
    assert "no peer answers" in view.events[0].text
    running.close()  # again: nothing happens


def test_a_start_that_fails_leaves_no_thread_and_no_open_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(self: Any, since: datetime) -> Any:
        raise history.DatabaseError("cannot read the history: disk I/O error; restore a backup")

    running = setup.RunningWallet(wallet(tmp_path, Ledger()))
    monkeypatch.setattr(history.History, "energies", unreadable)
    with pytest.raises(history.DatabaseError, match="restore a backup"):
        running.__enter__()
    with pytest.raises(OutboxError):
        running._outbox.open_entries()  # closed


def test_a_meter_that_cannot_start_stops_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    meter = Meter("/dev/nowhere", "dlt645", None, 1.0)
    running = setup.RunningWallet(wallet(tmp_path, Ledger(), meter=meter))
    monkeypatch.setattr(MeterSession, "start", broken)
    with pytest.raises(RuntimeError, match="new thread"):
        running.__enter__()


@pytest.mark.parametrize("name", ["readings", "history", "outbox"])
def test_a_file_that_cannot_be_opened_closes_the_others(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.sqlite").write_bytes(b"this is not SQLite" * 100)
    closed: list[str] = []
    for module, kind in ((setup, "ReadingStore"), (setup, "History"), (setup, "Outbox")):
        original = getattr(module, kind).close
        monkeypatch.setattr(
            getattr(module, kind),
            "close",
            lambda self, k=kind, o=original: (closed.append(k), o(self)),
        )
    with pytest.raises(Exception, match=r"readings|history|outbox"):
        setup.RunningWallet(wallet(tmp_path, Ledger()))
    order = ["readings", "history", "outbox"]
    assert closed == ["History", "ReadingStore"][2 - order.index(name) :]


def test_a_command_that_cannot_begin_in_time_is_never_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet_app.trading.session._COMMAND_S", 0.01)
    ledger = Ledger()
    with setup.RunningWallet(wallet(tmp_path, ledger)) as running:
        busy, release = threading.Event(), threading.Event()

        def occupy() -> None:
            busy.set()
            release.wait(20)

        running.session._lane.put(occupy)
        assert busy.wait(20)
        done: list[str] = []
        monkeypatch.setattr(running.session._course, "quote", lambda *values: done.append("quoted"))
        with pytest.raises(NotNow, match="busy"):
            running.session.submit_quote("2026-06-21T10:00Z/PT60M", 1, 1)  # type: ignore[arg-type]
        release.set()
        after = threading.Event()
        running.session._lane.put(after.set)
        assert after.wait(20)
    assert done == []


def test_an_error_nobody_expected_is_said_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with setup.RunningWallet(wallet(tmp_path, Ledger())) as running:
        told = threading.Event()
        running.session.subscribe(lambda _: told.set())
        running.session._lane.put(lambda: (_ for _ in ()).throw(KeyError("surprise")))  # type: ignore[arg-type,return-value]
        told.wait(20)
        after = threading.Event()
        running.session._lane.put(after.set)
        assert after.wait(20)
        assert any("surprise" in e.text for e in running.session.view().events)
    assert "nobody expected" in caplog.text


def test_a_reading_that_cannot_be_kept_is_said_and_does_not_stop_the_meter(
    tmp_path: Path,
) -> None:
    from decimal import Decimal

    from wallet_app.meter.events import Proof as FrameProof
    from wallet_app.meter.events import Reading

    running = setup.RunningWallet(wallet(tmp_path, Ledger()))
    running._readings._db.execute("DROP TABLE raw")
    now = datetime.now(UTC)
    values = {"import_kwh": Decimal(1), "export_kwh": Decimal(0)}
    running._lines._take(Reading(now, 0.0, "12", "dlt645", values, FrameProof.BCC, b"x"))
    (event,) = running.session.view().events
    assert (event.kind, "readings.sqlite" in event.text) == ("error", True)
    running.close()


def test_the_stores_of_two_wallets_do_not_meet(tmp_path: Path) -> None:
    for name in ("a", "b"):
        running = setup.RunningWallet(wallet(tmp_path / name, Ledger()))
        running.close()
        database = sqlite3.connect(tmp_path / name / "history.sqlite")
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        database.close()
