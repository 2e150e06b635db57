"""The organisations' certificate authorities: Fabric CA where it is, else the devnet's.

Both issue with the root keys the channel configuration names, so what they issue is a member of
its organisation; wallets enrol and registrars register the same way with either.
"""

import secrets
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from light_node.clock import Clock
from light_node.devnet import network as devnet_network
from light_node.devnet.ca_interface import CaInterface
from light_node.devnet.ca_server import CaServer
from light_node.devnet.layout import join_address
from light_node.devnet.network import Network
from light_node.devnet.registry import Registry
from light_node.devnet.store import Store
from light_node.fabricnet.processes import Command
from light_node.files import write_atomically

REGISTRAR = devnet_network.REGISTRAR


def serve(opened: Network, store: Store, clock: Clock, announce: Callable[[], None]) -> None:
    """Serve the devnet's CAs of ``opened`` in this process until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    registry = Registry(store, secrets.token_bytes)
    cas = devnet_network.authorities(opened, registry, clock.now, secrets.token_bytes)
    layout = opened.layout
    server = CaServer(CaInterface(cas), layout.host, layout.ca_port, opened.material.ca_server)
    server.start()
    try:
        announce()
        stop.wait()
    finally:
        server.stop()


def fabric_ca_command(
    program: Path, folder: Path, opened: Network, index: int, port: int, operations: int
) -> Command:
    """Write what ``fabric-ca-server`` of peer organisation ``index`` needs; return how to run it.

    Its database is SQLite in ``folder``; its registrar is the one in the profile.
    """
    member, tls = opened.material.peers[index], opened.material.ca_server
    files = {
        "ca-cert.pem": member.ca.certificate_pem,
        "tls-cert.pem": tls.certificate_pem,
    }
    for name, data in files.items():
        write_atomically(folder / name, data)
    write_atomically(folder / "ca-key.pem", member.ca.key_pem, private=True)
    write_atomically(folder / "tls-key.pem", tls.key_pem, private=True)
    organization = member.node.organization
    arguments = [
        str(program),
        "start",
        f"--boot={REGISTRAR}:{opened.registrar_secret}",
        f"--address={opened.layout.host}",
        f"--port={port}",
        f"--ca.name={devnet_network.ca_name(organization)}",
        f"--ca.certfile={folder / 'ca-cert.pem'}",
        f"--ca.keyfile={folder / 'ca-key.pem'}",
        "--tls.enabled",
        f"--tls.certfile={folder / 'tls-cert.pem'}",
        f"--tls.keyfile={folder / 'tls-key.pem'}",
        f"--csr.cn=ca.{organization}",
        "--cfg.identities.allowremove",
        "--cfg.affiliations.allowremove",
    ]
    environment = {
        "FABRIC_CA_SERVER_HOME": str(folder),
        "FABRIC_CA_SERVER_OPERATIONS_LISTENADDRESS": join_address(opened.layout.host, operations),
    }
    return Command(f"ca.{organization}", arguments, environment)
