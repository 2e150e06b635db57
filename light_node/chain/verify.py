"""Verification of blocks: bytes and a trusted state in, a new state or an error out.

``docs/fabric-protocol.md`` sections 2.1 to 2.7. Pure: no I/O, no clock, no global state. Every
function either returns what it has established or raises one of ``light_node.chain.errors``;
*verify* establishes, *apply* only moves the state on, so that a caller may first store.

Invariant of :class:`TrustedState`: ``hash`` is the hash of block ``number`` of the channel, proved
from the trust root, and ``config`` is the configuration in force for block ``number + 1``.
"""

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from light_node.chain import errors
from light_node.fabric import block as blocks
from light_node.fabric.block import Block, BlockError
from light_node.fabric.channel_config import ChannelConfig, ConfigError
from light_node.fabric.commit_hash import NeedsStateError, block_updates, commit_hash
from light_node.fabric.msp import Identity, MspError
from light_node.fabric.pb import common_pb2
from light_node.fabric.policy import PolicyError
from light_node.i18n import Text, told


class TrustedState(NamedTuple):
    """What is proved so far: the tip and the configuration in force after it."""

    config: ChannelConfig
    number: int
    hash: bytes

    @property
    def height(self) -> int:
        """The number of the next block."""
        return self.number + 1


class Verified(NamedTuple):
    """A block that was proved to follow a state.

    ``config`` is the new configuration if the block brings one. ``signers`` are the MSP ids whose
    signatures were checked; empty where a later block's signatures and the hash link stand for it.
    """

    block: Block
    config: ChannelConfig | None = None
    signers: tuple[str, ...] = ()


MAX_METADATA_BYTES = 1024 * 1024
"""Far more than header, signatures of any quorum and flags of any block take together."""
_MOST_FRAMING = 6  # tag and length around an envelope of up to MAX_BLOCK_BYTES


def parse(raw: bytes) -> Block:
    """Parse a block; ``MalformedBlock`` if it is none, or padded with metadata nobody signed."""
    try:
        block = blocks.parse_block(raw)
    except BlockError as error:
        raise errors.MalformedBlock(told(error)) from error
    if len(raw) > MAX_METADATA_BYTES:
        # What is not data, rather than the metadata's contents: a million empty entries and a
        # field nobody knows are padding too.
        data = sum(len(envelope) + _MOST_FRAMING for envelope in block.envelopes or ())
        if len(raw) - data > MAX_METADATA_BYTES:
            raise errors.MalformedBlock(
                Text(
                    "block {number} has {count} bytes beside its data; the limit is {most}",
                    number=block.number,
                    count=len(raw) - data,
                    most=MAX_METADATA_BYTES,
                ),
                number=block.number,
                hash=block.hash,
            )
    return block


def verify_block(state: TrustedState, block: Block, *, attested: bool = True) -> Verified:
    """Verify that ``block`` is the one after ``state``, whole or as a header without data.

    ``attested=False`` leaves the signatures of an ordinary block to a later one that is linked to
    it (see :func:`verify_blocks`); a configuration block's are always checked.
    """
    verify_link(state, block)
    _check_metadata(block)
    verify_data(block)
    is_config = block.envelopes is not None and blocks.is_config(block.envelopes)
    signers: tuple[str, ...] = ()
    if attested or is_config:
        signers = tuple(i.msp_id for i in verify_attestation(state.config, block))
    verify_last_config(state, block, is_config)
    config = verify_config_update(state, block) if is_config else None
    return Verified(block, config, signers)


def apply(state: TrustedState, verified: Verified) -> TrustedState:
    """Return the state after a verified block; a new configuration takes effect now (2.5)."""
    block = verified.block
    return TrustedState(verified.config or state.config, block.number, block.hash)


def verify_blocks(
    state: TrustedState, batch: Sequence[Block], *, every_signature: bool = False
) -> tuple[TrustedState, list[Verified]]:
    """Verify consecutive blocks after ``state``: hash links for all, signatures where they decide.

    Signatures are checked on configuration blocks and on the last block of the batch. Its hash
    link fixes every header before it, and its signed last-config index reveals a configuration
    block that was passed off as an ordinary one in between. Nothing of the batch may be used
    before the whole call returns. The first error is raised, see :func:`verify_signed`.
    """
    found: list[Verified] = []
    for index, block in enumerate(batch):
        last = index == len(batch) - 1
        try:
            verified = verify_block(state, block, attested=every_signature or last)
        except errors.VerificationError:
            verify_signed(state, batch[index - 1] if index else None, block)
            raise
        state = apply(state, verified)
        found.append(verified)
    return state, found


