"""Home: everything a prosumer looks at during the day, on one screen."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

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
        column = QVBoxLayout(inner)
        column.setContentsMargins(14, 14, 14, 14)
        column.setSpacing(12)
        # Shares of twenty-four, so that edges line up where no card needs more than its share.
        for height, cards in (
            (4, ((self.flow, 11), (self.slot, 7), (self.money, 6))),
            (4, ((self.suggestion, 11), (self.standing, 13))),
            (3, ((self.day, 14), (self.activity, 10))),
        ):
            row = QHBoxLayout()
            row.setSpacing(12)
            for card, share in cards:
                row.addWidget(card, share)
            column.addLayout(row, height)
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
