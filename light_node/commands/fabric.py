"""``light-node fabric``: a test network of Fabric's own programs on this machine."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from light_node import commandline
from light_node.clock import SystemClock
from light_node.commandline import InputError
from light_node.commands import network_options
from light_node.devnet.network import PROFILE_FILE, USERS_DIRECTORY
from light_node.fabricnet import zones
from light_node.fabricnet.errors import FabricNetError
from light_node.fabricnet.network import FabricNet, UpOptions

SUMMARY = "Run a test network of Hyperledger Fabric's own programs on this machine."

_HELP = """\
Fabric's programs orderer and peer (and fabric-ca-server, if it is there) are looked for in the
folder named by the variable FABRIC_BIN, then on PATH. All keys of all organisations lie in the
directory: this is for trying and testing.
  FABRIC_BIN=~/fabric/bin light-node fabric up --dir D
  light-node fabric up --dir D --channel south      # a second market zone, any time
  light-node fabric status --dir D
  light-node fabric down --dir D
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    actions = parser.add_subparsers(title="actions", metavar="", required=True, dest="action")
    up = _action(actions, "up", "make the network, or start what of it does not run", _up)
    ordering = up.add_mutually_exclusive_group()
    ordering.add_argument(
        "--bft", action="store_true", help="4 orderers that agree (SmartBFT; default with 3.x)"
    )
    ordering.add_argument("--raft", action="store_true", help="3 orderers that follow a leader")
    up.add_argument(
        "--batch-timeout", type=int, metavar="MS", help="how long a block waits to fill (500)"
    )
    up.add_argument(
        "--batch-messages",
        type=int,
        metavar="N",
        help="how many transactions fill a new network's block before that (100)",
    )
    up.add_argument(
        "--kv", action="store_true", help="deploy the chaincode kv too, for tests of the network"
    )
    up.add_argument(
        "--channel",
        action="append",
        default=[],
        metavar="NAME",
        help="a further market zone: a channel of this name on the same nodes, with the contract "
        "(may be repeated, and given later to a network that runs)",
    )
    up.add_argument("--host", help="address a new network listens on (127.0.0.1)")
    down = _action(actions, "down", "stop every process of the network", _down)
    down.add_argument(
        "--purge", action="store_true", help="remove the directory too: ledgers, keys, logs"
    )
    _action(actions, "status", "say what runs and how far it is", _status)
    _action(actions, "ca", "serve the CAs in this process (started by up)", _ca)


def _action(
    actions: Any, name: str, text: str, execute: Callable[[argparse.Namespace, FabricNet], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text + ".")
    parser.set_defaults(execute=execute)
    parser.add_argument("--dir", required=True, metavar="D", help="the network's directory")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the action; ``InputError`` for what cannot be done."""
    action: Callable[[argparse.Namespace, FabricNet], int] = arguments.execute
    try:
        with FabricNet(Path(arguments.dir), SystemClock()) as network:
            return action(arguments, network)
    except FabricNetError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"cannot use {arguments.dir}: {error}") from error


def _up(arguments: argparse.Namespace, network: FabricNet) -> int:
    timeout = arguments.batch_timeout
    messages = arguments.batch_messages
    network_options.check_batch_timeout(timeout)
    network_options.check_batch_messages(messages)
    network_options.check_host(arguments.host)
    bft = True if arguments.bft else False if arguments.raft else None
    options = UpOptions(
        bft, timeout, arguments.kv, arguments.host, tuple(arguments.channel), messages
    )

    def say(text: str) -> None:
        if not arguments.json:
            print(text, flush=True)

    profile = network.up(options, say)
    if arguments.json:
        commandline.print_json(
            {"ready": True, "profile": str(network.directory / PROFILE_FILE), **network.status()}
        )
        return commandline.GOOD
    status = network.status()
    _print_status(status)
    place = shlex.quote(str(network.directory))
    profile_file = shlex.quote(str(network.directory / PROFILE_FILE))
    operator = network.directory / USERS_DIRECTORY / profile.organizations[0].msp_id / "operator"
    print(
        f"profile: {profile_file}\n"
        f"next: light-node sync --profile {profile_file}\n"
        f"      light-node mtc --profile {profile_file} --identity {shlex.quote(str(operator))}\n"
        f"      prosumer-wallet demo --network {place}\n"
        f"stop: light-node fabric down --dir {place}"
    )
    for name in status["channels"][1:]:
        zone = shlex.quote(str(zones.folder(network.directory, name)))
        print(f"channel {name}: the same with {zone}/profile.json, or --network {zone}")
    return commandline.GOOD


def _down(arguments: argparse.Namespace, network: FabricNet) -> int:
    killed = network.down(purge=arguments.purge)
    if arguments.json:
        commandline.print_json({"stopped": True, "killed": killed})
    else:
        for name in killed:
            print(f"{name} did not stop when told to and was killed")
        print("stopped" + (" and removed" if arguments.purge else "; up starts it again"))
    return commandline.GOOD


def _status(arguments: argparse.Namespace, network: FabricNet) -> int:
    status = network.status()
    if arguments.json:
        commandline.print_json(status)
    else:
        _print_status(status)
    complete = all(process["pid"] is not None for process in status["processes"])
    return commandline.GOOD if complete else commandline.NO


def _ca(arguments: argparse.Namespace, network: FabricNet) -> int:
    network.serve_ca(lambda: print("serving", flush=True))
    return commandline.GOOD


def _print_status(status: dict[str, Any]) -> None:
    ordering = "SmartBFT" if status["ordering"] == "bft" else "Raft"
    print(f"Fabric {status['release']} with {ordering} in {status['directory']}")
    for process in status["processes"]:
        pid = process["pid"]
        if pid is None:
            state = f"not running; see {process['log']}"
        else:
            parts = [f"process {pid}"]
            parts += _heights(process["heights"] or {})
            if process["healthy"] is not None:
                parts.append("serving" if process["healthy"] else "not serving")
            state = ", ".join(parts)
        print(f"  {process['name']:<14} {state}")


def _heights(found: dict[str, int | None]) -> list[str]:
    """Return how far a node is: ``7 blocks``, of several channels ``blocks market 7 south 5``."""
    known = {name: height for name, height in found.items() if height is not None}
    if len(found) == 1 or not known:
        return [f"{height} blocks" for height in known.values()]
    return [" ".join(("blocks", *(f"{name} {height}" for name, height in known.items())))]
