"""``light-node prove``: write a transaction's proof to a file, or check such a file offline."""

import argparse
from pathlib import Path
from typing import Any

from light_node import commandline, files
from light_node.chain import errors, proof, prover, trust
from light_node.chain.node import LightNode
from light_node.chain.proof import ProvenTransaction
from light_node.chain.status import SyncStatus
from light_node.clock import SystemClock
from light_node.commands import catching_up, node_options
from light_node.fabric.errors import FabricError
from light_node.i18n import Text, all_of, os_reason, said, told, tr, use_language

SUMMARY = "Write the proof of a transaction to a file, or check such a file offline."


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "transaction", nargs="?", metavar="TX", help="id of the transaction to prove"
    )
    parser.add_argument("--out", metavar="FILE", help="write the proof there")
    parser.add_argument("--block", type=int, metavar="N", help="the block it is in, if known")
    parser.add_argument("--check", metavar="FILE", help="check this proof (- reads standard input)")
    parser.add_argument(
        "--trust", metavar="CONFIG_BLOCK", help="with --check: the configuration block you trust"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=catching_up.DEFAULT_TIMEOUT_S,
        metavar="S",
        help=f"while catching up with the channel: {catching_up.HELP}",
    )
    node_options.configure(parser, required=False)


def execute(arguments: argparse.Namespace) -> int:
    """Prove or check; exit code 1 if it cannot be proved."""
    use_language()
    if arguments.check:
        if not arguments.trust or arguments.transaction:
            raise commandline.InputError(Text("to check: prove --check FILE --trust CONFIG_BLOCK"))
        return _check(arguments)
    if not (arguments.transaction and arguments.profile and arguments.out):
        raise commandline.InputError(Text("to prove: prove TX --profile P --out FILE"))
    return _prove(arguments)


def proven_json(proven: ProvenTransaction) -> dict[str, Any]:
    """Return the result of a check as ``--json`` prints it."""
    transaction = proven.transaction
    return {
        "proved": not proven.problems,
        "transaction": transaction.transaction_id,
        "channel": transaction.channel,
        "block": proven.number,
        "index": proven.index,
        "hash": proven.hash.hex(),
        "configuration": proven.config,
        "signers": list(proven.signers),
        "chaincode": transaction.chaincode,
        "function": _ascii(transaction.args[0]) if transaction.args else "",
        "valid_by": list(proven.valid_by),
        "valid": proven.valid,
        "problems": list(proven.problems),
    }


def _prove(arguments: argparse.Namespace) -> int:
    profile = node_options.load_profile(arguments)
    identity = node_options.need_identity(arguments)
    try:
        node = LightNode(profile, node_options.store_directory(arguments), identity, SystemClock())
        with node:
            _catch_up(node, arguments)
            made = prover.prove(
                node, arguments.transaction, SystemClock().now(), block=arguments.block
            )
            # What is written is checked as its reader will.
            proven = proof.check(proof.loads(made.dumps()), node.root)
    except (errors.NotVerified, errors.VerificationError, FabricError) as error:
        return _cannot(arguments, told(error))
    except errors.ChainError as error:
        raise commandline.InputError(told(error)) from error
    try:
        files.write_atomically(Path(arguments.out), made.dumps())
    except OSError as error:
        raise commandline.InputError(
            Text("cannot write {out}: {why}", out=arguments.out, why=os_reason(error))
        ) from error
    return _show(arguments, proven)


def _check(arguments: argparse.Namespace) -> int:
    try:
        root = trust.load(commandline.read_bytes(arguments.trust))
    except errors.TrustRootError as error:
        raise commandline.InputError(
            Text("{trust}: {error}", trust=arguments.trust, error=error)
        ) from error
    try:
        proven = proof.check(proof.loads(commandline.read_bytes(arguments.check)), root)
    except (errors.UnusableFile, errors.NotVerified, errors.VerificationError) as error:
        return _cannot(arguments, told(error))
    return _show(arguments, proven)


def _catch_up(node: LightNode, arguments: argparse.Namespace) -> None:
    def caught_up(status: SyncStatus) -> bool:
        if status.fork is not None:
            return True
        wanted = status.height if arguments.block is None else arguments.block + 1
        return wanted is not None and (status.agreed_height or 0) >= wanted

    catching_up.catch_up(node, caught_up, arguments.timeout)


def _cannot(arguments: argparse.Namespace, reason: Text) -> int:
    if arguments.json:
        commandline.print_json({"proved": False, "error": reason})
    else:
        print(tr("Not proved: {why}", why=said(reason)))
    return commandline.NO


def _show(arguments: argparse.Namespace, proven: ProvenTransaction) -> int:
    if arguments.json:
        commandline.print_json(proven_json(proven))
        return commandline.NO if proven.problems else commandline.GOOD
    found = proven_json(proven)
    lines = [
        tr(
            "Transaction {id} ({chaincode} {function})",
            id=found["transaction"],
            chaincode=found["chaincode"],
            function=found["function"],
        ),
        tr(
            "is number {index} of block {number}, hash {hash}…,",
            index=proven.index,
            number=proven.number,
            hash=found["hash"][:16],
        ),
        tr(
            "which orderers of {names} signed (configuration of block {number}).",
            names=said(all_of(sorted(set(proven.signers)))),
            number=proven.config,
        ),
    ]
    if proven.valid_by:
        names = said(all_of(proven.valid_by))
        lines.append(tr("Peers of {names} signed that it took effect.", names=names))
    else:
        lines.append(tr("The file does not prove that it took effect: nothing later refers to it."))
    lines += [tr("Problem: {what}", what=said(problem)) for problem in proven.problems]
    print("\n".join(lines))
    return commandline.NO if proven.problems else commandline.GOOD


def _ascii(raw: bytes) -> str:
    return ascii(raw[:80].decode("ascii", "replace"))[1:-1]
