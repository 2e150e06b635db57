"""Channels made in the test: real keys and certificates, blocks of both signature forms, and
sources that serve them, well or badly."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from light_node.chain import trust
from light_node.fabric import block as blocks
from light_node.fabric import crypto, policy
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.errors import BlockNotFound, Unavailable
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, etcdraft_pb2, msp_pb2, orderer_pb2

NOW = datetime(2026, 6, 21, 12, tzinfo=UTC)
ROLE = common_pb2.MSPRole


class Organisation:
    """An organisation with a CA of its own."""

    def __init__(self, msp_id: str) -> None:
        self.msp_id = msp_id
        self._key = crypto.generate_key()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ca.{msp_id}")])
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        self.ca_pem = crypto.certificate_pem(certificate)

    def _builder(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=365))
        )

    def identity(self, name: str, unit: str = "orderer") -> SigningIdentity:
        key = crypto.generate_key()
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        certificate = self._builder(subject, key.public_key()).sign(self._key, hashes.SHA256())
        return SigningIdentity.from_key(self.msp_id, crypto.certificate_pem(certificate), key)

    @property
    def msp(self) -> bytes:
        units = {
            f"{unit}_ou_identifier": msp_pb2.FabricOUIdentifier(organizational_unit_identifier=unit)
            for unit in ("client", "peer", "admin", "orderer")
        }
        config = msp_pb2.FabricMSPConfig(
            name=self.msp_id,
            root_certs=[self.ca_pem],
            tls_root_certs=[self.ca_pem],
            fabric_node_ous=msp_pb2.FabricNodeOUs(enable=True, **units),
        )
        return msp_pb2.MSPConfig(config=config.SerializeToString()).SerializeToString()


def implicit(sub_policy: str, rule: str = "ANY") -> common_pb2.Policy:
    value = common_pb2.ImplicitMetaPolicy(sub_policy=sub_policy, rule=rule)
    return common_pb2.Policy(type=3, value=value.SerializeToString())


def role_policy(msp_id: str, role: int, n: int = 1) -> common_pb2.Policy:
    return common_pb2.Policy(type=1, value=policy.signed_by_roles([msp_id], [role], n))


def put_value(group: common_pb2.ConfigGroup, name: str, message: Any) -> None:
    group.values[name].value = message.SerializeToString()


def put_policy(group: common_pb2.ConfigGroup, name: str, entry: common_pb2.Policy) -> None:
    group.policies[name].policy.CopyFrom(entry)


@dataclass
class Channel:
    """A channel and its chain so far; ``raw[n]`` is block n."""

    bft: bool = True
    name: str = "testch"
    orderers: list[Organisation] = field(default_factory=list)
    peers: list[Organisation] = field(default_factory=list)
    consenters: list[SigningIdentity] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    config_number: int = 0
    sequence: int = 0
    batch: int = 10
    absolute: int = 1 << 20

    @classmethod
    def make(cls, *, bft: bool = True, name: str = "testch", like: "Channel | None" = None) -> Any:
        """A channel with block 0; ``like`` shares another's organisations and consenters."""
        made = cls(bft=bft, name=name)
        if like is not None:
            made.orderers, made.peers = like.orderers, like.peers
            made.consenters = list(like.consenters)
        else:
            made.orderers = [Organisation(f"Orderer{i}MSP") for i in range(1, 5 if bft else 3)]
            made.peers = [Organisation(f"Org{i}MSP") for i in (1, 2, 3)]
            made.consenters = [o.identity("orderer") for o in made.orderers]
        envelope = made.config_envelope(signed=False)
        entry = blocks.encode_signature_entry(blocks.signed_value(0), [])
        made.raw.append(blocks.encode_block(0, b"", [envelope], [entry, b"", b"\x00", b"", b""]))
        return made

    def fork(self, height: int) -> "Channel":
        """The same channel cut to ``height`` blocks, to be continued otherwise."""
        made = Channel(
            self.bft, self.name, self.orderers, self.peers, list(self.consenters), self.raw[:height]
        )
        made.config_number = blocks.signature_entry(made.parsed(height - 1)).last_config or 0
        made.sequence = 1 if made.config_number else 0
        return made

    # Configuration.

    def config(self) -> common_pb2.Config:
        config = common_pb2.Config(sequence=self.sequence)
        channel = config.channel_group
        put_value(channel, "HashingAlgorithm", common_pb2.HashingAlgorithm(name="SHA256"))
        capabilities = {"V3_0": common_pb2.Capability()}
        put_value(channel, "Capabilities", common_pb2.Capabilities(capabilities=capabilities))
        for name in ("Readers", "Writers", "Admins"):
            put_policy(channel, name, implicit(name))
        self._orderer_group(channel.groups["Orderer"])
        application = channel.groups["Application"]
        put_policy(application, "Endorsement", implicit("Endorsement", "MAJORITY"))
        for peer in self.peers:
            group = application.groups[peer.msp_id]
            group.values["MSP"].value = peer.msp
            put_policy(group, "Endorsement", role_policy(peer.msp_id, ROLE.PEER))
            put_policy(group, "Readers", role_policy(peer.msp_id, ROLE.MEMBER))
        return config

    def _orderer_group(self, group: common_pb2.ConfigGroup) -> None:
        for organisation in self.orderers:
            child = group.groups[organisation.msp_id]
            child.values["MSP"].value = organisation.msp
            put_policy(child, "Writers", role_policy(organisation.msp_id, ROLE.ORDERER))
            endpoints = common_pb2.OrdererAddresses(addresses=["127.0.0.1:7050"])
            put_value(child, "Endpoints", endpoints)
        put_value(
            group,
            "BatchSize",
            orderer_pb2.BatchSize(
                max_message_count=self.batch,
                absolute_max_bytes=self.absolute,
                preferred_max_bytes=1 << 19,
            ),
        )
        put_value(group, "BatchTimeout", orderer_pb2.BatchTimeout(timeout="500ms"))
        if self.bft:
            listed = [
                common_pb2.Consenter(
                    id=i, host="127.0.0.1", port=7050, msp_id=c.msp_id, identity=c.certificate_pem
                )
                for i, c in enumerate(self.consenters, start=1)
            ]
            put_value(group, "Orderers", common_pb2.Orderers(consenter_mapping=listed))
            put_value(group, "ConsensusType", orderer_pb2.ConsensusType(type="BFT"))
            value = policy.bft_block_validation([c.serialized for c in self.consenters])
            put_policy(group, "BlockValidation", common_pb2.Policy(type=1, value=value))
        else:
            metadata = etcdraft_pb2.ConfigMetadata(
                consenters=[etcdraft_pb2.Consenter(host="127.0.0.1", port=7050)]
            )
            put_value(
                group,
                "ConsensusType",
                orderer_pb2.ConsensusType(type="etcdraft", metadata=metadata.SerializeToString()),
            )
            put_policy(group, "BlockValidation", implicit("Writers"))

    def config_envelope(
        self, *, signed: bool = True, channel: str = "", config: common_pb2.Config | None = None
    ) -> bytes:
        header = common_pb2.ChannelHeader(type=common_pb2.CONFIG, channel_id=channel or self.name)
        payload = common_pb2.Payload(
            header=common_pb2.Header(
                channel_header=header.SerializeToString(),
                signature_header=blocks.signature_header(b"", bytes(24)),
            ),
            data=common_pb2.ConfigEnvelope(config=config or self.config()).SerializeToString(),
        ).SerializeToString()
        signature = self.consenters[0].sign(payload) if signed else b""
        return common_pb2.Envelope(payload=payload, signature=signature).SerializeToString()

    # Blocks.

    def parsed(self, number: int) -> blocks.Block:
        return blocks.parse_block(self.raw[number])

    @property
    def height(self) -> int:
        return len(self.raw)

    @property
    def root(self) -> trust.TrustRoot:
        return trust.load(self.raw[0])

    def envelope(self, text: str) -> bytes:
        return common_pb2.Envelope(payload=text.encode(), signature=b"s").SerializeToString()

    def add(
        self,
        envelopes: Sequence[bytes] | None = None,
        *,
        last_config: int | None = None,
        signers: Sequence[int] | None = None,
        previous_hash: bytes | None = None,
        flags: bytes | None = None,
        commit_hash: bytes | None = None,
    ) -> bytes:
        """Append a block; the defaults make a good one."""
        number = self.height
        envelopes = [self.envelope(f"tx of {number}")] if envelopes is None else envelopes
        index = self.config_number if last_config is None else last_config
        previous = self.parsed(number - 1).hash if previous_hash is None else previous_hash
        digest = blocks.data_hash(envelopes)
        entry = self.sign(number, previous, digest, index, signers)
        stated = bytes([number % 256]) * 32 if commit_hash is None else commit_hash
        metadata = [
            entry,
            blocks.encode_last_config_entry(index),
            bytes(len(envelopes)) if flags is None else flags,
            b"",
            blocks.encode_commit_hash_entry(stated),
        ]
        self.raw.append(blocks.encode_block(number, previous, envelopes, metadata))
        return self.raw[-1]

    def add_config(self, **options: Any) -> bytes:
        """Append a configuration block with the next sequence; it takes effect after itself."""
        self.sequence += 1
        number = self.height
        raw = self.add([self.config_envelope()], last_config=number, **options)
        self.config_number = number
        return raw

    def extend(self, count: int) -> "Channel":
        for _ in range(count):
            self.add()
        return self

    def sign(
        self,
        number: int,
        previous: bytes,
        digest: bytes,
        index: int,
        signers: Sequence[int] | None = None,
    ) -> bytes:
        """Metadata entry 0; ``signers`` are indices of consenters (default: a quorum, or one)."""
        if signers is None:
            quorum = policy.bft_quorum(len(self.consenters)) if self.bft else 1
            signers = range(quorum)
        der, value = blocks.header_der(number, previous, digest), blocks.signed_value(index)
        made = []
        for i in signers:
            consenter = self.consenters[i]
            if self.bft:
                header = blocks.identifier_header(i + 1, bytes(24))
                signature = consenter.sign(blocks.signed_bytes(value, header, der))
                made.append(blocks.BlockSignature(signature, identifier_header=header))
            else:
                header = blocks.signature_header(consenter.serialized, bytes(24))
                signature = consenter.sign(blocks.signed_bytes(value, header, der))
                made.append(blocks.BlockSignature(signature, signature_header=header))
        return blocks.encode_signature_entry(value, made)

    def channel_config(self) -> ChannelConfig:
        return ChannelConfig.from_block(self.raw[self.config_number])


