"""Joining nodes to a channel, and asking how far they are (docs/fabric-protocol.md 6.5, 1.10)."""

from collections.abc import Callable, Sequence

import grpc
import requests

from light_node.clock import Clock
from light_node.fabric.errors import from_rpc_error
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import PROCESS_PROPOSAL
from light_node.fabric.pb import peer_pb2
from light_node.fabric.proposal import NONCE_BYTES, build_proposal
from light_node.fabricnet.errors import FabricNetError

Random = Callable[[int], bytes]
_HTTP_SECONDS = 30.0
_RPC_SECONDS = 120.0


def healthy(session: requests.Session, url: str) -> bool:
    """Whether ``url`` answers 200 now."""
    try:
        return session.get(url, timeout=2.0).status_code == 200
    except requests.RequestException:
        return False


def join_orderer(session: requests.Session, admin_url: str, name: str, genesis: bytes) -> None:
    """Join an orderer to channel ``name`` of block 0 ``genesis`` unless it has.

    ``FabricNetError`` if it refuses or does not answer.
    """
    if orderer_height(session, admin_url, name) is not None:
        return
    try:
        answer = session.post(
            f"{admin_url}/participation/v1/channels",
            files={"config-block": ("genesis.block", genesis)},
            timeout=_HTTP_SECONDS,
        )
    except requests.RequestException as error:
        raise FabricNetError(f"an orderer does not answer: {error}") from error
    if answer.status_code != 201:
        raise FabricNetError(f"an orderer refuses the channel {name}: {answer.text.strip()[:500]}")


def orderer_height(session: requests.Session, admin_url: str, name: str) -> int | None:
    """Return the orderer's blocks of a channel; None if it is not of it or not there."""
    try:
        answer = session.get(f"{admin_url}/participation/v1/channels/{name}", timeout=5.0)
        return int(answer.json()["height"]) if answer.status_code == 200 else None
    except (requests.RequestException, ValueError, KeyError):
        return None


class PeerAdmin:
    """A peer's administration by proposals without a channel, signed by its organisation's admin.

    Closes nothing: ``channel`` stays its owner's.
    """

    def __init__(
        self, channel: grpc.Channel, admin: SigningIdentity, clock: Clock, random: Random
    ) -> None:
        self._call = PROCESS_PROPOSAL.callable(channel)
        self._admin, self._clock, self._random = admin, clock, random

    def invoke(self, chaincode: str, function: str, *args: bytes) -> peer_pb2.Response:
        """Return the system chaincode's answer, refusals included; ``FabricError`` without one."""
        proposal = build_proposal(
            self._admin,
            "",
            chaincode,
            [function.encode(), *args],
            now=self._clock.now(),
            nonce=self._random(NONCE_BYTES),
        )
        try:
            answer = self._call(proposal.signed, timeout=_RPC_SECONDS)
        except grpc.RpcError as error:
            raise from_rpc_error(error, "evaluate", proposal.transaction_id) from error
        response: peer_pb2.Response = answer.response
        return response

    def channels(self) -> Sequence[str]:
        """Return the channels the peer has joined."""
        answer = self.invoke("cscc", "GetChannels")
        if answer.status != 200:
            raise FabricNetError(f"a peer does not list its channels: {answer.message[:500]}")
        found = peer_pb2.ChannelQueryResponse.FromString(answer.payload)
        return [info.channel_id for info in found.channels]

    def join(self, name: str, genesis: bytes) -> None:
        """Join channel ``name`` of block 0 ``genesis`` unless the peer has; ``FabricNetError``."""
        if name in self.channels():
            return
        answer = self.invoke("cscc", "JoinChain", genesis)
        if answer.status != 200:
            raise FabricNetError(f"a peer refuses the channel {name}: {answer.message[:500]}")
