"""Networks of Fabric's own programs for tests that need the real thing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from light_node.clock import SystemClock
from light_node.devnet.testing import DevnetClients
from light_node.fabricnet import binaries
from light_node.fabricnet.binaries import Binaries
from light_node.fabricnet.errors import BinariesMissing, FabricNetError
from light_node.fabricnet.network import FabricNet, UpOptions

ORDERINGS = ("raft", "bft")


class FabricClients(DevnetClients):
    """What clients need of a network in ``net``'s directory, and the network itself."""

    def __init__(self, net: FabricNet) -> None:
        super().__init__(net.directory)
        self.net = net


def need_binaries(ordering: str = "raft") -> Binaries:
    """Return Fabric's programs; skip the test, saying why, where they are not."""
    if os.name == "nt":
        pytest.skip("Fabric's programs do not run on Windows")
    try:
        found = binaries.find(os.environ)
    except BinariesMissing as error:
        pytest.skip(str(error))
    if ordering == "bft" and not found.knows_bft:
        pytest.skip(f"Fabric {found.release} has no BFT ordering")
    return found


@contextmanager
def fabric_network(
    directory: Path,
    ordering: str,
    *,
    kv: bool = True,
    batch_timeout_ms: int = 100,
    host: str | None = None,
) -> Iterator[FabricClients]:
    """Run a network in ``directory`` and stop it afterwards; skips where Fabric is not."""
    need_binaries(ordering)
    options = UpOptions(ordering == "bft", batch_timeout_ms, kv=kv, host=host)
    with FabricNet(directory, SystemClock()) as net:
        try:
            net.up(options, lambda _: None)
            yield FabricClients(net)
        finally:
            try:
                net.down()
            except FabricNetError:
                assert not net.processes.names()  # nothing was started
