"""``light-node peers``: which nodes of which organisations are asked, and what each says."""

import argparse
import time
from typing import Any

from light_node import commandline
from light_node.chain import errors, quarantine, skip, trust, verify
from light_node.chain.quarantine import Case, readable
from light_node.chain.sources import Source, from_profile
from light_node.chain.store import HeaderStore
from light_node.clock import SystemClock
from light_node.commands import node_options, status_socket
from light_node.commands.sync import source_words
from light_node.fabric.errors import FabricError
from light_node.i18n import said, told, tr, use_language

SUMMARY = "Show the nodes of the profile: organisation, height, agreement, answer time, quarantine."


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    node_options.configure(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Ask every node; exit code 1 if one contradicts what is verified here or is in quarantine."""
    use_language()
    profile = node_options.load_profile(arguments)
    identity = node_options.need_identity(arguments)
    directory = node_options.store_directory(arguments)
    store: HeaderStore | None = None
    try:
        root = trust.from_profile(profile.trust_root)
        if (directory / "headers.bin").exists():
            start = skip.effective_root(directory, root)
            store = HeaderStore(directory, start, read_only=True)
        config = root.config if store is None else store.state.config
        cases = quarantine.load(directory)
        sources = from_profile(profile, config, identity, SystemClock(), orderers=True)
        rows = [_ask(source, store, cases) for source in sources]
    except errors.ChainError as error:
        raise commandline.InputError(told(error)) from error
    finally:
        if store is not None:
            store.close()
    running = status_socket.read_status(directory / status_socket.FILE_NAME) is not None
    if arguments.json:
        commandline.print_json({"running": running, "peers": rows})
    else:
        _print_for_people(rows, running)
    wrong = any(row["agrees"] is False or row["quarantine"] for row in rows)
    return commandline.NO if wrong else commandline.GOOD


def _ask(source: Source, store: HeaderStore | None, cases: dict[str, Case]) -> dict[str, Any]:
    case = cases.get(source.organization)
    row: dict[str, Any] = {
        "organization": source.organization,
        "address": source.address,
        "kind": source.kind,
        "height": None,
        "agrees": None,
        "answer_ms": None,
        "quarantine": None if case is None else case.seen_at,
        "error": "",
    }
    began = time.monotonic()
    try:
        block = verify.parse(source.newest())
        row["answer_ms"] = round((time.monotonic() - began) * 1000)
        row["height"] = block.number + 1
        known = None if store is None else store.hash(block.number)
        row["agrees"] = None if known is None else known == block.hash
    except (FabricError, errors.VerificationError) as error:
        row["error"] = error.text
    finally:
        source.close()
    return row


def _print_for_people(rows: list[dict[str, Any]], running: bool) -> None:
    lines = [tr("A light node is running here.")] if running else []
    for row in rows:
        agrees = {True: tr("agrees"), False: tr("DISAGREES"), None: tr("not compared")}
        answer = said(row["error"]) or tr(
            "height {height}, {agrees}, {number} ms",
            height=row["height"],
            agrees=agrees[row["agrees"]],
            number=row["answer_ms"],
        )
        lines.append(source_words(row["organization"], row["address"], row["kind"], answer))
        if row["quarantine"]:
            text = tr(
                "in quarantine since {time}: see light-node evidence list",
                time=readable(row["quarantine"]),
            )
            lines.append(f"  {text}")
    print("\n".join(lines))