def verify_signed(state: TrustedState, before: Block | None, block: Block | None) -> None:
    """Check the signatures that a batch left to later blocks, where it fails at ``block``.

    A header that nobody signed says nothing: neither that the next one's link is broken nor that
    a configuration was hidden. So the error is the one that the two would have met had they come
    by themselves. ``before`` is the block of the batch that ``state`` ends with, None if the batch
    begins here; ``block`` is None if it cannot be read.
    """
    if before is not None and before.number != state.config.block_number:
        verify_attestation(state.config, before)
    if block is not None:
        verify_block(state, block)


def verify_link(state: TrustedState, block: Block) -> None:
    """Check number and hash link (2.1): ``WrongNumber``, ``BrokenLink``."""
    if block.number != state.number + 1:
        raise errors.WrongNumber(block.number, block.hash, state.number + 1)
    if block.previous_hash != state.hash:
        raise errors.BrokenLink(block.number, block.hash, block.previous_hash, state.hash)


def verify_hash(block: Block, expected: bytes) -> None:
    """Check a block whose hash is known already, data included: ``HashMismatch`` and data errors.

    This is all there is to check of an ancestor: a hash has one preimage.
    """
    if block.hash != expected:
        raise errors.HashMismatch(block.number, block.hash, expected)
    verify_data(block)


def verify_data(block: Block) -> None:
    """Check the data, where present, against the header (2.2).

    ``DataHashMismatch`` if it was altered, ``MalformedData`` if it does not delimit itself.
    """
    if block.envelopes is None:
        return
    computed = blocks.data_hash(block.envelopes)
    if computed != block.data_hash:
        raise errors.DataHashMismatch(block.number, block.hash, block.data_hash, computed)
    try:
        blocks.check_well_formed(block.envelopes)
    except BlockError as error:
        raise errors.MalformedData(
            Text("block {number}: {error}", number=block.number, error=error),
            number=block.number,
            hash=block.hash,
        ) from error


def verify_attestation(config: ChannelConfig, block: Block) -> list[Identity]:
    """Check the orderers' signatures under ``config`` (2.3, 2.4); return who signed.

    ``AttestationFailed`` unless the good signatures satisfy BlockValidation. At least one is
    required whatever the policy says: a policy that nobody has to satisfy proves nothing.
    """
    _check_metadata(block)
    try:
        value, signatures = blocks.block_signatures(block)
    except BlockError as error:
        raise errors.MalformedBlock(told(error), number=block.number, hash=block.hash) from error
    # This runs between two signature checks, with cold caches: few steps, nothing made in vain.
    der, found = block.der, dict[tuple[str, str], Identity]()
    for item in signatures:
        header, claimed = _claimed_signer(config, block, item)
        try:
            identity = config.msps.parse(claimed) if claimed else None
        except MspError:
            continue
        if identity is None or identity.key in found:
            continue
        if identity.verify(blocks.signed_bytes(value, header, der), item.signature):
            found[identity.key] = identity
    reason = None
    try:
        if found and config.is_valid_block_signed_by(tuple(found.values())):
            return list(found.values())
    except PolicyError as error:
        reason = error.text
    names = tuple(identity.msp_id for identity in found.values())
    raise errors.AttestationFailed(block.number, block.hash, len(signatures), names, reason)


def verify_last_config(state: TrustedState, block: Block, is_config: bool) -> None:
    """Apply the rules on the signed last-config index that keep changes from being hidden (2.7).

    ``is_config`` says whether the block's data is a CONFIG envelope.
    """
    index = last_config(block)
    number = block.number
    if index is None:
        raise errors.LastConfigMissing(
            Text("block {number} does not say which configuration is in force", number=number),
            number=number,
            hash=block.hash,
        )
    if is_config != (index == number):
        if index == number and block.envelopes is None:
            raise errors.ConfigDataMissing(
                Text("configuration block {number} came without its data", number=number),
                number=number,
                hash=block.hash,
            )
        if is_config:
            text = Text(
                "block {number} is a configuration block, but its signed index is {index}",
                number=number,
                index=index,
            )
        else:
            text = Text(
                "block {number} is no configuration block, but its signed index is {index}",
                number=number,
                index=index,
            )
        raise errors.ConfigIndexMismatch(text, number=number, hash=block.hash)
    if not is_config and index != state.config.block_number:
        raise errors.HiddenConfig(number, block.hash, index, state.config.block_number)


