"""A light node's status and audits in Prometheus' text format."""

from collections import Counter
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from light_node.chain.status import PeerState, PeerStatus, SyncStatus
from light_node.monitor.follower import Tally
from light_node.monitor.metrics import text

WHEN = datetime(2026, 6, 21, tzinfo=UTC)


def read(status: SyncStatus, tally: Tally | None = None) -> dict[tuple[str, ...], float]:
    """Every sample by its name and label values, as Prometheus would read it."""
    page = text(status, tally).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def peer(
    organization: str, height: int | None, state: PeerState, agrees: bool | None
) -> PeerStatus:
    return PeerStatus(organization, f"{organization}:7051", "peer", state, height, agrees)


def test_heights_lag_and_conflicts() -> None:
    peers = (
        peer("Org1MSP", 12, PeerState.CONNECTED, True),
        peer("Org2MSP", 9, PeerState.CONNECTED, None),
        peer("Org3MSP", None, PeerState.DISAGREES, False),
    )
    status = SyncStatus(
        *("market", "root", WHEN, 12),
        agreed_height=11,
        height=12,
        peers=peers,
        newest_at=WHEN,
        disputed_block=7,
    )
    found = read(status)
    assert found["light_node_height",] == found["light_node_verified_height",] == 12
    assert found["light_node_agreed_height",] == 11
    assert ("light_node_valid_height",) not in found  # unknown is not 0
    assert found["light_node_disputed",] == 1
    assert found["light_node_fork",] == 0
    assert found["light_node_trust_root_expires_timestamp_seconds",] == WHEN.timestamp()
    lag = {name[-1]: value for name, value in found.items() if name[0].endswith("_lag_blocks")}
    assert lag == {"Org1MSP": 0, "Org2MSP": 3}
    conflict = {name[-1]: value for name, value in found.items() if name[0].endswith("_conflict")}
    assert conflict == {"Org1MSP": 0, "Org2MSP": 0, "Org3MSP": 1}
    assert not [name for name in found if name[0].startswith("light_node_audits")]


def test_what_was_counted() -> None:
    tally = Tally(3, 13, Counter(VALID=5, MVCC_READ_CONFLICT=2), Counter(good=1), "slot")
    found = read(SyncStatus("market", "root", None, 12), tally)
    assert found["light_node_transactions_total", "MVCC_READ_CONFLICT"] == 2
    assert found["light_node_audits_total", "good"] == 1
    assert found["light_node_audits_total", "differs"] == 0
    assert found["light_node_blocks_read_total",] == 3
