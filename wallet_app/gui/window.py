"""The shell: sidebar, pages, status strip, shortcuts. What is shown comes from the pages."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QAction, QActionGroup, QCloseEvent, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QMenu,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from wallet_app import i18n
from wallet_app.gui import icons, settings, theme
from wallet_app.gui.feed import ALL, ViewFeed
from wallet_app.gui.history import HistoryPage
from wallet_app.gui.home import HomePage
from wallet_app.gui.meter import MeterPage
from wallet_app.gui.page import Page
from wallet_app.gui.preferences import SettingsPage
from wallet_app.gui.source import WalletSource
from wallet_app.gui.strip import StatusStrip
from wallet_app.gui.ticker import MarketTicker
from wallet_app.gui.trust import TrustPage
from wallet_app.gui.widgets import Notice, focus_chosen, label, set_tip
from wallet_app.i18n import tr
from wallet_app.trading.view import Change, WalletView

_TICK_MS = 250
_NARROW = 1150


class MainWindow(QMainWindow):
    """The wallet's window; ``on_close`` is called once, when it has been closed."""

    def __init__(
        self,
        source: WalletSource,
        kept: settings.WindowSettings,
        path: Path | None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Build over ``source``; settings are kept in ``path``, nowhere if that is None."""
        super().__init__()
        self._source = source
        self._kept = kept
        self._path = path
        self._on_close = on_close
        self._view: WalletView | None = None
        self._stale: dict[str, frozenset[Change]] = {}
        self.ticker = MarketTicker()
        self.feed = ViewFeed(source)
        self.feed.updated.connect(self.show_view)
        self.feed.failed.connect(self._say_failed)
        self.setWindowTitle(tr("Prosumer Wallet"))
        self.setWindowIcon(icons.app_icon())
        self.setMinimumSize(960, 560)
        self.resize(kept.width, kept.height)
        self._build()
        self._shortcuts()
        self._timer = QTimer(self)
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self.tick)
        QApplication.styleHints().colorSchemeChanged.connect(self._system_scheme_changed)

    # ---- building

    def _build(self) -> None:
        self._theme = theme.choose(self._kept.theme)
        self.pages: dict[str, Page] = {
            page.key: page
            for page in (
                HomePage(self._theme, self._source, self.ticker),
                HistoryPage(self._theme, self._source),
                TrustPage(self._theme),
                MeterPage(self._theme, self._source.meters, self._source.preferences),
                SettingsPage(self._theme, self._source.preferences),
            )
        }
        self._stale = dict.fromkeys(self.pages, ALL)
        self._stack = QStackedWidget()
        for page in self.pages.values():
            self._stack.addWidget(page)
        self._notice = Notice(self._theme)
        self._strip = StatusStrip(self._theme, self.ticker)
        main = QVBoxLayout()
        main.setContentsMargins(0, 0, 0, 0)
        main.setSpacing(0)
        main.addWidget(self._notice)
        main.addWidget(self._stack, 1)
        main.addWidget(self._strip)
        root = QWidget()
        row = QHBoxLayout(root)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self._sidebar())
        row.addLayout(main, 1)
        self.setCentralWidget(root)
        self.open_page(self._kept.page if self._kept.page in self.pages else "home")
        self._fold()

    def _sidebar(self) -> QFrame:
        bar = QFrame()
        bar.setObjectName("sidebar")
        bar.setAccessibleName(tr("Pages"))
        layout = QVBoxLayout(bar)
        layout.setContentsMargins(10, 14, 10, 10)
        layout.setSpacing(4)
        brand = QHBoxLayout()
        mark = label()
        mark.setPixmap(icons.app_icon().pixmap(QSize(28, 28), self.devicePixelRatioF()))
        self._name = label(tr("Prosumer Wallet"), "strong")
        brand.addWidget(mark)
        brand.addWidget(self._name, 1)
        layout.addLayout(brand)
        layout.addSpacing(14)
        self._nav = QButtonGroup(self)
        self._nav_buttons: dict[str, QPushButton] = {}
        self._texts: dict[QPushButton, str] = {}
        for number, page in enumerate(self.pages.values(), 1):
            entry = self._nav_button(page.title, page.icon, f"Ctrl+{number}")
            entry.setCheckable(True)
            entry.clicked.connect(lambda _=False, key=page.key: self.open_page(key))
            self._nav.addButton(entry)
            self._nav_buttons[page.key] = entry
            layout.addWidget(entry)
        layout.addStretch(1)
        layout.addWidget(self._menu_button(tr("Language"), "language", self._language_menu()))
        layout.addWidget(self._menu_button(tr("Appearance"), "theme", self._theme_menu()))
        self._bar = bar
        return bar

    def _nav_button(self, text: str, icon: str, shortcut: str = "") -> QPushButton:
        entry = QPushButton(text)
        entry.setProperty("kind", "nav")
        entry.setIcon(icons.icon(icon, self._theme.color("text")))
        entry.setIconSize(QSize(20, 20))
        entry.setAccessibleName(text)
        set_tip(entry, f"{text} ({shortcut})" if shortcut else text)
        self._texts[entry] = text
        return entry

    def _menu_button(self, text: str, icon: str, menu: QMenu) -> QPushButton:
        entry = self._nav_button(text, icon)
        menu.setParent(entry, menu.windowFlags())
        entry.setMenu(menu)
        return entry

    def _language_menu(self) -> QMenu:
        choices = [("", tr("As the desktop")), *i18n.LANGUAGES.items()]
        return self._choice_menu(tr("Language"), choices, self._kept.language, self._set_language)

    def _theme_menu(self) -> QMenu:
        choices = [
            ("system", tr("As the desktop")),
            ("light", tr("Light")),
            ("dark", tr("Dark")),
        ]
        return self._choice_menu(tr("Appearance"), choices, self._kept.theme, self._set_theme)

    def _choice_menu(
        self,
        name: str,
        choices: list[tuple[str, str]],
        current: str,
        choose: Callable[[str], None],
    ) -> QMenu:
        menu = QMenu()
        menu.setAccessibleName(name)
        group = QActionGroup(menu)
        for value, text in choices:
            action = QAction(text, menu)
            action.setCheckable(True)
            action.setChecked(value == current)
            # Queued: the choice rebuilds the window, menu included.
            action.triggered.connect(partial(self._choose_soon, choose, value))
            group.addAction(action)
            menu.addAction(action)
        return menu

    def _choose_soon(self, choose: Callable[[str], None], value: str, _checked: bool) -> None:
        QTimer.singleShot(0, self, partial(choose, value))

    def _shortcuts(self) -> None:
        for number, key in enumerate(settings.PAGES, 1):
            self._shortcut(f"Ctrl+{number}", partial(self.open_page, key))
        self._shortcut("F5", self.feed.refresh)
        self._shortcut("F11", self._toggle_full_screen)
        self._shortcut("Ctrl+Q", self.close)

    def _shortcut(self, keys: str, act: Callable[[], object]) -> None:
        QShortcut(QKeySequence(keys), self).activated.connect(lambda: act())

    # ---- showing

    def start(self) -> None:
        """Subscribe to the source and let countdowns run."""
        self.feed.start()
        self._timer.start()

    def show_view(self, view: WalletView, changes: frozenset[Change]) -> None:
        """Show ``view`` on the visible page now, on the others when they are opened."""
        self._view = view
        self._notice.say("")
        self.ticker.update(view.market_now, view.demo)
        self._strip.refresh(view)
        for key in self._stale:
            self._stale[key] |= changes
        self._refresh_visible()

    def open_page(self, key: str) -> None:
        """Show page ``key``."""
        self._kept = replace(self._kept, page=key)
        self._stack.setCurrentWidget(self.pages[key])
        entry = self._nav_buttons[key]
        entry.setChecked(True)
        focus_chosen(self._nav)
        if self.focusWidget() in self._nav_buttons.values():
            entry.setFocus()
        self._refresh_visible()

    def page(self) -> Page:
        """Return the visible page."""
        return self.pages[self._kept.page if self._kept.page in self.pages else "home"]

    def _refresh_visible(self) -> None:
        page = self.page()
        changes = self._stale.get(page.key, ALL)
        if self._view is not None and changes:
            self._stale[page.key] = frozenset()
            page.refresh(self._view, changes)

    def tick(self) -> None:
        """Move clock and countdowns on."""
        self._strip.tick()
        self.page().tick()

    def _say_failed(self, problem: str) -> None:
        self._notice.say(tr("The figures are not up to date: {problem}", problem=problem), "error")

    # ---- choices

    def _set_language(self, code: str) -> None:
        self._kept = replace(self._kept, language=code)
        i18n.use_language(code or None)
        self.setWindowTitle(tr("Prosumer Wallet"))
        self._rebuild()

    def _set_theme(self, name: str) -> None:
        self._kept = replace(self._kept, theme=name)
        self._rebuild()

    def _system_scheme_changed(self) -> None:
        if self._kept.theme == "system":
            self._rebuild()

    def _rebuild(self) -> None:
        app = QApplication.instance()
        if isinstance(app, QApplication):
            theme.apply(app, theme.choose(self._kept.theme))
        self._build()
        if self._view is not None:
            self.show_view(self._view, ALL)

    def _toggle_full_screen(self) -> None:
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def _fold(self) -> None:
        # A narrow window keeps its width for the figures: icons only, names as tips.
        narrow = self.width() < _NARROW
        self._bar.setFixedWidth(64 if narrow else 176)
        self._name.setVisible(not narrow)
        for entry, text in self._texts.items():
            entry.setText("" if narrow else text)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fold the sidebar where the window is narrow."""
        super().resizeEvent(event)
        self._fold()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Keep the settings, stop listening, tell the owner."""
        self._timer.stop()
        self.feed.stop()
        if self._path is not None:
            size = self.normalGeometry().size() if self.isMaximized() else self.size()
            kept = replace(
                self._kept,
                width=size.width(),
                height=size.height(),
                maximized=self.isMaximized(),
            )
            settings.save(self._path, kept)
        super().closeEvent(event)
        if self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close()
