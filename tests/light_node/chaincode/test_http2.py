"""One HTTP/2 connection: what a client may send, what it gets, and what ends it."""

import itertools
from typing import Any

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.chaincode import http2
from light_node.chaincode.http2 import Connection, ConnectionFault, Opened, Received, Reset

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"peer"),
    (b":path", b"/x"),
    (b"content-type", b"application/grpc"),
)
ANSWER = ((b":status", b"200"),)
STATUS = ((b"grpc-status", b"0"),)
FIRST = 65_535


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def settings(**values: int) -> bytes:
    numbers = {"window": 4, "frame": 5}
    payload = b"".join(
        numbers[name].to_bytes(2, "big") + value.to_bytes(4, "big")
        for name, value in values.items()
    )
    return frame(SETTINGS, 0, 0, payload)


def coded(headers: Any = REQUEST) -> bytes:
    return bytes(hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*h) for h in headers]))


def request(stream: int = 1, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, coded())


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        stream = int.from_bytes(data[5:9], "big")
        found.append((data[3], data[4], stream, data[9 : 9 + length]))
        data = data[9 + length :]
    return found


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


@pytest.fixture
def fresh() -> Connection:
    return Connection()


@pytest.fixture
def opened(fresh: Connection) -> Connection:
    """A connection with stream 1 open and everything sent so far taken."""
    assert fresh.receive(PREFACE + settings() + request()) == [Opened(1, REQUEST, False)]
    fresh.take()
    return fresh


def test_the_server_introduces_itself_and_acknowledges(fresh: Connection) -> None:
    first, more = frames(fresh.take())
    assert first[0] == SETTINGS
    assert more == (WINDOW_UPDATE, 0, 0, (http2.CONNECTION_WINDOW - FIRST).to_bytes(4, "big"))
    fresh.receive(PREFACE)
    before = fresh.settled
    fresh.receive(settings())
    assert (before, fresh.settled) == (False, True)
    assert frames(fresh.take()) == [(SETTINGS, ACK, 0, b"")]


def test_a_ping_is_answered_and_one_can_be_sent(opened: Connection) -> None:
    opened.receive(frame(PING, 0, 0, b"12345678"))
    assert frames(opened.take()) == [(PING, ACK, 0, b"12345678")]
    opened.ping()
    assert frames(opened.take()) == [(PING, 0, 0, bytes(8))]
    opened.receive(frame(PING, ACK, 0, bytes(8)))
    assert opened.take() == b""


def test_a_conversation(opened: Connection) -> None:
    assert opened.receive(frame(DATA, 0, 1, b"ab")) == [Received(1, b"ab", False)]
    opened.respond(1, ANSWER)
    opened.send(1, b"cd")
    opened.finish(1, STATUS)
    kinds = frames(opened.take())
    assert [(kind, flags) for kind, flags, _, _ in kinds] == [
        (HEADERS, END_HEADERS),
        (DATA, 0),
        (HEADERS, END_HEADERS | END_STREAM),
        (RST_STREAM, 0),  # the client has not ended its half
    ]
    assert kinds[1][3] == b"cd"
    # What comes late means nothing.
    assert opened.receive(frame(DATA, 0, 1, b"late") + window_update(1, 5)) == []
    opened.send(1, b"too late")
    opened.finish(1, STATUS)
    assert all(kind == RST_STREAM for kind, _, _, _ in frames(opened.take()))


def test_padding_priority_and_continuation_are_taken_off(fresh: Connection) -> None:
    block, flags = coded(), PADDED | WITH_PRIORITY
    start = frame(HEADERS, flags, 3, b"\x02" + bytes(5) + block[:7] + bytes(2))
    rest = frame(CONTINUATION, END_HEADERS, 3, block[7:])
    data = frame(DATA, PADDED | END_STREAM, 3, b"\x03abc" + bytes(3))
    found = fresh.receive(PREFACE + settings() + start + rest + data)
    assert found == [Opened(3, REQUEST, False), Received(3, b"abc", True)]


def test_a_client_ends_its_half(opened: Connection) -> None:
    trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, coded(STATUS))
    assert opened.receive(trailers) == [Received(1, b"", True)]
    opened.finish(1, (*ANSWER, *STATUS))
    assert [kind for kind, _, _, _ in frames(opened.take())] == [HEADERS]


