"""The sample telegrams beside the repository, and frames to try parsers with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[4] / "shared" / "fixtures" / "meters"


@pytest.fixture(scope="session")
def samples() -> Callable[[str], list[dict[str, Any]]]:
    """Return a function from protocol to its samples; skips the test where there are none."""

    def load(protocol: str) -> list[dict[str, Any]]:
        path = SAMPLES / f"{protocol}.json"
        if not path.exists():
            pytest.skip(f"no sample telegrams at {path}")
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["samples"]
        return found

    return load
