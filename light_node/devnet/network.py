"""A devnet's directory: made on the first start, opened again on every later one.

``<dir>/devnet.sqlite`` holds everything that counts. ``<dir>/users`` and ``<dir>/profile.json`` are
written from it for others to read, so they come back if they were deleted.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from light_node.clock import REAL_TIME, MarketTime
from light_node.devnet import material as materials
from light_node.devnet.ca import CertificateAuthority
from light_node.devnet.certificates import NODE_LIFETIME, Credential, issue_identity
from light_node.devnet.config_update import CurrentConfig
from light_node.devnet.errors import DevnetError, DirectoryError
from light_node.devnet.genesis import MAX_MESSAGE_COUNT, OrderingParameters, genesis_block
from light_node.devnet.layout import CHAINCODE, CHANNEL, Layout, join_address, plan
from light_node.devnet.ledger import write_genesis
from light_node.devnet.material import Material
from light_node.devnet.registry import Attribute, Registry
from light_node.devnet.store import Store, StoredBlock
from light_node.fabric import crypto, profile
from light_node.fabric.block import encode_block
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2
from light_node.fabric.proposal import NONCE_BYTES

Random = Callable[[int], bytes]
PROFILE_FILE = "profile.json"
USERS_DIRECTORY = "users"
DEFAULT_BASE_PORT = 7051
DEFAULT_BATCH_TIMEOUT_MS = 500
REGISTRAR = "admin"
_TRUST_LIFETIME = timedelta(days=365)
_USERS: tuple[tuple[str, str, tuple[Attribute, ...]], ...] = (
    (
        "reader",
        "client",
        (
            Attribute("market.user_type", "auditor", True),
            Attribute("market.permissions", "audit", True),
        ),
    ),
    (
        "operator",
        "client",
        (
            Attribute("market.user_type", "operator", True),
            Attribute("market.permissions", "operate", True),
        ),
    ),
    ("admin", "admin", ()),
)
"""The identities of each organisation whose keys lie in ``users/``: id, type, attributes."""


DEFAULT_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Options:
    """What a start asks for; None where a later start takes what the first one set."""

    host: str | None = DEFAULT_HOST
    base_port: int | None = None
    raft: bool = False
    batch_timeout_ms: int | None = None
    batch_messages: int | None = None
    market_rate: int | None = None
    market_start: datetime | None = None
    channel_capability: str = "V3_0"


@dataclass(frozen=True, slots=True)
class Network:
    """An opened directory: the plan, the keys, and the settings of this run."""

    directory: Path
    layout: Layout
    material: Material
    genesis: StoredBlock
    batch_timeout_ms: int
    registrar_secret: str
    created: datetime


def open_network(
    directory: Path, options: Options, store: Store, now: datetime, random: Random
) -> Network:
    """Return the network in ``directory``, made if the store is empty.

    ``DirectoryError`` if the options contradict what the directory already holds.
    """
    with store.transaction():
        if store.meta("created") is None:
            _create(store, options, now, random)
    network = _load(directory, options, store)
    _check_options(network, options)
    return network


def _create(store: Store, options: Options, now: datetime, random: Random) -> None:
    base_port = DEFAULT_BASE_PORT if options.base_port is None else options.base_port
    layout = plan(options.host or DEFAULT_HOST, base_port, bft=not options.raft)
    credentials = materials.create(layout, now)
    for name, credential in credentials.items():
        store.add_credential(name, credential.certificate_pem, credential.key_pem)
    timeout = options.batch_timeout_ms or DEFAULT_BATCH_TIMEOUT_MS
    parameters = OrderingParameters(
        layout.bft, timeout, options.channel_capability, options.batch_messages or MAX_MESSAGE_COUNT
    )
    material = materials.arrange(layout, credentials)
    seconds = int(now.timestamp())
    write_genesis(store, genesis_block(material, parameters, seconds, random(NONCE_BYTES)))
    for key, value in {
        "created": now.isoformat(),
        "host": layout.host,
        "ports": " ".join(map(str, layout.base_ports)),
        "ordering": "bft" if layout.bft else "raft",
        "batch_timeout_ms": str(timeout),
        "registrar_secret": random(16).hex(),
    }.items():
        store.set_meta(key, value)


def _load(directory: Path, options: Options, store: Store) -> Network:
    settings = {
        key: store.meta(key)
        for key in ("created", "host", "ports", "ordering", "batch_timeout_ms", "registrar_secret")
    }
    genesis = store.block(0)
    try:
        layout = Layout(
            str(settings["host"]),
            tuple(int(port) for port in str(settings["ports"]).split()),
            settings["ordering"] == "bft",
        )
        credentials = {
            name: Credential.load(certificate, key)
            for name, (certificate, key) in store.credentials().items()
        }
        material = materials.arrange(layout, credentials)
        timeout = int(str(settings["batch_timeout_ms"]))
        created = datetime.fromisoformat(str(settings["created"]))
    except (KeyError, ValueError) as error:
        raise DirectoryError(f"{directory} is damaged: {error}") from error
    if genesis is None:
        raise DirectoryError(f"{directory} is damaged: block 0 is missing")
    return Network(
        directory=directory,
        layout=layout,
        material=material,
        genesis=genesis,
        batch_timeout_ms=options.batch_timeout_ms or timeout,
        registrar_secret=str(settings["registrar_secret"]),
        created=created,
    )


def _check_options(network: Network, options: Options) -> None:
    layout = network.layout
    if options.base_port and options.base_port != layout.base_ports[0]:
        raise DirectoryError(
            f"the network in {network.directory} is configured for ports from "
            f"{layout.base_ports[0]}: leave out --base-port, or use another directory"
        )
    if options.host not in (None, layout.host):
        raise DirectoryError(
            f"the network in {network.directory} is configured for host {layout.host}: "
            f"use --host {layout.host}, or another directory"
        )
    if options.raft and layout.bft:
        raise DirectoryError(
            f"the network in {network.directory} orders with BFT: "
            "leave out --raft, or use another directory"
        )


def market_time(store: Store, options: Options, now: datetime) -> MarketTime:
    """Return how market time runs: as asked now, else as asked last, else as wall time.

    It starts when it is asked for, and goes on while the devnet is stopped, like any clock.
    """
    if options.market_rate is not None or options.market_start is not None:
        chosen = MarketTime(now, options.market_start or now, options.market_rate or 1)
        store.set_meta("market_time", json.dumps(chosen.to_json()))
        return chosen
    kept = store.meta("market_time")
    return REAL_TIME if kept is None else MarketTime.from_json(json.loads(kept))


# -- CAs and users -------------------------------------------------------------------------------


def authorities(
    network: Network, registry: Registry, now: Callable[[], datetime], random: Random
) -> list[CertificateAuthority]:
    """Return the CAs ``ca-org1`` … of the peer organisations, each with its registrar."""
    found = []
    for member in network.material.peers:
        authority = CertificateAuthority(
            ca_name(member.node.organization),
            member.ca,
            registry,
            now,
            lambda: random(12).hex(),
        )
        if authority.registration(REGISTRAR) is None:
            authority.register_registrar(REGISTRAR, network.registrar_secret)
        found.append(authority)
    return found


def ca_name(organization: str) -> str:
    """Return the CA name of ``org1`` …"""
    return f"ca-{organization}"


def write_users(
    network: Network, cas: list[CertificateAuthority], random: Random, now: datetime
) -> None:
    """Write ``users/<MSP id>/<name>/{cert.pem,key.pem,msp_id}`` where missing or expired.

    Organisations of orderers have no CA service and one user each, the admin that configuration
    updates of ordering take.
    """
    for member, authority in zip(network.material.peers, cas, strict=True):
        for name, kind, attributes in _USERS:
            directory = network.directory / USERS_DIRECTORY / member.node.msp_id / name
            if _usable(directory, now):
                continue
            identity = f"{name}.{member.node.organization}"
            authority.register_identity(identity, random(16).hex(), kind, attributes)
            registration = authority.registration(identity)
            if registration is None:
                raise DevnetError(f"cannot register {identity}")
            key = crypto.generate_key()
            chosen = {a.name: a.value for a in registration.attributes if a.ecert}
            certificate = authority.issue(registration, key.public_key(), chosen)
            _write_user(directory, member.node.msp_id, Credential(certificate, key))
    for member in network.material.orderers:
        directory = network.directory / USERS_DIRECTORY / member.node.msp_id / "admin"
        if not _usable(directory, now):
            key, name = crypto.generate_key(), f"admin.{member.node.organization}"
            expiry = now + NODE_LIFETIME
            certificate = issue_identity(member.ca, key.public_key(), name, ["admin"], expiry)
            _write_user(directory, member.node.msp_id, Credential(certificate, key))


def load_user(directory: Path, msp_id: str, name: str) -> SigningIdentity:
    """Return an identity that :func:`write_users` wrote below the devnet's ``directory``.

    ``OSError`` if it is not there, ``IdentityError`` or ``CryptoError`` if it is damaged.
    """
    place = directory / USERS_DIRECTORY / msp_id / name
    key = crypto.load_private_key((place / "key.pem").read_bytes())
    return SigningIdentity.from_key(msp_id, (place / "cert.pem").read_bytes(), key)


def _usable(directory: Path, now: datetime) -> bool:
    try:
        certificate = crypto.load_certificate((directory / "cert.pem").read_bytes())
        key = crypto.load_private_key((directory / "key.pem").read_bytes())
        (directory / "msp_id").read_bytes()
    except (OSError, crypto.CryptoError):
        return False
    return certificate.public_key() == key.public_key() and certificate.not_valid_after_utc > now


def _write_user(directory: Path, msp_id: str, credential: Credential) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "msp_id", msp_id.encode(), 0o644)
    _write(directory / "key.pem", credential.key_pem, 0o600)
    # Last: whoever waits for the certificate finds the rest there.
    _write(directory / "cert.pem", credential.certificate_pem, 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    partial.replace(path)


def current_config(store: Store) -> CurrentConfig:
    """Return the configuration in force at the tip; ``DirectoryError`` if its block is missing."""
    tip = store.block(store.height() - 1)
    stored = None if tip is None else store.block(tip.last_config)
    if stored is None:
        raise DirectoryError("the ledger is damaged: its configuration block is missing")
    return CurrentConfig.from_stored(stored)


# -- profile -------------------------------------------------------------------------------------


def network_profile(
    network: Network, now: datetime, market_time: MarketTime = REAL_TIME
) -> profile.NetworkProfile:
    """Return what a wallet must know to use this network; the trust root is block 0."""
    layout, material = network.layout, network.material
    ca_url = f"https://{join_address(layout.host, layout.ca_port)}"
    ca_root = material.ca_server_root.certificate_pem.decode()
    organizations = tuple(
        profile.Organization(
            member.node.msp_id,
            (
                profile.PeerEndpoint(
                    member.node.name,
                    member.node.address,
                    member.tls_ca.certificate_pem.decode(),
                ),
            ),
            profile.CaEndpoint(ca_url, ca_name(member.node.organization), ca_root),
        )
        for member in material.peers
    )
    orderers = tuple(
        profile.OrdererEndpoint(
            member.node.msp_id,
            member.node.address,
            member.tls_ca.certificate_pem.decode(),
            number if layout.bft else None,
        )
        for number, member in enumerate(material.orderers, start=1)
    )
    return profile.NetworkProfile(
        name=f"devnet at {layout.host}",
        channel=CHANNEL,
        chaincode=CHAINCODE,
        organizations=organizations,
        orderers=orderers,
        trust_root=profile.TrustRoot(
            channel=CHANNEL,
            config_block=genesis_bytes(network.genesis),
            hash=network.genesis.hash.hex(),
            obtained=now,
            expires=now + _TRUST_LIFETIME,
        ),
        market_time=market_time,
        registrars=tuple(
            profile.Registrar(member.node.msp_id, REGISTRAR, network.registrar_secret)
            for member in material.peers
        ),
    )


def genesis_bytes(genesis: StoredBlock) -> bytes:
    """Return block 0 serialized, as it is handed to whoever joins the channel."""
    envelopes = common_pb2.BlockData.FromString(genesis.data).data
    metadata = [genesis.signatures, b"", genesis.filter, b"", b""]
    return encode_block(0, b"", envelopes, metadata)
