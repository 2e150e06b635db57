"""Wallets on this machine: where one lies, setting it up, opening it, one program at a time.

A wallet is a directory below ``<data directory>/wallets``:

==================  =============================================================================
``profile.json``    the network: endpoints, TLS roots, trust root (public)
``identity.json``   MSP id, enrolment id, certificate, name and place of the key (public)
``settings.json``   household, meter, limits of the agent (private to the owner)
``keys/``           the encrypted private key, unless the OS keyring holds it
``*.sqlite``        readings, history, outbox
``node/``           verified headers, one directory per trust root
``lock``            held while a program has the wallet open
==================  =============================================================================

``identity.json`` is written last: a set-up that is killed before leaves no wallet, one that is
killed after leaves a whole one.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from cryptography.exceptions import UnsupportedAlgorithm

from light_node.chain import sources, trust
from light_node.chain.errors import ChainError, TooFewOrganizations
from light_node.clock import Clock
from light_node.fabric.ca import CaClient
from light_node.fabric.errors import FabricError
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import NetworkProfile, ProfileError
from light_node.i18n import Text
from light_node.mtc.timetable import Timetable
from wallet_app.database import DatabaseError
from wallet_app.files import data_directory
from wallet_app.i18n import tr
from wallet_app.keys.identity import EnrolmentError, WalletIdentity, enrol, load_identity
from wallet_app.keys.store import (
    FileStore,
    KeyPlace,
    KeyringStore,
    KeyStore,
    KeyStoreError,
    WrongPassphrase,
)
from wallet_app.meter.recording import RecordingError
from wallet_app.settings import Settings, SettingsError
from wallet_app.trading.lines import Meter
from wallet_app.trading.node import LightNodeAdapter
from wallet_app.trading.outbox import OutboxError
from wallet_app.trading.session import TradingSession
from wallet_app.trading.setup import RunningWallet, Wallet

DEFAULT_NAME = "default"
MIN_PASSPHRASE = 8
PASSPHRASE_TRIES = 3


class WalletError(Exception):
    """The wallet cannot be set up or opened; the message says what to do."""


class NotEnrolled(WalletError):
    """There is no wallet in the directory yet."""


class WalletBusy(WalletError):
    """Another program has the wallet open."""


class CertificateEnded(WalletError):
    """The wallet's certificate is past its end."""


PROBLEMS: tuple[type[Exception], ...] = (
    WalletError,
    KeyStoreError,
    EnrolmentError,
    SettingsError,
    ProfileError,
    ChainError,
    FabricError,
    DatabaseError,
    RecordingError,
    OutboxError,
    OSError,
)
"""Everything that setting up and opening can raise; each message is one line that helps."""


def wallet_directory(name: str = DEFAULT_NAME) -> Path:
    """Return the directory of the wallet called ``name`` (letters, digits, ``-`` and ``_``)."""
    if not 0 < len(name) <= 64 or not all(c.isalnum() or c in "-_" for c in name):
        raise WalletError(tr("A wallet's name is made of letters, digits, - and _."))
    return data_directory() / "wallets" / name


class WalletLock:
    """Keeps a second program off the wallet in ``directory``; a context manager.

    The operating system drops the lock with the process, also at a kill: nothing to clean up.
    """

    def __init__(self, directory: Path) -> None:
        """Take the lock, making the directory; ``WalletBusy`` if another program holds it."""
        directory.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO | None = (directory / "lock").open("ab")
        try:
            _lock(self._file)
        except OSError as error:
            self.release()
            raise WalletBusy(
                tr(
                    "This wallet is open already: use that window, or close it first ({directory})",
                    directory=directory,
                )
            ) from error

    def release(self) -> None:
        """Give the wallet free."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> "WalletLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True, slots=True)
class CheckedProfile:
    """A network profile whose trust root is what it says and has not expired."""

    profile: NetworkProfile
    root: trust.TrustRoot

    @property
    def fingerprint(self) -> str:
        """The trust root in the short form, to compare by eye or voice."""
        return self.root.fingerprint


def check_profile(profile: NetworkProfile, now: datetime) -> CheckedProfile:
    """Check all of ``profile`` that can be checked without asking anybody.

    The configuration block has the hash the profile states and is of its channel, the root has
    not expired at ``now`` (aware), nodes of two organisations are named, and every TLS root is
    the organisation's own by the channel configuration. A ``ChainError`` says what is wrong.
    """
    root = trust.from_profile(profile.trust_root)
    root.check_expiry(now)
    nodes = [
        (o.msp_id, p.address, p.tls_root_pem) for o in profile.organizations for p in o.peers
    ] + [(o.msp_id, o.address, o.tls_root_pem) for o in profile.orderers]
    for msp_id, address, pem in nodes:
        sources.check_certified(root.config, msp_id, address, pem)
    if len({msp_id for msp_id, _, _ in nodes}) < 2:
        raise TooFewOrganizations(
            Text(
                "the network profile names nodes of fewer than two organisations, so nothing "
                "could be compared: ask your operator for a complete profile"
            )
        )
    return CheckedProfile(profile, root)


def load_profile(path: Path, now: datetime) -> CheckedProfile:
    """Read and check the profile at ``path``; ``ProfileError`` or ``ChainError``."""
    return check_profile(NetworkProfile.load(path), now)


def enrolling_organizations(profile: NetworkProfile) -> tuple[str, ...]:
    """Return the MSP ids of the organisations at which a wallet can enrol."""
    return tuple(o.msp_id for o in profile.organizations if o.ca is not None and o.peers)


@dataclass(frozen=True, slots=True)
class StoredWallet:
    """A wallet as it lies in its directory. Everything here is public but the settings."""

    directory: Path
    profile: NetworkProfile
    identity: WalletIdentity
    settings: Settings

    def keys(self, passphrase: str = "") -> KeyStore:
        """Return the store that holds this wallet's key."""
        return key_store(self.directory, self.identity.key_place, passphrase)

    @property
    def needs_passphrase(self) -> bool:
        """Whether the key lies in an encrypted file."""
        return self.identity.key_place is KeyPlace.FILE


