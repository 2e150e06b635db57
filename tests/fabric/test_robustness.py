"""Parts of a real network die, hang and return while a household trades (issue: nothing lost).

Each scene ends with the same two questions: is every entry on the ledger exactly once, and does
trading go on by itself. Durations are printed (``-rP``), never judged.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from light_node.fabricnet import binaries
from light_node.fabricnet.network import FabricNet, UpOptions
from light_node.fabricnet.plan import Plan
from light_node.fabricnet.processes import Command
from tests.fabric.household import WAIT_S, Household, ShiftedClock
from tests.fabric.networks import FabricClients, fabric_network, need_binaries

pytestmark = pytest.mark.timeout(600)

OWN, OTHER = "peer0.org1", "peer0.org3"
_counters = itertools.count()

needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="mounting and network namespaces need root on Linux",
)


@pytest.fixture
def home(fabric: FabricClients, tmp_path: Path) -> Iterator[Household]:
    with household(fabric, tmp_path) as made:
        yield made


@contextmanager
def household(
    fabric: FabricClients, tmp_path: Path, clock: ShiftedClock | None = None
) -> Iterator[Household]:
    """A household on a network all of which runs, before and after."""
    fabric.net.up(UpOptions(), lambda _: None)
    made = Household(fabric, tmp_path, f"counter-{os.getpid()}-{next(_counters)}", clock)
    try:
        made.trade(1)
        yield made
    finally:
        made.close()
        fabric.net.up(UpOptions(), lambda _: None)


def kill(net: FabricNet, *names: str) -> None:
    """What a power cut does."""
    net.processes.stop(names, force=True)


@contextmanager
def frozen(net: FabricNet, name: str) -> Iterator[None]:
    """The process takes connections and never answers."""
    pid = net.processes.pid(name)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def leader(net: FabricNet) -> str:
    """The orderer that says it leads."""
    found = leaders(net)
    assert found, "no orderer leads"
    return found[0]


def leaders(net: FabricNet) -> list[str]:
    """The orderers that lead the first channel, those most nodes name first.

    Nodes that do not answer do not count. With BFT everybody is asked who leads: one that hung
    while another took over goes on taking itself for the leader. With Raft only the leader knows.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    named: Counter[int] = Counter()
    for number, ports in enumerate(Plan.load(net.directory).orderers, start=1):
        with (
            suppress(OSError),
            opener.open(f"http://127.0.0.1:{ports.operations}/metrics", timeout=5) as answer,
        ):
            for line in answer.read().decode().splitlines():
                name, _, value = line.partition('{channel="market"} ')
                if name == "consensus_BFT_leader_id":
                    named[int(value)] += 1
                elif name == "consensus_etcdraft_is_leader" and value == "1":
                    named[number] += 1
    return [f"orderer{number}" for number, _ in named.most_common() if number]


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.1)


def heights(net: FabricNet) -> dict[str, int | None]:
    return {p["name"]: p["height"] for p in net.status()["processes"]}


def say(what: str, seconds: float) -> None:
    write(f"{what}: {seconds:.1f} s")


def write(line: str) -> None:
    sys.stdout.write(line + "\n")


def test_the_leading_orderer_is_killed(fabric: FabricClients, home: Household) -> None:
    kill(fabric.net, leader(fabric.net))
    say("first commit after the leader's death", home.trade(1))
    home.trade()
    home.check()
    fabric.net.up(UpOptions(), lambda _: None)
    until(
        lambda: len({h for n, h in heights(fabric.net).items() if n.startswith("orderer")}) == 1,
        "the killed orderer's blocks",
    )


def test_another_orderer_is_lost(fabric: FabricClients, home: Household) -> None:
    others = {"orderer1", "orderer2", "orderer3"} - {leader(fabric.net)}
    kill(fabric.net, min(others))
    say("three commits with an orderer less", home.trade())
    home.check()


def test_the_own_peer_is_lost_and_returns(fabric: FabricClients, home: Household) -> None:
    kill(fabric.net, OWN)
    say("first commit after the own peer's death", home.trade(1))
    home.trade()
    until(lambda: bool(home.moves), "word of the change")
    assert (home.moves[0].left.name, home.moves[0].preferred) == (OWN, False)
    assert home.moves[0].behind is None
    fabric.net.up(UpOptions(), lambda _: None)
    until(lambda: home.moves[-1].preferred, "the return to the own peer")
    home.trade()
    home.check()


