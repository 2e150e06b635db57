"""Finding Fabric's programs, with shell scripts that answer ``version`` as they do."""

import os
from pathlib import Path

import pytest

from light_node.fabricnet import binaries
from light_node.fabricnet.errors import BinariesMissing

pytestmark = pytest.mark.skipif(os.name == "nt", reason="shell scripts stand for programs")


def program(folder: Path, name: str, version: str = "v3.1.5") -> None:
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(f"#!/bin/sh\necho '{name}:'\necho ' Version: {version}'\n")
    script.chmod(0o755)


def test_fabric_bin_comes_before_path(tmp_path: Path) -> None:
    for name in ("orderer", "peer"):
        program(tmp_path / "a", name)
        program(tmp_path / "b", name, "2.5.9")
    program(tmp_path / "b", "fabric-ca-server")
    found = binaries.find({"FABRIC_BIN": str(tmp_path / "a"), "PATH": str(tmp_path / "b")})
    assert found.peer == tmp_path / "a" / "peer"
    assert (found.version, found.release, found.knows_bft) == ((3, 1), "3.1.5", True)
    assert found.ca_server == tmp_path / "b" / "fabric-ca-server"
    older = binaries.find({"PATH": str(tmp_path / "b")})
    assert (older.release, older.knows_bft) == ("2.5.9", False)


def test_what_is_missing_is_named_with_where_it_comes_from(tmp_path: Path) -> None:
    program(tmp_path / "a", "peer")
    with pytest.raises(BinariesMissing, match=r"orderer was not found .*FABRIC_BIN.*hyperledger"):
        binaries.find({"FABRIC_BIN": str(tmp_path / "a"), "PATH": ""})
    with pytest.raises(BinariesMissing, match="orderer and peer was not found on PATH"):
        binaries.find({})


@pytest.mark.parametrize(
    ("orderer", "peer", "words"),
    [
        ("3.1.5", "3.1.4", "different releases"),
        ("2.4.9", "2.4.9", "2.5 or newer"),
        ("latest", "latest", "which version"),
    ],
)
def test_unusable_releases_are_refused(tmp_path: Path, orderer: str, peer: str, words: str) -> None:
    program(tmp_path, "orderer", orderer)
    program(tmp_path, "peer", peer)
    with pytest.raises(BinariesMissing, match=words):
        binaries.find({"FABRIC_BIN": str(tmp_path)})


def test_a_program_that_cannot_run_is_named(tmp_path: Path) -> None:
    for name in ("orderer", "peer"):
        (tmp_path / name).write_bytes(b"\x7fELF of another machine")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(BinariesMissing, match="cannot be run"):
        binaries.find({"FABRIC_BIN": str(tmp_path)})
