"""Processes that outlive their starter: real ones."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from light_node.fabricnet.errors import FabricNetError, NotReady
from light_node.fabricnet.processes import Command, Processes, start_time

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX processes")

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    "time.sleep(600)"
)


def python(name: str, program: str, **environment: str) -> Command:
    return Command(name, [sys.executable, "-c", program], environment)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.stop(made.names(), force=True)


def says(processes: Processes, name: str, text: str) -> bool:
    log = processes.log(name)
    return log.exists() and text in log.read_text()


def test_started_once_known_again_stopped(processes: Processes, tmp_path: Path) -> None:
    assert processes.start(python("a", SLEEPER))
    processes.wait_until("a", lambda: says(processes, "a", "up"), 30)
    pid = processes.pid("a")
    assert pid is not None
    assert os.getsid(pid) == pid
    assert not processes.start(python("a", SLEEPER))
    another = Processes(tmp_path)
    assert (another.pid("a"), another.names()) == (pid, ["a"])
    assert another.stop(["a"]) == []
    assert start_time(pid) is None
    assert another.names() == []


def test_a_number_given_to_another_program_is_not_ours(processes: Processes) -> None:
    processes.start(python("a", SLEEPER))
    ours = processes.pid("a")
    record = Path(processes.log("a").parent.parent / "run" / "a.json")
    fields = json.loads(record.read_text())
    fields["pid"] = os.getpid()
    record.write_text(json.dumps(fields))
    assert processes.pid("a") is None
    assert processes.stop(["a"]) == []  # this very process would be gone
    assert ours is not None
    os.kill(ours, 9)


@pytest.mark.parametrize("damage", ["", "{", '{"pid": 1}', '{"pid": "x", "began": "y"}'])
def test_a_damaged_record_counts_as_not_running(processes: Processes, damage: str) -> None:
    record = processes.log("a").parent.parent / "run" / "a.json"
    record.parent.mkdir(parents=True)
    record.write_text(damage)
    assert processes.pid("a") is None


def test_one_that_ends_is_told_by_its_last_words(processes: Processes) -> None:
    processes.start(
        python("a", "import os; print('port 1 is taken:', os.environ['WHO'])", WHO="me")
    )
    with pytest.raises(NotReady, match="a ended: port 1 is taken: me"):
        processes.wait_until("a", lambda: False, 30)


def test_one_that_takes_too_long_names_its_log(processes: Processes) -> None:
    processes.start(python("a", SLEEPER))
    with pytest.raises(NotReady, match=r"not ready within 0 s; see .*a\.log"):
        processes.wait_until("a", lambda: False, 0.05)


def test_a_program_that_is_not_there_is_named(processes: Processes) -> None:
    with pytest.raises(FabricNetError, match="cannot start /no/such"):
        processes.start(Command("a", ["/no/such"], {}))
    assert processes.names() == []


def test_one_that_does_not_stop_is_killed(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("light_node.fabricnet.processes._STOP_S", 0.3)
    processes.start(python("a", STUBBORN))
    processes.wait_until("a", lambda: says(processes, "a", "up"), 30)
    pid = processes.pid("a")
    assert processes.stop(["a"]) == ["a"]
    assert pid is not None
    assert start_time(pid) is None
