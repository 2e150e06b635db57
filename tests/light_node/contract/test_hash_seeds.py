"""Endorsers whose Python orders sets differently write the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("write_everything.py")


def test_the_order_of_sets_changes_nothing() -> None:
    digests = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        result = subprocess.run(
            [sys.executable, str(SCRIPT)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(result.stdout.strip())
    assert len(digests) == 1
    assert all(len(digest) == 64 for digest in digests)
