"""What the screens show: immutable values made by the trading session, read by window and terminal.

Nothing here knows Qt. A figure that no verified block backs yet says so with its ``Proof``.
All energies in Wh, prices in ticks (0.0001 currency/kWh), money in Wh·tick (1e-7 currency),
powers in W; positive power is taken from the grid, negative is fed in. Times are aware UTC market
times. None means "not known", never zero.
"""

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import StrEnum

from light_node.i18n import NOTHING, Text
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick


class Proof(StrEnum):
    """How far a figure has been verified by the user's own light node."""

    NONE = "none"  # one peer's word
    VERIFIED = "verified"  # in a block whose signatures this node checked
    AGREED = "agreed"  # and two organisations' peers agree on it
    AUDITED = "audited"  # and the clearing or settlement was replayed with the same result
    DISPUTED = "disputed"  # organisations disagree, or the replay differs


class Phase(StrEnum):
    """Where a slot stands, in the contract's own words."""

    QUOTING = "quoting"
    CLOSED = "closed"  # the round is closed, its standing not yet published
    FINAL = "final"  # the last standing is published
    CLEARED = "cleared"  # orders are made, delivery has not begun or readings are awaited
    DELIVERING = "delivering"  # cleared, and the slot is now
    SETTLING = "settling"
    SETTLED = "settled"


class AgentMode(StrEnum):
    """Show the suggestion, ask before submitting it, or do it within the limits."""

    SHOW = "show"
    ASK = "ask"
    DO = "do"


@dataclass(frozen=True, slots=True)
class LiveView:
    """Power flows right now, and how old the figures are."""

    grid_power_w: int | None = None
    roof_power_w: int | None = None
    house_power_w: int | None = None
    battery_power_w: int | None = None  # positive charges
    battery_wh: int | None = None
    battery_capacity_wh: int | None = None
    today_import_wh: int | None = None
    today_export_wh: int | None = None
    today_roof_wh: int | None = None
    meter_id: str = ""
    meter_port: str = ""
    meter_state: str = ""  # one line: "reading", "no answer since 10:02 …"
    meter_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class SuggestionView:
    """The suggested quote for a slot, why, and what it is worth against the alternatives."""

    slot: str
    side: str  # "buy", "sell" or "" when there is nothing to trade
    energy_wh: EnergyWh
    price: PriceTick
    honest_price: PriceTick
    expected_money: MoneyWhTick
    honest_money: MoneyWhTick
    grid_only_money: MoneyWhTick
    regret_money: MoneyWhTick | None  # the most this household could still gain; 0 is a certificate
    estimated: bool  # no standing exists yet: opponents are estimated
    reason: str  # one sentence
    unsold: str  # what happens to energy that finds no partner
    chance_permille: int | None = None  # of an estimate: the chance to trade anything
    low_money: MoneyWhTick | None = None  # one time in ten it is expected to bring less
    high_money: MoneyWhTick | None = None  # one time in ten more
    record: str = ""  # how past estimates did, in one sentence
    explanation: tuple[str, ...] = ()  # all of it, a sentence a line


