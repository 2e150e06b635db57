"""The plan of a network: who takes part, under which name, at which port.

Three peer organisations, and one orderer organisation per consenter: BFT tolerates one dishonest
consenter of four, which means something only if no one controls two of them, and a light node that
asks orderers of several organisations needs several to ask.
"""

import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from light_node.contract import chaincodes
from light_node.devnet.errors import PortInUseError

CHANNEL = "market"
CHAINCODE = chaincodes.MARKET
PEER_ORGANIZATIONS = 3
BFT_CONSENTERS = 4
RAFT_CONSENTERS = 3
# Below every system's range for outgoing connections, so that a port chosen once stays free
# between a kill and the next start.
_FREE_LOW, _FREE_HIGH = 20_000, 30_000


@dataclass(frozen=True, slots=True)
class Node:
    """One peer or orderer: its organisation, its name, and where it listens."""

    organization: str
    msp_id: str
    name: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """``host:port`` as clients dial it."""
        return join_address(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Layout:
    """All nodes of a network; ``bft`` tells SmartBFT from Raft ordering."""

    host: str
    base_ports: tuple[int, ...]
    bft: bool

    @property
    def peers(self) -> tuple[Node, ...]:
        """The peers, one per organisation, in order."""
        return tuple(
            Node(f"org{i + 1}", f"Org{i + 1}MSP", f"peer0.org{i + 1}", self.host, port)
            for i, port in enumerate(self.base_ports[:PEER_ORGANIZATIONS])
        )

    @property
    def orderers(self) -> tuple[Node, ...]:
        """The consenters, one per organisation; the id of each is its place, counted from 1."""
        ports = self.base_ports[PEER_ORGANIZATIONS : PEER_ORGANIZATIONS + self.consenters]
        return tuple(
            Node(f"orderer{i + 1}", f"Orderer{i + 1}MSP", f"orderer{i + 1}", self.host, port)
            for i, port in enumerate(ports)
        )

    @property
    def consenters(self) -> int:
        """How many consenters the ordering service has."""
        return BFT_CONSENTERS if self.bft else RAFT_CONSENTERS

    @property
    def ca_port(self) -> int:
        """Where the CA's REST server listens."""
        return self.base_ports[-1]


def port_count(bft: bool) -> int:
    """Return how many ports a network needs: peers, orderers, CA."""
    return PEER_ORGANIZATIONS + (BFT_CONSENTERS if bft else RAFT_CONSENTERS) + 1


def plan(host: str, base_port: int, bft: bool) -> Layout:
    """Return the layout at ``base_port`` and following, or at free ports when it is 0."""
    count = port_count(bft)
    ports = tuple(range(base_port, base_port + count)) if base_port else free_ports(host, count)
    return Layout(host, ports, bft)


def free_ports(host: str, count: int) -> tuple[int, ...]:
    """Return ``count`` ports that can be listened on now; ``PortInUseError`` if none are found."""
    found: dict[int, None] = {}
    for _ in range(100 * count):
        port = _FREE_LOW + secrets.randbelow(_FREE_HIGH - _FREE_LOW)
        if port not in found and not in_use(host, [port]):
            found[port] = None
        if len(found) == count:
            return tuple(found)
    raise PortInUseError(f"found no {count} free ports on {host}")


def in_use(host: str, ports: Iterable[int]) -> list[int]:
    """Return those of ``ports`` that something listens on already (or that may not be used)."""
    taken = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                # Connections in TIME_WAIT do not matter; a listener still does.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError:
                taken.append(port)
    return taken


def join_address(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
