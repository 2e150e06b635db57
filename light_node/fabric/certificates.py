"""X.509 as Fabric's MSP reads it: fields, certification paths at a given instant, low-S form.

``docs/fabric-protocol.md`` section 3.2, points 1 to 7. WebPKI verifiers demand host names, key
usages and validity today, which Fabric certificates do not have; so paths are built here, by the
rules of Go's ``crypto/x509`` that Fabric relies on (RFC 5280 section 6 without policies).
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from light_node.fabric.crypto import UNREADABLE, CryptoError, curve_order
from light_node.i18n import SaidError, Text

MAX_CERTIFICATE_BYTES = 64 * 1024
MAX_PATH_SIGNATURE_CHECKS = 100
"""Go's own bound on the work one certificate can cause."""

_PEM_BEGIN = b"-----BEGIN "
_PEM_DASHES = b"-----"
_MAX_UNFINISHED_PEM = 16  # beginnings without an end that are passed over
_OU_TYPE = bytes.fromhex("060355040b")  # 2.5.4.11
_UNREADABLE: tuple[type[Exception], ...] = (*UNREADABLE, IndexError)
_SIGNATURE_HASHES = frozenset({"sha256", "sha384", "sha512"})
_UNDERSTOOD_CRITICAL = frozenset(
    {
        ExtensionOID.KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.NAME_CONSTRAINTS,  # understood enough to refuse a path through it
    }
)
_VERIFIABLE_NAMES = (x509.DNSName, x509.RFC822Name, x509.IPAddress, x509.UniformResourceIdentifier)


class CertificateError(SaidError, ValueError):
    """Bytes that are no certificate Fabric would read; the message says why."""


class PathError(CertificateError):
    """The certificate does not lead to a trusted root by exactly one path."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """A certificate with the fields the MSP rules look at.

    ``der`` is the sanitized encoding; ``subject`` and ``issuer`` are the names as encoded, since
    Go links certificates by equal bytes.
    """

    parsed: x509.Certificate
    der: bytes
    subject: bytes
    issuer: bytes
    public_key: CertificatePublicKeyTypes
    public_key_info: bytes
    not_before: datetime
    not_after: datetime
    is_ca: bool
    has_basic_constraints: bool
    path_length: int | None
    may_sign_certificates: bool
    has_name_constraints: bool
    extended_key_usages: frozenset[x509.ObjectIdentifier] | None
    subject_key_id: bytes | None
    unhandled_critical: str
    organizational_units: tuple[str, ...]
    alternative_names: bytes


def first_pem_block(pem: bytes) -> bytes:
    """Return the DER in the first PEM block; ``CertificateError`` if it is no certificate's."""
    if len(pem) > MAX_CERTIFICATE_BYTES:
        raise CertificateError(Text("a certificate of {count} bytes is too long", count=len(pem)))
    label, text = _first_pem(pem)
    if label not in (b"CERTIFICATE", b"X509 CERTIFICATE"):
        raise CertificateError(Text("the first PEM block is not a certificate"))
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except ValueError as error:
        raise CertificateError(Text("the PEM block is not base64")) from error


def _first_pem(pem: bytes) -> tuple[bytes, bytes]:
    """Return label and contents of the first PEM block that has an end.

    Plain searches, a bounded number of them: a regular expression would take quadratic time, and
    anybody who serves a block chooses these bytes.
    """
    at = 0
    for _ in range(_MAX_UNFINISHED_PEM):
        begin = pem.find(_PEM_BEGIN, at)
        at = begin + len(_PEM_BEGIN)
        dashes = pem.find(_PEM_DASHES, at)
        if begin < 0 or dashes < 0:
            break
        label, start = pem[at:dashes], dashes + len(_PEM_DASHES)
        end = pem.find(b"-----END " + label + _PEM_DASHES, start)
        if end >= 0:
            return label, pem[start:end]
    raise CertificateError(Text("there is no PEM block"))


