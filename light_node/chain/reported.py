"""What files that a user's light node writes about others have in common: who reported it, signed.

Evidence of forks proves what it says whoever signed it; a record of a history that nobody signed is
worth its reporter's word. Both name channel, trust root and configurations, who showed something
where, and when, and may be signed with the reporter's identity over all else.
"""

from dataclasses import replace
from typing import Any, Self

from light_node import jsonio
from light_node.chain import errors
from light_node.chain.proof import decode, encode, read_configs
from light_node.fabric.block import MAX_BLOCK_BYTES
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.msp import Identity, MspError
from light_node.i18n import Text

FIELDS = frozenset(
    ("version", "kind", "channel", "trust_root", "configs", "ours", "theirs", "organization",
     "address", "seen_at", "reporter", "signature")
)  # fmt: skip
"""Those that every such file has."""
_MAX_SIGNATURE_BYTES = 1024
_MAX_IDENTITY_BYTES = 64 * 1024


class ReportedFile:
    """Base of the dataclasses that hold such a file; they have the fields named here."""

    __slots__ = ()

    channel: str
    trust_root: bytes
    configs: tuple[bytes, ...]
    ours: bytes
    theirs: bytes
    organization: str
    address: str
    seen_at: str
    reporter: bytes
    signature: bytes

    @property
    def signed_bytes(self) -> bytes:
        """What the reporter signs."""
        fields = self._fields()
        del fields["signature"]
        return jsonio.canonical_dumps(fields)

    def signed(self, identity: SigningIdentity) -> Self:
        """Return it with ``identity`` as the reporter."""
        named = replace(self, reporter=identity.serialized, signature=b"")  # type: ignore[type-var]
        return replace(named, signature=identity.sign(named.signed_bytes))  # type: ignore[type-var]

    def dumps(self) -> bytes:
        """Return the file's content."""
        return jsonio.canonical_dumps(self._fields())

    def signer(self, config: ChannelConfig) -> Identity:
        """Return who signed the file; ``NotVerified`` if nobody of the channel, or wrongly."""
        try:
            identity = config.msps.deserialize(self.reporter)
        except MspError as error:
            raise errors.NotVerified(
                Text("the reporter is not of this channel: {error}", error=error)
            ) from error
        if not identity.verify(self.signed_bytes, self.signature):
            raise errors.NotVerified(
                Text("the reporter's signature is wrong: the file was altered")
            )
        return identity

    def _fields(self) -> dict[str, Any]:
        """Return the file's JSON; what is here but version and kind."""
        return {
            "channel": self.channel,
            "trust_root": encode(self.trust_root),
            "configs": [encode(raw) for raw in self.configs],
            "ours": encode(self.ours),
            "theirs": encode(self.theirs),
            "organization": self.organization,
            "address": self.address,
            "seen_at": self.seen_at,
            "reporter": encode(self.reporter),
            "signature": encode(self.signature),
        }


def read(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a :class:`ReportedFile` but ``ours`` and ``theirs``; ``JsonError``.

    Those two differ in what they hold and in how much.
    """
    return {
        "channel": jsonio.string(fields, "channel", max_length=250),
        "trust_root": decode(fields["trust_root"], "trust_root", MAX_BLOCK_BYTES),
        "configs": read_configs(fields),
        "organization": jsonio.string(fields, "organization", max_length=250),
        "address": jsonio.string(fields, "address", max_length=300),
        "seen_at": jsonio.string(fields, "seen_at", max_length=64),
        "reporter": decode(fields["reporter"], "reporter", _MAX_IDENTITY_BYTES),
        "signature": decode(fields["signature"], "signature", _MAX_SIGNATURE_BYTES),
    }
