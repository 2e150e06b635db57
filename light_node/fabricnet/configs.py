"""The files Fabric's programs start from (docs/fabric-protocol.md 6.2, 6.4, 6.6, 6.7).

``orderer.yaml`` and ``core.yaml`` are written as JSON, which is YAML: names and paths of any kind
need no quoting rules of our own.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from light_node.devnet.layout import join_address
from light_node.devnet.material import NodeMaterial
from light_node.fabricnet.plan import OrdererPorts, PeerPorts
from light_node.files import write_atomically

_BCCSP = {"Default": "SW", "SW": {"Hash": "SHA2", "Security": 256}}
_UNITS = {"Client": "client", "Peer": "peer", "Admin": "admin", "Orderer": "orderer"}
_BUILDER = {
    "detect": 'grep -q \'"type": *"ccaas"\' "$2/metadata.json"',
    "build": 'cp "$1/connection.json" "$3/"',
    "release": 'mkdir -p "$2/chaincode/server" && cp "$1/connection.json" "$2/chaincode/server/"',
}
# Nodes ping each other every 60 s. With Fabric's default, 60 s as well, whoever is a moment early
# twice has its connection ended by "too_many_pings", in the middle of whatever it was at.
_LEAST_PING_INTERVAL = "30s"
_MAX_MESSAGE = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """Where one node's files lie: ``msp``, ``tls``, its configuration and its ``data``."""

    path: Path

    @property
    def data(self) -> Path:
        """The node's ledgers and logs of consensus."""
        return self.path / "data"

    def file(self, *parts: str) -> str:
        """Return a path below the folder as text."""
        return str(self.path.joinpath(*parts))


def write_orderer(folder: NodeFolder, member: NodeMaterial, ports: OrdererPorts) -> None:
    """Write what ``orderer`` needs with FABRIC_CFG_PATH set to the folder."""
    _write_keys(folder, member)
    node = member.node
    _write_yaml(
        folder.path / "orderer.yaml",
        {
            "General": {
                "ListenAddress": node.host,
                "ListenPort": node.port,
                "BootstrapMethod": "none",  # 2.5 would look for a system channel; 3.x has none
                "TLS": {
                    "Enabled": True,
                    "Certificate": folder.file("tls", "server.crt"),
                    "PrivateKey": folder.file("tls", "server.key"),
                    "RootCAs": [folder.file("tls", "ca.crt")],
                    "ClientAuthRequired": False,
                },
                "Keepalive": {
                    "ServerMinInterval": _LEAST_PING_INTERVAL,
                    "ServerInterval": "7200s",
                    "ServerTimeout": "20s",
                },
                "MaxRecvMsgSize": _MAX_MESSAGE,
                "MaxSendMsgSize": _MAX_MESSAGE,
                "Cluster": {"SendBufferSize": 100},
                "LocalMSPID": node.msp_id,
                "LocalMSPDir": folder.file("msp"),
                "BCCSP": _BCCSP,
                "Authentication": {"TimeWindow": "15m"},
            },
            "FileLedger": {"Location": str(folder.data)},
            "Consensus": {
                "WALDir": str(folder.data / "consensus" / "wal"),
                "SnapDir": str(folder.data / "consensus" / "snapshot"),
            },
            "ChannelParticipation": {"Enabled": True, "MaxRequestBodySize": "1 MB"},
            "Admin": {
                "ListenAddress": join_address(node.host, ports.admin),
                "TLS": {"Enabled": False},
            },
            "Operations": _operations(node.host, ports.operations, "ListenAddress", "TLS"),
            "Metrics": {"Provider": "prometheus"},
        },
    )