def parse(der: bytes) -> Certificate:
    """Parse a DER certificate; ``CertificateError`` if it is malformed or of an unknown kind."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _check_unsigned_parts(der)
        return _fields(certificate, der)
    except _UNREADABLE as error:
        raise CertificateError(Text("not a readable certificate: {error}", error=error)) from error


def load(pem: bytes) -> Certificate:
    """Parse the first PEM block as a certificate; ``CertificateError`` if that fails."""
    return parse(first_pem_block(pem))


def _fields(certificate: x509.Certificate, der: bytes) -> Certificate:
    found = {e.oid: e for e in certificate.extensions}

    def value(kind: type[x509.ExtensionType]) -> object | None:
        extension = found.get(kind.oid)
        return extension.value if extension else None

    constraints = value(x509.BasicConstraints)
    usage = value(x509.KeyUsage)
    purposes = value(x509.ExtendedKeyUsage)
    key_id = value(x509.SubjectKeyIdentifier)
    names = value(x509.SubjectAlternativeName)
    has_constraints = isinstance(constraints, x509.BasicConstraints)
    key = certificate.public_key()
    issuer, subject = _raw_names(certificate.tbs_certificate_bytes)
    return Certificate(
        certificate,
        der,
        subject,
        issuer,
        key,
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        isinstance(constraints, x509.BasicConstraints) and constraints.ca,
        has_constraints,
        constraints.path_length if isinstance(constraints, x509.BasicConstraints) else None,
        usage.key_cert_sign if isinstance(usage, x509.KeyUsage) else True,
        ExtensionOID.NAME_CONSTRAINTS in found,
        frozenset(purposes) if isinstance(purposes, x509.ExtendedKeyUsage) else None,
        key_id.digest if isinstance(key_id, x509.SubjectKeyIdentifier) else None,
        _unhandled(certificate.extensions),
        tuple(_organizational_units(subject)),
        names.public_bytes() if isinstance(names, x509.SubjectAlternativeName) else b"",
    )


def _check_unsigned_parts(der: bytes) -> None:
    """Refuse a second way to write what the issuer's signature does not cover.

    Identities are told apart by the whole encoding, so another one of the same certificate would
    count as another signer. Go compares the two algorithms as bytes, and moves a signature of an
    odd number of bits to the right, which then is a wrong one.
    """
    tbs, algorithm, signature = _children(der)
    parts = list(_children(tbs))
    if parts[2 if parts[0][0] == 0xA0 else 1] != algorithm:
        raise CertificateError(Text("the certificate names two signature algorithms"))
    _, start, _ = _element(signature, 0)
    if signature[start] != 0:
        raise CertificateError(Text("the certificate's signature is no whole number of bytes"))


def _raw_names(tbs: bytes) -> tuple[bytes, bytes]:
    """Return issuer and subject of a TBSCertificate, as encoded."""
    parts = list(_children(tbs))
    if parts[0][0] == 0xA0:  # the version is explicit unless it is 1
        del parts[0]
    # serial number, signature algorithm, issuer, validity, subject
    return parts[2], parts[4]


def _organizational_units(name: bytes) -> Iterator[str]:
    for relative in _children(name):
        for attribute in _children(relative):
            kind, value = _children(attribute)
            if kind == _OU_TYPE:
                _, start, end = _element(value, 0)
                encoding = {0x0C: "utf-8", 0x1E: "utf-16-be"}.get(value[0], "latin-1")
                yield value[start:end].decode(encoding)


def _unhandled(extensions: x509.Extensions) -> str:
    for extension in extensions:
        if not extension.critical:
            continue
        if extension.oid not in _UNDERSTOOD_CRITICAL:
            return str(extension.oid.dotted_string)
        names = extension.value
        if isinstance(names, x509.SubjectAlternativeName) and not any(
            isinstance(name, _VERIFIABLE_NAMES) for name in names
        ):
            return str(extension.oid.dotted_string)
    return ""


# -- paths --------------------------------------------------------------------------------------


class PathBuilder:
    """Finds certification paths from a certificate to ``roots`` through ``intermediates``."""

    def __init__(
        self, roots: Sequence[Certificate], intermediates: Sequence[Certificate] = ()
    ) -> None:
        self._roots = _by_subject(roots)
        self._intermediates = _by_subject(intermediates)
        self._root_ders = {root.der for root in roots}

    def only_path(self, leaf: Certificate, at: datetime) -> tuple[Certificate, ...]:
        """Return the one path, leaf first and root last; ``PathError`` for none or several.

        All certificates must be valid at the instant ``at``. A root's path is itself alone.
        """
        paths = [path for path in self._paths(leaf, at) if _fit_for_servers(path)]
        if len(paths) != 1:
            raise PathError(
                Text(
                    "{count} paths lead from the certificate to a root; one is needed",
                    count=len(paths),
                )
                if paths
                else Text("no path leads from the certificate to a root")
            )
        return paths[0]

    def _paths(self, leaf: Certificate, at: datetime) -> list[tuple[Certificate, ...]]:
        problem = _problem(leaf, (), at, kind="leaf")
        if problem:
            raise PathError(problem)
        if leaf.der in self._root_ders:
            return [(leaf,)]
        budget = [MAX_PATH_SIGNATURE_CHECKS]
        return self._extend((leaf,), at, budget)

    def _extend(
        self, path: tuple[Certificate, ...], at: datetime, budget: list[int]
    ) -> list[tuple[Certificate, ...]]:
        found: list[tuple[Certificate, ...]] = []
        issuer = path[-1].issuer
        for root in self._roots.get(issuer, ()):
            if self._accepts(root, path, at, budget, kind="root"):
                found.append((*path, root))
        for candidate in self._intermediates.get(issuer, ()):
            if self._accepts(candidate, path, at, budget, kind="intermediate"):
                found += self._extend((*path, candidate), at, budget)
        return found

    @staticmethod
    def _accepts(
        candidate: Certificate,
        path: tuple[Certificate, ...],
        at: datetime,
        budget: list[int],
        *,
        kind: str,
    ) -> bool:
        if any(_same_entity(candidate, member) for member in path):
            return False
        budget[0] -= 1
        if budget[0] < 0:
            raise PathError(Text("finding the certificate's path takes too many signature checks"))
        return issued(candidate, path[-1]) and not _problem(candidate, path, at, kind=kind)


def issued(issuer: Certificate, child: Certificate) -> bool:
    """Say whether ``issuer`` may sign certificates and really signed ``child``."""
    if issuer.parsed.version is x509.Version.v3 and not issuer.is_ca:
        return False
    if issuer.has_basic_constraints and not issuer.is_ca:
        return False
    if not issuer.may_sign_certificates:
        return False
    try:
        algorithm = child.parsed.signature_hash_algorithm
        if algorithm is not None and algorithm.name not in _SIGNATURE_HASHES:
            return False  # SHA-1 and MD5 prove nothing any more
        child.parsed.verify_directly_issued_by(issuer.parsed)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _problem(
    certificate: Certificate, path: Sequence[Certificate], at: datetime, *, kind: str
) -> Text | None:
    if certificate.unhandled_critical:
        return Text("critical extension {id} is not understood", id=certificate.unhandled_critical)
    if not certificate.not_before <= at <= certificate.not_after:
        return Text("a certificate of the path is not valid at {time}", time=at.isoformat())
    if kind == "leaf":
        return None
    if certificate.has_name_constraints:
        return Text("name constraints of a CA are not supported")
    if kind == "intermediate" and not certificate.is_ca:
        return Text("an intermediate is no CA")
    if certificate.path_length is not None and len(path) - 1 > certificate.path_length:
        return Text("the path is longer than a CA in it allows")
    return None


def _fit_for_servers(path: Sequence[Certificate]) -> bool:
    # Go's default purpose is serverAuth, and Fabric leaves it so (3.2 point 6): every certificate
    # of the path that lists purposes must list it.
    wanted = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    return all(c.extended_key_usages is None or bool(c.extended_key_usages & wanted) for c in path)


def _same_entity(one: Certificate, other: Certificate) -> bool:
    return (one.subject, one.public_key_info, one.alternative_names) == (
        other.subject,
        other.public_key_info,
        other.alternative_names,
    )


def _by_subject(certificates: Iterable[Certificate]) -> dict[bytes, list[Certificate]]:
    found: dict[bytes, list[Certificate]] = {}
    for certificate in certificates:
        found.setdefault(certificate.subject, []).append(certificate)
    return found


# -- low-S --------------------------------------------------------------------------------------


def sanitized(certificate: Certificate, issuer: Certificate) -> Certificate:
    """Return the certificate with its ECDSA signature in low-S form (section 3.2, point 2).

    The same certificate can be written with two signatures; Fabric's identity ids are over the
    low-S one. Unchanged when it is low-S already or not signed with ECDSA.
    """
    key = issuer.public_key
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return certificate
    try:
        order = curve_order(key.curve)
        r, s = decode_dss_signature(certificate.parsed.signature)
    except (CryptoError, ValueError) as error:
        raise CertificateError(
            Text("the certificate's signature is unusable: {error}", error=error)
        ) from error
    if s <= order // 2:
        return certificate
    signature = encode_dss_signature(r, order - s)
    raw = certificate.der
    _, body, _ = _element(raw, 0)
    _, _, end_of_tbs = _element(raw, body)
    _, _, end_of_algorithm = _element(raw, end_of_tbs)
    bits = b"\x00" + signature
    content = raw[body:end_of_algorithm] + b"\x03" + _length(len(bits)) + bits
    return parse(b"\x30" + _length(len(content)) + content)


def identifier(parts: Iterable[bytes], hash_function: str = "SHA256") -> bytes:
    """Return the digest over ``parts`` with the MSP's identity hash function.

    ``SHA256`` (the default), ``SHA384``, ``SHA3_256`` or ``SHA3_384``; ``CertificateError`` else.
    """
    names = {"": "sha256", "SHA256": "sha256", "SHA384": "sha384"}
    names |= {"SHA3_256": "sha3_256", "SHA3_384": "sha3_384"}
    if hash_function not in names:
        raise CertificateError(
            Text("unknown hash function {hash_function}", hash_function=repr(hash_function))
        )
    digest = hashlib.new(names[hash_function])
    for part in parts:
        digest.update(part)
    return digest.digest()


def _children(raw: bytes) -> Iterator[bytes]:
    """Yield the encoded elements inside the constructed element ``raw``."""
    _, at, end = _element(raw, 0)
    while at < end:
        _, _, following = _element(raw, at)
        yield raw[at:following]
        at = following


def _element(raw: bytes, offset: int) -> tuple[int, int, int]:
    """Return (tag, start of content, end) of the DER element at ``offset`` of parsed bytes."""
    first = raw[offset + 1]
    if first < 0x80:
        start, length = offset + 2, first
    else:
        start = offset + 2 + (first & 0x7F)
        length = int.from_bytes(raw[offset + 2 : start], "big")
    return raw[offset], start, start + length


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes((length,))
    content = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(content),)) + content
