"""The command ``prosumer-wallet``; without a sub-command it opens the window."""

from collections.abc import Sequence

from light_node import commandline

COMMANDS = {
    "": "wallet_app.commands.window",
    "demo": "wallet_app.commands.demo",
    "enrol": "wallet_app.commands.enrol",
    "equilibrium": "wallet_app.commands.equilibrium",
    "meter": "wallet_app.commands.meter",
    "profile": "wallet_app.commands.profile",
    "replay": "wallet_app.commands.replay",
    "run": "wallet_app.commands.run",
    "settings": "wallet_app.commands.settings",
    "simulate": "wallet_app.commands.simulate",
    "suggest": "wallet_app.commands.suggest",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``prosumer-wallet`` with ``argv`` (default: the process's own); return the exit code."""
    description = "Trade your own electricity: desktop wallet for a local power market."
    return commandline.run("prosumer-wallet", description, COMMANDS, argv)
