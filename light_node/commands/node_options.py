"""What the commands that use a network share: its profile, a store directory, who asks."""

import argparse
from pathlib import Path

from light_node.commandline import InputError
from light_node.fabric.crypto import CryptoError, load_private_key
from light_node.fabric.identity import IdentityError, SigningIdentity
from light_node.fabric.profile import NetworkProfile
from light_node.i18n import Text, os_reason

_MAX_FILE_BYTES = 1024 * 1024


def configure(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--profile`` (``required`` or not), ``--dir``, ``--identity`` and ``--json``."""
    parser.add_argument(
        "--profile", required=required, metavar="P", help="network profile (profile.json)"
    )
    parser.add_argument(
        "--dir", metavar="D", help="folder for verified headers (default: light-node beside P)"
    )
    parser.add_argument(
        "--identity",
        metavar="DIR",
        help="folder with cert.pem, key.pem and msp_id, to sign requests with "
        "(default: identity, or users/Org1MSP/reader, beside P)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def store_directory(arguments: argparse.Namespace) -> Path:
    """Return the folder of the header store."""
    return Path(arguments.dir) if arguments.dir else _beside(arguments, "light-node")


def load_profile(arguments: argparse.Namespace) -> NetworkProfile:
    """Read the profile; ``ProfileError`` (bad input) if that is impossible."""
    return NetworkProfile.load(Path(arguments.profile))


def find_identity(arguments: argparse.Namespace) -> SigningIdentity | None:
    """Return the identity to ask with: the one named, else a default that is there, else None."""
    if arguments.identity:
        return read_identity(Path(arguments.identity))
    for candidate in ("identity", "users/Org1MSP/reader"):
        folder = _beside(arguments, candidate)
        if (folder / "cert.pem").is_file():
            return read_identity(folder)
    return None


def need_identity(arguments: argparse.Namespace) -> SigningIdentity:
    """Like :func:`find_identity`; ``InputError`` saying what to give if there is none."""
    identity = find_identity(arguments)
    if identity is None:
        raise InputError(
            Text(
                "peers only answer signed requests: give --identity DIR, a folder with cert.pem, "
                "key.pem and msp_id of a user of one of the organisations"
            )
        )
    return identity


def read_identity(folder: Path) -> SigningIdentity:
    """Read ``cert.pem``, ``key.pem`` and ``msp_id`` of a folder; ``InputError`` if unusable."""
    msp_id = _read(folder / "msp_id").decode(errors="replace").strip()
    if not msp_id:
        raise InputError(
            Text("{folder} is empty; it must name the organisation's MSP", folder=folder / "msp_id")
        )
    try:
        key = load_private_key(_read(folder / "key.pem"))
        return SigningIdentity.from_key(msp_id, _read(folder / "cert.pem"), key)
    except (CryptoError, IdentityError) as error:
        raise InputError(
            Text("the identity in {folder} cannot be used: {error}", folder=folder, error=error)
        ) from error


def _beside(arguments: argparse.Namespace, name: str) -> Path:
    return Path(arguments.profile).resolve().parent / name


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise InputError(
            Text("cannot read {path}: {why}", path=path, why=os_reason(error))
        ) from error
