"""``light-node clear``: clear a book of quotes from a file, by the rules the contract applies."""

import argparse
from collections.abc import Sequence
from typing import Any

from light_node import commandline, jsonio
from light_node.i18n import Text
from light_node.market.clearing import Clearing, Market, clear
from light_node.market.errors import MarketError
from light_node.market.quotes import MAX_ID_LENGTH, PriceBounds, Quote, Side
from light_node.market.units import (
    MAX_ENERGY_WH,
    MAX_PRICE_TICK,
    TICKS_PER_CURRENCY,
    EnergyWh,
    PriceTick,
)

SUMMARY = "Clear a book of quotes: who trades how much, at which price."

_HELP = """\
FILE is JSON, integers only:
  {"slot": "2026-06-21T10:00Z/PT60M",   any text; breaks ties between equal quotes
   "floor": 3800, "cap": 11080,         price bounds in ticks of 0.0001 currency/kWh
   "previous_standing": ["id", ...],    who was matched in the round before, in rank order
                                        (may be left out: the first round has none)
   "quotes": [{"id": "hh-001", "side": "buy" or "sell", "energy_wh": 4000, "price": 6800}, ...]}
A quote over 0 Wh and ids in previous_standing that do not quote are allowed and change nothing.
"""

_MARKETS = {
    Market.BUYER: "buyer's market: more is offered than wanted",
    Market.SELLER: "seller's market: more is wanted than offered",
    Market.BALANCED: "balanced market: as much is offered as wanted",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    parser.add_argument("file", metavar="FILE", help="the book as JSON; - reads standard input")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Clear the book and print the outcome; ``InputError`` if the book cannot be used."""
    name = "standard input" if arguments.file == "-" else arguments.file
    value = commandline.read_json(arguments.file)
    try:
        slot, bounds, quotes, previous = read_book(value)
        outcome = clear(slot, bounds, quotes, previous)
    except (jsonio.JsonError, MarketError) as error:
        raise commandline.InputError(Text("{name}: {error}", name=name, error=error)) from error
    if arguments.json:
        commandline.print_json(to_json(outcome))
    else:
        _print_table(slot, quotes, outcome)
    return commandline.GOOD


def read_book(value: Any) -> tuple[str, PriceBounds, list[Quote], list[str]]:
    """Read slot, bounds, quotes and previous standing; ``JsonError`` or ``MarketError`` if wrong.

    Fields this command does not know are passed over, so that a book may carry notes.
    """
    book = jsonio.mapping(value, Text("the book"))
    slot = jsonio.string(book, "slot", max_length=MAX_ID_LENGTH)
    bounds = PriceBounds(_price(book, "floor"), _price(book, "cap"))
    quotes = [_quote(item, index) for index, item in enumerate(jsonio.array(book, "quotes"))]
    previous = jsonio.array(book, "previous_standing") if "previous_standing" in book else []
    for index, participant in enumerate(previous):
        if not isinstance(participant, str):
            raise jsonio.JsonError(
                Text('"previous_standing"[{index}] must be an id, in quotes', index=index)
            )
    return slot, bounds, quotes, previous


def to_json(outcome: Clearing) -> dict[str, Any]:
    """Return the outcome in the form other programs read; fills in the order of the quotes."""
    return {
        "market": outcome.market.value,
        "price": outcome.price,
        "volume_wh": outcome.volume,
        "fills": outcome.fills,
    }


def _quote(value: Any, index: int) -> Quote:
    where = f'"quotes"[{index}]'
    fields = jsonio.mapping(value, where)
    try:
        side = jsonio.string(fields, "side")
        if side not in ("buy", "sell"):
            raise jsonio.JsonError(
                Text('"side" must be "buy" or "sell", not {side}', side=ascii(side[:20]))
            )
        participant = jsonio.string(fields, "id", max_length=MAX_ID_LENGTH)
        energy = EnergyWh(jsonio.integer(fields, "energy_wh", low=0, high=MAX_ENERGY_WH))
        return Quote(participant, Side(side), energy, _price(fields, "price"))
    except (jsonio.JsonError, MarketError) as error:
        raise jsonio.JsonError(Text("{where}: {error}", where=where, error=error)) from error


def _price(fields: dict[str, Any], name: str) -> PriceTick:
    return PriceTick(jsonio.integer(fields, name, low=-MAX_PRICE_TICK, high=MAX_PRICE_TICK))


def _print_table(slot: str, quotes: Sequence[Quote], outcome: Clearing) -> None:
    print(f"{slot}: {_MARKETS[outcome.market]}")
    if outcome.price is None:
        print("nothing trades: no buyer's limit reaches a seller's")
    else:
        print(f"price {_currency(outcome.price)} per kWh, {_kwh(outcome.volume)} kWh traded")
    if not quotes:
        return
    place = {participant: index for index, participant in enumerate(outcome.standing)}
    # The id comes last: it is somebody else's text and of any length.
    print(f"\n{'':4}  {'quoted kWh':>12}  {'limit':>11}  {'matched kWh':>12}  id")
    for quote in sorted(quotes, key=lambda q: (place.get(q.participant, len(place)), q.side)):
        fill = outcome.fills[quote.participant]
        print(
            f"{quote.side.value:4}  {_kwh(quote.energy):>12}  {_currency(quote.price):>11}  "
            f"{_kwh(fill) if fill else '-':>12}  {quote.participant}"
        )


def _kwh(energy: int) -> str:
    return f"{energy // 1000}.{energy % 1000:03}"


def _currency(price: int) -> str:
    whole, ticks = divmod(abs(price), TICKS_PER_CURRENCY)
    return f"{'-' if price < 0 else ''}{whole}.{ticks:04}"
