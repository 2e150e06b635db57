"""Opens a wallet: its directory, keys, settings and network become a trading session."""

import contextlib
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from light_node.clock import Clock
from light_node.fabric.errors import FabricError
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.peers import Move
from light_node.fabric.profile import NetworkProfile
from light_node.market.slots import Slot
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from light_node.mtc.timetable import Timetable
from wallet_app.database import DatabaseError
from wallet_app.failures import explain, foreign
from wallet_app.i18n import tr
from wallet_app.meter.desk import MeterDesk
from wallet_app.meter.plausibility import Limits as MeterLimits
from wallet_app.meter.recording import ReadingStore
from wallet_app.meter.simulator.household import Household
from wallet_app.settings import Settings, parse_hours
from wallet_app.strategy.forecast import SlotEnergy
from wallet_app.strategy.limits import Limits
from wallet_app.trading.course import Tools
from wallet_app.trading.history import PARTICIPANT, History
from wallet_app.trading.lane import Lane, Timetabler
from wallet_app.trading.ledger import Ledger
from wallet_app.trading.lines import Meter, MeterLines
from wallet_app.trading.live import LiveFeed
from wallet_app.trading.market import MarketReader
from wallet_app.trading.messages import admission_message
from wallet_app.trading.network import GatewayLedger
from wallet_app.trading.outbox import Outbox
from wallet_app.trading.planner import Planner
from wallet_app.trading.preferences import Preferences
from wallet_app.trading.proofs import Node
from wallet_app.trading.sender import Sender
from wallet_app.trading.session import TradingSession
from wallet_app.trading.state import About, TradingState
from wallet_app.trading.telemetry import Inverter
from wallet_app.trading.view import AgentMode, Change

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wallet:
    """Everything a session is made of. ``directory`` holds its files; it is made if missing.

    ``connect`` makes the ledger it works with, and has it tell of changes of the peer.
    """

    directory: Path
    profile: NetworkProfile
    identity: SigningIdentity
    participant: str
    settings: Settings
    timetable: Timetable
    clock: Clock
    node: Node
    meter: Meter | None = None
    inverter: Inverter | None = None
    demo: bool = False
    connect: Callable[[NetworkProfile, SigningIdentity, Clock, Callable[[Move], None]], Ledger] = (
        GatewayLedger
    )


