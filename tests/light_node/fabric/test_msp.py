"""The MSP rules of docs/fabric-protocol.md 3.2 and 3.3, with certificates made here.

The tests named "observed" repeat, one by one, what a live Fabric 3.1.5 was seen to do.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from light_node.fabric import certificates, crypto, msp
from light_node.fabric.identity import serialize
from light_node.fabric.msp import Msp, MspManager
from light_node.fabric.pb import common_pb2, msp_pb2

START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
ROLE = common_pb2.MSPRole
CLASS = common_pb2.MSPPrincipal
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Ca:
    """A CA, root or intermediate; ``options`` spoil it."""

    def __init__(self, name: str, parent: "Ca | None" = None, **options: Any) -> None:
        self.key = options.get("key") or crypto.generate_key()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.parent = parent
        issuer = parent or self
        builder = _builder(
            self.name, issuer.name, self.key.public_key(), options.get("start", START)
        )
        if options.get("ca", True):
            builder = builder.add_extension(
                x509.BasicConstraints(True, options.get("path_length")), critical=True
            )
        if options.get("key_id", True):
            builder = builder.add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False
            )
        for extension, critical in options.get("extensions", ()):
            builder = builder.add_extension(extension, critical)
        self.certificate = builder.sign(issuer.key, _hash(issuer.key))
        self.pem = _pem(self.certificate)

    def issue(
        self,
        *units: str,
        key: Any = None,
        start: datetime = START,
        end: datetime | None = None,
        extensions: Any = (),
        name: str = "someone",
        serial: int | None = None,
    ) -> Any:
        """A certificate with these OUs; returns the key with ``.pem`` beside it."""
        key = key or crypto.generate_key()
        subject = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, u) for u in units]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        builder = _builder(x509.Name(subject), self.name, key.public_key(), start, end, serial)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(self.key, _hash(self.key))
        return Issued(key, certificate)

    def revoke(self, *serials: int, signer: "Ca | None" = None, when: datetime = START) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(when)
            .next_update(when + timedelta(days=1))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        for serial in serials:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
            )
        crl = builder.sign((signer or self).key, hashes.SHA256())
        return crl.public_bytes(serialization.Encoding.PEM)


class Issued:
    def __init__(self, key: Any, certificate: x509.Certificate) -> None:
        self.key, self.certificate, self.pem = key, certificate, _pem(certificate)

    def serialized(self, msp_id: str = "OrgMSP") -> bytes:
        return serialize(msp_id, self.pem)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Any,
    start: datetime,
    end: datetime | None = None,
    serial: int | None = None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end or start + 10 * YEAR)
    )


def _hash(key: Any) -> Any:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def config(*roots: Ca, node_ous: bool = True, **fields: Any) -> msp_pb2.FabricMSPConfig:
    units = {
        f"{unit}_ou_identifier": msp_pb2.FabricOUIdentifier(organizational_unit_identifier=unit)
        for unit in ("client", "peer", "admin", "orderer")
    }
    return msp_pb2.FabricMSPConfig(
        name="OrgMSP",
        root_certs=[root.pem for root in roots],
        fabric_node_ous=msp_pb2.FabricNodeOUs(enable=node_ous, **(units if node_ous else {})),
        **fields,
    )


def manager(*roots: Ca, ed25519_allowed: bool = True, **fields: Any) -> MspManager:
    return MspManager([Msp(config(*roots, **fields), ed25519_allowed=ed25519_allowed)])


@pytest.fixture(scope="module")
def root() -> Ca:
    return Ca("root")


@pytest.fixture(scope="module")
def msps(root: Ca) -> MspManager:
    return manager(root)


def usages(*oids: x509.ObjectIdentifier) -> Any:
    return [(x509.ExtendedKeyUsage(oids), False)]


# -- observed on a live network -----------------------------------------------------------------


def test_observed_key_usage_for_clients_only_is_refused(root: Ca, msps: MspManager) -> None:
    issued = root.issue("client", extensions=usages(ExtendedKeyUsageOID.CLIENT_AUTH))
    with pytest.raises(msp.UntrustedCertificateError):
        msps.deserialize(issued.serialized())


def test_observed_key_usage_for_clients_and_servers_is_accepted(root: Ca, msps: MspManager) -> None:
    both = usages(ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
    msps.deserialize(root.issue("client", extensions=both).serialized())
    anything = usages(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    msps.deserialize(root.issue("client", extensions=anything).serialized())


@pytest.mark.parametrize("units", [(), ("client", "admin"), ("client", "client"), ("sales",)])
def test_observed_no_or_two_roles_are_refused(
    root: Ca, msps: MspManager, units: tuple[str, ...]
) -> None:
    with pytest.raises(msp.OrganizationalUnitError):
        msps.deserialize(root.issue(*units).serialized())


def test_observed_a_role_and_an_unrelated_unit_are_accepted(root: Ca, msps: MspManager) -> None:
    msps.deserialize(root.issue("client", "sales").serialized())


def test_observed_an_unknown_critical_extension_is_refused(root: Ca, msps: MspManager) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    with pytest.raises(msp.UntrustedCertificateError, match=r"1\.2\.3\.4\.5"):
        msps.deserialize(root.issue("client", extensions=[(unknown, True)]).serialized())
    msps.deserialize(root.issue("client", extensions=[(unknown, False)]).serialized())


@pytest.mark.parametrize("curve", [ec.SECP224R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_observed_larger_keys_sign_with_sha256_only(
    root: Ca, msps: MspManager, curve: ec.EllipticCurve
) -> None:
    issued = root.issue("client", key=ec.generate_private_key(curve))
    identity = msps.deserialize(issued.serialized())
    signature = crypto.KeySigner(issued.key).sign(b"message")
    assert identity.verify(b"message", signature)
    other = issued.key.sign(b"message", ec.ECDSA(hashes.SHA384()))
    order = crypto.curve_order(curve)
    r, s = utils.decode_dss_signature(other)
    assert not identity.verify(b"message", utils.encode_dss_signature(r, min(s, order - s)))


def test_observed_ed25519_needs_capability_v3_0(root: Ca, msps: MspManager) -> None:
    issued = root.issue("client", key=ed25519.Ed25519PrivateKey.generate())
    identity = msps.deserialize(issued.serialized())
    assert identity.verify(b"message", issued.key.sign(b"message"))
    assert not identity.verify(b"other", issued.key.sign(b"message"))
    with pytest.raises(msp.MalformedIdentityError, match="V3_0"):
        manager(root, ed25519_allowed=False).deserialize(issued.serialized())


def test_observed_validity_today_plays_no_role(root: Ca, msps: MspManager) -> None:
    long_ago = root.issue("client", start=START + YEAR, end=START + YEAR + timedelta(days=1))
    far_off = root.issue("client", start=START + 9 * YEAR, end=START + 9.5 * YEAR)
    msps.deserialize(long_ago.serialized())
    msps.deserialize(far_off.serialized())


def test_observed_a_certificate_older_than_its_ca_never_verifies(
    root: Ca, msps: MspManager
) -> None:
    with pytest.raises(msp.UntrustedCertificateError):
        msps.deserialize(root.issue("client", start=START - timedelta(hours=1)).serialized())
    # One second after NotBefore is the instant that counts.
    msps.deserialize(root.issue("client", start=START - timedelta(seconds=1)).serialized())
    with pytest.raises(msp.UntrustedCertificateError):
        msps.deserialize(root.issue("client", start=START - timedelta(seconds=2)).serialized())


# -- the other rules of 3.2 ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [b"", b"CERT", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
     b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", b"\xff" * 70_000],
)  # fmt: skip
def test_what_is_no_certificate_is_refused(msps: MspManager, garbage: bytes) -> None:
    with pytest.raises(msp.MalformedIdentityError):
        msps.deserialize(serialize("OrgMSP", garbage))


def test_only_the_first_pem_block_counts(root: Ca, msps: MspManager) -> None:
    issued, other = root.issue("client"), crypto.generate_key()
    key = crypto.private_key_pem(other)
    msps.deserialize(serialize("OrgMSP", b"a comment\n" + issued.pem + key))
    with pytest.raises(msp.MalformedIdentityError):
        msps.deserialize(serialize("OrgMSP", key + issued.pem))


def test_an_identity_that_is_no_message_or_too_long_is_refused(msps: MspManager) -> None:
    for serialized in (b"\x0a\xff", b"\x00" * 70_000):
        with pytest.raises(msp.MalformedIdentityError):
            msps.parse(serialized)


def test_an_unknown_msp_is_refused(root: Ca, msps: MspManager) -> None:
    with pytest.raises(msp.UnknownMspError):
        msps.deserialize(root.issue("client").serialized("OtherMSP"))


def test_rsa_never_signs(root: Ca, msps: MspManager) -> None:
    issued = root.issue("client", key=rsa.generate_private_key(65537, 2048))
    with pytest.raises(msp.MalformedIdentityError):
        msps.deserialize(issued.serialized())


def test_a_strange_curve_is_refused(root: Ca, msps: MspManager) -> None:
    issued = root.issue("client", key=ec.generate_private_key(ec.SECP256K1()))
    with pytest.raises(msp.MalformedIdentityError, match="secp256k1"):
        msps.deserialize(issued.serialized())


def test_another_authority_of_the_same_name_is_refused(root: Ca, msps: MspManager) -> None:
    with pytest.raises(msp.UntrustedCertificateError):
        msps.deserialize(Ca("root").issue("client").serialized())


def test_a_certificate_that_was_altered_is_refused(root: Ca, msps: MspManager) -> None:
    der = bytearray(root.issue("client").certificate.public_bytes(serialization.Encoding.DER))
    at = der.index(b"someone")
    der[at] ^= 1
    altered = x509.load_der_x509_certificate(bytes(der))
    with pytest.raises(msp.UntrustedCertificateError):
        msps.deserialize(serialize("OrgMSP", _pem(altered)))


def test_a_root_or_ca_is_no_identity(root: Ca) -> None:
    intermediate = Ca("intermediate", root)
    msps = manager(root, intermediate_certs=[intermediate.pem], node_ous=False)
    with pytest.raises(msp.UntrustedCertificateError, match="root"):
        msps.parse(serialize("OrgMSP", root.pem))
    with pytest.raises(msp.UntrustedCertificateError, match="CA certificate is no identity"):
        msps.deserialize(serialize("OrgMSP", intermediate.pem))


def test_with_intermediates_only_they_issue_identities(root: Ca) -> None:
    intermediate = Ca("intermediate", root)
    msps = manager(root, intermediate_certs=[intermediate.pem])
    identity = msps.deserialize(intermediate.issue("client").serialized())
    assert len(identity.path) == 3
    with pytest.raises(msp.UntrustedCertificateError, match="issued another CA"):
        msps.deserialize(root.issue("client").serialized())
    assert msps.parse(root.issue("client").serialized()), "stage 1 passes"


def test_a_chain_of_intermediates(root: Ca) -> None:
    upper = Ca("upper", root)
    lower = Ca("lower", upper)
    msps = manager(root, intermediate_certs=[upper.pem, lower.pem])
    msps.deserialize(lower.issue("client").serialized())
    with pytest.raises(msp.UntrustedCertificateError, match="issued another CA"):
        msps.deserialize(upper.issue("client").serialized())
    with pytest.raises(msp.UntrustedCertificateError):
        manager(root, intermediate_certs=[upper.pem]).parse(lower.issue("client").serialized())


def test_path_length_is_kept() -> None:
    short = Ca("short root", path_length=0)
    lower = Ca("lower", short)
    # The intermediate itself is fine under it, what the intermediate issues is not.
    msps = manager(short, intermediate_certs=[lower.pem])
    with pytest.raises(msp.UntrustedCertificateError):
        msps.deserialize(lower.issue("client").serialized())


def test_two_paths_are_none(root: Ca) -> None:
    """The same CA key certified by two roots: Fabric wants exactly one path."""
    other = Ca("other root")
    first = Ca("shared", root)
    second = Ca("shared", other, key=first.key)
    with pytest.raises(msp.UntrustedCertificateError, match="2 paths"):
        manager(root, other, intermediate_certs=[first.pem, second.pem]).deserialize(
            first.issue("client").serialized()
        )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"ca": False}, id="without the CA mark"),
        pytest.param({"key_id": False}, id="without a key identifier"),
    ],
)
def test_a_ca_certificate_needs_its_marks(options: dict[str, Any]) -> None:
    with pytest.raises(msp.MspConfigError):
        manager(Ca("bad root", **options))


def test_an_msp_without_root_is_unusable() -> None:
    with pytest.raises(msp.MspConfigError, match="no root"):
        manager()


def test_a_ca_with_name_constraints_is_not_understood() -> None:
    constraints = x509.NameConstraints([x509.DNSName("example.org")], None)
    ca = Ca("constrained", extensions=[(constraints, True)])
    msps = manager(ca)
    with pytest.raises(msp.UntrustedCertificateError):
        msps.deserialize(ca.issue("client").serialized())


def test_a_signature_with_sha1_proves_nothing(root: Ca) -> None:
    key = crypto.generate_key()
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "client")])
    certificate = _builder(name, root.name, key.public_key(), START).sign(root.key, hashes.SHA512())
    assert manager(root).deserialize(serialize("OrgMSP", _pem(certificate)))
    # SHA-1 cannot be produced with this library any more; the algorithm is refused by its name.
    assert "sha1" not in certificates._SIGNATURE_HASHES


# -- low-S --------------------------------------------------------------------------------------


def twin(certificate: x509.Certificate) -> bytes:
    """The same certificate with the other of its two valid ECDSA signatures, as PEM."""
    import base64

    der = certificate.public_bytes(serialization.Encoding.DER)
    r, s = utils.decode_dss_signature(certificate.signature)
    bits = b"\x00" + utils.encode_dss_signature(r, P256_ORDER - s)
    tbs = certificate.tbs_certificate_bytes
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    assert tbs + algorithm in der
    body = tbs + algorithm + b"\x03" + bytes([len(bits)]) + bits
    raw = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    text = base64.encodebytes(raw)
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"


def test_both_signatures_of_a_certificate_make_one_identity(root: Ca, msps: MspManager) -> None:
    certificate = root.issue("client").certificate
    other = twin(certificate)
    assert other != _pem(certificate)
    one = msps.deserialize(serialize("OrgMSP", _pem(certificate)))
    two = msps.deserialize(serialize("OrgMSP", other))
    assert one.id == two.id
    assert one.certificate.der == two.certificate.der
    _, s = utils.decode_dss_signature(one.certificate.parsed.signature)
    assert s <= P256_ORDER // 2


def test_a_root_and_its_twin_are_the_same_authority() -> None:
    for _ in range(4):  # a root is high-S by chance half of the time
        ca = Ca("twin root")
        issued = ca.issue("client")
        spoiled = config(ca)
        spoiled.root_certs[0] = twin(ca.certificate)
        spoiled.fabric_node_ous.client_ou_identifier.certificate = ca.pem
        MspManager([Msp(spoiled, ed25519_allowed=True)]).deserialize(issued.serialized())


def test_identity_id_is_the_digest_of_the_certificate(root: Ca) -> None:
    issued = root.issue("client")
    low = certificates.sanitized(certificates.load(issued.pem), certificates.load(root.pem)).der
    families = {"SHA256": 32, "SHA384": 48, "SHA3_256": 32, "SHA3_384": 48}
    for name, size in families.items():
        crypto_config = msp_pb2.FabricCryptoConfig(identity_identifier_hash_function=name)
        identity = manager(root, crypto_config=crypto_config).deserialize(issued.serialized())
        assert len(bytes.fromhex(identity.id)) == size
        assert identity.id == certificates.identifier((low,), name).hex()
    bad = msp_pb2.FabricCryptoConfig(identity_identifier_hash_function="MD5")
    with pytest.raises(msp.MspConfigError):
        manager(root, crypto_config=bad)
    with pytest.raises(msp.MspConfigError, match="SHA3"):
        manager(root, crypto_config=msp_pb2.FabricCryptoConfig(signature_hash_family="SHA3"))


def test_high_s_signatures_are_refused(root: Ca, msps: MspManager) -> None:
    issued = root.issue("client")
    identity = msps.deserialize(issued.serialized())
    r, s = utils.decode_dss_signature(crypto.KeySigner(issued.key).sign(b"m"))
    assert identity.verify(b"m", utils.encode_dss_signature(r, s))
    assert not identity.verify(b"m", utils.encode_dss_signature(r, P256_ORDER - s))


# -- revocation ---------------------------------------------------------------------------------


def test_a_revoked_certificate_is_refused_whatever_the_dates(root: Ca) -> None:
    issued = root.issue("client")
    serial = issued.certificate.serial_number
    crl = root.revoke(serial, when=START + 9 * YEAR)
    msps = manager(root, revocation_list=[root.revoke(1), crl])
    with pytest.raises(msp.RevokedCertificateError):
        msps.deserialize(issued.serialized())
    assert msps.parse(issued.serialized()), "revocation belongs to stage 2"
    msps.deserialize(root.issue("client").serialized())


def test_a_list_the_issuer_did_not_sign_is_ignored(root: Ca) -> None:
    issued = root.issue("client")
    crl = root.revoke(issued.certificate.serial_number, signer=Ca("stranger"))
    manager(root, revocation_list=[crl]).deserialize(issued.serialized())


def test_a_list_of_another_authority_does_not_matter(root: Ca) -> None:
    issued, other = root.issue("client"), Ca("other root")
    crl = other.revoke(issued.certificate.serial_number)
    manager(root, other, revocation_list=[crl]).deserialize(issued.serialized())


def test_a_revoked_intermediate_makes_the_msp_unusable(root: Ca) -> None:
    intermediate = Ca("intermediate", root)
    crl = root.revoke(intermediate.certificate.serial_number)
    with pytest.raises(msp.MspConfigError, match="revoked"):
        manager(root, intermediate_certs=[intermediate.pem], revocation_list=[crl])


def test_an_unreadable_list_makes_the_msp_unusable(root: Ca) -> None:
    with pytest.raises(msp.MspConfigError, match="revocation list"):
        manager(root, revocation_list=[b"nonsense"])


# -- organizational units -----------------------------------------------------------------------


def test_required_units_name_their_certifier(root: Ca) -> None:
    other = Ca("other root")
    unit = msp_pb2.FabricOUIdentifier(
        certificate=root.pem, organizational_unit_identifier="members"
    )
    msps = manager(root, other, node_ous=False, organizational_unit_identifiers=[unit])
    msps.deserialize(root.issue("members", "else").serialized())
    for issued in (root.issue("else"), other.issue("members"), root.issue()):
        with pytest.raises(msp.OrganizationalUnitError):
            msps.deserialize(issued.serialized())


def test_a_node_ou_may_name_its_certifier(root: Ca) -> None:
    other = Ca("other root")
    made = config(root, other)
    made.fabric_node_ous.client_ou_identifier.certificate = root.pem
    msps = MspManager([Msp(made, ed25519_allowed=True)])
    msps.deserialize(root.issue("client").serialized())
    msps.deserialize(other.issue("peer").serialized())
    with pytest.raises(msp.OrganizationalUnitError, match="another CA"):
        msps.deserialize(other.issue("client").serialized())


def test_a_certifier_must_be_an_authority_of_the_msp(root: Ca) -> None:
    made = config(root)
    made.fabric_node_ous.client_ou_identifier.certificate = Ca("stranger").pem
    with pytest.raises(msp.MspConfigError):
        Msp(made, ed25519_allowed=True)


def test_without_node_ous_any_unit_will_do(root: Ca) -> None:
    msps = manager(root, node_ous=False)
    identity = msps.deserialize(root.issue("whatever").serialized())
    assert identity.satisfies(role("OrgMSP", ROLE.MEMBER))
    assert not identity.satisfies(role("OrgMSP", ROLE.CLIENT))


# -- principals ---------------------------------------------------------------------------------


def principal(kind: int, message: Any) -> common_pb2.MSPPrincipal:
    raw = message if isinstance(message, bytes) else message.SerializeToString()
    return common_pb2.MSPPrincipal(
        principal_classification=CLASS.Classification.Name(kind), principal=raw
    )


def role(msp_id: str, which: int) -> common_pb2.MSPPrincipal:
    name = ROLE.MSPRoleType.Name(which)
    return principal(CLASS.ROLE, common_pb2.MSPRole(msp_identifier=msp_id, role=name))


@pytest.mark.parametrize(
    ("unit", "which"),
    [
        ("client", ROLE.CLIENT),
        ("peer", ROLE.PEER),
        ("orderer", ROLE.ORDERER),
        ("admin", ROLE.ADMIN),
    ],
)
def test_each_unit_plays_its_role_only(root: Ca, msps: MspManager, unit: str, which: int) -> None:
    identity = msps.parse(root.issue(unit).serialized())
    for other in (ROLE.CLIENT, ROLE.PEER, ROLE.ORDERER, ROLE.ADMIN):
        assert identity.satisfies(role("OrgMSP", other)) == (other == which)
    assert identity.satisfies(role("OrgMSP", ROLE.MEMBER))
    assert not identity.satisfies(role("OtherMSP", ROLE.MEMBER))
    assert not identity.satisfies(role("OtherMSP", which))


def test_an_invalid_identity_plays_no_role(root: Ca, msps: MspManager) -> None:
    identity = msps.parse(root.issue("client", "peer").serialized())
    assert not any(identity.satisfies(role("OrgMSP", r)) for r in range(5))


def test_a_listed_admin_needs_no_unit(root: Ca) -> None:
    listed = root.issue("client", name="chief")
    for node_ous in (True, False):
        msps = manager(root, admins=[listed.pem], node_ous=node_ous)
        assert msps.parse(listed.serialized()).satisfies(role("OrgMSP", ROLE.ADMIN))
        other = msps.parse(root.issue("client").serialized())
        assert not other.satisfies(role("OrgMSP", ROLE.ADMIN))


def test_a_listed_admin_is_found_by_its_twin_too(root: Ca) -> None:
    listed = root.issue("client")
    msps = manager(root, admins=[twin(listed.certificate)])
    assert msps.parse(listed.serialized()).satisfies(role("OrgMSP", ROLE.ADMIN))


def test_organization_unit_principals(root: Ca, msps: MspManager) -> None:
    identity = msps.parse(root.issue("client", "sales").serialized())
    certifiers = identity.organizational_units[0].certifiers
    root_der = certificates.sanitized(certificates.load(root.pem), certificates.load(root.pem)).der
    assert certifiers == crypto.sha256(root_der)

    def unit(name: str, digest: bytes, msp_id: str = "OrgMSP") -> common_pb2.MSPPrincipal:
        return principal(
            CLASS.ORGANIZATION_UNIT,
            common_pb2.OrganizationUnit(
                msp_identifier=msp_id,
                organizational_unit_identifier=name,
                certifiers_identifier=digest,
            ),
        )

    assert identity.satisfies(unit("sales", certifiers))
    assert not identity.satisfies(unit("sales", b""))
    assert not identity.satisfies(unit("sales", certifiers, "OtherMSP"))
    assert not identity.satisfies(unit("support", certifiers))


def test_identity_principals(root: Ca) -> None:
    issued, other = root.issue("peer"), root.issue("peer")
    msps = manager(root)
    identity = msps.parse(issued.serialized())
    same_twin = serialize("OrgMSP", twin(issued.certificate))
    assert identity.satisfies(principal(CLASS.IDENTITY, issued.serialized()))
    assert identity.satisfies(principal(CLASS.IDENTITY, same_twin))
    assert not identity.satisfies(principal(CLASS.IDENTITY, other.serialized()))
    assert not identity.satisfies(principal(CLASS.IDENTITY, issued.serialized("OtherMSP")))
    assert not identity.satisfies(principal(CLASS.IDENTITY, serialize("OrgMSP", b"junk")))
    revoked = manager(root, revocation_list=[root.revoke(issued.certificate.serial_number)])
    identity = revoked.parse(issued.serialized())
    assert not identity.satisfies(principal(CLASS.IDENTITY, issued.serialized()))


def test_combined_and_anonymity_principals(root: Ca, msps: MspManager) -> None:
    identity = msps.parse(root.issue("peer").serialized())
    anonymity = common_pb2.MSPIdentityAnonymity
    nominal = principal(CLASS.ANONYMITY, anonymity(anonymity_type=anonymity.NOMINAL))
    anonymous = principal(CLASS.ANONYMITY, anonymity(anonymity_type=anonymity.ANONYMOUS))
    assert identity.satisfies(nominal)
    assert not identity.satisfies(anonymous)

    def combined(*parts: common_pb2.MSPPrincipal) -> common_pb2.MSPPrincipal:
        return principal(CLASS.COMBINED, common_pb2.CombinedPrincipal(principals=parts))

    member, peer = role("OrgMSP", ROLE.MEMBER), role("OrgMSP", ROLE.PEER)
    assert identity.satisfies(combined(member, combined(peer, nominal)))
    assert not identity.satisfies(combined(member, role("OrgMSP", ROLE.CLIENT)))
    assert not identity.satisfies(combined(member, anonymous))
    assert not identity.satisfies(combined())
    assert not identity.satisfies(combined(*[member] * 200))


def test_unreadable_principals_are_never_satisfied(root: Ca, msps: MspManager) -> None:
    identity = msps.parse(root.issue("peer").serialized())
    for kind in (CLASS.ROLE, CLASS.ORGANIZATION_UNIT, CLASS.IDENTITY, CLASS.COMBINED):
        assert not identity.satisfies(principal(kind, b"\xff\xff"))


def test_an_idemix_msp_is_left_out_not_fatal() -> None:
    raw = msp_pb2.MSPConfig(type=1, config=b"\xff").SerializeToString()
    assert msp.load_msp(raw, ed25519_allowed=True) is None
    with pytest.raises(msp.MspConfigError):
        msp.load_msp(b"\xff\xff", ed25519_allowed=True)


def test_parsed_identities_are_remembered(root: Ca) -> None:
    msps = manager(root)
    issued = root.issue("peer")
    assert msps.parse(issued.serialized()) is msps.parse(issued.serialized())