def test_the_own_peer_hangs(fabric: FabricClients, home: Household) -> None:
    with frozen(fabric.net, OWN):
        say("first commit while the own peer hangs", home.trade(1))
        home.trade()
        until(lambda: bool(home.moves), "word of the change")
    until(lambda: home.moves[-1].preferred, "the return to the own peer")
    home.trade(1)
    home.check()


def test_the_own_peer_is_cut_off_from_the_orderers(
    fabric: FabricClients, home: Household, tmp_path: Path
) -> None:
    cut_off(fabric, tmp_path)
    until(lambda: home.ledger.peer == OWN, "the return to the own peer")
    say("first commit while the own peer stands still", home.trade(1))
    home.trade()
    until(lambda: any(move.behind for move in home.moves), "word of the change")
    fabric.net.processes.stop([OWN])
    fabric.net.up(UpOptions(), lambda _: None)
    until(lambda: home.moves[-1].preferred, "the return to the own peer")
    home.trade(1)
    home.check()


def cut_off(fabric: FabricClients, folder: Path) -> None:
    """Start the own peer anew so that it looks for the orderers where nobody listens."""
    net = fabric.net
    net.processes.stop([OWN])
    own = net.directory / "nodes" / OWN
    core = json.loads((own / "core.yaml").read_text())
    core["peer"]["deliveryclient"] = {
        "addressOverrides": [
            {"from": o.address, "to": "127.0.0.1:1", "caCertsFile": str(own / "tls" / "ca.crt")}
            for o in fabric.profile.orderers
        ]
    }
    (folder / "core.yaml").write_text(json.dumps(core))
    peer = str(binaries.find(os.environ).peer)
    environment = {"FABRIC_CFG_PATH": str(folder), "FABRIC_LOGGING_SPEC": "warn"}
    net.processes.start(Command(OWN, [peer, "node", "start"], environment))
    until(lambda: heights(net)[OWN] is not None, "the peer's answer")


def test_another_organisations_peer_hangs(fabric: FabricClients, home: Household) -> None:
    with frozen(fabric.net, OTHER):
        say("first commit while another's peer hangs", home.trade(1))
        say("five more", home.trade(5))
    home.trade(1)
    home.check()
    assert home.moves == []


def test_a_peer_answers_slowly(fabric: FabricClients, home: Household) -> None:
    pid = fabric.net.processes.pid(OWN)
    assert pid is not None
    keys = [home.put() for _ in range(10)]
    # Half of every half second it does nothing.
    while not home.entry(keys[-1]).state.final:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.25)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.25)
    home.check()


def test_the_chaincode_dies_in_mid_transaction(fabric: FabricClients, home: Household) -> None:
    servers = ["kv.org1", "kv.org2", "kv.org3"]
    with frozen(fabric.net, servers[0]):
        key = home.put()
        until(lambda: home.entry(key).state.value == "waiting", "the entry")
        time.sleep(1.0)  # the transaction is under way in the server that hangs
        kill(fabric.net, *servers)
    assert not home.entry(key).state.final
    home.put()
    until(lambda: bool(home.notes), "word of what is waited for")
    fabric.net.up(UpOptions(), lambda _: None)
    began = time.monotonic()
    home.finish(key)
    say("first commit after the chaincode's return", time.monotonic() - began)
    home.trade(1)
    home.check()


def test_everything_is_killed_and_started_again(fabric: FabricClients, home: Household) -> None:
    keys = [home.put() for _ in range(5)]
    kill(fabric.net, *fabric.net.processes.names())
    keys += [home.put() for _ in range(2)]
    fabric.net.up(UpOptions(), lambda _: None)
    began = time.monotonic()
    home.finish(keys[0])
    say("first commit after everything was killed", time.monotonic() - began)
    home.trade(1)
    home.check()


def test_a_clock_that_is_wrong(fabric: FabricClients, tmp_path: Path) -> None:
    if Plan.load(fabric.net.directory).release.startswith("2."):
        pytest.skip("peers of 2.5 look at no proposal's time")
    clock = ShiftedClock()
    with household(fabric, tmp_path, clock) as home:
        clock.shift = timedelta(minutes=20)
        key = home.put()
        until(lambda: bool(home.notes), "word of the clock")
        assert "set the clock" in home.notes[-1]
        assert not home.entry(key).state.final
        clock.shift = timedelta(minutes=10)  # wrong still, but not by more than is allowed
        home.finish(key)
        home.trade(1)
        home.check()


