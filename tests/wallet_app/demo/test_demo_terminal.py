"""The day in a terminal: columns that line up in both languages, and a log that stays plain."""

import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from light_node.market.slots import parse
from light_node.market.units import MoneyWhTick
from wallet_app import i18n
from wallet_app.demo.source import DaySource
from wallet_app.demo.terminal import DayTerminal
from wallet_app.trading.history import SlotRecord
from wallet_app.trading.state import sums
from wallet_app.trading.view import (
    AgentMode,
    EventView,
    LiveView,
    Proof,
    SlotView,
    TrustView,
    WalletView,
)

ZONE = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 6, 20, 15, tzinfo=UTC)
END = datetime(2026, 6, 21, 17, tzinfo=UTC)
ESCAPE = re.compile(r"\x1b\[[0-9]*[A-Za-z]")


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def slot(hour: int, **values: object) -> SlotView:
    record = SlotRecord(f"2026-06-21T{hour:02}:00Z/PT60M", 4000, 11_000, rounds=3, **values)  # type: ignore[arg-type]
    return record.view(parse(record.slot))


def settled(hour: int, proof: str = "audited", money: int = 9_000_000) -> SlotView:
    return slot(
        hour, phase="settled", round=3, side="sell", planned_wh=-1_830, quoted_wh=1_830,
        quoted_price=9_000, matched_wh=1_000, price=9_000, delivered_wh=-1_960,
        market_money=money, grid_money=3_840_000, penalty_money=0, grid_only_money=7_840_000,
        proof=proof,
    )  # fmt: skip


def view(*slots: SlotView, **changes: object) -> WalletView:
    made = WalletView(
        market_now=datetime(2026, 6, 21, 4, 30, tzinfo=UTC),
        participant="home@Org1MSP",
        network="devnet at 127.0.0.1",
        zone=ZONE,
        slots=slots,
        money=sums(slots, None),
        live=LiveView(-1_500, 3_000, 900, 600, 5_000, 10_000),
        trust=TrustView(verified_height=1_234, agreed_height=1_230, signatures_verified=9),
        quoting=slot(5, phase="quoting", round=2),
        demo=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def terminal(out: io.StringIO) -> DayTerminal:
    return DayTerminal(out, ZONE, START, END)


def width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


@pytest.fixture(params=["en", "zh_CN"])
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    yield i18n.use_language(request.param)
    i18n.use_language("en")


def test_a_row_waits_for_its_audit_until_the_next_slot_is_settled() -> None:
    out = io.StringIO()
    made = terminal(out)
    made.show(view(settled(1, "agreed")))
    assert out.getvalue() == ""
    made.show(view(settled(1, "agreed"), settled(2, "agreed")))
    assert out.getvalue().count("✓✓") == 1
    made.show(view(settled(1, "audited"), settled(2, "audited")))
    lines = out.getvalue().splitlines()
    assert [line.split()[-1] for line in lines] == ["✓✓", "✓✓✓"]


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_every_row_is_as_wide_as_the_rule(language: str) -> None:
    out = io.StringIO()
    made = terminal(out)
    made.heading(view())
    rows = [
        settled(1),
        settled(2, "verified", money=-987_654_321),
        settled(3, "agreed"),
        settled(4, "disputed"),
        slot(6, phase="settled", market_money=0, proof="agreed"),
        slot(7, phase="settled", market_money=0, proof="agreed", planned_wh=5),
        slot(8, phase="settled", side="buy", planned_wh=12_345, quoted_wh=12_345,
             quoted_price=10_999, market_money=0, proof="audited"),
    ]  # fmt: skip
    made.show(view(*rows))
    lines = out.getvalue().splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("─"))
    table = [lines[rule - 1], *lines[rule + 1 :]]
    assert len(table) == 1 + len(rows)
    assert {width(line) for line in table} == {width(lines[rule])}
    # The right edge of each column is the same in every row.
    assert all(line.rstrip() == line for line in table)


def test_a_settled_slot_in_words() -> None:
    out = io.StringIO()
    terminal(out).show(view(settled(1)))
    assert out.getvalue().split() == [
        "09:00–10:00", "Sell", "1.83", "1.83@0.9000", "0.9000", "1.00", "−1.96", "+0.90",
        "+0.38", "+0.50", "✓✓✓",
    ]  # fmt: skip


