"""The ledger over Fabric's gateway: :class:`~wallet_app.trading.ledger.Ledger` for networks."""

from collections.abc import Callable, Iterator
from typing import Any

from light_node import jsonio
from light_node.clock import Clock
from light_node.fabric import endorsement
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.errors import MalformedMessage, TimedOut
from light_node.fabric.events import EventStream
from light_node.fabric.gateway import Endorsed, Gateway
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.peers import Heights, Move, Peers, PeerWatch
from light_node.fabric.profile import NetworkProfile
from light_node.i18n import Text
from wallet_app.trading.ledger import LedgerEvent, Outcome


class GatewayLedger:
    """The market contract through a peer of the identity's own organisation while that serves.

    When it does not, the other organisations' peers are asked, one after the other. Endorsements
    are judged by the policy in the trust root's configuration, so a transaction that too few
    organisations endorsed is never signed, whatever the peer says.
    """

    def __init__(
        self,
        profile: NetworkProfile,
        identity: SigningIdentity,
        clock: Clock,
        on_move: Callable[[Move], None] = lambda move: None,
    ) -> None:
        """Connect (lazily: a peer that is down now may come later).

        ``on_move`` is told, on a thread of its own, when another peer is asked from now on.
        """
        self._chaincode = profile.chaincode
        self._addresses = {p.name: p.address for o in profile.organizations for p in o.peers}
        config = ChannelConfig.from_block(profile.trust_root.config_block)
        self._peers = Peers.of_profile(profile, identity.msp_id, monotonic=clock.monotonic)
        heights = Heights(identity, profile.channel, clock)
        self._watch = PeerWatch(
            self._peers,
            heights,
            monotonic=clock.monotonic,
            on_move=on_move,
            ahead=heights.ahead,
        )
        self._gateway = Gateway(
            self._peers,
            identity,
            profile.channel,
            clock,
            policy=endorsement.by_reference(config),
            config=config,
        )
        self._watch.start()

    @property
    def peer(self) -> str:
        """The name of the peer that is asked now."""
        return self._peers.current.name

    @property
    def peer_address(self) -> str:
        """Address of the peer that is asked now."""
        return self._addresses.get(self._peers.current.name, "")

    def evaluate(self, function: str, *arguments: str) -> Any:
        """Return the JSON a query answers; ``JsonError`` if it is none."""
        return jsonio.strict_loads(self._gateway.evaluate(self._chaincode, function, *arguments))

    def prepare(self, function: str, *arguments: str) -> tuple[str, bytes]:
        """Endorse, check and sign; return transaction id and signed envelope."""
        endorsed = self._gateway.endorse(self._chaincode, function, *arguments)
        return endorsed.transaction_id, endorsed.envelope

    def submit(self, transaction_id: str, envelope: bytes) -> None:
        """Hand the envelope to the ordering service."""
        self._gateway.submit(Endorsed(transaction_id, envelope))

    def outcome(self, transaction_id: str, timeout: float) -> Outcome | None:
        """Return how the transaction ended, None if that is not known within ``timeout`` s."""
        try:
            status = self._gateway.commit_status(transaction_id, timeout)
        except TimedOut:
            return None
        return Outcome(status.code, status.block_number)

    def events(self, start_block: int | None) -> Iterator[LedgerEvent]:
        """Return the contract's events until :meth:`close`; the stream reconnects by itself.

        Where it starts is settled before this returns, so that nothing is missed between a look
        at the ledger afterwards and the first event.
        """
        return _decoded(self._gateway.events(self._chaincode, start_block))

    def close(self) -> None:
        """End event streams and connections."""
        self._gateway.close()
        self._watch.stop()
        self._peers.close()


def _decoded(stream: EventStream) -> Iterator[LedgerEvent]:
    with stream:
        for block in stream:
            for event in block.events:
                payload = jsonio.strict_loads(event.payload)
                if not isinstance(payload, dict):
                    raise MalformedMessage(Text("an event of the market holds no JSON object"))
                yield LedgerEvent(event.name, payload, event.transaction_id, block.block_number)
