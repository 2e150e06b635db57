"""The devnet process: every service of every node on one event loop, until told to stop."""

import asyncio
import gc
import secrets
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from light_node.clock import Clock
from light_node.contract.chaincodes import CHAINCODES
from light_node.devnet import gateway_service, network, orderer_service, peer_service
from light_node.devnet.access import AccessControl, ChannelRules
from light_node.devnet.blocks import BlockSigner, CopyRule
from light_node.devnet.ca_interface import CaInterface
from light_node.devnet.ca_server import CaServer
from light_node.devnet.chain import Chain
from light_node.devnet.endorser import Endorser
from light_node.devnet.errors import DirectoryError, PortInUseError
from light_node.devnet.forger import Forger
from light_node.devnet.layout import in_use, join_address
from light_node.devnet.ledger import LedgerWriter
from light_node.devnet.masks import Instruction, Liars, MaskedOrderer, MaskedPeer
from light_node.devnet.material import NodeMaterial
from light_node.devnet.network import Network, Options
from light_node.devnet.ordering import OrderingService
from light_node.devnet.registry import Registry
from light_node.devnet.store import Store
from light_node.devnet.system_chaincodes import SystemChaincodes
from light_node.devnet.views import OrdererView, PeerView
from light_node.fabric import methods
from light_node.fabric.connection import MAX_MESSAGE_BYTES
from light_node.fabric.profile import NetworkProfile

_STOP_GRACE_SECONDS = 1.0
# The writer's thread and the loop share one interpreter lock; Python's default of 5 ms between
# hand-overs would show as latency of every call that arrives while a block is validated.
_SWITCH_INTERVAL = 0.0005
_SERVER_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Two servers must not share a port silently.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 60_000),
    ("grpc.keepalive_permit_without_calls", 1),
]

