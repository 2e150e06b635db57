"""Configuration blocks of live channels read; spoiled ones refused with the part named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from light_node.fabric import block as blocks
from light_node.fabric.channel_config import (
    BLOCK_VALIDATION,
    ChannelConfig,
    ConfigError,
    duration_ns,
)
from light_node.fabric.pb import common_pb2, msp_pb2, orderer_pb2
from light_node.fabric.policy import PolicyError

Config = common_pb2.Config


def raw_block(data: Path, kind: str, number: int) -> bytes:
    return (data / "fabric" / kind / "full" / f"{number:04}.block").read_bytes()


def spoiled(data: Path, kind: str, change: Callable[[Config], Any]) -> ChannelConfig:
    _, envelope = blocks.config_envelope(blocks.parse_block(raw_block(data, kind, 0)))
    change(envelope.config)
    return ChannelConfig.from_config(envelope.config, channel_id=f"{kind}ch")


@pytest.mark.parametrize("kind", ["raft", "bft"])
def test_a_live_configuration(data: Path, kind: str) -> None:
    config = ChannelConfig.from_block(raw_block(data, kind, 0))
    assert (config.channel_id, config.sequence, config.block_number) == (f"{kind}ch", 0, 0)
    assert config.capabilities == {"V3_0"}
    assert config.bft_signatures
    assert config.consensus_type == {"raft": "etcdraft", "bft": "BFT"}[kind]
    assert len(config.consenters) == {"raft": 3, "bft": 4}[kind]
    assert config.organizations == {"Org1MSP", "Org2MSP", "Org3MSP"}
    assert config.msps.msp_ids == {*config.organizations, "OrdererMSP"}
    assert [o.name for o in config.orderer_organizations] == ["OrdererOrg"]
    assert config.orderer_endpoints["OrdererMSP"][0] == "127.0.0.1:6050"
    assert config.application_organizations[0].anchor_peers == ("127.0.0.1:7051",)
    assert (config.batch_max_messages, config.batch_absolute_max_bytes) == (10, 10 << 20)
    assert config.batch_timeout_ns == 10**9
    assert not config.maintenance
    assert config.policy(BLOCK_VALIDATION)
    with pytest.raises(PolicyError):
        config.policy("/Channel/Orderer/Nothing")


@pytest.mark.parametrize("kind", ["raft", "bft"])
def test_the_change_at_block_11(data: Path, kind: str) -> None:
    config = ChannelConfig.from_block(raw_block(data, kind, 11))
    assert (config.sequence, config.block_number) == (1, 11)
    assert config.batch_timeout_ns == 500_000_000


def test_consenters_are_found_by_id(data: Path) -> None:
    config = ChannelConfig.from_block(raw_block(data, "bft", 0))
    third = config.consenter(3)
    assert third is not None
    identity = msp_pb2.SerializedIdentity.FromString(third.serialized)
    assert (identity.mspid, identity.id_bytes) == ("OrdererMSP", third.identity)
    assert config.consenter(0) is None
    assert config.consenter(5) is None
    raft = ChannelConfig.from_block(raw_block(data, "raft", 0))
    assert raft.consenter(0) is None, "Raft consenters sign with certificates of their own choice"


@pytest.mark.parametrize("number", [1, 5])
def test_an_ordinary_block_is_no_configuration(data: Path, number: int) -> None:
    with pytest.raises(ConfigError, match="holds no channel configuration"):
        ChannelConfig.from_block(raw_block(data, "raft", number))
    header = (data / "fabric" / "raft" / "headers" / "0001.block").read_bytes()
    with pytest.raises(ConfigError, match="without its data"):
        ChannelConfig.from_block(header)
    with pytest.raises(ConfigError):
        ChannelConfig.from_block(b"junk")


def orderer(config: Config) -> common_pb2.ConfigGroup:
    return config.channel_group.groups["Orderer"]


def set_capability(group: common_pb2.ConfigGroup, *names: str) -> None:
    made = common_pb2.Capabilities(capabilities={n: common_pb2.Capability() for n in names})
    group.values["Capabilities"].value = made.SerializeToString()


def set_value(group: common_pb2.ConfigGroup, name: str, message: Any) -> None:
    group.values[name].value = message.SerializeToString()


def change_policy(config: Config, change: Callable[[Any], None]) -> None:
    policy = orderer(config).policies["BlockValidation"].policy
    envelope = common_pb2.SignaturePolicyEnvelope.FromString(policy.value)
    change(envelope)
    policy.value = envelope.SerializeToString()


def change_consenters(config: Config, change: Callable[[Any], None]) -> None:
    entry = orderer(config).values["Orderers"]
    listed = common_pb2.Orderers.FromString(entry.value)
    change(listed.consenter_mapping)
    entry.value = listed.SerializeToString()


def differing_msp(config: Config) -> None:
    """The orderers' MSP a second time, under Application, with an admin more."""
    own = orderer(config).groups["OrdererOrg"].values["MSP"].value
    outer = msp_pb2.MSPConfig.FromString(own)
    inner = msp_pb2.FabricMSPConfig.FromString(outer.config)
    inner.fabric_node_ous.enable = False
    outer.config = inner.SerializeToString()
    other = config.channel_group.groups["Application"].groups["Again"]
    other.values["MSP"].value = outer.SerializeToString()


