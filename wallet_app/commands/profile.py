"""``prosumer-wallet profile``: show a wallet's network profile, or import a newer one."""

import argparse
from pathlib import Path

from light_node import commandline
from light_node.chain import trust
from light_node.clock import SystemClock
from light_node.fabric.profile import NetworkProfile
from wallet_app import i18n, wallets
from wallet_app.commands.wallet_options import add_wallet, one_line_errors
from wallet_app.i18n import tr

SUMMARY = (
    "Show the network profile of a wallet with its fingerprint, or import a newer one before the "
    "old one expires."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--import", dest="file", type=Path, metavar="FILE", help="newer profile")
    add_wallet(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Show or import; exit 2 with one line when that is impossible."""
    i18n.use_language()
    with one_line_errors():
        directory = wallets.wallet_directory(arguments.wallet)
        if arguments.file is not None:
            checked = wallets.load_profile(arguments.file, SystemClock().now())
            with wallets.WalletLock(directory):
                wallets.renew_profile(directory, checked)
        if not wallets.is_enrolled(directory):
            raise wallets.no_wallet()
        profile = NetworkProfile.load(directory / "profile.json")
        root = trust.from_profile(profile.trust_root)
    expires = profile.trust_root.expires
    if arguments.json:
        commandline.print_json(
            {
                "network": profile.name,
                "channel": profile.channel,
                "fingerprint": root.fingerprint,
                "expires": expires.isoformat(),
                "organizations": [o.msp_id for o in profile.organizations],
            }
        )
        return commandline.GOOD
    print(
        tr(
            "{network}, channel {channel}, valid until {day}",
            network=profile.name,
            channel=profile.channel,
            day=f"{expires:%Y-%m-%d}",
        )
    )
    print(
        tr(
            "Trust root of {network}: {fingerprint} (compare it with what your operator published)",
            network=profile.name,
            fingerprint=root.fingerprint,
        )
    )
    return commandline.GOOD
