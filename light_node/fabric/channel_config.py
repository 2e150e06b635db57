"""A channel's configuration, read once from a config block into an immutable value.

``docs/fabric-protocol.md`` sections 1.5, 2.4 to 2.6. Nothing is ever re-encoded: ``Config`` holds
maps, so its serialization is not deterministic. On a BFT channel the BlockValidation policy must
be the one that follows from the consenters (quorum recomputed); a configuration in which the two
disagree is refused, since no honest BFT orderer would have accepted it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from light_node.fabric import block as blocks
from light_node.fabric import policy as policies
from light_node.fabric.block import Block, BlockError
from light_node.fabric.msp import Identity, Msp, MspConfigError, MspManager, load_msp
from light_node.fabric.pb import common_pb2, etcdraft_pb2, msp_pb2, orderer_pb2, peer_pb2
from light_node.fabric.policy import Policy, PolicyError, PolicyGroup
from light_node.i18n import SaidError, Text, told

BLOCK_VALIDATION = "/Channel/Orderer/BlockValidation"
_REMEMBERED_SIGNERS = 1024
RAFT, BFT = "etcdraft", "BFT"
MAX_CONSENTERS = 1000
MAX_ORGANIZATIONS = 1000
MAX_ADDRESSES = 1000

_CHANNEL_ID = re.compile(r"[a-z][a-z0-9.-]{0,248}\Z")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)")
_UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}
_UNITS_NS |= {"m": 60 * 10**9, "h": 3600 * 10**9}
_CHANNEL_CAPABILITIES = frozenset({"V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0"})
_ORDERER_CAPABILITIES = frozenset({"V1_1", "V1_4_2", "V2_0"})
_APPLICATION_CAPABILITIES = frozenset({"V1_1", "V1_2", "V1_3", "V1_4_2", "V2_0", "V2_5"})
_MSP_RULES_SINCE = frozenset({"V1_4_3", "V2_0", "V3_0"})
_FLAT_HASH_WIDTH = 2**32 - 1

_M = TypeVar("_M", bound=Message)


class ConfigError(SaidError, ValueError):
    """A channel configuration cannot be used; the message says which part, and why."""


@dataclass(frozen=True, slots=True)
class Consenter:
    """An ordering node. ``id`` and ``identity`` (PEM) are set on BFT channels only."""

    id: int
    host: str
    port: int
    msp_id: str
    identity: bytes = field(repr=False)
    client_tls_cert: bytes = field(repr=False)
    server_tls_cert: bytes = field(repr=False)
    serialized: bytes = field(init=False, repr=False)
    """The SerializedIdentity under which a BFT consenter signs blocks."""

    def __post_init__(self) -> None:
        message = msp_pb2.SerializedIdentity(mspid=self.msp_id, id_bytes=self.identity)
        object.__setattr__(self, "serialized", message.SerializeToString())


@dataclass(frozen=True, slots=True)
class Organization:
    """An organisation group: its group name, MSP id, orderer endpoints and anchor peers."""

    name: str
    msp_id: str
    endpoints: tuple[str, ...] = ()
    anchor_peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChannelConfig:
    """The configuration in force from the block after ``block_number`` on."""

    channel_id: str
    sequence: int
    block_number: int
    capabilities: frozenset[str]
    orderer_capabilities: frozenset[str]
    application_capabilities: frozenset[str]
    consensus_type: str
    maintenance: bool
    consenters: tuple[Consenter, ...]
    orderer_organizations: tuple[Organization, ...]
    application_organizations: tuple[Organization, ...]
    orderer_addresses: tuple[str, ...]
    batch_max_messages: int
    batch_absolute_max_bytes: int
    batch_preferred_max_bytes: int
    batch_timeout_ns: int
    acls: Mapping[str, str]
    msps: MspManager = field(repr=False)
    policies: PolicyGroup = field(repr=False)

    @classmethod
    def from_block(cls, block: bytes | Block) -> "ChannelConfig":
        """Read the configuration out of a config block; ``ConfigError`` if it cannot be used.

        Nothing is verified beyond that: see ``light_node.chain`` for whether to believe it.
        """
        try:
            parsed = blocks.parse_block(block) if isinstance(block, bytes) else block
            channel_id, envelope = blocks.config_envelope(parsed)
        except BlockError as error:
            raise ConfigError(told(error)) from error
        return cls.from_config(envelope.config, channel_id=channel_id, block_number=parsed.number)

    @classmethod
    def from_config(
        cls, config: common_pb2.Config, *, channel_id: str, block_number: int = 0
    ) -> "ChannelConfig":
        """Read a ``common.Config``, which itself does not name its channel; ``ConfigError``."""
        if not _CHANNEL_ID.match(channel_id):
            raise ConfigError(
                Text("{channel_id} is no channel id", channel_id=repr(channel_id[:100]))
            )
        try:
            return _read(config, channel_id, block_number)
        except (DecodeError, PolicyError, MspConfigError) as error:
            raise ConfigError(
                Text(
                    "the configuration of {channel_id}: {error}", channel_id=channel_id, error=error
                )
            ) from error

    @property
    def bft_signatures(self) -> bool:
        """Whether block signatures may have the BFT form: channel capability V3_0 (2.3)."""
        return "V3_0" in self.capabilities

    def policy(self, path: str) -> Policy:
        """Return the policy at an absolute path; ``PolicyError`` if the channel has none."""
        return self.policies.find(path)

    def is_valid_block_signed_by(self, signers: tuple[Identity, ...]) -> bool:
        """Say whether these distinct signers satisfy BlockValidation (2.4); ``PolicyError``.

        The answers are remembered: the same few orderers sign all blocks.
        """
        known = self._judged_signers.get(signers)
        if known is None:
            known = self.policy(BLOCK_VALIDATION).satisfied_by(signers)
            if len(self._judged_signers) >= _REMEMBERED_SIGNERS:
                self._judged_signers.clear()
            self._judged_signers[signers] = known
        return known

    @cached_property
    def _judged_signers(self) -> dict[tuple[Identity, ...], bool]:
        return {}

    def endorsement_policy(self, application_policy: bytes) -> Policy:
        """Return a chaincode's policy from its serialized ``ApplicationPolicy`` (4.6)."""
        return policies.application_policy(application_policy, self.policies)

    def consenter(self, identifier: int) -> Consenter | None:
        """Return the BFT consenter with that id, None if there is none."""
        return self._consenters_by_id.get(identifier)

    @cached_property
    def _consenters_by_id(self) -> Mapping[int, Consenter]:
        # The first of an id, as Fabric finds it; BFT channels are refused with two of one.
        return {c.id: c for c in reversed(self.consenters) if c.identity}

    @property
    def organizations(self) -> frozenset[str]:
        """MSP ids of the application's organisations."""
        return frozenset(o.msp_id for o in self.application_organizations)

    @property
    def orderer_endpoints(self) -> Mapping[str, tuple[str, ...]]:
        """Orderer addresses ("host:port") by MSP id of the orderer organisation."""
        return MappingProxyType({o.msp_id: o.endpoints for o in self.orderer_organizations})


