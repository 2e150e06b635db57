"""A wallet on the real contract without a network: fake clock, no waiting, every step in order.

``Market`` is the ledger with the trading centre's real driver and a few neighbours; ``House`` is
one run of a wallet over a directory, which can be killed and started again. Only threads, sockets
and the wall clock are replaced: work that would run on the lane, the timetable or the sender runs
when ``Market.run_to`` or ``House.settle`` says so.
"""

import heapq
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from light_node.clock import MarketTime
from light_node.contract.memory import Endorsed, MemoryChannel, MemoryLedger, Validation
from light_node.fabric.errors import FabricError, Unavailable, contract_refused
from light_node.fabric.identity import SigningIdentity
from light_node.market.quotes import PriceBounds
from light_node.market.slots import Slot, parse
from light_node.market.units import PriceTick
from light_node.mtc.driver import Done, Driver, Span
from light_node.mtc.timetable import Timetable
from tests.light_node.conftest import operator_identity, participant_id, signed, trader_identity
from wallet_app.meter.events import Origin, Reading
from wallet_app.meter.events import Proof as FrameProof
from wallet_app.settings import Settings
from wallet_app.strategy.forecast import SlotEnergy
from wallet_app.trading import session, setup
from wallet_app.trading.lane import Work
from wallet_app.trading.ledger import LedgerEvent, Outcome
from wallet_app.trading.outbox import Entry
from wallet_app.trading.proofs import Audited, Claim, Proven, Prover
from wallet_app.trading.sender import Sender
from wallet_app.trading.view import AgentMode, PeerView, Proof, SlotView, TrustView

WALL = datetime(2026, 1, 1, tzinfo=UTC)
MARKET = datetime(2026, 6, 21, 8, 50, tzinfo=UTC)
RATE = 60
SLOT = parse("2026-06-21T10:00Z/PT60M")
TIMETABLE = Timetable(length_s=3600)
FLOOR, CAP = 4000, 11_000
METER = "202611200001"


class FakeClock:
    """Wall time that moves when the market is told to run."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return WALL + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


class RecordingChannel(MemoryChannel):
    """A channel that also knows what every valid transaction wrote, as the blocks do."""

    def __init__(self, ledger: MemoryLedger, now: Callable[[], datetime]) -> None:
        super().__init__(ledger, now)
        self.written: dict[str, dict[str, bytes | None]] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.changed = threading.Condition()

    def commit(self, *block: Endorsed) -> list[Validation]:
        number = self.ledger.height
        with self.changed:
            codes = super().commit(*block)
            for endorsed, code in zip(block, codes, strict=True):
                self.outcomes[endorsed.transaction_id] = Outcome(int(code), number)
                if code is Validation.VALID:
                    self.written[endorsed.transaction_id] = dict(endorsed.rwset.writes)
            self.changed.notify_all()
        return codes


class Stream:
    """The contract's events; ``idle`` when its reader has taken them all and waits."""

    def __init__(self, channel: RecordingChannel, start: int | None) -> None:
        self._channel = channel
        self._next = len(channel.events)
        if start is not None:
            self._next = next(
                (i for i, e in enumerate(channel.events) if e.block >= start), self._next
            )
        self._error: FabricError | None = None
        self._closed = False
        self._waiting = False

    def __iter__(self) -> Iterator[LedgerEvent]:
        return self

    def __next__(self) -> LedgerEvent:
        with self._channel.changed:
            while True:
                if self._error is not None:
                    raise self._error
                if self._closed:
                    raise StopIteration
                if self._next < len(self._channel.events):
                    break
                self._waiting = True
                self._channel.changed.notify_all()
                self._channel.changed.wait()
            self._waiting = False
            event = self._channel.events[self._next]
            self._next += 1
            return LedgerEvent(
                event.name, json.loads(event.payload), event.transaction_id, event.block
            )

    @property
    def over(self) -> bool:
        return self._closed or self._error is not None

    def wait_idle(self) -> None:
        with self._channel.changed:
            assert self._channel.changed.wait_for(
                lambda: self.over or (self._waiting and self._next >= len(self._channel.events)), 20
            )

    def end(self, error: FabricError | None = None) -> None:
        with self._channel.changed:
            self._closed, self._error = error is None, error
            self._channel.changed.notify_all()


