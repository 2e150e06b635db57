"""Tariffs: floor and cap by local time of day."""

from typing import Any

import pytest

from light_node.market.slots import parse
from light_node.mtc import tariff
from light_node.mtc.tariff import TariffError

BANDS = [
    {"from": "07:00", "floor": 3800, "cap": 11080},
    {"from": "23:00", "floor": 3500, "cap": 6000},
]


@pytest.mark.parametrize(
    ("slot", "cap"),
    [
        ("2026-06-20T22:45Z/PT15M", 6000),  # 06:45 in Shanghai
        ("2026-06-20T23:00Z/PT15M", 11080),
        ("2026-06-21T14:45Z/PT15M", 11080),
        ("2026-06-21T15:00Z/PT15M", 6000),
        ("2026-06-21T16:00Z/PT15M", 6000),  # past midnight
    ],
)
def test_bands_follow_local_time(slot: str, cap: int) -> None:
    prices = tariff.read({"time_zone": "Asia/Shanghai", "bands": BANDS})
    assert prices.bounds(parse(slot)).cap == cap


def test_summer_time_moves_the_bands() -> None:
    prices = tariff.read({"time_zone": "Europe/Berlin", "bands": BANDS})
    assert prices.bounds(parse("2026-01-15T06:00Z/PT60M")).cap == 11080
    assert prices.bounds(parse("2026-06-15T05:00Z/PT60M")).cap == 11080
    assert prices.bounds(parse("2026-01-15T05:00Z/PT60M")).cap == 6000


def test_the_default_is_flat() -> None:
    bounds = {tariff.DEFAULT.bounds(parse(f"2026-06-21T{h:02}:00Z/PT60M")) for h in range(24)}
    assert [(b.floor, b.cap) for b in bounds] == [(3800, 11080)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "must be a JSON object"),
        ({}, "time_zone"),
        ({"time_zone": "Asia/Shanghai", "bands": []}, "bands are needed"),
        ({"time_zone": "Atlantis", "bands": BANDS}, "no time zone"),
        ({"time_zone": "../etc/passwd", "bands": BANDS}, "no time zone"),
        ({"time_zone": "UTC", "bands": BANDS[::-1]}, "ascend"),
        ({"time_zone": "UTC", "bands": [BANDS[0], BANDS[0]]}, "ascend"),
        ({"time_zone": "UTC", "bands": [{"from": "7", "floor": 1, "cap": 2}]}, "like 07:00"),
        ({"time_zone": "UTC", "bands": [{"from": "07:00", "floor": 2, "cap": 1}]}, "above cap"),
        ({"time_zone": "UTC", "bands": [{"from": "07:00", "floor": 1.5, "cap": 2}]}, "integer"),
        ({"time_zone": "UTC", "bands": BANDS, "extra": 1}, "unknown field"),
    ],
)
def test_bad_tariffs_say_what_is_wrong(value: Any, words: str) -> None:
    with pytest.raises(TariffError, match=words):
        tariff.read(value)
