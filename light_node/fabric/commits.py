"""How many transactions ended, from one stream of a peer's filtered blocks instead of a call each.

CommitStatus (docs/fabric-protocol.md 4.4) costs client and peer a signed call per transaction; a
filtered block (2.9) names all it holds with their validation codes. Both are one peer's unsigned
word. The stream is a shortcut for who has many under way, never the authority: only transactions
are answered that were expected before they were submitted, and whoever gets no answer, for
whatever reason, asks CommitStatus.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from light_node.clock import Clock
from light_node.fabric.commit import CommitStatus
from light_node.fabric.deliver import FOREVER, seek_envelope
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import PEER_DELIVER_FILTERED
from light_node.fabric.pb import common_pb2, orderer_pb2, peer_pb2
from light_node.fabric.peers import Link

_log = logging.getLogger(__name__)

_MOST_EXPECTED = 10_000
_WORTHWHILE = 4  # transactions waited for at once from which a stream costs less than calls
_LASTS_S = 60.0  # how long a stream is kept; whoever still has many under way opens the next
_REST_S = 5.0  # how long none is opened after one broke

Tell = Callable[[CommitStatus | None], None]
"""Takes how a transaction ended; None: the stream cannot tell, ask CommitStatus."""


class CommitBoard:
    """Who waits for which transaction, and the blocks that tell them. Thread-safe, no I/O."""

    def __init__(self) -> None:
        self._expected: dict[str, Tell] = {}
        self._closed = False
        self._lock = threading.Lock()

    def expect(self, transaction_id: str, tell: Tell) -> None:
        """Have ``tell`` called once, on the thread that notes blocks; call before submitting."""
        dropped = None
        with self._lock:
            if self._closed:
                dropped = tell
            else:
                if len(self._expected) >= _MOST_EXPECTED:
                    dropped = self._expected.pop(next(iter(self._expected)))
                self._expected[transaction_id] = tell
        if dropped is not None:
            dropped(None)

    def forget(self, transaction_id: str) -> None:
        """Take back an expectation."""
        with self._lock:
            self._expected.pop(transaction_id, None)

    def note(self, block: peer_pb2.FilteredBlock) -> None:
        """Tell all who wait for a transaction of ``block``."""
        for transaction in block.filtered_transactions:
            with self._lock:
                tell = self._expected.pop(transaction.txid, None)
            if tell is None:
                continue
            code = transaction.tx_validation_code
            # A copy of one that was ordered before: what counts is how that one ended.
            known = code != peer_pb2.DUPLICATE_TXID
            tell(CommitStatus(code, block.number) if known else None)

    def close(self) -> None:
        """Tell all who wait that nothing more will come."""
        with self._lock:
            left, self._expected, self._closed = self._expected, {}, True
        for tell in left.values():
            tell(None)


def filtered_blocks(
    identity: SigningIdentity, channel_id: str, clock: Clock
) -> common_pb2.Envelope:
    """Return the signed request of all filtered blocks from the newest on, for ever."""
    seek = orderer_pb2.SeekInfo(
        start=orderer_pb2.SeekPosition(newest=orderer_pb2.SeekNewest()),
        stop=orderer_pb2.SeekPosition(specified=orderer_pb2.SeekSpecified(number=FOREVER)),
        behavior=orderer_pb2.SeekInfo.BLOCK_UNTIL_READY,
    )
    return seek_envelope(identity, channel_id, seek, clock)


@dataclass(frozen=True, slots=True)
class _Ticket:
    """A transaction expected at one peer's stream."""

    link: Link
    board: CommitBoard
    told: "queue.SimpleQueue[CommitStatus | None]"