def test_data_waits_for_the_clients_windows(opened: Connection) -> None:
    data = bytes(range(256)) * 400
    opened.respond(1, ANSWER)
    opened.take()
    opened.send(1, data)
    opened.finish(1, STATUS)
    sent = frames(opened.take())
    assert [len(payload) for _, _, _, payload in sent] == [16_384] * 3 + [16_383]
    assert opened.waiting(1) == 1
    opened.receive(window_update(1, 30_000))
    assert opened.take() == b""  # the connection's window is closed still
    opened.receive(window_update(0, 2**30))
    sent += frames(opened.take())
    assert sum(len(payload) for _, _, _, payload in sent) == FIRST + 30_000
    opened.receive(window_update(1, 2**30))
    sent += frames(opened.take())
    assert b"".join(p for kind, _, _, p in sent if kind == DATA) == data
    assert sent[-2][:2] == (HEADERS, END_HEADERS | END_STREAM)


def test_a_new_first_window_counts_for_open_streams(opened: Connection) -> None:
    opened.respond(1, ANSWER)
    opened.send(1, bytes(FIRST))
    opened.receive(window_update(0, 1_000) + settings(window=FIRST - 10))
    opened.send(1, b"x" * 20)
    opened.take()
    opened.receive(window_update(1, 9))
    assert opened.take() == b""
    opened.receive(settings(window=FIRST))
    assert b"x" * 9 in [p for kind, _, _, p in frames(opened.take()) if kind == DATA]


def test_larger_frames_are_sent_to_who_takes_them(opened: Connection) -> None:
    opened.respond(1, ANSWER)
    opened.receive(settings(frame=60_000))
    opened.take()
    opened.send(1, bytes(50_000))
    assert len(frames(opened.take())) == 1


def test_an_end_at_once_drops_what_waits(opened: Connection) -> None:
    opened.respond(1, ANSWER)
    opened.send(1, bytes(100_000))
    opened.take()
    opened.finish(1, STATUS, at_once=True)
    assert [kind for kind, _, _, _ in frames(opened.take())] == [HEADERS, RST_STREAM]


def test_the_client_is_given_room_as_it_sends(opened: Connection) -> None:
    for _ in range(1_000):  # 16 MB through a window of 1 MB
        assert opened.receive(frame(DATA, 0, 1, bytes(16_384)))
    given_to = {stream for kind, _, stream, _ in frames(opened.take()) if kind == WINDOW_UPDATE}
    assert given_to == {0, 1}


def test_a_reset_is_told_and_a_second_one_ignored(opened: Connection) -> None:
    reset = frame(RST_STREAM, 0, 1, (8).to_bytes(4, "big"))
    assert opened.receive(reset) == [Reset(1, 8)]
    assert opened.receive(reset) == []


def test_data_after_the_end_is_not_passed_on(opened: Connection) -> None:
    told = opened.receive(frame(DATA, END_STREAM, 1) + frame(DATA, 0, 1, b"x"))
    assert told == [Received(1, b"", True), Reset(1, 5)]
    assert opened.receive(frame(DATA, 0, 1, b"x")) == []


def test_room_given_to_a_stream_that_is_reset_in_the_same_breath(opened: Connection) -> None:
    opened.respond(1, ANSWER)
    opened.send(1, bytes(100_000))
    opened.take()
    reset = frame(RST_STREAM, 0, 1, (8).to_bytes(4, "big"))
    told = opened.receive(window_update(0, 1_000_000) + window_update(1, 1_000_000) + reset)
    assert told == [Reset(1, 8)]
    assert opened.waiting(1) == 0


def test_what_is_sent_to_streams_that_never_were_is_dropped(opened: Connection) -> None:
    opened.respond(7, ANSWER)
    opened.send(7, b"x")
    opened.finish(7, STATUS)
    assert opened.take() == b""


def test_nothing_follows_a_goodbye(opened: Connection) -> None:
    opened.goodbye()
    opened.send(1, b"x")
    opened.finish(1, STATUS)
    assert [kind for kind, _, _, _ in frames(opened.take())] == [GOAWAY]


def test_a_clients_goodbye_ends_the_connection(opened: Connection) -> None:
    with pytest.raises(ConnectionFault, match="goodbye"):
        opened.receive(frame(GOAWAY, 0, 0, bytes(8)))


