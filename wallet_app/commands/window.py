"""``prosumer-wallet``: open the wallet's window, setting a wallet up first if there is none."""

import argparse

from light_node import commandline
from wallet_app import i18n
from wallet_app.commands.wallet_options import add_wallet, one_line_errors
from wallet_app.gui.libraries import display_available, qt_libraries_problem
from wallet_app.i18n import tr
from wallet_app.wallets import WalletBusy, WalletLock, wallet_directory

SUMMARY = "Open the wallet's window; the first time it helps to set a wallet up."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_wallet(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Show the window until it is closed; exit 2 with one line where none can be shown."""
    i18n.use_language()
    problem = no_window_reason()
    if problem:
        raise commandline.InputError(problem)
    # Only now: this loads Qt.
    from wallet_app.gui.start import open_window, refuse

    with one_line_errors():
        directory = wallet_directory(arguments.wallet)
        try:
            lock = WalletLock(directory)
        except WalletBusy as error:
            refuse(str(error))
            raise
        with lock:
            return open_window(directory)


def no_window_reason() -> str:
    """Return one line on why no window can be shown here and what to do instead, "" if it can."""
    missing = qt_libraries_problem()
    if display_available():
        return missing or ""
    line = tr(
        "There is no display for the window: 'prosumer-wallet enrol' sets a wallet up and "
        "'prosumer-wallet run' trades with it in this terminal."
    )
    return f"{line} {missing}" if missing else line
