"""The light client over each network: blocks of all organisations, verified and agreed."""

from pathlib import Path

from light_node.chain.node import LightNode
from light_node.fabric.gateway import Gateway
from tests.conformance.networks import CLOCK, Network


def test_a_light_node_verifies_and_finds_all_organisations_agreeing(
    network: Network, gateway: Gateway, tmp_path: Path
) -> None:
    result = gateway.submit_transaction("kv", "put", "verified", "1")
    reader = network.clients.user("reader")
    with LightNode(network.clients.profile, tmp_path, reader, CLOCK) as node:
        assert node.wait_height(result.block_number + 1, 30, agreed=True), node.status()
        found = node.transaction(result.block_number, result.transaction_id)
        assert found.is_valid
        assert found.problems == ()
        status = node.status()
    assert status.valid_height is not None
    assert status.valid_height >= result.block_number + 1
