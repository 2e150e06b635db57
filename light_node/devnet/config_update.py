"""Changing the channel's configuration: what orderers and peers do with a CONFIG_UPDATE.

``docs/fabric-protocol.md`` 2.5, after Fabric's ``common/configtx``. An update names the elements it
relies on (read set) and those it writes (write set), each with its version; what is written must
be one version further, and the current ``mod_policy`` of every element changed must be satisfied
by the signatures on the update. Pure functions of the current configuration and bytes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from light_node.devnet.store import StoredBlock
from light_node.fabric import block as wire
from light_node.fabric.channel_config import BFT, ChannelConfig, ConfigError
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2
from light_node.fabric.policy import PolicyError, SignedData, valid_identities
from light_node.fabric.transaction import EnvelopeHeader, parse_header
from light_node.i18n import Text

Path = tuple[str, ...]
Element = common_pb2.ConfigGroup | common_pb2.ConfigValue | common_pb2.ConfigPolicy
_GROUP, _VALUE, _POLICY = "group", "value", "policy"
_ROOT = "Channel"


class ConfigUpdateRefused(Exception):
    """The update is not applied; the text says why in Fabric's words."""


@dataclass(frozen=True, slots=True)
class CurrentConfig:
    """A configuration as the message in its block and as it is understood."""

    message: common_pb2.Config
    understood: ChannelConfig

    @classmethod
    def from_stored(cls, stored: StoredBlock) -> "CurrentConfig":
        """Read a configuration block of the ledger."""
        envelopes = common_pb2.BlockData.FromString(stored.data).data
        raw = wire.encode_block(stored.number, stored.previous_hash, envelopes, [])
        _, envelope = wire.config_envelope(wire.parse_block(raw))
        return cls(envelope.config, ChannelConfig.from_block(raw))


def next_config(current: CurrentConfig, update_envelope: bytes) -> common_pb2.Config:
    """Return the configuration after an update; ``ConfigUpdateRefused`` in Fabric's words.

    ``update_envelope`` is a serialized Envelope of type CONFIG_UPDATE.
    """
    update, signed = _opened(update_envelope)
    channel = current.understood.channel_id
    if update.channel_id != channel:
        raise ConfigUpdateRefused(
            f"ConfigUpdate for channel '{update.channel_id[:250]}' but envelope for "
            f"channel '{channel}'"
        )
    now = _elements(current.message.channel_group)
    read, write = _elements(update.read_set), _elements(update.write_set)
    _check_read(now, read)
    changed = {
        key: element
        for key, element in write.items()
        if key not in read or read[key].version != element.version
    }
    if not changed:
        raise ConfigUpdateRefused("delta set was empty -- update would have no effect")
    _check_changes(current.understood, now, changed, signed)
    result = common_pb2.Config(sequence=current.message.sequence + 1)
    result.channel_group.CopyFrom(_tree({**now, **changed}, (_GROUP, _ROOT)))
    return result


def config_transaction(
    current: CurrentConfig, update_envelope: bytes, orderer: SigningIdentity, nonce: bytes
) -> bytes:
    """Return the CONFIG envelope an orderer makes of an update; ``ConfigUpdateRefused``."""
    config = next_config(current, update_envelope)
    check_usable(current.understood, config)
    channel_header = common_pb2.ChannelHeader(
        type=common_pb2.CONFIG, channel_id=current.understood.channel_id
    )
    header = common_pb2.Header(
        channel_header=channel_header.SerializeToString(),
        signature_header=wire.signature_header(orderer.serialized, nonce),
    )
    update = common_pb2.Envelope.FromString(update_envelope)
    data = common_pb2.ConfigEnvelope(config=config, last_update=update).SerializeToString()
    payload = common_pb2.Payload(header=header, data=data).SerializeToString()
    envelope = common_pb2.Envelope(payload=payload, signature=orderer.sign(payload))
    return envelope.SerializeToString()


def follows(current: CurrentConfig, header: EnvelopeHeader) -> bool:
    """Tell whether the configuration in a CONFIG envelope follows ``current``.

    As peers do: the update in it is applied again, and must give just that configuration.
    """
    try:
        envelope = common_pb2.ConfigEnvelope.FromString(header.data)
        config = next_config(current, envelope.last_update.SerializeToString())
        check_usable(current.understood, config)
    except (DecodeError, ConfigUpdateRefused):
        return False
    return bool(config == envelope.config)


