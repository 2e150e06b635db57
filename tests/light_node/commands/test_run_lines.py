"""What ``light-node run`` prints for people: where it stands, not a line for every batch."""

import argparse
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from light_node.chain.progress import Progress
from light_node.chain.status import SyncStatus
from light_node.commands import run

BASE = SyncStatus("ch", "AAAA", None, 1, height=1001, running=True)


class Scripted:
    """A node with the next status of a script after each wait; after the last it is stopped."""

    def __init__(self, script: list[SyncStatus]) -> None:
        self.script, self.stopping = script, threading.Event()

    def status(self) -> SyncStatus:
        return self.script[0]

    def wait(self, condition: Callable[[SyncStatus], bool], timeout: float) -> bool:
        if len(self.script) > 1:
            del self.script[0]
        else:
            self.stopping.set()
        return condition(self.script[0])


def lines(script: list[SyncStatus], capsys: Any) -> list[str]:
    node: Any = Scripted(script)
    run._watch(node, node.stopping, argparse.Namespace(json=False))
    out: str = capsys.readouterr().out
    return out.splitlines()


def test_batches_of_a_catch_up_have_no_line_each(capsys: Any) -> None:
    behind = [
        replace(BASE, verified_height=h, progress=Progress(h / 1000)) for h in range(1, 900, 200)
    ]
    done = replace(BASE, verified_height=1001, agreed_height=1001)
    said = lines([BASE, replace(BASE, waiting_for="a node to answer"), *behind, done], capsys)
    assert said == [
        "verified 1, agreed 0", "Waiting for: a node to answer", "verified 1001, agreed 1001",
    ]  # fmt: skip


def test_a_problem_is_said_at_once_while_catching_up(capsys: Any) -> None:
    behind = replace(BASE, progress=Progress(0.1))
    said = lines([behind, behind, replace(behind, problem="the disk is full")], capsys)
    assert said == ["verified 1, agreed 0", "Problem: the disk is full"]