Behaviours = Mapping[methods.Method, Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Running:
    """A devnet that serves."""

    network: Network
    profile: NetworkProfile
    profile_path: Path
    peers: tuple[PeerView, ...]
    orderers: tuple[OrdererView, ...]
    liars: Liars


class Devnet:
    """The embedded network of one directory. ``async with`` starts and stops it.

    ``lies`` are told from the start; ``Running.liars`` changes them later.
    """

    def __init__(
        self,
        directory: Path,
        options: Options,
        clock: Clock,
        *,
        lies: Sequence[Instruction] = (),
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._directory = directory
        self._options = options
        self._clock = clock
        self._lies = lies
        self._random = random
        self._resources = AsyncExitStack()
        self._servers: list[grpc.aio.Server] = []

    async def __aenter__(self) -> Running:
        """Start; ``DevnetError`` (and nothing left behind) if that is impossible."""
        try:
            async with self._resources:
                running = await self._start()
                self._resources = self._resources.pop_all()
        except (OSError, sqlite3.Error) as error:
            raise DirectoryError(f"cannot write in {self._directory}: {error}") from error
        return running

    async def __aexit__(self, *_: object) -> None:
        """Stop: what was accepted is written first."""
        await self._resources.aclose()

    # -- start -------------------------------------------------------------------------------

    async def _start(self) -> Running:
        writer = self._open_store()
        opened = network.open_network(
            self._directory, self._options, writer, self._clock.now(), self._random
        )
        _check_ports(opened)
        registry = Registry(self._open_store(), self._random)
        cas = network.authorities(opened, registry, self._clock.now, self._random)
        ca_server = CaServer(
            CaInterface(cas),
            opened.layout.host,
            opened.layout.ca_port,
            opened.material.ca_server,
        )
        self._resources.callback(ca_server.stop)
        running = await self._start_nodes(opened, writer)
        network.write_users(opened, cas, self._random, self._clock.now())
        ca_server.start()
        running.profile.save(running.profile_path)
        sys.setswitchinterval(_SWITCH_INTERVAL)
        # Everything alive now stays: collections need not look at it again.
        gc.collect()
        gc.freeze()
        return running

    def _open_store(self) -> Store:
        store = Store.open(self._directory)
        self._resources.callback(store.close)
        return store

    async def _start_nodes(self, opened: Network, writer: Store) -> Running:
        current = network.current_config(writer)
        config = current.understood
        access = AccessControl(config, self._clock.now)
        bft = opened.layout.bft
        members = opened.material.orderers
        signer = BlockSigner([m.signing_identity() for m in members], bft, self._random)
        rules = ChannelRules(current, frozenset(CHAINCODES))
        ledger = LedgerWriter(writer, signer, rules)
        timeout_ms = self._options.batch_timeout_ms
        chain = Chain(self._open_store())
        ordering = OrderingService(
            access,
            ledger.append,
            chain.publish,
            batch_timeout=timeout_ms / 1000 if timeout_ms else config.batch_timeout_ns / 1e9,
            bft=bft,
            current=current,
            append_config=ledger.append_config,
        )
        orderers = tuple(
            MaskedOrderer(member, chain, CopyRule(i, len(members), bft), ordering)
            for i, member in enumerate(members)
        )
        peers = tuple(
            MaskedPeer(member, chain, CopyRule(i % len(members), len(members), bft))
            for i, member in enumerate(opened.material.peers)
        )
        forger = Forger(chain, signer, opened.material, bft, self._random)
        liars = Liars([*peers, *orderers], forger)
        for instruction in self._lies:
            liars.tell(instruction)
        ordering.start()
        self._resources.push_async_callback(ordering.stop)
        self._resources.push_async_callback(self._stop_servers)
        await self._serve(opened, access, peers, orderers)
        now = self._clock.now()
        market_time = network.market_time(writer, self._options, now)
        return Running(
            opened,
            network.network_profile(opened, now, market_time),
            self._directory / network.PROFILE_FILE,
            peers,
            orderers,
            liars,
        )

    async def _serve(
        self,
        opened: Network,
        access: AccessControl,
        peers: tuple[PeerView, ...],
        orderers: tuple[OrdererView, ...],
    ) -> None:
        msp_ids = [peer.node.msp_id for peer in peers]
        system = SystemChaincodes(access.channel, sorted(CHAINCODES), msp_ids)
        endorsers = [Endorser(peer, access, CHAINCODES, system) for peer in peers]
        for i, member in enumerate(opened.material.peers):
            gateway = gateway_service.GatewayService(
                [*endorsers[i:], *endorsers[:i]],
                orderers,
                access,
                needed=len(peers) // 2 + 1,
                bft=opened.layout.bft,
            )
            services = {**gateway.behaviours(), **peer_service.behaviours(endorsers[i], access)}
            await self._listen(member, services, peer_service.DELIVER_METHODS)
        for view, member in zip(orderers, opened.material.orderers, strict=True):
            services = dict(orderer_service.behaviours(view, access))
            await self._listen(member, services, (methods.ORDERER_DELIVER,))

    async def _listen(
        self, member: NodeMaterial, services: Behaviours, raw: tuple[methods.Method, ...]
    ) -> None:
        server = grpc.aio.server(options=_SERVER_OPTIONS)
        server.add_generic_rpc_handlers(tuple(methods.service_handlers(services, raw=raw)))
        credentials = grpc.ssl_server_credentials(
            [(member.tls.key_pem, member.tls.certificate_pem)]
        )
        try:
            port = server.add_secure_port(member.node.address, credentials)
        except RuntimeError as error:
            raise _port_in_use([member.node.address]) from error
        if port != member.node.port:
            raise _port_in_use([member.node.address])
        await server.start()
        self._servers.append(server)

    async def _stop_servers(self) -> None:
        # All at once: each waits for its open streams as long as it may.
        await asyncio.gather(*(server.stop(_STOP_GRACE_SECONDS) for server in self._servers))


def _check_ports(opened: Network) -> None:
    layout = opened.layout
    taken = in_use(layout.host, layout.base_ports)
    if taken:
        raise _port_in_use([join_address(layout.host, port) for port in taken])


def _port_in_use(addresses: list[str]) -> PortInUseError:
    return PortInUseError(
        f"cannot listen on {', '.join(addresses)}: the port is in use (is this devnet running "
        "already?) or not allowed; stop the other program, or start in a new directory with "
        "another --base-port"
    )


async def run_until(stop: asyncio.Event, devnet: Devnet, ready: Callable[[Running], None]) -> None:
    """Start ``devnet``, call ``ready``, and stop when ``stop`` is set."""
    async with devnet as running:
        ready(running)
        await stop.wait()
