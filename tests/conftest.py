"""What every test gets: no display is needed, and nothing of the user's own data is touched."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from wallet_app.gui.libraries import qt_libraries_problem

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PROSUMER_LANG", "en")

# A shell starts background jobs with SIGINT ignored, and children inherit that: the tests that
# interrupt a program would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on how fast or how busy a machine is.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

DATA = Path(__file__).parent / "data"

# Where Qt's system libraries are missing, everything else is tested all the same, and the end of
# the run says what was not (`make test` leaves pytest-qt out then: it could not even be loaded).
QT_PROBLEM = qt_libraries_problem()
collect_ignore = ["gui", "integration/test_wallet_window.py"] if QT_PROBLEM else []


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Know pytest-qt's settings even when it is left out."""
    if not pluginmanager.has_plugin("pytest-qt"):
        parser.addini("qt_api", "see pytest-qt")
        parser.addini("qt_log_level_fail", "see pytest-qt")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that the window was not tested, and why."""
    if QT_PROBLEM:
        terminalreporter.write_line(f"SKIPPED the window's tests: {QT_PROBLEM}", yellow=True)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSUMER_WALLET_HOME", str(tmp_path / "wallet-home"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of committed test data."""
    return DATA
