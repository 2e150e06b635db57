"""The trading day in a terminal: one line per settled slot, and one live line below them.

The live line is rewritten in place on a terminal and left out elsewhere, where lines come only
when a slot is settled, so that a log file reads as well.
"""

import shutil
import unicodedata
from datetime import datetime, tzinfo
from typing import TextIO

from wallet_app import format as fmt
from wallet_app.gui import words
from wallet_app.i18n import tr
from wallet_app.trading.view import MoneyView, Proof, SlotView, WalletView

_MARKS = {
    Proof.NONE: "?",
    Proof.VERIFIED: "✓",
    Proof.AGREED: "✓✓",
    Proof.AUDITED: "✓✓✓",
    Proof.DISPUTED: "✗",
}
_WIDTHS = (11, 11, 16, 8, 9, 9, 9, 9, 9, 6)
_BAR = 24


class DayTerminal:
    """Prints a day's progress to ``out``."""

    def __init__(self, out: TextIO, zone: tzinfo, start: datetime, end: datetime) -> None:
        """Follow the market from ``start`` to ``end`` (market times)."""
        self._out, self._zone, self._start, self._end = out, zone, start, end
        self._live = out.isatty()
        self._printed: set[str] = set()
        self._said: set[tuple[datetime, str]] = set()
        self._live_shown = False

    def line(self, text: str) -> None:
        """Print a line above the live one."""
        self._clear()
        self._out.write(text + "\n")
        self._out.flush()

    def heading(self, view: WalletView) -> None:
        """Say what is going to be seen, and name the columns."""
        self.line("")
        self.line(
            tr(
                "{who} trades on the network {network}; prices in {currency}/kWh, money in "
                "{currency}. Everything here is simulated.",
                who=view.participant,
                network=fmt.foreign(view.network),
                currency=view.currency,
            )
        )
        self.line("")
        names = (
            tr("slot"),
            tr("plan kWh"),
            tr("quote kWh@price"),
            tr("price"),
            tr("matched"),
            tr("metered"),
            tr("market"),
            tr("grid"),
            tr("saved"),
            tr("proof"),
        )
        self.line(_row(names))
        self.line("─" * (sum(_WIDTHS) + len(_WIDTHS) - 1))

    def show(self, view: WalletView) -> None:
        """Print what is new in ``view``: settled and proved slots, warnings, the live line."""
        settled = [slot for slot in view.slots if slot.market_money is not None]
        for slot in settled:
            # A moment's patience shows the audit too; the next settlement ends it.
            proved = slot.proof in (Proof.AUDITED, Proof.DISPUTED)
            ready = proved or (slot.proof is not Proof.NONE and slot is not settled[-1])
            if ready and slot.slot not in self._printed:
                self._printed.add(slot.slot)
                self.line(self._slot(slot))
        for event in view.events:
            key = (event.at, event.text)
            if event.kind in ("warning", "error") and key not in self._said:
                self._said.add(key)
                self.line(f"  ! {event.text}")
        if self._live:
            self._show_live(view)

    def finish(self, view: WalletView) -> None:
        """Print the slots that never got proved, and the sums."""
        for slot in view.slots:
            if slot.market_money is not None and slot.slot not in self._printed:
                self.line(self._slot(slot))
        self._clear()
        self.line("─" * (sum(_WIDTHS) + len(_WIDTHS) - 1))
        for text in summary(view.money, view.currency):
            self.line(text)
        trust = view.trust
        self.line(
            tr(
                "Verified by this wallet: {height} blocks, {signatures} signatures; the newest "
                "header was shown alike by two organisations up to block {agreed}.",
                height=fmt.count(trust.verified_height),
                signatures=fmt.count(trust.signatures_verified),
                agreed=fmt.count(None if trust.agreed_height is None else trust.agreed_height - 1),
            )
        )

    def _slot(self, slot: SlotView) -> str:
        saved = None
        if slot.market_money is not None and slot.grid_only_money is not None:
            total = slot.market_money + (slot.grid_money or 0) + (slot.penalty_money or 0)
            saved = total - slot.grid_only_money
        quote = ""
        if slot.quoted_price is not None:
            quote = f"{fmt.kwh(slot.quoted_wh)}@{fmt.price(slot.quoted_price)}"
        side = words.side(slot.side)
        plan = None if slot.planned_wh is None else abs(slot.planned_wh)
        cells = (
            fmt.slot_span(slot.start, slot.length_s, self._zone),
            f"{side} {fmt.kwh(plan)}" if side else fmt.kwh(slot.planned_wh, sign=True),
            quote,
            fmt.price(slot.price),
            fmt.kwh(slot.matched_wh),
            fmt.kwh(slot.delivered_wh, sign=True),
            fmt.money((slot.market_money or 0) + (slot.penalty_money or 0), sign=True),
            fmt.money(slot.grid_money, sign=True),
            fmt.money(saved, sign=True),
            _MARKS[slot.proof],
        )
        return _row(cells)

    def _show_live(self, view: WalletView) -> None:
        live, quoting = view.live, view.quoting
        done = (view.market_now - self._start) / (self._end - self._start)
        filled = round(min(max(done, 0.0), 1.0) * _BAR)
        parts = [
            "█" * filled + "░" * (_BAR - filled),
            fmt.clock_time(view.market_now, self._zone),
            tr("grid {kw} kW", kw=fmt.kw(live.grid_power_w, 1, sign=True)),
            tr("roof {kw} kW", kw=fmt.kw(live.roof_power_w, 1)),
            tr("battery {percent}", percent=fmt.percent(live.battery_wh, live.battery_capacity_wh)),
        ]
        if quoting is not None:
            span = fmt.slot_span(quoting.start, quoting.length_s, self._zone)
            parts.append(f"{span} {words.phase(quoting.phase)} {quoting.round}/{quoting.rounds}")
        parts.append(tr("block {n} ✓", n=fmt.count(view.trust.verified_height)))
        parts.append(tr("saved {money}", money=fmt.money(view.money.saved, sign=True)))
        width = shutil.get_terminal_size((100, 24)).columns - 1
        self._clear()
        self._out.write(_cut("  ".join(parts), width))
        self._out.flush()
        self._live_shown = True

    def _clear(self) -> None:
        if self._live_shown:
            self._out.write("\r\x1b[2K")
            self._live_shown = False


