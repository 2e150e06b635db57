"""The CA client on the wire: an HTTPS endpoint that checks what section 5 says of each request."""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from light_node.fabric import ca
from light_node.fabric.crypto import (
    CryptoError,
    generate_key,
    load_certificate,
    public_key_of,
    verify,
)
from light_node.fabric.errors import (
    CaAnswerInvalid,
    CaAuthenticationFailed,
    CaBadRequest,
    CaError,
    CaForbidden,
    CaIdentityExists,
    CaNotFound,
    CaUnavailable,
)


@dataclass
class Request:
    method: str
    uri: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, bytes]


@dataclass
class FakeCa:
    """Keeps requests; answers as told, or issues certificates as Fabric CA does."""

    authority: Any
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Answer] | None = None
    issue_for: Any = None
    issue_name: str = ""

    def reply(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.answer is not None:
            return self.answer(request)
        path = request.uri.partition("?")[0].removeprefix("/api/v1/")
        if path in ("enroll", "reenroll"):
            return 201, success({"Cert": self.issue(request.json), "ServerInfo": {}})
        results: dict[str, Any] = {
            "cainfo": {
                "CAName": "ca-org1",
                "CAChain": b64(self.authority.pem),
                "Version": "1.5.21",
            },
            "register": {"secret": request.body and request.json.get("secret", "made-by-ca")},
            "revoke": {"RevokedCerts": [{"Serial": "1f", "AKI": "ab"}], "CRL": b64(b"crl")},
            "identities": {"identities": [{"id": "hh-001", "type": "client"}], "caname": "ca-org1"},
        }
        return 200, success(results[path])

    def issue(self, body: Any) -> str:
        csr = x509.load_pem_x509_csr(body["certificate_request"].encode())
        (name,) = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = self.issue_for or csr.public_key()
        return b64(self.authority.certify(self.issue_name or str(name.value), key, unit="client"))


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def success(result: Any) -> bytes:
    return json.dumps({"result": result, "errors": [], "messages": [], "success": True}).encode()


def failure(code: int, message: str = "said the CA") -> bytes:
    errors = [{"code": code, "message": message}]
    return json.dumps({"result": "", "errors": errors, "messages": [], "success": False}).encode()


@pytest.fixture
def server(kit: Any, tls: Any, tmp_path: Path) -> Iterator[FakeCa]:
    fake = FakeCa(kit.Authority("ca.org1"))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, self.path, dict(self.headers.items()), body)
            status, answer = fake.reply(request)
            self.send_response(status)
            if status in (301, 302):
                self.send_header("Location", "https://127.0.0.1:1/stolen")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = handle_any

        def log_message(self, *args: Any) -> None:
            pass

    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    certificate.write_bytes(tls.certificate_pem)
    key.write_bytes(tls.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    fake.url = f"https://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    yield fake
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def client(server: FakeCa, tls: Any) -> Iterator[ca.CaClient]:
    made = ca.CaClient(server.url, "ca-org1", tls.root_pem)
    yield made
    made.close()


def check_token(request: Request, identity: Any) -> None:
    """Section 5.3, computed here from the request as it arrived."""
    certificate, _, signature = request.headers["Authorization"].partition(".")
    assert base64.b64decode(certificate) == identity.certificate_pem
    signed = f"{request.method}.{b64(request.uri.encode())}.{b64(request.body)}.{certificate}"
    key = public_key_of(identity.certificate)
    assert verify(key, base64.b64decode(signature), signed.encode())


def test_cainfo(client: ca.CaClient, server: FakeCa) -> None:
    info = client.cainfo()
    assert (info.name, info.version) == ("ca-org1", "1.5.21")
    assert info.chain_pem == server.authority.pem
    (request,) = server.requests
    assert (request.method, request.uri) == ("GET", "/api/v1/cainfo?ca=ca-org1")
    assert "Authorization" not in request.headers


def test_enroll(client: ca.CaClient, server: FakeCa) -> None:
    key = generate_key()
    csr = ca.certificate_request(key, "hh-001")
    pem = client.enroll("hh-001", "geheim:ß", csr, attributes=["market.credit"])
    assert load_certificate(pem).public_key() == key.public_key()
    (request,) = server.requests
    assert (request.method, request.uri) == ("POST", "/api/v1/enroll?ca=ca-org1")
    scheme, _, credentials = request.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(credentials).decode() == "hh-001:geheim:ß"
    assert request.json == {
        "certificate_request": csr.decode(),
        "profile": "",
        "attr_reqs": [{"name": "market.credit"}],
        "caname": "ca-org1",
    }


def test_enroll_leaves_attributes_to_the_ca_unless_named(
    client: ca.CaClient, server: FakeCa
) -> None:
    client.enroll("a", "s", ca.certificate_request(generate_key(), "a"))
    client.enroll("a", "s", ca.certificate_request(generate_key(), "a"), attributes=[])
    assert "attr_reqs" not in server.requests[0].json
    assert server.requests[1].json["attr_reqs"] == []


def test_a_tls_certificate(client: ca.CaClient, server: FakeCa) -> None:
    csr = ca.certificate_request(generate_key(), "peer0", ["peer0.org1.example"])
    client.enroll("peer0", "s", csr, profile="tls", hosts=["peer0.org1.example"])
    body = server.requests[0].json
    assert (body["profile"], body["hosts"]) == ("tls", ["peer0.org1.example"])


def test_the_certificate_request_has_the_id_as_common_name() -> None:
    key = generate_key()
    csr = x509.load_pem_x509_csr(ca.certificate_request(key, "hh-001"))
    assert csr.is_signature_valid
    assert csr.subject.rfc4514_string() == "CN=hh-001"
    assert csr.public_key() == key.public_key()


def test_reenroll(client: ca.CaClient, server: FakeCa, consortium: Any) -> None:
    key = generate_key()
    pem = client.reenroll(consortium.client, ca.certificate_request(key, "hh-001"))
    assert load_certificate(pem).public_key() == key.public_key()
    check_token(server.requests[0], consortium.client)
    assert server.requests[0].uri == "/api/v1/reenroll?ca=ca-org1"


def test_register(client: ca.CaClient, server: FakeCa, consortium: Any) -> None:
    attributes = [ca.Attribute("market.permissions", "trade"), ca.Attribute("note", "x", False)]
    secret = client.register(
        consortium.client, "hh-002", secret="wort", max_enrollments=-1, attributes=attributes
    )
    assert secret == "wort"
    assert client.register(consortium.client, "hh-003") == "made-by-ca"
    check_token(server.requests[0], consortium.client)
    assert server.requests[0].json == {
        "id": "hh-002",
        "type": "client",
        "secret": "wort",
        "max_enrollments": -1,
        "affiliation": "",
        "attrs": [
            {"name": "market.permissions", "value": "trade", "ecert": True},
            {"name": "note", "value": "x", "ecert": False},
        ],
        "caname": "ca-org1",
    }
    assert "secret" not in server.requests[1].json


def test_revoke(client: ca.CaClient, server: FakeCa, consortium: Any) -> None:
    found = client.revoke(consortium.client, enrolment_id="hh-002", reason="keycompromise")
    assert found == ca.Revocation((("1f", "ab"),), b"")
    check_token(server.requests[0], consortium.client)
    expected = {"id": "hh-002", "reason": "keycompromise", "gencrl": False, "caname": "ca-org1"}
    assert server.requests[0].json == expected
    found = client.revoke(consortium.client, serial="1f", aki="ab", gencrl=True)
    assert found.crl_pem == b"crl"
    assert (server.requests[1].json["serial"], server.requests[1].json["aki"]) == ("1f", "ab")
    for options in ({}, {"serial": "1f"}, {"enrolment_id": "a", "serial": "1", "aki": "2"}):
        with pytest.raises(ValueError, match="either"):
            client.revoke(consortium.client, **options)


def test_identities(client: ca.CaClient, server: FakeCa, consortium: Any) -> None:
    assert client.identities(consortium.client) == [{"id": "hh-001", "type": "client"}]
    check_token(server.requests[0], consortium.client)
    assert server.requests[0].body == b""


def test_a_name_with_special_characters_is_quoted_as_signed(
    server: FakeCa, tls: Any, consortium: Any
) -> None:
    client = ca.CaClient(server.url + "/", "ca org/1", tls.root_pem)
    client.register(consortium.client, "x")
    client.close()
    assert server.requests[0].uri == "/api/v1/register?ca=ca+org%2F1"
    check_token(server.requests[0], consortium.client)


def test_the_default_ca(server: FakeCa, tls: Any, consortium: Any) -> None:
    client = ca.CaClient(server.url, "", tls.root_pem)
    client.register(consortium.client, "x")
    client.close()
    assert server.requests[0].uri == "/api/v1/register"
    assert "caname" not in server.requests[0].json


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, 2, CaAuthenticationFailed),
        (400, 4, CaBadRequest),
        (404, 19, CaNotFound),
        (401, 20, CaAuthenticationFailed),
        (400, 31, CaBadRequest),
        (403, 71, CaForbidden),
        (401, 73, CaAuthenticationFailed),
        (409, 74, CaIdentityExists),
        (403, 77, CaBadRequest),
        (400, 82, CaBadRequest),
        (401, 999, CaAuthenticationFailed),
        (403, 999, CaForbidden),
        (500, 0, CaError),
    ],
)
def test_errors_of_section_5_5(
    client: ca.CaClient, server: FakeCa, consortium: Any, status: int, code: int, kind: type
) -> None:
    server.answer = lambda request: (status, failure(code))
    with pytest.raises(kind) as caught:
        client.register(consortium.client, "hh-002")
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.http_status) == (code, status)
    assert caught.value.foreign == "said the CA"
    assert "said the CA" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>no CA</html>",
        b"[]",
        b"{}",
        b'{"success": true}',
        b'{"success": "true", "result": {}}',
        b'{"success": true, "result": ""}',
        b'{"success": true, "result": {}}',
        b'{"success": true, "result": {"CAName": 1}}',
        success({"CAName": "x", "CAChain": "not base64!", "Version": ""}),
        b'{"success": false, "errors": [7]}',
        b'{"success": false, "errors": "no"}',
    ],
)
def test_answers_that_are_none(client: ca.CaClient, server: FakeCa, answer: bytes) -> None:
    server.answer = lambda request: (200, answer)
    with pytest.raises(CaError):
        client.cainfo()


