"""The networks the suite runs on, each as the same small interface."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from light_node.clock import SystemClock
from light_node.devnet.certificates import Credential, issue_identity
from light_node.devnet.store import Store
from light_node.devnet.testing import DevnetClients
from light_node.fabric import crypto
from light_node.fabric.identity import SigningIdentity

CLOCK = SystemClock()


class OffsetClock:
    """A wall clock that is wrong by ``offset``."""

    def __init__(self, offset: timedelta) -> None:
        self._offset = offset

    def now(self) -> datetime:
        return CLOCK.now() + self._offset

    def monotonic(self) -> float:
        return CLOCK.monotonic()


class Authorities(Protocol):
    """Gives an organisation's own CA: what a client never has, to make what it never gets."""

    def __call__(self, msp_id: str) -> Credential: ...


@dataclass(frozen=True, slots=True)
class Network:
    """A running network and the facts in which kinds and versions differ.

    ``bft``: SmartBFT orders, otherwise Raft. ``since_3``: Fabric 3.0 or later, which a devnet goes
    by: HEADER_WITH_SIG is honoured, and the gateway holds proposals against its own peer's filters
    (expired certificates, by default times 15 minutes off) before it asks that peer.
    """

    name: str
    clients: DevnetClients
    authority: Authorities
    bft: bool
    since_3: bool = True

    @property
    def channel(self) -> str:
        """The channel's name."""
        return self.clients.profile.channel

    @property
    def orderers(self) -> int:
        """How many orderers the network has."""
        return len(self.clients.profile.orderers)

    def issue(
        self,
        units: Sequence[str] = ("client",),
        msp_id: str = "Org1MSP",
        *,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> SigningIdentity:
        """Return an identity straight from an organisation's root, whatever it is good for."""
        key = crypto.generate_key()
        certificate = issue_identity(
            self.authority(msp_id),
            key.public_key(),
            "test",
            units,
            not_after or CLOCK.now() + timedelta(days=1),
            not_before=not_before,
        )
        return SigningIdentity.from_key(msp_id, crypto.certificate_pem(certificate), key)


def authorities_in(directory: Path) -> Authorities:
    """Return the CAs whose keys lie in the store in ``directory``."""

    def authority(msp_id: str) -> Credential:
        store = Store.open(directory)
        try:
            name = msp_id.removesuffix("MSP").lower()
            return Credential.load(*store.credentials()[f"peer0.{name}/ca"])
        finally:
            store.close()

    return authority