@needs_root
@pytest.mark.parametrize("node", [OWN, "orderer1"])
def test_a_node_whose_disk_is_full(fabric: FabricClients, home: Household, node: str) -> None:
    data = fabric.net.directory / "nodes" / node / "data"
    with small_disk(fabric.net, node, data) as fill:
        fabric.net.up(UpOptions(), lambda _: None)
        home.trade(1)
        fill()
        say(f"12 commits with {node}'s disk full", home.trade(12))
        until(lambda: held_up(fabric.net, node), f"the end of {node}'s room")
        write(f"{node}: {'ended' if fabric.net.processes.pid(node) is None else 'stands still'}")
    fabric.net.up(UpOptions(), lambda _: None)
    home.trade(1)
    home.check()
    until(
        lambda: len({h for h in heights(fabric.net).values() if h is not None}) == 1,
        f"the blocks {node} lacked",
    )


def held_up(net: FabricNet, node: str) -> bool:
    """Whether a node ended, or has fewer blocks than another."""
    found = heights(net)
    own = found.pop(node)
    return own is None or own < max(h for h in found.values() if h is not None)


@contextmanager
def small_disk(net: FabricNet, node: str, data: Path) -> Iterator[Callable[[], None]]:
    """Put a stopped node's data on a disk of its own; yield how to fill that up to the brim."""
    aside = data.with_name("aside")
    net.processes.stop([node])
    data.rename(aside)
    data.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(data))
    try:
        run("cp", "-a", f"{aside}/.", str(data))

        def fill() -> None:
            with (data / "filler").open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(4096))

        yield fill
        (data / "filler").unlink()
        net.processes.stop([node])
        run("rm", "-rf", str(aside))
        run("cp", "-a", str(data), str(aside))
    finally:
        net.processes.stop([node])
        run("umount", str(data))
        data.rmdir()
        aside.rename(data)


@contextmanager
def far_host() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Make a network namespace on a cable: the near address, what runs commands there, its plug."""
    number = os.getpid() % 200
    name, near, far = f"pw{number}", f"10.213.{number}.1", f"10.213.{number}.2"
    cable, plug = f"pwo{number}", f"pwi{number}"
    inner = ("ip", "netns", "exec", name)
    with ExitStack() as undo:
        run("ip", "netns", "add", name)
        undo.callback(run, "ip", "netns", "delete", name)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", plug, "netns", name)
        # With its namespace it would go as well, but at some later time.
        undo.callback(run, "ip", "link", "delete", cable)
        run("ip", "address", "add", f"{near}/24", "dev", cable)
        run("ip", "link", "set", cable, "up")
        run(*inner, "ip", "address", "add", f"{far}/24", "dev", plug)
        run(*inner, "ip", "link", "set", plug, "up")
        yield near, inner, plug


@needs_root
@pytest.mark.parametrize("ordering", ["raft", "bft"])
def test_the_network_is_cut(tmp_path: Path, ordering: str) -> None:
    """The household sits in a network namespace whose cable is pulled for a while."""
    need_binaries(ordering)
    with (
        far_host() as (near, inner, plug),
        fabric_network(tmp_path / "net", ordering, host=near) as fabric,
    ):
        program = [sys.executable, "-m", "tests.fabric.household"]
        arguments = [str(fabric.directory), str(tmp_path), "cut"]
        with subprocess.Popen(
            [*inner, *program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None

            def trade(times: int = 1) -> None:
                child.stdin.write("\n" * times)
                child.stdin.flush()

            trade()
            write(f"before: {child.stdout.readline().strip()}")
            run(*inner, "ip", "link", "set", plug, "down")
            trade(2)
            time.sleep(15)
            run(*inner, "ip", "link", "set", plug, "up")
            write(f"cut for 15 s: {child.stdout.readline().strip()}")
            write(f"then: {child.stdout.readline().strip()}")
            child.stdin.close()
            assert child.stdout.readline() == '{"checked": true}\n'
            assert child.wait(WAIT_S) == 0


def run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
