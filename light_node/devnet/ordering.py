"""The ordering service: admits envelopes, cuts them into blocks, hands them to the ledger.

The consenters share one queue here; what each of them says to a client goes through an
:class:`OrdererView`. The cutter is pure; the rest lives on the event loop, apart from the ledger's
writer, which has a thread of its own so that a disk that is slow to sync delays nobody's reads.
"""

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from light_node.devnet.access import CHANNEL_WRITERS, AccessControl, AccessError
from light_node.devnet.config_update import (
    ConfigUpdateRefused,
    CurrentConfig,
    check_usable,
    next_config,
)
from light_node.devnet.ledger import CommittedBlock
from light_node.devnet.validation import VALID
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import common_pb2
from light_node.fabric.transaction import EnvelopeHeader, parse_header

log = logging.getLogger(__name__)

MAX_QUEUED = 10_000
_REMEMBERED_REQUESTS = 10_000
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an orderer answers to a broadcast: a common.Status and a text."""

    status: int
    info: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the envelope will be ordered."""
        return self.status == common_pb2.SUCCESS


SUCCESS = Answer(common_pb2.SUCCESS)


class BlockCutter:
    """Gathers envelopes into batches, by count and by size, as Fabric's block cutter does."""

    def __init__(self, max_messages: int, preferred_max_bytes: int) -> None:
        self._max_messages = max_messages
        self._preferred_max_bytes = preferred_max_bytes
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    @property
    def pending(self) -> int:
        """How many envelopes wait for the next cut."""
        return len(self._pending)

    def add(self, envelope: bytes) -> list[list[bytes]]:
        """Take an envelope and return the batches that are complete now, in order."""
        batches = []
        if len(envelope) > self._preferred_max_bytes:
            # Too large to share a block: what came before goes first.
            if self._pending:
                batches.append(self.cut())
            return [*batches, [envelope]]
        if self._pending_bytes + len(envelope) > self._preferred_max_bytes:
            batches.append(self.cut())
        self._pending.append(envelope)
        self._pending_bytes += len(envelope)
        if len(self._pending) >= self._max_messages:
            batches.append(self.cut())
        return batches

    def resize(self, max_messages: int, preferred_max_bytes: int) -> list[list[bytes]]:
        """Go by other limits from now on; return what they complete."""
        self._max_messages = max_messages
        self._preferred_max_bytes = preferred_max_bytes
        full = len(self._pending) >= max_messages
        return [self.cut()] if full and self._pending else []

    def cut(self) -> list[bytes]:
        """Return everything that waits as one batch."""
        batch, self._pending, self._pending_bytes = self._pending, [], 0
        return batch


@dataclass(frozen=True, slots=True)
class ConfigUpdate:
    """A serialized CONFIG_UPDATE envelope on its way into a block of its own."""

    envelope: bytes


