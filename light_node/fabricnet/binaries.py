"""Fabric's programs: where they are, and which version.

Looked for in the folder named by the environment variable FABRIC_BIN, then on PATH. The official
release archives hold them in ``bin/`` (docs/fabric-protocol.md 6.1).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from light_node.fabricnet.errors import BinariesMissing

FABRIC_BIN = "FABRIC_BIN"
OLDEST = (2, 5)
_VERSION = re.compile(r"Version:\s*v?(\d+)\.(\d+)(\.\d+)?")
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one release; ``ca_server`` None where Fabric CA is not installed."""

    orderer: Path
    peer: Path
    ca_server: Path | None
    version: tuple[int, int]
    release: str

    @property
    def knows_bft(self) -> bool:
        """Whether SmartBFT ordering and capability V3_0 are there."""
        return self.version >= (3, 0)


def find(environment: Mapping[str, str]) -> Binaries:
    """Return the programs found; ``BinariesMissing`` says where they come from otherwise."""
    paths = {name: _which(name, environment) for name in ("orderer", "peer", "fabric-ca-server")}
    orderer, peer = paths["orderer"], paths["peer"]
    if orderer is None or peer is None:
        where = environment.get(FABRIC_BIN)
        looked = f"in {where} (FABRIC_BIN) and on PATH" if where else "on PATH"
        lacking = " and ".join(n for n in ("orderer", "peer") if paths[n] is None)
        raise BinariesMissing(
            f"Fabric's {lacking} was not found {looked}: unpack the release archive "
            "hyperledger-fabric-<system>-<version>.tar.gz of 2.5 or 3.x and set FABRIC_BIN to its "
            "bin folder"
        )
    release = _release(peer)
    if _release(orderer) != release:
        raise BinariesMissing(f"{orderer} and {peer} are of different releases")
    major, minor = (int(part) for part in release.split(".")[:2])
    if (major, minor) < OLDEST:
        raise BinariesMissing(f"{peer} is Fabric {release}; 2.5 or newer is needed")
    return Binaries(orderer, peer, paths["fabric-ca-server"], (major, minor), release)


def _which(name: str, environment: Mapping[str, str]) -> Path | None:
    folders = [environment.get(FABRIC_BIN, ""), environment.get("PATH", "")]
    found = shutil.which(name, path=os.pathsep.join(filter(None, folders)))
    return Path(found).resolve() if found else None


def _release(program: Path) -> str:
    try:
        answer = subprocess.run(
            [program, "version"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BinariesMissing(f"{program} cannot be run: {error}") from error
    match = _VERSION.search(answer.stdout + answer.stderr)
    if match is None:
        raise BinariesMissing(f"{program} does not say which version of Fabric it is")
    return "".join((match[1], ".", match[2], match[3] or ""))