def check_usable(before: ChannelConfig, config: common_pb2.Config) -> ChannelConfig:
    """Return a new configuration understood; ``ConfigUpdateRefused`` if the network cannot use it.

    The kind of ordering stays, and so do the consenters: the devnet has no keys of others.
    """
    try:
        after = ChannelConfig.from_config(config, channel_id=before.channel_id)
    except ConfigError as error:
        raise ConfigUpdateRefused(f"error applying config update: {error}") from error
    largest = after.batch_absolute_max_bytes
    limits = (after.batch_max_messages, largest, after.batch_preferred_max_bytes)
    if not all(limits) or after.batch_preferred_max_bytes > largest:
        raise ConfigUpdateRefused(
            "error applying config update: attempted to set the batch size to an invalid value"
        )
    if after.consensus_type != before.consensus_type or after.consenters != before.consenters:
        raise ConfigUpdateRefused("a devnet keeps its consenters and its kind of ordering")
    if after.consensus_type != BFT and after.maintenance:
        raise ConfigUpdateRefused("a devnet does not migrate to another kind of ordering")
    return after


# -- making one, as a client does ------------------------------------------------------------


def propose(
    current: common_pb2.Config,
    channel: str,
    changes: Mapping[Path, bytes],
) -> bytes:
    """Return a serialized ConfigUpdate that sets values: path (groups…, name) → new bytes.

    ``("Orderer", "BatchTimeout")`` is a value of the group ``/Channel/Orderer``.
    """
    update = common_pb2.ConfigUpdate(channel_id=channel)
    for path, value in changes.items():
        read, write, group = update.read_set, update.write_set, current.channel_group
        _carry(group, read, write)
        for name in path[:-1]:
            group = group.groups[name]
            read, write = read.groups[name], write.groups[name]
            _carry(group, read, write)
        old = group.values[path[-1]]
        entry = write.values[path[-1]]
        entry.CopyFrom(old)
        entry.version, entry.value = old.version + 1, value
    return update.SerializeToString()


def _carry(
    group: common_pb2.ConfigGroup, read: common_pb2.ConfigGroup, write: common_pb2.ConfigGroup
) -> None:
    read.version = write.version = group.version
    write.mod_policy = group.mod_policy


def signed_update(
    update: bytes,
    channel: str,
    signers: list[SigningIdentity],
    submitter: SigningIdentity,
    nonce: Callable[[], bytes],
) -> common_pb2.Envelope:
    """Return the CONFIG_UPDATE envelope of an update, signed by ``signers``, to be broadcast."""
    message = common_pb2.ConfigUpdateEnvelope(config_update=update)
    for signer in signers:
        header = wire.signature_header(signer.serialized, nonce())
        message.signatures.add(signature_header=header, signature=signer.sign(header + update))
    channel_header = common_pb2.ChannelHeader(type=common_pb2.CONFIG_UPDATE, channel_id=channel)
    header_message = common_pb2.Header(
        channel_header=channel_header.SerializeToString(),
        signature_header=wire.signature_header(submitter.serialized, nonce()),
    )
    payload = common_pb2.Payload(header=header_message, data=message.SerializeToString())
    raw = payload.SerializeToString()
    return common_pb2.Envelope(payload=raw, signature=submitter.sign(raw))


# -- inside ----------------------------------------------------------------------------------


def _opened(envelope: bytes) -> tuple[common_pb2.ConfigUpdate, list[SignedData]]:
    try:
        header = parse_header(envelope)
        if header.type != common_pb2.CONFIG_UPDATE:
            raise ConfigUpdateRefused("not a tx of type CONFIG_UPDATE")
        outer = common_pb2.ConfigUpdateEnvelope.FromString(header.data)
        signed = [
            SignedData(
                item.signature_header + outer.config_update,
                common_pb2.SignatureHeader.FromString(item.signature_header).creator,
                item.signature,
            )
            for item in outer.signatures
        ]
        return common_pb2.ConfigUpdate.FromString(outer.config_update), signed
    except (DecodeError, MalformedMessage) as error:
        raise ConfigUpdateRefused(f"error converting envelope to config update: {error}") from error


