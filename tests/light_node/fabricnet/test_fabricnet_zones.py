"""The channels of a network: their blocks 0, profiles and places."""

import json
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from light_node.chain import trust
from light_node.devnet import network as devnet_network
from light_node.devnet.network import Network, Options
from light_node.devnet.registry import Registry
from light_node.devnet.store import Store
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabricnet import zones
from light_node.fabricnet.errors import FabricNetError
from light_node.fabricnet.plan import FILE_NAME, Plan, new_plan

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Fabric's programs do not run on Windows")

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(params=["bft", "raft"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    store = Store.open(tmp_path / "keys")
    options = Options(
        base_port=0, raft=request.param == "raft", batch_timeout_ms=250, batch_messages=7
    )
    made = devnet_network.open_network(tmp_path, options, store, NOW, secrets.token_bytes)
    cas = devnet_network.authorities(
        made, Registry(store, secrets.token_bytes), lambda: NOW, secrets.token_bytes
    )
    devnet_network.write_users(made, cas, secrets.token_bytes, NOW)
    yield made
    store.close()


def prepared(opened: Network, *names: str, now: datetime = NOW) -> list[zones.Zone]:
    return zones.prepare(opened, names, "V3_0", now, secrets.token_bytes)


def test_a_zone_differs_from_the_first_channel_in_its_name_only(opened: Network) -> None:
    first, south = prepared(opened, "south")
    one, other = (ChannelConfig.from_block(zone.genesis) for zone in (first, south))
    assert (one.channel_id, other.channel_id) == ("market", "south")
    assert one.batch_max_messages == 7
    for name in ("consensus_type", "batch_timeout_ns", "batch_max_messages", "consenters"):
        assert getattr(one, name) == getattr(other, name)
    members = [org.msp_id for org in other.application_organizations]
    assert members == [org.msp_id for org in one.application_organizations]


def test_a_zone_keeps_its_block_0_and_has_a_profile_of_its_own(opened: Network) -> None:
    _, made = prepared(opened, "south")
    _, again, west = prepared(opened, "south", "west", now=NOW + timedelta(days=1))
    assert again == made
    assert west.genesis != made.genesis
    first = devnet_network.network_profile(opened, NOW)
    profiles = [zones.profile(first, zone) for zone in prepared(opened, "south", "west")]
    assert [profile.channel for profile in profiles] == ["market", "south", "west"]
    assert len({trust.from_profile(p.trust_root).fingerprint for p in profiles}) == 3
    assert profiles[0] == first
    assert {profile.organizations for profile in profiles} == {first.organizations}


def test_the_folder_of_a_zone_serves_clients_as_the_networks_own(opened: Network) -> None:
    _, south = prepared(opened, "south")
    assert south.directory == opened.directory / "channels" / "south"
    own = devnet_network.load_user(opened.directory, "Org2MSP", "operator")
    assert devnet_network.load_user(south.directory, "Org2MSP", "operator").serialized == (
        own.serialized
    )


def test_a_zone_whose_files_were_changed_is_refused(opened: Network) -> None:
    _, south, west = prepared(opened, "south", "west")
    block = south.directory / zones.GENESIS_FILE
    block.write_bytes(west.genesis)
    with pytest.raises(FabricNetError, match="is of the channel west, not of south"):
        prepared(opened, "south")
    block.write_bytes(b"no block")
    with pytest.raises(FabricNetError, match=r"genesis\.block cannot be used"):
        prepared(opened, "south")
    link = west.directory / devnet_network.USERS_DIRECTORY
    link.unlink()
    link.symlink_to(opened.directory)
    with pytest.raises(FabricNetError, match="does not lead to the network's users"):
        prepared(opened, "west")


@pytest.mark.parametrize("name", ["", "South", "1st", "a/b", "../up", "a b", "a" * 250, "süd"])
def test_names_fabric_would_refuse_are_refused(name: str) -> None:
    with pytest.raises(FabricNetError, match="no name for a channel"):
        zones.check_names(["good", name])


def test_a_name_given_twice_and_the_first_channels_count_once() -> None:
    assert zones.check_names(["south", "market", "south", "a.b-1"]) == ("south", "a.b-1")


def test_a_plan_made_before_there_were_zones_is_read(opened: Network) -> None:
    plan = new_plan(opened.layout, "3.1.5", fabric_ca=False, kv=False)
    plan.save(opened.directory)
    path = opened.directory / FILE_NAME
    fields = json.loads(path.read_text())
    del fields["zones"]
    path.write_text(json.dumps(fields))
    assert Plan.load(opened.directory) == plan
