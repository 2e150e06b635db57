"""The live power flow: roof and battery at the left, the house, market and grid at the right.

Direction is told by moving dots, arrowheads and words; the width of a line grows with its power.
"""

from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, QTimer
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetricsF,
    QHideEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPolygonF,
    QShowEvent,
)
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QSizePolicy, QWidget

from wallet_app import format as fmt
from wallet_app.gui import icons
from wallet_app.gui.theme import Theme
from wallet_app.i18n import tr
from wallet_app.trading.view import LiveView, SlotView

_IDLE_W = 10  # below this a line shows no flow: meter noise
_FRAME_MS = 60
_HOUSE = 1.62  # its circle holds its figure, in radii of the others


@dataclass(frozen=True, slots=True)
class Node:
    """One place power comes from or goes to; ``inward`` is the power into the house in W."""

    key: str
    name: str
    inward: int | None
    state: str
    details: tuple[str, ...] = ()


def split_grid(grid_power_w: int | None, slot: SlotView | None) -> tuple[int | None, int | None]:
    """Split the power at the meter into what the slot's contract covers and the rest, in W.

    Both positive into the house. The contract covers power only in its own direction, evenly over
    the slot; None where the meter is silent.
    """
    if grid_power_w is None:
        return None, None
    if slot is None or not slot.matched_wh or not slot.length_s:
        return 0, grid_power_w
    contract = slot.matched_wh * 3600 // slot.length_s
    if slot.side == "sell" and grid_power_w < 0:
        market = -min(contract, -grid_power_w)
    elif slot.side == "buy" and grid_power_w > 0:
        market = min(contract, grid_power_w)
    else:
        market = 0
    return market, grid_power_w - market


def nodes(live: LiveView, slot: SlotView | None) -> tuple[Node, ...]:
    """Return roof, battery, market and grid as the picture shows them."""
    market, grid = split_grid(live.grid_power_w, slot)
    battery = None if live.battery_power_w is None else -live.battery_power_w
    stored: tuple[str, ...] = ()
    if live.battery_wh is not None:
        stored = (tr("{kwh} kWh stored", kwh=fmt.kwh(live.battery_wh, 1)),)
    contract = tr("no contract now")
    if slot is not None and slot.matched_wh:
        contract = tr("contract {kwh} kWh", kwh=fmt.kwh(slot.matched_wh))
    exchanged: tuple[str, ...] = ()
    if live.today_import_wh is not None or live.today_export_wh is not None:
        exchanged = (
            tr("today in {kwh} kWh", kwh=fmt.kwh(live.today_import_wh, 1)),
            tr("today out {kwh} kWh", kwh=fmt.kwh(live.today_export_wh, 1)),
        )
    return (
        Node(
            "roof",
            tr("Roof"),
            live.roof_power_w,
            "",
            (tr("today {kwh} kWh", kwh=fmt.kwh(live.today_roof_wh, 1)),),
        ),
        Node(
            "battery",
            tr("Battery"),
            battery,
            _direction(battery, tr("discharging"), tr("charging"), tr("idle")),
            stored,
        ),
        Node(
            "market",
            tr("Market"),
            market,
            _direction(market, tr("buying"), tr("selling"), ""),
            (contract,),
        ),
        Node(
            "grid",
            tr("Grid"),
            grid,
            _direction(grid, tr("from the grid"), tr("to the grid"), tr("idle")),
            exchanged,
        ),
    )


def _direction(power: int | None, inward: str, outward: str, idle: str) -> str:
    if power is None or abs(power) < _IDLE_W:
        return "" if power is None else idle
    return inward if power > 0 else outward


