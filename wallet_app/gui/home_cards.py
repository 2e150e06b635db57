"""Cards of the home page: power now, the slot, the money, the standing, the day, what happened."""

from datetime import datetime

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QSizePolicy,
    QWidget,
)

from wallet_app import format as fmt
from wallet_app.gui import icons, plots, ranges, words
from wallet_app.gui.dialogs import show_event
from wallet_app.gui.flow import FlowWidget
from wallet_app.gui.theme import Theme
from wallet_app.gui.ticker import MarketTicker
from wallet_app.gui.widgets import (
    Badge,
    Card,
    ElidedLabel,
    Facts,
    ProofLabel,
    label,
    rule,
    set_tone,
)
from wallet_app.i18n import tr
from wallet_app.trading.view import EventView, Phase, SlotView, WalletView

_EVENTS_SHOWN = 200


class FlowCard(Card):
    """Power now."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(tr("Power now"))
        self._meter = ElidedLabel("small")
        self._meter.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.corner.addWidget(self._meter, 1)
        self.flow = FlowWidget(theme)
        self.body.addWidget(self.flow, 1)

    def refresh(self, view: WalletView) -> None:
        """Show the live figures of ``view`` and how old they are."""
        self.flow.show_flow(view.live, view.delivering)
        live = view.live
        state = fmt.foreign(live.meter_state, 80) or tr("no meter")
        if live.meter_age_s is not None:
            state += " · " + tr("{seconds} s ago", seconds=fmt.decimal(int(live.meter_age_s), 1, 0))
        self._meter.set_full_text(state)


class PriceScale(QWidget):
    """Where a price lies between feed-in and retail tariff."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._values: tuple[int, int, int | None] = (0, 0, None)
        self.setMinimumHeight(36)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(tr("Price between feed-in and retail tariff"))

    def sizeHint(self) -> QSize:
        """Ask for two lines."""
        return QSize(200, 36)

    def show_price(self, floor: int, cap: int, price: int | None) -> None:
        """Show ``price`` between ``floor`` (feed-in) and ``cap`` (retail), in ticks."""
        self._values = (floor, cap, price)
        self.setAccessibleDescription(
            tr(
                "feed-in {floor}, market {price}, retail {cap}",
                floor=fmt.price(floor),
                price=fmt.price(price),
                cap=fmt.price(cap),
            )
        )
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the scale."""
        floor, cap, price = self._values
        if cap <= floor:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        left, width, y = 6.0, self.width() - 12.0, 9.0
        painter.setPen(
            QPen(self._theme.color("border"), 6, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap)
        )
        painter.drawLine(int(left), int(y), int(left + width), int(y))
        if price is not None:
            at = left + width * max(0.0, min(1.0, (price - floor) / (cap - floor)))
            painter.setPen(QPen(self._theme.color("surface"), 2.5))
            painter.setBrush(self._theme.color("accent"))
            painter.drawEllipse(QRectF(at - 7, y - 7, 14, 14))
        font = QFont(self.font())
        font.setPointSizeF(8.0)
        painter.setFont(font)
        painter.setPen(self._theme.color("muted"))
        box = QRectF(0, 19, self.width(), QFontMetricsF(font).height())
        flag = Qt.AlignmentFlag
        painter.drawText(box, int(flag.AlignLeft), tr("feed-in {price}", price=fmt.price(floor)))
        painter.drawText(box, int(flag.AlignRight), tr("retail {price}", price=fmt.price(cap)))
        painter.end()


class SlotCard(Card):
    """The slot under way with its price, and the next one with its countdown."""

    def __init__(self, theme: Theme, ticker: MarketTicker) -> None:
        super().__init__(tr("Price"))
        self._ticker = ticker
        self._next: SlotView | None = None
        self._span = label("", "small")
        self._phase = Badge()
        self.corner.addWidget(self._span)
        self.corner.addWidget(self._phase)
        row = QHBoxLayout()
        row.setSpacing(7)
        self._price = label("", "figure")
        self._price.setAccessibleName(tr("Market price of this slot"))
        self._unit = label("", "muted")
        row.addWidget(self._price)
        row.addWidget(self._unit, 1, Qt.AlignmentFlag.AlignBottom)
        self.body.addLayout(row)
        self._scale = PriceScale(theme)
        self.body.addWidget(self._scale)
        self.body.addWidget(rule())
        self._gate_title = label("", "strong")
        self._gate_time = label("", "headline")
        self._gate_time.setAccessibleName(tr("Time to gate closure"))
        gate = QHBoxLayout()
        gate.addWidget(self._gate_title, 1)
        gate.addWidget(self._gate_time)
        self.body.addLayout(gate)
        self._progress = QProgressBar()
        self._progress.setTextVisible(False)
        self._progress.setRange(0, 1000)
        self._progress.setAccessibleName(tr("Quoting time used"))
        self.body.addWidget(self._progress)
        self._round = label("", "small")
        self.body.addWidget(self._round)
        self._quote = label("", "", wrap=True)
        self.body.addWidget(self._quote)
        self.body.addStretch(1)

    def refresh(self, view: WalletView) -> None:
        """Show the slots of ``view``."""
        slot = view.delivering
        bounds = slot or view.quoting
        if bounds:
            self._scale.show_price(bounds.floor, bounds.cap, slot.price if slot else None)
        self._unit.setText(tr("{currency}/kWh", currency=view.currency))
        if slot is None:
            self._price.setText(fmt.DASH)
            self._span.setText("")
            self._phase.show_state("")
        else:
            self._price.setText(fmt.price(slot.price))
            self._span.setText(fmt.slot_span(slot.start, slot.length_s))
            tone = "accent" if slot.phase is Phase.DELIVERING else ""
            self._phase.show_state(words.stage(slot), tone)
        self._next = view.quoting
        self._show_quote(view)
        self.tick()

    def _show_quote(self, view: WalletView) -> None:
        slot = view.quoting
        if slot is None:
            self._quote.setText("")
            return
        if not slot.quoted_wh:
            self._quote.setText(tr("You have not quoted for it yet"))
            set_tone(self._quote, "warning")
            return
        state, tone = words.quote_state(slot)
        text = tr(
            "Your quote: {side} {kwh} kWh at {price}",
            side=words.side(slot.side).lower(),
            kwh=fmt.kwh(slot.quoted_wh),
            price=fmt.price(slot.quoted_price),
        )
        self._quote.setText(f"{text} – {state}" if state else text)
        set_tone(self._quote, tone if tone != "good" else "")

    def tick(self) -> None:
        """Move the countdown on."""
        slot = self._next
        if slot is None:
            self._gate_title.setText(tr("No slot is open for quotes"))
            self._gate_time.setText("")
            self._round.setText("")
            self._progress.hide()
            return
        span = fmt.slot_span(slot.start, slot.length_s)
        left = self._ticker.seconds_to(slot.gate_closes)
        self._gate_title.setText(tr("Gate for {span}", span=span))
        self._gate_time.setText(
            tr("closed") if left is not None and left <= 0 else fmt.duration(left)
        )
        self._progress.setVisible(left is not None)
        if left is not None:
            self._progress.setValue(self._used(slot, left))
        self._round.setText(self._round_words(slot))

    def _round_words(self, slot: SlotView) -> str:
        numbers = tr("Round {round} of {rounds}", round=slot.round, rounds=slot.rounds)
        left = self._ticker.seconds_to(slot.round_closes)
        if left is None or slot.phase is not Phase.QUOTING:
            return f"{numbers} · {words.stage(slot)}"
        if left <= 0:
            return f"{numbers} · {tr('closing')}"
        return f"{numbers} · " + tr("closes in {time}", time=fmt.duration(left))

    @staticmethod
    def _used(slot: SlotView, left: float) -> int:
        if slot.gate_closes is None:
            return 0
        opened = slot.start.timestamp() - slot.length_s
        whole = slot.gate_closes.timestamp() - opened
        return 0 if whole <= 0 else round(1000 * max(0.0, min(1.0, 1 - left / whole)))


class MoneyCard(Card):
    """The money of the shown range, against its baseline."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(tr("Money today"))
        self._proof = ProofLabel(theme)
        self.corner.addWidget(self._proof)
        row = QHBoxLayout()
        row.setSpacing(7)
        self._saved = label("", "figure")
        self._saved.setAccessibleName(tr("Saved against grid only"))
        self._unit = label("", "muted")
        row.addWidget(self._saved)
        row.addWidget(self._unit, 1, Qt.AlignmentFlag.AlignBottom)
        self.body.addLayout(row)
        self.body.addWidget(label(tr("against grid only"), "small"))
        facts = Facts()
        self._earned = facts.add(tr("Earned on the market"))
        self._spent = facts.add(tr("Spent on the market"))
        self._grid = facts.add(tr("Grid tariffs"))
        self._penalty = facts.add(tr("Penalties"))
        facts.add_line()
        self._total = facts.add(tr("Together"), "strong")
        self._baseline = facts.add(tr("Grid only would be"))
        self.body.addWidget(facts)
        self.body.addStretch(1)
        self._energy = label("", "small")
        self.body.addWidget(self._energy)

    def refresh(self, view: WalletView) -> None:
        """Show the money of ``view``."""
        money = view.money
        self._proof.show_proof(money.proof)
        self._proof.setVisible(any(ranges.settled(slot) for slot in view.slots))
        self._saved.setText(fmt.money(money.saved, sign=True))
        set_tone(self._saved, "good" if money.saved > 0 else "")
        saved = tr("{currency} saved", currency=view.currency)
        self._unit.setText(saved if money.saved >= 0 else view.currency)
        earned, spent = earned_and_spent(view)
        for value, amount in (
            (self._earned, earned),
            (self._spent, spent),
            (self._grid, money.grid_money),
            (self._penalty, money.penalty_money),
            (self._total, money.market_money + money.grid_money + money.penalty_money),
            (self._baseline, money.grid_only_money),
        ):
            value.setText(fmt.money(amount, 4, sign=True))
        self._energy.setText(
            tr(
                "sold {sold} kWh · bought {bought} kWh",
                sold=fmt.kwh(money.sold_wh),
                bought=fmt.kwh(money.bought_wh),
            )
        )


