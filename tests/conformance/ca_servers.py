"""The CAs the suite asks: a devnet's, and Fabric's own server where it is found."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from light_node.devnet.testing import DevnetProcess

CA_NAME = "ca-org1"
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class CaUnderTest:
    """Where a CA answers and who may register there."""

    url: str
    name: str
    tls_root_pem: str
    registrar: str
    secret: str


def fabric_ca_server() -> Path | None:
    """Return Fabric's CA server: in ``FABRIC_CA_BIN``, in ``FABRIC_BIN`` or on the path."""
    for variable in ("FABRIC_CA_BIN", "FABRIC_BIN"):
        directory = os.environ.get(variable)
        if directory and (program := Path(directory, "fabric-ca-server")).is_file():
            return program
    found = shutil.which("fabric-ca-server")
    return None if found is None else Path(found)


def devnet_ca(devnet: DevnetProcess) -> CaUnderTest:
    """Return the CA of a devnet's first organisation."""
    ca = devnet.profile.organization("Org1MSP").ca
    assert ca is not None
    registrar = next(r for r in devnet.profile.registrars if r.msp_id == "Org1MSP")
    return CaUnderTest(ca.url, ca.name, ca.tls_root_pem, registrar.id, registrar.secret)


@contextmanager
def fabric_ca(program: Path, directory: Path) -> Iterator[CaUnderTest]:
    """Run Fabric's CA server over HTTPS in ``directory`` until the end of the ``with``."""
    secret = secrets.token_hex(8)
    port, operations = _free_port(), _free_port()
    command = [
        str(program),
        *("start", "-b", f"admin:{secret}", "-n", CA_NAME, "-H", str(directory)),
        *("--address", "127.0.0.1", "--port", str(port), "--tls.enabled"),
        *("--csr.hosts", "127.0.0.1,localhost"),
        # Off by default; a devnet has nobody to protect against it.
        *("--cfg.identities.allowremove", "--cfg.affiliations.allowremove"),
        *("--operations.listenaddress", f"127.0.0.1:{operations}"),
    ]
    directory.mkdir(parents=True, exist_ok=True)
    log_path = directory / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        url = f"https://127.0.0.1:{port}"
        root = directory / "ca-cert.pem"
        _wait(process, f"{url}/cainfo", root, log_path)
        yield CaUnderTest(url, CA_NAME, root.read_text(), "admin", secret)
    finally:
        process.terminate()
        process.wait(timeout=15)


def _wait(process: "subprocess.Popen[bytes]", url: str, root: Path, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        if root.is_file():
            try:
                requests.get(url, verify=str(root), timeout=5)
            except requests.exceptions.ConnectionError:
                pass  # not listening yet
            else:
                return
        time.sleep(0.1)
    raise RuntimeError(f"fabric-ca-server does not answer: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port
