"""Membership service providers: which certificates speak for an organisation, and in what role.

``docs/fabric-protocol.md`` sections 3.1 to 3.3, for channels with capability V1_4_3 or later.
Certificates are checked at ``NotBefore + 1 s``, never at "now", so that the signature of an
expired certificate on an old block stays valid; expiry is enforced elsewhere, on clients.

Two stages, as in Fabric: :meth:`MspManager.parse` (readable, of a known MSP, leads to its root)
and :meth:`Identity.validate` (no CA, issued by a leaf of the CA tree, not revoked, right
organizational unit). :meth:`MspManager.deserialize` does both. Everything is immutable but for a
bounded cache of parsed identities.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from google.protobuf.message import DecodeError

from light_node.fabric import certificates, crypto
from light_node.fabric.certificates import Certificate, CertificateError, PathBuilder
from light_node.fabric.pb import common_pb2, msp_pb2
from light_node.i18n import SaidError, Text

MAX_IDENTITY_BYTES = 64 * 1024
MAX_CERTIFICATES = 1000
MAX_PRINCIPALS = 100
_CACHED_IDENTITIES = 4096
_REMEMBERED_PRINCIPALS = 256
_ONE_SECOND = timedelta(seconds=1)
_FABRIC = 0  # MSPConfig.type of an X.509 MSP

_ROLES: Mapping[int, str] = {
    common_pb2.MSPRole.CLIENT: "client",
    common_pb2.MSPRole.PEER: "peer",
    common_pb2.MSPRole.ADMIN: "admin",
    common_pb2.MSPRole.ORDERER: "orderer",
}


class MspError(SaidError, ValueError):
    """An identity is refused; the message says by which rule."""


class UnknownMspError(MspError):
    """No organisation of the channel has that MSP id."""


class MalformedIdentityError(MspError):
    """The identity or its certificate cannot be read, or its key is of a kind Fabric refuses."""


class UntrustedCertificateError(MspError):
    """The certificate does not lead to the MSP's root by the rules of 3.2, points 3 to 7."""


class RevokedCertificateError(MspError):
    """The direct issuer's CRL lists the certificate (3.2, point 8)."""


class OrganizationalUnitError(MspError):
    """The subject's organizational units do not classify the identity (3.2, point 9)."""


class MspConfigError(SaidError, ValueError):
    """An MSP's definition in the channel configuration cannot be used."""


@dataclass(frozen=True, slots=True)
class OrganizationalUnit:
    """An OU name, and the chain it must have been issued under (empty: any)."""

    name: str
    certifiers: bytes = b""


class Identity:
    """A certificate under an MSP. Made by :class:`MspManager` only; stage 1 has passed.

    ``key`` is what tells identities apart: MSP id and ``id``, the digest of the certificate.
    """

    __slots__ = (
        "_known",
        "_problem",
        "_validated",
        "_verify",
        "certificate",
        "id",
        "key",
        "msp",
        "path",
    )

    def __init__(self, msp: "Msp", path: tuple[Certificate, ...]) -> None:
        self.msp = msp
        self.path = path
        self.certificate = path[0]
        self.id = certificates.identifier((path[0].der,), msp.hash_function).hex()
        self.key = (msp.msp_id, self.id)
        self._verify = crypto.verifier(self.certificate.public_key)
        self._validated = False
        self._problem: MspError | None = None
        self._known: dict[tuple[int, bytes], bool] = {}

    @property
    def msp_id(self) -> str:
        """The MSP id of the organisation."""
        return self.msp.msp_id

    @property
    def organizational_units(self) -> tuple[OrganizationalUnit, ...]:
        """The subject's OUs with the certifiers identifier of the issuing chain."""
        certifiers = self.msp.certifiers_identifier(self.path[1:])
        return tuple(
            OrganizationalUnit(name, certifiers) for name in self.certificate.organizational_units
        )

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Say whether ``signature`` over ``message`` is this identity's (3.4)."""
        return self._verify(signature, message)

    def validate(self) -> None:
        """Check stage 2 of 3.2 (points 4, 5, 8, 9); a subclass of ``MspError`` if it fails."""
        if not self._validated:
            try:
                self.msp.check(self)
            except MspError as error:
                self._problem = error
            self._validated = True
        if self._problem is not None:
            raise self._problem.with_traceback(None)

    def is_valid(self) -> bool:
        """Say whether :meth:`validate` passes."""
        try:
            self.validate()
        except MspError:
            return False
        return True

    def has_role(self, role: int) -> bool:
        """Say whether NodeOUs are on and the subject carries the OU of ``role`` (MSPRoleType)."""
        unit = self.msp.node_ous.get(_ROLES.get(role, ""))
        return unit is not None and unit.name in self.certificate.organizational_units

    def satisfies(self, principal: common_pb2.MSPPrincipal) -> bool:
        """Say whether this identity is what ``principal`` describes (3.3)."""
        # Remembered, since policies ask the same of the same signers at every block.
        key = (int(principal.principal_classification), principal.principal)
        known = self._known.get(key)
        if known is None:
            known = self.msp.satisfies(self, principal)
            if len(self._known) >= _REMEMBERED_PRINCIPALS:
                self._known = {}
            self._known[key] = known
        return known