def test_a_log_holds_no_control_characters_and_each_slot_once(language: str) -> None:
    out = io.StringIO()
    made = terminal(out)
    warning = EventView(START, "warning", "18:00–19:00: no meter reading")
    made.heading(view())
    for _ in range(5):
        made.show(view(settled(1), slot(2, phase="cleared"), events=(warning,)))
    made.finish(view(settled(1), settled(3, "none")))
    text = out.getvalue()
    assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf")]
    assert text.count("09:00–10:00") == 1
    assert text.count("no meter reading") == 1
    assert text.count("11:00–12:00") == 1  # never proved: shown at the end, with its mark
    assert "?" in text


def test_news_of_both_kinds_and_no_others() -> None:
    out = io.StringIO()
    events = tuple(
        EventView(START + timedelta(minutes=n), kind, f"a {kind}")
        for n, kind in enumerate(("info", "good", "warning", "error"))
    )
    terminal(out).show(view(events=events))
    assert out.getvalue() == "  ! a warning\n  ! a error\n"


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_live_line_is_rewritten_in_place_and_fits(
    language: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Tty()
    made = terminal(out)
    made.show(view())
    first = out.getvalue()
    assert "\n" not in first
    assert width(ESCAPE.sub("", first)) < columns
    assert "12:30" in first
    made.show(view(settled(1)))
    second = out.getvalue().removeprefix(first)
    assert second.startswith("\r\x1b[2K09:00–10:00")  # cleared before the line above it
    made.finish(view(settled(1)))
    assert out.getvalue().endswith("\n")


def test_sums_say_what_they_are_of() -> None:
    out = io.StringIO()
    terminal(out).finish(view(settled(1), settled(2)))
    text = out.getvalue()
    assert "Sold 2.00 kWh and bought 0.00 kWh on the market." in text
    assert "together +2.57 CNY" in text
    assert "grid alone: +1.57 CNY. Trading brought +1.00 CNY" in text
    assert "1,234 blocks" in text
    assert "up to block 1,229" in text


def test_a_networks_name_cannot_steer_the_terminal() -> None:
    out = io.StringIO()
    terminal(out).heading(view(network="dev\x1b[2Jnet\u202e\n\rx"))
    assert "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
    assert "dev [2Jnet x" in out.getvalue()


# -- the day as a source ------------------------------------------------------------------------


class Session:
    """A session whose day goes on."""

    def __init__(self) -> None:
        self.hours = 1
        self.asked: list[object] = []

    def view(self) -> WalletView:
        return view(settled(23), money=sums((), MoneyWhTick(5)))

    def history(self, start: datetime, end: datetime) -> tuple[SlotView, ...]:
        return tuple(settled(hour) for hour in range(1, 1 + self.hours))

    def set_agent(self, mode: AgentMode) -> None:
        self.asked.append(mode)

    def accept_suggestion(self) -> None:
        self.asked.append("accept")


def test_the_days_slots_and_sums_also_after_midnight() -> None:
    session = Session()
    source = DaySource(session, START, END)  # type: ignore[arg-type]
    session.hours = 3
    shown = source.view()
    assert len(shown.slots) == 3  # the day's, not those of the local day the view is at
    assert (shown.money.market_money, shown.money.balance) == (27_000_000, 5)
    assert shown.money.proof is Proof.AUDITED


def test_frozen_it_shows_the_end_for_ever() -> None:
    session = Session()
    source = DaySource(session, START, END)  # type: ignore[arg-type]
    source.freeze()
    frozen = source.view()
    session.hours = 9
    assert source.view() is frozen
    source.freeze()
    assert source.view() is frozen
    earlier = view(settled(1))
    source.freeze(earlier)
    assert source.view() is earlier


def test_commands_reach_the_session() -> None:
    session = Session()
    source = DaySource(session, START, END)  # type: ignore[arg-type]
    source.set_agent(AgentMode.ASK)
    source.accept_suggestion()
    assert session.asked == [AgentMode.ASK, "accept"]
