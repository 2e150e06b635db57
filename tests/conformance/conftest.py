"""Both networks for one suite: every test here is held to the same answers by each of them."""

from collections.abc import Iterator

import grpc
import pytest

from light_node.devnet.testing import DevnetProcess
from light_node.fabric.gateway import Gateway
from tests.conformance.ca_servers import CaUnderTest, devnet_ca, fabric_ca, fabric_ca_server
from tests.conformance.networks import Network, devnet_authorities


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


NETWORKS = ["devnet-bft", "devnet-raft"]


@pytest.fixture(scope="session", params=NETWORKS)
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    """A running network with the chaincodes ``kv`` and ``market``."""
    _, _, ordering = request.param.rpartition("-")
    directory = tmp_path_factory.mktemp(request.param)
    arguments = ["--raft"] if ordering == "raft" else []
    with DevnetProcess(directory, "--batch-timeout", "50", *arguments) as devnet:
        yield Network(request.param, devnet, devnet_authorities(directory), ordering == "bft")


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
