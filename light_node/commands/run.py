"""``light-node run``: follow the channel without a window, for a server or a small computer."""

import argparse
import json
import signal
import sys
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Any

from light_node import commandline
from light_node.chain import errors
from light_node.chain.node import LightNode
from light_node.chain.status import SyncStatus
from light_node.chaincode.operations import OperationsServer
from light_node.clock import SystemClock
from light_node.commandline import host_port
from light_node.commands import node_options, status_socket
from light_node.commands.catching_up import ProgressLine
from light_node.commands.status_socket import StatusSocket
from light_node.commands.sync import status_json
from light_node.i18n import Text, os_reason, said, told, tr, use_language
from light_node.monitor import metrics
from light_node.monitor.follower import Follower

SUMMARY = "Follow the channel until stopped; tell the status on an owner-only socket."


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    node_options.configure(parser)
    parser.epilog = (
        f"The status is read from the Unix socket {status_socket.FILE_NAME} in the folder of "
        "verified headers: a JSON line at once and one after every change. There is no such socket "
        "on Windows. With --json the same lines go to standard output. Everybody who reaches the "
        "port of --metrics can read them; nothing can be changed through it."
    )
    parser.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help="serve /metrics (Prometheus) and /healthz over HTTP here; without HOST on 127.0.0.1",
    )
    parser.add_argument(
        "--audit",
        action="store_true",
        help="read every block whole, count its transactions by validation code and audit each "
        "slot that is settled in it; the results are among the metrics and on standard error",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Follow until SIGTERM or Ctrl-C; exit code 1 if two signed histories were seen."""
    use_language()
    profile = node_options.load_profile(arguments)
    identity = node_options.need_identity(arguments)
    directory = node_options.store_directory(arguments)
    try:
        node = LightNode(profile, directory, identity, SystemClock())
    except errors.ChainError as error:
        raise commandline.InputError(told(error)) from error
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    server: StatusSocket | None = None
    follower: Follower | None = None
    try:
        with node, ExitStack() as resources:
            if arguments.audit:
                follower = Follower(node, profile.chaincode)
                follower.start()
                resources.callback(follower.stop)
            if arguments.metrics:
                operations = _serve_metrics(arguments.metrics, node, follower)
                resources.callback(operations.close)
                print(
                    tr("metrics at {address}", address=f"http://{operations.address}/metrics"),
                    file=sys.stderr,
                )
            if status_socket.supported():
                server = StatusSocket(
                    directory / status_socket.FILE_NAME, lambda last, s: _next(node, last, s)
                )
            else:
                print(tr("no status socket on this system: use --json"), file=sys.stderr)
            _watch(node, stopping, arguments)
            return commandline.NO if node.status().fork is not None else commandline.GOOD
    finally:
        if server is not None:
            server.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve_metrics(given: str, node: LightNode, follower: Follower | None) -> OperationsServer:
    host, port = host_port(given if ":" in given else f"127.0.0.1:{given}", "--metrics")

    def page() -> bytes:
        return metrics.text(node.status(), follower.tally() if follower is not None else None)

    def healthy() -> bool:
        status = node.status()
        return status.fork is None and not status.problem

    try:
        return OperationsServer(host, port, page, healthy)
    except OSError as error:
        raise commandline.InputError(
            Text("--metrics {given}: {why}", given=given, why=os_reason(error))
        ) from error


def _watch(node: LightNode, stopping: threading.Event, arguments: argparse.Namespace) -> None:
    """Print what changes until told to stop; after a fork the problem stays to be read."""
    last: Any = None
    line = ProgressLine(sys.stdout, SystemClock())
    while not stopping.is_set():
        found = _next(node, last, 0.5)
        if found == last:
            continue
        if arguments.json:
            print(json.dumps(found), flush=True)
        elif found["progress"] is not None and last is not None and not found["problem"]:
            line.show(node.status())  # a batch after the other: not a line for each
        else:
            line.end()
            _tell(found, last)
        last = found
        stopping.wait(0.1)
    line.end()


def _next(node: LightNode, last: Any, timeout: float) -> Any:
    def moved(status: SyncStatus) -> bool:
        return bool(status_json(status) != last)

    node.wait(moved, timeout)
    return status_json(node.status())


def _tell(found: Any, last: Any) -> None:
    """Print a line for people when something worth reading changed."""
    height = (found["verified_height"], found["agreed_height"])
    if last is None or height != (last["verified_height"], last["agreed_height"]):
        text = tr("verified {number}, agreed {agreed}", number=height[0], agreed=height[1] or 0)
        print(text, flush=True)
    waiting, problem = found["waiting_for"], found["problem"]
    if waiting and (last is None or waiting != last["waiting_for"]):
        print(tr("Waiting for: {what}", what=said(waiting)), flush=True)
    if problem and (last is None or problem != last["problem"]):
        print(tr("Problem: {what}", what=said(problem)), flush=True)
