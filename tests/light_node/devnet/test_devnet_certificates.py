"""Certificates as Fabric CA issues them, judged by the MSP rules."""

import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from light_node.devnet.certificates import (
    Credential,
    issue_identity,
    issue_tls,
    new_root,
    revocation_list,
)
from light_node.fabric import crypto
from light_node.fabric.identity import ATTRIBUTES_OID, attributes
from light_node.fabric.msp import MspError


@pytest.fixture
def root(ground: Any) -> Credential:
    return new_root("ca.org9", "org9", ground.clock.now())


def test_units_share_one_relative_name(ground: Any, root: Credential) -> None:
    key = crypto.generate_key().public_key()
    after = ground.clock.now() + timedelta(days=1)
    certificate = issue_identity(root, key, "hh-001", ["client", "org1", "department1"], after)
    multi = [rdn for rdn in certificate.subject.rdns if len(rdn) > 1]
    assert len(multi) == 1
    assert {a.value for a in multi[0]} == {"client", "org1", "department1"}
    assert [a.value for a in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [
        "hh-001"
    ]
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_attributes_are_raw_json_and_not_critical(ground: Any, root: Credential) -> None:
    key = crypto.generate_key().public_key()
    after = ground.clock.now() + timedelta(days=1)
    certificate = issue_identity(root, key, "a", ["client"], after, attributes={"x": "ä"})
    extension = certificate.extensions.get_extension_for_oid(ATTRIBUTES_OID)
    assert not extension.critical
    assert json.loads(extension.value.value) == {"attrs": {"x": "ä"}}
    assert attributes(certificate) == {"x": "ä"}


def test_validity_stays_within_the_ca(ground: Any, root: Credential) -> None:
    key = crypto.generate_key().public_key()
    never = ground.clock.now() + timedelta(days=365 * 40)
    certificate = issue_identity(root, key, "a", ["client"], never)
    assert certificate.not_valid_before_utc == root.certificate.not_valid_before_utc
    assert certificate.not_valid_after_utc == root.certificate.not_valid_after_utc


@pytest.mark.parametrize("unit", ["client", "peer", "admin"])
def test_one_node_ou_makes_a_valid_identity(ground: Any, unit: str) -> None:
    identity = ground.identity("someone", unit)
    assert ground.config.msps.deserialize(identity.serialized).msp_id == "Org1MSP"


@pytest.mark.parametrize("unit", ["", "auditor"])
def test_other_units_do_not(ground: Any, unit: str) -> None:
    identity = ground.identity("someone", unit or "nobody")
    with pytest.raises(MspError):
        ground.config.msps.deserialize(identity.serialized)


def test_certificate_older_than_its_ca_is_refused(ground: Any) -> None:
    early = ground.clock.now() - timedelta(days=1)
    identity = ground.identity("early", not_before=early)
    with pytest.raises(MspError):
        ground.config.msps.deserialize(identity.serialized)


def test_tls_certificate_names_its_hosts(ground: Any, root: Credential) -> None:
    key = crypto.generate_key().public_key()
    after = ground.clock.now() + timedelta(days=1)
    certificate = issue_tls(root, key, "peer0", ["127.0.0.1", "localhost", "localhost"], after)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH in usage


def test_revocation_list_names_serials_and_authority(ground: Any, root: Credential) -> None:
    now = ground.clock.now()
    pem = revocation_list(root, [(77, now, "keycompromise"), (78, now, "unspecified")], now)
    crl = x509.load_pem_x509_crl(pem)
    assert {entry.serial_number for entry in crl} == {77, 78}
    entry = crl.get_revoked_certificate_by_serial_number(77)
    assert entry is not None
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason is x509.ReasonFlags.key_compromise
    assert crl.is_signature_valid(root.key.public_key())
