"""The rules of docs/fabric-protocol.md 3.2 to 3.4 as tables: what is spoiled, and which refusal."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from light_node.fabric import certificates, crypto, msp
from light_node.fabric.identity import IdentityError, attributes, serialize
from light_node.fabric.msp import Msp, MspManager
from light_node.fabric.pb import common_pb2, msp_pb2
from light_node.fabric.policy import SignaturePolicy, SignedData, satisfied

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
DER = serialization.Encoding.DER
ROLE, KIND = common_pb2.MSPRole, common_pb2.MSPPrincipal


class Signed(NamedTuple):
    """A certificate and the key it certifies."""

    key: Any
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return crypto.certificate_pem(self.certificate)

    @property
    def serialized(self) -> bytes:
        return serialize("OrgMSP", self.pem)


def digest_of(key: Any) -> Any:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def certify(
    name: str,
    issuer: Signed | None = None,
    *units: str,
    key: Any = None,
    start: datetime = START,
    end: datetime = LAST_SECOND,
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> Signed:
    """A certificate by ``issuer`` (None: by itself) with these OUs and extensions."""
    key = key or crypto.generate_key()
    ous = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    subject = x509.Name([*ous, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signer = issuer.key if issuer else key
    return Signed(key, builder.sign(signer, digest_of(signer)))


def authority(name: str, issuer: Signed | None = None, **options: Any) -> Signed:
    """A CA with its marks; ``signs`` is key usage keyCertSign, None leaves the extension out."""
    key = options.pop("key", None) or crypto.generate_key()
    signs, more = options.pop("signs", None), options.pop("extensions", ())
    marks: list[x509.ExtensionType] = [
        x509.BasicConstraints(True, None),
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
    ]
    if signs is not None:
        names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
        off = dict.fromkeys(names, False)
        marks.append(x509.KeyUsage(digital_signature=True, key_cert_sign=signs, **off))
    return certify(name, issuer, key=key, extensions=(*marks, *more), **options)


def listing(
    issuer: Signed, *revoked: Signed, key_id: bool = True
) -> x509.CertificateRevocationList:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(START)
        .next_update(START + DAY)
    )
    if key_id:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(START).build())
    return builder.sign(issuer.key, digest_of(issuer.key))


def definition(roots: list[Signed], between: list[Signed], **more: Any) -> msp_pb2.FabricMSPConfig:
    units = {
        f"{unit}_ou_identifier": msp_pb2.FabricOUIdentifier(organizational_unit_identifier=unit)
        for unit in ("client", "peer", "admin", "orderer")
    }
    return msp_pb2.FabricMSPConfig(
        name="OrgMSP",
        root_certs=[one.pem for one in roots],
        intermediate_certs=[one.pem for one in between],
        fabric_node_ous=msp_pb2.FabricNodeOUs(enable=True, **units),
        **more,
    )


def manager(roots: list[Signed], *between: Signed, v3_0: bool = True, **more: Any) -> MspManager:
    return MspManager([Msp(definition(roots, list(between), **more), ed25519_allowed=v3_0)])


# -- certificates and the authorities above them ------------------------------------------------

Case = Callable[[], tuple[MspManager, Signed]]
CASES: list[tuple[str, Case, type[msp.MspError] | None]] = []


def case(refusal: type[msp.MspError] | None) -> Callable[[Case], Case]:
    """Add a row: an MSP, a certificate, and the refusal (None: accepted)."""

    def add(made: Case) -> Case:
        CASES.append((made.__name__.strip("_").replace("_", " "), made, refusal))
        return made

    return add


@case(None)
def _an_rsa_authority_may_issue() -> tuple[MspManager, Signed]:
    root = authority("root", key=rsa.generate_private_key(65537, 2048))
    return manager([root]), certify("one", root, "client")


@case(None)
def _a_root_may_have_expired() -> tuple[MspManager, Signed]:
    root = authority("root", end=START + DAY)
    return manager([root]), certify("one", root, "client", start=START + DAY - SECOND)


@case(msp.UntrustedCertificateError)
def _issued_as_the_root_expired() -> tuple[MspManager, Signed]:
    root = authority("root", end=START + DAY)
    return manager([root]), certify("one", root, "client", start=START + DAY)


@case(msp.UntrustedCertificateError)
def _older_than_the_intermediate_though_not_the_root() -> tuple[MspManager, Signed]:
    root = authority("root")
    between = authority("between", root, start=START + DAY)
    return manager([root], between), certify("one", between, "client", start=START + DAY / 2)


@case(msp.UntrustedCertificateError)
def _valid_for_no_second() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root]), certify("one", root, "client", end=START)


@case(None)
def _valid_for_one_second() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root]), certify("one", root, "client", end=START + SECOND)


@case(msp.UntrustedCertificateError)
def _valid_from_the_end_of_time() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root]), certify("one", root, "client", start=LAST_SECOND)


@case(None)
def _the_root_may_sign_certificates() -> tuple[MspManager, Signed]:
    root = authority("root", signs=True)
    return manager([root]), certify("one", root, "client")


@case(msp.UntrustedCertificateError)
def _the_root_may_not_sign_certificates() -> tuple[MspManager, Signed]:
    root = authority("root", signs=False)
    return manager([root]), certify("one", root, "client")


@case(msp.UntrustedCertificateError)
def _by_an_identity_of_the_msp() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root]), certify("one", certify("member", root, "client"), "client")


@case(msp.UntrustedCertificateError)
def _by_an_intermediate_the_msp_does_not_list() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root]), certify("one", authority("between", root), "client")


@case(msp.UntrustedCertificateError)
def _by_a_root_that_also_issued_an_intermediate() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root], authority("between", root)), certify("one", root, "client")


@case(None)
def _by_a_root_beside_one_that_issued_an_intermediate() -> tuple[MspManager, Signed]:
    root, other = authority("root"), authority("other")
    return manager([root, other], authority("between", root)), certify("one", other, "client")


@case(msp.UntrustedCertificateError)
def _an_authority_as_identity() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root]), authority("sub", root)


@case(msp.UntrustedCertificateError)
def _a_root_as_identity() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root]), root


@case(msp.MalformedIdentityError)
def _ed25519_before_v3_0() -> tuple[MspManager, Signed]:
    root = authority("root")
    key = ed25519.Ed25519PrivateKey.generate()
    return manager([root], v3_0=False), certify("one", root, "client", key=key)


@case(None)
def _ed25519_from_v3_0_on() -> tuple[MspManager, Signed]:
    root = authority("root", key=ed25519.Ed25519PrivateKey.generate())
    key = ed25519.Ed25519PrivateKey.generate()
    return manager([root]), certify("one", root, "client", key=key)


@case(msp.RevokedCertificateError)
def _revoked_by_the_intermediate_that_issued_it() -> tuple[MspManager, Signed]:
    root = authority("root")
    between = authority("between", root)
    one = certify("one", between, "client")
    crl = listing(between, one).public_bytes(serialization.Encoding.PEM)
    return manager([root], between, revocation_list=[crl]), one


@case(msp.RevokedCertificateError)
def _a_list_in_der() -> tuple[MspManager, Signed]:
    root = authority("root")
    one = certify("one", root, "client")
    return manager([root], revocation_list=[listing(root, one).public_bytes(DER)]), one


@case(msp.RevokedCertificateError)
def _revoked_by_the_second_list_of_its_issuer() -> tuple[MspManager, Signed]:
    root = authority("root")
    one, other = certify("one", root, "client"), certify("other", root, "client")
    lists = [listing(root, other).public_bytes(DER), listing(root, one).public_bytes(DER)]
    return manager([root], revocation_list=lists), one


@case(None)
def _revoked_by_the_root_above_its_issuer() -> tuple[MspManager, Signed]:
    # Only the direct issuer's list is looked at.
    root = authority("root")
    between = authority("between", root)
    one = certify("one", between, "client")
    return manager([root], between, revocation_list=[listing(root, one).public_bytes(DER)]), one


@case(msp.UntrustedCertificateError)
def _a_list_that_names_no_authority_stops_everybody() -> tuple[MspManager, Signed]:
    root = authority("root")
    crl = listing(root, key_id=False).public_bytes(DER)
    return manager([root], revocation_list=[crl]), certify("one", root, "client")


@case(msp.UntrustedCertificateError)
def _a_list_that_names_its_authority_twice() -> tuple[MspManager, Signed]:
    root = authority("root")
    crl = with_extensions_twice(listing(root))
    return manager([root], revocation_list=[crl]), certify("one", root, "client")


@case(msp.OrganizationalUnitError)
def _two_roles() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root]), certify("one", root, "orderer", "peer")


@case(msp.OrganizationalUnitError)
def _roles_are_spelled_exactly() -> tuple[MspManager, Signed]:
    root = authority("root")
    return manager([root]), certify("one", root, "Client")


def element(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + certificates._length(len(content)) + content


def with_extensions_twice(crl: x509.CertificateRevocationList) -> bytes:
    *fields, extensions = certificates._children(crl.tbs_certlist_bytes)
    (listed,) = certificates._children(extensions)
    twice = element(0xA0, element(0x30, 2 * b"".join(certificates._children(listed))))
    _, algorithm, signature = certificates._children(crl.public_bytes(DER))
    return element(0x30, element(0x30, b"".join(fields) + twice) + algorithm + signature)


@pytest.mark.parametrize(("what", "made", "refusal"), CASES, ids=[what for what, _, _ in CASES])
def test_an_identity_is_accepted_or_refused_by_its_rule(
    what: str, made: Case, refusal: type[msp.MspError] | None
) -> None:
    msps, one = made()
    if refusal is None:
        identity = msps.deserialize(one.serialized)
        signature = crypto.KeySigner(one.key).sign(b"message")
        assert identity.verify(b"message", signature)
        assert not identity.verify(b"another", signature)
        return
    with pytest.raises(refusal) as caught:
        msps.deserialize(one.serialized)
    assert type(caught.value) is refusal
    assert "OrgMSP" in str(caught.value) or "revocation list" in str(caught.value)


# -- definitions that cannot be used ------------------------------------------------------------


def _revoked_intermediate() -> msp_pb2.FabricMSPConfig:
    root = authority("root")
    between = authority("between", root)
    crl = listing(root, between).public_bytes(DER)
    return definition([root], [between], revocation_list=[crl])


def _intermediate_without(**options: Any) -> msp_pb2.FabricMSPConfig:
    root = authority("root")
    return definition([root], [authority("between", root, **options)])


def _intermediate_is_an_identity() -> msp_pb2.FabricMSPConfig:
    root = authority("root")
    return definition([root], [certify("one", root, "client")])


def _required_unit_without_certifier() -> msp_pb2.FabricMSPConfig:
    unit = msp_pb2.FabricOUIdentifier(organizational_unit_identifier="members")
    return definition([authority("root")], [], organizational_unit_identifiers=[unit])


def _list_of_another_version() -> msp_pb2.FabricMSPConfig:
    root = authority("root")
    crl = bytearray(listing(root).public_bytes(DER))
    crl[crl.index(b"\x02\x01\x01") + 2] = 2
    return definition([root], [], revocation_list=[bytes(crl)])


UNUSABLE: list[tuple[str, Callable[[], msp_pb2.FabricMSPConfig], str]] = [
    ("an intermediate is revoked", _revoked_intermediate, "revoked"),
    (
        "an intermediate is for clients only",
        lambda: _intermediate_without(
            extensions=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),)
        ),
        "no path",
    ),
    (
        "an intermediate is older than its root",
        lambda: _intermediate_without(start=START - DAY),
        "not valid|no path",
    ),
    ("an intermediate is no authority", _intermediate_is_an_identity, "CA mark"),
    (
        "an intermediate of a root that is not listed",
        lambda: definition([authority("root")], [authority("between", authority("other"))]),
        "no path",
    ),
    ("a required unit names no certifier", _required_unit_without_certifier, "PEM"),
    ("a revocation list of another version", _list_of_another_version, "revocation list"),
    (
        "an admin of another authority",
        lambda: definition(
            [authority("root")], [], admins=[certify("a", authority("other"), "admin").pem]
        ),
        "no path",
    ),
    (
        "an intermediate that begins when time ends",
        lambda: _intermediate_without(start=LAST_SECOND),
        "time ends",
    ),
]


@pytest.mark.parametrize(("what", "made", "complaint"), UNUSABLE, ids=[row[0] for row in UNUSABLE])
def test_a_definition_that_cannot_be_used_says_why(
    what: str, made: Callable[[], msp_pb2.FabricMSPConfig], complaint: str
) -> None:
    with pytest.raises(msp.MspConfigError, match=complaint):
        Msp(made(), ed25519_allowed=True)


@pytest.mark.parametrize(
    ("field", "entry"),
    [
        ("root_certs", b""),
        ("intermediate_certs", b""),
        ("tls_root_certs", b""),
        ("admins", b""),
        ("revocation_list", b""),
        ("organizational_unit_identifiers", msp_pb2.FabricOUIdentifier()),
    ],
)
def test_lists_are_bounded_before_their_entries_are_read(field: str, entry: Any) -> None:
    made = definition([authority("root")], [])
    getattr(made, field).extend([entry] * (msp.MAX_CERTIFICATES + 1))
    with pytest.raises(msp.MspConfigError, match="too long"):
        Msp(made, ed25519_allowed=True)


# -- bytes that are nearly a certificate --------------------------------------------------------


def pem_of(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n" % base64.encodebytes(der)


HOLLOW = [
    b"-----BEGIN A-----",
    b"-----BEGIN A-----\n",
    b"-----BEGIN A-----" + b" " * 20,
    b"-----BEGIN A-----\n-----END B-----\n",
]


class Counted(bytes):
    """Bytes that count how often they are searched: each search is linear."""

    searches = 0

    def find(self, *arguments: Any) -> int:
        Counted.searches += 1
        return super().find(*arguments)


@pytest.mark.parametrize(
    "hollow", [*(one * (60_000 // len(one)) for one in HOLLOW), HOLLOW[0] + b"\n" * 60_000]
)
def test_what_only_looks_like_pem_costs_a_few_searches(
    hollow: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A regular expression took minutes over these: anybody who serves a block chooses them."""
    monkeypatch.setattr(Counted, "searches", 0)
    with pytest.raises(certificates.CertificateError, match="no PEM block"):
        certificates.load(Counted(hollow))
    assert 0 < Counted.searches <= 50
    with pytest.raises(msp.MalformedIdentityError):
        manager([authority("root")]).parse(serialize("OrgMSP", hollow))


