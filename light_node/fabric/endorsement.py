"""Whether endorsements suffice: a channel's policy over the identities its MSPs vouch for.

The check of docs/fabric-protocol.md 4.6. Stricter than a committing peer, which drops endorsements
that do not verify and counts the rest: a gateway that passes on a bad one is not to be trusted
with the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.errors import MalformedMessage, UntrustedResponse
from light_node.fabric.msp import Identity, MspError, MspManager
from light_node.fabric.pb import lifecycle_pb2, peer_pb2
from light_node.fabric.policy import Policy, PolicyError
from light_node.fabric.transaction import Endorsement
from light_node.i18n import Text

DEFAULT_REFERENCE = "/Channel/Application/Endorsement"
"""The policy of a chaincode whose organisations agreed on no other: by default a majority."""
LIFECYCLE_REFERENCE = "/Channel/Application/LifecycleEndorsement"
"""The policy of ``_lifecycle`` itself."""


@dataclass(frozen=True, slots=True)
class ChaincodeDefinition:
    """What the organisations agreed on for a chaincode; ``policy`` is an ApplicationPolicy."""

    name: str
    version: str
    sequence: int
    policy: bytes
    validation_plugin: str


class ChannelEndorsementPolicy:
    """An :class:`~light_node.fabric.transaction.EndorsementPolicy` of a channel. Thread-safe."""

    def __init__(self, policy: Policy, msps: MspManager) -> None:
        """``policy`` and ``msps`` must come from a channel config that is trusted."""
        self._policy = policy
        self._msps = msps

    def check(self, response_payload: bytes, endorsements: Sequence[Endorsement]) -> None:
        """Return if every endorsement verifies and together they satisfy the policy.

        ``UntrustedResponse`` (point 6) otherwise. An endorser that appears twice counts once.
        """
        identities: dict[tuple[str, str], Identity] = {}
        for endorsement in endorsements:
            try:
                identity = self._msps.deserialize(endorsement.endorser)
            except MspError as error:
                raise UntrustedResponse(
                    6,
                    Text(
                        "an endorser is not of this channel's organisations: {error}", error=error
                    ),
                ) from error
            message = response_payload + endorsement.endorser
            if not identity.verify(message, endorsement.signature):
                raise UntrustedResponse(
                    6, Text("an endorsement of {msp_id} is not genuine", msp_id=identity.msp_id)
                )
            identities.setdefault((identity.msp_id, identity.id), identity)
        try:
            satisfied = self._policy.satisfied_by(list(identities.values()))
        except PolicyError as error:
            raise UntrustedResponse(
                6, Text("the endorsement policy cannot be evaluated: {error}", error=error)
            ) from error
        if not satisfied:
            signers = ", ".join(sorted(msp_id for msp_id, _ in identities)) or "nobody"
            raise UntrustedResponse(
                6,
                Text(
                    "it is endorsed by {signers} only, which the endorsement policy does not "
                    "accept",
                    signers=signers,
                ),
            )


def by_reference(
    config: ChannelConfig, reference: str = DEFAULT_REFERENCE
) -> ChannelEndorsementPolicy:
    """Return the channel policy at ``reference``; ``PolicyError`` if the channel has none.

    With a config from the trust root this trusts no peer.
    """
    return ChannelEndorsementPolicy(config.policy(reference), config.msps)


def by_definition(
    config: ChannelConfig, definition: ChaincodeDefinition
) -> ChannelEndorsementPolicy:
    """Return the policy a chaincode definition names.

    ``PolicyError`` if it cannot be used, or if a plug-in other than ``vscc`` validates.
    """
    if definition.validation_plugin != "vscc":
        raise PolicyError(Text("the chaincode is validated by a plug-in with rules of its own"))
    return ChannelEndorsementPolicy(config.endorsement_policy(definition.policy), config.msps)


def read_definition(name: str, result: bytes) -> ChaincodeDefinition:
    """Decode the result of ``_lifecycle`` QueryChaincodeDefinition; ``MalformedMessage``."""
    try:
        found = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(result)
    except DecodeError as error:
        raise MalformedMessage(Text("the chaincode definition cannot be read")) from error
    return ChaincodeDefinition(
        name=name,
        version=found.version,
        sequence=found.sequence,
        policy=found.validation_parameter,
        validation_plugin=found.validation_plugin,
    )


def reference_bytes(reference: str = DEFAULT_REFERENCE) -> bytes:
    """Return the serialized ApplicationPolicy that refers to a channel policy."""
    return peer_pb2.ApplicationPolicy(channel_config_policy_reference=reference).SerializeToString()
