"""``light-node evidence``: what is kept of histories that contradict each other."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from light_node import commandline, jsonio
from light_node.chain import (
    errors,
    evidence,
    fork_evidence,
    history_record,
    quarantine,
    trust,
    verify,
)
from light_node.chain.fork_evidence import ForkEvidence, ProvenFork
from light_node.chain.history_record import HistoryRecord, Testified
from light_node.chain.trust import TrustRoot
from light_node.chain.witnesses import in_words
from light_node.commandline import InputError
from light_node.fabric.block import Block
from light_node.fabric.errors import clean
from light_node.i18n import Text, os_reason, row_of, said, told, tr, use_language

SUMMARY = (
    "List, show and check what is kept of histories that do not fit: evidence of forks, records, "
    "reports; lift an organisation's quarantine."
)

ACTIONS = ("list", "show", "check", "release")


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "what",
        nargs="?",
        metavar="FILE|ORGANIZATION",
        help="show, check: a file of evidence, or a record (- reads standard input); release: the "
        "MSP id",
    )
    parser.add_argument("--profile", metavar="P", help="network profile, for the default of --dir")
    parser.add_argument(
        "--dir", metavar="D", help="folder for verified headers (default: light-node beside P)"
    )
    parser.add_argument(
        "--trust",
        metavar="CONFIG_BLOCK",
        help="check: the configuration block you trust (default: the one in the file; compare its "
        "fingerprint)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Do it; exit code 1 if a check does not prove a fork, as a record never does."""
    use_language()
    if (arguments.what is None) != (arguments.action == "list"):
        raise InputError(
            Text("usage: evidence list | show FILE | check FILE | release ORGANIZATION")
        )
    if arguments.action == "list":
        return _list(arguments)
    if arguments.action == "release":
        return _release(arguments)
    found = _load(arguments)
    if arguments.action == "show":
        return _show(arguments, found)
    return _check(arguments, found)


def _directory(arguments: argparse.Namespace) -> Path:
    if arguments.dir:
        return Path(arguments.dir)
    if arguments.profile:
        return Path(arguments.profile).resolve().parent / "light-node"
    raise InputError(Text("give --dir D or --profile P"))


def _list(arguments: argparse.Namespace) -> int:
    directory = _directory(arguments)
    try:
        cases = quarantine.load(directory)
    except errors.StoreError as error:
        raise InputError(told(error)) from error
    forks = sorted((directory / fork_evidence.FOLDER).glob("*.json"))
    records = sorted((directory / history_record.FOLDER).glob("*.json"))
    reports = sorted((directory / evidence.FOLDER).glob("*.json"))
    result = {
        "evidence": [str(path) for path in forks],
        "records": [str(path) for path in records],
        "reports": [str(path) for path in reports],
        "quarantine": {
            name: {
                "kind": c.kind,
                "number": c.number,
                "seen_at": c.seen_at,
                "evidence": c.evidence,
            }
            for name, c in sorted(cases.items())
        },
    }
    if arguments.json:
        commandline.print_json(result)
        return commandline.GOOD
    lines = [tr("fork      {file}", file=path) for path in forks]
    lines += [tr("record    {file}", file=path) for path in records]
    lines += [tr("report    {file}", file=path) for path in reports]
    lines += [f"{_plain(name)}: {clean(said(case.text))}" for name, case in sorted(cases.items())]
    if not lines:
        lines = [
            tr("Nothing is kept: no evidence, no record, no report, and nobody is in quarantine.")
        ]
    print("\n".join(lines))
    return commandline.GOOD


def _release(arguments: argparse.Namespace) -> int:
    try:
        lifted = quarantine.release(_directory(arguments), arguments.what)
    except errors.StoreError as error:
        raise InputError(told(error)) from error
    except OSError as error:
        raise InputError(
            Text("the quarantine cannot be written: {why}", why=os_reason(error))
        ) from error
    if arguments.json:
        commandline.print_json({"organization": arguments.what, "released": lifted})
    else:
        print(tr("Released.") if lifted else tr("It is not in quarantine."))
    return commandline.GOOD if lifted else commandline.NO


