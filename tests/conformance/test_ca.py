"""The CA's REST interface, asked the same of a devnet and of fabric-ca-server.

Where they answered differently the devnet was wrong (docs/fabric-protocol.md section 5).
"""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from light_node.fabric import crypto
from light_node.fabric.ca import Attribute, CaClient, certificate_request, token
from light_node.fabric.errors import (
    CaAuthenticationFailed,
    CaBadRequest,
    CaForbidden,
    CaIdentityExists,
    CaNotFound,
)
from light_node.fabric.identity import SigningIdentity, attributes, enrolment_id
from tests.conformance.ca_caller import Caller, basic, csr, unique
from tests.conformance.ca_servers import CaUnderTest


@pytest.fixture(scope="session")
def caller(ca: CaUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    made = Caller(ca, tmp_path_factory.mktemp("caller"))
    yield made
    made.session.close()


@pytest.fixture
def client(ca: CaUnderTest) -> Iterator[CaClient]:
    made = CaClient(ca.url, ca.name, ca.tls_root_pem)
    yield made
    made.close()


def units(certificate: x509.Certificate) -> list[str]:
    found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return sorted(str(unit.value) for unit in found)


def root_of(caller: Caller) -> x509.Certificate:
    chain = caller.call("GET", "cainfo").result["CAChain"]
    return crypto.load_certificate(base64.b64decode(chain))


def revoked_serials(encoded: str) -> set[int]:
    crl = x509.load_pem_x509_crl(base64.b64decode(encoded))
    return {entry.serial_number for entry in crl}


# -- cainfo, CA selection, paths ---------------------------------------------------------------


def test_cainfo(caller: Caller) -> None:
    result = caller.call("GET", "cainfo").result
    assert set(result) >= {
        "CAName",
        "CAChain",
        "IssuerPublicKey",
        "IssuerRevocationPublicKey",
        "Version",
    }
    assert result["CAName"] == caller.ca.name
    root_of(caller)
    for answer in (
        caller.call("GET", "cainfo", ca=""),
        caller.call("GET", "cainfo", prefix=""),
        caller.call("POST", "cainfo", {"caname": caller.ca.name}, ca=""),
    ):
        assert answer.status == 200
        assert answer.result["CAName"] == caller.ca.name


def test_a_ca_that_is_not_there(caller: Caller, ca: CaUnderTest) -> None:
    assert caller.call("GET", "cainfo", ca="ca-none").failure == (404, 19)
    other = CaClient(ca.url, "ca-none", ca.tls_root_pem)
    with pytest.raises(CaNotFound):
        other.cainfo()
    other.close()


# -- enroll ------------------------------------------------------------------------------------


def test_what_an_enrolment_certificate_holds(caller: Caller) -> None:
    name = unique("hh")
    attrs = [
        {"name": "market.permissions", "value": "trade", "ecert": True},
        {"name": "hidden", "value": "x", "ecert": False},
    ]
    answer = caller.register(name, attrs=attrs, affiliation="org1.department1")
    assert answer.status == 201
    certificate = caller.enroll(name, answer.result["secret"]).certificate
    assert attributes(certificate) == {
        "market.permissions": "trade",
        "hf.EnrollmentID": name,
        "hf.Type": "client",
        "hf.Affiliation": "org1.department1",
    }
    # From the registration alone: the OU "admin" of the request has no effect.
    assert units(certificate) == ["client", "department1", "org1"]
    subject = certificate.subject
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COUNTRY_NAME)] == ["CN"]
    kept = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert [a.value for a in kept] == ["Households"]
    root = root_of(caller)
    certificate.verify_directly_issued_by(root)
    assert certificate.not_valid_before_utc == root.not_valid_before_utc
    assert certificate.not_valid_after_utc <= root.not_valid_after_utc
    basic_constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert not basic_constraints.value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.value.digital_signature
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_the_bootstrap_registrar_has_no_attribute_extension(caller: Caller) -> None:
    assert attributes(caller.registrar.certificate) == {}


