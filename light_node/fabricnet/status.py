"""What runs of a network, and how far its nodes are on every channel."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from light_node.clock import Clock
from light_node.devnet import network as devnet_network
from light_node.fabric.connection import connect
from light_node.fabric.errors import FabricError
from light_node.fabric.gateway import Gateway
from light_node.fabric.profile import NetworkProfile
from light_node.fabricnet import channel
from light_node.fabricnet.plan import Plan, url
from light_node.fabricnet.processes import Processes

Heights = dict[str, int | None]
"""Blocks by channel; None where the node does not say."""


def network_status(
    directory: Path, processes: Processes, session: requests.Session, clock: Clock
) -> dict[str, Any]:
    """Return what runs, and how far the nodes are; ``FabricNetError`` without a network.

    ``height`` of a node is that of the first channel, ``heights`` those of all ``channels``.
    """
    plan = Plan.load(directory)
    profile = NetworkProfile.load(directory / devnet_network.PROFILE_FILE)
    host = profile.organizations[0].peers[0].address.rpartition(":")[0]
    channels = (profile.channel, *plan.zones)
    heights: dict[str, Heights] = {}
    for organization in profile.organizations:
        name, msp_id = organization.peers[0].name, organization.msp_id
        heights[name] = dict.fromkeys(channels)
        if processes.pid(name) is not None:
            heights[name] |= _peer_heights(directory, profile, msp_id, channels, clock)
    for number, ports in enumerate(plan.orderers, start=1):
        admin = url(host, ports.admin)
        heights[f"orderer{number}"] = {
            name: channel.orderer_height(session, admin, name) for name in channels
        }
    healthy = {
        f"{server.chaincode}.org{server.peer + 1}": channel.healthy(
            session, url(host, server.operations, "/healthz")
        )
        for server in plan.chaincode_servers
    }
    names = sorted({*processes.names(), *heights, *healthy})
    return {
        "directory": str(directory),
        "release": plan.release,
        "ordering": "bft" if profile.orderers[0].consenter_id is not None else "raft",
        "channels": list(channels),
        "processes": [
            {
                "name": name,
                "pid": processes.pid(name),
                "height": heights.get(name, {}).get(profile.channel),
                "heights": heights.get(name),
                "healthy": healthy.get(name),
                "log": str(processes.log(name)),
            }
            for name in names
        ],
    }


def _peer_heights(
    directory: Path, profile: NetworkProfile, msp_id: str, channels: Sequence[str], clock: Clock
) -> Heights:
    found: Heights = {}
    peer = profile.organization(msp_id).peers[0]
    try:
        reader = devnet_network.load_user(directory, msp_id, "reader")
    except (OSError, ValueError):
        return found  # not made yet, or damaged: nobody to ask as
    line = connect(peer.address, peer.tls_root_pem)
    try:
        for name in channels:
            # A peer that starts, hangs or is not of the channel yet: its log says which.
            with suppress(FabricError):
                found[name] = Gateway(line, reader, name, clock).height()
    finally:
        line.close()
    return found
