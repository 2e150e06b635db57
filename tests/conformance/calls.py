"""Raw calls: requests the project's own clients would never send, and how they fail."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest

from light_node.clock import Clock
from light_node.fabric import crypto
from light_node.fabric.deliver import seek_envelope
from light_node.fabric.errors import NodeDetail, node_details
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import ENDORSE, EVALUATE
from light_node.fabric.pb import common_pb2, gateway_pb2, orderer_pb2
from light_node.fabric.proposal import Proposal, build_proposal
from tests.conformance.networks import CLOCK, Network

SECONDS = 30.0


class Failure:
    """How a call failed: gRPC code, text, and what the nodes named said."""

    def __init__(self, code: grpc.StatusCode, text: str, details: tuple[NodeDetail, ...]) -> None:
        self.code = code
        self.text = text
        self.details = details

    @property
    def said(self) -> list[str]:
        """The nodes' texts."""
        return [detail.message for detail in self.details]

    def __repr__(self) -> str:
        return f"{self.code.name}: {self.text!r} {self.said}"


def failure_of(call: Callable[..., Any], request: Any, timeout: float = SECONDS) -> Failure:
    """Return how a unary call fails, or the first answer of a stream."""

    def ask() -> None:
        answer = call(request, timeout=timeout)
        if hasattr(answer, "__next__"):
            next(answer)

    with pytest.raises(grpc.RpcError) as caught:
        ask()
    error: Any = caught.value
    return Failure(error.code(), error.details(), node_details(error))


def propose(
    network: Network,
    identity: SigningIdentity,
    *args: str | bytes,
    chaincode: str = "kv",
    channel: str | None = None,
    clock: Clock = CLOCK,
) -> Proposal:
    """Return a signed proposal."""
    return build_proposal(
        identity,
        network.channel if channel is None else channel,
        chaincode,
        [a.encode() if isinstance(a, str) else a for a in args],
        now=clock.now(),
        nonce=os.urandom(24),
    )


def endorse_request(
    proposal: Proposal, organizations: Sequence[str] = (), channel: str | None = None
) -> gateway_pb2.EndorseRequest:
    """Return the request to endorse ``proposal``."""
    return gateway_pb2.EndorseRequest(
        transaction_id=proposal.transaction_id,
        channel_id=proposal.channel if channel is None else channel,
        proposed_transaction=proposal.signed,
        endorsing_organizations=organizations,
    )


def evaluate_request(
    proposal: Proposal, organizations: Sequence[str] = (), channel: str | None = None
) -> gateway_pb2.EvaluateRequest:
    """Return the request to evaluate ``proposal``."""
    return gateway_pb2.EvaluateRequest(
        transaction_id=proposal.transaction_id,
        channel_id=proposal.channel if channel is None else channel,
        proposed_transaction=proposal.signed,
        target_organizations=organizations,
    )


def both_fail(peer: grpc.Channel, proposal: Proposal) -> tuple[Failure, Failure]:
    """Return how Evaluate and Endorse of ``proposal`` fail."""
    return (
        failure_of(EVALUATE.callable(peer), evaluate_request(proposal)),
        failure_of(ENDORSE.callable(peer), endorse_request(proposal)),
    )


def high_s(signature: bytes) -> bytes:
    """Return the other signature of the same P-256 key over the same message."""
    r, s = crypto.decode_dss_signature(signature)
    return crypto.encode_dss_signature(r, crypto.curve_order(crypto.ec.SECP256R1()) - s)


def seek_info(
    start: int | str = 0, stop: int | str | None = None, *, headers_only: bool = False
) -> orderer_pb2.SeekInfo:
    """Return a seek of blocks ``start`` to ``stop`` (default: that one block)."""

    def position(where: int | str) -> orderer_pb2.SeekPosition:
        if isinstance(where, int):
            specified = orderer_pb2.SeekSpecified(number=where)
            return orderer_pb2.SeekPosition(specified=specified)
        found = orderer_pb2.SeekPosition()
        getattr(found, where).SetInParent()
        return found

    kind = orderer_pb2.SeekInfo.HEADER_WITH_SIG if headers_only else orderer_pb2.SeekInfo.BLOCK
    return orderer_pb2.SeekInfo(
        start=position(start), stop=position(start if stop is None else stop), content_type=kind
    )


def deliver(
    network: Network,
    channel: grpc.Channel,
    method: Any,
    seek: orderer_pb2.SeekInfo,
    *,
    identity: SigningIdentity | None = None,
    clock: Clock = CLOCK,
    channel_id: str | None = None,
    tamper: Callable[[common_pb2.Envelope], None] = lambda envelope: None,
) -> list[Any]:
    """Return every answer to one seek."""
    envelope = seek_envelope(
        identity or network.clients.user("reader"),
        network.channel if channel_id is None else channel_id,
        seek,
        clock,
    )
    tamper(envelope)
    return list(method.callable(channel)(iter([envelope]), timeout=SECONDS))


def status_of(answers: list[Any]) -> int:
    """Return the one status among ``answers``."""
    (status,) = [a.status for a in answers if a.WhichOneof("Type") == "status"]
    found: int = status
    return found
