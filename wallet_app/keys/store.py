"""Where a private key lives: the OS keyring, or a file encrypted under a passphrase.

The keyring is asked for one of four explicit states; there is never a silent fall-back to plain
text. What is stored is a PKCS#8 key of some 140 bytes, base64: far below the 2,560 bytes a Windows
credential can hold.
"""

import base64
import binascii
import json
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

import keyring
import keyring.backend
import keyring.backends.chainer
import keyring.errors
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from light_node import jsonio
from light_node.i18n import Text, os_reason
from wallet_app.files import write_atomically
from wallet_app.i18n import said, tr

SERVICE = "prosumer-wallet"
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**17, 8, 1  # 128 MiB and about 0.3 s a guess
_MAX_SCRYPT_N = 2**20
_MAX_FILE_BYTES = 64 * 1024

T = TypeVar("T")


class KeyState(StrEnum):
    """What a key store can do right now."""

    READY = "ready"
    LOCKED = "locked"  # there, but the user must unlock it
    ABSENT = "absent"  # this machine has no keyring service
    DENIED = "denied"  # the service refused


class KeyPlace(StrEnum):
    """Which kind of store holds a wallet's key, as ``identity.json`` remembers it."""

    KEYRING = "keyring"
    FILE = "file"


class KeyStoreError(Exception):
    """A key cannot be stored or loaded; the message says what to do."""


class KeyringUnavailable(KeyStoreError):
    """The OS keyring cannot be used; ``state`` says which of the four cases it is."""

    def __init__(self, state: KeyState, message: str) -> None:
        super().__init__(message)
        self.state = state


class KeyNotFound(KeyStoreError):
    """The store holds no key of that name."""


class WrongPassphrase(KeyStoreError):
    """The passphrase does not open the file (or the file was altered: both look the same)."""


class KeyStore(Protocol):
    """Keeps private keys (PKCS#8 DER) by name."""

    @property
    def place(self) -> KeyPlace:
        """Which kind of store this is."""
        ...

    def state(self) -> KeyState:
        """Return what the store can do right now, without asking the user anything."""
        ...

    def save(self, name: str, key: bytes) -> None:
        """Keep ``key`` under ``name``; ``KeyStoreError`` when that is impossible."""
        ...

    def load(self, name: str) -> bytes:
        """Return the key kept under ``name``; ``KeyNotFound`` or another ``KeyStoreError``."""
        ...

    def delete(self, name: str) -> None:
        """Forget ``name``; nothing happens when there is no such key."""
        ...


class KeyringStore:
    """The OS keyring: Secret Service or KWallet, macOS Keychain, Windows Credential Locker."""

    place = KeyPlace.KEYRING

    def __init__(self, backend: keyring.backend.KeyringBackend | None = None) -> None:
        """``backend`` is for tests; by default the system's best one is taken."""
        self._backend = backend or keyring.get_keyring()

    def state(self) -> KeyState:
        """Return the keyring's state; a plain-text or null back end counts as absent."""
        if not _protects(self._backend):
            return KeyState.ABSENT
        try:
            self._backend.get_password(SERVICE, "state-probe")
        except keyring.errors.KeyringLocked:
            return KeyState.LOCKED
        except keyring.errors.InitError:
            return KeyState.ABSENT
        except keyring.errors.KeyringError:
            return KeyState.DENIED
        return KeyState.READY

    def save(self, name: str, key: bytes) -> None:
        """Keep ``key`` and read it back: a keyring that forgets is found out now, not later."""
        text = base64.b64encode(key).decode()
        self._call(lambda: self._backend.set_password(SERVICE, name, text))
        if self.load(name) != key:
            raise KeyStoreError(tr("the keyring did not keep the key; choose the encrypted file"))

    def load(self, name: str) -> bytes:
        """Return the key kept under ``name``."""
        text = self._call(lambda: self._backend.get_password(SERVICE, name))
        if text is None:
            raise KeyNotFound(
                tr("the keyring holds no key '{name}': restore a backup or enrol again", name=name)
            )
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise KeyStoreError(
                tr("the keyring's entry '{name}' was altered", name=name)
            ) from error

    def delete(self, name: str) -> None:
        """Forget ``name``."""
        if self._call(lambda: self._backend.get_password(SERVICE, name)) is not None:
            self._call(lambda: self._backend.delete_password(SERVICE, name))

    def _call(self, action: Callable[[], T]) -> T:
        if not _protects(self._backend):
            raise KeyringUnavailable(
                KeyState.ABSENT,
                tr("this machine has no keyring service: use an encrypted file with a passphrase"),
            )
        try:
            return action()
        except keyring.errors.KeyringLocked as error:
            raise KeyringUnavailable(
                KeyState.LOCKED, tr("the keyring is locked: unlock it and try again")
            ) from error
        except keyring.errors.InitError as error:
            raise KeyringUnavailable(
                KeyState.ABSENT,
                tr("the keyring service does not answer: is the session bus running?"),
            ) from error
        except keyring.errors.KeyringError as error:
            raise KeyringUnavailable(
                KeyState.DENIED, tr("the keyring refused: allow access to 'prosumer-wallet'")
            ) from error


