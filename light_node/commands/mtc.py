"""``light-node mtc``: operate a market: open slots, close rounds, clear and settle on time."""

import argparse
import json
import logging
import signal
import sys
import threading
from datetime import UTC
from pathlib import Path
from typing import Any

from light_node import commandline
from light_node.chain import errors as chain_errors
from light_node.chain import trust
from light_node.clock import Clock, SystemClock
from light_node.fabric.errors import ContractRefused
from light_node.fabric.profile import NetworkProfile
from light_node.market import slots
from light_node.market.errors import InvalidSlot
from light_node.mtc import tariff
from light_node.mtc.driver import Done, Driver, Span
from light_node.mtc.network import IdentityUnusable, PeerGateway, load_identity
from light_node.mtc.timetable import Timetable

SUMMARY = "Operate a market: open slots, close rounds, clear and settle on time."

_HELP = """\
DIR holds cert.pem, key.pem and msp_id (text); the certificate needs the permission "operate".
FILE is JSON, prices in ticks of 0.0001 currency/kWh, bands in local time:
  {"time_zone": "Asia/Shanghai",
   "bands": [{"from": "07:00", "floor": 3800, "cap": 11080},
             {"from": "23:00", "floor": 3800, "cap": 6000}]}
Stop it with Ctrl-C or SIGTERM at any time and start it again: it goes on where the ledger stands.
With --json every step is one line of JSON.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    parser.add_argument("--profile", required=True, metavar="P", help="network profile (JSON)")
    parser.add_argument("--identity", required=True, metavar="DIR", help="the operator's identity")
    parser.add_argument(
        "--slots", type=int, metavar="N", help="open N slots, settle them and end (default: go on)"
    )
    parser.add_argument(
        "--first", metavar="SLOT", help="first slot to open (default: the next there is time for)"
    )
    parser.add_argument(
        "--slot-length", type=int, default=900, metavar="S", help="seconds per slot (default 900)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="R", help="quoting rounds per slot (default 3)"
    )
    parser.add_argument("--tariff", metavar="FILE", help="floor and cap by time of day (JSON)")
    parser.add_argument("--json", action="store_true", help="print one JSON line per step")


def execute(arguments: argparse.Namespace) -> int:
    """Operate the market until done or stopped; ``InputError`` if an argument cannot be used."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    clock = SystemClock()
    driver, gateway = _prepare(arguments, clock)
    stop = threading.Event()

    def ask_to_stop(number: int, _: object) -> None:
        # The step under way is finished; a second signal ends the program the hard way.
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = {n: signal.signal(n, ask_to_stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        driver.run(stop.wait)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        gateway.close()
    return commandline.GOOD


def _prepare(arguments: argparse.Namespace, clock: Clock) -> tuple[Driver, PeerGateway]:
    profile = NetworkProfile.load(Path(arguments.profile))
    prices = tariff.DEFAULT
    if arguments.tariff is not None:
        prices = tariff.read(commandline.read_json(arguments.tariff))
    now = profile.market_time.at(clock.now())
    try:
        timetable = Timetable(arguments.slot_length, arguments.rounds)
        first = slots.parse(arguments.first) if arguments.first else timetable.next_to_open(now)
        root = trust.from_profile(profile.trust_root)
        root.check_expiry(clock.now())
        identity = load_identity(Path(arguments.identity))
        gateway = PeerGateway(profile, identity, clock, root.config)
        span = Span(first, arguments.slots)
    except (InvalidSlot, IdentityUnusable, chain_errors.TrustRootError, ValueError) as error:
        raise commandline.InputError(str(error)) from error
    if first.length_s != timetable.length_s:
        raise commandline.InputError("--first and --slot-length name different lengths")
    driver = Driver(
        gateway,
        clock,
        profile.market_time,
        timetable,
        prices.bounds,
        span,
        report=lambda done: _print(done, as_json=arguments.json),
    )
    opens = profile.market_time.to_wall(timetable.opens(first))
    # It may be minutes until the first step is there to be told.
    print(
        f"operating the channel {profile.channel} from slot {first.id} on, which opens at "
        f"{opens.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}",
        file=sys.stderr,
    )
    return driver, gateway


def _print(done: Done, *, as_json: bool) -> None:
    text = json.dumps(to_json(done), ensure_ascii=False) if as_json else _line(done)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def to_json(done: Done) -> dict[str, Any]:
    """Return one step as JSON; ``error`` is null or our words, ``code`` the contract's own."""
    error = done.error
    return {
        "at": done.at.astimezone(UTC).isoformat(),
        "function": done.step.function,
        "slot": done.step.slot.id,
        "round": done.step.round or None,
        "error": None if error is None else str(error),
        "code": error.code if isinstance(error, ContractRefused) else None,
    }


def _line(done: Done) -> str:
    outcome = "" if done.error is None else f": {done.error}"
    return f"{done.at:%Y-%m-%d %H:%M:%SZ} {done.step}{outcome}"
