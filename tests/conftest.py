"""What every test gets: no display is needed, and nothing of the user's own data is touched."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PROSUMER_LANG", "en")

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSUMER_WALLET_HOME", str(tmp_path / "wallet-home"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of committed test data."""
    return DATA
