"""A wallet outside the demo against a real devnet: enrolled, opened, refused, run as a service."""

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from light_node.clock import SystemClock
from light_node.devnet.testing import DevnetProcess
from light_node.fabric.ca import Attribute, certificate_request
from light_node.fabric.crypto import KeySigner
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import CaEndpoint, NetworkProfile
from wallet_app import cli, wallets
from wallet_app.keys import store
from wallet_app.keys.store import FileStore, KeyPlace, KeyringStore, WrongPassphrase
from wallet_app.settings import Settings
from wallet_app.trading.view import WalletView

PASSPHRASE = "correct horse"
_PROGRAM = "import sys; from wallet_app.cli import main; sys.exit(main())"
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_SCRYPT_N", 2**4)


@pytest.fixture(scope="module")
def registrar(devnet: DevnetProcess) -> SigningIdentity:
    named = next(r for r in devnet.profile.registrars if r.msp_id == "Org1MSP")
    key = ec.generate_private_key(ec.SECP256R1())
    ca = devnet.ca()
    certificate = ca.enroll(named.id, named.secret, certificate_request(key, named.id))
    ca.close()
    return SigningIdentity("Org1MSP", certificate, KeySigner(key))


@pytest.fixture
def member(devnet: DevnetProcess, registrar: SigningIdentity) -> tuple[str, str]:
    """A household just registered: enrolment id and secret, which may be used twice."""
    name = f"house-{next(_numbers)}"
    attributes = (Attribute("market.user_type", "household"),
                  Attribute("market.permissions", "trade"),
                  Attribute("market.credit", "A"))  # fmt: skip
    ca = devnet.ca()
    secret = ca.register(registrar, name, attributes=attributes, max_enrollments=2)
    ca.close()
    return name, secret


@pytest.fixture
def profile_file(devnet: DevnetProcess) -> Path:
    return devnet.directory / "profile.json"


def now() -> datetime:
    return datetime.now(UTC)


def enrol_args(profile: Path, name: str, secret_file: Path, *more: str) -> list[str]:
    return ["enrol", "--profile", str(profile), "--organization", "Org1MSP", "--id", name,
            "--secret-file", str(secret_file), *more]  # fmt: skip


def in_file(tmp_path: Path) -> list[str]:
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    return ["--key-file", "--passphrase-file", str(path)]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def enrolled(profile_file: Path, member: tuple[str, str]) -> wallets.StoredWallet:
    directory = wallets.wallet_directory()
    checked = wallets.load_profile(profile_file, now())
    keys = FileStore(directory / "keys", PASSPHRASE)
    return wallets.enrol_wallet(
        directory, checked, wallets.Enrolment("Org1MSP", *member), keys, Settings()
    )


def wait_for(view: Callable[[], WalletView], condition: Callable[[WalletView], bool]) -> WalletView:
    for _ in range(600):
        seen = view()
        if condition(seen):
            return seen
        time.sleep(0.05)
    raise AssertionError(f"not seen within 30 s: {seen.trust}, {seen.events}")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "Traceback" not in said
    return said


# ---- enrolling by command


