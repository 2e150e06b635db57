"""``prosumer-wallet equilibrium``: the equilibrium of a book of reservation prices, with its proof.

Regrets are of the next round: deviations rank under ``standing`` as printed. ``--check`` certifies
given quotes from the book alone, ranked by ``standing`` (or ``previous_standing``) as given.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from light_node import commandline, jsonio
from light_node.i18n import Text
from light_node.market.errors import MarketError
from light_node.market.quotes import MAX_ID_LENGTH, PriceBounds, fault_of_id
from light_node.market.units import MAX_ENERGY_WH, MAX_PRICE_TICK, PriceTick
from wallet_app.strategy.equilibrium import Equilibrium, certify, solve
from wallet_app.strategy.ladder import Integers, Players
from wallet_app.strategy.paper import PaperIteration, iterate_as_printed
from wallet_app.strategy.withholding import Withholding, best_offer, public_book
from wallet_app.strategy.wording import in_currency, in_kwh

MOST_BY_QUANTITY = 200
SUMMARY = "Find the equilibrium of a slot and prove it, or check somebody else's."

_HELP = """\
FILE is JSON, integers only (energies in Wh, prices in ticks of 0.0001 currency/kWh):
  {"slot": "2026-06-21T10:00Z/PT60M", "floor": 3800, "cap": 11080,
   "participants": [{"id": "hh-001", "side": "buy" or "sell",
                     "energy_wh": 4000, "reservation": 6800}, ...],
   "previous_standing": ["id", ...],   may be left out
   "epsilon": 0}                       largest regret (Wh x tick) at which the truth is kept
With --check also "quotes": {"id": price, ...}, and "standing" where the quotes come with one;
exit code 1 says that somebody could gain.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    parser.add_argument("file", metavar="FILE", help="the book as JSON; - reads standard input")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--paper", action="store_true", help="show the paper's iteration instead")
    how.add_argument("--check", action="store_true", help="only certify the quotes in FILE")
    parser.add_argument(
        "--quantity",
        action="store_true",
        help=f"also report what offering less could gain (up to {MOST_BY_QUANTITY} participants)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Solve, iterate or check, and print; ``InputError`` if the book cannot be used."""
    name = "standard input" if arguments.file == "-" else arguments.file
    value = commandline.read_json(arguments.file)
    try:
        book = jsonio.mapping(value, Text("the book"))
        players = read_players(book)
        if arguments.quantity and len(players) > MOST_BY_QUANTITY:
            raise jsonio.JsonError(
                Text(
                    "--quantity takes at most {most} participants",
                    most=MOST_BY_QUANTITY,
                )
            )
        previous = _ids(book, "previous_standing")
        if arguments.paper:
            return _show_paper(iterate_as_printed(players, previous), arguments.json)
        if arguments.check:
            standing = _ids(book, "standing") if "standing" in book else previous
            found = certify(players, _quotes(book, players), standing)
            _show(found, arguments, standing)
            return commandline.GOOD if found.max_regret == 0 else commandline.NO
        epsilon = jsonio.integer(book, "epsilon", low=0) if "epsilon" in book else 0
        found = solve(players, previous, epsilon)
    except (jsonio.JsonError, MarketError) as error:
        raise commandline.InputError(Text("{name}: {error}", name=name, error=error)) from error
    _show(found, arguments, found.profile.standing)
    return commandline.GOOD


def read_players(book: dict[str, Any]) -> Players:
    """Read slot, bounds and participants; ``JsonError`` or ``MarketError`` if wrong."""
    slot = jsonio.string(book, "slot", max_length=MAX_ID_LENGTH)
    fault = fault_of_id(slot)
    if fault:
        raise jsonio.JsonError(Text('"slot" {fault}', fault=fault))
    bounds = PriceBounds(_price(book, "floor"), _price(book, "cap"))
    rows = [
        _participant(item, index, bounds)
        for index, item in enumerate(jsonio.array(book, "participants"))
    ]
    ids = [row[0] for row in rows]
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise jsonio.JsonError(
            Text("{twice} is there twice; one quote per participant is allowed", twice=twice)
        )
    return Players(
        slot,
        bounds,
        ids,
        np.array([row[1] for row in rows], bool),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.int64),
    )


def to_json(found: Equilibrium, standing: Sequence[str]) -> dict[str, Any]:
    """Return quotes, outcome and certificate in the form other programs read."""
    profile = found.profile
    ids = profile.players.ids

    def by_id(values: Any) -> dict[str, int]:
        return dict(zip(ids, values.tolist(), strict=True))

    return {
        "method": found.method.value,
        "market": profile.players.market.value,
        "price": profile.price,
        "quotes": by_id(profile.quotes),
        "fills": by_id(profile.fills),
        "regret": by_id(found.regrets.gain),
        "max_regret": found.max_regret,
        "deviation": by_id(found.regrets.deviation),
        "standing": list(standing),
    }


