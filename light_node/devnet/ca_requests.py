"""What CA requests carry: authorization, CSR, attributes, times; and how a request fails.

Field by field after ``docs/fabric-protocol.md`` section 5; everything here is foreign input.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from light_node import jsonio
from light_node.devnet.registry import Attribute, Registration
from light_node.fabric import crypto
from light_node.i18n import Text

ROLES, MANAGED_ATTRIBUTES = "hf.Registrar.Roles", "hf.Registrar.Attributes"
"""Attributes of a registrar: which types it may register, and with which attributes."""
_MAX_AFFILIATION_CHARACTERS = 256
_UNUSABLE: tuple[type[Exception], ...] = (*crypto.UNREADABLE, InvalidSignature)
_OWNED_FLAGS = ("hf.Revoker", "hf.IntermediateCA", "hf.GenCRL", "hf.AffiliationMgr")
_OWNED_ROLES = (ROLES, "hf.Registrar.DelegateRoles")
_FIXED = ("hf.EnrollmentID", "hf.Type", "hf.Affiliation")


@dataclass(frozen=True, slots=True)
class CaRequest:
    """An HTTP request: ``target`` is path and query as sent, ``authorization`` that header."""

    method: str
    target: str
    authorization: str
    body: bytes


@dataclass(frozen=True, slots=True)
class CaAnswer:
    """An HTTP status and the JSON document to answer with."""

    status: int
    document: Mapping[str, Any]


class CaFailure(Exception):
    """The request fails with an HTTP status and one of Fabric CA's codes (5.5)."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def unauthenticated() -> CaFailure:
    """Return the failure for whoever cannot prove who they are; the reason is not told."""
    return CaFailure(401, 20, "Authentication failure")


def unauthorized() -> CaFailure:
    """Return the failure for whoever may not do this."""
    return CaFailure(403, 71, "Authorization failure")


def basic(authorization: str) -> tuple[str, str]:
    """Return id and secret of a Basic authorization; ``CaFailure`` 2 or 20."""
    if not authorization:
        raise CaFailure(401, 2, "No authorization header")
    scheme, _, encoded = authorization.partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except ValueError as error:
        raise unauthenticated() from error
    identity, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise unauthenticated()
    return identity, secret


def signing_request(
    fields: Mapping[str, Any], registration: Registration
) -> x509.CertificateSigningRequest:
    """Return the CSR, its signature checked and its CN the enrolment id; ``CaFailure`` 31, 77."""
    text = jsonio.string(fields, "certificate_request", max_length=64 * 1024)
    try:
        request = x509.load_pem_x509_csr(text.encode())
        good = request.is_signature_valid
        request_key(request)
    except _UNUSABLE as error:
        raise CaFailure(400, 31, "The certificate request cannot be used") from error
    if not good:
        raise CaFailure(400, 31, "The certificate request's signature is wrong")
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if [name.value for name in names] != [registration.id]:
        raise CaFailure(403, 77, "The CN of the certificate request must be the enrolment ID")
    return request


def request_key(request: x509.CertificateSigningRequest) -> crypto.PublicKey:
    """Return the CSR's key; ``CaFailure`` 31 if Fabric would not accept its kind."""
    key = request.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise CaFailure(400, 31, "The certificate request's key must be P-256 or Ed25519")


def request_hosts(request: x509.CertificateSigningRequest) -> list[str]:
    """Return the host names and addresses the CSR asks for; ``CaFailure`` 31 if unreadable."""
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except crypto.UNREADABLE as error:
        raise CaFailure(400, 31, "The certificate request's extensions cannot be read") from error
    dns = names.get_values_for_type(x509.DNSName)
    return [*dns, *(str(ip) for ip in names.get_values_for_type(x509.IPAddress))]


def wanted_attributes(registration: Registration, requested: Any) -> dict[str, str] | None:
    """Return what goes into the certificate (5.4); None for no extension at all."""
    if requested is None:
        chosen = {a.name: a.value for a in registration.attributes if a.ecert}
        return chosen or None
    if not isinstance(requested, list):
        raise jsonio.JsonError(Text('"attr_reqs" must be an array'))
    known = {a.name: a.value for a in registration.attributes}
    wanted, missing = {}, []
    for item in requested:
        entry = jsonio.mapping(item, Text("an attribute request"))
        name = jsonio.string(entry, "name")
        if name in known:
            wanted[name] = known[name]
        elif not entry.get("optional"):
            missing.append(name)
    if missing:
        raise CaFailure(
            500, 0, f"The following required attributes are missing: [{' '.join(missing)}]"
        )
    return wanted


