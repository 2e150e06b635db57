"""``light-node profile``: from a configuration block to what wallets start from."""

from pathlib import Path

import pytest

from light_node import cli
from light_node.clock import SystemClock
from light_node.devnet.certificates import new_root
from light_node.fabric.profile import NetworkProfile


@pytest.mark.parametrize("ordering", ["raft", "bft"])
def test_recorded_blocks(
    data: Path, tmp_path: Path, ordering: str, capsys: pytest.CaptureFixture[str]
) -> None:
    block = next(data.glob(f"fabric/{ordering}/**/*genesis*"), None) or _first(data, ordering)
    out, root = tmp_path / "profile.json", tmp_path / "root.pem"
    root.write_bytes(new_root("tls", "org1", SystemClock().now()).certificate_pem)
    command = ["profile", "--config-block", str(block), "--name", "North", "-o", str(out)]
    msp_ids = ["Org1MSP", "Org2MSP", "Org3MSP"]
    peers = [f"--peer={m}=peer.example:{7051 + i}" for i, m in enumerate(msp_ids)]
    ca = f"--ca=Org1MSP=https://ca.example:7054,ca-org1,{root}"
    assert cli.main([*command, *peers, ca, "--days", "30"]) == 0
    assert "trust root" in capsys.readouterr().out
    profile = NetworkProfile.load(out)
    assert [o.msp_id for o in profile.organizations] == msp_ids
    assert profile.organizations[1].peers[0].address == "peer.example:7052"
    assert profile.organizations[0].ca is not None
    assert profile.organizations[0].ca.name == "ca-org1"
    assert (profile.trust_root.expires - profile.trust_root.obtained).days == 30
    numbers = [o.consenter_id for o in profile.orderers]
    assert numbers == ([1, 2, 3, 4] if ordering == "bft" else [None] * len(numbers))
    assert numbers


def _first(data: Path, ordering: str) -> Path:
    return sorted((data / "fabric" / ordering).rglob("*0*.block"))[0]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--peer", "Org1MSP"],
        ["--peer", "Org9MSP=a:1"],
        ["--peer", "Org1MSP=nowhere"],
        ["--ca", "Org1MSP=https://x"],
        ["--ca", "Org1MSP=http://x,ca,{block}"],
        ["--days", "0"],
    ],
)
def test_what_makes_no_profile(
    data: Path, tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    block = _first(data, "raft")
    arguments = [part.format(block=block) for part in wrong]
    out = tmp_path / "profile.json"
    command = ["profile", "--config-block", str(block), "--name", "North", "-o", str(out)]
    assert cli.main([*command, *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
