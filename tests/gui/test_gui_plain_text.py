"""Text that others wrote is shown literally everywhere: no markup, no links."""

import re
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QListWidget, QTableWidget, QWidget
from pytestqt.qtbot import QtBot

from tests.gui.fake_source import FakeSource, full_view
from wallet_app.gui import app, dialogs, settings, statement
from wallet_app.gui.feed import ALL
from wallet_app.gui.window import MainWindow
from wallet_app.trading.view import EventView, PeerView, TrustView, WalletView

EVIL = '<b>x</b><a href="http://evil.example">y</a>'


def evil_view() -> WalletView:
    view = full_view()
    assert view.suggestion
    assert view.quoting
    peer = PeerView(EVIL, EVIL, EVIL, 3, False, view.market_now, EVIL)
    return replace(
        view,
        participant=EVIL,
        organisation=EVIL,
        network=EVIL,
        currency=EVIL,
        agent_reason=EVIL,
        live=replace(view.live, meter_state=EVIL, meter_id=EVIL, meter_port=EVIL),
        suggestion=replace(view.suggestion, reason=EVIL, unsold=EVIL),
        quoting=replace(view.quoting, quote_state=f"refused: {EVIL}"),
        trust=TrustView(
            channel=EVIL,
            trust_root=EVIL,
            trust_root_expires=view.market_now + timedelta(days=1),
            height=3,
            peers=(peer,),
            waiting_for=EVIL,
        ),
        slots=tuple(replace(slot, transaction=EVIL, quote_state=EVIL) for slot in view.slots),
        events=(EventView(view.market_now, "odd", EVIL, EVIL),),
    )


def check(root: QWidget) -> None:
    for label in root.findChildren(QLabel):
        if label.objectName() in ("qt_msgboxex_icon_label",):
            continue
        assert label.textFormat() is Qt.TextFormat.PlainText, label.text()
    for widget in [root, *root.findChildren(QWidget)]:
        # Tips are rendered as rich text, so foreign parts must be escaped in them.
        assert "<b>" not in widget.toolTip()
        assert "<a " not in widget.toolTip()


@pytest.fixture
def window(qtbot: QtBot) -> MainWindow:
    source = FakeSource(evil_view())
    kept = settings.WindowSettings()
    app.application(kept, UTC)
    window = MainWindow(source, kept, None)
    qtbot.addWidget(window)
    window.show()
    window.show_view(source.view(), ALL)
    return window


def test_all_pages_show_it_literally(qtbot: QtBot, window: MainWindow) -> None:
    for key in window.pages:
        window.open_page(key)
        qtbot.waitUntil(lambda: not window.page().busy())
        window.grab()
        check(window)
    shown = "\n".join(label.text() for label in window.findChildren(QLabel))
    assert shown.count("<b>x</b>") >= 8
    activity = window.findChildren(QListWidget)[0]
    assert EVIL in activity.item(0).text()
    peers = next(t for t in window.findChildren(QTableWidget))
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0)):
        # A state is cut after 40 characters, the rest is whole.
        assert peers.item(row, column).text()[:39] == EVIL[:39]


def test_axis_captions_are_escaped(qtbot: QtBot, window: MainWindow) -> None:
    window.open_page("history")
    qtbot.waitUntil(lambda: not window.page().busy())
    html = window.page()._plot.getAxis("left").label.toPlainText()  # type: ignore[attr-defined]
    assert html.strip().startswith("<b>x</b>")


def test_dialogs_show_it_literally(qtbot: QtBot, window: MainWindow) -> None:
    view = evil_view()
    dialogs.show_event(window, view.events[0])
    dialogs.show_slot(window, view.slots[0], view.currency)
    dialogs.show_error(window, EVIL, OSError(EVIL))
    check(window)
    shown = [label.text() for label in window.findChildren(QLabel)]
    assert shown.count(EVIL) >= 5


def test_the_statement_escapes_it(tmp_path: Path) -> None:
    view = evil_view()
    page = statement.statement_html(
        view, view.slots, view.market_now, view.market_now + timedelta(days=1)
    )
    assert "<b>x" not in page
    assert "<a" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert not re.search(r"href\s*=\s*[\"']", page)
