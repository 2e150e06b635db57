"""gRPC channels to peers and orderers: always TLS, with limits that suit Fabric and a desktop."""

import ipaddress
import re

import grpc
import grpc.experimental

from light_node.fabric.crypto import load_certificates

MAX_MESSAGE_BYTES = 100 * 1024 * 1024
"""What Fabric servers send and take; gRPC's own limit of 4 MiB ends streams of large blocks."""
KEEPALIVE_MS = 120_000  # servers answer pings oftener than every 60 s with GOAWAY (7.3)
KEEPALIVE_TIMEOUT_MS = 20_000
MAX_RECONNECT_BACK_OFF_MS = 5_000  # a person waits; gRPC's two minutes are for data centres

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})\Z")


LOOK_AHEAD_BYTES = 4 * 1024 * 1024


def connect(
    address: str,
    tls_root_pem: bytes | str,
    *,
    override_name: str | None = None,
    for_one_stream: bool = False,
) -> grpc.Channel:
    """Return a channel to ``address`` (``host:port``); it connects, and reconnects, by itself.

    ``tls_root_pem`` holds the only roots the server's certificate may chain to.
    ``override_name`` is the name in that certificate where it differs from ``address``.
    ``for_one_stream``: what it carries is read without a thread of gRPC's between, and the server
    sends ahead while blocks are verified. It must be ended by closing the channel and then reading
    to the end, as :class:`~light_node.fabric.deliver.BlockStream` does: cancelling the call would
    leave in memory what gRPC keeps for it.
    ``CryptoError`` if the PEM holds no certificate, ``ValueError`` for another form of address.
    """
    match = _ADDRESS.match(address)
    if not match or not 0 < int(match[2]) < 65536:
        raise ValueError(f"an address must be host:port, not '{address[:100]}'")
    pem = tls_root_pem.encode() if isinstance(tls_root_pem, str) else tls_root_pem
    load_certificates(pem)  # gRPC would take nonsense and fail at every call without a word
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),  # idle block streams are pinged for ever
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_BACK_OFF_MS),
    ]
    if override_name is not None:
        options.append(("grpc.ssl_target_name_override", override_name))
    if for_one_stream:
        options += [
            (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
            ("grpc.http2.lookahead_bytes", LOOK_AHEAD_BYTES),
        ]
    if _is_loopback(match[1]):
        options.append(("grpc.enable_http_proxy", 0))  # a proxy cannot reach this machine's devnet
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(pem), options)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