def earned_and_spent(view: WalletView) -> tuple[int, int]:
    """Split the market money by direction, never netted; by its sum where slots do not tell."""
    amounts = [slot.market_money or 0 for slot in view.slots]
    earned, spent = sum(a for a in amounts if a > 0), sum(a for a in amounts if a < 0)
    total = view.money.market_money
    if earned + spent == total:
        return earned, spent
    return max(total, 0), min(total, 0)


class StandingCard(Card):
    """The public standing as a merit order."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(tr("Standing"))
        self._span = Badge()
        self.corner.addWidget(self._span)
        self._summary = ElidedLabel("small")
        self._summary.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._proof = ProofLabel(theme)
        self.corner.addWidget(self._summary, 1)
        self.corner.addWidget(self._proof)
        self._plot = plots.MeritPlot(theme)
        self.body.addWidget(self._plot, 1)
        self._empty = label(tr("The standing is published after the first round"), "muted")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.body.addWidget(self._empty, 1)
        legend = QHBoxLayout()
        legend.setSpacing(6)
        style = Qt.PenStyle
        for text, color, line in (
            (tr("asks"), "asks", style.SolidLine),
            (tr("bids"), "bids", style.DashLine),
            (tr("clearing price"), "accent", style.DotLine),
        ):
            legend.addWidget(plots.LegendKey(plots.pen(theme.color(color), 2, line)))
            legend.addWidget(label(text, "small"))
            legend.addSpacing(8)
        legend.addStretch(1)
        self._own = label("", "small")
        legend.addWidget(self._own)
        self.body.addLayout(legend)

    def refresh(self, view: WalletView) -> None:
        """Show the standing of ``view``."""
        standing = view.standing
        known = standing is not None and bool(standing.asks or standing.bids)
        self._plot.setVisible(known)
        self._empty.setVisible(not known)
        self._proof.setVisible(known)
        bounds = view.quoting or view.delivering
        self._plot.show_standing(
            standing, bounds.floor if bounds else 0, bounds.cap if bounds else 0
        )
        self._span.show_state(_span_of(standing.slot, view) if standing and known else "")
        if standing is None or not known:
            self._summary.set_full_text("")
            self._own.setText("")
            return
        self._proof.show_proof(standing.proof)
        # The most wanted first: in a narrow window the end is cut.
        parts = [
            tr("at {price}", price=fmt.price(standing.price)) if standing.price is not None else "",
            f"{fmt.kwh(standing.volume_wh, 1)} kWh",
            words.market(standing.market),
            tr("round {round}", round=standing.round),
        ]
        self._summary.set_full_text(" · ".join(part for part in parts if part))
        self._own.setText(tr("your share {kwh} kWh", kwh=fmt.kwh(standing.own_fill_wh)))


def _span_of(slot_id: str, view: WalletView) -> str:
    """Return the times of slot ``slot_id``, "" if the view does not hold it."""
    for slot in (view.quoting, view.delivering, *reversed(view.slots)):
        if slot is not None and slot.slot == slot_id:
            return fmt.slot_span(slot.start, slot.length_s)
    return ""


class DayCard(Card):
    """Power and price over the day."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(tr("Power and price today"))
        self._plot = plots.DayPlot(theme)
        for text, color, fill in (
            (tr("from the grid"), "grid", True),
            (tr("to the grid"), "roof", True),
            (tr("market price"), "accent", False),
        ):
            tint = theme.color(color)
            style = Qt.PenStyle.SolidLine if fill else Qt.PenStyle.DashLine
            key = plots.LegendKey(
                plots.pen(tint, 1.6, style), plots.soft(tint, 0.3) if fill else None
            )
            self.corner.addWidget(key)
            self.corner.addWidget(label(text, "small"))
        self.body.addWidget(self._plot, 1)

    def refresh(self, view: WalletView) -> None:
        """Show the day of ``view``."""
        self._plot.show_day(view.market_now, view.power_series, view.slots)


