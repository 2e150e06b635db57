"""The trust root: the configuration block from which everything else is proved.

``docs/fabric-protocol.md`` section 2.6. It comes out of band: in a network profile, or as a file
somebody handed over, and its fingerprint is short enough to be compared by voice. There is no
"trust the first answer": a root that has expired is refused, and renewed by importing a fresh
profile, never by asking a peer.
"""

import base64
from dataclasses import dataclass
from datetime import datetime

from light_node.chain import errors
from light_node.chain.verify import TrustedState, parse, verify_data
from light_node.fabric import block as blocks
from light_node.fabric.block import BlockError
from light_node.fabric.channel_config import ChannelConfig, ConfigError
from light_node.fabric.profile import TrustRoot as ProfileTrustRoot
from light_node.i18n import Text

_FINGERPRINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """A checked configuration block. ``obtained`` and ``expires`` are aware, or None if unknown.

    Where headers were skipped (:mod:`light_node.chain.skip`), ``origin`` is the root from the
    profile and ``path`` the configuration blocks from after it up to this one.
    """

    config: ChannelConfig
    config_block: bytes
    number: int
    hash: bytes
    obtained: datetime | None = None
    expires: datetime | None = None
    origin: "TrustRoot | None" = None
    path: tuple[bytes, ...] = ()

    @property
    def anchor(self) -> "TrustRoot":
        """What everything rests on: the root that came out of band."""
        return self.origin or self

    @property
    def state(self) -> TrustedState:
        """The state to verify the next block against."""
        return TrustedState(self.config, self.number, self.hash)

    @property
    def fingerprint(self) -> str:
        """80 bits of the block hash as four groups of letters and digits, to compare by eye."""
        return fingerprint(self.anchor.hash)

    def check_expiry(self, now: datetime) -> None:
        """``TrustRootExpired`` if the root may not be used any more at ``now`` (aware)."""
        if self.expires is not None and now >= self.expires:
            raise errors.TrustRootExpired(
                Text(
                    "the trust root of channel {channel_id} expired on {day}; get a new "
                    "network profile from your operator and compare its fingerprint",
                    channel_id=self.config.channel_id,
                    day=self.expires.isoformat(timespec="minutes"),
                )
            )


def fingerprint(digest: bytes) -> str:
    """Return a block hash in the short form, like ``ABCD-EFGH-IJKL-MNOP``."""
    text = base64.b32encode(digest[:_FINGERPRINT_BYTES]).decode()
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))


def load(
    config_block: bytes,
    *,
    channel: str | None = None,
    expected_hash: bytes | None = None,
    obtained: datetime | None = None,
    expires: datetime | None = None,
) -> TrustRoot:
    """Check a configuration block as section 2.6 says and return it as a trust root.

    The data hash must match the header, the data be exactly one CONFIG envelope of ``channel``,
    the signed last-config index the block's own number, and the hash ``expected_hash`` where
    given. ``TrustRootMismatch`` otherwise. Nothing else in it can be checked without an earlier
    root.
    """
    try:
        block = parse(config_block)
        verify_data(block)
        # Before anything in it is read: a block that some peer sent must not cost more than this.
        if expected_hash is not None and block.hash != expected_hash:
            raise errors.TrustRootMismatch(
                Text(
                    "the trust root's fingerprint is {fingerprint}, not {expected}",
                    fingerprint=fingerprint(block.hash),
                    expected=fingerprint(expected_hash),
                )
            )
        if block.envelopes is None or not blocks.is_config(block.envelopes):
            raise errors.TrustRootMismatch(
                Text("block {number} is not a configuration block", number=block.number)
            )
        index = blocks.signature_entry(block).last_config
        config = ChannelConfig.from_block(block)
    except (errors.VerificationError, BlockError, ConfigError) as error:
        raise errors.TrustRootMismatch(
            Text("this is no usable trust root: {error}", error=error)
        ) from error
    if index != block.number:
        raise errors.TrustRootMismatch(
            Text(
                "the trust root is block {number}, but its last-config index is {index}",
                number=block.number,
                index=index,
            )
        )
    if channel is not None and config.channel_id != channel:
        raise errors.TrustRootMismatch(
            Text(
                "the trust root is of channel {channel_id}, not {channel}",
                channel_id=repr(config.channel_id),
                channel=repr(channel),
            )
        )
    return TrustRoot(config, config_block, block.number, block.hash, obtained, expires)


def from_profile(root: ProfileTrustRoot) -> TrustRoot:
    """Check the trust root of a network profile; ``TrustRootError`` if it is not what it says."""
    return load(
        root.config_block,
        channel=root.channel,
        expected_hash=bytes.fromhex(root.hash),
        obtained=root.obtained,
        expires=root.expires,
    )