def test_refused_enrolments(caller: Caller) -> None:
    name = unique("hh")
    secret = caller.register(name).result["secret"]
    request = {"certificate_request": csr(name, crypto.generate_key())}
    post = ("POST", "enroll")
    assert caller.call(*post, request).failure == (401, 2)
    assert caller.call(*post, request, authorization="Bearer x").failure == (401, 20)
    assert caller.enroll(name, "wrong").failure == (401, 20)
    assert caller.enroll(unique("nobody"), "wrong").failure == (401, 20)
    good = basic(name, secret)
    assert caller.call(*post, authorization=good).failure == (400, 4)
    assert caller.enroll(name, secret, cn="somebody-else").failure == (403, 77)
    garbage = {"certificate_request": "no request"}
    assert caller.call(*post, garbage, authorization=good).failure == (400, 31)
    assert caller.call(*post, b"{nonsense", authorization=good).failure == (400, 5)
    assert caller.enroll(name, secret).status == 201


def test_requested_attributes(caller: Caller) -> None:
    name = unique("hh")
    attrs = [{"name": "a", "value": "1", "ecert": True}, {"name": "b", "value": "2"}]
    secret = caller.register(name, attrs=attrs).result["secret"]

    def enrol(*requests: dict[str, Any]) -> Any:
        return caller.enroll(name, secret, attr_reqs=list(requests))

    assert attributes(enrol().certificate) == {}
    assert attributes(enrol({"name": "b"}).certificate) == {"b": "2"}
    optional = enrol({"name": "a"}, {"name": "c", "optional": True})
    assert attributes(optional.certificate) == {"a": "1"}
    missing = enrol({"name": "a"}, {"name": "c"})
    assert missing.failure == (500, 0)
    assert "required attributes are missing: [c]" in missing.document["errors"][0]["message"]


