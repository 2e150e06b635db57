"""The demo's day as a source of views: its slots and sums, also after midnight has passed."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from light_node.market.units import EnergyWh, PriceTick
from wallet_app.meter.desk import MeterDesk
from wallet_app.trading.preferences import Preferences
from wallet_app.trading.session import TradingSession
from wallet_app.trading.state import sums
from wallet_app.trading.view import AgentMode, Change, SlotView, WalletView


class DaySource:
    """A trading session, seen over one day. Once frozen it shows the day's end for ever."""

    def __init__(self, session: TradingSession, start: datetime, end: datetime) -> None:
        """Show the slots that start in [start, end)."""
        self._session, self._start, self._end = session, start, end
        self._lock = threading.Lock()
        self._frozen: WalletView | None = None

    @property
    def meters(self) -> MeterDesk:
        """The session's."""
        return self._session.meters

    @property
    def preferences(self) -> Preferences:
        """The session's."""
        return self._session.preferences

    def view(self) -> WalletView:
        """Return everything the screens show, with the day's slots and sums."""
        with self._lock:
            if self._frozen is not None:
                return self._frozen
        view = self._session.view()
        slots = self._session.history(self._start, self._end)
        return replace(view, slots=slots, money=sums(slots, view.money.balance))

    def freeze(self, view: WalletView | None = None) -> None:
        """Show ``view`` (default: the state now) from now on."""
        shown = view or self.view()
        with self._lock:
            self._frozen = shown

    def subscribe(self, callback: Callable[[frozenset[Change]], None]) -> Callable[[], None]:
        """Pass the session's changes on."""
        return self._session.subscribe(callback)

    def set_agent(self, mode: AgentMode) -> None:
        """Pass to the session."""
        self._session.set_agent(mode)

    def submit_quote(self, slot: str, energy_wh: EnergyWh, price: PriceTick) -> None:
        """Pass to the session."""
        self._session.submit_quote(slot, energy_wh, price)

    def accept_suggestion(self) -> None:
        """Pass to the session."""
        self._session.accept_suggestion()

    def history(self, start: datetime, end: datetime) -> tuple[SlotView, ...]:
        """Pass to the session."""
        return self._session.history(start, end)

    def export_csv(self, path: Path, start: datetime, end: datetime) -> None:
        """Pass to the session."""
        self._session.export_csv(path, start, end)
