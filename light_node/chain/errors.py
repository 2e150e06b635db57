"""The ways to be wrong, one class each, carrying the block number and the hashes.

VerificationError                  this block is not to be believed
├── MalformedBlock                 the bytes are no block, or a part of it cannot be read
├── TooManyBytes                   larger than the channel allows, or bytes without end
├── MissingMetadata                fewer than five metadata entries
├── WrongNumber                    not the next block
├── BrokenLink                     previous_hash is not the hash of the block before
├── HashMismatch                   not the block whose hash is known already
├── DataHashMismatch               the data is not what the header says
├── MalformedData                  the data does not delimit its transactions
├── AttestationFailed              the signatures do not satisfy BlockValidation
├── LastConfigMissing              nothing signed says which configuration is in force
├── HiddenConfig                   the signed index names a configuration block never shown
├── ConfigDataMissing              a configuration block came without its data
├── ConfigIndexMismatch            data and signed index disagree on being a configuration block
├── CommitHashMismatch             flags or state updates are not what the commit hash says
├── WrongChannel                   the configuration is another channel's
├── WrongSequence                  the configuration does not follow the one in force
└── UnusableConfig                 the configuration cannot be used
TrustRootError                     the starting point itself
├── TrustRootMismatch              not the block, channel or hash that was expected
└── TrustRootExpired               too old to start from: renew it
Fork                               two valid headers of the same number: kept as evidence
StoreError                         the header store cannot be used
TooFewOrganizations                a light node needs sources of two organisations
UnusableFile                       a proof or evidence file that is none
NotVerified                        asked about a block or transaction that is not proved (yet)
"""

from light_node.i18n import SaidError, Text


def short(digest: bytes | None) -> str:
    """Return the first 16 hex digits of a hash, for messages."""
    return "nothing" if digest is None else digest.hex()[:16] or "nothing"


class ChainError(SaidError):
    """Base of all errors of the light client."""


class VerificationError(ChainError):
    """A block is not to be believed. ``number`` and ``hash`` are None where it has none."""

    def __init__(self, text: Text, *, number: int | None = None, hash: bytes | None = None) -> None:
        super().__init__(text)
        self.number = number
        self.hash = hash


class MalformedBlock(VerificationError):
    """The bytes are no block, or a part of it cannot be read."""


class TooManyBytes(VerificationError):
    """A block larger than the channel allows, or more bytes than one source may send for nothing.

    ``number`` is None where it is about all of them together.
    """


class MissingMetadata(VerificationError):
    """A block has fewer than the five metadata entries (2.7)."""

    def __init__(self, number: int, hash: bytes, entries: int) -> None:
        super().__init__(
            Text(
                "block {number} has {entries} metadata entries; Fabric writes 5",
                number=number,
                entries=entries,
            ),
            number=number,
            hash=hash,
        )
        self.entries = entries


class WrongNumber(VerificationError):
    """The block is not the one after the last verified."""

    def __init__(self, number: int, hash: bytes, expected: int) -> None:
        super().__init__(
            Text(
                "block {number} came where block {expected} was due",
                number=number,
                expected=expected,
            ),
            number=number,
            hash=hash,
        )
        self.expected = expected


class BrokenLink(VerificationError):
    """``previous_hash`` is not the hash of the verified block before."""

    def __init__(self, number: int, hash: bytes, stated: bytes, expected: bytes) -> None:
        super().__init__(
            Text(
                "block {number} follows {stated}…, but the verified block {before} is {expected}…",
                number=number,
                stated=short(stated),
                before=number - 1,
                expected=short(expected),
            ),
            number=number,
            hash=hash,
        )
        self.stated = stated
        self.expected = expected


class HashMismatch(VerificationError):
    """A header's hash is not the one already verified for its number."""

    def __init__(self, number: int, hash: bytes, expected: bytes) -> None:
        super().__init__(
            Text(
                "block {number} has hash {hash}…, but the verified one is {expected}…",
                number=number,
                hash=short(hash),
                expected=short(expected),
            ),
            number=number,
            hash=hash,
        )
        self.expected = expected


class DataHashMismatch(VerificationError):
    """The data does not hash to the header's ``data_hash``: data or header was altered."""

    def __init__(self, number: int, hash: bytes, stated: bytes, computed: bytes) -> None:
        super().__init__(
            Text(
                "block {number}'s data hashes to {computed}…, its header says {stated}…: it was "
                "altered",
                number=number,
                computed=short(computed),
                stated=short(stated),
            ),
            number=number,
            hash=hash,
        )
        self.stated = stated
        self.computed = computed


class MalformedData(VerificationError):
    """The data is not a row of canonical envelopes, so it could be cut in several ways (2.2)."""