def test_tls_profile(caller: Caller) -> None:
    name = unique("node")
    secret = caller.register(name, type="peer").result["secret"]
    hosts = ["127.0.0.1", "node.example"]
    certificate = caller.enroll(name, secret, profile="tls", hosts=hosts).certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["node.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert units(certificate) == ["peer"]


def test_as_many_enrolments_as_registered(caller: Caller) -> None:
    name = unique("once")
    secret = caller.register(name, max_enrollments=1).result["secret"]
    assert caller.enroll(name, secret).status == 201
    assert caller.enroll(name, secret).failure == (401, 20)
    assert caller.register(unique("hh"), max_enrollments=-2).failure == (400, 82)


def test_too_many_wrong_secrets(caller: Caller) -> None:
    name = unique("guessed")
    secret = caller.register(name).result["secret"]
    found = [caller.enroll(name, "wrong").failure for _ in range(10)]
    assert found == [(401, 20)] * 10
    assert caller.enroll(name, secret).failure == (401, 73)


# -- reenroll ----------------------------------------------------------------------------------


def test_reenrolment(caller: Caller) -> None:
    member = caller.member(attrs=[{"name": "a", "value": "1", "ecert": True}])
    name = enrolment_id(member.certificate)
    assert name
    key = crypto.generate_key()
    body = {"certificate_request": csr(name, key)}
    certificate = caller.call("POST", "reenroll", body, identity=member).certificate
    assert certificate.public_key() == key.public_key()
    assert attributes(certificate)["a"] == "1"
    assert units(certificate) == ["client"]
    other = {"certificate_request": csr("somebody-else", key)}
    assert caller.call("POST", "reenroll", other, identity=member).failure == (403, 77)


# -- tokens ------------------------------------------------------------------------------------


def test_tokens_that_do_not_hold(caller: Caller) -> None:
    member, registrar = caller.member(), caller.registrar
    target = f"/api/v1/identities?ca={caller.ca.name}"

    def ask(authorization: str) -> tuple[int, int]:
        return caller.call("GET", "identities", authorization=authorization).failure

    assert ask("") == (401, 2)
    assert ask("nonsense") == (401, 20)
    assert ask(token(registrar, "POST", target, b"")) == (401, 20)
    assert ask(token(registrar, "GET", "/api/v1/identities", b"")) == (401, 20)
    assert ask(token(registrar, "GET", target, b"{}")) == (401, 20)
    stolen = SigningIdentity("Org1MSP", registrar.certificate_pem, member.signer)
    assert ask(token(stolen, "GET", target, b"")) == (401, 20)
    certificate, _, encoded = token(registrar, "GET", target, b"").partition(".")
    r, s = crypto.decode_dss_signature(base64.b64decode(encoded))
    high = crypto.encode_dss_signature(r, crypto.curve_order(crypto.ec.SECP256R1()) - s)
    assert ask(f"{certificate}.{base64.b64encode(high).decode()}") == (401, 20)
    answer = caller.call("GET", "identities", authorization=f"{certificate}.{encoded}")
    # Fabric CA says 201 to every question about identities once it was asked to add one.
    assert answer.status in (200, 201)


# -- register and identities -------------------------------------------------------------------


def test_registration(caller: Caller) -> None:
    name = unique("hh")
    assert caller.register(name, secret="chosen").result == {"secret": "chosen"}
    assert caller.register(name).failure == (409, 74)
    assert caller.enroll(name, "chosen").status == 201
    plain = caller.member()
    assert caller.register(unique("hh"), by=plain).failure == (403, 71)
    assert caller.call("POST", "register", {"id": unique("hh")}).failure == (401, 2)
    # Without a type the caller's own.
    name = unique("typeless")
    secret = caller.register(name, type="").result["secret"]
    assert units(caller.enroll(name, secret).certificate) == ["client"]


def test_an_affiliation_must_be_known(caller: Caller) -> None:
    unknown = caller.register(unique("hh"), affiliation="elsewhere.nowhere")
    assert unknown.failure == (403, 71)
    name = unique("desk")
    rights = [
        {"name": "hf.Registrar.Roles", "value": "client"},
        {"name": "hf.Registrar.Attributes", "value": "*"},
    ]
    secret = caller.register(name, affiliation="org1", attrs=rights).result["secret"]
    desk = caller.enrolled(name, secret)
    below = caller.register(unique("hh"), by=desk, affiliation="org1.department1")
    assert below.status == 201
    assert caller.register(unique("hh"), by=desk, affiliation="org2").failure == (403, 71)
    assert caller.register(unique("hh"), by=desk, affiliation=".").failure == (403, 71)
    own = unique("hh")
    secret = caller.register(own, by=desk).result["secret"]
    assert units(caller.enroll(own, secret).certificate) == ["client", "org1"]


def test_a_registrar_of_households_only(caller: Caller) -> None:
    rights = {
        "hf.Registrar.Roles": "client",
        "hf.Registrar.Attributes": "market.*",
    }
    attrs = [{"name": name, "value": value, "ecert": True} for name, value in rights.items()]
    desk = caller.member(attrs=attrs)
    market = [{"name": "market.permissions", "value": "trade", "ecert": True}]
    assert caller.register(unique("hh"), by=desk, attrs=market).status == 201
    assert caller.register(unique("peer"), by=desk, type="peer").failure == (403, 71)
    other = [{"name": "other", "value": "x", "ecert": True}]
    assert caller.register(unique("hh"), by=desk, attrs=other).failure == (403, 71)


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("hf.Revoker", "true", 403),
        ("hf.GenCRL", "true", 201),
        ("hf.Registrar.Roles", "client", 201),
        ("hf.Registrar.Roles", "client,peer", 403),
        ("hf.Registrar.Attributes", "market.*", 201),
        ("hf.Registrar.Attributes", "other", 403),
        ("hf.Type", "admin", 403),
        ("hf.EnrollmentID", "somebody", 403),
    ],
)
def test_no_right_is_handed_on_that_one_has_not(
    caller: Caller, name: str, value: str, status: int
) -> None:
    # Rights may be listed only beside having them.
    rights = {"hf.GenCRL": "true", "hf.Registrar.Roles": "client", "hf.Registrar.Attributes": ""}
    rights["hf.Registrar.Attributes"] = ",".join(["market.*", *rights])
    desk = caller.member(attrs=[{"name": n, "value": v} for n, v in rights.items()])
    asked = [{"name": name, "value": value}]
    assert caller.register(unique("hh"), by=desk, attrs=asked).status == status


