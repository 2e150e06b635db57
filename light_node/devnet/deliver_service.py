"""Block streams, of peers and orderers alike (``docs/fabric-protocol.md`` 2.9).

Blocks go out as the bytes a view gives: ``DeliverResponse`` is written by hand around them, in the
fields on which both services' responses agree (1.3).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import DecodeError

from light_node.devnet.access import AccessControl, AccessError, ExpiredIdentityError
from light_node.devnet.rpc import Context, Limit, RpcFailure
from light_node.devnet.views import NodeView
from light_node.fabric.block import varint
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import common_pb2, orderer_pb2
from light_node.fabric.transaction import EnvelopeHeader, parse_header

MAX_CONCURRENT = 2500
_FOREVER = 2**64 - 1

BlockWriter = Callable[[int, bool], bytes]
"""(block number, header only) → serialized DeliverResponse."""
Send = Callable[[bytes], Awaitable[None]]
"""Gives a serialized DeliverResponse to the client; returns when there is room for the next."""


class SeekRefused(Exception):
    """The seek ends with ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(common_pb2.Status.Name(status))
        self.status = status


@dataclass(frozen=True, slots=True)
class Seek:
    """What a client asked for: blocks ``start`` to ``stop``, both included.

    ``config`` is the configuration under which it was let in, ``not_after`` when its certificate
    expires, None where nobody can tell.
    """

    header: EnvelopeHeader
    config: ChannelConfig
    not_after: datetime | None
    start: int
    stop: int
    wait: bool
    header_only: bool


class SeekReader:
    """Checks seek requests for one node and one policy, in the order Fabric does."""

    def __init__(self, view: NodeView, access: AccessControl, policy: str) -> None:
        self._view = view
        self._access = access
        self._policy = policy

    def read(self, envelope: common_pb2.Envelope) -> Seek:
        """Return the seek in a request; ``SeekRefused`` with the status it ends with."""
        try:
            header = parse_header(envelope.SerializeToString())
            self._access.check_age(header.timestamp, self._view.skew)
            info = orderer_pb2.SeekInfo.FromString(header.data)
        except (MalformedMessage, AccessError, DecodeError) as error:
            raise SeekRefused(common_pb2.BAD_REQUEST) from error
        if header.channel != self._access.channel:
            raise SeekRefused(common_pb2.NOT_FOUND)
        self._check_access(header)
        if not info.HasField("start") or not info.HasField("stop"):
            raise SeekRefused(common_pb2.BAD_REQUEST)
        start = self._start(info.start)
        return Seek(
            header=header,
            config=self._access.config,
            not_after=self._access.not_after(header.creator),
            start=start,
            stop=self._stop(info, start),
            wait=info.behavior == orderer_pb2.SeekInfo.BLOCK_UNTIL_READY,
            header_only=info.content_type == orderer_pb2.SeekInfo.HEADER_WITH_SIG,
        )

    def check_again(self, seek: Seek) -> None:
        """``SeekRefused`` if the client has expired since, or a new configuration shuts it out.

        Fabric asks before each block it sends; while a stream waits, nobody is turned out.
        """
        if self._access.config is not seek.config:
            self._check_access(seek.header)
        if self._access.is_over(seek.not_after):
            raise SeekRefused(common_pb2.FORBIDDEN)

    def _check_access(self, header: EnvelopeHeader) -> None:
        self._check_expiry(header)
        if not self._access.is_signed_by(
            self._policy, header.creator, header.payload, header.signature
        ):
            raise SeekRefused(common_pb2.FORBIDDEN)

    def _check_expiry(self, header: EnvelopeHeader) -> None:
        try:
            self._access.check_expiry(header.creator, "deliver")
        except ExpiredIdentityError as error:
            raise SeekRefused(common_pb2.FORBIDDEN) from error

    def _start(self, position: orderer_pb2.SeekPosition) -> int:
        kind, height = position.WhichOneof("Type"), self._view.height
        if kind == "oldest":
            return 0
        if kind == "newest":
            return self._view.newest
        if kind == "next_commit":
            return height
        if kind == "specified" and position.specified.number <= height:
            return position.specified.number
        raise SeekRefused(common_pb2.NOT_FOUND if kind else common_pb2.BAD_REQUEST)

    def _stop(self, info: orderer_pb2.SeekInfo, start: int) -> int:
        kind = info.stop.WhichOneof("Type")
        if kind == "oldest":
            return start
        if kind == "newest":
            # The same block for both ends, even if another was committed in between.
            both_newest = info.start.WhichOneof("Type") == "newest"
            return start if both_newest else self._view.newest
        if kind == "next_commit":
            return _FOREVER  # not handled by Fabric: it streams on
        if kind != "specified" or info.stop.specified.number < start:
            raise SeekRefused(common_pb2.BAD_REQUEST)
        return info.stop.specified.number


async def deliver(
    requests: AsyncIterator[common_pb2.Envelope],
    view: NodeView,
    reader: SeekReader,
    write: BlockWriter,
    send: Send,
) -> None:
    """Answer seeks one after the other; a status other than SUCCESS ends the stream."""
    async for envelope in requests:
        try:
            seek = reader.read(envelope)
            number = seek.start
            while number <= view.last(seek.stop):
                if number >= view.height:
                    if not seek.wait:
                        raise SeekRefused(common_pb2.NOT_FOUND)
                    await view.wait_for(number)
                reader.check_again(seek)
                if not view.is_prompt:
                    await view.pace(number)
                await send(write(number, seek.header_only))
                number += 1
        except SeekRefused as refusal:
            await send(_status(refusal.status))
            return
        await send(_status(common_pb2.SUCCESS))


def streaming(
    service: str, view: NodeView, reader: SeekReader, write: BlockWriter
) -> Callable[[AsyncIterator[common_pb2.Envelope], Context], Awaitable[None]]:
    """Return a gRPC behaviour that delivers what ``write`` makes of each block."""
    limit = Limit(service, MAX_CONCURRENT)

    async def handle(requests: AsyncIterator[common_pb2.Envelope], context: Context) -> None:
        try:
            with limit:
                # Written to the call: a generator in a generator costs as much as the block.
                await deliver(requests, view, reader, write, context.write)
        except RpcFailure as failure:
            await context.abort(failure.code, failure.text)

    return handle


def block_response(view: NodeView) -> BlockWriter:
    """Return a writer of whole blocks (or headers) as ``view`` shows them."""

    def write(number: int, header_only: bool) -> bytes:
        block = view.block(number, header_only=header_only)
        if block is None:
            raise SeekRefused(common_pb2.NOT_FOUND)
        return b"\x12" + varint(len(block)) + block

    return write


def _status(status: int) -> bytes:
    return b"\x08" + varint(status)
