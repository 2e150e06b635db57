"""One HTTP/2 connection: what a client may send, what it gets, and what ends it."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.http2 import connection as h2
from light_node.http2 import hpack
from light_node.http2.connection import Connection, ConnectionFault, Opened, Received, Reset

REQUEST = ((b":method", b"POST"), (b":path", b"/x"), (b"content-type", b"application/grpc"))
ANSWER = ((b":status", b"200"),)
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
    return frame(h2.SETTINGS, 0, 0, payload)


def request(stream: int = 1, flags: int = h2.END_HEADERS) -> bytes:
    return frame(h2.HEADERS, flags, stream, hpack.encode(REQUEST))


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        stream = int.from_bytes(data[5:9], "big")
        found.append((data[3], data[4], stream, data[9 : 9 + length]))
        data = data[9 + length :]
    return found


def window_update(stream: int, more: int) -> bytes:
    return frame(h2.WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


@pytest.fixture
def fresh() -> Connection:
    return Connection()


@pytest.fixture
def opened(fresh: Connection) -> Connection:
    """A connection with stream 1 open and everything sent so far taken."""
    assert fresh.receive(h2.PREFACE + settings() + request()) == [Opened(1, REQUEST, False)]
    fresh.take()
    return fresh


def test_the_server_introduces_itself_and_acknowledges(fresh: Connection) -> None:
    first, more = frames(fresh.take())
    assert first[0] == h2.SETTINGS
    assert more == (h2.WINDOW_UPDATE, 0, 0, (h2.CONNECTION_WINDOW - FIRST).to_bytes(4, "big"))
    fresh.receive(h2.PREFACE)
    before = fresh.settled
    fresh.receive(settings())
    assert (before, fresh.settled) == (False, True)
    assert frames(fresh.take()) == [(h2.SETTINGS, h2.ACK, 0, b"")]


def test_a_ping_is_answered(opened: Connection) -> None:
    opened.receive(frame(h2.PING, 0, 0, b"12345678"))
    assert frames(opened.take()) == [(h2.PING, h2.ACK, 0, b"12345678")]
    opened.receive(frame(h2.PING, h2.ACK, 0, b"12345678"))
    assert opened.take() == b""


def test_a_conversation(opened: Connection) -> None:
    assert opened.receive(frame(h2.DATA, 0, 1, b"ab")) == [Received(1, b"ab", False)]
    opened.respond(1, ANSWER)
    opened.send(1, b"cd")
    opened.finish(1, ((b"grpc-status", b"0"),))
    kinds = frames(opened.take())
    assert [(kind, flags) for kind, flags, _, _ in kinds] == [
        (h2.HEADERS, h2.END_HEADERS),
        (h2.DATA, 0),
        (h2.HEADERS, h2.END_HEADERS | h2.END_STREAM),
        (h2.RST_STREAM, 0),  # the client has not ended its half
    ]
    assert kinds[1][3] == b"cd"
    # What comes late means nothing.
    assert opened.receive(frame(h2.DATA, 0, 1, b"late") + window_update(1, 5)) == []
    opened.send(1, b"too late")
    opened.finish(1, ())
    assert opened.take() == b""


def test_padding_priority_and_continuation_are_taken_off(fresh: Connection) -> None:
    block = hpack.encode(REQUEST)
    flags = h2.PADDED | h2.WITH_PRIORITY
    start = frame(h2.HEADERS, flags, 3, b"\x02" + bytes(5) + block[:7] + bytes(2))
    rest = frame(h2.CONTINUATION, h2.END_HEADERS, 3, block[7:])
    data = frame(h2.DATA, h2.PADDED | h2.END_STREAM, 3, b"\x03abc" + bytes(3))
    found = fresh.receive(h2.PREFACE + settings() + start + rest + data)
    assert found == [Opened(3, REQUEST, False), Received(3, b"abc", True)]


def test_trailers_of_a_client_end_its_half(opened: Connection) -> None:
    trailers = frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, hpack.encode(ANSWER))
    assert opened.receive(trailers) == [Received(1, b"", True)]


def test_data_waits_for_the_clients_windows(opened: Connection) -> None:
    data = bytes(range(256)) * 400
    opened.send(1, data)
    opened.finish(1, ANSWER)
    sent = frames(opened.take())
    assert [len(payload) for _, _, _, payload in sent] == [16_384] * 3 + [16_383]
    assert opened.waiting(1) == 1
    opened.receive(window_update(1, 30_000))
    assert opened.take() == b""  # the connection's window is closed still
    opened.receive(window_update(0, 2**31 - 1))
    sent += frames(opened.take())
    assert sum(len(payload) for _, _, _, payload in sent) == FIRST + 30_000
    opened.receive(window_update(1, 2**30))
    sent += frames(opened.take())
    assert b"".join(p for kind, _, _, p in sent if kind == h2.DATA) == data
    assert sent[-2][:2] == (h2.HEADERS, h2.END_HEADERS | h2.END_STREAM)


def test_a_new_first_window_counts_for_open_streams(opened: Connection) -> None:
    opened.send(1, bytes(FIRST))
    opened.take()
    opened.receive(window_update(0, 1_000) + settings(window=FIRST - 10))
    opened.send(1, b"x" * 20)
    opened.take()
    opened.receive(window_update(1, 9))
    assert opened.take() == b""
    opened.receive(window_update(1, 11))
    assert [p for _, _, _, p in frames(opened.take())] == [b"x" * 10]


def test_larger_frames_are_sent_to_who_takes_them(opened: Connection) -> None:
    opened.receive(settings(frame=60_000))
    opened.take()
    opened.send(1, bytes(50_000))
    assert len(frames(opened.take())) == 1


def test_an_end_at_once_drops_what_waits(opened: Connection) -> None:
    opened.send(1, bytes(100_000))
    opened.take()
    opened.finish(1, ANSWER, at_once=True)
    assert [kind for kind, _, _, _ in frames(opened.take())] == [h2.HEADERS, h2.RST_STREAM]


def test_the_client_is_given_room_as_it_sends(opened: Connection) -> None:
    for _ in range(1_000):  # 16 MB through a window of 1 MB
        assert opened.receive(frame(h2.DATA, 0, 1, bytes(16_384)))
    given_to = {stream for kind, _, stream, _ in frames(opened.take()) if kind == h2.WINDOW_UPDATE}
    assert given_to == {0, 1}


def test_a_reset_is_told_and_a_second_one_ignored(opened: Connection) -> None:
    reset = frame(h2.RST_STREAM, 0, 1, h2.CANCEL.to_bytes(4, "big"))
    assert opened.receive(reset) == [Reset(1, h2.CANCEL)]
    assert opened.receive(reset) == []


def test_streams_beyond_the_limit_are_refused(opened: Connection) -> None:
    for number in range(h2.MAX_STREAMS - 1):
        assert opened.receive(request(3 + 2 * number))
    one_more = 3 + 2 * h2.MAX_STREAMS
    assert opened.receive(request(one_more)) == []
    assert frames(opened.take()) == [
        (h2.RST_STREAM, 0, one_more, h2.REFUSED_STREAM.to_bytes(4, "big"))
    ]
    opened.reset(1, h2.CANCEL)
    assert opened.receive(request(one_more + 2))


def test_unknown_kinds_of_frames_mean_nothing(opened: Connection) -> None:
    assert opened.receive(frame(0x42, 0xFF, 1, b"?") + frame(h2.PRIORITY, 0, 1, bytes(5))) == []


FAULTS: dict[str, tuple[bytes, int]] = {
    "data of no stream": (frame(h2.DATA, 0, 9, b"x"), h2.PROTOCOL_ERROR),
    "data of stream 0": (frame(h2.DATA, 0, 0, b"x"), h2.PROTOCOL_ERROR),
    "data after the end": (frame(h2.DATA, h2.END_STREAM, 1) * 2, h2.STREAM_CLOSED),
    "padding longer than the frame": (
        frame(h2.DATA, h2.PADDED, 1, b"\x05abc"),
        h2.PROTOCOL_ERROR,
    ),
    "a frame too large": ((2**20).to_bytes(3, "big") + bytes(6), h2.FRAME_SIZE_ERROR),
    "a short ping": (frame(h2.PING, 0, 0, b"123"), h2.FRAME_SIZE_ERROR),
    "settings of half an entry": (frame(h2.SETTINGS, 0, 0, bytes(4)), h2.FRAME_SIZE_ERROR),
    "settings of a stream": (frame(h2.SETTINGS, 0, 1), h2.FRAME_SIZE_ERROR),
    "a window too large": (settings(window=2**31), h2.FLOW_CONTROL_ERROR),
    "frames too small": (settings(frame=100), h2.PROTOCOL_ERROR),
    "a window widened by nothing": (window_update(1, 0), h2.FLOW_CONTROL_ERROR),
    "the connection's window widened by nothing": (window_update(0, 0), h2.FLOW_CONTROL_ERROR),
    "a window beyond the limit": (window_update(1, 2**31 - 1) * 2, h2.FLOW_CONTROL_ERROR),
    "a window of no stream": (window_update(9, 1), h2.PROTOCOL_ERROR),
    "a reset of no stream": (frame(h2.RST_STREAM, 0, 9, bytes(4)), h2.PROTOCOL_ERROR),
    "a short reset": (frame(h2.RST_STREAM, 0, 1, bytes(3)), h2.PROTOCOL_ERROR),
    "a promise": (frame(h2.PUSH_PROMISE, 0, 1, bytes(4)), h2.PROTOCOL_ERROR),
    "an even stream": (request(2), h2.PROTOCOL_ERROR),
    "headers in mid-stream": (request(1), h2.PROTOCOL_ERROR),
    "a cut priority": (frame(h2.HEADERS, h2.WITH_PRIORITY, 3, b"123"), h2.FRAME_SIZE_ERROR),
    "a damaged block": (frame(h2.HEADERS, h2.END_HEADERS, 3, b"\x80"), h2.COMPRESSION_ERROR),
    "a block interrupted": (request(3, 0) + frame(h2.PING, 0, 0, bytes(8)), h2.PROTOCOL_ERROR),
    "a block continued elsewhere": (
        request(3, 0) + frame(h2.CONTINUATION, 0, 5, b"x"),
        h2.PROTOCOL_ERROR,
    ),
    "nothing to continue": (frame(h2.CONTINUATION, 0, 1, b"x"), h2.PROTOCOL_ERROR),
    "a block without end": (
        request(3, 0) + frame(h2.CONTINUATION, 0, 3, bytes(6_000)) * 3,
        h2.ENHANCE_YOUR_CALM,
    ),
    "empty continuations": (request(3, 0) + frame(h2.CONTINUATION, 0, 3), h2.ENHANCE_YOUR_CALM),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_end_the_connection_with_their_code(opened: Connection, name: str) -> None:
    data, code = FAULTS[name]
    with pytest.raises(ConnectionFault) as fault:
        opened.receive(data)
    assert fault.value.code == code
    kind, _, _, payload = frames(opened.take())[-1]
    assert kind == h2.GOAWAY
    assert payload[4:8] == code.to_bytes(4, "big")


def test_more_data_than_the_window_allows_ends_the_connection(
    opened: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h2, "STREAM_WINDOW", 0)  # so that no more is given
    stream = opened._streams[1]
    stream.granted = 3
    opened.receive(frame(h2.DATA, 0, 1, b"abc"))
    with pytest.raises(ConnectionFault, match="window"):
        opened.receive(frame(h2.DATA, 0, 1, b"d"))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"PRI * X"])
def test_what_is_not_http2_is_noticed_at_once(fresh: Connection, data: bytes) -> None:
    with pytest.raises(ConnectionFault, match="not HTTP/2"):
        fresh.receive(data)


def test_settings_come_first(fresh: Connection) -> None:
    with pytest.raises(ConnectionFault, match="settings"):
        fresh.receive(h2.PREFACE + request())


TALK = (
    h2.PREFACE
    + settings(window=1_000)
    + request(1)
    + frame(h2.DATA, 0, 1, b"abc" * 50)
    + frame(h2.PING, 0, 0, bytes(8))
    + request(3)
    + frame(h2.DATA, h2.END_STREAM, 3, b"z")
    + frame(h2.RST_STREAM, 0, 1, bytes(4))
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
    """Random frames and damaged ones: no other exception, and no more out than comes in allows."""
    one = st.builds(
        frame,
        st.integers(0, 10),
        st.integers(0, 255),
        st.sampled_from([0, 1, 3, 5, 2**31 - 1]),
        st.binary(max_size=60) | st.just(hpack.encode(REQUEST)),
    )
    talk = bytearray(TALK[: len(h2.PREFACE) + 15] + b"".join(data.draw(st.lists(one, max_size=20))))
    for place in data.draw(st.lists(st.integers(len(h2.PREFACE), len(talk) - 1), max_size=3)):
        talk[place] ^= data.draw(st.integers(1, 255))
    connection = Connection()
    try:
        for event in connection.receive(bytes(talk)):
            if isinstance(event, Opened):
                connection.respond(event.stream, ANSWER)
                connection.send(event.stream, b"x" * 100)
                connection.finish(event.stream, ANSWER)
    except ConnectionFault:
        assert frames(connection.take())[-1][0] == h2.GOAWAY
    assert len(connection._streams) <= h2.MAX_STREAMS
