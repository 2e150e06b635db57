"""``light-node bench`` against a devnet: every kind of load, and the files it leaves."""

import asyncio
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from light_node import cli
from light_node.bench import client
from light_node.bench.client import Committed, LoadClient
from light_node.devnet.testing import DevnetProcess


def test_a_small_load_test(
    devnet: DevnetProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", "--network", str(devnet.directory), "--out", str(tmp_path / "out")]
    small = ["--queries", "5", "--transactions", "10", "--rates", "50", "--verified", "10"]
    assert cli.main([*command, *small]) == 0
    said = capsys.readouterr().out
    assert "quotes until two organisations agree, 50 per second" in said
    with (tmp_path / "out" / "bench.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["load"] for row in rows] == ["queries"] * 16 + ["puts", "quotes"]
    assert all(row["failed"] == "0" for row in rows)
    assert [row["succeeded"] for row in rows] == ["5"] * 16 + ["10", "10"]
    assert (tmp_path / "out" / "bench.svg").read_text().startswith("<svg")
    assert "queries" in (tmp_path / "out" / "bench.txt").read_text()


@pytest.mark.parametrize(
    "wrong", [["--rates", "many"], ["--rates", "0"], ["--queries", "-1"], ["--identity", "nowhere"]]
)
def test_what_cannot_be_run(
    devnet: DevnetProcess, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "--network", str(devnet.directory), *wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_network_whose_profile_names_no_registrar(
    devnet: DevnetProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a consortium's profile, which has no secrets; the registrar is given beside it."""
    profile = replace(devnet.profile, registrars=())
    path, secret = tmp_path / "profile.json", tmp_path / "secret"
    profile.save(path)
    operator = devnet.directory / "users" / "Org1MSP" / "operator"
    command = ["bench", "--profile", str(path), "--identity", str(operator)]
    small = ["--queries", "0", "--transactions", "5", "--rates", "50", "--verified", "0"]
    assert cli.main([*command, *small]) == 2
    assert "give --registrar ID --secret-file FILE" in capsys.readouterr().err
    registrar = devnet.profile.registrars[0]
    secret.write_text(registrar.secret + "\n")
    given = ["--registrar", registrar.id, "--secret-file", str(secret)]
    assert cli.main([*command, *small, *given, "--out", str(tmp_path / "out")]) == 0
    assert "quotes" in (tmp_path / "out" / "bench.csv").read_text()
    capsys.readouterr()
    assert cli.main([*command, *small, *given[:2]]) == 2
    assert "go together" in capsys.readouterr().err
    without = replace(
        profile, organizations=tuple(replace(o, ca=None) for o in profile.organizations)
    )
    without.save(path)
    assert cli.main([*command, *small, *given]) == 2
    assert "make it with light-node profile --ca" in capsys.readouterr().err


async def submitted(devnet: DevnetProcess, key: bytes, submissions: list[Any]) -> Committed:
    """Put through a client that submits these, the new transaction where there is a None."""
    load = LoadClient(devnet.profile, "Org1MSP")
    submit = load._submit

    async def instead(request: Any, timeout: float) -> None:
        for place, submission in enumerate(submissions):
            submissions[place] = submission or request
            await submit(submissions[place], timeout=timeout)

    load._submit = instead
    try:
        return await load.submit(devnet.user("operator"), "kv", b"put", key, b"1")
    finally:
        await load.close()


def test_an_error_that_was_a_commit(devnet: DevnetProcess) -> None:
    """SmartBFT orderers refuse what they have already, and the gateway says they are too few."""
    committed = asyncio.run(submitted(devnet, b"twice", [None, None]))
    assert committed.block_number > 0


def test_an_error_that_was_none(devnet: DevnetProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = [None]
    asyncio.run(submitted(devnet, b"earlier", earlier))
    monkeypatch.setattr(client, "_CALL_SECONDS", 2.0)
    monkeypatch.setattr(client, "_STREAM_SECONDS", 0.1)
    with pytest.raises(grpc.RpcError, match="insufficient number of orderers"):
        asyncio.run(submitted(devnet, b"never", earlier))
