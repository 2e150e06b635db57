"""Several peers: which is asked, when a client moves on, when it returns."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest

from light_node.clock import SystemClock
from light_node.fabric.connection import connect
from light_node.fabric.errors import (
    AlreadyOrdered,
    ContractRefused,
    EndorseError,
    EndorsersDisagree,
    EvaluateError,
    Overloaded,
    TimedOut,
    Unavailable,
)
from light_node.fabric.gateway import Deadlines, Gateway
from light_node.fabric.pb import common_pb2, gateway_pb2, peer_pb2
from light_node.fabric.peers import HOLD_S, Link, Move, Peers, PeerWatch

CODE = grpc.StatusCode
PATIENT = Deadlines(evaluate=40, endorse=40, submit=40, commit=60, probe=0.3, resubmit=30)


@pytest.fixture
def three(consortium: Any, tls: Any, kit: Any) -> Iterator[list[Any]]:
    """Three fake peers."""
    fakes = [kit.FakePeer(consortium, tls) for _ in range(3)]
    yield fakes
    for fake in fakes:
        fake.stop()


@pytest.fixture
def peers(three: list[Any], tls: Any) -> Iterator[Peers]:
    channels = [connect(fake.address, tls.root_pem) for fake in three]
    yield Peers(
        [Link(f"peer{i}", f"Org{i + 1}MSP", c) for i, c in enumerate(channels)],
        monotonic=SystemClock().monotonic,
    )
    for channel in channels:
        channel.close()


@pytest.fixture
def gateway(peers: Peers, consortium: Any) -> Iterator[Gateway]:
    made = Gateway(
        peers,
        consortium.client,
        "market",
        SystemClock(),
        policy=consortium.majority,
        deadlines=PATIENT,
    )
    yield made
    made.close()


def name(peers: Peers) -> str:
    return peers.current.name


# -- calls -----------------------------------------------------------------------------------------


def test_all_goes_to_the_first_while_it_serves(
    gateway: Gateway, three: list[Any], peers: Peers
) -> None:
    gateway.submit_transaction("market", "f")
    assert gateway.evaluate("market", "GetSlot") == b'{"ok":true}'
    assert name(peers) == "peer0"
    assert three[1].calls == three[2].calls == []


def test_queries_and_endorsements_go_on_at_the_next(
    gateway: Gateway, three: list[Any], peers: Peers
) -> None:
    three[0].stop()
    assert gateway.evaluate("market", "GetSlot") == b'{"ok":true}'
    assert name(peers) == "peer1"
    three[1].stop()
    assert gateway.endorse("market", "f").result == b'{"ok":true}'
    assert name(peers) == "peer2"


def test_with_nobody_there_the_error_is_of_the_last(
    gateway: Gateway, three: list[Any], peers: Peers
) -> None:
    for fake in three:
        fake.stop()
    with pytest.raises(Unavailable):
        gateway.evaluate("market", "GetSlot")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (CODE.FAILED_PRECONDITION, "no combination of peers can be derived"),
        (CODE.DEADLINE_EXCEEDED, "slow"),
        (CODE.INTERNAL, "disk"),
    ],
)
def test_what_one_peer_cannot_do_another_is_asked_for(
    gateway: Gateway, three: list[Any], peers: Peers, kit: Any, code: Any, text: str
) -> None:
    three[0].scripts["endorse"] = [kit.Failure(code, text)]
    three[0].scripts["evaluate"] = [kit.Failure(code, text)]
    assert gateway.endorse("market", "f").result == b'{"ok":true}'
    assert (three[0].calls, three[1].calls) == (["endorse"], ["endorse"])
    peers.take(peers.links[0], peers.current)
    assert gateway.evaluate("market", "f") == b'{"ok":true}'
    assert (three[0].calls[1:], three[1].calls[1:]) == (["evaluate"], ["evaluate"])


def test_what_no_peer_can_do_is_asked_of_each_once(
    gateway: Gateway, three: list[Any], kit: Any
) -> None:
    for fake in three:
        fake.scripts["evaluate"] = [kit.Failure(CODE.FAILED_PRECONDITION, "no peers")] * 9
        fake.scripts["endorse"] = [kit.Failure(CODE.FAILED_PRECONDITION, "no peers")] * 9
    with pytest.raises(EvaluateError):
        gateway.evaluate("market", "f")
    with pytest.raises(EndorseError):
        gateway.endorse("market", "f")
    assert [fake.calls for fake in three] == [["evaluate", "endorse"]] * 3


@pytest.mark.parametrize(
    ("call", "failure", "error"),
    [
        ("endorse", (CODE.ABORTED, "chaincode response 409, WRONG_PHASE: no"), ContractRefused),
        ("endorse", (CODE.ABORTED, "ProposalResponsePayloads do not match"), EndorsersDisagree),
        ("submit", (CODE.UNAVAILABLE, "request already processed"), AlreadyOrdered),
    ],
)
def test_answers_that_say_nothing_of_the_peer(
    gateway: Gateway,
    three: list[Any],
    peers: Peers,
    kit: Any,
    call: str,
    failure: Any,
    error: type[Exception],
) -> None:
    three[0].scripts[call] = [kit.Failure(*failure)]
    with pytest.raises(error):
        gateway.submit(gateway.endorse("market", "f"))
    assert name(peers) == "peer0"


def test_a_busy_peer_is_asked_again(
    gateway: Gateway, three: list[Any], peers: Peers, kit: Any
) -> None:
    three[0].scripts["evaluate"] = [kit.Failure(CODE.UNKNOWN, "too many requests")]
    gateway.evaluate("market", "f")
    assert three[0].calls == ["evaluate", "evaluate"]
    assert not issubclass(Overloaded, AlreadyOrdered)


def test_an_envelope_is_submitted_once_more_only_after_its_status_was_asked(
    gateway: Gateway, three: list[Any], peers: Peers, kit: Any
) -> None:
    three[0].scripts["submit"] = [kit.Failure(CODE.UNAVAILABLE, "no orderers could")]
    result = gateway.submit_transaction("market", "f")
    assert three[0].calls == ["endorse", "submit"]
    assert three[1].calls == ["commit status", "submit", "commit status"]
    assert three[0].submitted == three[1].submitted
    assert result.transaction_id in three[1].statuses


def test_a_commit_that_the_dead_peer_had_taken_is_found_at_the_next(
    gateway: Gateway, three: list[Any], peers: Peers, kit: Any
) -> None:
    endorsed = gateway.endorse("market", "f")

    def lost(context: grpc.ServicerContext) -> None:
        for fake in three:
            fake.commit(endorsed.transaction_id, block=9)
        context.abort(CODE.UNAVAILABLE, "Socket closed")

    three[0].scripts["submit"] = [lost]
    assert gateway.resume(endorsed.transaction_id, endorsed.envelope).block_number == 9
    assert [fake.calls[-1] for fake in three[:2]] == ["submit", "commit status"]
    assert len(three[0].submitted) == 1
    assert three[1].submitted == []


def test_a_commit_status_goes_on_at_the_next_peer(
    gateway: Gateway, three: list[Any], peers: Peers
) -> None:
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(gateway.commit_status("aa" * 32, 40)))
    three[1].commit("aa" * 32, block=12)
    asking.start()
    while "commit status" not in three[0].calls:
        threading.Event().wait(0.01)
    three[0].stop()
    asking.join()
    assert found[0].block_number == 12
    assert name(peers) == "peer1"


def test_a_commit_that_is_not_there_yet_moves_nobody(gateway: Gateway, peers: Peers) -> None:
    with pytest.raises(TimedOut):
        gateway.commit_status("bb" * 32, 0.2)
    assert name(peers) == "peer0"


# -- silent peers of other organisations -----------------------------------------------------------


def test_while_an_organisation_is_silent_the_others_are_named(
    gateway: Gateway, three: list[Any], peers: Peers
) -> None:
    gateway.endorse("market", "f")
    peers.found(peers.links[:2])
    gateway.endorse("market", "f")
    gateway.endorse("market", "f", organizations=["Org3MSP"])
    peers.found(peers.links)
    gateway.endorse("market", "f")
    peers.found(peers.links[:1])  # one alone: the gateway may know better
    gateway.endorse("market", "f")
    assert three[0].asked_organizations == [(), ("Org1MSP", "Org2MSP"), ("Org3MSP",), (), ()]


def test_organisations_that_are_too_few_for_the_policy_are_named_once(
    gateway: Gateway, three: list[Any], peers: Peers, consortium: Any
) -> None:
    peers.found(peers.links[:2])

    def answer_by_plan(context: grpc.ServicerContext) -> None:
        for fake in three:
            fake.endorsers = consortium.peers[:2]

    for fake in three:
        fake.endorsers = consortium.peers[:1]
    three[0].scripts["endorse"] = [lambda context: None, answer_by_plan]
    assert gateway.endorse("market", "f").result == b'{"ok":true}'
    assert three[0].asked_organizations == [("Org1MSP", "Org2MSP"), ()]


def test_after_a_timeout_the_comparison_is_awaited(
    gateway: Gateway, three: list[Any], peers: Peers, kit: Any
) -> None:
    asked = threading.Event()

    def compare() -> None:
        asked.wait()
        peers.trouble.wait()
        peers.found([peers.links[1], peers.links[2]])

    peers.watched(True)
    comparing = threading.Thread(target=compare)
    comparing.start()
    three[0].scripts["endorse"] = [
        lambda context: (asked.set(), context.abort(CODE.DEADLINE_EXCEEDED, "slow"))
    ]
    assert gateway.endorse("market", "f").result == b'{"ok":true}'
    comparing.join()
    assert three[1].asked_organizations == [("Org2MSP", "Org3MSP")]


# -- events ----------------------------------------------------------------------------------------


def block(number: int) -> Any:
    event = peer_pb2.ChaincodeEvent(
        chaincode_id="market", tx_id=str(number), event_name="A", payload=b"{}"
    )
    return gateway_pb2.ChaincodeEventsResponse(block_number=number, events=[event])


@pytest.fixture
def heights(three: list[Any]) -> None:
    info = common_pb2.BlockchainInfo(height=5).SerializeToString()
    for fake in three:
        fake.evaluate_answers["qscc.GetChainInfo"] = peer_pb2.Response(status=200, payload=info)


@pytest.mark.usefixtures("heights")
def test_events_go_on_at_the_next_peer_without_loss_or_repetition(
    gateway: Gateway, three: list[Any], peers: Peers, kit: Any
) -> None:
    three[0].event_rounds = [[block(5), kit.Failure(CODE.UNAVAILABLE, "Socket closed")]]
    three[1].event_rounds = [[block(5), block(6)]]
    with gateway.events("market") as stream:
        assert [next(stream).block_number for _ in range(2)] == [5, 6]
    assert name(peers) == "peer1"
    assert three[1].event_requests[0].start_position.specified.number == 6


@pytest.mark.usefixtures("heights")
def test_a_stream_moves_with_everything_else(
    gateway: Gateway, three: list[Any], peers: Peers
) -> None:
    three[0].event_rounds = [[block(5)]]
    three[1].event_rounds = [[block(6)]]
    with gateway.events("market") as stream:
        assert next(stream).block_number == 5
        later: list[int] = []
        waiting = threading.Thread(target=lambda: later.append(next(stream).block_number))
        waiting.start()
        # The first peer still answers: only its stream is silent.
        assert peers.take(peers.links[1], peers.links[0])
        waiting.join()
        assert later == [6]
        assert stream.last_error is None
    assert name(peers) == "peer1"


# -- which peer is best placed ---------------------------------------------------------------------


class Scene:
    """Three peers whose heights a test sets; the time moves when it is told."""

    def __init__(self) -> None:
        self.now = 100.0
        links = [Link(f"peer{i}", f"Org{i + 1}MSP", None) for i in range(3)]  # type: ignore[arg-type]
        self.peers = Peers(links, monotonic=lambda: self.now)
        self.heights: list[int | None] = [10, 10, 10]
        self.moves: list[Move] = []
        self.watch = PeerWatch(
            self.peers, self._ask, monotonic=lambda: self.now, on_move=self.moves.append
        )

    def _ask(self, links: Sequence[Link]) -> dict[Link, int]:
        given = zip(links, self.heights, strict=True)
        return {link: height for link, height in given if height is not None}

    def compare(self, *heights: int | None) -> str:
        """Let ten seconds pass and the watch compare; return whom it leaves asked."""
        self.now += HOLD_S
        self.heights = list(heights)
        self.watch.compare()
        return self.peers.current.name

    def told(self) -> list[tuple[str, bool, int | None]]:
        return [(move.taken.name, move.preferred, move.behind) for move in self.moves]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_preferred_peer_stays_while_it_keeps_up(scene: Scene) -> None:
    # A block or two later than the others is how a network works.
    for heights in [(10, 10, 10), (10, 12, 11), (12, 14, 14), (14, 14, 15)]:
        assert scene.compare(*heights) == "peer0"
    assert scene.told() == []


def test_a_silent_peer_is_left_and_returned_to_once_it_has_caught_up(scene: Scene) -> None:
    scene.compare(10, 10, 10)
    assert scene.compare(None, 12, 12) == "peer1"
    assert scene.compare(10, 14, 14) == "peer1"
    assert scene.compare(13, 16, 16) == "peer1"
    assert scene.compare(16, 18, 18) == "peer0"
    assert scene.told() == [("peer1", False, None), ("peer0", True, 0)]


def test_a_peer_that_stands_still_is_left(scene: Scene) -> None:
    scene.compare(10, 10, 10)
    assert scene.compare(10, 14, 14) == "peer0"
    assert scene.compare(10, 18, 18) == "peer1"
    assert scene.told() == [("peer1", False, 4)]


def test_one_organisations_word_moves_nobody(scene: Scene) -> None:
    scene.compare(10, 10, 10)
    for height in (10**9, 10**9 + 1, 10**9 + 2):
        assert scene.compare(10, height, 10) == "peer0"
    assert scene.told() == []


def test_a_quiet_network_moves_nobody(scene: Scene) -> None:
    for _ in range(5):
        assert scene.compare(10, 10, 10) == "peer0"


def test_with_nobody_serving_nothing_changes(scene: Scene) -> None:
    scene.compare(10, 10, 10)
    assert scene.compare(None, None, None) == "peer0"
    assert scene.told() == []


def test_a_peer_that_answers_but_failed_a_call_is_returned_to_later_and_is_no_news(
    scene: Scene,
) -> None:
    scene.compare(10, 10, 10)
    assert scene.peers.failed(scene.peers.links[0])
    scene.watch.compare()
    assert scene.peers.current.name == "peer1"
    assert scene.compare(10, 10, 10) == "peer0"
    assert scene.told() == []


def test_when_all_have_failed_the_preferred_one_is_asked_again(scene: Scene) -> None:
    scene.compare(10, 10, 10)
    for link in scene.peers.links:
        scene.peers.failed(link)
    scene.watch.compare()
    assert scene.peers.current.name == "peer0"


def test_of_two_calls_that_fail_at_once_one_moves(scene: Scene) -> None:
    first, second, _ = scene.peers.links
    assert scene.peers.failed(first)
    assert scene.peers.failed(first)  # the other call's; another peer is asked already
    assert scene.peers.current is second


def test_a_single_peer_is_kept() -> None:
    link = Link("only", "Org1MSP", None)  # type: ignore[arg-type]
    peers = Peers([link], monotonic=lambda: 0.0)
    assert not peers.failed(link)
    assert peers.current is link
    watch = PeerWatch(peers, lambda links: {}, monotonic=lambda: 0.0)
    watch.start()
    watch.stop()


def test_nobody_to_ask() -> None:
    with pytest.raises(ValueError, match="no peer"):
        Peers([], monotonic=lambda: 0.0)


def test_the_watch_compares_at_once_after_a_failure() -> None:
    links = [Link(f"peer{i}", f"Org{i}", None) for i in range(2)]  # type: ignore[arg-type]
    peers = Peers(links, monotonic=SystemClock().monotonic)
    moved = threading.Event()
    watch = PeerWatch(
        peers,
        lambda asked: {links[1]: 3},
        monotonic=SystemClock().monotonic,
        on_move=lambda move: moved.set(),
    )
    watch.start()
    peers.failed(links[0])
    assert moved.wait(60)
    watch.stop()
