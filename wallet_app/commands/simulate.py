"""``prosumer-wallet simulate``: what the quoting game does in communities of any size."""

import argparse
import dataclasses

import numpy as np

from light_node import commandline
from wallet_app.strategy.simulate import WITHHOLDING_UPTO, Study, study

SUMMARY = "Simulate communities: price uplift, who gains, how often the honest quote is best."
_LARGEST = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--participants",
        metavar="N[,N...]",
        default="5,10,50,1000",
        help="sizes of the communities (default %(default)s)",
    )
    parser.add_argument("--slots", type=int, default=100, help="slots each (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    parser.add_argument(
        "--withholding",
        action="store_true",
        help=f"also ask who gains by offering less (up to {WITHHOLDING_UPTO} participants; slow)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Simulate and print; ``InputError`` for impossible numbers."""
    sizes = _sizes(arguments.participants)
    if not 1 <= arguments.slots <= 1_000_000:
        raise commandline.InputError("--slots must be 1 to 1000000")
    if arguments.seed < 0:
        raise commandline.InputError("--seed must be 0 or more")
    found = []
    for size in sizes:
        random = np.random.default_rng([arguments.seed, size])
        found.append(study(size, arguments.slots, random, withholding=arguments.withholding))
    if arguments.json:
        commandline.print_json({"studies": [dataclasses.asdict(s) for s in found]})
    else:
        _print_table(found)
    return commandline.GOOD if all(s.largest_regret == 0 for s in found) else commandline.NO


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        raise commandline.InputError(
            "--participants takes whole numbers, separated by commas"
        ) from None
    if not all(1 <= size <= _LARGEST for size in sizes):
        raise commandline.InputError(f"--participants must be 1 to {_LARGEST}")
    return sizes


def _print_table(found: list[Study]) -> None:
    print(
        f"{'households':>10}  {'slots':>6}  {'honest is best':>14}  {'within 0.01':>11}  "
        f"{'uplift':>9}  {'long side only':>14}  "
        f"{'gainers':>8}  {'paper fails':>11}  {'withholding':>11}  {'regret':>6}"
    )
    for s in found:
        print(
            f"{s.participants:>10}  {s.slots:>6}  {s.truthful_permille / 10:>12.1f} %  "
            f"{s.nearly_permille / 10:>9.1f} %  "
            f"{s.uplift_ppm / 10_000:>7.3f} %  {s.long_uplift_ppm / 10_000:>12.3f} %  "
            f"{s.gainers_mean_permille / 1000:>8.2f}  "
            f"{_share(s.paper_fails_permille):>11}  {_share(s.withholding_permille):>11}  "
            f"{s.largest_regret:>6}"
        )


def _share(permille: int | None) -> str:
    return "-" if permille is None else f"{permille / 10:.1f} %"
