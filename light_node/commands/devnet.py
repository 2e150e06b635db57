"""``light-node devnet``: run the embedded network in this process until it is told to stop."""

import argparse
import asyncio
import json
import logging
import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

from light_node import commandline
from light_node.clock import SystemClock
from light_node.commands import network_options
from light_node.devnet.errors import DevnetError
from light_node.devnet.lies import LIES
from light_node.devnet.masks import Instruction
from light_node.devnet.network import (
    DEFAULT_BASE_PORT,
    DEFAULT_BATCH_TIMEOUT_MS,
    USERS_DIRECTORY,
    Options,
)
from light_node.devnet.server import Devnet, Running, run_until

SUMMARY = "Run an embedded network: three organisations, an ordering service and a CA."

_HELP = f"""\
The first start makes keys, certificates and block 0 in DIR; later starts go on where the last one
stopped. Everything lies in DIR/devnet.sqlite. For other programs it writes DIR/profile.json (the
network profile, when the network answers) and DIR/users/<MSP id>/reader, operator, admin.

Ports: three peers, the orderers (four, with --raft three), the CA, from --base-port on
(default {DEFAULT_BASE_PORT}; 0 chooses free ones). They are part of the network's configuration,
so DIR keeps those of its first start.

Lies, for trying out who notices (ORG is an MSP id, N the first block lied about, default 1):
{chr(10).join(f"  {name:<20} {lie.summary}" for name, lie in LIES.items())}
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    parser.add_argument("--dir", required=True, metavar="DIR", help="where the network is kept")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--base-port", type=int, metavar="N", help="first port; 0: free ports")
    parser.add_argument("--raft", action="store_true", help="order with Raft instead of BFT")
    parser.add_argument(
        "--batch-timeout",
        type=int,
        metavar="MS",
        help=f"how long a block waits for more transactions ({DEFAULT_BATCH_TIMEOUT_MS} ms)",
    )
    parser.add_argument(
        "--market-rate", type=int, metavar="R", help="market time runs R times as fast"
    )
    parser.add_argument(
        "--market-start",
        metavar="ISO",
        help="market time at this start, like 2026-06-21T00:00Z (default: now)",
    )
    parser.add_argument(
        "--lie",
        action="append",
        default=[],
        metavar="ORG:NAME[=N]",
        help="let an organisation's node lie, like Org2MSP:silent=12 (may be repeated; see below)",
    )
    parser.add_argument(
        "--json", action="store_true", help="when ready, print one line of JSON instead of text"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run until Ctrl-C or SIGTERM; ``InputError`` if the network cannot start."""
    logging.basicConfig(level=logging.WARNING, format="devnet: %(message)s")
    try:
        lies = [Instruction.parse(text) for text in arguments.lie]
        directory = Path(arguments.dir).absolute()
        devnet = Devnet(directory, _options(arguments), SystemClock(), lies=lies)
        asyncio.run(_run(devnet, as_json=arguments.json))
    except DevnetError as error:
        raise commandline.InputError(str(error)) from error
    return commandline.GOOD


async def _run(devnet: Devnet, *, as_json: bool) -> None:
    stop = network_options.stop_event()
    await run_until(stop, devnet, _print_json if as_json else _print_text)
    if not as_json:
        print("stopped; start again with the same --dir to go on")


def _options(arguments: argparse.Namespace) -> Options:
    port, timeout, rate = arguments.base_port, arguments.batch_timeout, arguments.market_rate
    if port is not None and not (port == 0 or 1024 <= port <= 65500):
        raise commandline.InputError("--base-port must be 0 or 1024 to 65500")
    network_options.check_batch_timeout(timeout)
    if rate is not None and not 1 <= rate <= 1_000_000:
        raise commandline.InputError("--market-rate must be 1 to 1000000")
    network_options.check_host(arguments.host)
    return Options(
        host=arguments.host,
        base_port=port,
        raft=arguments.raft,
        batch_timeout_ms=timeout,
        market_rate=rate,
        market_start=_market_start(arguments.market_start),
    )


def _market_start(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise commandline.InputError(f"--market-start: {error}") from error
    if moment.tzinfo is None:
        raise commandline.InputError("--market-start needs an offset, like 2026-06-21T00:00Z")
    return moment


def describe(running: Running) -> dict[str, Any]:
    """Return what runs where, as ``--json`` prints it."""
    profile = running.profile
    return {
        "ready": True,
        "directory": str(running.network.directory),
        "profile": str(running.profile_path),
        "channel": profile.channel,
        "ordering": "bft" if running.network.layout.bft else "raft",
        "height": running.peers[0].height,
        "peers": {peer.node.msp_id: peer.node.address for peer in running.peers},
        "orderers": {node.node.msp_id: node.node.address for node in running.orderers},
        "ca": profile.organizations[0].ca.url if profile.organizations[0].ca else None,
        "market_time": profile.to_json()["market_time"],
        "lies": running.liars.telling,
    }


def _print_json(running: Running) -> None:
    print(json.dumps(describe(running), ensure_ascii=False), flush=True)


def _print_text(running: Running) -> None:
    facts = describe(running)
    ordering = "SmartBFT" if facts["ordering"] == "bft" else "Raft"
    profile = shlex.quote(facts["profile"])
    users = running.network.directory / USERS_DIRECTORY
    operator = shlex.quote(str(users / running.peers[0].node.msp_id / "operator"))
    lines = [
        f'devnet: channel "{facts["channel"]}", {facts["height"]} blocks, in {facts["directory"]}',
        *(f"  peer     {msp_id:<13} {address}" for msp_id, address in facts["peers"].items()),
        *(f"  orderer  {msp_id:<13} {address}" for msp_id, address in facts["orderers"].items()),
        f"  ordering {ordering}, CA at {facts['ca']}",
        *(f"  LYING    {msp_id:<13} {name}" for msp_id, name in facts["lies"].items()),
        f"  profile  {facts['profile']}",
        f"  users    {users}",
        f"next: light-node sync --profile {profile}",
        f"      light-node mtc --profile {profile} --identity {operator}",
        "stop with Ctrl-C",
    ]
    print("\n".join(lines), flush=True)
