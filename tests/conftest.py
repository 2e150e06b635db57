"""What every test gets: no display is needed, and nothing of the user's own data is touched."""

import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PROSUMER_LANG", "en")

# No test depends on how fast or how busy a machine is.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSUMER_WALLET_HOME", str(tmp_path / "wallet-home"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of committed test data."""
    return DATA
