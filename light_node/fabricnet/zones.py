"""The channels of a network: the first one, and one for every further market zone.

A zone has a block 0, a contract, a trust root and a profile of its own; organisations, nodes, CAs
and chaincode servers are those of the first channel. What a zone adds lies in ``channels/NAME``,
which has what a network's directory has for clients: ``profile.json``, and ``users`` as a link.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from light_node.devnet import network as devnet_network
from light_node.devnet.genesis import OrderingParameters, genesis_block
from light_node.devnet.layout import CHANNEL
from light_node.devnet.network import USERS_DIRECTORY, Network
from light_node.fabric.block import BlockError, parse_block
from light_node.fabric.channel_config import ChannelConfig, ConfigError
from light_node.fabric.profile import NetworkProfile
from light_node.fabric.proposal import NONCE_BYTES
from light_node.fabricnet.errors import FabricNetError
from light_node.files import write_atomically

DIRECTORY = "channels"
GENESIS_FILE = "genesis.block"
# Fabric's rule (configtx.validateChannelID).
_NAME = re.compile(r"[a-z][a-z0-9.-]{0,248}\Z")


@dataclass(frozen=True, slots=True)
class Zone:
    """One channel: its name, its block 0 serialized, and where its profile lies."""

    name: str
    genesis: bytes
    directory: Path


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the channels to have beside the first one; ``FabricNetError`` for a bad name."""
    for name in names:
        if not _NAME.match(name):
            raise FabricNetError(
                f"{name[:60]!r} is no name for a channel: it starts with a small letter and has "
                "small letters, digits, dots and dashes, 249 at most"
            )
    return tuple(dict.fromkeys(name for name in names if name != CHANNEL))


def folder(directory: Path, name: str) -> Path:
    """Return where the profile of a channel lies in the network's ``directory``."""
    return directory if name == CHANNEL else directory / DIRECTORY / name


def prepare(
    opened: Network,
    names: Sequence[str],
    capability: str,
    now: datetime,
    random: Callable[[int], bytes],
) -> list[Zone]:
    """Return the first channel and ``names``; makes and keeps a block 0 for those without one."""
    first = Zone(CHANNEL, devnet_network.genesis_bytes(opened.genesis), opened.directory)
    found = [first]
    for name in names:
        place = folder(opened.directory, name)
        path = place / GENESIS_FILE
        if not path.exists():
            config = ChannelConfig.from_block(devnet_network.genesis_bytes(opened.genesis))
            parameters = OrderingParameters(
                opened.layout.bft, opened.batch_timeout_ms, capability, config.batch_max_messages
            )
            block = genesis_block(
                opened.material, parameters, int(now.timestamp()), random(NONCE_BYTES), name
            )
            place.mkdir(parents=True, exist_ok=True)
            write_atomically(path, block.SerializeToString())
        _link_users(opened.directory, place)
        found.append(Zone(name, _read(path, name), place))
    return found


def profile(first: NetworkProfile, zone: Zone) -> NetworkProfile:
    """Return the profile of ``zone``, given that of the first channel."""
    if zone.name == first.channel:
        return first
    root = replace(
        first.trust_root,
        channel=zone.name,
        config_block=zone.genesis,
        hash=parse_block(zone.genesis).hash.hex(),
    )
    return replace(first, name=f"{first.name}, {zone.name}", channel=zone.name, trust_root=root)


def _read(path: Path, name: str) -> bytes:
    """Return block 0 of channel ``name``; ``FabricNetError`` if the file is another."""
    raw = path.read_bytes()
    try:
        config = ChannelConfig.from_block(raw)
    except (BlockError, ConfigError) as error:
        raise FabricNetError(f"{path} cannot be used: {error}") from error
    if config.channel_id != name:
        raise FabricNetError(f"{path} is of the channel {config.channel_id}, not of {name}")
    return raw


def _link_users(directory: Path, place: Path) -> None:
    link = place / USERS_DIRECTORY
    if not link.is_symlink():
        link.symlink_to(Path("..", "..", USERS_DIRECTORY), target_is_directory=True)
    if not link.samefile(directory / USERS_DIRECTORY):
        raise FabricNetError(f"{link} does not lead to the network's users: remove it")
