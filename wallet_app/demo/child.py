"""Runs one of our commands as a child that ends when its parent does.

``python -m wallet_app.demo.child PROGRAM ARGUMENTS…``. The parent holds the other end of standard
input: when it goes away, by whatever death, the pipe closes and the child stops itself, so that
no devnet is left behind.
"""

import importlib
import signal
import sys

from wallet_app.demo import parent

_MODULES = {
    "light-node": "light_node.cli",
    "neighbours": "wallet_app.demo.neighbours",
    "prosumer-wallet": "wallet_app.cli",
}


def main() -> int:
    """Run the command named on the command line."""
    program, *arguments = sys.argv[1:]
    # Ctrl-C in the terminal reaches the whole process group; stopping is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if program != "prosumer-wallet":  # the simulated home reads its commands itself
        parent.watch()
    return int(importlib.import_module(_MODULES[program]).main(arguments))


if __name__ == "__main__":
    sys.exit(main())
