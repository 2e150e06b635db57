"""Block 0: the channel configuration (``docs/fabric-protocol.md`` 1.5, 2.4 to 2.6).

The tree is the one configtxgen writes for the profiles of section 6.3, with capability V3_0, one
orderer organisation per consenter, and the quorum policy of BFT blocks.

Policies asked for every transaction name the organisations (``docs/consortium.md``): to count the
child groups of an implicit meta policy, Fabric checks the same signatures once for each child.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from light_node.devnet.layout import CHANNEL
from light_node.devnet.material import Material, NodeMaterial
from light_node.fabric import crypto, policy
from light_node.fabric.pb import (
    common_pb2,
    etcdraft_pb2,
    msp_pb2,
    orderer_pb2,
    peer_pb2,
    smartbft_pb2,
)
from light_node.fabric.proposal import transaction_id

MAX_MESSAGE_COUNT = 100
ABSOLUTE_MAX_BYTES = 10 * 1024 * 1024
PREFERRED_MAX_BYTES = 2 * 1024 * 1024
_NODE_OUS = ("client", "peer", "admin", "orderer")
_ADMINS = "Admins"
_ROLE = common_pb2.MSPRole.MSPRoleType
_APPLICATION_WRITERS = (_ROLE.ADMIN, _ROLE.CLIENT)
_ANY, _MAJORITY = common_pb2.ImplicitMetaPolicy.ANY, common_pb2.ImplicitMetaPolicy.MAJORITY


@dataclass(frozen=True, slots=True)
class OrderingParameters:
    """What the configuration says of ordering; the timeout runs from a batch's first message.

    A block is cut earlier once it holds ``batch_messages``. ``channel_capability`` is V3_0, or
    V2_0 where nodes of Fabric 2.5 take part (Raft only).
    """

    bft: bool
    batch_timeout_ms: int
    channel_capability: str = "V3_0"
    batch_messages: int = MAX_MESSAGE_COUNT


def genesis_block(
    material: Material,
    parameters: OrderingParameters,
    seconds: int,
    nonce: bytes,
    channel: str = CHANNEL,
) -> common_pb2.Block:
    """Return block 0 of ``channel``, made at POSIX time ``seconds``; unsigned, see 2.6."""
    config = common_pb2.Config(channel_group=_channel(material, parameters))
    channel_header = common_pb2.ChannelHeader(
        type=common_pb2.CONFIG, version=1, channel_id=channel, tx_id=transaction_id(nonce, b"")
    )
    channel_header.timestamp.seconds = seconds
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=channel_header.SerializeToString(),
            signature_header=common_pb2.SignatureHeader(nonce=nonce).SerializeToString(),
        ),
        data=common_pb2.ConfigEnvelope(config=config).SerializeToString(),
    )
    envelope = common_pb2.Envelope(payload=payload.SerializeToString()).SerializeToString()
    block = common_pb2.Block(
        header=common_pb2.BlockHeader(number=0, data_hash=crypto.sha256(envelope)),
        data=common_pb2.BlockData(data=[envelope]),
    )
    # A peer's copy: the unsigned last-config entry, and the one transaction valid.
    last_config = common_pb2.OrdererBlockMetadata(last_config=common_pb2.LastConfig())
    entry = common_pb2.Metadata(value=last_config.SerializeToString()).SerializeToString()
    block.metadata.metadata.extend([entry, b"", bytes(1), b"", b""])
    return block


def _channel(material: Material, parameters: OrderingParameters) -> common_pb2.ConfigGroup:
    group = _group(_policies())
    _value(group, "HashingAlgorithm", common_pb2.HashingAlgorithm(name="SHA256"))
    width = common_pb2.BlockDataHashingStructure(width=2**32 - 1)
    _value(group, "BlockDataHashingStructure", width)
    _value(group, "Capabilities", _capabilities(parameters.channel_capability))
    group.groups["Orderer"].CopyFrom(_orderer(material, parameters))
    group.groups["Application"].CopyFrom(_application(material))
    return group


def _orderer(material: Material, parameters: OrderingParameters) -> common_pb2.ConfigGroup:
    policies = _policies()
    policies["Writers"] = _any_of(_msp_ids(material.orderers), _ROLE.MEMBER)
    if parameters.bft:
        policies["BlockValidation"] = _quorum_policy(material.orderers)
    else:
        policies["BlockValidation"] = _implicit("Writers", _ANY)
    group = _group(policies)
    kind = "BFT" if parameters.bft else "etcdraft"
    metadata = _bft_options(parameters) if parameters.bft else _raft_metadata(material.orderers)
    _value(
        group,
        "ConsensusType",
        orderer_pb2.ConsensusType(type=kind, metadata=metadata.SerializeToString()),
    )
    _value(
        group,
        "BatchSize",
        orderer_pb2.BatchSize(
            max_message_count=parameters.batch_messages,
            absolute_max_bytes=ABSOLUTE_MAX_BYTES,
            preferred_max_bytes=PREFERRED_MAX_BYTES,
        ),
    )
    timeout = orderer_pb2.BatchTimeout(timeout=f"{parameters.batch_timeout_ms}ms")
    _value(group, "BatchTimeout", timeout)
    _value(group, "ChannelRestrictions", orderer_pb2.ChannelRestrictions())
    _value(group, "Capabilities", _capabilities("V2_0"))
    if parameters.bft:
        consenters = [_consenter(i, m) for i, m in enumerate(material.orderers, start=1)]
        _value(group, "Orderers", common_pb2.Orderers(consenter_mapping=consenters))
    for member in material.orderers:
        organization = _organization(member, writers=(_ROLE.MEMBER,), readers=(_ROLE.MEMBER,))
        endpoints = common_pb2.OrdererAddresses(addresses=[member.node.address])
        _value(organization, "Endpoints", endpoints)
        group.groups[member.node.msp_id].CopyFrom(organization)
    return group


def _application(material: Material) -> common_pb2.ConfigGroup:
    policies, msp_ids = _policies(), _msp_ids(material.peers)
    policies["LifecycleEndorsement"] = _implicit("Endorsement", _MAJORITY)
    majority = policy.meta_threshold(_MAJORITY, len(msp_ids))
    policies["Endorsement"] = _signature(policy.signed_by_roles(msp_ids, (_ROLE.PEER,), majority))
    policies["Writers"] = _any_of(msp_ids, *_APPLICATION_WRITERS)
    group = _group(policies)
    _value(group, "Capabilities", _capabilities("V2_5"))
    for member in material.peers:
        organization = _organization(
            member,
            readers=(_ROLE.ADMIN, _ROLE.PEER, _ROLE.CLIENT),
            writers=_APPLICATION_WRITERS,
        )
        _policy(organization, "Endorsement", _any_of([member.node.msp_id], _ROLE.PEER))
        anchor = peer_pb2.AnchorPeer(host=member.node.host, port=member.node.port)
        _value(organization, "AnchorPeers", peer_pb2.AnchorPeers(anchor_peers=[anchor]))
        group.groups[member.node.msp_id].CopyFrom(organization)
    return group


def _organization(
    member: NodeMaterial, *, readers: Sequence[int], writers: Sequence[int]
) -> common_pb2.ConfigGroup:
    msp_id = member.node.msp_id
    group = _group(
        {
            "Readers": _any_of([msp_id], *readers),
            "Writers": _any_of([msp_id], *writers),
            _ADMINS: _any_of([msp_id], _ROLE.ADMIN),
        }
    )
    root = member.ca.certificate_pem
    units = {
        f"{name}_ou_identifier": msp_pb2.FabricOUIdentifier(
            certificate=root, organizational_unit_identifier=name
        )
        for name in _NODE_OUS
    }
    config = msp_pb2.FabricMSPConfig(
        name=msp_id,
        root_certs=[root],
        tls_root_certs=[member.tls_ca.certificate_pem],
        crypto_config=msp_pb2.FabricCryptoConfig(
            signature_hash_family="SHA2", identity_identifier_hash_function="SHA256"
        ),
        fabric_node_ous=msp_pb2.FabricNodeOUs(enable=True, **units),
    )
    _value(group, "MSP", msp_pb2.MSPConfig(type=0, config=config.SerializeToString()))
    return group


def _consenter(identifier: int, member: NodeMaterial) -> common_pb2.Consenter:
    return common_pb2.Consenter(
        id=identifier,
        host=member.node.host,
        port=member.node.port,
        msp_id=member.node.msp_id,
        identity=member.identity.certificate_pem,
        client_tls_cert=member.tls.certificate_pem,
        server_tls_cert=member.tls.certificate_pem,
    )


def _bft_options(parameters: OrderingParameters) -> Message:
    # Fabric's defaults, but for how soon a leader is given up: with 20 s to complain, 20 s for the
    # change of view and a minute without heartbeat, a market stood still for up to 42 s.
    return smartbft_pb2.Options(
        request_batch_max_count=parameters.batch_messages,
        request_batch_max_bytes=ABSOLUTE_MAX_BYTES,
        request_batch_max_interval=f"{parameters.batch_timeout_ms}ms",
        incoming_message_buffer_size=200,
        request_pool_size=400,
        request_forward_timeout="2s",
        request_complain_timeout="5s",
        request_auto_remove_timeout="3m",
        view_change_resend_interval="2s",
        view_change_timeout="10s",
        leader_heartbeat_timeout="20s",
        leader_heartbeat_count=10,
        collect_timeout="1s",
    )


def _raft_metadata(orderers: Iterable[NodeMaterial]) -> Message:
    return etcdraft_pb2.ConfigMetadata(
        consenters=[
            etcdraft_pb2.Consenter(
                host=member.node.host,
                port=member.node.port,
                client_tls_cert=member.tls.certificate_pem,
                server_tls_cert=member.tls.certificate_pem,
            )
            for member in orderers
        ],
        options=etcdraft_pb2.Options(
            tick_interval="500ms",
            election_tick=10,
            heartbeat_tick=1,
            max_inflight_blocks=5,
            snapshot_interval_size=16 * 1024 * 1024,
        ),
    )


def _quorum_policy(orderers: Sequence[NodeMaterial]) -> common_pb2.Policy:
    consenters = [member.signing_identity().serialized for member in orderers]
    return _signature(policy.bft_block_validation(consenters))


def _msp_ids(members: Iterable[NodeMaterial]) -> list[str]:
    return [member.node.msp_id for member in members]


def _policies() -> dict[str, common_pb2.Policy]:
    return {
        "Readers": _implicit("Readers", _ANY),
        "Writers": _implicit("Writers", _ANY),
        _ADMINS: _implicit(_ADMINS, _MAJORITY),
    }


def _implicit(sub_policy: str, rule: common_pb2.ImplicitMetaPolicy.Rule) -> common_pb2.Policy:
    value = common_pb2.ImplicitMetaPolicy(sub_policy=sub_policy, rule=rule)
    return common_pb2.Policy(type=common_pb2.Policy.IMPLICIT_META, value=value.SerializeToString())


def _signature(envelope: bytes) -> common_pb2.Policy:
    return common_pb2.Policy(type=common_pb2.Policy.SIGNATURE, value=envelope)


def _any_of(msp_ids: Sequence[str], *roles: int) -> common_pb2.Policy:
    """One signature of one of these organisations in any of ``roles`` (MSPRoleType)."""
    return _signature(policy.signed_by_roles(msp_ids, roles, 1))


def _capabilities(name: str) -> common_pb2.Capabilities:
    return common_pb2.Capabilities(capabilities={name: common_pb2.Capability()})


def _group(policies: dict[str, common_pb2.Policy]) -> common_pb2.ConfigGroup:
    group = common_pb2.ConfigGroup(mod_policy=_ADMINS)
    for name, rule in policies.items():
        _policy(group, name, rule)
    return group


def _policy(group: common_pb2.ConfigGroup, name: str, rule: common_pb2.Policy) -> None:
    group.policies[name].CopyFrom(common_pb2.ConfigPolicy(policy=rule, mod_policy=_ADMINS))


def _value(group: common_pb2.ConfigGroup, name: str, message: Message) -> None:
    value = message.SerializeToString(deterministic=True)
    group.values[name].CopyFrom(common_pb2.ConfigValue(value=value, mod_policy=_ADMINS))
