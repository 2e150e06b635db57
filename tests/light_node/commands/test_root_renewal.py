"""How far a renewed trust root may reach: proved, agreed on by two organisations, no fork."""

from datetime import UTC, datetime
from typing import Any

import pytest

from light_node.chain.errors import Fork
from light_node.chain.status import SyncStatus
from light_node.commands.root import _renewable_height

FORK = Fork(5, b"\x01" * 32, b"\x02" * 32, "Org2MSP")


@pytest.mark.parametrize(
    ("verified", "more", "expected"),
    [
        (12, {"agreed_height": 12}, 12),
        # A block came between waiting and reading: only one organisation has shown it yet.
        (13, {"agreed_height": 12}, 12),
        (12, {"agreed_height": 14}, 12),
        (12, {}, None),
        (12, {"agreed_height": 0}, None),
        (12, {"agreed_height": 12, "fork": FORK}, None),
    ],
)
def test_only_what_two_organisations_agree_on_can_become_the_root(
    verified: int, more: dict[str, Any], expected: int | None
) -> None:
    status = SyncStatus("market", "ABCD", datetime(2027, 1, 1, tzinfo=UTC), verified, **more)
    assert _renewable_height(status) == expected
