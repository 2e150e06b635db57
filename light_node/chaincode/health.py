"""gRPC's health service, ``grpc.health.v1.Health``: SERVING until the server begins to stop."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from light_node.fabric import methods
from light_node.fabric.methods import Method
from light_node.fabric.pb import health_pb2

_Status = health_pb2.HealthCheckResponse
_PATH = "/grpc.health.v1.Health"
CHECK = Method(f"{_PATH}/Check", health_pb2.HealthCheckRequest, _Status)
WATCH = Method(f"{_PATH}/Watch", health_pb2.HealthCheckRequest, _Status, response_streaming=True)

_SERVICES = ("", methods.CHAINCODE_CONNECT.service)


class Health:
    """Answers health checks for the server ("") and for its chaincode service."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    @property
    def serving(self) -> bool:
        """Whether new transactions are taken."""
        return not self._stopping.is_set()

    def stop(self) -> None:
        """Say NOT_SERVING from now on."""
        self._stopping.set()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the service's handlers."""
        return methods.service_handlers({CHECK: self._check, WATCH: self._watch})

    async def _check(
        self, request: health_pb2.HealthCheckRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        return _Status(status=_Status.SERVING if self.serving else _Status.NOT_SERVING)

    async def _watch(
        self, request: health_pb2.HealthCheckRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if request.service not in _SERVICES:
            yield _Status(status=_Status.SERVICE_UNKNOWN)
            return
        if self.serving:
            yield _Status(status=_Status.SERVING)
            await self._stopping.wait()
        yield _Status(status=_Status.NOT_SERVING)
