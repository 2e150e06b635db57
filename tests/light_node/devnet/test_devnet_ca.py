"""The CA's REST interface without sockets: tokens, rights, errors, what goes into certificates."""

import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from light_node.devnet.ca import MAX_WRONG_SECRETS
from light_node.devnet.ca_interface import CaInterface
from light_node.devnet.ca_requests import CaAnswer, CaRequest
from light_node.fabric import crypto
from light_node.fabric.identity import SigningIdentity, attributes


class Caller:
    """A client of the interface: builds CSRs, Basic authorizations and tokens."""

    def __init__(self, ground: Any) -> None:
        self.ground = ground
        self.interface = CaInterface(ground.cas)
        self.registrar = self.enrolled("admin", ground.network.registrar_secret)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        authorization: str = "",
        identity: SigningIdentity | None = None,
        ca: str = "ca-org1",
    ) -> CaAnswer:
        target = f"/api/v1/{path}?ca={ca}" if ca else f"/api/v1/{path}"
        raw = b"" if body is None else json.dumps(body).encode()
        if identity is not None:
            authorization = token(identity, method, target, raw)
        return self.interface.handle(CaRequest(method, target, authorization, raw))

    def enroll(self, name: str, secret: str, key: Any = None, **fields: Any) -> CaAnswer:
        key = key or crypto.generate_key()
        body = {"certificate_request": csr(fields.pop("cn", name), key), **fields}
        return self.call("POST", "enroll", body, authorization=basic(name, secret))

    def enrolled(self, name: str, secret: str) -> SigningIdentity:
        key = crypto.generate_key()
        answer = self.enroll(name, secret, key)
        return SigningIdentity.from_key("Org1MSP", certificate(answer), key)

    def register(self, **fields: Any) -> CaAnswer:
        return self.call("POST", "register", fields, identity=fields.pop("by", self.registrar))


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def of_another_version(request: str) -> str:
    """The CSR with version 2, which the library refuses in a way of its own."""
    label, *body, end = request.splitlines()
    der = bytearray(base64.b64decode("".join(body)))
    der[der.index(b"\x02\x01\x00") + 2] = 1
    return "\n".join((label, base64.b64encode(der).decode(), end, ""))


def csr(name: str, key: Any) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "admin"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
    )
    request = builder.sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def token(identity: SigningIdentity, method: str, target: str, body: bytes) -> str:
    encoded = base64.b64encode(identity.certificate_pem).decode()
    parts = [method, *(base64.b64encode(p).decode() for p in (target.encode(), body)), encoded]
    signature = base64.b64encode(identity.sign(".".join(parts).encode())).decode()
    return f"{encoded}.{signature}"


def certificate(answer: CaAnswer) -> bytes:
    assert answer.status == 201, answer.document
    return base64.b64decode(answer.document["result"]["Cert"])


def failure(answer: CaAnswer) -> tuple[int, int]:
    assert answer.document["success"] is False
    assert answer.document["result"] == ""
    (error,) = answer.document["errors"]
    return answer.status, error["code"]


@pytest.fixture
def caller(ground: Any) -> Caller:
    return Caller(ground)


# -- cainfo and CA selection ----------------------------------------------------------------


def test_info_of_each_ca(caller: Caller) -> None:
    for i, name in enumerate(["ca-org1", "ca-org2", "ca-org3"]):
        answer = caller.call("GET", "cainfo", ca=name)
        assert answer.document["result"]["CAName"] == name
        chain = base64.b64decode(answer.document["result"]["CAChain"])
        assert chain == caller.ground.network.material.peers[i].ca.certificate_pem
    assert caller.call("GET", "cainfo", ca="").document["result"]["CAName"] == "ca-org1"
    in_body = caller.call("POST", "cainfo", {"caname": "ca-org2"}, ca="")
    assert in_body.document["result"]["CAName"] == "ca-org2"
    assert failure(caller.call("GET", "cainfo", ca="ca-org9")) == (404, 19)


