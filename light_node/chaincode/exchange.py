"""How contract code, which blocks, waits for the answers of a peer on an event loop.

Both kinds do the same: :meth:`Exchange.start` runs a body, in which :meth:`Exchange.ask` sends a
request and returns its answer; :meth:`Exchange.deliver`, on the loop, hands the answer over, or an
exception that ``ask`` raises instead.
"""

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

from greenlet import getcurrent, greenlet

from light_node.fabric.pb.peer_pb2 import ChaincodeMessage

Send = Callable[[ChaincodeMessage], None]
Answer = ChaincodeMessage | Exception


class CallFailed(Exception):
    """A state call has no answer, so its transaction cannot go on."""


class PeerRefused(CallFailed):
    """The peer answered a state call with ERROR; the text is the peer's."""


class Abandoned(CallFailed):
    """The transaction is not waited for any more: stream cut, time over, server stopping."""


class Exchange(Protocol):
    """One transaction's conversation with its peer."""

    def start(self, body: Callable[[], None]) -> None:
        """Run ``body``; called on the event loop, returns at once or at the first ``ask``."""
        ...

    def ask(self, request: ChaincodeMessage) -> ChaincodeMessage:
        """Send ``request`` and return the answer; raises what was delivered instead of one."""
        ...

    def deliver(self, answer: Answer) -> bool:
        """Hand over the answer, or what ``ask`` shall raise; tell whether it was waited for.

        Called on the event loop.
        """
        ...

    def finish(self, work: Callable[[], None]) -> None:
        """Run ``work``, the last of the body, on the event loop."""
        ...


class GreenletExchange:
    """Contract code in a greenlet of the loop's thread, left while an answer is awaited."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._greenlet: greenlet | None = None
        self._awaiting = False
        self._failure: Exception | None = None

    def start(self, body: Callable[[], None]) -> None:
        """Run ``body`` up to its first ``ask``."""
        # Its parent is whoever resumes it, which is the loop's own greenlet.
        self._greenlet = greenlet(body)
        self._greenlet.switch()

    def ask(self, request: ChaincodeMessage) -> ChaincodeMessage:
        """Send ``request``, let the loop go on, return the answer."""
        if self._failure is not None:
            raise self._failure
        self._send(request)
        self._awaiting = True
        parent = getcurrent().parent
        if parent is None:
            raise RuntimeError("a state call outside of a transaction")
        answer: Answer = parent.switch()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def deliver(self, answer: Answer) -> bool:
        """Resume the body with ``answer``."""
        if isinstance(answer, Exception):
            self._failure = answer
        if not self._awaiting or self._greenlet is None:
            return False
        self._awaiting = False
        self._greenlet.switch(answer)
        return True

    def finish(self, work: Callable[[], None]) -> None:
        """Run ``work``: the body is on the loop's thread already."""
        work()


class ThreadExchange:
    """Contract code in a thread, for what computes too long to hold up the loop."""

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop, threads: Executor) -> None:
        self._send = send
        self._loop = loop
        self._threads = threads
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._awaiting = False
        self._failure: Exception | None = None

    def start(self, body: Callable[[], None]) -> None:
        """Run ``body`` in a thread."""
        self._threads.submit(body)

    def ask(self, request: ChaincodeMessage) -> ChaincodeMessage:
        """Send ``request`` over the loop and wait for the answer."""
        # In this order: a failure that comes between the two lines is seen here or by ``get``.
        self._awaiting = True
        if self._failure is not None:
            raise self._failure
        self._loop.call_soon_threadsafe(self._send, request)
        answer = self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def deliver(self, answer: Answer) -> bool:
        """Wake the thread up with ``answer``."""
        if isinstance(answer, Exception):
            self._failure = answer
        if not self._awaiting:
            return False
        self._awaiting = False
        self._answers.put(answer)
        return True

    def finish(self, work: Callable[[], None]) -> None:
        """Have the loop run ``work``."""
        self._loop.call_soon_threadsafe(work)
