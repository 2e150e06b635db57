"""The table, the CSV and the picture of a load test."""

import csv
import io
from pathlib import Path

from light_node.bench.load import Outcome, Sample
from light_node.bench.report import (
    HEAD,
    PAPER,
    PUTS,
    QUERIES,
    QUOTES,
    Row,
    Verified,
    csv_text,
    panels,
    table_line,
)
from light_node.plot import figure


def outcome(rate: int, *latencies: float, failed: int = 0) -> Outcome:
    return Outcome(rate, tuple(Sample(0.0, ms, None) for ms in latencies), failed, 2.0, 1.5)


ROWS = [
    Row(QUERIES, outcome(50, 2.0, 4.0), PAPER[0]),
    Row(QUERIES, outcome(460, 3.0, 5.0, failed=1), PAPER[-1]),
    Row(PUTS, outcome(100, 50.0)),
    Row(QUOTES, outcome(100, 60.0)),
]


def test_the_papers_rows_are_those_of_table_1(data: Path) -> None:
    with (data / "paper" / "zhao_table1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("send_rate_tps", "avg_latency_ms", "max_latency_ms", "throughput_tps")
    assert [tuple(int(row[n]) for n in names) for row in rows] == [
        (p.rate, p.average_ms, p.maximum_ms, p.throughput) for p in PAPER
    ]
    assert {row["succeeded"] for row in rows} == {"1000"}


def test_table_and_csv_say_the_same() -> None:
    read = list(csv.DictReader(io.StringIO(csv_text(ROWS))))
    assert [row["load"] for row in read] == [QUERIES, QUERIES, PUTS, QUOTES]
    assert (read[0]["avg_latency_ms"], read[0]["zhao_avg_latency_ms"]) == ("3.000", "80")
    assert (read[1]["failed"], read[1]["succeeded"]) == ("1", "2")
    assert read[2]["zhao_avg_latency_ms"] == ""
    line = table_line(ROWS[1])
    assert line.split() == [
        *("queries", "460", "1", "4.0", "5.0", "5.0", "1.0", "1.50", "8,040", "297")
    ]
    assert len(line) == len(HEAD)


def test_the_picture_has_the_papers_lines_beside_ours() -> None:
    titles = [panel.title for panel in panels(ROWS)]
    assert titles == [
        "Queries: latency",
        "Queries: answered per second",
        "Submission to commit: latency",
    ]
    text = figure(panels(ROWS), columns=3)
    assert "[Z], average" in text
    assert "quotes, p99" in text
    assert [panel.title for panel in panels(ROWS[2:])] == ["Submission to commit: latency"]


def test_nothing_succeeded() -> None:
    assert "nan" in table_line(Row(PUTS, outcome(100, failed=5)))
    assert "nan" in Verified(50, (), 5, 500.0).line