def _read(config: common_pb2.Config, channel_id: str, block_number: int) -> ChannelConfig:
    channel = config.channel_group
    if "Orderer" not in channel.groups:
        raise ConfigError(
            Text("the configuration of {channel_id} has no Orderer group", channel_id=channel_id)
        )
    orderer = channel.groups["Orderer"]
    application = channel.groups.get("Application")
    capabilities = _capabilities(channel, _CHANNEL_CAPABILITIES, "channel")
    if not capabilities & _MSP_RULES_SINCE:
        raise ConfigError(
            Text("the channel's capability is older than V1_4_3, which is not supported")
        )
    _check_hashing(channel)
    ed25519 = "V3_0" in capabilities
    msps: dict[str, tuple[bytes, Msp | None]] = {}
    orderer_orgs = tuple(_organizations(orderer, msps, ed25519))
    application_orgs = tuple(_organizations(application, msps, ed25519) if application else ())
    if not orderer_orgs:
        # An implicit meta policy over nothing would accept anything (2.4).
        raise ConfigError(Text("the Orderer group has no organisations"))
    consensus = _value(orderer, "ConsensusType", orderer_pb2.ConsensusType)
    size = _value(orderer, "BatchSize", orderer_pb2.BatchSize)
    tree = PolicyGroup.from_group(channel)
    consenters = _consenters(orderer, consensus)
    if consensus.type == BFT:
        _check_bft(orderer, consenters, ed25519)
    elif consensus.type != RAFT:
        raise ConfigError(
            Text("consensus type {type} is not supported", type=repr(consensus.type[:50]))
        )
    return ChannelConfig(
        channel_id=channel_id,
        sequence=config.sequence,
        block_number=block_number,
        capabilities=capabilities,
        orderer_capabilities=_capabilities(orderer, _ORDERER_CAPABILITIES, "orderer"),
        application_capabilities=(
            _capabilities(application, _APPLICATION_CAPABILITIES, "application")
            if application
            else frozenset()
        ),
        consensus_type=consensus.type,
        maintenance=consensus.state == orderer_pb2.ConsensusType.STATE_MAINTENANCE,
        consenters=consenters,
        orderer_organizations=orderer_orgs,
        application_organizations=application_orgs,
        orderer_addresses=_addresses(channel, "OrdererAddresses"),
        batch_max_messages=size.max_message_count,
        batch_absolute_max_bytes=size.absolute_max_bytes,
        batch_preferred_max_bytes=size.preferred_max_bytes,
        batch_timeout_ns=duration_ns(
            _value(orderer, "BatchTimeout", orderer_pb2.BatchTimeout).timeout
        ),
        acls=_acls(application),
        msps=MspManager(msp for _, msp in msps.values() if msp is not None),
        policies=tree,
    )