def summary(money: MoneyView, currency: str) -> list[str]:
    """Return the day's sums in words."""
    total = money.market_money + money.grid_money + money.penalty_money
    return [
        tr(
            "Sold {sold} kWh and bought {bought} kWh on the market.",
            sold=fmt.kwh(money.sold_wh),
            bought=fmt.kwh(money.bought_wh),
        ),
        tr(
            "Market {market} {c}, grid {grid} {c}, penalties and compensation {penalty} {c}: "
            "together {total} {c}.",
            market=fmt.money(money.market_money, sign=True),
            grid=fmt.money(money.grid_money, sign=True),
            penalty=fmt.money(money.penalty_money, sign=True),
            total=fmt.money(total, sign=True),
            c=currency,
        ),
        tr(
            "The same energy with the grid alone: {grid} {c}. Trading brought {saved} {c}.",
            grid=fmt.money(money.grid_only_money, sign=True),
            saved=fmt.money(money.saved, sign=True),
            c=currency,
        ),
    ]


def _row(cells: tuple[str, ...]) -> str:
    gaps = [" " * max(width - _width(c), 0) for c, width in zip(cells, _WIDTHS, strict=True)]
    right = (gap + cell for gap, cell in zip(gaps[1:], cells[1:], strict=True))
    return " ".join((cells[0] + gaps[0], *right))


def _width(text: str) -> int:
    """Return how many terminal columns ``text`` takes (Chinese characters take two)."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    while _width(text) > width:
        text = text[:-1]
    return text
