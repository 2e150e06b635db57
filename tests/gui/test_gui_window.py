"""The window as a user meets it: every page, empty or full, both themes, both languages."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QPoint, Qt, QTimer
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractScrollArea,
    QAbstractSpinBox,
    QApplication,
    QDialog,
    QFrame,
    QLabel,
    QListWidget,
    QMessageBox,
    QTableWidget,
    QWidget,
)
from pytestqt.qtbot import QtBot

from light_node.chain import root_text
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from tests.gui.fake_source import DAY, ROOT_TEXT, FakeSource, full_view
from wallet_app import i18n
from wallet_app.gui import app, settings
from wallet_app.gui.dialogs import QuoteDialog
from wallet_app.gui.feed import ALL
from wallet_app.gui.flow import nodes, split_grid
from wallet_app.gui.home import HomePage
from wallet_app.gui.plots import Plot
from wallet_app.gui.root_sheet import QrCode, RootSheet
from wallet_app.gui.trust import TrustPage
from wallet_app.gui.window import MainWindow
from wallet_app.trading.view import (
    AgentMode,
    Change,
    LiveView,
    Phase,
    SlotView,
    StandingView,
    TrustView,
    WalletView,
)

Open = Callable[..., MainWindow]


@pytest.fixture
def open_window(qtbot: QtBot, source: FakeSource, tmp_path: Path) -> Iterator[Open]:
    windows: list[MainWindow] = []

    def build(view: WalletView | None = None, **kept: object) -> MainWindow:
        chosen = replace(settings.WindowSettings(), **kept)  # type: ignore[arg-type]
        app.application(chosen, UTC)
        window = MainWindow(source, chosen, tmp_path / "window.json")
        window.show()
        window.show_view(view or source.view(), ALL)
        windows.append(window)
        return window

    yield build
    for window in windows:
        window.close()
        window.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def texts(widget: QWidget) -> str:
    found = [w.text() for w in widget.findChildren(QLabel)]
    found += [w.text() for w in widget.findChildren(QAbstractButton)]
    for shown in widget.findChildren(QListWidget):
        found += [shown.item(row).text() for row in range(shown.count())]
    return "\n".join(found)


def settle(qtbot: QtBot, window: MainWindow) -> None:
    qtbot.waitUntil(lambda: not window.page().busy())


@pytest.mark.parametrize(
    ("theme", "language", "size"),
    [
        ("light", "en", (1024, 600)),
        ("dark", "zh_CN", (1024, 600)),
        ("light", "zh_CN", (1280, 800)),
        ("dark", "en", (3840, 2160)),
    ],
)
def test_every_page_shows_a_full_and_an_empty_view(
    qtbot: QtBot, open_window: Open, theme: str, language: str, size: tuple[int, int]
) -> None:
    window = open_window(theme=theme, language=language, width=size[0], height=size[1])
    for view in (full_view(), WalletView(market_now=DAY)):
        window.show_view(view, ALL)
        for key in window.pages:
            window.open_page(key)
            window.tick()
            settle(qtbot, window)
            assert not window.grab().isNull()
    assert (window.width(), window.height()) == size, "nothing forces the window larger"


def test_home_says_what_matters_now(open_window: Open) -> None:
    shown = texts(open_window().pages["home"])
    for expected in (
        "Sell 2.10 kWh at 0.5600",
        "+1.2810 CNY",
        "Certificate: against this standing no other price could earn you more",
        "Gate for 14:00–15:00",
        "21:3",
        "at 0.6100 · 8.3 kWh · buyer's market · round 2",
        "your share 2.10 kWh",
        "Your quote: sell 3.64 kWh at 0.6460 – in the ledger",
        "Org3's peer does not answer; the others do",
    ):
        assert expected in shown


def test_the_money_card_never_nets_silently_and_names_its_baseline(open_window: Open) -> None:
    window = open_window()
    shown = texts(window.pages["home"])
    money = full_view().money
    saved = money.market_money + money.grid_money + money.penalty_money - money.grid_only_money
    assert f"+{saved / 1e7:.2f}" in shown
    for row in ("Earned on the market", "Spent on the market", "Penalties", "against grid only"):
        assert row in shown


def test_what_is_not_known_is_a_dash(open_window: Open) -> None:
    window = open_window(WalletView(market_now=DAY))
    shown = texts(window)
    assert "No suggestion yet" in shown
    assert "no meter" in shown
    assert "nothing verified yet" in shown
    assert "simulated" not in [label.text() for label in window.findChildren(QLabel)]
    assert isinstance(home := window.pages["home"], HomePage)
    assert "House – kW" in home.flow.flow.accessibleDescription()


@pytest.mark.parametrize("phase", list(Phase))
def test_quotes_are_taken_while_the_slot_is_open_only(open_window: Open, phase: Phase) -> None:
    view = full_view()
    assert view.quoting
    window = open_window(replace(view, quoting=replace(view.quoting, phase=phase)))
    for name in ("Submit this quote", "Other…"):
        found = [b for b in window.findChildren(QAbstractButton) if b.text() == name]
        assert found[0].isEnabled() == (phase is Phase.QUOTING)


def test_the_standing_says_which_slot_it_is_of(open_window: Open) -> None:
    view = full_view()
    assert view.standing
    assert view.delivering
    home = open_window().pages["home"]
    assert isinstance(home, HomePage)
    assert home.standing._span.text() == "14:00–15:00"
    before = replace(view.standing, slot=view.delivering.slot)
    home.standing.refresh(replace(view, standing=before))
    assert home.standing._span.text() == "13:00–14:00"


@pytest.mark.parametrize("quoting", [None, "another slot"])
def test_a_suggestion_for_a_closed_slot_is_no_advice(
    open_window: Open, quoting: str | None
) -> None:
    view = full_view()
    assert view.quoting
    slot = replace(view.quoting, slot=quoting) if quoting else None
    window = open_window(replace(view, quoting=slot))
    assert "No suggestion yet" in texts(window.pages["home"])
    submit = [b for b in window.findChildren(QAbstractButton) if b.text() == "Submit this quote"]
    assert not submit[0].isEnabled()


@pytest.mark.parametrize(
    ("regret", "estimated", "expected"),
    [
        (0, False, "Certificate: against this standing no other price"),
        (123_456, False, "Another price could still gain at most 0.0123 CNY"),
        (None, False, "Estimate:"),
        (0, True, "Estimate:"),
    ],
)
def test_the_certificate_line_claims_no_more_than_is_known(
    open_window: Open, regret: int | None, estimated: bool, expected: str
) -> None:
    view = full_view()
    assert view.suggestion
    money = None if regret is None else MoneyWhTick(regret)
    suggestion = replace(view.suggestion, regret_money=money, estimated=estimated)
    window = open_window(replace(view, suggestion=suggestion))
    assert expected in texts(window.pages["home"])


def test_an_estimate_shows_its_spread_and_how_past_ones_did(open_window: Open) -> None:
    view = full_view()
    assert view.suggestion
    suggestion = replace(
        view.suggestion,
        regret_money=None,
        estimated=True,
        chance_permille=730,
        low_money=MoneyWhTick(-5_000_000),
        high_money=MoneyWhTick(12_500_000),
        record="The last 3 suggestions did well.",
    )
    shown = texts(open_window(replace(view, suggestion=suggestion)).pages["home"])
    assert "Estimate: brings −0.5000 to +1.2500 CNY in 80 of 100 cases" in shown
    assert "The last 3 suggestions did well." in shown


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("waiting", "kept, not sent yet"),
        ("sent", "sent, not in a block yet"),
        ("refused: ROUND_CLOSED", "refused: ROUND_CLOSED"),
        ("something new", "something new"),
    ],
)
def test_the_own_quote_says_how_far_it_got(open_window: Open, state: str, expected: str) -> None:
    view = full_view()
    assert view.quoting
    window = open_window(replace(view, quoting=replace(view.quoting, quote_state=state)))
    assert f"– {expected}" in texts(window.pages["home"])


def test_every_phase_has_its_word(open_window: Open) -> None:
    window = open_window()
    view = full_view()
    assert view.delivering
    for phase in Phase:
        window.show_view(replace(view, delivering=replace(view.delivering, phase=phase)), ALL)


def test_odd_standings_are_drawn(open_window: Open) -> None:
    window = open_window()
    view = full_view()
    price, energy = PriceTick(6000), EnergyWh(1000)
    for standing in (
        None,
        StandingView("s", 1, "balanced", None, EnergyWh(0)),
        StandingView("s", 1, "seller", price, energy, asks=((price, energy, True),)),
        StandingView("s", 1, "buyer", None, EnergyWh(0), bids=((price, energy, True),)),
    ):
        window.show_view(replace(view, standing=standing), frozenset({Change.STANDING}))
        window.show_view(
            replace(view, standing=standing, quoting=None, delivering=None),
            frozenset({Change.STANDING}),
        )


# ---- commands


def click(qtbot: QtBot, window: MainWindow, name: str) -> None:
    buttons = [b for b in window.findChildren(QAbstractButton) if b.accessibleName() == name]
    assert len(buttons) == 1, name
    qtbot.mouseClick(buttons[0], Qt.MouseButton.LeftButton)


def test_commands_run_off_the_ui_thread_while_the_window_lives(
    qtbot: QtBot, open_window: Open, source: FakeSource
) -> None:
    gate = threading.Event()
    callers: list[int] = []

    def blocked() -> None:
        callers.append(threading.get_ident())
        gate.wait(10)

    source.accept_suggestion = blocked  # type: ignore[method-assign]
    window = open_window()
    submit = next(
        b for b in window.findChildren(QAbstractButton) if b.accessibleName() == "Submit this quote"
    )
    qtbot.mouseClick(submit, Qt.MouseButton.LeftButton)
    assert not submit.isEnabled(), "no second click while the first is under way"
    alive: list[int] = []
    timer = QTimer()
    timer.timeout.connect(lambda: alive.append(1))
    timer.start(1)
    qtbot.waitUntil(lambda: len(alive) > 5)
    window.open_page("trust")
    gate.set()
    qtbot.waitUntil(submit.isEnabled)
    assert callers
    assert threading.get_ident() not in callers


def test_the_agent_is_told_the_mode_in_the_order_of_clicks(
    qtbot: QtBot, open_window: Open, source: FakeSource
) -> None:
    window = open_window()
    for name in ("Agent: Do", "Agent: Show", "Agent: Do"):
        click(qtbot, window, name)
    qtbot.waitUntil(lambda: len(source.calls) == 3)
    modes = [AgentMode.DO, AgentMode.SHOW, AgentMode.DO]
    assert source.calls == [("set_agent", mode) for mode in modes]


def test_a_refused_command_is_said_in_plain_text(
    qtbot: QtBot, open_window: Open, source: FakeSource
) -> None:
    window = open_window()
    source.error = OSError("<b>no</b>")
    click(qtbot, window, "Submit this quote")
    qtbot.waitUntil(lambda: bool(window.findChildren(QMessageBox)))
    box = window.findChildren(QMessageBox)[0]
    assert box.text() == "The quote was not submitted."
    assert box.informativeText() == "<b>no</b>"
    assert box.textFormat() is Qt.TextFormat.PlainText
    box.close()


def test_an_own_quote_is_submitted_as_entered(
    qtbot: QtBot, open_window: Open, source: FakeSource
) -> None:
    window = open_window()
    click(qtbot, window, "Other…")
    dialog = window.findChildren(QuoteDialog)[0]
    boxes = {box.accessibleName(): box for box in dialog.findChildren(QAbstractSpinBox)}
    boxes["Energy in kWh"].setValue(1.234)  # type: ignore[attr-defined]
    boxes["Limit price per kWh"].setValue(0.6417)  # type: ignore[attr-defined]
    dialog.accept()
    qtbot.waitUntil(lambda: bool(source.calls))
    slot = full_view().quoting
    assert slot
    assert source.calls == [("submit_quote", slot.slot, 1234, 6417)]


def test_prices_outside_the_bounds_cannot_be_entered(open_window: Open) -> None:
    view = full_view()
    assert view.quoting
    dialog = QuoteDialog(open_window(), view.quoting, view.suggestion)
    for box in dialog.findChildren(QAbstractSpinBox):
        if box.accessibleName() == "Limit price per kWh":
            box.setValue(9.0)  # type: ignore[attr-defined]
            assert dialog.quote()[2] == view.quoting.cap
    dialog.reject()


def test_an_event_opens_with_the_foreign_text_apart(qtbot: QtBot, open_window: Open) -> None:
    window = open_window()
    events = next(w for w in window.findChildren(QListWidget) if w.accessibleName() == "Activity")
    events.itemActivated.emit(events.item(1))
    dialog = window.findChildren(QDialog)[0]
    shown = texts(dialog)
    assert "What the other side said (not checked):" in shown
    assert "rpc error: <b>connection refused</b>" in shown
    dialog.close()


# ---- shell


def test_keys_reach_every_page(qtbot: QtBot, open_window: Open) -> None:
    window = open_window()
    with qtbot.waitActive(window):
        window.activateWindow()
    for number, key in ((2, "history"), (3, "trust"), (1, "home")):
        keys = {1: Qt.Key.Key_1, 2: Qt.Key.Key_2, 3: Qt.Key.Key_3}
        qtbot.keyClick(window, keys[number], Qt.KeyboardModifier.ControlModifier)
        assert window.page().key == key


def test_tab_reaches_everything_that_acts(qtbot: QtBot, open_window: Open) -> None:
    window = open_window()
    with qtbot.waitActive(window):
        window.activateWindow()
    reached: set[str] = set()
    for _ in range(60):
        qtbot.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_Tab)
        focus = QApplication.focusWidget()
        if focus is not None:
            reached.add(focus.accessibleName())
    # Of a group of choices Tab reaches the chosen one; arrows move within the group.
    assert {"Home", "Language", "Appearance", "Agent: Ask"} <= reached
    assert {"Submit this quote", "Other…", "Activity"} <= reached
    home = next(b for b in window.findChildren(QAbstractButton) if b.accessibleName() == "Home")
    home.setFocus()
    qtbot.keyClick(home, Qt.Key.Key_Down)
    assert window.page().key == "history"


@pytest.mark.parametrize("key", settings.PAGES)
def test_whatever_takes_focus_or_paints_has_a_name(open_window: Open, key: str) -> None:
    window = open_window()
    window.open_page(key)
    for widget in window.findChildren(QWidget):
        if widget.parent() and isinstance(widget.parent(), QAbstractScrollArea | QAbstractSpinBox):
            continue  # Qt's own parts of a named widget
        acts = widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        shown = isinstance(widget, Plot | QAbstractButton) or widget.objectName() == "card"
        if widget.isVisible() and (acts or shown) and not widget.objectName().startswith("qt_"):
            assert widget.accessibleName(), widget


def test_a_narrow_window_folds_the_sidebar_but_keeps_names(open_window: Open) -> None:
    window = open_window(width=1024, height=600)
    bar = next(w for w in window.findChildren(QFrame) if w.objectName() == "sidebar")
    assert bar.width() < 80
    history = next(b for b in bar.findChildren(QAbstractButton) if b.accessibleName() == "History")
    assert history.text() == ""
    assert "History" in history.toolTip()
    window.resize(1400, 800)
    assert history.text() == "History"


def test_choices_are_applied_at_once_and_kept(
    qtbot: QtBot, open_window: Open, tmp_path: Path
) -> None:
    window = open_window()
    window.open_page("trust")
    window._set_language("zh_CN")
    window._set_theme("dark")
    assert window.windowTitle() == "产消者钱包"
    assert "信任根" in texts(window)
    assert window.page().key == "trust"
    window.close()
    kept = settings.load(tmp_path / "window.json")
    assert (kept.language, kept.theme, kept.page) == ("zh_CN", "dark", "trust")
    assert i18n.language() == "zh_CN"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"theme":"pink","width":-1,"language":7,"page":"x"}',
        b'{"width":1e99}',
    ],
)
def test_settings_that_make_no_sense_start_afresh(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "window.json"
    path.write_bytes(content)
    assert settings.load(path) == settings.WindowSettings()


def test_settings_survive_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.save(tmp_path / "file" / "window.json", settings.WindowSettings())


def test_hidden_pages_catch_up_when_they_are_opened(
    qtbot: QtBot, open_window: Open, source: FakeSource
) -> None:
    window = open_window()
    view = full_view()
    moved = replace(view, trust=replace(view.trust, verified_height=4321, height=4400))
    window.show_view(moved, frozenset({Change.TRUST}))
    window.open_page("trust")
    shown = texts(window.pages["trust"])
    assert "4,321" in shown
    assert "79 behind" in shown


def test_trust_shows_how_long_catching_up_takes(open_window: Open) -> None:
    view = full_view()
    behind = replace(view.trust, verified_height=250_000, height=1_000_000, share=0.2499)
    window = open_window(replace(view, trust=behind))
    window.open_page("trust")
    page = window.pages["trust"]
    assert "Catching up: 24.9 % verified" in texts(page)
    known = replace(behind, blocks_per_s=5_000.4, seconds_left=150.0)
    window.show_view(replace(view, trust=known), frozenset({Change.TRUST}))
    words = "Catching up: 24.9 % verified, 5,000 blocks per second, about 02:30 left"
    assert words in texts(page)
    window.show_view(view, frozenset({Change.TRUST}))
    assert "Catching up" not in texts(page)


def test_the_peer_the_wallet_works_through_is_marked(open_window: Open) -> None:
    view = full_view()
    peers = tuple(replace(p, in_use=p.organisation == "Org2MSP") for p in view.trust.peers)
    window = open_window(replace(view, trust=replace(view.trust, peers=peers)))
    window.open_page("trust")
    table = window.pages["trust"].findChild(QTableWidget)
    states = {table.item(row, 0).text(): table.item(row, 2) for row in range(table.rowCount())}
    assert states["Org2MSP"].text() == "connected, in use"
    assert states["Org1MSP"].text() == "connected"


def test_the_strip_warns_of_disagreement(open_window: Open) -> None:
    view = full_view()
    peers = tuple(
        replace(p, agrees=False) if p.organisation == "Org2MSP" else p for p in view.trust.peers
    )
    window = open_window(replace(view, trust=replace(view.trust, peers=peers)))
    assert "1 organisation disagrees" in texts(window)
    window.open_page("trust")
    assert "1 organisation disagrees" in texts(window.pages["trust"])


@pytest.mark.parametrize(
    ("days", "expected"), [(-1, "expired on"), (3, "renew it soon"), (99, "valid until")]
)
def test_the_trust_root_says_when_it_ends(open_window: Open, days: int, expected: str) -> None:
    expires = full_view().market_now + timedelta(days=days)
    window = open_window(replace(full_view(), trust=TrustView(trust_root_expires=expires)))
    window.open_page("trust")
    assert expected in texts(window.pages["trust"])


def test_the_trust_root_is_handed_on_as_text_and_code(qtbot: QtBot, open_window: Open) -> None:
    window = open_window(full_view())
    window.open_page("trust")
    page = window.pages["trust"]
    assert isinstance(page, TrustPage)
    assert page.root.hand_on.isVisible()
    sheet = RootSheet(window, ROOT_TEXT, "ABCD-EFGH-IJKL-MNOP")
    qtbot.addWidget(sheet)
    sheet.show()
    assert root_text.decode(sheet.shown.toPlainText()) == root_text.decode(ROOT_TEXT)
    sheet.copy.click()
    assert QGuiApplication.clipboard().text() == ROOT_TEXT
    code = sheet.findChild(QrCode)
    assert code is not None
    image = code.grab().toImage()
    corner = image.pixelColor(_module(code, 0)), image.pixelColor(_module(code, -1))
    assert [color.lightness() for color in corner] == [0, 255], "a finder pattern, in its margin"


def _module(code: QrCode, number: int) -> QPoint:
    """The middle of a module on the diagonal of the code; -1 is in the margin."""
    at = round((4 + number + 0.5) * 5)
    left = (code.width() - code.sizeHint().width()) // 2
    top = (code.height() - code.sizeHint().height()) // 2
    return QPoint(left + at, top + at)


def test_without_a_text_there_is_nothing_to_hand_on(open_window: Open) -> None:
    window = open_window(replace(full_view(), trust=TrustView()))
    window.open_page("trust")
    page = window.pages["trust"]
    assert isinstance(page, TrustPage)
    assert not page.root.hand_on.isVisible()


# ---- flow


def slot_with(side: str, matched: int) -> SlotView:
    view = full_view().delivering
    assert view
    return replace(view, side=side, matched_wh=EnergyWh(matched))


@pytest.mark.parametrize(
    ("grid", "side", "matched", "expected"),
    [
        (-3000, "sell", 2000, (-2000, -1000)),
        (-1500, "sell", 2000, (-1500, 0)),
        (800, "sell", 2000, (0, 800)),
        (3000, "buy", 2000, (2000, 1000)),
        (-100, "buy", 2000, (0, -100)),
        (700, "buy", 0, (0, 700)),
        (None, "buy", 2000, (None, None)),
    ],
)
def test_the_contract_covers_power_in_its_own_direction_only(
    grid: int | None, side: str, matched: int, expected: tuple[int | None, int | None]
) -> None:
    assert split_grid(grid, slot_with(side, matched)) == expected


def test_flow_directions_are_words_too() -> None:
    live = LiveView(grid_power_w=-900, battery_power_w=-500, battery_wh=100)
    states = {node.key: node.state for node in nodes(live, None)}
    assert states == {
        "roof": "",
        "battery": "discharging",
        "market": "",
        "grid": "to the grid",
    }


# ---- ways in


def test_screenshots_without_a_display(qtbot: QtBot, source: FakeSource, tmp_path: Path) -> None:
    paths = app.render_screenshots(source, tmp_path / "shots", (1024, 600))
    names = ["home.png", "history.png", "trust.png", "meter.png", "settings.png"]
    assert [path.name for path in paths] == names
    pictures = [QImage(str(path)) for path in paths]
    for picture in pictures:
        assert (picture.width(), picture.height()) == (1024, 600)
        colors = {picture.pixel(x, y) for x in range(0, 1024, 7) for y in range(0, 600, 7)}
        assert len(colors) > 10, "something is drawn"
    assert pictures[0] != pictures[1] != pictures[2]
    assert source.subscribers == 0
    assert not settings.settings_path().exists()


def test_the_window_runs_until_closed_and_tells_once(
    qtbot: QtBot, source: FakeSource, tmp_path: Path
) -> None:
    closed: list[int] = []
    shot = tmp_path / "a" / "window.png"
    code = app.run_window(
        source,
        screenshot=shot,
        screenshot_after=0.2,
        close_after=0.5,
        on_close=lambda: closed.append(1),
    )
    assert code == 0
    assert closed == [1]
    assert source.subscribers == 0
    assert not QImage(str(shot)).isNull()
    assert settings.settings_path().exists()


def test_ctrl_c_closes_the_window_cleanly(qtbot: QtBot, source: FakeSource) -> None:
    closed: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    timer = QTimer()
    timer.setSingleShot(True)
    timer.timeout.connect(lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start(200)
    code = app.run_window(source, close_after=8.0, on_close=lambda: closed.append(1))
    assert code == 130
    assert closed == [1]
    assert source.subscribers == 0
    assert signal.getsignal(signal.SIGINT) is before
