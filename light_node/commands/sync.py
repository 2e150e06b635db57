"""``light-node sync``: fetch and verify headers from peers of several organisations."""

import argparse
import sys
from typing import Any

from light_node import commandline
from light_node.chain import errors, quarantine, skip, trust
from light_node.chain.node import LightNode
from light_node.chain.quarantine import SHUT_OUT
from light_node.chain.sources import Source, from_profile
from light_node.chain.status import PeerState, PeerStatus, SyncStatus
from light_node.clock import SystemClock
from light_node.commands import catching_up, node_options
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import NetworkProfile
from light_node.i18n import as_json, said, told, tr, use_language

SUMMARY = "Verify the channel's headers up to the newest block two organisations agree on."


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    node_options.configure(parser)
    parser.add_argument(
        "--timeout",
        type=float,
        default=catching_up.DEFAULT_TIMEOUT_S,
        metavar="S",
        help=catching_up.HELP,
    )
    parser.add_argument(
        "--skip-ahead",
        action="store_true",
        help="start from the newest configuration that two organisations show; blocks before it "
        "cannot be proved here afterwards, and headers stored so far are dropped",
    )
    parser.add_argument("--follow", action="store_true", help="keep following until Ctrl-C")


def execute(arguments: argparse.Namespace) -> int:
    """Sync; exit code 0 once two organisations agree on the newest block, 1 if they do not."""
    use_language()
    profile = node_options.load_profile(arguments)
    identity = node_options.need_identity(arguments)
    if arguments.skip_ahead:
        _skip_ahead(arguments, profile, identity)
    try:
        node = LightNode(profile, node_options.store_directory(arguments), identity, SystemClock())
    except errors.ChainError as error:
        raise commandline.InputError(told(error)) from error
    with node:
        try:
            in_time = catching_up.catch_up(node, _is_done, arguments.timeout)
        except KeyboardInterrupt:
            _say_stopped(node.status(), tr("Stopped"))
            return commandline.INTERRUPTED
        status = node.status()
        if not in_time and status.fork is None and not arguments.follow:
            _say_stopped(
                status, tr("No progress for {number} s, given up", number=f"{arguments.timeout:g}")
            )
        if arguments.follow and status.fork is None:
            _follow(node)
            status = node.status()
    good = is_good(status)
    if arguments.json:
        commandline.print_json(status_json(status))
    else:
        print_for_people(status)
    return commandline.GOOD if good else commandline.NO


def _skip_ahead(
    arguments: argparse.Namespace, profile: NetworkProfile, identity: SigningIdentity
) -> None:
    directory = node_options.store_directory(arguments)
    sources: list[Source] = []
    try:
        root = trust.from_profile(profile.trust_root)
        root.check_expiry(SystemClock().now())
        named = quarantine.load(directory)
        found = from_profile(profile, root.config, identity, SystemClock())
        sources = [s for s in found if s.organization not in named]
        start = skip.skip_ahead(directory, root, sources, _say_config)
    except KeyboardInterrupt:
        print(tr("Stopped. What was fetched is kept: the same command goes on."), file=sys.stderr)
        raise
    except errors.ChainError as error:
        raise commandline.InputError(told(error)) from error
    finally:
        for source in sources:
            source.close()
    print(tr("starting from configuration block {number}", number=start.number), file=sys.stderr)


def _say_config(number: int) -> None:
    text = tr("configuration block {number} is at hand", number=number)
    print(text, file=sys.stderr, flush=True)


def _say_stopped(status: SyncStatus, why: str) -> None:
    """Say that nothing is lost, and how to go on."""
    text = tr(
        "{why} with {number} of {all} blocks verified. They are kept: the same command goes on "
        "from there.",
        why=why,
        number=f"{status.verified_height:,}",
        all=tr("an unknown number of") if status.height is None else f"{status.height:,}",
    )
    print(text, file=sys.stderr)


def is_good(status: SyncStatus) -> bool:
    """Say whether all that is claimed is verified, agreed on, and nobody contradicts."""
    return (
        status.fork is None
        and status.disputed_block is None
        and status.verified_height >= (status.height or 0)
        and (status.agreed_height or 0) >= status.verified_height
    )


def _is_done(status: SyncStatus) -> bool:
    """Say whether nothing more is to come: all have answered, and what they have is verified."""
    if status.fork is not None:
        return status.evidence is not None  # which is still being asked for
    return is_good(status) and not any(_is_pending(p, status) for p in status.peers)


