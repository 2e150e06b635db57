"""Home: everything a prosumer looks at during the day, on one screen."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from wallet_app.gui.home_cards import (
    ActivityCard,
    DayCard,
    FlowCard,
    MoneyCard,
    SlotCard,
    StandingCard,
)
from wallet_app.gui.page import Page
from wallet_app.gui.source import WalletSource
from wallet_app.gui.suggestion_card import SuggestionCard
from wallet_app.gui.theme import Theme
from wallet_app.gui.ticker import MarketTicker
from wallet_app.i18n import tr
from wallet_app.trading.view import Change, WalletView


class HomePage(Page):
    """Live power, this slot, money, suggestion, standing, the day, activity."""

    key = "home"
    icon = "home"

    def __init__(self, theme: Theme, source: WalletSource, ticker: MarketTicker) -> None:
        super().__init__(tr("Home"))
        self.flow = FlowCard(theme)
        self.slot = SlotCard(theme, ticker)
        self.money = MoneyCard(theme)
        self.suggestion = SuggestionCard(theme, source)
        self.standing = StandingCard(theme)
        self.day = DayCard(theme)
        self.activity = ActivityCard(theme)
        self._build()

    def _build(self) -> None:
        inner = QWidget()
        inner.setObjectName("scrolled")
        grid = QGridLayout(inner)
        grid.setContentsMargins(14, 14, 14, 14)
        grid.setSpacing(12)
        # Twelve columns: three cards above, two and two below.
        grid.addWidget(self.flow, 0, 0, 1, 5)
        grid.addWidget(self.slot, 0, 5, 1, 4)
        grid.addWidget(self.money, 0, 9, 1, 3)
        grid.addWidget(self.suggestion, 1, 0, 1, 5)
        grid.addWidget(self.standing, 1, 5, 1, 7)
        grid.addWidget(self.day, 2, 0, 1, 7)
        grid.addWidget(self.activity, 2, 7, 1, 5)
        for column in range(12):
            grid.setColumnStretch(column, 1)
            grid.setColumnMinimumWidth(column, 10)
        for row, stretch in enumerate((4, 4, 3)):
            grid.setRowStretch(row, stretch)
        area = QScrollArea()
        area.setWidget(inner)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        area.setAccessibleName(self.title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)

    def refresh(self, view: WalletView, changes: frozenset[Change]) -> None:
        """Refresh the cards that ``changes`` concern."""
        if changes & {Change.LIVE, Change.SLOT}:
            self.flow.refresh(view)
        if changes & {Change.SLOT, Change.HISTORY}:
            self.slot.refresh(view)
            self.money.refresh(view)
        if changes & {Change.SUGGESTION, Change.SLOT}:
            self.suggestion.refresh(view)
        if changes & {Change.STANDING, Change.SLOT}:
            self.standing.refresh(view)
        if changes & {Change.LIVE, Change.SLOT, Change.HISTORY}:
            self.day.refresh(view)
        if Change.EVENT in changes:
            self.activity.refresh(view)

    def tick(self) -> None:
        """Move the gate countdown on."""
        self.slot.tick()
