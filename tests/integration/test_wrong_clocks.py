"""Nodes of a devnet whose clocks are wrong: who says so, and that trading goes on."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import sleep

import pytest

from light_node.chain import follower, sources, trust
from light_node.chain.node import LightNode
from light_node.chain.status import PeerState, PeerStatus, SyncStatus
from light_node.clock import Clock, SystemClock
from light_node.devnet.network import Options
from light_node.devnet.threaded import DevnetThread
from light_node.fabric import peers
from light_node.fabric.errors import ClockSkewed, DeliverError, TimeRefused
from light_node.mtc.network import PeerGateway
from tests.fabric.household import Household, ShiftedClock

SOON_S = 15.0
OWN = "Org1MSP"
LIES = pytest.mark.parametrize(
    ("lie", "words", "ahead"),
    [
        ("clock-ahead", "20 minutes ahead of this machine's", timedelta(minutes=20)),
        ("clock-behind", "20 minutes behind this machine's", timedelta(minutes=-20)),
    ],
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetThread]:
    options = Options(base_port=0, batch_timeout_ms=2)
    with DevnetThread(tmp_path_factory.mktemp("clocks"), options) as net:
        with net.connect() as line:
            gateway = net.gateway(line, net.user())
            for number in range(3):  # the lies begin at block 1
                gateway.submit_transaction("kv", "put", "key", str(number))
            gateway.close()
        yield net


@pytest.fixture
def net(running: DevnetThread, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevnetThread]:
    monkeypatch.setattr(follower, "FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(follower, "LAST_RETRY_S", 0.2)
    monkeypatch.setattr(peers, "WATCH_EVERY_S", 0.5)
    monkeypatch.setattr(peers, "HOLD_S", 0.5)
    yield running
    running.tell_the_truth()


@contextmanager
def following(
    net: DevnetThread, folder: Path, clock: Clock
) -> Iterator[Callable[[Callable[[SyncStatus], bool]], SyncStatus]]:
    """A light node over all peers and orderers; yields how to wait for a status."""
    profile, reader = net.profile, net.user("reader")
    config = trust.from_profile(profile.trust_root).config
    asked = sources.from_profile(profile, config, reader, clock, orderers=True)
    with LightNode(profile, folder, reader, clock, sources=asked) as node:

        def wait(condition: Callable[[SyncStatus], bool]) -> SyncStatus:
            assert node.wait(condition, SOON_S), node.status()
            return node.status()

        yield wait


def of(status: SyncStatus, organization: str) -> PeerStatus:
    return next(peer for peer in status.peers if peer.organization == organization)


@LIES
def test_the_status_names_whose_clock_is_wrong_and_by_how_much(
    net: DevnetThread, tmp_path: Path, lie: str, words: str, ahead: timedelta
) -> None:
    net.lie(OWN, lie, 1)
    net.lie("Orderer2MSP", lie, 1)
    with following(net, tmp_path, SystemClock()) as wait:
        status = wait(
            lambda s: (
                s.agreed_height == net.height
                and "clock" in of(s, OWN).error
                and "clock" in of(s, "Orderer2MSP").error
            )
        )
        fits = "this machine's time suits other organisations, so its operator has to set it"
        assert of(status, OWN).error == f"its clock is {words}: {fits}"
        off = "more than 15 minutes off this machine's"  # orderers do not say how far
        assert of(status, "Orderer2MSP").error == f"its clock is {off}: {fits}"
        assert of(status, "Org2MSP").state is PeerState.CONNECTED
        net.tell_the_truth()
        status = wait(lambda s: all(peer.agrees for peer in s.peers))
        assert [peer.error for peer in status.peers if peer.error] == []


def test_a_second_organisation_that_lacks_for_its_clock_is_named(
    net: DevnetThread, tmp_path: Path
) -> None:
    for organization in ("Org2MSP", "Org3MSP", *(f"Orderer{i}MSP" for i in range(1, 5))):
        net.lie(organization, "clock-ahead", 1)
    with following(net, tmp_path, SystemClock()) as wait:
        status = wait(lambda s: s.waiting_for.count("MSP") == 6)
    assert status.waiting_for.startswith("a second organisation to show block")
    assert "wrong clock: Orderer1MSP" in status.waiting_for


def test_when_every_node_refuses_this_machines_clock_is_to_blame(
    net: DevnetThread, tmp_path: Path
) -> None:
    clock = ShiftedClock()
    clock.shift = timedelta(hours=-3)
    with following(net, tmp_path, clock) as wait:
        wanted = "this machine's clock to be set: the clocks of all nodes are 3 hours ahead of"
        status = wait(lambda s: s.waiting_for.startswith(wanted))
        assert {peer.state for peer in status.peers} == {PeerState.UNREACHABLE}
        assert all("set the clock that is wrong" in peer.error for peer in status.peers)
        clock.shift = timedelta(minutes=-10)
        wait(lambda s: s.agreed_height == net.height and not s.waiting_for)


@LIES
def test_a_household_trades_on_through_another_peer(
    net: DevnetThread, tmp_path: Path, lie: str, words: str, ahead: timedelta
) -> None:
    net.lie(OWN, lie, 1)
    home = Household(net, tmp_path, f"counter-{lie}")
    try:
        home.trade()
        until(lambda: bool(home.moves))
        move = home.moves[0]
        assert (move.left.msp_id, move.preferred) == (OWN, False)
        assert move.ahead is not None
        assert abs(move.ahead - ahead) < timedelta(seconds=5)
        assert home.notes == []
        net.tell_the_truth()
        until(lambda: home.moves[-1].preferred)
        home.trade(1)
        home.check()
    finally:
        home.close()


@LIES
def test_another_organisations_clock_disturbs_nobody(
    net: DevnetThread, tmp_path: Path, lie: str, words: str, ahead: timedelta
) -> None:
    net.lie("Org2MSP", lie, 1)
    home = Household(net, tmp_path, f"other-{lie}")
    try:
        home.trade()
        home.check()
        assert home.moves == home.notes == []
    finally:
        home.close()


def test_the_trading_centre_says_whose_clock_it_is(
    net: DevnetThread, caplog: pytest.LogCaptureFixture
) -> None:
    net.lie(OWN, "clock-behind", 1)
    profile, operator = net.profile, net.user()
    config = trust.from_profile(profile.trust_root).config
    with caplog.at_level(logging.WARNING, "light_node.mtc.network"):
        centre = PeerGateway(profile, operator, SystemClock(), config)
        try:
            until(lambda: "its operator has to set it" in caplog.text)
        finally:
            centre.close()
    assert "the clock of peer0.org1 is 20 minutes behind this machine's" in caplog.text


def test_a_client_of_one_peer_is_told_both_may_be_wrong(net: DevnetThread) -> None:
    net.lie(OWN, "clock-ahead", 1)
    with net.connect() as line:
        gateway = net.gateway(line, net.user())
        with pytest.raises(ClockSkewed) as refused:
            gateway.endorse("kv", "put", "k", "v")
        gateway.close()
    assert str(refused.value) == (
        "the clock of Org1MSP is 20 minutes ahead of this machine's, so requests are refused: "
        "set the clock that is wrong"
    )


def test_who_asks_every_peer_knows_that_it_is_wrong_itself(
    net: DevnetThread, tmp_path: Path
) -> None:
    clock = ShiftedClock()
    clock.shift = timedelta(minutes=-20)
    home = Household(net, tmp_path, "wrong-itself", clock)
    try:
        key = home.put()
        until(lambda: bool(home.notes))
        assert home.notes[0] == (
            "every organisation's clock is 20 minutes ahead of this machine's: "
            "set the clock of this machine"
        )
        assert home.moves == []
        clock.shift = timedelta(minutes=10)
        home.finish(key)
        home.check()
    finally:
        home.close()


def test_the_refusal_of_a_time_is_a_deliver_error() -> None:
    assert issubclass(TimeRefused, DeliverError)
    assert "ahead of this machine's" in str(TimeRefused(400, timedelta(hours=1)))


def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(SOON_S / 0.05)):
        if condition():
            return
        sleep(0.05)
    raise AssertionError("it did not come")
