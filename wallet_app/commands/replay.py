"""``prosumer-wallet replay``: a past day again, with another strategy, battery or tariff."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping
from datetime import date
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from light_node import commandline, jsonio
from light_node.i18n import Text
from light_node.market.errors import MarketError
from light_node.market.quotes import MAX_ID_LENGTH, PriceBounds
from light_node.market.slots import Slot, parse
from light_node.market.units import MAX_ENERGY_WH, MAX_PRICE_TICK, EnergyWh, PriceTick
from light_node.mtc import tariff as tariffs
from wallet_app.commands.suggest import read_battery, read_public_book, read_reservation
from wallet_app.commands.wallet_options import one_line_errors
from wallet_app.commands.wallet_record import (
    add_record,
    add_stored,
    day_as_json,
    open_record,
    stored_wh,
)
from wallet_app.strategy.battery import BatteryError
from wallet_app.strategy.replay import Home, PastSlot, Replay, Strategy, replay
from wallet_app.strategy.wording import in_currency, in_kwh, in_money

Ends = Callable[[Slot], Mapping[str, int | None]]
"""A slot's other floor and cap in ticks; None where they stay what they were."""

SUMMARY = "Live a past day again with another strategy, battery or tariff."

_HELP = """\
The record is JSON, integers only (energies in Wh, prices in ticks of 0.0001 currency/kWh):
  {"participant": "hh-001@Org1MSP", "time_zone": "Asia/Shanghai",
   "battery": {...}, "reservation": ...,      as in the suggest command
   "slots": [{"slot": "2026-06-21T10:00Z/PT60M", "floor": 3800, "cap": 11080, "net_wh": -4000,
              "quotes": [{"id", "side", "energy_wh", "price"}, ...],
              "previous_standing": ["id", ...]}, ...]}
net_wh is what the meter measured (load less generation), quotes the final book with the own quote.
With --wallet the wallet's own record is taken: final books, readings, battery, time zone.
The others' quotes stay as they were: nobody can know how they would have answered.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    parser.add_argument("day", metavar="DAY", help="local day, such as 2026-06-21")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--record", metavar="FILE", help="what happened, as JSON")
    add_record(source)
    add_stored(parser)
    parser.add_argument(
        "--strategy",
        action="append",
        choices=[s.value for s in Strategy],
        help="which to compare; may be given again (default: all)",
    )
    parser.add_argument("--battery-wh", type=int, metavar="WH", help="another battery capacity")
    parser.add_argument("--floor", type=int, metavar="TICKS", help="another feed-in tariff")
    parser.add_argument("--cap", type=int, metavar="TICKS", help="another retail tariff")
    parser.add_argument(
        "--tariff",
        metavar="FILE",
        help="another tariff by time of day: JSON as light-node mtc --tariff takes it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Replay and print; ``InputError`` if day or record cannot be used."""
    try:
        day = date.fromisoformat(arguments.day)
    except ValueError:
        raise commandline.InputError(Text("DAY is a date such as 2026-06-21")) from None
    tariff = _tariff(arguments)
    name = arguments.wallet or arguments.record
    value = _own_day(arguments, day) if arguments.wallet else commandline.read_json(name)
    try:
        record = jsonio.mapping(value, Text("the record"))
        home = _home(record, arguments.battery_wh)
        slots = _slots(record, day, tariff)
    except (jsonio.JsonError, MarketError, BatteryError) as error:
        raise commandline.InputError(Text("{name}: {error}", name=name, error=error)) from error
    if arguments.record:
        _say_gaps(slots)
    chosen = [Strategy(s) for s in arguments.strategy or [s.value for s in Strategy]]
    found = [replay(slots, home, strategy) for strategy in chosen]
    if arguments.json:
        commandline.print_json({"day": day.isoformat(), "replays": [_to_json(r) for r in found]})
    else:
        _print_table(day, found)
    return commandline.GOOD


def _say_gaps(slots: list[PastSlot]) -> None:
    """Name the slots missing between the first and the last: the day's sums lack them."""
    gaps = [
        f"{before.slot} and {after.slot}"
        for before, after in pairwise(slots)
        if after.slot.start > before.slot.end
    ]
    if gaps:
        more = f", and {len(gaps) - 1} more gaps" if len(gaps) > 1 else ""
        print(f"slots are missing between {gaps[0]}{more}", file=sys.stderr)


def _own_day(arguments: argparse.Namespace, day: date) -> dict[str, Any]:
    """Return the day as the wallet's record has it; says which slots had to be left out."""
    with one_line_errors(), open_record(arguments.wallet) as record:
        stored = stored_wh(record, arguments.stored_wh)
        value, without = day_as_json(record, day, stored)
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        print(f"left out, no meter reading: {without[0]}{more}", file=sys.stderr)
    return value


def _home(record: dict[str, Any], capacity_wh: int | None) -> Home:
    battery, state = read_battery(record)
    if capacity_wh is not None:
        if not 0 <= capacity_wh <= MAX_ENERGY_WH:
            raise BatteryError(f"--battery-wh must be 0 to {MAX_ENERGY_WH}")
        capacity = EnergyWh(capacity_wh)
        reserve = EnergyWh(min(battery.reserve_wh, capacity))
        battery = dataclasses.replace(battery, capacity_wh=capacity, reserve_wh=reserve)
        state = dataclasses.replace(state, energy_wh=EnergyWh(min(state.energy_wh, capacity)))
    participant = jsonio.string(record, "participant", max_length=MAX_ID_LENGTH)
    return Home(participant, battery, state, read_reservation(record))