def last_config(block: Block) -> int | None:
    """Return the last-config index in the part of the metadata that orderers sign, if any."""
    try:
        return blocks.last_config_index(block)
    except BlockError as error:
        raise errors.MalformedBlock(told(error), number=block.number, hash=block.hash) from error


def verify_config_update(state: TrustedState, block: Block) -> ChannelConfig:
    """Return the configuration a config block brings: same channel, sequence one more (2.5)."""
    try:
        config = ChannelConfig.from_block(block)
    except ConfigError as error:
        raise errors.UnusableConfig(
            Text("block {number}: {error}", number=block.number, error=error),
            number=block.number,
            hash=block.hash,
        ) from error
    if config.channel_id != state.config.channel_id:
        raise errors.WrongChannel(
            block.number, block.hash, config.channel_id, state.config.channel_id
        )
    if config.sequence != state.config.sequence + 1:
        raise errors.WrongSequence(
            block.number, block.hash, config.sequence, state.config.sequence + 1
        )
    return config


def verify_alone(config: ChannelConfig, block: Block) -> tuple[str, ...]:
    """Verify a block by its own signatures, without the blocks before it (2.7); return who signed.

    ``config`` must be the configuration the block names in its signed index. What is lost is the
    hash link: the signers vouch for the block, not for one history that leads to it.
    """
    verify_data(block)
    signers = verify_attestation(config, block)
    is_config = block.envelopes is not None and blocks.is_config(block.envelopes)
    verify_last_config(TrustedState(config, block.number - 1, b""), block, is_config)
    return tuple(signer.msp_id for signer in signers)


def skip_to_config(config: ChannelConfig, block: Block) -> ChannelConfig:
    """Verify the next configuration block without the blocks between (2.7); return what it brings.

    Signed under ``config``, sequence one more, its own signed index. ``ConfigIndexMismatch`` if it
    is no configuration block.
    """
    if block.number <= config.block_number:
        raise errors.WrongNumber(block.number, block.hash, config.block_number + 1)
    verify_alone(config, block)
    if last_config(block) != block.number:
        raise errors.ConfigIndexMismatch(
            Text("block {number} is no configuration block", number=block.number),
            number=block.number,
            hash=block.hash,
        )
    return verify_config_update(TrustedState(config, block.number - 1, b""), block)


def verify_commit_hash(block: Block, previous: bytes | None) -> bytes | None:
    """Recompute a full block's commit hash and compare (2.8): ``CommitHashMismatch``.

    ``previous`` is the commit hash of the block before: empty before block 1, None if unknown.
    Returns this block's, None where it states none (an orderer's copy). Nothing is compared for a
    header without data, an unknown ``previous``, or a block whose updates need the state. This
    proves that the flags belong to the state history of the peer that served the block; that
    other organisations' peers have the same history takes comparing with theirs.
    """
    try:
        stated = blocks.stated_commit_hash(block)
        flags = blocks.transactions_filter(block)
        if block.number == 0:
            return stated
        if block.envelopes is None or previous is None or not (flags or stated):
            return stated or None
        updates = block_updates(block.number, block.envelopes, flags)
    except NeedsStateError:
        return stated or None
    except BlockError as error:
        raise errors.MalformedBlock(told(error), number=block.number, hash=block.hash) from error
    computed = commit_hash(flags, updates, previous)
    if computed != stated:
        raise errors.CommitHashMismatch(block.number, block.hash, stated, computed)
    return stated


def _check_metadata(block: Block) -> None:
    if len(block.metadata) < blocks.METADATA_ENTRIES:
        raise errors.MissingMetadata(block.number, block.hash, len(block.metadata))


def _claimed_signer(
    config: ChannelConfig, block: Block, item: common_pb2.MetadataSignature
) -> tuple[bytes, bytes]:
    """Return (header that is signed, serialized identity); both empty for an unknown consenter.

    The form is chosen per signature, by the rule of 2.3.
    """
    header = item.signature_header
    try:
        if header or not config.bft_signatures or not item.identifier_header:
            return header, common_pb2.SignatureHeader.FromString(header).creator
        header = item.identifier_header
        consenter = config.consenter(common_pb2.IdentifierHeader.FromString(header).identifier)
        return (b"", b"") if consenter is None else (header, consenter.serialized)
    except DecodeError as error:
        raise errors.MalformedBlock(
            Text("block {number}: a signature's header cannot be read", number=block.number),
            number=block.number,
            hash=block.hash,
        ) from error