class ContractLedger:
    """:class:`wallet_app.trading.ledger.Ledger` over the real contract, failing where it is told.

    ``kill_at`` raises :class:`Killed` the next time that point is passed; ``down`` answers nothing;
    ``refuse_reads`` names functions whose queries find nobody; ``twist`` may alter what a query
    answers, as a peer that lies would.
    """

    peer_address = "peer0.org1:7051"

    def __init__(self, market: "Market", identity: SigningIdentity) -> None:
        self.market, self.identity = market, identity
        self.kill_at = ""
        self.down = False
        self.refuse_reads: set[str] = set()
        self.twist: Callable[[str, Any], Any] = lambda function, answer: answer
        self.before_commit: Callable[[], None] = lambda: None
        self.prepared: list[tuple[str, str]] = []
        self.streams: list[Stream] = []
        self.refusals = 0

    def pass_by(self, point: str) -> None:
        if self.kill_at == point:
            self.kill_at = ""
            raise Killed(point)

    def evaluate(self, function: str, *arguments: str) -> Any:
        self.pass_by(f"evaluate {function}")
        if self.down or function in self.refuse_reads:
            raise Unavailable("no peer answers")
        raw = self.market.channel.evaluate(self.identity, function, *arguments)
        return self.twist(function, json.loads(raw))

    def prepare(self, function: str, *arguments: str) -> tuple[str, bytes]:
        self.pass_by(f"before prepare {function}")
        if self.down:
            raise Unavailable("no peer answers")
        endorsed = self.market.channel.endorse(self.identity, function, *arguments)
        if not endorsed.response.ok:
            raise contract_refused(endorsed.response.status, endorsed.response.message)
        self.market.endorsed[endorsed.transaction_id] = endorsed
        self.prepared.append((function, arguments[0]))
        self.pass_by(f"after prepare {function}")
        return endorsed.transaction_id, endorsed.transaction_id.encode()

    def submit(self, transaction_id: str, envelope: bytes) -> None:
        if self.down:
            raise Unavailable("no orderer answers")
        assert envelope == transaction_id.encode()
        endorsed = self.market.endorsed[transaction_id]
        self.pass_by("before submit")
        self.before_commit()
        if transaction_id not in self.market.channel.outcomes:
            self.market.channel.commit(endorsed)
        self.pass_by("after submit")

    def outcome(self, transaction_id: str, timeout: float) -> Outcome | None:
        self.pass_by("before outcome")
        return self.market.channel.outcomes.get(transaction_id)

    def events(self, start_block: int | None) -> Iterator[LedgerEvent]:
        with self.market.channel.changed:
            self.market.channel.changed.notify_all()
            if self.down:
                self.refusals += 1
                raise Unavailable("no peer answers")
            self.streams.append(Stream(self.market.channel, start_block))
            return self.streams[-1]

    def wait_asked(self, streams: int, refusals: int = 0) -> None:
        """Wait until so many event streams were opened, or refused since the ledger is down."""
        with self.market.channel.changed:
            assert self.market.channel.changed.wait_for(
                lambda: len(self.streams) >= streams or self.refusals > refusals, 20
            )

    def close(self) -> None:
        for stream in self.streams:
            stream.end()


class FakeNode:
    """A light node that has verified every block; ``proof`` is how far, None: not yet."""

    def __init__(self, channel: RecordingChannel) -> None:
        self._channel = channel
        self.proof: Proof | None = Proof.AGREED
        self.audited: Audited | None = None

    def audit(self, slot: str, block: int) -> Audited | None:
        return self.audited

    def trust(self) -> TrustView:
        addresses = ("peer0.org1:7051", "peer0.org2:7051")
        peers = tuple(PeerView(f"Org{i}MSP", a, "connected") for i, a in enumerate(addresses, 1))
        height = self._channel.ledger.height
        return TrustView(channel="market", verified_height=height, peers=peers)

    def prove(self, block: int, transaction_id: str, timeout: float) -> Proven | None:
        outcome = self._channel.outcomes.get(transaction_id)
        if self.proof is None or outcome is None or outcome.block != block:
            return None
        return Proven(self.proof, self._channel.written[transaction_id])


class Gateway:
    """The operator's way in."""

    def __init__(self, channel: RecordingChannel, operator: SigningIdentity) -> None:
        self._channel, self._operator = channel, operator

    def submit(self, function: str, *args: str) -> bytes:
        return self._channel.submit(self._operator, function, *args)

    def evaluate(self, function: str, *args: str) -> bytes:
        return self._channel.evaluate(self._operator, function, *args)