def test_paths_without_the_prefix(caller: Caller) -> None:
    assert caller.interface.handle(CaRequest("GET", "/cainfo", "", b"")).status == 200
    assert caller.interface.handle(CaRequest("GET", "/nothing", "", b"")).status == 404
    assert caller.interface.handle(CaRequest("GET", "/api/v1/enroll", "", b"")).status == 405


# -- enroll ---------------------------------------------------------------------------------


def test_enrolled_certificate_is_a_valid_identity_with_attributes(caller: Caller) -> None:
    attrs = [
        {"name": "market.permissions", "value": "trade", "ecert": True},
        {"name": "secret.note", "value": "x", "ecert": False},
    ]
    answer = caller.register(
        id="hh-001", type="client", attrs=attrs, affiliation="org1.department1"
    )
    assert answer.status == 201
    identity = caller.enrolled("hh-001", answer.document["result"]["secret"])
    assert attributes(identity.certificate) == {
        "market.permissions": "trade",
        "hf.EnrollmentID": "hh-001",
        "hf.Type": "client",
        "hf.Affiliation": "org1.department1",
    }
    subject = identity.certificate.subject
    units = [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    # From the registration alone: the OU "admin" of the request has no effect.
    assert sorted(units) == ["client", "department1", "org1"]
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COUNTRY_NAME)] == ["CN"]
    known = caller.ground.config.msps.deserialize(identity.serialized)
    assert known.msp_id == "Org1MSP"


def test_bootstrap_registrar_gets_no_attribute_extension(caller: Caller) -> None:
    assert attributes(caller.registrar.certificate) == {}


def test_requested_attributes(caller: Caller) -> None:
    attrs = [{"name": "a", "value": "1", "ecert": True}, {"name": "b", "value": "2"}]
    caller.register(id="hh-001", secret="pw", attrs=attrs)
    chosen = caller.enroll(
        "hh-001", "pw", attr_reqs=[{"name": "b"}, {"name": "c", "optional": True}]
    )
    assert attributes(crypto.load_certificate(certificate(chosen))) == {"b": "2"}
    none = crypto.load_certificate(certificate(caller.enroll("hh-001", "pw", attr_reqs=[])))
    assert attributes(none) == {}
    missing = caller.enroll("hh-001", "pw", attr_reqs=[{"name": "c"}])
    assert failure(missing) == (500, 0)
    assert "[c]" in missing.document["errors"][0]["message"]


def test_tls_profile_names_hosts(caller: Caller) -> None:
    caller.register(id="hh-001", secret="pw")
    answer = caller.enroll("hh-001", "pw", profile="tls", hosts=["127.0.0.1", "home"])
    issued = crypto.load_certificate(certificate(answer))
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["home"]
    assert failure(caller.enroll("hh-001", "pw", profile="ca")) == (403, 71)


def test_wrong_secrets_are_counted(caller: Caller) -> None:
    caller.register(id="hh-001", secret="right")
    assert failure(caller.enroll("nobody", "right")) == (401, 20)
    for _ in range(MAX_WRONG_SECRETS):
        assert failure(caller.enroll("hh-001", "wrong")) == (401, 20)
    assert failure(caller.enroll("hh-001", "right")) == (401, 73)


def test_enrolments_can_be_used_up(caller: Caller) -> None:
    caller.register(id="hh-001", secret="pw", max_enrollments=2)
    assert [caller.enroll("hh-001", "pw").status for _ in range(2)] == [201, 201]
    assert failure(caller.enroll("hh-001", "pw")) == (401, 20)


def test_a_bad_request_uses_up_nothing(caller: Caller) -> None:
    caller.register(id="hh-001", secret="pw", max_enrollments=1)
    assert failure(caller.enroll("hh-001", "pw", cn="someone-else")) == (403, 77)
    good = csr("hh-001", crypto.generate_key())
    for request in ("nonsense", of_another_version(good)):
        answer = caller.call(
            "POST", "enroll", {"certificate_request": request}, authorization=basic("hh-001", "pw")
        )
        assert failure(answer) == (400, 31)
    weak = rsa.generate_private_key(65537, 2048)
    assert failure(caller.enroll("hh-001", "pw", weak)) == (400, 31)
    assert caller.enroll("hh-001", "pw").status == 201


