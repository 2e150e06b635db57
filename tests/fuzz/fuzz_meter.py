"""Feeds the meter parsers mutated telegrams: ``python -m tests.fuzz.fuzz_meter [--inputs N]``.

Looks for exceptions, growth beyond the bound, and events that depend on how the input is cut.
Every input goes whole through a new parser and, every eighth, once more in pieces; every second
also runs on a parser that lives on, as a port's does. Needs nothing but the program itself;
``fuzz_meter_guided`` searches by coverage.
"""

import argparse
import random
import resource
import sys
import time
from pathlib import Path

from tests.fuzz.meter_inputs import TARGETS, check_held, make_input, run

_MOST_GROWTH_KIB = 200_000
_TELL_EVERY = 250_000


def fuzz(name: str, inputs: int, seed: str) -> None:
    """Run ``inputs`` inputs; the first finding ends it with an ``AssertionError`` that has it."""
    target, pick = TARGETS[name], random.Random(seed)
    living = target.parser()
    began, held = time.monotonic(), memory_kib()
    for number in range(1, inputs + 1):
        data = make_input(pick, target)
        try:
            whole = run(target.parser(), data, len(data) or 1)
            if number % 8 == 0:
                in_pieces = run(target.parser(), data, 1 + int(50 * pick.random()))
                if in_pieces != whole:
                    raise AssertionError("the events depend on how the input is cut")
            if number % 2 == 0:
                living.feed(data)
                check_held(living)
        except Exception as error:
            raise AssertionError(f"{name}: input {number}: {error!r}\n{data.hex()}") from error
        if number % _TELL_EVERY == 0:
            grown = memory_kib() - held
            if grown > _MOST_GROWTH_KIB:
                raise AssertionError(f"{name}: {grown} KiB more memory after {number} inputs")
            say(f"{name}: {number} inputs, {time.monotonic() - began:.0f} s, +{grown} KiB")


def memory_kib() -> int:
    """Return the memory in use."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:  # not Linux: the peak is the next best
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize() // 1024


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run all parsers or one; exit 1 at the first finding."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=20_000, help="per parser")
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--protocol", default="", choices=["", *sorted(TARGETS)])
    chosen = options.parse_args()
    say(f"seed {chosen.seed}")
    for name in TARGETS if not chosen.protocol else (chosen.protocol,):
        try:
            fuzz(name, chosen.inputs, f"{chosen.seed} {name}")
        except AssertionError as finding:
            say(str(finding))
            return 1
        say(f"{name}: {chosen.inputs} inputs without a finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
