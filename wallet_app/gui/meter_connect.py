"""Choosing a port and what hangs on it: the bar at the top of the meter page."""

from dataclasses import dataclass

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from wallet_app import format as fmt
from wallet_app.gui.op import Op
from wallet_app.gui.theme import Theme
from wallet_app.gui.welcome_parts import outlined
from wallet_app.gui.widgets import button, icon_button, label, set_tip
from wallet_app.i18n import tr
from wallet_app.meter import modbus
from wallet_app.meter.desk import Connection, MeterDesk
from wallet_app.meter.dialogue import PROTOCOLS, Options
from wallet_app.meter.ports import Link, PortInfo
from wallet_app.settings import SettingsError, parse_link

_AUTOMATIC = ""
_INTERVAL_S = 2.0
_COLUMNS = 4  # of what is known besides, side by side


def mode_words(mode: str) -> str:
    """Return what a setting of ``meter_mode`` means."""
    return {
        "ask": tr("ask the meter"),
        "listen": tr("listen to it"),
        "pull": tr("ask a DLMS meter"),
    }[mode]


class ChoiceError(Exception):
    """What was entered cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user entered; ``protocol`` "" asks the program to find out."""

    port: str
    protocol: str
    options: Options
    link: Link | None
    identity: str
    interval_s: float = _INTERVAL_S

    def connection(self) -> Connection:
        """Return the connection, for a protocol that was chosen."""
        return Connection(
            self.port, self.protocol, self.options, self.interval_s, self.link, self.identity
        )


