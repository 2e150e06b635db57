"""Waiting for a light node: what is progress, what is written meanwhile, when it gives up."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from light_node.chain.progress import Progress
from light_node.chain.status import PeerState, PeerStatus, SyncStatus
from light_node.commands.catching_up import catch_up, span, status_progress, words

BASE = SyncStatus("ch", "AAAA", None, 1, height=1001, running=True, waiting_for="blocks 1 to 1000")


class Scripted:
    """A node whose status is the next of a script after each wait; a wait takes its whole time."""

    def __init__(self, script: Sequence[SyncStatus]) -> None:
        self.script, self.at, self.elapsed = list(script), 0, 0.0

    def status(self) -> SyncStatus:
        return self.script[min(self.at, len(self.script) - 1)]

    def wait(self, condition: Callable[[SyncStatus], bool], timeout: float) -> bool:
        self.at += 1
        self.elapsed += timeout
        return condition(self.status())

    def monotonic(self) -> float:
        return self.elapsed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(node: Scripted, timeout: float, stream: Any = None) -> bool:
    done = lambda s: s.verified_height == 1001  # noqa: E731
    chosen = stream if stream is not None else io.StringIO()
    return catch_up(node, done, timeout, clock=node, stream=chosen)  # type: ignore[arg-type]


def heights(*found: int) -> list[SyncStatus]:
    return [replace(BASE, verified_height=h) for h in found]


def test_the_limit_is_on_time_without_progress() -> None:
    slow = Scripted([s for h in range(1, 1002) for s in heights(h, h)])
    assert run(slow, 1.0)
    assert slow.elapsed > 100, "far longer than the limit in all"
    stuck = Scripted(heights(*range(1, 40), 40))
    assert not run(stuck, 1.0)
    assert stuck.elapsed == pytest.approx(39 * 0.25 + 1.0)


def test_what_is_looked_into_is_said() -> None:
    liar = PeerStatus("Org2MSP", "b:7051", "peer", PeerState.DISAGREES, examined=True)
    level = replace(BASE, height=1, peers=(liar,), waiting_for="")
    out = Terminal()
    assert not run(Scripted([level]), 1.0, out)
    assert "Looking into what Org2MSP showed" in out.getvalue()


def test_what_sources_claim_is_no_progress_but_agreement_is() -> None:
    claims = Scripted([replace(BASE, height=1001 + n) for n in range(1000)])
    assert not run(claims, 2.0)
    assert claims.elapsed == pytest.approx(2.0)
    agreeing = Scripted([*(replace(BASE, agreed_height=n) for n in range(40)), *heights(1001)])
    assert run(agreeing, 2.0)


def test_a_node_that_has_stopped_is_not_waited_for() -> None:
    stopped = Scripted([replace(BASE, running=False)])
    assert not run(stopped, 60.0)
    assert stopped.elapsed == 0


def moving(count: int) -> list[SyncStatus]:
    found = heights(*range(1, count))
    return [replace(s, progress=Progress(0.25, 500.0, 120.0)) for s in found] + heights(1001)


def test_one_line_is_written_anew_on_a_terminal() -> None:
    terminal = Terminal()
    assert run(Scripted(moving(10)), 60, terminal)
    text = terminal.getvalue()
    assert "\n" not in text
    assert text.count("\r") >= 5
    assert "\rverified 5 of 1,001 blocks (25.0 %), 500 blocks/s, about 2 min left\x1b[K" in text
    assert text.endswith("\r\x1b[K"), "and what comes next has a line of its own"


def test_lines_now_and_then_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    node = Scripted(moving(100))
    assert run(node, 60, stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == int(node.elapsed / 10) == 2
    assert lines[0].startswith("verified 41 of 1,001 blocks (25.0 %)")
    assert "\r" not in stream.getvalue()


def test_nothing_is_written_when_it_is_quick() -> None:
    for stream in (io.StringIO(), Terminal()):
        assert run(Scripted(heights(1001)), 60, stream)
        assert stream.getvalue() == ""


def test_before_anything_comes_it_says_what_it_waits_for() -> None:
    stream = io.StringIO()
    assert not run(
        Scripted([replace(BASE, height=None, waiting_for="a node to answer")]), 15, stream
    )
    assert stream.getvalue() == "Waiting for: a node to answer\n"


def test_progress_as_json_and_in_words() -> None:
    assert status_progress(BASE) is None
    assert words(None) == ""
    status = replace(BASE, progress=Progress(0.99999, 1234.56, 0.2))
    found = status_progress(status)
    assert found == {
        "verified": 1, "of": 1001, "share": 1.0, "blocks_per_s": 1234.6, "seconds_left": 0,
    }  # fmt: skip
    assert words(status_progress(replace(BASE, progress=Progress(0.1)))) == (
        "verified 1 of 1,001 blocks (10.0 %)"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "1 s"),
        (89, "89 s"),
        (91, "2 min"),
        (3600, "60 min"),
        (5400, "1.5 h"),
        (90_000, "25.0 h"),
    ],
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said
