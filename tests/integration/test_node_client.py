"""Fabric's official Node client submits, evaluates and reads events against the devnet."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from light_node.devnet.testing import DevnetProcess
from light_node.fabric.pb import peer_pb2

NODE_CLIENT = Path(__file__).parent / "node"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE_CLIENT / "node_modules").is_dir(),
    reason="Node or its packages are missing: run 'npm ci' in tests/integration/node",
)


@pytest.fixture(scope="module")
def report(devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    profile = devnet.profile
    organization = profile.organization("Org2MSP")
    peer = organization.peers[0]
    root = tmp_path_factory.mktemp("tls") / "root.pem"
    root.write_text(peer.tls_root_pem)
    user = devnet.directory / "users" / "Org2MSP" / "reader"
    options = {
        "address": peer.address,
        "tlsRoot": str(root),
        "mspId": "Org2MSP",
        "certificate": str(user / "cert.pem"),
        "key": str(user / "key.pem"),
        "channel": profile.channel,
        "chaincode": "kv",
    }
    done = subprocess.run(
        ["node", "client.mjs", json.dumps(options)],
        cwd=NODE_CLIENT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_submits_and_evaluates(report: dict[str, Any]) -> None:
    assert report["result"] == "first"
    assert report["status"] == {
        "code": peer_pb2.VALID,
        "successful": True,
        "block": report["status"]["block"],
    }
    assert report["submitted"] == "second"
    assert report["evaluated"] == "second"


def test_reads_chaincode_events(report: dict[str, Any]) -> None:
    first, second = report["events"]
    assert first == {
        "name": "Named",
        "chaincode": "kv",
        "transactionId": report["transactionId"],
        "block": report["status"]["block"],
        "payload": "first",
    }
    assert (second["name"], second["payload"]) == ("Other", "second")
    assert second["block"] > first["block"]


def test_reads_blocks_whole_and_filtered(report: dict[str, Any]) -> None:
    assert report["firstBlock"] == {"number": 0, "transactions": 1, "metadata": 5}
    entry = {"transactionId": report["transactionId"], "code": peer_pb2.VALID}
    assert entry in report["filtered"]


def test_understands_refusals(report: dict[str, Any]) -> None:
    refusal = report["refusal"]
    assert refusal["endorseError"]
    assert refusal["code"] == 10  # ABORTED
    assert refusal["details"] == [
        {"mspId": "Org2MSP", "message": "chaincode response 409, ROUND_CLOSED: too late"}
    ]
    disagreement = report["disagreement"]
    assert disagreement["endorseError"]
    # One for every endorser that differs from the first, as Fabric's gateway says it.
    assert disagreement["details"]
    assert set(disagreement["details"]) == {"ProposalResponsePayloads do not match"}


def test_sees_a_conflict_at_commit(report: dict[str, Any]) -> None:
    assert sorted(report["rivals"]) == [peer_pb2.VALID, peer_pb2.MVCC_READ_CONFLICT]
