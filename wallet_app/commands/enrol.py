"""``prosumer-wallet enrol``: set a wallet up without a window."""

import argparse
from pathlib import Path
from typing import Any

from light_node import commandline
from light_node.chain import trust
from light_node.clock import SystemClock
from wallet_app import i18n, onboarding, wallets
from wallet_app.commands.wallet_options import (
    add_passphrase,
    add_wallet,
    one_line_errors,
    read_secret,
)
from wallet_app.i18n import tr
from wallet_app.keys.store import KeyPlace, KeyringStore, KeyState, KeyStore
from wallet_app.settings import SETTINGS, Settings, SettingsError

SUMMARY = (
    "Set a wallet up: make its key here, have the organisation's CA certify it, keep both. The "
    "enrolment secret is asked for or read from a file, never taken from the command line."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--profile", type=Path, required=True, help="network profile (JSON file)")
    parser.add_argument("--organization", required=True, metavar="MSPID", help="e.g. Org1MSP")
    parser.add_argument("--id", required=True, help="enrolment id the organisation gave you")
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        help="read the enrolment secret from FILE (- for standard input) instead of asking",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--keyring", action="store_true", help="key in the OS keyring (default)")
    place.add_argument(
        "--key-file", action="store_true", help="key in a file encrypted under a passphrase"
    )
    add_passphrase(parser)
    parser.add_argument(
        "--fingerprint",
        metavar="ABCD-…",
        help="refuse the profile unless its trust root has this fingerprint",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"a setting; names: {', '.join(s.name for s in SETTINGS)}",
    )
    parser.add_argument(
        "--again", action="store_true", help="enrol again where there is a wallet already"
    )
    add_wallet(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Enrol; exit 0 when the wallet is there, 2 with one line when not."""
    i18n.use_language()
    with one_line_errors():
        directory = wallets.wallet_directory(arguments.wallet)
        with wallets.WalletLock(directory):
            stored = _enrol(arguments, directory)
    _report(stored, arguments)
    return commandline.GOOD


def _enrol(arguments: argparse.Namespace, directory: Path) -> wallets.StoredWallet:
    if wallets.is_enrolled(directory) and not arguments.again:
        raise wallets.WalletError(
            tr(
                "There is a wallet already in {directory}: give --again to enrol it again, or "
                "--wallet NAME for another one",
                directory=directory,
            )
        )
    checked = wallets.load_profile(arguments.profile, SystemClock().now())
    _compare(checked, arguments.fingerprint)
    checked.profile.organization(arguments.organization)
    settings = changed_settings(Settings.load(directory), arguments.set)
    place = KeyPlace.FILE if arguments.key_file else KeyPlace.KEYRING
    if place is KeyPlace.KEYRING:
        _check_keyring()
    # Asked for last: whatever else is wrong is said before anybody types a secret.
    secret = read_secret(
        arguments.secret_file,
        tr("Enrolment secret of {id}", id=arguments.id),
        "--secret-file",
    )
    keys = _keys(arguments, directory, place)
    enrolment = wallets.Enrolment(arguments.organization, arguments.id, secret)
    return wallets.enrol_wallet(directory, checked, enrolment, keys, settings)


def _compare(checked: wallets.CheckedProfile, expected: str | None) -> None:
    if expected is not None and _plain(expected) != _plain(checked.fingerprint):
        raise wallets.WalletError(
            tr(
                "The profile's fingerprint is {found}, not {expected}: do not use it, ask your "
                "operator",
                found=checked.fingerprint,
                expected=expected,
            )
        )


def _plain(fingerprint: str) -> str:
    return fingerprint.replace("-", "").replace(" ", "").upper()


def _check_keyring() -> None:
    state = KeyringStore().state()
    if state is not KeyState.READY:
        raise commandline.InputError(
            f"{onboarding.keyring_text(state)} {tr('The option for that is --key-file.')}"
        )


def _keys(arguments: argparse.Namespace, directory: Path, place: KeyPlace) -> KeyStore:
    if place is KeyPlace.KEYRING:
        return wallets.key_store(directory, place)
    question = tr("New passphrase for the key file")
    passphrase = read_secret(arguments.passphrase_file, question, "--passphrase-file")
    problem = onboarding.passphrase_problem(passphrase)
    if problem:
        raise commandline.InputError(problem)
    if arguments.passphrase_file is None:
        again = read_secret(None, tr("The same passphrase again"), "--passphrase-file")
        if again != passphrase:
            raise commandline.InputError(tr("The two passphrases differ: enter it again."))
    return wallets.key_store(directory, place, passphrase)


def changed_settings(settings: Settings, changes: list[str]) -> Settings:
    """Return ``settings`` with the ``NAME=VALUE`` texts applied; ``SettingsError`` names a bad one.

    A whole number is taken as one where the setting is a number.
    """
    numbers = {s.name for s in SETTINGS if isinstance(s.default, int)}
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise SettingsError(tr("'{change}' is no setting: write NAME=VALUE", change=change))
        values[name] = text
        if name in numbers:
            try:
                values[name] = int(text)
            except ValueError:
                raise SettingsError(
                    tr('"{name}" must be a whole number, not {text}', name=name, text=repr(text))
                ) from None
    return settings.changed(**values)


def _report(stored: wallets.StoredWallet, arguments: argparse.Namespace) -> None:
    identity = stored.identity
    fingerprint = trust.from_profile(stored.profile.trust_root).fingerprint
    if arguments.json:
        commandline.print_json(
            {
                "participant": identity.participant,
                "network": stored.profile.name,
                "channel": stored.profile.channel,
                "fingerprint": fingerprint,
                "key": identity.key_place.value,
                "certificate_expires": identity.expires.isoformat(),
                "directory": str(stored.directory),
            }
        )
        return
    print(tr("Enrolled as {participant}.", participant=identity.participant))
    print(
        tr(
            "Trust root of {network}: {fingerprint} (compare it with what your operator published)",
            network=stored.profile.name,
            fingerprint=fingerprint,
        )
    )
    print(tr("The wallet lies in {directory}.", directory=stored.directory))
    option = "" if arguments.wallet == wallets.DEFAULT_NAME else f" --wallet {arguments.wallet}"
    print(
        tr(
            "Next: 'prosumer-wallet run{option}' trades in this terminal, "
            "'prosumer-wallet{option}' opens the window.",
            option=option,
        )
    )
