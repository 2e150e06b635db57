"""Who is registered at the CAs, with which attributes, and every certificate they issued.

Secrets are kept as scrypt hashes. One connection behind one lock: the REST server's threads share
it. ``docs/fabric-protocol.md`` section 5 tells what the columns mean.
"""

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from light_node.devnet.certificates import subject_key_identifier
from light_node.devnet.store import Store
from light_node.fabric import crypto

UNLIMITED = -1
AFFILIATIONS = ("org1", "org1.department1", "org1.department2", "org2", "org2.department1")
"""What a CA knows at first besides the root affiliation: the tree Fabric CA starts with."""
_SALT_BYTES = 16
# About 10 ms a guess: online guessing is stopped by the attempt limit, this is for a stolen file.
_SCRYPT_COST = 2**12


@dataclass(frozen=True, slots=True)
class Attribute:
    """A registered attribute; ``ecert`` ones go into certificates without being asked for."""

    name: str
    value: str
    ecert: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """An identity as the CA knows it. ``max_enrollments`` -1 means no limit."""

    id: str
    type: str
    affiliation: str
    attributes: tuple[Attribute, ...]
    max_enrollments: int
    enrollments: int
    wrong_secrets: int
    revoked: bool

    def attribute(self, name: str) -> str:
        """Return the value of a registered attribute, "" if there is none."""
        return next((a.value for a in self.attributes if a.name == name), "")


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate a CA issued; serial and AKI in lower-case hex."""

    serial: str
    aki: str
    id: str
    pem: bytes
    revoked_at: datetime | None
    reason: str


class Registry:
    """The tables ``ca_identity`` and ``ca_certificate``. Thread-safe."""

    def __init__(self, store: Store, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._random = random
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._store.close()

    # -- identities --------------------------------------------------------------------------

    def find(self, ca: str, identity: str) -> Registration | None:
        """Return a registration, None if there is none."""
        with self._lock:
            row = self._store.execute(
                f"{_SELECT_IDENTITY} WHERE ca = ? AND id = ?", [ca, identity]
            ).fetchone()
        return None if row is None else _registration(row)

    def all(self, ca: str) -> list[Registration]:
        """Return all registrations of a CA by id."""
        with self._lock:
            rows = self._store.execute(f"{_SELECT_IDENTITY} WHERE ca = ? ORDER BY id", [ca])
            return [_registration(row) for row in rows]

    def add(
        self,
        ca: str,
        identity: str,
        secret: str,
        kind: str,
        affiliation: str,
        attributes: Sequence[Attribute],
        max_enrollments: int,
    ) -> bool:
        """Register ``identity``; False if it exists already."""
        salt = self._random(_SALT_BYTES)
        hashed = _hash(secret, salt)
        text = _attributes_text(attributes)
        with self._lock:
            cursor = self._store.execute(
                "INSERT OR IGNORE INTO ca_identity "
                "(ca, id, salt, secret, type, affiliation, attributes, max_enrollments) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [ca, identity, salt, hashed, kind, affiliation, text, max_enrollments],
            )
            return cursor.rowcount == 1

    def secret_matches(self, ca: str, identity: str, secret: str) -> bool:
        """Tell whether ``secret`` is the identity's; takes as long for an unknown identity."""
        with self._lock:
            row = self._store.execute(
                "SELECT salt, secret FROM ca_identity WHERE ca = ? AND id = ?", [ca, identity]
            ).fetchone()
        salt, expected = row or (bytes(_SALT_BYTES), bytes(32))
        return hmac.compare_digest(_hash(secret, salt), expected) and row is not None

    def count_wrong_secret(self, ca: str, identity: str) -> None:
        """Remember one more failed attempt."""
        self._update("wrong_secrets = wrong_secrets + 1", ca, identity)

    def count_enrollment(self, ca: str, identity: str) -> bool:
        """Use up one enrolment; False if none is left. Resets the count of wrong secrets."""
        with self._lock:
            cursor = self._store.execute(
                "UPDATE ca_identity SET enrollments = enrollments + 1, wrong_secrets = 0 "
                "WHERE ca = ? AND id = ? "
                "AND (max_enrollments < 0 OR enrollments < max_enrollments)",
                [ca, identity],
            )
            return cursor.rowcount == 1

    def modify(
        self, ca: str, changed: Registration, secret: str | None, max_enrollments: int
    ) -> None:
        """Keep type, affiliation and attributes of ``changed``, and a new secret if there is one.

        A new secret forgets the wrong ones before it.
        """
        text = _attributes_text(changed.attributes)
        with self._lock, self._store.transaction():
            self._store.execute(
                "UPDATE ca_identity SET type = ?, affiliation = ?, attributes = ?, "
                "max_enrollments = ? WHERE ca = ? AND id = ?",
                [changed.type, changed.affiliation, text, max_enrollments, ca, changed.id],
            )
            if secret is not None:
                salt = self._random(_SALT_BYTES)
                self._store.execute(
                    "UPDATE ca_identity SET salt = ?, secret = ?, wrong_secrets = 0 "
                    "WHERE ca = ? AND id = ?",
                    [salt, _hash(secret, salt), ca, changed.id],
                )

    def remove(self, ca: str, identity: str, moment: datetime, reason: str) -> None:
        """Forget an identity and revoke its certificates."""
        with self._lock, self._store.transaction():
            self._store.execute("DELETE FROM ca_identity WHERE ca = ? AND id = ?", [ca, identity])
            self._store.execute(
                "UPDATE ca_certificate SET revoked_at = ?, reason = ? "
                "WHERE ca = ? AND id = ? AND revoked_at IS NULL",
                [moment.isoformat(), reason, ca, identity],
            )

    def revoke_identity(self, ca: str, identity: str) -> None:
        """Let the identity enrol no more."""
        self._update("revoked = 1", ca, identity)

    def _update(self, assignment: str, ca: str, identity: str) -> None:
        with self._lock:
            self._store.execute(
                f"UPDATE ca_identity SET {assignment} WHERE ca = ? AND id = ?", [ca, identity]
            )

    # -- affiliations ------------------------------------------------------------------------

    def affiliations(self, ca: str) -> tuple[str, ...]:
        """Return the affiliations of a CA, sorted."""
        with self._lock:
            kept = self._store.meta(f"affiliations/{ca}")
        return AFFILIATIONS if kept is None else tuple(json.loads(kept))

    def set_affiliations(self, ca: str, names: Iterable[str]) -> None:
        """Keep other affiliations."""
        with self._lock:
            self._store.set_meta(f"affiliations/{ca}", json.dumps(sorted(set(names))))

    # -- certificates ------------------------------------------------------------------------

    def add_certificate(self, ca: str, identity: str, certificate: x509.Certificate) -> None:
        """Keep a certificate that was issued."""
        with self._lock:
            self._store.execute(
                "INSERT INTO ca_certificate VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
                [
                    ca,
                    serial_text(certificate.serial_number),
                    _authority(certificate),
                    identity,
                    crypto.certificate_pem(certificate),
                    certificate.not_valid_after_utc.isoformat(),
                ],
            )

    def certificate(self, ca: str, serial: str) -> IssuedCertificate | None:
        """Return an issued certificate by its serial number in hex."""
        with self._lock:
            row = self._store.execute(
                f"{_SELECT_CERTIFICATE} WHERE ca = ? AND serial = ?", [ca, serial]
            ).fetchone()
        return None if row is None else _certificate(row)

    def certificates(self, ca: str, identity: str | None = None) -> list[IssuedCertificate]:
        """Return the certificates of a CA, or of one of its identities."""
        sql, parameters = f"{_SELECT_CERTIFICATE} WHERE ca = ?", [ca]
        if identity is not None:
            sql, parameters = f"{sql} AND id = ?", [ca, identity]
        with self._lock:
            return [_certificate(row) for row in self._store.execute(sql, parameters)]

    def revoke_certificate(self, ca: str, serial: str, moment: datetime, reason: str) -> None:
        """Mark a certificate revoked; the first revocation's time and reason stay."""
        with self._lock:
            self._store.execute(
                "UPDATE ca_certificate SET revoked_at = ?, reason = ? "
                "WHERE ca = ? AND serial = ? AND revoked_at IS NULL",
                [moment.isoformat(), reason, ca, serial],
            )


