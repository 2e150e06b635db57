"""Exports of the history: one row per slot, local time and UTC side by side, exact decimals."""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path

from light_node.market.units import MONEY_PER_CURRENCY, TICKS_PER_CURRENCY
from wallet_app.files import write_atomically
from wallet_app.trading.view import SlotView

COLUMNS = (
    "slot",
    "start_local",
    "end_local",
    "start_utc",
    "phase",
    "side",
    "planned_wh",
    "quoted_wh",
    "quoted_price_per_kwh",
    "matched_wh",
    "price_per_kwh",
    "delivered_net_wh",
    "market_money",
    "grid_money",
    "penalty_money",
    "total_money",
    "grid_only_money",
    "saved_money",
    "currency",
    "proof",
    "transaction",
)


def rows(slots: Iterable[SlotView], zone: tzinfo, currency: str) -> Iterable[list[str]]:
    """Yield one list of texts per slot, in the order of :data:`COLUMNS`.

    Unknown values are empty, never zero. Times are ISO 8601 with offset. Money is signed: earned
    positive, paid negative; ``saved`` is the total minus what the grid alone would have brought.
    """
    for slot in slots:
        end = slot.start + timedelta(seconds=slot.length_s)
        parts = (slot.market_money, slot.grid_money, slot.penalty_money)
        known = [part for part in parts if part is not None]
        total = sum(known) if known else None
        saved = None
        if total is not None and slot.grid_only_money is not None:
            saved = total - slot.grid_only_money
        yield [
            slot.slot,
            slot.start.astimezone(zone).isoformat(),
            end.astimezone(zone).isoformat(),
            slot.start.astimezone(UTC).isoformat(),
            slot.phase.value,
            slot.side,
            _number(slot.planned_wh),
            _number(slot.quoted_wh),
            _price(slot.quoted_price),
            _number(slot.matched_wh),
            _price(slot.price),
            _number(slot.delivered_wh),
            *(_money(value) for value in (*parts, total, slot.grid_only_money, saved)),
            currency,
            slot.proof.value,
            slot.transaction,
        ]


def write_csv(path: Path, slots: Iterable[SlotView], zone: tzinfo, currency: str) -> None:
    """Write the rows to ``path`` as UTF-8 CSV with a header, atomically; ``OSError`` if impossible.

    A byte order mark tells Excel the encoding; cells that a spreadsheet would run as a formula
    cannot occur, because no text of others is in them.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(rows(slots, zone, currency))
    write_atomically(path, text.getvalue().encode("utf-8-sig"))


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _price(value: int | None) -> str:
    return "" if value is None else str(Decimal(value) / TICKS_PER_CURRENCY)


def _money(value: int | None) -> str:
    return "" if value is None else f"{Decimal(value) / MONEY_PER_CURRENCY:f}"
