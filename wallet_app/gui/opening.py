"""Opening a wallet at later starts: passphrase, or the keyring, then everything behind the window.

One small dialog. What goes wrong is said in it, with the button that helps: try again, import a
newer network profile, set the wallet up again. Three wrong passphrases end it; nothing is lost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QDialog, QFileDialog, QHBoxLayout, QProgressBar, QVBoxLayout

from light_node.chain.errors import TrustRootError
from light_node.clock import Clock
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import ProfileError
from wallet_app import failures, wallets
from wallet_app import format as fmt
from wallet_app.gui import icons
from wallet_app.gui.foreign import show_foreign
from wallet_app.gui.op import Op
from wallet_app.gui.theme import Theme
from wallet_app.gui.welcome_parts import password_field
from wallet_app.gui.widgets import Notice, button, label
from wallet_app.i18n import tr
from wallet_app.keys.identity import EnrolmentError
from wallet_app.keys.store import KeyringUnavailable, KeyStoreError, WrongPassphrase
from wallet_app.wallets import OpenWallet, StoredWallet


class Help(StrEnum):
    """What the dialog offers when opening failed."""

    NOTHING = "nothing"
    RETRY = "retry"
    PROFILE = "profile"
    AGAIN = "again"


def help_for(error: Exception) -> Help:
    """Return what may help against ``error``."""
    if isinstance(error, KeyringUnavailable):
        return Help.RETRY
    if isinstance(error, KeyStoreError | EnrolmentError | wallets.CertificateEnded):
        return Help.AGAIN
    if isinstance(error, TrustRootError | ProfileError):
        return Help.PROFILE
    return Help.RETRY if isinstance(error, OSError) else Help.NOTHING


@dataclass(frozen=True, slots=True)
class OpeningTools:
    """What the dialog does; each may block and is called off the UI thread."""

    load: Callable[[], StoredWallet]
    unlock: Callable[[StoredWallet, str], SigningIdentity]
    open: Callable[[StoredWallet, SigningIdentity], OpenWallet]
    renew: Callable[[Path], None]


def opening_tools(directory: Path, clock: Clock) -> OpeningTools:
    """Return the tools that open the wallet in ``directory`` for real."""
    return OpeningTools(
        load=lambda: wallets.load_wallet(directory, clock.now()),
        unlock=lambda stored, passphrase: stored.identity.unlock(stored.keys(passphrase)),
        open=lambda stored, identity: OpenWallet(stored, identity, clock),
        renew=lambda path: wallets.renew_profile(
            directory, wallets.load_profile(path, clock.now())
        ),
    )


class OpeningDialog(QDialog):
    """Opens a wallet; accepted with :attr:`wallet` open.

    Rejected otherwise: :attr:`error` is what stood in the way, None if the user gave up, and
    :attr:`again` tells that the user wants to set the wallet up again.
    """

    def __init__(
        self, tools: OpeningTools, theme: Theme, identity: SigningIdentity | None = None
    ) -> None:
        """``identity``, if given, is the wallet's own, unlocked a moment ago."""
        super().__init__()
        self._tools, self._identity = tools, identity
        self._stored: StoredWallet | None = None
        self._tries = wallets.PASSPHRASE_TRIES
        self._foreign = ""
        self.wallet: OpenWallet | None = None
        self.error: Exception | None = None
        self.again = False
        self.busy = False
        self.setWindowTitle(tr("Prosumer Wallet"))
        self.setWindowIcon(icons.app_icon())
        self.setMinimumWidth(460)
        self._build(theme)
        QTimer.singleShot(0, self, self.load)

    def _build(self, theme: Theme) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 18)
        column.setSpacing(12)
        head = QHBoxLayout()
        mark = label()
        mark.setPixmap(icons.app_icon().pixmap(36, 36))
        self._title = label(tr("Opening the wallet …"), "title")
        head.addWidget(mark)
        head.addWidget(self._title, 1)
        column.addLayout(head)
        self._who = label("", "muted")
        column.addWidget(self._who)
        self.passphrase = password_field()
        self.passphrase.setAccessibleName(tr("Passphrase"))
        self.passphrase.setPlaceholderText(tr("Passphrase"))
        self.passphrase.setMinimumHeight(32)
        self.passphrase.hide()
        column.addWidget(self.passphrase)
        self._working = QProgressBar()
        self._working.setRange(0, 0)
        self._working.setTextVisible(False)
        column.addWidget(self._working)
        self.notice = Notice(theme)
        column.addWidget(self.notice)
        column.addLayout(self._buttons())

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.details = button(tr("What the other side said …"), self._show_foreign)
        self.close_button = button(tr("Close"), self.reject)
        self.retry = button(tr("Try again"), self.load)
        self.profile = button(tr("Import a network profile …"), self._ask_profile)
        self.set_up = button(tr("Set up again …"), self._set_up_again)
        self.open_button = button(tr("Open"), self.unlock, kind="primary")
        row.addWidget(self.details)
        row.addStretch(1)
        for each in (self.close_button, self.retry, self.profile, self.set_up, self.open_button):
            each.setAutoDefault(each is self.open_button)
            row.addWidget(each)
        self.details.setAutoDefault(False)
        self.open_button.setDefault(True)
        self._offer(Help.NOTHING)
        self.open_button.hide()
        return row

    # ---- steps

    def load(self) -> None:
        """Read the wallet's files, then unlock the key, then open."""

        def loaded(stored: StoredWallet) -> None:
            self._stored = stored
            self._who.setText(
                fmt.foreign(f"{stored.identity.participant} · {stored.profile.name}", 120)
            )
            if self._identity is not None:
                self._open(self._identity)
            elif stored.needs_passphrase:
                self._ask_passphrase()
            else:
                self.unlock()

        self._work(self._tools.load, loaded)

    def _ask_passphrase(self) -> None:
        self._title.setText(tr("Unlock the wallet"))
        self.passphrase.show()
        self.open_button.show()
        self.passphrase.setFocus()

    def unlock(self) -> None:
        """Get the key, with the passphrase entered where one is needed."""
        stored, passphrase = self._stored, self.passphrase.text()
        if stored is None or self.busy:
            return
        if stored.needs_passphrase and not passphrase:
            self.notice.say(tr("Enter the passphrase."))
            return
        self._work(lambda: self._tools.unlock(stored, passphrase), self._open)

    def _open(self, identity: SigningIdentity) -> None:
        stored = self._stored
        assert stored is not None
        self._identity = identity  # a second attempt needs no second passphrase
        self.passphrase.clear()
        self.passphrase.hide()
        self.open_button.hide()
        self._title.setText(tr("Opening the wallet …"))

        def opened(wallet: OpenWallet) -> None:
            self.wallet = wallet
            self.accept()

        self._work(lambda: self._tools.open(stored, identity), opened)

    def renew_profile(self, path: Path) -> None:
        """Import the network profile at ``path``, then try again."""
        self._work(lambda: self._tools.renew(path), lambda _: self.load())

    # ---- work and what became of it

    def _work(self, work: Callable[[], object], success: Callable[..., None]) -> None:
        self._set_busy(True)
        self.notice.say("")
        self._offer(Help.NOTHING)
        Op(self, work).finally_(lambda: self._set_busy(False)).success(success).failure(
            self._failed
        ).run()

    def _set_busy(self, busy: bool) -> None:
        self.busy = busy
        self._working.setVisible(busy)
        self.open_button.setEnabled(not busy)
        self.passphrase.setEnabled(not busy)
        self.close_button.setEnabled(not busy)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, WrongPassphrase) and self._wrong_passphrase(error):
            return
        self.error = error
        self._title.setText(tr("The wallet cannot be opened"))
        self._foreign = failures.foreign(error)
        self.passphrase.hide()
        self.open_button.hide()
        self.notice.say(fmt.foreign(failures.explain(error), 500), "error")
        self._offer(Help.NOTHING if isinstance(error, WrongPassphrase) else help_for(error))
        self.details.setVisible(bool(self._foreign))
        helpful = (self.retry, self.profile, self.set_up, self.close_button)
        next(each for each in helpful if not each.isHidden()).setFocus()
        self._fit()

    def _wrong_passphrase(self, error: WrongPassphrase) -> bool:
        """Ask again while tries are left; tell whether there were any."""
        self._tries -= 1
        if self._tries <= 0:
            return False
        self.notice.say(
            tr("{why} Tries left: {n}.", why=failures.explain(error), n=self._tries), "error"
        )
        self.passphrase.selectAll()
        self.passphrase.setFocus()
        self._fit()
        return True

    def _fit(self) -> None:
        # A wrapped line needs more height than the dialog had; layouts do not ask for it.
        layout = self.layout()
        if layout is not None:
            layout.activate()
            self.resize(self.width(), layout.totalHeightForWidth(self.width()))

    def _offer(self, help: Help) -> None:
        self.retry.setVisible(help is Help.RETRY)
        self.profile.setVisible(help is Help.PROFILE)
        self.set_up.setVisible(help is Help.AGAIN)
        self.details.hide()

    def _ask_profile(self) -> None:
        kinds = tr("Network profiles (*.json)")
        name, _ = QFileDialog.getOpenFileName(self, tr("Import a network profile …"), "", kinds)
        if name:
            self.renew_profile(Path(name))

    def _set_up_again(self) -> None:
        self.again = True
        self.reject()

    def _show_foreign(self) -> None:
        show_foreign(self, self._foreign)

    # ---- closing

    def reject(self) -> None:
        """Close, unless the wallet is just being opened: somebody must close it again."""
        if not self.busy:
            super().reject()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Do not close while the wallet is being opened."""
        if self.busy:
            event.ignore()
        else:
            super().closeEvent(event)