class ActivityCard(Card):
    """What happened, newest first; Enter or double click shows all of it."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(tr("Activity"))
        self._theme = theme
        self._shown: tuple[EventView, ...] = ()
        self._list = QListWidget()
        self._list.setAccessibleName(tr("Activity"))
        self._list.setAccessibleDescription(tr("Press Enter for the details of a line"))
        self._list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setUniformItemSizes(True)
        self._list.setMinimumHeight(70)
        self._list.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self._list.itemActivated.connect(self._open)
        self._icons = {
            kind: icons.icon(name, theme.color(color), 16)
            for kind, (name, color) in {
                "info": ("info", "muted"),
                "good": ("check", "good"),
                "warning": ("warning", "warning"),
                "error": ("error", "error"),
            }.items()
        }
        self._empty: QLabel = label(tr("Nothing has happened yet"), "muted")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.body.addWidget(self._empty)
        self.body.addWidget(self._list, 1)

    def refresh(self, view: WalletView) -> None:
        """Show the events of ``view``, keeping the selection where it was."""
        events = view.events[-_EVENTS_SHOWN:]
        self._empty.setVisible(not events)
        self._list.setVisible(bool(events))
        if events == self._shown:
            return
        self._shown = events
        self._list.clear()
        for event in reversed(events):
            self._list.addItem(self._item(event, view.market_now))

    def _item(self, event: EventView, now: datetime) -> QListWidgetItem:
        same_day = fmt.local(event.at).date() == fmt.local(now).date()
        when = fmt.clock_time(event.at)
        if not same_day:
            when = f"{fmt.local(event.at):%m-%d} {when}"
        item = QListWidgetItem(f"{when}   {fmt.foreign(event.text)}")
        item.setIcon(self._icons.get(event.kind, self._icons["info"]))
        kinds = {"good": tr("done"), "warning": tr("warning"), "error": tr("error")}
        item.setData(
            Qt.ItemDataRole.AccessibleTextRole,
            f"{kinds.get(event.kind, tr('note'))}: {item.text()}",
        )
        item.setData(Qt.ItemDataRole.UserRole, event)
        return item

    def _open(self, item: QListWidgetItem) -> None:
        show_event(self, item.data(Qt.ItemDataRole.UserRole))
