"""Where the day takes place: which day is free, and how fast a network can follow."""

import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from light_node.devnet.testing import DevnetProcess
from wallet_app import cli
from wallet_app.demo import ground
from wallet_app.demo.ground import MAX_DAYS, Ground

SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = date(2026, 6, 20)


def test_the_first_day_without_slots_is_taken() -> None:
    used = {DAY, DAY + timedelta(days=1), DAY + timedelta(days=3)}
    asked = []

    def slots(start: datetime, end: datetime) -> int:
        asked.append((start, end))
        return int(start.date() in used)

    assert ground._first_free(DAY, SHANGHAI, slots) == DAY + timedelta(days=2)
    midnight = datetime.combine(DAY, time(), SHANGHAI)
    assert asked[0] == (midnight, midnight + timedelta(days=1))


def test_a_network_that_is_full_has_none() -> None:
    assert ground._first_free(DAY, SHANGHAI, lambda *_: 1) is None
    last = DAY + timedelta(days=MAX_DAYS - 1)
    assert ground._first_free(DAY, SHANGHAI, lambda start, _: int(start.date() != last)) == last


def test_instants_are_told_in_utc() -> None:
    assert ground._instant(datetime(2026, 6, 20, tzinfo=SHANGHAI)) == "2026-06-19T16:00Z"
    assert ground._instant(datetime(2026, 6, 20, 1, 30, tzinfo=UTC)) == "2026-06-20T01:30Z"


@pytest.mark.timeout(240)
def test_a_day_on_a_network_that_runs_and_another_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["demo", "--json", "--neighbours", "2", "--slots", "1", "--seconds-per-slot", "1"]
    with DevnetProcess(tmp_path / "net", "--batch-timeout", "50"):
        assert Ground.of_directory(tmp_path / "net", "").seconds_per_slot(1.0) == 5.0
        assert Ground.of_directory(tmp_path / "net", "").seconds_per_slot(60.0) == 60.0
        command += ["--network", str(tmp_path / "net"), "--output", str(tmp_path / "out")]
        days = []
        for _ in range(2):
            cli.main(command)
            out, err = capsys.readouterr()
            assert json.loads(out)["participant"].startswith("home-")
            days.append(next(word for word in err.split() if word.startswith("2026-06-")))
    assert days == ["2026-06-20,", "2026-06-21,"]


def test_no_network_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--terminal", "--network", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "start the network or import its profile" in err