def test_beginnings_without_an_end_are_passed_over() -> None:
    root = authority("root")
    one = certify("one", root, "client")
    before = b"-----BEGIN NOTHING-----\n" * 3
    assert certificates.load(before + one.pem).der == certificates.load(one.pem).der
    with pytest.raises(certificates.CertificateError):
        certificates.load(before * 10 + one.pem)


def each_byte_changed(raw: bytes) -> list[bytes]:
    changed = []
    for at, old in enumerate(raw):
        for new in sorted({old ^ 1, old ^ 0x80, (old + 1) & 0xFF, 0, 0xFF} - {old}):
            changed.append(raw[:at] + bytes([new]) + raw[at + 1 :])
    return changed


@pytest.mark.filterwarnings("ignore:Parsed a .*serial number")
def test_a_certificate_with_any_byte_changed_is_refused_or_the_same() -> None:
    """A peer can send such a signer with any block: nothing but a refusal may come of it."""
    root = authority("root")
    one = certify("one", root, "client")
    msps = manager([root])
    good = msps.deserialize(one.serialized)
    refusals = set()
    for der in each_byte_changed(one.certificate.public_bytes(DER)):
        try:
            identity = msps.deserialize(serialize("OrgMSP", pem_of(der)))
        except msp.MspError as error:
            refusals.add(type(error))
        else:
            assert identity.id == good.id
    assert refusals == {msp.MalformedIdentityError, msp.UntrustedCertificateError}


