"""``prosumer-wallet suggest``: what to quote in a slot, from a file, with the reason."""

import argparse
import dataclasses
from datetime import timedelta
from typing import Any

from light_node import commandline, jsonio
from light_node.commands.clear import read_book
from light_node.i18n import Text
from light_node.market.clearing import clear
from light_node.market.errors import MarketError
from light_node.market.quotes import MAX_ID_LENGTH, PriceBounds
from light_node.market.slots import Slot, parse
from light_node.market.units import MAX_ENERGY_WH, MAX_PRICE_TICK, EnergyWh, PriceTick
from wallet_app import i18n
from wallet_app.commands.wallet_options import one_line_errors
from wallet_app.commands.wallet_record import (
    WalletRecord,
    add_record,
    add_stored,
    open_record,
    stored_wh,
)
from wallet_app.strategy.battery import EMPTY, NO_BATTERY, Battery, BatteryError, BatteryState
from wallet_app.strategy.explain import explain
from wallet_app.strategy.game import PublicBook
from wallet_app.strategy.record import TrackRecord, track_record
from wallet_app.strategy.reservation import LinearModel, PhysicalModel
from wallet_app.strategy.suggest import OwnPosition, Suggestion, suggest
from wallet_app.trading.planner import Planner
from wallet_app.trading.setup import standard_prior

SUMMARY = "Suggest a quote for a slot, and say why."

_HELP = """\
FILE is JSON, integers only (energies in Wh, prices in ticks of 0.0001 currency/kWh):
  {"slot": "2026-06-21T10:00Z/PT60M", "floor": 3800, "cap": 11080,
   "participant": "hh-001@Org1MSP",
   "net_wh": -4000,                     forecast load less generation; negative sells
   "reservation": 6800 | "linear" | "physical",
   "battery": {"capacity_wh": 10000, "stored_wh": 4000, "charge_w": 5000, "discharge_w": 5000,
               "efficiency_permille": 920, "reserve_wh": 1000, "cycle_cost": 300},  or left out
   "quotes": [{"id", "side", "energy_wh", "price"}, ...],   the public book, or left out
   "previous_standing": ["id", ...]}    under which that book was cleared, or left out
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file", metavar="FILE", nargs="?", help="the position as JSON; - reads standard input"
    )
    add_record(source)
    parser.add_argument(
        "--slot",
        metavar="SLOT",
        help="with --wallet: for which slot (default: the one after the last in the record)",
    )
    add_stored(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Print the suggestion; ``InputError`` if the file cannot be used."""
    # Programs that read JSON find the same words whatever the user's language is.
    i18n.use_language(i18n.ENGLISH if arguments.json else None)
    if arguments.wallet:
        found, record = _from_wallet(arguments)
    else:
        found, record = _from_file(arguments), None
    if arguments.json:
        commandline.print_json(_to_json(found, record))
    else:
        for line in explain(found, record):
            print(line)
    return commandline.GOOD


def _from_file(arguments: argparse.Namespace) -> Suggestion:
    name = "standard input" if arguments.file == "-" else arguments.file
    value = commandline.read_json(arguments.file)
    try:
        fields = jsonio.mapping(value, Text("the position"))
        slot = parse(jsonio.string(fields, "slot"))
        return _suggested(fields, slot)
    except (jsonio.JsonError, MarketError, BatteryError) as error:
        raise commandline.InputError(Text("{name}: {error}", name=name, error=error)) from error


def _from_wallet(arguments: argparse.Namespace) -> tuple[Suggestion, TrackRecord | None]:
    """Return what the wallet's own record says, and how past suggestions did."""
    try:
        wanted = parse(arguments.slot) if arguments.slot else None
    except MarketError as error:
        raise commandline.InputError(Text("--slot: {error}", error=error)) from error
    with one_line_errors(), open_record(arguments.wallet) as record:
        stored = stored_wh(record, arguments.stored_wh)
        suggested = _of_record(record, wanted, stored)
        return suggested, track_record(record.history.judged())


