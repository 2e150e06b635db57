"""Translations: English text is the key, a JSON catalogue holds the other language.

``tr("Sell {energy} kWh", energy="1.20")`` looks the English sentence up in
``resources/i18n/<language>.json`` and fills the fields in. Fields are put in as they are, so
braces in foreign text mean nothing. A sentence without a translation is shown in English.
"""

import json
import locale
import os
from collections.abc import Mapping
from importlib import resources

ENGLISH = "en"
CHINESE = "zh_CN"
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", CHINESE: "简体中文"}
"""Every language there is, by code, in its own words."""

_language = ENGLISH
_catalogue: dict[str, str] = {}


def tr(text: str, **fields: object) -> str:
    """Return ``text`` in the current language with its ``{fields}`` filled in."""
    translated = _catalogue.get(text, text)
    return translated.format_map(fields) if fields else translated


def translated(text: str) -> str:
    """Return ``text`` in the current language, for texts that stand in tables, not in calls."""
    return _catalogue.get(text, text)


def language() -> str:
    """Return the code of the language in use."""
    return _language


def use_language(code: str | None = None) -> str:
    """Switch to ``code``; None takes ``PROSUMER_LANG``, else the user's locale. Return the code."""
    global _language, _catalogue
    _language = best_language(code or os.environ.get("PROSUMER_LANG") or _locale_name())
    _catalogue = {} if _language == ENGLISH else load_catalogue(_language)
    return _language


def best_language(name: str) -> str:
    """Return the language that serves a locale name such as ``zh_SG.UTF-8`` best."""
    plain = name.replace("-", "_").split(".")[0].lower()
    return CHINESE if plain == "zh" or plain.startswith("zh_") else ENGLISH


def load_catalogue(code: str) -> dict[str, str]:
    """Read the catalogue of language ``code``: English text to translated text."""
    text = (resources.files("resources") / "i18n" / f"{code}.json").read_text(encoding="utf-8")
    catalogue: dict[str, str] = json.loads(text)
    return catalogue


def _locale_name() -> str:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(variable):
            return os.environ[variable]
    # Windows and macOS set no such variables.
    return locale.getlocale()[0] or ENGLISH
