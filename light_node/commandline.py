"""What every command line shares: sub-commands loaded on use, input, output, exit codes.

Exit codes: 0 good, 1 the answer is "no", 2 bad usage or input (one clear line on stderr), 130 for
Ctrl-C.
"""

import argparse
import importlib
import json
import os
import signal
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from light_node import jsonio
from light_node.i18n import Text, os_reason, said

GOOD, NO, BAD_INPUT = 0, 1, 2
INTERRUPTED = 128 + signal.SIGINT
MAX_INPUT_BYTES = 256 * 1024 * 1024


class InputError(Exception):
    """The user's input cannot be used; the message is the one line shown, and says what to do."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def run(prog: str, description: str, modules: Mapping[str, str], argv: Sequence[str] | None) -> int:
    """Run the sub-command named in ``argv`` and return its exit code.

    ``modules`` maps each sub-command to the module that has ``SUMMARY`` (one line),
    ``configure(parser)`` and ``execute(arguments) -> int``; only the one used is imported, so
    that ``--help`` of a light command does not load gRPC or Qt. The key "" is the default.
    """
    _tame_output()
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = next((a for a in arguments if not a.startswith("-")), "")
    parser = _Parser(prog=prog, description=description)
    if name in modules and name and arguments[0] == name:
        parser = _Parser(prog=f"{prog} {name}")
        module, arguments = importlib.import_module(modules[name]), arguments[1:]
    elif "" in modules and (not arguments or arguments[0] not in ("-h", "--help")):
        if name and not arguments[0].startswith("-"):
            parser.error(f"no command '{name}'; commands: {_names(modules)}")
        module = importlib.import_module(modules[""])
    else:
        parser.add_argument(
            "command",
            nargs="?" if "" in modules else None,
            help="one of those below; its --help explains it",
        )
        if arguments and arguments[0] in ("-h", "--help"):
            parser.formatter_class = argparse.RawDescriptionHelpFormatter
            parser.epilog = _summaries(modules)
        parser.parse_args(arguments)
        parser.error(f"no command '{name}'; commands: {_names(modules)}")
    parser.description = module.SUMMARY
    if not (name in modules and name):
        parser.epilog = f"commands: {_names(modules)}"
    module.configure(parser)
    return _guarded(parser.prog, module.execute, parser.parse_args(arguments))


def read_bytes(name: str) -> bytes:
    """Return the contents of file ``name``, or of standard input for ``-``."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise InputError(
            Text("cannot read {name}: {why}", name=name, why=os_reason(error))
        ) from error
    if len(data) > MAX_INPUT_BYTES:
        raise InputError(
            Text(
                "{name} is larger than {most} MiB",
                name=name,
                most=MAX_INPUT_BYTES >> 20,
            )
        )
    return data


def read_json(name: str) -> Any:
    """Return the JSON in file ``name`` (``-``: standard input); ``InputError`` if it is none."""
    try:
        return jsonio.strict_loads(read_bytes(name))
    except jsonio.JsonError as error:
        raise InputError(
            Text(
                "{what}: {error}", what=Text("standard input") if name == "-" else name, error=error
            )
        ) from error


def print_json(value: Any) -> None:
    """Print ``value`` as one JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def host_port(text: str, option: str) -> tuple[str, int]:
    """Read ``HOST:PORT`` as ``option`` has it; ``InputError`` if it is not that."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InputError(Text("{option} must be HOST:PORT", option=option))
    return host, int(port)


def _names(modules: Mapping[str, str]) -> str:
    return ", ".join(sorted(n for n in modules if n))


def _summaries(modules: Mapping[str, str]) -> str:
    """Return a line or two on each command: the first sentence of its ``SUMMARY``."""
    lines = ["commands:"]
    for name, module in sorted(modules.items()):
        summary: str = importlib.import_module(module).SUMMARY
        first = summary.partition(". ")[0].rstrip(".")
        lines += textwrap.wrap(
            first,
            79,
            initial_indent=f"  {name or '(none)':<13}",
            subsequent_indent=" " * 15,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _tame_output() -> None:
    # A Windows console or a C locale must not turn 简体中文 into an exception.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _guarded(prog: str, execute: Any, arguments: argparse.Namespace) -> int:
    try:
        code: int = execute(arguments)
        sys.stdout.flush()
    except (InputError, jsonio.JsonError) as error:
        print(f"{prog}: {said(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) went away; that is its right. Keep Python from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    return code
