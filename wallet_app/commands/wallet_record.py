"""A wallet's own record (``history.sqlite``, ``settings.json``) as suggest and replay read it.

Only the record is read: no key, no network, and the wallet may be open elsewhere meanwhile.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from light_node import commandline
from wallet_app import wallets
from wallet_app.i18n import tr
from wallet_app.settings import Settings
from wallet_app.trading.books import FinalBook
from wallet_app.trading.history import PARTICIPANT, History

_FILE = "history.sqlite"


def add_record(parser: Any) -> None:
    """Add ``--wallet DIR`` to a parser or a group of one."""
    parser.add_argument(
        "--wallet",
        metavar="DIR",
        help="read the record of the wallet in DIR, or of the wallet of that name",
    )


def add_stored(parser: argparse.ArgumentParser) -> None:
    """Add ``--stored-wh WH``: the record does not keep the battery's charge."""
    parser.add_argument(
        "--stored-wh",
        type=int,
        metavar="WH",
        help="with --wallet: in the battery at first (default: its reserve)",
    )


@dataclass(frozen=True, slots=True)
class WalletRecord:
    """An open record: who it is of, the household's settings, and its history."""

    participant: str
    settings: Settings
    history: History


@contextmanager
def open_record(name: str) -> Iterator[WalletRecord]:
    """Open the record of the wallet in directory ``name``, or called so.

    ``InputError`` where there is none; what :data:`wallets.PROBLEMS` lists passes.
    """
    directory = Path(name)
    if not (directory / _FILE).is_file():
        if directory.is_dir() or len(directory.parts) > 1:
            raise commandline.InputError(
                tr("{name} holds no {file}: no wallet has traded there yet", name=name, file=_FILE)
            )
        directory = wallets.wallet_directory(name)
        if not (directory / _FILE).is_file():
            raise commandline.InputError(
                tr("the wallet {name} has no record yet: let it trade first", name=name)
            )
    history = History(directory / _FILE)
    try:
        participant = history.fact(PARTICIPANT)
        if participant is None:
            raise commandline.InputError(
                tr(
                    "the record in {directory} does not say whose it is: open the wallet once",
                    directory=directory,
                )
            )
        yield WalletRecord(participant, Settings.load(directory), history)
    finally:
        history.close()


def stored_wh(record: WalletRecord, given: int | None) -> int:
    """Return what the battery holds at first; ``InputError`` if it cannot."""
    capacity = record.settings["battery_capacity_wh"]
    if given is None:
        return int(min(record.settings["battery_reserve_wh"], capacity))
    if not 0 <= given <= capacity:
        raise commandline.InputError(f"--stored-wh must be 0 to {capacity}, the battery's capacity")
    return given


def day_as_json(record: WalletRecord, day: date, stored: int) -> tuple[dict[str, Any], list[str]]:
    """Return a local day in the form of ``replay --record``, and the slots without a reading."""
    zone = record.settings.zone_info
    start = datetime.combine(day, time(), zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    measured = {
        (e.start, e.length_s): e.net_wh for e in record.history.energies(start) if e.start < end
    }
    slots, without = [], []
    for final in record.history.final_books(start, end):
        net = measured.get((final.slot.starts_at, final.slot.length_s))
        if net is None:
            without.append(final.slot.id)
        else:
            slots.append(_slot_as_json(final, net))
    return {
        "participant": record.participant,
        "time_zone": str(zone),
        "reservation": record.settings["reservation_model"],
        "battery": _battery_as_json(record.settings, stored),
        "slots": slots,
    }, without


def _slot_as_json(final: FinalBook, net_wh: int) -> dict[str, Any]:
    return {
        "slot": final.slot.id,
        "floor": final.bounds.floor,
        "cap": final.bounds.cap,
        "net_wh": net_wh,
        "quotes": [
            {"id": q.participant, "side": q.side.value, "energy_wh": q.energy, "price": q.price}
            for q in final.book.quotes
        ],
        # Who was matched stays before others at the same price, so the same are matched again.
        "previous_standing": list(final.book.standing),
    }


def _battery_as_json(settings: Settings, stored: int) -> dict[str, int]:
    capacity = settings["battery_capacity_wh"]
    return {
        "capacity_wh": capacity,
        "stored_wh": stored,
        "charge_w": settings["battery_charge_w"],
        "discharge_w": settings["battery_discharge_w"],
        "efficiency_permille": settings["battery_efficiency_permille"],
        "reserve_wh": min(settings["battery_reserve_wh"], capacity),
        "cycle_cost": settings["battery_cycle_cost"],
    }
