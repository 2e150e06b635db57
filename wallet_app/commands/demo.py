"""``prosumer-wallet demo``: a trading day on one machine (what ``make run`` calls)."""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from light_node import commandline
from light_node.clock import SystemClock
from light_node.fabric.errors import FabricError
from light_node.i18n import os_reason
from wallet_app import i18n
from wallet_app.demo.day import SECONDS_PER_SLOT, DayOptions, TradingDay
from wallet_app.demo.processes import ChildFailed
from wallet_app.demo.source import DaySource
from wallet_app.demo.terminal import DayTerminal
from wallet_app.failures import explain
from wallet_app.gui.libraries import qt_libraries_problem
from wallet_app.gui.statement import statement_html
from wallet_app.i18n import said, tr
from wallet_app.trading.view import Phase, Proof, WalletView

SUMMARY = (
    "Watch a household trade for a day: network, neighbours, a simulated serial meter and the "
    "wallet, all on this machine."
)
_REFRESH_S = 0.25
_GRACE_S = 20.0
_LONGEST_SLOT_S = 3600
_AUDIT_S = 5.0
_MAX_SEED = 1_000_000
_FIRST_YEAR, _LAST_YEAR = 2000, 2099
_PICTURE_HOUR = 11


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--neighbours", type=int, default=30, help="simulated traders (default 30)")
    parser.add_argument("--slots", type=int, default=24, help="hourly slots (default 24)")
    parser.add_argument(
        "--seconds-per-slot",
        type=float,
        metavar="S",
        help=f"wall seconds per slot (default {SECONDS_PER_SLOT:g}, more on a slow machine)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of weather and people (default 1)"
    )
    parser.add_argument("--day", default="2026-06-20", help="the day to live through, YYYY-MM-DD")
    parser.add_argument(
        "--network",
        type=Path,
        metavar="D",
        help="trade on the network in D, which light-node fabric up or light-node devnet runs, "
        "instead of on a devnet made for the day",
    )
    parser.add_argument("--keep", action="store_true", help="keep all files of the day in --output")
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="where the statement goes"
    )
    parser.add_argument("--terminal", action="store_true", help="no window, even with a display")
    parser.add_argument("--json", action="store_true", help="print only the day's result, as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Run the day; exit 0 when every slot was settled, 1 when something failed on the way."""
    options = _options(arguments)
    i18n.use_language()
    # What the day leaves behind is written at its end: find out now whether that will be possible.
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise commandline.InputError(
            tr("cannot write {file}: {why}", file=arguments.output, why=said(os_reason(error)))
        ) from error
    problem = qt_libraries_problem()
    window = _has_display() and not arguments.terminal and not arguments.json and problem is None
    with _directory(arguments) as directory, _terminated_like_interrupted():
        out = sys.stderr if arguments.json else sys.stdout
        try:
            return _run(arguments, options, directory, out, window, problem)
        except (ChildFailed, FabricError) as error:
            print(f"prosumer-wallet demo: {explain(error)}", file=sys.stderr)
            return commandline.NO


def _run(
    arguments: argparse.Namespace,
    options: DayOptions,
    directory: Path,
    out: Any,
    window: bool,
    problem: str | None,
) -> int:
    def say(text: str) -> None:
        print(text, file=out, flush=True)

    if problem is not None:
        say(problem)
    with TradingDay(options, directory, SystemClock(), say) as day:
        source = DaySource(day.wallet.session, day.first_slot.starts_at, day.end)
        terminal = DayTerminal(out, day.settings.zone_info, day.market_time.market, day.end)
        terminal.heading(source.view())
        follower = _Follower(day, source, terminal)
        if window:
            from wallet_app.gui.app import run_window

            say(
                tr(
                    "The window stays open after the day. Close it to end: the statement is then "
                    "written to {output}.",
                    output=arguments.output,
                )
            )
            thread = threading.Thread(target=follower.run, name="terminal", daemon=True)
            thread.start()
            code = run_window(source, zone=day.settings.zone_info)
            follower.stop()
            thread.join(5.0)
            if code:
                return code
        else:
            follower.run()
        view = source.view()
        terminal.finish(view)
        try:
            written = _write_results(arguments.output, day, source, follower.picture, problem)
        except OSError as error:
            where = error.filename or arguments.output
            raise commandline.InputError(
                tr("cannot write {file}: {why}", file=where, why=said(os_reason(error)))
            ) from error
    for path in written:
        say(tr("written: {path}", path=path))
    if arguments.keep:
        say(tr("kept: {path}", path=directory))
    settled = sum(slot.market_money is not None for slot in view.slots)
    if arguments.json:
        commandline.print_json(_result(view, settled, written))
    if follower.failure:
        say(f"! {follower.failure}")
        return commandline.NO
    if window or settled == options.slots:
        return commandline.GOOD
    say(_unsettled(settled, day.options))
    return commandline.NO


def _unsettled(settled: int, options: DayOptions) -> str:
    """Say that slots came too late, and what to do about it."""
    return tr(
        "! {settled} of {slots} slots were settled in time. Where the machine is slow or busy, "
        "give each slot more: --seconds-per-slot {longer}",
        settled=settled,
        slots=options.slots,
        longer=f"{min(_LONGEST_SLOT_S, 2 * options.seconds_per_slot):.0f}",
    )


class _Follower:
    """Shows the day in the terminal until it is over."""

    def __init__(self, day: TradingDay, source: DaySource, terminal: DayTerminal) -> None:
        self._day, self._source, self._terminal = day, source, terminal
        self._stopping = threading.Event()
        self.failure = ""
        self.picture: WalletView | None = None

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        day = self._day
        limit = time.monotonic() + _GRACE_S
        limit += (day.market_time.to_wall(day.end) - day.clock.now()).total_seconds()
        while not self._stopping.wait(_REFRESH_S):
            view = self._source.view()
            self._terminal.show(view)
            self._keep_picture(view)
            self.failure = day.failed()
            if self.failure or time.monotonic() > limit or _over(view, day):
                self._source.freeze()
                return

    def _keep_picture(self, view: WalletView) -> None:
        # Early afternoon shows most: sun, a standing to answer, settled slots. Else the first such.
        local = view.market_now.astimezone(self._day.settings.zone_info)
        slot, standing = view.quoting, view.standing
        if slot is None or standing is None or view.suggestion is None:
            return
        whole = slot.phase is Phase.QUOTING and standing.slot == slot.slot
        early = local.date() == self._day.options.day and local.hour < _PICTURE_HOUR
        if whole and (self.picture is None or early):
            self.picture = view


def _over(view: WalletView, day: TradingDay) -> bool:
    """Whether all slots are settled, and as far proved as a few seconds of patience allow."""
    done = [s for s in view.slots if s.market_money is not None and s.proof is not Proof.NONE]
    if len(done) < day.options.slots:
        return False
    patience = day.market_time.to_wall(day.end) + timedelta(seconds=_AUDIT_S)
    audited = all(s.proof in (Proof.AUDITED, Proof.DISPUTED) for s in done)
    return audited or day.clock.now() > patience


def _write_results(
    output: Path,
    day: TradingDay,
    source: DaySource,
    picture: WalletView | None,
    problem: str | None,
) -> list[Path]:
    """Write statement and exports, and pictures of the window where Qt can draw."""
    start, end = day.first_slot.starts_at, day.last_slot.ends_at
    zone, view = day.settings.zone_info, source.view()
    page = output / "statement.html"
    page.write_text(statement_html(view, view.slots, start, end, zone), encoding="utf-8")
    table = output / "slots.csv"
    source.export_csv(table, start, end)
    written = [page, table]
    if problem is None:
        from wallet_app.gui.app import render_screenshots
        from wallet_app.gui.pdf import write_pdf

        if picture is not None:
            source.freeze(picture)
        written += render_screenshots(source, output, zone=zone)
        document = output / "statement.pdf"
        write_pdf(page.read_text(encoding="utf-8"), document)
        written.append(document)
    return written


def _result(view: WalletView, settled: int, written: list[Path]) -> dict[str, Any]:
    money = view.money
    return {
        "participant": view.participant,
        "slots_settled": settled,
        "sold_wh": money.sold_wh,
        "bought_wh": money.bought_wh,
        "market_money": money.market_money,
        "grid_money": money.grid_money,
        "penalty_money": money.penalty_money,
        "grid_only_money": money.grid_only_money,
        "saved_money": money.saved,
        "proof": money.proof.value,
        "verified_height": view.trust.verified_height,
        "agreed_height": view.trust.agreed_height,
        "files": [str(path) for path in written],
    }


def _options(arguments: argparse.Namespace) -> DayOptions:
    if not 1 <= arguments.neighbours <= 300:
        raise commandline.InputError("--neighbours must be from 1 to 300")
    if not 0 <= arguments.seed <= _MAX_SEED:
        raise commandline.InputError(f"--seed must be from 0 to {_MAX_SEED}")
    if not 1 <= arguments.slots <= 24:
        raise commandline.InputError("--slots must be from 1 to 24: the demo lives through one day")
    given = arguments.seconds_per_slot
    if given is not None and not 1.0 <= given <= _LONGEST_SLOT_S:
        raise commandline.InputError(f"--seconds-per-slot must be from 1 to {_LONGEST_SLOT_S}")
    try:
        day = date.fromisoformat(arguments.day)
    except ValueError:
        raise commandline.InputError(f"--day is {arguments.day!r}; give YYYY-MM-DD") from None
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise commandline.InputError(f"--day must lie from {_FIRST_YEAR} to {_LAST_YEAR}")
    network = arguments.network
    return DayOptions(
        arguments.neighbours,
        arguments.slots,
        SECONDS_PER_SLOT if given is None else given,
        given is not None,
        arguments.seed,
        day,
        network.absolute() if network else None,
    )


@contextlib.contextmanager
def _directory(arguments: argparse.Namespace) -> Iterator[Path]:
    if arguments.keep:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        directory = (arguments.output / f"day-{stamp}").absolute()
        directory.mkdir(parents=True)
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="prosumer-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that the children are stopped in order."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _has_display() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    if os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal"):
        return False
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
