"""Searches the meter parsers by coverage: ``python -m tests.fuzz.fuzz_meter_guided PROTOCOL …``.

Needs ``atheris`` (Linux and macOS), which is no part of the program; without it this says so and
ends. What follows the protocol are libFuzzer's own options, for example ``-runs=1000000``. The
first byte of an input chooses whether the rest goes to the wire as it is or gets right sums first.
"""

import importlib.util
import sys


def main() -> int:
    """Run libFuzzer until its options end it; it prints and keeps what it finds."""
    if importlib.util.find_spec("atheris") is None:
        sys.stdout.write("skipped: atheris is not installed (pip install atheris)\n")
        return 0
    import atheris

    with atheris.instrument_imports(include=["wallet_app.meter"]):
        from tests.fuzz.meter_inputs import TARGETS, run

    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.stdout.write(f"give one of: {', '.join(sorted(TARGETS))}\n")
        return 2
    target = TARGETS[sys.argv[1]]

    def one_input(data: bytes) -> None:
        if not data:
            return
        way, data = data[0] % (len(target.wraps) + 1), data[1:]
        wire = target.wraps[way - 1](data) if way else data
        whole = run(target.parser(), wire, len(wire) or 1)
        if run(target.parser(), wire, 1 + data[0] % 60 if data else 1) != whole:
            raise AssertionError("the events depend on how the input is cut")

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
