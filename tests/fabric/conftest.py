"""A network of Fabric's own programs, one per kind of ordering, for all tests of a run."""

from collections.abc import Iterator

import pytest

from tests.fabric.networks import ORDERINGS, FabricClients, fabric_network


@pytest.fixture(scope="session", params=ORDERINGS)
def fabric(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FabricClients]:
    """A running network with the chaincodes ``market`` and ``kv``."""
    with fabric_network(tmp_path_factory.mktemp(request.param), request.param) as running:
        yield running
