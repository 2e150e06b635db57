"""Nodes whose clocks are wrong, while a household trades.

Fabric's programs do not take their time from libc, so a clock is set wrong by a build of
``orderer`` and ``peer`` that adds FABRIC_CLOCK_SKEW_S seconds to Go's ``time.Now``;
docs/fabric-network.md says how it is made. FABRIC_SKEW_BIN names the folder it lies in.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from light_node.chain import sources, trust
from light_node.chain.node import LightNode
from light_node.chain.status import PeerStatus
from light_node.clock import SystemClock
from light_node.devnet import network as devnet_network
from light_node.devnet.layout import in_use
from light_node.devnet.network import Options
from light_node.devnet.store import Store
from light_node.fabricnet.network import UpOptions
from light_node.fabricnet.processes import Command
from tests.fabric.household import WAIT_S, Household
from tests.fabric.networks import ORDERINGS, FabricClients, fabric_network, need_binaries
from tests.fabric.test_robustness import (
    OTHER,
    OWN,
    frozen,
    heights,
    household,
    leader,
    leaders,
    say,
    until,
)

pytestmark = pytest.mark.timeout(600)

SKEWS = (600, 1200, -1200)


@pytest.fixture(scope="module")
def skew_bin() -> Path:
    place = os.environ.get("FABRIC_SKEW_BIN")
    if not place:
        pytest.skip("FABRIC_SKEW_BIN names no build of Fabric whose clock can be set wrong")
    return Path(place)


@pytest.fixture(scope="module", params=ORDERINGS)
def fabric(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, skew_bin: Path
) -> Iterator[FabricClients]:
    """A network whose certificates are an hour old: valid for a clock that is behind, too."""
    need_binaries(request.param)
    directory = tmp_path_factory.mktemp(f"skew-{request.param}")
    store = Store.open(directory / "keys")
    options = Options(base_port=0, raft=request.param == "raft", batch_timeout_ms=100)
    made = SystemClock().now() - timedelta(hours=1)
    devnet_network.open_network(directory, options, store, made, secrets.token_bytes)
    store.close()
    with fabric_network(directory, request.param) as running:
        yield running


@contextmanager
def skewed(fabric: FabricClients, folder: Path, node: str, seconds: int) -> Iterator[None]:
    """Run a node with its clock ``seconds`` ahead; right again afterwards."""
    net = fabric.net
    orderer = node.startswith("orderer")
    program = folder / ("orderer" if orderer else "peer")
    arguments = [str(program)] if orderer else [str(program), "node", "start"]
    environment = {
        "FABRIC_CFG_PATH": str(net.directory / "nodes" / node),
        "FABRIC_LOGGING_SPEC": "warn",
        "FABRIC_CLOCK_SKEW_S": str(seconds),
    }
    net.processes.stop([node])
    net.processes.start(Command(node, arguments, environment))
    try:
        until(lambda: serves(fabric, node), f"{node}'s answer")
        yield
    finally:
        # Gossip takes a peer whose clock went back for dead, for eight minutes; peers that have
        # all been started anew know nothing of its time before.
        peers = [name for name in net.processes.names() if name.startswith("peer")]
        net.processes.stop([node] if orderer else peers)
        net.up(UpOptions(), lambda _: None)


def serves(fabric: FabricClients, node: str) -> bool:
    """Whether a node answers, be it with a refusal of the time."""
    try:
        address = next(
            peer.address
            for organization in fabric.profile.organizations
            for peer in organization.peers
            if peer.name == node
        )
    except StopIteration:
        return heights(fabric.net)[node] is not None
    host, _, port = address.rpartition(":")
    return bool(in_use(host, [int(port)]))


def seen_by_a_light_node(fabric: FabricClients, directory: Path) -> dict[str, PeerStatus]:
    """What a light node over all peers and orderers makes of them once it has asked everybody."""
    profile, reader, clock = fabric.profile, fabric.user("reader"), SystemClock()
    config = trust.from_profile(profile.trust_root).config
    asked = sources.from_profile(profile, config, reader, clock, orderers=True)
    with LightNode(profile, directory, reader, clock, sources=asked) as node:
        assert node.wait(
            lambda s: all(peer.agrees or "clock" in peer.error for peer in s.peers), WAIT_S
        ), node.status()
        return {peer.organization: peer for peer in node.status().peers}


def check_errors(seen: dict[str, PeerStatus], organization: str, words: str) -> None:
    """Only that organisation's node is said to be wrong, by so much; "" for nobody."""
    errors = {name: peer.error for name, peer in seen.items() if peer.error}
    fits = "this machine's time suits other organisations, so its operator has to set it"
    assert errors == ({organization: f"its clock is {words}: {fits}"} if words else {})


