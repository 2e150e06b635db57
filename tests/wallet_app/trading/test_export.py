"""The CSV of the history: columns, times, exact decimals, empty for unknown, sums as shown."""

import csv
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from light_node.market.slots import Slot, parse
from tests.wallet_app.trading.house import SLOT, House, Market
from wallet_app.trading.export import COLUMNS, write_csv
from wallet_app.trading.history import SlotRecord
from wallet_app.trading.view import SlotView

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")


def view(slot: Slot, **values: object) -> SlotView:
    record = SlotRecord(slot.id, 4000, 11_000, rounds=3, **values)  # type: ignore[arg-type]
    return record.view(slot)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_every_column_of_a_settled_slot(tmp_path: Path) -> None:
    path = tmp_path / "slots.csv"
    slot = view(
        SLOT, phase="settled", side="sell", planned_wh=-1_830, quoted_wh=1_830, quoted_price=9_000,
        matched_wh=1_000, price=9_000, delivered_wh=-1_960, market_money=9_000_001,
        grid_money=3_840_000, penalty_money=-1, grid_only_money=7_840_000, proof="agreed",
        transaction="ab" * 32,
    )  # fmt: skip
    write_csv(path, [slot], SHANGHAI, "CNY")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")  # tells a spreadsheet the encoding
    (row,) = read(path)
    assert tuple(row) == COLUMNS
    assert row == {
        "slot": SLOT.id,
        "start_local": "2026-06-21T18:00:00+08:00",
        "end_local": "2026-06-21T19:00:00+08:00",
        "start_utc": "2026-06-21T10:00:00+00:00",
        "phase": "settled",
        "side": "sell",
        "planned_wh": "-1830",
        "quoted_wh": "1830",
        "quoted_price_per_kwh": "0.9",
        "matched_wh": "1000",
        "price_per_kwh": "0.9",
        "delivered_net_wh": "-1960",
        "market_money": "0.9000001",
        "grid_money": "0.384",
        "penalty_money": "-0.0000001",
        "total_money": "1.284",
        "grid_only_money": "0.784",
        "saved_money": "0.5",
        "currency": "CNY",
        "proof": "agreed",
        "transaction": "ab" * 32,
    }


def test_what_is_not_known_is_empty_never_zero(tmp_path: Path) -> None:
    path = tmp_path / "slots.csv"
    write_csv(path, [view(SLOT)], SHANGHAI, "CNY")
    (row,) = read(path)
    unknown = (
        "planned_wh", "quoted_price_per_kwh", "price_per_kwh", "delivered_net_wh", "market_money",
        "grid_money", "penalty_money", "total_money", "grid_only_money", "saved_money",
    )  # fmt: skip
    assert {row[name] for name in unknown} == {""}
    write_csv(path, [view(SLOT, market_money=0, grid_only_money=0)], SHANGHAI, "CNY")
    (row,) = read(path)
    assert (row["market_money"], row["grid_money"], row["saved_money"]) == ("0", "", "0")


@pytest.mark.parametrize(("price", "text"), [(1, "0.0001"), (10**6, "100"), (-3_800, "-0.38")])
def test_prices_are_plain_decimals(tmp_path: Path, price: int, text: str) -> None:
    path = tmp_path / "slots.csv"
    write_csv(path, [view(SLOT, price=price)], SHANGHAI, "CNY")
    assert read(path)[0]["price_per_kwh"] == text


def test_the_hour_that_comes_twice_is_told_apart(tmp_path: Path) -> None:
    first = parse("2026-10-25T00:00Z/PT60M")
    path = tmp_path / "slots.csv"
    write_csv(path, [view(first), view(first.next)], BERLIN, "EUR")
    assert [row["start_local"] for row in read(path)] == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
    ]


def test_an_export_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "slots.csv"
    write_csv(path, [view(SLOT)], SHANGHAI, "CNY")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_csv(path, [], SHANGHAI, "CNY")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".csv"] == ["slots.csv"]


def test_the_sums_are_those_of_the_view(market: Market, house: House, tmp_path: Path) -> None:
    house.start()
    market.run_to(SLOT.starts_at)
    house.meter(500_000, 700_000)
    market.run_to(SLOT.ends_at)
    house.meter(500_000, 701_500)
    market.run_until_settled()
    path = tmp_path / "day.csv"
    start: datetime = SLOT.starts_at - timedelta(hours=10)
    house.session.export_csv(path, start, start + timedelta(days=1))
    money = house.session.view().money
    table = read(path)
    for column, value in {
        "market_money": money.market_money,
        "grid_money": money.grid_money,
        "penalty_money": money.penalty_money,
        "grid_only_money": money.grid_only_money,
        "saved_money": money.saved,
    }.items():
        total = sum((Decimal(row[column]) for row in table if row[column]), Decimal(0))
        assert total * 10**7 == value, column
