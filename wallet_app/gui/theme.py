"""Colours in a light and a dark set, one style sheet for both.

Colours support what words, symbols and shapes already say; nothing is told by colour alone.
Text colours keep a contrast of at least 4.5:1 on the surfaces they are used on (tested).
"""

import re
from dataclasses import asdict, dataclass
from importlib import resources

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication


@dataclass(frozen=True, slots=True)
class Theme:
    """One set of colours, as #rrggbb."""

    name: str
    window: str
    surface: str
    raised: str
    border: str
    strong_border: str
    text: str
    muted: str
    accent: str
    accent_hover: str
    on_accent: str
    accent_soft: str
    good: str
    good_soft: str
    warning: str
    warning_soft: str
    error: str
    error_soft: str
    roof: str
    battery: str
    house: str
    grid: str
    asks: str
    bids: str

    def color(self, name: str) -> QColor:
        """Return the colour called ``name``, such as ``accent``."""
        return QColor(str(getattr(self, name)))


LIGHT = Theme(
    name="light",
    window="#f3f5f7",
    surface="#ffffff",
    raised="#f7f9fa",
    border="#e1e6ea",
    strong_border="#c3ccd3",
    text="#17212b",
    muted="#5a6773",
    accent="#0b6e75",
    accent_hover="#095a60",
    on_accent="#ffffff",
    accent_soft="#dff1f1",
    good="#1c7a48",
    good_soft="#e2f3e9",
    warning="#8a5a00",
    warning_soft="#fcf1d9",
    error="#b3261e",
    error_soft="#fbe6e4",
    roof="#d99a0b",
    battery="#2f9e67",
    house="#5a67c8",
    grid="#64748b",
    asks="#c2570c",
    bids="#2563c9",
)
DARK = Theme(
    name="dark",
    window="#10151a",
    surface="#182027",
    raised="#1e2830",
    border="#2a353e",
    strong_border="#41505b",
    text="#e8edf1",
    muted="#9dabb7",
    accent="#4cc3c7",
    accent_hover="#7ad7da",
    on_accent="#06272a",
    accent_soft="#17393d",
    good="#6fd39b",
    good_soft="#18372a",
    warning="#f0bd5c",
    warning_soft="#3b2f16",
    error="#ff8f85",
    error_soft="#44211f",
    roof="#f2bd4b",
    battery="#5fcf95",
    house="#98a3f3",
    grid="#93a4b6",
    asks="#f59e63",
    bids="#7db1ff",
)

_FAMILIES = (
    "Inter",
    "Noto Sans",
    "Cantarell",
    "Ubuntu",
    "DejaVu Sans",
)


def choose(setting: str) -> Theme:
    """Return the colours for setting "light", "dark" or "system" (what the desktop says)."""
    if setting == "system":
        scheme = QGuiApplication.styleHints().colorScheme()
        return DARK if scheme == Qt.ColorScheme.Dark else LIGHT
    return DARK if setting == "dark" else LIGHT


def apply(app: QApplication, theme: Theme) -> None:
    """Give ``app`` the palette, font and style sheet of ``theme``."""
    app.setStyle("Fusion")
    app.setPalette(_palette(theme))
    app.setFont(_font(app.font()))
    app.setStyleSheet(style_sheet(theme))


def style_sheet(theme: Theme) -> str:
    """Return the style sheet with every ``@name`` replaced by the theme's colour."""
    text = (resources.files("resources") / "styles" / "wallet.qss").read_text(encoding="utf-8")
    colours: dict[str, str] = asdict(theme)
    return re.sub(r"@([a-z_]+)", lambda match: colours[match.group(1)], text)


def _font(current: QFont) -> QFont:
    # The desktop's own font is right where there is a desktop; offscreen Qt takes the first family
    # fontconfig names, which may be a serif or a monospaced one.
    if QGuiApplication.platformName() in ("offscreen", "minimal"):
        present = set(QFontDatabase.families())
        family = next((name for name in _FAMILIES if name in present), current.family())
        current = QFont(family)
    current.setPointSizeF(9.5)
    return current


def _palette(theme: Theme) -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette()
    for part, name in (
        (role.Window, "window"),
        (role.WindowText, "text"),
        (role.Base, "surface"),
        (role.AlternateBase, "raised"),
        (role.Text, "text"),
        (role.Button, "surface"),
        (role.ButtonText, "text"),
        (role.ToolTipBase, "surface"),
        (role.ToolTipText, "text"),
        (role.PlaceholderText, "muted"),
        (role.Highlight, "accent"),
        (role.HighlightedText, "on_accent"),
        (role.Link, "accent"),
        (role.Light, "raised"),
        (role.Midlight, "border"),
        (role.Mid, "border"),
        (role.Dark, "strong_border"),
    ):
        palette.setColor(part, theme.color(name))
    for part in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, part, theme.color("muted"))
    return palette
