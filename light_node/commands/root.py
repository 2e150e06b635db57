"""``light-node root``: show, hand on, import and renew the trust root of a network profile."""

import argparse
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from light_node import commandline
from light_node.chain import errors, root_text, trust
from light_node.chain.node import LightNode
from light_node.chain.root_text import RootText
from light_node.chain.sources import Source, from_profile
from light_node.chain.status import SyncStatus
from light_node.chain.trust import TrustRoot
from light_node.clock import SystemClock
from light_node.commandline import InputError
from light_node.commands import node_options
from light_node.commands.sync import is_good
from light_node.fabric.errors import FabricError
from light_node.fabric.profile import NetworkProfile
from light_node.fabric.profile import TrustRoot as ProfileTrustRoot
from light_node.files import write_atomically
from light_node.i18n import Text, os_reason, row_of, told, tr, use_language

SUMMARY = "Show a network profile's trust root, hand it on as text or file, import or renew it."
ACTIONS = ("show", "export", "import", "renew")

_HELP = """\
show     the root: channel, block, fingerprint, until when it counts, and the text for others
export   write the configuration block to -o FILE, or print the text alone
import   take over a root given as text (TEXT, or - to read it from standard input). The text holds
         the hash; the block comes from --block FILE or from any peer, and must have that hash
renew    before the root expires: take the newest configuration that this node proves from it now,
         and two organisations agree on, as the root for --days more. An expired root is not
         renewed so: get a new text or profile from your operator and import that

Compare the fingerprint with your operator's before you trust a root: by telephone, on paper, or on
its website, but not with what came along with the root.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("text", nargs="?", metavar="TEXT", help="import: the text of the root")
    node_options.configure(parser)
    parser.add_argument(
        "--block", metavar="FILE", help="import: the configuration block (default: ask the peers)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="export: the configuration block")
    parser.add_argument(
        "--days", type=int, metavar="N", help="renew: how long the new root counts from now"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="renew: give up after so many seconds (default 60)",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Do it; ``InputError`` where that is impossible, exit code 1 if a renewal is not agreed on."""
    use_language()
    if (arguments.text is None) == (arguments.action == "import"):
        raise InputError(Text("usage: root show | export | import TEXT | renew --days N"))
    profile = node_options.load_profile(arguments)
    try:
        root = trust.from_profile(profile.trust_root)
        if arguments.action == "show":
            return _show(arguments, root)
        if arguments.action == "export":
            return _export(arguments, root)
        if arguments.action == "import":
            return _import(arguments, profile, root)
        return _renew(arguments, profile, root)
    except errors.ChainError as error:
        raise InputError(told(error)) from error


def _show(arguments: argparse.Namespace, root: TrustRoot) -> int:
    now = SystemClock().now()
    expired = root.expires is not None and now >= root.expires
    text = root_text.encode(root)
    if arguments.json:
        commandline.print_json(
            {
                "channel": root.config.channel_id,
                "block": root.number,
                "hash": root.hash.hex(),
                "fingerprint": root.fingerprint,
                "obtained": _iso(root.obtained),
                "expires": _iso(root.expires),
                "expired": expired,
                "text": text,
            }
        )
        return commandline.NO if expired else commandline.GOOD
    days = {"day": _day(root.obtained), "end": _day(root.expires)}
    channel = root.config.channel_id
    print(
        tr("Channel {channel}, configuration block {number}", channel=channel, number=root.number)
    )
    print(tr("Fingerprint {fingerprint}", fingerprint=root.fingerprint))
    if expired:
        print(tr("Obtained {day}, expired on {end}", **days))
    else:
        print(tr("Obtained {day}, counts until {end}", **days))
    print(f"\n{root_text.in_lines(text)}")
    if expired:
        command = "light-node root import TEXT --profile P"
        print("\n" + tr("Get a new text from your operator: {command}", command=command))
    return commandline.NO if expired else commandline.GOOD


def _export(arguments: argparse.Namespace, root: TrustRoot) -> int:
    if not arguments.output:
        print(root_text.encode(root))
        return commandline.GOOD
    try:
        write_atomically(Path(arguments.output), root.config_block)
    except OSError as error:
        raise InputError(
            Text(
                "cannot write {output}: {why}",
                output=arguments.output,
                why=os_reason(error),
            )
        ) from error
    print(
        tr(
            "{file}: configuration block {number}, {fingerprint}",
            file=arguments.output,
            number=root.number,
            fingerprint=root.fingerprint,
        )
    )
    return commandline.GOOD


