"""A gateway client for as many calls at once as there are: one connection, no checks.

How transactions end it reads from one stream of filtered blocks, as :class:`Gateway
<light_node.fabric.gateway.Gateway>` does while many are under way.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os import urandom
from typing import Any

import grpc
import grpc.aio

from light_node.clock import SystemClock
from light_node.fabric import methods
from light_node.fabric.commit import CommitStatus
from light_node.fabric.commits import CommitBoard, filtered_blocks
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import gateway_pb2
from light_node.fabric.profile import NetworkProfile
from light_node.fabric.proposal import NONCE_BYTES, Proposal, build_proposal

_log = logging.getLogger(__name__)

_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 100 * 1024 * 1024),
]
_CALL_SECONDS = 30.0
_STREAM_SECONDS = 5.0  # how long a commit may keep the stream silent before CommitStatus is asked


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
        self._deliver: Any = self._channel.stream_stream(
            methods.PEER_DELIVER_FILTERED.path,
            request_serializer=methods.PEER_DELIVER_FILTERED.request.SerializeToString,
            response_deserializer=methods.PEER_DELIVER_FILTERED.response.FromString,
        )
        self._following: asyncio.Task[None] | None = None
        self._board: asyncio.Future[CommitBoard] | None = None

    async def close(self) -> None:
        """End the stream and close the connection."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
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
        board = await self._followed(identity)
        told: asyncio.Future[CommitStatus | None] = asyncio.get_running_loop().create_future()

        def tell(status: CommitStatus | None) -> None:
            if not told.done():
                told.set_result(status)

        board.expect(about, tell)
        refused = None
        try:
            refused = await self._hand_over(submission)
            async with asyncio.timeout(_STREAM_SECONDS):
                status = await told
        except TimeoutError:
            status = None
        finally:
            board.forget(about)
        status = status or await self._commit_status(identity, about, refused)
        if not status.valid:
            raise NotCommitted(status.name)
        return Committed(about, status.block_number)

    async def _hand_over(self, submission: gateway_pb2.SubmitRequest) -> grpc.RpcError | None:
        """Submit; return the error that does not mean that the transaction was not taken.

        To a SmartBFT gateway orderers that have the transaction already count as orderers that did
        not take it (``docs/fabric-protocol.md`` 7, no. 15); ``Gateway`` asks what became of it too.
        """
        try:
            await self._submit(submission, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return error
        return None

    async def _commit_status(
        self, identity: SigningIdentity, about: str, refused: grpc.RpcError | None
    ) -> CommitStatus:
        """Ask how it ended; ``refused``, the submission's own error, if that cannot be told."""
        asked = gateway_pb2.CommitStatusRequest(
            transaction_id=about, channel_id=self._channel_id, identity=identity.serialized
        ).SerializeToString()
        signed = gateway_pb2.SignedCommitStatusRequest(
            request=asked, signature=identity.sign(asked)
        )
        try:
            answer = await self._status(signed, timeout=_CALL_SECONDS)
        except grpc.RpcError as error:
            raise (refused or error) from None
        return CommitStatus(answer.result, answer.block_number)

    async def _followed(self, identity: SigningIdentity) -> CommitBoard:
        """Return where commits are told, once nothing submitted from now on can be missed."""
        if self._board is None:
            self._board = asyncio.get_running_loop().create_future()
            self._following = asyncio.create_task(self._follow(identity, self._board))
        return await asyncio.shield(self._board)

    async def _follow(
        self, identity: SigningIdentity, opened: "asyncio.Future[CommitBoard]"
    ) -> None:
        board = CommitBoard()
        try:
            request = filtered_blocks(identity, self._channel_id, SystemClock())
            async for answer in self._deliver(iter((request,))):
                board.note(answer.filtered_block)
                if not opened.done():
                    opened.set_result(board)
        except grpc.RpcError as error:
            _log.warning("the stream of commits ended: %s", error)
        finally:
            # Closed, it answers nobody, and CommitStatus is asked for each.
            board.close()
            self._board = None
            if not opened.done():
                opened.set_result(board)

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
