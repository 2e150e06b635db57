"""``light-node profile``: make a network profile from a channel's configuration block.

Peers (anchor peers), orderers, TLS roots and consenter numbers are in the block; only what it does
not say is given beside it.
"""

import argparse
from datetime import timedelta
from pathlib import Path

from light_node import commandline
from light_node.chain import trust
from light_node.clock import SystemClock
from light_node.commandline import InputError
from light_node.fabric.block import BlockError, config_envelope, parse_block
from light_node.fabric.channel_config import BFT, ChannelConfig, ConfigError
from light_node.fabric.pb import common_pb2, msp_pb2
from light_node.fabric.profile import (
    CaEndpoint,
    NetworkProfile,
    OrdererEndpoint,
    Organization,
    PeerEndpoint,
    ProfileError,
    TrustRoot,
)

SUMMARY = "Make a network profile, which wallets and light nodes start from."

_HELP = """\
The configuration block is the genesis block, or a later one fetched with peer channel fetch config.
Whoever makes the profile vouches for it: compare its fingerprint with the other organisations.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    parser.add_argument(
        "--config-block", required=True, metavar="FILE", help="configuration block of the channel"
    )
    parser.add_argument("--name", required=True, help="what wallets show as the network's name")
    parser.add_argument("--chaincode", default="market", help="the contract's name (market)")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="MSPID=HOST:PORT",
        help="a peer of an organisation (default: its anchor peers; may be repeated)",
    )
    parser.add_argument(
        "--ca",
        action="append",
        default=[],
        metavar="MSPID=URL,NAME,ROOT.pem",
        help="where an organisation's wallets enrol, and the root of its TLS certificate",
    )
    parser.add_argument(
        "--days", type=int, default=365, metavar="N", help="how long the root is trusted (365)"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the profile")


def execute(arguments: argparse.Namespace) -> int:
    """Write the profile and print the fingerprint; ``InputError`` for what cannot be used."""
    raw = commandline.read_bytes(arguments.config_block)
    try:
        block = parse_block(raw)
        config = ChannelConfig.from_block(block)
        _, envelope = config_envelope(block)
    except (BlockError, ConfigError) as error:
        raise InputError(f"{arguments.config_block}: {error}") from error
    if not 1 <= arguments.days <= 3650:
        raise InputError("--days must be 1 to 3650")
    roots = _tls_roots(envelope.config)
    now = SystemClock().now()
    peers, cas = _peers(arguments, config), _cas(arguments, config)
    profile = NetworkProfile(
        name=arguments.name,
        channel=config.channel_id,
        chaincode=arguments.chaincode,
        organizations=tuple(
            Organization(
                org.msp_id,
                tuple(
                    PeerEndpoint(f"peer{i}.{org.msp_id}", address, roots[org.msp_id])
                    for i, address in enumerate(peers[org.msp_id])
                ),
                cas.get(org.msp_id),
            )
            for org in config.application_organizations
        ),
        orderers=_orderers(config, roots),
        trust_root=TrustRoot(
            config.channel_id, raw, block.hash.hex(), now, now + timedelta(days=arguments.days)
        ),
    )
    path = Path(arguments.output)
    try:
        profile.save(path)
        NetworkProfile.load(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    except ProfileError as error:
        raise InputError(f"that makes no profile: {error}") from error
    root = trust.from_profile(profile.trust_root)
    print(f"{path}: channel {profile.channel}, trust root {root.fingerprint} (block {root.number})")
    return commandline.GOOD


def _tls_roots(config: common_pb2.Config) -> dict[str, str]:
    """Return the TLS roots and intermediates of every MSP as PEM text."""
    found = {}
    for part in ("Application", "Orderer"):
        for group in config.channel_group.groups[part].groups.values():
            outer = msp_pb2.MSPConfig.FromString(group.values["MSP"].value)
            msp = msp_pb2.FabricMSPConfig.FromString(outer.config)
            pems = [*msp.tls_root_certs, *msp.tls_intermediate_certs]
            found[msp.name] = "".join(pem.decode(errors="replace").strip() + "\n" for pem in pems)
    return found


def _peers(arguments: argparse.Namespace, config: ChannelConfig) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {org.msp_id: [] for org in config.application_organizations}
    for given in arguments.peer:
        msp_id, address = _assignment(given, "--peer", found)
        found[msp_id].append(address)
    for org in config.application_organizations:
        found[org.msp_id] = found[org.msp_id] or list(org.anchor_peers)
        if not found[org.msp_id]:
            raise InputError(
                f"the configuration names no anchor peer of {org.msp_id}: "
                f"give --peer {org.msp_id}=HOST:PORT"
            )
    return found


def _cas(arguments: argparse.Namespace, config: ChannelConfig) -> dict[str, CaEndpoint]:
    known: dict[str, list[str]] = {org.msp_id: [] for org in config.application_organizations}
    found = {}
    for given in arguments.ca:
        msp_id, text = _assignment(given, "--ca", known)
        parts = text.split(",", 2)
        if len(parts) != 3:
            raise InputError(f"--ca {given}: it must be MSPID=URL,NAME,ROOT.pem")
        url, name, root = parts
        pem = commandline.read_bytes(root).decode(errors="replace")
        found[msp_id] = CaEndpoint(url, name, pem)
    return found


def _orderers(config: ChannelConfig, roots: dict[str, str]) -> tuple[OrdererEndpoint, ...]:
    """Consenters with BFT, which have numbers; otherwise the organisations' endpoints."""
    if config.consensus_type == BFT:
        return tuple(
            OrdererEndpoint(c.msp_id, f"{c.host}:{c.port}", roots[c.msp_id], c.id)
            for c in config.consenters
        )
    found = tuple(
        OrdererEndpoint(org.msp_id, address, roots[org.msp_id])
        for org in config.orderer_organizations
        for address in org.endpoints
    )
    if not found:
        raise InputError("the configuration names no orderer endpoints (OrdererEndpoints)")
    return found


def _assignment(given: str, option: str, known: dict[str, list[str]]) -> tuple[str, str]:
    msp_id, equals, rest = given.partition("=")
    if not equals or not rest:
        raise InputError(f"{option} {given}: it must be MSPID=…")
    if msp_id not in known:
        raise InputError(f"{option} {given}: the channel has only {', '.join(sorted(known))}")
    return msp_id, rest