def _import(arguments: argparse.Namespace, profile: NetworkProfile, old: TrustRoot) -> int:
    given = arguments.text
    told = root_text.decode(sys.stdin.read(root_text.MAX_TEXT + 1) if given == "-" else given)
    if told.channel != profile.channel:
        raise errors.TrustRootMismatch(
            Text(
                "the text is of channel {channel}, the profile of {expected}",
                channel=told.channel,
                expected=profile.channel,
            )
        )
    if arguments.block:
        root = told.load(commandline.read_bytes(arguments.block))
    elif told.hash == old.hash:
        root = told.load(old.config_block)
    else:
        root = _fetch(arguments, profile, old, told)
    root.check_expiry(SystemClock().now())
    _save(arguments, profile, root)
    return commandline.GOOD


def _fetch(
    arguments: argparse.Namespace, profile: NetworkProfile, old: TrustRoot, told: RootText
) -> TrustRoot:
    """Ask the peers for the block; whoever has one with that hash will do."""
    identity = node_options.need_identity(arguments)
    # An expired root still names the peers' TLS roots; what they send is held against the hash.
    found: list[Source] = from_profile(profile, old.config, identity, SystemClock())
    refusals = []
    try:
        for source in found:
            try:
                return told.load(source.block(told.number))
            except (FabricError, errors.ChainError) as error:
                refusals.append(Text("{who}: {error}", who=source.organization, error=error))
    finally:
        for source in found:
            source.close()
    raise errors.NotVerified(
        Text(
            "nobody serves configuration block {number} with that hash: {refusals}",
            number=told.number,
            refusals=row_of(refusals),
        )
    )


def _renew(arguments: argparse.Namespace, profile: NetworkProfile, old: TrustRoot) -> int:
    if arguments.days is None or not 1 <= arguments.days <= 3650:
        raise InputError(Text("say how long the new root is to count: --days 1 to 3650"))
    old.check_expiry(SystemClock().now())
    identity = node_options.need_identity(arguments)
    directory = node_options.store_directory(arguments)
    with LightNode(profile, directory, identity, SystemClock()) as node:
        agreed = node.wait(lambda s: is_good(s) and bool(s.agreed_height), arguments.timeout)
        status = node.status()
        height = _renewable_height(status) if agreed else None
        if height is None:
            raise errors.NotVerified(
                Text(
                    "two organisations do not agree on the newest block now, so nothing is "
                    "renewed: {why}",
                    why=status.problem or status.waiting_for or Text("try again"),
                )
            )
        changes = node.config_blocks(height)
        raw = changes[-1] if changes else old.config_block
    now = SystemClock().now()
    root = trust.load(
        raw,
        channel=profile.channel,
        obtained=now,
        expires=now + timedelta(days=arguments.days),
    )
    _save(arguments, profile, root)
    return commandline.GOOD


def _renewable_height(status: SyncStatus) -> int | None:
    """Return up to where configurations are proved and agreed on, None if nowhere.

    A block may have come since agreement was waited for: one organisation's word for a new
    configuration must not become the root.
    """
    if status.fork is not None or not status.agreed_height:
        return None
    return min(status.verified_height, status.agreed_height)


def _save(arguments: argparse.Namespace, profile: NetworkProfile, root: TrustRoot) -> None:
    assert root.obtained is not None
    assert root.expires is not None
    kept = ProfileTrustRoot(
        profile.channel, root.config_block, root.hash.hex(), root.obtained, root.expires
    )
    path = Path(arguments.profile)
    try:
        replace(profile, trust_root=kept).save(path)
    except OSError as error:
        raise InputError(
            Text("cannot write {path}: {why}", path=path, why=os_reason(error))
        ) from error
    if arguments.json:
        commandline.print_json(
            {
                "block": root.number,
                "fingerprint": root.fingerprint,
                "expires": _iso(root.expires),
            }
        )
        return
    print(
        tr(
            "{file}: trust root {fingerprint} (block {number}), counts until {day}",
            file=path,
            fingerprint=root.fingerprint,
            number=root.number,
            day=_day(root.expires),
        )
    )


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")


def _day(time: datetime | None) -> str:
    return tr("at an unknown time") if time is None else f"{time:%Y-%m-%d}"
