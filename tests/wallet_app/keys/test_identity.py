"""Enrolment keeps a key only with its certificate, and never puts one in another's place."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from light_node.fabric.errors import CaAuthenticationFailed
from wallet_app.keys import store
from wallet_app.keys.identity import EnrolmentError, WalletIdentity, enrol, load_identity
from wallet_app.keys.store import FileStore, KeyPlace, KeyStoreError

NOW = datetime(2026, 6, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_SCRYPT_N", 2**4)


class Ca:
    """Certifies what it is asked for; can be told to certify something else, or nothing."""

    def __init__(self, *, name: str = "", other_key: bool = False) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name, self.other_key = name, other_key
        self.refuses = False

    def enroll(self, enrolment_id: str, secret: str, csr_pem: bytes) -> bytes:
        if self.refuses:
            raise CaAuthenticationFailed("no")
        request = x509.load_pem_x509_csr(csr_pem)
        name = request.subject
        if self.name:
            attribute = x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, self.name)
            name = x509.Name([attribute])
        public = self.key.public_key() if self.other_key else request.public_key()
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
        builder = builder.public_key(public).serial_number(1)
        builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
        certificate = builder.sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)


def enrol_here(directory: Path, ca: Ca, enrolment_id: str = "hh-001") -> WalletIdentity:
    keys = FileStore(directory / "keys", "correct horse")
    return enrol(directory, keys, ca, "Org1MSP", enrolment_id, "secret")


def key_files(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "keys").glob("*"))


def test_what_is_enrolled_is_read_back_and_signs(tmp_path: Path) -> None:
    identity = enrol_here(tmp_path, Ca())
    assert load_identity(tmp_path) == identity
    assert identity.key_place is KeyPlace.FILE
    assert identity.participant == "hh-001@Org1MSP"
    assert identity.expires == NOW + timedelta(days=1)
    signing = identity.unlock(FileStore(tmp_path / "keys", "correct horse"))
    assert signing.signer.sign(b"x")
    assert "PRIVATE" not in (tmp_path / "identity.json").read_text()


def test_enrolling_again_never_overwrites_the_key_in_use(tmp_path: Path) -> None:
    ca = Ca()
    first = enrol_here(tmp_path, ca)
    ca.refuses = True
    with pytest.raises(CaAuthenticationFailed):
        enrol_here(tmp_path, ca)
    assert load_identity(tmp_path) == first
    assert key_files(tmp_path) == [f"{first.key_name}.key"]
    first.unlock(FileStore(tmp_path / "keys", "correct horse"))
    ca.refuses = False
    second = enrol_here(tmp_path, ca)
    assert second.key_name != first.key_name
    assert len(key_files(tmp_path)) == 2


@pytest.mark.parametrize("ca", [Ca(name="other"), Ca(other_key=True)])
def test_a_certificate_for_somebody_else_is_refused(tmp_path: Path, ca: Ca) -> None:
    with pytest.raises(EnrolmentError, match="do not use it"):
        enrol_here(tmp_path, ca)
    assert load_identity(tmp_path) is None
    assert key_files(tmp_path) == []


def test_a_disk_that_is_full_leaves_no_key_without_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wallet_app.keys.identity.write_atomically", full)
    with pytest.raises(OSError, match="No space"):
        enrol_here(tmp_path, Ca())
    assert key_files(tmp_path) == []


@pytest.mark.parametrize("enrolment_id", ["../../x", "a/b c", "用户", ".hidden", "x" * 64])
def test_any_enrolment_id_gives_a_key_name_that_stays_in_the_directory(
    tmp_path: Path, enrolment_id: str
) -> None:
    keys = FileStore(tmp_path / "keys", "correct horse")
    identity = enrol(tmp_path, keys, Ca(), "Org1MSP", enrolment_id, "s")
    assert key_files(tmp_path) == [f"{identity.key_name}.key"]


@pytest.mark.parametrize("enrolment_id", ["", "x" * 65])
def test_an_impossible_enrolment_id_makes_no_key(tmp_path: Path, enrolment_id: str) -> None:
    with pytest.raises(EnrolmentError, match="1 to 64"):
        enrol_here(tmp_path, Ca(), enrolment_id)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"msp_id": 1}', '{"msp_id":"a","enrolment_id":"b","certificate":"c"}'],
)
def test_a_damaged_identity_is_said_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "identity.json"
    path.write_text(text)
    with pytest.raises(EnrolmentError, match="enrol again"):
        load_identity(tmp_path)
    assert path.read_text() == text


def test_an_unknown_place_of_the_key_is_no_guess(tmp_path: Path) -> None:
    enrol_here(tmp_path, Ca())
    path = tmp_path / "identity.json"
    path.write_text(path.read_text().replace('"file"', '"cloud"'))
    with pytest.raises(EnrolmentError, match="cloud"):
        load_identity(tmp_path)


def test_a_key_that_is_not_the_certificates_is_refused(tmp_path: Path) -> None:
    first, second = enrol_here(tmp_path / "a", Ca()), enrol_here(tmp_path / "b", Ca())
    taken = tmp_path / "b" / "keys" / f"{second.key_name}.key"
    taken.rename(tmp_path / "a" / "keys" / f"{first.key_name}.key")
    with pytest.raises(KeyStoreError, match="does not belong"):
        first.unlock(FileStore(tmp_path / "a" / "keys", "correct horse"))


def test_a_damaged_certificate_is_said_before_it_is_used(tmp_path: Path) -> None:
    enrol_here(tmp_path, Ca())
    path = tmp_path / "identity.json"
    text = path.read_text()
    path.write_text(text.replace("CERTIFICATE-----\\nMI", "CERTIFICATE-----\\nXX", 1))
    assert path.read_text() != text
    with pytest.raises(EnrolmentError, match=r"damaged.*enrol again"):
        load_identity(tmp_path)


def of_another_version(pem: bytes) -> bytes:
    """The certificate with X.509 version 4, which the library refuses in a way of its own."""
    label, *body, end = pem.splitlines()
    der = bytearray(base64.b64decode(b"".join(body)))
    der[der.index(bytes.fromhex("a003020102")) + 4] = 3
    return b"\n".join((label, base64.b64encode(der), end, b""))


@pytest.mark.parametrize(
    "spoil", [lambda _: b"-----BEGIN CERTIFICATE-----\nnone", of_another_version]
)
def test_an_answer_of_the_ca_that_is_no_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes]
) -> None:
    ca = Ca()
    issue = ca.enroll
    monkeypatch.setattr(ca, "enroll", lambda *asked: spoil(issue(*asked)))
    with pytest.raises(EnrolmentError, match="no certificate"):
        enrol_here(tmp_path, ca)
    assert not (tmp_path / "identity.json").exists()
    assert key_files(tmp_path) == []


def test_an_identity_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "identity.json").mkdir()
    with pytest.raises(EnrolmentError, match="cannot read"):
        load_identity(tmp_path)
