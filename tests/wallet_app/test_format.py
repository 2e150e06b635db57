"""Figures on screen: exact, rounded once, and never a zero for what is not known."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_app import format as fmt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (fmt.kwh(1200), "1.20"),
        (fmt.kwh(-1235), "−1.24"),
        (fmt.kwh(None), "–"),
        (fmt.kw(-449, 1), "−0.4"),
        (fmt.price(6400), "0.6400"),
        (fmt.price(None), "–"),
        (fmt.money(12_345_678_901), "1,234.57"),
        (fmt.money(50_000, sign=True), "+0.01"),
        (fmt.money(-49_999), "0.00"),
        (fmt.money(-49_999, 4, sign=True), "−0.0050"),
        (fmt.money(0, sign=True), "0.00"),
        (fmt.count(1_234_567), "1,234,567"),
        (fmt.percent(64, 100), "64 %"),
        (fmt.percent(1, 0), "–"),
        (fmt.duration(3725.9), "1:02:05"),
        (fmt.duration(-3), "00:00"),
        (fmt.duration(None), "–"),
    ],
)
def test_figures(text: str, expected: str) -> None:
    assert text == expected


@given(st.integers(-(10**19), 10**19), st.integers(0, 6))
def test_rounding_is_half_away_from_zero_and_exact(amount: int, places: int) -> None:
    wanted = (Decimal(amount) / 10_000_000).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    shown = fmt.money(amount, places).replace(",", "").replace("−", "-")
    assert Decimal(shown) == wanted


def test_the_locale_writes_its_own_marks() -> None:
    fmt.set_number_style(fmt.NumberStyle(decimal=",", group="."))
    try:
        assert fmt.money(12_345_678_901) == "1.234,57"
    finally:
        fmt.set_number_style(fmt.NumberStyle())


def test_times_are_shown_in_the_zone_and_days_by_it() -> None:
    zone = timezone(timedelta(hours=8))
    late = datetime(2026, 6, 21, 22, 30, tzinfo=UTC)
    assert fmt.clock_time(late, zone) == "06:30"
    assert fmt.date(late, zone) == "2026-06-22"
    assert fmt.slot_span(late, 3600, zone) == "06:30–07:30"


def test_the_zone_in_use_counts_where_none_is_given() -> None:
    late = datetime(2026, 6, 21, 22, 30, tzinfo=UTC)
    fmt.use_zone(timezone(timedelta(hours=8)))
    try:
        assert fmt.date_time(late) == "2026-06-22 06:30"
        assert fmt.midnight(fmt.local(late).date()).isoformat() == "2026-06-22T00:00:00+08:00"
        assert fmt.clock_seconds(late, UTC) == "22:30:00"
    finally:
        fmt.use_zone(None)
    assert fmt.clock_seconds(None) == "–"


def test_foreign_text_cannot_hide_or_reorder_anything() -> None:
    assert fmt.foreign("a\x00b\nc\u202edcba\u200b") == "a b c dcba"
    assert fmt.foreign("x" * 300) == "x" * 199 + "…"
    assert len(fmt.foreign("y" * 10**6, 50)) == 50