BOTH: list[tuple[str, Callable[[Config], Any], str]] = [
    ("no orderers", lambda c: c.channel_group.groups.pop("Orderer"), "no Orderer group"),
    (
        "no orderer organisation",
        lambda c: orderer(c).groups.pop("OrdererOrg"),
        "no organisations",
    ),
    (
        "an organisation without MSP",
        lambda c: orderer(c).groups["OrdererOrg"].values.pop("MSP"),
        "has no MSP",
    ),
    ("two definitions of an MSP", differing_msp, "two different ways"),
    ("unknown capability", lambda c: set_capability(c.channel_group, "V3_0", "V9_9"), "V9_9"),
    (
        "unknown orderer capability",
        lambda c: set_capability(orderer(c), "V7_0"),
        "orderer capability V7_0",
    ),
    (
        "unknown application capability",
        lambda c: set_capability(c.channel_group.groups["Application"], "V7_0"),
        "application capability V7_0",
    ),
    ("old capability", lambda c: set_capability(c.channel_group, "V1_1"), "older than"),
    (
        "another hash",
        lambda c: set_value(
            c.channel_group, "HashingAlgorithm", common_pb2.HashingAlgorithm(name="SHA3_256")
        ),
        "SHA3_256",
    ),
    (
        "a Merkle tree",
        lambda c: set_value(
            c.channel_group,
            "BlockDataHashingStructure",
            common_pb2.BlockDataHashingStructure(width=10),
        ),
        "width 10",
    ),
    (
        "unknown consensus",
        lambda c: set_value(orderer(c), "ConsensusType", orderer_pb2.ConsensusType(type="solo")),
        "'solo'",
    ),
    (
        "unreadable value",
        lambda c: setattr(orderer(c).values["BatchSize"], "value", b"\xff"),
        "configuration of",
    ),
    (
        "no duration",
        lambda c: set_value(orderer(c), "BatchTimeout", orderer_pb2.BatchTimeout(timeout="soon")),
        "'soon'",
    ),
]


@pytest.mark.parametrize("kind", ["raft", "bft"])
@pytest.mark.parametrize(("what", "change", "complaint"), BOTH, ids=[b[0] for b in BOTH])
def test_what_cannot_be_used_is_named(
    data: Path, kind: str, what: str, change: Callable[[Config], Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        spoiled(data, kind, change)


BFT_ONLY: list[tuple[str, Callable[[Config], Any], str]] = [
    (
        "fewer signatures",
        lambda c: change_policy(c, lambda p: setattr(p.rule.n_out_of, "n", 2)),
        "3 of the 4",
    ),
    (
        "another consenter in the policy",
        lambda c: change_policy(c, lambda p: p.identities[0].CopyFrom(p.identities[1])),
        "does not ask",
    ),
    (
        "a consenter more in the policy",
        lambda c: change_policy(c, lambda p: p.rule.n_out_of.rules.add(signed_by=0)),
        "does not ask",
    ),
    (
        "a consenter less in the mapping",
        lambda c: change_consenters(c, lambda m: m.pop()),
        "2 of the 3",
    ),
    (
        "no consenters",
        lambda c: change_consenters(c, lambda m: m.__delitem__(slice(None))),
        "no consenters",
    ),
    (
        "one id twice",
        lambda c: change_consenters(c, lambda m: setattr(m[0], "id", m[1].id)),
        "share an id",
    ),
    (
        "one identity twice",
        lambda c: change_consenters(c, lambda m: setattr(m[0], "identity", m[1].identity)),
        "share an id",
    ),
    ("without V3_0", lambda c: set_capability(c.channel_group, "V2_0"), "V3_0"),
    ("no policy", lambda c: orderer(c).policies.pop("BlockValidation"), "signature policy"),
    (
        "an implicit policy",
        lambda c: setattr(orderer(c).policies["BlockValidation"].policy, "type", 3),
        "signature policy",
    ),
]


@pytest.mark.parametrize(("what", "change", "complaint"), BFT_ONLY, ids=[b[0] for b in BFT_ONLY])
def test_the_quorum_is_recomputed(
    data: Path, what: str, change: Callable[[Config], Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        spoiled(data, "bft", change)


def test_the_same_msp_may_stand_in_both_groups(data: Path) -> None:
    def share(config: Config) -> None:
        msp = orderer(config).groups["OrdererOrg"].values["MSP"].value
        config.channel_group.groups["Application"].groups["Too"].values["MSP"].value = msp

    config = spoiled(data, "bft", share)
    assert "OrdererMSP" in config.organizations


@pytest.mark.parametrize("channel_id", ["", "Upper", "has space", "x" * 300, "1abc", "../x"])
def test_a_channel_id_is_a_channel_id(data: Path, channel_id: str) -> None:
    _, envelope = blocks.config_envelope(blocks.parse_block(raw_block(data, "raft", 0)))
    with pytest.raises(ConfigError, match="no channel id"):
        ChannelConfig.from_config(envelope.config, channel_id=channel_id)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 5 * 10**8), ("1s", 10**9), ("1m30s", 90 * 10**9), ("1.5s", 15 * 10**8),
     ("2h", 7200 * 10**9), ("10us", 10**4), ("7ns", 7)],
)  # fmt: skip
def test_durations(text: str, expected: int) -> None:
    assert duration_ns(text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1 s", "1s later", "1e3s", "9" * 50 + "s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ConfigError):
        duration_ns(text)