class FlowWidget(QWidget):
    """Paints the flow; the same facts are its accessible description."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._live = LiveView()
        self._nodes = nodes(self._live, None)
        self._step = 0.0
        self._icons: dict[str, QSvgRenderer] = {
            key: icons.renderer(key, theme.color(color))
            for key, color in (
                ("roof", "roof"),
                ("battery", "battery"),
                ("house", "house"),
                ("market", "accent"),
                ("grid", "grid"),
            )
        }
        self._colors = {
            "roof": theme.color("roof"),
            "battery": theme.color("battery"),
            "house": theme.color("house"),
            "market": theme.color("accent"),
            "grid": theme.color("grid"),
        }
        self.setMinimumSize(300, 176)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(tr("Power flow"))
        self._timer = QTimer(self)
        self._timer.setInterval(_FRAME_MS)
        self._timer.timeout.connect(self._advance)

    def sizeHint(self) -> QSize:
        """Prefer a wide picture."""
        return QSize(430, 180)

    def show_flow(self, live: LiveView, slot: SlotView | None) -> None:
        """Show ``live``, with the contract of the ``slot`` under way."""
        self._live = live
        self._nodes = nodes(live, slot)
        parts = [f"{tr('House')} {fmt.kw(live.house_power_w)} kW"]
        for node in self._nodes:
            power = fmt.kw(None if node.inward is None else abs(node.inward))
            parts.append(f"{node.name} {power} kW {node.state}".rstrip())
        self.setAccessibleDescription("; ".join(parts))
        self.update()

    def showEvent(self, event: QShowEvent) -> None:
        """Move the dots only while somebody can see them."""
        super().showEvent(event)
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """Rest while hidden."""
        super().hideEvent(event)
        self._timer.stop()

    def _advance(self) -> None:
        if any(node.inward and abs(node.inward) >= _IDLE_W for node in self._nodes):
            self._step = (self._step + 0.018) % 1.0
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw lines first, then the places on top."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        scale = max(0.8, min(self.width() / 430, self.height() / 180, 2.2))
        radius = 25 * scale
        house = QPointF(self.width() / 2, self.height() / 2)
        # The texts beside the places need their room first, the lines take the rest.
        reach = max(76 * scale, house.x() - radius - 9 * scale - 125 * scale**0.5)
        reach = min(reach, self.width() * 0.25)
        rise = self.height() / 2 - radius - 4 * scale
        for node, (side, row) in zip(
            self._nodes, ((-1, -1), (-1, 1), (1, -1), (1, 1)), strict=True
        ):
            place = QPointF(house.x() + side * reach, house.y() + row * rise)
            self._paint_line(painter, node, place, house, radius, scale)
            charge = self._charge() if node.key == "battery" else None
            self._paint_place(painter, node.key, place, radius, charge)
            self._paint_texts(painter, node, place, side, radius, scale)
        self._paint_house(painter, house, radius * _HOUSE, scale)
        painter.end()

    def _charge(self) -> float | None:
        live = self._live
        if live.battery_wh is None or not live.battery_capacity_wh:
            return None
        return min(1.0, live.battery_wh / live.battery_capacity_wh)

    def _paint_line(
        self,
        painter: QPainter,
        node: Node,
        place: QPointF,
        house: QPointF,
        radius: float,
        scale: float,
    ) -> None:
        path = QPainterPath(place)
        bend = (house.x() - place.x()) * 0.45
        path.cubicTo(
            QPointF(place.x() + bend, place.y()), QPointF(house.x() - bend, house.y()), house
        )
        power = node.inward or 0
        flows = abs(power) >= _IDLE_W
        color = self._colors[node.key] if flows else self._theme.color("border")
        width = (1.6 + min(3.4, abs(power) / 1500)) * scale if flows else 1.5 * scale
        soft = QColor(color)
        soft.setAlphaF(0.45 if flows else 1.0)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(soft, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        painter.drawPath(path)
        if not flows:
            return
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        length = max(path.length(), 1.0)
        first, last = radius / length, 1 - radius * _HOUSE / length
        for dot in range(2):
            along = first + (self._step + dot / 2) % 1.0 * (last - first)
            at = path.pointAtPercent(along if power > 0 else first + last - along)
            painter.drawEllipse(at, width * 0.72 + 1, width * 0.72 + 1)
        self._paint_arrow(painter, path, (first + last) / 2, power > 0, scale)

    def _paint_arrow(
        self, painter: QPainter, path: QPainterPath, along: float, inward: bool, scale: float
    ) -> None:
        painter.save()
        painter.translate(path.pointAtPercent(along))
        painter.rotate(-path.angleAtPercent(along) + (0 if inward else 180))
        size = 6.0 * scale
        painter.drawPolygon(
            QPolygonF([QPointF(size, 0), QPointF(-size, -size), QPointF(-size, size)])
        )
        painter.restore()

    def _paint_place(
        self, painter: QPainter, key: str, at: QPointF, radius: float, charge: float | None
    ) -> None:
        color = self._colors[key]
        painter.setBrush(self._theme.color("surface"))
        rim = QColor(color)
        if charge is not None:
            rim.setAlphaF(0.25)
        painter.setPen(QPen(rim, 2.4))
        painter.drawEllipse(at, radius, radius)
        if charge is not None:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(color, 3.4, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
            box = QRectF(at.x() - radius, at.y() - radius, 2 * radius, 2 * radius)
            painter.drawArc(box, 90 * 16, -round(charge * 360 * 16))
        half = radius * 0.58
        self._icons[key].render(painter, QRectF(at.x() - half, at.y() - half, 2 * half, 2 * half))

    def _paint_texts(
        self,
        painter: QPainter,
        node: Node,
        place: QPointF,
        side: int,
        radius: float,
        scale: float,
    ) -> None:
        gap = radius + 9 * scale
        left = 0.0 if side < 0 else place.x() + gap
        width = place.x() - gap if side < 0 else self.width() - left
        flag = Qt.AlignmentFlag.AlignRight if side < 0 else Qt.AlignmentFlag.AlignLeft
        power = None if node.inward is None else abs(node.inward)
        name = node.name
        if node.key == "battery":
            charge = fmt.percent(self._live.battery_wh, self._live.battery_capacity_wh)
            name = f"{name}  {charge}" if charge != fmt.DASH else name
        lines = [
            (name, "muted", 8.5, False),
            (f"{fmt.kw(power)} kW", "text", 11.5, True),
            (node.state, "text", 8.0, False),
            *((detail, "muted", 8.0, False) for detail in node.details),
        ]
        shown = [line for line in lines if line[0]]
        fonts = [self._font(size * scale**0.5, bold) for _, _, size, bold in shown]
        heights = [self._height(font) for font in fonts]
        top = place.y() - sum(heights) / 2
        top = max(0.0, min(top, self.height() - sum(heights)))
        for (text, color, _, _), font, height in zip(shown, fonts, heights, strict=True):
            painter.setFont(font)
            painter.setPen(self._theme.color(color))
            cut = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, int(width))
            painter.drawText(
                QRectF(left, top, width, height), int(flag | Qt.AlignmentFlag.AlignVCenter), cut
            )
            top += height

    def _paint_house(self, painter: QPainter, house: QPointF, radius: float, scale: float) -> None:
        painter.setBrush(self._theme.color("surface"))
        painter.setPen(QPen(self._colors["house"], 2.4))
        painter.drawEllipse(house, radius, radius)
        half = radius * 0.3
        self._icons["house"].render(
            painter, QRectF(house.x() - half, house.y() - radius * 0.82, 2 * half, 2 * half)
        )
        top = house.y() - radius * 0.2
        for text, color, size, bold in (
            (f"{fmt.kw(self._live.house_power_w)} kW", "text", 10.0, True),
            (tr("House"), "muted", 8.0, False),
        ):
            font = self._font(size * scale**0.5, bold)
            painter.setFont(font)
            painter.setPen(self._theme.color(color))
            height = self._height(font)
            box = QRectF(house.x() - radius, top, 2 * radius, height)
            painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), text)
            top += height

    def _font(self, size: float, bold: bool) -> QFont:
        font = QFont(self.font())
        font.setPointSizeF(size)
        font.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
        return font

    def _height(self, font: QFont) -> float:
        return QFontMetricsF(font).height() * 1.02
