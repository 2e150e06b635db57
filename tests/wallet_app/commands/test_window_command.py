"""``prosumer-wallet`` where no window can be shown: one line that says what to do, exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wallet_app import cli
from wallet_app.commands import window
from wallet_app.commands.enrol import changed_settings
from wallet_app.commands.wallet_options import read_secret
from wallet_app.gui.libraries import qt_libraries_problem
from wallet_app.settings import Settings, SettingsError
from wallet_app.wallets import WalletBusy, WalletLock, wallet_directory

_PROGRAM = "import sys; from wallet_app.cli import main; sys.exit(main())"


def test_without_display_one_line_names_the_commands(tmp_path: Path) -> None:
    headless = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    environment = {k: v for k, v in os.environ.items() if k not in headless}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "prosumer-wallet run" in done.stderr
    assert "prosumer-wallet enrol" in done.stderr


def test_a_missing_library_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "The window needs libEGL.so.1. On Debian and Ubuntu: apt-get install libegl1"
    monkeypatch.setattr(window, "qt_libraries_problem", lambda: line)
    monkeypatch.setattr(window, "display_available", lambda: True)
    assert cli.main([]) == 2
    assert capsys.readouterr().err == f"prosumer-wallet: {line}\n"
    monkeypatch.setattr(window, "display_available", lambda: False)
    assert cli.main([]) == 2
    said = capsys.readouterr().err
    assert "prosumer-wallet run" in said
    assert "libegl1" in said
    assert said.count("\n") == 1


@pytest.mark.skipif(qt_libraries_problem() is not None, reason="Qt's libraries are missing")
def test_a_second_window_is_refused_and_the_first_keeps_its_lock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wallet_app.gui import start

    shown: list[str] = []
    monkeypatch.setattr(window, "qt_libraries_problem", lambda: None)
    monkeypatch.setattr(window, "display_available", lambda: True)
    monkeypatch.setattr(start, "refuse", shown.append)
    monkeypatch.setattr(start, "open_window", lambda directory: 0)
    with WalletLock(wallet_directory()):
        assert cli.main([]) == 2
        assert "open already" in capsys.readouterr().err
        assert "open already" in shown[0]
        assert cli.main(["--wallet", "other"]) == 0
        with pytest.raises(WalletBusy):
            WalletLock(wallet_directory())
    assert cli.main([]) == 0


def test_a_killed_program_leaves_no_lock_behind(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from wallet_app.wallets import WalletLock; "
        "lock = WalletLock(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "w")], timeout=60, check=False)
    assert (tmp_path / "w" / "lock").exists()
    WalletLock(tmp_path / "w").release()


def test_settings_are_given_as_name_and_value() -> None:
    changed = changed_settings(Settings(), ["pv_peak_w=7000", "meter_port=/dev/a=b"])
    assert changed["pv_peak_w"] == 7000
    assert changed["meter_port"] == "/dev/a=b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pv_peak_w", "NAME=VALUE"),
        ("pv_peak_w=7.5", "whole number"),
        ("pv_peak_w=-1", "at least 0"),
        ("nothing=1", 'no setting "nothing"'),
        ("time_zone=Mars", "IANA"),
    ],
)
def test_an_impossible_setting_is_named(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        changed_settings(Settings(), [text])


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xff\xfe\n", b"x" * 5000])
def test_a_file_without_secret_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(data)
    with pytest.raises(Exception, match=r"holds no"):
        read_secret(str(path), "Secret", "--secret-file")


def test_only_the_first_line_of_a_secret_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes("\ufeffgehe im\r\nsecond\n".encode())
    assert read_secret(str(path), "Secret", "--secret-file") == "gehe im"
    with pytest.raises(Exception, match="cannot read"):
        read_secret(str(tmp_path / "none"), "Secret", "--secret-file")
