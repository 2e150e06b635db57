"""A gateway client for as many calls at once as there are: one connection, no checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os import urandom
from typing import Any

import grpc
import grpc.aio

from light_node.fabric import methods
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import gateway_pb2, peer_pb2
from light_node.fabric.profile import NetworkProfile
from light_node.fabric.proposal import NONCE_BYTES, Proposal, build_proposal

_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 100 * 1024 * 1024),
]
_CALL_SECONDS = 30.0


class NotCommitted(Exception):
    """A transaction ended invalid; the text is its validation code."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction that is valid, and the block it is in."""

    transaction_id: str
    block_number: int


class LoadClient:
    """Calls of many identities through one organisation's peer; use it in one event loop."""

    def __init__(self, profile: NetworkProfile, msp_id: str) -> None:
        """Dial the first peer of ``msp_id``; ``ProfileError`` if there is no such organisation."""
        peer = profile.organization(msp_id).peers[0]
        credentials = grpc.ssl_channel_credentials(peer.tls_root_pem.encode())
        self._channel_id = profile.channel
        self._channel = grpc.aio.secure_channel(peer.address, credentials, _OPTIONS)
        calls: list[Any] = [
            self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            for method in (methods.EVALUATE, methods.ENDORSE, methods.SUBMIT, methods.COMMIT_STATUS)
        ]
        self._evaluate, self._endorse, self._submit, self._status = calls

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def evaluate(self, identity: SigningIdentity, chaincode: str, *args: bytes) -> bytes:
        """Return what a query answers; ``grpc.RpcError``."""
        proposal = self._propose(identity, chaincode, args)
        request = gateway_pb2.EvaluateRequest(**_fields(proposal))
        answer = await self._evaluate(request, timeout=_CALL_SECONDS)
        payload: bytes = answer.result.payload
        return payload

    async def submit(self, identity: SigningIdentity, chaincode: str, *args: bytes) -> Committed:
        """Endorse, submit and wait for the commit; ``NotCommitted`` or ``grpc.RpcError``."""
        proposal = self._propose(identity, chaincode, args)
        about = proposal.transaction_id
        request = gateway_pb2.EndorseRequest(**_fields(proposal))
        endorsed = await self._endorse(request, timeout=_CALL_SECONDS)
        envelope = endorsed.prepared_transaction
        envelope.signature = identity.sign(envelope.payload)
        submission = gateway_pb2.SubmitRequest(
            transaction_id=about, channel_id=self._channel_id, prepared_transaction=envelope
        )
        await self._submit(submission, timeout=_CALL_SECONDS)
        asked = gateway_pb2.CommitStatusRequest(
            transaction_id=about, channel_id=self._channel_id, identity=identity.serialized
        ).SerializeToString()
        signed = gateway_pb2.SignedCommitStatusRequest(
            request=asked, signature=identity.sign(asked)
        )
        answer = await self._status(signed, timeout=_CALL_SECONDS)
        if answer.result != peer_pb2.VALID:
            raise NotCommitted(peer_pb2.TxValidationCode.Name(answer.result))
        return Committed(about, answer.block_number)

    def _propose(
        self, identity: SigningIdentity, chaincode: str, args: Sequence[bytes]
    ) -> Proposal:
        now, nonce = datetime.now(UTC), urandom(NONCE_BYTES)
        return build_proposal(identity, self._channel_id, chaincode, args, now=now, nonce=nonce)


def _fields(proposal: Proposal) -> dict[str, Any]:
    return {
        "transaction_id": proposal.transaction_id,
        "channel_id": proposal.channel,
        "proposed_transaction": proposal.signed,
    }
