"""``light-node fabric`` with Fabric's own programs, and what wallets and light nodes do on it."""

import json
import shutil
from pathlib import Path

import pytest

from light_node import cli
from light_node.fabric.ca import Attribute
from light_node.fabric.crypto import generate_key
from light_node.fabric.errors import EndorseError, Unavailable
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.identity import attributes as attributes_of
from light_node.fabricnet.network import UpOptions
from tests.fabric.networks import FabricClients
from tests.fabric.test_robustness import until
from wallet_app.keys.identity import certificate_request

pytestmark = pytest.mark.timeout(300)


def test_a_transaction_commits_and_the_light_node_proves_it(
    fabric: FabricClients, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with fabric.connect() as channel:
        gateway = fabric.gateway(channel, fabric.user())
        result = gateway.submit_transaction("kv", "put", "k", "v", retries=3)
        assert gateway.evaluate("kv", "get", "k") == b"v"
    profile = str(fabric.directory / "profile.json")
    assert cli.main(["sync", "--profile", profile, "--dir", str(tmp_path), "--json"]) == 0
    synced = json.loads(capsys.readouterr().out)
    assert synced["agreed_height"] > result.block_number
    out = str(tmp_path / "proof.json")
    command = ["prove", result.transaction_id, "--profile", profile, "--dir", str(tmp_path)]
    assert cli.main([*command, "--out", out]) == 0


def test_the_ca_enrols_a_participant_who_may_quote(fabric: FabricClients) -> None:
    registrar = fabric.profile.registrars[0]
    ca = fabric.ca(registrar.msp_id)

    def enrolled(name: str, secret: str) -> SigningIdentity:
        key = generate_key()
        certificate = ca.enroll(name, secret, certificate_request(key, name))
        return SigningIdentity.from_key(registrar.msp_id, certificate, key)

    try:
        attributes = [
            Attribute("market.user_type", "household"),
            Attribute("market.permissions", "trade"),
        ]
        admin = enrolled(registrar.id, registrar.secret)
        home = enrolled("home-1", ca.register(admin, "home-1", attributes=attributes))
    finally:
        ca.close()
    assert attributes_of(home.certificate)["market.permissions"] == "trade"
    with fabric.connect() as channel:
        fabric.gateway(channel, home).submit_transaction("kv", "put", "home", "1", retries=3)


def test_status_says_what_runs_and_up_again_changes_nothing(fabric: FabricClients) -> None:
    before = fabric.net.status()
    assert all(process["pid"] for process in before["processes"])
    assert all(p["healthy"] for p in before["processes"] if p["name"].startswith(("market", "kv")))
    heights = {p["height"] for p in before["processes"] if p["height"] is not None}
    assert len(heights) == 1
    fabric.net.up(UpOptions(), lambda _: None)
    after = fabric.net.status()
    assert [p["pid"] for p in after["processes"]] == [p["pid"] for p in before["processes"]]


def test_down_and_up_again_keep_ledgers_and_profile(fabric: FabricClients) -> None:
    with fabric.connect() as channel:
        fabric.gateway(channel, fabric.user()).submit_transaction(
            "kv", "put", "kept", "1", retries=3
        )
    root = fabric.profile.trust_root.hash
    fabric.net.down()
    status = fabric.net.status()
    assert not any(process["pid"] for process in status["processes"])
    fabric.net.up(UpOptions(), lambda _: None)
    assert fabric.profile.trust_root.hash == root
    with fabric.connect() as channel:
        gateway = fabric.gateway(channel, fabric.user())
        assert gateway.evaluate("kv", "get", "kept") == b"1"
        gateway.submit_transaction("kv", "put", "kept", "2", retries=3)


def test_nodes_that_lost_their_disks_come_back(fabric: FabricClients) -> None:
    nodes = ["peer0.org2", "orderer3"]
    fabric.net.processes.stop(nodes)
    for node in nodes:
        shutil.rmtree(fabric.directory / "nodes" / node / "data")
    fabric.net.up(UpOptions(), lambda _: None)
    with fabric.connect("Org2MSP") as channel:
        gateway = fabric.gateway(channel, fabric.user(msp_id="Org2MSP"))
        organizations = ["Org1MSP", "Org2MSP"]  # so that it endorses itself

        def endorsed() -> bool:
            try:
                gateway.endorse("kv", "put", "lost", "1", organizations=organizations)
            except (Unavailable, EndorseError):  # peers learn of each other by gossip
                return False
            return True

        until(endorsed, "the endorsement of a peer without a past")
        gateway.submit_transaction("kv", "put", "lost", "1", retries=3)
    until(
        lambda: (
            len({p["height"] for p in fabric.net.status()["processes"] if p["height"] is not None})
            == 1
        ),
        "the blocks of those that lost theirs",
    )
