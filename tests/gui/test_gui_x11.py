"""The real window under a real X server, as its own process."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

from wallet_app.gui import libraries

ROOT = Path(__file__).parents[2]
MOST_MIB = 250


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as number:
            name = number.readline().strip()
        assert name, "Xvfb did not start"
        yield f":{name}"
        server.terminate()


def environment(display: str, home: Path) -> dict[str, str]:
    dropped = ("QT_QPA_PLATFORM", "WAYLAND_DISPLAY")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"DISPLAY": display, "PROSUMER_WALLET_HOME": str(home), "PROSUMER_LANG": "en"}


def test_it_opens_paints_and_closes_without_a_word(display: str, tmp_path: Path) -> None:
    surroundings = environment(display, tmp_path)
    check = "from wallet_app.gui import libraries as l; print(l.qt_libraries_problem() or '')"
    asked = subprocess.run(
        [sys.executable, "-c", check],
        cwd=ROOT,
        env=surroundings,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    if asked.stdout.strip():
        pytest.skip(asked.stdout.strip())
    done = subprocess.run(
        [sys.executable, "-m", "tests.gui.fake_source", str(tmp_path), "--window"],
        cwd=ROOT,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert "qt." not in done.stderr.lower(), done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    picture = QImage(str(tmp_path / "window.png"))
    assert (picture.width(), picture.height()) == (1280, 800)
    colors = {picture.pixel(x, y) for x in range(0, 1280, 9) for y in range(0, 800, 9)}
    assert len(colors) > 10
    assert (tmp_path / "window.json").exists()
    peak = re.search(r"peak (\d+) MiB", done.stdout)
    assert peak
    assert int(peak.group(1)) < MOST_MIB


def test_without_x11_libraries_nothing_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the window command does first: with the list empty it goes on, else it says the line.
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    monkeypatch.setattr(libraries, "missing_libraries", lambda wanted: ["libxcb-cursor.so.0"])
    if sys.platform.startswith("linux"):
        problem = libraries.qt_libraries_problem()
        assert problem is not None
        assert "apt-get install libxcb-cursor0" in problem
