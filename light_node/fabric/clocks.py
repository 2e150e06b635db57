"""Clocks that differ: how far a node's is ahead of ours, by its own words, and how to say so.

Nodes refuse requests whose time is more than 15 minutes off their own clock. Peers say what their
clock shows (docs/fabric-protocol.md 4.7), in deliver streams nobody does (2.9).
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from light_node.i18n import Text

REFUSAL = "due to incorrect timestamp"
_TIMES = re.compile(REFUSAL + r" (\S{10,40}), peer time ([^\s,]{10,40})")
_HOURS_FROM, _DAYS_FROM = timedelta(hours=2), timedelta(days=2)


def ahead(texts: Iterable[str]) -> timedelta | None:
    """Return how far the clock of who refused is ahead of the request's time (negative: behind).

    None where no text says so in a form that can be read: foreign text, it only explains.
    """
    for text in texts:
        for match in _TIMES.finditer(text[:65536]):
            try:
                asked, now = (datetime.fromisoformat(time) for time in match.groups())
                return now - asked
            except (ValueError, TypeError, OverflowError):
                continue
    return None


def apart(ahead: timedelta | None) -> Text:
    """Say it in words that go on after "its clock is"."""
    if ahead is None:
        return Text("more than 15 minutes off this machine's")
    size, before = abs(ahead), ahead > timedelta(0)
    if size >= _DAYS_FROM:
        number = round(size / timedelta(days=1))
        if before:
            return Text("{number} days ahead of this machine's", number=number)
        return Text("{number} days behind this machine's", number=number)
    if size >= _HOURS_FROM:
        number = round(size / timedelta(hours=1))
        if before:
            return Text("{number} hours ahead of this machine's", number=number)
        return Text("{number} hours behind this machine's", number=number)
    number = round(size / timedelta(minutes=1))
    if before:
        return Text("{number} minutes ahead of this machine's", number=number)
    return Text("{number} minutes behind this machine's", number=number)