def _is_pending(peer: PeerStatus, status: SyncStatus) -> bool:
    """Say whether a peer has yet to show the header that is to be compared, or to be judged."""
    if peer.examined:
        return True
    if peer.state is PeerState.CONNECTED:
        return peer.agrees is None and (peer.height or 0) >= status.verified_height
    return peer.state is PeerState.CONNECTING


def _follow(node: LightNode) -> None:
    shown = -1
    try:
        while True:
            height = shown

            def moved(status: SyncStatus, height: int = height) -> bool:
                return status.verified_height != height or not status.running

            node.wait(moved, 3600)
            status = node.status()
            if not status.running:
                return
            if status.verified_height != shown:
                shown = status.verified_height
                agreed = status.agreed_height or 0
                text = tr("verified {number}, agreed {agreed}", number=shown, agreed=agreed)
                print(text, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        return


def status_json(status: SyncStatus) -> dict[str, Any]:
    """Return a status as commands print it."""
    return {
        "channel": status.channel,
        "trust_root": status.trust_root,
        "trust_root_expires": _time(status.trust_root_expires),
        "height": status.height,
        "verified_height": status.verified_height,
        "agreed_height": status.agreed_height,
        "valid_height": status.valid_height,
        "disputed_block": status.disputed_block,
        "dissents": [
            {"organization": d.organization, "number": d.number, "others": list(d.others)}
            for d in status.dissents
        ],
        "progress": catching_up.status_progress(status),
        "blocks_verified": status.blocks_verified,
        "signatures_verified": status.signatures_verified,
        "waiting_for": status.waiting_for,
        "problem": status.problem,
        "said": {
            "waiting_for": as_json(status.waiting_for),
            "problem": as_json(status.problem),
        },
        "fork": None if status.fork is None else status.fork.number,
        "evidence": status.evidence,
        "peers": [
            {
                "organization": p.organization,
                "address": p.address,
                "kind": p.kind,
                "state": str(p.state),
                "height": p.height,
                "agrees": p.agrees,
                "last_seen": _time(p.last_seen),
                "error": p.error,
                "said": as_json(p.error),
                "foreign": p.foreign,
            }
            for p in status.peers
        ],
    }


def print_for_people(status: SyncStatus) -> None:
    """Print a status for somebody who sees it for the first time."""
    lines = [
        tr(
            "Channel {channel}, trust root {fingerprint}",
            channel=status.channel,
            fingerprint=status.trust_root,
        ),
        tr(
            "Verified: {number} of {all} blocks",
            number=status.verified_height,
            all=status.height or tr("an unknown number of"),
        ),
        tr(
            "Agreed on by two organisations: {blocks}",
            blocks=catching_up.block_count(status.agreed_height or 0),
        ),
    ]
    for p in status.peers:
        agrees = {True: tr("agrees"), False: tr("DISAGREES"), None: tr("not known yet")}[p.agrees]
        found = tr("in quarantine") if p.error.kind == SHUT_OUT else _state(p.state)
        if p.height is not None:
            found = tr("{state}, height {height}", state=found, height=p.height)
        if p.error.kind != SHUT_OUT:
            found = tr("{state}, {agrees}", state=found, agrees=agrees)
        lines.append(f"  {source_words(p.organization, p.address, p.kind, found)}")
        if p.error:
            lines.append(f"    {said(p.error)}")
    if status.waiting_for:
        lines.append(tr("Waiting for: {what}", what=said(status.waiting_for)))
    if status.problem:
        lines.append(tr("Problem: {what}", what=said(status.problem)))
    if status.evidence:
        text = tr(
            "Evidence for others is kept as {file} in the folder of headers: 'light-node evidence "
            "check' proves it on any machine.",
            file=f"evidence/{status.evidence}",
        )
        lines.append(text)
    print("\n".join(lines))


def kind_words(kind: str) -> str:
    """Return what a source is, in the user's language."""
    return tr("orderer") if kind == "orderer" else tr("peer")


def source_words(organization: str, address: str, kind: str, what: str) -> str:
    """Say something about a source, in the user's language."""
    return tr(
        "{organization} {address} ({kind}): {what}",
        organization=organization,
        address=address,
        kind=kind_words(kind),
        what=what,
    )


def _state(state: PeerState) -> str:
    return {
        PeerState.CONNECTING: tr("connecting"),
        PeerState.CONNECTED: tr("connected"),
        PeerState.UNREACHABLE: tr("unreachable"),
        PeerState.DISAGREES: tr("connected"),
    }[state]


def _time(time: Any) -> str | None:
    return None if time is None else time.isoformat()
