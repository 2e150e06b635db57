"""The command ``light-node``."""

from collections.abc import Sequence

from light_node import commandline

COMMANDS = {
    "audit": "light_node.commands.audit",
    "bench": "light_node.commands.bench",
    "chaincode": "light_node.commands.chaincode",
    "clear": "light_node.commands.clear",
    "devnet": "light_node.commands.devnet",
    "evidence": "light_node.commands.evidence",
    "fabric": "light_node.commands.fabric",
    "mtc": "light_node.commands.mtc",
    "peers": "light_node.commands.peers",
    "profile": "light_node.commands.profile",
    "prove": "light_node.commands.prove",
    "root": "light_node.commands.root",
    "run": "light_node.commands.run",
    "status": "light_node.commands.status",
    "sync": "light_node.commands.sync",
    "verify": "light_node.commands.verify",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``light-node`` with ``argv`` (default: the process's own) and return the exit code."""
    description = "Light node for a power market on a Hyperledger Fabric channel."
    return commandline.run("light-node", description, COMMANDS, argv)
