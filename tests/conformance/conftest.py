"""Every network for one suite: each test here is held to the same answers by each of them.

Networks of Fabric's own programs run where ``FABRIC_BIN`` (or the path) has those of 3.x, and
``FABRIC_BIN_2_5`` those of 2.5; elsewhere their tests are skipped and say so. To ask a network that
runs already, name its directory in ``CONFORMANCE_NETWORK``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from light_node.clock import SystemClock
from light_node.devnet.testing import DevnetClients, DevnetProcess
from light_node.fabric.gateway import Gateway
from light_node.fabricnet import binaries
from light_node.fabricnet.errors import BinariesMissing
from light_node.fabricnet.network import FabricNet, UpOptions
from light_node.fabricnet.plan import Plan
from tests.conformance.ca_servers import CaUnderTest, devnet_ca, fabric_ca, fabric_ca_server
from tests.conformance.networks import Network, authorities_in

NETWORKS = ["devnet-bft", "devnet-raft", "fabric-bft", "fabric-raft", "fabric-2.5-raft"]
GIVEN = os.environ.get("CONFORMANCE_NETWORK")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starting Fabric's programs takes longer than a test may otherwise."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(300, func_only=False))


@pytest.fixture(scope="session", params=["devnet", "fabric-ca"])
def ca(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CaUnderTest]:
    """A CA with its registrar's id and secret."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "devnet":
        with DevnetProcess(directory, "--batch-timeout", "50") as devnet:
            yield devnet_ca(devnet)
        return
    program = fabric_ca_server()
    if program is None:
        pytest.skip("fabric-ca-server is not found: name its folder in FABRIC_CA_BIN")
    with fabric_ca(program, directory / "server") as found:
        yield found


@pytest.fixture(scope="session", params=["given"] if GIVEN else NETWORKS)
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    """A running network with the chaincodes ``kv`` and ``market``."""
    if GIVEN:
        yield running(Path(GIVEN))
        return
    family, _, ordering = request.param.rpartition("-")
    directory = tmp_path_factory.mktemp(request.param)
    start = devnet if family == "devnet" else fabric
    with start(directory, family, ordering == "bft") as found:
        yield found


def running(directory: Path) -> Network:
    """Return the network that runs in ``directory``."""
    clients = DevnetClients(directory)
    bft = clients.profile.orderers[0].consenter_id is not None
    if (directory / "devnet.sqlite").exists():
        return Network(directory.name, clients, authorities_in(directory), bft)
    new = not Plan.load(directory).release.startswith("2.")
    return Network(directory.name, clients, authorities_in(directory / "keys"), bft, new)


@contextmanager
def devnet(directory: Path, family: str, bft: bool) -> Iterator[Network]:
    """Run a devnet."""
    arguments = [] if bft else ["--raft"]
    with DevnetProcess(directory, "--batch-timeout", "50", *arguments):
        yield running(directory)


@contextmanager
def fabric(directory: Path, family: str, bft: bool) -> Iterator[Network]:
    """Run a network of Fabric's programs; skips where they are not."""
    environment = dict(os.environ)
    if family == "fabric-2.5":
        if "FABRIC_BIN_2_5" not in environment:
            pytest.skip("name the folder of Fabric 2.5's programs in FABRIC_BIN_2_5")
        environment[binaries.FABRIC_BIN] = environment["FABRIC_BIN_2_5"]
    try:
        found = binaries.find(environment)
    except BinariesMissing as error:
        pytest.skip(str(error))
    if family == "fabric" and not found.knows_bft:
        pytest.skip(f"Fabric 3.x is needed in FABRIC_BIN, not {found.release}")
    with FabricNet(directory, SystemClock(), environment) as net:
        try:
            net.up(UpOptions(bft, 50, kv=True), lambda _: None)
            yield running(directory)
        finally:
            net.down()


@pytest.fixture(scope="session")
def peer(network: Network) -> Iterator[grpc.Channel]:
    """A channel to the first organisation's peer."""
    with network.clients.connect() as channel:
        yield channel


@pytest.fixture(scope="session")
def orderer(network: Network) -> Iterator[grpc.Channel]:
    """A channel to an orderer."""
    with network.clients.connect_orderer(1) as channel:
        yield channel


@pytest.fixture(scope="session")
def gateway(network: Network, peer: grpc.Channel) -> Iterator[Gateway]:
    """A gateway client of the first organisation's operator."""
    client = network.clients.gateway(peer, network.clients.user())
    client.submit_transaction("kv", "put", "conformance", "1")
    yield client
    client.close()
