"""Feeds the readers of outside bytes changed inputs: ``python -m tests.fuzz.fuzz_node [options]``.

Looks for exceptions that are not a reader's own, inputs that take too long, and growing memory.
Needs nothing but the program itself; ``fuzz_node_guided`` searches by coverage.
"""

import argparse
import random
import sys
import time

from tests.fuzz.fuzz_meter import memory_kib, say
from tests.fuzz.node_inputs import targets

_MOST_GROWTH_KIB = 200_000
_SLOW_S = 5.0
_TELL_EVERY = 100_000


def fuzz(name: str, inputs: int, seed: str) -> None:
    """Run ``inputs`` inputs; the first finding ends it with an ``AssertionError`` that has it."""
    target, pick = targets()[name], random.Random(seed)
    for good in target.seeds:
        target.run(good)
    began, held = time.monotonic(), memory_kib()
    for number in range(1, inputs + 1):
        data = target.damaged(pick)
        started = time.process_time()
        try:
            target.run(data)
        except Exception as error:
            raise AssertionError(f"{name}: input {number}: {error!r}\n{data.hex()}") from error
        if time.process_time() - started > _SLOW_S:
            raise AssertionError(f"{name}: input {number} took too long\n{data.hex()}")
        if number % _TELL_EVERY == 0:
            grown = memory_kib() - held
            if grown > _MOST_GROWTH_KIB:
                raise AssertionError(f"{name}: {grown} KiB more memory after {number} inputs")
            say(f"{name}: {number} inputs, {time.monotonic() - began:.0f} s, +{grown} KiB")


def main() -> int:
    """Run all targets or one; exit 1 at the first finding."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=5_000, help="per target")
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--target", default="", choices=["", *sorted(targets())])
    options.add_argument("--list", action="store_true", help="print the targets' names")
    chosen = options.parse_args()
    if chosen.list:
        say(" ".join(targets()))
        return 0
    say(f"seed {chosen.seed}")
    for name in targets() if not chosen.target else (chosen.target,):
        try:
            fuzz(name, chosen.inputs, f"{chosen.seed} {name}")
        except AssertionError as finding:
            say(str(finding))
            return 1
        say(f"{name}: {chosen.inputs} inputs without a finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
