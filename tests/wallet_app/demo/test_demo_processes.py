"""The demo's children: their words, their ends, and that none outlives its parent."""

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from light_node.clock import MarketTime
from wallet_app.demo.processes import Child, ChildFailed

if sys.platform == "win32":
    pytest.skip("the simulated home needs a pseudo-terminal", allow_module_level=True)

NOW = datetime.now(UTC)
SIMULATE = (
    "prosumer-wallet", "meter", "simulate", "--protocol", "dlt645", "--address", "000020260621",
    "--home", "family", "--market-time", json.dumps(MarketTime(NOW, NOW, 1000).to_json()),
)  # fmt: skip


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be collected does not."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            return stat.read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pids: list[int], seconds: float = 30.0) -> bool:
    until = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Child]:
    child = Child("home", *SIMULATE, log=tmp_path / "logs" / "home.log")
    yield child
    child.stop()
    assert not child.running


def test_a_child_speaks_json_lines_and_hears_them(home: Child) -> None:
    first = home.message(60.0)
    assert first["address"] == "000020260621"
    assert first["port"].startswith("/dev/")
    line = home.message(60.0)
    assert "battery_wh" in line
    heard: queue.Queue[dict[str, Any]] = queue.Queue()
    home.listen(heard.put)
    assert "market" in heard.get(timeout=60)
    home.tell({"grid_wh": "nonsense", "until": 5})
    until = time.monotonic() + 60
    while "ignored" not in home.log.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    assert "battery command ignored" in home.last_words()
    assert home.running
    assert not home.failed


def test_a_child_that_does_not_start_says_why(tmp_path: Path) -> None:
    child = Child("trading centre", "light-node", "mtc", "--bogus", log=tmp_path / "mtc.log")
    with pytest.raises(ChildFailed, match=r"the trading centre ended: .*--help"):
        child.message(60.0)
    child.stop()
    assert child.failed
    child.tell({"x": 1})  # nobody hears it, and that is no news


def test_a_child_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    child = Child("neighbours", "neighbours", "--help", log=tmp_path / "n.log")
    with pytest.raises(ChildFailed, match="neighbours"):
        child.message(0.0)
    child.stop()


def test_words_that_are_no_json_are_kept_as_the_last_ones(tmp_path: Path) -> None:
    child = Child("neighbours", "neighbours", "--help", log=tmp_path / "n.log")
    with pytest.raises(ChildFailed, match=r"the neighbours ended: .*--members"):
        child.message(60.0)
    child.stop()
    assert not child.failed


def test_a_child_killed_is_a_failure_that_names_its_log(tmp_path: Path, home: Child) -> None:
    home.message(60.0)
    os.kill(home.pid, signal.SIGKILL)

    def listen_to_the_end() -> None:
        while True:
            home.message(60.0)

    with pytest.raises(ChildFailed, match="the home ended"):
        listen_to_the_end()
    home.stop()
    assert home.failed


def test_a_program_that_cannot_be_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(ChildFailed, match="the home cannot be started"):
        Child("home", *SIMULATE, log=tmp_path / "home.log")


def test_ctrl_c_in_the_terminal_is_the_parents_to_hear(home: Child) -> None:
    home.message(60.0)
    os.kill(home.pid, signal.SIGINT)
    for _ in range(3):
        home.message(60.0)
    assert home.running


PARENT = """
import json, sys, time
from pathlib import Path
from wallet_app.demo.processes import Child
directory = Path(sys.argv[1])
devnet = Child("devnet", "light-node", "devnet", "--dir", str(directory / "devnet"),
               "--base-port", "0", "--json", log=directory / "devnet.log")
home = Child("home", *json.loads(sys.argv[2]), log=directory / "home.log")
home.message(60.0)
devnet.message(60.0)
print(json.dumps([devnet.pid, home.pid]), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), json.dumps(SIMULATE)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pids = json.loads(parent.stdout.readline())
        assert all(map(alive, pids))
        parent.send_signal(number)
        parent.wait(30)
    assert gone(pids)
