"""What the set-up wizard asks, one page a step; what the answers mean is ``onboarding``'s affair.

A page shows answers and gives back answers; it starts no work that could block the UI thread.
"""

from dataclasses import replace
from pathlib import Path
from zoneinfo import available_timezones

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QRadioButton,
    QWidget,
)

from light_node.chain.errors import TrustRootError
from light_node.chain.root_text import MAX_TEXT, decode
from wallet_app import format as fmt
from wallet_app import i18n, onboarding
from wallet_app.gui.theme import Theme
from wallet_app.gui.welcome_parts import (
    StepPage,
    add_row,
    figure_box,
    indented,
    new_form,
    outlined,
    password_field,
    plain_card,
)
from wallet_app.gui.widgets import Card, Facts, IconLabel, Notice, button, label, set_tone
from wallet_app.i18n import tr
from wallet_app.keys.store import KeyPlace, KeyState
from wallet_app.meter.ports import PortInfo
from wallet_app.onboarding import Answers
from wallet_app.wallets import CheckedProfile, enrolling_organizations


class LanguagePage(StepPage):
    """The language of everything that follows; it changes at once."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        self._group = QButtonGroup(self)
        self.choices: dict[str, QRadioButton] = {}
        card = Card(tr("Language"))
        for code, name in i18n.LANGUAGES.items():
            choice = QRadioButton(name)
            outlined(choice, theme)
            choice.setAccessibleName(name)
            self._group.addButton(choice)
            self.choices[code] = choice
            card.body.addWidget(choice)
        self._group.buttonClicked.connect(lambda _: self.changed.emit())
        self.column.addWidget(card)
        self.column.addWidget(self._needed())
        self.column.addStretch(1)

    def _needed(self) -> Card:
        card = Card(tr("Have at hand"))
        for icon, text in (
            ("document", tr("the network profile, a file from your operator")),
            ("trust", tr("its fingerprint, as your operator published it elsewhere")),
            ("seal", tr("enrolment id and secret, from your organisation")),
            ("meter", tr("the cable to your meter; it can also come later")),
        ):
            line = IconLabel(self.theme, "")
            line.show_state(icon, text, "accent")
            card.body.addWidget(line)
        return card

    def show_answers(self, answers: Answers) -> None:
        """Mark the language."""
        self.choices[answers.language or i18n.language()].setChecked(True)

    def read(self, answers: Answers) -> Answers:
        """Take the marked language."""
        marked = next(code for code, choice in self.choices.items() if choice.isChecked())
        return replace(answers, language=marked)

    def first_field(self) -> QWidget | None:
        """Start at the marked language."""
        return next(choice for choice in self.choices.values() if choice.isChecked())


class NetworkPage(StepPage):
    """The profile's file, and its fingerprint to compare."""

    chosen = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        self._profile: CheckedProfile | None = None
        row = QHBoxLayout()
        self.choose = button(tr("Choose the profile …"), self._ask, kind="primary")
        self._file = label(tr("no file chosen yet"), "muted")
        row.addWidget(self.choose)
        row.addWidget(self._file, 1)
        self.column.addLayout(row)
        self._card = Card(tr("Trust root"))
        self._fingerprint = label("", "fingerprint")
        self._fingerprint.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self._fingerprint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._fingerprint.setAccessibleName(tr("Fingerprint of the trust root"))
        self._card.body.addWidget(self._fingerprint)
        hint = tr(
            "Compare it, group by group, with the one your operator published: on paper, on its "
            "website, or by telephone. Not with one that came with the file."
        )
        self._card.body.addWidget(label(hint, "muted", wrap=True))
        self.text = QLineEdit()
        self.text.setMaxLength(MAX_TEXT)
        self.text.setPlaceholderText(tr("or paste the text of the trust root: LNROOT1:…"))
        self.text.setAccessibleName(tr("Text of the trust root"))
        self.text.textChanged.connect(self._hold_against)
        self._card.body.addWidget(self.text)
        self._verdict = label("", "small", wrap=True)
        self._card.body.addWidget(self._verdict)
        self.compared = QCheckBox(tr("I have compared it: it is the same"))
        outlined(self.compared, theme)
        self.compared.setAccessibleName(self.compared.text())
        self.compared.toggled.connect(lambda _: self.changed.emit())
        self._card.body.addWidget(self.compared)
        self._facts_card = Card(tr("The network"))
        facts = Facts()
        self._name = facts.add(tr("Name"))
        self._channel = facts.add(tr("Channel"))
        self._organisations = facts.add(tr("Organisations"))
        self._expires = facts.add(tr("Valid until"))
        self._facts_card.body.addWidget(facts)
        self.column.addWidget(self._card)
        self.column.addWidget(self._facts_card)
        self.column.addStretch(1)

    def show_answers(self, answers: Answers) -> None:
        """Show the profile in ``answers``, if there is one."""
        self._profile = answers.profile
        checked = answers.profile
        self._card.setVisible(checked is not None)
        self._facts_card.setVisible(checked is not None)
        self.compared.setChecked(answers.compared)
        self.choose.setProperty("kind", "" if checked else "primary")
        self.choose.style().unpolish(self.choose)
        self.choose.style().polish(self.choose)
        if checked is None:
            return
        profile = checked.profile
        self._fingerprint.setText(checked.fingerprint)
        self._name.setText(fmt.foreign(profile.name, 60))
        self._channel.setText(profile.channel)
        names = ", ".join(fmt.foreign(o.msp_id, 40) for o in profile.organizations[:6])
        self._organisations.setText(names)
        self._expires.setText(fmt.date(profile.trust_root.expires))

    def _hold_against(self, text: str) -> None:
        """Compare the profile's root with the text the operator handed out, letter for letter."""
        self.compared.setEnabled(True)
        if not text.strip() or self._profile is None:
            self._verdict.setText("")
            return
        try:
            told = decode(text)
        except TrustRootError:
            words, tone = tr("This text is mistyped or cut off: copy it again."), "warning"
        else:
            same = told.hash == self._profile.root.hash
            words, tone = (
                (tr("The text names the same configuration block as the profile."), "good")
                if same
                else (tr("The text names another trust root: do not use this profile."), "error")
            )
            self.compared.setChecked(same)
            self.compared.setEnabled(same)
        self._verdict.setText(words)
        set_tone(self._verdict, tone)

    def show_file(self, path: Path) -> None:
        """Name the file that is shown."""
        self._file.setText(fmt.foreign(path.name, 60))

    def read(self, answers: Answers) -> Answers:
        """Take whether the fingerprint was compared."""
        return replace(answers, compared=self.compared.isChecked())

    def first_field(self) -> QWidget | None:
        """Start at the file, or at the comparison."""
        return self.compared if self._profile else self.choose

    def _ask(self) -> None:
        kinds = tr("Network profiles (*.json)")
        name, _ = QFileDialog.getOpenFileName(self, tr("Choose the profile …"), "", kinds)
        if name:
            self.chosen.emit(name)


