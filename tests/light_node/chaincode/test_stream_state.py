"""State over state calls: batches within their bounds, each key once, ranges closed early."""

from typing import Any

import pytest
from google.protobuf.message import Message

from light_node.chaincode import state
from light_node.chaincode.state import Batching, StateKeyError, StreamState
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import peer_pb2, queryresult_pb2

M = peer_pb2.ChaincodeMessage
W = peer_pb2.WriteRecord


class Peer:
    """Answers state calls from a dictionary and keeps what was asked."""

    def __init__(self, values: dict[str, bytes] | None = None, page: int = 2) -> None:
        self.values = values or {}
        self.page = page
        self.asked: list[tuple[int, Any]] = []
        self._open: list[tuple[str, bytes]] = []

    def ask(self, kind: M.Type, request: Message) -> bytes:
        self.asked.append((kind, request))
        if kind == M.GET_STATE:
            return self.values.get(request.key, b"")  # type: ignore[attr-defined]
        if kind == M.GET_STATE_MULTIPLE:
            found = [self.values.get(key, b"") for key in request.keys]  # type: ignore[attr-defined]
            return peer_pb2.GetStateMultipleResult(values=found).SerializeToString()
        if kind == M.GET_STATE_BY_RANGE:
            self._open = sorted(self.values.items())
        if kind in (M.GET_STATE_BY_RANGE, M.QUERY_STATE_NEXT):
            shown, self._open = self._open[: self.page], self._open[self.page :]
            answer = peer_pb2.QueryResponse(id="q", has_more=bool(self._open))
            for key, value in shown:
                kv = queryresult_pb2.KV(key=key, value=value)
                answer.results.add(resultBytes=kv.SerializeToString())
            return answer.SerializeToString()
        return b""

    @property
    def kinds(self) -> list[int]:
        return [kind for kind, _ in self.asked]


def test_a_batch_holds_as_many_writes_as_the_peer_allows_and_each_key_once() -> None:
    peer = Peer()
    written = StreamState(peer.ask, Batching(writes=3))
    for number in range(7):
        written.put(f"k{number}", b"old")
        written.put(f"k{number}", b"v%d" % number)
    written.delete("k2")
    written.put("k3", b"")
    written.flush()
    batches = [[(r.key, r.value, r.type) for r in request.rec] for _, request in peer.asked]
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert [record for batch in batches for record in batch] == [
        ("k0", b"v0", W.PUT_STATE),
        ("k1", b"v1", W.PUT_STATE),
        ("k2", b"", W.DEL_STATE),
        ("k3", b"", W.DEL_STATE),
        ("k4", b"v4", W.PUT_STATE),
        ("k5", b"v5", W.PUT_STATE),
        ("k6", b"v6", W.PUT_STATE),
    ]


def test_a_batch_is_never_much_larger_than_one_message_should_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "_MAX_BATCH_BYTES", 100)
    peer = Peer()
    written = StreamState(peer.ask, Batching(writes=1000))
    for key, size in (("a", 60), ("b", 60), ("c", 300), ("d", 10), ("e", 10)):
        written.put(key, bytes(size))
    written.flush()
    assert [[r.key for r in request.rec] for _, request in peer.asked] == [
        ["a"],
        ["b"],
        ["c"],
        ["d", "e"],
    ]


def test_without_batches_every_write_is_a_call_and_a_second_flush_sends_nothing() -> None:
    peer = Peer()
    written = StreamState(peer.ask, Batching())
    written.put("a", b"1")
    written.delete("b")
    written.flush()
    written.flush()
    assert peer.kinds == [M.PUT_STATE, M.DEL_STATE]


def test_prefetching_asks_for_each_key_once_in_parts_the_peer_allows() -> None:
    peer = Peer({"a": b"1", "c": b"3"})
    read = StreamState(peer.ask, Batching(reads=2))
    assert read.get("a") == b"1"
    read.prefetch(["a", "b", "c", "b", "d"])
    assert [read.get(key) for key in "abcd"] == [b"1", None, b"3", None]
    assert peer.kinds == [M.GET_STATE, M.GET_STATE_MULTIPLE, M.GET_STATE_MULTIPLE]
    assert [list(request.keys) for _, request in peer.asked[1:]] == [["b", "c"], ["d"]]


def test_prefetching_without_batches_asks_for_nothing() -> None:
    peer = Peer({"a": b"1"})
    read = StreamState(peer.ask, Batching())
    read.prefetch(["a", "b"])
    assert peer.kinds == []
    assert read.get("a") == b"1"


def test_a_range_left_early_can_be_closed() -> None:
    peer = Peer(dict.fromkeys("abcde", b"v"))
    entries = StreamState(peer.ask, Batching()).range("a", "z")
    assert next(entries) == ("a", b"v")
    entries.close()
    entries.close()
    assert list(entries) == []
    assert peer.kinds == [M.GET_STATE_BY_RANGE, M.QUERY_STATE_CLOSE]
    assert peer.asked[-1][1].id == "q"


def test_a_range_read_to_its_end_needs_no_closing() -> None:
    peer = Peer(dict.fromkeys("abc", b"v"))
    entries = StreamState(peer.ask, Batching()).range("", "z")
    assert [key for key, _ in entries] == ["a", "b", "c"]
    entries.close()
    assert peer.kinds == [M.GET_STATE_BY_RANGE, M.QUERY_STATE_NEXT]
    assert peer.asked[0][1].startKey == "\x01"  # the first simple key


@pytest.mark.parametrize("key", ["", "half of a pair \ud800"])
def test_a_key_fabric_refuses_is_not_sent(key: str) -> None:
    peer = Peer()
    refused = StreamState(peer.ask, Batching(reads=10))
    for use in (refused.get, refused.delete, lambda k: refused.put(k, b"v")):
        with pytest.raises(StateKeyError):
            use(key)
    with pytest.raises(StateKeyError):
        refused.prefetch([key, "good"])
    assert peer.kinds == []


def test_what_ready_offers() -> None:
    both = peer_pb2.ChaincodeAdditionalParams(
        use_write_batch=True, max_size_write_batch=7,
        use_get_multiple_keys=True, max_size_get_multiple_keys=9,
    )  # fmt: skip
    assert Batching.offered(both.SerializeToString()) == Batching(7, 9)
    both.use_write_batch = both.use_get_multiple_keys = False
    assert Batching.offered(both.SerializeToString()) == Batching()
    assert Batching.offered(b"") == Batching.offered(b"\xff\xff") == Batching()


def test_an_entry_that_cannot_be_read_is_said() -> None:
    answer = peer_pb2.QueryResponse()
    answer.results.add(resultBytes=b"\xff\xff")
    entries = StreamState(lambda *_: answer.SerializeToString(), Batching()).range("a", "b")
    with pytest.raises(MalformedMessage):
        next(entries)
