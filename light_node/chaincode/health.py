"""gRPC's health service, ``grpc.health.v1.Health``: SERVING until the server begins to stop."""

from collections.abc import Callable, Mapping

from google.protobuf.message import DecodeError

from light_node.chaincode.rpc import INVALID_ARGUMENT, NOT_FOUND, Call
from light_node.chaincode.rpc import Method as Begin
from light_node.fabric import methods
from light_node.fabric.methods import Method
from light_node.fabric.pb import health_pb2

_Status = health_pb2.HealthCheckResponse
_PATH = "/grpc.health.v1.Health"
CHECK = Method(f"{_PATH}/Check", health_pb2.HealthCheckRequest, _Status)
WATCH = Method(f"{_PATH}/Watch", health_pb2.HealthCheckRequest, _Status, response_streaming=True)

_SERVICES = ("", methods.CHAINCODE_CONNECT.service)
_SERVING = _Status(status=_Status.SERVING).SerializeToString()
_NOT_SERVING = _Status(status=_Status.NOT_SERVING).SerializeToString()
_UNKNOWN = _Status(status=_Status.SERVICE_UNKNOWN).SerializeToString()


class Health:
    """Answers health checks for the server ("") and for its chaincode service."""

    def __init__(self) -> None:
        self.serving = True
        """Whether new transactions are taken."""
        self._watching: dict[Call, None] = {}

    def stop(self) -> None:
        """Say NOT_SERVING from now on."""
        self.serving = False
        watching, self._watching = self._watching, {}
        for call in watching:
            _answer(call, _NOT_SERVING)

    def handlers(self) -> Mapping[str, Begin]:
        """Return the service's methods by their paths."""
        return {
            CHECK.path: lambda call: _Asked(call, self._check),
            WATCH.path: lambda call: _Asked(call, self._watch, self._watching.pop),
        }

    def _check(self, call: Call, service: str) -> None:
        if service not in _SERVICES:
            call.finish(NOT_FOUND, "no such service here")
        else:
            _answer(call, _SERVING if self.serving else _NOT_SERVING)

    def _watch(self, call: Call, service: str) -> None:
        if service not in _SERVICES:
            _answer(call, _UNKNOWN)
        elif self.serving:
            self._watching[call] = None
            call.send(_SERVING)
        else:
            _answer(call, _NOT_SERVING)


class _Asked:
    """One request for health: :class:`light_node.chaincode.rpc.Rpc`."""

    def __init__(
        self,
        call: Call,
        answer: Callable[[Call, str], None],
        lost: Callable[[Call, None], None] = lambda call, default: None,
    ) -> None:
        self._call, self._answer, self._lost = call, answer, lost

    def message(self, data: bytes) -> None:
        """Answer the question; one that cannot be read is refused."""
        try:
            service = health_pb2.HealthCheckRequest.FromString(data).service
        except DecodeError:
            self._call.finish(INVALID_ARGUMENT, "not a HealthCheckRequest")
        else:
            self._answer(self._call, service)

    def ended(self) -> None:
        """A watch goes on after its question."""

    def lost(self) -> None:
        """Forget who watched."""
        self._lost(self._call, None)


def _answer(call: Call, status: bytes) -> None:
    call.send(status)
    call.finish()
