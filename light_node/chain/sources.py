"""Where blocks come from: one node of one organisation, behind a small interface.

An organisation is known by certificate, never by position in a list or by what a node says: the
TLS root a profile names for it must be among the TLS roots of that organisation's MSP in the
trusted channel configuration, and no two organisations may share one.
"""

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Literal, Protocol
from weakref import WeakSet

import grpc
from cryptography.hazmat.primitives import serialization

from light_node.chain import errors
from light_node.clock import Clock
from light_node.fabric import crypto
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.connection import connect
from light_node.fabric.deliver import BlockStream, DeliverClient
from light_node.fabric.errors import TimeRefused, Unavailable
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.msp import MspError
from light_node.fabric.peers import Heights, Link
from light_node.fabric.profile import NetworkProfile
from light_node.i18n import Text, all_of

CALL_TIMEOUT_S = 15.0

Kind = Literal["peer", "orderer"]


class Stream(Iterator[bytes], Protocol):
    """Serialized blocks in order; ``close`` ends it, from another thread too."""

    def close(self) -> None:
        """End the stream; a reader that waits sees its end."""
        ...


class Source(Protocol):
    """One peer or orderer. Methods raise ``FabricError``; they may be called from any thread."""

    @property
    def organization(self) -> str:
        """MSP id of the organisation that runs the node, established by certificate."""
        ...

    @property
    def address(self) -> str:
        """``host:port``, for display and reports."""
        ...

    @property
    def kind(self) -> Kind:
        """Peers know which transactions were valid, orderers do not (2.8)."""
        ...

    def newest(self) -> bytes:
        """Return the node's newest block, without data if the server can."""
        ...

    def block(self, number: int, *, headers_only: bool = False) -> bytes:
        """Return block ``number``; ``BlockNotFound`` if the node does not have it yet."""
        ...

    def headers(self, start: int, stop: int | None = None) -> Stream:
        """Return blocks from ``start`` on, without data if the server can; endless without stop."""
        ...

    def close(self) -> None:
        """End every call under way; later ones fail."""
        ...


class GrpcSource:
    """A node reached over TLS. Connects on first use and again whenever the line breaks."""

    def __init__(
        self,
        organization: str,
        address: str,
        tls_root_pem: str,
        identity: SigningIdentity,
        channel_id: str,
        clock: Clock,
        kind: Kind = "peer",
    ) -> None:
        self.organization = organization
        self.address = address
        self.kind: Kind = kind
        self._tls_root_pem = tls_root_pem
        self._arguments = (identity, channel_id, clock)
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._client: DeliverClient | None = None
        self._streams: WeakSet[BlockStream] = WeakSet()
        self._closed = False

    def newest(self) -> bytes:
        """Return the node's newest block, without data if the server can."""
        try:
            return self._connected().newest(timeout=CALL_TIMEOUT_S)
        except TimeRefused as error:
            raise TimeRefused(error.status, self._ahead()) from error

    def block(self, number: int, *, headers_only: bool = False) -> bytes:
        """Return block ``number``; ``BlockNotFound`` if the node does not have it yet."""
        client = self._connected()
        return client.block(number, headers_only=headers_only, timeout=CALL_TIMEOUT_S)

    def headers(self, start: int, stop: int | None = None) -> Stream:
        """Return blocks from ``start`` on, without data if the server can; endless without stop."""
        if stop is None:
            return self._connected().blocks(start, headers_only=True)
        # Many at once: worth a connection of its own, which is read with half the work.
        with self._lock:
            self._check_open()
            channel = connect(self.address, self._tls_root_pem, for_one_stream=True)
            client = DeliverClient(channel, *self._arguments, self.kind, one_stream=True)
            stream = client.blocks(start, stop, headers_only=True)
            self._streams.add(stream)
        return stream

    def close(self) -> None:
        """End every call under way; later ones raise ``Unavailable``."""
        with self._lock:
            self._closed = True
            channel, self._channel, self._client = self._channel, None, None
            streams = list(self._streams)
        if channel is not None:
            channel.close()
        for stream in streams:
            stream.close()

    def _ahead(self) -> timedelta | None:
        """Return how far the node's clock is ahead; only peers of 3.0 and later tell."""
        identity, channel_id, clock = self._arguments
        with self._lock:
            channel = self._channel
        if channel is None or self.kind == "orderer":
            return None
        heights = Heights(identity, channel_id, clock)
        link = Link(self.address, self.organization, channel)
        heights([link])
        return heights.ahead(link)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(Text("the light node has been stopped"))

    def _connected(self) -> DeliverClient:
        with self._lock:
            self._check_open()
            if self._client is None:
                self._channel = connect(self.address, self._tls_root_pem)
                self._client = DeliverClient(self._channel, *self._arguments, self.kind)
            return self._client


def from_profile(
    profile: NetworkProfile,
    config: ChannelConfig,
    identity: SigningIdentity,
    clock: Clock,
    *,
    orderers: bool = False,
) -> list[Source]:
    """Return the peers of a profile as sources, with ``orderers`` those too.

    Orderers are taken in anyway when fewer than two organisations have peers. ``TrustRootError``
    if a TLS root is not the organisation's own by the channel configuration.
    """
    nodes: list[tuple[str, str, str, Kind]] = [
        (o.msp_id, p.address, p.tls_root_pem, "peer")
        for o in profile.organizations
        for p in o.peers
    ]
    if orderers or len({node[0] for node in nodes}) < 2:
        nodes += [(o.msp_id, o.address, o.tls_root_pem, "orderer") for o in profile.orderers]
    for msp_id, address, pem, _ in nodes:
        check_certified(config, msp_id, address, pem)
    return [
        GrpcSource(msp_id, address, pem, identity, profile.channel, clock, kind)
        for msp_id, address, pem, kind in nodes
    ]


def check_certified(config: ChannelConfig, msp_id: str, address: str, tls_root_pem: str) -> None:
    """Check that the channel configuration gives these TLS roots to that organisation alone.

    ``TrustRootMismatch`` otherwise: whoever wrote the profile could else pass one organisation's
    node off as another's, and two witnesses would be one.
    """
    try:
        own = config.msps.msp(msp_id).tls_certificates
    except MspError as error:
        raise errors.TrustRootMismatch(
            Text(
                "the channel has no organisation {msp_id}, named in the profile for {address}",
                msp_id=msp_id,
                address=address,
            )
        ) from error
    for certificate in crypto.load_certificates(tls_root_pem.encode()):
        der = certificate.public_bytes(serialization.Encoding.DER)
        others = (config.msps.msp(o).tls_certificates for o in config.msps.msp_ids if o != msp_id)
        if der not in own or any(der in certificates for certificates in others):
            raise errors.TrustRootMismatch(
                Text(
                    "the TLS root in the profile for {address} is not {msp_id}'s own by the "
                    "channel configuration; import the profile again",
                    address=address,
                    msp_id=msp_id,
                )
            )


def check_organizations(sources: Sequence[Source]) -> None:
    """``TooFewOrganizations`` unless the sources belong to at least two organisations."""
    found = sorted({source.organization for source in sources})
    if len(found) < 2:
        raise errors.TooFewOrganizations(
            Text(
                "a light node compares what at least two organisations show; the network profile "
                "names nodes of {names}",
                names=all_of(found) if found else Text("none"),
            )
        )