class FileStore:
    """One file per key, AES-256-GCM under a scrypt key of the passphrase; readable by its owner."""

    place = KeyPlace.FILE

    def __init__(
        self, directory: Path, passphrase: str, *, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        """``random`` gives salt and nonce; tests pass their own."""
        if not passphrase:
            raise KeyStoreError(tr("an empty passphrase protects nothing: choose one"))
        self._directory = directory
        self._passphrase = passphrase
        self._random = random

    def state(self) -> KeyState:
        """Return READY: a file needs no service."""
        return KeyState.READY

    def save(self, name: str, key: bytes) -> None:
        """Encrypt ``key`` into ``<directory>/<name>.key``, atomically."""
        salt, nonce = self._random(16), self._random(12)
        header = {"version": 1, "kdf": "scrypt", "n": _SCRYPT_N, "r": _SCRYPT_R, "p": _SCRYPT_P}
        secret = _derive(self._passphrase, salt, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)
        sealed = AESGCM(secret).encrypt(nonce, key, jsonio.canonical_dumps(header))
        body = {
            **header,
            "salt": base64.b64encode(salt).decode(),
            "nonce": base64.b64encode(nonce).decode(),
            "sealed": base64.b64encode(sealed).decode(),
        }
        write_atomically(self._path(name), json.dumps(body).encode(), private=True)

    def load(self, name: str) -> bytes:
        """Return the key in ``<directory>/<name>.key``."""
        path = self._path(name)
        try:
            raw = path.read_bytes()[:_MAX_FILE_BYTES]
        except FileNotFoundError:
            raise KeyNotFound(
                tr("there is no key file {path}: restore it or enrol again", path=path)
            ) from None
        except OSError as error:
            raise KeyStoreError(
                tr("cannot read {path}: {why}", path=path, why=said(os_reason(error)))
            ) from error
        try:
            body = jsonio.mapping(jsonio.strict_loads(raw), Text("a key file"))
            n = jsonio.integer(body, "n", low=2, high=_MAX_SCRYPT_N)
            r = jsonio.integer(body, "r", low=1, high=8)
            p = jsonio.integer(body, "p", low=1, high=4)
            version = jsonio.integer(body, "version", low=1, high=1)
            header = {"version": version, "kdf": jsonio.string(body, "kdf"), "n": n, "r": r, "p": p}
            salt, nonce, sealed = (
                base64.b64decode(jsonio.string(body, field), validate=True)
                for field in ("salt", "nonce", "sealed")
            )
            secret = _derive(self._passphrase, salt, n, r, p)
        except ValueError as error:
            raise KeyStoreError(
                tr("{path} is no key file of this program: {why}", path=path, why=said(error))
            ) from error
        try:
            return AESGCM(secret).decrypt(nonce, sealed, jsonio.canonical_dumps(header))
        except (InvalidTag, ValueError) as error:
            raise WrongPassphrase(
                tr(
                    "the passphrase does not open {name}: check capitals and keyboard layout",
                    name=path.name,
                )
            ) from error

    def delete(self, name: str) -> None:
        """Remove the file of ``name``."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if not name or not all(c.isalnum() or c in "-_@." for c in name) or name.startswith("."):
            raise KeyStoreError(tr("'{name}' is no name for a key file", name=name))
        return self._directory / f"{name}.key"


def _derive(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase.encode())


def _protects(backend: keyring.backend.KeyringBackend) -> bool:
    """Tell whether ``backend`` is a real keyring: not the null, fail or plain-text ones."""
    if isinstance(backend, keyring.backends.chainer.ChainerBackend):
        return any(_protects(inner) for inner in backend.backends)
    module = type(backend).__module__
    unprotected = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")
    return not module.startswith(unprotected)