class OrganisationPage(StepPage):
    """Who vouches for this household, and the enrolment id and secret it gave."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        card = Card(tr("Enrolment"))
        form = new_form()
        self.organisation = QComboBox()
        outlined(self.organisation, theme)
        self.enrolment_id = QLineEdit()
        self.enrolment_id.setMaxLength(200)
        self.enrolment_id.setProperty("kind", "field")
        self.secret = password_field()
        add_row(form, tr("Organisation"), self.organisation)
        add_row(form, tr("Enrolment id"), self.enrolment_id)
        add_row(form, tr("Secret"), self.secret)
        card.body.addLayout(form)
        self.column.addWidget(card)
        self.column.addStretch(1)
        self.organisation.currentTextChanged.connect(lambda _: self.changed.emit())
        for field in (self.enrolment_id, self.secret):
            field.textEdited.connect(lambda _: self.changed.emit())

    def show_answers(self, answers: Answers) -> None:
        """Offer the profile's organisations."""
        names = enrolling_organizations(answers.profile.profile) if answers.profile else ()
        self.organisation.blockSignals(True)
        self.organisation.clear()
        self.organisation.addItems(list(names))
        self.organisation.setCurrentIndex(names.index(answers.msp_id) if answers.msp_id in names
                                          else 0 if len(names) == 1 else -1)  # fmt: skip
        self.organisation.setPlaceholderText(tr("choose"))
        self.organisation.blockSignals(False)
        self.enrolment_id.setText(answers.enrolment_id)
        self.secret.setText(answers.secret)

    def read(self, answers: Answers) -> Answers:
        """Take organisation, enrolment id and secret."""
        return replace(
            answers,
            msp_id=self.organisation.currentText(),
            enrolment_id=self.enrolment_id.text(),
            secret=self.secret.text(),
        )

    def first_field(self) -> QWidget | None:
        """Start at the organisation unless it is clear."""
        return self.organisation if self.organisation.currentIndex() < 0 else self.enrolment_id