def test_a_certificate_for_another_key_or_name(client: ca.CaClient, server: FakeCa) -> None:
    csr = ca.certificate_request(generate_key(), "hh-001")
    server.issue_for = generate_key().public_key()
    with pytest.raises(CaAnswerInvalid, match="another key"):
        client.enroll("hh-001", "s", csr)
    server.issue_for, server.issue_name = None, "hh-002"
    with pytest.raises(CaAnswerInvalid, match="name"):
        client.enroll("hh-001", "s", csr)
    server.answer = lambda request: (201, success({"Cert": b64(b"no certificate")}))
    with pytest.raises(CaAnswerInvalid):
        client.enroll("hh-001", "s", csr)


def test_redirects_do_not_carry_secrets_away(client: ca.CaClient, server: FakeCa) -> None:
    server.answer = lambda request: (302, b"")
    with pytest.raises(CaError):
        client.enroll("a", "s", ca.certificate_request(generate_key(), "a"))
    assert len(server.requests) == 1


def test_size_is_bounded(
    client: ca.CaClient, server: FakeCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ca, "MAX_ANSWER_BYTES", 1000)
    server.answer = lambda request: (200, success({"CAName": "x" * 2000}))
    with pytest.raises(CaAnswerInvalid, match="too large"):
        client.cainfo()


