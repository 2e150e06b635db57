"""``light-node status``: what is verified on this machine, and what the peers say now."""

import argparse
from typing import Any

from light_node import commandline
from light_node.chain import disk, errors, skip, trust, verify
from light_node.chain.sources import from_profile
from light_node.chain.store import HeaderStore
from light_node.chain.trust import TrustRoot
from light_node.clock import SystemClock
from light_node.commands import catching_up, node_options, status_socket
from light_node.fabric.errors import FabricError
from light_node.fabric.profile import NetworkProfile
from light_node.i18n import from_json, said, told, tr, use_language

SUMMARY = "Show what is verified on this machine and how far the peers are."


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    node_options.configure(parser)
    parser.add_argument("--offline", action="store_true", help="do not ask the peers")
    parser.add_argument(
        "--check", action="store_true", help="recompute the hash link of every stored header"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Show the state; exit code 1 if the trust root has expired or a peer contradicts it."""
    use_language()
    profile = node_options.load_profile(arguments)
    try:
        root = trust.from_profile(profile.trust_root)
    except errors.TrustRootError as error:
        raise commandline.InputError(told(error)) from error
    result: dict[str, Any] = {
        "channel": profile.channel,
        "trust_root": root.fingerprint,
        "trust_root_expires": profile.trust_root.expires.isoformat(),
        "trust_root_expired": SystemClock().now() >= profile.trust_root.expires,
    }
    store = _open(arguments, root)
    try:
        result |= _stored(store)
        result["disk_bytes"] = disk.size_bytes(node_options.store_directory(arguments))
        result["running"] = _running(arguments)
        if arguments.check:
            result["links_checked"] = 0 if store is None else store.verify_links()
        result["peers"] = _ask_peers(arguments, profile, root, store)
    except errors.StoreError as error:
        raise commandline.InputError(told(error)) from error
    finally:
        if store is not None:
            store.close()
    if arguments.json:
        commandline.print_json(result)
    else:
        _print_for_people(result, offline=arguments.offline)
    wrong = result["trust_root_expired"] or any(p["agrees"] is False for p in result["peers"])
    return commandline.NO if wrong else commandline.GOOD


def _running(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Return how far the light node has come that is running on this folder; None if none is."""
    path = node_options.store_directory(arguments) / status_socket.FILE_NAME
    found = status_socket.read_status(path)
    if not isinstance(found, dict):
        return None
    kept = ("height", "verified_height", "agreed_height", "progress", "waiting_for", "problem")
    words = found.get("said")
    return {
        **{name: found.get(name) for name in kept},
        "said": words if isinstance(words, dict) else {},
    }


def _open(arguments: argparse.Namespace, root: TrustRoot) -> HeaderStore | None:
    directory = node_options.store_directory(arguments)
    if not (directory / "headers.bin").exists():
        return None
    try:
        return HeaderStore(directory, skip.effective_root(directory, root), read_only=True)
    except errors.StoreError as error:
        raise commandline.InputError(told(error)) from error


def _stored(store: HeaderStore | None) -> dict[str, Any]:
    if store is None:
        return {"verified_height": None, "tip": None, "configuration": None, "store_bytes": 0}
    state = store.state
    return {
        "verified_height": state.height,
        "tip": state.hash.hex(),
        "configuration": state.config.block_number,
        "store_bytes": store.size_bytes(),
    }


def _ask_peers(
    arguments: argparse.Namespace,
    profile: NetworkProfile,
    root: TrustRoot,
    store: HeaderStore | None,
) -> list[dict[str, Any]]:
    """Ask every peer for its newest header and compare it with what is verified here."""
    identity = None if arguments.offline else node_options.find_identity(arguments)
    if identity is None:
        return []
    config = root.config if store is None else store.state.config
    try:
        sources = from_profile(profile, config, identity, SystemClock())
    except errors.TrustRootError as error:
        raise commandline.InputError(told(error)) from error
    answers = []
    for source in sources:
        answer: dict[str, Any] = {
            "organization": source.organization,
            "address": source.address,
            "height": None,
            "agrees": None,
            "error": "",
        }
        try:
            block = verify.parse(source.newest())
            answer["height"] = block.number + 1
            known = None if store is None else store.hash(block.number)
            answer["agrees"] = None if known is None else known == block.hash
        except (FabricError, errors.VerificationError) as error:
            answer["error"] = error.text
        finally:
            source.close()
        answers.append(answer)
    return answers


def _doing(running: dict[str, Any]) -> str:
    if running["problem"]:
        return tr("Problem: {what}", what=_said(running, "problem"))
    if running["progress"] is not None:
        return catching_up.words(running["progress"])
    if running["waiting_for"]:
        return tr("Waiting for: {what}", what=_said(running, "waiting_for"))
    agreed = running["agreed_height"] or 0
    return tr("{blocks} agreed on by two organisations", blocks=catching_up.block_count(agreed))


def _said(running: dict[str, Any], name: str) -> str:
    """Say what the other process said, in this one's language; English from an older one."""
    return said(from_json(running["said"].get(name), str(running[name])))


def _agrees(peer: dict[str, Any], result: dict[str, Any]) -> str:
    if peer["agrees"] is not None:
        return (
            tr("agrees")
            if peer["agrees"]
            else tr("DISAGREES ('light-node evidence list' shows what is kept of it)")
        )
    verified = result["verified_height"]
    if verified is not None and verified < peer["height"]:
        return tr("ahead of what is verified here ('light-node sync' catches up)")
    if verified is None:
        return tr("not compared, for nothing is verified here")
    return tr("not compared")


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 1_000_000 else f"{number / 1e3:,.1f} kB"


def _print_for_people(result: dict[str, Any], *, offline: bool) -> None:
    lines = [
        tr(
            "Channel {channel}, trust root {fingerprint} (expires {day})",
            channel=result["channel"],
            fingerprint=result["trust_root"],
            day=result["trust_root_expires"][:10],
        )
    ]
    if result["trust_root_expired"]:
        lines.append(
            tr("The trust root has EXPIRED: get a new network profile from your operator.")
        )
    if result["verified_height"] is None:
        lines.append(tr("Nothing is verified here yet: run 'light-node sync'."))
    else:
        lines.append(
            tr(
                "Verified here: {blocks}, tip {hash}…, configuration of block {number}",
                blocks=catching_up.block_count(result["verified_height"]),
                hash=result["tip"][:16],
                number=result["configuration"],
            )
        )
        size = _size(result["disk_bytes"])
        lines.append(tr("On disk: {size}, 76 bytes of them for each block.", size=size))
    if (running := result["running"]) is not None:
        lines.append(tr("A light node is running on this folder. {doing}", doing=_doing(running)))
    if "links_checked" in result:
        number = result["links_checked"]
        lines.append(tr("Hash links recomputed: {number}, all good.", number=number))
    for peer in result["peers"]:
        answer = said(peer["error"]) or tr(
            "height {height}, {agrees}", height=peer["height"], agrees=_agrees(peer, result)
        )
        lines.append(f"  {peer['organization']} {peer['address']}: {answer}")
    if not result["peers"] and not offline:
        lines.append(tr("The peers were not asked (that takes an identity: --identity DIR)."))
    print("\n".join(lines))
