"""DL/T 645 under noise, cuts and flipped bits: the right value or none, and never an exception."""

from hypothesis import given
from hypothesis import strategies as st

from wallet_app.meter.dlt645 import Dlt645Parser, encode
from wallet_app.meter.events import Event, Frame

FRAME = encode("123456789012", 0x91, bytes.fromhex("00000100") + bytes.fromhex("56341200"))


def whole(data: bytes) -> list[Event]:
    parser = Dlt645Parser()
    return parser.feed(data) + parser.finish()


@given(st.lists(st.sampled_from([FRAME, FRAME[:9], b"\x68", b"\xfe\xfe"]) | st.binary(max_size=30)))
def test_same_events_for_any_split(pieces: list[bytes]):
    parser = Dlt645Parser()
    events: list[Event] = []
    for piece in pieces:
        events += parser.feed(piece)
        assert parser.pending <= 300
    events += parser.finish()
    assert events == whole(b"".join(pieces))


@given(st.binary(max_size=600))
def test_anything_is_taken(data: bytes):
    whole(data)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_good_frame_in_noise_is_found(before: bytes, behind: bytes):
    frames = [e for e in whole(before + FRAME + behind) if isinstance(e, Frame)]
    assert FRAME in [frame.raw for frame in frames]


def test_one_flipped_bit_never_gives_another_value():
    for position in range(len(FRAME) * 8):
        damaged = bytearray(FRAME)
        damaged[position // 8] ^= 1 << position % 8
        for event in whole(bytes(damaged)):
            assert not (isinstance(event, Frame) and event.normalized)