def test_missing_authorization_and_body(caller: Caller) -> None:
    assert failure(caller.call("POST", "enroll", {"certificate_request": "x"})) == (401, 2)
    assert failure(caller.call("POST", "enroll", authorization=basic("a", "b"))) == (400, 4)
    assert failure(caller.call("POST", "register", {"id": "x"})) == (401, 2)
    bad = caller.interface.handle(CaRequest("POST", "/enroll", basic("a", "b"), b"{nonsense"))
    assert bad.status == 400


def test_secrets_are_stored_hashed(caller: Caller) -> None:
    caller.register(id="hh-001", secret="correct horse battery")
    rows = caller.ground.store.execute("SELECT * FROM ca_identity").fetchall()
    assert rows
    assert b"correct horse" not in repr(rows).encode()


# -- the token ------------------------------------------------------------------------------


def test_reenrol_with_a_token(caller: Caller) -> None:
    caller.register(id="hh-001", secret="pw")
    identity = caller.enrolled("hh-001", "pw")
    key = crypto.generate_key()
    body = {"certificate_request": csr("hh-001", key)}
    answer = caller.call("POST", "reenroll", body, identity=identity)
    assert crypto.load_certificate(certificate(answer)).public_key() == key.public_key()


def test_tokens_bind_method_target_and_body(caller: Caller) -> None:
    target, body = "/api/v1/register?ca=ca-org1", b'{"id":"x"}'
    good = token(caller.registrar, "POST", target, body)
    assert caller.interface.handle(CaRequest("POST", target, good, body)).status == 201
    for request in (
        CaRequest("POST", target, good, b'{"id":"y"}'),
        CaRequest("POST", "/register?ca=ca-org1", good, body),
        CaRequest("POST", target, token(caller.registrar, "GET", target, body), body),
        CaRequest("POST", target, good[:-8] + "AAAAAAA=", body),
        CaRequest("POST", target, "nonsense", body),
    ):
        assert failure(caller.interface.handle(request)) == (401, 20)


def test_high_s_tokens_are_refused(caller: Caller) -> None:
    target, body = "/api/v1/gencrl?ca=ca-org1", b"{}"
    good = token(caller.registrar, "POST", target, body)
    encoded, _, signature = good.partition(".")
    r, s = crypto.decode_dss_signature(base64.b64decode(signature))
    high = crypto.encode_dss_signature(r, crypto._CURVE_ORDERS["secp256r1"] - s)
    authorization = f"{encoded}.{base64.b64encode(high).decode()}"
    assert failure(caller.interface.handle(CaRequest("POST", target, authorization, body))) == (
        401,
        20,
    )


def test_certificates_of_others_are_no_tokens(caller: Caller) -> None:
    forged = caller.ground.identity("admin")  # the CA's own key, but never recorded
    assert failure(caller.call("POST", "gencrl", {}, identity=forged)) == (401, 20)
    assert failure(caller.call("POST", "gencrl", {}, identity=caller.registrar, ca="ca-org2")) == (
        401,
        20,
    )


def test_expired_certificates_are_no_tokens(caller: Caller) -> None:
    caller.ground.clock.moment += timedelta(days=366)
    assert failure(caller.call("POST", "gencrl", {}, identity=caller.registrar)) == (401, 20)


# -- register, revoke, lists -------------------------------------------------------------------


def test_registering_twice_and_badly(caller: Caller) -> None:
    assert caller.register(id="hh-001").status == 201
    assert failure(caller.register(id="hh-001")) == (409, 74)
    assert failure(caller.register(id="x", max_enrollments=-2)) == (400, 82)
    assert caller.register(id="").status == 400
    assert caller.register(id="x" * 65).status == 400
    assert caller.register(id="y", type="t" * 65).status == 400