class KeyPage(StepPage):
    """Keyring with its state and what can be done about it, or file with a passphrase."""

    ask_keyring = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        self._state: KeyState | None = None
        self.keyring = QRadioButton(tr("In this computer's keyring (recommended)"))
        self.file = QRadioButton(tr("In an encrypted file"))
        group = QButtonGroup(self)
        for choice in (self.keyring, self.file):
            choice.setAccessibleName(choice.text())
            outlined(choice, theme)
            group.addButton(choice)
            choice.toggled.connect(lambda _: self._toggled())
        self._shown_state = IconLabel(theme, "", wrap=True)
        self.again = button("", self._ask_again)
        self.instead = button(tr("Use an encrypted file"), lambda: self.file.setChecked(True))
        self.column.addWidget(self._keyring_card())
        self.column.addWidget(self._file_card())
        self.column.addStretch(1)

    def _keyring_card(self) -> QFrame:
        card, body = plain_card()
        body.addWidget(self.keyring)
        hint = tr("It opens when you log in; there is nothing more to remember.")
        body.addWidget(indented(label(hint, "muted", wrap=True)))
        row = QHBoxLayout()
        row.setContentsMargins(24, 0, 0, 0)
        row.addWidget(self._shown_state, 1)
        row.addWidget(self.instead)
        row.addWidget(self.again)
        body.addLayout(row)
        return card

    def _file_card(self) -> QFrame:
        card, body = plain_card()
        body.addWidget(self.file)
        hint = tr(
            "A passphrase is asked for at every start. Nobody can restore a forgotten one; you "
            "would enrol again with a new secret."
        )
        body.addWidget(indented(label(hint, "muted", wrap=True)))
        self._fields = QWidget()
        form = new_form()
        form.setContentsMargins(24, 0, 0, 0)
        self._fields.setLayout(form)
        self.passphrase, self.passphrase_again = password_field(), password_field()
        add_row(form, tr("Passphrase"), self.passphrase)
        add_row(form, tr("Once more"), self.passphrase_again)
        body.addWidget(self._fields)
        for field in (self.passphrase, self.passphrase_again):
            field.textEdited.connect(lambda _: self.changed.emit())
        return card

    def show_answers(self, answers: Answers) -> None:
        """Show choice and keyring state."""
        self.show_keyring(answers.keyring)
        if answers.key_place is KeyPlace.FILE:
            self.file.setChecked(True)
        elif answers.key_place is KeyPlace.KEYRING:
            self.keyring.setChecked(True)
        self.passphrase.setText(answers.passphrase)
        self.passphrase_again.setText(answers.passphrase_again)
        self._toggled()

    def show_keyring(self, state: KeyState | None) -> None:
        """Show the keyring's state, each with the button that helps."""
        self._state = state
        icon, colour = {
            None: ("clock", "muted"),
            KeyState.READY: ("check", "good"),
            KeyState.LOCKED: ("warning", "warning"),
            KeyState.ABSENT: ("info", "muted"),
            KeyState.DENIED: ("error", "error"),
        }[state]
        self._shown_state.show_state(icon, onboarding.keyring_text(state), colour)
        self.again.setText(
            tr("Unlock the keyring") if state is KeyState.LOCKED else tr("Ask again")
        )
        self.again.setAccessibleName(self.again.text())
        self.again.setVisible(state not in (None, KeyState.READY, KeyState.ABSENT))
        self.instead.setVisible(state is KeyState.ABSENT and not self.file.isChecked())
        self.keyring.setEnabled(state is not KeyState.ABSENT)
        if state is KeyState.READY and not self.file.isChecked():
            self.keyring.setChecked(True)

    def read(self, answers: Answers) -> Answers:
        """Take place and passphrase."""
        place = None
        if self.keyring.isChecked():
            place = KeyPlace.KEYRING
        elif self.file.isChecked():
            place = KeyPlace.FILE
        return replace(
            answers,
            key_place=place,
            keyring=self._state,
            passphrase=self.passphrase.text(),
            passphrase_again=self.passphrase_again.text(),
        )

    def first_field(self) -> QWidget | None:
        """Start at the passphrase where one is asked for."""
        return self.passphrase if self.file.isChecked() else self.keyring

    def _toggled(self) -> None:
        self._fields.setVisible(self.file.isChecked())
        self.instead.setVisible(self._state is KeyState.ABSENT and not self.file.isChecked())
        if self.file.isChecked() and self.isVisible():
            self.passphrase.setFocus()
        self.changed.emit()

    def _ask_again(self) -> None:
        self.show_keyring(None)
        self.ask_keyring.emit()


