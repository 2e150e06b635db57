"""Policies: which set of signatures is enough.

``docs/fabric-protocol.md`` section 2.4. A set of signatures is first reduced to the distinct
identities that really signed (:func:`valid_identities`); then a SIGNATURE policy counts them
greedily, each at most once, and an IMPLICIT_META policy counts the child groups whose own policy
the whole set satisfies.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from google.protobuf.message import DecodeError

from light_node.fabric.msp import Identity, MspError, MspManager
from light_node.fabric.pb import common_pb2, peer_pb2
from light_node.i18n import SaidError, Text

MAX_RULES = 10_000
MAX_DEPTH = 64


class PolicyError(SaidError, ValueError):
    """A policy cannot be read or evaluated: it rejects everything, and says why."""


class SignedData(NamedTuple):
    """One signature: the exact bytes signed, who claims to have signed, the signature."""

    message: bytes
    identity: bytes
    signature: bytes


class Policy(Protocol):
    """A policy over identities whose signatures have been checked."""

    def satisfied_by(self, identities: Sequence[Identity]) -> bool:
        """Say whether these distinct, verified signers are enough; ``PolicyError`` if unusable."""
        ...


def valid_identities(manager: MspManager, signed: Sequence[SignedData]) -> list[Identity]:
    """Return the distinct identities with a good signature, in the order given.

    Unknown or untrusted identities, repeated ones and bad signatures are dropped, not errors. A
    repetition is noticed before its signature is checked, so that it costs nothing.
    """
    found: dict[tuple[str, str], Identity] = {}
    for item in signed:
        try:
            identity = manager.parse(item.identity)
        except MspError:
            continue
        if identity.key not in found and identity.verify(item.message, item.signature):
            found[identity.key] = identity
    return list(found.values())


def satisfied(policy: Policy, manager: MspManager, signed: Sequence[SignedData]) -> bool:
    """Say whether a set of signatures satisfies ``policy``; ``PolicyError`` if it is unusable."""
    return policy.satisfied_by(valid_identities(manager, signed))


# -- signature policies -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Satisfied by the first identity not used yet that is what ``principal`` describes."""

    principal: common_pb2.MSPPrincipal

    def take(self, identities: Sequence[Identity], used: list[bool]) -> bool:
        """Use up one matching identity; False if there is none."""
        for index, identity in enumerate(identities):
            if not used[index] and identity.satisfies(self.principal):
                used[index] = True
                return True
        return False


@dataclass(frozen=True, slots=True)
class NOutOf:
    """Satisfied when at least ``n`` of ``rules`` are, evaluated in order and greedily."""

    n: int
    rules: tuple["NOutOf | SignedBy", ...]

    def take(self, identities: Sequence[Identity], used: list[bool]) -> bool:
        """Evaluate every rule; a rule that fails gives back what it had used."""
        successes = 0
        for rule in self.rules:
            trial = used.copy()
            if rule.take(identities, trial):
                successes += 1
                used[:] = trial
        return successes >= self.n


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """A policy of type SIGNATURE, compiled."""

    rule: NOutOf | SignedBy

    def satisfied_by(self, identities: Sequence[Identity]) -> bool:
        """Say whether the identities satisfy the rule, no one counted twice."""
        return self.rule.take(identities, [False] * len(identities))

    @classmethod
    def from_bytes(cls, value: bytes) -> "SignaturePolicy":
        """Compile a serialized ``SignaturePolicyEnvelope``; ``PolicyError`` if it is malformed."""
        try:
            return cls.from_message(common_pb2.SignaturePolicyEnvelope.FromString(value))
        except DecodeError as error:
            raise PolicyError(
                Text("a signature policy cannot be read: {error}", error=error)
            ) from error

    @classmethod
    def from_message(cls, envelope: common_pb2.SignaturePolicyEnvelope) -> "SignaturePolicy":
        """Compile a ``SignaturePolicyEnvelope``; ``PolicyError`` if it is malformed."""
        if envelope.version != 0:
            raise PolicyError(
                Text("signature policy version {version} is unknown", version=envelope.version)
            )
        budget = [MAX_RULES]
        return cls(_compile(envelope.rule, envelope.identities, budget, MAX_DEPTH))


