"""``prosumer-wallet demo`` as anybody runs it: every slot settled, proved and written down."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wallet_app.gui.libraries import qt_libraries_problem

if sys.platform == "win32":
    pytest.skip("the simulated home needs a pseudo-terminal", allow_module_level=True)

SLOTS = 2
COMMAND = [
    sys.executable, "-c", "import sys; from wallet_app.cli import main; sys.exit(main())",
    "demo", "--neighbours", "4", "--seconds-per-slot", "3", "--json", "--terminal",
]  # fmt: skip


@dataclass
class Day:
    """A demo that has ended, and what it left."""

    done: "subprocess.CompletedProcess[str]"
    output: Path
    temporary: Path

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.done.stdout)
        return found

    @property
    def rows(self) -> list[dict[str, str]]:
        with (self.output / "slots.csv").open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))


def live_through(directory: Path, slots: int) -> Day:
    temporary = directory / "tmp"
    temporary.mkdir(parents=True)
    done = subprocess.run(
        [*COMMAND, "--slots", str(slots), "--output", str(directory / "out")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "TMPDIR": str(temporary), "PROSUMER_LANG": "en"},
    )
    return Day(done, directory / "out", temporary)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    return live_through(tmp_path_factory.mktemp("day"), SLOTS)


def test_it_ends_well_with_every_slot_settled_and_proved(day: Day) -> None:
    assert day.done.returncode == 0, day.done.stderr
    assert "Traceback" not in day.done.stderr
    result = day.result
    assert (result["participant"], result["slots_settled"]) == ("home@Org1MSP", SLOTS)
    assert result["proof"] in ("agreed", "audited")
    assert result["verified_height"] >= result["agreed_height"] > 0
    parts = ("market_money", "grid_money", "penalty_money")
    total = sum(result[name] for name in parts)
    assert result["saved_money"] == total - result["grid_only_money"]


def test_the_table_holds_every_slot(day: Day) -> None:
    rows = day.rows
    assert [row["start_local"] for row in rows] == [
        "2026-06-20T00:00:00+08:00",
        "2026-06-20T01:00:00+08:00",
    ]
    for row in rows:
        assert row["phase"] == "settled"
        assert row["proof"] in ("agreed", "audited")
        assert row["delivered_net_wh"]
        assert row["quoted_price_per_kwh"]
        assert len(row["transaction"]) == 64
    money = sum(round(float(row["total_money"]) * 10**7) for row in rows)
    assert money == sum(day.result[n] for n in ("market_money", "grid_money", "penalty_money"))


def test_the_statement_is_written(day: Day) -> None:
    page = (day.output / "statement.html").read_text(encoding="utf-8")
    assert "home@Org1MSP" in page
    assert "2026-06-20" in page
    assert all(Path(name).is_file() for name in day.result["files"])


@pytest.mark.skipif(qt_libraries_problem() is not None, reason="Qt's libraries are not there")
def test_the_window_is_pictured(day: Day) -> None:
    pictures = sorted(day.output.glob("*.png"))
    pages = ["history", "home", "meter", "settings", "trust"]
    assert [p.stem for p in pictures] == pages
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)
    assert (day.output / "statement.pdf").read_bytes().startswith(b"%PDF")


def test_nothing_is_left_behind(day: Day) -> None:
    assert list(day.temporary.iterdir()) == []


def test_another_day_can_begin_at_once(day: Day, tmp_path: Path) -> None:
    again = live_through(tmp_path, 1)
    assert again.done.returncode == 0, again.done.stderr
    assert again.result["slots_settled"] == 1