def _tariff(arguments: argparse.Namespace) -> Ends:
    """Return what a slot's floor and cap are changed to; ``InputError`` for contradictions."""
    if arguments.tariff is None:
        return lambda _: {"floor": arguments.floor, "cap": arguments.cap}
    if arguments.floor is not None or arguments.cap is not None:
        raise commandline.InputError(
            Text("--tariff says floor and cap: leave out --floor and --cap")
        )
    by_time = tariffs.read(commandline.read_json(arguments.tariff))

    def ends(slot: Slot) -> dict[str, int | None]:
        bounds = by_time.bounds(slot)
        return {"floor": bounds.floor, "cap": bounds.cap}

    return ends


def _slots(record: dict[str, Any], day: date, tariff: Ends) -> list[PastSlot]:
    """Return the day's slots, ascending; a tariff given moves quotes outside it to its ends."""
    name = jsonio.string(record, "time_zone", max_length=64) if "time_zone" in record else "UTC"
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise jsonio.JsonError(Text('"time_zone" {name} is not known', name=ascii(name))) from error
    found = []
    for index, value in enumerate(jsonio.array(record, "slots")):
        where = f'"slots"[{index}]'
        fields = jsonio.mapping(value, where)
        try:
            slot = parse(jsonio.string(fields, "slot"))
            if slot.starts_at.astimezone(zone).date() != day:
                continue
            found.append(_past_slot(fields, tariff(slot)))
        except (jsonio.JsonError, MarketError) as error:
            raise jsonio.JsonError(Text("{where}: {error}", where=where, error=error)) from error
    found.sort(key=lambda past: past.slot)
    if not found:
        raise jsonio.JsonError(Text("there is no slot of {day} ({name})", day=day, name=name))
    for before, after in pairwise(found):
        if after.slot.start < before.slot.end:
            raise jsonio.JsonError(
                Text("{slot} overlaps {other}", slot=after.slot, other=before.slot)
            )
    return found


def _past_slot(fields: dict[str, Any], ends: Mapping[str, int | None]) -> PastSlot:
    changed = dict(fields)
    if any(value is not None for value in ends.values()):
        changed |= {name: value for name, value in ends.items() if value is not None}
        low, high = (
            jsonio.integer(changed, name, low=-MAX_PRICE_TICK, high=MAX_PRICE_TICK)
            for name in ("floor", "cap")
        )
        PriceBounds(PriceTick(low), PriceTick(high))
        changed["quotes"] = [
            {**quote, "price": min(max(quote["price"], low), high)}
            if isinstance(quote, dict) and isinstance(quote.get("price"), int)
            else quote
            for quote in jsonio.array(fields, "quotes")
        ]
    bounds, book = read_public_book(changed)
    net = jsonio.integer(fields, "net_wh", low=-MAX_ENERGY_WH, high=MAX_ENERGY_WH)
    return PastSlot(parse(jsonio.string(fields, "slot")), bounds, net, book)


def _to_json(found: Replay) -> dict[str, Any]:
    return {
        "strategy": found.strategy.value,
        "money": found.money,
        "market_money": found.market_money,
        "grid_money": found.grid_money,
        "stored_wh": found.slots[-1].stored_wh,
        "slots": [
            {
                "slot": slot.slot.id,
                "net_wh": slot.net_wh,
                "quote": None
                if slot.quote is None
                else {
                    "side": slot.quote.side.value,
                    "energy_wh": slot.quote.energy,
                    "price": slot.quote.price,
                },
                "price": slot.price,
                "traded_wh": slot.traded_wh,
                "battery_wh": slot.battery_wh,
                "grid_wh": slot.grid_wh,
                "stored_wh": slot.stored_wh,
                "market_money": slot.market_money,
                "grid_money": slot.grid_money,
            }
            for slot in found.slots
        ],
    }


def _print_table(day: date, found: list[Replay]) -> None:
    print(f"{day}, {len(found[0].slots)} slots (money: earned is positive; a replay, no promise)")
    print(
        f"{'strategy':>10}  {'market':>10}  {'grid':>10}  {'together':>10}  "
        f"{'traded kWh':>10}  {'stored kWh':>10}"
    )
    for one in found:
        traded = sum(slot.traded_wh for slot in one.slots)
        print(
            f"{one.strategy.value:>10}  {in_money(one.market_money):>10}  "
            f"{in_money(one.grid_money):>10}  {in_money(one.money):>10}  "
            f"{in_kwh(traded):>10}  {in_kwh(one.slots[-1].stored_wh):>10}"
        )
    if len(found) == 1:
        for slot in found[0].slots:
            price = "-" if slot.price is None else in_currency(slot.price)
            print(f"  {slot.slot}  {in_kwh(slot.net_wh):>8}  {in_kwh(slot.traded_wh):>8}  {price}")
