"""Configuration updates: who may, what is refused, how the new configuration appears (2.5)."""

import time
from typing import Any

import grpc
import pytest

from light_node.chain.node import LightNode
from light_node.fabric.block import is_config, last_config_index, parse_block
from light_node.fabric.deliver import DeliverClient
from light_node.fabric.gateway import Gateway
from light_node.fabric.pb import common_pb2, orderer_pb2
from tests.conformance.networks import CLOCK, Network

TIMEOUT = ("Orderer", "BatchTimeout")


def timeout_value(text: str) -> bytes:
    return orderer_pb2.BatchTimeout(timeout=text).SerializeToString()


def current_timeout(network: Network, gateway: Gateway) -> str:
    raw = gateway.evaluate("cscc", "GetChannelConfig", network.channel)
    group = common_pb2.Config.FromString(raw).channel_group.groups["Orderer"]
    return str(orderer_pb2.BatchTimeout.FromString(group.values["BatchTimeout"].value).timeout)


def change(network: Network, gateway: Gateway, timeout: str) -> None:
    """Change the batch timeout and wait until the peer goes by it."""
    answer = network.clients.change_config({TIMEOUT: timeout_value(timeout)})
    assert answer.status == common_pb2.SUCCESS, answer
    for _ in range(300):
        if current_timeout(network, gateway) == timeout:
            return
        time.sleep(0.1)
    raise AssertionError(f"the batch timeout is still {current_timeout(network, gateway)}")


def test_a_change_is_a_block_of_its_own_and_in_force_after_it(
    network: Network, peer: grpc.Channel, gateway: Gateway, tmp_path: Any
) -> None:
    before = current_timeout(network, gateway)
    milliseconds = 77 if before != "77ms" else 88
    height = gateway.height()
    with LightNode(network.clients.profile, tmp_path, network.clients.user("reader"), CLOCK) as n:
        assert n.wait_height(height, 30, agreed=True)
        change(network, gateway, f"{milliseconds}ms")
        result = gateway.submit_transaction("kv", "put", "config", "1")
        client = DeliverClient(peer, network.clients.user("reader"), network.channel, CLOCK)
        with client.blocks(height, result.block_number, headers_only=True) as found:
            blocks = [parse_block(raw) for raw in found]
        configs = [b for b in blocks if b.envelopes is not None and is_config(b.envelopes)]
        (config,) = configs
        assert config.envelopes is not None
        assert len(config.envelopes) == 1
        # Every later block points back at it, and it at itself.
        for block in blocks[blocks.index(config) :]:
            assert last_config_index(block) == config.number
        assert parse_block(gateway.config_block()).number == config.number
        assert n.wait_height(result.block_number + 1, 30, agreed=True), n.status()
        assert n.config.batch_timeout_ns == milliseconds * 1_000_000
    change(network, gateway, before)


@pytest.mark.parametrize("signers", [["Org1MSP", "Org2MSP", "Org3MSP"]])
def test_who_may_not_change_the_ordering(
    network: Network, gateway: Gateway, signers: list[str]
) -> None:
    before = gateway.config_block()
    answer = network.clients.change_config({TIMEOUT: timeout_value("1s")}, signers)
    assert answer.status == common_pb2.BAD_REQUEST
    assert answer.info.startswith(
        f"error applying config update to existing channel '{network.channel}': "
        "error authorizing update: error validating DeltaSet: policy for [Value]  "
        "/Channel/Orderer/BatchTimeout not satisfied"
    )
    assert gateway.config_block() == before


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (TIMEOUT, b"\xff"),
        (TIMEOUT, timeout_value("soon")),
        (TIMEOUT, timeout_value("-1s")),
        (("Orderer", "ConsensusType"), b""),
        (("Orderer", "BatchSize"), b""),
    ],
)
def test_values_that_cannot_be(
    network: Network, gateway: Gateway, path: tuple[str, ...], value: bytes
) -> None:
    before = gateway.config_block()
    answer = network.clients.change_config({path: value})
    assert answer.status == common_pb2.BAD_REQUEST
    assert gateway.config_block() == before
