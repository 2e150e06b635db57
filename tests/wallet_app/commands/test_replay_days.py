"""Local days of 23, 24 and 25 hours on the command line."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from wallet_app.cli import main


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-29", 23), ("2026-06-21", 24), ("2026-10-25", 25)],
)
def test_replay_takes_the_local_day_whatever_its_length(tmp_path, capsys, day, hours):
    first = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=6)
    slots = [
        {
            "slot": f"{first + timedelta(hours=n):%Y-%m-%dT%H:%MZ}/PT60M",
            "floor": 3800,
            "cap": 11080,
            "net_wh": 500,
            "quotes": [],
        }
        for n in range(40)
    ]
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"participant": "me", "time_zone": "Europe/Berlin", "slots": slots}))
    assert main(["replay", day, "--record", str(path), "--strategy", "grid", "--json"]) == 0
    (grid,) = json.loads(capsys.readouterr().out)["replays"]
    assert len(grid["slots"]) == hours
    assert grid["money"] == -hours * 500 * 11080
    # A record that lacks an hour gives a shorter day, and says so.
    before, after = slots[9]["slot"], slots[11]["slot"]
    del slots[10]
    path.write_text(json.dumps({"participant": "me", "time_zone": "Europe/Berlin", "slots": slots}))
    assert main(["replay", day, "--record", str(path), "--strategy", "grid"]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"slots are missing between {before} and {after}\n"
    assert f"{hours - 1} slots" in printed.out
