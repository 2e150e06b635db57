"""What a load test found, beside what the papers' saw: a table, CSV and a picture.

The paper is [Z]: Zhao et al. 2019, Table 1 (docs/market-rules.md section 9): queries against a
Hyperledger Fabric 1.1 of another size on other machines, so its figures are no rivals but a scale.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from light_node.bench.load import Outcome, percentile
from light_node.plot import Line, Panel

QUERIES, PUTS, QUOTES = "queries", "puts", "quotes"


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of [Z] Table 1: queries sent and answered per second, latencies in ms."""

    rate: int
    average_ms: int
    maximum_ms: int
    throughput: int


PAPER = tuple(
    PaperRow(*row)
    for row in (
        (50, 80, 110, 50),
        (100, 100, 150, 100),
        (120, 180, 340, 120),
        (140, 250, 440, 140),
        (160, 340, 570, 152),
        (180, 370, 580, 177),
        (200, 400, 750, 194),
        (220, 520, 920, 209),
        (240, 680, 1290, 242),
        (260, 1000, 1430, 255),
        (280, 1860, 3520, 276),
        (300, 3330, 4900, 279),
        (340, 3910, 6320, 283),
        (380, 5320, 7910, 292),
        (420, 5990, 8930, 295),
        (460, 8040, 10030, 297),
    )
)


@dataclass(frozen=True, slots=True)
class Row:
    """One rate of one kind of load; ``paper`` is what [Z] measured at that rate, for queries."""

    load: str
    outcome: Outcome
    paper: PaperRow | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """Quotes from the instant they were due until two organisations' peers agree on their block.

    ``latencies`` in ms, ascending; ``batch_timeout_ms`` is the channel's.
    """

    rate: int
    latencies: tuple[float, ...]
    failed: int
    batch_timeout_ms: float

    @property
    def line(self) -> str:
        """One line for people."""
        ordered = list(self.latencies)
        average = sum(ordered) / len(ordered) if ordered else float("nan")
        return (
            f"quotes until two organisations agree, {self.rate} per second: {average:.0f} ms on "
            f"average, {percentile(ordered, 0.99):.0f} ms p99, {self.failed} failed "
            f"(batch timeout {self.batch_timeout_ms:.0f} ms)"
        )


HEAD = (
    f"{'load':<8}{'sent/s':>7}{'failed':>8}{'avg ms':>9}{'p99 ms':>9}{'max ms':>9}"
    f"{'per s':>8}{'CPU ms':>8}{'[Z] avg ms':>12}{'[Z] per s':>11}"
)


_COLUMNS = (
    "load",
    "send_rate_tps",
    "succeeded",
    "failed",
    "avg_latency_ms",
    "p99_latency_ms",
    "max_latency_ms",
    "throughput_tps",
    "client_cpu_ms",
    "zhao_avg_latency_ms",
    "zhao_throughput_tps",
)


def table_line(row: Row) -> str:
    """Return the row as a line of the table under :data:`HEAD`."""
    o, paper = row.outcome, row.paper
    beside = f"{paper.average_ms:>12,}{paper.throughput:>11}" if paper else ""
    return (
        f"{row.load:<8}{o.rate:>7}{o.failed:>8}{o.average_ms:>9.1f}{o.percentile_ms(0.99):>9.1f}"
        f"{o.percentile_ms(1):>9.1f}{o.throughput:>8.1f}{o.cpu_ms:>8.2f}{beside}"
    )


def csv_text(rows: Sequence[Row]) -> str:
    """Return all rows as CSV; latencies and CPU per call in ms, empty where [Z] has nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        o, paper = row.outcome, row.paper
        figures = (o.average_ms, o.percentile_ms(0.99), o.percentile_ms(1), o.throughput, o.cpu_ms)
        writer.writerow(
            [
                *(row.load, o.rate, len(o.samples), o.failed),
                *(f"{figure:.3f}" for figure in figures),
                *((paper.average_ms, paper.throughput) if paper else ("", "")),
            ]
        )
    return out.getvalue()


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Return the picture's panels: latency and throughput of queries, latency to commit."""
    rate = "sent per second"
    queries = [row for row in rows if row.load == QUERIES]
    found = []
    if queries:
        found = [
            Panel(
                "Queries: latency",
                rate,
                "ms",
                (
                    Line(
                        "[Z], average", tuple((float(p.rate), float(p.average_ms)) for p in PAPER)
                    ),
                    _line("here, average", queries, lambda o: o.average_ms),
                    _line("here, p99", queries, lambda o: o.percentile_ms(0.99)),
                ),
                x_log=False,
                y_log=True,
            ),
            Panel(
                "Queries: answered per second",
                rate,
                "per second",
                (
                    Line("[Z]", tuple((float(p.rate), float(p.throughput)) for p in PAPER)),
                    _line("here", queries, lambda o: o.throughput),
                ),
                x_log=False,
            ),
        ]
    lines = []
    for load in (PUTS, QUOTES):
        chosen = [row for row in rows if row.load == load]
        if chosen:
            lines.append(_line(f"{load}, average", chosen, lambda o: o.average_ms))
            lines.append(_line(f"{load}, p99", chosen, lambda o: o.percentile_ms(0.99)))
    if lines:
        title = "Submission to commit: latency"
        found.append(Panel(title, rate, "ms", tuple(lines), x_log=False, y_log=True))
    return found


def _line(name: str, rows: Sequence[Row], figure: Callable[[Outcome], float]) -> Line:
    points = sorted((float(row.outcome.rate), figure(row.outcome)) for row in rows)
    return Line(name, tuple(points))
