"""The CAs of a devnet: what each request of Fabric CA's REST interface does.

Requests and answers as values, no sockets: :mod:`light_node.devnet.ca_server` carries them over
HTTPS. Semantics, fields and error codes after ``docs/fabric-protocol.md`` section 5.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from light_node import jsonio
from light_node.devnet.ca_requests import (
    MANAGED_ATTRIBUTES,
    ROLES,
    CaFailure,
    CaRequest,
    affiliation_of,
    attributes_of,
    basic,
    check_registrar,
    request_hosts,
    request_key,
    signing_request,
    time_of,
    unauthenticated,
    unauthorized,
    wanted_attributes,
    within,
)
from light_node.devnet.certificates import (
    REASONS,
    Credential,
    issue_identity,
    issue_tls,
    revocation_list,
)
from light_node.devnet.registry import (
    UNLIMITED,
    Attribute,
    IssuedCertificate,
    Registration,
    Registry,
    issuer_key_id,
    serial_text,
)
from light_node.fabric import crypto
from light_node.i18n import Text

DEFAULT_LIFETIME = timedelta(hours=8760)
MAX_WRONG_SECRETS = 10
MAX_NAME_CHARACTERS = 64  # X.509 allows no longer common name or organizational unit
VERSION = "devnet"
_KEPT_SUBJECT = (
    NameOID.COUNTRY_NAME,
    NameOID.STATE_OR_PROVINCE_NAME,
    NameOID.LOCALITY_NAME,
    NameOID.ORGANIZATION_NAME,
)
REGISTRAR_ATTRIBUTES = (
    Attribute(ROLES, "*"),
    Attribute("hf.Registrar.DelegateRoles", "*"),
    Attribute(MANAGED_ATTRIBUTES, "*"),
    Attribute("hf.Revoker", "true"),
    Attribute("hf.GenCRL", "true"),
    Attribute("hf.AffiliationMgr", "true"),
)
"""What a bootstrap registrar may do."""


class CertificateAuthority:
    """One organisation's CA."""

    def __init__(
        self,
        name: str,
        credential: Credential,
        registry: Registry,
        now: Callable[[], datetime],
        new_secret: Callable[[], str],
    ) -> None:
        self.name = name
        self._credential = credential
        self.registry = registry
        self.now = now
        self._new_secret = new_secret

    # -- what the REST interface and the devnet itself share ----------------------------------

    def register_identity(
        self,
        identity: str,
        secret: str,
        kind: str = "client",
        attributes: Sequence[Attribute] = (),
        *,
        affiliation: str = "",
        max_enrollments: int = UNLIMITED,
    ) -> bool:
        """Register an identity with the attributes Fabric adds by itself; False if it exists."""
        automatic = (
            Attribute("hf.EnrollmentID", identity, True),
            Attribute("hf.Type", kind, True),
            Attribute("hf.Affiliation", affiliation, True),
        )
        kept = [a for a in attributes if a.name not in {b.name for b in automatic}]
        return self.registry.add(
            self.name, identity, secret, kind, affiliation, [*kept, *automatic], max_enrollments
        )

    def register_registrar(self, identity: str, secret: str) -> bool:
        """Register the bootstrap identity, which may register others; False if it exists."""
        return self.registry.add(
            self.name, identity, secret, "client", "", REGISTRAR_ATTRIBUTES, UNLIMITED
        )

    def issue(
        self,
        registration: Registration,
        public_key: crypto.PublicKey,
        attributes: Mapping[str, str] | None,
        *,
        not_before: datetime | None = None,
        location: Sequence[x509.NameAttribute[Any]] = (),
    ) -> x509.Certificate:
        """Issue and record an enrolment certificate for a registered identity."""
        units = [registration.type, *filter(None, registration.affiliation.split("."))]
        certificate = issue_identity(
            self._credential,
            public_key,
            registration.id,
            units,
            self.now() + DEFAULT_LIFETIME,
            not_before=not_before,
            attributes=attributes,
            location=location,
        )
        self.registry.add_certificate(self.name, registration.id, certificate)
        return certificate

    def registration(self, identity: str) -> Registration | None:
        """Return who ``identity`` is, None if unknown."""
        return self.registry.find(self.name, identity)

    # -- cainfo, enroll, reenroll --------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Return the result of ``cainfo``."""
        return {
            "CAName": self.name,
            "CAChain": base64.b64encode(self._credential.certificate_pem).decode(),
            "IssuerPublicKey": "",
            "IssuerRevocationPublicKey": "",
            "Version": VERSION,
        }

    def enroll(self, request: CaRequest, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Issue a certificate to whoever knows an identity's secret."""
        identity, secret = basic(request.authorization)
        registration = self.registration(identity)
        if registration is not None and registration.wrong_secrets >= MAX_WRONG_SECRETS:
            raise CaFailure(401, 73, "Incorrect password entered too many times")
        if not self.registry.secret_matches(self.name, identity, secret):
            self.registry.count_wrong_secret(self.name, identity)
            raise unauthenticated()
        if registration is None or registration.revoked:
            raise unauthenticated()
        signing = signing_request(fields, registration)
        if not self.registry.count_enrollment(self.name, identity):
            raise unauthenticated()
        return self._enrolled(registration, signing, fields)

    def reenroll(self, request: CaRequest, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Issue another certificate to the holder of a valid one."""
        registration = self.authenticate(request)
        return self._enrolled(registration, signing_request(fields, registration), fields)

    def _enrolled(
        self,
        registration: Registration,
        signing: x509.CertificateSigningRequest,
        fields: Mapping[str, Any],
    ) -> dict[str, Any]:
        profile = fields.get("profile") or ""
        key = request_key(signing)
        if profile == "tls":
            hosts = [str(host) for host in fields.get("hosts") or request_hosts(signing)]
            certificate = issue_tls(
                self._credential,
                key,
                registration.id,
                hosts,
                self.now() + DEFAULT_LIFETIME,
                units=[registration.type],
            )
            self.registry.add_certificate(self.name, registration.id, certificate)
        elif profile == "":
            kept = [a for a in signing.subject if a.oid in _KEPT_SUBJECT]
            certificate = self.issue(
                registration,
                key,
                wanted_attributes(registration, fields.get("attr_reqs")),
                not_before=time_of(fields, "NotBefore"),
                location=kept,
            )
        else:
            raise unauthorized()  # no intermediate CAs, no other profiles
        return {
            "Cert": base64.b64encode(crypto.certificate_pem(certificate)).decode(),
            "ServerInfo": self.info(),
        }

    # -- register ------------------------------------------------------------------

    def register(self, request: CaRequest, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Register an identity for a caller who may."""
        caller = self.authenticate(request)
        identity = jsonio.string(fields, "id", max_length=MAX_NAME_CHARACTERS)
        kind = caller.type
        if fields.get("type"):
            kind = jsonio.string(fields, "type", max_length=MAX_NAME_CHARACTERS)
        attributes = attributes_of(fields.get("attrs") or [])
        check_registrar(caller, kind, attributes)
        most = fields.get("max_enrollments") or 0
        if isinstance(most, bool) or not isinstance(most, int) or most < -1:
            raise CaFailure(400, 82, "Invalid max_enrollments: -1, 0 or a positive number")
        secret = fields.get("secret") or self._new_secret()
        if not isinstance(secret, str) or len(secret) > 1024:
            raise jsonio.JsonError(Text('"secret" must be a string of at most 1024 characters'))
        added = self.register_identity(
            identity,
            secret,
            kind,
            attributes,
            affiliation=affiliation_of(
                fields.get("affiliation") or "", caller, self.registry.affiliations(self.name)
            ),
            max_enrollments=most or UNLIMITED,
        )
        if not added:
            raise CaFailure(409, 74, f"Identity '{identity}' is already registered")
        return {"secret": secret}

    # -- revoke, gencrl ------------------------------------------------------------------------

    def revoke(self, request: CaRequest, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Revoke an identity with all its certificates, or one certificate."""
        caller = self.authenticate(request)
        reason = str(fields.get("reason") or "unspecified").lower()
        if reason not in REASONS:  # as Fabric CA takes it
            reason = "unspecified"
        chosen = self._to_revoke(caller, fields)
        moment = self.now().astimezone(UTC).replace(microsecond=0)
        for certificate in chosen:
            self.registry.revoke_certificate(self.name, certificate.serial, moment, reason)
        # Whoever may revoke gets the list with it: hf.GenCRL is asked for by ``gencrl`` only.
        crl = self._crl(moment) if fields.get("gencrl") and chosen else ""
        entries = [{"Serial": c.serial, "AKI": c.aki} for c in chosen]
        return {"RevokedCerts": entries, "CRL": crl}

    def _to_revoke(
        self, caller: Registration, fields: Mapping[str, Any]
    ) -> list[IssuedCertificate]:
        may = caller.attribute("hf.Revoker") == "true"
        if identity := fields.get("id"):
            registration = self.registration(str(identity))
            if not may and identity != caller.id:
                raise unauthorized()
            if registration is None:
                raise CaFailure(404, 10, f"Identity {str(identity)[:100]} was not found")
            self.registry.revoke_identity(self.name, registration.id)
            found = self.registry.certificates(self.name, registration.id)
            return [c for c in found if c.revoked_at is None]
        serial, aki = (_hex(fields, name) for name in ("serial", "aki"))
        if not serial or not aki:
            raise CaFailure(
                400, 15, "Either Name or Serial and AKI are required for a revoke request"
            )
        one = self.registry.certificate(self.name, serial)
        named = f"Certificate with serial {serial} and AKI {aki}"
        if one is None or one.aki.lstrip("0") != aki:
            raise CaFailure(404, 8, f"{named} was not found")
        if not may and one.id != caller.id:
            raise unauthorized()
        if one.revoked_at is not None:
            raise CaFailure(404, 66, f"{named} was already revoked")
        return [one]

    def crl(self, request: CaRequest, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return a CRL of what was revoked, bounded by the times asked for."""
        caller = self.authenticate(request)
        if caller.attribute("hf.GenCRL") != "true":
            raise unauthorized()
        revoked = (time_of(fields, "revokedafter"), time_of(fields, "revokedbefore"))
        expire = (time_of(fields, "expireafter"), time_of(fields, "expirebefore"))
        for bounds, code, what in ((revoked, 36, "revoked"), (expire, 37, "expire")):
            after, before = bounds
            if after and before and after > before:
                raise CaFailure(
                    400,
                    code,
                    f"Invalid '{what}after' value. It must not be a timestamp greater "
                    f"than '{what}before'",
                )
        return {"CRL": self._crl(self.now(), revoked=revoked, expire=expire)}

    def _crl(
        self,
        now: datetime,
        *,
        revoked: tuple[datetime | None, datetime | None] = (None, None),
        expire: tuple[datetime | None, datetime | None] = (None, None),
    ) -> str:
        listed = []
        for entry in self.registry.certificates(self.name):
            certificate = crypto.load_certificate(entry.pem)
            if (
                entry.revoked_at is not None
                and within(entry.revoked_at, *revoked)
                and within(certificate.not_valid_after_utc, *expire)
            ):
                listed.append((certificate.serial_number, entry.revoked_at, entry.reason))
        pem = revocation_list(self._credential, listed, now)
        return base64.b64encode(pem).decode()

    # -- the token -----------------------------------------------------------------------------

    def authenticate(self, request: CaRequest) -> Registration:
        """Return who signed the request's token (5.3); ``CaFailure`` 2 or 20."""
        if not request.authorization:
            raise CaFailure(401, 2, "No authorization header")
        encoded, _, signature_text = request.authorization.partition(".")
        try:
            pem = base64.b64decode(encoded, validate=True)
            signature = base64.b64decode(signature_text, validate=True)
            certificate = crypto.load_certificate(pem)
            public_key = crypto.public_key_of(certificate)
        except (binascii.Error, ValueError) as error:
            raise unauthenticated() from error
        uri = base64.b64encode(request.target.encode()).decode()
        body = base64.b64encode(request.body).decode()
        signed = ".".join((request.method, uri, body, encoded))
        if not crypto.verify(public_key, signature, signed.encode()):
            raise unauthenticated()
        # What this CA issued it remembers byte for byte, so nothing else can pass for it.
        issued = self.registry.certificate(self.name, serial_text(certificate.serial_number))
        if (
            issued is None
            or crypto.load_certificate(issued.pem) != certificate
            or issued.revoked_at is not None
            or self.now() > certificate.not_valid_after_utc
        ):
            raise unauthenticated()
        registration = self.registration(issued.id)
        if registration is None or registration.revoked:
            raise unauthenticated()
        return registration

    @property
    def key_id(self) -> str:
        """The AKI of what this CA issues, in hex."""
        return issuer_key_id(self._credential.certificate)


def _hex(fields: Mapping[str, Any], name: str) -> str:
    """Return a serial number or key id as the registry writes it: lower case, no zeros ahead."""
    text = fields.get(name) or ""
    if not isinstance(text, str) or len(text) > 100:
        raise jsonio.JsonError(Text('"{name}" must be a string of hex digits', name=name))
    return text.lower().lstrip("0").replace(":", "")