class ConnectBar(QWidget):
    """Port, protocol, what else is known, and the buttons that begin."""

    wanted = Signal()
    stop = Signal()
    replay = Signal()

    def __init__(self, theme: Theme, desk: MeterDesk) -> None:
        super().__init__()
        self._desk = desk
        self._known: list[PortInfo] = []
        self.port = QComboBox()
        self.port.setEditable(True)
        self.port.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.port.setAccessibleName(tr("Serial port"))
        self.port.setMinimumContentsLength(18)
        self.port.setMinimumHeight(28)
        edit = self.port.lineEdit()
        assert edit is not None
        edit.setAccessibleName(tr("Serial port"))
        edit.setPlaceholderText(tr("such as /dev/ttyUSB0 or COM5"))
        self.protocol = QComboBox()
        self.protocol.setAccessibleName(tr("Protocol"))
        self.protocol.setMinimumHeight(28)
        self.protocol.addItem(tr("Find out by itself"), _AUTOMATIC)
        for value, name in PROTOCOLS.items():
            self.protocol.addItem(name, value)
        outlined(self.port, theme)
        outlined(self.protocol, theme)
        self.protocol.currentIndexChanged.connect(lambda _: self._fit())
        self.begin = button(tr("Find and connect"), self.wanted.emit, kind="primary")
        self.halt = button(tr("Stop searching"), self.stop.emit)
        self.halt.hide()
        self.more = button(tr("More"), self._toggle)
        self.more.setCheckable(True)
        set_tip(self.more, tr("Meter number, register profile, speed, pace, password, keys"))
        again = icon_button(theme, "refresh", tr("Look for ports again"), self.look)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.port, 3)
        row.addWidget(again)
        row.addWidget(self.protocol, 2)
        row.addWidget(self.begin)
        row.addWidget(self.halt)
        row.addWidget(self.more)
        row.addWidget(button(tr("Replay …"), self.replay.emit, tip=tr("Play a capture back")))
        self._progress = QProgressBar()
        self._progress.setTextVisible(False)
        self._doing = label("", "small")
        self._searching = QWidget()
        line = QHBoxLayout(self._searching)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self._progress, 1)
        line.addWidget(self._doing, 1)
        self._searching.hide()
        self._extra = self._extras(theme)
        self._extra.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(row)
        layout.addWidget(self._extra)
        layout.addWidget(self._searching)
        self._fit()

    def _extras(self, theme: Theme) -> QWidget:
        box = QWidget()
        grid = QGridLayout(box)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        self.address, self.link = QLineEdit(), QLineEdit()
        self.key, self.auth_key = QLineEdit(), QLineEdit()
        self.password, self.interval = QLineEdit(), QDoubleSpinBox()
        self.profile, self.mode = QComboBox(), QComboBox()
        self.profile.addItem(tr("found by itself"), "")
        for name in sorted(modbus.PROFILES):
            self.profile.addItem(name, name)
        for mode in ("ask", "listen", "pull"):
            self.mode.addItem(mode_words(mode), mode)
        set_tip(
            self.mode,
            tr(
                "IEC 62056-21 meters are asked, or listened to (mode D). DLMS lists are waited "
                "for; a DLMS meter that sends none is asked."
            ),
        )
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        self.interval.setRange(0.2, 3600)
        self.interval.setDecimals(1)
        self.interval.setValue(_INTERVAL_S)
        self.interval.setSuffix(f" {tr('s')}")
        self.link.setPlaceholderText("9600 8N1")
        for index, (name, field) in enumerate(
            (
                (tr("Meter number or unit"), self.address),
                (tr("Register profile"), self.profile),
                (tr("Speed and format"), self.link),
                (tr("Ask or listen"), self.mode),
                (tr("Read every"), self.interval),
                (tr("Password"), self.password),
                (tr("Decryption key"), self.key),
                (tr("Second key"), self.auth_key),
            )
        ):
            title = label(name, "small")
            title.setBuddy(field)
            field.setAccessibleName(name)
            field.setMinimumHeight(26)
            if isinstance(field, QLineEdit):
                field.setMaxLength(100)
                field.setProperty("kind", "field")
            outlined(field, theme)
            row, column = divmod(index, _COLUMNS)
            grid.addWidget(title, 2 * row, column)
            grid.addWidget(field, 2 * row + 1, column)
            grid.setColumnStretch(column, 1)
        return box

    def look(self) -> None:
        """List the ports there are, off the UI thread; what was typed stays."""
        Op(self, self._desk.ports).success(self.show_ports).run()

    def show_ports(self, found: list[PortInfo]) -> None:
        """Offer ``found``, likely meter adapters first."""
        text = self.port.currentText()
        self._known = found
        self.port.clear()
        for info in found:
            name = fmt.foreign(info.name, 40)
            self.port.addItem(f"{info.device}  {name}" if name else info.device, info.device)
        if text:
            self.port.setEditText(text)
        elif not found:
            self.port.setEditText("")

    def choice(self) -> Choice:
        """Return what is entered; ``ChoiceError`` for what cannot be."""
        text = self.port.currentText().strip()
        index = self.port.findText(self.port.currentText())
        device = str(self.port.itemData(index)) if index >= 0 else text
        if not device:
            raise ChoiceError(
                tr("Choose a port: plug the adapter in, or enter a name such as /dev/ttyUSB0.")
            )
        link = None
        if self.link.text().strip():
            try:
                link = Link(*parse_link(self.link.text()))
            except SettingsError:
                raise ChoiceError(
                    tr("Write speed and format such as {example}.", example="9600 8N1")
                ) from None
        options = self.options()
        identity = next((p.identity for p in self._known if p.device == device), "")
        protocol, interval_s = str(self.protocol.currentData()), self.interval.value()
        return Choice(device, protocol, options, link, identity, interval_s)

    def options(self) -> Options:
        """Return number, profile, keys and mode as entered; ``ChoiceError`` for wrong ones."""
        try:
            keys = [bytes.fromhex(field.text()) for field in (self.key, self.auth_key)]
        except ValueError:
            raise ChoiceError(tr("The keys are hex digits, two for each byte.")) from None
        return Options(
            address=self.address.text().strip() or None,
            profile=str(self.profile.currentData() or ""),
            key=keys[0],
            auth_key=keys[1],
            listen=self.mode.currentData() == "listen",
            ask=self.mode.currentData() == "pull",
            password=self.password.text().encode("utf-8"),
        )

    def show_searching(self, percent: int | None, text: str = "") -> None:
        """Show how far a search is; None shows that none is going on."""
        searching = percent is not None
        self._searching.setVisible(searching)
        self._progress.setValue(percent or 0)
        self._doing.setText(text)
        self.halt.setVisible(searching)
        self.begin.setVisible(not searching)

    def _toggle(self) -> None:
        self._extra.setVisible(self.more.isChecked())

    def _fit(self) -> None:
        automatic = self.protocol.currentData() == _AUTOMATIC
        self.begin.setText(tr("Find and connect") if automatic else tr("Connect"))
        self.begin.setAccessibleName(self.begin.text())
