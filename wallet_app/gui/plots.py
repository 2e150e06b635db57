"""The three plots, on pyqtgraph: merit order, power of the day, money per slot.

Floats appear only here, for drawing. Each plot has a legend in words beside line samples of
different style, and says what it shows as its accessible description.
"""

import html
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from light_node.market.units import MONEY_PER_CURRENCY, TICKS_PER_CURRENCY
from wallet_app import format as fmt
from wallet_app.gui.theme import Theme
from wallet_app.i18n import tr
from wallet_app.trading.view import SlotView, StandingView

pg.setConfigOptions(antialias=True)
_TICK_POINTS = 8.0


def soft(color: QColor, alpha: float) -> QColor:
    """Return ``color`` with opacity ``alpha``."""
    result = QColor(color)
    result.setAlphaF(alpha)
    return result


def pen(color: QColor, width: float = 1.5, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> QPen:
    """Return a cosmetic pen."""
    return pg.mkPen(color=color, width=width, style=style)  # type: ignore[no-any-return]


def _instant(posix: float) -> datetime:
    return datetime.fromtimestamp(posix, UTC)


class TimeAxis(pg.AxisItem):  # type: ignore[misc]
    """Local clock times for POSIX seconds, at full hours."""

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        """Return "HH:MM" in the zone in use."""
        return [fmt.clock_time(_instant(v)) for v in values]

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        """Return ticks every 1, 2, 3, 6, 12 or 24 hours, as many as there is room for."""
        room = max(2, int(size // 55))
        hours = next((h for h in (1, 2, 3, 6, 12, 24) if (high - low) / (h * 3600) <= room), 24)
        first = fmt.local(_instant(low))
        tick = first.replace(hour=0, minute=0, second=0, microsecond=0)
        ticks: list[float] = []
        while tick.timestamp() <= high and len(ticks) < 100:
            if tick.timestamp() >= low:
                ticks.append(tick.timestamp())
            tick += timedelta(hours=hours)
        return [(hours * 3600.0, ticks)]


class Plot(pg.PlotWidget):  # type: ignore[misc]
    """A plot in the theme's colours that cannot be dragged out of sight."""

    def __init__(self, theme: Theme, name: str, axes: dict[str, Any] | None = None) -> None:
        super().__init__(axisItems=axes or {}, background=None)
        self.theme = theme
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMenuEnabled(False)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.setFrameShape(self.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(180, 96)
        for side in ("left", "bottom", "right"):
            self.style_axis(self.getAxis(side))
        self.getAxis("bottom").setHeight(22)
        self.showGrid(x=False, y=True, alpha=0.13)

    def sizeHint(self) -> QSize:
        """Ask for a moderate size; the layout gives what there is."""
        return QSize(320, 110)

    def style_axis(self, axis: Any) -> None:
        """Give ``axis`` quiet lines and small figures."""
        font = QFont(self.font())
        font.setPointSizeF(_TICK_POINTS)
        axis.enableAutoSIPrefix(False)
        axis.setStyle(tickFont=font, tickLength=-4, tickTextOffset=5)
        axis.setPen(pen(self.theme.color("border"), 1))
        axis.setTextPen(pen(self.theme.color("muted"), 1))

    def caption(self, side: str, text: str) -> None:
        """Name axis ``side``; pyqtgraph would render markup, so ``text`` is escaped."""
        color = self.theme.color("muted").name()
        if side == "bottom":
            self.getAxis(side).setHeight(40)
        self.setLabel(side, html.escape(text), color=color, **{"font-size": "8pt"})


class MeritPlot(Plot):
    """Asks ascending, bids descending, the clearing price, and the own step marked."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, tr("Merit order"))
        self._drawn: tuple[StandingView | None, int, int] | None = None
        self._middle = 0.0
        self.caption("left", tr("price"))
        self.caption("bottom", tr("energy offered, kWh"))

    def show_standing(self, standing: StandingView | None, floor: int, cap: int) -> None:
        """Draw ``standing``; ``floor`` and ``cap`` bound the price axis, in ticks."""
        if (standing, floor, cap) == self._drawn:
            return
        self._drawn = (standing, floor, cap)
        self.clear()
        if standing is None or not (standing.asks or standing.bids):
            self.setAccessibleDescription(tr("No standing has been published yet"))
            return
        self._span_axes(standing, floor, cap)
        self._steps(standing.asks, self.theme.color("asks"), Qt.PenStyle.SolidLine)
        self._steps(standing.bids, self.theme.color("bids"), Qt.PenStyle.DashLine)
        if standing.price is not None:
            level = standing.price / TICKS_PER_CURRENCY
            line = pen(self.theme.color("accent"), 1.4, Qt.PenStyle.DotLine)
            self.addItem(pg.InfiniteLine(pos=level, angle=0, pen=line))
        self.setAccessibleDescription(
            tr(
                "{asks} asks and {bids} bids; price {price}; your share {own} kWh",
                asks=len(standing.asks),
                bids=len(standing.bids),
                price=fmt.price(standing.price),
                own=fmt.kwh(standing.own_fill_wh),
            )
        )

    def _span_axes(self, standing: StandingView, floor: int, cap: int) -> None:
        ends = [sum(energy for _, energy, _ in curve) for curve in (standing.asks, standing.bids)]
        self.setXRange(0, max(*ends, 1) / 1000 * 1.02, padding=0)
        prices = [price for curve in (standing.asks, standing.bids) for price, _, _ in curve]
        low, high = min([*prices, floor or prices[0]]), max([*prices, cap])
        self._middle = (low + high) / 2 / TICKS_PER_CURRENCY
        self.setYRange(low / TICKS_PER_CURRENCY, high / TICKS_PER_CURRENCY, padding=0.08)

    def _steps(
        self, curve: Sequence[tuple[int, int, bool]], color: QColor, style: Qt.PenStyle
    ) -> None:
        if not curve:
            return
        edges = np.concatenate(([0.0], np.cumsum([energy for _, energy, _ in curve]) / 1000.0))
        levels = np.array([price for price, _, _ in curve]) / TICKS_PER_CURRENCY
        self.plot(edges, levels, stepMode="center", pen=pen(color, 1.8, style))
        for place, (price, _, own) in enumerate(curve):
            if own:
                self._own_step(edges[place], edges[place + 1], price / TICKS_PER_CURRENCY, color)

    def _own_step(self, start: float, end: float, level: float, color: QColor) -> None:
        thick = pg.mkPen(color=color, width=6, capstyle=Qt.PenCapStyle.FlatCap)
        self.plot([start, end], [level, level], pen=thick)
        mark = pg.TextItem(
            tr("you"),
            color=self.theme.color("text"),
            anchor=(0.5, -0.2 if level > self._middle else 1.2),
            fill=soft(self.theme.color("surface"), 0.8),
        )
        font = QFont(self.font())
        font.setPointSizeF(8.5)
        font.setWeight(QFont.Weight.DemiBold)
        mark.setFont(font)
        mark.setPos((start + end) / 2, level)
        self.addItem(mark, ignoreBounds=True)


class DayPlot(Plot):
    """Power at the grid connection over the day, and the market price as steps."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, tr("Power and price of the day"), {"bottom": TimeAxis("bottom")})
        self.caption("left", tr("kW"))
        self.showAxis("right")
        self.caption("right", tr("price"))
        self._prices = pg.ViewBox(enableMenu=False)
        self._prices.setMouseEnabled(x=False, y=False)
        self.scene().addItem(self._prices)
        self.getAxis("right").linkToView(self._prices)
        self._prices.setXLink(self.getPlotItem())
        self.getPlotItem().vb.sigResized.connect(self._follow)
        self._taken = self._area("grid")
        self._fed = self._area("roof")
        self._price_line = pg.PlotCurveItem(
            pen=pen(theme.color("accent"), 1.6, Qt.PenStyle.DashLine), connect="finite"
        )
        self._prices.addItem(self._price_line)
        self._now = pg.InfiniteLine(angle=90, pen=pen(theme.color("strong_border"), 1))
        self.addItem(self._now, ignoreBounds=True)
        self.addItem(
            pg.InfiniteLine(pos=0, angle=0, pen=pen(theme.color("strong_border"), 1)),
            ignoreBounds=True,
        )

    def show_day(
        self, now: datetime, series: Sequence[tuple[float, int]], slots: Sequence[SlotView]
    ) -> None:
        """Draw the local day of ``now``: ``series`` of (POSIX time, W), prices of ``slots``."""
        today = fmt.local(now).date()
        start = fmt.midnight(today).timestamp()
        end = fmt.midnight(today + timedelta(days=1)).timestamp()
        self.setXRange(start, end, padding=0)
        points = np.array([p for p in series if start <= p[0] <= end], dtype=float).reshape(-1, 2)
        power = points[:, 1] / 1000.0
        self._taken.setData(points[:, 0], power.clip(min=0.0))
        self._fed.setData(points[:, 0], power.clip(max=0.0))
        reach = max(0.5, float(np.abs(power).max()) if len(power) else 0.5) * 1.1
        self.setYRange(-reach if len(power) and power.min() < 0 else 0, reach, padding=0)
        self._now.setPos(now.timestamp())
        self._show_prices([s for s in slots if start <= s.start.timestamp() < end])
        self.setAccessibleDescription(
            tr("{points} power values, {slots} slots", points=len(points), slots=len(slots))
        )

    def _show_prices(self, slots: Sequence[SlotView]) -> None:
        xs: list[float] = []
        ys: list[float] = []
        for slot in slots:
            begin = slot.start.timestamp()
            level = float("nan") if slot.price is None else slot.price / TICKS_PER_CURRENCY
            xs += [begin, begin + slot.length_s]
            ys += [level, level]
        self._price_line.setData(np.array(xs), np.array(ys))
        if slots:
            low = min(s.floor for s in slots) / TICKS_PER_CURRENCY
            high = max(s.cap for s in slots) / TICKS_PER_CURRENCY
            margin = max(0.02, (high - low) * 0.12)
            self._prices.setYRange(low - margin, high + margin, padding=0)
        self._follow()

    def _area(self, color: str) -> Any:
        tint = self.theme.color(color)
        return self.plot([], [], pen=pen(tint, 1.4), fillLevel=0, brush=pg.mkBrush(soft(tint, 0.3)))

    def _follow(self) -> None:
        box = self.getPlotItem().vb
        self._prices.setGeometry(box.sceneBoundingRect())
        self._prices.linkedViewChanged(box, self._prices.XAxis)


class MoneyPlot(Plot):
    """Money per slot (or day, or month) as filled bars, grid alone as outlined bars."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, tr("Money with the market and with the grid alone"))
        self._axis = self.getAxis("bottom")

    def show_bars(
        self, labels: Sequence[str], with_market: Sequence[int], grid_only: Sequence[int], unit: str
    ) -> None:
        """Draw one pair of bars per label; amounts in Wh·tick, ``unit`` is the currency."""
        self.clear()
        self.caption("left", unit)
        if not labels:
            self._axis.setTicks([[]])
            return
        places = np.arange(len(labels), dtype=float)
        color = self.theme.color("accent")
        self.addItem(
            pg.BarGraphItem(
                x=places - 0.2,
                height=np.array(with_market) / MONEY_PER_CURRENCY,
                width=0.38,
                brush=pg.mkBrush(soft(color, 0.85)),
                pen=pen(color, 0.5),
            )
        )
        self.addItem(
            pg.BarGraphItem(
                x=places + 0.2,
                height=np.array(grid_only) / MONEY_PER_CURRENCY,
                width=0.38,
                brush=pg.mkBrush(soft(self.theme.color("grid"), 0.15)),
                pen=pen(self.theme.color("grid"), 1.1),
            )
        )
        self.addItem(pg.InfiniteLine(pos=0, angle=0, pen=pen(self.theme.color("strong_border"), 1)))
        step = max(1, -(-len(labels) // 12))
        ticks = [(float(i), labels[i]) for i in range(0, len(labels), step)]
        self._axis.setTicks([ticks])
        self.setXRange(-0.7, len(labels) - 0.3, padding=0)
        self.enableAutoRange(axis="y")


class LegendKey(QWidget):
    """A sample of a line or bar, as it is drawn in the plot."""

    def __init__(self, sample: QPen, fill: QColor | None = None) -> None:
        super().__init__()
        self._pen = sample
        self._fill = fill
        self.setFixedSize(22, 12)
        self.setAccessibleName(tr("line sample"))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the sample."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self._pen)
        if self._fill is not None:
            painter.setBrush(self._fill)
            painter.drawRect(3, 2, 16, 8)
        else:
            painter.drawLine(1, 6, 21, 6)
        painter.end()
