"""What Qt lacks is said in one line, with the command that installs it, before Qt aborts."""

import subprocess
import sys

import pytest

from wallet_app.gui import libraries


def load_without(*absent: str) -> object:
    def load(name: str) -> object:
        if name in absent:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        return object()

    return load


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    load = load_without("libEGL.so.1", "libxcb-cursor.so.0", "libxkbcommon-x11.so.0")
    monkeypatch.setattr(libraries.ctypes, "CDLL", load)
    plain = libraries.missing_libraries
    monkeypatch.setattr(libraries, "missing_libraries", lambda wanted: plain(wanted, load))
    problem = libraries.qt_libraries_problem()
    assert problem is not None
    assert "\n" not in problem
    assert problem.endswith("apt-get install libegl1 libxcb-cursor0 libxkbcommon-x11-0")


def test_offscreen_needs_no_x11(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setattr(libraries, "missing_libraries", lambda wanted: asked.extend(wanted) or [])
    assert libraries.qt_libraries_problem() is None
    assert "libEGL.so.1" in asked
    assert not [name for name in asked if name.startswith("libxcb")]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "libEGL.so.1: cannot open shared object file: No such file or directory",
            "apt-get install libegl1",
        ),
        ("libodd.so.7: cannot open shared object file: No such file or directory", "libodd.so.7"),
        ("No module named 'PySide6'", "make setup"),
        ("something\nelse", "something"),
        ("", "unknown reason"),
    ],
)
def test_import_errors_become_one_line(message: str, expected: str) -> None:
    line = libraries.import_problem(message)
    assert expected in line
    assert "\n" not in line


def test_a_display_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("QT_QPA_PLATFORM")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":3")
    assert libraries.display_available()
    monkeypatch.delenv("DISPLAY")
    assert not libraries.display_available()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert libraries.display_available()
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    assert not libraries.display_available()


def test_asking_loads_no_qt_by_itself() -> None:
    code = (
        "import sys; import wallet_app.gui.libraries, wallet_app.gui.statement, wallet_app.format;"
        "sys.exit(any(name.startswith('PySide6') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
