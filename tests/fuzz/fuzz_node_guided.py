"""Searches the readers of outside bytes by coverage.

``python -m tests.fuzz.fuzz_node_guided TARGET …``.

Needs ``atheris`` (Linux and macOS), which is no part of the program; without it this says so and
ends. What follows the target are libFuzzer's own options, for example ``-runs=1000000``.
"""

import importlib.util
import random
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Run libFuzzer until its options end it; it prints and keeps what it finds."""
    if importlib.util.find_spec("atheris") is None:
        sys.stdout.write("skipped: atheris is not installed (pip install atheris)\n")
        return 0
    import atheris

    parts = ["light_node", "wallet_app.keys", "wallet_app.settings"]
    with atheris.instrument_imports(include=parts):
        from tests.fuzz.node_inputs import targets

    if len(sys.argv) < 2 or sys.argv[1] not in targets():
        sys.stdout.write(f"give one of: {', '.join(sorted(targets()))}\n")
        return 2
    target = targets()[sys.argv[1]]

    def changed(data: bytes, most: int, seed: int) -> bytes:
        return bytes(target.mutate(random.Random(seed), bytes(data)))[:most]

    with tempfile.TemporaryDirectory() as folder:
        # The first folder takes what is found, the second is only read.
        for number, good in enumerate(target.seeds):
            Path(folder, f"good-{number}").write_bytes(good)
        known = Path(__file__).parents[1] / "data" / "fuzz" / sys.argv[1]
        folders = [folder, *([str(known)] if known.is_dir() else [])]
        options = [sys.argv[0], *sys.argv[2:], *folders]
        atheris.Setup(options, target.run, custom_mutator=changed)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
