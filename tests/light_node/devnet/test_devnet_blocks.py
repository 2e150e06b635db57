"""What the devnet orders is what a light client accepts: both forms, every node's copy."""

from typing import Any

import pytest

from light_node.chain import trust, verify
from light_node.chain.errors import VerificationError
from light_node.devnet.blocks import CopyRule, orderer_copy, peer_copy
from light_node.devnet.network import genesis_bytes, network_profile
from light_node.fabric.block import (
    parse_block,
    signature_entry,
    stated_commit_hash,
    transactions_filter,
    without_data,
)
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.pb import common_pb2


@pytest.fixture(params=["ground", "raft_ground"])
def any_ground(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_genesis_is_a_trust_root_with_the_whole_configuration(any_ground: Any) -> None:
    root = trust.load(genesis_bytes(any_ground.network.genesis), channel="market")
    config = root.config
    bft = any_ground.network.layout.bft
    assert config.consensus_type == ("BFT" if bft else "etcdraft")
    assert len(config.consenters) == (4 if bft else 3)
    assert config.capabilities == {"V3_0"}
    assert {o.msp_id for o in config.application_organizations} == {
        "Org1MSP",
        "Org2MSP",
        "Org3MSP",
    }
    endpoints = [o.endpoints for o in config.orderer_organizations]
    assert sorted(endpoints) == sorted((n.address,) for n in any_ground.network.layout.orderers)
    assert config.batch_timeout_ns == any_ground.network.batch_timeout_ms * 10**6


def test_profile_round_trips_and_names_the_genesis_block(any_ground: Any) -> None:
    profile = network_profile(any_ground.network, any_ground.clock.now())
    assert type(profile).from_json(profile.to_json()) == profile
    root = trust.from_profile(profile.trust_root)
    assert root.number == 0
    consenters = [o.consenter_id for o in profile.orderers]
    assert consenters == ([1, 2, 3, 4] if any_ground.network.layout.bft else [None] * 3)


def test_every_copy_of_every_node_verifies(any_ground: Any) -> None:
    for i in range(4):
        any_ground.commit(any_ground.envelope("put", f"k{i}", "x"), b"\n\x01a\x12\x01b")
    members = len(any_ground.network.material.orderers)
    bft = any_ground.network.layout.bft
    root = trust.load(genesis_bytes(any_ground.network.genesis))
    for first in range(members):
        rule = CopyRule(first, members, bft)
        for copy in (peer_copy, orderer_copy):
            state = root.state
            for number in range(1, 5):
                raw = copy(any_ground.chain.stored(number), rule)
                verified = verify.verify_block(state, verify.parse(raw))
                assert len(set(verified.signers)) >= (3 if bft else 1)
                header = copy(any_ground.chain.stored(number), rule, header_only=True)
                assert header == without_data(raw)
                verify.verify_block(state, verify.parse(header))
                state = verify.apply(state, verified)
            assert state.number == 4


def test_nodes_hold_different_signatures_of_the_same_block(any_ground: Any) -> None:
    block = any_ground.commit(any_ground.envelope("put", "a", "1")).stored
    members = len(any_ground.network.material.orderers)
    bft = any_ground.network.layout.bft
    copies = [parse_block(peer_copy(block, CopyRule(i, members, bft))) for i in range(members)]
    assert len({c.hash for c in copies}) == 1
    assert len({c.metadata[0] for c in copies}) == members
    assert {len(signature_entry(c).signatures) for c in copies} == {3 if bft else 1}


def test_peers_add_verdicts_and_orderers_know_none(ground: Any) -> None:
    block = ground.commit(ground.envelope("put", "a", "1")).stored
    rule = CopyRule(0, 4, True)
    peers, orderers = parse_block(peer_copy(block, rule)), parse_block(orderer_copy(block, rule))
    assert transactions_filter(peers) == b"\x00"
    assert len(stated_commit_hash(peers)) == 32
    assert transactions_filter(orderers) == stated_commit_hash(orderers) == b""
    assert len(orderers.metadata) == 5


def test_config_block_is_sent_whole_as_a_header(ground: Any) -> None:
    view = ground.endorsers[0].view
    assert view.block(0, header_only=True) == view.block(0)
    assert ChannelConfig.from_block(view.block(0, header_only=True)).channel_id == "market"


def test_altered_signature_is_noticed(ground: Any) -> None:
    block = ground.commit(ground.envelope("put", "a", "1")).stored
    message = common_pb2.Block.FromString(peer_copy(block, CopyRule(0, 4, True)))
    entry = common_pb2.Metadata.FromString(message.metadata.metadata[0])
    del entry.signatures[0]
    message.metadata.metadata[0] = entry.SerializeToString()
    root = trust.load(genesis_bytes(ground.network.genesis))
    with pytest.raises(VerificationError):
        verify.verify_block(root.state, verify.parse(message.SerializeToString()))