def test_identities(caller: Caller) -> None:
    name = unique("listed")
    attrs = [{"name": "a", "value": "1", "ecert": True}]
    caller.register(name, attrs=attrs, max_enrollments=3)
    listed = caller.call("GET", "identities", identity=caller.registrar).result
    assert listed["caname"] == caller.ca.name
    (found,) = [row for row in listed["identities"] if row["id"] == name]
    one = caller.call("GET", f"identities/{name}", identity=caller.registrar).result
    for entry in (one, found):  # in any order
        entry["attrs"].sort(key=lambda attribute: attribute["name"])
    assert one == {**found, "caname": caller.ca.name}
    assert (found["type"], found["affiliation"], found["max_enrollments"]) == ("client", "", 3)
    assert {"name": "a", "value": "1", "ecert": True} in found["attrs"]
    nobody = caller.call("GET", f"identities/{unique('no')}", identity=caller.registrar)
    assert nobody.failure == (404, 63)
    plain = caller.member()
    assert caller.call("GET", "identities", identity=plain).failure == (403, 71)


# -- revoke and gencrl -------------------------------------------------------------------------


def test_revoked_identities_are_refused_and_listed(caller: Caller) -> None:
    name = unique("revoked")
    secret = caller.register(name).result["secret"]
    member = caller.enrolled(name, secret)
    body = {"id": name, "reason": "keycompromise", "gencrl": True}
    result = caller.call("POST", "revoke", body, identity=caller.registrar).result
    (entry,) = result["RevokedCerts"]
    serial = member.certificate.serial_number
    assert int(entry["Serial"], 16) == serial
    key_id = root_of(caller).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert bytes.fromhex(entry["AKI"]) == key_id.digest
    assert serial in revoked_serials(result["CRL"])
    crl = x509.load_pem_x509_crl(base64.b64decode(result["CRL"]))
    assert crl.is_signature_valid(root_of(caller).public_key())  # type: ignore[arg-type]
    again = {"certificate_request": csr(name, crypto.generate_key())}
    assert caller.call("POST", "reenroll", again, identity=member).failure == (401, 20)
    assert caller.enroll(name, secret).failure == (401, 20)


def test_one_certificate_is_revoked(caller: Caller) -> None:
    member = caller.member()
    name = enrolment_id(member.certificate)
    aki = member.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert aki.key_identifier is not None
    chosen = {"serial": f"{member.certificate.serial_number:x}", "aki": aki.key_identifier.hex()}
    # Its holder may do that without any right.
    result = caller.call("POST", "revoke", chosen, identity=member).result
    assert [int(c["Serial"], 16) for c in result["RevokedCerts"]] == [
        member.certificate.serial_number
    ]
    body = {"certificate_request": csr(str(name), crypto.generate_key())}
    assert caller.call("POST", "reenroll", body, identity=member).failure == (401, 20)


def test_refused_revocations(caller: Caller) -> None:
    plain, other = caller.member(), caller.member()

    def revoke(body: dict[str, Any], by: SigningIdentity) -> tuple[int, int]:
        return caller.call("POST", "revoke", body, identity=by).failure

    assert revoke({"id": enrolment_id(other.certificate)}, plain) == (403, 71)
    assert revoke({"id": unique("nobody")}, caller.registrar) == (404, 10)
    unknown = {"serial": "abcdef", "aki": "00ff"}
    assert revoke(unknown, caller.registrar) == (404, 8)
    assert revoke({}, caller.registrar) == (400, 15)
    assert revoke({"serial": "abcdef"}, caller.registrar) == (400, 15)


