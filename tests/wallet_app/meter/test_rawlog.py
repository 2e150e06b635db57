"""Turns of a line: who spoke, when, and which request an answer belongs to."""

from datetime import UTC, datetime, timedelta

from wallet_app.meter.capture import pieces
from wallet_app.meter.rawlog import RawLog, Turn, turns_of


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 6, 21, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def test_pieces_become_turns_and_answers_know_their_request():
    clock, over = Hand(), list[Turn]()
    log = RawLog(clock, on_turn=over.append)
    for seconds, sent, data in (
        (0.0, True, b"ask"),
        (0.1, False, b"an"),
        (0.2, False, b"swer"),
        (1.0, False, b"late"),
        (1.1, True, b"again"),
    ):
        clock.seconds = seconds
        log(sent, data)
    assert [(t.sent, t.data, t.request) for t in log.turns()] == [
        (True, b"ask", b""),
        (False, b"answer", b"ask"),
        (False, b"late", b"ask"),
        (True, b"again", b""),
    ]
    assert (log.turns()[1].at, log.turns()[1].until) == (0.1, 0.2)
    assert [t.data for t in over] == [b"ask", b"answer", b"late"]
    log.flush()
    log.flush()
    assert [t.data for t in over] == [b"ask", b"answer", b"late", b"again"]


def test_the_log_is_bounded_in_turns_and_bytes():
    clock = Hand()
    log = RawLog(clock, most_turns=10, most_bytes=100)
    for number in range(50):
        clock.seconds = float(number)
        log(False, bytes((number,)) * 20)
    assert [t.data[0] for t in log.turns()] == [45, 46, 47, 48, 49]
    assert log.dropped == 45
    for _ in range(10_000):
        log(False, b"x" * 100)
    assert sum(len(t.data) for t in log.turns()) <= 16_384


def test_a_capture_gives_the_same_turns():
    text = (
        "2026-06-21T10:00:00.100+00:00 > 0102\n"
        "2026-06-21T10:00:00.200+00:00 < 03\n"
        "2026-06-21T10:00:00.250+00:00 < 04\n"
    )
    turns = turns_of(pieces(text), Hand())
    assert [(t.sent, t.data) for t in turns] == [(True, b"\x01\x02"), (False, b"\x03\x04")]
    assert turns[1].request == b"\x01\x02"
    assert turns[0].time == datetime(2026, 6, 21, 10, 0, 0, 100_000, tzinfo=UTC)
