"""The set-up wizard: :mod:`wallet_app.onboarding` as a dialog.

The dialog only shows steps and moves between them as ``onboarding`` says; everything that may
block (reading a profile, asking the keyring, enrolling, listing ports, writing settings) is one of
:class:`SetupTools` and runs through :class:`~wallet_app.gui.op.Op`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTimeZone
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QProgressBar,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from light_node.clock import Clock
from light_node.fabric.identity import SigningIdentity
from wallet_app import failures, i18n, onboarding, wallets
from wallet_app import format as fmt
from wallet_app.gui import icons, settings
from wallet_app.gui.foreign import show_foreign
from wallet_app.gui.op import Op
from wallet_app.gui.theme import Theme
from wallet_app.gui.welcome_pages import (
    DonePage,
    HouseholdPage,
    KeyPage,
    LanguagePage,
    MeterPage,
    NetworkPage,
    OrganisationPage,
)
from wallet_app.gui.welcome_parts import StepPage
from wallet_app.gui.widgets import IconLabel, Notice, button, label, rule
from wallet_app.i18n import tr
from wallet_app.keys.store import KeyPlace, KeyringStore, KeyState
from wallet_app.meter.ports import PortInfo, ports
from wallet_app.onboarding import Answers, Problem, Step
from wallet_app.settings import Settings
from wallet_app.wallets import CheckedProfile


@dataclass(frozen=True, slots=True)
class SetupTools:
    """What the wizard does beside asking; each may block and is called off the UI thread."""

    load_profile: Callable[[Path], CheckedProfile]
    keyring_state: Callable[[], KeyState]
    enrol: Callable[[Answers], SigningIdentity]
    ports: Callable[[], list[PortInfo]]
    save: Callable[[Answers], None]


def setup_tools(directory: Path, clock: Clock) -> SetupTools:
    """Return the tools that set up the wallet in ``directory`` for real."""

    def enrol(answers: Answers) -> SigningIdentity:
        assert answers.profile is not None
        assert answers.key_place is not None
        keys = wallets.key_store(directory, answers.key_place, answers.passphrase)
        stored = wallets.enrol_wallet(directory, answers.profile, answers.enrolment(), keys)
        return stored.identity.unlock(keys)

    def save(answers: Answers) -> None:
        answers.settings(Settings.load(directory)).save(directory)

    return SetupTools(
        load_profile=lambda path: wallets.load_profile(path, clock.now()),
        keyring_state=lambda: KeyringStore().state(),
        enrol=enrol,
        ports=ports,
        save=save,
    )


def system_time_zone(fallback: str) -> str:
    """Return the desktop's IANA time zone, ``fallback`` where it names none that is a place."""
    name = bytes(QTimeZone.systemTimeZoneId().data()).decode(errors="replace")
    return name if "/" in name and not name.startswith("Etc/") else fallback


