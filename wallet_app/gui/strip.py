"""The status strip at the bottom of the window: network, blocks, agreement, time."""

from PySide6.QtWidgets import QFrame, QHBoxLayout

from wallet_app import format as fmt
from wallet_app.gui.theme import Theme
from wallet_app.gui.ticker import MarketTicker
from wallet_app.gui.widgets import Badge, ElidedLabel, IconLabel, set_tip
from wallet_app.i18n import tr
from wallet_app.trading.view import TrustView, WalletView


def agreeing_organisations(trust: TrustView) -> int:
    """Return how many organisations have a peer that shows the same chain."""
    return len({peer.organisation for peer in trust.peers if peer.agrees})


def disagreeing_organisations(trust: TrustView) -> int:
    """Return how many organisations have a peer that contradicts what is verified."""
    return len({peer.organisation for peer in trust.peers if peer.agrees is False})


def disagreement(number: int) -> str:
    """Return how many organisations disagree, in words."""
    if number == 1:
        return tr("1 organisation disagrees")
    return tr("{number} organisations disagree", number=number)


class StatusStrip(QFrame):
    """One line that is always there."""

    def __init__(self, theme: Theme, ticker: MarketTicker) -> None:
        super().__init__()
        self._ticker = ticker
        self.setObjectName("strip")
        self.setAccessibleName(tr("Status"))
        self.setFixedHeight(34)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(14, 0, 14, 0)
        layout.setSpacing(18)
        self._network = IconLabel(theme)
        self._height = IconLabel(theme)
        self._agreed = IconLabel(theme)
        self._who = ElidedLabel("small")
        self._demo = Badge()
        self._time = IconLabel(theme)
        for part in (self._network, self._height, self._agreed):
            layout.addWidget(part)
        layout.addWidget(self._who, 1)
        layout.addWidget(self._demo)
        layout.addWidget(self._time)

    def refresh(self, view: WalletView) -> None:
        """Show ``view``'s network, trust and time."""
        trust = view.trust
        name = fmt.foreign(view.network, 40)
        self._network.show_state("peers", name or tr("no network"))
        self._height.show_state("block", self._height_words(trust))
        disputed = disagreeing_organisations(trust)
        agreeing = agreeing_organisations(trust)
        if disputed:
            self._agreed.show_state("warning", disagreement(disputed), "error")
        elif agreeing >= 2:
            words = tr("agreed by {number} organisations", number=agreeing)
            self._agreed.show_state("double-check", words, "good")
        else:
            self._agreed.show_state("unknown", tr("not agreed yet"))
        self._who.set_full_text(fmt.foreign(view.participant, 80))
        self._demo.show_state(tr("simulated") if view.demo else "", "warning")
        set_tip(self._demo, tr("Simulated meter or accelerated time: no real money moves"))
        self.tick()

    @staticmethod
    def _height_words(trust: TrustView) -> str:
        if trust.verified_height is None:
            return tr("nothing verified yet")
        words = tr("verified height {height}", height=fmt.count(trust.verified_height))
        behind = 0 if trust.height is None else trust.height - trust.verified_height
        if behind > 0:
            words += " · " + tr("{number} behind", number=fmt.count(behind))
        return words

    def tick(self) -> None:
        """Move the clock on."""
        now = self._ticker.now()
        if now is not None:
            self._time.show_state("clock", fmt.date_time(now))
