"""``light-node bench``: load a network and set the figures beside the papers'."""

import argparse
import asyncio
from dataclasses import replace
from pathlib import Path

import grpc

from light_node import commandline
from light_node.bench import report
from light_node.bench.market import NoRegistrar
from light_node.bench.run import Bench, Found, Plan
from light_node.clock import SystemClock
from light_node.commandline import InputError
from light_node.commands.node_options import read_identity
from light_node.fabric.errors import CaError
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import NetworkProfile, Registrar
from light_node.files import write_atomically
from light_node.plot import figure

SUMMARY = "Load a network: the papers' ramp of queries, and transactions to commit."

_HELP = """\
The ramp is Table 1 of Zhao et al. (1,000 queries a row, 50 to 460 per second), then puts and market
quotes to commit at several rates, then quotes until two organisations agree on their block. It
takes about three minutes and writes bench.csv, bench.txt and bench.svg to OUT.

Only for networks nobody trades on: it registers households at the CA and leaves its slots behind.
Quotes need a CA in the profile and a registrar there: that of the profile, which only devnets and
light-node fabric write into theirs, or the one given. Puts need the chaincode kv (light-node fabric
up --kv).
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--network", metavar="D", help="directory of a devnet or Fabric network")
    where.add_argument("--profile", metavar="P", help="network profile (profile.json)")
    parser.add_argument(
        "--identity",
        metavar="DIR",
        help="folder with cert.pem, key.pem and msp_id of a market operator "
        "(default: users/Org1MSP/operator beside the profile)",
    )
    parser.add_argument(
        "--registrar",
        metavar="ID",
        help="who registers clients with market.* attributes at the CA of the operator's "
        "organisation (with --secret-file)",
    )
    parser.add_argument(
        "--secret-file", metavar="FILE", help="its enrolment secret (- for standard input)"
    )
    parser.add_argument("--out", metavar="OUT", default=".", help="folder for the results (.)")
    plan = Plan()
    parser.add_argument(
        "--queries", type=int, default=plan.queries, metavar="N", help="queries a row; 0: none"
    )
    parser.add_argument(
        "--transactions",
        type=int,
        default=plan.transactions,
        metavar="N",
        help="puts and quotes a rate; 0: none",
    )
    parser.add_argument(
        "--rates",
        default=",".join(map(str, plan.rates)),
        metavar="R,…",
        help="rates of puts and quotes per second",
    )
    parser.add_argument(
        "--verified", type=int, default=plan.verified, metavar="N", help="quotes verified; 0: none"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run; exit code 1 if any call failed, ``InputError`` for what cannot be run."""
    path = Path(arguments.profile or Path(arguments.network, "profile.json"))
    profile = NetworkProfile.load(path)
    operator = _operator(arguments, path)
    plan = _plan(arguments)
    profile = _with_registrar(arguments, profile, operator.msp_id)
    out = Path(arguments.out)
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    bench = Bench(profile, operator, SystemClock(), say, lambda row: say(report.table_line(row)))
    say(f"{profile.name}, channel {profile.channel}, through {operator.msp_id}'s peer")
    say(report.HEAD)
    try:
        found = asyncio.run(bench.run(plan))
    except (NoRegistrar, CaError, RuntimeError) as error:
        raise InputError(str(error)) from error
    except grpc.RpcError as error:
        raise InputError(f"the network does not answer as it should: {error}") from error
    if found.verified:
        say(found.verified.line)
    _write(out, found, lines)
    print(f"written: {out / 'bench.csv'}, bench.txt, bench.svg")
    failed = sum(row.outcome.failed for row in found.rows)
    failed += found.verified.failed if found.verified else 0
    return commandline.NO if failed else commandline.GOOD


def _operator(arguments: argparse.Namespace, profile: Path) -> SigningIdentity:
    folder = arguments.identity or profile.resolve().parent / "users" / "Org1MSP" / "operator"
    return read_identity(Path(folder))


def _with_registrar(
    arguments: argparse.Namespace, profile: NetworkProfile, msp_id: str
) -> NetworkProfile:
    """Return the profile with the registrar given on the command line, if there is one."""
    if (arguments.registrar is None) != (arguments.secret_file is None):
        raise InputError("--registrar and --secret-file go together")
    if arguments.registrar is None:
        return profile
    secret = commandline.read_bytes(arguments.secret_file).decode(errors="replace").strip()
    return replace(profile, registrars=(Registrar(msp_id, arguments.registrar, secret),))


def _plan(arguments: argparse.Namespace) -> Plan:
    try:
        rates = tuple(int(rate) for rate in arguments.rates.split(",") if rate.strip())
    except ValueError as error:
        raise InputError("--rates are whole numbers like 50,100,150") from error
    counts = (arguments.queries, arguments.transactions, arguments.verified)
    if not all(0 <= count <= 100_000 for count in counts):
        raise InputError("--queries, --transactions and --verified are 0 to 100000")
    if not all(1 <= rate <= 5_000 for rate in rates):
        raise InputError("--rates are 1 to 5000 per second")
    return Plan(
        arguments.queries,
        arguments.transactions if rates else 0,
        rates if arguments.transactions else (),
        arguments.verified,
    )


def _write(out: Path, found: Found, lines: list[str]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "bench.csv", report.csv_text(found.rows).encode())
        write_atomically(out / "bench.txt", ("\n".join(lines) + "\n").encode())
        panels = report.panels(found.rows)
        if panels:
            write_atomically(out / "bench.svg", figure(panels, columns=3).encode())
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}") from error
