"""Configuration updates: Fabric's rules on versions, policies and what follows what."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from light_node.devnet import config_update, network
from light_node.devnet.certificates import issue_identity
from light_node.devnet.config_update import ConfigUpdateRefused, CurrentConfig, next_config
from light_node.fabric import crypto
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, orderer_pb2
from light_node.fabric.transaction import parse_header

TIMEOUT = ("Orderer", "BatchTimeout")
NEW = orderer_pb2.BatchTimeout(timeout="7ms").SerializeToString()


def nonce() -> bytes:
    return os.urandom(24)


@pytest.fixture
def current(ground: Any) -> CurrentConfig:
    return network.current_config(ground.store)


@pytest.fixture
def admins(ground: Any) -> list[SigningIdentity]:
    """Three of the four orderer organisations' admins: a majority."""
    return [admin_of(member) for member in ground.network.material.orderers[:3]]


def admin_of(member: Any) -> SigningIdentity:
    key = crypto.generate_key()
    expiry = member.ca.certificate.not_valid_after_utc
    certificate = issue_identity(member.ca, key.public_key(), "admin", ["admin"], expiry)
    return SigningIdentity.from_key(member.node.msp_id, crypto.certificate_pem(certificate), key)


def envelope(update: bytes, signers: list[SigningIdentity]) -> bytes:
    signed = config_update.signed_update(update, "market", signers, signers[0], nonce)
    return signed.SerializeToString()


def changed(current: CurrentConfig, change: Callable[[common_pb2.ConfigUpdate], None]) -> bytes:
    update = common_pb2.ConfigUpdate.FromString(
        config_update.propose(current.message, "market", {TIMEOUT: NEW})
    )
    change(update)
    return update.SerializeToString()


def test_a_value_changes_and_nothing_else(
    current: CurrentConfig, admins: list[SigningIdentity]
) -> None:
    update = config_update.propose(current.message, "market", {TIMEOUT: NEW})
    after = next_config(current, envelope(update, admins))
    assert after.sequence == current.message.sequence + 1
    expected = common_pb2.Config()
    expected.CopyFrom(current.message)
    expected.sequence += 1
    entry = expected.channel_group.groups["Orderer"].values["BatchTimeout"]
    entry.value, entry.version = NEW, 1
    assert after == expected


def test_too_few_admins(current: CurrentConfig, admins: list[SigningIdentity]) -> None:
    update = config_update.propose(current.message, "market", {TIMEOUT: NEW})
    for signers in (admins[:2], [admins[0]] * 3):
        with pytest.raises(ConfigUpdateRefused, match="BatchTimeout not satisfied"):
            next_config(current, envelope(update, signers))


def test_the_elements_own_policy_decides(
    ground: Any, current: CurrentConfig, admins: list[SigningIdentity]
) -> None:
    """An organisation's anchor peers are its own admins' business, and nobody else's."""
    path = ("Application", "Org1MSP", "AnchorPeers")
    update = config_update.propose(current.message, "market", {path: b""})
    own = admin_of(ground.network.material.peers[0])
    assert next_config(current, envelope(update, [own])).sequence == 1
    other = admin_of(ground.network.material.peers[1])
    for signers in ([other], admins):
        with pytest.raises(ConfigUpdateRefused, match="AnchorPeers not satisfied"):
            next_config(current, envelope(update, signers))


def _other_channel(update: common_pb2.ConfigUpdate) -> None:
    update.channel_id = "elsewhere"


def _stale_read(update: common_pb2.ConfigUpdate) -> None:
    update.read_set.groups["Orderer"].version = 1


def _unknown_read(update: common_pb2.ConfigUpdate) -> None:
    update.read_set.groups["Nowhere"].version = 0


def _skipped_version(update: common_pb2.ConfigUpdate) -> None:
    update.write_set.groups["Orderer"].values["BatchTimeout"].version = 2


def _no_effect(update: common_pb2.ConfigUpdate) -> None:
    del update.write_set.groups["Orderer"].values["BatchTimeout"]


def _new_element(update: common_pb2.ConfigUpdate) -> None:
    """A new value without a new version of the group it would belong to."""
    update.write_set.groups["Orderer"].values["Extra"].value = b"x"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_channel, "for channel 'elsewhere'"),
        (_stale_read, "readset expected key"),
        (_unknown_read, "does not contain element"),
        (_skipped_version, "attempt to set key"),
        (_no_effect, "delta set was empty"),
        (_new_element, "did not appear"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_refused(
    current: CurrentConfig, admins: list[SigningIdentity], change: Any, reason: str
) -> None:
    with pytest.raises(ConfigUpdateRefused, match=reason):
        next_config(current, envelope(changed(current, change), admins))


@pytest.mark.parametrize("raw", [b"", b"garbage", b"\x0a\x02\x08\x01"])
def test_what_is_no_update(current: CurrentConfig, raw: bytes) -> None:
    with pytest.raises(ConfigUpdateRefused):
        next_config(current, raw)


def test_consenters_stay(current: CurrentConfig, ground: Any) -> None:
    consensus = orderer_pb2.ConsensusType(type="etcdraft").SerializeToString()
    after = common_pb2.Config()
    after.CopyFrom(current.message)
    after.channel_group.groups["Orderer"].values["ConsensusType"].value = consensus
    with pytest.raises(ConfigUpdateRefused):
        config_update.check_usable(current.understood, after)


def test_a_block_of_its_own_that_peers_replay(
    ground: Any, current: CurrentConfig, admins: list[SigningIdentity]
) -> None:
    update = envelope(config_update.propose(current.message, "market", {TIMEOUT: NEW}), admins)
    ground.commit(ground.envelope("put", "a", "1"))
    block = ground.writer.append_config(update)
    ground.chain.publish(block)
    assert block.stored.last_config == block.number == 2
    assert [r.code for r in block.results] == [0]
    after = network.current_config(ground.store)
    assert (after.understood.sequence, after.understood.block_number) == (1, 2)
    assert after.understood.batch_timeout_ns == 7 * 10**6
    assert ground.commit(ground.envelope("put", "b", "1")).stored.last_config == 2
    with pytest.raises(ConfigUpdateRefused):  # the same again: its read set is stale
        ground.writer.append_config(update)


def test_a_configuration_that_its_update_does_not_give(
    ground: Any, current: CurrentConfig, admins: list[SigningIdentity]
) -> None:
    """A dishonest orderer writes another value than the admins have signed."""
    update = envelope(config_update.propose(current.message, "market", {TIMEOUT: NEW}), admins)
    orderer = ground.network.material.orderers[0].signing_identity()
    made = config_update.config_transaction(current, update, orderer, nonce())
    assert config_update.follows(current, parse_header(made))
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(made).payload)
    data = common_pb2.ConfigEnvelope.FromString(payload.data)
    data.config.channel_group.groups["Orderer"].values["BatchSize"].value = b""
    payload.data = data.SerializeToString()
    raw = payload.SerializeToString()
    false = common_pb2.Envelope(payload=raw, signature=orderer.sign(raw)).SerializeToString()
    assert not config_update.follows(current, parse_header(false))
    assert ground.codes(false) == ["INVALID_CONFIG_TRANSACTION"]