@dataclass(frozen=True, slots=True)
class StandingView:
    """The public standing of a slot after a round, with the user's own place in it."""

    slot: str
    round: int
    market: str  # "buyer", "seller" or "balanced"
    price: PriceTick | None
    volume_wh: EnergyWh
    asks: tuple[tuple[PriceTick, EnergyWh, bool], ...] = ()  # price, energy, own? ascending
    bids: tuple[tuple[PriceTick, EnergyWh, bool], ...] = ()  # descending
    own_fill_wh: EnergyWh = EnergyWh(0)
    proof: Proof = Proof.NONE


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot: planned, quoted, matched, delivered and what it brought."""

    slot: str
    start: datetime
    length_s: int
    floor: PriceTick
    cap: PriceTick
    phase: Phase
    round: int = 0
    rounds: int = 0
    round_closes: datetime | None = None
    gate_closes: datetime | None = None
    planned_wh: int | None = None  # forecast net energy, positive = to buy
    side: str = ""
    quoted_wh: EnergyWh = EnergyWh(0)
    quoted_price: PriceTick | None = None
    quote_state: str = ""  # "waiting", "sent", "committed", "refused: …"
    matched_wh: EnergyWh = EnergyWh(0)
    price: PriceTick | None = None
    delivered_wh: int | None = None
    market_money: MoneyWhTick | None = None  # earned (+) or spent (−) on the market
    grid_money: MoneyWhTick | None = None  # the rest, at the grid tariffs
    penalty_money: MoneyWhTick | None = None
    grid_only_money: MoneyWhTick | None = None  # the same energy without the market
    proof: Proof = Proof.NONE
    transaction: str = ""  # id of the settlement transaction


@dataclass(frozen=True, slots=True)
class PeerView:
    """One peer or orderer as the light node sees it."""

    organisation: str
    address: str
    state: str  # "connected", "connecting", "unreachable", "disagrees", "shut out"
    height: int | None = None
    agrees: bool | None = None  # None: not known yet
    last_seen: datetime | None = None
    error: Text = NOTHING  # ours, with what to do
    in_use: bool = False  # the wallet asks and trades through it


@dataclass(frozen=True, slots=True)
class TrustView:
    """What is verified, who agrees, how far behind, and what is being waited for."""

    channel: str = ""
    trust_root: str = ""  # short fingerprint
    trust_root_expires: datetime | None = None
    trust_root_text: str = ""  # to hand on; "" where there is none
    height: int | None = None  # highest block any peer claims, +1
    verified_height: int | None = None
    agreed_height: int | None = None  # two organisations showed the same header
    share: float | None = None  # of the chain, 0 to 1, while catching up
    blocks_per_s: float | None = None
    seconds_left: float | None = None  # None while that cannot be told
    peers: tuple[PeerView, ...] = ()
    waiting_for: Text = NOTHING
    problem: Text = NOTHING  # what keeps it from going on, in place of what it waits for
    blocks_verified: int = 0
    signatures_verified: int = 0


@dataclass(frozen=True, slots=True)
class MoneyView:
    """Sums over the shown range."""

    market_money: MoneyWhTick = MoneyWhTick(0)
    grid_money: MoneyWhTick = MoneyWhTick(0)
    penalty_money: MoneyWhTick = MoneyWhTick(0)
    grid_only_money: MoneyWhTick = MoneyWhTick(0)
    sold_wh: EnergyWh = EnergyWh(0)
    bought_wh: EnergyWh = EnergyWh(0)
    balance: MoneyWhTick | None = None
    proof: Proof = Proof.NONE

    @property
    def saved(self) -> MoneyWhTick:
        """What trading brought compared with the grid alone."""
        total = self.market_money + self.grid_money + self.penalty_money
        return MoneyWhTick(total - self.grid_only_money)


@dataclass(frozen=True, slots=True)
class EventView:
    """One line of the activity list."""

    at: datetime
    kind: str  # "info", "good", "warning", "error"
    text: str  # ours
    foreign: str = ""  # what a peer or meter said, shown on demand and labelled as foreign


@dataclass(frozen=True, slots=True)
class WalletView:
    """Everything the screens show, at one instant."""

    market_now: datetime
    participant: str = ""
    organisation: str = ""
    network: str = ""
    currency: str = "CNY"
    zone: tzinfo | None = None  # the household's time zone; None is the machine's
    agent: AgentMode = AgentMode.SHOW
    agent_reason: str = ""
    live: LiveView = field(default_factory=LiveView)
    delivering: SlotView | None = None  # the slot under way
    quoting: SlotView | None = None  # the slot open for quotes
    suggestion: SuggestionView | None = None
    standing: StandingView | None = None
    trust: TrustView = field(default_factory=TrustView)
    money: MoneyView = field(default_factory=MoneyView)
    slots: tuple[SlotView, ...] = ()  # the shown range, ascending by start
    power_series: tuple[tuple[float, int], ...] = ()  # (POSIX market time, grid W), ascending
    events: tuple[EventView, ...] = ()  # newest last
    demo: bool = False  # simulated meter or accelerated time: always labelled


class Change(StrEnum):
    """Which part of the view a change touches; screens refresh only what changed."""

    LIVE = "live"
    SLOT = "slot"
    STANDING = "standing"
    SUGGESTION = "suggestion"
    TRUST = "trust"
    HISTORY = "history"
    EVENT = "event"