def key_store(directory: Path, place: KeyPlace, passphrase: str = "") -> KeyStore:
    """Return the store for ``place`` of the wallet in ``directory``."""
    if place is KeyPlace.KEYRING:
        return KeyringStore()
    return FileStore(directory / "keys", passphrase)


def is_enrolled(directory: Path) -> bool:
    """Tell whether there is a wallet in ``directory``, be it whole or damaged."""
    return (directory / "identity.json").exists()


def has_settings(directory: Path) -> bool:
    """Tell whether the household has been described; until then the set-up is not finished."""
    return (directory / "settings.json").exists()


def no_wallet() -> NotEnrolled:
    """Return what is raised where there is no wallet, and says how to get one."""
    return NotEnrolled(
        tr("There is no wallet yet: set one up in the window or with 'prosumer-wallet enrol'")
    )


def load_wallet(directory: Path, now: datetime) -> StoredWallet:
    """Read the wallet in ``directory``.

    ``NotEnrolled`` if there is none. ``EnrolmentError``, ``SettingsError`` or ``ProfileError``
    name the damaged file; ``WalletError`` a certificate that has ended at ``now`` (aware).
    """
    identity = load_identity(directory)
    if identity is None:
        raise no_wallet()
    _check_certificate(directory, identity, now)
    profile = NetworkProfile.load(directory / "profile.json")
    profile.organization(identity.msp_id)
    return StoredWallet(directory, profile, identity, Settings.load(directory))


def _check_certificate(directory: Path, identity: WalletIdentity, now: datetime) -> None:
    try:
        expires = identity.expires
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EnrolmentError(
            tr(
                "{path} is damaged: its certificate cannot be read; enrol again",
                path=directory / "identity.json",
            )
        ) from error
    if now >= expires:
        raise CertificateEnded(
            tr(
                "The certificate ended on {day}: ask your organisation for a new secret and enrol "
                "again",
                day=f"{expires:%Y-%m-%d}",
            )
        )


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Who enrols where; the secret is used once and kept nowhere."""

    msp_id: str
    enrolment_id: str
    secret: str = field(repr=False)


def connect_ca(profile: NetworkProfile, msp_id: str) -> CaClient:
    """Return a client of an organisation's CA; ``ProfileError`` if wallets cannot enrol there."""
    endpoint = profile.organization(msp_id).ca
    if endpoint is None:
        known = ", ".join(enrolling_organizations(profile))
        raise ProfileError(
            Text(
                "{msp_id} has no CA in the network profile; wallets enrol at: {known}",
                msp_id=msp_id,
                known=known,
            )
        )
    return CaClient(endpoint.url, endpoint.name, endpoint.tls_root_pem)


def enrol_wallet(
    directory: Path,
    checked: CheckedProfile,
    enrolment: Enrolment,
    keys: KeyStore,
    settings: Settings | None = None,
) -> StoredWallet:
    """Make a key in ``keys``, have the CA certify it, keep all of it in ``directory``.

    An enrolment under the same name in the same channel takes the place of the one before; its
    key is removed only once the new certificate is kept. Whatever fails leaves what was there.
    ``settings`` None leaves those of the directory, or none yet.
    ``WalletError`` where another wallet lies there; errors of CA and key store pass through.
    """
    profile = replace(checked.profile, registrars=())  # a wallet has no use for their secrets
    before = _replaceable(directory, profile, enrolment)
    in_force = settings or Settings.load(directory)
    ca = connect_ca(profile, enrolment.msp_id)
    try:
        if before is None:
            profile.save(directory / "profile.json")
        identity = enrol(
            directory, keys, ca, enrolment.msp_id, enrolment.enrolment_id, enrolment.secret
        )
    finally:
        ca.close()
    if settings is not None:
        settings.save(directory)
    if before is not None:
        profile.save(directory / "profile.json")
        _forget_key(directory, before, keys)
    return StoredWallet(directory, profile, identity, in_force)


