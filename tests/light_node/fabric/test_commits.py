"""One stream of filtered blocks for many transactions under way: what it tells and what not."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import pytest

from light_node.clock import SystemClock
from light_node.fabric import commits
from light_node.fabric.commit import CommitStatus
from light_node.fabric.commits import CommitBoard
from light_node.fabric.connection import connect
from light_node.fabric.errors import CommitConflict
from light_node.fabric.gateway import Deadlines, Gateway, Result
from light_node.fabric.pb import peer_pb2
from light_node.fabric.peers import Link, Peers
from light_node.fabric.transaction import parse_transaction

CODE = grpc.StatusCode
PATIENT = Deadlines(evaluate=40, endorse=40, submit=40, commit=60, probe=20, resubmit=30)
MANY = 8


def block(number: int, **codes: int) -> peer_pb2.FilteredBlock:
    return peer_pb2.FilteredBlock(
        number=number,
        filtered_transactions=[
            peer_pb2.FilteredTransaction(
                txid=name, tx_validation_code=peer_pb2.TxValidationCode.Name(code)
            )
            for name, code in codes.items()
        ],
    )


# -- the board -------------------------------------------------------------------------------------


@pytest.fixture
def board() -> CommitBoard:
    return CommitBoard()


def test_a_block_tells_whoever_expects_one_of_its_transactions(board: CommitBoard) -> None:
    told: dict[str, CommitStatus | None] = {}
    for name in ("a", "b", "c"):
        board.expect(name, partial(told.__setitem__, name))
    board.note(block(5, a=0, b=11, unknown=0))
    assert told == {"a": CommitStatus(0, 5), "b": CommitStatus(11, 5)}
    board.note(block(6, a=11, c=0))  # only the first time counts
    assert told["a"] == CommitStatus(0, 5)
    assert told["c"] == CommitStatus(0, 6)


def test_a_duplicate_says_nothing_of_the_transaction_itself(board: CommitBoard) -> None:
    told: list[Any] = []
    board.expect("a", told.append)
    board.note(block(5, a=peer_pb2.DUPLICATE_TXID))
    assert told == [None]


def test_what_is_forgotten_is_not_told(board: CommitBoard) -> None:
    told: list[Any] = []
    board.expect("a", told.append)
    board.forget("a")
    board.note(block(5, a=0))
    board.close()
    assert told == []


def test_a_closed_board_sends_everybody_away(board: CommitBoard) -> None:
    told: list[Any] = []
    board.expect("a", told.append)
    board.close()
    board.expect("b", told.append)
    assert told == [None, None]


def test_a_board_holds_a_bounded_number(
    board: CommitBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "_MOST_EXPECTED", 2)
    told: dict[str, CommitStatus | None] = {}
    for name in ("a", "b", "c"):
        board.expect(name, partial(told.__setitem__, name))
    assert told == {"a": None}


# -- a gateway with many under way -----------------------------------------------------------------


@pytest.fixture
def peers(peer: Any, tls: Any) -> Iterator[Peers]:
    channel = connect(peer.address, tls.root_pem)
    yield Peers([Link("peer0", "Org1MSP", channel)], monotonic=SystemClock().monotonic)
    channel.close()


@pytest.fixture
def gateway(peers: Peers, consortium: Any) -> Iterator[Gateway]:
    made = Gateway(
        peers, consortium.client, "market", SystemClock(), policy=consortium.majority,
        deadlines=PATIENT,
    )  # fmt: skip
    yield made
    made.close()


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came")


def commit_all(peer: Any, code: int = 0, block: int = 7) -> None:
    for made in list(peer.submitted):
        peer.commit(parse_transaction(made).transaction_id, code, block)


def submissions(pool: ThreadPoolExecutor, gateway: Gateway) -> list["Future[Result]"]:
    return [pool.submit(gateway.submit_transaction, "market", "f") for _ in range(MANY)]


@pytest.fixture
def busy(gateway: Gateway, peer: Any) -> Iterator[ThreadPoolExecutor]:
    """A pool for submissions at a gateway that had many under way: its stream is open."""
    peer.commit_on_submit = False
    with ThreadPoolExecutor(MANY) as pool:
        first = submissions(pool, gateway)
        wait_until(lambda: peer.calls.count("commit status") == MANY)
        wait_until(lambda: gateway._commits._board is not None)
        commit_all(peer)
        assert {result.result(40).block_number for result in first} == {7}
        peer.submitted.clear()
        peer.calls.clear()
        yield pool


def test_a_single_transaction_is_asked_for_by_itself(gateway: Gateway, peer: Any) -> None:
    gateway.submit_transaction("market", "f")
    assert peer.calls.count("commit status") == 1
    assert peer.seeks == []


def test_many_at_once_are_told_by_one_stream(
    busy: ThreadPoolExecutor, gateway: Gateway, peer: Any
) -> None:
    found = submissions(busy, gateway)
    wait_until(lambda: len(peer.submitted) == MANY)
    commit_all(peer, block=8)
    assert {result.result(40).block_number for result in found} == {8}
    assert "commit status" not in peer.calls
    assert [kind for kind, _ in peer.seeks] == ["filtered"]
    assert not gateway._commits._tickets


def test_the_stream_tells_of_transactions_that_ended_invalid(
    busy: ThreadPoolExecutor, gateway: Gateway, peer: Any
) -> None:
    found = submissions(busy, gateway)
    wait_until(lambda: len(peer.submitted) == MANY)
    commit_all(peer, code=peer_pb2.MVCC_READ_CONFLICT)
    for result in found:
        with pytest.raises(CommitConflict):
            result.result(40)
    assert "commit status" not in peer.calls


def test_a_stream_that_keeps_silent_is_not_waited_for(
    busy: ThreadPoolExecutor, gateway: Gateway, peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("light_node.fabric.gateway._STATUS_SLICE_S", 0.05)
    peer.mute = peer.commit_on_submit = True
    assert gateway.submit_transaction("market", "f").block_number == 7
    assert peer.calls.count("commit status") == 1


def test_after_a_failed_submit_the_stream_is_not_believed(
    busy: ThreadPoolExecutor, gateway: Gateway, peer: Any, kit: Any
) -> None:

    def cut(context: grpc.ServicerContext) -> None:
        commit_all(peer)
        context.abort(CODE.UNAVAILABLE, "socket closed")

    peer.scripts["submit"] = [cut]
    assert gateway.submit_transaction("market", "f").block_number == 7
    assert len(peer.submitted) == 1
    assert peer.calls.count("commit status") == 1


def test_what_was_submitted_before_the_stream_is_asked_for(
    busy: ThreadPoolExecutor, gateway: Gateway, peer: Any
) -> None:
    peer.commit("aa" * 32, block=3)
    assert gateway.commit_status("aa" * 32, 40).block_number == 3
    assert peer.calls == ["commit status"]


def test_when_the_stream_ends_all_ask_for_themselves(
    busy: ThreadPoolExecutor, gateway: Gateway, peer: Any
) -> None:
    found = submissions(busy, gateway)
    wait_until(lambda: len(peer.submitted) == MANY)
    gateway._commits._call.cancel()
    wait_until(lambda: peer.calls.count("commit status") == MANY)
    commit_all(peer)
    assert {result.result(40).block_number for result in found} == {7}


def test_a_peer_that_refuses_the_stream_is_not_asked_again_and_again(
    gateway: Gateway, peer: Any, kit: Any
) -> None:
    peer.scripts["filtered"] = [kit.Failure(CODE.PERMISSION_DENIED, "no")] * 100
    with ThreadPoolExecutor(MANY) as pool:
        for _ in range(3):
            assert all(result.result(40).payload for result in submissions(pool, gateway))
    assert peer.calls.count("filtered") <= 1
    assert peer.calls.count("commit status") == 3 * MANY


def test_closing_ends_the_stream_and_opens_no_other(
    busy: ThreadPoolExecutor, gateway: Gateway, peer: Any
) -> None:
    found = submissions(busy, gateway)
    # Closed before it asks, a submission would end as OutcomeUnknown.
    wait_until(lambda: gateway._commits._waiting == MANY)
    gateway.close()
    wait_until(lambda: peer.calls.count("commit status") == MANY)
    assert gateway._commits._board is None
    commit_all(peer)  # the connection is its owner's: calls that began go on
    assert {result.result(40).block_number for result in found} == {7}
    assert len(peer.seeks) == 1
