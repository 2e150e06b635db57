"""A network of Fabric's programs in one directory: up, down, status.

``up`` is a list of steps each of which looks first whether it is done, so it makes a network,
resumes one, and goes on with one that broke off, all the same way. Everything of the network lies
in the directory: keys and block 0 in ``keys``, a folder per node in ``nodes``, output in ``logs``.
"""

import functools
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests

from light_node.chaincode import packaging
from light_node.clock import Clock
from light_node.contract.chaincodes import KV, MARKET
from light_node.devnet import network as devnet_network
from light_node.devnet.errors import DevnetError
from light_node.devnet.layout import in_use, join_address
from light_node.devnet.network import Network, Options
from light_node.devnet.registry import Registry
from light_node.devnet.store import Store
from light_node.fabric import endorsement
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.connection import connect
from light_node.fabric.errors import FabricError, Unavailable
from light_node.fabric.gateway import Gateway
from light_node.fabric.profile import CaEndpoint, NetworkProfile
from light_node.fabricnet import authority, binaries, channel, configs, lifecycle, zones
from light_node.fabricnet.binaries import Binaries
from light_node.fabricnet.errors import FabricNetError
from light_node.fabricnet.plan import (
    FILE_NAME,
    ChaincodeServerPorts,
    Plan,
    new_plan,
    server_name,
    url,
)
from light_node.fabricnet.processes import Command, Processes
from light_node.fabricnet.status import network_status
from light_node.fabricnet.zones import Zone