def _compile(
    rule: common_pb2.SignaturePolicy,
    principals: Sequence[common_pb2.MSPPrincipal],
    budget: list[int],
    depth: int,
) -> NOutOf | SignedBy:
    budget[0] -= 1
    if budget[0] < 0 or depth < 0:
        raise PolicyError(Text("a signature policy is too large"))
    kind = rule.WhichOneof("Type")
    if kind == "signed_by":
        if not 0 <= rule.signed_by < len(principals):
            raise PolicyError(
                Text(
                    "a signature policy names principal {signed_by}, not listed",
                    signed_by=rule.signed_by,
                )
            )
        return SignedBy(principals[rule.signed_by])
    if kind == "n_out_of":
        inner = rule.n_out_of
        return NOutOf(
            inner.n, tuple(_compile(r, principals, budget, depth - 1) for r in inner.rules)
        )
    raise PolicyError(Text("a signature policy has an empty rule"))


# -- implicit meta policies ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImplicitMetaPolicy:
    """A policy of type IMPLICIT_META: ``threshold`` of the children's ``sub_policy`` must pass.

    A child without that policy (None) counts as failing.
    """

    sub_policy: str
    threshold: int
    children: tuple[Policy | None, ...]

    def satisfied_by(self, identities: Sequence[Identity]) -> bool:
        """Say whether enough children are satisfied, each by the full set.

        ``PolicyError`` without children: Fabric's threshold is then 0, which would let pass
        anything, even nothing.
        """
        if not self.children:
            raise PolicyError(
                Text(
                    "no group has a policy {sub_policy} to count", sub_policy=repr(self.sub_policy)
                )
            )
        passed = 0
        for child in self.children:
            if child is not None and _passes(child, identities):
                passed += 1
                if passed >= self.threshold:
                    return True
        return False


@dataclass(frozen=True, slots=True)
class RejectAll:
    """What stands for a policy that cannot be used; evaluating it raises its reason."""

    reason: Text

    def satisfied_by(self, identities: Sequence[Identity]) -> bool:
        """Raise ``PolicyError``."""
        raise PolicyError(self.reason)


def _passes(policy: Policy, identities: Sequence[Identity]) -> bool:
    try:
        return policy.satisfied_by(identities)
    except PolicyError:
        return False


def meta_threshold(rule: int, children: int) -> int:
    """Return how many of ``children`` groups an implicit meta rule (ANY, ALL, MAJORITY) needs."""
    thresholds = {
        common_pb2.ImplicitMetaPolicy.ANY: 1,
        common_pb2.ImplicitMetaPolicy.ALL: children,
        common_pb2.ImplicitMetaPolicy.MAJORITY: children // 2 + 1,
    }
    for known, threshold in thresholds.items():
        if rule == known:
            return threshold
    raise PolicyError(Text("implicit meta rule {rule} is unknown", rule=rule))


# -- the tree -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """The policies of one configuration group and of the groups below it."""

    policies: Mapping[str, Policy] = field(default_factory=dict)
    groups: Mapping[str, "PolicyGroup"] = field(default_factory=dict)

    @classmethod
    def from_group(cls, group: common_pb2.ConfigGroup, depth: int = MAX_DEPTH) -> "PolicyGroup":
        """Compile the policies of a ``ConfigGroup`` and everything below it.

        An unusable policy becomes a :class:`RejectAll`: it must not hinder the others.
        ``PolicyError`` only when groups are nested without end.
        """
        if depth < 0:
            raise PolicyError(Text("configuration groups are nested too deeply"))
        groups = {name: cls.from_group(child, depth - 1) for name, child in group.groups.items()}
        policies = {
            name: _compile_any(name, entry.policy, groups) for name, entry in group.policies.items()
        }
        return cls(policies, groups)

    def find(self, path: str) -> Policy:
        """Return the policy at an absolute path such as ``/Channel/Orderer/BlockValidation``.

        ``PolicyError`` if there is none: an unknown name rejects everything.
        """
        names = path.split("/")
        if len(names) < 3 or names[0] or names[1] != "Channel":
            raise PolicyError(Text("{path} is no absolute policy path", path=repr(path[:200])))
        group = self
        for name in names[2:-1]:
            if name not in group.groups:
                raise PolicyError(
                    Text("the channel has no group for policy {path}", path=path[:200])
                )
            group = group.groups[name]
        if names[-1] not in group.policies:
            raise PolicyError(Text("the channel has no policy {path}", path=path[:200]))
        return group.policies[names[-1]]


