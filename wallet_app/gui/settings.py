"""What the window remembers between two starts; nothing of value, so a bad file is just ignored."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from light_node import jsonio
from wallet_app import files, i18n

THEMES = ("system", "light", "dark")
PAGES = ("home", "history", "trust", "meter", "settings")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """Language ("" follows the desktop), theme, page, and size of the window in pixels."""

    language: str = ""
    theme: str = "system"
    page: str = "home"
    width: int = 1280
    height: int = 800
    maximized: bool = False


def settings_path() -> Path:
    """Return the file the settings are kept in."""
    return files.data_directory() / "window.json"


def load(path: Path) -> WindowSettings:
    """Read ``path``; what is missing or makes no sense takes its default."""
    try:
        fields = jsonio.mapping(jsonio.strict_loads(path.read_bytes()), "settings")
    except FileNotFoundError:
        return WindowSettings()
    except (OSError, jsonio.JsonError) as error:
        _log.warning("window settings are not readable and start afresh: %s", error)
        return WindowSettings()
    plain = WindowSettings()
    return WindowSettings(
        language=_one_of(fields.get("language"), i18n.LANGUAGES, plain.language),
        theme=_one_of(fields.get("theme"), THEMES, plain.theme),
        page=_one_of(fields.get("page"), PAGES, plain.page),
        width=_pixels(fields.get("width"), plain.width),
        height=_pixels(fields.get("height"), plain.height),
        maximized=fields.get("maximized") is True,
    )


def save(path: Path, settings: WindowSettings) -> None:
    """Write ``settings`` to ``path`` atomically; a disk that refuses costs a log line only."""
    try:
        files.write_atomically(path, jsonio.canonical_dumps(asdict(settings)))
    except OSError as error:
        _log.warning("window settings are not kept: %s", error)


def _one_of(value: object, allowed: Iterable[str], default: str) -> str:
    return next((choice for choice in allowed if choice == value), default)


def _pixels(value: object, default: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 600 <= value <= 16384:
        return value
    return default