def test_clients_register_nobody(caller: Caller) -> None:
    caller.register(id="hh-001", secret="pw")
    identity = caller.enrolled("hh-001", "pw")
    assert failure(caller.register(id="x", by=identity)) == (403, 71)
    assert failure(caller.call("GET", "identities", identity=identity)) == (403, 71)
    assert failure(caller.call("POST", "gencrl", {}, identity=identity)) == (403, 71)
    assert failure(caller.call("POST", "revoke", {"id": "admin"}, identity=identity)) == (403, 71)


def test_a_limited_registrar_stays_within_its_limits(caller: Caller) -> None:
    attrs = [
        {"name": "hf.Registrar.Roles", "value": "client"},
        {"name": "hf.Registrar.Attributes", "value": "market.*"},
    ]
    caller.register(id="agent", secret="pw", attrs=attrs, affiliation="org1")
    agent = caller.enrolled("agent", "pw")
    good = [{"name": "market.permissions", "value": "trade"}]
    assert caller.register(id="a", type="client", attrs=good, by=agent).status == 201
    assert failure(caller.register(id="b", type="admin", by=agent)) == (403, 71)
    more = [{"name": "hf.Revoker", "value": "true"}]
    assert failure(caller.register(id="c", type="client", attrs=more, by=agent)) == (403, 71)
    other = caller.register(id="d", type="client", affiliation="org2", by=agent)
    assert failure(other) == (403, 71)


def test_revoking_an_identity_ends_enrolment_and_tokens(caller: Caller) -> None:
    caller.register(id="hh-001", secret="pw")
    identity = caller.enrolled("hh-001", "pw")
    body = {"id": "hh-001", "reason": "keycompromise", "gencrl": True}
    answer = caller.call("POST", "revoke", body, identity=caller.registrar)
    assert answer.status == 200
    (entry,) = answer.document["result"]["RevokedCerts"]
    serial = identity.certificate.serial_number
    assert entry == {"Serial": f"{serial:x}", "AKI": caller.ground.cas[0].key_id}
    crl = x509.load_pem_x509_crl(base64.b64decode(answer.document["result"]["CRL"]))
    assert crl.get_revoked_certificate_by_serial_number(serial) is not None
    assert failure(caller.enroll("hh-001", "pw")) == (401, 20)
    assert failure(caller.call("POST", "revoke", {"id": "hh-001"}, identity=identity)) == (401, 20)


def test_revoking_one_own_certificate(caller: Caller) -> None:
    caller.register(id="hh-001", secret="pw")
    old, new = caller.enrolled("hh-001", "pw"), caller.enrolled("hh-001", "pw")
    body = {"serial": f"{old.certificate.serial_number:x}", "aki": caller.ground.cas[0].key_id}
    assert caller.call("POST", "revoke", body, identity=new).status == 200
    assert caller.enroll("hh-001", "pw").status == 201
    assert failure(caller.call("POST", "revoke", body, identity=old)) == (401, 20)
    listed = caller.call("POST", "gencrl", {}, identity=caller.registrar)
    crl = x509.load_pem_x509_crl(base64.b64decode(listed.document["result"]["CRL"]))
    assert [entry.serial_number for entry in crl] == [old.certificate.serial_number]
    later = (caller.ground.clock.now() + timedelta(days=1)).isoformat()
    bounded = caller.call("POST", "gencrl", {"revokedafter": later}, identity=caller.registrar)
    crl = x509.load_pem_x509_crl(base64.b64decode(bounded.document["result"]["CRL"]))
    assert list(crl) == []


def test_identities_are_listed(caller: Caller) -> None:
    caller.register(id="hh-001", secret="pw", type="client")
    answer = caller.call("GET", "identities", identity=caller.registrar)
    names = [i["id"] for i in answer.document["result"]["identities"]]
    assert "hh-001" in names
    assert "admin" in names
    one = caller.call("GET", "identities/hh-001", identity=caller.registrar).document["result"]
    assert (one["id"], one["type"], one["max_enrollments"]) == ("hh-001", "client", -1)
    assert caller.call("GET", "identities/none", identity=caller.registrar).status == 404
    assert "secret" not in json.dumps(answer.document)
