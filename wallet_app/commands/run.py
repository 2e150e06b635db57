"""``prosumer-wallet run``: trade with an enrolled wallet in a terminal or as a service."""

import argparse
import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from datetime import datetime

from light_node import commandline
from light_node.clock import SystemClock
from wallet_app import format as fmt
from wallet_app import i18n, wallets
from wallet_app.commands.wallet_options import (
    add_passphrase,
    add_wallet,
    one_line_errors,
    read_secret,
)
from wallet_app.i18n import said, tr
from wallet_app.trading.view import EventView, WalletView

SUMMARY = "Trade with an enrolled wallet without a window; prints what happens, ends on Ctrl-C."
_REFRESH_S = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_wallet(parser)
    add_passphrase(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def execute(arguments: argparse.Namespace) -> int:
    """Trade until SIGINT or SIGTERM; exit 0 then, 2 with one line when the wallet cannot open."""
    i18n.use_language()
    clock = SystemClock()
    with one_line_errors():
        directory = wallets.wallet_directory(arguments.wallet)
        with wallets.WalletLock(directory):
            stored = wallets.load_wallet(directory, clock.now())
            identity = wallets.unlock_with_tries(
                stored, lambda left: _passphrase(arguments, left), _tries(arguments)
            )
            with (
                _stopped_by_signals() as stopping,
                wallets.OpenWallet(stored, identity, clock) as wallet,
            ):
                _follow(wallet, arguments.json, stopping)
    return commandline.GOOD


def _tries(arguments: argparse.Namespace) -> int:
    # A file says the same every time.
    return 1 if arguments.passphrase_file else wallets.PASSPHRASE_TRIES


def _passphrase(arguments: argparse.Namespace, left: int) -> str:
    question = tr("Passphrase of the key file ({left} tries left)", left=left)
    return read_secret(arguments.passphrase_file, question, "--passphrase-file")


def _follow(wallet: wallets.OpenWallet, as_json: bool, stopping: threading.Event) -> None:
    printer = EventPrinter(as_json)
    printer.begin(wallet.session.view())
    while not stopping.is_set():
        printer.show(wallet.session.view())
        stopping.wait(_REFRESH_S)
    printer.show(wallet.session.view())


class EventPrinter:
    """Prints activity, and whatever the light node or the meter newly waits for, line by line."""

    def __init__(self, as_json: bool) -> None:
        """Print text, or one JSON object a line."""
        self._json = as_json
        self._said: set[tuple[datetime, str]] = set()
        self._states: dict[str, str] = {}

    def begin(self, view: WalletView) -> None:
        """Say who trades where; activity from before this start is not repeated."""
        self._said = {(event.at, event.text) for event in view.events}
        text = tr(
            "{participant} trades on {network}. Ctrl-C stops.",
            participant=view.participant,
            network=fmt.foreign(view.network),
        )
        self._print(view.market_now, "start", text)

    def show(self, view: WalletView) -> None:
        """Print what is new in ``view``."""
        for event in sorted(view.events, key=lambda event: event.at):
            if (event.at, event.text) not in self._said:
                self._said.add((event.at, event.text))
                self._event(event)
        height = view.trust.verified_height
        waiting, state = fmt.foreign(said(view.trust.waiting_for)), tr("up to date")
        if view.trust.problem:
            state = fmt.foreign(said(view.trust.problem), 500)
        elif waiting:
            state = tr("Waiting for: {what}", what=waiting)
        self._state(view, "trust", state, tr("light node: {state}", state=state), height)
        state = fmt.foreign(view.live.meter_state) or tr("no meter connected")
        self._state(view, "meter", state, tr("meter: {state}", state=state))

    def _event(self, event: EventView) -> None:
        self._print(event.at, event.kind, fmt.foreign(event.text, 500))

    def _state(
        self, view: WalletView, kind: str, state: str, text: str, height: int | None = None
    ) -> None:
        if self._states.get(kind) != state:
            self._states[kind] = state
            self._print(view.market_now, kind, text, height)

    def _print(self, at: datetime, kind: str, text: str, height: int | None = None) -> None:
        if self._json:
            line = {"at": at.isoformat(), "kind": kind, "text": text}
            extra = {} if height is None else {"verified_height": height}
            print(json.dumps({**line, **extra}, ensure_ascii=False), flush=True)
        else:
            print(f"{at.astimezone():%Y-%m-%d %H:%M:%S%z}  {text}", flush=True)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Let SIGINT and SIGTERM set the event; a second SIGINT interrupts what does not end."""
    stopping = threading.Event()

    def stop(number: int, frame: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
