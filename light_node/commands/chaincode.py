"""``light-node chaincode``: serve the market contract to peers of Fabric; make its package."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from light_node import commandline, files
from light_node.chaincode import logs, packaging, pauses
from light_node.chaincode.host import Limits, Service
from light_node.chaincode.metrics import Metrics
from light_node.chaincode.operations import OperationsServer
from light_node.chaincode.server import ChaincodeServer, ServerError, Tls
from light_node.clock import SystemClock
from light_node.commandline import InputError, host_port
from light_node.commands import network_options
from light_node.contract.chaincodes import CHAINCODES, MARKET
from light_node.fabric import crypto

log = logging.getLogger(__name__)

SUMMARY = "Serve the market contract to the peers of a Fabric network, or make its package."

_HELP = """\
As a service the contract is a program of its own: every peer that installed the package dials it.
  light-node chaincode package --label market_1 --address HOST:PORT -o market.tgz
  light-node chaincode --address HOST:PORT --package-id ID
Log lines go to standard error as JSON. SIGTERM or Ctrl-C lets running transactions end. The
variables CHAINCODE_SERVER_ADDRESS and CHAINCODE_ID stand for --address and --package-id.
"""
_LEVELS = ("debug", "info", "warning", "error")


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    _configure_server(parser)
    actions = parser.add_subparsers(title="instead of serving", metavar="")
    package = actions.add_parser(
        "package",
        help="write the package to be installed on peers, and print its id",
        description="Write the package to be installed on peers, and print its id.",
    )
    _configure_package(package)


def _configure_server(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_serve)
    parser.add_argument("--address", metavar="HOST:PORT", help="where peers dial; port 0: any")
    parser.add_argument("--package-id", metavar="ID", help="what `chaincode package` printed")
    parser.add_argument(
        "--chaincode",
        choices=sorted(CHAINCODES),
        default=MARKET,
        help=f"what is served ({MARKET}; kv is for testing a network)",
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="the server's certificates, PEM")
    parser.add_argument("--tls-key", metavar="FILE", help="the key of the first of them, PEM")
    parser.add_argument(
        "--client-ca", metavar="FILE", help="peers must show a certificate of one of these, PEM"
    )
    parser.add_argument(
        "--operations",
        metavar="[HOST:]PORT",
        help="serve /healthz and /metrics (Prometheus) over HTTP here; without HOST on 127.0.0.1",
    )
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=25.0,
        metavar="S",
        help="how long a stop waits for running transactions (25)",
    )
    parser.add_argument(
        "--log-level", choices=_LEVELS, default="info", help="least level logged (info)"
    )


def _configure_package(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_package)
    parser.add_argument("--label", required=True, help="what peers list it as, like market_1")
    parser.add_argument(
        "--address",
        required=True,
        metavar="HOST:PORT",
        help="where peers dial the server; may be a template like '{{.address}}' that each peer's "
        "builder fills in",
    )
    parser.add_argument("--dial-timeout", default="10s", metavar="T", help="(10s)")
    parser.add_argument(
        "--tls-root-cert",
        metavar="FILE|TEMPLATE",
        help="peers demand TLS, and a server certificate of this root (PEM file or template)",
    )
    parser.add_argument(
        "--client-cert", metavar="FILE|TEMPLATE", help="what peers show the server, PEM"
    )
    parser.add_argument("--client-key", metavar="FILE|TEMPLATE", help="its key, PEM")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the package")
    parser.add_argument("--json", action="store_true", help="print the id as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Serve until stopped, or make the package; ``InputError`` for what cannot be used."""
    action: Callable[[argparse.Namespace], int] = arguments.action
    return action(arguments)


# -- the package -----------------------------------------------------------------------------


def _package(arguments: argparse.Namespace) -> int:
    connection = packaging.Connection(
        address=arguments.address,
        dial_timeout=arguments.dial_timeout,
        root_cert=_pem(arguments.tls_root_cert, "--tls-root-cert", crypto.load_certificates),
        client_cert=_pem(arguments.client_cert, "--client-cert", crypto.load_certificates),
        client_key=_pem(arguments.client_key, "--client-key", crypto.load_private_key),
    )
    try:
        package = packaging.build(arguments.label, connection)
    except packaging.PackageError as error:
        raise InputError(str(error)) from error
    try:
        files.write_atomically(Path(arguments.output), package, private=bool(connection.client_key))
    except OSError as error:
        raise InputError(f"cannot write {arguments.output}: {error.strerror}") from error
    name = packaging.package_id(arguments.label, package)
    if arguments.json:
        commandline.print_json({"package_id": name, "file": arguments.output})
    else:
        print(name)
    return commandline.GOOD


