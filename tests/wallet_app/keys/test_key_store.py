"""Key stores: the encrypted file, the keyring's four states, a real Secret Service."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import keyring.backend
import keyring.errors
import pytest

from wallet_app.keys import store
from wallet_app.keys.store import (
    FileStore,
    KeyNotFound,
    KeyringStore,
    KeyringUnavailable,
    KeyState,
    KeyStoreError,
    WrongPassphrase,
)

KEY = bytes(range(138))


@pytest.fixture(autouse=True)
def _cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_SCRYPT_N", 2**4)


def test_file_store_gives_back_what_it_kept(tmp_path: Path) -> None:
    FileStore(tmp_path, "correct horse").save("hh-001@Org1MSP", KEY)
    assert FileStore(tmp_path, "correct horse").load("hh-001@Org1MSP") == KEY


def test_file_store_refuses_a_wrong_passphrase_and_says_what_to_check(tmp_path: Path) -> None:
    FileStore(tmp_path, "correct horse").save("k", KEY)
    with pytest.raises(WrongPassphrase, match="check capitals"):
        FileStore(tmp_path, "Correct horse").load("k")


def test_key_file_holds_no_clear_key_and_is_private(tmp_path: Path) -> None:
    FileStore(tmp_path, "p").save("k", KEY)
    path = tmp_path / "k.key"
    assert KEY not in path.read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_altered_byte_of_a_key_file_is_noticed(tmp_path: Path) -> None:
    files = FileStore(tmp_path, "p")
    files.save("k", KEY)
    path = tmp_path / "k.key"
    good = path.read_bytes()
    for index in range(0, len(good), 3):
        path.write_bytes(good[:index] + bytes([good[index] ^ 0x01]) + good[index + 1 :])
        try:
            assert files.load("k") == KEY  # only white space between JSON tokens may be harmless
            assert good[index] in b" \n"
        except KeyStoreError:
            pass


def test_a_key_file_cannot_ask_for_boundless_memory(tmp_path: Path) -> None:
    files = FileStore(tmp_path, "p")
    files.save("k", KEY)
    path = tmp_path / "k.key"
    path.write_text(path.read_text().replace('"n": 16', '"n": 1073741824'))
    with pytest.raises(KeyStoreError, match="at most"):
        files.load("k")


def test_saving_again_never_leaves_half_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FileStore(tmp_path, "p")
    files.save("k", KEY)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.save("k", b"other")
    monkeypatch.undo()
    monkeypatch.setattr(store, "_SCRYPT_N", 2**4)
    assert files.load("k") == KEY
    assert [p.name for p in tmp_path.iterdir()] == ["k.key"]


@pytest.mark.parametrize("name", ["", "../k", ".hidden", "a/b", "a\\b"])
def test_names_that_leave_the_directory_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyStoreError, match="no name"):
        FileStore(tmp_path, "p").save(name, KEY)


def test_missing_keys_and_empty_passphrases_are_said(tmp_path: Path) -> None:
    with pytest.raises(KeyNotFound, match="enrol again"):
        FileStore(tmp_path, "p").load("k")
    with pytest.raises(KeyStoreError, match="empty passphrase"):
        FileStore(tmp_path, "")


class Backend(keyring.backend.KeyringBackend):
    priority = 1  # type: ignore[assignment]

    def __init__(self, failure: Exception | None = None, forgets: bool = False) -> None:
        super().__init__()
        self.failure, self.forgets = failure, forgets
        self.entries: dict[str, str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        if self.failure:
            raise self.failure
        return self.entries.get(username)

    def set_password(self, service: str, username: str, password: str) -> None:
        if not self.forgets:
            self.entries[username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[username]


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (None, KeyState.READY),
        (keyring.errors.KeyringLocked("x"), KeyState.LOCKED),
        (keyring.errors.InitError("x"), KeyState.ABSENT),
        (keyring.errors.KeyringError("x"), KeyState.DENIED),
    ],
)
def test_the_four_states_of_a_keyring(failure: Exception | None, state: KeyState) -> None:
    keys = KeyringStore(Backend(failure))
    assert keys.state() is state
    if failure:
        with pytest.raises(KeyringUnavailable) as caught:
            keys.load("k")
        assert caught.value.state is state


def test_no_keyring_is_absent_and_never_plain_text() -> None:
    import keyring.backends.fail
    import keyring.backends.null

    for backend in (keyring.backends.fail.Keyring(), keyring.backends.null.Keyring()):
        keys = KeyringStore(backend)
        assert keys.state() is KeyState.ABSENT
        with pytest.raises(KeyringUnavailable, match="encrypted file"):
            keys.save("k", KEY)


def test_a_keyring_that_forgets_is_found_out_at_once() -> None:
    with pytest.raises(KeyStoreError):
        KeyringStore(Backend(forgets=True)).save("k", KEY)


_REAL = """
import sys
from wallet_app.keys.store import KeyringStore, KeyNotFound, KeyState
keys = KeyringStore()
assert keys.state() is KeyState.READY, keys.state()
keys.save("hh-001@Org1MSP", bytes(range(138)))
assert KeyringStore().load("hh-001@Org1MSP") == bytes(range(138))
keys.delete("hh-001@Org1MSP")
try:
    keys.load("hh-001@Org1MSP")
except KeyNotFound:
    print("kept, loaded, deleted")
"""


@pytest.mark.skipif(
    not (shutil.which("dbus-run-session") and shutil.which("gnome-keyring-daemon")),
    reason="needs dbus-run-session and gnome-keyring-daemon",
)
def test_a_real_secret_service_keeps_the_key(tmp_path: Path) -> None:
    script = tmp_path / "use.py"
    script.write_text(_REAL)
    start = "printf 'test\\n' | gnome-keyring-daemon --unlock --components=secrets >/dev/null"
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    done = subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", f"{start} && exec {sys.executable} {script}"],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "kept, loaded, deleted" in done.stdout, done.stderr
