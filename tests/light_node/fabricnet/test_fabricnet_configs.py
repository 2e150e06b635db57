"""The plan, and the files Fabric's programs start from."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from light_node.devnet import material as materials
from light_node.devnet.layout import Layout, plan
from light_node.devnet.material import Material
from light_node.fabric.crypto import load_certificate, load_private_key
from light_node.fabricnet import configs
from light_node.fabricnet.errors import FabricNetError
from light_node.fabricnet.plan import FILE_NAME, OrdererPorts, PeerPorts, Plan, new_plan

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def layout() -> Layout:
    return plan("127.0.0.1", 0, bft=True)


@pytest.fixture(scope="module")
def material(layout: Layout) -> Material:
    return materials.arrange(layout, materials.create(layout, NOW))


@pytest.mark.parametrize(("fabric_ca", "kv"), [(False, False), (True, True)])
def test_a_plan_comes_back_as_it_was_and_shares_no_port(
    layout: Layout, tmp_path: Path, fabric_ca: bool, kv: bool
) -> None:
    made = new_plan(layout, "3.1.5", fabric_ca=fabric_ca, kv=kv)
    made.save(tmp_path)
    assert Plan.load(tmp_path) == made
    assert made.chaincodes == (("market", "kv") if kv else ("market",))
    ports = [
        *(port for peer in made.peers for port in (peer.operations, peer.chaincode_listener)),
        *(port for orderer in made.orderers for port in (orderer.admin, orderer.operations)),
        *(port for server in made.chaincode_servers for port in (server.port, server.operations)),
        *made.ca_ports,
    ]
    assert len(ports) == len(set(ports))


def test_a_missing_or_damaged_plan_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FabricNetError, match="holds no network: make one with"):
        Plan.load(tmp_path)
    for text in ("{", "[]", '{"version": 9}', '{"version": 1, "release": "3"}'):
        (tmp_path / FILE_NAME).write_text(text)
        with pytest.raises(FabricNetError, match=r"network\.json cannot be used"):
            Plan.load(tmp_path)


def test_an_orderer_folder_is_complete(material: Material, tmp_path: Path) -> None:
    member, folder = material.orderers[0], configs.NodeFolder(tmp_path / "a 'b' \"c\"")
    configs.write_orderer(folder, member, OrdererPorts(1001, 1002))
    config = json.loads((folder.path / "orderer.yaml").read_text())
    general = config["General"]
    assert general["LocalMSPID"] == "Orderer1MSP"
    assert (general["ListenAddress"], general["ListenPort"]) == ("127.0.0.1", member.node.port)
    assert config["Admin"]["ListenAddress"] == "127.0.0.1:1001"
    assert config["Operations"]["ListenAddress"] == "127.0.0.1:1002"
    for path in (general["TLS"]["Certificate"], general["TLS"]["RootCAs"][0]):
        load_certificate(Path(path).read_bytes())
    msp = Path(general["LocalMSPDir"])
    certificate = load_certificate((msp / "signcerts" / "cert.pem").read_bytes())
    key_file = msp / "keystore" / "key.pem"
    assert load_private_key(key_file.read_bytes()).public_key() == certificate.public_key()
    assert key_file.stat().st_mode & 0o077 == 0
    units = json.loads((msp / "config.yaml").read_text())["NodeOUs"]
    assert units["Enable"] is True
    assert (msp / units["OrdererOUIdentifier"]["Certificate"]).exists()


@pytest.mark.parametrize("time_window", [False, True])
def test_a_peer_folder_is_complete(material: Material, tmp_path: Path, time_window: bool) -> None:
    member, folder = material.peers[1], configs.NodeFolder(tmp_path)
    ports = PeerPorts(1001, 1002)
    configs.write_peer(folder, member, ports, tmp_path / "builder", time_window=time_window)
    config = json.loads((tmp_path / "core.yaml").read_text())
    peer = config["peer"]
    assert peer["localMspId"] == "Org2MSP"
    assert peer["listenAddress"] == member.node.address
    assert peer["chaincodeListenAddress"] == "127.0.0.1:1002"
    filters = [entry["name"] for entry in peer["handlers"]["authFilters"]]
    assert ("TimeWindowCheck" in filters) == time_window
    assert config["chaincode"]["externalBuilders"][0]["path"] == str(tmp_path / "builder")


def test_the_builder_claims_services_only_and_releases_their_connection(tmp_path: Path) -> None:
    configs.write_builder(tmp_path)

    def run(name: str, *folders: Path) -> int:
        command = [tmp_path / "bin" / name, *folders]
        return subprocess.run(command, check=False, capture_output=True).returncode

    source, metadata, output, release = (
        tmp_path / name for name in ("source", "metadata", "output", "release")
    )
    for folder in (source, metadata, output, release):
        folder.mkdir()
    (source / "connection.json").write_text("{}")
    (metadata / "metadata.json").write_text('{"label": "x", "type": "golang"}')
    assert run("detect", source, metadata) != 0
    (metadata / "metadata.json").write_text('{\n  "label": "x",\n  "type": "ccaas"\n}\n')
    assert run("detect", source, metadata) == 0
    assert run("build", source, metadata, output) == 0
    assert run("release", output, release) == 0
    assert (release / "chaincode" / "server" / "connection.json").read_text() == "{}"
