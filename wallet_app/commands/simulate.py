"""``prosumer-wallet simulate``: what the quoting game does in communities of any size."""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from light_node import commandline
from light_node.plot import figure
from wallet_app.files import write_atomically
from wallet_app.strategy.simulate import WITHHOLDING_UPTO, Study, panels, study

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
    parser.add_argument(
        "--slots",
        metavar="M[,M...]",
        default="100",
        help="slots of each size, or one number for all (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    parser.add_argument(
        "--withholding",
        action="store_true",
        help=f"also ask who gains by offering less (up to {WITHHOLDING_UPTO} participants; slow)",
    )
    parser.add_argument(
        "--plot", metavar="FILE.svg", help="also draw the figures over the sizes, as SVG"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Simulate and print; ``InputError`` for impossible numbers."""
    sizes = _sizes(arguments.participants)
    slots = _slots(arguments.slots, len(sizes))
    if arguments.seed < 0:
        raise commandline.InputError("--seed must be 0 or more")
    plot = _plot_path(arguments.plot) if arguments.plot else None
    found = []
    for size, count in zip(sizes, slots, strict=True):
        random = np.random.default_rng([arguments.seed, size])
        found.append(study(size, count, random, withholding=arguments.withholding))
    if plot is not None:
        try:
            write_atomically(plot, figure(panels(found)).encode())
        except OSError as error:
            raise commandline.InputError(f"cannot write {plot}: {error.strerror}") from error
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


def _slots(text: str, sizes: int) -> list[int]:
    try:
        slots = [int(part) for part in text.split(",")]
    except ValueError:
        raise commandline.InputError("--slots takes whole numbers, separated by commas") from None
    if not all(1 <= count <= _LARGEST for count in slots):
        raise commandline.InputError(f"--slots must be 1 to {_LARGEST}")
    if len(slots) not in (1, sizes):
        raise commandline.InputError(
            f"--slots has {len(slots)} numbers and --participants {sizes}; give one or as many"
        )
    return slots * sizes if len(slots) == 1 else slots


def _plot_path(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".svg":
        raise commandline.InputError("--plot writes SVG: give a file name that ends in .svg")
    if not path.parent.is_dir():
        raise commandline.InputError(f"--plot: there is no directory {path.parent}")
    return path


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
