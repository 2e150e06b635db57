"""Blocks from a peer or orderer, as the very bytes it sent (docs/fabric-protocol.md 2.9).

A block's bytes are what gets hashed and stored, so they are never parsed and written again here:
the block field is cut out of the answer. Nothing is verified; that is ``light_node.chain``.
"""

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Literal

import grpc

from light_node.clock import Clock
from light_node.fabric.connection import MAX_MESSAGE_BYTES
from light_node.fabric.errors import (
    AccessDenied,
    BlockNotFound,
    DeliverError,
    FabricError,
    MalformedMessage,
    TimeRefused,
    Unavailable,
    from_rpc_error,
)
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import ORDERER_DELIVER, PEER_DELIVER
from light_node.fabric.pb import common_pb2, orderer_pb2
from light_node.fabric.transaction import sign_payload
from light_node.i18n import Text

FOREVER = 2**64 - 1
"""As ``stop``: go on with every new block."""
_SEEK_NEWEST = orderer_pb2.SeekPosition(newest=orderer_pb2.SeekNewest())
_SEEK_OLDEST = orderer_pb2.SeekPosition(oldest=orderer_pb2.SeekOldest())

Start = int | Literal["newest", "oldest"]


class BlockStream(Iterator[bytes]):
    """Serialized blocks of one seek. Close it, or use it in ``with``, when done early."""

    def __init__(self, call: Any, end: Callable[[], object] | None = None) -> None:
        """``call`` is the gRPC call, which yields serialized DeliverResponses.

        ``end`` breaks it off, from any thread; by default its own ``cancel``.
        """
        self._call = call
        self._end: Callable[[], object] = end or call.cancel
        self._closed = False
        self._reading = threading.Lock()

    def __next__(self) -> bytes:
        """Return the next block; ``FabricError`` if the node refuses or is lost."""
        with self._reading:
            answer = self._read()
        if self._closed:  # by another thread, which left it to this one to read to the end
            self._let_go()
            raise StopIteration
        if answer is None:
            self.close()
            raise StopIteration
        try:
            status, block = split_response(answer)
            if block is not None:
                return block
        except MalformedMessage:
            self.close()
            raise
        self.close()
        if status == common_pb2.SUCCESS:
            raise StopIteration
        raise _from_status(status)

    def _read(self) -> bytes | None:
        """Return the next answer, None at the end or when closed."""
        try:
            answer: bytes = next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            if self._closed:
                return None
            raise _from_call(error) from error
        return answer

    def close(self) -> None:
        """End the stream; from another thread, too: a waiting reader then sees its end."""
        self._closed = True
        self._end()
        self._let_go()

    def _let_go(self) -> None:
        """Read a call that was broken off to its end, unless another thread is reading: it will.

        One on a channel ``for_one_stream`` stays in memory until somebody does.
        """
        if not self._reading.acquire(blocking=False):
            return
        try:
            for _ in self._call:
                pass
        except grpc.RpcError:
            return
        finally:
            self._reading.release()

    def __enter__(self) -> "BlockStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class DeliverClient:
    """Fetches blocks of one channel from one node. Thread-safe."""

    def __init__(
        self,
        channel: grpc.Channel,
        identity: SigningIdentity,
        channel_id: str,
        clock: Clock,
        kind: Literal["peer", "orderer"] = "peer",
        *,
        one_stream: bool = False,
    ) -> None:
        """``kind`` says which service the node behind ``channel`` offers.

        ``one_stream``: ``channel`` was made for a single stream and is closed with it.
        """
        method = PEER_DELIVER if kind == "peer" else ORDERER_DELIVER
        self._deliver = method.single_request(channel)
        self._end = channel.close if one_stream else None
        self._identity = identity
        self._channel_id = channel_id
        self._clock = clock

    def blocks(
        self,
        start: Start,
        stop: int | None = None,
        *,
        headers_only: bool = False,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BlockStream:
        """Return blocks ``start`` to ``stop``, both included; without ``stop`` it never ends.

        ``headers_only`` asks for header and metadata, except for config blocks, which come whole;
        servers before 3.0 do not know the wish and send everything. With ``wait`` the node waits
        for blocks that are not there yet, else ``BlockNotFound``. ``timeout`` (seconds) bounds the
        whole stream. All errors come from reading the stream.
        """
        last = FOREVER if stop is None else stop
        if isinstance(start, int) and not 0 <= start <= last <= FOREVER:
            raise ValueError(f"there are no blocks from {start} to {last}")
        return self._seek(
            _position(start),
            orderer_pb2.SeekPosition(specified=orderer_pb2.SeekSpecified(number=last)),
            headers_only,
            wait,
            timeout,
        )

    def newest(self, *, headers_only: bool = True, timeout: float = 15.0) -> bytes:
        """Return the node's newest block as it is now; ``FabricError`` if that fails."""
        with self._seek(_SEEK_NEWEST, _SEEK_NEWEST, headers_only, True, timeout) as stream:
            for block in stream:
                return block
        raise MalformedMessage(Text("the node ended the stream without its newest block"))

    def block(self, number: int, *, headers_only: bool = False, timeout: float = 15.0) -> bytes:
        """Return block ``number``; ``BlockNotFound`` if the node does not have it yet."""
        with self.blocks(
            number, number, headers_only=headers_only, wait=False, timeout=timeout
        ) as stream:
            for block in stream:
                return block
        raise MalformedMessage(
            Text("the node ended the stream without block {number}", number=number)
        )

    def _seek(
        self,
        start: orderer_pb2.SeekPosition,
        stop: orderer_pb2.SeekPosition,
        headers_only: bool,
        wait: bool,
        timeout: float | None,
    ) -> BlockStream:
        seek = orderer_pb2.SeekInfo(
            start=start,
            stop=stop,
            behavior=orderer_pb2.SeekInfo.BLOCK_UNTIL_READY
            if wait
            else orderer_pb2.SeekInfo.FAIL_IF_NOT_READY,
            content_type=orderer_pb2.SeekInfo.HEADER_WITH_SIG
            if headers_only
            else orderer_pb2.SeekInfo.BLOCK,
        )
        envelope = seek_envelope(self._identity, self._channel_id, seek, self._clock)
        try:
            return BlockStream(self._deliver(envelope, timeout=timeout), self._end)
        except ValueError as error:  # what grpc raises on a channel its owner has closed
            raise Unavailable(Text("the connection was closed"), stage="deliver") from error


def seek_envelope(
    identity: SigningIdentity, channel_id: str, seek: orderer_pb2.SeekInfo, clock: Clock
) -> common_pb2.Envelope:
    """Return the signed request of a seek; servers take it within 15 minutes of ``clock``."""
    header = common_pb2.ChannelHeader(type=common_pb2.DELIVER_SEEK_INFO, channel_id=channel_id)
    header.timestamp.FromDatetime(clock.now())
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=header.SerializeToString(),
            signature_header=common_pb2.SignatureHeader(
                creator=identity.serialized
            ).SerializeToString(),
        ),
        data=seek.SerializeToString(),
    )
    return sign_payload(identity, payload.SerializeToString())