def write_peer(
    folder: NodeFolder, member: NodeMaterial, ports: PeerPorts, builder: Path, *, time_window: bool
) -> None:
    """Write what ``peer node start`` needs with FABRIC_CFG_PATH set to the folder.

    ``time_window``: refuse proposals far off the peer's clock, which 3.x does by default.
    """
    _write_keys(folder, member)
    node = member.node
    listener = join_address(node.host, ports.chaincode_listener)
    filters = ["DefaultAuth", "ExpirationCheck", *(["TimeWindowCheck"] if time_window else [])]
    _write_yaml(
        folder.path / "core.yaml",
        {
            "peer": {
                "id": node.name,
                "networkId": "prosumer",
                "listenAddress": node.address,
                "address": node.address,
                "chaincodeListenAddress": listener,
                "chaincodeAddress": listener,
                "localMspId": node.msp_id,
                "localMspType": "bccsp",
                "mspConfigPath": folder.file("msp"),
                "fileSystemPath": str(folder.data),
                "BCCSP": _BCCSP,
                "tls": {
                    "enabled": True,
                    "clientAuthRequired": False,
                    "cert": {"file": folder.file("tls", "server.crt")},
                    "key": {"file": folder.file("tls", "server.key")},
                    "rootcert": {"file": folder.file("tls", "ca.crt")},
                },
                "authentication": {"timewindow": "15m"},
                "keepalive": {"minInterval": _LEAST_PING_INTERVAL},
                "gossip": {
                    "bootstrap": node.address,
                    "externalEndpoint": node.address,
                    "useLeaderElection": False,
                    "orgLeader": True,
                    "state": {"enabled": False},
                },
                "gateway": {
                    "enabled": True,
                    "endorsementTimeout": "30s",
                    "broadcastTimeout": "30s",
                    "dialTimeout": "2m",
                },
                "discovery": {
                    "enabled": True,
                    "authCacheEnabled": True,
                    "authCacheMaxSize": 1000,
                    "authCachePurgeRetentionRatio": 0.75,
                    "orgMembersAllowedAccess": False,
                },
                "handlers": {
                    "authFilters": [{"name": name} for name in filters],
                    "decorators": [{"name": "DefaultDecorator"}],
                    "endorsers": {"escc": {"name": "DefaultEndorsement"}},
                    "validators": {"vscc": {"name": "DefaultValidation"}},
                },
                "limits": {
                    "concurrency": {
                        "endorserService": 2500,
                        "deliverService": 2500,
                        "gatewayService": 500,
                    }
                },
            },
            "vm": {"endpoint": ""},
            "chaincode": {
                "externalBuilders": [{"name": "ccaas", "path": str(builder)}],
                "installTimeout": "300s",
                "startuptimeout": "30s",
                "executetimeout": "30s",
                "mode": "net",
                "system": dict.fromkeys(("_lifecycle", "cscc", "lscc", "qscc"), "enable"),
                "runtimeParams": {
                    "useWriteBatch": True,
                    "maxSizeWriteBatch": 1000,
                    "useGetMultipleKeys": True,
                    "maxSizeGetMultipleKeys": 1000,
                },
            },
            "ledger": {
                "state": {"stateDatabase": "goleveldb", "totalQueryLimit": 100_000},
                "history": {"enableHistoryDatabase": True},
                "pvtdataStore": {
                    "collElgProcMaxDbBatchSize": 5000,
                    "collElgProcDbBatchesInterval": 1000,
                    "deprioritizedDataReconcilerInterval": "60m",
                    "purgeInterval": 100,
                    "purgedKeyAuditLogging": True,
                },
                "snapshots": {"rootDir": str(folder.data / "snapshots")},
            },
            "operations": _operations(node.host, ports.operations, "listenAddress", "tls"),
            "metrics": {"provider": "prometheus"},
        },
    )


def write_builder(folder: Path) -> None:
    """Write the external builder that makes peers dial chaincode servers (6.7)."""
    for name, line in _BUILDER.items():
        path = folder / "bin" / name
        write_atomically(path, f"#!/bin/sh\nset -e\n{line}\n".encode())
        path.chmod(0o755)


def _operations(host: str, port: int, listen: str, tls: str) -> dict[str, Any]:
    enabled = "Enabled" if tls == "TLS" else "enabled"
    return {listen: join_address(host, port), tls: {enabled: False}}


def _write_keys(folder: NodeFolder, member: NodeMaterial) -> None:
    root, msp = member.ca.certificate_pem, folder.path / "msp"
    files = {
        msp / "cacerts" / "ca.pem": root,
        msp / "tlscacerts" / "tlsca.pem": member.tls_ca.certificate_pem,
        msp / "signcerts" / "cert.pem": member.identity.certificate_pem,
        msp / "config.yaml": json.dumps({"NodeOUs": _node_ous()}, indent=1).encode(),
        folder.path / "tls" / "server.crt": member.tls.certificate_pem,
        folder.path / "tls" / "ca.crt": member.tls_ca.certificate_pem,
    }
    for path, data in files.items():
        write_atomically(path, data)
    write_atomically(msp / "keystore" / "key.pem", member.identity.key_pem, private=True)
    write_atomically(folder.path / "tls" / "server.key", member.tls.key_pem, private=True)


def _node_ous() -> dict[str, Any]:
    units: dict[str, Any] = {
        f"{name}OUIdentifier": {
            "Certificate": "cacerts/ca.pem",
            "OrganizationalUnitIdentifier": unit,
        }
        for name, unit in _UNITS.items()
    }
    return {"Enable": True, **units}


def _write_yaml(path: Path, value: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(value, indent=1).encode())