def respelled(certificate: x509.Certificate, how: str) -> bytes:
    """The DER with its unsigned parts written in another way, the signature's value unchanged."""
    tbs, algorithm, signature = certificates._children(certificate.public_bytes(DER))
    if how == "one unused bit":
        signature = signature[:2] + b"\x01" + signature[3:]
    elif how == "parameters NULL":
        (oid,) = certificates._children(algorithm)
        algorithm = element(0x30, oid + b"\x05\x00")
    elif how == "bytes in the signature":
        signature = element(0x03, b"\x00" + certificate.signature + b"\x00")
    return element(0x30, tbs + algorithm + signature)


@pytest.mark.parametrize("how", ["one unused bit", "parameters NULL", "bytes in the signature"])
def test_one_certificate_cannot_be_written_as_two_identities(how: str) -> None:
    """The signature's encoding is not signed: a second one would let one signer count twice."""
    root = authority("root")
    msps = manager([root])
    for _ in range(8):  # high S or low, and an unused bit must be 0, which is so half of the time
        one = certify("one", root, "client")
        assert respelled(one.certificate, "") == one.certificate.public_bytes(DER)
        with pytest.raises(msp.MspError):
            msps.deserialize(serialize("OrgMSP", pem_of(respelled(one.certificate, how))))


