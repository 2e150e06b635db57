"""``prosumer-wallet settings``: show and change the settings of a wallet that is not open."""

import argparse
from typing import Any

from light_node import commandline
from wallet_app import i18n, wallets
from wallet_app.commands.enrol import changed_settings
from wallet_app.commands.wallet_options import add_wallet, one_line_errors
from wallet_app.settings import GROUPS, SETTINGS, Setting, Settings

SUMMARY = "Show the wallet's settings, or change them with NAME=VALUE."

_UNITS = (
    ("_wh", "in Wh"),
    ("_w", "in W"),
    ("_v", "in V"),
    ("_ms", "in ms"),
    ("_s", "in s"),
    ("_permille", "in 1/1000"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_wallet(parser)
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE", help="settings to change")
    parser.add_argument("--markdown", action="store_true", help="describe all settings as a table")
    parser.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Show or change; exit 2 with one line for an impossible value or a wallet that is open."""
    if arguments.markdown:
        print("\n".join(table()))
        return commandline.GOOD
    i18n.use_language()
    with one_line_errors():
        directory = wallets.wallet_directory(arguments.wallet)
        if not arguments.changes:
            settings = Settings.load(directory)
        else:
            with wallets.WalletLock(directory):
                settings = changed_settings(Settings.load(directory), arguments.changes)
                settings.save(directory)
    values: dict[str, Any] = {s.name: _shown(s, settings[s.name]) for s in SETTINGS}
    if arguments.json:
        commandline.print_json(values)
        return commandline.GOOD
    for group in GROUPS:
        for setting in SETTINGS:
            if setting.group == group:
                name = f"{setting.name} = {values[setting.name]}"
                print(f"{name:<44} {setting.title_words}: {setting.help_words}")
    return commandline.GOOD


def table() -> list[str]:
    """Return all settings as the lines of a Markdown table (docs/wallet.md)."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for group in GROUPS:
        for setting in SETTINGS:
            if setting.group == group:
                lines.append(f"| `{setting.name}` | {_default(setting)} | {_meaning(setting)} |")
    return lines


def _default(setting: Setting) -> str:
    return f"`{setting.default}`" if setting.default != "" else "empty"


def _meaning(setting: Setting) -> str:
    if setting.choices:
        return f"{setting.help} ({', '.join(f'`{choice}`' for choice in setting.choices)})"
    unit = next((unit for end, unit in _UNITS if setting.name.endswith(end)), "")
    if setting.shown[0] == "/kWh":
        unit = f"in 1/{setting.shown[1]} of the currency for each kWh"
    elif setting.name == "limit_daily_loss":
        unit = f"in 1/{setting.shown[1]} of the currency"
    return f"{setting.help} ({unit})" if unit else setting.help


def _shown(setting: Setting, value: int | str) -> int | str:
    return "(hidden)" if setting.secret and value else value