def _replaceable(
    directory: Path, profile: NetworkProfile, enrolment: Enrolment
) -> WalletIdentity | None:
    """Return the identity to be replaced, None if there is none that can be read."""
    try:
        before = load_identity(directory)
        channel = NetworkProfile.load(directory / "profile.json").channel if before else ""
    except (EnrolmentError, ProfileError):
        return None  # damaged: enrolling again is what its message asks for
    same = (profile.channel, enrolment.msp_id, enrolment.enrolment_id)
    if before is not None and (channel, before.msp_id, before.enrolment_id) != same:
        raise WalletError(
            tr(
                "This wallet belongs to {participant} on the channel {channel}: give the new one "
                "a name of its own with --wallet",
                participant=before.participant,
                channel=channel,
            )
        )
    return before


def _forget_key(directory: Path, before: WalletIdentity, keys: KeyStore) -> None:
    old = keys
    if before.key_place is not keys.place:
        old = key_store(directory, before.key_place, "deleting needs none")
    # The enrolment is done; a key that stays behind has lost its certificate and opens nothing.
    with suppress(KeyStoreError, OSError):
        old.delete(before.key_name)


def renew_profile(directory: Path, checked: CheckedProfile) -> None:
    """Replace the network profile of the wallet in ``directory`` by a newer one of its channel.

    ``WalletError`` if it is of another channel or lacks the wallet's organisation.
    """
    identity = load_identity(directory)
    if identity is None:
        raise NotEnrolled(tr("There is no wallet yet: a profile is imported when one is set up"))
    profile = replace(checked.profile, registrars=())
    profile.organization(identity.msp_id)
    try:
        channel = NetworkProfile.load(directory / "profile.json").channel
    except ProfileError:
        channel = profile.channel  # lost or damaged: that is what it is renewed for
    if channel != profile.channel:
        raise WalletError(
            tr(
                "This wallet is on the channel {channel}; the profile is of {other}",
                channel=channel,
                other=profile.channel,
            )
        )
    profile.save(directory / "profile.json")


class OpenWallet:
    """A wallet trading, with its light node and its meter; a context manager."""

    def __init__(self, stored: StoredWallet, identity: SigningIdentity, clock: Clock) -> None:
        """Open the files and start everything; no peer, CA or meter need be reachable.

        Any of :data:`PROBLEMS` otherwise, with nothing left open.
        """
        self.stored = stored
        with ExitStack() as stack:
            checked = check_profile(stored.profile, clock.now())
            node = LightNodeAdapter(
                stored.profile, _node_directory(stored, checked), identity, clock
            )
            stack.callback(node.stop)
            self._running = RunningWallet(
                Wallet(
                    directory=stored.directory,
                    profile=stored.profile,
                    identity=identity,
                    participant=stored.identity.participant,
                    settings=stored.settings,
                    timetable=Timetable(length_s=stored.settings["slot_length_s"]),
                    clock=clock,
                    node=node,
                    meter=Meter.of(stored.settings),
                )
            )
            stack.callback(self._running.close)
            node.start()
            self._running.__enter__()
            self._stack = stack.pop_all()

    @property
    def session(self) -> TradingSession:
        """What the screens show."""
        return self._running.session

    def close(self) -> None:
        """Stop trading, then the light node; what is open goes on at the next start."""
        self._stack.close()

    def __enter__(self) -> "OpenWallet":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _node_directory(stored: StoredWallet, checked: CheckedProfile) -> Path:
    # A store begins at its trust root; after the root was renewed a new one begins.
    return stored.directory / "node" / checked.root.hash.hex()[:16]


def unlock_with_tries(
    stored: StoredWallet, ask: Callable[[int], str], tries: int = PASSPHRASE_TRIES
) -> SigningIdentity:
    """Return the identity ready to sign, asking ``ask(tries left)`` for the passphrase of a file.

    After ``tries`` wrong ones ``WrongPassphrase``; nothing is changed or lost by them.
    """
    if not stored.needs_passphrase:
        return stored.identity.unlock(stored.keys())
    for left in range(tries, 0, -1):
        try:
            return stored.identity.unlock(stored.keys(ask(left)))
        except WrongPassphrase:
            if left == 1:
                raise
    raise ValueError("at least one try")
