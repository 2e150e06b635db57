"""A running light node's status on an owner-only Unix socket: one JSON line now, one per change.

There is nothing to send: whatever a client writes is not read, so the socket can neither command
the node nor be abused by a web page (no TCP port exists at all). Python has no Unix sockets on
Windows; there ``light-node run`` says so and serves none.
"""

import json
import logging
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from light_node.commandline import InputError
from light_node.i18n import Text, os_reason

FILE_NAME = "status.sock"
MAX_CLIENTS = 16
MAX_LINE_BYTES = 1024 * 1024
_ACCEPT_S = 0.25
_SEND_S = 5.0
_PAUSE_S = 0.1
_MAX_PATH_BYTES = 100  # what every Unix takes for a socket's path

_log = logging.getLogger(__name__)

Wait = Callable[[Any, float], Any]
"""Given the last snapshot (None at first), waits up to so many seconds for another; returns it."""


def supported() -> bool:
    """Say whether this system's Python has Unix sockets."""
    return hasattr(socket, "AF_UNIX") and sys.platform != "win32"


class StatusSocket:
    """Serves snapshots, JSON values, to any number of readers up to ``MAX_CLIENTS``."""

    def __init__(self, path: Path, wait: Wait) -> None:
        """Listen at ``path``, replacing what an earlier run left; ``InputError`` if impossible.

        The caller holds the store's lock, so no other light node can be listening there.
        """
        if len(os.fsencode(path)) > _MAX_PATH_BYTES:
            raise InputError(
                Text("the path {path} is too long for a socket: choose a shorter --dir", path=path)
            )
        self._path, self._wait = path, wait
        self._stopping = threading.Event()
        self._slots = threading.Semaphore(MAX_CLIENTS)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            before = os.umask(0o177)  # nobody else's from its first instant on
            try:
                self._socket.bind(str(path))
            finally:
                os.umask(before)
            self._socket.listen(MAX_CLIENTS)
        except OSError as error:
            self._socket.close()
            raise InputError(
                Text("cannot listen at {path}: {why}", path=path, why=os_reason(error))
            ) from error
        self._socket.settimeout(_ACCEPT_S)
        self._thread = threading.Thread(target=self._accept, name="status-socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and remove the socket."""
        self._stopping.set()
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                _log.warning("a reader could not connect: %s", error)
                self._stopping.wait(_ACCEPT_S)
                continue
            if not _is_owner(client) or not self._slots.acquire(blocking=False):
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(_SEND_S)  # whoever does not read is left behind
        last: Any = None
        try:
            with client:
                while not self._stopping.is_set():
                    now = self._wait(last, 1.0)
                    if now != last:
                        client.sendall(json.dumps(now, ensure_ascii=True).encode() + b"\n")
                        last = now
                    self._stopping.wait(_PAUSE_S)
                    if _has_left(client):
                        return
        except OSError:
            return  # the reader went away, which is its right
        finally:
            self._slots.release()


def read_status(path: Path, timeout: float = 5.0) -> Any:
    """Return the first snapshot of the node listening at ``path``; None if nobody does."""
    if not supported() or not path.exists():
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        try:
            client.connect(str(path))
            with client.makefile("rb") as lines:
                line = lines.readline(MAX_LINE_BYTES)
            return json.loads(line) if line else None
        except (OSError, ValueError):
            return None


def _has_left(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return not client.recv(4096, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        client.settimeout(_SEND_S)


def _is_owner(client: socket.socket) -> bool:
    """Where the system tells who connects, take the owner and root only."""
    if sys.platform != "linux":
        return True
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", raw)[1]
    return uid in (0, os.getuid())
