"""A source with a plausible recorded day, to develop and test the window against.

``python -m tests.gui.fake_source DIR [--dark] [--size 1024x600]`` renders the pages;
``--window`` opens the real window over it.
"""

import argparse
import math
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from light_node.chain.root_text import RootText
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.files import data_directory
from wallet_app.meter import dlt645
from wallet_app.meter.desk import Connection, MeterDesk
from wallet_app.meter.dialogue import Options
from wallet_app.meter.events import Proof as FrameProof
from wallet_app.meter.events import Reading
from wallet_app.meter.plausibility import Verdict
from wallet_app.meter.ports import PortInfo
from wallet_app.meter.session import MeterStatus
from wallet_app.settings import Settings
from wallet_app.trading.preferences import Preferences
from wallet_app.trading.view import (
    AgentMode,
    Change,
    EventView,
    LiveView,
    MoneyView,
    PeerView,
    Phase,
    Proof,
    SlotView,
    StandingView,
    SuggestionView,
    TrustView,
    WalletView,
)

DAY = datetime(2026, 6, 21, tzinfo=UTC)
NOON = DAY + timedelta(hours=13)
PORTS = (
    PortInfo("/dev/ttyUSB0", "FT232R FTDI", "0403:6001:A50285BI", likely=True),
    PortInfo("/dev/ttyUSB7", "USB Serial WCH CH34x", "1a86:7523:at 1-2", likely=True),
)
ROOT_TEXT = RootText("market", 0, bytes(range(32)), DAY, DAY + timedelta(days=180)).encode()
FLOOR, CAP = PriceTick(3800), PriceTick(11080)


def roof_w(hour: float) -> int:
    """Clear-sky roof power in W at ``hour`` of the day."""
    return max(0, round(4600 * math.sin(math.pi * (hour - 4.6) / 15.2))) if 4.6 < hour < 19.8 else 0


def house_w(hour: float) -> int:
    """Household load in W."""
    base = (
        320
        + 420 * math.exp(-((hour - 7.4) ** 2) / 1.3)
        + 1500 * math.exp(-((hour - 19.2) ** 2) / 3)
    )
    return round(base + 700 * math.exp(-((hour - 12.4) ** 2) / 0.5) + 60 * math.sin(hour * 9))