def _load(arguments: argparse.Namespace) -> ForkEvidence | HistoryRecord:
    raw = commandline.read_bytes(arguments.what)
    fields = _fields(raw)
    try:
        if fields.get("kind") == history_record.KIND:
            return history_record.loads(raw)
        return fork_evidence.loads(raw)
    except errors.UnusableFile as error:
        text = Text("{file}: {error}", file=arguments.what, error=error)
        if "their_block" in fields:
            text = Text(
                "{file} is a report of something that did not verify: it shows what a source sent, "
                "and proves nothing to others",
                file=arguments.what,
            )
        raise InputError(text) from error


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        return jsonio.mapping(jsonio.strict_loads(raw), Text("a file"))
    except jsonio.JsonError:
        return {}


def _show(arguments: argparse.Namespace, found: ForkEvidence | HistoryRecord) -> int:
    """Print what the file says of itself, unchecked."""
    result = {
        "kind": fork_evidence.KIND if isinstance(found, ForkEvidence) else history_record.KIND,
        "channel": found.channel,
        "organization": found.organization,
        "address": found.address,
        "seen_at": found.seen_at,
        "configurations": len(found.configs),
        "signed": bool(found.signature),
        "witnesses": in_words(found.witnesses or ()) if isinstance(found, ForkEvidence) else "",
        "checked": False,
    }
    if arguments.json:
        commandline.print_json(result)
    else:
        print("\n".join(_shown_lines(found)))
    return commandline.GOOD


def _shown_lines(found: ForkEvidence | HistoryRecord) -> list[str]:
    about = {
        "channel": _plain(found.channel),
        "organization": _plain(found.organization),
        "address": _plain(found.address),
        "time": quarantine.readable(_plain(found.seen_at)),
    }
    if isinstance(found, ForkEvidence):
        head = tr("Evidence of a fork of channel {channel}", **about)
    else:
        head = tr("Record of another history of channel {channel}", **about)
    lines = [
        head,
        tr("Shown by {organization} ({address}), {time}", **about),
        tr("Configuration blocks after the trust root: {number}", number=len(found.configs)),
        tr("Signed by whoever reports it") if found.signature else tr("Signed by nobody"),
    ]
    if isinstance(found, ForkEvidence) and found.witnesses:
        shown = clean(said(in_words(found.witnesses)))
        lines.append(tr("By the reporter's word: {what}.", what=shown))
    return [*lines, tr("Nothing of this is checked yet: 'light-node evidence check' does that.")]


def _check(arguments: argparse.Namespace, found: ForkEvidence | HistoryRecord) -> int:
    root: TrustRoot | None = None
    if arguments.trust:
        try:
            root = trust.load(commandline.read_bytes(arguments.trust))
        except errors.TrustRootError as error:
            raise InputError(
                Text("{trust}: {error}", trust=arguments.trust, error=error)
            ) from error
    try:
        if isinstance(found, HistoryRecord):
            return _tell_record(arguments, found, history_record.check(found, root), root)
        proven = fork_evidence.check(found, root)
    except errors.ChainError as error:
        if arguments.json:
            commandline.print_json({"proved": False, "error": str(error)})
        else:
            print(tr("No fork is proved: {why}", why=clean(said(error))))
        return commandline.NO
    result = proven_json(proven, found)
    if arguments.json:
        commandline.print_json(result)
        return commandline.GOOD
    print("\n".join([*_proven_lines(proven, found), *_rests_on(root, proven.trust_root)]))
    return commandline.GOOD


def _proven_lines(proven: ProvenFork, found: ForkEvidence) -> list[str]:
    place = {"channel": _plain(found.channel), "number": proven.number}
    if proven.same_header:
        head = tr(
            "One header of channel {channel}, block {number}, was signed with two last-config "
            "indices:",
            **place,
        )
    else:
        head = tr("Two histories of channel {channel} part at block {number}:", **place)
    ours = _signed(proven, proven.ours, proven.ours_hash, proven.ours_signers)
    theirs = _signed(proven, proven.theirs, proven.theirs_hash, proven.theirs_signers)
    lines = [
        head,
        f"  {ours}",
        "  "
        + tr(
            "{version}, shown by {organization} ({address})",
            version=theirs,
            organization=_plain(found.organization),
            address=_plain(found.address),
        ),
        tr(
            "Signed both, which their signatures prove: {names}",
            names=_named(proven.double_signers),
        ),
        tr(
            "Signed one, which proves nothing against them: {names}",
            names=_signed_one(proven),
        ),
        tr(
            "Seen {time}; the file is signed by {reporter}.",
            time=quarantine.readable(_plain(found.seen_at)),
            reporter=proven.reporter or tr("nobody"),
        ),
    ]
    if found.witnesses:
        shown = clean(said(in_words(found.witnesses)))
        only = _named(proven.only_showed(found.witnesses))
        lines.append(tr("By the reporter's word: {what}.", what=shown))
        lines.append(tr("Only showed the other one, by the reporter's word: {names}", names=only))
    return lines


