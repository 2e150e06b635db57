"""Answering gRPC calls with Fabric's statuses (``docs/fabric-protocol.md`` 4.7)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from light_node.devnet.layout import Node
from light_node.fabric.pb import gateway_pb2, rpc_pb2

_DETAIL_TYPE = "type.googleapis.com/gateway.ErrorDetail"
_DETAILS_TRAILER = "grpc-status-details-bin"
_MAX_TEXT = 4000  # a status travels in HTTP/2 headers, which clients limit to about 8 KiB

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Context = Any
"""grpc.aio.ServicerContext of whatever messages."""


@dataclass(frozen=True, slots=True)
class Detail:
    """What one node said about a failed call."""

    node: Node
    message: str


class RpcFailure(Exception):
    """The call fails with a gRPC status; ``details`` say which nodes gave the reason."""

    def __init__(self, code: grpc.StatusCode, text: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(text)
        self.code = code
        self.text = text[:_MAX_TEXT]
        self.details = tuple(details)

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """Return the trailer that carries the details, none if there are none."""
        if not self.details:
            return ()
        status = rpc_pb2.Status(code=self.code.value[0], message=self.text)
        for detail in self.details:
            packed = gateway_pb2.ErrorDetail(
                address=detail.node.address,
                msp_id=detail.node.msp_id,
                message=detail.message[:_MAX_TEXT],
            )
            status.details.append(
                AnyMessage(type_url=_DETAIL_TYPE, value=packed.SerializeToString())
            )
        return ((_DETAILS_TRAILER, status.SerializeToString()),)


class Limit:
    """How many calls of a service may be under way at once (4.7, last row)."""

    def __init__(self, service: str, most: int) -> None:
        self._service = service
        self._most = most
        self._running = 0

    def __enter__(self) -> None:
        if self._running >= self._most:
            raise RpcFailure(
                grpc.StatusCode.UNKNOWN,
                f"too many requests for /{self._service}, exceeding concurrency limit "
                f"({self._most})",
            )
        self._running += 1

    def __exit__(self, *_: object) -> None:
        self._running -= 1


def unary(
    limit: Limit, behaviour: Callable[[Request], Awaitable[Answer]]
) -> Callable[[Request, Context], Awaitable[Answer]]:
    """Return a unary gRPC handler of ``behaviour``, whose ``RpcFailure`` becomes the status."""

    async def handle(request: Request, context: Context) -> Answer:
        try:
            with limit:
                return await behaviour(request)
        except RpcFailure as failure:
            await context.abort(failure.code, failure.text, failure.trailers())
            raise AssertionError("abort raises") from failure

    return handle


def stream(
    limit: Limit, behaviour: Callable[[Request], AsyncIterator[Answer]]
) -> Callable[[Request, Context], AsyncIterator[Answer]]:
    """Return a gRPC handler that answers with a stream; ``RpcFailure`` ends it with the status."""

    async def handle(request: Request, context: Context) -> AsyncIterator[Answer]:
        try:
            with limit:
                async for answer in behaviour(request):
                    yield answer
        except RpcFailure as failure:
            await context.abort(failure.code, failure.text, failure.trailers())

    return handle