@pytest.mark.parametrize("version", [1, 3, 9])
def test_a_certificate_of_another_version_is_malformed(version: int) -> None:
    root = authority("root")
    der = bytearray(certify("one", root, "client").certificate.public_bytes(DER))
    der[der.index(bytes.fromhex("a003020102")) + 4] = version
    with pytest.raises(msp.MalformedIdentityError, match="version"):
        manager([root]).deserialize(serialize("OrgMSP", pem_of(bytes(der))))
    for load in (crypto.load_certificate, crypto.load_certificates):
        with pytest.raises(crypto.CryptoError):
            load(pem_of(bytes(der)))


def test_a_list_with_any_byte_changed_is_unusable_or_read() -> None:
    root = authority("root")
    one = certify("one", root, "client")
    outcomes = set()
    for crl in each_byte_changed(listing(root, one).public_bytes(DER)):
        try:
            manager([root], revocation_list=[crl]).deserialize(one.serialized)
        except (msp.MspConfigError, msp.MspError) as error:
            outcomes.add(type(error))
        else:
            outcomes.add(type(None))
    assert outcomes >= {msp.MspConfigError, type(None), msp.UntrustedCertificateError}


def test_attributes_behind_an_extension_that_comes_twice_are_not_read() -> None:
    root = authority("root")
    certificate = certify("one", root, extensions=(x509.BasicConstraints(False, None),)).certificate

    *fields, extensions = certificates._children(certificate.tbs_certificate_bytes)
    (listed,) = certificates._children(extensions)
    twice = element(0xA3, element(0x30, 2 * b"".join(certificates._children(listed))))
    _, algorithm, signature = certificates._children(certificate.public_bytes(DER))
    raw = element(0x30, element(0x30, b"".join(fields) + twice) + algorithm + signature)
    with pytest.raises(IdentityError, match="extensions"):
        attributes(x509.load_der_x509_certificate(raw))
    with pytest.raises(msp.MalformedIdentityError):
        manager([root]).deserialize(serialize("OrgMSP", pem_of(raw)))


