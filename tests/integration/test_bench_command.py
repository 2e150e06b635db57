"""``light-node bench`` against a devnet: every kind of load, and the files it leaves."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from light_node import cli
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