def attributes_of(items: Any) -> list[Attribute]:
    """Return the attributes of a registration; ``JsonError`` if malformed."""
    if not isinstance(items, list):
        raise jsonio.JsonError(Text('"attrs" must be an array'))
    found = []
    for item in items:
        entry = jsonio.mapping(item, Text("an attribute"))
        value = jsonio.required(entry, "value")
        if not isinstance(value, str):
            raise jsonio.JsonError(Text('an attribute\'s "value" must be a string'))
        found.append(Attribute(jsonio.string(entry, "name"), value, bool(entry.get("ecert"))))
    return found


def check_registrar(caller: Registration, kind: str, attributes: Sequence[Attribute]) -> None:
    """``CaFailure`` 71 unless ``caller`` may register that type with those attributes.

    Rights cannot be handed on that the caller does not have, and what the CA sets itself cannot
    be chosen.
    """
    roles = _list(caller.attribute(ROLES))
    if "*" not in roles and kind not in roles:
        raise unauthorized()
    managed = _list(caller.attribute(MANAGED_ATTRIBUTES))
    for attribute in attributes:
        if not _managed(attribute.name, managed) or attribute.name in _FIXED:
            raise unauthorized()
        if not _may_hand_on(caller, attribute, managed):
            raise unauthorized()


def _may_hand_on(caller: Registration, attribute: Attribute, managed: Sequence[str]) -> bool:
    own = caller.attribute(attribute.name)
    if attribute.name in _OWNED_FLAGS:
        return own == "true" and attribute.value in ("", "true", "false")
    if attribute.name in _OWNED_ROLES:
        mine = _list(own)
        return bool(mine) and ("*" in mine or set(_list(attribute.value)) <= set(mine))
    if attribute.name == MANAGED_ATTRIBUTES:
        return all(_managed(name, managed) for name in _list(attribute.value))
    return True


def _managed(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a registrar's list holds ``name``, or a beginning of it followed by ``*``."""
    return any(name.startswith(p.rstrip("*")) if p.endswith("*") else name == p for p in patterns)


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def affiliation_of(asked: Any, caller: Registration, known: Sequence[str]) -> str:
    """Return the affiliation to register under: a known one, the caller's own or below it."""
    if not isinstance(asked, str) or len(asked) > _MAX_AFFILIATION_CHARACTERS:
        raise jsonio.JsonError(Text('"affiliation" must be a short string'))
    name = "" if asked == "." else asked or caller.affiliation
    if not is_within(name, caller.affiliation):
        raise unauthorized()
    if name and name not in known:
        raise unauthorized()
    return name


def is_within(affiliation: str, above: str) -> bool:
    """Tell whether an affiliation is ``above`` or below it; all are below the root, ""."""
    return not above or affiliation == above or affiliation.startswith(f"{above}.")


def identity_json(registration: Registration) -> dict[str, Any]:
    """Return a registration as ``identities`` answers it."""
    return {
        "id": registration.id,
        "type": registration.type,
        "affiliation": registration.affiliation,
        "attrs": [
            {"name": a.name, "value": a.value, "ecert": a.ecert} for a in registration.attributes
        ],
        "max_enrollments": registration.max_enrollments,
    }


def time_of(fields: Mapping[str, Any], name: str) -> datetime | None:
    """Return an optional RFC 3339 time, aware; ``JsonError`` if it is none."""
    text = fields.get(name)
    if not text or text == "0001-01-01T00:00:00Z":  # Go's zero time
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise jsonio.JsonError(Text('"{name}" is no RFC 3339 time', name=name)) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def within(moment: datetime, after: datetime | None, before: datetime | None) -> bool:
    """Tell whether ``moment`` lies between two optional bounds."""
    return (after is None or moment >= after) and (before is None or moment <= before)
