"""Captures of a line: written as it goes, read back byte by byte."""

import errno
import io
from datetime import UTC, datetime

import pytest

from light_node.clock import SystemClock
from wallet_app.meter.capture import CaptureWriter, Piece, pieces, received


class Fixed(SystemClock):
    def now(self) -> datetime:
        return datetime(2026, 6, 21, 10, 0, 0, 250_000, tzinfo=UTC)


def test_what_is_written_is_read_back():
    file = io.StringIO()
    writer = CaptureWriter(file, Fixed())
    writer(True, b"\x68\x16")
    writer(False, b"\xfe\xfe")
    writer(False, b"\x01")
    at = Fixed().now()
    assert list(pieces(file.getvalue())) == [
        Piece(at, True, b"\x68\x16"),
        Piece(at, False, b"\xfe\xfe"),
        Piece(at, False, b"\x01"),
    ]
    assert received(file.getvalue()) == b"\xfe\xfe\x01"


def test_comments_and_empty_lines_are_allowed():
    text = "# meter of number 7\n\n2026-06-21T10:00:00+00:00 < FE FE 68\n"
    assert received(text) == b"\xfe\xfe\x68"


@pytest.mark.parametrize(
    "line",
    [
        "68 01 16",
        "2026-06-21T10:00:00+00:00 < 6",
        "2026-06-21T10:00:00+00:00 = 68",
        "2026-99-21T10:00:00+00:00 < 68",
    ],
)
def test_what_is_no_capture(line: str):
    assert received(line) is None
    with pytest.raises(ValueError, match="line 1 is no line of a capture"):
        list(pieces(line))


def test_a_full_disk_ends_the_capture_and_is_told():
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    writer = CaptureWriter(Full(), Fixed())
    writer(False, b"\x68")
    writer(False, b"\x68")
    assert writer.failed == "No space left on device"
