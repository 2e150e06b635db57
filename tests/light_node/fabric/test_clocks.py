"""How far a node's clock is ahead, by its words, and in ours."""

from datetime import timedelta

import pytest

from light_node.fabric import clocks

REFUSED = "request unauthorized due to incorrect timestamp {}, peer time {}"


@pytest.mark.parametrize(
    ("asked", "shown", "ahead"),
    [
        ("2026-12-01T04:05:57Z", "2026-12-01T04:25:57Z", timedelta(minutes=20)),
        ("2026-12-01T00:05:00Z", "2026-11-30T23:45:00Z", timedelta(minutes=-20)),
        ("2026-12-01T00:05:00+00:00", "2026-12-01T08:25:00+08:00", timedelta(minutes=20)),
    ],
)
def test_what_peers_say_is_read(asked: str, shown: str, ahead: timedelta) -> None:
    text = f"rpc error: code = Unknown desc = {REFUSED.format(asked, shown)}, peer.auth… 15m0s"
    assert clocks.ahead(["no endorsers", text]) == ahead


@pytest.mark.parametrize(
    "text",
    [
        "",
        REFUSED.format("yesterday, noon", "today"),
        REFUSED.format("2026-12-01T04:05:57Z", "2026-13-01T04:05:57Z"),
        REFUSED.format("2026-12-01T04:05:57Z", "2026-12-01T04:05:57"),  # of no time zone
        REFUSED.format("0001-01-01T00:00:00Z" * 9, "9999-12-31T00:00:00Z"),
    ],
)
def test_what_cannot_be_read_says_nothing(text: str) -> None:
    assert clocks.ahead([text]) is None


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (timedelta(seconds=1210), "20 minutes ahead of this machine's"),
        (timedelta(minutes=-61), "61 minutes behind this machine's"),
        (timedelta(hours=8), "8 hours ahead of this machine's"),
        (timedelta(days=-365), "365 days behind this machine's"),
        (None, "more than 15 minutes off this machine's"),
    ],
)
def test_words(ahead: timedelta | None, words: str) -> None:
    assert clocks.apart(ahead) == words
