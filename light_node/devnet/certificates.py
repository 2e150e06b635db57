"""X.509 as Fabric's CAs issue it: roots, identities with NodeOUs and attributes, TLS servers, CRLs.

Identities follow ``docs/fabric-protocol.md`` 5.2 (all OUs in one multi-valued RDN), 5.4 (attribute
extension, raw JSON) and 3.2 (no extended key usage, SubjectKeyIdentifier, never older than the CA).
Keys are ECDSA P-256. Times are aware UTC datetimes, passed in.
"""

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from light_node.fabric import crypto
from light_node.fabric.crypto import PublicKey
from light_node.fabric.identity import ATTRIBUTES_OID

ROOT_LIFETIME = timedelta(days=15 * 365)
NODE_LIFETIME = timedelta(days=10 * 365)
# A certificate whose NotBefore lies before its CA's is refused for ever (3.2 rule 3); a clock that
# is set back a little after the first start must not make the network's own requests fail either.
BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM text."""
        return crypto.certificate_pem(self.certificate)

    @property
    def key_pem(self) -> bytes:
        """The key as unencrypted PKCS#8 PEM; only for files and sockets of the devnet itself."""
        return crypto.private_key_pem(self.key)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> "Credential":
        """Read what :attr:`certificate_pem` and :attr:`key_pem` give; ``ValueError`` if damaged."""
        key = crypto.load_private_key(key_pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is not an ECDSA key")
        return cls(crypto.load_certificate(certificate_pem), key)


def new_root(common_name: str, organization: str, now: datetime) -> Credential:
    """Return a self-signed root CA named ``common_name``, valid from a little before ``now``."""
    key = crypto.generate_key()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    start = now.replace(microsecond=0) - BACKDATED
    usage = _key_usage(digital_signature=True, key_cert_sign=True, crl_sign=True)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Credential(certificate, key)


def issue_identity(
    issuer: Credential,
    public_key: PublicKey,
    common_name: str,
    units: Sequence[str],
    not_after: datetime,
    *,
    not_before: datetime | None = None,
    attributes: Mapping[str, str] | None = None,
    location: Sequence[x509.NameAttribute[Any]] = (),
) -> x509.Certificate:
    """Issue an enrolment certificate: ``units`` become OUs, the first being the NodeOU.

    ``location`` are the C, ST, L and O of a request, which the CA keeps.

    ``attributes`` None means no attribute extension; an empty mapping gives an empty extension.
    ``not_before`` defaults to the CA's own; ``not_after`` is capped at the CA's (5.2).
    """
    builder = _leaf(
        issuer, public_key, _subject(common_name, units, location), not_before, not_after
    )
    builder = builder.add_extension(_key_usage(digital_signature=True), critical=True)
    if attributes is not None:
        text = json.dumps({"attrs": dict(attributes)}, separators=(",", ":"), ensure_ascii=False)
        extension = x509.UnrecognizedExtension(ATTRIBUTES_OID, text.encode())
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def issue_tls(
    issuer: Credential,
    public_key: PublicKey,
    common_name: str,
    hosts: Iterable[str],
    not_after: datetime,
    *,
    units: Sequence[str] = (),
) -> x509.Certificate:
    """Issue a TLS certificate for ``hosts`` (names or IP addresses), for both ends of a line."""
    builder = _leaf(issuer, public_key, _subject(common_name, units), None, not_after)
    usage = _key_usage(digital_signature=True, key_encipherment=True)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    names = [_general_name(host) for host in dict.fromkeys(hosts)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def revocation_list(
    issuer: Credential,
    revoked: Iterable[tuple[int, datetime, str]],
    now: datetime,
    lifetime: timedelta = timedelta(days=1),
) -> bytes:
    """Return a PEM CRL of (serial number, revoked at, RFC 5280 reason name in lower case)."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now)
        .next_update(now + lifetime)
        .add_extension(authority_key_identifier(issuer.certificate), critical=False)
    )
    for serial, moment, reason in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment)
        flag = REASONS[reason]
        if flag is not x509.ReasonFlags.unspecified:
            entry = entry.add_extension(x509.CRLReason(flag), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


REASONS = {flag.name.replace("_", ""): flag for flag in x509.ReasonFlags}
"""RFC 5280 reasons by the names the CA's REST interface uses (``keycompromise``, …)."""


def subject_key_identifier(certificate: x509.Certificate) -> bytes:
    """Return the SubjectKeyIdentifier of one of this module's certificates."""
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the AuthorityKeyIdentifier that what ``issuer`` issues carries."""
    extension = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(extension.value)


def _leaf(
    issuer: Credential,
    public_key: PublicKey,
    subject: x509.Name,
    not_before: datetime | None,
    not_after: datetime,
) -> x509.CertificateBuilder:
    ca = issuer.certificate
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before or ca.not_valid_before_utc)
        .not_valid_after(min(not_after, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(authority_key_identifier(ca), critical=False)
    )


def _subject(
    common_name: str, units: Sequence[str], location: Sequence[x509.NameAttribute[Any]] = ()
) -> x509.Name:
    rdns = [x509.RelativeDistinguishedName([attribute]) for attribute in location]
    if units:
        ous = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
        rdns.append(x509.RelativeDistinguishedName(list(dict.fromkeys(ous))))
    name = x509.NameAttribute(NameOID.COMMON_NAME, common_name)
    return x509.Name([*rdns, x509.RelativeDistinguishedName([name])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