_SELECT_IDENTITY = (
    "SELECT id, type, affiliation, attributes, max_enrollments, enrollments, wrong_secrets, "
    "revoked FROM ca_identity"
)
_SELECT_CERTIFICATE = "SELECT serial, aki, id, pem, revoked_at, reason FROM ca_certificate"


def _attributes_text(attributes: Sequence[Attribute]) -> str:
    return json.dumps([[a.name, a.value, a.ecert] for a in attributes], ensure_ascii=False)


def serial_text(serial: int) -> str:
    """Return a serial number as the CA's interface writes it: lower-case hex."""
    return f"{serial:x}"


def issuer_key_id(certificate: x509.Certificate) -> str:
    """Return a CA's SubjectKeyIdentifier in hex: the AKI of what it issues."""
    return subject_key_identifier(certificate).hex()


def _authority(certificate: x509.Certificate) -> str:
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    return (extension.value.key_identifier or b"").hex()


def _hash(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        secret.encode("utf-8", "surrogatepass"), salt=salt, n=_SCRYPT_COST, r=8, p=1, dklen=32
    )


def _registration(row: Sequence[object]) -> Registration:
    identity, kind, affiliation, attributes, most, used, wrong, revoked = row
    return Registration(
        id=str(identity),
        type=str(kind),
        affiliation=str(affiliation),
        attributes=tuple(Attribute(*entry) for entry in json.loads(str(attributes))),
        max_enrollments=int(str(most)),
        enrollments=int(str(used)),
        wrong_secrets=int(str(wrong)),
        revoked=bool(revoked),
    )


def _certificate(row: Sequence[object]) -> IssuedCertificate:
    serial, aki, identity, pem, revoked_at, reason = row
    assert isinstance(pem, bytes)
    return IssuedCertificate(
        str(serial),
        str(aki),
        str(identity),
        pem,
        datetime.fromisoformat(str(revoked_at)) if revoked_at else None,
        str(reason or ""),
    )
