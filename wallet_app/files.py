"""Where the wallet's files lie, and how they are written."""

import os
from pathlib import Path

import platformdirs

from light_node.files import write_atomically

__all__ = ["data_directory", "write_atomically"]


def data_directory() -> Path:
    """Return where the wallet keeps its data: the platform's place, or ``PROSUMER_WALLET_HOME``."""
    override = os.environ.get("PROSUMER_WALLET_HOME")
    if override:
        return Path(override)
    return Path(platformdirs.user_data_dir("prosumer-wallet", appauthor=False))
