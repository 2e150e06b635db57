"""A trust root as text: survives being written down, and names what is wrong with it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.chain import errors, root_text, trust
from light_node.chain.root_text import PREFIX, RootText, decode, encode, in_lines
from light_node.chain.trust import TrustRoot

Blocks = Callable[[str, str], list[bytes]]
OBTAINED = datetime(2026, 6, 21, 12, tzinfo=UTC)
EXPIRES = OBTAINED + timedelta(days=365)
QR_ALPHANUMERIC = re.compile(r"[0-9A-Z $%*+\-./:]+")


@pytest.fixture
def root(real_blocks: Blocks) -> TrustRoot:
    return trust.load(real_blocks("bft", "full")[11], obtained=OBTAINED, expires=EXPIRES)


def test_the_text_names_the_root_and_fits_a_small_qr_code(root: TrustRoot) -> None:
    text = encode(root)
    assert decode(text) == RootText("bftch", 11, root.hash, OBTAINED, EXPIRES)
    assert decode(text).fingerprint == root.fingerprint
    assert QR_ALPHANUMERIC.fullmatch(text)
    assert len(text) <= 122, "version 5 with error correction M holds 122 such characters"


def test_how_it_is_written_does_not_matter(root: TrustRoot) -> None:
    text = encode(root)
    body = text.removeprefix(PREFIX)
    for written in (
        text.lower(),
        in_lines(text),
        in_lines(text).replace(" ", "-").replace("\n", "\r\n  "),
        body,
        f"  {body}\n",
        PREFIX + body.replace("O", "0").replace("I", "1").replace("B", "8"),
    ):
        assert decode(written) == decode(text), written


def test_lines_are_short_and_grouped(root: TrustRoot) -> None:
    first, *rest = in_lines(encode(root)).split("\n")
    assert first == PREFIX
    assert all(len(line) <= 35 for line in rest)
    assert all(len(group) <= 5 for line in rest for group in line.split(" "))


def test_every_wrong_letter_is_noticed(root: TrustRoot) -> None:
    text = encode(root)
    for at in range(len(PREFIX), len(text)):
        other = "Q" if text[at] != "Q" else "Z"
        with pytest.raises(errors.TrustRootError, match="compare"):
            decode(text[:at] + other + text[at + 1 :])
        with pytest.raises(errors.TrustRootError):
            decode(text[:at])
        swapped = text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :]
        if swapped != text and at + 1 < len(text):
            with pytest.raises(errors.TrustRootError):
                decode(swapped)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cut off"),
        (PREFIX, "cut off"),
        ("LNROOT2:AAAA", "begin with LNROOT1:"),
        ("https://example.org/AAAA", "begin with LNROOT1:"),
        ("?" * 20, "wrong letter"),
        ("A" * 2000, "too long"),
    ],
)
def test_what_is_no_such_text(text: str, said: str) -> None:
    with pytest.raises(errors.TrustRootError, match=said):
        decode(text)


@given(st.text(max_size=150))
def test_no_text_crashes_the_reader(text: str) -> None:
    with pytest.raises(errors.TrustRootError):
        decode(text)


@given(st.binary(min_size=60, max_size=90))
def test_nor_do_bytes_with_a_right_check_sum(body: bytes) -> None:
    import base64
    from hashlib import sha256

    raw = body + sha256(body).digest()[:4]
    try:
        found = decode(base64.b32encode(raw).decode().rstrip("="))
    except errors.TrustRootError:
        return
    assert found.channel.isascii()


def test_the_block_must_be_the_one_that_is_meant(real_blocks: Blocks, root: TrustRoot) -> None:
    told = decode(encode(root))
    raws = real_blocks("bft", "full")
    loaded = told.load(raws[11])
    assert (loaded.hash, loaded.obtained, loaded.expires) == (root.hash, OBTAINED, EXPIRES)
    for other in (raws[0], real_blocks("raft", "full")[11], raws[5]):
        with pytest.raises(errors.TrustRootMismatch):
            told.load(other)
    elsewhere = RootText("bftch", 12, root.hash, OBTAINED, EXPIRES)
    with pytest.raises(errors.TrustRootMismatch, match="names block 12"):
        elsewhere.load(raws[11])


def test_a_root_without_dates_has_no_text(real_blocks: Blocks) -> None:
    with pytest.raises(errors.TrustRootError, match="until when"):
        encode(trust.load(real_blocks("bft", "full")[0]))


def test_the_bound_is_above_the_longest_text() -> None:
    longest = len(PREFIX) + (root_text._FIXED + root_text._MAX_CHANNEL) * 8 // 5 + 8
    assert longest < root_text.MAX_TEXT