def duration_ns(text: str) -> int:
    """Return a Go duration such as ``500ms`` or ``1m30s`` in nanoseconds; ``ConfigError``."""
    parts = list(_DURATION.finditer(text[:100]))
    if not parts or "".join(part[0] for part in parts) != text:
        raise ConfigError(Text("{text} is no duration", text=repr(text[:100])))
    return sum((_nanoseconds(part[1], _UNITS_NS[part[2]]) for part in parts), 0)


def _nanoseconds(number: str, unit: int) -> int:
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole) * unit + int(fraction or "0") * unit // scale


def _value(group: common_pb2.ConfigGroup, name: str, kind: type[_M]) -> _M:
    """Return a group's value as the message ``kind``, an empty one where it is absent."""
    raw = group.values[name].value if name in group.values else b""
    return kind.FromString(raw)


def _capabilities(
    group: common_pb2.ConfigGroup, known: frozenset[str], where: str
) -> frozenset[str]:
    found = frozenset(_value(group, "Capabilities", common_pb2.Capabilities).capabilities)
    unknown = found - known
    if unknown:
        names = ", ".join(sorted(name[:30] for name in unknown)[:5])
        raise ConfigError(
            Text(
                "{where} capability {names} is unknown: a newer light node is needed",
                where=where,
                names=names,
            )
        )
    return found


def _check_hashing(channel: common_pb2.ConfigGroup) -> None:
    algorithm = _value(channel, "HashingAlgorithm", common_pb2.HashingAlgorithm).name
    if algorithm not in ("", "SHA256"):
        raise ConfigError(
            Text(
                "the channel hashes with {algorithm}; only SHA256 is supported",
                algorithm=repr(algorithm[:30]),
            )
        )
    structure = _value(
        channel, "BlockDataHashingStructure", common_pb2.BlockDataHashingStructure
    ).width
    if structure not in (0, _FLAT_HASH_WIDTH):
        raise ConfigError(
            Text("data hashing of width {structure} is not supported", structure=structure)
        )


