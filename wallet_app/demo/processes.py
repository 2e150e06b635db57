"""The demo's children: started, waited for, told to stop, and never left behind."""

import json
import queue
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

from wallet_app.i18n import said, tr


class ChildFailed(Exception):
    """A part of the demo did not start or ended too early; the message holds its last words."""


class Child:
    """One child process of the demo, speaking JSON lines on standard output."""

    def __init__(self, name: str, *command: str, log: Path) -> None:
        """Start ``command`` through :mod:`wallet_app.demo.child`; stderr goes to ``log``."""
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._errors = log.open("ab")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "wallet_app.demo.child", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            self._errors.close()
            raise ChildFailed(
                tr("the {name} cannot be started: {why}", name=name, why=said(error))
            ) from error
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._tail: deque[str] = deque(maxlen=5)
        self._listener: Any = None
        self._reader = threading.Thread(target=self._read, name=f"{name}-output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._process.poll() is None

    @property
    def failed(self) -> bool:
        """Whether the child has ended otherwise than well."""
        return self._process.poll() not in (None, 0)

    def message(self, timeout: float) -> dict[str, Any]:
        """Return the next JSON line; ``ChildFailed`` when it ends or says nothing in time."""
        try:
            message = self._messages.get(timeout=timeout)
        except queue.Empty:
            raise ChildFailed(
                tr(
                    "the {name} said nothing for {timeout} s: see {log}",
                    name=self.name,
                    timeout=format(timeout, ".0f"),
                    log=self.log,
                )
            ) from None
        if message is None:
            raise ChildFailed(
                tr("the {name} ended: {words}", name=self.name, words=self.last_words())
            )
        return message

    def listen(self, callback: Any) -> None:
        """Hand every further JSON line to ``callback`` (on a thread of ours)."""
        self._listener = callback

    def tell(self, value: Any) -> None:
        """Write one JSON line to the child; a child that has ended hears nothing."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError, OSError) as error:
            if self.running:
                raise ChildFailed(
                    tr("the {name} cannot be told anything: {why}", name=self.name, why=said(error))
                ) from error

    def stop(self, timeout: float = 10.0) -> None:
        """Close its standard input, wait, and kill it if it does not listen."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            self._process.kill()
        for ask in (None, self._process.terminate, self._process.kill):
            if ask is not None:
                ask()
            try:
                self._process.wait(timeout if ask else 1.0)
                break
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(2.0)
        self._errors.close()

    def last_words(self) -> str:
        """Return the end of what the child wrote on stderr, or on stdout if there is nothing."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else " ".join(self._tail)[:500] or "without a word"

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                try:
                    message = json.loads(line)
                except ValueError:
                    self._tail.append(line.strip())
                    continue
                if not isinstance(message, dict):
                    continue
                if self._listener is not None:
                    self._listener(message)
                else:
                    self._messages.put(message)
        self._messages.put(None)
