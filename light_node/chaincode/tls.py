"""TLS of the chaincode server: its certificates, and one connection's bytes in and out."""

import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

_READ_BYTES = 256 * 1024


class TlsError(ValueError):
    """Certificate, key and roots that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's certificate and key (PEM); with ``client_roots`` peers must have one too."""

    certificate: bytes
    key: bytes
    client_roots: bytes | None = None

    def context(self) -> ssl.SSLContext:
        """Return Python's form; ``TlsError`` if these cannot be used together."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_alpn_protocols(["h2"])
        try:
            # OpenSSL reads a chain from files only; this folder is the owner's alone.
            with tempfile.TemporaryDirectory() as folder:
                chain = Path(folder, "server.pem")
                chain.touch(mode=0o600)
                chain.write_bytes(self.key.rstrip() + b"\n" + self.certificate)
                made.load_cert_chain(chain)
            if self.client_roots is not None:
                made.verify_mode = ssl.CERT_REQUIRED
                made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a root may be an intermediate
                made.load_verify_locations(cadata=self.client_roots.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            text = f"the certificate, key or client roots cannot be used: {error}"
            raise TlsError(text) from error
        return made


class TlsSession:
    """The server's side of one connection, without I/O.

    asyncio's own takes as long for a message as all the rest of the server.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._received, self._to_send, server_side=True)
        self._agreed = False

    def receive(self, data: bytes) -> bytes:
        """Return the plain bytes; ``ssl.SSLError`` ends the connection.

        After this and after an error :meth:`take` may have something for the client.
        """
        self._received.write(data)
        plain = bytearray()
        try:
            if not self._agreed:
                self._ssl.do_handshake()
                self._agreed = True
            while part := self._ssl.read(_READ_BYTES):
                plain += part
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass  # no more for now; or for ever, which the socket's end says as well
        return bytes(plain)

    def send(self, data: bytes) -> None:
        """Take plain bytes to send; ``ssl.SSLError`` before both sides have agreed."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._ssl.write(rest) :]

    @property
    def agreed(self) -> bool:
        """Whether the handshake is over, so that bytes may be sent."""
        return self._agreed

    def take(self) -> bytes:
        """Return the bytes for the client, once."""
        return self._to_send.read()