def test_a_second_revocation(caller: Caller) -> None:
    name = unique("twice")
    member = caller.enrolled(name, caller.register(name).result["secret"])
    aki = root_of(caller).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    one = {"serial": f"{member.certificate.serial_number:X}", "aki": aki.digest.hex()}
    revoke = ("POST", "revoke")
    # A reason nobody knows counts as unspecified.
    bored = {**one, "reason": "boredom"}
    assert len(caller.call(*revoke, bored, identity=caller.registrar).result["RevokedCerts"]) == 1
    assert caller.call(*revoke, one, identity=caller.registrar).failure == (404, 66)
    whole = caller.call(*revoke, {"id": name, "gencrl": True}, identity=caller.registrar).result
    assert (whole["RevokedCerts"] or [], whole["CRL"]) == ([], "")


def test_who_revokes_himself_gets_the_list_without_a_right_to_it(caller: Caller) -> None:
    plain = caller.member()
    listed = {"id": enrolment_id(plain.certificate), "gencrl": True}
    result = caller.call("POST", "revoke", listed, identity=plain).result
    assert plain.certificate.serial_number in revoked_serials(result["CRL"])


def test_gencrl(caller: Caller) -> None:
    name = unique("listed")
    member = caller.enrolled(name, caller.register(name).result["secret"])
    caller.call("POST", "revoke", {"id": name}, identity=caller.registrar)
    serial = member.certificate.serial_number

    def crl(**bounds: str) -> set[int]:
        answer = caller.call("POST", "gencrl", bounds, identity=caller.registrar)
        return revoked_serials(answer.result["CRL"])

    assert serial in crl()
    assert serial in crl(revokedafter="2020-01-01T00:00:00Z")
    assert serial not in crl(revokedbefore="2020-01-01T00:00:00Z")
    assert serial not in crl(expirebefore="2020-01-01T00:00:00Z")
    assert serial in crl(expireafter="2020-01-01T00:00:00Z")
    between = {"revokedafter": "2024-01-01T00:00:00Z", "revokedbefore": "2020-01-01T00:00:00Z"}
    swapped = caller.call("POST", "gencrl", between, identity=caller.registrar)
    assert swapped.failure == (400, 36)
    between = {"expireafter": "2024-01-01T00:00:00Z", "expirebefore": "2020-01-01T00:00:00Z"}
    swapped = caller.call("POST", "gencrl", between, identity=caller.registrar)
    assert swapped.failure == (400, 37)
    plain = caller.member()
    assert caller.call("POST", "gencrl", {}, identity=plain).failure == (403, 71)
    assert caller.call("POST", "gencrl", identity=caller.registrar).failure == (400, 4)


# -- the wallet's own client -------------------------------------------------------------------


def test_the_client_through_an_identitys_life(
    caller: Caller, client: CaClient, ca: CaUnderTest
) -> None:
    registrar, name, key = caller.registrar, unique("wallet"), crypto.generate_key()
    assert client.cainfo().name == ca.name
    market = [Attribute("market.user_type", "household"), Attribute("hidden", "x", False)]
    secret = client.register(registrar, name, attributes=market)
    with pytest.raises(CaIdentityExists):
        client.register(registrar, name)
    request = certificate_request(key, name)
    with pytest.raises(CaAuthenticationFailed):
        client.enroll(name, "wrong", request)
    with pytest.raises(CaBadRequest):
        client.enroll(name, secret, certificate_request(key, "other"))
    pem = client.enroll(name, secret, request)
    holder = SigningIdentity.from_key("Org1MSP", pem, key)
    assert attributes(holder.certificate)["market.user_type"] == "household"
    assert "hidden" not in attributes(holder.certificate)
    with pytest.raises(CaForbidden):
        client.register(holder, unique("wallet"))
    renewed = client.reenroll(holder, certificate_request(crypto.generate_key(), name))
    assert enrolment_id(crypto.load_certificate(renewed)) == name
    assert name in [row["id"] for row in client.identities(registrar)]
    found = client.revoke(registrar, enrolment_id=name, gencrl=True)
    assert len(found.certificates) == 2
    assert found.crl_pem.startswith(b"-----BEGIN X509 CRL")
    with pytest.raises(CaAuthenticationFailed):
        client.reenroll(holder, certificate_request(crypto.generate_key(), name))