# -- signatures ---------------------------------------------------------------------------------


def integer(value: int, padding: bytes = b"") -> bytes:
    body = padding + value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
    return b"\x02" + bytes([len(body)]) + body


def sequence(*parts: bytes, tail: bytes = b"") -> bytes:
    body = b"".join(parts)
    return b"\x30" + certificates._length(len(body)) + body + tail


ORDER = crypto.curve_order(ec.SECP256R1())
ENCODINGS: list[tuple[str, Callable[[int, int], bytes], bool]] = [
    ("r and s", lambda r, s: sequence(integer(r), integer(s)), True),
    ("high s", lambda r, s: sequence(integer(r), integer(ORDER - s)), False),
    ("s and r", lambda r, s: sequence(integer(s), integer(r)), False),
    ("r of zero", lambda r, s: sequence(integer(0), integer(s)), False),
    ("s of zero", lambda r, s: sequence(integer(r), integer(0)), False),
    ("negative r", lambda r, s: sequence(integer(-r), integer(s)), False),
    ("negative s", lambda r, s: sequence(integer(r), integer(-s)), False),
    ("s plus the order", lambda r, s: sequence(integer(r), integer(s + ORDER)), False),
    ("r plus the order", lambda r, s: sequence(integer(r + ORDER), integer(s)), False),
    ("a padded r", lambda r, s: sequence(integer(r, b"\x00"), integer(s)), False),
    ("a padded s", lambda r, s: sequence(integer(r), integer(s, b"\x00")), False),
    ("a third number", lambda r, s: sequence(integer(r), integer(s), integer(1)), False),
    ("r alone", lambda r, s: sequence(integer(r)), False),
    ("bytes behind", lambda r, s: sequence(integer(r), integer(s), tail=b"\x00"), False),
    ("raw", lambda r, s: r.to_bytes(32, "big") + s.to_bytes(32, "big"), False),
    ("nothing", lambda r, s: b"", False),
]