def _elements(root: common_pb2.ConfigGroup) -> dict[Path, Any]:
    """Return every element of a tree by (kind, path…), as Fabric's flat configuration map."""
    return dict(_walk(root, (_ROOT,)))


def _walk(group: common_pb2.ConfigGroup, path: Path) -> Iterator[tuple[Path, Element]]:
    if len(path) > 16:
        raise ConfigUpdateRefused("configuration groups are nested too deeply")
    yield (_GROUP, *path), group
    for name, value in group.values.items():
        yield (_VALUE, *path, name), value
    for name, policy in group.policies.items():
        yield (_POLICY, *path, name), policy
    for name, child in group.groups.items():
        yield from _walk(child, (*path, name))


def _check_read(now: Mapping[Path, Any], read: Mapping[Path, Any]) -> None:
    for key, element in read.items():
        known = now.get(key)
        if known is None:
            raise ConfigUpdateRefused(f"existing config does not contain element for {_named(key)}")
        if known.version != element.version:
            raise ConfigUpdateRefused(
                f"readset expected key {_named(key)} at version {element.version}, "
                f"but got version {known.version}"
            )


def _check_changes(
    config: ChannelConfig,
    now: Mapping[Path, Any],
    changed: Mapping[Path, Any],
    signed: list[SignedData],
) -> None:
    signers = valid_identities(config.msps, signed)
    for key, element in changed.items():
        known = now.get(key)
        due = 0 if known is None else known.version + 1
        if element.version != due:
            raise ConfigUpdateRefused(
                f"attempt to set key {_named(key)} to version {element.version}, "
                f"but key {'does not exist' if known is None else f'is at version {due - 1}'}"
            )
        if known is None:
            continue  # the group it is put into changes, and that group's policy decides
        try:
            allowed = config.policy(_policy_path(key, known)).satisfied_by(signers)
        except PolicyError:
            allowed = False
        if not allowed:
            raise ConfigUpdateRefused(
                "error authorizing update: error validating DeltaSet: "
                f"policy for {_named(key)} not satisfied"
            )
    for key in changed:
        # An element nobody lists is not part of the result: Fabric refuses to drop it in silence.
        parent = (_GROUP, *key[1:-1])
        members = {**now, **changed}.get(parent)
        if len(key) > 2 and (members is None or key[-1] not in _members(members, key[0])):
            raise ConfigUpdateRefused(f"writeset contained key {_named(key)} which did not appear")


def _policy_path(key: Path, element: Any) -> str:
    policy = str(element.mod_policy)
    if not policy:
        raise PolicyError(Text("the element has no mod_policy"))
    if policy.startswith("/"):
        return policy
    # A group's policy is its own, that of a value or policy the group's it lies in.
    groups = key[1:] if key[0] == _GROUP else key[1:-1]
    return "/" + "/".join((*groups, policy))


def _members(group: common_pb2.ConfigGroup, kind: str) -> Mapping[str, Any]:
    members: dict[str, Mapping[str, Any]] = {
        _GROUP: group.groups,
        _VALUE: group.values,
        _POLICY: group.policies,
    }
    return members[kind]


def _tree(elements: Mapping[Path, Any], key: Path) -> common_pb2.ConfigGroup:
    """Put the tree together again: what a group lists decides what is in it."""
    listed = elements[key]
    path = key[1:]
    group = common_pb2.ConfigGroup(version=listed.version, mod_policy=listed.mod_policy)
    for name in listed.values:
        group.values[name].CopyFrom(elements[(_VALUE, *path, name)])
    for name in listed.policies:
        group.policies[name].CopyFrom(elements[(_POLICY, *path, name)])
    for name in listed.groups:
        group.groups[name].CopyFrom(_tree(elements, (_GROUP, *path, name)))
    return group


def _named(key: Path) -> str:
    label = {_GROUP: "Group", _VALUE: "Value", _POLICY: "Policy"}[key[0]]
    return f"[{label}]  /{'/'.join(key[1:])}"[:200]
