"""Legible in both themes, and everything the code names exists."""

import re
from importlib import resources

import pytest
from PySide6.QtGui import QColor
from pytestqt.qtbot import QtBot

from wallet_app.gui import icons
from wallet_app.gui.theme import DARK, LIGHT, Theme, choose, style_sheet

PACKAGE = resources.files("wallet_app") / "gui"


def luminance(name: str) -> float:
    def channel(value: float) -> float:
        return value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4

    color = QColor(name)
    r, g, b = (channel(part) for part in (color.redF(), color.greenF(), color.blueF()))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_texts_stand_out_from_their_surfaces(theme: Theme) -> None:
    pairs = [
        *(
            (text, ground)
            for text in ("text", "muted")
            for ground in ("surface", "window", "raised")
        ),
        *((text, "surface") for text in ("accent", "good", "warning", "error")),
        ("on_accent", "accent"),
        ("accent", "accent_soft"),
        ("good", "good_soft"),
        ("warning", "warning_soft"),
        ("error", "error_soft"),
    ]
    for text, ground in pairs:
        ratio = contrast(getattr(theme, text), getattr(theme, ground))
        assert ratio >= 4.5, f"{text} on {ground}: {ratio:.2f}"


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_lines_and_marks_stand_out_too(theme: Theme) -> None:
    # 3:1 is what WCAG asks of graphical objects; the roof's line carries words beside it.
    for mark in ("battery", "house", "grid", "asks", "bids", "accent"):
        assert contrast(getattr(theme, mark), theme.surface) >= 3, mark


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_the_style_sheet_is_filled_in(theme: Theme) -> None:
    sheet = style_sheet(theme)
    assert "@" not in sheet
    assert theme.accent in sheet


def test_a_setting_overrules_the_desktop(qtbot: QtBot) -> None:
    assert choose("dark") is DARK
    assert choose("light") is LIGHT
    assert choose("system") in (LIGHT, DARK)


def test_every_icon_file_draws_something(qtbot: QtBot) -> None:
    names = [f.name[:-4] for f in (resources.files("resources") / "icons").iterdir()]
    assert len(names) > 20
    for name in names:
        image = icons.pixmap(name, QColor("#ff0000"), 24).toImage()
        drawn = sum(image.pixelColor(x, y).alpha() > 60 for x in range(24) for y in range(24))
        assert drawn > 8, name


def test_every_icon_named_in_the_code_exists() -> None:
    have = {f.name[:-4] for f in (resources.files("resources") / "icons").iterdir()}
    for file in PACKAGE.iterdir():
        if file.name.endswith(".py"):
            text = file.read_text(encoding="utf-8")
            for name in re.findall(r'show_state\("([a-z-]+)",', text):
                assert name in have, f"{file.name}: {name}"