@pytest.mark.parametrize("seconds", SKEWS)
@pytest.mark.parametrize("which", ["leader", "follower"])
def test_an_orderers_clock_is_wrong(
    fabric: FabricClients, skew_bin: Path, tmp_path: Path, which: str, seconds: int
) -> None:
    led = leader(fabric.net)
    node = led if which == "leader" else min({"orderer1", "orderer2", "orderer3"} - {led})
    with household(fabric, tmp_path) as home:
        with skewed(fabric, skew_bin, node, seconds):
            say(f"{which} {node} {seconds} s off: three commits", home.trade())
            say(f"five more, {leader(fabric.net)} leading", home.trade(5))
            seen = seen_by_a_light_node(fabric, tmp_path / "node")
            words = "more than 15 minutes off this machine's" if abs(seconds) > 900 else ""
            check_errors(seen, node.replace("orderer", "Orderer") + "MSP", words)
            home.check()
        home.trade(1)
        home.check()


@pytest.mark.parametrize("seconds", SKEWS)
def test_who_takes_over_has_a_wrong_clock(
    fabric: FabricClients, skew_bin: Path, tmp_path: Path, seconds: int
) -> None:
    """Not only a leader that was started anew, which follows then."""
    if fabric.profile.orderers[0].consenter_id is not None:
        pytest.skip("which orderer SmartBFT lets lead next cannot be chosen from outside")
    with household(fabric, tmp_path) as home:
        node = min({"orderer1", "orderer2", "orderer3"} - {leader(fabric.net)})
        with skewed(fabric, skew_bin, node, seconds):
            for _ in range(8):  # of the two others either may be elected
                until(lambda: bool(leaders(fabric.net)), "a leader")
                with frozen(fabric.net, leader(fabric.net)):
                    home.trade(1)
                home.trade(1)
                if leaders(fabric.net)[:1] == [node]:
                    say(f"{node} leads {seconds} s off: five commits", home.trade(5))
                    break
            else:
                raise AssertionError(f"{node} never came to lead")
            home.check()
        home.trade(1)
        home.check()


@pytest.mark.parametrize("seconds", SKEWS)
@pytest.mark.parametrize("node", [OWN, OTHER])
def test_a_peers_clock_is_wrong(
    fabric: FabricClients, skew_bin: Path, tmp_path: Path, node: str, seconds: int
) -> None:
    fabric.net.up(UpOptions(), lambda _: None)
    with skewed(fabric, skew_bin, node, seconds):
        # Started while the clock is wrong already: nothing was seen of the peer before.
        home = Household(fabric, tmp_path, f"skewed-{node}-{seconds}")
        try:
            say(f"{node} {seconds} s off: three commits", home.trade())
            say("five more", home.trade(5))
            words = f"20 minutes {'ahead of' if seconds > 0 else 'behind'} this machine's"
            seen = seen_by_a_light_node(fabric, tmp_path / "node")
            check_errors(seen, f"Org{node[-1]}MSP", words if abs(seconds) > 900 else "")
            home.check()
            if node == OWN and abs(seconds) > 900:
                until(lambda: bool(home.moves), "word of the clock")
                ahead = home.moves[0].ahead
                assert ahead is not None
                assert abs(ahead.total_seconds() - seconds) < 60
            else:
                assert home.moves == []
            assert not [note for note in home.notes if "clock" in note]
        finally:
            home.close()