class OrderingService:
    """Admission, cutting and writing, for all consenters together."""

    def __init__(
        self,
        access: AccessControl,
        append: Callable[[list[bytes]], CommittedBlock],
        publish: Callable[[CommittedBlock], None],
        *,
        batch_timeout: float,
        bft: bool,
        current: CurrentConfig | None = None,
        append_config: Callable[[bytes], CommittedBlock] | None = None,
    ) -> None:
        """``append`` runs on the writer's thread, ``publish`` on the loop; seconds for timeout.

        Without ``current`` and ``append_config`` (as ``append``, of a CONFIG_UPDATE) the
        configuration cannot be changed.
        """
        self._access = access
        self._append = append
        self._publish = publish
        self._batch_timeout = batch_timeout
        self._bft = bft
        self._current = current
        self._append_config = append_config
        config = access.config
        self._absolute_max_bytes = config.batch_absolute_max_bytes
        self._cutter = BlockCutter(config.batch_max_messages, config.batch_preferred_max_bytes)
        self._batches: asyncio.Queue[list[bytes] | ConfigUpdate] = asyncio.Queue()
        self._queued = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writer = ThreadPoolExecutor(1, "ledger-writer")
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._failing = ""
        self._last_verified: tuple[tuple[bytes, bytes], bool] = ((b"", b""), False)
        self._requests: OrderedDict[str, bool] = OrderedDict()  # id → committed

    @property
    def problem(self) -> str:
        """Why blocks cannot be written at present, "" if they can."""
        return self._failing

    def start(self) -> None:
        """Begin to write blocks."""
        self._task = asyncio.get_running_loop().create_task(self._write_batches())

    async def stop(self) -> None:
        """Write what was accepted, then stop; gives up on a disk that refuses."""
        self._closing = True
        self._cut()
        if self._task is not None:
            while self._queued and not self._failing and not self._task.done():
                await asyncio.sleep(0.01)
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._writer.shutdown(wait=True)

    def check(self, envelope: common_pb2.Envelope) -> Answer:
        """Return what every honest orderer answers to this envelope, without taking it."""
        raw = canonical(envelope)
        if self._closing or self._failing:
            return Answer(common_pb2.SERVICE_UNAVAILABLE, self._failing or "shutting down")
        if self._queued >= MAX_QUEUED:
            return Answer(common_pb2.SERVICE_UNAVAILABLE, "the request pool is full")
        if len(raw) > self._absolute_max_bytes:
            return Answer(
                common_pb2.BAD_REQUEST,
                f"message payload is {len(raw)} bytes and exceeds maximum allowed "
                f"{self._absolute_max_bytes} bytes",
            )
        try:
            header = parse_header(raw)
        except MalformedMessage as error:
            return Answer(common_pb2.BAD_REQUEST, str(error))
        answer = self._check_header(header)
        if answer.accepted and header.type == common_pb2.CONFIG_UPDATE:
            return self._check_update(raw)
        return answer

    def _check_header(self, header: EnvelopeHeader) -> Answer:
        if header.channel != self._access.channel:
            return Answer(common_pb2.BAD_REQUEST, "channel does not exist")
        if header.type not in (common_pb2.ENDORSER_TRANSACTION, common_pb2.CONFIG_UPDATE):
            return Answer(common_pb2.BAD_REQUEST, f"message of type {header.type} is not ordered")
        try:
            self._access.check_expiry(header.creator, "broadcast")
        except AccessError as error:
            return Answer(common_pb2.BAD_REQUEST, str(error))
        if not self._may_write(header):
            return Answer(
                common_pb2.FORBIDDEN,
                f"{self._access.denial(CHANNEL_WRITERS)}: {CHANNEL_WRITERS}: permission denied",
            )
        # SmartBFT's pool knows requests by id; Raft orders everything it is given.
        if self._bft and header.transaction_id and header.transaction_id in self._requests:
            done = self._requests[header.transaction_id]
            info = "request already processed" if done else "request already exists"
            return Answer(common_pb2.SERVICE_UNAVAILABLE, info)
        return SUCCESS

    def _check_update(self, raw: bytes) -> Answer:
        if self._current is None:
            return Answer(common_pb2.NOT_IMPLEMENTED, "the configuration does not change here")
        try:
            check_usable(self._current.understood, next_config(self._current, raw))
        except ConfigUpdateRefused as error:
            channel = self._access.channel
            return Answer(
                common_pb2.BAD_REQUEST,
                f"error applying config update to existing channel '{channel}': {error}",
            )
        return SUCCESS

    def _may_write(self, header: EnvelopeHeader) -> bool:
        # A BFT client sends the same envelope to every consenter: one verification serves all.
        asked = (header.payload, header.signature)
        if self._last_verified[0] != asked:
            may = self._access.is_signed_by(CHANNEL_WRITERS, header.creator, *asked)
            self._last_verified = (asked, may)
        return self._last_verified[1]

    def take(self, envelope: common_pb2.Envelope) -> None:
        """Order an envelope that :meth:`check` accepted."""
        header = parse_header(canonical(envelope))
        self._queued += 1
        if header.type == common_pb2.CONFIG_UPDATE:
            # A configuration has a block of its own; what came before it goes first.
            self._cut()
            self._batches.put_nowait(ConfigUpdate(canonical(envelope)))
            return
        if self._bft:
            self._remember(header.transaction_id)
        for batch in self._cutter.add(canonical(envelope)):
            self._batches.put_nowait(batch)
        if not self._cutter.pending:
            self._stop_timer()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._batch_timeout, self._cut)

    def _cut(self) -> None:
        self._stop_timer()
        if self._cutter.pending:
            self._batches.put_nowait(self._cutter.cut())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _remember(self, transaction_id: str) -> None:
        self._requests[transaction_id] = False
        if len(self._requests) > _REMEMBERED_REQUESTS:
            self._requests.popitem(last=False)

    async def _write_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._batches.get()
            block = None
            while block is None:
                try:
                    block = await loop.run_in_executor(self._writer, self._write, batch)
                except ConfigUpdateRefused as error:
                    # Another update came first. Fabric drops it likewise.
                    log.warning("a configuration update was dropped: %s", error)
                    break
                except sqlite3.Error as error:
                    # A full disk, most likely: nothing was written, nothing accepted is dropped.
                    self._failing = f"the ledger cannot be written: {error}"
                    log.error("%s; trying again", self._failing)
                except Exception:
                    self._failing = "the ledger cannot be written: internal error"
                    log.exception("%s; trying again", self._failing)
                if block is None:
                    await asyncio.sleep(_RETRY_SECONDS)
            self._failing = ""
            self._queued -= 1 if isinstance(batch, ConfigUpdate) else len(batch)
            if block is None:
                continue
            if isinstance(batch, ConfigUpdate) and block.results[0].code == VALID:
                self._reconfigure(block)
            for result in block.results:
                if result.transaction_id in self._requests:
                    self._requests[result.transaction_id] = True
            self._publish(block)

    def _write(self, batch: list[bytes] | ConfigUpdate) -> CommittedBlock:
        if not isinstance(batch, ConfigUpdate):
            return self._append(batch)
        if self._append_config is None:
            raise ConfigUpdateRefused("the configuration does not change here")
        return self._append_config(batch.envelope)

    def _reconfigure(self, block: CommittedBlock) -> None:
        """Go by the configuration a block has brought."""
        self._current = CurrentConfig.from_stored(block.stored)
        config = self._access.config = self._current.understood
        self._batch_timeout = config.batch_timeout_ns / 1e9
        self._absolute_max_bytes = config.batch_absolute_max_bytes
        for batch in self._cutter.resize(
            config.batch_max_messages, config.batch_preferred_max_bytes
        ):
            self._batches.put_nowait(batch)
        self._last_verified = ((b"", b""), False)


def canonical(envelope: common_pb2.Envelope) -> bytes:
    """Return the envelope as it goes into a block: payload and signature, nothing else (2.2)."""
    plain = common_pb2.Envelope(payload=envelope.payload, signature=envelope.signature)
    return plain.SerializeToString()
