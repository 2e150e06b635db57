"""Runs benchmarks: ``python -m tests.benchmarks [topic …]``; without a topic, all of them.

A benchmark is a module ``bench_<topic>.py`` in this folder with ``run() -> None``, which prints
its table.
"""

import argparse
import importlib
import platform
import sys
from pathlib import Path


def topics() -> dict[str, str]:
    """Module name by topic."""
    files = sorted(Path(__file__).parent.glob("bench_*.py"))
    return {file.stem.removeprefix("bench_"): f"{__package__}.{file.stem}" for file in files}


def main() -> int:
    known = topics()
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measure, side by side."
    )
    parser.add_argument(
        "topics", nargs="*", metavar="topic", help=f"one or more of: {', '.join(known)}"
    )
    chosen = parser.parse_args().topics or list(known)
    unknown = [topic for topic in chosen if topic not in known]
    if unknown:
        parser.error(f"no benchmark '{unknown[0]}'; there are: {', '.join(known)}")
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for topic in chosen:
        print(f"\n== {topic}\n", flush=True)
        importlib.import_module(known[topic]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
