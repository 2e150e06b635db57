"""Processes that outlive the command which started them.

Each has a record ``run/NAME.json`` with its process id and the time the system says it began, so
that a number given to another program since is never taken for ours. POSIX only: Windows has no
signal that asks a program without a window to stop.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from light_node import jsonio
from light_node.fabricnet.errors import FabricNetError, NotReady
from light_node.files import write_atomically
from light_node.i18n import Text

_POLL_S = 0.1
_STOP_S = 20.0
_TAIL = 4096


@dataclass(frozen=True, slots=True)
class Command:
    """What to run; ``environment`` is added to this process's own."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


class Processes:
    """The processes of one directory: records in ``run``, output in ``logs``."""

    def __init__(self, directory: Path) -> None:
        self._run, self._logs = directory / "run", directory / "logs"

    def names(self) -> list[str]:
        """Return the names of all processes started and not stopped, sorted."""
        return sorted(path.stem for path in self._run.glob("*.json"))

    def pid(self, name: str) -> int | None:
        """Return the id of the running process ``name``, None if it does not run."""
        try:
            fields = jsonio.mapping(
                jsonio.strict_loads((self._run / f"{name}.json").read_bytes()), Text("a record")
            )
            pid, began = jsonio.integer(fields, "pid"), jsonio.string(fields, "began")
        except (OSError, jsonio.JsonError):
            return None
        return pid if start_time(pid) == began else None

    def log(self, name: str) -> Path:
        """Return where the process's output goes."""
        return self._logs / f"{name}.log"

    def start(self, command: Command) -> bool:
        """Start ``command`` unless it runs already; False then. ``FabricNetError`` if impossible.

        The process leads a session of its own: closing the terminal does not end it.
        """
        if self.pid(command.name) is not None:
            return False
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            with self.log(command.name).open("ab") as log:
                process = subprocess.Popen(
                    command.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **command.environment},
                    start_new_session=True,
                )
        except OSError as error:
            raise FabricNetError(f"cannot start {command.arguments[0]}: {error}") from error
        record = {"pid": process.pid, "began": start_time(process.pid) or ""}
        try:
            write_atomically(self._run / f"{command.name}.json", json.dumps(record).encode())
        except OSError:
            process.kill()  # nothing would ever stop it otherwise
            process.wait()
            raise
        # Not ours to wait for: the object would warn when it is collected while the child runs.
        process.returncode = 0
        return True

    def wait_until(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until ``ready``; ``NotReady`` with its last words if it ends or takes longer."""
        until = time.monotonic() + seconds
        while not ready():
            if self.pid(name) is None:
                raise NotReady(f"{name} ended: {self.last_words(name)}")
            if time.monotonic() > until:
                raise NotReady(
                    f"{name} was not ready within {seconds:.0f} s; see {self.log(name)}: "
                    f"{self.last_words(name)}"
                )
            time.sleep(_POLL_S)

    def last_words(self, name: str) -> str:
        """Return the last line of the log that is not empty."""
        try:
            with self.log(name).open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - _TAIL))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return next((line.strip()[-300:] for line in reversed(lines) if line.strip()), "no output")

    def stop(self, names: Sequence[str], *, force: bool = False) -> list[str]:
        """Stop processes, all at once; return those that had to be killed after 20 seconds.

        ``force`` kills at once, as a power cut would.
        """
        running = {name: pid for name in names if (pid := self.pid(name)) is not None}
        stubborn = list(running)
        for number in [signal.SIGKILL] if force else [signal.SIGTERM, signal.SIGKILL]:
            killed = stubborn
            for name in killed:
                _signal(running[name], number)
            stubborn = self._still_there(killed)
        for name in names:
            (self._run / f"{name}.json").unlink(missing_ok=True)
        return [] if force else killed

    def _still_there(self, names: Sequence[str]) -> list[str]:
        """Wait until none of ``names`` runs, at most 20 seconds; return those that do."""
        until = time.monotonic() + _STOP_S
        while (left := [n for n in names if self.pid(n) is not None]) and time.monotonic() < until:
            time.sleep(_POLL_S)
        return left


def start_time(pid: int) -> str | None:
    """Return when process ``pid`` began, as the system words it; None if there is none.

    A process that has ended but was not waited for counts as none.
    """
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # one of this very process's children that has ended
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_time_ps(pid)
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return None if fields[0] in "ZX" else fields[19]


def _start_time_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
