"""The light node over real gRPC and TLS: proofs, a network that dies and comes back, commands."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from light_node import cli
from light_node.chain.node import LightNode
from light_node.chain.status import Level, PeerState
from light_node.clock import SystemClock
from light_node.commands import catching_up
from light_node.commands.status_socket import StatusSocket
from light_node.devnet.testing import DevnetProcess
from light_node.fabric.block import without_data
from light_node.fabric.deliver import DeliverClient
from light_node.fabric.gateway import Gateway, Result

SOON = 30.0


def open_slot(devnet: DevnetProcess, hour: int) -> Result:
    channel = devnet.connect()
    gateway = Gateway(channel, devnet.user("operator"), devnet.profile.channel, SystemClock())
    slot = {"slot": f"2031-01-01T{hour:02}:00Z/PT60M", "floor": 4000, "cap": 11000, "rounds": 3}
    try:
        return gateway.submit_transaction("market", "OpenSlot", json.dumps(slot))
    finally:
        gateway.close()
        channel.close()


@pytest.fixture
def node(devnet: DevnetProcess, tmp_path: Path) -> Iterator[LightNode]:
    made = LightNode(devnet.profile, tmp_path / "node", devnet.user(), SystemClock())
    made.start()
    yield made
    made.stop()


def test_a_transaction_is_proved_by_two_organisations(
    devnet: DevnetProcess, node: LightNode
) -> None:
    result = open_slot(devnet, 1)
    assert node.wait_height(result.block_number + 1, SOON, agreed=True), node.status()
    found = node.transaction(result.block_number, result.transaction_id)
    assert (found.is_valid, found.level, found.problems) == (True, Level.AGREED, ())
    assert found.transaction is not None
    assert found.transaction.args[0] == b"OpenSlot"
    status = node.status()
    assert status.valid_height == status.agreed_height == status.verified_height
    assert len(status.peers) == 3


def test_files_of_blocks_verify_with_the_command(
    devnet: DevnetProcess, node: LightNode, tmp_path: Path, capsys: Any
) -> None:
    result = open_slot(devnet, 2)
    assert node.wait_height(result.block_number + 1, SOON)
    channel = devnet.connect()
    client = DeliverClient(channel, devnet.user(), devnet.profile.channel, SystemClock())
    trust = tmp_path / "trust.block"
    trust.write_bytes(devnet.profile.trust_root.config_block)
    folder = tmp_path / "blocks"
    folder.mkdir()
    for number, raw in enumerate(client.blocks(0, result.block_number)):
        kept = without_data(raw) if number % 2 else raw
        (folder / f"{number:06}.block").write_bytes(kept)
    channel.close()
    assert cli.main(["verify", "--json", "--trust", str(trust), str(folder)]) == 0
    out = json.loads(capsys.readouterr().out)
    assert (out["ok"], out["height"]) == (True, result.block_number + 1)


def test_sync_and_status_commands(devnet: DevnetProcess, tmp_path: Path, capsys: Any) -> None:
    profile, store = str(devnet.directory / "profile.json"), str(tmp_path / "store")
    options = ["--profile", profile, "--dir", store]
    assert cli.main(["status", "--json", *options]) == 0
    before = json.loads(capsys.readouterr().out)
    assert before["verified_height"] is None
    assert [p["agrees"] for p in before["peers"]] == [None] * 3
    assert cli.main(["sync", "--json", *options]) == 0
    synced = json.loads(capsys.readouterr().out)
    assert synced["verified_height"] == synced["agreed_height"] == synced["height"]
    assert [p["agrees"] for p in synced["peers"]] == [True] * 3
    assert cli.main(["sync", *options]) == 0
    text = capsys.readouterr().out
    assert "Agreed on by two organisations" in text
    assert cli.main(["status", "--json", *options]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["verified_height"] == synced["verified_height"]
    assert [p["agrees"] for p in after["peers"]] == [True] * 3
    assert cli.main(["status", "--offline", "--check", *options]) == 0
    text = capsys.readouterr().out
    assert "Verified here" in text
    assert "all good" in text


def test_ctrl_c_and_the_time_limit_lose_nothing_and_say_how_to_go_on(
    devnet: DevnetProcess, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, store = str(devnet.directory / "profile.json"), str(tmp_path / "store")
    options = ["--profile", profile, "--dir", store]

    def interrupted(node: Any, *_: Any) -> bool:
        assert node.wait_height(1, SOON)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catching_up, "catch_up", interrupted)
        assert cli.main(["sync", *options]) == 130
    said = capsys.readouterr()
    assert "They are kept: the same command goes on from there." in said.err
    assert cli.main(["sync", "--timeout", "0", *options]) == 1
    assert "No progress for 0 s, given up" in capsys.readouterr().err
    assert cli.main(["sync", *options]) == 0


def test_status_tells_of_the_node_that_is_running(
    devnet: DevnetProcess, tmp_path: Path, capsys: Any
) -> None:
    profile = devnet.directory / "profile.json"
    options = ["--profile", str(profile), "--dir", str(tmp_path)]
    assert cli.main(["sync", *options]) == 0
    behind = {
        "problem": "", "waiting_for": "blocks 7 to 99", "agreed_height": 7,
        "progress": {"verified": 7, "of": 100, "share": 0.0707, "blocks_per_s": None,
                     "seconds_left": None},
    }  # fmt: skip
    server = StatusSocket(tmp_path / "status.sock", lambda last, timeout: behind)
    try:
        assert cli.main(["status", "--offline", *options]) == 0
    finally:
        server.close()
    said = capsys.readouterr().out
    assert "A light node is running on this folder. verified 7 of 100 blocks (7.0 %)" in said
    assert cli.main(["status", "--offline", *options]) == 0
    assert "is running" not in capsys.readouterr().out


def test_sync_says_what_it_lacks(devnet: DevnetProcess, tmp_path: Path, capsys: Any) -> None:
    alone = tmp_path / "profile.json"
    shutil.copy(devnet.directory / "profile.json", alone)
    assert cli.main(["sync", "--profile", str(alone)]) == 2
    assert "--identity" in capsys.readouterr().err
    assert cli.main(["sync", "--profile", str(tmp_path / "none.json")]) == 2
    assert "cannot read" in capsys.readouterr().err
    broken = tmp_path / "broken"
    broken.mkdir()
    assert cli.main(["sync", "--profile", str(alone), "--identity", str(broken)]) == 2
    assert "msp_id" in capsys.readouterr().err
    identity = devnet.directory / "users" / "Org1MSP" / "reader"
    shutil.copytree(identity, tmp_path / "identity")
    assert cli.main(["sync", "--profile", str(alone), "--json"]) == 0
    assert (tmp_path / "light-node" / "headers.bin").is_file()
    capsys.readouterr()
    (tmp_path / "identity" / "key.pem").write_text("no key")
    assert cli.main(["sync", "--profile", str(alone)]) == 2
    assert "cannot be used" in capsys.readouterr().err


def test_a_network_that_dies_and_comes_back(tmp_path: Path) -> None:
    """Killed, not stopped; and a light node that was started before it."""
    with DevnetProcess(tmp_path / "net", "--batch-timeout", "50", "--raft") as devnet:
        profile, reader = devnet.profile, devnet.user()
        first = open_slot(devnet, 3)
        devnet.kill()
        with LightNode(profile, tmp_path / "node", reader, SystemClock()) as node:
            down = PeerState.UNREACHABLE
            assert node.wait(lambda s: all(p.state is down for p in s.peers), SOON), node.status()
            assert "to answer" in node.status().waiting_for
            devnet.start()
            height = first.block_number + 1
            assert node.wait_height(height, SOON, agreed=True), node.status()
            second = open_slot(devnet, 4)
            assert node.wait_height(second.block_number + 1, SOON, agreed=True), node.status()
            devnet.kill()
            assert node.wait(lambda s: all(p.state is down for p in s.peers), SOON)
            devnet.start()
            third = open_slot(devnet, 5)
            assert node.wait_height(third.block_number + 1, SOON, agreed=True), node.status()
            assert node.transaction(third.block_number, third.transaction_id).is_valid