def test_enrol_keeps_everything_and_prints_the_fingerprint(
    tmp_path: Path,
    profile_file: Path,
    member: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, secret = member
    arguments = enrol_args(profile_file, name, written(tmp_path / "s", secret), "--json")
    assert cli.main([*arguments, *in_file(tmp_path), "--set", "pv_peak_w=0"]) == 0
    told = json.loads(capsys.readouterr().out)
    checked = wallets.load_profile(profile_file, now())
    assert told["participant"] == f"{name}@Org1MSP"
    assert told["fingerprint"] == checked.fingerprint
    assert told["key"] == "file"
    stored = wallets.load_wallet(wallets.wallet_directory(), now())
    assert stored.settings["pv_peak_w"] == 0
    assert stored.profile.registrars == ()  # a wallet does not keep the devnet's secrets
    assert stored.identity.unlock(stored.keys(PASSPHRASE)).msp_id == "Org1MSP"
    for path in stored.directory.rglob("*"):
        assert path.is_dir() or secret not in path.read_text(errors="replace"), path


def test_a_wrong_secret_is_said_and_leaves_no_wallet(
    tmp_path: Path, profile_file: Path, member: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = enrol_args(profile_file, member[0], written(tmp_path / "s", "wrong"))
    assert cli.main([*arguments, *in_file(tmp_path)]) == 2
    said = one_line(capsys)
    assert "does not accept this enrolment id and secret" in said
    directory = wallets.wallet_directory()
    assert not wallets.is_enrolled(directory)
    assert list((directory / "keys").iterdir()) == []
    # Nothing was used up: the right secret still works.
    arguments = enrol_args(profile_file, member[0], written(tmp_path / "s", member[1]))
    assert cli.main([*arguments, *in_file(tmp_path)]) == 0


def test_an_unknown_organisation_names_those_there_are(
    tmp_path: Path, profile_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = enrol_args(profile_file, "x", written(tmp_path / "s", "y"), *in_file(tmp_path))
    arguments[arguments.index("Org1MSP")] = "Org9MSP"
    assert cli.main(arguments) == 2
    said = one_line(capsys)
    assert "Org9MSP" in said
    assert "Org1MSP, Org2MSP, Org3MSP" in said


def changed_profile(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    fields = json.loads(source.read_text())
    change(fields)
    return written(target, json.dumps(fields))


def unreachable_ca(fields: dict[str, Any]) -> None:
    fields["organizations"][0]["ca"]["url"] = "https://127.0.0.1:9"


def expired(fields: dict[str, Any]) -> None:
    fields["trust_root"]["obtained"] = "2020-01-01T00:00:00+00:00"
    fields["trust_root"]["expires"] = "2021-01-01T00:00:00+00:00"


def altered_hash(fields: dict[str, Any]) -> None:
    fields["trust_root"]["hash"] = "00" * 32


def altered_block(fields: dict[str, Any]) -> None:
    block = bytearray(base64.b64decode(fields["trust_root"]["config_block"]))
    block[len(block) // 2] ^= 1
    fields["trust_root"]["config_block"] = base64.b64encode(block).decode()


def swapped_tls_root(fields: dict[str, Any]) -> None:
    first, second = fields["organizations"][:2]
    second["peers"][0]["tls_root_pem"] = first["peers"][0]["tls_root_pem"]


def swapped_ca_root(fields: dict[str, Any]) -> None:
    first, second = fields["organizations"][:2]
    first["ca"]["tls_root_pem"] = second["peers"][0]["tls_root_pem"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unreachable_ca, "CA cannot be reached"),
        (expired, "expired"),
        (altered_hash, "altered or damaged"),
        (altered_block, "altered or damaged"),
        (swapped_tls_root, "altered or damaged"),
        (swapped_ca_root, "TLS certificate is not the one of the profile"),
    ],
)
def test_a_profile_that_is_wrong_is_refused(
    tmp_path: Path,
    profile_file: Path,
    member: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    words: str,
) -> None:
    altered = changed_profile(profile_file, tmp_path / "altered.json", change)
    arguments = enrol_args(altered, member[0], written(tmp_path / "s", member[1]))
    assert cli.main([*arguments, *in_file(tmp_path)]) == 2
    assert words in one_line(capsys)
    assert not wallets.is_enrolled(wallets.wallet_directory())


def test_a_fingerprint_given_must_be_the_profiles(
    tmp_path: Path, profile_file: Path, member: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = enrol_args(profile_file, member[0], written(tmp_path / "s", member[1]))
    arguments += in_file(tmp_path)
    assert cli.main([*arguments, "--fingerprint", "AAAA-BBBB-CCCC-DDDD"]) == 2
    assert "do not use it" in one_line(capsys)
    right = wallets.load_profile(profile_file, now()).fingerprint.lower().replace("-", " ")
    assert cli.main([*arguments, "--fingerprint", right]) == 0


def test_without_keyring_the_command_names_the_option_for_a_file(
    tmp_path: Path, profile_file: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(KeyringStore, "state", lambda _: store.KeyState.ABSENT)
    assert cli.main(enrol_args(profile_file, "x", written(tmp_path / "s", "y"))) == 2
    assert "--key-file" in one_line(capsys)


def test_secrets_are_asked_for_only_at_a_terminal(
    profile_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = enrol_args(profile_file, "x", Path("unused"), "--key-file")
    at = arguments.index("--secret-file")
    del arguments[at : at + 2]
    assert cli.main(arguments) == 2
    assert "--secret-file" in one_line(capsys)


def test_enrolling_again_needs_a_word_and_a_failure_loses_nothing(
    tmp_path: Path,
    profile_file: Path,
    member: tuple[str, str],
    enrolled: wallets.StoredWallet,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, secret = member
    good = enrol_args(profile_file, name, written(tmp_path / "s", secret), *in_file(tmp_path))
    assert cli.main(good) == 2
    assert "--again" in one_line(capsys)
    bad = enrol_args(profile_file, name, written(tmp_path / "w", "wrong"), *in_file(tmp_path))
    assert cli.main([*bad, "--again"]) == 2
    assert wallets.load_wallet(enrolled.directory, now()).identity == enrolled.identity
    enrolled.identity.unlock(enrolled.keys(PASSPHRASE))
    assert cli.main([*good, "--again"]) == 0
    renewed = wallets.load_wallet(enrolled.directory, now())
    assert renewed.identity.certificate_pem != enrolled.identity.certificate_pem
    renewed.identity.unlock(renewed.keys(PASSPHRASE))
    assert len(list((enrolled.directory / "keys").iterdir())) == 1


def test_another_member_does_not_take_over_a_wallet(
    profile_file: Path, enrolled: wallets.StoredWallet
) -> None:
    checked = wallets.load_profile(profile_file, now())
    keys = FileStore(enrolled.directory / "keys", PASSPHRASE)
    somebody = wallets.Enrolment("Org1MSP", "somebody-else", "secret")
    with pytest.raises(wallets.WalletError, match="--wallet"):
        wallets.enrol_wallet(enrolled.directory, checked, somebody, keys)


# ---- what lies in the directory


@pytest.mark.parametrize("file", ["identity.json", "settings.json", "profile.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1, "a": 2}'])
def test_a_damaged_file_is_named_and_left_alone(
    enrolled: wallets.StoredWallet, capsys: pytest.CaptureFixture[str], file: str, text: str
) -> None:
    written(enrolled.directory / file, text)
    assert cli.main(["run"]) == 2
    assert file in one_line(capsys)
    assert (enrolled.directory / file).read_text() == text


def test_the_household_of_the_documentation_gets_a_wallet(
    devnet: DevnetProcess, profile_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    page = (Path(__file__).parents[2] / "docs" / "devnet.md").read_text(encoding="utf-8")
    script = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "net").symlink_to(devnet.directory)
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "docs/devnet.md", "exec"), {})
    secret = written(tmp_path / "secret", capsys.readouterr().out)
    args = enrol_args(profile_file, "hh-001", secret, "--wallet", "first", *in_file(tmp_path))
    assert cli.main(args) == 0
    said = capsys.readouterr().out
    assert said.startswith("Enrolled as hh-001@Org1MSP.")
    assert "'prosumer-wallet run --wallet first' trades" in said


def test_a_certificate_that_cannot_be_read_or_has_ended_is_said(
    enrolled: wallets.StoredWallet,
) -> None:
    later = enrolled.identity.expires + timedelta(seconds=1)
    with pytest.raises(wallets.CertificateEnded, match="enrol again"):
        wallets.load_wallet(enrolled.directory, later)
    path = enrolled.directory / "identity.json"
    fields = json.loads(path.read_text())
    written(path, json.dumps({**fields, "certificate": "-----BEGIN CERTIFICATE-----\nAA\n"}))
    with pytest.raises(Exception, match=r"identity\.json is damaged"):
        wallets.load_wallet(enrolled.directory, now())


def test_a_wallet_that_is_not_there_says_how_to_get_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("run", "profile"):
        assert cli.main([command]) == 2
        assert "prosumer-wallet enrol" in one_line(capsys)
    assert cli.main(["run", "--wallet", "../x"]) == 2
    assert "letters" in one_line(capsys)


def test_a_second_program_on_the_same_wallet_is_refused(
    enrolled: wallets.StoredWallet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passphrase = str(written(tmp_path / "p", PASSPHRASE))
    with wallets.WalletLock(enrolled.directory):
        assert cli.main(["run", "--passphrase-file", passphrase]) == 2
        assert "open already" in one_line(capsys)
    with wallets.WalletLock(enrolled.directory):
        pass


def test_three_wrong_passphrases_stop_and_lose_nothing(enrolled: wallets.StoredWallet) -> None:
    asked: list[int] = []

    def wrong(left: int) -> str:
        asked.append(left)
        return "wrong horse"

    with pytest.raises(WrongPassphrase):
        wallets.unlock_with_tries(enrolled, wrong)
    assert asked == [3, 2, 1]
    tries = iter(["wrong", "wrong again", PASSPHRASE])
    identity = wallets.unlock_with_tries(enrolled, lambda left: next(tries))
    assert identity.certificate_pem == enrolled.identity.certificate_pem


def test_a_newer_profile_is_taken_and_another_channels_is_not(
    tmp_path: Path,
    profile_file: Path,
    enrolled: wallets.StoredWallet,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def renamed(fields: dict[str, Any]) -> None:
        fields["name"] = "renewed"

    newer = changed_profile(profile_file, tmp_path / "newer.json", renamed)
    assert cli.main(["profile", "--import", str(newer), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["network"] == "renewed"
    assert wallets.load_wallet(enrolled.directory, now()).profile.name == "renewed"
    checked = wallets.load_profile(newer, now())
    elsewhere = replace(checked, profile=replace(checked.profile, channel="elsewhere"))
    with pytest.raises(wallets.WalletError, match="elsewhere"):
        wallets.renew_profile(enrolled.directory, elsewhere)
    written(enrolled.directory / "profile.json", "{")
    assert cli.main(["profile", "--import", str(newer)]) == 0  # lost: that is what it is for
    assert wallets.load_wallet(enrolled.directory, now()).profile.name == "renewed"


# ---- open


def test_an_open_wallet_enters_the_market_and_says_that_it_has_no_meter(
    enrolled: wallets.StoredWallet,
) -> None:
    identity = enrolled.identity.unlock(enrolled.keys(PASSPHRASE))
    with wallets.OpenWallet(enrolled, identity, SystemClock()) as wallet:
        seen = wait_for(
            wallet.session.view,
            lambda v: (
                any("entered the market" in e.text for e in v.events)
                and (v.trust.verified_height or 0) > 1
            ),
        )
        assert seen.live.meter_state == "no meter connected"
        assert seen.participant == enrolled.identity.participant
        assert not seen.demo


def test_a_port_that_is_not_there_leaves_the_wallet_open_and_is_named(
    enrolled: wallets.StoredWallet,
) -> None:
    stored = replace(enrolled, settings=enrolled.settings.changed(meter_port="/dev/ttyNOT0"))
    identity = stored.identity.unlock(stored.keys(PASSPHRASE))
    with wallets.OpenWallet(stored, identity, SystemClock()) as wallet:
        seen = wait_for(wallet.session.view, lambda v: "/dev/ttyNOT0" in v.live.meter_state)
        assert "plug in" in seen.live.meter_state


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
def test_a_port_that_vanishes_is_said_and_the_wallet_stays_open(
    enrolled: wallets.StoredWallet,
) -> None:
    master, slave = os.openpty()
    port = os.ttyname(slave)
    os.close(slave)
    stored = replace(enrolled, settings=enrolled.settings.changed(meter_port=port))
    identity = stored.identity.unlock(stored.keys(PASSPHRASE))
    with wallets.OpenWallet(stored, identity, SystemClock()) as wallet:
        before = wait_for(wallet.session.view, lambda v: bool(v.live.meter_state))
        os.close(master)
        after = wait_for(wallet.session.view, lambda v: "plug" in v.live.meter_state)
        assert before.live.meter_state != after.live.meter_state
        wait_for(wallet.session.view, lambda v: (v.trust.verified_height or 0) > 1)


def test_a_store_that_cannot_be_used_leaves_nothing_open(enrolled: wallets.StoredWallet) -> None:
    identity = enrolled.identity.unlock(enrolled.keys(PASSPHRASE))
    path = written(enrolled.directory / "history.sqlite", "this is no database, by far" * 50)
    with pytest.raises(wallets.PROBLEMS):
        wallets.OpenWallet(enrolled, identity, SystemClock())
    path.unlink()
    with wallets.OpenWallet(enrolled, identity, SystemClock()) as wallet:
        assert wallet.session.view().participant


def test_peers_that_are_down_at_start_and_come_later(tmp_path: Path) -> None:
    with DevnetProcess(tmp_path / "devnet", "--batch-timeout", "50") as network:
        registrar = next(r for r in network.profile.registrars if r.msp_id == "Org1MSP")
        key = ec.generate_private_key(ec.SECP256R1())
        ca = network.ca()
        pem = ca.enroll(registrar.id, registrar.secret, certificate_request(key, registrar.id))
        secret = ca.register(
            SigningIdentity("Org1MSP", pem, KeySigner(key)),
            "late",
            attributes=(Attribute("market.permissions", "trade"),
                        Attribute("market.user_type", "household"),
                        Attribute("market.credit", "A")),
        )  # fmt: skip
        ca.close()
        directory = wallets.wallet_directory()
        keys = FileStore(directory / "keys", PASSPHRASE)
        checked = wallets.check_profile(network.profile, now())
        stored = wallets.enrol_wallet(
            directory, checked, wallets.Enrolment("Org1MSP", "late", secret), keys, Settings()
        )
        network.stop()
        identity = stored.identity.unlock(keys)
        began = time.monotonic()
        with wallets.OpenWallet(stored, identity, SystemClock()) as wallet:
            assert time.monotonic() - began < 10
            seen = wait_for(
                wallet.session.view,
                lambda v: (
                    bool(v.trust.waiting_for)
                    and all(p.state == "unreachable" for p in v.trust.peers)
                ),
            )
            assert len(seen.trust.peers) == 3
            network.start()
            wait_for(
                wallet.session.view,
                lambda v: (
                    any("entered the market" in e.text for e in v.events)
                    and (v.trust.agreed_height or 0) > 1
                ),
            )


# ---- run, as a service


def service(tmp_path: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "run", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_run_prints_what_happens_and_stops_cleanly(
    tmp_path: Path, enrolled: wallets.StoredWallet
) -> None:
    passphrase = str(written(tmp_path / "p", PASSPHRASE))
    with service(tmp_path, "--json", "--passphrase-file", passphrase) as process:
        assert process.stdout is not None
        said: list[dict[str, Any]] = []
        for line in process.stdout:
            said.append(json.loads(line))
            if "entered the market" in said[-1]["text"]:
                break
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert errors == ""
    assert said[0]["kind"] == "start"
    assert "house-" in said[0]["text"]
    assert any(line["kind"] == "meter" for line in said)
    wallets.WalletLock(enrolled.directory).release()


def test_run_with_a_wrong_passphrase_file_says_so(
    tmp_path: Path, enrolled: wallets.StoredWallet, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = str(written(tmp_path / "p", "wrong horse"))
    assert cli.main(["run", "--passphrase-file", wrong]) == 2
    assert "does not open the key" in one_line(capsys)


# ---- a real keyring

_REAL = """
import json, sys
from wallet_app.cli import main
sys.exit(main(json.loads(sys.argv[1])))
"""


@pytest.mark.skipif(
    not (shutil.which("dbus-run-session") and shutil.which("gnome-keyring-daemon")),
    reason="needs dbus-run-session and gnome-keyring-daemon",
)
def test_a_real_keyring_keeps_the_key_of_a_real_enrolment(
    tmp_path: Path, profile_file: Path, member: tuple[str, str]
) -> None:
    arguments = enrol_args(profile_file, member[0], written(tmp_path / "s", member[1]), "--keyring")
    check = (
        "from datetime import UTC, datetime; from wallet_app import wallets; "
        "w = wallets.load_wallet(wallets.wallet_directory(), datetime.now(UTC)); "
        "print('unlocked', w.identity.unlock(w.keys()).msp_id, w.identity.key_place)"
    )
    start = "printf 'test\\n' | gnome-keyring-daemon --unlock --components=secrets >/dev/null"
    script = written(tmp_path / "enrol.py", _REAL)
    run = f"{sys.executable} {script} '{json.dumps(arguments)}' && {sys.executable} -c \"{check}\""
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    done = subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", f"{start} && {run}"],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "unlocked Org1MSP keyring" in done.stdout, done.stderr
    directory = wallets.wallet_directory()
    assert not (directory / "keys").exists()
    assert wallets.load_wallet(directory, now()).identity.key_place is KeyPlace.KEYRING


def test_an_organisation_without_ca_is_said(profile_file: Path) -> None:
    profile = NetworkProfile.load(profile_file)
    first = replace(profile.organizations[0], ca=None)
    without = replace(profile, organizations=(first, *profile.organizations[1:]))
    with pytest.raises(Exception, match="wallets enrol at: Org2MSP, Org3MSP"):
        wallets.connect_ca(without, "Org1MSP")
    assert isinstance(profile.organizations[1].ca, CaEndpoint)