def _compile_any(name: str, policy: common_pb2.Policy, groups: Mapping[str, PolicyGroup]) -> Policy:
    try:
        if policy.type == common_pb2.Policy.SIGNATURE:
            return SignaturePolicy.from_bytes(policy.value)
        if policy.type == common_pb2.Policy.IMPLICIT_META:
            meta = common_pb2.ImplicitMetaPolicy.FromString(policy.value)
            threshold = meta_threshold(meta.rule, len(groups))
            children = tuple(g.policies.get(meta.sub_policy) for g in groups.values())
            return ImplicitMetaPolicy(meta.sub_policy, threshold, children)
        return RejectAll(
            Text("policy {name} has the unknown type {type}", name=name[:100], type=policy.type)
        )
    except (PolicyError, DecodeError) as error:
        return RejectAll(Text("policy {name}: {error}", name=name[:100], error=error))


def application_policy(value: bytes, root: PolicyGroup) -> Policy:
    """Return a chaincode's endorsement policy from its serialized ``ApplicationPolicy``.

    Either a signature policy or a reference to a channel policy (section 4.6); ``PolicyError``.
    """
    try:
        message = peer_pb2.ApplicationPolicy.FromString(value)
    except DecodeError as error:
        raise PolicyError(
            Text("an application policy cannot be read: {error}", error=error)
        ) from error
    kind = message.WhichOneof("Type")
    if kind == "signature_policy":
        return SignaturePolicy.from_message(message.signature_policy)
    if kind == "channel_config_policy_reference":
        return root.find(message.channel_config_policy_reference)
    raise PolicyError(Text("an application policy is empty"))


# -- quorum -------------------------------------------------------------------------------------


def bft_quorum(consenters: int) -> int:
    """Return Q = ⌈(n+f+1)/2⌉ with f = ⌊(n−1)/3⌋: signatures a BFT block needs (section 2.4)."""
    if consenters < 1:
        raise PolicyError(Text("a BFT channel has no consenters"))
    faulty = (consenters - 1) // 3
    return (consenters + faulty + 2) // 2


def signed_by_roles(msp_ids: Sequence[str], roles: Sequence[int], n: int) -> bytes:
    """Return a serialized signature policy: ``n`` signers, each of one of these organisations.

    A signer has one of ``roles`` (``MSPRoleType``) in its organisation; each role of each
    organisation counts once. For building channels (devnet) and tests.
    """
    envelope = common_pb2.SignaturePolicyEnvelope()
    envelope.rule.n_out_of.n = n
    for index, (msp_id, role) in enumerate(itertools.product(msp_ids, roles)):
        envelope.rule.n_out_of.rules.add(signed_by=index)
        principal = common_pb2.MSPRole(msp_identifier=msp_id)
        principal.role = role  # type: ignore[assignment]
        envelope.identities.add(
            principal_classification=common_pb2.MSPPrincipal.ROLE,
            principal=principal.SerializeToString(),
        )
    return envelope.SerializeToString()


def bft_block_validation(consenters: Sequence[bytes]) -> bytes:
    """Return the serialized BlockValidation policy of a BFT channel (section 2.4).

    ``consenters`` are their SerializedIdentity bytes in the order of ``consenter_mapping``.
    """
    envelope = common_pb2.SignaturePolicyEnvelope()
    envelope.rule.n_out_of.n = bft_quorum(len(consenters))
    for index, identity in enumerate(consenters):
        envelope.rule.n_out_of.rules.add(signed_by=index)
        envelope.identities.add(
            principal_classification=common_pb2.MSPPrincipal.IDENTITY, principal=identity
        )
    return envelope.SerializeToString()
