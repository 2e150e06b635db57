"""``light-node audit``: replay a slot from verified blocks and compare with what was written."""

import argparse
import sys
from typing import Any

from light_node import commandline
from light_node.chain import errors
from light_node.chain.auditor import MAX_BLOCKS, Audit, Auditor
from light_node.chain.node import LightNode
from light_node.chain.status import Level, SyncStatus
from light_node.clock import SystemClock
from light_node.commands import catching_up, node_options
from light_node.fabric.errors import FabricError
from light_node.i18n import Text, all_of, said, told, tr, use_language
from light_node.market.errors import InvalidSlot

SUMMARY = "Replay a slot's clearing and settlement from verified blocks; say what differs."


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("slot", metavar="SLOT", help="slot id, like 2026-06-21T10:00Z/PT60M")
    node_options.configure(parser)
    parser.add_argument(
        "--last",
        type=int,
        metavar="BLOCK",
        help="read backwards from this block, one at or after the settlement (default: the newest)",
    )
    parser.add_argument(
        "--max-blocks",
        type=int,
        default=MAX_BLOCKS,
        metavar="N",
        help=f"read at most so many blocks (default {MAX_BLOCKS})",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=catching_up.DEFAULT_TIMEOUT_S,
        metavar="S",
        help=f"while catching up with the channel: {catching_up.HELP}",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Audit; exit code 1 if anything differs, is disputed, or cannot be replayed."""
    use_language()
    if arguments.max_blocks < 1:
        raise commandline.InputError(Text("--max-blocks must be at least 1"))
    profile = node_options.load_profile(arguments)
    identity = node_options.need_identity(arguments)
    try:
        node = LightNode(profile, node_options.store_directory(arguments), identity, SystemClock())
        with node:
            last = _last_block(node, arguments)
            auditor = Auditor(node, profile.chaincode, max_blocks=arguments.max_blocks)
            audit = auditor.audit(arguments.slot, last)
    except (errors.NotVerified, errors.VerificationError, FabricError) as error:
        return _cannot(arguments, told(error))
    except InvalidSlot as error:
        raise commandline.InputError(
            Text("not a slot id; they look like {example}", example="2026-06-21T10:00Z/PT60M")
        ) from error
    except errors.ChainError as error:
        raise commandline.InputError(told(error)) from error
    if arguments.json:
        commandline.print_json(audit_json(audit))
    else:
        _print_for_people(audit)
    good = audit.agrees and audit.level is Level.AGREED and not audit.replay.unchecked
    return commandline.GOOD if good else commandline.NO


def audit_json(audit: Audit) -> dict[str, Any]:
    """Return an audit as ``--json`` prints it."""
    replay = audit.replay
    return {
        "slot": replay.slot,
        "phase": replay.phase,
        "ok": audit.agrees and audit.level is Level.AGREED and not replay.unchecked,
        "complete": audit.complete,
        "first_block": audit.first,
        "last_block": audit.last,
        "transactions": replay.transactions,
        "level": audit.level.value,
        "organizations": list(audit.organizations),
        "differences": [
            {
                "block": d.block,
                "transaction": d.transaction_id,
                "function": d.function,
                "subject": d.subject,
                "written": d.written,
                "replayed": d.replayed,
            }
            for d in replay.differences
        ],
        "unchecked": list(replay.unchecked),
        "endorsed_by": [
            {
                "block": accused.block,
                "transaction": accused.transaction_id,
                "organizations": list(accused.organizations),
            }
            for accused in audit.accused
        ],
    }


def _last_block(node: LightNode, arguments: argparse.Namespace) -> int:
    """Catch up, and return the block to read backwards from."""

    def caught_up(status: SyncStatus) -> bool:
        if status.fork is not None:
            return True
        if status.height is None:
            return False
        # A block that is yet to come is not waited for.
        last = status.height if arguments.last is None else arguments.last + 1
        wanted = min(last, status.height)
        return status.verified_height >= wanted and (status.agreed_height or 0) >= wanted

    catching_up.catch_up(node, caught_up, arguments.timeout)
    newest = node.status().verified_height - 1
    if arguments.last is None:
        return newest
    if not node.first_block < arguments.last <= newest:
        raise errors.NotVerified(
            Text(
                "block {last} is not verified here; {first_block} to {newest} are",
                last=arguments.last,
                first_block=node.first_block + 1,
                newest=newest,
            )
        )
    last: int = arguments.last
    return last


def _cannot(arguments: argparse.Namespace, reason: Text) -> int:
    if arguments.json:
        commandline.print_json({"slot": arguments.slot, "ok": False, "error": reason})
    else:
        print(tr("The audit could not be done: {why}", why=said(reason)), file=sys.stderr)
    return commandline.NO


def _print_for_people(audit: Audit) -> None:
    replay = audit.replay
    names = said(all_of(audit.organizations))
    levels = {
        Level.AGREED: tr("What was valid in these blocks is agreed on by {names}.", names=names),
        Level.VERIFIED: tr("What was valid in these blocks is stated by one organisation only."),
        Level.DISPUTED: tr("What was valid in these blocks is DISPUTED between organisations."),
    }
    lines = [
        tr(
            "Slot {slot}, phase {phase}: {number} transactions replayed, blocks {first} to {last}",
            slot=replay.slot,
            phase=replay.phase,
            number=replay.transactions,
            first=audit.first,
            last=audit.last,
        ),
        levels[audit.level],
    ]
    lines += [tr("DIFFERS: {what}", what=said(found.text)) for found in replay.differences]
    lines += [tr("Not replayed: {what}", what=said(text)) for text in replay.unchecked]
    if replay.differences:
        lines.append(
            tr(
                'This slot was not run by the rules. "is" stands in the ledger, "replayed" is what '
                "the quotes and readings in the blocks give (energy in Wh, prices and money in the "
                "ledger's units)."
            )
        )
    for accused in audit.accused:
        text = tr(
            "Block {number} was endorsed so by {names}; for others: {command}",
            number=accused.block,
            names=said(all_of(accused.organizations)) or tr("nobody"),
            command=f"light-node prove {accused.transaction_id} --block {accused.block} --out FILE",
        )
        lines.append(text)
    if audit.agrees and not replay.unchecked:
        lines.append(tr("Everything written follows from the quotes and readings in the blocks."))
    print("\n".join(lines))
