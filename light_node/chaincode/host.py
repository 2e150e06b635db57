"""What all streams of a server share: the chaincode, limits, threads, and who is running."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from light_node.chaincode.exchange import Exchange, GreenletExchange, Send, ThreadExchange
from light_node.chaincode.metrics import Metrics
from light_node.contract import chaincodes
from light_node.contract.chaincodes import Chaincode

OTHER = "other"
"""Label of functions the chaincode does not have: names are the callers' to invent."""
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Service:
    """The chaincode of one package: ``functions`` it has, those of ``long`` run in a thread."""

    package_id: str
    run: Chaincode
    functions: frozenset[bytes] = frozenset()
    long: frozenset[bytes] = frozenset()

    @classmethod
    def named(cls, name: str, package_id: str) -> "Service":
        """Return the service of a chaincode of :mod:`light_node.contract.chaincodes`."""
        return cls(
            package_id,
            chaincodes.CHAINCODES[name],
            chaincodes.FUNCTIONS[name],
            chaincodes.LONG[name],
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what peers may ask for.

    ``execute_seconds``: how long a transaction may wait for its peer; the peer's own
    ``chaincode.executetimeout`` (30 s) ends it before. ``transactions``: how many may run at once
    on all streams; a peer's own limit is 2500 (``limits.concurrency.endorserService``).
    """

    execute_seconds: float = 60.0
    transactions: int = 5000


class Host:
    """The server's side of every session; lives on one event loop."""

    def __init__(self, service: Service, limits: Limits, metrics: Metrics) -> None:
        self.service = service
        self.limits = limits
        self.metrics = metrics
        self.stopping = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="contract")

    def admit(self) -> str:
        """Count one more transaction and return "", or why it is not taken."""
        if self.stopping:
            return "the chaincode server is stopping; ask another organisation's peer, or later"
        if self._running >= self.limits.transactions:
            return f"the chaincode server runs {self.limits.transactions} transactions already"
        self._running += 1
        self._idle.clear()
        self.metrics.running.set(self._running)
        return ""

    def leave(self) -> None:
        """Count one transaction less."""
        self._running -= 1
        self.metrics.running.set(self._running)
        if not self._running:
            self._idle.set()

    async def drained(self) -> None:
        """Return when no transaction runs."""
        await self._idle.wait()

    def exchange(self, function: bytes, send: Send) -> Exchange:
        """Return what a call of ``function`` runs in."""
        if function in self.service.long:
            return ThreadExchange(send, self._loop, self._threads)
        return GreenletExchange(send)

    def label(self, function: bytes) -> str:
        """Return the name ``function`` is counted under."""
        return function.decode("ascii") if function in self.service.functions else OTHER

    def later(self, seconds: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        """Run ``work`` on the event loop after ``seconds``."""
        return self._loop.call_later(seconds, work)

    def close(self) -> None:
        """Let go of the threads; what runs in them is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