class Msp:
    """One organisation's X.509 MSP, from its ``FabricMSPConfig``.

    ``ed25519_allowed`` is channel capability V3_0. ``MspConfigError`` if the definition is
    unusable: no root, a CA certificate without the CA mark or key identifier, an unknown OU
    certifier.
    """

    def __init__(self, config: msp_pb2.FabricMSPConfig, *, ed25519_allowed: bool) -> None:
        self._cache: dict[bytes, Identity] = {}
        self.msp_id = config.name
        self.ed25519_allowed = ed25519_allowed
        self.hash_function = config.crypto_config.identity_identifier_hash_function
        try:
            self._check_parameters(config)
            roots = _load_all(config.root_certs)
            intermediates = _load_all(config.intermediate_certs)
            if not roots:
                raise MspConfigError(
                    Text("MSP {msp_id} has no root certificate", msp_id=self.msp_id)
                )
            plain = PathBuilder(roots, intermediates)
            self._roots = tuple(_sanitized(plain, ca) for ca in roots)
            self._intermediates = tuple(_sanitized(plain, ca) for ca in intermediates)
            self._paths = PathBuilder(self._roots, self._intermediates)
            self._crls = tuple(_load_crl(raw) for raw in config.revocation_list)
            self._inner_nodes = self._check_cas()
            self.node_ous_enabled = config.fabric_node_ous.enable
            self._required_units = tuple(
                self._unit(unit, required=True) for unit in config.organizational_unit_identifiers
            )
            self.node_ous: Mapping[str, OrganizationalUnit] = self._node_ous(config)
            self._admins = frozenset(self._admin(pem) for pem in config.admins)
            tls = _load_all(list(config.tls_root_certs) + list(config.tls_intermediate_certs))
        except (CertificateError, MspError) as error:
            raise MspConfigError(
                Text("MSP {msp_id}: {error}", msp_id=self.msp_id, error=error)
            ) from error
        self.tls_certificates: frozenset[bytes] = frozenset(c.der for c in tls)
        """DER of the TLS roots and intermediates this organisation's nodes are certified by."""

    # -- identities -----------------------------------------------------------------------------

    def parse(self, id_bytes: bytes) -> Identity:
        """Return the identity of a PEM certificate after stage 1; ``MspError`` if refused."""
        known = self._cache.get(id_bytes)
        if known is None:
            known = self._parse(id_bytes)
            if len(self._cache) >= _CACHED_IDENTITIES:
                self._cache = {}  # replaced, not cleared: another thread may be reading it
            self._cache[id_bytes] = known
        return known

    def _parse(self, id_bytes: bytes) -> Identity:
        try:
            certificate = certificates.load(id_bytes)
        except CertificateError as error:
            raise MalformedIdentityError(
                Text("{msp_id}: {error}", msp_id=self.msp_id, error=error)
            ) from error
        self._check_key(certificate)
        try:
            certificate = _sanitized(self._paths, certificate)
            path = _path(self._paths, certificate)
        except CertificateError as error:
            raise UntrustedCertificateError(
                Text("{msp_id}: {error}", msp_id=self.msp_id, error=error)
            ) from error
        if len(path) < 2:
            raise UntrustedCertificateError(
                Text("{msp_id}: a root CA cannot be an identity", msp_id=self.msp_id)
            )
        return Identity(self, path)

    def check(self, identity: Identity) -> None:
        """Check stage 2 of 3.2 for an identity of this MSP; ``MspError`` if it fails."""
        if identity.certificate.is_ca:
            raise UntrustedCertificateError(
                Text("{msp_id}: a CA certificate is no identity", msp_id=self.msp_id)
            )
        self._check_against_path(identity.path)
        self._check_units(identity)

    def satisfies(self, identity: Identity, principal: common_pb2.MSPPrincipal) -> bool:
        """Say whether ``identity`` of this MSP is what ``principal`` describes (3.3)."""
        try:
            return all(self._satisfies_one(identity, part) for part in _flatten(principal))
        except DecodeError:
            return False

    def certifiers_identifier(self, chain: Sequence[Certificate]) -> bytes:
        """Return the digest of the issuing chain, issuer first and root last (3.2, point 9)."""
        return certificates.identifier((c.der for c in chain), self.hash_function)

    # -- set-up ---------------------------------------------------------------------------------

    def _check_parameters(self, config: msp_pb2.FabricMSPConfig) -> None:
        if not config.name:
            raise MspConfigError(Text("an MSP has no name"))
        if config.crypto_config.signature_hash_family not in ("", "SHA2"):
            raise MspConfigError(
                Text(
                    "MSP {name} signs with {signature_hash_family}; only SHA2 is supported",
                    name=config.name,
                    signature_hash_family=config.crypto_config.signature_hash_family,
                )
            )
        certificates.identifier((), self.hash_function)
        for listed in (
            config.admins,
            config.revocation_list,
            config.organizational_unit_identifiers,
        ):
            _check_count(len(listed))

    def _check_cas(self) -> frozenset[bytes]:
        """Check the CA certificates; return those (DER) that issued another CA of this MSP."""
        inner: set[bytes] = set()
        for ca in (*self._roots, *self._intermediates):
            if not ca.is_ca or ca.subject_key_id is None:
                raise MspConfigError(
                    Text(
                        "a CA certificate of MSP {msp_id} lacks the CA mark or its key identifier",
                        msp_id=self.msp_id,
                    )
                )
            path = _path(self._paths, ca)
            if len(path) > 1:
                self._check_revocation(path)
            inner.update(c.der for c in path[1:])
        return frozenset(inner)

    def _unit(self, unit: msp_pb2.FabricOUIdentifier, *, required: bool) -> OrganizationalUnit:
        if not unit.certificate and not required:
            return OrganizationalUnit(unit.organizational_unit_identifier)
        certifier = _sanitized(self._paths, certificates.load(unit.certificate))
        if all(certifier.der != ca.der for ca in (*self._roots, *self._intermediates)):
            raise MspConfigError(
                Text("MSP {msp_id}: an OU's certifier is not one of its CAs", msp_id=self.msp_id)
            )
        return OrganizationalUnit(
            unit.organizational_unit_identifier,
            self.certifiers_identifier(_path(self._paths, certifier)),
        )

    def _node_ous(self, config: msp_pb2.FabricMSPConfig) -> dict[str, OrganizationalUnit]:
        ous = config.fabric_node_ous
        if not ous.enable:
            return {}
        configured = {
            "client": ous.client_ou_identifier,
            "peer": ous.peer_ou_identifier,
            "admin": ous.admin_ou_identifier,
            "orderer": ous.orderer_ou_identifier,
        }
        return {
            role: self._unit(unit, required=False)
            for role, unit in configured.items()
            if unit.organizational_unit_identifier
        }

    def _admin(self, pem: bytes) -> bytes:
        return _sanitized(self._paths, certificates.load(pem)).der

    # -- rules ----------------------------------------------------------------------------------

    def _check_key(self, certificate: Certificate) -> None:
        key = certificate.public_key
        if isinstance(key, ed25519.Ed25519PublicKey):
            if not self.ed25519_allowed:
                raise MalformedIdentityError(
                    Text(
                        "{msp_id}: Ed25519 identities need channel capability V3_0",
                        msp_id=self.msp_id,
                    )
                )
            return
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise MalformedIdentityError(
                Text("{msp_id}: only ECDSA and Ed25519 keys can sign", msp_id=self.msp_id)
            )
        try:
            crypto.curve_order(key.curve)
        except crypto.CryptoError as error:
            raise MalformedIdentityError(
                Text("{msp_id}: {error}", msp_id=self.msp_id, error=error)
            ) from error

    def _check_against_path(self, path: tuple[Certificate, ...]) -> None:
        if path[1].der in self._inner_nodes:
            raise UntrustedCertificateError(
                Text(
                    "{msp_id}: the issuer has issued another CA, so it cannot issue identities",
                    msp_id=self.msp_id,
                )
            )
        self._check_revocation(path)

    def _check_revocation(self, path: tuple[Certificate, ...]) -> None:
        issuer = path[1]
        for crl in self._crls:
            if _authority_key_id(crl) != issuer.subject_key_id:
                continue
            serial = path[0].parsed.serial_number
            if crl.get_revoked_certificate_by_serial_number(serial) is None:
                continue
            if _crl_is_from(crl, issuer):
                raise RevokedCertificateError(
                    Text("{msp_id}: the certificate has been revoked", msp_id=self.msp_id)
                )

    def _check_units(self, identity: Identity) -> None:
        units = identity.organizational_units
        if self._required_units and not any(unit in self._required_units for unit in units):
            raise OrganizationalUnitError(
                Text("{msp_id}: none of the required OUs is present", msp_id=self.msp_id)
            )
        if not self.node_ous_enabled:
            return
        by_name = {unit.name: unit for unit in self.node_ous.values()}
        matched = 0
        for unit in units:
            node_ou = by_name.get(unit.name)
            if node_ou is None:
                continue
            if node_ou.certifiers and node_ou.certifiers != unit.certifiers:
                raise OrganizationalUnitError(
                    Text(
                        "{msp_id}: OU {name} was issued under another CA than configured",
                        msp_id=self.msp_id,
                        name=unit.name,
                    )
                )
            matched += 1
        if matched != 1:
            raise OrganizationalUnitError(
                Text(
                    "{msp_id}: the subject must carry exactly one of the OUs {units}; it carries "
                    "{matched}",
                    msp_id=self.msp_id,
                    units=", ".join(sorted(by_name)),
                    matched=matched,
                )
            )

    def _satisfies_one(self, identity: Identity, principal: common_pb2.MSPPrincipal) -> bool:
        kind, body = principal.principal_classification, principal.principal
        if kind == common_pb2.MSPPrincipal.ROLE:
            role = common_pb2.MSPRole.FromString(body)
            return role.msp_identifier == self.msp_id and self._plays(identity, role.role)
        if kind == common_pb2.MSPPrincipal.ORGANIZATION_UNIT:
            unit = common_pb2.OrganizationUnit.FromString(body)
            wanted = OrganizationalUnit(
                unit.organizational_unit_identifier, unit.certifiers_identifier
            )
            return (
                unit.msp_identifier == self.msp_id
                and identity.is_valid()
                and wanted in identity.organizational_units
            )
        if kind == common_pb2.MSPPrincipal.IDENTITY:
            return self._is_certificate(identity, body)
        if kind == common_pb2.MSPPrincipal.ANONYMITY:
            nominal = common_pb2.MSPIdentityAnonymity.NOMINAL
            return common_pb2.MSPIdentityAnonymity.FromString(body).anonymity_type == nominal
        return False

    def _plays(self, identity: Identity, role: int) -> bool:
        if role == common_pb2.MSPRole.MEMBER:
            return identity.is_valid()
        if role == common_pb2.MSPRole.ADMIN and identity.certificate.der in self._admins:
            return True
        return identity.has_role(role) and identity.is_valid()

    def _is_certificate(self, identity: Identity, serialized: bytes) -> bool:
        other = msp_pb2.SerializedIdentity.FromString(serialized)
        if other.mspid != self.msp_id:
            return False
        try:
            wanted = self.parse(other.id_bytes)
        except MspError:
            return False
        return wanted.certificate.der == identity.certificate.der and wanted.is_valid()


