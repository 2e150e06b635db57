"""A devnet is killed under load, started again, told to stop, started wrongly."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from light_node.chain import trust, verify
from light_node.clock import SystemClock
from light_node.devnet.errors import DevnetError
from light_node.devnet.store import FILE_NAME, SCHEMA_VERSION, Store
from light_node.devnet.testing import DevnetProcess
from light_node.fabric.commit_hash import block_updates, commit_hash
from light_node.fabric.deliver import DeliverClient
from light_node.fabric.errors import FabricError
from light_node.fabric.gateway import Gateway
from light_node.fabric.pb import common_pb2

WRITERS = 4


def write_until_it_breaks(devnet: DevnetProcess, writer: int, acknowledged: dict[str, int]) -> None:
    """Put keys one after the other; remember each that was reported committed."""
    with devnet.connect() as channel, closing(devnet.gateway(channel, devnet.user())) as gateway:
        for i in range(10_000):
            key = f"w{writer}-{i}"
            try:
                endorsed = gateway.endorse("kv", "put", key, str(i))
                gateway.submit(endorsed)
                status = gateway.commit_status(endorsed.transaction_id, 5)
            except FabricError:
                return
            assert status.valid
            acknowledged[key] = status.block_number


def check_chain(devnet: DevnetProcess) -> int:
    """Verify every block from the trust root on, with commit hashes; return the height."""
    profile = devnet.profile
    state = trust.from_profile(profile.trust_root).state
    previous = b""
    with devnet.connect("Org2MSP") as channel:
        client = DeliverClient(channel, devnet.user("reader"), profile.channel, SystemClock())
        newest = verify.parse(client.newest()).number
        if newest == 0:
            return 1
        with client.blocks(1, newest) as stream:
            for raw in stream:
                block = verify.parse(raw)
                assert block.envelopes is not None
                state = verify.apply(state, verify.verify_block(state, block))
                updates = block_updates(block.number, block.envelopes, block.metadata[2])
                previous = commit_hash(block.metadata[2], updates, previous)
                assert common_pb2.Metadata.FromString(block.metadata[4]).value == previous
    return state.height


@pytest.mark.parametrize("ordering", [[], ["--raft"]])
def test_kill_under_load_loses_nothing_that_was_acknowledged(
    tmp_path: Path, ordering: list[str]
) -> None:
    devnet = DevnetProcess(tmp_path / "net", "--batch-timeout", "20", *ordering)
    acknowledged: dict[str, int] = {}
    genesis = b""
    for round_ in range(3):
        devnet.start()
        try:
            assert not genesis or devnet.profile.trust_root.config_block == genesis
            genesis = devnet.profile.trust_root.config_block
            check_chain(devnet)
            with (
                devnet.connect("Org3MSP") as channel,
                closing(devnet.gateway(channel, devnet.user("reader", "Org3MSP"))) as gateway,
            ):
                for key in acknowledged:
                    assert gateway.evaluate("kv", "get", key) == key.partition("-")[2].encode()
            before = len(acknowledged)
            threads = [
                threading.Thread(
                    target=write_until_it_breaks,
                    args=(devnet, round_ * WRITERS + w, acknowledged),
                )
                for w in range(WRITERS)
            ]
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + 30
            while len(acknowledged) < before + 40 and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            devnet.kill()
        for thread in threads:
            thread.join()
        assert len(acknowledged) >= before + 40
    with devnet:
        height = check_chain(devnet)
        assert height > max(acknowledged.values())


def test_sigterm_keeps_what_was_accepted_and_exits_cleanly(tmp_path: Path) -> None:
    # Blocks would wait a minute for more: only the orderly stop can have written this one.
    devnet = DevnetProcess(tmp_path / "net", "--batch-timeout", "60000")
    devnet.start()
    with devnet.connect() as channel, closing(devnet.gateway(channel, devnet.user())) as gateway:
        endorsed = gateway.endorse("kv", "put", "a", "1")
        gateway.submit(endorsed)
    assert devnet.stop() == 0
    assert devnet.errors() == ""
    with (
        devnet,
        devnet.connect() as channel,
        closing(devnet.gateway(channel, devnet.user())) as gateway,
    ):
        assert gateway.evaluate("kv", "get", "a") == b"1"
        assert gateway.commit_status(endorsed.transaction_id, 5).valid


def test_open_streams_do_not_hold_up_the_end(tmp_path: Path) -> None:
    devnet = DevnetProcess(tmp_path / "net")
    devnet.start()
    with devnet.connect() as channel, closing(devnet.gateway(channel, devnet.user())) as gateway:
        stream = gateway.events("kv", start_block=0)
        threading.Timer(0.1, stream.close)
        blocks = DeliverClient(channel, devnet.user("reader"), "market", SystemClock()).blocks(0)
        next(blocks)
        assert devnet.stop() == 0  # -9 had it not ended by itself
        blocks.close()


# -- the command ----------------------------------------------------------------------------


def run(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    program = "import sys; from light_node.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, "devnet", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_port_in_use(tmp_path: Path, taken: int) -> None:
    done = run("--dir", str(tmp_path / "net"), "--base-port", str(taken))
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{taken}" in done.stderr
    assert "--base-port" in done.stderr
    assert done.stderr.count("\n") == 1


def test_two_on_one_directory(devnet: DevnetProcess) -> None:
    done = run("--dir", str(devnet.directory))
    assert done.returncode == 2
    assert "is this devnet running already?" in done.stderr
    # The one that runs is not disturbed.
    with devnet.connect() as channel, closing(devnet.gateway(channel, devnet.user())) as gateway:
        assert gateway.height() >= 1


def test_directory_of_another_version(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    store.close()
    done = run("--dir", str(tmp_path))
    assert done.returncode == 2
    assert "made by another version of the devnet" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base-port", "80"], "--base-port must be"),
        (["--batch-timeout", "0"], "--batch-timeout must be"),
        (["--market-rate", "0"], "--market-rate must be"),
        (["--market-start", "yesterday"], "--market-start"),
        (["--market-start", "2026-06-21T00:00"], "needs an offset"),
        (["--host", "0.0.0.0"], "--host must be the address"),
    ],
)
def test_bad_options(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run("--dir", str(tmp_path / "net"), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "net").exists()


def test_what_it_says_without_json(tmp_path: Path) -> None:
    program = "import sys; from light_node.cli import main; sys.exit(main())"
    arguments = ["--dir", str(tmp_path / "net"), "--base-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "devnet", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith("stop with"):
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    process.stdout.close()
    text = "\n".join(lines)
    for word in ("Org3MSP", "Orderer4MSP", "SmartBFT", "profile.json", "stopped"):
        assert word in text


def test_market_time_is_kept_across_starts(tmp_path: Path) -> None:
    start = "2026-06-21T00:00Z"
    options = ["--market-rate", "960", "--market-start", start]
    with DevnetProcess(tmp_path / "net", *options) as devnet:
        first = devnet.profile.market_time
        assert (first.rate, first.market.isoformat()) == (960, "2026-06-21T00:00:00+00:00")
        assert devnet.ready["market_time"]["rate"] == 960
    with DevnetProcess(tmp_path / "net") as devnet:
        assert devnet.profile.market_time == first


def test_lost_users_and_profile_come_back(tmp_path: Path) -> None:
    with DevnetProcess(tmp_path / "net") as devnet:
        kept = devnet.user("reader").certificate_pem
    (devnet.directory / "users" / "Org1MSP" / "operator" / "key.pem").unlink()
    (devnet.directory / "profile.json").unlink()
    with devnet:
        assert devnet.user("reader").certificate_pem == kept
        assert json.loads((devnet.directory / "profile.json").read_text())["version"] == 1
        with (
            devnet.connect() as channel,
            closing(devnet.gateway(channel, devnet.user("operator"))) as gateway,
        ):
            assert gateway.submit_transaction("kv", "put", "a", "1").payload == b"1"


def test_keys_are_for_the_owner_only(devnet: DevnetProcess) -> None:
    if os.name == "nt":
        pytest.skip("POSIX modes")
    paths = [devnet.directory / FILE_NAME, devnet.directory / "profile.json"]
    paths += devnet.directory.glob("users/*/*/key.pem")
    assert len(paths) == 15
    assert {path.stat().st_mode & 0o077 for path in paths} == {0}


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("no database at all" * 100)
    with pytest.raises(DevnetError, match="cannot be used"):
        DevnetProcess(tmp_path).start()


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("a file where a directory belongs")
    with pytest.raises(DevnetError, match="cannot write in"):
        DevnetProcess(tmp_path).start()


def test_deadlines_are_the_clients(devnet: DevnetProcess) -> None:
    with (
        devnet.connect() as channel,
        closing(Gateway(channel, devnet.user(), "market", SystemClock())) as gateway,
        pytest.raises(FabricError),
    ):
        gateway.commit_status("0" * 64, 0.2)