def _pem(given: str | None, option: str, load: Callable[[bytes], object]) -> str:
    """Return the PEM text of a file, or a template as it stands; "" if nothing is given."""
    if not given or packaging.is_template(given):
        return given or ""
    data = commandline.read_bytes(given)
    try:
        load(data)
        return data.decode()
    except ValueError as error:
        raise InputError(f"{option} {given}: {error}") from error


# -- the server ------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    address = arguments.address or os.environ.get("CHAINCODE_SERVER_ADDRESS", "")
    package_id = arguments.package_id or os.environ.get("CHAINCODE_ID", "")
    host, _ = host_port(address, "--address")
    if not packaging.is_package_id(package_id):
        raise InputError("--package-id must be what `light-node chaincode package` printed")
    if not 0 <= arguments.drain_seconds <= 3600:
        raise InputError("--drain-seconds must be 0 to 3600")
    tls = _tls(arguments)
    service = Service.named(arguments.chaincode, package_id)
    try:
        with logs.to_stream(sys.stderr, arguments.log_level):
            if tls is None and host not in ("127.0.0.1", "localhost", "[::1]"):
                log.warning("no TLS: who is on the way reads and changes what peers are told")
            return asyncio.run(_run(arguments, service, tls, address))
    except ServerError as error:
        raise InputError(str(error)) from error


async def _run(
    arguments: argparse.Namespace, service: Service, tls: Tls | None, address: str
) -> int:
    stop = network_options.stop_event()
    metrics, clock = Metrics(), SystemClock()
    server = ChaincodeServer(service, metrics, clock, limits=Limits(), tls=tls)
    with contextlib.ExitStack() as resources:
        collections = resources.enter_context(pauses.tamed(clock))
        operations = _operations(arguments, metrics, server)
        if operations is not None:
            resources.callback(operations.close)
        port = await server.start(address)
        sampler = asyncio.create_task(pauses.sample(metrics, clock, collections))
        ready = {
            "ready": True,
            "chaincode": arguments.chaincode,
            "address": f"{address.rpartition(':')[0]}:{port}",
            "package_id": service.package_id,
            "operations": operations.address if operations else None,
        }
        print(json.dumps(ready), flush=True)
        await stop.wait()
        sampler.cancel()
        drained = await server.stop(arguments.drain_seconds)
    return commandline.GOOD if drained else commandline.NO


def _operations(
    arguments: argparse.Namespace, metrics: Metrics, server: ChaincodeServer
) -> OperationsServer | None:
    if not arguments.operations:
        return None
    given: str = arguments.operations
    host, port = host_port(given if ":" in given else f"127.0.0.1:{given}", "--operations")
    try:
        return OperationsServer(host, port, metrics.text, lambda: server.health.serving)
    except OSError as error:
        raise InputError(f"--operations {given}: {error.strerror}") from error


def _tls(arguments: argparse.Namespace) -> Tls | None:
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        raise InputError("--tls-cert and --tls-key go together")
    if not arguments.tls_cert:
        if arguments.client_ca:
            raise InputError("--client-ca needs --tls-cert and --tls-key")
        return None
    certificate, key = (
        commandline.read_bytes(name) for name in (arguments.tls_cert, arguments.tls_key)
    )
    roots = commandline.read_bytes(arguments.client_ca) if arguments.client_ca else None
    try:
        shown = crypto.load_certificates(certificate)[0]
        if crypto.load_private_key(key).public_key() != shown.public_key():
            raise InputError("--tls-key is not the key of --tls-cert")
        if roots is not None:
            crypto.load_certificates(roots)
    except crypto.CryptoError as error:
        raise InputError(f"TLS: {error}") from error
    return Tls(certificate, key, roots)