class MspManager:
    """The MSPs of one channel, by MSP id (3.1). ``parse`` and ``deserialize`` are thread-safe."""

    def __init__(self, msps: Iterable[Msp]) -> None:
        self._msps: dict[str, Msp] = {msp.msp_id: msp for msp in msps}
        self._cache: dict[bytes, Identity] = {}

    @property
    def msp_ids(self) -> frozenset[str]:
        """The MSP ids of all organisations of the channel."""
        return frozenset(self._msps)

    def msp(self, msp_id: str) -> Msp:
        """Return the MSP with that id; ``UnknownMspError`` if the channel has none."""
        try:
            return self._msps[msp_id]
        except KeyError:
            raise UnknownMspError(
                Text("the channel has no MSP {msp_id}", msp_id=repr(msp_id[:100]))
            ) from None

    def parse(self, serialized: bytes) -> Identity:
        """Return the identity in a SerializedIdentity after stage 1 of 3.2.

        Policies want this form: which further rules apply depends on the principal. ``MspError``
        if it cannot be read, is of an unknown MSP or leads to no root.
        """
        known = self._cache.get(serialized)
        if known is not None:
            return known
        if len(serialized) > MAX_IDENTITY_BYTES:
            raise MalformedIdentityError(
                Text("an identity of {count} bytes is too long", count=len(serialized))
            )
        try:
            message = msp_pb2.SerializedIdentity.FromString(serialized)
        except DecodeError as error:
            raise MalformedIdentityError(
                Text("not a serialized identity: {error}", error=error)
            ) from error
        identity = self.msp(message.mspid).parse(message.id_bytes)
        if len(self._cache) >= _CACHED_IDENTITIES:
            self._cache = {}  # replaced, not cleared: another thread may be reading it
        self._cache[serialized] = identity
        return identity

    def deserialize(self, serialized: bytes) -> Identity:
        """Return the valid identity in a SerializedIdentity: all rules of 3.2; ``MspError``."""
        identity = self.parse(serialized)
        identity.validate()
        return identity


