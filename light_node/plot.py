"""Line plots as SVG text: small, without a library, and the same bytes for the same figures.

A figure is a row-by-row grid of panels; each panel has its axes, linear or logarithmic, its own
lines told apart by colour, dash and mark, and a legend. The text is the same on every machine, so
that a committed picture shows what changed as a difference of lines.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 460, 300  # of a panel, px
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 30, 34, 46
_LEGEND_LINE = 16
# Told apart by colour-blind readers as well (Okabe and Ito), and by dash and mark in print.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) joined in order; None for y leaves the point out."""

    name: str
    points: tuple[tuple[float, float | None], ...]

    @property
    def known(self) -> list[tuple[float, float]]:
        """The points that have a value."""
        return [(x, y) for x, y in self.points if y is not None]


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram. On a logarithmic axis points at or below 0 are left out, not moved."""

    title: str
    x_name: str
    y_name: str
    lines: tuple[Line, ...]
    x_log: bool = True
    y_log: bool = False

    def drawn(self, line: Line) -> list[tuple[float, float]]:
        """Return the points of ``line`` that the axes can show."""
        return [
            (x, y) for x, y in line.known if (x > 0 or not self.x_log) and (y > 0 or not self.y_log)
        ]


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    log: bool

    @classmethod
    def over(cls, values: Sequence[float], *, log: bool) -> "_Axis":
        if not values:
            return cls(1.0, 10.0, True) if log else cls(0.0, 1.0, False)
        if log:
            low = math.floor(math.log10(min(values)))
            high = math.ceil(math.log10(max(values)))
            return cls(10.0**low, 10.0 ** max(high, low + 1), True)
        bottom, top = min(0.0, *values), max(0.0, *values)
        step = _step(max(top - bottom, 1e-9))
        return cls(bottom, max(math.ceil(top / step - 1e-9), 1) * step, False)

    def share(self, value: float) -> float:
        """Return where ``value`` lies: 0 at the low end, 1 at the high one."""
        if self.log:
            low, high = math.log10(self.low), math.log10(self.high)
            return (math.log10(value) - low) / (high - low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            every = max((last - first) // 6, 1)
            return [(10.0**power, _power(power)) for power in range(first, last + 1, every)]
        step = _step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(number * step, f"{number * step:g}") for number in range(first, last + 1)]


def figure(panels: Sequence[Panel], columns: int = 2) -> str:
    """Return the panels as one SVG document, ``columns`` side by side."""
    columns = max(min(columns, len(panels)), 1)
    tallest = max((len(panel.lines) for panel in panels), default=0)
    height = _HEIGHT + _LEGEND_LINE * tallest
    rows = -(-len(panels) // columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * _WIDTH}" '
        f'height="{rows * height}" viewBox="0 0 {columns * _WIDTH} {rows * height}" '
        'font-family="sans-serif" font-size="11" fill="#222222">',
        f'<rect width="{columns * _WIDTH}" height="{rows * height}" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        x, y = number % columns * _WIDTH, number // columns * height
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel) -> list[str]:
    drawn = [panel.drawn(line) for line in panel.lines]
    xs = _Axis.over([x for points in drawn for x, _ in points], log=panel.x_log)
    ys = _Axis.over([y for points in drawn for _, y in points], log=panel.y_log)
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT

    def at_x(value: float) -> float:
        return _LEFT + xs.share(value) * (right - _LEFT)

    def at_y(value: float) -> float:
        return bottom - ys.share(value) * (bottom - _TOP)

    parts = [_text(_LEFT, 20, panel.title, 'font-size="13" font-weight="bold"')]
    for value, name in ys.ticks():
        y = at_y(value)
        parts.append(_rule(_LEFT, y, right, y, "#dddddd"))
        parts.append(_text(_LEFT - 6, y + 4, name, 'text-anchor="end"'))
    for value, name in xs.ticks():
        x = at_x(value)
        parts.append(_rule(x, bottom, x, bottom + 4, "#222222"))
        parts.append(_text(x, bottom + 17, name, 'text-anchor="middle"'))
    parts.append(_rule(_LEFT, bottom, right, bottom, "#222222"))
    middle = (_TOP + bottom) / 2
    parts.append(_text((_LEFT + right) / 2, bottom + 34, panel.x_name, 'text-anchor="middle"'))
    turned = f'text-anchor="middle" transform="rotate(-90 14 {middle:.1f})"'
    parts.append(_text(14, middle, panel.y_name, turned))
    for number, (line, points) in enumerate(zip(panel.lines, drawn, strict=True)):
        parts += _line(points, number, at_x, at_y)
        parts += _legend(line.name, number)
    return parts


def _line(
    points: Sequence[tuple[float, float]],
    number: int,
    at_x: Callable[[float], float],
    at_y: Callable[[float], float],
) -> list[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
    dash = _dash(number)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>']
    return parts + [_mark(at_x(x), at_y(y), number) for x, y in points]


def _legend(name: str, number: int) -> list[str]:
    y = _HEIGHT + _LEGEND_LINE * number + 2
    colour = _COLOURS[number % len(_COLOURS)]
    return [
        f'<line x1="{_LEFT}" y1="{y}" x2="{_LEFT + 30}" y2="{y}" stroke="{colour}" '
        f'stroke-width="2"{_dash(number)}/>',
        _mark(_LEFT + 15, y, number),
        _text(_LEFT + 38, y + 4, name),
    ]


def _mark(x: float, y: float, number: int) -> str:
    colour = _COLOURS[number % len(_COLOURS)]
    if number % 2:
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'


def _dash(number: int) -> str:
    dash = _DASHES[number % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{" " if more else ""}{more}>{escape(text)}</text>'


def _step(span: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that gives four to ten ticks."""
    power = 10.0 ** math.floor(math.log10(span))
    return next(step * power for step in (0.1, 0.2, 0.5, 1.0) if span / (step * power) <= 10)


def _power(power: int) -> str:
    if 0 <= power <= 6:
        return f"{10**power:,}"
    return f"{10.0**power:g}" if -4 <= power < 0 else "10" + str(power).translate(_SUPERSCRIPTS)
