"""A trading day on one machine: starts every part, keeps time, stops every part.

Devnet, trading centre, neighbours and the simulated home are processes of their own; the wallet
runs in this one. Market time begins only when all of them are ready.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from light_node.clock import Clock, MarketTime
from light_node.commands.node_options import read_identity
from light_node.devnet.network import PROFILE_FILE
from light_node.fabric.ca import Attribute, CaClient
from light_node.fabric.crypto import KeySigner
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import NetworkProfile, Registrar
from light_node.market.slots import Slot
from light_node.mtc.timetable import Timetable
from wallet_app.demo.ground import Ground
from wallet_app.demo.processes import Child, ChildFailed
from wallet_app.i18n import tr
from wallet_app.keys.identity import certificate_request, enrol
from wallet_app.keys.store import FileStore
from wallet_app.meter.events import Origin
from wallet_app.meter.simulator.household import Household, homes
from wallet_app.settings import Settings
from wallet_app.strategy.forecast import SlotEnergy
from wallet_app.trading.lines import Meter
from wallet_app.trading.node import LightNodeAdapter
from wallet_app.trading.setup import RunningWallet, Wallet

SLOT_S = 3600
HOME, HOME_ORGANISATION = "home", "Org1MSP"
PASSPHRASE = "demo"
_LEAD_S = 2.0
_PAST_DAYS = 21
# A street in which the market tips from one side to the other in the course of a day.
_ROOFS, _GENERATORS = 0.35, 0.2
_ADDRESS = "000020260621"


SECONDS_PER_SLOT = 3.6
_SLOWEST_S = 15.0
# How long the set-up takes where 3.6 s a slot are enough for all: fixed part, and per neighbour.
_USUAL_SETUP_S, _USUAL_ENROLMENT_S = 5.0, 0.1


def pace(setup_s: float, neighbours: int) -> float:
    """Return the seconds a slot should take on a machine that needed ``setup_s`` for the set-up.

    Everybody's quotes go through one machine: on one that is slow, or busy with other things, the
    day would lose some at the usual pace.
    """
    usual = _USUAL_SETUP_S + _USUAL_ENROLMENT_S * neighbours
    slower = min(SECONDS_PER_SLOT * setup_s / usual, _SLOWEST_S)
    return max(SECONDS_PER_SLOT, round(slower, 1))


@dataclass(frozen=True, slots=True)
class DayOptions:
    """What ``prosumer-wallet demo`` can be told; ``network`` None means a devnet of its own.

    Without ``given_pace`` a slot takes longer than ``seconds_per_slot`` on a slow machine.
    """

    neighbours: int = 30
    slots: int = 24
    seconds_per_slot: float = SECONDS_PER_SLOT
    given_pace: bool = False
    seed: int = 1
    day: date = date(2026, 6, 20)
    network: Path | None = None

    @property
    def rate(self) -> int:
        """How much faster than the wall the market runs."""
        return max(1, round(SLOT_S / self.seconds_per_slot))


class SimulatedInverter:
    """The demo home's battery and roof, reached through its process's pipes."""

    def __init__(self, home: Child) -> None:
        """Steer the home behind ``home``."""
        self._home = home

    def hold_grid(self, energy_wh: int, until: datetime) -> None:
        """Have ``energy_wh`` (positive: taken) cross the grid connection until ``until``."""
        self._home.tell({"grid_wh": energy_wh, "until": until.isoformat()})


class TradingDay:
    """All that a trading day needs, from nothing; a context manager that leaves nothing behind."""

    def __init__(
        self,
        options: DayOptions,
        directory: Path,
        clock: Clock,
        progress: Callable[[str], None],
    ) -> None:
        """Keep all files below ``directory``; tell ``progress`` what is going on."""
        self.options, self.directory, self.clock = options, directory, clock
        self._progress = progress
        self._children: list[Child] = []
        self._running: RunningWallet | None = None
        self._node: LightNodeAdapter | None = None
        self.settings = Settings()
        self.market_time = MarketTime(clock.now(), clock.now(), 1)

    def __enter__(self) -> "TradingDay":
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def wallet(self) -> RunningWallet:
        """The wallet under way."""
        assert self._running is not None
        return self._running

    @property
    def first_slot(self) -> Slot:
        """The day's first slot: local midnight."""
        midnight = datetime.combine(self.options.day, time(), self.settings.zone_info)
        return Slot(int(midnight.timestamp()), SLOT_S)

    @property
    def last_slot(self) -> Slot:
        """The day's last slot."""
        return Slot(self.first_slot.start + (self.options.slots - 1) * SLOT_S, SLOT_S)

    @property
    def end(self) -> datetime:
        """Market time by which the last slot is settled."""
        return self._timetable.settles(self.last_slot)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, for measurements."""
        return {child.name: child.pid for child in self._children}

    def failed(self) -> str:
        """Return which part ended too early, "" while all run."""
        for process in self._children:
            # The trading centre is the only one that is done before the day is over.
            early = process.failed if process.name == "trading centre" else not process.running
            if early:
                return f"{process.name}: {process.last_words()}"
        return ""

    def close(self) -> None:
        """Stop the wallet, then the children in the reverse order of their start."""
        if self._running is not None:
            self._running.close()
            self._running = None
        if self._node is not None:
            self._node.stop()
            self._node = None
        while self._children:
            self._children.pop().stop()

    # -- setting up -------------------------------------------------------------------------------

    _timetable = Timetable(length_s=SLOT_S)

    def _prepare(self) -> None:
        began = self.clock.monotonic()
        profile_file = self._path("network") / PROFILE_FILE
        if self.options.network is None:
            ground = self._devnet(profile_file.parent)
        else:
            ground = self._running_network(self.options.network)
        self._progress(tr("Enrolling {n} neighbours …", n=self.options.neighbours))
        members = self._register(ground)
        ground.profile.save(profile_file)
        neighbours = self._child(
            "neighbours", "neighbours",
            "--profile", str(profile_file), "--members", str(members),
        )  # fmt: skip
        wallet = self._wallet(ground)
        neighbours.message(120.0)
        if self.options.network is None and not self.options.given_pace:
            self._set_pace(self.clock.monotonic() - began)
        self._start_clock(ground, profile_file, neighbours, wallet)

    def _set_pace(self, setup_s: float) -> None:
        seconds = pace(setup_s, self.options.neighbours)
        if seconds > self.options.seconds_per_slot:
            self.options = replace(self.options, seconds_per_slot=seconds)
            self._progress(
                tr(
                    "This machine is slow or busy: a slot takes {seconds} s instead of {usual} s.",
                    seconds=f"{seconds:g}",
                    usual=f"{SECONDS_PER_SLOT:g}",
                )
            )

    def _devnet(self, directory: Path) -> Ground:
        self._progress(tr("Starting the devnet: three organisations, four orderers, a CA …"))
        devnet = self._child(
            "devnet", "light-node", "devnet", "--dir", str(directory),
            "--base-port", "0", "--batch-timeout", "100", "--json",
        )  # fmt: skip
        devnet.message(60.0)
        return Ground.of_directory(directory, "")

    def _running_network(self, directory: Path) -> Ground:
        """Trade on a network that runs, on its first day from the one asked for that is free."""
        # Not the time: days of two market zones may begin at once, and their CA is the same.
        suffix = f"-{token_hex(4)}"
        ground = Ground.of_directory(directory, suffix)
        reader = read_identity(ground.operator)
        day = ground.free_day(self.options.day, self.settings.zone_info, reader, self.clock)
        if day is None:
            raise ChildFailed(
                tr(
                    "{directory} has seen trading on every day after {day}: give another --day",
                    directory=directory,
                    day=self.options.day,
                )
            )
        seconds = ground.seconds_per_slot(self.options.seconds_per_slot)
        self.options = replace(self.options, day=day, seconds_per_slot=seconds)
        self._progress(
            tr(
                "Trading on {network}: {day}, {seconds} s a slot.",
                network=ground.profile.name,
                day=day.isoformat(),
                seconds=f"{seconds:g}",
            )
        )
        return ground

    def _start_clock(
        self, ground: Ground, profile_file: Path, neighbours: Child, wallet: Wallet
    ) -> None:
        opens = self._timetable.opens(self.first_slot)
        start = self.clock.now() + timedelta(seconds=_LEAD_S)
        self.market_time = MarketTime(start, opens, self.options.rate)
        profile = replace(ground.profile, market_time=self.market_time)
        profile.save(profile_file)
        neighbours.tell(self.market_time.to_json())
        self._child(
            "trading centre", "light-node", "mtc", "--profile", str(profile_file),
            "--identity", str(ground.operator),
            "--slot-length", str(SLOT_S), "--slots", str(self.options.slots),
            "--first", self.first_slot.id,
        )  # fmt: skip
        home = self._home()
        first = home.message(30.0)
        self._progress(tr("A DL/T 645 meter answers on {port}.", port=first["port"]))
        meter = Meter(first["port"], "dlt645", first["address"], 0.2, Origin.SIMULATED)
        self._node = LightNodeAdapter(profile, self._path("node"), wallet.identity, self.clock)
        self._node.start()
        wallet = replace(
            wallet, profile=profile, meter=meter, inverter=SimulatedInverter(home), node=self._node
        )
        self._running = RunningWallet(wallet)
        self._running.learn(self._past(), "simulated")
        home.listen(self._running.live.take_telemetry)
        self._running.__enter__()

    def _wallet(self, ground: Ground) -> Wallet:
        """Enrol the household as any other: key made here, certificate from the CA."""
        profile, home = ground.profile, HOME + ground.suffix
        secret = self._registered(profile, [(HOME_ORGANISATION, home)])[home]
        directory = self._path("wallet")
        keys = FileStore(directory / "keys", PASSPHRASE)
        endpoint = profile.organization(HOME_ORGANISATION).ca
        assert endpoint is not None
        ca = CaClient(endpoint.url, endpoint.name, endpoint.tls_root_pem)
        public = enrol(directory, keys, ca, HOME_ORGANISATION, home, secret)
        ca.close()
        spec = homes()["family"]
        self.settings = self.settings.changed(
            agent="do",
            annual_load_wh=round(spec.annual_load_kwh * 1000),
            pv_peak_w=round(spec.pv_kwp * 1000),
            battery_capacity_wh=round(spec.battery_kwh * 1000),
            battery_charge_w=round(spec.battery_kw * 1000),
            battery_discharge_w=round(spec.battery_kw * 1000),
            capacity_w=12_000,
        )
        self.settings.save(directory)
        return Wallet(
            directory=directory,
            profile=profile,
            identity=public.unlock(keys),
            participant=public.participant,
            settings=self.settings,
            timetable=self._timetable,
            clock=self.clock,
            node=None,  # type: ignore[arg-type]
            demo=True,
        )

    def _home(self) -> Child:
        return self._child(
            "home", "prosumer-wallet", "meter", "simulate", "--protocol", "dlt645",
            "--address", _ADDRESS, "--home", "family", "--seed", str(self.options.seed),
            "--market-time", json.dumps(self.market_time.to_json()),
        )  # fmt: skip

    def _past(self) -> list[SlotEnergy]:
        """Return what the home's meter would have shown on the days before: simulated history."""
        spec = homes()["family"]
        house = Household(self.options.seed, spec.annual_load_kwh, spec.pv_kwp)
        slots = range(-_PAST_DAYS * 24, 0)
        found = []
        for index in slots:
            slot = Slot(self.first_slot.start + index * SLOT_S, SLOT_S)
            net = round(house.net_wh(slot.starts_at, slot.ends_at))
            found.append(SlotEnergy(slot.starts_at, SLOT_S, net))
        return found

    def _register(self, ground: Ground) -> Path:
        """Register the neighbours at their organisations' CAs; return the members file."""
        chance = random.Random(self.options.seed)
        organizations = ground.profile.organizations
        names = [
            (
                organizations[i % len(organizations)].msp_id,
                f"neighbour-{i + 1:02}{ground.suffix}",
            )
            for i in range(self.options.neighbours)
        ]
        secrets = self._registered(ground.profile, names)
        members: list[dict[str, Any]] = []
        for index, (msp_id, name) in enumerate(names):
            roof = chance.random() < _ROOFS
            unit = chance.random() < _GENERATORS
            members.append(
                {
                    "msp_id": msp_id,
                    "id": name,
                    "secret": secrets[name],
                    "seed": self.options.seed * 1000 + index + 1,
                    "annual_load_kwh": chance.randrange(2000, 8000, 100),
                    "pv_wp": chance.randrange(2000, 6000, 500) if roof else 0,
                    "generator_w": chance.randrange(1000, 3500, 500) if unit else 0,
                    "battery_wh": chance.choice((5000, 10_000, 15_000, 20_000)),
                    "soc_permille": chance.randrange(150, 900),
                }
            )
        path = self._path("members.json")
        path.write_text(json.dumps(members))
        return path

    def _registered(self, profile: NetworkProfile, names: list[tuple[str, str]]) -> dict[str, str]:
        """Register ``names`` (MSP id, enrolment id) as trading households; return their secrets."""
        attributes = (
            Attribute("market.user_type", "household"),
            Attribute("market.permissions", "trade"),
            Attribute("market.credit", "A"),
        )
        secrets = {}
        for registrar in profile.registrars:
            wanted = [name for msp_id, name in names if msp_id == registrar.msp_id]
            if not wanted:
                continue
            endpoint = profile.organization(registrar.msp_id).ca
            assert endpoint is not None
            ca = CaClient(endpoint.url, endpoint.name, endpoint.tls_root_pem)
            identity = _enrol_registrar(ca, registrar)
            for name in wanted:
                secrets[name] = ca.register(identity, name, attributes=attributes)
            ca.close()
        missing = [name for _, name in names if name not in secrets]
        if missing:
            raise ChildFailed(
                tr("the network's profile names no registrar for {name}", name=missing[0])
            )
        return secrets

    def _child(self, name: str, *command: str) -> Child:
        log = self._path("logs") / f"{name.replace(' ', '-')}.log"
        process = Child(name, *command, log=log)
        self._children.append(process)
        return process

    def _path(self, name: str) -> Path:
        return self.directory / name


def _enrol_registrar(ca: CaClient, registrar: Registrar) -> SigningIdentity:
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    certificate = ca.enroll(registrar.id, registrar.secret, certificate_request(key, registrar.id))
    return SigningIdentity(registrar.msp_id, certificate, KeySigner(key))