FAULTS: dict[str, bytes] = {
    "data of no stream": frame(DATA, 0, 9, b"x"),
    "data of stream 0": frame(DATA, 0, 0, b"x"),
    "padding longer than the frame": frame(DATA, PADDED, 1, b"\x05abc"),
    "a frame too large": (2**20).to_bytes(3, "big") + bytes(6) + bytes(2**20),
    "a short ping": frame(PING, 0, 0, b"123"),
    "settings of half an entry": frame(SETTINGS, 0, 0, bytes(4)),
    "settings of a stream": frame(SETTINGS, 0, 1),
    "a window too large": settings(window=2**31),
    "frames too small": settings(frame=100),
    "the connection's window widened by nothing": window_update(0, 0),
    "the connection's window beyond the limit": window_update(0, 2**31 - 1),
    "a promise": frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)),
    "an even stream": request(2),
    "headers in mid-stream": request(1),
    "a damaged block": frame(HEADERS, END_HEADERS, 3, b"\x80"),
    "a block interrupted": request(3, 0) + frame(PING, 0, 0, bytes(8)),
    "a block continued elsewhere": request(3, 0) + frame(CONTINUATION, 0, 5, b"x"),
    "nothing to continue": frame(CONTINUATION, 0, 1, b"x"),
    "a block without end": request(3, 0) + frame(CONTINUATION, 0, 3) * 100,
    "headers too long": frame(HEADERS, END_HEADERS, 3, coded((*REQUEST, (b"a", b"b" * 17_000)))),
    "streams without end": b"".join(request(3 + 2 * n) for n in range(http2.MAX_STREAMS)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_end_the_connection(opened: Connection, name: str) -> None:
    with pytest.raises(ConnectionFault) as fault:
        opened.receive(FAULTS[name])
    kind, _, _, payload = frames(opened.take())[-1]
    assert kind == GOAWAY
    assert payload[4:8] == fault.value.code.to_bytes(4, "big") != bytes(4)


def test_more_data_than_the_window_allows_ends_the_connection(opened: Connection) -> None:
    too_much = frame(DATA, 0, 1, bytes(16_384)) * (http2.STREAM_WINDOW // 16_384 + 1)
    with pytest.raises(ConnectionFault):
        opened.receive(too_much)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"PRI * X"])
def test_what_is_not_http2_is_noticed_at_once(fresh: Connection, data: bytes) -> None:
    with pytest.raises(ConnectionFault):
        fresh.receive(data)


TALK = (
    PREFACE
    + settings(window=1_000)
    + request(1)
    + frame(DATA, 0, 1, b"abc" * 50)
    + frame(PING, 0, 0, bytes(8))
    + request(3)
    + frame(DATA, END_STREAM, 3, b"z")
    + frame(RST_STREAM, 0, 1, bytes(4))
)


@given(st.lists(st.integers(0, len(TALK)), max_size=12))
def test_how_the_bytes_are_cut_makes_no_difference(places: list[int]) -> None:
    whole, cut, found = Connection(), Connection(), []
    bounds = [0, *sorted(places), len(TALK)]
    for start, end in itertools.pairwise(bounds):
        found += cut.receive(TALK[start:end])
    assert found == whole.receive(TALK)
    assert cut.take() == whole.take()


@given(st.data())
def test_damage_is_a_fault_or_nothing(data: Any) -> None:
    """Random frames and damaged ones: no other exception, whatever the server answers."""
    one = st.builds(
        frame,
        st.integers(0, 10),
        st.integers(0, 255),
        st.sampled_from([0, 1, 3, 5, 2**31 - 1]),
        st.binary(max_size=60) | st.just(coded()),
    )
    talk = bytearray(TALK[: len(PREFACE) + 15] + b"".join(data.draw(st.lists(one, max_size=20))))
    for place in data.draw(st.lists(st.integers(len(PREFACE), len(talk) - 1), max_size=3)):
        talk[place] ^= data.draw(st.integers(1, 255))
    size = data.draw(st.integers(1, len(talk)))
    connection = Connection()
    try:
        for at in range(0, len(talk), size):
            for event in connection.receive(bytes(talk[at : at + size])):
                if isinstance(event, Opened):
                    connection.respond(event.stream, ANSWER)
                    connection.send(event.stream, b"x" * 100)
                elif isinstance(event, Received):
                    connection.finish(event.stream, STATUS)
    except ConnectionFault:
        connection.take()
    connection.goodbye()
    connection.take()
