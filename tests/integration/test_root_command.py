"""``light-node root`` against a devnet: shown, handed on, imported from peers, renewed."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from light_node import cli
from light_node.chain import root_text, trust
from light_node.clock import SystemClock
from light_node.devnet.network import Options
from light_node.devnet.threaded import DevnetThread
from light_node.fabric.pb import common_pb2, orderer_pb2
from light_node.fabric.profile import NetworkProfile


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetThread]:
    """A devnet whose configuration was changed once."""
    options = Options(base_port=0, batch_timeout_ms=2)
    with DevnetThread(tmp_path_factory.mktemp("roots"), options) as net:
        timeout = orderer_pb2.BatchTimeout(timeout="3ms").SerializeToString()
        answer = net.change_config({("Orderer", "BatchTimeout"): timeout})
        assert answer.status == common_pb2.SUCCESS
        channel = net.connect()
        gateway = net.gateway(channel, net.user())
        gateway.submit_transaction("kv", "put", "key", "after")
        gateway.close()
        channel.close()
        yield net


@pytest.fixture
def profile(net: DevnetThread, tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    net.profile.save(path)
    return path


def run(net: DevnetThread, path: Path, *arguments: str) -> int:
    user = net.directory / "users" / "Org1MSP" / "reader"
    options = ("--profile", str(path), "--identity", str(user))
    return cli.main(["root", *arguments, *options])


def root_of(path: Path) -> Any:
    return trust.from_profile(NetworkProfile.load(path).trust_root)


def expire(path: Path) -> None:
    profile = NetworkProfile.load(path)
    past = SystemClock().now() - timedelta(days=2)
    old = replace(profile.trust_root, obtained=past, expires=past + timedelta(days=1))
    replace(profile, trust_root=old).save(path)


def test_what_is_shown_is_what_others_import(net: DevnetThread, profile: Path, capsys: Any) -> None:
    assert run(net, profile, "show") == 0
    said = capsys.readouterr().out
    assert root_of(profile).fingerprint in said
    text = said[said.index(root_text.PREFIX) :]
    assert run(net, profile, "import", text) == 0
    capsys.readouterr()
    assert run(net, profile, "show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert root_text.decode(shown["text"]).hash.hex() == shown["hash"]
    assert run(net, profile, "export") == 0
    assert capsys.readouterr().out.strip() == shown["text"]


def test_renewal_takes_the_configuration_that_is_proved_and_others_fetch_it(
    net: DevnetThread, profile: Path, tmp_path: Path, capsys: Any
) -> None:
    before = root_of(profile)
    assert run(net, profile, "renew", "--days", "30") == 0
    renewed = root_of(profile)
    assert (before.number, renewed.number) == (0, 1)
    assert renewed.expires - renewed.obtained == timedelta(days=30)
    assert cli.main(
        ["sync", "--profile", str(profile), "--identity",
         str(net.directory / "users" / "Org1MSP" / "reader")]
    ) == 0, "what was stored before stays good"  # fmt: skip
    capsys.readouterr()
    text = root_text.encode(renewed)

    other = tmp_path / "other" / "profile.json"
    other.parent.mkdir()
    net.profile.save(other)
    expire(other)
    assert run(net, other, "import", text) == 0  # fetched from the peers by its hash
    assert root_of(other).hash == renewed.hash
    assert root_of(other).expires == renewed.expires.replace(microsecond=0)

    block = tmp_path / "config.block"
    assert run(net, profile, "export", "-o", str(block)) == 0
    third = tmp_path / "third.json"
    net.profile.save(third)
    assert run(net, third, "import", text, "--block", str(block)) == 0
    assert root_of(third).number == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("renew", "--days", "30"), "expired"),
        (("show",), "expired on"),
        (("import", "LNROOT1:AAAA"), "mistyped or cut off"),
    ],
)
def test_an_expired_root_is_not_renewed_from_itself(
    net: DevnetThread, profile: Path, capsys: Any, arguments: tuple[str, ...], said: str
) -> None:
    expire(profile)
    before = profile.read_bytes()
    assert run(net, profile, *arguments) != 0
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert profile.read_bytes() == before


def test_a_hash_that_nobody_serves_is_not_taken(
    net: DevnetThread, profile: Path, capsys: Any
) -> None:
    root = root_of(profile)
    made_up = root_text.encode(replace(root, hash=bytes(32)))
    before = profile.read_bytes()
    assert run(net, profile, "import", made_up) == 2
    assert "nobody serves configuration block 0 with that hash" in capsys.readouterr().err
    assert profile.read_bytes() == before


@pytest.mark.parametrize("arguments", [("import",), ("show", "X"), ("renew",)])
def test_wrong_use(net: DevnetThread, profile: Path, arguments: tuple[str, ...]) -> None:
    assert run(net, profile, *arguments) == 2