@pytest.mark.parametrize(("what", "encode", "good"), ENCODINGS, ids=[row[0] for row in ENCODINGS])
def test_a_signature_has_one_encoding(
    what: str, encode: Callable[[int, int], bytes], good: bool
) -> None:
    key = crypto.generate_key()
    signature = crypto.KeySigner(key).sign(b"message")
    r, s = crypto.decode_dss_signature(signature)
    assert crypto.verify(key.public_key(), encode(r, s), b"message") == good


@pytest.mark.parametrize("change", [b"", b"\x00" * 64, b"longer"])
def test_an_ed25519_signature_is_64_bytes_over_the_message_itself(change: bytes) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    good = key.sign(b"message")
    assert crypto.verify(key.public_key(), good, b"message")
    bad = good + change if change == b"longer" else change
    assert not crypto.verify(key.public_key(), bad, b"message")
    assert not crypto.verify(key.public_key(), key.sign(crypto.sha256(b"message")), b"message")


# -- principals and policies over real identities -----------------------------------------------


def of_role(role: int, msp_id: str = "OrgMSP") -> common_pb2.MSPPrincipal:
    body = common_pb2.MSPRole(msp_identifier=msp_id)
    body.role = role  # type: ignore[assignment]
    return common_pb2.MSPPrincipal(principal=body.SerializeToString())


def test_roles_without_node_ous_are_member_and_listed_admin_only() -> None:
    root = authority("root")
    one, chief = certify("one", root, "client", "peer"), certify("chief", root)
    made = definition([root], [], admins=[chief.pem])
    made.fabric_node_ous.enable = False
    msps = MspManager([Msp(made, ed25519_allowed=True)])
    played = {
        who: [role for role in range(5) if msps.parse(one.serialized).satisfies(of_role(role))]
        for who, one in (("one", one), ("chief", chief))
    }
    assert played == {"one": [ROLE.MEMBER], "chief": [ROLE.MEMBER, ROLE.ADMIN]}


@pytest.mark.parametrize("role", [5, 127, 2**31 - 1])
def test_an_unknown_role_is_played_by_nobody(role: int) -> None:
    root = authority("root")
    identity = manager([root]).parse(certify("one", root, "client").serialized)
    assert not identity.satisfies(of_role(role))


def test_a_revoked_identity_satisfies_no_policy_and_its_twin_does_not_count() -> None:
    root = authority("root")
    one, two = certify("one", root, "peer"), certify("two", root, "peer")
    envelope = common_pb2.SignaturePolicyEnvelope(identities=[of_role(ROLE.PEER)])
    envelope.rule.n_out_of.n = 2
    for _ in range(2):
        envelope.rule.n_out_of.rules.add(signed_by=0)
    rule = SignaturePolicy.from_message(envelope)

    def by(*signers: Signed) -> list[SignedData]:
        return [SignedData(b"m", s.serialized, crypto.KeySigner(s.key).sign(b"m")) for s in signers]

    msps = manager([root])
    assert satisfied(rule, msps, by(one, two))
    assert not satisfied(rule, msps, by(one, one, one))
    # The same certificate in another PEM is other bytes but the same identity.
    again = SignedData(b"m", serialize("OrgMSP", b"\n" + one.pem), by(one)[0].signature)
    assert again.identity != one.serialized
    assert not satisfied(rule, msps, [*by(one), again])
    revoking = manager([root], revocation_list=[listing(root, two).public_bytes(DER)])
    assert not satisfied(rule, revoking, by(one, two))
