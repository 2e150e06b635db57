"""Signatures: low-S made, high-S refused, every curve over SHA-256."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given
from hypothesis import strategies as st

from light_node.fabric import crypto

CURVES = [ec.SECP224R1(), ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]
P256 = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_every_curve_signs_low_s_over_sha256(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    signer = crypto.KeySigner(key)
    for number in range(8):
        message = b"message %d" % number
        signature = signer.sign(message)
        assert crypto.is_low_s(key.public_key(), signature)
        assert crypto.verify(key.public_key(), signature, message)
        key.public_key().verify(signature, message, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_high_s_is_refused(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    r, s = decode_dss_signature(crypto.KeySigner(key).sign(b"m"))
    high = encode_dss_signature(r, crypto.curve_order(curve) - s)
    key.public_key().verify(high, b"m", ec.ECDSA(hashes.SHA256()))  # valid but for its s
    assert not crypto.verify(key.public_key(), high, b"m")


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_curve_orders_are_those_of_the_curves(curve: ec.EllipticCurve) -> None:
    # (n−1)·G = −G: only the true order gives a key with the generator's x.
    order = crypto.curve_order(curve)
    first = ec.derive_private_key(1, curve).public_key().public_numbers()
    last = ec.derive_private_key(order - 1, curve).public_key().public_numbers()
    assert first.x == last.x
    assert first.y != last.y


def test_sha384_digest_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    signature = key.sign(b"m", ec.ECDSA(hashes.SHA384()))
    assert not crypto.verify(key.public_key(), signature, b"m")


def test_ed25519_signs_the_message_itself() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signature = crypto.KeySigner(key).sign(b"m")
    assert signature == key.sign(b"m")
    assert crypto.verify(key.public_key(), signature, b"m")
    assert not crypto.verify(key.public_key(), signature, b"n")


def test_other_keys_and_curves_are_refused() -> None:
    key = rsa.generate_private_key(65537, 2048)
    assert not crypto.verify(key.public_key(), b"x", b"m")
    with pytest.raises(crypto.CryptoError, match="secp256k1"):
        crypto.KeySigner(ec.generate_private_key(ec.SECP256K1()))


@given(st.binary(max_size=80))
def test_garbage_never_verifies_or_raises(signature: bytes) -> None:
    assert not crypto.verify(P256.public_key(), signature, b"m")


def test_any_altered_bit_of_a_signature_fails() -> None:
    signature = crypto.KeySigner(P256).sign(b"m")
    for bit in range(len(signature) * 8):
        altered = bytearray(signature)
        altered[bit // 8] ^= 1 << bit % 8
        assert not crypto.verify(P256.public_key(), bytes(altered), b"m")


def test_zero_r_and_s_and_trailing_bytes_fail() -> None:
    assert not crypto.verify(P256.public_key(), encode_dss_signature(0, 1), b"m")
    assert not crypto.verify(P256.public_key(), encode_dss_signature(1, 0), b"m")
    signature = crypto.KeySigner(P256).sign(b"m")
    assert not crypto.verify(P256.public_key(), signature + b"\0", b"m")


def test_keys_survive_pem_and_foreign_pem_is_refused() -> None:
    assert crypto.load_private_key(crypto.private_key_pem(P256)).private_numbers() == (  # type: ignore[union-attr]
        P256.private_numbers()
    )
    for bad in (
        b"",
        b"nonsense",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ):
        with pytest.raises(crypto.CryptoError):
            crypto.load_private_key(bad)
        with pytest.raises(crypto.CryptoError):
            crypto.load_certificate(bad)


def test_sha256_concatenates() -> None:
    assert crypto.sha256(b"ab", b"c") == crypto.sha256(b"abc")


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_other_encodings_of_a_good_signature_fail(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    signature = crypto.KeySigner(key).sign(b"m")
    at = 2 if signature[1] < 0x80 else 3
    body, length = signature[at:], len(signature) - at
    r_end = 2 + body[1]
    others = {
        "longer length": b"\x30\x82" + length.to_bytes(2, "big") + body,
        "endless length": b"\x30\x80" + body + b"\0\0",
        "padded r": b"\x30" + _length(length + 1) + b"\x02" + bytes((body[1] + 1, 0)) + body[2:],
        "padded s": b"\x30"
        + _length(length + 1)
        + body[:r_end]
        + bytes((0x02, body[r_end + 1] + 1, 0))
        + body[r_end + 2 :],
        "a third number": b"\x30" + _length(length + 3) + body + b"\x02\x01\x01",
    }
    assert crypto.verify(key.public_key(), signature, b"m")
    for name, other in others.items():
        assert not crypto.verify(key.public_key(), other, b"m"), name


def _length(size: int) -> bytes:
    return bytes((size,)) if size < 0x80 else bytes((0x81, size))