def _organizations(
    group: common_pb2.ConfigGroup, msps: dict[str, tuple[bytes, Msp | None]], ed25519: bool
) -> Iterator[Organization]:
    if len(group.groups) > MAX_ORGANIZATIONS:
        raise ConfigError(Text("{count} organisations are too many", count=len(group.groups)))
    for name, child in sorted(group.groups.items()):
        if "MSP" not in child.values:
            raise ConfigError(Text("organisation {name} has no MSP", name=repr(name[:100])))
        raw = child.values["MSP"].value
        msp_id = _msp_id(raw)
        if msp_id not in msps:
            msps[msp_id] = raw, load_msp(raw, ed25519_allowed=ed25519)
        elif not _same_msp(msps[msp_id][0], raw):
            raise ConfigError(Text("MSP {msp_id} is defined in two different ways", msp_id=msp_id))
        anchors = _value(child, "AnchorPeers", peer_pb2.AnchorPeers).anchor_peers
        yield Organization(
            name,
            msp_id,
            _addresses(child, "Endpoints"),
            tuple(f"{a.host}:{a.port}" for a in anchors[:MAX_ADDRESSES]),
        )


def _msp_id(raw: bytes) -> str:
    return msp_pb2.FabricMSPConfig.FromString(msp_pb2.MSPConfig.FromString(raw).config).name


def _same_msp(one: bytes, other: bytes) -> bool:
    if one == other:
        return True
    first, second = (msp_pb2.MSPConfig.FromString(raw) for raw in (one, other))
    return first.type == second.type and (
        msp_pb2.FabricMSPConfig.FromString(first.config)
        == msp_pb2.FabricMSPConfig.FromString(second.config)
    )


def _addresses(group: common_pb2.ConfigGroup, name: str) -> tuple[str, ...]:
    addresses = _value(group, name, common_pb2.OrdererAddresses).addresses
    return tuple(address[:300] for address in addresses[:MAX_ADDRESSES])


def _acls(application: common_pb2.ConfigGroup | None) -> Mapping[str, str]:
    if application is None:
        return MappingProxyType({})
    entries = _value(application, "ACLs", peer_pb2.ACLs).acls
    return MappingProxyType({name: entry.policy_ref for name, entry in entries.items()})


def _consenters(
    orderer: common_pb2.ConfigGroup, consensus: orderer_pb2.ConsensusType
) -> tuple[Consenter, ...]:
    if consensus.type == BFT:
        listed = _value(orderer, "Orderers", common_pb2.Orderers).consenter_mapping
        found = tuple(
            Consenter(
                c.id, c.host, c.port, c.msp_id, c.identity, c.client_tls_cert, c.server_tls_cert
            )
            for c in listed[: MAX_CONSENTERS + 1]
        )
    elif consensus.type == RAFT:
        metadata = etcdraft_pb2.ConfigMetadata.FromString(consensus.metadata)
        found = tuple(
            Consenter(0, c.host, c.port, "", b"", c.client_tls_cert, c.server_tls_cert)
            for c in metadata.consenters[: MAX_CONSENTERS + 1]
        )
    else:
        found = ()
    if len(found) > MAX_CONSENTERS:
        raise ConfigError(Text("the channel has too many consenters"))
    return found


def _check_bft(
    orderer: common_pb2.ConfigGroup, consenters: Iterable[Consenter], v3_0: bool
) -> None:
    """Require the policy that follows from the consenters: ``NOutOf(Q, all)`` (section 2.4)."""
    listed = tuple(consenters)
    if not v3_0:
        raise ConfigError(Text("a BFT channel needs channel capability V3_0"))
    if len({c.id for c in listed}) != len(listed) or len({c.serialized for c in listed}) != len(
        listed
    ):
        raise ConfigError(Text("two consenters of the BFT channel share an id or an identity"))
    entry = orderer.policies.get("BlockValidation")
    policy = entry.policy if entry is not None else None
    if policy is None or policy.type != common_pb2.Policy.SIGNATURE:
        raise ConfigError(Text("a BFT channel's BlockValidation must be a signature policy"))
    expected = policies.bft_block_validation([c.serialized for c in listed])
    if common_pb2.SignaturePolicyEnvelope.FromString(
        policy.value
    ) != common_pb2.SignaturePolicyEnvelope.FromString(expected):
        quorum = policies.bft_quorum(len(listed))
        raise ConfigError(
            Text(
                "BlockValidation does not ask for {quorum} of the {count} consenters, which is "
                "what a BFT channel must ask for",
                quorum=quorum,
                count=len(listed),
            )
        )
