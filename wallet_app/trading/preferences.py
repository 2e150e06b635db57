"""The settings of a running wallet: read and changed by window and session, kept on disk.

What can take effect at once does; a change of the rest is kept and counts from the next start.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from wallet_app.settings import BY_NAME, Settings

Applier = Callable[[Settings, frozenset[str]], None]


class Preferences:
    """The settings in ``directory``, safe to use from several threads."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self._directory, self._settings = directory, settings
        self._lock = threading.Lock()
        self._appliers: list[Applier] = []

    def on_change(self, apply: Applier) -> None:
        """Call ``apply`` with the new settings and the names that changed, after each change."""
        self._appliers.append(apply)

    @property
    def settings(self) -> Settings:
        """Return the settings in force or, of those that need it, after the next start."""
        with self._lock:
            return self._settings

    def change(self, **values: int | str) -> frozenset[str]:
        """Keep ``values``; return the names of those that count from the next start only.

        ``SettingsError`` for an impossible value, ``OSError`` if they cannot be written: nothing
        is changed then.
        """
        with self._lock:
            before = self._settings
            after = before.changed(**values)
            changed = frozenset(name for name in values if before[name] != after[name])
            if not changed:
                return changed
            after.save(self._directory)
            self._settings = after
        for apply in self._appliers:
            apply(after, changed)
        return frozenset(name for name in changed if BY_NAME[name].restart)
