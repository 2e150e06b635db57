"""The install package of a chaincode-as-a-service, and its id (docs/fabric-protocol.md 6.7).

The package id is the hash of the package's bytes, so the same label and connection always make the
same bytes: times, owners and modes in the archives are fixed, and nothing is compressed, because
what a compressor writes depends on its version.
"""

import hashlib
import io
import json
import re
import struct
import tarfile
import zlib
from dataclasses import dataclass

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*\Z")
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+\Z")
_PORT = re.compile(r":[0-9]{1,5}\Z")
_TEMPLATE = re.compile(r"\{\{.+\}\}", re.DOTALL)
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_MAX_LABEL = 100
_BLOCK = 0xFFFF


class PackageError(ValueError):
    """What was given makes no usable package; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How peers reach the chaincode server: ``connection.json``.

    ``address`` (``host:port``), ``dial_timeout`` (like ``10s``) and the PEM texts may be Go
    templates such as ``{{.address}}``, which the peer's builder fills in from its variable
    CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG, so that one package serves peers that dial different
    servers. With ``root_cert`` peers demand TLS of the server, with ``client_cert`` and
    ``client_key`` they show a certificate themselves.
    """

    address: str
    dial_timeout: str = "10s"
    root_cert: str = ""
    client_cert: str = ""
    client_key: str = ""

    def check(self) -> None:
        """Raise ``PackageError`` for what a peer could not use."""
        if not is_template(self.address):
            match = _PORT.search(self.address)
            if not match or match.start() == 0 or not 0 < int(match[0][1:]) < 65536:
                raise PackageError(f"the address must be host:port, not '{self.address[:100]}'")
        if not is_template(self.dial_timeout) and not _DURATION.match(self.dial_timeout):
            raise PackageError("the dial timeout must be like 10s or 1m30s")
        if bool(self.client_cert) != bool(self.client_key):
            raise PackageError("a client certificate and its key go together")
        if self.client_cert and not self.root_cert:
            raise PackageError("a client certificate needs the server's root certificate too")

    def to_json(self) -> dict[str, object]:
        """Return the object of ``connection.json``."""
        fields: dict[str, object] = {
            "address": self.address,
            "dial_timeout": self.dial_timeout,
            "tls_required": bool(self.root_cert),
        }
        if self.root_cert:
            fields["root_cert"] = self.root_cert
            fields["client_auth_required"] = bool(self.client_cert)
        if self.client_cert:
            fields["client_cert"], fields["client_key"] = self.client_cert, self.client_key
        return fields


def build(label: str, connection: Connection) -> bytes:
    """Return the package's bytes; ``PackageError`` if label or connection cannot be used."""
    if not _LABEL.match(label) or len(label) > _MAX_LABEL:
        raise PackageError("the label must be letters, digits and _ . + -, like market_1.0")
    connection.check()
    code = _archive({"connection.json": _json(connection.to_json())})
    metadata = _json({"type": "ccaas", "label": label})
    return _archive({"metadata.json": metadata, "code.tar.gz": code})


def package_id(label: str, package: bytes) -> str:
    """Return the id a peer gives the package: label, colon, SHA-256 of its bytes in hex."""
    return f"{label}:{hashlib.sha256(package).hexdigest()}"


def is_template(text: str) -> bool:
    """Tell whether ``text`` is to be filled in by the peer's builder."""
    return _TEMPLATE.search(text) is not None


def is_package_id(text: str) -> bool:
    """Tell whether ``text`` looks like a package id."""
    label, _, digest = text.rpartition(":")
    return bool(_LABEL.match(label) and _DIGEST.match(digest))


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def _archive(files: dict[str, bytes]) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, 0
            archive.addfile(entry, io.BytesIO(data))
    return _gzip(tar.getvalue())


def _gzip(data: bytes) -> bytes:
    """Return ``data`` in gzip's form as stored blocks (RFC 1951, 3.2.4; RFC 1952), no time."""
    packed = bytearray(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        packed += struct.pack("<BHH", start + _BLOCK >= len(data), len(block), len(block) ^ 0xFFFF)
        packed += block
    return bytes(packed + struct.pack("<II", zlib.crc32(data), len(data)))