def split_response(answer: bytes) -> tuple[int, bytes | None]:
    """Cut a serialized DeliverResponse into (status, block): one of them, the other 0 or None.

    ``MalformedMessage`` unless it is exactly one field: status (1, varint) or block (2, bytes).
    Protobuf would merge repeated fields; cutting one out would then not be what the peer meant.
    """
    if len(answer) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(Text("the deliver answer is too large"))
    tag, at = _varint(answer, 0)
    value, at = _varint(answer, at)
    if tag == 0x08 and at == len(answer):
        return value, None
    if tag == 0x12 and at + value == len(answer):
        return 0, answer[at:]
    raise MalformedMessage(Text("the deliver answer is neither a status nor a block"))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedMessage(Text("the deliver answer is cut off"))


def _position(start: Start) -> orderer_pb2.SeekPosition:
    if isinstance(start, int):
        return orderer_pb2.SeekPosition(specified=orderer_pb2.SeekSpecified(number=start))
    return _SEEK_NEWEST if start == "newest" else _SEEK_OLDEST


def _from_call(error: grpc.RpcError) -> FabricError:
    mapped = from_rpc_error(error, "deliver")
    if isinstance(mapped, Unavailable | AccessDenied):
        return mapped
    return DeliverError(Text("the block stream broke; reconnect"), 0, foreign=mapped.foreign)


def _from_status(status: int) -> FabricError:
    if status == common_pb2.NOT_FOUND:
        return BlockNotFound(Text("the node does not have that block, or not this channel"), status)
    if status == common_pb2.FORBIDDEN:
        return AccessDenied(
            Text(
                "the node does not let this identity read the channel; check the organisation "
                "and the certificate's expiry"
            ),
            stage="deliver",
        )
    if status == common_pb2.SERVICE_UNAVAILABLE:
        return Unavailable(Text("the node cannot serve blocks now; try another"), stage="deliver")
    if status == common_pb2.BAD_REQUEST:
        return TimeRefused(status)
    return DeliverError(
        Text("the node ended the stream with status {status}", status=status), status
    )
