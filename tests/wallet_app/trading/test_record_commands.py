"""suggest and replay on the record of a wallet that has traded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.wallet_app.trading.house import CAP, FLOOR, SLOT, TIMETABLE, House, Market
from wallet_app.cli import main
from wallet_app.settings import Settings

LAST = SLOT.next.next


@pytest.fixture
def lived(make_house: Callable[..., House]) -> House:
    """A house that sold in three slots and is closed now."""
    market = Market(slots=3)
    house = make_house(market, settings=Settings({"agent": "do", "risk_permille": 100}))
    house.settings.save(house.directory)
    house.expect(-2_000)
    house.start()
    slot, exported = SLOT, 700_000
    market.run_to(slot.starts_at)
    house.meter(0, exported)
    for _ in range(3):
        market.run_to(slot.ends_at)
        exported += 2_000
        house.meter(0, exported)
        slot = slot.next
    market.run_to(TIMETABLE.settles(LAST))
    market.run_until_settled(LAST)
    house.kill()
    return house


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_the_next_slot_is_estimated_from_the_record(
    lived: House, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, "suggest", "--wallet", str(lived.directory))
    assert (found["estimated"], found["regret"]) == (True, None)
    assert found["scenarios"] == 2
    assert found["record"]["count"] == 2
    assert any("The last 2 suggestions" in line for line in found["explanation"])
    assert main(["suggest", "--wallet", str(lived.directory)]) == 0
    assert "Estimate from 2 similar past slots" in capsys.readouterr().out


def test_a_slot_whose_book_is_kept_is_answered_with_a_certificate(
    lived: House, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, "suggest", "--wallet", str(lived.directory), "--slot", SLOT.id)
    assert (found["estimated"], found["regret"], found["side"]) == (False, 0, "sell")


def test_a_day_is_replayed_as_it_was(lived: House, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "replay", "2026-06-21", "--wallet", str(lived.directory))
    replays = {one["strategy"]: one for one in found["replays"]}
    quoted = replays["quoted"]
    assert [s["net_wh"] for s in quoted["slots"]] == [-2_000] * 3
    asked = [lived.market.ask("GetSettlement", s, lived.participant)["lines"][0]
             for s in (SLOT.id, SLOT.next.id, LAST.id)]  # fmt: skip
    assert quoted["market_money"] == sum(line["market_money"] for line in asked) > 0
    assert quoted["grid_money"] == sum(line["grid_money"] for line in asked)
    assert replays["grid"]["money"] == 6_000 * FLOOR
    assert replays["suggested"]["money"] >= replays["honest"]["money"]


def test_a_replay_with_another_tariff(lived: House, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(
        capsys, "replay", "2026-06-21", "--wallet", str(lived.directory),
        "--floor", str(FLOOR + 100), "--strategy", "grid",
    )  # fmt: skip
    assert found["replays"][0]["money"] == 6_000 * (FLOOR + 100)
    assert FLOOR + 100 < CAP


def test_a_slot_without_a_reading_is_left_out_and_said(
    make_house: Callable[..., House], capsys: pytest.CaptureFixture[str]
) -> None:
    market = Market(slots=2)
    house = make_house(market)
    house.expect(-2_000)
    house.start()
    market.run_to(SLOT.starts_at)
    house.meter(0, 0)
    market.run_to(SLOT.ends_at)
    house.meter(0, 2_000)
    market.run_until_settled(SLOT.next)
    house.kill()
    assert main(["replay", "2026-06-21", "--wallet", str(house.directory), "--json"]) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["replays"][0]["slots"]) == 1
    assert SLOT.next.id in printed.err


def test_what_cannot_be_read_is_said(
    lived: House, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PROSUMER_WALLET_HOME", str(tmp_path / "data"))
    where = str(lived.directory)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no slot of 2026-06-25" in refused(capsys, "replay", "2026-06-25", "--wallet", where)
    assert "history.sqlite" in refused(capsys, "suggest", "--wallet", str(empty))
    assert "no record" in refused(capsys, "suggest", "--wallet", "nobody")
    assert "letters" in refused(capsys, "suggest", "--wallet", "no body")
    assert "--slot" in refused(capsys, "suggest", "--wallet", where, "--slot", "soon")
    assert "--stored-wh" in refused(capsys, "suggest", "--wallet", where, "--stored-wh", "5")
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("command", [["suggest"], ["replay", "2026-06-21"]])
def test_one_source_is_needed(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert "--wallet" in capsys.readouterr().err
