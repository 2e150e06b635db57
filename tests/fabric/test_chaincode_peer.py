"""The chaincode server behind Fabric's own peers: batches, ranges, restart, mutual TLS."""

import json
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from light_node.chaincode import packaging
from light_node.clock import SystemClock
from light_node.devnet.certificates import Credential, issue_identity, issue_tls
from light_node.devnet.layout import free_ports, in_use
from light_node.devnet.store import Store
from light_node.fabric import crypto, endorsement
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.errors import ContractRefused
from light_node.fabric.gateway import Gateway
from light_node.fabric.identity import SigningIdentity
from light_node.fabricnet import channel, lifecycle
from light_node.fabricnet.network import UpOptions
from light_node.fabricnet.plan import Plan
from light_node.fabricnet.processes import Command
from tests.fabric.networks import FabricClients

pytestmark = pytest.mark.timeout(300)

SLOT = "2027-06-21T10:00Z/PT60M"


def trader(fabric: FabricClients, name: str) -> SigningIdentity:
    """A trader's identity straight from Org1's root."""
    key = crypto.generate_key()
    certificate = issue_identity(
        root_of(fabric, "ca"), key.public_key(), name, ["client"],
        datetime.now(UTC) + timedelta(days=1),
        attributes={
            "hf.EnrollmentID": name,
            "market.user_type": "household",
            "market.permissions": "trade",
        },
    )  # fmt: skip
    return SigningIdentity.from_key("Org1MSP", crypto.certificate_pem(certificate), key)


def root_of(fabric: FabricClients, kind: str) -> Credential:
    store = Store.open(fabric.net.directory / "keys")
    try:
        return Credential.load(*store.credentials()[f"peer0.org1/{kind}"])
    finally:
        store.close()


