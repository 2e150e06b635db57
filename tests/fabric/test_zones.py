"""Several market zones: channels on the same nodes, contracts on the same chaincode servers."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from light_node import cli
from light_node.contract.chaincodes import MARKET
from light_node.devnet.testing import DevnetClients
from light_node.fabric.errors import ContractRefused
from light_node.fabric.profile import NetworkProfile
from light_node.fabricnet import zones
from light_node.fabricnet.errors import FabricNetError
from light_node.fabricnet.network import UpOptions
from tests.fabric.networks import FabricClients

pytestmark = pytest.mark.timeout(600)

SOUTH = "south"
_DEMO = "import sys; from wallet_app.cli import main; sys.exit(main())"


@pytest.fixture
def south(fabric: FabricClients) -> DevnetClients:
    """The clients of a second zone, added to a network that runs and has traded."""
    fabric.net.up(UpOptions(channels=(SOUTH,)), lambda _: None)
    return DevnetClients(zones.folder(fabric.directory, SOUTH))


def test_a_zone_is_added_to_a_running_network_and_stays(
    fabric: FabricClients, south: DevnetClients
) -> None:
    before, root = fabric.net.status(), south.profile.trust_root.hash
    assert before["channels"] == ["market", SOUTH]
    for process in before["processes"]:
        assert process["heights"] is None or all(process["heights"].values())
    profile = fabric.net.up(UpOptions(channels=(SOUTH,)), lambda _: None)
    assert (profile.channel, south.profile.channel) == ("market", SOUTH)
    assert profile.trust_root.hash != root == south.profile.trust_root.hash
    after = fabric.net.status()
    assert [p["pid"] for p in after["processes"]] == [p["pid"] for p in before["processes"]]
    assert [p["heights"] for p in after["processes"]] == [p["heights"] for p in before["processes"]]


def test_status_shows_how_far_each_channel_is(
    fabric: FabricClients, south: DevnetClients, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fabric", "status", "--dir", str(fabric.directory)]) == 0
    said = capsys.readouterr().out
    heights = fabric.net.status()["processes"][-1]["heights"]
    assert set(heights) == {"market", SOUTH}
    assert f"blocks market {heights['market']} {SOUTH} {heights[SOUTH]}" in said


def test_the_same_servers_keep_the_states_of_two_channels_apart(
    fabric: FabricClients, south: DevnetClients
) -> None:
    with fabric.connect() as line:
        here = fabric.gateway(line, fabric.user())
        there = south.gateway(line, south.user())
        prepared = [
            (gateway, gateway.endorse("kv", "put", f"zone-{number}", value))
            for number in range(20)
            for gateway, value in ((here, "north"), (there, "south"))
        ]
        for gateway, endorsed in prepared:
            gateway.submit(endorsed)
        for gateway, endorsed in prepared:
            assert gateway.commit_status(endorsed.transaction_id).valid
        for number in range(20):
            assert here.evaluate("kv", "get", f"zone-{number}") == b"north"
            assert there.evaluate("kv", "get", f"zone-{number}") == b"south"
        here.submit_transaction("kv", "put", "only-here", "1", retries=3)
        with pytest.raises(ContractRefused, match="404"):
            there.evaluate("kv", "get", "only-here")


def test_a_light_node_does_not_take_one_zone_for_the_other(
    fabric: FabricClients,
    south: DevnetClients,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    profiles = [str(net.directory / "profile.json") for net in (fabric, south)]
    store = ["--dir", str(tmp_path / "headers"), "--json"]
    assert cli.main(["sync", "--profile", profiles[0], *store]) == 0
    assert json.loads(capsys.readouterr().out)["channel"] == "market"
    assert cli.main(["sync", "--profile", profiles[1], *store]) == 2
    assert "of another channel" in capsys.readouterr().err
    assert cli.main(["peers", "--profile", profiles[1], "--json"]) == 0
    capsys.readouterr()
    made = tmp_path / "made.json"
    block = south.directory / zones.GENESIS_FILE
    command = ["profile", "--config-block", str(block), "--name", "South", "-o", str(made)]
    assert cli.main(command) == 0
    assert NetworkProfile.load(made).trust_root.hash == south.profile.trust_root.hash


def demo(net: DevnetClients, output: Path) -> "subprocess.Popen[str]":
    """One slot of a trading day on a network, with its result as JSON."""
    options = {
        "network": net.directory,
        "output": output / net.profile.channel,
        "slots": 1,
        "neighbours": 3,
        "seconds-per-slot": 20,
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, "-c", _DEMO, "demo", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_slot_is_traded_in_each_zone_at_the_same_time(
    fabric: FabricClients, south: DevnetClients, tmp_path: Path
) -> None:
    """Wallet, neighbours, trading centre and light node twice; peers, orderers, CA once."""
    with ExitStack() as stack:
        days = [stack.enter_context(demo(net, tmp_path)) for net in (fabric, south)]
        said = [day.communicate(timeout=400) for day in days]
    assert [day.returncode for day in days] == [0, 0], said
    results = [json.loads(out) for out, _ in said]
    assert [result["slots_settled"] for result in results] == [1, 1]
    assert [result["proof"] for result in results] == ["audited", "audited"]
    names = []
    for net in (fabric, south):
        with net.connect() as line:
            answer = net.gateway(line, net.user()).evaluate(MARKET, "ListParticipants")
        names.append({entry["participant"] for entry in json.loads(answer)["participants"]})
    assert results[0]["participant"] in names[0] - names[1]
    assert results[1]["participant"] in names[1] - names[0]


def test_a_name_no_channel_can_have_is_refused_and_forgotten(fabric: FabricClients) -> None:
    with pytest.raises(FabricNetError, match="no name for a channel"):
        fabric.net.up(UpOptions(channels=("South",)), lambda _: None)
    assert "South" not in fabric.net.status()["channels"]