def _signed(proven: ProvenFork, block: Block, digest: bytes, signers: Sequence[str]) -> str:
    """Say who signed a history, and where a later block than the first stands for it."""
    version, names = _version(proven, block, digest), _named(signers)
    if block.number == proven.number:
        return tr("{version} signed by {names}", version=version, names=names)
    return tr(
        "{version}, unsigned; block {number}, which rests on it, is signed by {names}",
        version=version,
        number=block.number,
        names=names,
    )


def _signed_one(proven: ProvenFork) -> str:
    parts = []
    if proven.ours_only:
        parts.append(Text("{names} (the first)", names=_plain(", ".join(proven.ours_only))))
    if proven.theirs_only:
        parts.append(Text("{names} (the second)", names=_plain(", ".join(proven.theirs_only))))
    return said(row_of(parts)) or tr("nobody")


def _named(names: Sequence[str]) -> str:
    return _plain(", ".join(names)) or tr("nobody")


def _rests_on(given: TrustRoot | None, used: TrustRoot) -> list[str]:
    if given is not None:
        return []
    return [
        tr(
            "Rests on the trust root in the file, {fingerprint}: compare it with yours.",
            fingerprint=used.fingerprint,
        )
    ]


def _tell_record(
    arguments: argparse.Namespace, found: HistoryRecord, told: Testified, root: TrustRoot | None
) -> int:
    """Say whose word a record is; never that anything is proved."""
    if arguments.json:
        commandline.print_json(
            {
                "proved": False,
                "rests_on": "the word of who signed it",
                "reporter": told.reporter,
                "channel": found.channel,
                "number": told.number,
                "ours": told.ours.hex(),
                "theirs": told.theirs.hex(),
                "unsigned_up_to": found.last,
                "shown_by": found.organization,
                "address": found.address,
                "seen_at": found.seen_at,
                "trust_root": told.trust_root.fingerprint,
            }
        )
        return commandline.NO
    lines = [
        tr(
            "No proof: a record, which rests on the word of who signed it, {reporter}",
            reporter=_plain(told.reporter),
        ),
        tr(
            "By that word {organization} ({address}) showed, at {time}, another history of channel "
            "{channel}",
            organization=_plain(found.organization),
            address=_plain(found.address),
            time=quarantine.readable(_plain(found.seen_at)),
            channel=_plain(found.channel),
        ),
        "  "
        + tr(
            "from block {number} on: {theirs} in place of {ours}",
            number=told.number,
            theirs=told.theirs.hex(),
            ours=told.ours.hex(),
        ),
        "  "
        + tr("and no block of it up to block {number} that orderers signed.", number=found.last),
        tr("Nodes do not sign what they show: who showed it can deny it."),
    ]
    print("\n".join([*lines, *_rests_on(root, told.trust_root)]))
    return commandline.NO


def proven_json(proven: ProvenFork, found: ForkEvidence) -> dict[str, Any]:
    """Return a proved fork as ``--json`` prints it."""
    return {
        "proved": True,
        "channel": found.channel,
        "number": proven.number,
        "ours": _version(proven, proven.ours, proven.ours_hash),
        "theirs": _version(proven, proven.theirs, proven.theirs_hash),
        "ours_signed_at": proven.ours.number,
        "theirs_signed_at": proven.theirs.number,
        "ours_signers": list(proven.ours_signers),
        "theirs_signers": list(proven.theirs_signers),
        "signed_both": list(proven.both),
        "signed_ours_only": list(proven.ours_only),
        "signed_theirs_only": list(proven.theirs_only),
        "only_showed": list(proven.only_showed(found.witnesses or ())),
        "double_signers": list(proven.double_signers),
        "shown_by": found.organization,
        "address": found.address,
        "seen_at": found.seen_at,
        "reporter": proven.reporter,
        "witnesses": [asdict(witness) for witness in found.witnesses or ()],
        "trust_root": proven.trust_root.fingerprint,
    }


def _version(proven: ProvenFork, block: Block, digest: bytes) -> str:
    return f"index {verify.last_config(block)}" if proven.same_header else digest.hex()


def _plain(text: str) -> str:
    return ascii(text)[1:-1]
