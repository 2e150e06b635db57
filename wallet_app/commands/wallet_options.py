"""What the commands that open a wallet share: which one, secrets, errors as one line."""

import argparse
import contextlib
import getpass
import sys
from collections.abc import Iterator
from pathlib import Path

from light_node import commandline
from light_node.i18n import os_reason, said
from wallet_app import failures, wallets
from wallet_app.i18n import tr

_MAX_SECRET_BYTES = 4096


def add_wallet(parser: argparse.ArgumentParser) -> None:
    """Add ``--wallet NAME``."""
    parser.add_argument(
        "--wallet",
        default=wallets.DEFAULT_NAME,
        metavar="NAME",
        help=f"which wallet of this machine (default: {wallets.DEFAULT_NAME})",
    )


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """Add ``--passphrase-file FILE``."""
    parser.add_argument(
        "--passphrase-file",
        metavar="FILE",
        help="read the key file's passphrase from FILE (- for standard input) instead of asking",
    )


def read_secret(source: str | None, question: str, option: str) -> str:
    """Return a secret from the file ``source`` ("-": standard input), or asked for without echo.

    Secrets are never arguments: every user of a machine can read those with ``ps``.
    ``InputError`` if there is no terminal to ask at; ``option`` is what to give instead.
    """
    if source is not None:
        return _secret_of(source)
    if not sys.stdin.isatty():
        raise commandline.InputError(
            tr("there is no terminal to ask at: give {option} FILE", option=option)
        )
    try:
        return getpass.getpass(f"{question}: ")
    except EOFError:
        raise commandline.InputError(tr("nothing was entered")) from None


def _secret_of(source: str) -> str:
    try:
        if source == "-":
            raw = sys.stdin.buffer.readline(_MAX_SECRET_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                raw = file.readline(_MAX_SECRET_BYTES + 1)
        text = raw.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise commandline.InputError(
            tr("cannot read {file}: {why}", file=source, why=said(os_reason(error)))
        ) from error
    except UnicodeDecodeError as error:
        raise commandline.InputError(tr("{source} holds no text", source=source)) from error
    if not text or len(raw) > _MAX_SECRET_BYTES:
        raise commandline.InputError(
            tr("the first line of {source} holds no secret", source=source)
        )
    return text


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn everything that setting up or opening a wallet can raise into one line, exit code 2."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of our output went away: no problem of the wallet
    except wallets.PROBLEMS as error:
        foreign = failures.foreign(error)
        line = failures.explain(error)
        if foreign:
            line += " " + tr("[the other side said, unchecked: {said}]", said=foreign[:200])
        raise commandline.InputError(" ".join(line.split())) from error
