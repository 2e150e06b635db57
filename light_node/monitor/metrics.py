"""A light node's status as Prometheus metrics, computed when they are asked for.

Labels come from the network profile and from closed lists, never from a peer's text.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from light_node.chain.status import PeerState, SyncStatus
from light_node.monitor.follower import RESULTS, Tally

Family = CounterMetricFamily | GaugeMetricFamily
_SOURCE = ("organization", "address", "kind")


def text(status: SyncStatus, tally: Tally | None) -> bytes:
    """Return the metrics page; ``tally`` None where blocks are not read."""
    registry = CollectorRegistry()
    registry.register(_Once(lambda: families(status, tally)))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, collect: Callable[[], Iterable[Family]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Family]:
        return self._collect()

    def describe(self) -> Iterable[Family]:
        return []


def families(status: SyncStatus, tally: Tally | None) -> Iterable[Family]:
    """Yield the metric families; heights count blocks, unknown ones are left out."""
    heights = (
        ("height", "Blocks the newest source claims to have.", status.height),
        ("verified_height", "Blocks verified from the trust root.", status.verified_height),
        ("agreed_height", "Blocks two organisations show alike.", status.agreed_height),
        ("valid_height", "Blocks whose flags and state two agree on.", status.valid_height),
    )
    for name, help_text, value in heights:
        if value is not None:
            yield GaugeMetricFamily(f"light_node_{name}", help_text, float(value))
    yield GaugeMetricFamily(
        "light_node_fork",
        "1 if two signed histories were seen: stop trading and read the evidence.",
        float(status.fork is not None),
    )
    yield GaugeMetricFamily(
        "light_node_disputed",
        "1 if organisations disagree on which transactions of a block are valid.",
        float(status.disputed_block is not None),
    )
    yield GaugeMetricFamily(
        "light_node_problem", "1 while it cannot go on by itself.", float(bool(status.problem))
    )
    if status.trust_root_expires is not None:
        yield GaugeMetricFamily(
            "light_node_trust_root_expires_timestamp_seconds",
            "When the trust root has to be renewed.",
            status.trust_root_expires.timestamp(),
        )
    if status.newest_at is not None:
        yield GaugeMetricFamily(
            "light_node_newest_block_timestamp_seconds",
            "When the newest block was verified.",
            status.newest_at.timestamp(),
        )
    yield CounterMetricFamily(
        "light_node_blocks_verified", "Since the start.", float(status.blocks_verified)
    )
    yield CounterMetricFamily(
        "light_node_signatures_verified", "Since the start.", float(status.signatures_verified)
    )
    yield from _sources(status)
    if tally is not None:
        yield from _counted(tally)


def _sources(status: SyncStatus) -> Iterable[Family]:
    connected = GaugeMetricFamily("light_node_source_up", "1 if connected.", labels=_SOURCE)
    conflict = GaugeMetricFamily(
        "light_node_source_conflict",
        "1 if it showed another history, or something that does not verify.",
        labels=_SOURCE,
    )
    lag = GaugeMetricFamily(
        "light_node_source_lag_blocks",
        "How many blocks it is behind the highest source.",
        labels=_SOURCE,
    )
    for peer in status.peers:
        labels = (peer.organization, peer.address, peer.kind)
        connected.add_metric(labels, float(peer.state is PeerState.CONNECTED))
        disagrees = peer.state is PeerState.DISAGREES or peer.agrees is False
        conflict.add_metric(labels, float(disagrees))
        if peer.height is not None:
            highest = max(status.height or 0, peer.height)
            lag.add_metric(labels, float(highest - peer.height))
    return connected, conflict, lag


def _counted(tally: Tally) -> Iterable[Family]:
    transactions = CounterMetricFamily(
        "light_node_transactions",
        "Transactions in the blocks read since the start, by validation code.",
        labels=("code",),
    )
    for code, count in sorted(tally.transactions.items()):
        transactions.add_metric((code,), float(count))
    audits = CounterMetricFamily(
        "light_node_audits", "Settled slots audited since the start.", labels=("result",)
    )
    for result in RESULTS:
        audits.add_metric((result,), float(tally.audits[result]))
    read = CounterMetricFamily(
        "light_node_blocks_read", "Blocks read whole since the start.", float(tally.blocks)
    )
    return transactions, audits, read