def state_calls(fabric: FabricClients, chaincode: str) -> set[str]:
    """The kinds of state calls the servers of a chaincode have counted."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    found: set[str] = set()
    for server in Plan.load(fabric.net.directory).chaincode_servers:
        if server.chaincode == chaincode:
            with opener.open(f"http://127.0.0.1:{server.operations}/metrics", timeout=20) as answer:
                lines = answer.read().decode().splitlines()
            found |= {
                line.split('"')[1] for line in lines if line.startswith("chaincode_state_calls_to")
            }
    return found


def test_quotes_are_read_in_one_message_where_the_peer_takes_several(fabric: FabricClients) -> None:
    home = trader(fabric, "home-of-batches")
    with fabric.connect() as line:
        operator, own = fabric.gateway(line, fabric.user()), fabric.gateway(line, home)
        opening = {"slot": SLOT, "floor": 4000, "cap": 11080, "rounds": 2}
        operator.submit_transaction("market", "OpenSlot", json.dumps(opening), retries=3)
        facts = {"capacity_w": 5000, "voltage_v": 230, "zone": "z", "green": True}
        admission = {**facts, "wallet_address": "address"}
        own.submit_transaction("market", "Admit", json.dumps(admission), retries=3)
        quote = {
            "slot": SLOT, "round": 1, "participant": "home-of-batches@Org1MSP",
            "wallet_address": "address", "side": "sell", "energy_wh": 1000, "price": 5000,
            "signature": "AAAA",
        }  # fmt: skip
        with pytest.raises(ContractRefused) as refused:
            own.submit_transaction("market", "SubmitQuote", json.dumps(quote))
    assert (refused.value.status, refused.value.code) == (400, "BAD_SIGNATURE")
    release = tuple(int(part) for part in fabric.net.status()["release"].split(".")[:2])
    batched = state_calls(fabric, "market") & {"GET_STATE_MULTIPLE", "WRITE_BATCH_STATE"}
    assert batched == ({"GET_STATE_MULTIPLE", "WRITE_BATCH_STATE"} if release >= (3, 1) else set())


def test_a_range_of_several_pages_comes_whole_and_in_order(fabric: FabricClients) -> None:
    with fabric.connect() as line:
        gateway = fabric.gateway(line, fabric.user())
        keys = [f"page-{number:03}" for number in range(205)]
        prepared = [gateway.endorse("kv", "put", key, key.upper()) for key in keys]
        for endorsed in prepared:
            gateway.submit(endorsed)
        for endorsed in prepared:
            assert gateway.commit_status(endorsed.transaction_id).valid
        found = json.loads(gateway.evaluate("kv", "range", "page-", "page-~"))
    assert list(found.items()) == [(key, key.upper()) for key in keys]
    assert "QUERY_STATE_NEXT" in state_calls(fabric, "kv")


def test_a_server_that_comes_back_is_dialled_again(fabric: FabricClients) -> None:
    with fabric.connect() as line:
        gateway = fabric.gateway(line, fabric.user())
        gateway.submit_transaction("kv", "put", "before", "1", retries=3)
        servers = [name for name in fabric.net.processes.names() if name.startswith("kv.")]
        assert fabric.net.processes.stop(servers) == []
        fabric.net.up(UpOptions(), lambda _: None)
        gateway.submit_transaction("kv", "put", "after", "1", retries=5)
        assert gateway.evaluate("kv", "get", "before") == b"1"


@contextmanager
def mutual_server(fabric: FabricClients, folder: Path) -> Iterator[bytes]:
    """A server that only who has the package's certificate may dial; yields that package."""
    root = root_of(fabric, "tlsca")
    after = datetime.now(UTC) + timedelta(days=1)
    for name in ("server", "client"):
        key = crypto.generate_key()
        made = Credential(issue_tls(root, key.public_key(), name, ["127.0.0.1"], after), key)
        (folder / f"{name}.crt").write_bytes(made.certificate_pem)
        (folder / f"{name}.key").write_bytes(made.key_pem)
    (folder / "root.crt").write_bytes(root.certificate_pem)
    (port,) = free_ports("127.0.0.1", 1)
    connection = packaging.Connection(
        f"127.0.0.1:{port}",
        root_cert=(folder / "root.crt").read_text(),
        client_cert=(folder / "client.crt").read_text(),
        client_key=(folder / "client.key").read_text(),
    )
    package = packaging.build("mutual_1", connection)
    arguments = [
        "--address", f"127.0.0.1:{port}", "--chaincode", "kv",
        "--package-id", packaging.package_id("mutual_1", package),
        "--tls-cert", str(folder / "server.crt"), "--tls-key", str(folder / "server.key"),
        "--client-ca", str(folder / "root.crt"),
    ]  # fmt: skip
    fabric.net.processes.start(Command("mutual", light_node("chaincode", *arguments), {}))
    fabric.net.processes.wait_until("mutual", lambda: bool(in_use("127.0.0.1", [port])), 60)
    try:
        yield package
    finally:
        fabric.net.processes.stop(["mutual"])


def light_node(*arguments: str) -> list[str]:
    code = "import sys; from light_node.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *arguments]


def member(
    fabric: FabricClients, msp_id: str, line: grpc.Channel, package: bytes
) -> lifecycle.Member:
    admin, clock = fabric.user("admin", msp_id), SystemClock()
    config = ChannelConfig.from_block(fabric.gateway(line, admin).config_block())

    def gateway(reference: str) -> Gateway:
        policy = endorsement.by_reference(config, reference)
        return Gateway(line, admin, config.channel_id, clock, policy=policy)

    return lifecycle.Member(
        msp_id,
        line,
        admin,
        channel.PeerAdmin(line, admin, clock, secrets.token_bytes),
        gateway(f"/Channel/Application/{msp_id}/Endorsement"),
        gateway(endorsement.LIFECYCLE_REFERENCE),
        package,
        packaging.package_id("mutual_1", package),
    )


def test_mutual_tls_between_peer_and_server(fabric: FabricClients, tmp_path: Path) -> None:
    with ExitStack() as resources:
        package = resources.enter_context(mutual_server(fabric, tmp_path))
        members = []
        for number in (1, 2, 3):
            line = resources.enter_context(fabric.connect(f"Org{number}MSP"))
            members.append(member(fabric, f"Org{number}MSP", line, package))
        assert lifecycle.deploy("mutual", "1", members, 120)
        gateway = fabric.gateway(members[0].line, fabric.user())
        gateway.submit_transaction("mutual", "put", "k", "v", retries=5)
        assert gateway.evaluate("mutual", "get", "k") == b"v"
