"""A devnet as a child process, for tests, benchmarks and demos that need a whole network."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from light_node.clock import Clock, SystemClock
from light_node.devnet import config_update
from light_node.devnet.errors import DevnetError
from light_node.devnet.network import load_user
from light_node.fabric.ca import CaClient
from light_node.fabric.connection import connect
from light_node.fabric.gateway import Gateway
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import BROADCAST
from light_node.fabric.pb import common_pb2, orderer_pb2
from light_node.fabric.profile import NetworkProfile
from light_node.fabric.proposal import NONCE_BYTES

START_SECONDS = 60.0
STOP_SECONDS = 15.0

_PROGRAM = "import sys; from light_node.cli import main; sys.exit(main())"


class DevnetClients:
    """What clients of a devnet in ``directory`` need, wherever it runs."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self.directory = directory
        self._clock: Clock = clock if clock is not None else SystemClock()

    @property
    def profile(self) -> NetworkProfile:
        """The network profile it wrote."""
        return NetworkProfile.load(self.directory / "profile.json")

    def user(self, name: str = "operator", msp_id: str = "Org1MSP") -> SigningIdentity:
        """Return one of the identities in ``users/``: reader, operator or admin."""
        return load_user(self.directory, msp_id, name)

    def connect(self, msp_id: str = "Org1MSP") -> grpc.Channel:
        """Return a channel to an organisation's peer; the caller closes it."""
        peer = self.profile.organization(msp_id).peers[0]
        return connect(peer.address, peer.tls_root_pem)

    def connect_orderer(self, index: int = 0) -> grpc.Channel:
        """Return a channel to an orderer, counted from 0; the caller closes it."""
        orderer = self.profile.orderers[index]
        return connect(orderer.address, orderer.tls_root_pem)

    def gateway(self, channel: grpc.Channel, identity: SigningIdentity) -> Gateway:
        """Return a gateway client on the devnet's channel."""
        return Gateway(channel, identity, self.profile.channel, self._clock)

    def change_config(
        self, changes: Mapping[config_update.Path, bytes], organizations: Sequence[str] = ()
    ) -> orderer_pb2.BroadcastResponse:
        """Ask an orderer to change values of the channel configuration; return its answer.

        Paths as in :func:`config_update.propose`. Signed by the admins of ``organizations``,
        those in ``users/`` or of orderer organisations; none means all of the latter.
        """
        profile, submitter = self.profile, self.user("admin")
        channel = self.connect()
        try:
            raw = self.gateway(channel, submitter).evaluate(
                "cscc", "GetChannelConfig", profile.channel
            )
        finally:
            channel.close()
        update = config_update.propose(common_pb2.Config.FromString(raw), profile.channel, changes)
        signers = [
            load_user(self.directory, msp_id, "admin")
            for msp_id in organizations or [orderer.msp_id for orderer in profile.orderers]
        ]
        envelope = config_update.signed_update(
            update, profile.channel, signers, submitter, lambda: secrets.token_bytes(NONCE_BYTES)
        )
        channel = self.connect_orderer()
        try:
            answers = BROADCAST.callable(channel)(iter((envelope,)), timeout=STOP_SECONDS)
            answer: orderer_pb2.BroadcastResponse = next(answers)
            answers.cancel()
        finally:
            channel.close()
        return answer

    def ca(self, msp_id: str = "Org1MSP") -> CaClient:
        """Return a client of an organisation's CA; the caller closes it."""
        ca = self.profile.organization(msp_id).ca
        if ca is None:
            raise DevnetError(f"{msp_id} has no CA")
        return CaClient(ca.url, ca.name, ca.tls_root_pem)


class DevnetProcess(DevnetClients):
    """``light-node devnet`` in ``directory`` as a child process; ``with`` starts and stops it."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        base_port: int | None = 0,
        clock: Clock | None = None,
    ) -> None:
        """``arguments`` are further options of the command, ``base_port`` 0 means free ports."""
        super().__init__(directory, clock)
        ports: Sequence[str] = () if base_port is None else ("--base-port", str(base_port))
        self._command = [
            *(sys.executable, "-c", _PROGRAM, "devnet"),
            *("--dir", str(directory), "--json", *ports, *arguments),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None
        self._errors = ""
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> "DevnetProcess":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise DevnetError("the devnet is not running")
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it serves; ``DevnetError`` with its own words if it does not."""
        descriptor, name = tempfile.mkstemp(prefix="devnet-", suffix=".log")
        self._log = Path(name)
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=descriptor
            )
        finally:
            os.close(descriptor)
        if process.stdout is None:
            raise DevnetError("the devnet's output cannot be read")
        # A devnet that hangs is killed, which ends the waiting for its first line.
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        try:
            line = process.stdout.readline()
        finally:
            watchdog.cancel()
        self._process = process
        if not line:
            code = self._reap()
            raise DevnetError(self._errors or f"the devnet ended with code {code}")
        self.ready = json.loads(line)

    def errors(self) -> str:
        """Return what it has written to standard error since it was started."""
        if self._log is not None:
            self._errors = self._log.read_text(errors="replace").strip()
        return self._errors

    def stop(self) -> int:
        """Stop it as SIGTERM does and return its exit code; does nothing if it is not running."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._reap()

    def kill(self) -> None:
        """Kill it without a chance to clean up (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def _reap(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self.errors()
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None
        return code
