"""Feeds the meter parsers mutated telegrams: ``python -m tests.fuzz.fuzz_meter [--inputs N]``.

Looks for exceptions, growth beyond the bound, and events that depend on how the input is cut.
"""

import argparse
import random
import sys
import time

from tests.benchmarks.bench_meter import cases
from wallet_app.meter.events import Event, StreamParser

MOST_PENDING = 17_000


def mutate(pick: random.Random, telegram: bytes) -> bytes:
    """Return a telegram with a few bits, bytes or pieces changed."""
    data = bytearray(telegram)
    for _ in range(pick.randrange(1, 6)):
        at = pick.randrange(len(data) + 1)
        kind = pick.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << pick.randrange(8)
        elif kind == 1:
            del data[at : at + pick.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = pick.randbytes(pick.randrange(1, 9))
        elif kind == 3:
            data[at:at] = telegram[: pick.randrange(len(telegram))]
        elif kind == 4 and at < len(data):
            data[at] = pick.choice(b"\x00\x02\x03\x16\x1b\x68\x7e\xff/!\n")
        else:
            data += telegram
    return bytes(data[:4000])


def run(parser: StreamParser, data: bytes, step: int) -> list[Event]:
    """Feed ``data`` in pieces of ``step`` bytes."""
    events: list[Event] = []
    for start in range(0, len(data), step):
        events += parser.feed(data[start : start + step])
        if parser.pending > MOST_PENDING:
            raise AssertionError(f"{parser.pending} bytes pending")
    return events + parser.finish()


def main() -> int:
    """Run all parsers; exit 1 at the first finding."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=20_000, help="per parser")
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--protocol", default="")
    chosen = options.parse_args()
    sys.stdout.write(f"seed {chosen.seed}\n")
    for name, (make, telegram) in cases().items():
        if chosen.protocol not in ("", name):
            continue
        pick = random.Random(f"{chosen.seed} {name}")
        for number in range(chosen.inputs):
            data = mutate(pick, telegram)
            try:
                if run(make(), data, len(data) or 1) != run(make(), data, pick.randrange(1, 50)):
                    raise AssertionError("the events depend on how the input is cut")
            except Exception as error:  # noqa: BLE001 (any of them is a finding)
                sys.stdout.write(f"{name}: input {number}: {error!r}\n{data.hex()}\n")
                return 1
        sys.stdout.write(f"{name}: {chosen.inputs} inputs without a finding\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
