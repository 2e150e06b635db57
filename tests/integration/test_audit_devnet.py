"""A slot played over a devnet by two households, audited by the command and by a light node."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from light_node import cli, jsonio
from light_node.chain import errors
from light_node.chain.auditor import Auditor
from light_node.chain.node import LightNode
from light_node.chain.status import Level
from light_node.clock import SystemClock
from light_node.devnet.testing import DevnetProcess
from light_node.fabric.ca import Attribute, certificate_request
from light_node.fabric.crypto import KeySigner
from light_node.fabric.gateway import Gateway, Result
from light_node.fabric.identity import SigningIdentity

SLOT, OTHER = "2032-03-01T10:00Z/PT60M", "2032-03-01T12:00Z/PT60M"
METERED = "2032-03-02T10:00Z/PT60M"
SOON = 30.0
PROGRAM = "import sys; from light_node.cli import main; sys.exit(main())"


def enrol(devnet: DevnetProcess, name: str) -> SigningIdentity:
    named = next(r for r in devnet.profile.registrars if r.msp_id == "Org1MSP")
    attributes = (Attribute("market.user_type", "household"),
                  Attribute("market.permissions", "trade"),
                  Attribute("market.credit", "A"))  # fmt: skip
    with closing(devnet.ca()) as ca:
        key = ec.generate_private_key(ec.SECP256R1())
        enrolled = ca.enroll(named.id, named.secret, certificate_request(key, named.id))
        registrar = SigningIdentity("Org1MSP", enrolled, KeySigner(key))
        secret = ca.register(registrar, name, attributes=attributes)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = ca.enroll(name, secret, certificate_request(key, name))
    return SigningIdentity("Org1MSP", certificate, KeySigner(key))


class Market:
    """Two households and the operator, over gateways of one peer."""

    def __init__(self, devnet: DevnetProcess) -> None:
        self.channel = devnet.connect()
        self.people = {name: enrol(devnet, name) for name in ("audited-a", "audited-b")}
        identities = {"operator": devnet.user("operator"), **self.people}
        self.gateways = {
            name: Gateway(self.channel, identity, devnet.profile.channel, SystemClock())
            for name, identity in identities.items()
        }
        admission = {"capacity_w": 9000, "voltage_v": 230, "zone": "n", "green": True}
        for name in self.people:
            self.submit(name, "Admit", json.dumps({**admission, "wallet_address": name}))

    def submit(self, who: str, *args: str) -> Result:
        return self.gateways[who].submit_transaction("market", *args)

    def signed(self, name: str, fields: dict[str, Any]) -> str:
        fields = {"participant": f"{name}@Org1MSP", **fields}
        signature = self.people[name].sign(jsonio.canonical_dumps(fields))
        return json.dumps({**fields, "signature": base64.b64encode(signature).decode()})

    def quote(self, name: str, slot: str, side: str, energy: int, price: int) -> None:
        fields = {"slot": slot, "round": 1, "wallet_address": name, "side": side,
                  "energy_wh": energy, "price": price}  # fmt: skip
        self.submit(name, "SubmitQuote", self.signed(name, fields))

    def play(self, slot: str) -> Result:
        opening = {"slot": slot, "floor": 4000, "cap": 11000, "rounds": 1}
        self.submit("operator", "OpenSlot", json.dumps(opening))
        self.quote("audited-a", slot, "sell", 2000, 5000)
        self.quote("audited-b", slot, "buy", 1500, 9000)
        self.submit("operator", "CloseRound", slot, "1")
        self.submit("operator", "PublishStanding", slot, "1")
        self.submit("operator", "ClearSlot", slot)
        fields = {"slot": slot, "import_wh": 1500, "export_wh": 0, "register_import_wh": 90_000,
                  "register_export_wh": 10_000, "meter": "m", "origin": "test",
                  "estimated": False}  # fmt: skip
        self.submit("audited-b", "SubmitReading", self.signed("audited-b", fields))
        self.submit("operator", "CloseDelivery", slot)
        return self.submit("operator", "SettleSlot", slot)

    def close(self) -> None:
        for gateway in self.gateways.values():
            gateway.close()
        self.channel.close()


@pytest.fixture(scope="module")
def market(devnet: DevnetProcess) -> Iterator[Market]:
    made = Market(devnet)
    yield made
    made.close()


@pytest.fixture(scope="module")
def settled(market: Market) -> Result:
    return market.play(SLOT)


@pytest.fixture
def node(devnet: DevnetProcess, tmp_path: Path) -> Iterator[LightNode]:
    with LightNode(devnet.profile, tmp_path / "node", devnet.user(), SystemClock()) as made:
        yield made


def test_an_honest_slot_passes(market: Market, settled: Result, node: LightNode) -> None:
    assert node.wait_height(settled.block_number + 1, SOON, agreed=True), node.status()
    auditor = Auditor(node, "market")
    audit = auditor.audit(SLOT, settled.block_number)
    assert audit.replay.differences == ()
    assert audit.replay.unchecked == ()
    assert (audit.agrees, audit.complete, audit.level) == (True, True, Level.AGREED)
    assert audit.replay.transactions == 9
    assert audit.last == settled.block_number
    assert len(audit.organizations) >= 2
    # The next slot refers to balances of this one.
    after = market.play(OTHER)
    assert node.wait_height(after.block_number + 1, SOON, agreed=True), node.status()
    audit = auditor.audit(OTHER)
    assert (audit.agrees, audit.complete) == (True, True)
    with pytest.raises(errors.NotVerified, match="was not opened"):
        auditor.audit("2032-03-01T15:00Z/PT60M")
    with pytest.raises(errors.NotVerified, match="was not opened"):
        Auditor(node, "market", max_blocks=3).audit(SLOT)


def test_the_command(devnet: DevnetProcess, settled: Result, tmp_path: Path, capsys: Any) -> None:
    profile = str(devnet.directory / "profile.json")
    options = ["--profile", profile, "--dir", str(tmp_path / "store")]
    assert cli.main(["audit", SLOT, "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["complete"], found["phase"]) == (True, True, "settled")
    assert (found["differences"], found["unchecked"], found["level"]) == ([], [], "agreed")
    assert cli.main(["audit", SLOT, *options, "--last", str(settled.block_number)]) == 0
    assert "Everything written follows" in capsys.readouterr().out
    assert cli.main(["audit", "2032-03-02T10:00Z/PT60M", "--json", *options]) == 1
    assert "was not opened" in json.loads(capsys.readouterr().out)["error"]
    assert cli.main(["audit", "noon", *options]) == 2
    assert cli.main(["audit", SLOT, *options, "--last", "1000000", "--timeout", "0.5"]) == 1


def test_a_proof_is_made_and_checked_by_commands(
    devnet: DevnetProcess, market: Market, settled: Result, tmp_path: Path, capsys: Any
) -> None:
    options = ["--profile", str(devnet.directory / "profile.json"), "--dir", str(tmp_path / "s")]
    file, root = tmp_path / "proof.json", tmp_path / "root.block"
    root.write_bytes(devnet.profile.trust_root.config_block)
    made = ["prove", settled.transaction_id, "--out", str(file), "--json", *options]
    market.play("2032-03-01T14:00Z/PT60M")  # which reads the balances the first slot left
    assert cli.main(made) == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["function"], written["block"]) == ("SettleSlot", settled.block_number)
    assert len(written["valid_by"]) >= 2
    assert cli.main(["prove", "--check", str(file), "--trust", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written
    assert cli.main([*made, "--block", str(settled.block_number)]) == 0
    assert cli.main([*made, "--block", str(settled.block_number - 1)]) == 1
    assert f"in block {settled.block_number - 1}" in capsys.readouterr().out
    (tmp_path / "file").touch()
    beyond = ["prove", settled.transaction_id, "--out", str(tmp_path / "file" / "p"), *options]
    assert cli.main(beyond) == 2


def test_a_headless_node_audits_what_settles_and_tells_prometheus(
    devnet: DevnetProcess, market: Market, tmp_path: Path
) -> None:
    profile = str(devnet.directory / "profile.json")
    options = ["--profile", profile, "--dir", str(tmp_path / "n"), "--metrics", "0", "--audit"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        address = process.stderr.readline().rpartition(" ")[2].strip()
        assert address.startswith("http://127.0.0.1:")
        _until(address, lambda found: found.get("light_node_agreed_height", 0) > 0)
        block = market.play(METERED).block_number
        found = _until(address, lambda found: found['light_node_audits_total{result="good"}'] >= 1)
        assert found["light_node_agreed_height"] > block
        assert found['light_node_transactions_total{code="VALID"}'] >= 1
        assert found["light_node_fork"] == found["light_node_disputed"] == 0
        lag = [value for name, value in found.items() if name.startswith("light_node_source_lag")]
        assert len(lag) >= len(devnet.profile.organizations)
        healthy = requests.get(address.replace("/metrics", "/healthz"), timeout=10)
        assert healthy.status_code == 200
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said


def _until(address: str, condition: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """Ask for metrics until ``condition`` holds of them."""
    for _ in range(300):
        lines = requests.get(address, timeout=10).text.splitlines()
        parts = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        found = {name: float(value) for name, _, value in parts}
        if condition(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"never: {found}")
