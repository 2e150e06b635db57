"""Exit codes and one clear line, whatever the user types."""

import argparse
import sys
import types
from pathlib import Path

import pytest

from light_node import commandline


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    module = types.ModuleType("fake_command")
    module.SUMMARY = "Says yes."  # type: ignore[attr-defined]

    def configure(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--fail", choices=["input", "interrupt", "no"])
        parser.add_argument("file", nargs="?")

    def execute(arguments: argparse.Namespace) -> int:
        if arguments.fail == "input":
            raise commandline.InputError("the book is upside down: turn it")
        if arguments.fail == "interrupt":
            raise KeyboardInterrupt
        if arguments.file:
            commandline.print_json(commandline.read_json(arguments.file))
        return commandline.NO if arguments.fail == "no" else commandline.GOOD

    module.configure, module.execute = configure, execute  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_command", module)
    return {"say": "fake_command"}


def run(modules: dict[str, str], *argv: str) -> int:
    try:
        return commandline.run("prog", "A program.", modules, argv)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_exit_codes(modules: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(modules, "say") == 0
    assert run(modules, "say", "--fail", "no") == 1
    assert run(modules, "say", "--fail", "input") == 2
    assert capsys.readouterr().err == "prog say: the book is upside down: turn it\n"
    assert run(modules, "say", "--fail", "interrupt") == 130


@pytest.mark.parametrize("argv", [["sya"], [], ["say", "--nonsense"]])
def test_bad_usage_is_one_line(
    modules: dict[str, str], capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert run(modules, *argv) == 2
    error = capsys.readouterr().err
    assert error.strip().splitlines()[-1].startswith("prog")


def test_help_names_the_commands(
    modules: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run({**modules, "": "fake_command"}, "--help") == 0
    said = capsys.readouterr().out.splitlines()
    assert "  say          Says yes" in said
    assert "  (none)       Says yes" in said


def test_the_default_command_takes_options_but_not_a_misspelt_command(
    modules: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    both = {**modules, "": "fake_command"}
    assert run(both) == 0
    assert run(both, "--fail", "no") == 1
    assert run(both, "sya") == 2
    assert "no command 'sya'" in capsys.readouterr().err


def test_files_that_cannot_be_read_are_said(
    modules: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(modules, "say", str(tmp_path / "missing")) == 2
    bad = tmp_path / "bad.json"
    bad.write_text("{nope")
    assert run(modules, "say", str(bad)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "No such file" in lines[0]
    assert "not valid JSON" in lines[1]
