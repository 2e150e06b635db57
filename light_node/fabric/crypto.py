"""Signatures and keys as Fabric wants them (docs/fabric-protocol.md 3.4).

ECDSA is always over SHA-256, whatever the curve, DER encoded, with the low of the two possible
``s`` values: Fabric refuses a high-S signature, so :func:`verify` does too. Ed25519 signs the
message itself (channels with capability V3_0).
"""

import hashlib
from collections.abc import Callable
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from light_node.i18n import SaidError, Text

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_ECDSA = ec.ECDSA(hashes.SHA256())

# Orders n of the NIST curves (SEC 2, section 2); Fabric knows no other curves.
_CURVE_ORDERS = {
    "secp224r1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF16A2E0B8F03E13DD29455C5C2A3D,
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
        "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
        16,
    ),
    "secp521r1": int(
        "1" + "F" * 64 + "FA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
        16,
    ),
}


UNREADABLE: tuple[type[Exception], ...] = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What ``cryptography`` raises on foreign X.509: not all of it is a ``ValueError``."""


class CryptoError(SaidError, ValueError):
    """A key or certificate that cannot be used with Fabric; the message says why."""


class Signer(Protocol):
    """Something that holds a private key: a key in memory, a keyring, a card."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature over ``message``: ECDSA-SHA256 DER low-S, or raw Ed25519."""
        ...


class KeySigner:
    """A :class:`Signer` over a private key in memory. Thread-safe."""

    __slots__ = ("_half", "_key", "_order")

    def __init__(self, private_key: PrivateKey) -> None:
        """``CryptoError`` for a curve that Fabric does not accept."""
        self._key = private_key
        self._order = 0
        if isinstance(private_key, ec.EllipticCurvePrivateKey):
            self._order = curve_order(private_key.curve)
        self._half = self._order // 2

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return self._key.public_key()

    def sign(self, message: bytes) -> bytes:
        """Return the signature over ``message``: ECDSA-SHA256 DER low-S, or raw Ed25519."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        signature = self._key.sign(message, _ECDSA)
        r, s = decode_dss_signature(signature)
        if s <= self._half:
            return signature
        return encode_dss_signature(r, self._order - s)


def verify(public_key: object, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` is one that Fabric accepts over ``message``.

    False for a high-S, malformed (not strict DER) or wrong signature, and for a key of a kind or
    curve Fabric does not know. Never raises on foreign input.
    """
    return verifier(public_key)(signature, message)


def verifier(public_key: object) -> Callable[[bytes, bytes], bool]:
    """Return :func:`verify` for one key, (signature, message) → bool: for a key used often."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return _ecdsa_verifier(public_key)
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return _ed25519_verifier(public_key)
    return _refuse


def _ecdsa_verifier(key: ec.EllipticCurvePublicKey) -> Callable[[bytes, bytes], bool]:
    try:
        half = curve_order(key.curve) // 2
    except CryptoError:
        return _refuse
    check = key.verify

    def verify_ecdsa(signature: bytes, message: bytes) -> bool:
        try:
            check(signature, message, _ECDSA)
        except (InvalidSignature, ValueError):
            return False
        # OpenSSL takes nothing but the one DER encoding: SEQUENCE { INTEGER r, INTEGER s }.
        at = 2 if signature[1] < 0x80 else 3
        return int.from_bytes(signature[at + 4 + signature[at + 1] :], "big") <= half

    return verify_ecdsa


def _ed25519_verifier(key: ed25519.Ed25519PublicKey) -> Callable[[bytes, bytes], bool]:
    def verify_ed25519(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify_ed25519


def _refuse(_signature: bytes, _message: bytes) -> bool:
    return False


def curve_order(curve: ec.EllipticCurve) -> int:
    """Return the order n of a NIST curve P-224 to P-521; ``CryptoError`` for any other curve."""
    try:
        return _CURVE_ORDERS[curve.name]
    except KeyError:
        raise CryptoError(
            Text("Fabric does not know the curve {name}: use P-256", name=curve.name)
        ) from None


def is_low_s(public_key: ec.EllipticCurvePublicKey, signature: bytes) -> bool:
    """Tell whether a DER signature has s ≤ n/2; ``ValueError`` if it is not DER."""
    return decode_dss_signature(signature)[1] <= curve_order(public_key.curve) // 2


def sha256(*parts: bytes) -> bytes:
    """Return SHA-256 over the concatenation of ``parts``."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def generate_key() -> ec.EllipticCurvePrivateKey:
    """Return a new P-256 key, the kind every Fabric version and CA accepts."""
    return ec.generate_private_key(ec.SECP256R1())


def private_key_pem(key: PrivateKey) -> bytes:
    """Return the key as unencrypted PKCS#8 PEM. For devnets and tests: a wallet never does this."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_private_key(pem: bytes, password: bytes | None = None) -> PrivateKey:
    """Read an EC or Ed25519 private key in PEM; ``CryptoError`` for anything else."""
    try:
        key = serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CryptoError(Text("this is no readable private key in PEM")) from error
    if isinstance(key, ec.EllipticCurvePrivateKey):
        curve_order(key.curve)
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise CryptoError(Text("Fabric accepts ECDSA and Ed25519 keys only"))


def load_certificate(pem: bytes) -> x509.Certificate:
    """Read the first certificate in PEM text; ``CryptoError`` if there is none."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except UNREADABLE as error:
        raise CryptoError(Text("this is no readable certificate in PEM")) from error


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Read all certificates in PEM text, in order; ``CryptoError`` if there is none."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except UNREADABLE as error:
        raise CryptoError(Text("this is no readable certificate in PEM")) from error


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return the certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def public_key_of(certificate: x509.Certificate) -> PublicKey:
    """Return the certificate's key; ``CryptoError`` for RSA and curves Fabric does not know."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CryptoError(Text("the certificate's key is of an unknown kind")) from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve_order(key.curve)
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise CryptoError(Text("Fabric accepts ECDSA and Ed25519 certificates only"))
