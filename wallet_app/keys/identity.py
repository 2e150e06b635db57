"""The wallet's identity: a key made here, a certificate the consortium's CA gave for it.

The private key goes from generation straight into the key store; what lies in the wallet's
directory (``identity.json``) is public: MSP id, enrolment id, certificate.
"""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from light_node import jsonio
from light_node.fabric.crypto import CryptoError, KeySigner, load_certificate, public_key_of
from light_node.fabric.identity import SigningIdentity
from light_node.i18n import os_reason
from wallet_app.files import write_atomically
from wallet_app.i18n import said, tr
from wallet_app.keys.store import KeyPlace, KeyStore, KeyStoreError

_FILE = "identity.json"
_MAX_NAME = 64  # X.509's bound of a common name


class EnrolmentError(Exception):
    """The wallet could not be enrolled or its identity not be used; the message says what to do."""


class Enroller(Protocol):
    """The part of the CA client that enrolment needs."""

    def enroll(self, enrolment_id: str, secret: str, csr_pem: bytes) -> bytes:
        """Return the certificate (PEM) issued for the request."""
        ...


@dataclass(frozen=True, slots=True)
class WalletIdentity:
    """Public side of an enrolment."""

    msp_id: str
    enrolment_id: str
    certificate_pem: bytes
    key_name: str
    key_place: KeyPlace

    @property
    def participant(self) -> str:
        """The id under which the market contract knows this wallet."""
        return f"{self.enrolment_id}@{self.msp_id}"

    @property
    def expires(self) -> datetime:
        """When the certificate ends (aware UTC)."""
        return x509.load_pem_x509_certificate(self.certificate_pem).not_valid_after_utc

    def unlock(self, keys: KeyStore) -> SigningIdentity:
        """Return the identity ready to sign; ``KeyStoreError`` if the key is not to be had."""
        key = _load_key(keys.load(self.key_name))
        certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        if key.public_key() != certificate.public_key():
            raise KeyStoreError(
                tr("the stored key does not belong to the certificate: enrol again")
            )
        return SigningIdentity(self.msp_id, self.certificate_pem, KeySigner(key))


def load_identity(directory: Path) -> WalletIdentity | None:
    """Return the identity kept in ``directory``, None if there is none yet."""
    try:
        raw = (directory / _FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnrolmentError(
            tr(
                "cannot read {path}: {why}",
                path=directory / _FILE,
                why=said(os_reason(error)),
            )
        ) from error
    try:
        fields = jsonio.mapping(jsonio.strict_loads(raw), _FILE)
        certificate = jsonio.string(fields, "certificate", max_length=65536).encode()
        load_certificate(certificate)
        return WalletIdentity(
            jsonio.string(fields, "msp_id"),
            jsonio.string(fields, "enrolment_id"),
            certificate,
            jsonio.string(fields, "key_name"),
            KeyPlace(jsonio.string(fields, "key_place")),
        )
    except ValueError as error:
        raise EnrolmentError(
            tr(
                "{path} is damaged: {why}; enrol again",
                path=directory / _FILE,
                why=said(error),
            )
        ) from error


def enrol(
    directory: Path, keys: KeyStore, ca: Enroller, msp_id: str, enrolment_id: str, secret: str
) -> WalletIdentity:
    """Make a key, have the CA certify it, keep both; return the public side.

    The key is stored before the CA is asked: an answer that is lost costs an enrolment, never a
    certificate without its key. Its name holds its fingerprint, so that enrolling again, or in
    another network under the same name, overwrites no key that is still in use. Where the CA
    refuses, the new key is removed again. Errors of the CA client pass through.
    """
    if not 0 < len(enrolment_id) <= _MAX_NAME:
        raise EnrolmentError(
            tr("an enrolment id has 1 to {most} characters: check it", most=_MAX_NAME)
        )
    key = ec.generate_private_key(ec.SECP256R1())
    key_name = _key_name(key.public_key(), msp_id, enrolment_id)
    keys.save(
        key_name,
        key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    try:
        certificate_pem = ca.enroll(enrolment_id, secret, certificate_request(key, enrolment_id))
        _check_certificate(certificate_pem, key.public_key(), enrolment_id)
        identity = WalletIdentity(msp_id, enrolment_id, certificate_pem, key_name, keys.place)
        write_atomically(directory / _FILE, _public_json(identity))
    except BaseException:
        # What went wrong is the news; a store that fails now too only keeps a key nobody needs.
        with contextlib.suppress(KeyStoreError, OSError):
            keys.delete(key_name)
        raise
    return identity


def _check_certificate(pem: bytes, key: ec.EllipticCurvePublicKey, enrolment_id: str) -> None:
    try:
        certificate = load_certificate(pem)
        certified = public_key_of(certificate)
    except CryptoError as error:
        raise EnrolmentError(
            tr("the CA answered with no certificate: {why}; try again", why=said(error))
        ) from error
    if certified != key:
        raise EnrolmentError(
            tr("the CA answered with a certificate for another key: do not use it")
        )
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if [name.value for name in names] != [enrolment_id]:
        raise EnrolmentError(
            tr("the CA answered with a certificate for another name: do not use it")
        )


def _key_name(key: ec.EllipticCurvePublicKey, msp_id: str, enrolment_id: str) -> str:
    form, kind = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    fingerprint = hashlib.sha256(key.public_bytes(form, kind)).hexdigest()[:12]
    # Also the name of a file, on systems that allow few characters in one.
    name = f"{enrolment_id[:100]}@{msp_id[:60]}"
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_@.") else "_" for c in name)
    return f"{plain.lstrip('.')}-{fingerprint}"


def certificate_request(key: ec.EllipticCurvePrivateKey, enrolment_id: str) -> bytes:
    """Return the PEM CSR with CN = enrolment id, as Fabric CA wants it (section 5.2)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, enrolment_id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _public_json(identity: WalletIdentity) -> bytes:
    body = {
        "version": 1,
        "msp_id": identity.msp_id,
        "enrolment_id": identity.enrolment_id,
        "certificate": identity.certificate_pem.decode(),
        "key_name": identity.key_name,
        "key_place": identity.key_place.value,
    }
    return json.dumps(body, indent=2).encode()


def _load_key(data: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_der_private_key(data, password=None)
    except ValueError as error:
        raise KeyStoreError(
            tr("the stored key is damaged: restore a backup or enrol again")
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyStoreError(tr("the stored key is of an unknown kind: enrol again"))
    return key
