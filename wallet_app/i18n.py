"""The wallet's sentences: :mod:`light_node.i18n` with the wallet's catalogue beside its own."""

from importlib import resources
from importlib.resources.abc import Traversable

from light_node import i18n
from light_node.i18n import (
    CHINESE,
    ENGLISH,
    LANGUAGES,
    best_language,
    language,
    said,
    tr,
    translated,
)

__all__ = [
    "CATALOGUES",
    "CHINESE",
    "ENGLISH",
    "LANGUAGES",
    "best_language",
    "language",
    "said",
    "tr",
    "translated",
    "use_language",
]

CATALOGUES: Traversable = resources.files("resources") / "i18n"
"""The folder with the wallet's sentences, a file for each language."""


def use_language(code: str | None = None) -> str:
    """Switch to ``code``; None takes ``PROSUMER_LANG``, else the user's locale. Return the code."""
    return i18n.use_language(code, CATALOGUES)
