"""The gRPC methods of docs/fabric-protocol.md 1.1, for clients and servers alike.

No generated service stubs: a row holds path, streaming and messages, and makes the client's
callable or the server's handler. ``raw_response`` leaves answers as received bytes, which is what
block hashes and signatures need.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from light_node.fabric.pb import common_pb2, discovery_pb2, gateway_pb2, orderer_pb2, peer_pb2


@dataclass(frozen=True, slots=True)
class Method:
    """One gRPC method."""

    path: str
    request: type[Message]
    response: type[Message]
    request_streaming: bool = False
    response_streaming: bool = False

    @property
    def service(self) -> str:
        """The full service name, like ``gateway.Gateway``."""
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        """The method's name within its service."""
        return self.path.split("/")[2]

    def callable(self, channel: grpc.Channel) -> Callable[..., Any]:
        """Return the client side of this method on ``channel``: a grpc multi-callable."""
        factory: Callable[..., Any] = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }[self.request_streaming, self.response_streaming]
        made: Callable[..., Any] = factory(
            self.path,
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.response.FromString,
        )
        return made

    def single_request(self, channel: grpc.Channel) -> Callable[..., Any]:
        """Return the client side of a streaming method for one request and raw answers.

        The same on the wire as a stream of requests that ends after the first, but without the
        threads that gRPC keeps for those.
        """
        made: Callable[..., Any] = channel.unary_stream(
            self.path,
            request_serializer=self.request.SerializeToString,
            response_deserializer=None,
        )
        return made

    def handler(
        self, behaviour: Callable[..., Any], *, raw_response: bool = False
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return the server side: ``behaviour(request, context)``.

        With ``raw_response`` the behaviour answers with serialized messages.
        """
        factory: Callable[..., grpc.RpcMethodHandler[Any, Any]] = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[self.request_streaming, self.response_streaming]
        return factory(
            behaviour,
            request_deserializer=self.request.FromString,
            response_serializer=None if raw_response else self.response.SerializeToString,
        )


EVALUATE = Method(
    "/gateway.Gateway/Evaluate", gateway_pb2.EvaluateRequest, gateway_pb2.EvaluateResponse
)
ENDORSE = Method(
    "/gateway.Gateway/Endorse", gateway_pb2.EndorseRequest, gateway_pb2.EndorseResponse
)
SUBMIT = Method("/gateway.Gateway/Submit", gateway_pb2.SubmitRequest, gateway_pb2.SubmitResponse)
COMMIT_STATUS = Method(
    "/gateway.Gateway/CommitStatus",
    gateway_pb2.SignedCommitStatusRequest,
    gateway_pb2.CommitStatusResponse,
)
CHAINCODE_EVENTS = Method(
    "/gateway.Gateway/ChaincodeEvents",
    gateway_pb2.SignedChaincodeEventsRequest,
    gateway_pb2.ChaincodeEventsResponse,
    response_streaming=True,
)
PROCESS_PROPOSAL = Method(
    "/protos.Endorser/ProcessProposal", peer_pb2.SignedProposal, peer_pb2.ProposalResponse
)
PEER_DELIVER = Method(
    "/protos.Deliver/Deliver", common_pb2.Envelope, peer_pb2.DeliverResponse, True, True
)
PEER_DELIVER_FILTERED = Method(
    "/protos.Deliver/DeliverFiltered", common_pb2.Envelope, peer_pb2.DeliverResponse, True, True
)
PEER_DELIVER_WITH_PRIVATE_DATA = Method(
    "/protos.Deliver/DeliverWithPrivateData",
    common_pb2.Envelope,
    peer_pb2.DeliverResponse,
    True,
    True,
)
BROADCAST = Method(
    "/orderer.AtomicBroadcast/Broadcast",
    common_pb2.Envelope,
    orderer_pb2.BroadcastResponse,
    True,
    True,
)
ORDERER_DELIVER = Method(
    "/orderer.AtomicBroadcast/Deliver",
    common_pb2.Envelope,
    orderer_pb2.DeliverResponse,
    True,
    True,
)
DISCOVER = Method(
    "/discovery.Discovery/Discover", discovery_pb2.SignedRequest, discovery_pb2.Response
)
CHAINCODE_REGISTER = Method(
    "/protos.ChaincodeSupport/Register",
    peer_pb2.ChaincodeMessage,
    peer_pb2.ChaincodeMessage,
    True,
    True,
)
CHAINCODE_CONNECT = Method(
    "/protos.Chaincode/Connect", peer_pb2.ChaincodeMessage, peer_pb2.ChaincodeMessage, True, True
)

METHODS: Mapping[str, Method] = {
    method.path: method
    for method in (
        EVALUATE,
        ENDORSE,
        SUBMIT,
        COMMIT_STATUS,
        CHAINCODE_EVENTS,
        PROCESS_PROPOSAL,
        PEER_DELIVER,
        PEER_DELIVER_FILTERED,
        PEER_DELIVER_WITH_PRIVATE_DATA,
        BROADCAST,
        ORDERER_DELIVER,
        DISCOVER,
        CHAINCODE_REGISTER,
        CHAINCODE_CONNECT,
    )
}
"""Every method by its path."""


def service_handlers(
    behaviours: Mapping[Method, Callable[..., Any]], *, raw: Iterable[Method] = ()
) -> list[grpc.GenericRpcHandler]:
    """Return generic handlers, one per service, for ``grpc.Server.add_generic_rpc_handlers``.

    The methods in ``raw`` answer with serialized messages.
    """
    raw = frozenset(raw)
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for method, behaviour in behaviours.items():
        services.setdefault(method.service, {})[method.name] = method.handler(
            behaviour, raw_response=method in raw
        )
    return [grpc.method_handlers_generic_handler(name, rows) for name, rows in services.items()]
