"""Which system libraries Qt lacks, found out without importing Qt.

A missing library shows itself late and badly: an ImportError naming only the first one, or, for
the X11 plugin, an abort of the whole process. So every library is tried by itself beforehand and
all that are missing are named at once, with the command that installs them.
"""

import ctypes
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable

# Shared object -> Debian/Ubuntu package, as found with ldd on the wheel's own libraries.
_ALWAYS = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}
_X11 = {
    "libX11-xcb.so.1": "libx11-xcb1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
_MISSING = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")


def display_available() -> bool:
    """Return whether a window can be shown here: a display, and no order to draw offscreen."""
    if os.environ.get("QT_QPA_PLATFORM", "").split(":")[0] in ("offscreen", "minimal"):
        return False
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def qt_libraries_problem() -> str | None:
    """Return one line naming what Qt lacks on this machine and the remedy, None if it is usable."""
    if sys.platform.startswith("linux") and importlib.util.find_spec("PySide6"):
        wanted = dict(_ALWAYS)
        if _uses_x11():
            wanted |= _X11
        missing = missing_libraries(wanted)
        if missing:
            return _sentence(missing)
    try:
        importlib.import_module("PySide6.QtWidgets")
        importlib.import_module("PySide6.QtSvg")
    except ImportError as error:
        return import_problem(str(error))
    return None


def missing_libraries(
    wanted: Iterable[str], load: Callable[[str], object] = ctypes.CDLL
) -> list[str]:
    """Return those of the shared objects ``wanted`` that the dynamic loader cannot load."""
    missing = []
    for name in wanted:
        try:
            load(name)
        except OSError:
            missing.append(name)
    return missing


def import_problem(message: str) -> str:
    """Turn the text of Qt's ImportError into the one line that helps."""
    found = _MISSING.search(message)
    if found:
        return _sentence([found.group(1)])
    if "No module named" in message:
        return (
            "The window needs PySide6: run 'make setup', or pip install 'prosumer-wallet[wallet]'"
        )
    first = message.splitlines()[0] if message else "unknown reason"
    return f"The window cannot be opened, Qt does not load: {first[:200]}"


def _uses_x11() -> bool:
    platform = os.environ.get("QT_QPA_PLATFORM", "").split(":")[0]
    if platform:
        return platform == "xcb"
    return bool(os.environ.get("DISPLAY")) and not os.environ.get("WAYLAND_DISPLAY")


def _sentence(missing: list[str]) -> str:
    known = _ALWAYS | _X11
    packages = sorted({known[name] for name in missing if name in known})
    line = f"The window needs system libraries that are missing: {', '.join(missing)}."
    if packages:
        line += f" On Debian and Ubuntu: apt-get install {' '.join(packages)}"
    return line


if __name__ == "__main__":
    # For the Makefile: exit code 1 and one line on standard error when Qt cannot run here.
    _problem = qt_libraries_problem()
    if _problem:
        sys.stderr.write(_problem + "\n")
    sys.exit(1 if _problem else 0)
