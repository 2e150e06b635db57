"""TLS, health, and a stop that lets transactions end."""

import contextlib
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from light_node.chaincode.health import CHECK, WATCH
from light_node.chaincode.server import ServerError, Tls
from light_node.devnet.certificates import Credential, issue_tls, new_root
from light_node.fabric import crypto
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import health_pb2, peer_pb2

M = peer_pb2.ChaincodeMessage
Status = health_pb2.HealthCheckResponse
WAIT = 20.0


@pytest.fixture
def trader(new_trader: Callable[..., SigningIdentity]) -> SigningIdentity:
    return new_trader("Ada")


@pytest.fixture(scope="module")
def root() -> Credential:
    return new_root("tls root", "Org1", datetime.now(UTC))


@pytest.fixture(scope="module")
def server_certificate(root: Credential) -> Credential:
    return issued(root)


def issued(issuer: Credential) -> Credential:
    key, after = crypto.generate_key(), datetime.now(UTC) + timedelta(days=1)
    return Credential(issue_tls(issuer, key.public_key(), "node", ["127.0.0.1"], after), key)


def credentials(root: Credential, own: Credential | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root.certificate_pem,
        private_key=own.key_pem if own else None,
        certificate_chain=own.certificate_pem if own else None,
    )


def tls(server: Credential, roots: Credential | None = None) -> Tls:
    return Tls(server.certificate_pem, server.key_pem, roots.certificate_pem if roots else None)


def test_tls(
    serve: Any, dial: Any, trader: SigningIdentity, root: Credential, server_certificate: Credential
) -> None:
    server = serve("kv", tls=tls(server_certificate))
    peer = dial(server, credentials=credentials(root))
    assert peer.call(trader, "put", "k", "v").payload == b"v"
    plain = dial(server)
    assert plain.over.wait(WAIT)
    assert plain.registered == ""


def test_mutual_tls_takes_only_peers_with_a_certificate_of_the_root(
    serve: Any, dial: Any, trader: SigningIdentity, root: Credential, server_certificate: Credential
) -> None:
    server = serve("kv", tls=tls(server_certificate, root))
    own = issued(root)
    foreign = issued(new_root("another root", "Org2", datetime.now(UTC)))
    peer = dial(server, credentials=credentials(root, own))
    assert peer.call(trader, "put", "k", "v").payload == b"v"
    for stranger in (None, foreign):
        refused = dial(server, credentials=credentials(root, stranger))
        assert refused.over.wait(WAIT)
        assert refused.registered == ""


def test_health_check_and_watch(serve: Any) -> None:
    server = serve("kv")
    with grpc.insecure_channel(server.address) as channel:
        check = CHECK.callable(channel)
        for service in ("", "protos.Chaincode"):
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT)
            assert answer.status == Status.SERVING
        with pytest.raises(grpc.RpcError) as error:
            check(health_pb2.HealthCheckRequest(service="other"), timeout=WAIT)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        states = WATCH.callable(channel)(health_pb2.HealthCheckRequest(), timeout=WAIT)
        assert next(states).status == Status.SERVING
        server.begin_stop(0.0)
        assert next(states).status == Status.NOT_SERVING


def test_a_stop_lets_running_transactions_end_and_takes_no_new_ones(
    serve: Any, dial: Any, trader: SigningIdentity
) -> None:
    server = serve("kv")
    peer = dial(server)
    held: list[Any] = []
    seen = threading.Event()

    def hold(call: Any, message: Any) -> bool:
        held.append(message)
        seen.set()
        return False

    peer.on_call = hold
    running = peer.begin(trader, "put", "k", "v")
    assert seen.wait(WAIT)
    server.begin_stop(WAIT)
    with grpc.insecure_channel(server.address) as channel:
        states = WATCH.callable(channel)(health_pb2.HealthCheckRequest(), timeout=WAIT)
        assert Status.NOT_SERVING in (state.status for state in states)
    assert "is stopping" in peer.begin(trader, "put", "k", "w").error()
    peer.answer(held[0], b"")
    assert running.response().payload == b"v"
    assert peer.over.wait(WAIT)
    server.stop(WAIT)
    assert server.drained is True


def test_a_stop_does_not_wait_for_ever(serve: Any, dial: Any, trader: SigningIdentity) -> None:
    server = serve("kv")
    peer, seen = dial(server), threading.Event()

    def hold(call: Any, message: Any) -> bool:
        seen.set()
        return False

    peer.on_call = hold
    running = peer.begin(trader, "put", "k", "v")
    assert seen.wait(WAIT)
    server.stop(0.1)
    assert server.drained is False
    with pytest.raises(ConnectionError):
        running.response()


def test_a_peer_dials_again_after_a_restart(serve: Any, dial: Any, trader: SigningIdentity) -> None:
    first = serve("kv")
    peer = dial(first)
    assert peer.call(trader, "put", "k", "v").payload == b"v"
    first.stop(1.0)
    assert peer.over.wait(WAIT)
    second = serve("kv", address=first.address)
    assert dial(second).call(trader, "put", "k", "w").payload == b"w"


def test_a_port_that_is_taken_is_a_clear_error(serve: Any) -> None:
    server = serve("kv")
    with pytest.raises(ServerError, match=r"cannot listen on 127\.0\.0\.1:"):
        serve("kv", address=server.address)


def test_tls_that_is_none_ends_its_connection_only(
    serve: Any, dial: Any, trader: SigningIdentity, root: Credential, server_certificate: Credential
) -> None:
    server = serve("kv", tls=tls(server_certificate))
    peer = dial(server, credentials=credentials(root))
    host, port = server.address.split(":")
    for garbage in (b"\x16\x03\x01\x00\x05hello", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(100)):
        with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
            connection.sendall(garbage)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
    assert peer.call(trader, "put", "k", "v").payload == b"v"


def test_keys_that_do_not_belong_together_are_a_clear_error(
    serve: Any, server_certificate: Credential
) -> None:
    other = crypto.private_key_pem(crypto.generate_key())
    with pytest.raises(ServerError, match="cannot be used"):
        serve("kv", tls=Tls(server_certificate.certificate_pem, other))
    with pytest.raises(ServerError, match="cannot be used"):
        serve("kv", tls=Tls(server_certificate.certificate_pem, server_certificate.key_pem, b"x"))
