"""Identities, attributes and enrolment ids."""

from typing import Any

import pytest
from cryptography import x509

from light_node.fabric import identity
from light_node.fabric.crypto import generate_key, load_certificate


def certificate(kit: Any, name: str = "hh-001", **options: Any) -> x509.Certificate:
    pem = kit.Authority("ca").certify(name, generate_key().public_key(), **options)
    return load_certificate(pem)


def test_serialized_identity_of_section_9() -> None:
    assert identity.serialize("Org1MSP", b"CERT").hex() == "0a074f7267314d5350120443455254"


def test_attributes_are_read(kit: Any) -> None:
    given = {"hf.EnrollmentID": "hh-007", "market.credit": "3", "名": "値"}
    found = certificate(kit, attributes=given)
    assert identity.attributes(found) == given
    assert identity.enrolment_id(found) == "hh-007"


def test_without_the_extension_the_common_name_is_the_enrolment_id(kit: Any) -> None:
    found = certificate(kit)
    assert identity.attributes(found) == {}
    assert identity.enrolment_id(found) == "hh-001"
    assert identity.attributes(certificate(kit, attributes={})) == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"attrs": []}',
        b'{"attrs": {"a": 1}}',
        b'{"attrs": {"a": "1", "a": "2"}}',
        b'{"attrs": {"a": "\xff"}}',
        b'{"attrs": {"a": "' + b"x" * 70_000 + b'"}}',
    ],
)
def test_damaged_attributes_are_an_error(kit: Any, raw: bytes) -> None:
    with pytest.raises(identity.IdentityError):
        identity.attributes(certificate(kit, attributes=raw))


def test_a_key_of_another_certificate_is_refused(kit: Any) -> None:
    pem = kit.Authority("ca").certify("a", generate_key().public_key())
    with pytest.raises(identity.IdentityError, match="does not belong"):
        identity.SigningIdentity.from_key("Org1MSP", pem, generate_key())
    with pytest.raises(identity.IdentityError):
        identity.SigningIdentity.from_key("Org1MSP", b"no certificate", generate_key())