def load_msp(config: bytes, *, ed25519_allowed: bool) -> Msp | None:
    """Return the MSP of a serialized ``MSPConfig``, None for one that is not X.509 (idemix).

    ``MspConfigError`` if it is unusable.
    """
    try:
        outer = msp_pb2.MSPConfig.FromString(config)
        if outer.type != _FABRIC:
            return None
        inner = msp_pb2.FabricMSPConfig.FromString(outer.config)
    except DecodeError as error:
        raise MspConfigError(
            Text("an MSP definition cannot be read: {error}", error=error)
        ) from error
    return Msp(inner, ed25519_allowed=ed25519_allowed)


def _check_count(entries: int) -> None:
    if entries > MAX_CERTIFICATES:
        raise MspConfigError(
            Text("a list of {entries} entries in one MSP is too long", entries=entries)
        )


def _load_all(pems: Sequence[bytes]) -> list[Certificate]:
    _check_count(len(pems))
    return [certificates.load(pem) for pem in pems]


def _path(paths: PathBuilder, certificate: Certificate) -> tuple[Certificate, ...]:
    # The instant is part of the rule: validity today plays no role (3.2 point 3).
    try:
        at = certificate.not_before + _ONE_SECOND
    except OverflowError as error:  # the last second X.509 can write
        raise CertificateError(Text("the certificate begins when time ends")) from error
    return paths.only_path(certificate, at)