class RunningWallet:
    """A trading session with the meter that feeds it; a context manager."""

    def __init__(self, wallet: Wallet) -> None:
        """Open the wallet's files; errors of the stores pass, each with what to do."""
        wallet.directory.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            self._open(wallet, opened)
            self._files = opened.pop_all()

    def _open(self, wallet: Wallet, opened: contextlib.ExitStack) -> None:
        """Make all parts; what has to be closed is put on ``opened`` as soon as it is open."""
        self._readings = ReadingStore(wallet.directory / "readings.sqlite", wallet.identity.signer)
        opened.callback(self._readings.close)
        self._history = History(wallet.directory / "history.sqlite")
        opened.callback(self._history.close)
        self._history.set_fact(PARTICIPANT, wallet.participant)
        self._outbox = Outbox(wallet.directory / "outbox.sqlite")
        opened.callback(self._outbox.close)
        settings, market_time = wallet.settings, wallet.profile.market_time
        about = About(
            wallet.participant,
            wallet.identity.msp_id,
            wallet.profile.name,
            settings.zone_info,
            settings["currency"],
            wallet.demo,
        )
        self._state = TradingState(
            about, self._history, market_time, wallet.clock, wallet.timetable
        )
        self._state.set_agent(AgentMode(settings["agent"]), "")
        self.live = self._live_feed(wallet)
        self.preferences = Preferences(wallet.directory, settings)
        self.preferences.on_change(self._settings_changed)
        self.meters = MeterDesk(
            wallet.clock,
            limits=MeterLimits(
                max_power_w=3 * settings["capacity_w"],
                rate=market_time.rate,
                zone=settings.zone_info,
            ),
        )
        opened.callback(self.meters.close)
        self._lines = MeterLines(self.meters, self.live, wallet.clock, self._state.say)
        ledger = wallet.connect(wallet.profile, wallet.identity, wallet.clock, self._moved)
        opened.callback(ledger.close)
        lane = Lane("trading", self._report)
        sender = Sender(
            self._outbox,
            ledger,
            wallet.clock,
            on_change=lambda entry: self.session.entry_changed(entry),
            guard=lambda entry: self.session.objection(entry),
            on_problem=self._report,
        )
        address = settings["wallet_address"] or wallet_address(wallet.identity)
        self._tools = Tools(
            state=self._state,
            history=self._history,
            planner=Planner(
                settings, wallet.participant, standard_prior(settings, self._state.market_now())
            ),
            outbox=self._outbox,
            live=self.live,
            timetabler=Timetabler(market_time, lane),
            timetable=wallet.timetable,
            market_time=market_time,
            clock=wallet.clock,
            signer=wallet.identity.signer,
            address=address,
            limits=limits_of(settings),
            inverter=wallet.inverter,
            read_meter_now=self._lines.request_now,
            wake_sender=sender.wake,
            reader=MarketReader(ledger),
            meters=self.meters,
            preferences=self.preferences,
        )
        admission = admission_message(settings, address)
        self.session = TradingSession(self._tools, ledger, wallet.node, lane, sender, admission)
        self._chosen = wallet.meter

    def __enter__(self) -> "RunningWallet":
        try:
            self.session.start()
            self._lines.read(self._chosen, self.preferences.settings)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop meter and session, close the files; does nothing the second time."""
        self.meters.close()
        self.session.stop()
        self._files.close()

    def learn(self, past: list[SlotEnergy], origin: str) -> None:
        """Put past energies into the history before the start; ``origin`` as in readings."""
        for energy in past:
            self._history.add_energy(energy, origin)

    def _live_feed(self, wallet: Wallet) -> LiveFeed:
        return LiveFeed(
            self._readings,
            wallet.profile.market_time,
            wallet.clock,
            day_start=lambda moment: self._state.day(moment)[0],
            max_power_w=3 * wallet.settings["capacity_w"],
            battery_capacity_wh=wallet.settings["battery_capacity_wh"],
            zone=wallet.settings.zone_info,
            on_change=lambda: self._state.changed(Change.LIVE),
            on_problem=lambda flags: self._state.say(
                "warning", tr("A meter reading was set aside: {flags}", flags=flags)
            ),
        )

    def _settings_changed(self, settings: Settings, changed: frozenset[str]) -> None:
        if "agent" in changed:
            self._state.set_agent(AgentMode(settings["agent"]), "")
        if any(name.startswith("meter_") for name in changed):
            self._lines.read(Meter.of(settings), settings)

    def _moved(self, move: Move) -> None:
        """Say which peer the wallet works through from now on."""
        self._state.changed(Change.TRUST)
        names = {"peer": move.left.name, "other": move.taken.name, "org": move.taken.msp_id}
        if move.preferred:
            text = tr("Your organisation's peer {other} serves again.", **names)
            self._state.say("good", text)
        elif move.ahead is not None:
            minutes = round(move.ahead.total_seconds() / 60)
            words = (
                "The clock of the peer {peer} is {number} minutes fast, its operator has to set "
                "it: going on through {other} of {org}."
                if minutes > 0
                else "The clock of the peer {peer} is {number} minutes slow, its operator has to "
                "set it: going on through {other} of {org}."
            )
            self._state.say("warning", tr(words, number=abs(minutes), **names))
        elif move.behind is None:
            text = tr(
                "The peer {peer} does not answer: going on through {other} of {org}.", **names
            )
            self._state.say("warning", text)
        else:
            text = tr(
                "The peer {peer} stands still, {number} blocks behind: going on through {other} "
                "of {org}.",
                number=move.behind,
                **names,
            )
            self._state.say("warning", text)

    def _report(self, error: Exception) -> None:
        """Say what went wrong on lane or sender, in our words where we have them."""
        if isinstance(error, FabricError):
            if self.session.stopping:
                return  # the connection was closed under it, by us
        elif not isinstance(error, DatabaseError):
            _log.error("an error that nobody expected", exc_info=error)
        self._state.say("error", explain(error), foreign(error))


def limits_of(settings: Settings) -> Limits:
    """Return the limits the user set."""
    return Limits(
        min_sell_price=PriceTick(settings["limit_min_sell_price"]),
        max_buy_price=PriceTick(settings["limit_max_buy_price"]),
        max_slot_wh=EnergyWh(settings["limit_energy_wh"]),
        max_day_sell_wh=EnergyWh(settings["limit_day_sell_wh"]),
        max_day_buy_wh=EnergyWh(settings["limit_day_buy_wh"]),
        max_day_loss=MoneyWhTick(settings["limit_daily_loss"]),
        reserve_wh=EnergyWh(settings["limit_reserve_wh"]),
        hours=parse_hours(settings["limit_hours"]),
        zone=settings.zone_info,
    )


def wallet_address(identity: SigningIdentity) -> str:
    """Return the address bound into quotes: the hash of the certificate's public key."""
    key = identity.certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return "pw" + hashlib.sha256(key).hexdigest()[:38]


def standard_prior(settings: Settings, now: datetime) -> Callable[[Slot], int]:
    """Return the expected net energy of a slot for a household with no history yet.

    The standard load curve for the yearly consumption and the clear-sky curve for the roof, both
    from ``resources/profiles``; the curves' hours are local time as at ``now``.
    """
    offset = now.astimezone(settings.zone_info).utcoffset()
    home = Household(
        0,
        settings["annual_load_wh"] / 1000,
        settings["pv_peak_w"] / 1000,
        utc_offset_h=offset.total_seconds() / 3600 if offset else 0.0,
    )
    return lambda slot: round(home.net_wh(slot.starts_at, slot.ends_at))
