"""Keys and certificates of a network's own parts: made once, on the first start.

Per organisation a root CA for identities and another for TLS, as cryptogen and Fabric's
deployment guide do; per node an identity (NodeOU peer or orderer) and a TLS server certificate.
The CA's REST server has a TLS root of its own, since it serves three organisations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from light_node.devnet.certificates import (
    NODE_LIFETIME,
    Credential,
    issue_identity,
    issue_tls,
    new_root,
)
from light_node.devnet.layout import Layout, Node
from light_node.fabric import crypto
from light_node.fabric.identity import SigningIdentity

CA_SERVER = "ca-server"


@dataclass(frozen=True, slots=True)
class NodeMaterial:
    """What one peer or orderer holds, with the roots of its organisation."""

    node: Node
    ca: Credential
    tls_ca: Credential
    identity: Credential
    tls: Credential

    def signing_identity(self) -> SigningIdentity:
        """The identity the node signs with."""
        return SigningIdentity.from_key(
            self.node.msp_id, self.identity.certificate_pem, self.identity.key
        )


@dataclass(frozen=True, slots=True)
class Material:
    """The whole network's credentials."""

    peers: tuple[NodeMaterial, ...]
    orderers: tuple[NodeMaterial, ...]
    ca_server_root: Credential
    ca_server: Credential


def create(layout: Layout, now: datetime) -> dict[str, Credential]:
    """Return new credentials for every part of ``layout``, by the name they are kept under."""
    hosts = (layout.host, "127.0.0.1", "localhost")
    expiry = now + NODE_LIFETIME
    made: dict[str, Credential] = {}
    for node, unit in [(n, "peer") for n in layout.peers] + [
        (n, "orderer") for n in layout.orderers
    ]:
        ca = new_root(f"ca.{node.organization}", node.organization, now)
        tls_ca = new_root(f"tlsca.{node.organization}", node.organization, now)
        key, tls_key = crypto.generate_key(), crypto.generate_key()
        made[f"{node.name}/ca"], made[f"{node.name}/tlsca"] = ca, tls_ca
        certificate = issue_identity(ca, key.public_key(), node.name, [unit], expiry)
        made[f"{node.name}/identity"] = Credential(certificate, key)
        certificate = issue_tls(
            tls_ca, tls_key.public_key(), node.name, [*hosts, node.name], expiry
        )
        made[f"{node.name}/tls"] = Credential(certificate, tls_key)
    root, key = new_root(f"tlsca.{CA_SERVER}", "devnet", now), crypto.generate_key()
    certificate = issue_tls(root, key.public_key(), CA_SERVER, [*hosts, CA_SERVER], expiry)
    made[f"{CA_SERVER}/tlsca"], made[f"{CA_SERVER}/tls"] = root, Credential(certificate, key)
    return made


def arrange(layout: Layout, credentials: Mapping[str, Credential]) -> Material:
    """Return what :func:`create` made, sorted to its owners; ``KeyError`` if one is missing."""

    def of(node: Node) -> NodeMaterial:
        ca, tls_ca, identity, tls = (
            credentials[f"{node.name}/{kind}"] for kind in ("ca", "tlsca", "identity", "tls")
        )
        return NodeMaterial(node, ca, tls_ca, identity, tls)

    return Material(
        peers=tuple(of(node) for node in layout.peers),
        orderers=tuple(of(node) for node in layout.orderers),
        ca_server_root=credentials[f"{CA_SERVER}/tlsca"],
        ca_server=credentials[f"{CA_SERVER}/tls"],
    )
