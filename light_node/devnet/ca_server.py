"""The CA's REST interface over HTTPS: a small threaded server around :class:`CaInterface`.

Threads, because hashing a secret takes milliseconds that the event loop should not lose, and the
standard library's server because nothing more is needed.
"""

import json
import logging
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from tempfile import TemporaryDirectory
from typing import Any

from light_node.devnet.ca_interface import CaInterface
from light_node.devnet.ca_requests import CaAnswer, CaRequest
from light_node.devnet.certificates import Credential
from light_node.devnet.errors import PortInUseError
from light_node.devnet.layout import join_address

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024
_IDLE_SECONDS = 30.0


class CaServer:
    """Serves ``interface`` at ``host:port`` until :meth:`stop`."""

    def __init__(self, interface: CaInterface, host: str, port: int, tls: Credential) -> None:
        try:
            self._server = _Server(interface, host, port, _context(tls))
        except OSError as error:
            raise PortInUseError(
                f"cannot listen on {join_address(host, port)}: {error.strerror}"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="ca-server"
        )

    def start(self) -> None:
        """Begin to answer, on threads of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, interface: CaInterface, host: str, port: int, context: ssl.SSLContext
    ) -> None:
        self.interface = interface
        self._context = context
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The handshake belongs on the connection's own thread: a silent client blocks nobody.
        request.settimeout(_IDLE_SECONDS)
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Connections that break off (a scanner, a client killed) are no news.
        log.debug("a CA connection broke off", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "devnet-ca"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def __init__(self, request: Any, client_address: Any, server: BaseServer) -> None:
        assert isinstance(server, _Server)
        self._interface = server.interface
        super().__init__(request, client_address, server)

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _handle(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self.send_error(413)
            return
        request = CaRequest(
            method=self.command,
            target=self.path,
            authorization=self.headers.get("Authorization") or "",
            body=self.rfile.read(int(length)),
        )
        try:
            answer = self._interface.handle(request)
        except Exception:  # one bad request must not end the server; the client gets a 500
            log.exception("a CA request failed")
            document = {"result": "", "errors": [_INTERNAL], "messages": [], "success": False}
            answer = CaAnswer(500, document)
        self._send(answer)

    def _send(self, answer: CaAnswer) -> None:
        body = json.dumps(answer.document).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


_INTERNAL = {"code": 0, "message": "internal error"}


def _context(tls: Credential) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The standard library reads keys from files only: for as long as that takes, owner-only ones.
    with TemporaryDirectory(prefix="devnet-") as directory:
        certificate, key = Path(directory, "cert.pem"), Path(directory, "key.pem")
        certificate.write_bytes(tls.certificate_pem)
        key.write_bytes(tls.key_pem)
        context.load_cert_chain(certificate, key)
    return context
