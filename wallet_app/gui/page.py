"""What every page is: a widget that shows snapshots, and knows which changes concern it."""

from typing import ClassVar

from PySide6.QtWidgets import QWidget

from wallet_app.trading.view import Change, WalletView


class Page(QWidget):
    """One screen. A page that is not visible is refreshed when it is shown again."""

    key: ClassVar[str] = ""
    icon: ClassVar[str] = ""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAccessibleName(title)
        self.title = title

    def refresh(self, view: WalletView, changes: frozenset[Change]) -> None:
        """Show ``view``; only what ``changes`` names can differ from the last call."""
        raise NotImplementedError

    def tick(self) -> None:
        """Move countdowns on, a few times a second while visible."""

    def busy(self) -> bool:
        """Return whether figures are still being fetched."""
        return False
