"""A household's way to the ledger without its screens: outbox, sender, gateway with all peers.

Every entry adds 1 to a counter on the ledger, so that a lost one and one done twice both show.
"""

import dataclasses
import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from light_node.clock import Clock, SystemClock
from light_node.devnet.testing import DevnetClients
from light_node.fabric.peers import Move
from wallet_app.trading.network import GatewayLedger
from wallet_app.trading.outbox import Entry, EntryState, Outbox
from wallet_app.trading.sender import Sender

WAIT_S = 150.0


class ShiftedClock:
    """The machine's clock, set wrong by ``shift``."""

    def __init__(self) -> None:
        self.shift = timedelta(0)
        self._right = SystemClock()

    def now(self) -> datetime:
        return self._right.now() + self.shift

    def monotonic(self) -> float:
        return self._right.monotonic()


class Household:
    """Sends entries one after the other; ``notes`` and ``moves`` are what a screen would show."""

    def __init__(
        self, clients: DevnetClients, directory: Path, counter: str, clock: Clock | None = None
    ) -> None:
        self.counter, self.notes, self.moves = counter, list[str](), list[Move]()
        self._clock = clock or SystemClock()
        profile = dataclasses.replace(clients.profile, chaincode="kv")
        self.ledger = GatewayLedger(profile, clients.user(), self._clock, self.moves.append)
        self._outbox = Outbox(directory / f"{counter}.sqlite")
        self._sender = Sender(self._outbox, self.ledger, self._clock, on_change=self._changed)
        self._put = 0
        self._sender.start()

    def put(self) -> str:
        """Have one more added, as pressing a button does; return the entry's key."""
        key, now = f"e{self._put}", self._clock.now()
        self._put += 1
        deadline = now + timedelta(hours=1)
        self._outbox.put(key, "add", [self.counter, "1"], created=now, deadline=deadline)
        self._sender.wake()
        return key

    def entry(self, key: str) -> Entry:
        """Return an entry as it stands."""
        found = self._outbox.get(key)
        assert found is not None
        return found

    def trade(self, count: int = 3) -> float:
        """Add ``count``, one after the other, and return how many seconds that took."""
        began = time.monotonic()
        for _ in range(count):
            self.finish(self.put())
        return time.monotonic() - began

    def finish(self, key: str) -> None:
        """Wait until an entry has ended well."""
        until = time.monotonic() + WAIT_S
        while not (entry := self.entry(key)).state.final:
            assert time.monotonic() < until, f"{entry.state}: {entry.note}; {self.notes[-5:]}"
            time.sleep(0.05)
        assert entry.state is EntryState.COMMITTED, f"{entry.state}: {entry.note}"

    def check(self) -> None:
        """Nothing was lost and nothing done twice."""
        for number in range(self._put):
            self.finish(f"e{number}")
        until = time.monotonic() + WAIT_S
        while (value := self.ledger.evaluate("get", self.counter)) != self._put:
            # The peer that is asked now may have taken the newest block a moment later.
            assert value < self._put
            assert time.monotonic() < until, f"{value} of {self._put} are on the ledger"
            time.sleep(0.1)

    def close(self) -> None:
        self._sender.stop()
        self.ledger.close()
        self._outbox.close()

    def _changed(self, entry: Entry) -> None:
        if entry.note and self.notes[-1:] != [entry.note]:
            self.notes.append(entry.note)


def main(directory: str, files: str, counter: str) -> None:
    """Add 1 for every line read, answering each with how long it took in seconds."""

    def answer(**fields: object) -> None:
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()

    home = Household(DevnetClients(Path(directory)), Path(files), counter)
    try:
        for _ in sys.stdin:
            answer(seconds=home.trade(1), notes=home.notes)
        home.check()
        answer(checked=True)
    finally:
        home.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