CHAINCODE_VERSION = "1"
_START_S = 60.0
_DEPLOY_S = 120.0
_PROGRAM = "import sys; from light_node.cli import main; sys.exit(main())"
_PROBES = {MARKET: ("ListParticipants",), KV: ("range", "a", "b")}
_LOGGING = {"FABRIC_LOGGING_SPEC": "warn"}
# Otherwise gRPC reads in threads of its own, one more to wake for each message: a tenth of the CPU.
_CHAINCODE_ENVIRONMENT = {"GRPC_EXPERIMENTS": "-event_engine_listener"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What ``up`` may be told; what a directory already holds wins where None.

    ``channels`` are further market zones to have beside the first channel and those there are.
    """

    bft: bool | None = None
    batch_timeout_ms: int | None = None
    kv: bool = False
    host: str | None = None
    channels: tuple[str, ...] = ()
    batch_messages: int | None = None


class FabricNet:
    """The network in ``directory``; a context manager that closes its own connections only."""

    def __init__(
        self, directory: Path, clock: Clock, environment: Mapping[str, str] = os.environ
    ) -> None:
        """``environment`` says where Fabric's programs are (:mod:`.binaries`)."""
        if os.name == "nt":
            raise FabricNetError(
                "Fabric's programs run here on Linux and macOS only; use light-node devnet"
            )
        self.directory = directory.absolute()
        self.processes = Processes(self.directory)
        self._clock, self._environment = clock, environment
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy cannot reach this machine's own ports

    def __enter__(self) -> "FabricNet":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # -- up ------------------------------------------------------------------------------------

    def up(self, options: UpOptions, say: Say) -> NetworkProfile:
        """Make or resume the network and return its profile, which also lies in the directory.

        ``FabricNetError`` (a part that started goes on running; ``down`` ends it), ``OSError``.
        """
        programs = binaries.find(self._environment)
        with self._opened(options, programs) as (opened, store, plan):
            self._check_ports(opened, plan)
            self._write_users(opened, store)
            made = zones.prepare(
                opened, plan.zones, _capability(programs), self._clock.now(), secrets.token_bytes
            )
            say(f"Fabric {programs.release}: starting {len(plan.orderers)} orderers …")
            self._start_orderers(opened, plan, programs, made)
            say(f"starting {len(plan.peers)} peers …")
            self._start_peers(opened, plan, programs, made)
            say(f"starting CAs ({'Fabric CA' if plan.fabric_ca else 'the devnet’s'}) …")
            self._start_cas(opened, plan, programs)
            for zone in made:
                for name in plan.chaincodes:
                    say(f"deploying the chaincode {name} on the channel {zone.name} …")
                    self._deploy(opened, plan, name, zone)
            profile = self._profile(opened, plan)
            for zone in made:
                zones.profile(profile, zone).save(zone.directory / devnet_network.PROFILE_FILE)
        return profile

    @contextmanager
    def _opened(
        self, options: UpOptions, programs: Binaries
    ) -> Iterator[tuple[Network, Store, Plan]]:
        """Open the directory, made if it is new."""
        known = Plan.load(self.directory) if (self.directory / FILE_NAME).exists() else None
        wanted_zones = zones.check_names(options.channels)
        bft = programs.knows_bft if options.bft is None else options.bft
        if bft and not programs.knows_bft:
            raise FabricNetError(f"Fabric {programs.release} has no BFT ordering: use --raft")
        if known and known.release.split(".")[:2] != programs.release.split(".")[:2]:
            raise FabricNetError(
                f"the network in {self.directory} was made with Fabric {known.release}, and "
                f"FABRIC_BIN or PATH has {programs.release}: use that one, or another directory"
            )
        wanted = Options(
            host=options.host,
            base_port=None if known else 0,
            raft=known is None and not bft,
            batch_timeout_ms=options.batch_timeout_ms,
            batch_messages=options.batch_messages,
            channel_capability=_capability(programs),
        )
        try:
            store = Store.open(self.directory / "keys")
        except DevnetError as error:
            raise FabricNetError(str(error)) from error
        try:
            opened = devnet_network.open_network(
                self.directory, wanted, store, self._clock.now(), secrets.token_bytes
            )
            if known and options.bft is not None and options.bft != opened.layout.bft:
                ordering = "BFT" if opened.layout.bft else "Raft"
                raise FabricNetError(
                    f"the network in {self.directory} orders with {ordering}: use another directory"
                )
            plan = known or new_plan(
                opened.layout,
                programs.release,
                fabric_ca=programs.ca_server is not None,
                kv=options.kv,
            )
            plan = replace(plan, zones=tuple(dict.fromkeys((*plan.zones, *wanted_zones))))
            if plan != known:
                plan.save(self.directory)
            yield opened, store, plan
        except DevnetError as error:
            raise FabricNetError(str(error)) from error
        finally:
            store.close()

    def _check_ports(self, opened: Network, plan: Plan) -> None:
        """Refuse at once if a stranger listens where a part of ours that does not run has to."""
        taken = []
        for name, port in _listeners(opened, plan):
            if self.processes.pid(name) is None and in_use(opened.layout.host, [port]):
                taken.append(f"{port} ({name})")
        if taken:
            raise FabricNetError(
                f"another program listens on {opened.layout.host} port {', '.join(taken)}: stop "
                "it, or use another directory, which gets ports of its own"
            )

    def _start_orderers(
        self, opened: Network, plan: Plan, programs: Binaries, made: Sequence[Zone]
    ) -> None:
        host = opened.layout.host
        members = list(zip(opened.material.orderers, plan.orderers, strict=True))
        for member, ports in members:
            folder = configs.NodeFolder(self.directory / "nodes" / member.node.name)
            configs.write_orderer(folder, member, ports)
            environment = {"FABRIC_CFG_PATH": str(folder.path), **_LOGGING}
            self.processes.start(Command(member.node.name, [str(programs.orderer)], environment))
        for member, ports in members:
            self._wait_healthy(member.node.name, url(host, ports.operations, "/healthz"))
            self._wait(member.node.name, functools.partial(self._listens, host, ports.admin))
            for zone in made:
                admin = url(host, ports.admin)
                channel.join_orderer(self._http, admin, zone.name, zone.genesis)

    def _start_peers(
        self, opened: Network, plan: Plan, programs: Binaries, made: Sequence[Zone]
    ) -> None:
        host = opened.layout.host
        builder = self.directory / "nodes" / "builder"
        configs.write_builder(builder)
        members = list(zip(opened.material.peers, plan.peers, strict=True))
        for member, ports in members:
            folder = configs.NodeFolder(self.directory / "nodes" / member.node.name)
            configs.write_peer(folder, member, ports, builder, time_window=programs.knows_bft)
            environment = {"FABRIC_CFG_PATH": str(folder.path), **_LOGGING}
            arguments = [str(programs.peer), "node", "start"]
            self.processes.start(Command(member.node.name, arguments, environment))
        for index, (member, ports) in enumerate(members):
            name = member.node.name
            self._wait_healthy(name, url(host, ports.operations, "/healthz"))
            # Its operations answer some time before its gRPC services do.
            self._wait(name, functools.partial(self._peer_answers, opened, index))
            with self._peer_admin(opened, index) as admin:
                for zone in made:
                    admin.join(zone.name, zone.genesis)

    def _write_users(self, opened: Network, store: Store) -> None:
        registry = Registry(store, secrets.token_bytes)
        now = self._clock.now
        cas = devnet_network.authorities(opened, registry, now, secrets.token_bytes)
        devnet_network.write_users(opened, cas, secrets.token_bytes, now())

    def _start_cas(self, opened: Network, plan: Plan, programs: Binaries) -> None:
        if not plan.fabric_ca:
            arguments = [*_light_node(), "fabric", "ca", "--dir", str(self.directory)]
            self.processes.start(Command("ca", arguments, {}))
            port = opened.layout.ca_port
            self._wait("ca", functools.partial(self._listens, opened.layout.host, port))
            return
        if programs.ca_server is None:
            raise FabricNetError(
                f"the CAs of the network in {self.directory} are Fabric CA's: put "
                "fabric-ca-server into FABRIC_BIN or on PATH"
            )
        ports = iter(plan.ca_ports)
        for index, member in enumerate(opened.material.peers):
            port, operations = next(ports), next(ports)
            folder = self.directory / "nodes" / f"ca.{member.node.organization}"
            command = authority.fabric_ca_command(
                programs.ca_server, folder, opened, index, port, operations
            )
            self.processes.start(command)
        ports = iter(plan.ca_ports)
        for member in opened.material.peers:
            port, _ = next(ports), next(ports)
            name = f"ca.{member.node.organization}"
            self._wait(name, functools.partial(self._listens, opened.layout.host, port))

    def _deploy(self, opened: Network, plan: Plan, name: str, zone: Zone) -> None:
        host = opened.layout.host
        servers = [server for server in plan.chaincode_servers if server.chaincode == name]
        packages = [self._package(opened, server) for server in servers]
        for server, (_, package_id) in zip(servers, packages, strict=True):
            self._start_chaincode(opened, server, package_id)
        for server in servers:
            process = server_name(server, opened.layout.peers)
            self._wait_healthy(process, url(host, server.operations, "/healthz"))
        config = ChannelConfig.from_block(zone.genesis)
        with ExitStack() as resources:
            members = []
            for server, (package, package_id) in zip(servers, packages, strict=True):
                node = opened.layout.peers[server.peer]
                admin = devnet_network.load_user(self.directory, node.msp_id, "admin")
                line = connect(node.address, _tls_root(opened, server.peer))
                resources.callback(line.close)
                own = endorsement.by_reference(
                    config, f"/Channel/Application/{node.msp_id}/Endorsement"
                )
                together = endorsement.by_reference(config, endorsement.LIFECYCLE_REFERENCE)
                members.append(
                    lifecycle.Member(
                        node.msp_id,
                        line,
                        admin,
                        channel.PeerAdmin(line, admin, self._clock, secrets.token_bytes),
                        Gateway(line, admin, zone.name, self._clock, policy=own),
                        Gateway(line, admin, zone.name, self._clock, policy=together),
                        package,
                        package_id,
                    )
                )
            lifecycle.deploy(name, CHAINCODE_VERSION, members, _DEPLOY_S)
            policy = endorsement.by_reference(config)
            for member in members:
                gateway = Gateway(member.line, member.admin, zone.name, self._clock, policy=policy)
                lifecycle.await_endorsers(gateway, name, _PROBES[name], _DEPLOY_S)

    def _package(self, opened: Network, server: ChaincodeServerPorts) -> tuple[bytes, str]:
        """Return the install package for the server's peer and its id; the same at every start."""
        label = f"{server.chaincode}_{CHAINCODE_VERSION}"
        connection = packaging.Connection(
            address=join_address(opened.layout.host, server.port),
            root_cert=opened.material.peers[server.peer].tls_ca.certificate_pem.decode(),
        )
        package = packaging.build(label, connection)
        return package, packaging.package_id(label, package)

    def _start_chaincode(
        self, opened: Network, server: ChaincodeServerPorts, package_id: str
    ) -> None:
        # The contract's TLS certificate is its peer's: same organisation, same machine.
        tls = self.directory / "nodes" / opened.layout.peers[server.peer].name / "tls"
        host = opened.layout.host
        arguments = [
            *_light_node(),
            *("chaincode", "--chaincode", server.chaincode, "--package-id", package_id),
            *("--address", join_address(host, server.port)),
            *("--operations", join_address(host, server.operations)),
            *("--tls-cert", str(tls / "server.crt"), "--tls-key", str(tls / "server.key")),
        ]
        name = server_name(server, opened.layout.peers)
        self.processes.start(Command(name, arguments, _CHAINCODE_ENVIRONMENT))

    @staticmethod
    def _listens(host: str, port: int) -> bool:
        return bool(in_use(host, [port]))

    def _wait_healthy(self, name: str, address: str) -> None:
        self._wait(name, lambda: channel.healthy(self._http, address))

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        self.processes.wait_until(name, ready, _START_S)

    @contextmanager
    def _peer_admin(self, opened: Network, index: int) -> Iterator[channel.PeerAdmin]:
        node = opened.layout.peers[index]
        member = opened.material.peers[index]
        admin = devnet_network.load_user(self.directory, node.msp_id, "admin")
        line = connect(node.address, member.tls_ca.certificate_pem)
        try:
            yield channel.PeerAdmin(line, admin, self._clock, secrets.token_bytes)
        except FabricError as error:
            raise FabricNetError(f"the peer {node.name}: {error}") from error
        finally:
            line.close()

    def _peer_answers(self, opened: Network, index: int) -> bool:
        with self._peer_admin(opened, index) as admin:
            try:
                admin.channels()
            except Unavailable:
                return False
            return True

    def _profile(self, opened: Network, plan: Plan) -> NetworkProfile:
        made = devnet_network.network_profile(opened, self._clock.now())
        organizations = made.organizations
        if plan.fabric_ca:
            ports = iter(plan.ca_ports)
            organizations = tuple(
                replace(organization, ca=_at_port(organization.ca, opened.layout.host, ports))
                for organization in organizations
            )
        name = f"Fabric {plan.release} at {opened.layout.host}"
        return replace(made, name=name, organizations=organizations)

    # -- the rest ------------------------------------------------------------------------------

    def down(self, *, purge: bool = False) -> list[str]:
        """Stop every process, chaincodes first, ledgers last; return those that had to be killed.

        ``purge`` also removes the directory, ledgers and keys with it.
        """
        if not (self.directory / FILE_NAME).exists() and not self.processes.names():
            raise FabricNetError(f"{self.directory} holds no network")
        names = self.processes.names()
        nodes = [name for name in names if name.startswith(("peer", "orderer"))]
        killed = self.processes.stop([name for name in names if name not in nodes])
        killed += self.processes.stop([name for name in nodes if name.startswith("peer")])
        killed += self.processes.stop([name for name in nodes if name.startswith("orderer")])
        if purge:
            shutil.rmtree(self.directory)
        return killed

    def status(self) -> dict[str, Any]:
        """Return what runs, and how far the nodes are; ``FabricNetError`` without a network."""
        return network_status(self.directory, self.processes, self._http, self._clock)

    def serve_ca(self, announce: Callable[[], None]) -> None:
        """Serve the devnet's CAs for this network until told to stop (a process of ``up``)."""
        try:
            store = Store.open(self.directory / "keys")
            try:
                opened = devnet_network.open_network(
                    self.directory,
                    Options(host=None),
                    store,
                    self._clock.now(),
                    secrets.token_bytes,
                )
                authority.serve(opened, store, self._clock, announce)
            finally:
                store.close()
        except DevnetError as error:
            raise FabricNetError(str(error)) from error


def _capability(programs: Binaries) -> str:
    """Return the channel capability that the nodes of a release know."""
    return "V3_0" if programs.knows_bft else "V2_0"


def _listeners(opened: Network, plan: Plan) -> Iterator[tuple[str, int]]:
    """Yield every process that listens with each of its ports."""
    layout = opened.layout
    for node, peer in zip(layout.peers, plan.peers, strict=True):
        for port in (node.port, peer.operations, peer.chaincode_listener):
            yield node.name, port
    for node, orderer in zip(layout.orderers, plan.orderers, strict=True):
        for port in (node.port, orderer.admin, orderer.operations):
            yield node.name, port
    for server in plan.chaincode_servers:
        for port in (server.port, server.operations):
            yield server_name(server, layout.peers), port
    if plan.fabric_ca:
        for index, port in enumerate(plan.ca_ports):
            yield f"ca.{layout.peers[index // 2].organization}", port
    else:
        yield "ca", layout.ca_port


def _at_port(ca: CaEndpoint | None, host: str, ports: Iterator[int]) -> CaEndpoint | None:
    port, _ = next(ports), next(ports)
    return ca and replace(ca, url=f"https://{join_address(host, port)}")


def _tls_root(opened: Network, index: int) -> bytes:
    return opened.material.peers[index].tls_ca.certificate_pem


def _light_node() -> list[str]:
    return [sys.executable, "-c", _PROGRAM]
