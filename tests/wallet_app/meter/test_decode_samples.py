"""Every sample telegram decodes to the expected values, however it is cut or surrounded."""

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from wallet_app.meter.decode import DECODERS, Options, decode

Samples = Callable[[str], list[dict[str, Any]]]


def telegram(sample: dict[str, Any]) -> bytes:
    if "text" in sample:
        return str(sample["text"]).encode("latin-1")
    return bytes.fromhex(sample["hex"])


def options(sample: dict[str, Any]) -> Options:
    return Options(
        request=bytes.fromhex(sample.get("request_hex", "")), profile=sample.get("profile", "")
    )


def check(sample: dict[str, Any], data: bytes, chunks: int = 1) -> None:
    given = options(sample)
    result = decode(
        sample["protocol"], data, Options(given.request, "", given.profile, chunks=chunks)
    )
    expected: dict[str, str] = sample["expect"]["normalized"]
    got = result.to_json()
    if not expected:
        assert got["readings"] == []
    else:
        assert len(got["readings"]) == 1
        tolerance = Decimal(sample["expect"].get("tolerance_rel", "0"))
        reading = got["readings"][0]
        assert set(reading) == set(expected)
        for key, text in expected.items():
            value = str(reading[key])
            if tolerance:
                assert abs(Decimal(value) - Decimal(text)) <= tolerance * abs(Decimal(text))
            else:
                assert value == text
    problem = sample["expect"]["problem"]
    if problem:
        assert problem in [p["kind"] for p in got["problems"]]


@pytest.fixture(params=sorted(DECODERS))
def named(request: pytest.FixtureRequest, samples: Samples) -> list[dict[str, Any]]:
    protocol = request.param
    return [{**sample, "protocol": protocol} for sample in samples(protocol)]


def test_as_it_is(named: list[dict[str, Any]]):
    for sample in named:
        check(sample, telegram(sample))


def test_no_problem_where_none_is(named: list[dict[str, Any]]):
    for sample in named:
        if sample["expect"]["problem"] is None:
            result = decode(sample["protocol"], telegram(sample), options(sample))
            assert result.problems == []


def test_byte_by_byte(named: list[dict[str, Any]]):
    for sample in named:
        data = telegram(sample)
        check(sample, data, chunks=len(data))


def test_in_random_pieces(named: list[dict[str, Any]]):
    pick = random.Random(5)
    for sample in named:
        data, decoder = telegram(sample), DECODERS[sample["protocol"]]
        whole = decoder.parser(options(sample))
        expected = whole.feed(data) + whole.finish()
        for _ in range(20):
            parser, events, at = decoder.parser(options(sample)), [], 0
            while at < len(data):
                size = pick.randint(1, 40)
                events += parser.feed(data[at : at + size])
                at += size
            assert events + parser.finish() == expected


def test_between_random_bytes(named: list[dict[str, Any]]):
    pick = random.Random(645)
    for sample in named:
        for _ in range(20):
            noise = [pick.randbytes(pick.randrange(40)) for _ in range(2)]
            check(sample, noise[0] + telegram(sample) + noise[1], chunks=pick.randrange(1, 9))


def test_good_one_behind_a_damaged_one(named: list[dict[str, Any]]):
    good = next(s for s in named if s["expect"]["normalized"] and not s["expect"]["problem"])
    damaged = next(s for s in named if s["expect"]["problem"])
    if damaged.get("request_hex") == good.get("request_hex"):
        check(good, telegram(damaged) + telegram(good))