class AttestationFailed(VerificationError):
    """The signatures do not satisfy BlockValidation under the configuration in force.

    ``signatures`` came with the block, ``signers`` (MSP ids) are those that verified.
    """

    def __init__(
        self,
        number: int,
        hash: bytes,
        signatures: int,
        signers: tuple[str, ...],
        reason: Text | None = None,
    ) -> None:
        text = Text(
            "block {number} is not signed as the channel requires: {good} of {signatures} "
            "signatures are good",
            number=number,
            good=len(signers),
            signatures=signatures,
        )
        if reason is not None:
            text = Text("{what} ({reason})", what=text, reason=reason)
        super().__init__(text, number=number, hash=hash)
        self.signatures = signatures
        self.signers = signers


class LastConfigMissing(VerificationError):
    """The signed metadata names no configuration block (ledgers written before Fabric 1.4.1)."""


class HiddenConfig(VerificationError):
    """The signed last-config index is neither the configuration in force nor the block itself.

    A configuration block was withheld, or the header is of another history (2.7).
    """

    def __init__(self, number: int, hash: bytes, index: int, in_force: int) -> None:
        super().__init__(
            Text(
                "block {number} rests on configuration block {index}, but the last one shown is "
                "{in_force}: a configuration change was withheld",
                number=number,
                index=index,
                in_force=in_force,
            ),
            number=number,
            hash=hash,
        )
        self.index = index
        self.in_force = in_force


class ConfigDataMissing(VerificationError):
    """A configuration block came without its data: it must arrive complete (2.7)."""


class ConfigIndexMismatch(VerificationError):
    """The signed index says configuration block and the data says otherwise, or the reverse."""


class CommitHashMismatch(VerificationError):
    """Recomputing the commit hash from flags and writes gives another value (2.8).

    The peer that served the block lied about the flags, the commit hash, or an earlier one.
    """

    def __init__(self, number: int, hash: bytes, stated: bytes, computed: bytes) -> None:
        super().__init__(
            Text(
                "block {number}'s flags and writes give commit hash {computed}…, but it says "
                "{stated}: the validity flags or the commit hash were altered",
                number=number,
                computed=short(computed),
                stated=short(stated),
            ),
            number=number,
            hash=hash,
        )
        self.stated = stated
        self.computed = computed


class WrongChannel(VerificationError):
    """The configuration names another channel."""

    def __init__(self, number: int, hash: bytes, channel: str, expected: str) -> None:
        super().__init__(
            Text(
                "block {number} configures channel {channel}, not {expected}",
                number=number,
                channel=repr(channel[:100]),
                expected=repr(expected),
            ),
            number=number,
            hash=hash,
        )
        self.channel = channel
        self.expected = expected


class WrongSequence(VerificationError):
    """The configuration's sequence is not one more than the one in force (2.5)."""

    def __init__(self, number: int, hash: bytes, sequence: int, expected: int) -> None:
        super().__init__(
            Text(
                "block {number} brings configuration {sequence} where {expected} was due",
                number=number,
                sequence=sequence,
                expected=expected,
            ),
            number=number,
            hash=hash,
        )
        self.sequence = sequence
        self.expected = expected


class UnusableConfig(VerificationError):
    """The configuration is signed but cannot be used; the message says which part."""


class TrustRootError(ChainError):
    """The trust root cannot be used to start from; the message says why and what to do."""


class TrustRootMismatch(TrustRootError):
    """It is not the configuration block, channel or hash that was expected."""


class TrustRootExpired(TrustRootError):
    """It is too old to start from."""


class Fork(ChainError):
    """Two headers of one number, signatures standing for both: their own, or later ones'.

    ``ours`` and ``theirs`` are the block hashes, ``organization`` showed the second one.
    """

    def __init__(self, number: int, ours: bytes, theirs: bytes, organization: str) -> None:
        super().__init__(
            Text(
                "two histories: block {number} is {ours}… here and {theirs}… at {organization}, "
                "and orderers signed both. Verification has stopped; ask the operators of both "
                "organisations",
                number=number,
                ours=short(ours),
                theirs=short(theirs),
                organization=organization,
            )
        )
        self.number = number
        self.ours = ours
        self.theirs = theirs
        self.organization = organization


class HiddenChange(Fork):
    """A configuration block was passed off as an ordinary one here, with a signed false index.

    ``ours`` and ``theirs`` are the same hash: the header is right, what was signed with it is not.
    """

    def __init__(self, number: int, digest: bytes) -> None:
        super().__init__(number, digest, digest, "")
        self.args = (
            Text(
                "configuration block {number} was hidden from this node: orderers signed its "
                "header with a false index. What was verified from there on is dropped, and "
                "verification has stopped; ask the operators",
                number=number,
            ),
        )


class StoreError(ChainError):
    """The header store cannot be used; the message says what to do."""


class TooFewOrganizations(ChainError):
    """A light node needs sources of at least two organisations, told apart by certificate."""


class NotVerified(ChainError):
    """What was asked for is not proved: not there, not verified yet, or nobody serves it."""


class UnusableFile(ChainError):
    """A proof or evidence file that cannot be read; the message says which part."""
