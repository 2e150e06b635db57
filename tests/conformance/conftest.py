"""Both networks for one suite: every test here is held to the same answers by each of them."""

from collections.abc import Iterator

import pytest

from light_node.devnet.testing import DevnetProcess
from tests.conformance.ca_servers import CaUnderTest, devnet_ca, fabric_ca, fabric_ca_server


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