class Market:
    """Ledger, trading centre and two neighbours; runs the houses on it."""

    def __init__(self, slots: int = 1, first: Slot = SLOT) -> None:
        self.clock = FakeClock()
        self.market_time = MarketTime(WALL, MARKET, RATE)
        self.channel = RecordingChannel(MemoryLedger(), self.clock.now)
        self.endorsed: dict[str, Endorsed] = {}
        self.operator = operator_identity()
        self.done: list[Done] = []
        self.driver = Driver(
            Gateway(self.channel, self.operator),
            self.clock,
            self.market_time,
            TIMETABLE,
            lambda slot: PriceBounds(PriceTick(FLOOR), PriceTick(CAP)),
            Span(first, slots),
            report=self.done.append,
        )
        self.houses: list[House] = []
        self.neighbours: dict[str, SigningIdentity] = {}
        self.acted: set[tuple[str, str]] = set()
        self.buyer_wh = 5_000
        self.admit("E", "X")

    @property
    def now(self) -> datetime:
        return self.market_time.at(self.clock.now())

    def admit(self, *names: str) -> None:
        for name in names:
            identity = self.neighbours.setdefault(name, trader_identity(name))
            fields = {
                "wallet_address": f"address-of-{name}",
                "capacity_w": 20_000,
                "voltage_v": 400,
                "zone": "",
                "green": True,
            }
            self.channel.submit(identity, "Admit", json.dumps(fields))

    def ask(self, function: str, *args: str) -> Any:
        return json.loads(self.channel.evaluate(self.operator, function, *args))

    def quote(self, name: str, side: str, energy: int, price: int, number: int, slot: str) -> None:
        fields = {
            "slot": slot,
            "round": number,
            "participant": participant_id(self.neighbours[name]),
            "wallet_address": f"address-of-{name}",
            "side": side,
            "energy_wh": energy,
            "price": price,
        }
        text = signed(self.neighbours[name], fields)
        self.channel.submit(self.neighbours[name], "SubmitQuote", text)

    def read(self, name: str, imported: int, exported: int, slot: str) -> None:
        fields = {
            "slot": slot,
            "participant": participant_id(self.neighbours[name]),
            "import_wh": imported,
            "export_wh": exported,
            "register_import_wh": 10**6 + imported,
            "register_export_wh": 10**6 + exported,
            "meter": f"meter-of-{name}",
            "origin": "simulated",
            "estimated": False,
        }
        text = signed(self.neighbours[name], fields)
        self.channel.submit(self.neighbours[name], "SubmitReading", text)

    def neighbourly(self) -> None:
        """E sells 4 kWh and raises its price every round; X buys; both deliver."""
        listed = self.ask("ListSlots", "2026-06-20T00:00Z", "2026-06-23T00:00Z")["slots"]
        for record in listed:
            slot, number, phase = record["slot"], record["round"], record["phase"]
            if phase == "quoting" and (slot, f"quote {number}") not in self.acted:
                self.acted.add((slot, f"quote {number}"))
                self.quote("E", "sell", 4_000, 5000 + number, number, slot)
                if number == 1:
                    self.quote("X", "buy", self.buyer_wh, 9000, 1, slot)
            if phase == "cleared" and (slot, "read") not in self.acted:
                self.acted.add((slot, "read"))
                fills = self.ask("GetClearing", slot)["fills"]
                self.read("E", 0, fills.get("E@Org1MSP", 0), slot)
                self.read("X", fills.get("X@Org1MSP", 0), 0, slot)

    def turn(self) -> float:
        """Let everybody do what is due now; return wall seconds until something may be."""
        self.neighbourly()
        wait = self.driver.turn()
        for house in self.houses:
            house.settle()
        self.neighbourly()
        return 5.0 if wait is None else wait

    def run_to(self, moment: datetime) -> None:
        """Live until market time ``moment``."""
        until = (self.market_time.to_wall(moment) - WALL).total_seconds()
        while True:
            wait = self.turn()
            if wait == 0.0:
                continue
            if self.clock.seconds >= until:
                return
            heads = [house.timetabler.head for house in self.houses if house.timetabler.head]
            due = [max((head - self.clock.now()).total_seconds(), 0.001) for head in heads]
            self.clock.seconds = min([self.clock.seconds + wait, until, *(
                self.clock.seconds + seconds for seconds in due
            )])  # fmt: skip

    def run_until_settled(self, slot: Slot = SLOT) -> None:
        self.run_to(TIMETABLE.settles(slot) + timedelta(minutes=5))


