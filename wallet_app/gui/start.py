"""From the command to the window: set-up where there is no wallet, opening, then trading."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QDialog, QMessageBox

from light_node.chain import trust
from light_node.clock import Clock, SystemClock
from light_node.fabric.identity import SigningIdentity
from wallet_app import wallets
from wallet_app.gui import settings, theme
from wallet_app.gui.app import INTERRUPTED, application, run_window
from wallet_app.gui.opening import OpeningDialog, opening_tools
from wallet_app.gui.welcome import WelcomeDialog, setup_tools
from wallet_app.i18n import tr
from wallet_app.onboarding import Answers
from wallet_app.wallets import OpenWallet


def open_window(directory: Path, clock: Clock | None = None) -> int:
    """Set up the wallet in ``directory`` if need be, open it and show it; return the exit code.

    The caller holds the wallet's lock. 0 also when the user closed a dialog instead; what stands
    in the way of opening is raised after it was shown. Call it from the main thread.
    """
    clock = clock or SystemClock()
    path = settings.settings_path()
    app = application(settings.load(path))
    # Between two dialogs there is no window; that is no reason to end.
    app.setQuitOnLastWindowClosed(False)
    with _interruptible_dialogs() as interrupted:
        wallet = _prepare(directory, clock, path)
    if interrupted:
        if wallet is not None:
            wallet.close()
        return INTERRUPTED
    if wallet is None:
        return 0
    with wallet:
        return run_window(wallet.session, zone=wallet.stored.settings.zone_info)


def refuse(text: str) -> None:
    """Show why the window does not open, where the user may not see standard error."""
    if sys.stderr is not None and sys.stderr.isatty():
        return
    application(settings.load(settings.settings_path()))
    box = QMessageBox(QMessageBox.Icon.Warning, tr("Prosumer Wallet"), "")
    box.setText(text)
    box.addButton(tr("Close"), QMessageBox.ButtonRole.AcceptRole)
    box.exec()


def _prepare(directory: Path, clock: Clock, path: Path) -> OpenWallet | None:
    identity: SigningIdentity | None = None
    set_up = not wallets.is_enrolled(directory)
    while True:
        if set_up or not wallets.has_settings(directory):
            answers = Answers() if set_up else _interrupted_set_up(directory, clock)
            welcome = _welcome(directory, clock, path, answers)
            if welcome.exec() != QDialog.DialogCode.Accepted:
                return None
            identity = welcome.identity or identity
        opening = OpeningDialog(
            opening_tools(directory, clock),
            theme.choose(settings.load(path).theme),
            identity,
        )
        if opening.exec() == QDialog.DialogCode.Accepted:
            return opening.wallet
        if not opening.again:
            if opening.error is not None:
                raise opening.error
            return None
        set_up = True


def _welcome(directory: Path, clock: Clock, path: Path, answers: Answers) -> WelcomeDialog:
    kept = settings.load(path)
    tools = setup_tools(directory, clock)
    return WelcomeDialog(directory, tools, theme.choose(kept.theme), kept, path, answers=answers)


def _interrupted_set_up(directory: Path, clock: Clock) -> Answers:
    """Return the answers of a set-up that ended between enrolment and household."""
    try:
        stored = wallets.load_wallet(directory, clock.now())
        root = trust.from_profile(stored.profile.trust_root)
    except wallets.PROBLEMS:
        return Answers()  # damaged since: the whole set-up again
    return Answers(
        profile=wallets.CheckedProfile(stored.profile, root),
        compared=True,
        msp_id=stored.identity.msp_id,
        enrolment_id=stored.identity.enrolment_id,
        key_place=stored.identity.key_place,
        enrolled=True,
    )


@contextmanager
def _interruptible_dialogs() -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM close the dialog that is open; what arrived is in the list."""
    arrived: list[int] = []

    def stop(number: int, frame: object) -> None:
        arrived.append(number)
        dialog = QApplication.activeModalWidget()
        if isinstance(dialog, QDialog):
            dialog.reject()

    # Python sees signals only between its own instructions; this timer runs some.
    pulse = QTimer()
    pulse.timeout.connect(lambda: None)
    pulse.start(200)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield arrived
    finally:
        pulse.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