class CommitFollower:
    """The stream of one client, opened at the peer it asks while it has many under way.

    Thread-safe. Reads in a thread of its own.
    """

    def __init__(self, identity: SigningIdentity, channel_id: str, clock: Clock) -> None:
        self._identity, self._channel_id, self._clock = identity, channel_id, clock
        self._lock = threading.Lock()
        self._waiting = 0
        self._tickets: dict[str, _Ticket] = {}
        self._link: Link | None = None
        self._board: CommitBoard | None = None
        """None until the stream's first block has come: only then nothing can be missed."""
        self._call: Any = None
        self._not_before = clock.monotonic()
        self._closed = False

    @contextmanager
    def expecting(self, link: Link, transaction_id: str) -> Iterator[None]:
        """Expect a transaction, where ``link`` has a stream, while it is submitted through there.

        If that raises, the stream is not believed about it: it may have been ordered before.
        """
        self._drop(transaction_id)
        with self._lock:
            board = self._board if self._link is link else None
        if board is None:
            yield
            return
        ticket = _Ticket(link, board, queue.SimpleQueue())
        board.expect(transaction_id, ticket.told.put)
        try:
            yield
        except BaseException:
            board.forget(transaction_id)
            raise
        with self._lock:
            self._tickets[transaction_id] = ticket
            oldest = next(iter(self._tickets)) if len(self._tickets) > _MOST_EXPECTED else None
        if oldest is not None:
            self._drop(oldest)

    def told(self, link: Link, transaction_id: str, timeout: float) -> CommitStatus | None:
        """Return how an expected transaction ended; None if ``link``'s stream does not tell.

        Waits ``timeout`` seconds at most, and not at all for a transaction that is not expected.
        """
        with self._lock:
            ticket = self._tickets.get(transaction_id)
        if ticket is None:
            return None
        try:
            if ticket.link is not link:
                return None
            return ticket.told.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return None
        finally:
            self._drop(transaction_id)

    @contextmanager
    def waiting(self, link: Link) -> Iterator[None]:
        """Count somebody who waits for a commit at ``link``; with enough of them a stream opens."""
        with self._lock:
            self._waiting += 1
            stale = self._link is not None and self._link is not link
            rested = self._clock.monotonic() >= self._not_before
            opens = self._waiting >= _WORTHWHILE and rested and not self._closed
            opens = opens and (self._link is None or stale)
            if opens:
                self._stop()
                self._link = link
        if opens:
            threading.Thread(target=self._follow, args=(link,), name="commits", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def close(self) -> None:
        """End the stream; who waits is told that nothing will come."""
        with self._lock:
            self._closed = True
            self._stop()

    def _drop(self, transaction_id: str) -> None:
        with self._lock:
            ticket = self._tickets.pop(transaction_id, None)
        if ticket is not None:
            ticket.board.forget(transaction_id)

    def _stop(self) -> None:
        call, self._call, self._link, self._board = self._call, None, None, None
        if call is not None:
            call.cancel()

    def _follow(self, link: Link) -> None:
        board = CommitBoard()
        try:
            request = filtered_blocks(self._identity, self._channel_id, self._clock)
            call = link.callable(PEER_DELIVER_FILTERED)(iter((request,)), timeout=_LASTS_S)
            with self._lock:
                if self._closed or self._link is not link:
                    call.cancel()
                    return
                self._call = call
            for answer in call:
                if not answer.HasField("filtered_block"):
                    _log.info("%s sends no filtered blocks: status %s", link.name, answer.status)
                    break
                board.note(answer.filtered_block)
                with self._lock:
                    if self._call is call:
                        self._board = board
        except grpc.RpcError as error:
            _log.debug("the stream of commits of %s ended: %s", link.name, error)
        except ValueError as error:  # what grpc raises on a channel its owner has closed
            _log.debug("no stream of commits of %s: %s", link.name, error)
        finally:
            self._ended(link, board)

    def _ended(self, link: Link, board: CommitBoard) -> None:
        with self._lock:
            if self._link is link and self._board in (None, board):
                if self._board is None:
                    self._not_before = self._clock.monotonic() + _REST_S
                self._stop()
        board.close()
