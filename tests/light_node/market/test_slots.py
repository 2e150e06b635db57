"""Slot ids: one text per slot, read back exactly, whatever else is thrown at them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.market.errors import InvalidSlot
from light_node.market.slots import Slot, parse, slot_at

slots = st.builds(
    Slot,
    st.integers(0, 4_000_000_000 // 60).map(lambda minutes: minutes * 60),
    st.integers(1, 1440).map(lambda minutes: minutes * 60),
)


def test_the_id_is_an_iso_8601_interval() -> None:
    slot = Slot(1_782_036_000, 3600)
    assert slot.id == str(slot) == "2026-06-21T10:00Z/PT60M"
    assert parse("2026-06-21T10:00Z/PT60M") == slot
    assert slot.end == slot.next.start == 1_782_039_600
    assert slot.next.id == "2026-06-21T11:00Z/PT60M"
    assert slot.starts_at.isoformat() == "2026-06-21T10:00:00+00:00"
    assert slot.ends_at == slot.next.starts_at


@given(slots)
def test_every_id_is_read_back(slot: Slot) -> None:
    assert parse(slot.id) == slot


@given(slots, slots)
def test_ids_sort_like_time(one: Slot, other: Slot) -> None:
    if one.length_s == other.length_s:
        assert (one < other) == (one.id < other.id)


@given(st.text())
def test_any_text_is_refused_or_canonical(text: str) -> None:
    try:
        slot = parse(text)
    except InvalidSlot:
        return
    assert slot.id == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-06-21T10:00Z",
        "2026-06-21T10:00Z/PT1H",
        "2026-06-21T10:00Z/PT060M",
        "2026-06-21T10:00Z/PT0M",
        "2026-06-21T10:00Z/PT1441M",
        "2026-06-21T10:00+00:00/PT60M",
        "2026-06-21T10:00:00Z/PT60M",
        "2026-02-29T10:00Z/PT60M",
        "2026-06-21T24:00Z/PT60M",
        "1969-12-31T23:00Z/PT60M",
        "9999-12-31T23:59Z/PT60M",
        "２026-06-21T10:00Z/PT60M",
        "2026-06-21T10:00Z/PT60M\n",
        "x" * 10_000,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidSlot):
        parse(text)


@pytest.mark.parametrize(
    ("start", "length"), [(1, 60), (0, 61), (0, 0), (0, 90_000), (-60, 60), (0.0, 60), (True, 60)]
)
def test_slots_are_whole_minutes_within_reason(start: Any, length: Any) -> None:
    with pytest.raises(InvalidSlot):
        Slot(start, length)


def test_the_slot_at_an_instant() -> None:
    slot = Slot(1_782_036_000, 900)
    assert slot_at(slot.start, 900) == slot
    assert slot_at(slot.end - 1, 900) == slot
    assert slot_at(slot.end, 900) == slot.next
    with pytest.raises(InvalidSlot):
        slot_at(0, 0)
