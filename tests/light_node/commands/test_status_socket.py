"""The status socket: owner only, a line at once and one per change, readers that misbehave."""

import json
import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from light_node.commandline import InputError
from light_node.commands import status_socket
from light_node.commands.status_socket import StatusSocket, read_status

pytestmark = pytest.mark.skipif(not status_socket.supported(), reason="no Unix sockets here")


class Board:
    """Something with a snapshot that changes."""

    def __init__(self) -> None:
        self.value: Any = {"height": 1}
        self.changed = threading.Condition()

    def put(self, value: Any) -> None:
        with self.changed:
            self.value = value
            self.changed.notify_all()

    def wait(self, last: Any, timeout: float) -> Any:
        with self.changed:
            self.changed.wait_for(lambda: self.value != last, timeout)
            return self.value


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def server(board: Board, tmp_path: Path) -> Iterator[StatusSocket]:
    made = StatusSocket(tmp_path / "s", board.wait)
    yield made
    made.close()


def connect(tmp_path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(20)
    client.connect(str(tmp_path / "s"))
    return client


def test_a_line_at_once_and_one_after_each_change(
    board: Board, server: StatusSocket, tmp_path: Path
) -> None:
    with connect(tmp_path) as client, client.makefile("rb") as lines:
        assert json.loads(lines.readline()) == {"height": 1}
        board.put({"height": 2, "text": "\u202e\n"})
        line = lines.readline()
        assert line.isascii()
        assert json.loads(line) == {"height": 2, "text": "\u202e\n"}
    assert read_status(tmp_path / "s") == {"height": 2, "text": "\u202e\n"}


def test_it_is_the_owners_alone(server: StatusSocket, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who connects")
def test_somebody_else_is_turned_away(
    server: StatusSocket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_socket, "_is_owner", lambda client: False)
    with connect(tmp_path) as client:
        assert client.recv(100) == b""


def test_what_readers_write_changes_nothing(
    board: Board, server: StatusSocket, tmp_path: Path
) -> None:
    with connect(tmp_path) as client, client.makefile("rb") as lines:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nstop\n" * 100)
        assert json.loads(lines.readline()) == {"height": 1}
        board.put({"height": 3})
        assert json.loads(lines.readline()) == {"height": 3}


def test_too_many_readers_are_turned_away_and_leaving_makes_room(
    server: StatusSocket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [connect(tmp_path) for _ in range(status_socket.MAX_CLIENTS)]
    assert all(client.recv(100) for client in clients)
    with connect(tmp_path) as one_more:
        assert one_more.recv(100) == b""
    for client in clients:
        client.close()
    for _ in range(200):
        if read_status(tmp_path / "s") is not None:
            return
        threading.Event().wait(0.05)
    pytest.fail("nobody was let in after the others had left")


def test_closing_ends_it_all(board: Board, tmp_path: Path) -> None:
    made = StatusSocket(tmp_path / "s", board.wait)
    with connect(tmp_path) as client:
        assert client.recv(100)
        made.close()
        assert client.recv(100) == b""
    assert not (tmp_path / "s").exists()
    assert read_status(tmp_path / "s") is None


def test_what_an_earlier_run_left_is_replaced(board: Board, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(str(tmp_path / "s"))
    assert read_status(tmp_path / "s") is None
    made = StatusSocket(tmp_path / "s", board.wait)
    assert read_status(tmp_path / "s") == {"height": 1}
    made.close()


def test_impossible_places_are_told(board: Board, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too long"):
        StatusSocket(tmp_path / ("d" * 120) / "s", board.wait)
    with pytest.raises(InputError, match="cannot listen"):
        StatusSocket(Path(os.devnull) / "s", board.wait)
