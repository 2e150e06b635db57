"""What the window needs of the program behind it; the trading session implements it."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from light_node.market.units import EnergyWh, PriceTick
from wallet_app.meter.desk import MeterDesk
from wallet_app.trading.preferences import Preferences
from wallet_app.trading.view import AgentMode, Change, SlotView, WalletView


class WalletSource(Protocol):
    """Snapshots to show and commands to give.

    All of them are called from worker threads (:class:`wallet_app.gui.op.Op`), so each may block;
    whatever they raise is shown to the user as one plain line.
    """

    @property
    def meters(self) -> MeterDesk:
        """The meters read on this machine; its own methods say which of them block."""
        ...

    @property
    def preferences(self) -> Preferences:
        """The wallet's settings."""
        ...

    def view(self) -> WalletView:
        """Return the state of everything at this instant."""
        ...

    def subscribe(self, callback: Callable[[frozenset[Change]], None]) -> Callable[[], None]:
        """Call ``callback`` from any thread whenever something changed; return how to stop it."""
        ...

    def set_agent(self, mode: AgentMode) -> None:
        """Let the agent show its suggestion, ask, or act within the limits."""
        ...

    def submit_quote(self, slot: str, energy_wh: EnergyWh, price: PriceTick) -> None:
        """Quote ``energy_wh`` at ``price`` for ``slot``, on the side this household is on."""
        ...

    def accept_suggestion(self) -> None:
        """Quote exactly what is suggested now."""
        ...

    def history(self, start: datetime, end: datetime) -> tuple[SlotView, ...]:
        """Return the slots that start in [start, end), ascending; aware times."""
        ...

    def export_csv(self, path: Path, start: datetime, end: datetime) -> None:
        """Write the same slots as CSV to ``path``; OSError if that cannot be done."""
        ...
