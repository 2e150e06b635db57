"""Which processes a network has and where each listens; made once, kept in ``network.json``."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from light_node import jsonio
from light_node.contract.chaincodes import KV, MARKET
from light_node.devnet.layout import Layout, Node, free_ports, join_address
from light_node.fabricnet.errors import FabricNetError
from light_node.files import write_atomically
from light_node.i18n import Text

FILE_NAME = "network.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class PeerPorts:
    """Where else a peer listens beside its gRPC port: ``operations`` serves /healthz, /metrics."""

    operations: int
    chaincode_listener: int


@dataclass(frozen=True, slots=True)
class OrdererPorts:
    """``admin`` is the channel participation API, ``operations`` serves /healthz and /metrics."""

    admin: int
    operations: int


@dataclass(frozen=True, slots=True)
class ChaincodeServerPorts:
    """One chaincode server: beside which peer, serving which chaincode, and where."""

    peer: int
    chaincode: str
    port: int
    operations: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes of a network; ``release`` is the Fabric it was made with.

    ``zones`` are the channels beside the first one, in the order in which they were added.
    """

    release: str
    fabric_ca: bool
    peers: tuple[PeerPorts, ...]
    orderers: tuple[OrdererPorts, ...]
    chaincode_servers: tuple[ChaincodeServerPorts, ...]
    ca_ports: tuple[int, ...]
    zones: tuple[str, ...] = ()

    @property
    def chaincodes(self) -> tuple[str, ...]:
        """The chaincodes deployed, each once."""
        return tuple(dict.fromkeys(server.chaincode for server in self.chaincode_servers))

    def save(self, directory: Path) -> None:
        """Write ``network.json``; ``OSError``."""
        data = {"version": _VERSION, **asdict(self)}
        write_atomically(directory / FILE_NAME, json.dumps(data, indent=1).encode())

    @classmethod
    def load(cls, directory: Path) -> "Plan":
        """Read ``network.json``; ``FabricNetError`` if there is none or it cannot be used."""
        path = directory / FILE_NAME
        try:
            return _read(jsonio.strict_loads(path.read_bytes()))
        except FileNotFoundError:
            raise FabricNetError(
                f"{directory} holds no network: make one with light-node fabric up"
            ) from None
        except (OSError, jsonio.JsonError, KeyError, TypeError, ValueError) as error:
            raise FabricNetError(f"{path} cannot be used: {error}") from error


def new_plan(layout: Layout, release: str, *, fabric_ca: bool, kv: bool) -> Plan:
    """Return a plan with free ports for everything that ``layout`` has none for."""
    peers, orderers = len(layout.peers), len(layout.orderers)
    served = [MARKET, KV] if kv else [MARKET]
    cas = peers if fabric_ca else 0
    wanted = 2 * (peers + orderers + peers * len(served) + cas)
    ports = iter(free_ports(layout.host, wanted))
    return Plan(
        release,
        fabric_ca,
        tuple(PeerPorts(next(ports), next(ports)) for _ in range(peers)),
        tuple(OrdererPorts(next(ports), next(ports)) for _ in range(orderers)),
        tuple(
            ChaincodeServerPorts(peer, name, next(ports), next(ports))
            for name in served
            for peer in range(peers)
        ),
        tuple(next(ports) for _ in range(2 * cas)),
    )


def server_name(server: ChaincodeServerPorts, peers: tuple[Node, ...]) -> str:
    """Return the name of a chaincode server's process, like ``market.org1``."""
    return f"{server.chaincode}.{peers[server.peer].organization}"


def url(host: str, port: int, path: str = "") -> str:
    """Return the address of one of the plain HTTP interfaces."""
    return f"http://{join_address(host, port)}{path}"


def _read(value: Any) -> Plan:
    fields = jsonio.mapping(value, Text("the plan"))
    if jsonio.integer(fields, "version") != _VERSION:
        raise ValueError(f"it is of version {fields['version']}, this program reads {_VERSION}")
    return Plan(
        jsonio.string(fields, "release"),
        bool(fields["fabric_ca"]),
        tuple(PeerPorts(**item) for item in jsonio.array(fields, "peers")),
        tuple(OrdererPorts(**item) for item in jsonio.array(fields, "orderers")),
        tuple(ChaincodeServerPorts(**item) for item in jsonio.array(fields, "chaincode_servers")),
        tuple(int(port) for port in jsonio.array(fields, "ca_ports")),
        # Networks made before there could be several have none.
        tuple(str(name) for name in fields.get("zones", ())),
    )