def slot_at(hour: int, day: datetime = DAY, settled: bool = True) -> SlotView:
    """One recorded slot."""
    start = day + timedelta(hours=hour)
    net = house_w(hour + 0.5) - roof_w(hour + 0.5)
    side = "sell" if net < 0 else "buy"
    price = PriceTick(6500 + round(2400 * math.cos(math.pi * (hour - 20) / 12)))
    quoted = EnergyWh(abs(net) * 95 // 100)
    matched = EnergyWh(quoted if hour % 5 else quoted // 2)
    delivered = net + (35 if hour % 3 else -20)
    sign = 1 if side == "sell" else -1
    rest = abs(delivered) - matched
    tariff = FLOOR if side == "sell" else CAP
    slot = SlotView(
        slot=f"{start:%Y-%m-%dT%H:%MZ}/PT60M",
        start=start,
        length_s=3600,
        floor=FLOOR,
        cap=CAP,
        phase=Phase.SETTLED if settled else Phase.DELIVERING,
        round=3,
        rounds=3,
        round_closes=start - timedelta(minutes=20),
        gate_closes=start - timedelta(minutes=20),
        planned_wh=net,
        side=side,
        quoted_wh=quoted,
        quoted_price=PriceTick(price - 40 if side == "sell" else price + 60),
        quote_state="committed",
        matched_wh=matched,
        price=price,
        transaction="5f0c" * 16,
    )
    if not settled:
        return slot
    return replace(
        slot,
        delivered_wh=delivered,
        market_money=MoneyWhTick(sign * matched * price),
        grid_money=MoneyWhTick(sign * rest * tariff),
        penalty_money=MoneyWhTick(-1_200_000 if hour == 9 else 0),
        grid_only_money=MoneyWhTick(sign * abs(delivered) * tariff),
        proof=(Proof.AUDITED, Proof.AUDITED, Proof.AGREED, Proof.VERIFIED)[hour % 4],
    )


def standing(slot: str) -> StandingView:
    """A standing with the own ask among the last served."""
    asks = [
        (3800, 1800), (4100, 900), (4450, 1500), (4700, 700), (5200, 1250),
        (5600, 2100), (6100, 1100), (6400, 1900), (7100, 800), (8300, 1300),
    ]  # fmt: skip
    bids = [
        (11080, 1400), (10400, 1100), (9600, 1600), (8800, 900), (7900, 1500),
        (6900, 1250), (6300, 900), (5400, 1400), (4200, 700),
    ]  # fmt: skip
    return StandingView(
        slot=slot,
        round=2,
        market="buyer",
        price=PriceTick(6100),
        volume_wh=EnergyWh(8250),
        asks=tuple((PriceTick(p), EnergyWh(e), p == 5600) for p, e in asks),
        bids=tuple((PriceTick(p), EnergyWh(e), False) for p, e in bids),
        own_fill_wh=EnergyWh(2100),
        proof=Proof.VERIFIED,
    )


def full_view(hour: float = 13.3) -> WalletView:
    """Everything there is, at ``hour`` of the recorded day."""
    now = DAY + timedelta(hours=hour)
    current = int(hour)
    slots = (*(slot_at(h) for h in range(current)), slot_at(current, settled=False))
    quoting = replace(
        slot_at(current + 1, settled=False),
        phase=Phase.QUOTING,
        round=2,
        round_closes=DAY + timedelta(hours=current, minutes=26.4),
        gate_closes=DAY + timedelta(hours=current, minutes=39.6),
        matched_wh=EnergyWh(0),
        price=None,
    )
    roof, house = roof_w(hour), house_w(hour)
    battery = 900
    settled = slots[:-1]
    money = MoneyView(
        market_money=MoneyWhTick(sum(s.market_money or 0 for s in settled)),
        grid_money=MoneyWhTick(sum(s.grid_money or 0 for s in settled)),
        penalty_money=MoneyWhTick(sum(s.penalty_money or 0 for s in settled)),
        grid_only_money=MoneyWhTick(sum(s.grid_only_money or 0 for s in settled)),
        sold_wh=EnergyWh(sum(s.matched_wh for s in settled if s.side == "sell")),
        bought_wh=EnergyWh(sum(s.matched_wh for s in settled if s.side == "buy")),
        proof=Proof.AGREED,
    )
    series = []
    for minute in range(0, round(hour * 60), 5):
        h = minute / 60
        series.append(((DAY + timedelta(minutes=minute)).timestamp(), house_w(h) - roof_w(h)))
    return WalletView(
        market_now=now,
        participant="hh-007@Org1MSP",
        organisation="Org1MSP",
        network="devnet",
        currency="CNY",
        agent=AgentMode.ASK,
        agent_reason="Waiting for you: the quote is ready until the round closes.",
        live=LiveView(
            grid_power_w=house + battery - roof,
            roof_power_w=roof,
            house_power_w=house,
            battery_power_w=battery,
            battery_wh=6400,
            battery_capacity_wh=10000,
            today_import_wh=3210,
            today_export_wh=11480,
            today_roof_wh=21730,
            meter_id="000012345678",
            meter_port="/dev/pts/4",
            meter_state="reading",
            meter_age_s=1.0,
        ),
        delivering=slots[-1],
        quoting=quoting,
        suggestion=SuggestionView(
            slot=quoting.slot,
            side="sell",
            energy_wh=EnergyWh(2100),
            price=PriceTick(5600),
            honest_price=PriceTick(4620),
            expected_money=MoneyWhTick(12_810_000),
            honest_money=MoneyWhTick(12_390_000),
            grid_only_money=MoneyWhTick(7_980_000),
            regret_money=MoneyWhTick(0),
            estimated=False,
            reason="Sunshine leaves 2.10 kWh over; at 0.5600 you stay among the sellers served and"
            " the price is set by the next one, 0.6100.",
            unsold="What finds no buyer charges the battery first (3.6 kWh of room), the rest earns"
            " the feed-in tariff.",
        ),
        standing=standing(quoting.slot),
        trust=TrustView(
            channel="market",
            trust_root="9f2c4e1ab07733d1c05e8a44f6b1d290",
            trust_root_expires=now + timedelta(days=180),
            trust_root_text=ROOT_TEXT,
            height=1243,
            verified_height=1243,
            agreed_height=1242,
            peers=(
                PeerView("Org1MSP", "peer0.org1.example.com:7051", "connected", 1243, True, now),
                PeerView("Org2MSP", "peer0.org2.example.com:9051", "connected", 1242, True, now),
                PeerView(
                    "Org3MSP",
                    "peer0.org3.example.com:11051",
                    "unreachable",
                    1198,
                    None,
                    now - timedelta(minutes=7),
                    "No answer since 13:11. Check the network or wait: two other organisations"
                    " suffice.",
                ),
            ),
            blocks_verified=1243,
            signatures_verified=3729,
        ),
        money=money,
        slots=slots,
        power_series=tuple(series),
        events=(
            EventView(now - timedelta(minutes=78), "info", "Slot 13:00–14:00 opened for quotes"),
            EventView(
                now - timedelta(minutes=70), "good", "Quote for 13:00–14:00 is in the ledger"
            ),
            EventView(now - timedelta(minutes=38), "good", "Slot 13:00–14:00 cleared at 0.4912"),
            EventView(
                now - timedelta(minutes=7),
                "warning",
                "Org3's peer does not answer; the others do",
                "rpc error: <b>connection refused</b>",
            ),
            EventView(now - timedelta(minutes=1), "info", "Suggestion for 14:00–15:00 is ready"),
        ),
        demo=True,
    )


def long_history(count: int) -> tuple[SlotView, ...]:
    """``count`` hourly slots that end with the recorded day, ascending."""
    first = DAY - timedelta(hours=count)
    day = [slot_at(hour) for hour in range(24)]
    return tuple(
        replace(day[i % 24], start=first + timedelta(hours=i), slot=f"slot-{i}")
        for i in range(count)
    )


def fake_desk() -> MeterDesk:
    """A desk with three recorded meters: the wallet's own and two of a small business."""
    desk = MeterDesk(StillClock(), port_list=lambda: list(PORTS))
    own = Connection("/dev/ttyUSB0", "dlt645", Options(address="202611200001"))
    line = desk.add_own(own, lambda _: Verdict(True), lambda _: None)
    line.adapter = "FT232R FTDI 0403:6001:A50285BI"
    line.tap(True, dlt645.read_request("202611200001", dlt645.IMPORT_TOTAL))
    reply = dlt645.encode("202611200001", 0x91, bytes.fromhex("0000010056341200"))
    line.tap(False, b"\xfe\xfe\xfe\xfe" + reply)
    line.take_status(
        MeterStatus(
            "reading", "/dev/ttyUSB0", "reading meter 202611200001 on /dev/ttyUSB0",
            12_480, 9, NOON, "2400 8E1", 2_081, 1, 1,
        )
    )  # fmt: skip
    line.take_reading(
        fake_reading(
            "202611200001", import_kwh="1234.56", export_kwh="4459.5", power_w="-1240.5",
            power_l1_w="-1240.5", voltage_l1_v="231.4", current_l1_a="-5.361", frequency_hz="50.01",
            import_t1_kwh="934.5", import_t2_kwh="300.06",
        )
    )  # fmt: skip
    for number, power, state in (("7", "3310", "reading"), ("8", "12840.2", "silent")):
        options = Options(address=number, profile="sdm630")
        other = desk._add(Connection(f"/dev/ttyUSB{number}", "modbus_rtu", options))
        status = MeterStatus(state, f"/dev/ttyUSB{number}", "no answer since 12:58:03 UTC", 800, 31)
        other.take_status(replace(status, text="" if state == "reading" else status.text))
        other.take_reading(fake_reading(f"sdm630-unit-{number}", power_w=power, import_kwh="88.25"))
    return desk


def fake_reading(meter_id: str, **values: str) -> Reading:
    """A reading two seconds before noon, with a meter clock 17 s ahead."""
    at = NOON - timedelta(seconds=2)
    return Reading(
        at, 100.0, meter_id, "dlt645", {k: Decimal(v) for k, v in values.items()}, FrameProof.BCC,
        b"", meter_clock=(at + timedelta(seconds=17)).isoformat(),
    )  # fmt: skip


class StillClock:
    """Noon of the recorded day, for ever."""

    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return 100.0


class FakeSource:
    """Implements :class:`wallet_app.gui.source.WalletSource` over values in memory."""

    def __init__(self, view: WalletView | None = None, directory: Path | None = None) -> None:
        self.current = view or full_view()
        self.meters = fake_desk() if view is None else MeterDesk(StillClock(), port_list=list)
        self.directory = directory or data_directory() / "fake"
        self.preferences = Preferences(self.directory, Settings())
        self.past: tuple[SlotView, ...] = long_history(24 * 40) + tuple(
            s for s in self.current.slots
        )
        self.calls: list[tuple[object, ...]] = []
        self.error: Exception | None = None
        self._callbacks: list[Callable[[frozenset[Change]], None]] = []
        self._lock = threading.Lock()

    def view(self) -> WalletView:
        return self.current

    def subscribe(self, callback: Callable[[frozenset[Change]], None]) -> Callable[[], None]:
        with self._lock:
            self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    @property
    def subscribers(self) -> int:
        return len(self._callbacks)

    def publish(self, view: WalletView, *changes: Change) -> None:
        """Make ``view`` current and tell the subscribers, from the calling thread."""
        self.current = view
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback(frozenset(changes or Change))

    def set_agent(self, mode: AgentMode) -> None:
        self._called("set_agent", mode)
        self.publish(replace(self.current, agent=mode), Change.SUGGESTION)

    def submit_quote(self, slot: str, energy_wh: EnergyWh, price: PriceTick) -> None:
        self._called("submit_quote", slot, energy_wh, price)

    def accept_suggestion(self) -> None:
        self._called("accept_suggestion")

    def history(self, start: datetime, end: datetime) -> tuple[SlotView, ...]:
        self._called("history", start, end)
        return tuple(slot for slot in self.past if start <= slot.start < end)

    def export_csv(self, path: Path, start: datetime, end: datetime) -> None:
        self._called("export_csv", path, start, end)
        path.write_text("slot\n" + "\n".join(s.slot for s in self.history(start, end)))

    def _called(self, *call: object) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--size", default="1280x800")
    parser.add_argument("--empty", action="store_true")
    parser.add_argument("--window", action="store_true")
    arguments = parser.parse_args()
    from wallet_app.gui import app

    source = FakeSource(WalletView(market_now=DAY) if arguments.empty else None)
    if arguments.window:
        code = app.run_window(
            source,
            screenshot=arguments.directory / "window.png",
            screenshot_after=1.5,
            close_after=2.5,
        )
        if sys.platform.startswith("linux"):
            # Not getrusage: that remembers the size of the process that started this one.
            status = Path("/proc/self/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0]) >> 10
            print(f"peak {peak} MiB")  # noqa: T201
        return code
    width, height = (int(part) for part in arguments.size.split("x"))
    theme = "dark" if arguments.dark else "light"
    for path in app.render_screenshots(
        source, arguments.directory, (width, height), theme_name=theme
    ):
        print(path)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
