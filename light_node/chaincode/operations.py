"""``/healthz`` and ``/metrics`` over plain HTTP, for whoever watches the server.

Everybody who reaches the port can read them, so it belongs on loopback or on a network of one's
own; nothing can be changed through it.
"""

import os
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

_TIMEOUT_SECONDS = 10


class OperationsServer:
    """Serves in threads of its own until :meth:`close`; ``OSError`` if it cannot listen.

    ``metrics`` gives Prometheus' text; ``healthy`` tells whether the server takes transactions.
    Both are called from other threads.
    """

    def __init__(
        self, host: str, port: int, metrics: Callable[[], bytes], healthy: Callable[[], bool]
    ) -> None:
        self._host = host
        self._server = _Server((host, port), _handler(metrics, healthy))
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="operations", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """``host:port`` it listens on."""
        return f"{self._host}:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # On Windows the option would let two servers share the port.
    allow_reuse_address = os.name != "nt"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who breaks off a scrape has reasons of its own."""


def _handler(
    metrics: Callable[[], bytes], healthy: Callable[[], bool]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_SECONDS

        def do_GET(self) -> None:
            path = self.path.split("?", 1)[0]
            if path == "/metrics":
                self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, metrics())
            elif path == "/healthz":
                good = healthy()
                status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
                text = b"ok\n" if good else b"stopping\n"
                self._answer(status, "text/plain; charset=utf-8", text)
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"see /metrics and /healthz\n")

        def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a scrape every few seconds is no news."""

    return Handler
