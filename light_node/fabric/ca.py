"""Client of the Fabric CA REST interface (docs/fabric-protocol.md section 5).

TLS roots are pinned from PEM held in memory: the system's certificates, proxies, netrc and the
environment have no say, and nothing is written to disk. Redirects are not followed, because they
would carry a secret to another host.
"""

import base64
import binascii
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from requests.adapters import HTTPAdapter

from light_node import jsonio
from light_node.fabric.crypto import (
    CryptoError,
    certificate_pem,
    load_certificate,
    load_certificates,
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
from light_node.fabric.identity import IdentityError, SigningIdentity, common_name
from light_node.i18n import Text

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_API = "/api/v1"

# What Fabric CA's numbers mean (5.5), and what to do.
_ERRORS: dict[int, tuple[type[CaError], Text]] = {
    2: (CaAuthenticationFailed, Text("the CA asks for an authorization: enrol first")),
    4: (CaBadRequest, Text("the CA got an empty request")),
    19: (CaNotFound, Text("the server has no CA of that name: check the network profile")),
    20: (
        CaAuthenticationFailed,
        Text(
            "the CA does not accept the enrolment id and secret, or the certificate: check both "
            "for typing errors; a secret may be used up and a certificate revoked or expired: "
            "ask your organisation's registrar"
        ),
    ),
    31: (CaBadRequest, Text("the CA cannot read the certificate request")),
    71: (CaForbidden, Text("this identity has no right to do that at the CA: ask the registrar")),
    73: (
        CaAuthenticationFailed,
        Text("too many wrong secrets, the CA has locked the enrolment id: ask the registrar"),
    ),
    74: (CaIdentityExists, Text("that name is registered at the CA already: choose another")),
    77: (CaBadRequest, Text("the certificate request is for another name than the enrolment id")),
    82: (CaBadRequest, Text("the CA does not allow that many enrolments")),
}


@dataclass(frozen=True, slots=True)
class CaInfo:
    """What a CA says about itself; ``chain_pem`` is its certificate chain."""

    name: str
    chain_pem: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """A registered attribute; with ``ecert`` it goes into enrolment certificates unasked."""

    name: str
    value: str
    ecert: bool = True


@dataclass(frozen=True, slots=True)
class Revocation:
    """Revoked certificates as (serial, authority key id) in hex, and the CRL if asked for."""

    certificates: tuple[tuple[str, str], ...]
    crl_pem: bytes


class CaClient:
    """One CA. Not thread-safe: ``requests`` sessions are not."""

    def __init__(
        self,
        url: str,
        ca_name: str,
        tls_root_pem: bytes | str,
        session: requests.Session | None = None,
        *,
        timeout: float = 15.0,
    ) -> None:
        """``url`` is the server's base (``https://host:port``), ``ca_name`` "" for its default CA.

        ``timeout`` in seconds bounds connecting and each wait for bytes. ``CryptoError`` if the
        PEM holds no certificate, ``ValueError`` if ``url`` is not https.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"a CA is reached by https://host:port, not '{url[:100]}'")
        self._base = f"https://{parts.netloc}{parts.path.rstrip('/')}{_API}"
        self._name = ca_name
        self._timeout = timeout
        self._session = session if session is not None else requests.Session()
        self._session.trust_env = False  # a netrc entry would replace the token
        self._session.mount(self._base, _PinnedAdapter(tls_root_pem))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def cainfo(self) -> CaInfo:
        """Return what the CA says about itself; ``CaError`` if it does not."""
        result = self._call("GET", "cainfo")
        return CaInfo(
            name=_text(result, "CAName"),
            chain_pem=_base64(result, "CAChain"),
            version=_text(result, "Version"),
        )

    def enroll(
        self,
        enrolment_id: str,
        secret: str,
        csr_pem: bytes,
        *,
        profile: str = "",
        hosts: Sequence[str] = (),
        attributes: Sequence[str] | None = None,
    ) -> bytes:
        """Return the certificate (PEM) issued for the request, whose CN must be ``enrolment_id``.

        ``profile`` "tls" asks for a TLS certificate for ``hosts``. ``attributes`` names those to
        be written into it; None means those registered for it. ``CaAuthenticationFailed`` for a
        wrong id or secret; another ``CaError`` otherwise.
        """
        # RFC 7617 leaves the charset open; Fabric CA reads UTF-8, requests would write latin-1.
        basic = base64.b64encode(f"{enrolment_id}:{secret}".encode()).decode()
        result = self._call(
            "POST",
            "enroll",
            self._enrolment(csr_pem, profile, hosts, attributes),
            authorization=f"Basic {basic}",
        )
        return _issued(result, csr_pem)

    def reenroll(
        self,
        identity: SigningIdentity,
        csr_pem: bytes,
        *,
        profile: str = "",
        hosts: Sequence[str] = (),
        attributes: Sequence[str] | None = None,
    ) -> bytes:
        """Return a new certificate (PEM) for the holder of ``identity``, which must not be expired.

        The request may be for a new key.
        """
        body = self._enrolment(csr_pem, profile, hosts, attributes)
        return _issued(self._call("POST", "reenroll", body, identity=identity), csr_pem)

    def register(
        self,
        registrar: SigningIdentity,
        enrolment_id: str,
        *,
        type: str = "client",
        secret: str = "",
        max_enrollments: int = 0,
        affiliation: str = "",
        attributes: Sequence[Attribute] = (),
    ) -> str:
        """Register a new identity and return its enrolment secret (made by the CA without one).

        ``max_enrollments`` 0 means the CA's default, −1 no limit; an empty ``affiliation`` is the
        registrar's own. ``CaIdentityExists`` if the name is taken, ``CaForbidden`` without right.
        """
        body: dict[str, Any] = {
            "id": enrolment_id,
            "type": type,
            "max_enrollments": max_enrollments,
            "affiliation": affiliation,
            "attrs": [{"name": a.name, "value": a.value, "ecert": a.ecert} for a in attributes],
        }
        if secret:
            body["secret"] = secret
        return _text(self._call("POST", "register", body, identity=registrar), "secret")

    def revoke(
        self,
        identity: SigningIdentity,
        *,
        enrolment_id: str = "",
        serial: str = "",
        aki: str = "",
        reason: str = "unspecified",
        gencrl: bool = False,
    ) -> Revocation:
        """Revoke an identity, or one certificate by ``serial`` and ``aki`` (hex).

        ``reason`` is an RFC 5280 name in lower case. Fabric itself notices only when the CRL is
        put into the channel config.
        """
        if bool(enrolment_id) == bool(serial and aki):
            raise ValueError("revoke either an enrolment id or a serial with its aki")
        body: dict[str, Any] = {"reason": reason, "gencrl": gencrl}
        body.update({"id": enrolment_id} if enrolment_id else {"serial": serial, "aki": aki})
        result = self._call("POST", "revoke", body, identity=identity)
        revoked = result.get("RevokedCerts") or []
        if not isinstance(revoked, list):
            raise CaAnswerInvalid(Text('the CA\'s "RevokedCerts" is no list'))
        rows = [jsonio.mapping(row, '"RevokedCerts"') for row in revoked]
        return Revocation(
            certificates=tuple((_text(row, "Serial"), _text(row, "AKI")) for row in rows),
            crl_pem=_base64(result, "CRL") if gencrl else b"",
        )

    def identities(self, registrar: SigningIdentity) -> list[dict[str, Any]]:
        """Return the identities the caller may see: id, type, affiliation, attrs, …"""
        result = self._call("GET", "identities", identity=registrar)
        rows = result.get("identities") or []
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise CaAnswerInvalid(Text('the CA\'s "identities" is no list of identities'))
        return rows

    def _enrolment(
        self, csr_pem: bytes, profile: str, hosts: Sequence[str], attributes: Sequence[str] | None
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"certificate_request": csr_pem.decode(), "profile": profile}
        if hosts:
            body["hosts"] = list(hosts)
        if attributes is not None:
            body["attr_reqs"] = [{"name": name} for name in attributes]
        return body

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        authorization: str = "",
        identity: SigningIdentity | None = None,
    ) -> dict[str, Any]:
        data = b""
        if body is not None:
            full = {**body, "caname": self._name} if self._name else body
            data = json.dumps(full).encode()
        request = requests.Request(
            method,
            f"{self._base}/{path}",
            params={"ca": self._name} if self._name else None,
            data=data or None,
            headers={"Content-Type": "application/json"} if data else None,
        ).prepare()
        if identity is not None:
            # Signed over what really goes out: the path as quoted, the body's very bytes.
            authorization = token(identity, method, request.path_url, data)
        if authorization:
            request.headers["Authorization"] = authorization
        try:
            with self._session.send(
                request, timeout=self._timeout, allow_redirects=False, stream=True
            ) as response:
                return _result(response.status_code, _bounded(response))
        except requests.exceptions.SSLError as error:
            raise CaUnavailable(
                Text(
                    "the CA's TLS certificate is not the one the network profile names: do not "
                    "enter a secret; ask your organisation for its profile"
                ),
                foreign=str(error),
            ) from error
        except requests.exceptions.RequestException as error:
            raise CaUnavailable(
                Text("the CA does not answer: try again when it is reachable"), foreign=str(error)
            ) from error
        except jsonio.JsonError as error:
            raise CaAnswerInvalid(
                Text("the CA's answer cannot be read: {error}", error=error)
            ) from error


def token(identity: SigningIdentity, method: str, uri: str, body: bytes) -> str:
    """Return the Authorization header of section 5.3; ``uri`` is path and query as sent."""
    certificate = base64.b64encode(identity.certificate_pem).decode()
    signed = ".".join(
        (
            method,
            base64.b64encode(uri.encode()).decode(),
            base64.b64encode(body).decode(),
            certificate,
        )
    )
    signature = identity.sign(signed.encode())
    return f"{certificate}.{base64.b64encode(signature).decode()}"


def certificate_request(
    key: ec.EllipticCurvePrivateKey, enrolment_id: str, hosts: Sequence[str] = ()
) -> bytes:
    """Return the PEM request with CN = ``enrolment_id`` that Fabric CA wants (section 5.2)."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, enrolment_id)])
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class _PinnedAdapter(HTTPAdapter):
    """Trusts the given roots and no others.

    ``requests`` adds its own bundle to any context it is given, here and in urllib3's pool; both
    ways are overridden.
    """

    def __init__(self, tls_root_pem: bytes | str) -> None:
        pem = tls_root_pem.encode() if isinstance(tls_root_pem, str) else tls_root_pem
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        roots = b"".join(certificate_pem(root) for root in load_certificates(pem))
        self._context.load_verify_locations(cadata=roots.decode())
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        kwargs["ssl_context"] = self._context
        super().init_poolmanager(*args, **kwargs)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None


def _bounded(response: requests.Response) -> bytes:
    found = bytearray()
    for chunk in response.iter_content(65536):
        found += chunk
        if len(found) > MAX_ANSWER_BYTES:
            raise CaAnswerInvalid(Text("the CA's answer is too large"))
    return bytes(found)


def _result(status: int, raw: bytes) -> dict[str, Any]:
    try:
        answer = jsonio.mapping(jsonio.strict_loads(raw), Text("the CA's answer"))
    except jsonio.JsonError as error:
        raise CaAnswerInvalid(
            Text(
                "what answers there is no Fabric CA (HTTP status {status}): check the CA's address",
                status=status,
            ),
            http_status=status,
            foreign=raw[:2000].decode(errors="replace"),
        ) from error
    if status >= 300 or answer.get("success") is not True:
        raise _refusal(status, answer)
    result = answer.get("result")
    if not isinstance(result, dict):
        raise CaAnswerInvalid(Text("the CA's answer holds no result"), http_status=status)
    return result


def _refusal(status: int, answer: Mapping[str, Any]) -> CaError:
    errors = answer.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    code, text = 0, ""
    if isinstance(first, dict):
        number, said = first.get("code"), first.get("message")
        code = number if isinstance(number, int) else 0
        text = said if isinstance(said, str) else ""
    if code in _ERRORS:
        kind, words = _ERRORS[code]
    elif status in (401, 403):
        kind, words = _ERRORS[20 if status == 401 else 71]
    else:
        kind = CaError
        words = Text("the CA refused (HTTP status {status}, code {code})", status=status, code=code)
    return kind(words, code=code, http_status=status, foreign=text)


def _issued(result: Mapping[str, Any], csr_pem: bytes) -> bytes:
    pem = _base64(result, "Cert")
    request = x509.load_pem_x509_csr(csr_pem)
    try:
        certificate = load_certificate(pem)
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        same_name = [name.value for name in names] == [common_name(certificate)]
    except (CryptoError, IdentityError) as error:
        raise CaAnswerInvalid(Text("the CA's answer holds no usable certificate")) from error
    if certificate.public_key() != request.public_key() or not same_name:
        raise CaAnswerInvalid(
            Text("the CA issued a certificate for another key or name: do not use it")
        )
    return pem


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise CaAnswerInvalid(Text('the CA\'s answer lacks "{name}"', name=name))
    return value


def _base64(fields: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(_text(fields, name), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CaAnswerInvalid(Text('the CA\'s "{name}" is not base64', name=name)) from error
