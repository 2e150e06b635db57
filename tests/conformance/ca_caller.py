"""Raw requests to a CA: what :class:`light_node.fabric.ca.CaClient` would never send, too."""

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from light_node.fabric import crypto
from light_node.fabric.ca import token
from light_node.fabric.identity import SigningIdentity
from tests.conformance.ca_servers import CaUnderTest


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status and document of an answer."""

    status: int
    document: dict[str, Any]

    @property
    def result(self) -> Any:
        """The result of a request that must have succeeded."""
        assert self.document["success"] is True, self.document
        assert self.document["errors"] == []
        return self.document["result"]

    @property
    def failure(self) -> tuple[int, int]:
        """HTTP status and code of a request that must have failed, in Fabric CA's form."""
        assert self.document["success"] is False, self.document
        assert self.document["result"] in ("", None)
        error = self.document["errors"][0]
        assert isinstance(error["message"], str)
        assert error["message"]
        return self.status, error["code"]

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate an enrolment issued."""
        assert self.status == 201, self.document
        return crypto.load_certificate(base64.b64decode(self.result["Cert"]))


class Caller:
    """Builds requests, Basic authorizations and tokens for one CA."""

    def __init__(self, ca: CaUnderTest, directory: Path) -> None:
        self.ca = ca
        root = directory / "ca-root.pem"
        root.write_text(ca.tls_root_pem)
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(root)
        self.registrar = self.enrolled(ca.registrar, ca.secret)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        authorization: str = "",
        identity: SigningIdentity | None = None,
        ca: str | None = None,
        prefix: str = "/api/v1",
        query: str = "",
    ) -> Answer:
        """Send one request; ``ca`` None asks the CA under test, "" names none."""
        name = self.ca.name if ca is None else ca
        parts = [part for part in (f"ca={name}" if name else "", query) if part]
        target = f"{prefix}/{path}" + ("?" + "&".join(parts) if parts else "")
        raw = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        if identity is not None:
            authorization = token(identity, method, target, raw)
        headers = {"Authorization": authorization} if authorization else {}
        response = self.session.request(
            method, self.ca.url + target, data=raw or None, headers=headers, timeout=30
        )
        return Answer(response.status_code, response.json())

    def enroll(self, name: str, secret: str, key: Any = None, **fields: Any) -> Answer:
        """Enrol ``name``; ``cn`` names somebody else in the request."""
        request = csr(fields.pop("cn", name), key or crypto.generate_key())
        body = {"certificate_request": request, **fields}
        return self.call("POST", "enroll", body, authorization=basic(name, secret))

    def enrolled(self, name: str, secret: str, **fields: Any) -> SigningIdentity:
        """Enrol and return the identity."""
        key = crypto.generate_key()
        answer = self.enroll(name, secret, key, **fields)
        pem = crypto.certificate_pem(answer.certificate)
        return SigningIdentity.from_key("Org1MSP", pem, key)

    def register(self, name: str, *, by: SigningIdentity | None = None, **fields: Any) -> Answer:
        """Register ``name`` as a client, unless ``fields`` say otherwise."""
        body = {"id": name, "type": "client", **fields}
        return self.call("POST", "register", body, identity=by or self.registrar)

    def member(self, **fields: Any) -> SigningIdentity:
        """Register and enrol somebody new."""
        name = unique("member")
        return self.enrolled(name, self.register(name, **fields).result["secret"])


def unique(stem: str) -> str:
    """Return a name nobody has."""
    return f"{stem}-{secrets.token_hex(4)}"


def basic(name: str, secret: str) -> str:
    """Return a Basic authorization."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def csr(name: str, key: Any, *, hosts: Sequence[str] = ()) -> str:
    """Return a PEM request with CN ``name``, a country, and an OU that must have no effect."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Households"),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "admin"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
