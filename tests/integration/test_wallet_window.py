"""From an empty directory to the window over a real devnet, as a user would go, offscreen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from PySide6.QtCore import QTimer
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from light_node.clock import SystemClock
from light_node.devnet.testing import DevnetProcess
from light_node.fabric.ca import Attribute, certificate_request
from light_node.fabric.crypto import KeySigner
from light_node.fabric.identity import SigningIdentity
from wallet_app import wallets
from wallet_app.gui import app, opening, start, welcome
from wallet_app.gui.welcome_pages import HouseholdPage, KeyPage, NetworkPage, OrganisationPage
from wallet_app.keys import store
from wallet_app.keys.store import KeyPlace, KeyringStore, KeyState
from wallet_app.onboarding import Step

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")
PASSPHRASE = "correct horse"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_SCRYPT_N", 2**4)
    monkeypatch.setattr(KeyringStore, "state", lambda _: KeyState.ABSENT)


def register(devnet: DevnetProcess, name: str) -> str:
    named = next(r for r in devnet.profile.registrars if r.msp_id == "Org1MSP")
    key = ec.generate_private_key(ec.SECP256R1())
    ca = devnet.ca()
    certificate = ca.enroll(named.id, named.secret, certificate_request(key, named.id))
    registrar = SigningIdentity("Org1MSP", certificate, KeySigner(key))
    attributes = (
        Attribute("market.user_type", "household"),
        Attribute("market.permissions", "trade"),
        Attribute("market.credit", "A"),
    )
    secret = ca.register(registrar, name, attributes=attributes)
    ca.close()
    return secret


class Guest(welcome.WelcomeDialog):
    """A wizard with somebody in front of it: what is to be entered, step by step."""

    profile_file: Path
    secrets: list[str]
    steps: list[Step]

    def exec(self) -> int:
        self.steps = []
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._act)
        self._timer.start(20)
        return super().exec()

    def _act(self) -> None:
        try:
            self._answer()
        except BaseException:
            # Whoever stumbles leaves: a guest that fails for ever would hang instead of failing.
            self._timer.stop()
            self.done(0)
            raise

    def _answer(self) -> None:
        if self.busy:
            return
        self.steps.append(self.step)
        page: Any = self.page
        if isinstance(page, NetworkPage):
            if self.answers.profile is None:
                self.take_profile(self.profile_file)
                return
            page.compared.setChecked(True)
        elif isinstance(page, OrganisationPage):
            page.organisation.setCurrentText("Org1MSP")
            page.enrolment_id.setText("guest")
            page.secret.setText(self.secrets.pop(0) if self.secrets else page.secret.text())
        elif isinstance(page, KeyPage):
            if self.answers.keyring is None:
                return
            assert page.file.isChecked()
            page.passphrase.setText(PASSPHRASE)
            page.passphrase_again.setText(PASSPHRASE)
        elif isinstance(page, HouseholdPage):
            page.roof.setValue(6.0)
        elif self.step is Step.DONE:
            self._timer.stop()  # a guest who has left presses no more buttons
        self.go_on()


class Visitor(opening.OpeningDialog):
    """An opening dialog with somebody in front of it who mistypes the passphrase once."""

    typed: list[str]

    def exec(self) -> int:
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._act)
        self._timer.start(20)
        return super().exec()

    def _act(self) -> None:
        if not self.busy and self.passphrase.isVisible():
            self.passphrase.setText(self.typed.pop(0))
            self.unlock()


@pytest.mark.timeout(400)  # a devnet, two windows and a set-up: slow on a machine that is busy
def test_set_up_window_close_and_open_again(
    qtbot: QtBot,
    qapp: QApplication,
    tmp_path: Path,
    devnet: DevnetProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Who quits without a running loop leaves the application quitting, and every later exec() of a
    # dialog returns at once; earlier tests do. A run of the main loop clears it.
    QTimer.singleShot(0, qapp.quit)
    qapp.exec()
    Guest.profile_file = devnet.directory / "profile.json"
    Guest.secrets = ["not the secret", register(devnet, "guest")]
    Visitor.typed = ["mistyped", PASSPHRASE]
    pictures = [tmp_path / "first.png", tmp_path / "second.png"]
    remaining = list(pictures)
    guests: list[Guest] = []

    def wizard(*arguments: Any, **keywords: Any) -> Guest:
        guests.append(Guest(*arguments, **keywords))
        return guests[-1]

    def run_window(source: Any, **keywords: Any) -> int:
        wait_until(qtbot, lambda: any("entered" in e.text for e in source.view().events))
        return app.run_window(
            source,
            screenshot=remaining.pop(0),
            screenshot_after=1.0,
            close_after=1.5,
            **keywords,
        )

    monkeypatch.setattr(start, "WelcomeDialog", wizard)
    monkeypatch.setattr(start, "OpeningDialog", Visitor)
    monkeypatch.setattr(start, "run_window", run_window)
    directory = wallets.wallet_directory()
    for _ in pictures:
        with wallets.WalletLock(directory):
            assert start.open_window(directory) == 0
    assert len(guests) == 1
    assert guests[0].steps.count(Step.ORGANISATION) == 2  # the wrong secret led back to it
    assert Visitor.typed == []
    for picture in pictures:
        image = QImage(str(picture))
        assert image.width() >= 960
    stored = wallets.load_wallet(directory, SystemClock().now())
    assert stored.settings["pv_peak_w"] == 6000
    assert stored.identity.key_place is KeyPlace.FILE
    assert stored.identity.participant == "guest@Org1MSP"


def wait_until(qtbot: QtBot, condition: Callable[[], bool]) -> None:
    qtbot.waitUntil(condition, timeout=120_000)
