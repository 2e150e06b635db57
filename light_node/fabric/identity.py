"""Who signs: a certificate under an MSP, and what its issuer wrote into it."""

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import NameOID

from light_node import jsonio
from light_node.fabric import crypto
from light_node.fabric.crypto import CryptoError, KeySigner, PrivateKey, Signer, load_certificate
from light_node.fabric.pb import msp_pb2
from light_node.i18n import SaidError, Text, told

ATTRIBUTES_OID = x509.ObjectIdentifier("1.2.3.4.5.6.7.8.1")
"""The extension in which Fabric CA writes attributes (docs/fabric-protocol.md 5.4)."""
_MAX_ATTRIBUTES_BYTES = 64 * 1024


class IdentityError(SaidError, ValueError):
    """An identity or certificate that is not as Fabric makes them; the message says where."""


@dataclass(frozen=True)
class SigningIdentity:
    """A certificate of organisation ``msp_id`` and the means to sign with its key.

    ``certificate_pem`` is kept byte for byte: transaction ids and creators are hashes over it.
    """

    msp_id: str
    certificate_pem: bytes
    signer: Signer
    serialized: bytes = field(init=False, repr=False)
    """The msp.SerializedIdentity used as ``creator``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "serialized", serialize(self.msp_id, self.certificate_pem))

    @classmethod
    def from_key(cls, msp_id: str, certificate_pem: bytes, key: PrivateKey) -> "SigningIdentity":
        """Return the identity of a key in memory; ``IdentityError`` if they do not belong."""
        try:
            certificate = load_certificate(certificate_pem)
        except CryptoError as error:
            raise IdentityError(told(error)) from error
        if certificate.public_key() != key.public_key():
            raise IdentityError(Text("the key does not belong to the certificate"))
        return cls(msp_id, certificate_pem, KeySigner(key))

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate, parsed; ``CryptoError`` if it is none."""
        return load_certificate(self.certificate_pem)

    def sign(self, message: bytes) -> bytes:
        """Return the signature over ``message``."""
        return self.signer.sign(message)


def serialize(msp_id: str, certificate_pem: bytes) -> bytes:
    """Return the serialized msp.SerializedIdentity (docs/fabric-protocol.md 1.4)."""
    return msp_pb2.SerializedIdentity(mspid=msp_id, id_bytes=certificate_pem).SerializeToString()


def attributes(certificate: x509.Certificate) -> dict[str, str]:
    """Return the attributes Fabric CA wrote into the certificate; empty without the extension.

    ``IdentityError`` if the extension is there but not ``{"attrs": {name: text, …}}``.
    """
    try:
        extension = certificate.extensions.get_extension_for_oid(ATTRIBUTES_OID).value
    except x509.ExtensionNotFound:
        return {}
    except crypto.UNREADABLE as error:
        raise IdentityError(
            Text("the certificate's extensions cannot be read: {error}", error=error)
        ) from error
    raw = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
    if len(raw) > _MAX_ATTRIBUTES_BYTES:
        raise IdentityError(Text("the certificate's attributes are too long"))
    try:
        found = jsonio.mapping(jsonio.strict_loads(raw), Text("the attribute extension"))
        pairs = jsonio.mapping(jsonio.required(found, "attrs"), '"attrs"')
    except jsonio.JsonError as error:
        raise IdentityError(
            Text("the certificate's attributes cannot be read: {error}", error=error)
        ) from error
    for name, value in pairs.items():
        if not isinstance(value, str):
            raise IdentityError(
                Text('the certificate\'s attribute "{name}" is not text', name=name[:64])
            )
    return pairs


def common_name(certificate: x509.Certificate) -> str:
    """Return the subject's only common name; ``IdentityError`` if there is not exactly one."""
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError as error:
        raise IdentityError(
            Text("the certificate's subject cannot be read: {error}", error=error)
        ) from error
    if len(names) != 1 or not isinstance(names[0].value, str) or not names[0].value:
        raise IdentityError(Text("the certificate's subject must have exactly one common name"))
    return names[0].value


def enrolment_id(certificate: x509.Certificate) -> str:
    """Return the name under which the CA knows the holder.

    The attribute ``hf.EnrollmentID`` where the CA wrote it, else the common name, which Fabric CA
    requires to be the same (docs/fabric-protocol.md 5.2); ``IdentityError`` if there is neither.
    """
    return attributes(certificate).get("hf.EnrollmentID") or common_name(certificate)