def _of_record(record: WalletRecord, wanted: Slot | None, stored: int) -> Suggestion:
    """Suggest as the wallet did or would: with what was known when the slot opened.

    Where the slot's final book is kept, the answer is to that one, and a certificate.
    """
    history, settings = record.history, record.settings
    newest = history.newest()
    if newest is None:
        raise commandline.InputError(
            Text("the record holds no slot yet: let the wallet trade first")
        )
    slot = wanted or parse(newest.slot).next
    known = history.get(slot.id) or newest
    opened = slot.starts_at - timedelta(seconds=slot.length_s)
    planner = Planner(settings, record.participant, standard_prior(settings, opened))
    for energy in history.energies(opened - timedelta(days=70)):
        if energy.start + timedelta(seconds=energy.length_s) <= opened:
            planner.learn(energy)
    final = history.final_books(slot.starts_at, slot.ends_at)
    for past in history.final_books(end=slot.starts_at):
        planner.remember(past.past)
    book = final[0].book if final else None
    return planner.suggest(
        slot,
        PriceBounds(PriceTick(known.floor), PriceTick(known.cap)),
        planner.plan(slot, stored, opened),
        quoted=book.quote_of(record.participant) if book else None,
        book=book,
    )


def read_battery(fields: dict[str, Any]) -> tuple[Battery, BatteryState]:
    """Read ``"battery"`` and what is stored in it; without one, nothing can be stored.

    ``JsonError`` for a wrong field, ``BatteryError`` for figures that contradict each other.
    """
    if "battery" not in fields:
        return NO_BATTERY, EMPTY
    given = jsonio.mapping(fields["battery"], '"battery"')

    def number(name: str, default: int | None) -> int | None:
        return jsonio.integer(given, name, low=0, high=MAX_ENERGY_WH) if name in given else default

    capacity = jsonio.integer(given, "capacity_wh", low=0, high=MAX_ENERGY_WH)
    battery = Battery(
        EnergyWh(capacity),
        number("charge_w", None),
        number("discharge_w", None),
        number("efficiency_permille", 1000) or 0,
        EnergyWh(number("reserve_wh", 0) or 0),
        PriceTick(number("cycle_cost", 0) or 0),
    )
    stored = number("stored_wh", 0) or 0
    if stored > capacity:
        raise BatteryError(f"{stored} Wh do not fit a battery of {capacity} Wh")
    return battery, BatteryState(EnergyWh(stored))


def read_reservation(fields: dict[str, Any]) -> PriceTick | LinearModel | PhysicalModel:
    """Read ``"reservation"``: a price, or the name of a model; ``JsonError`` if it is neither."""
    value = fields.get("reservation", "physical")
    if value == "linear":
        return LinearModel()
    if value == "physical":
        return PhysicalModel()
    if isinstance(value, str):
        raise jsonio.JsonError(Text('"reservation" must be a price, "linear" or "physical"'))
    high = MAX_PRICE_TICK
    return PriceTick(jsonio.integer(fields, "reservation", low=-high, high=high))


def read_public_book(fields: dict[str, Any]) -> tuple[PriceBounds, PublicBook]:
    """Read bounds, quotes and standing; the book's own standing is cleared from them."""
    slot_id, bounds, quotes, previous = read_book({"quotes": [], **fields})
    standing = clear(slot_id, bounds, quotes, previous).standing
    return bounds, PublicBook(slot_id, tuple(quotes), standing)


def _suggested(fields: dict[str, Any], slot: Slot) -> Suggestion:
    bounds, book = read_public_book(fields)
    battery, state = read_battery(fields)
    participant = jsonio.string(fields, "participant", max_length=MAX_ID_LENGTH)
    own = OwnPosition(
        participant,
        jsonio.integer(fields, "net_wh", low=-MAX_ENERGY_WH, high=MAX_ENERGY_WH),
        battery,
        read_reservation(fields),
        state,
        book.quote_of(participant),
    )
    return suggest(slot, bounds, own, book if "quotes" in fields else None)


def _to_json(found: Suggestion, record: TrackRecord | None) -> dict[str, Any]:
    result = dataclasses.asdict(found)
    result["side"] = found.side.value if found.side else None
    result["energy_wh"] = result.pop("energy")
    result["explanation"] = list(explain(found, record))
    result["record"] = dataclasses.asdict(record) if record is not None else None
    return result