class HouseholdPage(StepPage):
    """Time zone, roof, battery and yearly consumption."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        card = Card(tr("Figures"))
        form = new_form()
        self.time_zone = QComboBox()
        self.time_zone.setEditable(True)
        self.time_zone.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.time_zone.addItems(sorted(z for z in available_timezones() if "/" in z))
        completer = self.time_zone.completer()
        if completer is not None:
            completer.setFilterMode(Qt.MatchFlag.MatchContains)
            completer.setCompletionMode(completer.CompletionMode.PopupCompletion)
        self.roof = figure_box(" kW", 1, 10_000.0, 0.5)
        self.battery = figure_box(" kWh", 1, 100_000.0, 1.0)
        self.load = figure_box(" kWh", 0, 1_000_000.0, 100.0)
        self.roof.setSpecialValueText(tr("no roof"))
        self.battery.setSpecialValueText(tr("no battery"))
        for field in (self.time_zone, self.roof, self.battery, self.load):
            outlined(field, theme)
        add_row(form, tr("Time zone"), self.time_zone)
        add_row(form, tr("Roof, peak power"), self.roof)
        add_row(form, tr("Battery, usable"), self.battery)
        add_row(form, tr("Consumption a year"), self.load)
        card.body.addLayout(form)
        self.column.addWidget(card)
        self.column.addStretch(1)
        self.time_zone.editTextChanged.connect(lambda _: self.changed.emit())

    def show_answers(self, answers: Answers) -> None:
        """Show the figures."""
        self.time_zone.setCurrentText(answers.time_zone)
        self.roof.setValue(answers.pv_peak_w / 1000)
        self.battery.setValue(answers.battery_capacity_wh / 1000)
        self.load.setValue(answers.annual_load_wh / 1000)

    def read(self, answers: Answers) -> Answers:
        """Take the figures, in W and Wh."""
        return replace(
            answers,
            time_zone=self.time_zone.currentText().strip(),
            pv_peak_w=round(self.roof.value() * 1000),
            battery_capacity_wh=round(self.battery.value() * 1000),
            annual_load_wh=round(self.load.value() * 1000),
        )

    def first_field(self) -> QWidget | None:
        """Start at the roof: the time zone is usually right."""
        return self.roof


class MeterPage(StepPage):
    """The serial ports there are, another one by name, or none for now."""

    look_again = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        self._devices: list[str] = [""]
        card = Card(tr("Serial port"))
        self.again = button(tr("Look again"), self.look_again.emit)
        card.corner.addWidget(self.again)
        self.list = QListWidget()
        self.list.setAccessibleName(tr("Serial port"))
        self.list.setMinimumHeight(140)
        self.list.setProperty("kind", "choices")
        self.list.currentRowChanged.connect(lambda _: self._picked())
        card.body.addWidget(self.list, 1)
        form = new_form()
        self.other = QLineEdit()
        self.other.setMaxLength(200)
        self.other.setProperty("kind", "field")
        self.other.setPlaceholderText(tr("such as /dev/ttyUSB0 or COM5"))
        self.other.textEdited.connect(lambda _: self.changed.emit())
        add_row(form, tr("Another port"), self.other)
        card.body.addLayout(form)
        self.column.addWidget(card, 1)
        self._notice = Notice(theme)
        self.column.addWidget(self._notice)

    def show_answers(self, answers: Answers) -> None:
        """Mark the port."""
        if answers.meter_port in self._devices:
            self.list.setCurrentRow(self._devices.index(answers.meter_port))
            self.other.clear()
        else:
            self.other.setText(answers.meter_port)

    def show_ports(self, found: list[PortInfo], answers: Answers) -> None:
        """List ``found``, likely meter adapters first."""
        self._devices = ["", *(port.device for port in found)]
        self.list.blockSignals(True)
        self.list.clear()
        self.list.addItem(QListWidgetItem(tr("No meter for now")))
        for port in found:
            name = fmt.foreign(port.name, 60)
            self.list.addItem(QListWidgetItem(f"{port.device}   {name}" if name else port.device))
        self.list.setCurrentRow(0)
        self.list.blockSignals(False)
        self.show_answers(answers)
        text = tr(
            "No serial port was found: plug the meter's adapter in and look again, or go on without"
            " a meter."
        )
        self._notice.say("" if found else text)

    def read(self, answers: Answers) -> Answers:
        """Take the port named by hand, else the marked one."""
        typed = self.other.text().strip()
        row = max(self.list.currentRow(), 0)
        return replace(answers, meter_port=typed or self._devices[row])

    def first_field(self) -> QWidget | None:
        """Start at the list."""
        return self.list

    def _picked(self) -> None:
        self.other.clear()
        self.changed.emit()


class DonePage(StepPage):
    """What was set up, and what to keep."""

    def __init__(self, theme: Theme, directory: Path) -> None:
        super().__init__(theme)
        self._directory = directory
        card = Card(tr("Your wallet"))
        facts = Facts()
        self._participant = facts.add(tr("Participant"))
        self._network = facts.add(tr("Network"))
        self._key = facts.add(tr("Private key"))
        self._meter = facts.add(tr("Meter"))
        card.body.addWidget(facts)
        card.body.addWidget(label(tr("Everything lies in this folder:"), "muted"))
        place = label(str(directory), "mono", wrap=True)
        place.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        card.body.addWidget(place)
        self.column.addWidget(card)
        self._backup = label("", "muted", wrap=True)
        self.column.addWidget(self._backup)
        self.column.addStretch(1)

    def show_answers(self, answers: Answers) -> None:
        """Sum the answers up."""
        self._participant.setText(f"{answers.enrolment_id.strip()}@{answers.msp_id}")
        name = answers.profile.profile.name if answers.profile else ""
        self._network.setText(fmt.foreign(name, 60))
        in_file = answers.key_place is KeyPlace.FILE
        self._key.setText(tr("encrypted file") if in_file else tr("keyring"))
        self._meter.setText(fmt.foreign(answers.meter_port, 60) or tr("none for now"))
        self._backup.setText(
            tr(
                "Back up this folder: the key in it opens only with your passphrase. Without both "
                "you must enrol again with a new secret."
            )
            if in_file
            else tr(
                "The key is in the keyring, not in this folder. If the keyring is lost, you enrol "
                "again with a new secret; readings and history stay."
            )
        )