def _sanitized(paths: PathBuilder, certificate: Certificate) -> Certificate:
    # A root is its own issuer. It must not be looked up: the trusted copy may be the low-S twin.
    if certificate.is_ca and certificates.issued(certificate, certificate):
        return certificates.sanitized(certificate, certificate)
    path = _path(paths, certificate)
    return certificates.sanitized(certificate, path[1]) if len(path) > 1 else certificate


def _load_crl(raw: bytes) -> x509.CertificateRevocationList:
    try:
        if b"-----BEGIN" in raw:
            return x509.load_pem_x509_crl(raw)
        return x509.load_der_x509_crl(raw)
    except crypto.UNREADABLE as error:
        raise MspConfigError(
            Text("a revocation list cannot be read: {error}", error=error)
        ) from error


def _authority_key_id(crl: x509.CertificateRevocationList) -> bytes:
    try:
        found = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound as error:
        raise UntrustedCertificateError(Text("a revocation list names no authority key")) from error
    except crypto.UNREADABLE as error:
        raise UntrustedCertificateError(
            Text("a revocation list cannot be read: {error}", error=error)
        ) from error
    return found.value.key_identifier or b""


def _crl_is_from(crl: x509.CertificateRevocationList, issuer: Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key)  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _flatten(principal: common_pb2.MSPPrincipal) -> list[common_pb2.MSPPrincipal]:
    """Return the principals a COMBINED one stands for; ``DecodeError`` for empty or too many."""
    found: list[common_pb2.MSPPrincipal] = []
    waiting = [principal]
    while waiting:
        part = waiting.pop(0)
        if part.principal_classification == common_pb2.MSPPrincipal.COMBINED:
            inner = common_pb2.CombinedPrincipal.FromString(part.principal).principals
            if not inner:
                raise DecodeError("a combined principal is empty")
            waiting = [*inner, *waiting]
        else:
            found.append(part)
        if len(found) + len(waiting) > MAX_PRINCIPALS:
            raise DecodeError("a combined principal has too many parts")
    return found