class DirectLane:
    """Work waits here until the house settles."""

    def __init__(self, name: str, on_error: Callable[[Exception], None]) -> None:
        self._work: list[Work] = []
        self._lock = threading.Lock()
        self._on_error = on_error

    def start(self) -> None: ...

    def stop(self, timeout: float = 5.0) -> None: ...

    def put(self, work: Work) -> None:
        with self._lock:
            self._work.append(work)

    def run(self) -> bool:
        """Do what waits; True if anything did."""
        did = False
        while True:
            with self._lock:
                if not self._work:
                    return did
                work = self._work.pop(0)
            did = True
            try:
                work()
            except Exception as error:  # noqa: BLE001 - as the lane itself does
                self._on_error(error)


class DirectTimetabler:
    """Jobs by wall time; they run when the clock has come that far and the house settles."""

    def __init__(self, market_time: MarketTime, lane: DirectLane, clock: FakeClock) -> None:
        self._market_time, self._lane, self._clock = market_time, lane, clock
        self._jobs: dict[str, tuple[datetime, int, Work]] = {}
        self._count = 0

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def at(self, market: datetime, key: str, work: Work) -> None:
        self._count += 1
        self._jobs[key] = (self._market_time.to_wall(market), self._count, work)

    @property
    def head(self) -> datetime | None:
        return min((job[0] for job in self._jobs.values()), default=None)

    def run(self) -> bool:
        now = self._clock.now()
        due = [(at, n, key) for key, (at, n, _) in self._jobs.items() if at <= now]
        heapq.heapify(due)
        for _, _, key in sorted(due):
            self._lane.put(self._jobs.pop(key)[2])
        return bool(due)


class DirectSender(Sender):
    """Steps when the house settles instead of on a thread."""

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self, timeout: float = 5.0) -> None: ...


class DirectProver(Prover):
    """Proves when the house settles; what cannot be proved waits for the next time."""

    def start(self) -> None:
        self.claims: list[Claim] = []

    def put(self, claim: Claim) -> None:
        self.claims.append(claim)

    def stop(self) -> None: ...

    def run(self) -> bool:
        claims, self.claims = self.claims, []
        did = False
        for claim in claims:
            proven = self._node.prove(claim.block, claim.transaction_id, 0.0)
            if proven is None:
                self.claims.append(claim)
                continue
            did = True
            claim.done(*self._prove(claim))
            audited = self._node.audit(claim.slot, claim.block)
            if claim.audited is not None and audited is not None:
                claim.audited(audited)
        return did


class RecordingInverter:
    """Notes what the battery was told."""

    def __init__(self) -> None:
        self.orders: list[tuple[int, datetime]] = []

    def hold_grid(self, energy_wh: int, until: datetime) -> None:
        self.orders.append((energy_wh, until))


