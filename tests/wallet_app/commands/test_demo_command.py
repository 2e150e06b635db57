"""``prosumer-wallet demo``: what it refuses, and what is left when it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wallet_app import cli
from wallet_app.commands import demo
from wallet_app.demo.day import DayOptions

COMMAND = [sys.executable, "-c", "import sys; from wallet_app.cli import main; sys.exit(main())"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--neighbours", "0"], "--neighbours must be from 1 to 300"),
        (["--neighbours", "301"], "--neighbours must be from 1 to 300"),
        (["--neighbours", "many"], "invalid int value"),
        (["--slots", "0"], "--slots must be from 1 to 24"),
        (["--slots", "25"], "--slots must be from 1 to 24"),
        (["--seconds-per-slot", "0.9"], "--seconds-per-slot must be from 1 to 3600"),
        (["--seconds-per-slot", "nan"], "--seconds-per-slot must be from 1 to 3600"),
        (["--seconds-per-slot", "inf"], "--seconds-per-slot must be from 1 to 3600"),
        (["--seed", "-1"], "--seed must be from 0 to"),
        (["--seed", str(10**30)], "--seed must be from 0 to"),
        (["--day", "today"], "give YYYY-MM-DD"),
        (["--day", "2026-02-30"], "give YYYY-MM-DD"),
        (["--day", "0001-01-01"], "--day must lie from 2000 to 2099"),
        (["--day", "9999-12-31"], "--day must lie from 2000 to 2099"),
        (["--speed", "9"], "unrecognized arguments"),
    ],
)
def test_options_out_of_range_are_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = cli.main(["demo", *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


def test_a_place_that_cannot_be_written_is_refused_before_the_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert cli.main(["demo", "--output", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_day_with_slots_that_came_too_late_says_what_helps() -> None:
    late = demo._unsettled(23, DayOptions(slots=24, seconds_per_slot=6.9))
    assert late.startswith("! 23 of 24 slots were settled in time.")
    assert late.endswith("--seconds-per-slot 14")
    assert demo._unsettled(0, DayOptions(seconds_per_slot=3000)).endswith(" 3600")


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start(output: Path, temporary: Path, *more: str) -> "subprocess.Popen[str]":
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [*COMMAND, "demo", "--terminal", "--neighbours", "2", "--slots", "4",
         "--seconds-per-slot", "30", "--output", str(output), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), "PROSUMER_LANG": "en"},
    )  # fmt: skip


def wait_for(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    pytest.fail(f"the demo ended: {seen} {process.stderr.read() if process.stderr else ''}")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at /proc")
@pytest.mark.parametrize(
    ("number", "at"),
    [
        (signal.SIGINT, "slot "),  # the table's heading: the day is under way
        (signal.SIGTERM, "Enrolling"),  # while it is being set up
    ],
)
def test_stopped_it_leaves_no_process_and_no_file(
    tmp_path: Path, number: signal.Signals, at: str
) -> None:
    process = start(tmp_path / "out", tmp_path / "tmp")
    with process:
        wait_for(process, at)
        pids = children(process.pid)
        assert pids
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    until = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at /proc")
def test_a_part_that_dies_ends_the_day_with_its_name(tmp_path: Path) -> None:
    process = start(tmp_path / "out", tmp_path / "tmp", "--json", "--keep")
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("slot "):
                break
        for pid in children(process.pid):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"devnet" in command:
                os.kill(pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "! devnet: " in err
    assert "Traceback" not in err
    assert json.loads(out)["slots_settled"] == 0
    kept = [p for p in (tmp_path / "out").iterdir() if p.name.startswith("day-")]
    assert (kept[0] / "logs" / "devnet.log").exists()
