"""A devnet in a thread of this process: tests switch its lies while it runs."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from light_node.clock import Clock
from light_node.devnet.errors import DevnetError
from light_node.devnet.masks import Instruction
from light_node.devnet.network import Network, Options
from light_node.devnet.server import Devnet, Running, run_until
from light_node.devnet.testing import START_SECONDS, STOP_SECONDS, DevnetClients

Outcome = TypeVar("Outcome")


class DevnetThread(DevnetClients):
    """A devnet on an event loop in a thread of this process, so that lies can be switched.

    ``with`` starts and stops it. Not for measuring: it shares the interpreter with its clients.
    """

    def __init__(self, directory: Path, options: Options, clock: Clock | None = None) -> None:
        super().__init__(directory, clock)
        self._devnet = Devnet(directory, options, self._clock)
        self._started: Future[Running] = Future()
        self._thread = threading.Thread(target=self._serve, name="devnet", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> "DevnetThread":
        self._thread.start()
        self._started.result(START_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await run_until(self._stop, self._devnet, self._started.set_result)

    @property
    def network(self) -> Network:
        """The network, with the keys of all that take part."""
        return self._started.result(0).network

    @property
    def height(self) -> int:
        """How many blocks there really are."""
        return self._on_loop(lambda running: running.liars.true_height)

    def lie(self, organization: str, name: str, first: int | None = None) -> int:
        """Let a node lie from block ``first`` on, None: the next one; returns which that is."""

        def tell(running: Running) -> int:
            start = running.liars.true_height if first is None else first
            running.liars.tell(Instruction(organization, name, start))
            return start

        return self._on_loop(tell)

    def tell_the_truth(self, organization: str | None = None) -> None:
        """Let one node, or all, be honest again."""
        self._on_loop(lambda running: running.liars.stop(organization))

    def _on_loop(self, work: Callable[[Running], Outcome]) -> Outcome:
        running = self._started.result(0)
        done: Future[Outcome] = Future()

        def run() -> None:
            try:
                done.set_result(work(running))
            except DevnetError as error:
                done.set_exception(error)

        if self._loop is None:
            raise DevnetError("the devnet is not running")
        self._loop.call_soon_threadsafe(run)
        return done.result(STOP_SECONDS)
