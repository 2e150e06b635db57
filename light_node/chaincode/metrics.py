"""What the chaincode server counts, in Prometheus' text format.

Labels hold nothing a caller could invent: functions the chaincode does not have count as "other".
"""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PAUSES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._transactions = Counter(
            "chaincode_transactions",
            "Transactions by function and outcome: ok, refused by the contract, failed.",
            ("function", "outcome"),
            registry=self.registry,
        )
        self._duration = Histogram(
            "chaincode_transaction_seconds",
            "From the peer's TRANSACTION to the answer, state calls included.",
            ("function",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._state_calls = Counter(
            "chaincode_state_calls",
            "Requests to peers for state, by message type.",
            ("type",),
            registry=self.registry,
        )
        self._dropped = Counter(
            "chaincode_messages_dropped",
            "Messages of peers that found nobody or were not taken, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self._streams_ended = Counter(
            "chaincode_streams_ended",
            "Streams that ended, by reason: closed by the peer, malformed, cut, stopped.",
            ("reason",),
            registry=self.registry,
        )
        self.streams = Gauge("chaincode_streams", "Open streams.", registry=self.registry)
        self.running = Gauge(
            "chaincode_transactions_running", "Transactions under way.", registry=self.registry
        )
        self._gc = Histogram(
            "chaincode_gc_pause_seconds",
            "Pauses of the garbage collector, by generation.",
            ("generation",),
            buckets=_PAUSES,
            registry=self.registry,
        )
        self._loop = Histogram(
            "chaincode_loop_pause_seconds",
            "How much later than due the event loop came round, sampled.",
            buckets=_PAUSES,
            registry=self.registry,
        )
        self._longest = Gauge(
            "chaincode_longest_pause_seconds",
            "Longest since the start: run of the collector (gc), computing for one message (step), "
            "lateness of the loop (loop), which counts bursts and waiting for a core too.",
            ("of",),
            registry=self.registry,
        )
        self._known: dict[tuple[Any, tuple[str, ...]], Any] = {}
        self._longest_seen = {"gc": 0.0, "loop": 0.0, "step": 0.0}

    def finished(self, function: str, outcome: str, seconds: float) -> None:
        """Count a transaction that ended."""
        self._labelled(self._transactions, function, outcome).inc()
        self._labelled(self._duration, function).observe(seconds)

    def state_call(self, kind: str) -> None:
        """Count a request for state."""
        self._labelled(self._state_calls, kind).inc()

    def dropped(self, reason: str) -> None:
        """Count a message that was dropped; ``reason`` is one of a few fixed words."""
        self._dropped.labels(reason).inc()

    def stream_ended(self, reason: str) -> None:
        """Count the end of a stream; ``reason`` is one of a few fixed words."""
        self._streams_ended.labels(reason).inc()

    def gc_paused(self, generation: int, seconds: float) -> None:
        """Count a run of the garbage collector."""
        self._gc.labels(str(generation)).observe(seconds)
        self._note("gc", seconds)

    def loop_paused(self, seconds: float) -> None:
        """Count how late the loop came round."""
        self._loop.observe(seconds)
        self._note("loop", seconds)

    def stepped(self, seconds: float) -> None:
        """Note how long the loop computed for one message; nothing else ran meanwhile."""
        self._note("step", seconds)

    def longest(self, of: str) -> float:
        """Return the longest ``gc``, ``step`` or ``loop`` since the start, in seconds."""
        return self._longest_seen[of]

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def _labelled(self, metric: Any, *labels: str) -> Any:
        # The library finds it under a lock; there are as many as the chaincode has functions.
        found = self._known.get((metric, labels))
        if found is None:
            found = self._known[metric, labels] = metric.labels(*labels)
        return found

    def _note(self, of: str, seconds: float) -> None:
        if seconds > self._longest_seen[of]:
            self._longest_seen[of] = seconds
            self._longest.labels(of).set(seconds)
