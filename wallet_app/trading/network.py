"""The ledger over Fabric's gateway: :class:`~wallet_app.trading.ledger.Ledger` for networks."""

from collections.abc import Iterator
from typing import Any

from light_node import jsonio
from light_node.clock import Clock
from light_node.fabric import endorsement
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.connection import connect
from light_node.fabric.errors import MalformedMessage, TimedOut
from light_node.fabric.events import EventStream
from light_node.fabric.gateway import Endorsed, Gateway
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import NetworkProfile
from wallet_app.trading.ledger import LedgerEvent, Outcome


class GatewayLedger:
    """The market contract through a peer of the identity's own organisation.

    Endorsements are judged by the policy in the trust root's configuration, so a transaction that
    too few organisations endorsed is never signed, whatever the peer says.
    """

    def __init__(self, profile: NetworkProfile, identity: SigningIdentity, clock: Clock) -> None:
        """Connect (lazily: a peer that is down now may come later)."""
        peer = profile.organization(identity.msp_id).peers[0]
        self._chaincode = profile.chaincode
        config = ChannelConfig.from_block(profile.trust_root.config_block)
        self._channel = connect(peer.address, peer.tls_root_pem)
        self._gateway = Gateway(
            self._channel,
            identity,
            profile.channel,
            clock,
            policy=endorsement.by_reference(config),
            config=config,
        )

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
        self._channel.close()


def _decoded(stream: EventStream) -> Iterator[LedgerEvent]:
    with stream:
        for block in stream:
            for event in block.events:
                payload = jsonio.strict_loads(event.payload)
                if not isinstance(payload, dict):
                    raise MalformedMessage("an event of the market holds no JSON object")
                yield LedgerEvent(event.name, payload, event.transaction_id, block.block_number)