def _participant(value: Any, index: int, bounds: PriceBounds) -> tuple[str, bool, int, int]:
    where = f'"participants"[{index}]'
    fields = jsonio.mapping(value, where)
    try:
        name = jsonio.string(fields, "id", max_length=MAX_ID_LENGTH)
        fault = fault_of_id(name)
        if fault:
            raise jsonio.JsonError(Text('"id" {fault}', fault=fault))
        side = jsonio.string(fields, "side")
        if side not in ("buy", "sell"):
            raise jsonio.JsonError(
                Text('"side" must be "buy" or "sell", not {side}', side=ascii(side[:20]))
            )
        energy = jsonio.integer(fields, "energy_wh", low=0, high=MAX_ENERGY_WH)
        reservation = _price(fields, "reservation")
        if reservation not in bounds:
            raise jsonio.JsonError(
                Text(
                    '"reservation" is {reservation}; it must lie within {floor} to {cap} '
                    "(floor to cap), or it cannot be quoted",
                    reservation=reservation,
                    floor=bounds.floor,
                    cap=bounds.cap,
                )
            )
    except jsonio.JsonError as error:
        raise jsonio.JsonError(Text("{where}: {error}", where=where, error=error)) from error
    return name, side == "sell", energy, reservation


def _quotes(book: dict[str, Any], players: Players) -> Integers:
    quotes = jsonio.mapping(jsonio.required(book, "quotes"), '"quotes"')
    known = set(players.ids)
    unknown = next((name for name in quotes if name not in known), None)
    if unknown is not None:
        raise jsonio.JsonError(
            Text(
                '"quotes" has {unknown}, who does not take part',
                unknown=ascii(unknown[:MAX_ID_LENGTH]),
            )
        )
    floor, cap = players.bounds_pair
    prices = [jsonio.integer(quotes, name, low=floor, high=cap) for name in players.ids]
    return np.array(prices, np.int64)


def _ids(book: dict[str, Any], name: str) -> list[str]:
    values = jsonio.array(book, name) if name in book else []
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise jsonio.JsonError(
                Text('"{name}"[{index}] must be an id, in quotes', name=name, index=index)
            )
    if len(set(values)) < len(values):
        raise jsonio.JsonError(Text('"{name}" has an id twice', name=name))
    return values


def _price(fields: dict[str, Any], name: str) -> PriceTick:
    return PriceTick(jsonio.integer(fields, name, low=-MAX_PRICE_TICK, high=MAX_PRICE_TICK))


def _withholding(found: Equilibrium, standing: Sequence[str]) -> dict[str, Withholding]:
    """Return who could gain by another price and less energy, and how."""
    profile = found.profile
    players = profile.players
    book = public_book(profile, standing)
    limits = zip(players.ids, players.reservation.tolist(), strict=True)
    every = {
        name: best_offer(book, name, PriceTick(limit), players.bounds, standing)
        for name, limit in limits
    }
    return {name: offer for name, offer in every.items() if offer.gain > 0}


def _show(found: Equilibrium, arguments: argparse.Namespace, standing: Sequence[str]) -> None:
    offers = _withholding(found, standing) if arguments.quantity else {}
    if arguments.json:
        result = to_json(found, standing)
        if arguments.quantity:
            result["quantity"] = {
                name: {"energy_wh": o.energy, "price": o.price, "gain": o.gain}
                for name, o in offers.items()
            }
        commandline.print_json(result)
        return
    profile = found.profile
    print(f"method: {found.method.value}; {profile.players.market.value} market")
    if profile.price is None:
        print("nothing trades")
    else:
        print(f"price {in_currency(profile.price)} per kWh, {in_kwh(profile.volume)} kWh traded")
    if found.max_regret:
        print(f"NOT an equilibrium: somebody could gain {found.max_regret} Wh·tick")
    else:
        print("certified: nobody gains by any other price (largest regret 0)")
    print(f"\n{'':4}  {'honest':>9}  {'quote':>9}  {'fill kWh':>10}  {'regret':>10}  id")
    players = profile.players
    for i, name in enumerate(players.ids):
        print(
            f"{'sell' if players.sells[i] else 'buy':4}  "
            f"{in_currency(int(players.reservation[i])):>9}  "
            f"{in_currency(int(profile.quotes[i])):>9}  {in_kwh(int(profile.fills[i])):>10}  "
            f"{int(found.regrets.gain[i]):>10}  {name}"
        )
    if arguments.quantity:
        _show_withholding(offers)


def _show_withholding(offers: dict[str, Withholding]) -> None:
    if not offers:
        print("\nNobody could gain by offering less energy either.")
        return
    print("\nCould gain by offering less (a warning, not advice):")
    for name, offer in offers.items():
        print(
            f"  {in_kwh(offer.energy)} kWh at {in_currency(offer.price)}: "
            f"{offer.gain} Wh·tick  {name}"
        )
    print(
        "The contract settles against the meter: energy held back earns its outside value only,\n"
        "outside the tolerance band a deviation costs more than it gains, and where supply equals\n"
        "demand the price is the midpoint, which halves the prize for tipping the market."
    )


def _show_paper(found: PaperIteration, as_json: bool) -> int:
    ids = found.regrets.profile.players.ids
    rounds = [
        {
            "quotes": dict(zip(ids, profile.quotes.tolist(), strict=True)),
            "fills": dict(zip(ids, profile.fills.tolist(), strict=True)),
            "price": profile.price,
        }
        for profile in found.rounds
    ]
    if as_json:
        commandline.print_json({"rounds": rounds, "max_regret": found.regrets.maximum})
        return commandline.GOOD
    for number, profile in enumerate(found.rounds, 1):
        price = "nothing trades" if profile.price is None else in_currency(profile.price)
        print(f"round {number}: {price}")
        for name, quote, fill in zip(
            ids, profile.quotes.tolist(), profile.fills.tolist(), strict=True
        ):
            print(f"  {in_currency(quote):>9}  {in_kwh(fill):>10} kWh  {name}")
    print(f"ended in: {found.ended}; largest regret {found.regrets.maximum} Wh·tick")
    return commandline.GOOD
