"""The set-up wizard and the opening dialog, with what they do behind them replaced."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from light_node.chain.errors import TrustRootExpired
from light_node.chain.root_text import RootText
from light_node.fabric.errors import CaAuthenticationFailed, CaUnavailable
from wallet_app import i18n
from wallet_app.gui import settings, start, theme
from wallet_app.gui.opening import Help, OpeningDialog, OpeningTools, help_for
from wallet_app.gui.welcome import SetupTools, WelcomeDialog, system_time_zone
from wallet_app.gui.welcome_pages import (
    HouseholdPage,
    KeyPage,
    LanguagePage,
    MeterPage,
    NetworkPage,
    OrganisationPage,
)
from wallet_app.keys.identity import EnrolmentError
from wallet_app.keys.store import (
    KeyNotFound,
    KeyPlace,
    KeyringUnavailable,
    KeyState,
    WrongPassphrase,
)
from wallet_app.meter.ports import PortInfo
from wallet_app.onboarding import Answers, Step
from wallet_app.settings import SettingsError
from wallet_app.wallets import CertificateEnded

CHECKED: Any = SimpleNamespace(
    fingerprint="AAAA-BBBB-CCCC-DDDD",
    root=SimpleNamespace(hash=bytes(range(32))),
    profile=SimpleNamespace(
        name="<b>Street</b>\n8",
        channel="market",
        organizations=[
            SimpleNamespace(msp_id=f"Org{n}MSP", ca=object(), peers=(1,)) for n in (1, 2)
        ],
        trust_root=SimpleNamespace(expires=datetime(2027, 6, 20, 12, tzinfo=UTC)),
    ),
)


@dataclass
class Backstage:
    """Stands for CA, keyring, disk and ports; failures are raised once each."""

    keyring: KeyState = KeyState.READY
    ports: list[PortInfo] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    enrolled: list[Answers] = field(default_factory=list)
    saved: list[Answers] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    keyring_gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.keyring_gate.set()

    def tools(self) -> SetupTools:
        return SetupTools(self._load, self._keyring, self._enrol, self._ports, self.saved.append)

    def _load(self, path: Path) -> Any:
        self._step()
        return CHECKED

    def _keyring(self) -> KeyState:
        self.threads.add(threading.get_ident())
        self.keyring_gate.wait(10)
        return self.keyring

    def _enrol(self, answers: Answers) -> Any:
        self.gate.wait(10)
        self._step()
        self.enrolled.append(answers)
        return SimpleNamespace(name="identity")

    def _ports(self) -> list[PortInfo]:
        return self.ports

    def _step(self) -> None:
        self.threads.add(threading.get_ident())
        if self.failures:
            raise self.failures.pop(0)


@pytest.fixture
def stage() -> Backstage:
    return Backstage()


@pytest.fixture
def wizard(qtbot: QtBot, stage: Backstage, tmp_path: Path) -> Iterator[WelcomeDialog]:
    dialog = WelcomeDialog(
        tmp_path, stage.tools(), theme.LIGHT, settings.WindowSettings(), tmp_path / "window.json"
    )
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitUntil(lambda: dialog.answers.keyring is not None)
    yield dialog
    stage.gate.set()
    qtbot.waitUntil(lambda: not dialog.busy)


def press(dialog: QWidget, text: str) -> None:
    found = [b for b in dialog.findChildren(QPushButton) if b.text() == text and b.isVisible()]
    assert len(found) == 1, text
    found[0].click()


def notice(dialog: QWidget) -> str:
    texts = [
        label.text()
        for frame in dialog.findChildren(QWidget, "notice")
        for label in frame.findChildren(QLabel)
        if frame.isVisible()
    ]
    return " ".join(text for text in texts if text)


def to_network(qtbot: QtBot, wizard: WelcomeDialog) -> NetworkPage:
    press(wizard, "Continue")
    page = wizard.page
    assert isinstance(page, NetworkPage)
    return page


def to_organisation(qtbot: QtBot, wizard: WelcomeDialog) -> OrganisationPage:
    network = to_network(qtbot, wizard)
    wizard.take_profile(Path("profile.json"))
    qtbot.waitUntil(lambda: wizard.answers.profile is CHECKED)
    network.compared.click()
    press(wizard, "Continue")
    page = wizard.page
    assert isinstance(page, OrganisationPage)
    return page


def to_key(qtbot: QtBot, wizard: WelcomeDialog) -> KeyPage:
    organisation = to_organisation(qtbot, wizard)
    organisation.organisation.setCurrentText("Org2MSP")
    qtbot.keyClicks(organisation.enrolment_id, "hh-001")
    qtbot.keyClicks(organisation.secret, "s3cret")
    press(wizard, "Continue")
    page = wizard.page
    assert isinstance(page, KeyPage)
    return page


def to_household(qtbot: QtBot, wizard: WelcomeDialog) -> HouseholdPage:
    to_key(qtbot, wizard)
    press(wizard, "Continue")
    qtbot.waitUntil(lambda: wizard.step is Step.HOUSEHOLD)
    page = wizard.page
    assert isinstance(page, HouseholdPage)
    return page


# ---- the wizard


def test_from_the_language_to_an_enrolled_wallet(
    qtbot: QtBot, wizard: WelcomeDialog, stage: Backstage
) -> None:
    stage.ports = [PortInfo("/dev/ttyUSB0", "adapter", "x", True)]
    household = to_household(qtbot, wizard)
    household.roof.setValue(7.5)
    household.battery.setValue(10.0)
    household.load.setValue(4200)
    household.time_zone.setCurrentText("Europe/Berlin")
    press(wizard, "Continue")
    meter = wizard.page
    assert isinstance(meter, MeterPage)
    press(wizard, "Look again")
    qtbot.waitUntil(lambda: meter.list.count() == 2)
    meter.list.setCurrentRow(1)
    press(wizard, "Continue")
    qtbot.waitUntil(lambda: wizard.step is Step.DONE)
    enrolled, saved = stage.enrolled[0], stage.saved[0]
    assert (enrolled.msp_id, enrolled.enrolment_id, enrolled.secret) == (
        "Org2MSP",
        "hh-001",
        "s3cret",
    )
    assert enrolled.key_place is KeyPlace.KEYRING
    kept = saved.settings()
    assert kept["pv_peak_w"] == 7500
    assert kept["battery_capacity_wh"] == 10_000
    assert kept["annual_load_wh"] == 4_200_000
    assert kept["time_zone"] == "Europe/Berlin"
    assert kept["meter_port"] == "/dev/ttyUSB0"
    assert "s3cret" not in repr(wizard.answers.secret)
    with qtbot.waitSignal(wizard.accepted):
        press(wizard, "Open the wallet")
    assert wizard.identity is not None


def test_nothing_that_may_block_runs_on_the_ui_thread(
    qtbot: QtBot, wizard: WelcomeDialog, stage: Backstage
) -> None:
    to_household(qtbot, wizard)
    assert stage.threads
    assert threading.get_ident() not in stage.threads


def test_the_fingerprint_must_be_compared_anew_for_every_profile(
    qtbot: QtBot, wizard: WelcomeDialog
) -> None:
    network = to_network(qtbot, wizard)
    press(wizard, "Continue")
    assert "Choose the network profile" in notice(wizard)
    wizard.take_profile(Path("a.json"))
    qtbot.waitUntil(lambda: not wizard.busy)
    shown = [label for label in network.findChildren(QLabel) if "BBBB" in label.text()]
    assert [label.text() for label in shown if label.isVisible()] == ["AAAA-BBBB-CCCC-DDDD"]
    press(wizard, "Continue")
    assert wizard.step is Step.NETWORK
    assert "Compare the fingerprint" in notice(wizard)
    network.compared.click()
    wizard.take_profile(Path("b.json"))
    qtbot.waitUntil(lambda: not wizard.busy)
    assert not network.compared.isChecked()
    press(wizard, "Continue")
    assert wizard.step is Step.NETWORK


def test_the_text_of_the_trust_root_compares_by_itself(qtbot: QtBot, wizard: WelcomeDialog) -> None:
    network = to_network(qtbot, wizard)
    wizard.take_profile(Path("a.json"))
    qtbot.waitUntil(lambda: not wizard.busy)
    time = datetime(2026, 6, 21, tzinfo=UTC)
    same = RootText("market", 0, bytes(range(32)), time, time).encode()
    other = RootText("market", 0, bytes(32), time, time).encode()

    def said() -> str:
        return " ".join(label.text() for label in network.findChildren(QLabel))

    network.text.setText(other)
    assert "another trust root: do not use" in said()
    assert not network.compared.isChecked()
    assert not network.compared.isEnabled()
    network.text.setText(same[:-3])
    assert "mistyped or cut off" in said()
    assert not network.compared.isChecked()
    network.text.setText(same.lower())
    assert "the same configuration block" in said()
    assert network.compared.isChecked()
    press(wizard, "Continue")
    assert isinstance(wizard.page, OrganisationPage)


def test_what_a_profile_says_is_plain_text(qtbot: QtBot, wizard: WelcomeDialog) -> None:
    to_network(qtbot, wizard)
    wizard.take_profile(Path("a.json"))
    qtbot.waitUntil(lambda: not wizard.busy)
    labels = wizard.findChildren(QLabel)
    assert any("<b>Street</b>" in label.text() for label in labels)
    assert all(label.textFormat() is Qt.TextFormat.PlainText for label in labels if label.text())


def test_a_profile_that_is_refused_keeps_the_one_before(
    qtbot: QtBot, wizard: WelcomeDialog, stage: Backstage
) -> None:
    to_network(qtbot, wizard)
    wizard.take_profile(Path("good.json"))
    qtbot.waitUntil(lambda: not wizard.busy)
    stage.failures = [TrustRootExpired("x")]
    wizard.take_profile(Path("old.json"))
    qtbot.waitUntil(lambda: "expired" in notice(wizard))
    assert wizard.answers.profile is CHECKED
    assert wizard.step is Step.NETWORK


def test_a_wrong_secret_leads_back_to_it_with_the_cas_words_on_demand(
    qtbot: QtBot, wizard: WelcomeDialog, stage: Backstage
) -> None:
    to_key(qtbot, wizard)
    stage.failures = [CaAuthenticationFailed("x", foreign="Authentication failure")]
    press(wizard, "Continue")
    qtbot.waitUntil(lambda: wizard.step is Step.ORGANISATION)
    assert "does not accept" in notice(wizard)
    assert "Authentication failure" not in notice(wizard)
    press(wizard, "What the other side said …")
    said = [label.text() for label in wizard.findChildren(QLabel)]
    assert "Authentication failure" in said
    page = wizard.page
    assert isinstance(page, OrganisationPage)
    assert page.enrolment_id.text() == "hh-001"
    page.secret.setText("right")
    press(wizard, "Continue")
    press(wizard, "Continue")
    qtbot.waitUntil(lambda: wizard.step is Step.HOUSEHOLD)
    assert stage.enrolled[0].secret == "right"


def test_a_ca_that_does_not_answer_can_be_asked_again(
    qtbot: QtBot, wizard: WelcomeDialog, stage: Backstage
) -> None:
    to_key(qtbot, wizard)
    stage.failures = [CaUnavailable("x")]
    press(wizard, "Continue")
    qtbot.waitUntil(lambda: "cannot be reached" in notice(wizard))
    assert wizard.step is Step.KEY
    press(wizard, "Continue")
    qtbot.waitUntil(lambda: wizard.step is Step.HOUSEHOLD)


def test_the_wizard_does_not_close_while_the_ca_is_asked(
    qtbot: QtBot, wizard: WelcomeDialog, stage: Backstage
) -> None:
    to_key(qtbot, wizard)
    stage.gate.clear()
    press(wizard, "Continue")
    assert wizard.busy
    wizard.close()
    wizard.reject()
    wizard.go_on()
    assert wizard.isVisible()
    stage.gate.set()
    qtbot.waitUntil(lambda: wizard.step is Step.HOUSEHOLD)
    assert len(stage.enrolled) == 1


@pytest.mark.parametrize(
    ("state", "button", "place"),
    [
        (KeyState.READY, None, KeyPlace.KEYRING),
        (KeyState.LOCKED, "Unlock the keyring", KeyPlace.KEYRING),
        (KeyState.ABSENT, None, KeyPlace.FILE),
        (KeyState.DENIED, "Ask again", None),
    ],
)
def test_each_keyring_state_has_its_button(
    qtbot: QtBot, tmp_path: Path, state: KeyState, button: str | None, place: KeyPlace | None
) -> None:
    stage = Backstage(keyring=state)
    dialog = WelcomeDialog(tmp_path, stage.tools(), theme.LIGHT, settings.WindowSettings())
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitUntil(lambda: dialog.answers.keyring is state)
    page = to_key(qtbot, dialog)
    assert page.read(dialog.answers).key_place is place
    assert page.keyring.isEnabled() is (state is not KeyState.ABSENT)
    if button is None:
        assert not page.again.isVisible()
        return
    press(dialog, "Continue")
    assert dialog.step is Step.KEY  # a keyring that is not ready is never passed over
    assert notice(dialog)
    stage.keyring = KeyState.READY
    press(dialog, button)
    qtbot.waitUntil(lambda: dialog.answers.keyring is KeyState.READY)
    press(dialog, "Continue")
    qtbot.waitUntil(lambda: dialog.step is Step.HOUSEHOLD)


@pytest.mark.parametrize(
    ("state", "place"), [(KeyState.ABSENT, KeyPlace.FILE), (KeyState.LOCKED, KeyPlace.KEYRING)]
)
def test_a_keyring_that_answers_late_still_proposes_a_place(
    qtbot: QtBot, tmp_path: Path, state: KeyState, place: KeyPlace
) -> None:
    stage = Backstage(keyring=state)
    stage.keyring_gate.clear()
    dialog = WelcomeDialog(tmp_path, stage.tools(), theme.LIGHT, settings.WindowSettings())
    qtbot.addWidget(dialog)
    dialog.show()
    page = to_key(qtbot, dialog)
    assert page.read(dialog.answers).key_place is None
    stage.keyring_gate.set()
    qtbot.waitUntil(lambda: dialog.answers.keyring is state)
    assert dialog.answers.key_place is place
    assert page.read(dialog.answers).key_place is place


def test_a_late_keyring_leaves_what_was_chosen_meanwhile(qtbot: QtBot, tmp_path: Path) -> None:
    stage = Backstage(keyring=KeyState.READY)
    stage.keyring_gate.clear()
    dialog = WelcomeDialog(tmp_path, stage.tools(), theme.LIGHT, settings.WindowSettings())
    qtbot.addWidget(dialog)
    dialog.show()
    page = to_key(qtbot, dialog)
    page.file.setChecked(True)
    page.passphrase.setText("correct horse")
    stage.keyring_gate.set()
    qtbot.waitUntil(lambda: dialog.answers.keyring is KeyState.READY)
    assert page.file.isChecked()
    assert dialog.answers.key_place is KeyPlace.FILE
    assert page.passphrase.text() == "correct horse"


def test_without_keyring_the_button_leads_to_the_file(qtbot: QtBot, tmp_path: Path) -> None:
    stage = Backstage(keyring=KeyState.DENIED)
    dialog = WelcomeDialog(tmp_path, stage.tools(), theme.LIGHT, settings.WindowSettings())
    qtbot.addWidget(dialog)
    dialog.show()
    page = to_key(qtbot, dialog)
    page.file.click()
    assert page.passphrase.echoMode() is QLineEdit.EchoMode.Password
    qtbot.keyClicks(page.passphrase, "correct horse")
    qtbot.keyClicks(page.passphrase_again, "correct hors")
    press(dialog, "Continue")
    assert "differ" in notice(dialog)
    qtbot.keyClicks(page.passphrase_again, "e")
    assert notice(dialog) == ""
    press(dialog, "Continue")
    qtbot.waitUntil(lambda: dialog.step is Step.HOUSEHOLD)
    assert stage.enrolled[0].passphrase == "correct horse"
    assert page.passphrase.text() == ""


def test_no_port_is_said_and_one_can_be_named_by_hand(
    qtbot: QtBot, wizard: WelcomeDialog, stage: Backstage
) -> None:
    to_household(qtbot, wizard)
    press(wizard, "Continue")
    qtbot.waitUntil(lambda: "No serial port was found" in notice(wizard))
    page = wizard.page
    assert isinstance(page, MeterPage)
    qtbot.keyClicks(page.other, "COM5")
    press(wizard, "Continue")
    qtbot.waitUntil(lambda: wizard.step is Step.DONE)
    assert stage.saved[0].meter_port == "COM5"


def test_the_language_changes_at_once_and_is_kept(
    qtbot: QtBot, wizard: WelcomeDialog, tmp_path: Path
) -> None:
    page = wizard.page
    assert isinstance(page, LanguagePage)
    page.choices["zh_CN"].click()
    assert i18n.language() == "zh_CN"
    press(wizard, "继续")
    assert wizard.step is Step.NETWORK
    assert settings.load(tmp_path / "window.json").language == "zh_CN"
    press(wizard, "上一步")
    assert wizard.step is Step.LANGUAGE


def test_an_interrupted_set_up_goes_on_at_the_household(
    qtbot: QtBot, stage: Backstage, tmp_path: Path
) -> None:
    answers = Answers(
        profile=CHECKED, msp_id="Org1MSP", enrolment_id="hh", key_place=KeyPlace.FILE, enrolled=True
    )
    dialog = WelcomeDialog(
        tmp_path, stage.tools(), theme.LIGHT, settings.WindowSettings(), answers=answers
    )
    qtbot.addWidget(dialog)
    dialog.show()
    assert dialog.step is Step.HOUSEHOLD
    assert not dialog.back.isVisible()
    press(dialog, "Continue")
    press(dialog, "Continue")
    qtbot.waitUntil(lambda: dialog.step is Step.DONE)
    assert stage.enrolled == []
    assert any(label.text() == "hh@Org1MSP" for label in dialog.findChildren(QLabel))


def test_every_field_has_a_name_for_screen_readers(qtbot: QtBot, wizard: WelcomeDialog) -> None:
    for page in wizard.pages.values():
        for kind in (QLineEdit, QPushButton):
            for widget in page.findChildren(kind):
                nested = isinstance(widget.parent(), QWidget) and widget.parent().accessibleName()
                assert widget.accessibleName() or nested, widget


def test_the_time_zone_is_the_desktops_where_that_is_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def zone(name: bytes) -> Any:
        answer = SimpleNamespace(data=lambda: name)
        return SimpleNamespace(systemTimeZoneId=lambda: answer)

    monkeypatch.setattr("wallet_app.gui.welcome.QTimeZone", zone(b"Europe/Berlin"))
    assert system_time_zone("Asia/Shanghai") == "Europe/Berlin"
    monkeypatch.setattr("wallet_app.gui.welcome.QTimeZone", zone(b"Etc/UTC"))
    assert system_time_zone("Asia/Shanghai") == "Asia/Shanghai"


# ---- opening


@dataclass
class Vault:
    """Stands for a stored wallet and what opens it."""

    passphrase: str = ""
    failures: list[Exception] = field(default_factory=list)
    renewed: list[Path] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    def tools(self) -> OpeningTools:
        return OpeningTools(self._load, self._unlock, self._open, self.renewed.append)

    def _load(self) -> Any:
        return SimpleNamespace(
            identity=SimpleNamespace(participant="hh-001@Org1MSP"),
            profile=SimpleNamespace(name="Street 8"),
            needs_passphrase=bool(self.passphrase),
        )

    def _unlock(self, stored: Any, passphrase: str) -> Any:
        self.tried.append(passphrase)
        if passphrase != self.passphrase:
            raise WrongPassphrase("x")
        return "identity"

    def _open(self, stored: Any, identity: Any) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        return "open wallet"


def opening(qtbot: QtBot, vault: Vault, identity: Any = None) -> OpeningDialog:
    dialog = OpeningDialog(vault.tools(), theme.LIGHT, identity)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def test_a_keyring_wallet_opens_by_itself(qtbot: QtBot) -> None:
    dialog = opening(qtbot, Vault())
    qtbot.waitUntil(lambda: dialog.wallet is not None)
    assert dialog.result() == OpeningDialog.DialogCode.Accepted


def test_a_wallet_just_set_up_asks_for_no_passphrase(qtbot: QtBot) -> None:
    vault = Vault(passphrase="correct horse")
    dialog = opening(qtbot, vault, identity="identity")
    qtbot.waitUntil(lambda: dialog.wallet is not None)
    assert vault.tried == []


def test_the_passphrase_opens_the_file(qtbot: QtBot) -> None:
    dialog = opening(qtbot, Vault(passphrase="correct horse"))
    qtbot.waitUntil(dialog.passphrase.isVisible)
    press(dialog, "Open")
    assert "Enter the passphrase" in notice(dialog)
    qtbot.keyClicks(dialog.passphrase, "correct horse")
    qtbot.keyClick(dialog.passphrase, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dialog.wallet is not None)
    assert dialog.passphrase.text() == ""


def test_three_wrong_passphrases_end_it(qtbot: QtBot) -> None:
    vault = Vault(passphrase="correct horse")
    dialog = opening(qtbot, vault)
    qtbot.waitUntil(dialog.passphrase.isVisible)
    for left in (2, 1):
        dialog.passphrase.setText("wrong")
        press(dialog, "Open")
        qtbot.waitUntil(lambda n=left: f"Tries left: {n}" in notice(dialog))
    dialog.passphrase.setText("wrong")
    press(dialog, "Open")
    qtbot.waitUntil(lambda: isinstance(dialog.error, WrongPassphrase))
    assert not dialog.open_button.isVisible()
    assert not dialog.set_up.isVisible()
    press(dialog, "Close")
    assert dialog.wallet is None
    assert len(vault.tried) == 3


def test_after_a_failure_that_passes_no_second_passphrase_is_asked(qtbot: QtBot) -> None:
    vault = Vault(passphrase="correct horse", failures=[OSError(28, "No space left on device")])
    dialog = opening(qtbot, vault)
    qtbot.waitUntil(dialog.passphrase.isVisible)
    dialog.passphrase.setText("correct horse")
    press(dialog, "Open")
    qtbot.waitUntil(lambda: "No space left" in notice(dialog))
    press(dialog, "Try again")
    qtbot.waitUntil(lambda: dialog.wallet is not None)
    assert vault.tried == ["correct horse"]


def test_an_expired_profile_is_renewed_in_place(qtbot: QtBot) -> None:
    vault = Vault(failures=[TrustRootExpired("x")])
    dialog = opening(qtbot, vault)
    qtbot.waitUntil(dialog.profile.isVisible)
    dialog.renew_profile(Path("new.json"))
    qtbot.waitUntil(lambda: dialog.wallet is not None)
    assert vault.renewed == [Path("new.json")]


def test_a_lost_key_leads_to_setting_up_again(qtbot: QtBot) -> None:
    dialog = opening(qtbot, Vault(failures=[KeyNotFound("x")]))
    qtbot.waitUntil(dialog.set_up.isVisible)
    press(dialog, "Set up again …")
    assert dialog.again
    assert dialog.wallet is None


@pytest.mark.parametrize(
    ("error", "help"),
    [
        (KeyringUnavailable(KeyState.LOCKED, "x"), Help.RETRY),
        (KeyringUnavailable(KeyState.DENIED, "x"), Help.RETRY),
        (KeyNotFound("x"), Help.AGAIN),
        (EnrolmentError("x"), Help.AGAIN),
        (CertificateEnded("x"), Help.AGAIN),
        (TrustRootExpired("x"), Help.PROFILE),
        (OSError(28, "x"), Help.RETRY),
        (SettingsError("x"), Help.NOTHING),
    ],
)
def test_each_failure_offers_what_helps(error: Exception, help: Help) -> None:
    assert help_for(error) is help


# ---- from the command on


def test_the_set_up_leads_to_the_window_and_the_wallet_is_closed_after_it(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[object] = []

    class Wallet:
        session = "session"
        stored = SimpleNamespace(settings=SimpleNamespace(zone_info=None))
        closed = 0

        def __enter__(self) -> "Wallet":
            return self

        def __exit__(self, *_: object) -> None:
            self.closed += 1

    wallet = Wallet()

    class Welcome:
        identity = "identity"

        def exec(self) -> int:
            return 1

    class Opening:
        def __init__(self, tools: object, colours: object, identity: object) -> None:
            shown.append(identity)
            self.wallet, self.again, self.error = wallet, False, None

        def exec(self) -> int:
            return 1

    def run_window(source: object, **_: object) -> int:
        shown.append(source)
        assert not wallet.closed
        return 0

    monkeypatch.setattr(start, "_welcome", lambda *_: Welcome())
    monkeypatch.setattr(start, "OpeningDialog", Opening)
    monkeypatch.setattr(start, "run_window", run_window)
    assert start.open_window(tmp_path / "none") == 0
    assert shown == ["identity", "session"]
    assert wallet.closed == 1


def test_closing_the_wizard_opens_nothing(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_welcome", lambda *_: SimpleNamespace(exec=lambda: 0))
    monkeypatch.setattr(start, "run_window", lambda *_, **__: pytest.fail("opened"))
    assert start.open_window(tmp_path / "none") == 0
