"""Thirty households next door, simulated in one process: they quote, answer, deliver.

Each has a key and certificate of its own, a load and a roof from the same curves as the demo's
home, most a battery, and the same strategy code as the wallet. They are labelled as simulated in
every reading they sign.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
import queue
import random
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from light_node import jsonio
from light_node.clock import Clock, MarketTime, SystemClock
from light_node.contract.slots import SlotRecord
from light_node.fabric import endorsement
from light_node.fabric.ca import CaClient
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.crypto import KeySigner
from light_node.fabric.errors import ContractRefused, FabricError
from light_node.fabric.gateway import Gateway
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.peers import Heights, Peers, PeerWatch
from light_node.fabric.profile import NetworkProfile
from light_node.i18n import Text
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.slots import Slot
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.demo import parent
from wallet_app.keys.identity import certificate_request
from wallet_app.meter.simulator.household import Household
from wallet_app.settings import Settings
from wallet_app.strategy.battery import Battery, BatteryState, split_after_clearing
from wallet_app.strategy.game import best_response
from wallet_app.strategy.reservation import LinearModel, clip
from wallet_app.trading.live import MeteredEnergy
from wallet_app.trading.market import Standing, standing_from
from wallet_app.trading.messages import admission_message, quote_message, reading_message
from wallet_app.trading.planner import MIN_TRADE_WH
from wallet_app.trading.setup import wallet_address

_log = logging.getLogger(__name__)
_THREADS = 40
_FORECAST_ERROR = 0.015  # standard deviation of what a neighbour expects against what comes


@dataclass(frozen=True, slots=True)
class Member:
    """One neighbour as the demo invites it; ``generator_w`` is a small heat-and-power unit."""

    msp_id: str
    id: str
    secret: str
    seed: int
    annual_load_kwh: int
    pv_wp: int
    generator_w: int
    battery_wh: int
    soc_permille: int

    @classmethod
    def from_json(cls, value: Any) -> "Member":
        """Read one entry of the members file; ``JsonError`` if it is not that."""
        fields = jsonio.mapping(value, Text("a member"))
        return cls(
            msp_id=jsonio.string(fields, "msp_id"),
            id=jsonio.string(fields, "id"),
            secret=jsonio.string(fields, "secret"),
            seed=jsonio.integer(fields, "seed", low=0),
            annual_load_kwh=jsonio.integer(fields, "annual_load_kwh", low=0),
            pv_wp=jsonio.integer(fields, "pv_wp", low=0),
            generator_w=jsonio.integer(fields, "generator_w", low=0),
            battery_wh=jsonio.integer(fields, "battery_wh", low=0),
            soc_permille=jsonio.integer(fields, "soc_permille", low=0, high=1000),
        )


@dataclass(slots=True)
class Plan:
    """What a neighbour does in one slot."""

    quote: Quote
    reservation: PriceTick
    matched: EnergyWh = EnergyWh(0)


@dataclass(slots=True)
class Neighbour:
    """One household: identity, curves, battery, registers. Used by one task at a time."""

    member: Member
    identity: SigningIdentity
    gateway: Gateway
    household: Household
    battery: Battery
    state: BatteryState
    random: random.Random
    address: str
    plans: dict[str, Plan] = field(default_factory=dict)
    register_import: int = 0
    register_export: int = 0

    @property
    def participant(self) -> str:
        """The id in the market."""
        return f"{self.member.id}@{self.member.msp_id}"

    def plan(self, slot: Slot, bounds: PriceBounds) -> Plan | None:
        """Return the first quote for a slot: the reservation price for what is expected."""
        net = self._net_wh(slot)
        expected = round(net * (1 + self.random.gauss(0, _FORECAST_ERROR)))
        if abs(expected) < MIN_TRADE_WH:
            return None
        side = Side.SELL if expected < 0 else Side.BUY
        price = clip(LinearModel().price(side, self.battery, self.state), bounds)
        quote = Quote(self.participant, side, EnergyWh(abs(expected)), price)
        return Plan(quote, price)

    def meter(self, slot: Slot) -> MeteredEnergy:
        """Deliver a slot: house, roof and battery run, the registers go on."""
        net = round(self._net_wh(slot))
        plan = self.plans.pop(slot.id, None)
        matched = plan.matched if plan else EnergyWh(0)
        split = split_after_clearing(net, matched, self.battery, self.state, slot.length_s)
        self.state = split.after
        grid = net + (split.battery_wh if net < 0 else -split.battery_wh)
        imported, exported = max(grid, 0), max(-grid, 0)
        self.register_import += imported
        self.register_export += exported
        return MeteredEnergy(
            imported,
            exported,
            self.register_import,
            self.register_export,
            f"sim-{self.member.seed}",
            "simulated",
            complete=True,
        )

    def _net_wh(self, slot: Slot) -> float:
        made = self.member.generator_w * slot.length_s / 3600
        return self.household.net_wh(slot.starts_at, slot.ends_at) - made


class Neighbourhood:
    """All neighbours, following the market's events."""

    def __init__(self, profile: NetworkProfile, members: Sequence[Member], clock: Clock) -> None:
        """Enrol the members; ``CaError`` passes."""
        self._clock = clock
        self._chaincode = profile.chaincode
        self._market_time = profile.market_time
        self._peers = {
            o.msp_id: Peers.of_profile(profile, o.msp_id, monotonic=clock.monotonic)
            for o in profile.organizations
        }
        self._watches: dict[str, PeerWatch] = {}
        policy_config = ChannelConfig.from_block(profile.trust_root.config_block)
        policy = endorsement.by_reference(policy_config)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="neighbour")
        self._timers: list[threading.Timer] = []
        self.failures = 0
        cas = {
            o.msp_id: CaClient(o.ca.url, o.ca.name, o.ca.tls_root_pem)
            for o in profile.organizations
            if o.ca is not None
        }
        self.neighbours: list[Neighbour] = []
        for member in members:
            identity = _enrol(cas[member.msp_id], member)
            peers = self._peers[member.msp_id]
            gateway = Gateway(
                peers, identity, profile.channel, clock, policy=policy, config=policy_config
            )
            if member.msp_id not in self._watches:  # one neighbour asks for all of its organisation
                heights = Heights(identity, profile.channel, clock)
                watch = PeerWatch(peers, heights, monotonic=clock.monotonic)
                self._watches[member.msp_id] = watch
                watch.start()
            self.neighbours.append(_settle_in(member, identity, gateway))
        for ca in cas.values():
            ca.close()

    def enter(self) -> None:
        """Have everybody admitted; the first failure passes."""
        settings = Settings()
        calls = [
            self._pool.submit(
                n.gateway.submit_transaction,
                self._chaincode,
                "Admit",
                admission_message(settings.changed(pv_peak_w=n.member.pv_wp), n.address),
                retries=3,
            )
            for n in self.neighbours
        ]
        for call in calls:
            call.result()

    def run(self, market_time: MarketTime) -> None:
        """Follow the market until closed."""
        self._market_time = market_time
        for block in self.neighbours[0].gateway.events(self._chaincode):
            for event in block.events:
                payload = jsonio.mapping(jsonio.strict_loads(event.payload), Text("an event"))
                if event.name == "SlotOpened":
                    self._opened(SlotRecord.from_json(payload))
                elif event.name == "StandingPublished":
                    self._standing(payload)
                elif event.name == "SlotCleared":
                    self._cleared(payload)

    def close(self) -> None:
        """Stop following and answering."""
        for timer in self._timers:
            timer.cancel()
        for neighbour in self.neighbours:
            neighbour.gateway.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for watch in self._watches.values():
            watch.stop()
        for peers in self._peers.values():
            peers.close()

    def _opened(self, record: SlotRecord) -> None:
        for neighbour in self.neighbours:
            plan = neighbour.plan(record.interval, record.bounds)
            if plan is not None:
                neighbour.plans[record.slot] = plan
                self._quote(neighbour, record.slot, 1, plan.quote)
        self._at(record.interval.ends_at, lambda: self._deliver(record.interval))

    def _standing(self, payload: dict[str, Any]) -> None:
        if payload.get("phase") != "quoting":
            return
        slot_id = jsonio.string(payload, "slot")
        number = jsonio.integer(payload, "round")
        gateway = self.neighbours[0].gateway
        record = SlotRecord.from_json(
            jsonio.strict_loads(gateway.evaluate(self._chaincode, "GetSlot", slot_id))
        )
        raw = gateway.evaluate(self._chaincode, "GetStanding", slot_id, str(number))
        standing = standing_from(jsonio.strict_loads(raw))
        for neighbour in self.neighbours:
            plan = neighbour.plans.get(slot_id)
            if plan is not None and standing.quote_of(neighbour.participant) is not None:
                self._answer(neighbour, plan, record, standing)

    def _answer(
        self, neighbour: Neighbour, plan: Plan, record: SlotRecord, standing: Standing
    ) -> None:
        best = best_response(
            standing.book,
            neighbour.participant,
            plan.reservation,
            record.bounds,
            standing.standing,
        )
        if best.gain > 0:
            plan.quote = dataclasses.replace(plan.quote, price=best.price)
            self._quote(neighbour, record.slot, standing.round + 1, plan.quote)

    def _cleared(self, payload: dict[str, Any]) -> None:
        slot_id = jsonio.string(payload, "slot")
        dispatch = jsonio.mapping(payload.get("dispatch"), "dispatch")
        fills = {
            **jsonio.mapping(dispatch.get("feed_in"), "feed_in"),
            **jsonio.mapping(dispatch.get("draw"), "draw"),
        }
        for neighbour in self.neighbours:
            plan = neighbour.plans.get(slot_id)
            if plan is not None and neighbour.participant in fills:
                plan.matched = EnergyWh(jsonio.integer(fills, neighbour.participant, low=0))

    def _deliver(self, slot: Slot) -> None:
        for neighbour in self.neighbours:
            energy = neighbour.meter(slot)
            meter = hashlib.sha256(energy.meter_id.encode()).hexdigest()[:32]
            signer = neighbour.identity.signer
            message = reading_message(signer, slot.id, neighbour.participant, energy, meter)
            self._send(neighbour, "SubmitReading", message)

    def _quote(self, neighbour: Neighbour, slot_id: str, number: int, quote: Quote) -> None:
        signer = neighbour.identity.signer
        message = quote_message(signer, slot_id, number, neighbour.address, quote)
        self._send(neighbour, "SubmitQuote", message)

    def _send(self, neighbour: Neighbour, function: str, message: str) -> None:
        call = self._pool.submit(
            neighbour.gateway.submit_transaction, self._chaincode, function, message, retries=2
        )
        call.add_done_callback(lambda done: self._sent(neighbour, function, done))

    def _sent(self, neighbour: Neighbour, function: str, done: "Future[Any]") -> None:
        if done.cancelled():
            return
        error = done.exception()
        if isinstance(error, ContractRefused | FabricError):
            self.failures += 1
            _log.warning("%s: %s: %s", neighbour.participant, function, error)
        elif error is not None:
            self.failures += 1
            _log.error("%s: %s", neighbour.participant, function, exc_info=error)

    def _at(self, market: datetime, work: Any) -> None:
        delay = (self._market_time.to_wall(market) - self._clock.now()).total_seconds()
        timer = threading.Timer(max(delay, 0.0), work)
        timer.daemon = True
        self._timers = [t for t in self._timers if t.is_alive()] + [timer]
        timer.start()