class FakeStream:
    """A block stream over a growing list of blocks."""

    def __init__(self, source: "FakeSource", start: int, stop: int | None) -> None:
        self._source, self._next, self._stop, self._closed = source, start, stop, False
        self._line = source.line

    def __iter__(self) -> "FakeStream":
        return self

    def __next__(self) -> bytes:
        with self._source.changed:
            while True:
                if self._closed or (self._stop is not None and self._next > self._stop):
                    raise StopIteration
                if self._source.down or self._source.line != self._line:
                    raise Unavailable("down", foreign="connection refused")
                if self._next < len(self._source.blocks) and not self._source.stalled:
                    raw = self._source.blocks[self._next]
                    self._next += 1
                    self._source.served += 1
                    return raw
                self._source.changed.wait()

    def close(self) -> None:
        with self._source.changed:
            self._closed = True
            self._source.changed.notify_all()


class FakeSource:
    """A source in memory. ``blocks`` are what it serves; change it with :meth:`serve`."""

    def __init__(
        self,
        organization: str,
        served: Sequence[bytes],
        *,
        headers: bool = True,
        down: bool = False,
        kind: Any = "peer",
    ) -> None:
        self.organization = organization
        self.address = f"{organization.lower()}.example:7051"
        self.kind = kind
        self.headers_only = headers
        self.blocks: list[bytes] = []
        self.down = down
        self.stalled = False
        self.served = 0
        self.line = 0
        self.changed = threading.Condition()
        self.full: list[bytes] = []
        self.serve(served)

    def serve(self, raws: Sequence[bytes]) -> None:
        """Serve these blocks, without data if this is a source of headers."""
        with self.changed:
            self.full = list(raws)
            self.blocks = [_header(r) for r in raws] if self.headers_only else list(raws)
            self.changed.notify_all()

    def come_up(self) -> None:
        with self.changed:
            self.down = False
            self.changed.notify_all()

    def go_down(self) -> None:
        """Break every stream off, and refuse new ones until it comes up."""
        with self.changed:
            self.down = True
            self.line += 1
            self.changed.notify_all()

    def newest(self) -> bytes:
        with self.changed:
            self._check_up()
            return self.blocks[-1]

    def block(self, number: int, *, headers_only: bool = False) -> bytes:
        with self.changed:
            self._check_up()
            if number >= len(self.blocks):
                raise BlockNotFound("not there", 404)
            return self.blocks[number] if headers_only else self.full[number]

    def headers(self, start: int, stop: int | None = None) -> FakeStream:
        return FakeStream(self, start, stop)

    def close(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def _check_up(self) -> None:
        if self.down:
            raise Unavailable("down", foreign="connection refused")


def _header(raw: bytes) -> bytes:
    try:
        return blocks.without_data(raw)
    except Exception:  # noqa: BLE001  (garbage is served as it is)
        return raw


class StillClock:
    """Wall time that stands still; monotonic time moved by the test."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self.elapsed


@pytest.fixture(scope="session")
def _channels() -> dict[bool, Channel]:
    return {bft: Channel.make(bft=bft) for bft in (True, False)}


@pytest.fixture(params=[True, False], ids=["bft", "raft"])
def channel(request: pytest.FixtureRequest, _channels: dict[bool, Channel]) -> Channel:
    """A fresh copy of a channel with block 0, of either kind."""
    return _channels[request.param].fork(1)


@pytest.fixture
def bft_channel(_channels: dict[bool, Channel]) -> Channel:
    return _channels[True].fork(1)


@pytest.fixture
def still_clock() -> StillClock:
    return StillClock()


@pytest.fixture(scope="session")
def make_channel() -> Callable[..., Channel]:
    return Channel.make


@pytest.fixture(scope="session")
def make_source() -> type[FakeSource]:
    return FakeSource


@pytest.fixture
def real_blocks(data: Path) -> Callable[[str, str], list[bytes]]:
    """How to read the blocks of the live channels: ``real_blocks("bft", "full")``."""

    def read(kind: str, form: str) -> list[bytes]:
        return [p.read_bytes() for p in sorted((data / "fabric" / kind / form).iterdir())]

    return read


@pytest.fixture
def running() -> Iterator[list[Any]]:
    """Whatever is put in is stopped at the end of the test."""
    made: list[Any] = []
    yield made
    for thing in made:
        thing.stop()