def test_nobody_there(tls: Any) -> None:
    client = ca.CaClient("https://127.0.0.1:1", "", tls.root_pem)
    with pytest.raises(CaUnavailable, match="does not answer"):
        client.cainfo()


# -- trust ----------------------------------------------------------------------------------------


def test_only_the_pinned_root_is_trusted(
    server: FakeCa, kit: Any, tls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The environment offers the right root; the profile names another: the profile decides.
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(tls.root_pem)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(bundle))
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(bundle))
    client = ca.CaClient(server.url, "", kit.make_tls().root_pem)
    with pytest.raises(CaUnavailable, match="do not enter a secret"):
        client.enroll("a", "s", ca.certificate_request(generate_key(), "a"))
    client.close()
    assert server.requests == []


def test_a_certificate_for_another_host_is_refused(server: FakeCa, tls: Any) -> None:
    port = server.url.rpartition(":")[2]
    client = ca.CaClient(f"https://127.0.0.2:{port}", "", tls.root_pem)
    with pytest.raises(CaUnavailable):
        client.cainfo()
    client.close()


def test_proxies_and_netrc_of_the_environment_are_ignored(
    client: ca.CaClient,
    server: FakeCa,
    consortium: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    client.register(consortium.client, "hh-002")
    check_token(server.requests[0], consortium.client)


def test_bad_urls_and_roots(tls: Any) -> None:
    for url in ("http://127.0.0.1:7054", "127.0.0.1:7054", "https://", ""):
        with pytest.raises(ValueError, match="https"):
            ca.CaClient(url, "", tls.root_pem)
    with pytest.raises(CryptoError):
        ca.CaClient("https://127.0.0.1:7054", "", b"nonsense")


def test_several_roots_may_be_pinned(server: FakeCa, kit: Any, tls: Any) -> None:
    client = ca.CaClient(server.url, "", kit.make_tls().root_pem + tls.root_pem)
    assert client.cainfo().name == "ca-org1"
    client.close()


def test_token_over_known_parts(consortium: Any) -> None:
    token = ca.token(consortium.client, "GET", "/api/v1/identities", b"")
    assert token.startswith(b64(consortium.client.certificate_pem) + ".")