class House:
    """One run of a wallet over ``directory``; start another one after :meth:`kill`."""

    def __init__(
        self,
        market: Market,
        directory: Path,
        identity: SigningIdentity,
        *,
        settings: Settings | None = None,
        inverter: RecordingInverter | None = None,
        ledger: ContractLedger | None = None,
        monkeypatch: Any,
    ) -> None:
        self.market, self.directory, self.identity = market, directory, identity
        self.inverter, self._patch = inverter, monkeypatch
        self.participant = participant_id(identity)
        self.settings = settings or Settings({"agent": "do"})
        self.ledger = ledger or ContractLedger(market, identity)
        self.node = FakeNode(market.channel)
        made: dict[str, Any] = {}

        def lane(name: str, on_error: Callable[[Exception], None]) -> DirectLane:
            made["lane"] = DirectLane(name, on_error)
            return made["lane"]

        def timetabler(market_time: MarketTime, lane: DirectLane) -> DirectTimetabler:
            made["timetabler"] = DirectTimetabler(market_time, lane, market.clock)
            return made["timetabler"]

        def sender(*args: Any, **kwargs: Any) -> DirectSender:
            made["sender"] = DirectSender(*args, **kwargs)
            return made["sender"]

        def prover(node: Any) -> DirectProver:
            made["prover"] = DirectProver(node)
            return made["prover"]

        monkeypatch.setattr(setup, "Lane", lane)
        monkeypatch.setattr(setup, "Timetabler", timetabler)
        monkeypatch.setattr(setup, "Sender", sender)
        monkeypatch.setattr(session, "Prover", prover)
        monkeypatch.setattr(session, "_RETRY_S", 0.01)
        profile = SimpleNamespace(name="test", market_time=market.market_time, chaincode="market")
        self.running = setup.RunningWallet(
            setup.Wallet(
                directory=directory,
                profile=profile,  # type: ignore[arg-type]
                identity=identity,
                participant=self.participant,
                settings=self.settings,
                timetable=TIMETABLE,
                clock=market.clock,
                node=self.node,
                inverter=inverter,
                demo=True,
                connect=lambda *_: self.ledger,
            )
        )
        self.lane: DirectLane = made["lane"]
        self.timetabler: DirectTimetabler = made["timetabler"]
        self.sender: DirectSender = made["sender"]
        self.prover: DirectProver = made["prover"]
        self.session = self.running.session

    def start(self) -> "House":
        self.running.__enter__()
        self.market.houses.append(self)
        self.ledger.wait_asked(1)
        self.settle()
        return self

    def reconnect(self) -> None:
        """Wait until the wallet hears events again, after its stream has broken."""
        self.ledger.wait_asked(sum(s.over for s in self.ledger.streams) + 1, 10**9)
        self.settle()

    def again(self) -> "House":
        """Start anew after a kill, as a new process would: with the directory and the ledger."""
        return House(
            self.market,
            self.directory,
            self.identity,
            settings=self.settings,
            inverter=self.inverter,
            monkeypatch=self._patch,
        ).start()

    def kill(self) -> None:
        """Nothing of this run does anything any more. Every file is as the kill left it."""
        if self in self.market.houses:
            self.market.houses.remove(self)
        self.running.close()

    def settle(self) -> None:
        """Do everything that is due, until nothing moves."""
        busy = True
        while busy:
            if self.ledger.streams:
                self.ledger.streams[-1].wait_idle()
            busy = self.timetabler.run()
            busy |= self.lane.run()
            before = [(e.id, e.state, e.tries) for e in self.open_entries()]
            self.sender.step()
            busy |= before != [(e.id, e.state, e.tries) for e in self.open_entries()]
            busy |= self.prover.run()
            self.lane.run()  # what the sender tells, even that it is still waiting

    def open_entries(self) -> list[Entry]:
        return self.running._outbox.open_entries()

    def entries(self, prefix: str = "") -> list[Entry]:
        return self.running._outbox.entries(prefix)

    def slot(self, slot: Slot = SLOT) -> SlotView:
        found = self.session.history(slot.starts_at, slot.ends_at)
        assert len(found) == 1
        return found[0]

    def said(self, kind: str = "") -> list[str]:
        return [e.text for e in self.session.view().events if kind in ("", e.kind)]

    def command(self, work: Callable[[], None]) -> None:
        """Give a command as the window does, from another thread, and wait for its end."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():
            self.lane.run()
            thread.join(0.001)
        self.settle()
        if failures:
            raise failures[0]

    def expect(self, net_wh: int) -> None:
        """Give the household a past that makes it expect ``net_wh`` from 10:00 to 13:00 UTC."""
        past = [
            SlotEnergy(SLOT.starts_at + timedelta(days=-day, hours=hour), 3600, net_wh)
            for day in range(1, 15)
            for hour in range(3)
        ]
        self.running.learn(past, "simulated")

    def agent(self, mode: AgentMode) -> None:
        self.session.set_agent(mode)

    def meter(
        self,
        import_wh: int,
        export_wh: int,
        *,
        at: datetime | None = None,
        power_w: int | None = None,
        meter_id: str = METER,
        **changes: Any,
    ) -> None:
        """Have the meter read at market time ``at`` (default: now) with these registers."""
        values = {
            "import_kwh": Decimal(import_wh) / 1000,
            "export_kwh": Decimal(export_wh) / 1000,
        }
        if power_w is not None:
            values["power_w"] = Decimal(power_w)
        wall = self.market.market_time.to_wall(at or self.market.now)
        self.running.live.take_reading(
            Reading(
                host_time=wall,
                monotonic=(wall - WALL).total_seconds(),
                meter_id=meter_id,
                protocol="dlt645",
                values=values,
                proof=FrameProof.BCC,
                raw=b"\x68",
                origin=Origin.SIMULATED,
                **changes,
            )
        )
