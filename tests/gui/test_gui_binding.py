"""The Qt binding itself: calls that return None or a truth value must not use those up.

PySide6 6.12.0 takes None, True and False for immortal, which they are from Python 3.12 on. On
Python 3.11 every call then drops a reference, and the interpreter aborts in mid-day.
"""

import sys

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

CALLS = 200
TOLERANCE = 50


class Sender(QObject):
    sent = Signal(object)


def test_calls_return_what_they_borrow(qtbot: QtBot) -> None:
    label, sender = QLabel(), Sender()
    qtbot.addWidget(label)
    sender.sent.connect(lambda _: None)
    before = [sys.getrefcount(value) for value in (None, True, False)]
    for _ in range(CALLS):
        label.setText("x")
        label.isVisible()
        label.parent()
        sender.sent.emit(None)
    after = [sys.getrefcount(value) for value in (None, True, False)]
    lost = [was - now for was, now in zip(before, after, strict=True)]
    assert max(lost) < TOLERANCE, f"references to None, True, False lost: {lost}"
