"""Who may do what: the checks every Fabric node makes before it answers.

Signatures and identities by the channel's MSPs, Readers and Writers by its policies, the age of a
request (±15 minutes) and expired client certificates (``docs/fabric-protocol.md`` 2.9, 3.2, 4.7).
Error texts are Fabric's own, since clients tell cases apart by them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from light_node.devnet.config_update import CurrentConfig, follows
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.msp import Identity, MspError
from light_node.fabric.policy import PolicyError, SignaturePolicy, SignedData, valid_identities
from light_node.fabric.transaction import EnvelopeHeader, ParsedTransaction

TIME_WINDOW = timedelta(minutes=15)
READERS = "/Channel/Application/Readers"
WRITERS = "/Channel/Application/Writers"
CHANNEL_READERS = "/Channel/Readers"
CHANNEL_WRITERS = "/Channel/Writers"
ENDORSEMENT = "/Channel/Application/Endorsement"


class AccessError(Exception):
    """The request is refused; the text is what Fabric would say."""


class StaleRequestError(AccessError):
    """The request's timestamp is outside the window."""


class ExpiredIdentityError(AccessError):
    """The client's certificate has expired."""


@dataclass(slots=True)
class AccessControl:
    """The checks for the channel configuration in force; ``now`` is the wall clock (aware UTC).

    ``config`` is replaced when a configuration block is committed.
    """

    config: ChannelConfig
    now: Callable[[], datetime]

    @property
    def channel(self) -> str:
        """The channel's name."""
        return self.config.channel_id

    def check_age(self, timestamp: datetime, skew: timedelta = timedelta(0)) -> None:
        """``StaleRequestError`` unless ``timestamp`` is within 15 minutes of the node's time.

        ``skew`` is how far the node's clock is ahead.
        """
        now = self.now() + skew
        if abs(timestamp - now) > TIME_WINDOW:
            raise StaleRequestError(
                f"request unauthorized due to incorrect timestamp {_rfc3339(timestamp)}, "
                f"peer time {_rfc3339(now)}, peer.authentication.timewindow 15m0s"
            )

    def not_after(self, creator: bytes) -> datetime | None:
        """Return when the certificate of ``creator`` expires, None if it cannot be read."""
        try:
            return self.config.msps.parse(creator).certificate.not_after
        except MspError:
            return None

    def is_over(self, not_after: datetime | None) -> bool:
        """Tell whether that time has passed; None never does."""
        return not_after is not None and self.now() > not_after

    def check_expiry(self, creator: bytes, what: str) -> None:
        """``ExpiredIdentityError`` if the certificate of ``creator`` has expired.

        An unreadable identity passes here, as in Fabric: the checks after this one refuse it.
        """
        if self.is_over(self.not_after(creator)):
            raise ExpiredIdentityError(f"{what} client identity expired")

    def identity(self, creator: bytes, message: bytes, signature: bytes) -> Identity:
        """Return the valid identity that signed ``message``; ``AccessError`` in Fabric's words."""
        try:
            identity = self.config.msps.parse(creator)
        except MspError as error:
            raise AccessError(
                f"access denied: channel [{self.channel}] creator org unknown, creator is malformed"
            ) from error
        refusal = f"access denied: channel [{self.channel}] creator org [{identity.msp_id}]"
        try:
            identity.validate()
        except MspError as error:
            raise AccessError(refusal) from error
        if not identity.verify(message, signature):
            raise AccessError(refusal)
        return identity

    def allows(self, policy: str, identity: Identity) -> bool:
        """Tell whether an identity whose signature was checked satisfies ``policy`` alone."""
        try:
            return self.config.policy(policy).satisfied_by([identity])
        except PolicyError:
            return False

    def denial(self, policy: str) -> str:
        """Return what Fabric says of a signature that does not satisfy ``policy``."""
        try:
            by_name = isinstance(self.config.policy(policy), SignaturePolicy)
        except PolicyError:  # the channel has none of that name, which nobody satisfies either
            by_name = False
        if by_name:
            return "signature set did not satisfy policy"
        return (
            "implicit policy evaluation failed - 0 sub-policies were satisfied, but this policy "
            f"requires 1 of the '{policy.rpartition('/')[2]}' sub-policies to be satisfied"
        )

    def is_signed_by(self, policy: str, creator: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether one signature satisfies ``policy``."""
        signed = [SignedData(message, creator, signature)]
        try:
            rule = self.config.policy(policy)
            return rule.satisfied_by(valid_identities(self.config.msps, signed))
        except PolicyError:
            return False


class ChannelRules:
    """What validation asks of the channel: :class:`light_node.devnet.validation.Rules`."""

    def __init__(self, current: CurrentConfig, chaincodes: frozenset[str]) -> None:
        self.channel = current.understood.channel_id
        self.apply(current)
        self._chaincodes = chaincodes

    def apply(self, current: CurrentConfig) -> None:
        """Go by this configuration from the next block on."""
        self._current = current
        self._config = current.understood

    def config_follows(self, header: EnvelopeHeader) -> bool:
        """Tell whether a CONFIG envelope brings the configuration its update leads to."""
        return follows(self._current, header)

    @property
    def current(self) -> CurrentConfig:
        """The configuration in force."""
        return self._current

    def creator_signed(self, header: EnvelopeHeader) -> bool:
        """Tell whether the creator is a valid identity and signed the payload."""
        try:
            identity = self._config.msps.deserialize(header.creator)
        except MspError:
            return False
        return identity.verify(header.payload, header.signature)

    def endorsed(self, transaction: ParsedTransaction, chaincode: str) -> bool:
        """Tell whether the endorsements satisfy the policy; all chaincodes use the default."""
        payload = transaction.response_payload
        signed = [
            SignedData(payload + e.endorser, e.endorser, e.signature)
            for e in transaction.endorsements
        ]
        try:
            policy = self._config.policy(ENDORSEMENT)
            return policy.satisfied_by(valid_identities(self._config.msps, signed))
        except PolicyError:
            return False

    def chaincode_exists(self, name: str) -> bool:
        """Tell whether ``name`` is committed on the channel."""
        return name in self._chaincodes


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
