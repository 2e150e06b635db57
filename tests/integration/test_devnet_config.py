"""Configuration updates sent to a running devnet: applied at once, followed by a light node."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from light_node.chain.node import LightNode
from light_node.clock import SystemClock
from light_node.devnet.certificates import revocation_list
from light_node.devnet.network import Options
from light_node.devnet.threaded import DevnetThread
from light_node.fabric.channel_config import duration_ns
from light_node.fabric.errors import FabricError
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, msp_pb2, orderer_pb2

SOON = 15.0


@pytest.fixture(params=[False, True], ids=["bft", "raft"])
def net(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DevnetThread]:
    options = Options(base_port=0, batch_timeout_ms=5, raft=request.param)
    with DevnetThread(tmp_path / "net", options) as made:
        yield made


def put(net: DevnetThread, identity: SigningIdentity) -> int:
    """Submit a transaction as somebody; return its block."""
    with closing(net.connect()) as channel, closing(net.gateway(channel, identity)) as gateway:
        return gateway.submit_transaction("kv", "put", "a", "1").block_number


def batch_size(messages: int) -> bytes:
    size = orderer_pb2.BatchSize(
        max_message_count=messages,
        absolute_max_bytes=10 * 1024 * 1024,
        preferred_max_bytes=2 * 1024 * 1024,
    )
    return size.SerializeToString()


def test_a_light_node_follows_configurations(net: DevnetThread, tmp_path: Path) -> None:
    operator = net.user()
    with LightNode(net.profile, tmp_path / "node", operator, SystemClock()) as node:
        put(net, operator)
        for number, text in enumerate(("7ms", "3ms"), start=1):
            timeout = orderer_pb2.BatchTimeout(timeout=text).SerializeToString()
            changes = {
                ("Orderer", "BatchTimeout"): timeout,
                ("Orderer", "BatchSize"): batch_size(9),
            }
            assert net.change_config(changes).status == common_pb2.SUCCESS
            last = put(net, operator)
            assert node.wait_height(last + 1, SOON, agreed=True), node.status()
            assert (node.config.sequence, node.config.batch_max_messages) == (number, 9)
            assert node.config.batch_timeout_ns == duration_ns(text)
            assert node.status().valid_height == last + 1


def test_a_restart_goes_by_the_last_configuration(tmp_path: Path) -> None:
    for start in range(2):
        options = Options(base_port=None if start else 0, batch_timeout_ms=None if start else 5)
        with DevnetThread(tmp_path / "net", options) as net:
            size = {("Orderer", "BatchSize"): batch_size(50 + start)}
            assert net.change_config(size).status == common_pb2.SUCCESS
            put(net, net.user())
            with LightNode(net.profile, tmp_path / "node", net.user(), SystemClock()) as node:
                assert node.wait_height(net.height, SOON, agreed=True)
                assert node.config.sequence == start + 1


def test_what_no_majority_of_admins_has_signed(net: DevnetThread) -> None:
    timeout = orderer_pb2.BatchTimeout(timeout="1s").SerializeToString()
    changes = {("Orderer", "BatchTimeout"): timeout}
    for signers in (["Orderer1MSP"], ["Org1MSP", "Org2MSP", "Org3MSP"]):
        answer = net.change_config(changes, signers)
        assert answer.status == common_pb2.BAD_REQUEST
        assert "BatchTimeout not satisfied" in answer.info
    for changed, reason in (
        ({("Orderer", "BatchTimeout"): b"\xff"}, "error applying config update"),
        ({("Orderer", "ConsensusType"): b""}, "consensus type"),
    ):
        answer = net.change_config(changed)
        assert answer.status == common_pb2.BAD_REQUEST
        assert reason in answer.info


def with_crl(net: DevnetThread, revoked: SigningIdentity) -> Callable[[bytes], bytes]:
    ca = net.network.material.peers[0].ca
    now = datetime.now(UTC)
    serial = revoked.certificate.serial_number
    crl = revocation_list(ca, [(serial, now, "keycompromise")], now)

    def change(value: bytes) -> bytes:
        outer = msp_pb2.MSPConfig.FromString(value)
        inner = msp_pb2.FabricMSPConfig.FromString(outer.config)
        inner.revocation_list.append(crl)
        outer.config = inner.SerializeToString()
        return outer.SerializeToString()

    return change


def test_a_revoked_certificate_is_refused_once_the_list_is_on_the_channel(
    net: DevnetThread, tmp_path: Path
) -> None:
    revoked, other = net.user("operator"), net.user("operator", "Org2MSP")
    put(net, revoked)
    path = ("Application", "Org1MSP", "MSP")
    with closing(net.connect()) as channel, closing(net.gateway(channel, other)) as gateway:
        raw = gateway.evaluate("cscc", "GetChannelConfig", net.profile.channel)
    group = common_pb2.Config.FromString(raw).channel_group.groups["Application"]
    value = group.groups["Org1MSP"].values["MSP"].value
    change = {path: with_crl(net, revoked)(value)}
    assert net.change_config(change, ["Org2MSP"]).status == common_pb2.BAD_REQUEST
    assert net.change_config(change, ["Org1MSP"]).status == common_pb2.SUCCESS
    last = put(net, other)
    with pytest.raises(FabricError):
        put(net, revoked)
    with LightNode(net.profile, tmp_path / "node", other, SystemClock()) as node:
        assert node.wait_height(last + 1, SOON, agreed=True), node.status()
        assert node.config.sequence == 1
