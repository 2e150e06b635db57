"""``light-node run`` as a process of its own, and ``light-node peers`` beside it."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from light_node import cli
from light_node.chain import quarantine
from light_node.clock import SystemClock
from light_node.commands import status_socket
from light_node.devnet.testing import DevnetProcess
from light_node.fabric.gateway import Gateway

PROGRAM = "import sys; from light_node.cli import main; sys.exit(main())"
pytestmark = pytest.mark.skipif(not status_socket.supported(), reason="no Unix sockets here")


def write(devnet: DevnetProcess, key: str) -> int:
    channel = devnet.connect()
    gateway = Gateway(channel, devnet.user(), devnet.profile.channel, SystemClock())
    try:
        return gateway.submit_transaction("kv", "put", key, "1").block_number
    finally:
        gateway.close()
        channel.close()


def test_it_runs_until_told_to_stop_and_tells_its_status(
    devnet: DevnetProcess, tmp_path: Path, capsys: Any
) -> None:
    profile, store = devnet.directory / "profile.json", tmp_path / "n"
    options = ["--profile", str(profile), "--dir", str(store)]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", "--json", *options], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["channel"] == devnet.profile.channel
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(30)
            client.connect(str(store / status_socket.FILE_NAME))
            lines = client.makefile("rb")
            wanted = write(devnet, "for-the-daemon") + 1
            for line in lines:
                status = json.loads(line)
                if (status["agreed_height"] or 0) >= wanted:
                    break
            lines.close()
            assert status["verified_height"] >= wanted
        assert cli.main(["sync", *options]) == 2, "one process holds the store"
        assert "another light node" in capsys.readouterr().err
        cli.main(["peers", "--json", *options])
        found = json.loads(capsys.readouterr().out)
        assert found["running"] is True
        assert {(p["organization"], p["kind"]) for p in found["peers"]} >= {
            ("Org1MSP", "peer"), ("Org2MSP", "peer"), ("Org3MSP", "peer"),
        }  # fmt: skip
        assert all(p["height"] >= wanted for p in found["peers"] if p["kind"] == "peer")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert not (store / status_socket.FILE_NAME).exists()


def test_peers_tells_of_agreement_and_quarantine(
    devnet: DevnetProcess, tmp_path: Path, capsys: Any
) -> None:
    options = ["--profile", str(devnet.directory / "profile.json"), "--dir", str(tmp_path)]
    assert cli.main(["sync", *options]) == 0
    capsys.readouterr()
    assert cli.main(["peers", *options]) == 0
    text = capsys.readouterr().out
    assert text.count("agrees") >= 3
    assert " ms" in text
    case = quarantine.Case(3, "2026-06-21T12:00:00+00:00", "")
    quarantine.add(tmp_path, "Org2MSP", case)
    assert cli.main(["peers", *options]) == 1
    assert "in quarantine since 2026-06-21" in capsys.readouterr().out


def test_sync_skips_ahead_where_there_is_something_to_skip(
    devnet: DevnetProcess, tmp_path: Path, capsys: Any
) -> None:
    options = ["--profile", str(devnet.directory / "profile.json"), "--dir", str(tmp_path)]
    assert cli.main(["sync", "--skip-ahead", "--json", *options]) == 0
    out = capsys.readouterr()
    assert "starting from configuration block" in out.err
    assert json.loads(out.out)["trust_root"]
    assert cli.main(["status", "--offline", "--check", *options]) == 0
