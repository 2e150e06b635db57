"""``prosumer-wallet settings``: one descriptor feeds command, page and documents."""

import json
from pathlib import Path

import pytest

from wallet_app import cli, wallets
from wallet_app.commands.settings import table
from wallet_app.settings import SETTINGS, Settings


def test_shows_and_changes(capsys: pytest.CaptureFixture[str]) -> None:
    directory = wallets.wallet_directory()
    directory.mkdir(parents=True)
    assert cli.main(["settings"]) == 0
    shown = capsys.readouterr().out
    assert "pv_peak_w = 5000" in shown
    assert "Roof, peak power" in shown
    key = "0" * 32
    assert cli.main(["settings", "pv_peak_w=7000", f"meter_key={key}", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["pv_peak_w"] == 7000
    assert values["meter_key"] == "(hidden)"
    assert Settings.load(directory)["meter_key"] == key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("pv_peak_w=-1", "at least 0"),
        ("colour=red", "no setting"),
        ("pv_peak_w", "NAME=VALUE"),
        ("meter_key=12", "32 hex digits"),
        ("meter_link=fast", "9600 8N1"),
        ("meter_protocol=morse", "one of dlt645"),
    ],
)
def test_an_impossible_change_is_one_line(
    change: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wallets.wallet_directory().mkdir(parents=True)
    assert cli.main(["settings", change]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_wallet_that_is_open_is_not_changed_behind_its_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = wallets.wallet_directory()
    directory.mkdir(parents=True)
    with wallets.WalletLock(directory):
        assert cli.main(["settings", "pv_peak_w=1"]) == 2
    assert "open already" in capsys.readouterr().err


def test_the_documents_have_the_same_table() -> None:
    text = (Path(__file__).parents[3] / "docs" / "wallet.md").read_text(encoding="utf-8")
    assert "\n".join(table()) in text, "renew it with 'prosumer-wallet settings --markdown'"
    assert len(table()) == len(SETTINGS) + 2
