"""The chain as the event loop sees it: committed blocks, snapshots of state, waiting for more.

Only blocks that are on disk are ever shown. Used from one thread, the event loop's.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from light_node.devnet.ledger import CommittedBlock, describe
from light_node.devnet.simulation import StateReader
from light_node.devnet.store import Store, StoredBlock, TransactionEntry

_RECENT_BLOCKS = 8
_AHEAD_BLOCKS, _AHEAD_BYTES = 64, 1024 * 1024
_AHEAD_READERS = 4  # as many streams far behind can read ahead without taking turns


class Chain:
    """Reads of the shared ledger, and news of it."""

    def __init__(self, reader: Store) -> None:
        self._reader = reader
        self._height = reader.height()
        self._recent: OrderedDict[int, CommittedBlock] = OrderedDict()
        self._ahead: OrderedDict[int, list[StoredBlock]] = OrderedDict()
        self._next_block = asyncio.Event()
        self._waiting: dict[str, set[asyncio.Future[TransactionEntry]]] = {}

    @property
    def height(self) -> int:
        """How many blocks are committed."""
        return self._height

    def stored(self, number: int) -> StoredBlock | None:
        """Return block ``number``, None beyond the tip."""
        if number >= self._height:
            return None
        known = self._recent.get(number)
        return known.stored if known else self._read(number)

    def _read(self, number: int) -> StoredBlock | None:
        """Read one block, or several where streams go through old ones in order.

        What was read ahead is kept, by the number that is next, until that is asked for.
        """
        following = self._ahead.pop(number, None)
        if following is None:
            block = self._reader.block(number)
        else:
            following = following or self._reader.blocks(number, _AHEAD_BLOCKS, _AHEAD_BYTES)
            block = following.pop(0) if following else None
        if block is not None:
            self._ahead[number + 1] = following or []
            if len(self._ahead) > _AHEAD_READERS:
                self._ahead.popitem(last=False)
        return block

    def stored_by_hash(self, header_hash: bytes) -> StoredBlock | None:
        """Return the block with that header hash."""
        return self._reader.block_by_hash(header_hash)

    def committed(self, number: int) -> CommittedBlock | None:
        """Return block ``number`` with the verdicts on its transactions."""
        known = self._recent.get(number)
        if known is not None:
            return known
        stored = self.stored(number)
        if stored is None:
            return None
        block = describe(stored)
        self._remember(block)
        return block

    def transaction(self, transaction_id: str) -> TransactionEntry | None:
        """Return where a transaction was committed first."""
        return self._reader.transaction_entry(transaction_id)

    @contextmanager
    def state(self) -> Iterator[StateReader]:
        """Give a consistent snapshot of the state to read from."""
        with self._reader.snapshot():
            yield self._reader

    async def wait_for(self, number: int) -> None:
        """Return when block ``number`` is committed."""
        while number >= self._height:
            await self._next_block.wait()

    async def wait_for_transaction(self, transaction_id: str) -> TransactionEntry:
        """Return where ``transaction_id`` is committed, waiting for that as long as it takes."""
        found = self.transaction(transaction_id)
        if found is not None:
            return found
        future: asyncio.Future[TransactionEntry] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(transaction_id, set())
        waiters.add(future)
        try:
            return await future
        finally:
            waiters.discard(future)
            if not waiters:
                self._waiting.pop(transaction_id, None)

    def publish(self, block: CommittedBlock) -> None:
        """Announce the block that was just committed."""
        self._remember(block)
        self._height = block.number + 1
        for position, result in enumerate(block.results):
            waiters = self._waiting.pop(result.transaction_id, None)
            if not waiters:
                continue
            # The index keeps the first result of an id, which need not be this one.
            found = self.transaction(result.transaction_id)
            entry = found or TransactionEntry(block.number, position, result.code)
            for future in waiters:
                if not future.done():
                    future.set_result(entry)
        waking, self._next_block = self._next_block, asyncio.Event()
        waking.set()

    def _remember(self, block: CommittedBlock) -> None:
        self._recent[block.number] = block
        if len(self._recent) > _RECENT_BLOCKS:
            self._recent.popitem(last=False)