class WelcomeDialog(QDialog):
    """Asks for everything a wallet needs; accepted when it is set up.

    ``identity`` is then ready to sign, unless an earlier set-up was only finished here.
    """

    def __init__(
        self,
        directory: Path,
        tools: SetupTools,
        theme: Theme,
        kept: settings.WindowSettings,
        path: Path | None = None,
        *,
        answers: Answers | None = None,
    ) -> None:
        """Set up ``directory``; the language goes into the window settings at ``path``.

        ``answers`` with ``enrolled`` go on where an earlier set-up was interrupted.
        """
        super().__init__()
        self._directory, self._tools, self._theme = directory, tools, theme
        self._kept, self._path = kept, path
        self.answers = answers or Answers()
        if not self.answers.language:
            self.answers = replace(self.answers, language=i18n.language())
        zone = system_time_zone(self.answers.time_zone)
        self.answers = replace(self.answers, time_zone=zone)
        self.step = onboarding.first(self.answers.enrolled)
        self.identity: SigningIdentity | None = None
        self.busy = False
        self._foreign = ""
        self.setWindowIcon(icons.app_icon())
        self.setMinimumSize(QSize(760, 560))
        self._root: QWidget | None = None
        self._outer = QHBoxLayout(self)
        self._outer.setContentsMargins(0, 0, 0, 0)
        self._build()
        self._ask_keyring()
        self._list_ports()

    # ---- building

    def _build(self) -> None:
        if self._root is not None:
            self._outer.removeWidget(self._root)
            self._root.hide()
            self._root.deleteLater()
        self.setWindowTitle(tr("Set up Prosumer Wallet"))
        self.pages: dict[Step, StepPage] = {
            Step.LANGUAGE: LanguagePage(self._theme),
            Step.NETWORK: NetworkPage(self._theme),
            Step.ORGANISATION: OrganisationPage(self._theme),
            Step.KEY: KeyPage(self._theme),
            Step.HOUSEHOLD: HouseholdPage(self._theme),
            Step.METER: MeterPage(self._theme),
            Step.DONE: DonePage(self._theme, self._directory),
        }
        self._root = QWidget()
        row = QHBoxLayout(self._root)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self._sidebar())
        row.addLayout(self._content(), 1)
        self._outer.addWidget(self._root)
        self._root.show()  # now, not when the layout gets round to it
        for page in self.pages.values():
            page.changed.connect(self._changed)
        self._wire()
        self._open(self.step)

    def _wire(self) -> None:
        network, key, meter = (
            self.pages[Step.NETWORK],
            self.pages[Step.KEY],
            self.pages[Step.METER],
        )
        assert isinstance(network, NetworkPage)
        assert isinstance(key, KeyPage)
        assert isinstance(meter, MeterPage)
        network.chosen.connect(lambda name: self.take_profile(Path(name)))
        key.ask_keyring.connect(self._ask_keyring)
        meter.look_again.connect(self._list_ports)
        self._network_page, self._key_page, self._meter_page = network, key, meter

    def _sidebar(self) -> QFrame:
        bar = QFrame()
        bar.setObjectName("sidebar")
        bar.setFixedWidth(200)
        bar.setAccessibleName(tr("Steps"))
        layout = QVBoxLayout(bar)
        layout.setContentsMargins(16, 18, 12, 14)
        layout.setSpacing(12)
        brand = QHBoxLayout()
        mark = label()
        mark.setPixmap(icons.app_icon().pixmap(QSize(28, 28), self.devicePixelRatioF()))
        brand.addWidget(mark)
        brand.addWidget(label(tr("Prosumer Wallet"), "strong"), 1)
        layout.addLayout(brand)
        layout.addSpacing(8)
        self._marks = {step: IconLabel(self._theme, "") for step in onboarding.STEPS}
        for mark_label in self._marks.values():
            layout.addWidget(mark_label)
        layout.addStretch(1)
        return bar

    def _content(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setContentsMargins(26, 20, 26, 16)
        column.setSpacing(10)
        self._title = label("", "headline")
        self._why = label("", "muted", wrap=True)
        column.addWidget(self._title)
        column.addWidget(self._why)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        holder = QWidget()
        holder.setObjectName("scrolled")
        self._holder = QVBoxLayout(holder)
        self._holder.setContentsMargins(0, 6, 0, 0)
        for page in self.pages.values():
            page.hide()
            self._holder.addWidget(page)
        self._scroll.setWidget(holder)
        column.addWidget(self._scroll, 1)
        self._notice = Notice(self._theme)
        column.addWidget(self._notice)
        column.addWidget(rule())
        column.addLayout(self._buttons())
        return column

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.details = button(tr("What the other side said …"), self._show_foreign)
        self.details.hide()
        self._working = QProgressBar()
        self._working.setRange(0, 0)
        self._working.setTextVisible(False)
        self._working.setFixedWidth(90)
        self._working.hide()
        self._doing = label("", "muted")
        self._doing.hide()
        self.back = button(tr("Back"), self.go_back)
        self.next = button(tr("Continue"), self.go_on, kind="primary")
        self.next.setDefault(True)
        self.back.setAutoDefault(False)
        self.details.setAutoDefault(False)
        row.addWidget(self.details)
        row.addWidget(self._working)
        row.addWidget(self._doing)
        row.addStretch(1)
        row.addWidget(self.back)
        row.addWidget(self.next)
        return row

    # ---- moving

    @property
    def page(self) -> StepPage:
        """The page that is shown."""
        return self.pages[self.step]

    def go_on(self) -> None:
        """Leave the step if its answers allow it; enrol or save where that is due."""
        if self.busy:
            return
        self.answers = self.page.read(self.answers)
        found = onboarding.problem(self.step, self.answers)
        if found is not None:
            self._say(found)
        elif onboarding.enrols_after(self.step, self.answers):
            self._enrol()
        elif onboarding.saves_after(self.step):
            self._save()
        else:
            self._advance()

    def go_back(self) -> None:
        """Go to the step before, keeping what was entered."""
        if self.busy:
            return
        self.answers = self.page.read(self.answers)
        step = onboarding.before(self.step, self.answers)
        if step is not None:
            self._open(step)

    def _advance(self) -> None:
        step = onboarding.following(self.step, self.answers)
        if step is None:
            self.accept()
        else:
            self._open(step)

    def _open(self, step: Step) -> None:
        self.page.hide()
        self.step = step
        self._title.setText(onboarding.title(step))
        self._why.setText(onboarding.explanation(step))
        self._notice.say("")
        self.details.hide()
        self._show_marks()
        self.back.setVisible(onboarding.before(step, self.answers) is not None)
        last = onboarding.following(step, self.answers) is None
        self.next.setText(tr("Open the wallet") if last else tr("Continue"))
        self.page.show_answers(self.answers)
        self.page.show()
        self._scroll.verticalScrollBar().setValue(0)
        field = self.page.first_field()
        (field or self.next).setFocus()

    def _show_marks(self) -> None:
        number, total = onboarding.position(self.step)
        for place, (step, mark) in enumerate(self._marks.items(), 1):
            icon, colour = ("check", "good") if place < number else ("right", "accent")
            if place > number:
                icon, colour = "dot", "muted"
            mark.show_state(icon, onboarding.title(step), colour)
            mark.text.setProperty("role", "strong" if place == number else "")
            mark.text.style().unpolish(mark.text)
            mark.text.style().polish(mark.text)
        self._title.setAccessibleDescription(
            tr("Step {number} of {total}", number=number, total=total)
        )

    def _say(self, found: Problem) -> None:
        self._notice.say(found.text)

    def _changed(self) -> None:
        if self.sender() is not self.page:
            return
        self._notice.say("")
        self.details.hide()
        before = self.answers.language
        self.answers = self.page.read(self.answers)
        if self.step is Step.LANGUAGE and self.answers.language != before:
            self._use_language(self.answers.language)

    def _use_language(self, code: str) -> None:
        i18n.use_language(code)
        self._kept = replace(self._kept, language=code)
        if self._path is not None:
            settings.save(self._path, self._kept)
        self._build()
        self._list_ports()

    # ---- work

    def take_profile(self, path: Path) -> None:
        """Read and check the profile at ``path``, off the UI thread."""

        def show(checked: CheckedProfile) -> None:
            self.answers = replace(self.answers, profile=checked, compared=False, msp_id="")
            self._network_page.show_answers(self.answers)
            self._network_page.show_file(path)

        self._work(tr("Checking the profile …"), lambda: self._tools.load_profile(path), show)

    def _enrol(self) -> None:
        def done(identity: SigningIdentity) -> None:
            self.identity = identity
            self.answers = self.answers.without_secrets()
            self.pages[Step.ORGANISATION].show_answers(self.answers)
            self._key_page.show_answers(self.answers)
            self._advance()

        answers = self.answers
        doing = tr("Making the key and having it certified …")
        self._work(doing, lambda: self._tools.enrol(answers), done)

    def _save(self) -> None:
        answers = self.answers
        self._work(tr("Saving …"), lambda: self._tools.save(answers), lambda _: self._advance())

    def _work(self, doing: str, work: Callable[[], object], success: Callable[..., None]) -> None:
        self._set_busy(doing)
        Op(self, work).finally_(lambda: self._set_busy("")).success(success).failure(
            self._failed
        ).run()

    def _set_busy(self, doing: str) -> None:
        self.busy = bool(doing)
        self._doing.setText(doing)
        self._doing.setVisible(self.busy)
        self._working.setVisible(self.busy)
        self.next.setEnabled(not self.busy)
        possible = onboarding.before(self.step, self.answers) is not None
        self.back.setVisible(possible and not self.busy)
        self.page.setEnabled(not self.busy)
        if doing:
            self._notice.say("")
            self.details.hide()

    def _failed(self, error: Exception) -> None:
        step = onboarding.step_of(error, self.step)
        if step is not self.step:
            self._open(step)
        self._foreign = failures.foreign(error)
        self._notice.say(fmt.foreign(failures.explain(error), 500), "error")
        self.details.setVisible(bool(self._foreign))

    def _show_foreign(self) -> None:
        show_foreign(self, self._foreign)

    def _ask_keyring(self) -> None:
        def show(state: KeyState) -> None:
            shown = self.step is Step.KEY
            if shown:  # what was chosen meanwhile counts, before anything is proposed
                self.answers = self._key_page.read(self.answers)
            place = self.answers.key_place
            if place is None and state is KeyState.ABSENT:
                place = KeyPlace.FILE
            elif place is None and state is not KeyState.DENIED:
                place = KeyPlace.KEYRING
            self.answers = replace(self.answers, keyring=state, key_place=place)
            if shown:
                self._key_page.show_answers(self.answers)
            else:
                self._key_page.show_keyring(state)

        Op(self, self._tools.keyring_state).success(show).run()

    def _list_ports(self) -> None:
        def show(found: list[PortInfo]) -> None:
            if self.step is Step.METER:
                self.answers = self._meter_page.read(self.answers)
            self._meter_page.show_ports(found, self.answers)

        Op(self, self._tools.ports).success(show).run()

    # ---- closing

    def reject(self) -> None:
        """Close, unless the CA is being asked: its answer must not be lost."""
        if not self.busy:
            super().reject()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Do not close while the CA is being asked."""
        if self.busy:
            event.ignore()
        else:
            super().closeEvent(event)
