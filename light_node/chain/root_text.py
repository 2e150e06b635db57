"""A trust root as a line of text: short enough for a QR code, a letter or a telephone.

The text names a channel and the hash of its configuration block, and when the root was obtained and
expires. It does not hold the block: that may come from any file or any peer, since its hash decides
whether it is the one that is meant. So whoever has the text out of band trusts nobody's first
answer.

``LNROOT1:`` and Base32 (RFC 4648, no padding) of: channel id (one byte of length, ASCII), block
number (8 bytes), hash of the block's header (32), obtained and expires (seconds since 1970, 5
bytes each), and the first 4 bytes of the SHA-256 of all before. All of it is in the alphanumeric
set of QR codes. Case, spaces, dashes and line breaks do not matter when it is read.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from light_node.chain import errors, trust
from light_node.chain.trust import TrustRoot
from light_node.i18n import Text

PREFIX = "LNROOT1:"
MAX_TEXT = 1000
_CHECK_BYTES = 4
_TIME_BYTES = 5
_MAX_CHANNEL = 249  # Fabric's limit on channel ids
_FIXED = 1 + 8 + 32 + 2 * _TIME_BYTES + _CHECK_BYTES
# What is not in the Base32 alphabet and easily written for something that is.
_LOOKALIKES = str.maketrans("018", "OIB", "-_ \t\r\n\u00a0\u2010\u2011\u2013")


@dataclass(frozen=True, slots=True)
class RootText:
    """What a text says: the hash of block ``number`` of ``channel``, and how long it counts.

    ``obtained`` and ``expires`` are aware, in whole seconds.
    """

    channel: str
    number: int
    hash: bytes
    obtained: datetime
    expires: datetime

    @property
    def fingerprint(self) -> str:
        """The short form of the hash, as screens and commands show it."""
        return trust.fingerprint(self.hash)

    def encode(self) -> str:
        """Return the text, in one line."""
        channel = self.channel.encode("ascii")
        body = b"".join(
            (
                bytes((len(channel),)),
                channel,
                self.number.to_bytes(8, "big"),
                self.hash,
                _seconds(self.obtained),
                _seconds(self.expires),
            )
        )
        text = base64.b32encode(body + sha256(body).digest()[:_CHECK_BYTES]).decode("ascii")
        return PREFIX + text.rstrip("=")

    def load(self, config_block: bytes) -> TrustRoot:
        """Return the root whose configuration block this is.

        ``TrustRootMismatch`` unless it is the block that the text means.
        """
        root = trust.load(
            config_block,
            channel=self.channel,
            expected_hash=self.hash,
            obtained=self.obtained,
            expires=self.expires,
        )
        if root.number != self.number:
            raise errors.TrustRootMismatch(
                Text(
                    "the text names block {number}, the configuration block is {configuration}",
                    number=self.number,
                    configuration=root.number,
                )
            )
        return root


def encode(root: TrustRoot) -> str:
    """Return the text of a root; ``TrustRootError`` for one without dates."""
    if root.obtained is None or root.expires is None:
        raise errors.TrustRootError(Text("the trust root does not say until when it counts"))
    told = RootText(root.config.channel_id, root.number, root.hash, root.obtained, root.expires)
    return told.encode()


def decode(text: str) -> RootText:
    """Read a text; ``TrustRootError`` says whether it is no such text, cut off or mistyped."""
    if len(text) > MAX_TEXT:
        raise errors.TrustRootError(Text("this is no text of a trust root: it is far too long"))
    head, colon, rest = text.strip().upper().rpartition(":")
    if colon and "".join(head.split()) + colon != PREFIX:
        raise errors.TrustRootError(
            Text(
                "this is no text of a trust root: those begin with {prefix}; ask your operator "
                "for one",
                prefix=PREFIX,
            )
        )
    letters = rest.translate(_LOOKALIKES)
    try:
        raw = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except (binascii.Error, ValueError) as error:
        raise errors.TrustRootError(
            Text(
                "the text of the trust root has a wrong letter or is cut off: compare it, or "
                "copy it again"
            )
        ) from error
    body, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    size = raw[0] if raw else 0
    if len(raw) != _FIXED + size or sha256(body).digest()[:_CHECK_BYTES] != check:
        raise errors.TrustRootError(
            Text(
                "the text of the trust root is mistyped or cut off: its check sum is wrong; "
                "compare it, or copy it again"
            )
        )
    try:
        channel = body[1 : 1 + size].decode("ascii")
        at = 1 + size
        return RootText(
            channel,
            int.from_bytes(body[at : at + 8], "big"),
            body[at + 8 : at + 40],
            _time(body[at + 40 : at + 40 + _TIME_BYTES]),
            _time(body[at + 40 + _TIME_BYTES :]),
        )
    except (ValueError, OverflowError, OSError) as error:
        raise errors.TrustRootError(
            Text("the text of the trust root says nothing usable: {error}", error=error)
        ) from error


def in_lines(text: str, groups: int = 6) -> str:
    """Return a text in groups of five letters, ``groups`` a line, to be read and typed."""
    letters = text.removeprefix(PREFIX)
    parts = [letters[at : at + 5] for at in range(0, len(letters), 5)]
    lines = [" ".join(parts[at : at + groups]) for at in range(0, len(parts), groups)]
    return "\n".join((PREFIX, *lines))


def _seconds(time: datetime) -> bytes:
    return int(time.timestamp()).to_bytes(_TIME_BYTES, "big")


def _time(raw: bytes) -> datetime:
    return datetime.fromtimestamp(int.from_bytes(raw, "big"), UTC)