def _enrol(ca: CaClient, member: Member) -> SigningIdentity:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = ca.enroll(member.id, member.secret, certificate_request(key, member.id))
    return SigningIdentity(member.msp_id, certificate, KeySigner(key))


def _settle_in(member: Member, identity: SigningIdentity, gateway: Gateway) -> Neighbour:
    household = Household(member.seed, float(member.annual_load_kwh), member.pv_wp / 1000)
    battery = Battery(
        EnergyWh(member.battery_wh),
        max_charge_w=5000,
        max_discharge_w=5000,
        round_trip_efficiency_permille=920,
    )
    stored = EnergyWh(member.battery_wh * member.soc_permille // 1000)
    start = 1_000_000 + member.seed * 7919
    return Neighbour(
        member,
        identity,
        gateway,
        household,
        battery,
        BatteryState(stored),
        random.Random(member.seed),
        wallet_address(identity),
        register_import=start,
        register_export=start // 2,
    )


def main(argv: Sequence[str]) -> int:
    """Run the neighbours: ``--profile FILE --members FILE``; the market time comes on stdin."""
    parser = argparse.ArgumentParser(prog="neighbours")
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--members", type=Path, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    profile = NetworkProfile.load(arguments.profile)
    raw = jsonio.strict_loads(arguments.members.read_bytes())
    members = [Member.from_json(item) for item in raw]
    neighbourhood = Neighbourhood(profile, members, SystemClock())
    try:
        neighbourhood.enter()
        sys.stdout.write(
            json.dumps({"ready": len(members), "at": datetime.now(UTC).isoformat()}) + "\n"
        )
        sys.stdout.flush()
        line = parent.lines().get()
        if line is not None:
            neighbourhood.run(MarketTime.from_json(jsonio.strict_loads(line)))
    except (queue.Empty, KeyboardInterrupt):
        return 130
    finally:
        neighbourhood.close()
    return 0
